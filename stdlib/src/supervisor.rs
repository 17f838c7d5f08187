//! Supervisors: processes that start others, watch them and start them again (semantics rows B2 to B6).
//!
//! A tree is written as a tree:
//!
//! ```
//! # engset_runtime::run(|| {
//! use engset_stdlib::{Agent, ChildSpec, Supervisor};
//! use std::time::Duration;
//!
//! let tree = Supervisor::one_for_one()
//!     .intensity(3, Duration::from_secs(10))
//!     .child(ChildSpec::new("settings", || Ok(Agent::start_link_named(1, "settings")?.pid())))
//!     .child(ChildSpec::supervisor(
//!         "storage",
//!         Supervisor::rest_for_one()
//!             .child(ChildSpec::new("log", || Ok(Agent::start_link(vec![0_u8])?.pid())))
//!             .child(ChildSpec::new("index", || Ok(Agent::start_link(String::new())?.pid())).transient()),
//!     ))
//!     .start_link()?;
//! assert_eq!(tree.count_children().unwrap().active, 2);
//! # Ok::<(), engset_stdlib::StartError>(())
//! # }).unwrap().unwrap();
//! ```
//!
//! The descriptions are checked when the tree is started, and when a supervisor is put into another, before
//! anything runs. What a supervisor does is in `supervising.rs`, which children are concerned in
//! [`Strategy`], how often it restarts in `restart_intensity.rs`, how it stops children in `stop_children.rs`.
//!
//! When not to use it: for many children of one kind that come and go, take a
//! [`DynamicSupervisor`](crate::DynamicSupervisor).

use crate::{
    AutoShutdown, ChildCount, ChildSpec, Kind, Restart, SpecError, StartError, Strategy,
    start::{self, Tie},
    supervising::{Request, Supervising},
    sys::Observed,
};
use engset_runtime::{Address, Builder, CallError, NameError, Pid, Reply, lookup};
use hashbrown::HashSet;
use std::{fmt, sync::Arc, time::Duration};

/// A supervisor that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supervisor {
    address: Address<Request>,
}

/// A supervisor that is to be started. Cheap to clone.
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it starts"]
pub struct SupervisorBuilder {
    pub(crate) strategy: Strategy,
    pub(crate) most: usize,
    pub(crate) period: Duration,
    pub(crate) auto_shutdown: AutoShutdown,
    pub(crate) children: Vec<ChildSpec>,
    options: Builder,
}

impl SupervisorBuilder {
    pub(crate) fn new(strategy: Strategy) -> Self {
        SupervisorBuilder {
            strategy,
            most: 1,
            period: Duration::from_secs(5),
            auto_shutdown: AutoShutdown::Never,
            children: Vec::new(),
            options: Builder::new().trap_exits(),
        }
    }

    /// It restarts at most `most` times within `period`; one more, and it stops its children and ends, with reason
    /// `Shutdown`. Default: once in 5 seconds.
    pub fn intensity(mut self, most: usize, period: Duration) -> Self {
        self.most = most;
        self.period = period;
        self
    }

    /// When it ends because its significant children have.
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.auto_shutdown = auto_shutdown;
        self
    }

    /// One more child, to be started after those before it.
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }

    /// More children.
    pub fn children(mut self, children: impl IntoIterator<Item = ChildSpec>) -> Self {
        self.children.extend(children);
        self
    }

    /// Registers it under a name. [`Supervisor::named`] finds it.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.options = self.options.name(name);
        self
    }

    /// Is the description right?
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), SpecError> {
        let mut ids = HashSet::with_capacity(self.children.len());
        for child in &self.children {
            child.check(self.auto_shutdown != AutoShutdown::Never)?;
            if !ids.insert(&child.id) {
                return Err(SpecError::DuplicateId { id: Arc::clone(&child.id) });
            }
        }
        Ok(())
    }

    /// Starts it with its children, in their order, linked with this process; returns when all have started.
    ///
    /// # Errors
    ///
    /// The description is wrong, a child does not start (those before it have been stopped again), or the
    /// supervisor itself does not.
    ///
    /// # Signals
    ///
    /// If an exit signal ends this process meanwhile, the supervisor stops what it has started, and ends.
    pub fn start_link(self) -> Result<Supervisor, StartError> {
        self.launch(Tie::Link)
    }

    /// The same without a link.
    ///
    /// # Errors
    ///
    /// As [`SupervisorBuilder::start_link`].
    pub fn start(self) -> Result<Supervisor, StartError> {
        self.launch(Tie::None)
    }

    fn launch(self, tie: Tie) -> Result<Supervisor, StartError> {
        self.check()?;
        let options = self.options.clone();
        let (address, _) =
            start::start(options, tie, Duration::MAX, |ack| Observed::new(Supervising::new(self, ack)))?;
        Ok(Supervisor { address })
    }
}

/// A child of a supervisor, as [`Supervisor::which_children`] tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildInfo {
    /// Its id.
    pub id: Arc<str>,
    /// What it does.
    pub state: ChildState,
    /// What it is.
    pub kind: Kind,
    /// When it is started again.
    pub restart: Restart,
    /// How often it was started again.
    pub restarts: u64,
}

