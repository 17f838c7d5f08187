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
//! | the same process several times, by key | [`PartitionSupervisor`] |
//! | a server that keeps its mailbox when it crashes | [`InheritedMailbox`] |
//! | a child on another node | [`RemoteChild`] |
//! | processes under keys | [`Registry`]; by it, [`Via`] |
//! | many processes that are told the same | [`Groups`] |
//! | many processes that do the same | [`Pool`], [`Router`] |
//! | data that many processes read and write | [`Table`], [`OrderedTable`]; [`Counters`]; [`ReadMostly`] |
//! | handlers in one process that each see every event | [`EventManager`] |
//! | values for all processes that want them | [`PubSub`], [`Topic`] |
//! | one result | [`Task`] |
//! | the same work on many items | [`TaskStream`] |
//! | parts of a program that start and stop in order | [`Application`] |
//! | a program that runs until it is told to stop | [`Service`] |
//! | things to do when it stops | [`CoordinatedShutdown`] |
//! | settings that may change while it runs | [`configuration`] |
//! | signals of the operating system | [`signals`] |
//! | tests | [`testkit`] |
//!
//! [`sys`] looks into all of them while they run.
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
pub mod counters;
mod dependencies;
pub mod destination;
pub mod dynamic_supervisor;
mod error;
mod feed;
pub mod gen_event;
pub mod gen_server;
pub mod gen_statem;
pub mod groups;
pub mod inherited_mailbox;
mod inside;
mod lazy_timer;
pub mod partition_supervisor;
pub mod pool;
pub mod pubsub;
pub mod read_mostly;
pub mod registry;
pub mod remote_child;
mod restart_intensity;
pub mod router;
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
mod supervision_report;
pub mod supervisor;
pub mod sys;
pub mod table;
pub mod task;
pub mod task_stream;
pub mod testkit;

pub use {
    agent::Agent,
    application::{Application, ApplicationError, ApplicationSpec, Environment, StartType},
    backoff::Backoff,
    child_spec::{ChildSpec, DEFAULT_SHUTDOWN, Kind, Shutdown, SpecError},
    children::ChildCount,
    counters::Counters,
    dependencies::DependencyError,
    destination::{Destination, Via},
    dynamic_supervisor::{DynamicSupervisor, DynamicSupervisorBuilder},
    error::StartError,
    feed::SubscriptionRef,
    gen_event::{
        AddHandlerError, EventHandler, EventManager, Handled, HandlerId, HandlerInfo, HandlerRef, Removed,
    },
    gen_server::{Context, FnServer, GenServer, IntoServer, Next, ServerBuilder, from_fn},
    gen_statem::{Entering, GenStatem, Input, Starting, StateMachine, TimeoutKind, Transition},
    groups::{GroupChange, Groups, GroupsBuilder},
    inherited_mailbox::{Decision, Failure, InheritedMailbox},
    partition_supervisor::{PartitionSupervisor, PartitionSupervisorBuilder},
    pool::{Pool, PoolBuilder, PoolInfo},
    pubsub::{PubSub, Subscription, Topic, TopicError},
    read_mostly::ReadMostly,
    registry::{RegisterError, Registry, RegistryBuilder, RegistryChange},
    remote_child::{Lost, RemoteChild},
    router::{Keyed, Router, Routing},
    service::Service,
    service_end::{Forced, HangReport, ServiceError},
    shutdown::{CoordinatedShutdown, Phase, ShutdownError, StopCause},
    shutdown_run::{StopReport, TaskOutcome, TaskReport},
    strategy::{AutoShutdown, Restart, Strategy},
    supervisor::{ChildError, ChildInfo, ChildState, Supervisor, SupervisorBuilder},
    table::{Access, OrderedTable, SharedTable, Table, TableBuilder, TableError},
    task::{Task, TaskError, TaskSupervisor},
    task_stream::TaskStream,
};
