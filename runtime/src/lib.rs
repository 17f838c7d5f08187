//! Processes of engset: mailboxes, signals, links and monitors, on the scheduler.
//!
//! This crate is a part of the runtime. Programs use `engset`, which re-exports it.
//!
//! # The parts, in order of reading
//!
//! | module | idea |
//! |---|---|
//! | `pid`, `reason`, `event` | who, why, what is received |
//! | `signal`, `exit_rule` | the table of signals; what an exit signal does |
//! | `process`, `builder`, `server` | plain processes, options, processes without a stack |
//! | `send`, `mailbox`, `call`, `bound`, `alias` | the ways of a message |
//! | `relations`, `related`, `state`, `hooks` | links and monitors: asking for them, keeping them, dying |
//! | `system`, `crash`, `dead_letters` | requests to the general part of a process; what is reported |
//! | `names`, `timers`, `local`, `info` | as they say |
//! | `resource`, `node_local`, `extension` | what goes with a process, what goes with a node |
//! | [`remote`] | the seam to processes of nodes elsewhere |
//! | `blocking`, [`future`], `pause` | waiting for what is not a process |
//! | `call_async`, `inbox` | calls and messages for futures outside |
//! | `node`, `config`, `run`, `report`, `observe` | nodes |
//! | `catch` | taking a panic as a value |
//!
//! # Invariants
//!
//! * A process changes only its own links and monitors; everything else is a signal.
//! * It knows no sockets and no supervisors.

#![forbid(unsafe_code)]

mod alias;
mod blocking;
mod bound;
mod builder;
mod call;
mod call_async;
mod catch;
pub mod config;
mod crash;
mod dead_letters;
mod error;
mod event;
mod exit_rule;
mod extension;
pub mod future;
mod hooks;
mod inbox;
mod info;
mod local;
mod mailbox;
mod names;
mod node;
mod node_local;
pub mod observe;
pub mod pause;
mod pid;
mod process;
mod reason;
pub mod reductions;
mod related;
mod relations;
pub mod remote;
mod report;
mod resource;
mod run;
mod send;
mod server;
mod signal;
mod state;
mod system;
mod timers;

pub use {
    alias::Alias,
    blocking::blocking,
    bound::{Limit, Overflow},
    builder::{BuildError, Builder},
    call::{DEFAULT_CALL_TIMEOUT, Reply},
    call_async::CallFuture,
    catch::catch,
    config::Config,
    crash::{CrashDetails, caught, report_caught},
    dead_letters::DeadLetter,
    engset_macros::preemptible,
    engset_scheduler::{
        Choice, Guide, Priority, Random, Script, TaskId, WorkerMetrics, current::Activity, envelope_memory,
    },
    error::{CallError, NameError, RunError, SendError, SpawnError, StartError, Undecodable},
    event::{Down, Event, Exit, Item, MonitorRef, NodeDown, NodeUp, Received},
    extension::{Extension, ExtensionError, extension},
    future::block_on,
    inbox::Inbox,
    info::{ProcessInfo, is_alive, mailbox_len, name_of, process_info, processes},
    local::ProcessLocal,
    mailbox::Mailbox,
    names::{lookup, register, register_mailbox, registered, send_named, unregister, whereis},
    node::{Node, NodeId},
    node_local::node_local,
    pid::{Address, Pid},
    process::{Entry, now, random, self_pid, sleep, spawn, spawn_link, spawn_monitor, try_self_pid},
    reason::{DownReason, ExitReason, Panic},
    reductions::{reduce, reductions_left, uninterrupted, yield_now},
    relations::{demonitor, exit, exit_self, kill, link, monitor, monitor_name, trap_exits, unlink},
    report::permit_report,
    resource::{Resource, ResourceRef, hold, let_go},
    run::{run, run_with},
    server::{Flow, Server, serve, serve_with},
    state::Ancestor,
    system::{System, SystemRequest, call_system, receive_system, send_system},
    timers::{Timer, TimerRef, exit_after, send_after, send_at, send_interval, start_timer},
};
