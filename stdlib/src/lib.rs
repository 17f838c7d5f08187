//! The behaviours of engset: processes whose general part is written once, here.
//!
//! This crate is a part of the runtime. Programs use `engset`, which re-exports it.
//!
//! # Which one when
//!
//! | for | take |
//! |---|---|
//! | a state that takes requests | [`GenServer`], for a tiny one [`from_fn`] |
//! | a value to see and to change | [`Agent`] |
//! | processes that are to be there whatever happens | [`Supervisor`] |
//! | the same, of one kind and as many as needed | [`DynamicSupervisor`] |
//! | processes under keys | [`Registry`] |
//! | data that many processes read and write | [`Table`], [`OrderedTable`]; [`Counters`]; [`ReadMostly`] |
//! | one result | [`Task`] |
//! | the same work on many items | [`TaskStream`] |
//!
//! And none at all for a process that just does one thing: [`spawn`](engset_runtime::spawn) it.

#![forbid(unsafe_code)]

pub mod agent;
mod backoff;
mod child_spec;
mod children;
pub mod counters;
pub mod dynamic_supervisor;
mod error;
pub mod gen_server;
mod lazy_timer;
pub mod read_mostly;
pub mod registry;
mod restart_intensity;
mod start;
mod stop_children;
mod strategy;
mod supervising;
pub mod supervisor;
pub mod table;
pub mod task;
pub mod task_stream;

pub use {
    agent::Agent,
    backoff::Backoff,
    child_spec::{ChildSpec, DEFAULT_SHUTDOWN, Kind, Shutdown, SpecError},
    children::ChildCount,
    counters::Counters,
    dynamic_supervisor::{DynamicSupervisor, DynamicSupervisorBuilder},
    error::StartError,
    gen_server::{Context, FnServer, GenServer, IntoServer, Next, ServerBuilder, from_fn},
    read_mostly::ReadMostly,
    registry::{RegisterError, Registry, RegistryBuilder},
    strategy::{AutoShutdown, Restart, Strategy},
    supervisor::{ChildError, ChildInfo, ChildState, Supervisor, SupervisorBuilder},
    table::{Access, OrderedTable, SharedTable, Table, TableBuilder, TableError},
    task::{Task, TaskError, TaskSupervisor},
    task_stream::TaskStream,
};
