//! Applications: parts of a program that are started and stopped as a whole, in order.
//!
//! An application has a name, says which others it needs, and starts a tree of processes. A
//! [`Service`](crate::Service) runs some; [`start`], [`start_all`] and [`stop`] do it by hand.
//!
//! 1. An application is started when those that it depends on run, and stopped before them. Otherwise the order is that of the
//!    program. All of it happens in a process of the application's own, its *master*.
//! 2. If one does not start, those that were started with it before are stopped again, in reverse order.
//! 3. To stop one: [`prep_stop`](Application::prep_stop); its top process gets an exit signal `Shutdown`, and is waited for;
//!    [`stop`](Application::stop).
//! 4. If its top process ends by itself, `stop` is called all the same, and [`StartType`] says what becomes of the node.
//! 5. A panic in a callback of a stop does not keep the rest of the stop from happening; it is told by the result.
//!
//! An application's [`Environment`] is the section `app.NAME` of the configuration, above the defaults that it brings itself.

use crate::{
    StartError,
    application_controller::{self as controller, Request},
    dependencies::{self, DependencyError},
};
use engset_runtime::{
    CallError, Config, ExitReason, Node, Pid,
    config::{Changes, ConfigError, join},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt, sync::Arc};

/// A part of a program. See the [module](self).
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::Pid;
/// use engset_stdlib::{Agent, Application, ApplicationSpec, ChildSpec, Environment, StartError, StartType, Supervisor, application};
///
/// struct Shop;
///
/// impl Application for Shop {
///     fn spec(&self) -> ApplicationSpec {
///         ApplicationSpec::new("shop")
///     }
///
///     fn start(&mut self, environment: &Environment) -> Result<Pid, StartError> {
///         let goods: u32 = environment.get_or("goods", 3)?;
///         let store = ChildSpec::new("store", move || Ok(Agent::start_link_named(goods, "store")?.pid()));
///         Ok(Supervisor::one_for_one().child(store).start_link()?.pid())
///     }
/// }
///
/// application::start(Shop, StartType::Temporary)?;
/// assert_eq!(Agent::<u32>::named("store").unwrap().get(|goods| *goods), Ok(3));
/// application::stop("shop")?;
/// # Ok::<(), application::ApplicationError>(())
/// # }).unwrap().unwrap();
/// ```
pub trait Application: Send + 'static {
    /// Its name and what it needs. Asked once.
    fn spec(&self) -> ApplicationSpec;

    /// Starts its processes and returns the top one, as a rule a supervisor, linked with the process that runs.
    ///
    /// # Errors
    ///
    /// It does not start.
    fn start(&mut self, environment: &Environment) -> Result<Pid, StartError>;

    /// Called for each of its start phases, in order, when it has started.
    ///
    /// # Errors
    ///
    /// A reason not to start after all: it is stopped again.
    fn start_phase(&mut self, phase: &str, environment: &Environment) -> Result<(), ExitReason> {
        let _ = (phase, environment);
        Ok(())
    }

    /// Called before its processes are stopped.
    fn prep_stop(&mut self, environment: &Environment) {
        let _ = environment;
    }

    /// Called when its processes have ended, by themselves or not.
    fn stop(&mut self, environment: &Environment) {
        let _ = environment;
    }

    /// Called when something in its section of the configuration has changed.
    fn config_changed(&mut self, changes: &Changes, environment: &Environment) {
        let _ = (changes, environment);
    }
}

impl Application for Box<dyn Application> {
    fn spec(&self) -> ApplicationSpec {
        (**self).spec()
    }

    fn start(&mut self, environment: &Environment) -> Result<Pid, StartError> {
        (**self).start(environment)
    }

    fn start_phase(&mut self, phase: &str, environment: &Environment) -> Result<(), ExitReason> {
        (**self).start_phase(phase, environment)
    }

    fn prep_stop(&mut self, environment: &Environment) {
        (**self).prep_stop(environment);
    }

    fn stop(&mut self, environment: &Environment) {
        (**self).stop(environment);
    }

    fn config_changed(&mut self, changes: &Changes, environment: &Environment) {
        (**self).config_changed(changes, environment);
    }
}

/// An application that is a function. See [`Application::start`].
///
/// ```
/// use engset_stdlib::{ApplicationSpec, Supervisor, application};
///
/// let empty = application::from_fn(ApplicationSpec::new("empty"), |_| {
///     Ok(Supervisor::one_for_one().start_link()?.pid())
/// });
/// # let _ = empty;
/// ```
pub fn from_fn<F>(spec: ApplicationSpec, start: F) -> FnApplication<F>
where
    F: FnMut(&Environment) -> Result<Pid, StartError> + Send + 'static,
{
    FnApplication { spec, start }
}

/// See [`from_fn`].
#[derive(Clone)]
pub struct FnApplication<F> {
    spec: ApplicationSpec,
    start: F,
}

impl<F> Application for FnApplication<F>
where
    F: FnMut(&Environment) -> Result<Pid, StartError> + Send + 'static,
{
    fn spec(&self) -> ApplicationSpec {
        self.spec.clone()
    }

    fn start(&mut self, environment: &Environment) -> Result<Pid, StartError> {
        (self.start)(environment)
    }
}

