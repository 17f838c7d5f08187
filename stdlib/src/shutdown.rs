//! Coordinated shutdown: phases that depend on each other, tasks in them, and time for each.
//!
//! | phase | what for |
//! |---|---|
//! | [`BEFORE_UNBIND`] | the program's first chance |
//! | [`UNBIND`] | let nobody new in: close listening sockets |
//! | [`REQUESTS_DONE`] | finish what has been begun |
//! | [`STOP`] | the applications stop, in the reverse order of their start |
//! | [`BEFORE_LEAVE`] | the last chance with the cluster |
//! | [`LEAVE`] | leave the cluster |
//! | [`BEFORE_NODE_STOP`] | the last chance of all |
//! | [`NODE_STOP`] | the extensions stop |
//!
//! 1. Phases run one after the other, each after those that it depends on; the tasks of a phase at the same time, each in
//!    a process of its own.
//! 2. A phase has a time. What is not done then is killed, and counts as failed.
//! 3. If a task of a phase fails and the phase *recovers* (the default), the next phase comes all the same; otherwise the shutdown
//!    is aborted: no other phase runs.
//! 4. It runs once. Whoever asks for it again waits for its end, and gets the same report.
//! 5. A task may be added until its phase begins.
//!
//! In the configuration:
//!
//! ```toml
//! [stop]
//! deadline_ms = 25000        # of a service; then it is forced
//! phase_timeout_ms = 5000    # of phases that do not say otherwise
//!
//! [stop.phases.requests-done]
//! timeout_ms = 10000
//! recover = false
//! enabled = true
//! depends_on = ["unbind"]    # instead of what the program says
//! ```
//!
//! A phase that only the configuration knows is a new one.

use crate::{
    dependencies::{self, DependencyError},
    shutdown_run::{self, StopReport},
    signals::OsSignal,
};
use engset_runtime::{
    Address, Builder, Config, Event, ExitReason, Extension, ExtensionError, Item, Mailbox, Node, Pid, Reply,
    config::{ConfigError, similar},
    exit, extension, kill, monitor,
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The program's first chance.
pub const BEFORE_UNBIND: &str = "before-unbind";
/// Let nobody new in.
pub const UNBIND: &str = "unbind";
/// Finish what has been begun.
pub const REQUESTS_DONE: &str = "requests-done";
/// The applications stop. It has 20 seconds.
pub const STOP: &str = "stop";
/// The last chance with the cluster.
pub const BEFORE_LEAVE: &str = "before-leave";
/// Leave the cluster.
pub const LEAVE: &str = "leave";
/// The last chance of all.
pub const BEFORE_NODE_STOP: &str = "before-node-stop";
/// The extensions stop.
pub const NODE_STOP: &str = "node-stop";

const PHASES: [&str; 8] =
    [BEFORE_UNBIND, UNBIND, REQUESTS_DONE, STOP, BEFORE_LEAVE, LEAVE, BEFORE_NODE_STOP, NODE_STOP];

/// Five seconds for a child that does not listen, a few times one above the other.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// A phase.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it does nothing until a shutdown has it"]
pub struct Phase {
    pub(crate) name: Arc<str>,
    depends_on: Vec<Arc<str>>,
    before: Vec<Arc<str>>,
    timeout: Option<Duration>,
    pub(crate) recover: bool,
    pub(crate) enabled: bool,
}

impl Phase {
    /// A phase that depends on nothing, with the usual time, and recovers.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Phase {
            name: name.into(),
            depends_on: Vec::new(),
            before: Vec::new(),
            timeout: None,
            recover: true,
            enabled: true,
        }
    }

    /// It comes after this one.
    pub fn after(mut self, phase: impl Into<Arc<str>>) -> Self {
        self.depends_on.push(phase.into());
        self
    }

    /// This one comes after it.
    pub fn before(mut self, phase: impl Into<Arc<str>>) -> Self {
        self.before.push(phase.into());
        self
    }

    /// How long it may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// If a task of it fails, no other phase runs.
    pub fn abort_on_failure(mut self) -> Self {
        self.recover = false;
        self
    }
}

/// Why a node stops.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopCause {
    /// The system has sent this signal.
    Signal(OsSignal),
    /// Somebody has asked for it, with a word about why.
    Requested(Arc<str>),
    /// An application has ended without which the node does not go on.
    ApplicationEnded {
        /// Its name.
        name: Arc<str>,
        /// Why.
        reason: ExitReason,
    },
    /// The start has failed.
    StartFailed,
}

