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
//! | one result | [`Task`] |
//! | the same work on many items | [`TaskStream`] |
//! | parts of a program that start and stop in order | [`Application`] |
//! | a program that runs until it is told to stop | [`Service`] |
//! | things to do when it stops | [`CoordinatedShutdown`] |
//! | settings that may change while it runs | [`configuration`] |
//! | signals of the operating system | [`signals`] |
//!
//! And none at all for a process that just does one thing: [`spawn`](engset_runtime::spawn) it.

#![forbid(unsafe_code)]

pub mod agent;
pub mod application;
mod application_controller;
mod backoff;
mod child_spec;
mod children;
pub mod configuration;
mod dependencies;
pub mod dynamic_supervisor;
mod error;
pub mod gen_server;
mod lazy_timer;
pub mod registry;
mod restart_intensity;
pub mod service;
mod service_end;
pub mod shutdown;
mod shutdown_run;
pub mod signals;
mod start;
mod stop_children;
mod strategy;
mod subscribers;
mod supervising;
pub mod supervisor;
pub mod task;
pub mod task_stream;

pub use {
    agent::Agent,
    application::{Application, ApplicationError, ApplicationSpec, Environment, StartType},
    backoff::Backoff,
    child_spec::{ChildSpec, DEFAULT_SHUTDOWN, Kind, Shutdown, SpecError},
    children::ChildCount,
    dependencies::DependencyError,
    dynamic_supervisor::{DynamicSupervisor, DynamicSupervisorBuilder},
    error::StartError,
    gen_server::{Context, FnServer, GenServer, IntoServer, Next, ServerBuilder, from_fn},
    registry::{RegisterError, Registry, RegistryBuilder},
    service::Service,
    service_end::{Forced, HangReport, ServiceError},
    shutdown::{CoordinatedShutdown, Phase, ShutdownError, StopCause},
    shutdown_run::{StopReport, TaskOutcome, TaskReport},
    strategy::{AutoShutdown, Restart, Strategy},
    supervisor::{ChildError, ChildInfo, ChildState, Supervisor, SupervisorBuilder},
    task::{Task, TaskError, TaskSupervisor},
    task_stream::TaskStream,
};
