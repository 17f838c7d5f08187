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
//! | `relations`, `state`, `hooks` | links and monitors: asking for them, keeping them, dying |
//! | `names`, `timers`, `local`, `info` | as they say |
//! | [`remote`] | the seam to processes of nodes elsewhere |
//! | `blocking`, `future` | waiting for what is not a process |
//! | `node`, `config`, `run`, `report` | nodes |
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
pub mod config;
mod error;
mod event;
mod exit_rule;
mod future;
mod hooks;
mod info;
mod local;
mod mailbox;
mod names;
mod node;
mod pid;
mod process;
mod reason;
pub mod reductions;
mod relations;
pub mod remote;
mod report;
mod run;
mod send;
mod server;
mod signal;
mod state;
mod timers;

pub use {
    alias::Alias,
    blocking::blocking,
    bound::{Limit, Overflow},
    builder::{BuildError, Builder},
    call::{DEFAULT_CALL_TIMEOUT, Reply},
    config::Config,
    engset_macros::preemptible,
    engset_scheduler::{Priority, Random, WorkerMetrics, current::Activity, envelope_memory},
    error::{CallError, NameError, RunError, SendError, SpawnError, StartError},
    event::{Down, Event, Exit, Item, MonitorRef, NodeDown, NodeUp, Received},
    future::block_on,
    info::{ProcessInfo, is_alive, name_of, process_info, processes},
    local::ProcessLocal,
    mailbox::Mailbox,
    names::{lookup, register, register_mailbox, registered, send_named, unregister, whereis},
    node::{Node, NodeId},
    pid::{Address, Pid},
    process::{Entry, now, self_pid, sleep, spawn, spawn_link, spawn_monitor, try_self_pid},
    reason::{DownReason, ExitReason, Panic},
    reductions::{reduce, reductions_left, yield_now},
    relations::{demonitor, exit, exit_self, kill, link, monitor, monitor_name, trap_exits, unlink},
    run::{run, run_with},
    server::{Flow, Server, serve, serve_with},
    timers::{Timer, TimerRef, exit_after, send_after, send_at, send_interval, start_timer},
};
