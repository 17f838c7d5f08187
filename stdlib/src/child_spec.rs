//! What a supervisor must know of a child: how to start it, when to start it again, how to stop it.

use crate::{
    IntoServer, Restart, StartError, SupervisorBuilder, backoff::Backoff, inherited_mailbox::Verdict,
};
use engset_runtime::{Builder, Pid, call_system};
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::Duration,
};

/// How long a worker has to end after it was asked to.
pub const DEFAULT_SHUTDOWN: Duration = Duration::from_secs(5);

/// How a supervisor stops a child (semantics row B5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shutdown {
    /// It is asked to end, by an exit signal `Shutdown`; if it lives after this time, it is killed. The default of
    /// workers, with 5 seconds.
    After(Duration),
    /// It is asked to end, and may take as long as it likes. The default of supervisors.
    Infinity,
    /// It is killed at once.
    BrutalKill,
}

/// What a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Something that works.
    Worker,
    /// Something that supervises.
    Supervisor,
}

type StartFn = Arc<dyn Fn() -> Result<Pid, StartError> + Send + Sync>;

/// A child of a supervisor, before it is started. Cheap to clone.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_stdlib::{ChildSpec, Next, Restart, Supervisor, from_fn};
/// use std::time::Duration;
///
/// let counter = ChildSpec::server("counter", || from_fn(0, |count: &mut u32, add: u32, _| { *count += add; Next::wait() }))
///     .restart(Restart::Transient)
///     .shutdown_after(Duration::from_secs(1));
/// Supervisor::one_for_one().child(counter).start_link()?;
/// # Ok::<(), engset_stdlib::StartError>(())
/// # }).unwrap().unwrap();
/// ```
#[derive(Clone)]
#[must_use = "it does nothing until a supervisor has it"]
pub struct ChildSpec {
    pub(crate) id: Arc<str>,
    start: StartFn,
    pub(crate) restart: Restart,
    pub(crate) shutdown: Shutdown,
    pub(crate) kind: Kind,
    pub(crate) significant: bool,
    pub(crate) backoff: Option<Arc<Backoff>>,
    /// What is wrong inside of it, if it is a supervisor.
    fault: Option<Box<SpecError>>,
}

/// What is wrong with a description of children. Nothing has been started.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpecError {
    /// Two children of one supervisor have the same id.
    DuplicateId {
        /// The id.
        id: Arc<str>,
    },
    /// A permanent child is always restarted, so its end can never be significant.
    PermanentSignificant {
        /// The child.
        id: Arc<str>,
    },
    /// A child is significant, but the supervisor's `auto_shutdown` is `Never`.
    SignificantWithoutAutoShutdown {
        /// The child.
        id: Arc<str>,
    },
    /// A supervisor below has an error.
    Below {
        /// That supervisor.
        id: Arc<str>,
        /// Its error.
        error: Box<SpecError>,
    },
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpecError::DuplicateId { id } => write!(f, "two children have the id {id:?}"),
            SpecError::PermanentSignificant { id } => {
                write!(f, "the child {id:?} is permanent and significant: it can be one of both only")
            }
            SpecError::SignificantWithoutAutoShutdown { id } => {
                write!(f, "the child {id:?} is significant, but the supervisor's auto_shutdown is Never")
            }
            SpecError::Below { id, error } => write!(f, "in the supervisor {id:?}: {error}"),
        }
    }
}

impl std::error::Error for SpecError {}

impl ChildSpec {
    /// A child that `start` starts, in the supervisor's process: it returns when the child is ready. The supervisor
    /// links with what it returns, if it is not linked already. A panic in it is a failed start.
    pub fn new(
        id: impl Into<Arc<str>>,
        start: impl Fn() -> Result<Pid, StartError> + Send + Sync + 'static,
    ) -> Self {
        ChildSpec {
            id: id.into(),
            start: Arc::new(start),
            restart: Restart::default(),
            shutdown: Shutdown::After(DEFAULT_SHUTDOWN),
            kind: Kind::Worker,
            significant: false,
            backoff: None,
            fault: None,
        }
    }

    /// A server. `make` makes its first state, with or without [options](crate::GenServer::options), for the first start
    /// and for each restart.
    pub fn server<S: IntoServer>(
        id: impl Into<Arc<str>>,
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        let id = id.into();
        let known_as = Arc::clone(&id);
        Self::new(id, move || {
            Ok(make().into_builder().configured_as(Arc::clone(&known_as)).start_link()?.pid())
        })
    }

