//! What a process is, how it starts and ends.
//!
//! A process is a function that runs by itself, with a stack of its own; it shares nothing with others but what
//! it is given, and talks to them by messages. It costs some hundreds of bytes and, while it runs or waits in the
//! middle of something, a stack of which only the used pages take memory. So there may be a hundred thousand of
//! them, and a thing that goes on by itself (a connection, a job, a game's player) gets its own.
//!
//! ```
//! use engset::prelude::*;
//!
//! let sum = engset::run(|| {
//!     let adder = spawn(|mut mailbox: Mailbox<(u32, Reply<u32>)>| {
//!         let mut sum = 0;
//!         loop {
//!             let (number, reply) = mailbox.message();
//!             sum += number;
//!             reply.send(sum);
//!         }
//!     });
//!     adder.call(|reply| (40, reply)).unwrap();
//!     adder.call(|reply| (2, reply)).unwrap()
//! })?;
//! assert_eq!(sum, 42);
//! # Ok::<(), engset::RunError>(())
//! ```
//!
//! # From `main` to processes
//!
//! [`run`](crate::run) starts a *node* (worker threads, a table of processes, names), runs its closure as
//! the first process, and stops the node when that one has ended: all others are killed then, and their
//! destructors run. [`Node::start`](crate::Node::start) is the longer form, for programs that have a life outside
//! of processes; several nodes can live in one program, and do not know of each other's names.
//!
//! # Starting
//!
//! [`spawn`](crate::spawn) takes a closure: without an argument it gives a [`Pid`](crate::Pid); with a
//! [`Mailbox<M>`](crate::Mailbox) it gives an [`Address<M>`](crate::Address), to which messages of the type `M`
//! can be sent. Both are small, `Copy`, and never used again for another process. What the closure captures is
//! moved to the new process, and has to be `Send`.
//!
//! [`Builder`](crate::Builder) has the options: a name, a link, a stack size, a priority, a bound for the mailbox.
//! It returns errors where `spawn` panics.
//!
//! # Why `spawn` is safe
//!
//! A process runs on the thread of one worker, and may be suspended in the middle of any function. Were it resumed
//! on another thread, safe code would break: an `Rc` on its stack may share its count with a thread-local, a lock's
//! guard may have to be released by the thread that took it, and the compiler may have kept the address of a
//! thread-local across the suspension. So **a stack that has started never changes its thread**: only processes
//! that have not started yet, and servers between two messages (below), which are `Send` values without a stack,
//! are moved between workers. A suspended stack is resumed, or unwound, on its own thread, or leaked as a whole; it
//! is never just freed. Hence `spawn` asks `Send` of what goes *in*, and nothing of what the process makes for
//! itself:
//!
//! ```
//! use engset::prelude::*;
//! use std::{cell::RefCell, rc::Rc};
//!
//! engset::run(|| {
//!     spawn(|| {
//!         let shared = Rc::new(RefCell::new(1)); // not `Send`, and need not be
//!         yield_now(); // others run, also on this thread
//!         *shared.borrow_mut() += 1;
//!     });
//! })?;
//! # Ok::<(), engset::RunError>(())
//! ```
//!
//! ```compile_fail
//! use engset::prelude::*;
//!
//! let shared = std::rc::Rc::new(1);
//! spawn(move || drop(shared)); // error: `Rc<i32>` cannot be sent between threads safely
//! ```
//!
//! One thing is left to you. Processes of one worker take turns on one thread, so a thread-local is shared by all
//! of them. Never wait while you hold a borrow of a thread-local's `RefCell`, or the guard of a lock: the next
//! process that wants it finds it taken. (It panics, or blocks the worker: bad, but not unsound.) Variables that
//! belong to a process are declared by [`process_local!`](crate::process_local).
//!
//! # Ending
//!
//! | what happens | reason |
//! |---|---|
//! | the function returns | [`Normal`](crate::ExitReason::Normal) |
//! | it panics | [`Panic`](crate::ExitReason::Panic), with message and place |
//! | it calls [`exit_self`](crate::exit_self) | that reason |
//! | somebody calls [`exit`](crate::exit) or [`kill`](crate::kill) on it | that reason; `Killed` |
//! | a linked process ends | the same reason ([`links`](crate::guide::links)) |
//!
//! In all cases but the first the stack unwinds: destructors run. A process that runs ends at its next reduction
//! point; one that waits, from where it waits. While it unwinds it cannot wait any more: a receive, a call or a
//! sleep in a destructor returns at once, or panics.
//!
//! # Servers: processes that own no stack while they wait
//!
//! Most processes wait most of the time. [`Server`](crate::Server) is a process as a value with a function that is
//! called for each thing received; between two calls there is no stack, and the value may move to another worker.
//! In the function it may wait like any process. Use it for what there are many of, and for what lives long.
//!
//! ```
//! use engset::prelude::*;
//!
//! let count = engset::run(|| {
//!     let counter = serve_with(0_u64, |count, received: Received<Reply<u64>>| {
//!         if let Received::Message(reply) = received {
//!             *count += 1;
//!             reply.send(*count);
//!         }
//!         Flow::Continue
//!     });
//!     counter.call(|reply| reply).unwrap();
//!     counter.call(|reply| reply).unwrap()
//! })?;
//! assert_eq!(count, 2);
//! # Ok::<(), engset::RunError>(())
//! ```