impl<F> fmt::Debug for FnApplication<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnApplication").field("spec", &self.spec).finish_non_exhaustive()
    }
}

type Defaults = Arc<dyn Fn(Config) -> Result<Config, ConfigError> + Send + Sync>;

/// What must be known of an application before it is started.
#[derive(Clone)]
#[must_use = "it does nothing until an application has it"]
pub struct ApplicationSpec {
    pub(crate) name: Arc<str>,
    pub(crate) depends_on: Vec<Arc<str>>,
    pub(crate) start_phases: Vec<Arc<str>>,
    pub(crate) defaults: Vec<Defaults>,
}

impl ApplicationSpec {
    /// An application of this name that depends on nothing.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        ApplicationSpec {
            name: name.into(),
            depends_on: Vec::new(),
            start_phases: Vec::new(),
            defaults: Vec::new(),
        }
    }

    /// It needs this one.
    pub fn depends_on(mut self, name: impl Into<Arc<str>>) -> Self {
        self.depends_on.push(name.into());
        self
    }

    /// One more start phase.
    pub fn start_phase(mut self, name: impl Into<Arc<str>>) -> Self {
        self.start_phases.push(name.into());
        self
    }

    /// Defaults of its environment: a structure or a map. What the configuration says lies above.
    pub fn defaults(mut self, values: impl Serialize + Send + Sync + 'static) -> Self {
        let (whose, key) = (format!("application {}", self.name), section(&self.name));
        self.defaults.push(Arc::new(move |config| config.with_defaults(whose.as_str(), &key, &values)));
        self
    }
}

impl fmt::Debug for ApplicationSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplicationSpec")
            .field("name", &self.name)
            .field("depends_on", &self.depends_on)
            .field("start_phases", &self.start_phases)
            .finish_non_exhaustive()
    }
}

/// The key of an application's section.
pub(crate) fn section(name: &str) -> String {
    join("app", name)
}

/// What happens to the node when an application ends by itself. (Not when it is stopped by [`stop`].) It takes effect in a
/// [`Service`](crate::Service).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartType {
    /// The node stops, whatever the reason.
    #[default]
    Permanent,
    /// The node stops if the reason is not `Normal`. As in OTP `Shutdown` is not `Normal`; and a supervisor that has restarted
    /// too often ends with `Shutdown`.
    Transient,
    /// It is reported, no more.
    Temporary,
}

/// The environment of an application: its section of the configuration. Each look sees it as it is at that moment.
#[derive(Clone, Debug)]
pub struct Environment {
    name: Arc<str>,
    node: Node,
}

impl Environment {
    /// That of the application of this name, on the caller's node; `None`: this is no process.
    #[must_use]
    pub fn of(name: impl Into<Arc<str>>) -> Option<Self> {
        Node::current().map(|node| Environment { name: name.into(), node })
    }

    /// The application's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is at a key of the section, as a `T`.
    ///
    /// # Errors
    ///
    /// See [`Config::get`].
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<T, ConfigError> {
        self.node.live_config().get(&format!("{}.{key}", section(&self.name)))
    }

    /// The same; `default` if nothing is there.
    ///
    /// # Errors
    ///
    /// See [`Config::get`].
    pub fn get_or<T: DeserializeOwned>(&self, key: &str, default: T) -> Result<T, ConfigError> {
        Ok(self.get::<Option<T>>(key)?.unwrap_or(default))
    }

    /// The whole section as a `T`.
    ///
    /// # Errors
    ///
    /// See [`Config::get`].
    pub fn all<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        self.node.live_config().get(&section(&self.name))
    }
}

/// An application that has been started.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApplicationInfo {
    /// Its name.
    pub name: Arc<str>,
    /// What its end means.
    pub start_type: StartType,
    /// Its top process; `None`: it is starting or stopping.
    pub top: Option<Pid>,
}

/// Why an application was not started, or not stopped.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ApplicationError {
    /// The applications cannot be ordered.
    Dependencies(DependencyError),
    /// One of this name is there.
    AlreadyStarted {
        /// The name.
        name: Arc<str>,
    },
    /// None of this name is there.
    NotStarted {
        /// The name.
        name: Arc<str>,
    },
    /// One that it depends on does not run.
    DependencyNotStarted {
        /// The application.
        name: Arc<str>,
        /// What it depends on.
        dependency: Arc<str>,
    },
    /// It cannot be stopped, for another one depends on it.
    Needed {
        /// The application.
        name: Arc<str>,
        /// The one that depends on it.
        by: Arc<str>,
    },
    /// It did not start. Those that were started with it have been stopped again.
    Start {
        /// The application.
        name: Arc<str>,
        /// Why.
        error: StartError,
    },
    /// A start phase failed. It has been stopped again, and so have those that were started with it.
    StartPhase {
        /// The application.
        name: Arc<str>,
        /// The phase.
        phase: Arc<str>,
        /// Why.
        reason: ExitReason,
    },
    /// It was stopped while it started.
    Stopped {
        /// The application.
        name: Arc<str>,
    },
    /// It has been stopped, but a callback panicked.
    Stop {
        /// The application.
        name: Arc<str>,
        /// What the panic said.
        message: String,
    },
    /// Its defaults are wrong.
    Config(Arc<ConfigError>),
    /// Applications are started and stopped by processes; here none runs, or it is ending.
    Controller(CallError),
}