    /// A process that runs a function. It counts as started at once.
    pub fn function(id: impl Into<Arc<str>>, run: impl Fn() + Send + Sync + 'static) -> Self {
        let run = Arc::new(run);
        let id = id.into();
        let known_as = Arc::clone(&id);
        Self::new(id, move || {
            let run = Arc::clone(&run);
            Ok(Builder::new().link().ancestry().configured_as(Arc::clone(&known_as)).spawn(move || run())?)
        })
    }

    /// A supervisor with its children.
    pub fn supervisor(id: impl Into<Arc<str>>, builder: SupervisorBuilder) -> Self {
        let fault = builder.check().err().map(Box::new);
        let mut spec = Self::new(id, move || Ok(builder.clone().start_link()?.pid()));
        spec.kind = Kind::Supervisor;
        spec.shutdown = Shutdown::Infinity;
        spec.fault = fault;
        spec
    }

    /// When it is started again. Default: always.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// It is started again if it crashes. Short for [`Restart::Transient`].
    pub fn transient(self) -> Self {
        self.restart(Restart::Transient)
    }

    /// It is never started again. Short for [`Restart::Temporary`].
    pub fn temporary(self) -> Self {
        self.restart(Restart::Temporary)
    }

    /// How it is stopped.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// It has this time to end after it was asked to. Short for [`Shutdown::After`].
    pub fn shutdown_after(self, time: Duration) -> Self {
        self.shutdown(Shutdown::After(time))
    }

    /// Its end by itself may end the supervisor: see [`AutoShutdown`](crate::AutoShutdown).
    pub fn significant(mut self) -> Self {
        self.significant = true;
        self
    }

    /// Its restarts wait, longer each time. They count like any others: set the supervisor's intensity
    /// accordingly.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(Arc::new(backoff));
        self
    }

    /// It is a supervisor that [`ChildSpec::new`] starts: for [`count_children`](crate::Supervisor::count_children),
    /// and it may take as long as it likes to stop.
    pub fn as_supervisor(mut self) -> Self {
        self.kind = Kind::Supervisor;
        self.shutdown = Shutdown::Infinity;
        self
    }

    /// What makes it unfit for a supervisor with or without automatic shutdown.
    pub(crate) fn check(&self, auto_shutdown: bool) -> Result<(), SpecError> {
        let id = || Arc::clone(&self.id);
        if let Some(error) = &self.fault {
            return Err(SpecError::Below { id: id(), error: error.clone() });
        }
        if self.significant && self.restart == Restart::Permanent {
            return Err(SpecError::PermanentSignificant { id: id() });
        }
        if self.significant && !auto_shutdown {
            return Err(SpecError::SignificantWithoutAutoShutdown { id: id() });
        }
        Ok(())
    }

    /// Starts it. It is linked with the process that runs. If its process is there, and waits to begin again, it does; if
    /// that fails, it waits on.
    pub(crate) fn start(&self, waiting: &mut Option<Pid>) -> Result<Pid, StartError> {
        if let Some(pid) = *waiting {
            match call_system(pid, Verdict, Duration::MAX) {
                Ok(started) => {
                    started?;
                    *waiting = None;
                    return Ok(pid);
                }
                // It is dead: a new one is started, and nothing is inherited.
                Err(_) => *waiting = None,
            }
        }
        let pid = match catch_unwind(AssertUnwindSafe(|| (self.start)())) {
            Ok(started) => started?,
            Err(payload) => match text_of(&*payload) {
                Some(text) => return Err(StartError::Factory(text)),
                // Not a panic of the function's: an exit signal ends the supervisor.
                None => resume_unwind(payload),
            },
        };
        engset_runtime::link(pid);
        Ok(pid)
    }
}

/// The text of a panic; `None`: it is the runtime's own, which ends the process.
pub(crate) fn text_of(payload: &(dyn std::any::Any + Send)) -> Option<String> {
    let text = payload.downcast_ref::<&'static str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("id", &self.id)
            .field("restart", &self.restart)
            .field("shutdown", &self.shutdown)
            .field("kind", &self.kind)
            .field("significant", &self.significant)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}
