//! An Erlang-style message-passing runtime as a Rust library.
//!
//! A program links it, spawns up to millions of preemptive green processes from ordinary Rust, lets them
//! crash, watches and links them, and tests all that deterministically.
//!
//! ```
//! use engset::prelude::*;
//!
//! enum Request {
//!     Add(u64),
//!     Total(Reply<u64>),
//! }
//!
//! let total = engset::run(|| {
//!     let counter = spawn(|mut mailbox: Mailbox<Request>| {
//!         let mut total = 0;
//!         loop {
//!             match mailbox.message() {
//!                 Request::Add(number) => total += number,
//!                 Request::Total(reply) => reply.send(total),
//!             }
//!         }
//!     });
//!     for number in 1..=10 {
//!         spawn(move || counter.send(Request::Add(number))); // ten processes
//!     }
//!     loop {
//!         match counter.call(Request::Total) {
//!             Ok(55) => return 55,
//!             Ok(_) => yield_now(),
//!             Err(error) => panic!("{error}"), // let it crash
//!         }
//!     }
//! })?;
//! assert_eq!(total, 55);
//! # Ok::<(), engset::RunError>(())
//! ```
//!
//! Start with the [guide].

#![forbid(unsafe_code)]

extern crate self as engset;

#[doc(no_inline)]
pub use engset_runtime::process_local;
pub use engset_runtime::{
    Activity, Address, Alias, Ancestor, BuildError, Builder, CallError, CallFuture, Config, CrashDetails,
    DEFAULT_CALL_TIMEOUT, DeadLetter, Down, DownReason, Entry, Event, Exit, ExitReason, Extension,
    ExtensionError, Flow, Inbox, Item, Limit, Mailbox, MonitorRef, NameError, Node, NodeDown, NodeId, NodeUp,
    Overflow, Panic, Pid, Priority, ProcessInfo, ProcessLocal, Random, Received, Reply, Resource,
    ResourceRef, RunError, SendError, Server, SpawnError, StartError, System, SystemRequest, Timer, TimerRef,
    Undecodable, WorkerMetrics, block_on, blocking, call_system, catch, config, demonitor, envelope_memory,
    exit, exit_after, exit_self, extension, hold, is_alive, kill, let_go, link, lookup, mailbox_len, monitor,
    monitor_name, name_of, node_local, now, preemptible, process_info, processes, random, receive_system,
    reduce, reductions, reductions_left, register, register_mailbox, registered, run, run_with, self_pid,
    send_after, send_at, send_interval, send_named, send_system, serve, serve_with, sleep, spawn, spawn_link,
    spawn_monitor, start_timer, trap_exits, try_self_pid, uninterrupted, unlink, unregister, whereis,
    yield_now,
};

/// Futures within processes: timers, time limits, blocking calls.
#[doc(inline)]
pub use engset_runtime::future;

/// Messages that can go to other nodes.
pub mod remote {
    pub use engset_runtime::remote::{
        Bytes, Local, Named, Relation, Remote, RemoteError, RequestError, identity, lookup_at, monitor_nodes,
        named, nodes, own_name, register, spawn_at,
    };
}

/// Nodes that talk to each other.
#[doc(inline)]
pub use engset_net::dist;

/// Sockets for processes.
#[doc(inline)]
pub use engset_net as net;

/// The behaviours: generic servers, state machines, supervisors, event managers, tasks, registries, groups, tables.
#[doc(inline)]
pub use engset_stdlib as stdlib;

/// Files, child programs, standard input and output, for processes.
#[doc(inline)]
pub use engset_net::{fs, process, stdio};

/// HTTP on processes.
#[cfg(feature = "hyper")]
#[doc(inline)]
pub use engset_net::http;

/// Futures that need a tokio runtime.
#[cfg(feature = "tokio")]
#[doc(inline)]
pub use engset_net::tokio_bridge;

#[doc(no_inline)]
pub use engset_stdlib::testkit;

pub mod guide;
pub mod prelude;
pub mod sim;