impl ChildInfo {
    /// Its process, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        match self.state {
            ChildState::Running(pid) => Some(pid),
            _ => None,
        }
    }
}

/// What a child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildState {
    /// It runs.
    Running(Pid),
    /// It is to be started again: its last start has failed, or its back-off has not passed.
    Restarting,
    /// It has ended, or was stopped, and rests.
    Resting,
}

/// Why a supervisor did not do something with a child.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildError {
    /// It has no child with this id.
    Unknown,
    /// It has a child with this id already.
    Duplicate {
        /// Its process, if it runs.
        pid: Option<Pid>,
    },
    /// The child runs.
    Running(Pid),
    /// The child is about to be started again.
    Restarting,
    /// There are as many children as there may be.
    Full {
        /// So many.
        max_children: usize,
    },
    /// The child's description is wrong.
    Spec(SpecError),
    /// The child did not start.
    Start(StartError),
    /// The supervisor did not answer.
    Supervisor(CallError),
}

impl fmt::Display for ChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChildError::Unknown => f.write_str("the supervisor has no such child"),
            ChildError::Duplicate { .. } => f.write_str("the supervisor has a child with this id already"),
            ChildError::Running(pid) => write!(f, "the child runs: {pid}"),
            ChildError::Restarting => f.write_str("the child is about to be started again"),
            ChildError::Full { max_children } => {
                write!(f, "there are {max_children} children, as many as may be")
            }
            ChildError::Spec(error) => error.fmt(f),
            ChildError::Start(error) => error.fmt(f),
            ChildError::Supervisor(error) => write!(f, "the supervisor did not answer: {error}"),
        }
    }
}

impl std::error::Error for ChildError {}

impl From<CallError> for ChildError {
    fn from(error: CallError) -> Self {
        ChildError::Supervisor(error)
    }
}

impl Supervisor {
    /// A supervisor that restarts only the child that has ended.
    pub fn one_for_one() -> SupervisorBuilder {
        SupervisorBuilder::new(Strategy::OneForOne)
    }

    /// A supervisor that stops and restarts all children if one has to be.
    pub fn one_for_all() -> SupervisorBuilder {
        SupervisorBuilder::new(Strategy::OneForAll)
    }

    /// A supervisor that stops and restarts a child and those that were started after it.
    pub fn rest_for_one() -> SupervisorBuilder {
        SupervisorBuilder::new(Strategy::RestForOne)
    }

    /// The supervisor that has this name on the caller's node.
    ///
    /// # Errors
    ///
    /// Nobody has the name, or it is no supervisor.
    pub fn named(name: &str) -> Result<Self, NameError> {
        lookup(name).map(|address| Supervisor { address })
    }

    /// Its process.
    #[must_use]
    pub fn pid(self) -> Pid {
        self.address.pid()
    }

    /// Its children, in start order. It answers also while it waits for a child to stop.
    ///
    /// # Errors
    ///
    /// It is dead, or starting children for more than 5 seconds.
    pub fn which_children(self) -> Result<Vec<ChildInfo>, CallError> {
        self.address.call(Request::Which)
    }

    /// How many children it has.
    ///
    /// # Errors
    ///
    /// As [`Supervisor::which_children`].
    pub fn count_children(self) -> Result<ChildCount, CallError> {
        self.address.call(Request::Count)
    }

    /// Adds a child and starts it; returns when it has started.
    ///
    /// # Errors
    ///
    /// Its id is there already, its description is wrong, or it does not start: then it is not added.
    pub fn start_child(self, spec: ChildSpec) -> Result<Pid, ChildError> {
        self.ask(|reply| Request::Start(Box::new(spec), reply))
    }

    /// Stops a child; returns when it has ended. Its description stays (not a temporary one's), and
    /// [`Supervisor::restart_child`] starts it again. A child that is about to be restarted is not.
    ///
    /// # Errors
    ///
    /// There is no such child.
    pub fn terminate_child(self, id: impl Into<Arc<str>>) -> Result<(), ChildError> {
        self.ask(|reply| Request::Terminate(id.into(), reply))
    }

    /// Starts a child that rests.
    ///
    /// # Errors
    ///
    /// There is no such child, it runs or is about to, or it does not start.
    pub fn restart_child(self, id: impl Into<Arc<str>>) -> Result<Pid, ChildError> {
        self.ask(|reply| Request::Restart(id.into(), reply))
    }

    /// Forgets a child that rests.
    ///
    /// # Errors
    ///
    /// There is no such child, or it runs or is about to.
    pub fn delete_child(self, id: impl Into<Arc<str>>) -> Result<(), ChildError> {
        self.ask(|reply| Request::Delete(id.into(), reply))
    }

    /// A start or a stop may take as long as the child's description lets it.
    fn ask<T: Send + 'static>(
        self,
        request: impl FnOnce(Reply<Result<T, ChildError>>) -> Request,
    ) -> Result<T, ChildError> {
        self.address.call_timeout(request, Duration::MAX)?
    }
}

impl From<Supervisor> for Pid {
    fn from(supervisor: Supervisor) -> Pid {
        supervisor.pid()
    }
}