impl fmt::Display for ApplicationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApplicationError::Dependencies(error) => write!(f, "applications: {error}"),
            ApplicationError::AlreadyStarted { name } => {
                write!(f, "the application {name:?} is started already")
            }
            ApplicationError::NotStarted { name } => write!(f, "the application {name:?} is not started"),
            ApplicationError::DependencyNotStarted { name, dependency } => {
                write!(f, "the application {name:?} depends on {dependency:?}, which is not started")
            }
            ApplicationError::Needed { name, by } => {
                write!(f, "the application {name:?} cannot be stopped: {by:?} depends on it")
            }
            ApplicationError::Start { name, error } => {
                write!(f, "the application {name:?} did not start: {error}")
            }
            ApplicationError::StartPhase { name, phase, reason } => {
                write!(f, "the application {name:?} did not start: phase {phase:?}: {reason}")
            }
            ApplicationError::Stopped { name } => {
                write!(f, "the application {name:?} was stopped while it started")
            }
            ApplicationError::Stop { name, message } => {
                write!(f, "the application {name:?} is stopped, but a callback panicked: {message}")
            }
            ApplicationError::Config(error) => error.fmt(f),
            ApplicationError::Controller(error) => write!(f, "applications: {error}"),
        }
    }
}

impl std::error::Error for ApplicationError {}

impl From<CallError> for ApplicationError {
    fn from(error: CallError) -> Self {
        ApplicationError::Controller(error)
    }
}

impl From<DependencyError> for ApplicationError {
    fn from(error: DependencyError) -> Self {
        ApplicationError::Dependencies(error)
    }
}

/// So that `?` leads out of [`Application::start`].
impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        StartError::InitFailed(ExitReason::error(error.to_string()))
    }
}

/// Starts an application; returns when it has started.
///
/// # Errors
///
/// It does not start, one that it depends on does not run, or one of its name is there.
pub fn start(application: impl Application, start_type: StartType) -> Result<(), ApplicationError> {
    let spec = application.spec();
    launch(Box::new(application), spec, start_type)
}

fn launch(
    application: Box<dyn Application>,
    spec: ApplicationSpec,
    start_type: StartType,
) -> Result<(), ApplicationError> {
    controller::ask(|reply| Request::Start { application, spec, start_type, reply })?
}

/// Starts applications, each after those that it depends on: of these, or running already.
///
/// # Errors
///
/// They cannot be ordered: nothing is started. Or one of them does not start: those that were before it have been stopped again.
pub fn start_all(
    applications: impl IntoIterator<Item = (Box<dyn Application>, StartType)>,
) -> Result<(), ApplicationError> {
    let mut all: Vec<_> = applications
        .into_iter()
        .map(|(application, start_type)| {
            let spec = application.spec();
            Some((application, spec, start_type))
        })
        .collect();
    let running = which()?;
    let specs: Vec<ApplicationSpec> = all.iter().flatten().map(|(_, spec, _)| spec.clone()).collect();
    let items: Vec<dependencies::Item<'_>> = specs
        .iter()
        .map(|spec| (&*spec.name, spec.depends_on.iter().map(|name| &**name).collect()))
        .collect();
    let ordered = dependencies::order(&items, |name| running.iter().any(|info| &*info.name == name))?;
    let mut started = Vec::new();
    for at in ordered {
        let Some((application, spec, start_type)) = all[at].take() else { continue };
        let name = Arc::clone(&spec.name);
        if let Err(error) = launch(application, spec, start_type) {
            for name in started.into_iter().rev() {
                // What goes wrong here has been logged; the first error is the one to tell.
                drop(stop(name));
            }
            return Err(error);
        }
        started.push(name);
    }
    Ok(())
}

/// Stops an application; returns when it has stopped. The node goes on, whatever its start type.
///
/// # Errors
///
/// There is no such application, or another one depends on it; or it has been stopped, but a callback panicked.
pub fn stop(name: impl Into<Arc<str>>) -> Result<(), ApplicationError> {
    controller::ask(|reply| Request::Stop { name: name.into(), reply })?
}

/// Stops all applications, the latest first.
///
/// # Errors
///
/// A callback panicked: the first panic is told. All have been stopped.
pub fn stop_all() -> Result<(), ApplicationError> {
    let mut result = Ok(());
    for info in which()?.into_iter().rev() {
        match stop(info.name) {
            // It has ended by itself meanwhile.
            Err(ApplicationError::NotStarted { .. }) | Ok(()) => {}
            Err(error) => result = result.and(Err(error)),
        }
    }
    result
}

/// The applications that have been started, in the order of their start.
///
/// # Errors
///
/// This is no process, or it is ending.
pub fn which() -> Result<Vec<ApplicationInfo>, ApplicationError> {
    Ok(controller::ask(Request::Which)?)
}