impl fmt::Display for StopCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopCause::Signal(signal) => write!(f, "{signal}"),
            StopCause::Requested(why) => write!(f, "requested: {why}"),
            StopCause::ApplicationEnded { name, reason } => {
                write!(f, "the application {name} ended: {reason}")
            }
            StopCause::StartFailed => f.write_str("the start failed"),
        }
    }
}

/// Why a phase or a task was not added, or the phases cannot run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ShutdownError {
    /// There is no such phase.
    UnknownPhase {
        /// What was asked for.
        phase: String,
        /// One that is there and looks like it.
        suggestion: Option<String>,
    },
    /// The phase has begun already.
    TooLate {
        /// The phase.
        phase: String,
    },
    /// The phases cannot be ordered.
    Dependencies(DependencyError),
    /// The configuration is wrong.
    Config(Arc<ConfigError>),
    /// The node stops, or this is no process.
    Extension(ExtensionError),
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShutdownError::UnknownPhase { phase, suggestion } => {
                write!(f, "there is no phase {phase:?}")?;
                match suggestion {
                    Some(suggestion) => write!(f, "; did you mean {suggestion:?}?"),
                    None => Ok(()),
                }
            }
            ShutdownError::TooLate { phase } => write!(f, "the phase {phase:?} has begun already"),
            ShutdownError::Dependencies(error) => write!(f, "phases of the shutdown: {error}"),
            ShutdownError::Config(error) => error.fmt(f),
            ShutdownError::Extension(error) => error.fmt(f),
        }
    }
}

impl Error for ShutdownError {}

impl From<DependencyError> for ShutdownError {
    fn from(error: DependencyError) -> Self {
        ShutdownError::Dependencies(error)
    }
}

impl From<ExtensionError> for ShutdownError {
    fn from(error: ExtensionError) -> Self {
        ShutdownError::Extension(error)
    }
}

/// How a task has gone.
pub type TaskResult = Result<(), Box<dyn Error + Send + Sync>>;

/// A task that was added, for [`CoordinatedShutdown::cancel_task`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TaskRef(u64);

pub(crate) struct Task {
    id: u64,
    phase: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) run: Box<dyn FnOnce() -> TaskResult + Send>,
}

/// The section `stop` of the configuration.
#[derive(Deserialize)]
struct Settings {
    #[serde(default = "default_deadline")]
    deadline_ms: u64,
    #[serde(default = "default_phase_timeout")]
    phase_timeout_ms: u64,
    #[serde(default)]
    phases: BTreeMap<String, PhaseSettings>,
}

/// Kubernetes kills after 30 seconds: by then it shall be known what hangs.
fn default_deadline() -> u64 {
    25_000
}

fn default_phase_timeout() -> u64 {
    5_000
}

#[derive(Deserialize)]
struct PhaseSettings {
    timeout_ms: Option<u64>,
    recover: Option<bool>,
    enabled: Option<bool>,
    depends_on: Option<Vec<String>>,
}

/// How long a service's stop may take in all.
pub(crate) fn deadline(config: &Config) -> Result<Duration, ConfigError> {
    Ok(Duration::from_millis(config.get::<Settings>("stop")?.deadline_ms))
}

/// The shutdown of a node. See the [module](self).
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_stdlib::shutdown::{CoordinatedShutdown, StopCause, UNBIND};
///
/// let shutdown = CoordinatedShutdown::current()?;
/// shutdown.add_task(UNBIND, "close the door", || Ok(()))?;
/// let report = shutdown.run(StopCause::Requested("closing time".into()))?;
/// assert!(report.is_clean());
/// # Ok::<(), engset_stdlib::shutdown::ShutdownError>(())
/// # }).unwrap().unwrap();
/// ```
pub struct CoordinatedShutdown {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    phases: Vec<Phase>,
    phase_timeout: Duration,
    tasks: Vec<Task>,
    last_task: u64,
    /// The process that runs it, and answers with the report.
    runner: Option<Address<Reply<StopReport>>>,
    cause: Option<StopCause>,
    begun: Vec<Arc<str>>,
    progress: Progress,
}

/// How far a shutdown has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The phase that runs.
    pub phase: Option<Arc<str>>,
    /// Its tasks that are not done, with their processes.
    pub tasks: Vec<(Arc<str>, Pid)>,
}

