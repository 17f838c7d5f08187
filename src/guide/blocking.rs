//! Files, foreign libraries, futures, and threads that are no processes.
//!
//! A process that waits by means of the runtime (receive, call, sleep) costs its worker nothing. One that blocks in a
//! system call or in foreign code keeps the worker's thread. The runtime notices after 10 ms and gives what it can
//! move to a spare thread (see [`preemption`](crate::guide::preemption)), but what has a stack on that worker waits.
//! So what may block goes elsewhere.
//!
//! # Blocking calls
//!
//! [`blocking`](crate::blocking()) runs a closure on a thread for such calls, while the process waits:
//!
//! ```
//! use engset::prelude::*;
//!
//! let length = engset::run(|| {
//!     let text = blocking(|| std::fs::read_to_string("Cargo.toml")).unwrap_or_default();
//!     text.len()
//! })?;
//! # let _ = length;
//! # Ok::<(), engset::RunError>(())
//! ```
//!
//! * A panic in the closure goes on in the process.
//! * If the process is killed meanwhile, it ends at once; the closure runs to its end, for nothing can stop it, and
//!   its result is dropped.
//! * There are 128 such threads at most ([`blocking_threads`](crate::Config::blocking_threads)); more calls wait for
//!   their turn. Long native computations may go there too.
//!
//! # Futures
//!
//! [`block_on`](crate::block_on) runs any future in a process; the process waits while it is pending, and the future
//! is dropped if the process is killed. A future that needs a runtime of its own kind (tokio's sockets, for example)
//! needs that runtime running beside, and to be entered.
//!
//! ```
//! use engset::prelude::*;
//! use std::future::ready;
//!
//! let sum = engset::run(|| engset::block_on(async { ready(40).await + 2 }))?;
//! assert_eq!(sum, 42);
//! # Ok::<(), engset::RunError>(())
//! ```
//!
//! # From threads that are no processes
//!
//! Addresses work from any thread: `send`, `try_send` and `call` (which then blocks the thread). A thread has no
//! mailbox; it starts processes by [`Node::spawn`](crate::Node::spawn).
//!
//! ```
//! use engset::{Config, Node, prelude::*};
//!
//! let node = Node::start(Config::new())?;
//! let double = node.spawn(|mut mailbox: Mailbox<(u32, Reply<u32>)>| loop {
//!     let (number, reply) = mailbox.message();
//!     reply.send(2 * number);
//! })?;
//! assert_eq!(double.call(|reply| (21, reply)), Ok(42)); // this thread is no process
//! assert!(node.stop());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What not to do in a process
//!
//! * `std::thread::sleep`, `std::sync::mpsc` receives, `Condvar` waits, `JoinHandle::join`: they stop the worker. Use
//!   [`sleep`](crate::sleep()), messages, monitors; or `blocking`.
//! * A `Mutex` is fine if it is held for a short time and never across a wait, a reduction point or a call of
//!   unknown code. Otherwise its data want to be the state of a process.
//! * [`run`](crate::run) within a process: an error, [`RunError::Nested`](crate::RunError::Nested).
//! * `fork` without `exec`: the child has no workers. [`std::process::Command`] is fine, in `blocking`;
//!   [`process::Command`](crate::process::Command) needs no `blocking`, and kills the program with its owner.
