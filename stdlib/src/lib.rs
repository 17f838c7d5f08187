//! The behaviours of engset: processes whose general part is written once, here.
//!
//! This crate is a part of the runtime. Programs use `engset`, which re-exports it.
//!
//! # Which one when
//!
//! | for | take |
//! |---|---|
//! | a state that takes requests | [`GenServer`], for a tiny one [`from_fn`] |
//! | requests whose meaning depends on a state | [`GenStatem`] |
//! | a value to see and to change | [`Agent`] |
//! | processes that are to be there whatever happens | [`Supervisor`] |
//! | the same, of one kind and as many as needed | [`DynamicSupervisor`] |
//! | processes under keys | [`Registry`] |
//! | handlers in one process that each see every event | [`EventManager`] |
//! | values for all processes that want them | [`PubSub`], [`Topic`] |
//! | one result | [`Task`] |
//! | the same work on many items | [`TaskStream`] |
//!
//! And none at all for a process that just does one thing: [`spawn`](engset_runtime::spawn) it.

#![forbid(unsafe_code)]

pub mod agent;
mod backoff;
mod child_spec;
mod children;
pub mod dynamic_supervisor;
mod error;
pub mod gen_event;
pub mod gen_server;
pub mod gen_statem;
mod lazy_timer;
pub mod pubsub;
pub mod registry;
mod restart_intensity;
mod start;
mod stop_children;
mod strategy;
mod supervising;
pub mod supervisor;
pub mod task;
pub mod task_stream;

pub use {
    agent::Agent,
    backoff::Backoff,
    child_spec::{ChildSpec, DEFAULT_SHUTDOWN, Kind, Shutdown, SpecError},
    children::ChildCount,
    dynamic_supervisor::{DynamicSupervisor, DynamicSupervisorBuilder},
    error::StartError,
    gen_event::{
        AddHandlerError, EventHandler, EventManager, Handled, HandlerId, HandlerInfo, HandlerRef, Removed,
    },
    gen_server::{Context, FnServer, GenServer, IntoServer, Next, ServerBuilder, from_fn},
    gen_statem::{Entering, GenStatem, Input, Starting, StateMachine, TimeoutKind, Transition},
    pubsub::{PubSub, Subscription, Topic, TopicError},
    registry::{RegisterError, Registry, RegistryBuilder},
    strategy::{AutoShutdown, Restart, Strategy},
    supervisor::{ChildError, ChildInfo, ChildState, Supervisor, SupervisorBuilder},
    task::{Task, TaskError, TaskSupervisor},
    task_stream::TaskStream,
};