impl Extension for CoordinatedShutdown {
    fn create(node: &Node) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let settings: Settings = node.live_config().get("stop")?;
        let mut phases: Vec<Phase> = Vec::new();
        for name in PHASES {
            let phase = Phase::new(name);
            phases.push(match phases.last() {
                Some(before) => phase.after(Arc::clone(&before.name)),
                None => phase,
            });
        }
        for phase in &mut phases {
            if &*phase.name == STOP {
                phase.timeout = Some(STOP_TIMEOUT);
            }
        }
        for (name, settings) in settings.phases {
            let at = phases.iter().position(|phase| *phase.name == *name);
            let at = at.unwrap_or_else(|| {
                phases.push(Phase::new(name));
                phases.len() - 1
            });
            let phase = &mut phases[at];
            phase.timeout = settings.timeout_ms.map(Duration::from_millis).or(phase.timeout);
            phase.recover = settings.recover.unwrap_or(phase.recover);
            phase.enabled = settings.enabled.unwrap_or(phase.enabled);
            if let Some(names) = settings.depends_on {
                phase.depends_on = names.into_iter().map(Arc::from).collect();
            }
        }
        order(&phases)?;
        let phase_timeout = Duration::from_millis(settings.phase_timeout_ms);
        Ok(CoordinatedShutdown { state: Mutex::new(State { phases, phase_timeout, ..State::default() }) })
    }
}

fn order(phases: &[Phase]) -> Result<Vec<usize>, DependencyError> {
    for phase in phases {
        for name in &phase.before {
            if !phases.iter().any(|other| other.name == *name) {
                let known = phases.iter().map(|phase| &*phase.name);
                let suggestion = similar(name, known).map(str::to_owned);
                let (of, name) = (phase.name.to_string(), name.to_string());
                return Err(DependencyError::Unknown { of, name, suggestion });
            }
        }
    }
    let items: Vec<dependencies::Item<'_>> = phases
        .iter()
        .map(|phase| {
            let ahead = phases.iter().filter(|other| other.before.contains(&phase.name));
            let names = phase.depends_on.iter().map(|name| &**name).chain(ahead.map(|other| &*other.name));
            (&*phase.name, names.collect())
        })
        .collect();
    dependencies::order(&items, |_| false)
}

impl CoordinatedShutdown {
    /// That of the caller's node.
    ///
    /// # Errors
    ///
    /// The configuration of its phases is wrong, the node stops, or this is no process.
    pub fn current() -> Result<Arc<Self>, ShutdownError> {
        Ok(extension::<Self>()?)
    }

    /// While it is held nothing of the runtime may be called: a process that is interrupted with it stops a worker.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more phase.
    ///
    /// # Errors
    ///
    /// There is one of this name, or it cannot be ordered with the others: then it is not added.
    pub fn add_phase(&self, phase: Phase) -> Result<(), ShutdownError> {
        let mut state = self.lock();
        if state.runner.is_some() {
            return Err(ShutdownError::TooLate { phase: phase.name.to_string() });
        }
        let mut phases = state.phases.clone();
        phases.push(phase);
        order(&phases)?;
        state.phases = phases;
        Ok(())
    }

    /// The names of the phases, in the order in which they run.
    #[must_use]
    pub fn phases(&self) -> Vec<Arc<str>> {
        let state = self.lock();
        let ordered = order(&state.phases).unwrap_or_default();
        ordered.into_iter().map(|at| Arc::clone(&state.phases[at].name)).collect()
    }

    /// One more task of a phase. It runs in a process of its own, together with the others of the phase.
    ///
    /// # Errors
    ///
    /// There is no such phase, or it has begun.
    pub fn add_task(
        &self,
        phase: &str,
        name: impl Into<Arc<str>>,
        task: impl FnOnce() -> TaskResult + Send + 'static,
    ) -> Result<TaskRef, ShutdownError> {
        let mut state = self.lock();
        let Some(known) = state.phases.iter().find(|known| *known.name == *phase) else {
            let suggestion = similar(phase, state.phases.iter().map(|known| &*known.name)).map(str::to_owned);
            return Err(ShutdownError::UnknownPhase { phase: phase.to_owned(), suggestion });
        };
        let phase = Arc::clone(&known.name);
        if state.begun.contains(&phase) {
            return Err(ShutdownError::TooLate { phase: phase.to_string() });
        }
        state.last_task += 1;
        let id = state.last_task;
        state.tasks.push(Task { id, phase, name: name.into(), run: Box::new(task) });
        Ok(TaskRef(id))
    }

    /// A task that asks a process to end, by an exit signal `Shutdown`, and waits until it has.
    ///
    /// # Errors
    ///
    /// As [`CoordinatedShutdown::add_task`].
    pub fn add_stop(
        &self,
        phase: &str,
        name: impl Into<Arc<str>>,
        process: impl Into<Pid>,
    ) -> Result<TaskRef, ShutdownError> {
        let process = process.into();
        self.add_task(phase, name, move || {
            // In a process of its own, which has a mailbox.
            let waiter = Builder::new().spawn_monitor(move |mut mailbox: Mailbox<Reply<()>>| {
                let reply = mailbox.message();
                let reference = monitor(process);
                exit(process, ExitReason::Shutdown);
                mailbox.select(
                    |item| matches!(item, Item::Event(Event::Down(down)) if down.reference == reference),
                );
                reply.send(());
            });
            Ok(waiter?.0.call_timeout(|reply| reply, Duration::MAX)?)
        })
    }

    /// Takes a task away that has not begun. False: it has, or there is none.
    pub fn cancel_task(&self, task: TaskRef) -> bool {
        let mut state = self.lock();
        let before = state.tasks.len();
        state.tasks.retain(|other| other.id != task.0);
        state.tasks.len() < before
    }

    /// Why the shutdown runs, if it does or has.
    #[must_use]
    pub fn cause(&self) -> Option<StopCause> {
        self.lock().cause.clone()
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.lock().progress.clone()
    }

    /// Runs it, and waits for its end. If it runs already, or has, only the latter, and `cause` means nothing.
    ///
    /// # Errors
    ///
    /// Called outside of a process, or the process is ending.
    ///
    /// # Signals
    ///
    /// If an exit signal ends the process meanwhile, the shutdown goes on.
    pub fn run(self: &Arc<Self>, cause: StopCause) -> Result<StopReport, ShutdownError> {
        let known = self.lock().runner;
        let runner = match known {
            Some(runner) => runner,
            None => self.claim(cause)?,
        };
        runner
            .call_timeout(|reply| reply, Duration::MAX)
            .map_err(|_| ShutdownError::Extension(ExtensionError::Stopped))
    }

    /// The process that runs it. It begins with the first request, so one that comes too late has done nothing.
    fn claim(self: &Arc<Self>, cause: StopCause) -> Result<Address<Reply<StopReport>>, ShutdownError> {
        let (this, because) = (Arc::clone(self), cause.clone());
        // Before the lock is taken: a process that spawns may be interrupted.
        let ours = Builder::new().spawn(move |mailbox| shutdown_run::run(mailbox, &this, because));
        let ours = ours.map_err(|_| ExtensionError::OutsideOfProcess)?;
        let mut state = self.lock();
        let runner = *state.runner.get_or_insert(ours);
        if runner == ours {
            state.cause = Some(cause);
        }
        drop(state);
        if runner != ours {
            kill(ours);
        }
        Ok(runner)
    }

    /// For the runner: the phases in order, each with its time.
    pub(crate) fn plan(&self) -> Vec<(Phase, Duration)> {
        let state = self.lock();
        let ordered = order(&state.phases).unwrap_or_default();
        let phases = ordered.into_iter().map(|at| state.phases[at].clone());
        phases.map(|phase| (phase.clone(), phase.timeout.unwrap_or(state.phase_timeout))).collect()
    }

    /// For the runner: a phase begins, with these tasks.
    pub(crate) fn begin(&self, phase: &Arc<str>) -> Vec<Task> {
        let mut state = self.lock();
        state.begun.push(Arc::clone(phase));
        let (its, others) =
            std::mem::take(&mut state.tasks).into_iter().partition(|task| task.phase == *phase);
        state.tasks = others;
        its
    }

    /// For the runner.
    pub(crate) fn report(&self, progress: Progress) {
        tracing::debug!(target: "engset", phase = ?progress.phase, waits = progress.tasks.len(), "shutdown");
        self.lock().progress = progress;
    }
}

impl fmt::Debug for CoordinatedShutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoordinatedShutdown").field("progress", &self.progress()).finish_non_exhaustive()
    }
}
