//! From `main` to a service that stops gracefully: a node, its applications, and an end in order.
//!
//! ```text
//! configuration -> node -> extensions -> applications -> runs -> coordinated shutdown -> node stops
//! ```
//!
//! 1. It runs until `SIGTERM` or `SIGINT` comes, [`stop`] is called, or an application ends that it cannot do without
//!    ([`StartType`]).
//! 2. Then the phases of the [`shutdown`] run, in which the applications stop, and the node stops.
//! 3. That has a deadline in all (`stop.deadline_ms`, 25 s). When it has passed, or with the second `SIGTERM` or `SIGINT`, the end is
//!    *forced*: [`Service::run`] returns at once, with an account of what hangs. What hangs is left to itself, to end with
//!    the program. No process is needed for that, and no worker: a native loop cannot prevent it.
//! 4. `SIGHUP` reads the configuration anew ([`configuration`]).
//! 5. A stop while the service starts is a stop: what has started is stopped.
//!
//! | exit code of [`Service::main`] | |
//! |---|---|
//! | 0 | stopped, and everything is done that was to be done |
//! | 1 | it did not start, an application ended, or something of the stop failed |
//! | 78 | the configuration is wrong (what an application says of its own section: 1) |
//! | 124 | forced: the deadline |
//! | 128 + number | forced: the second signal |
//!
//! In systematic mode real signals are left alone, and time is virtual: a test of a service takes
//! [`signals::simulate`](crate::signals::simulate).

use crate::{
    Application, ApplicationError, StartType, application, application_controller as controller,
    configuration,
    service_end::{Forced, HangReport, ServiceError},
    shutdown::{self, CoordinatedShutdown, NODE_STOP, Phase, STOP, ShutdownError, StopCause},
    shutdown_run::StopReport,
    signals::{OsSignal, Signals},
    start::wait_for_death,
};
use engset_runtime::{
    Address, Builder, Config, Event, ExitReason, Extension, ExtensionError, Mailbox, MonitorRef, NameError,
    Node, Pid, Received, RunError,
    config::{ConfigError, similar},
    kill, send_after, send_named, spawn, spawn_monitor,
};
use std::{
    cell::RefCell,
    fmt,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

/// The name of the process that runs a service.
const NAME: &str = "engset.service";

/// After the deadline, for the process that keeps it; then the thread that waits knows that no worker runs.
const GRACE: Duration = Duration::from_secs(1);

/// A program that runs until it is told to stop. See the [module](self).
///
/// ```
/// use engset_runtime::Config;
/// use engset_stdlib::{ApplicationSpec, Service, Supervisor, application, service};
///
/// let empty = application::from_fn(ApplicationSpec::new("empty"), |_| {
///     Ok(Supervisor::one_for_one().start_link()?.pid())
/// });
/// let report = Service::new(Config::load("service.toml")?)
///     .application(empty)
///     .started(|| service::stop("an example").unwrap())
///     .run()?;
/// assert!(report.is_clean());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it does nothing until it runs"]
pub struct Service {
    config: Result<Config, ConfigError>,
    boot: Boot,
    signals: bool,
}

type Create = fn(&Node) -> Result<(), ExtensionError>;

/// What the start does.
struct Boot {
    extensions: Vec<Create>,
    offered: Vec<(String, Create)>,
    phases: Vec<Phase>,
    applications: Vec<(Box<dyn Application>, StartType)>,
    started: Option<Box<dyn FnOnce() + Send>>,
}

impl Service {
    /// A service with these settings, or with what was wrong with them: [`Service::main`] tells it.
    pub fn new(config: impl IntoConfig) -> Self {
        Service {
            config: config.into_config(),
            boot: Boot {
                extensions: Vec::new(),
                offered: Vec::new(),
                phases: Vec::new(),
                applications: Vec::new(),
                started: None,
            },
            signals: true,
        }
    }

    /// One more application, without which the service does not go on: [`StartType::Permanent`].
    pub fn application(self, application: impl Application) -> Self {
        self.application_as(StartType::Permanent, application)
    }

    /// One more application.
    pub fn application_as(mut self, start_type: StartType, application: impl Application) -> Self {
        self.boot.applications.push((Box::new(application), start_type));
        self
    }

    /// An extension that is created at the start, before the applications.
    pub fn extension<T: Extension>(mut self) -> Self {
        self.boot.extensions.push(|node| node.extension::<T>().map(drop));
        self
    }

    /// An extension that is created at the start if the configuration says so: `extensions = ["name"]`.
    pub fn offer_extension<T: Extension>(mut self, name: impl Into<String>) -> Self {
        self.boot.offered.push((name.into(), |node| node.extension::<T>().map(drop)));
        self
    }

    /// One more phase of the shutdown.
    pub fn phase(mut self, phase: Phase) -> Self {
        self.boot.phases.push(phase);
        self
    }

    /// Called in a process when all applications have started.
    pub fn started(mut self, started: impl FnOnce() + Send + 'static) -> Self {
        self.boot.started = Some(Box::new(started));
        self
    }

    /// Leaves the system's signals alone: only [`stop`] and the applications end it.
    pub fn ignore_signals(mut self) -> Self {
        self.signals = false;
        self
    }

    /// Runs it on a node of its own until it has stopped.
    ///
    /// # Errors
    ///
    /// It did not start, was forced to stop, or stopped because it could not go on: see [`ServiceError`].
    pub fn run(self) -> Result<StopReport, ServiceError> {
        let config = self.config?;
        let deadline = shutdown::deadline(&config)?;
        let systematic = config.get_seed().is_some();
        let node = Node::start(config).map_err(RunError::Start)?;
        let (tell, told) = mpsc::channel();
        let signals = self.signals.then(|| tell.clone());
        let control =
            move |mailbox| Control { deadline, tell, boot: None, stop: None, ended: None }.run(mailbox);
        let result = match Builder::new().name(NAME).spawn_on(&node, control) {
            Err(error) => Err(RunError::Crashed(ExitReason::error(error.to_string())).into()),
            Ok(control) => match signals.map(|tell| subscribe(&node, control, tell)) {
                Some(Err(error)) => Err(error),
                _ => {
                    control.send(Message::Start(Box::new(self.boot)));
                    if systematic { virtually(&node, &told) } else { really(&node, &told) }
                }
            },
        };
        if !matches!(result, Err(ServiceError::Forced(_))) || systematic {
            // What could not be stopped is left to itself; its threads end with the program.
            let _ = node.stop();
        }
        result
    }

    /// Runs it, and says with a line on standard error why it has ended if that was not in order. For `main`; the exit
    /// codes stand in the [module](self).
    pub fn main(self) -> ExitCode {
        ExitCode::from(self.run_to_exit_code())
    }

    /// The same with the exit code as a number, for a `main` that has more to do.
    #[must_use]
    pub fn run_to_exit_code(self) -> u8 {
        match self.run() {
            Ok(report) if report.is_clean() => 0,
            Ok(report) => {
                eprintln!("{report}");
                1
            }
            Err(error) => {
                eprintln!("{error}");
                error.exit_code()
            }
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("config", &self.config)
            .field("applications", &self.boot.applications.len())
            .finish_non_exhaustive()
    }
}

/// Settings, or what is wrong with them.
pub trait IntoConfig {
    /// The same as a result.
    ///
    /// # Errors
    ///
    /// They are wrong.
    fn into_config(self) -> Result<Config, ConfigError>;
}

impl IntoConfig for Config {
    fn into_config(self) -> Result<Config, ConfigError> {
        Ok(self)
    }
}

impl IntoConfig for Result<Config, ConfigError> {
    fn into_config(self) -> Result<Config, ConfigError> {
        self
    }
}

/// Asks the service on the caller's node to stop, with a word about why. It returns at once.
///
/// # Errors
///
/// No service runs on this node.
pub fn stop(why: impl Into<Arc<str>>) -> Result<(), NameError> {
    send_named(NAME, Message::Stop(StopCause::Requested(why.into())))
}

/// What the controlling process takes.
enum Message {
    /// The first, unless a signal is faster.
    Start(Box<Boot>),
    Stop(StopCause),
    Reload,
    /// Of the process that starts everything.
    Booted(Result<(), ServiceError>),
    /// Of the process that stops everything.
    Stopped(Result<StopReport, ShutdownError>),
    Deadline,
}

/// What the thread in [`Service::run`] is told.
enum Tell {
    /// The stop has begun, and has this time.
    Stopping(Duration),
    Ended(Result<StopReport, ServiceError>),
    Forced(Forced),
}

/// Signals as messages, and the second one straight to the thread, past all workers.
fn subscribe(node: &Node, control: Address<Message>, tell: mpsc::Sender<Tell>) -> Result<(), ServiceError> {
    let signals = node.extension::<Signals>()?;
    let stops = AtomicUsize::new(0);
    let tell = Mutex::new(tell);
    let on_stop = move |signal| {
        if stops.fetch_add(1, Ordering::Relaxed) == 0 {
            control.send(Message::Stop(StopCause::Signal(signal)));
        } else {
            // If nobody listens any more, it has ended.
            drop(
                tell.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .send(Tell::Forced(Forced::Signal(signal))),
            );
        }
        true
    };
    signals.subscribe(&[OsSignal::Terminate, OsSignal::Interrupt], on_stop)?;
    signals.subscribe(&[OsSignal::Hangup], move |_| {
        control.send(Message::Reload);
        true
    })?;
    Ok(())
}

/// Waits for the end.
fn really(node: &Node, told: &mpsc::Receiver<Tell>) -> Result<StopReport, ServiceError> {
    let mut limit = Duration::MAX;
    loop {
        let tell = if limit == Duration::MAX {
            told.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
        } else {
            told.recv_timeout(limit)
        };
        match tell {
            Ok(Tell::Stopping(time)) => limit = time.saturating_add(GRACE),
            Ok(Tell::Ended(result)) => return result,
            Ok(Tell::Forced(by)) => return Err(ServiceError::Forced(HangReport::of(node, by))),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                return Err(ServiceError::Forced(HangReport::of(node, Forced::Deadline)));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(RunError::Crashed(ExitReason::Killed).into());
            }
        }
    }
}

/// Runs the node on this thread until the end.
fn virtually(node: &Node, told: &mpsc::Receiver<Tell>) -> Result<StopReport, ServiceError> {
    let end = RefCell::new(None);
    node.run_until(|| {
        while end.borrow().is_none()
            && let Ok(tell) = told.try_recv()
        {
            end.replace(match tell {
                Tell::Stopping(_) => None,
                Tell::Ended(result) => Some(result),
                Tell::Forced(by) => Some(Err(ServiceError::Forced(HangReport::of(node, by)))),
            });
        }
        end.borrow().is_some()
    })?;
    end.into_inner().unwrap_or_else(|| Err(RunError::Deadlock(Vec::new()).into()))
}

/// The process that controls a service. It never waits but for messages.
struct Control {
    deadline: Duration,
    tell: mpsc::Sender<Tell>,
    /// The process that starts everything, while it does.
    boot: Option<(Pid, MonitorRef)>,
    /// The one that stops everything.
    stop: Option<MonitorRef>,
    /// Why the start has failed.
    ended: Option<ServiceError>,
}

impl Control {
    fn run(mut self, mut mailbox: Mailbox<Message>) {
        let me = mailbox.address();
        loop {
            match mailbox.receive() {
                Received::Message(Message::Start(boot)) if self.stop.is_none() => {
                    self.boot = Some(spawn_monitor(move || {
                        let result = boot.run(me);
                        me.send(Message::Booted(result));
                    }));
                }
                Received::Message(Message::Start(_)) => {}
                Received::Message(Message::Stop(cause)) => self.begin(me, cause),
                Received::Message(Message::Reload) => drop(spawn(|| drop(configuration::reload()))),
                Received::Message(Message::Booted(Ok(()))) => self.boot = None,
                Received::Message(Message::Booted(Err(error))) => {
                    self.boot = None;
                    self.start_failed(me, error);
                }
                Received::Message(Message::Stopped(result)) => return self.end(result),
                Received::Message(Message::Deadline) => self.tell(Tell::Forced(Forced::Deadline)),
                Received::Event(Event::Down(down)) => {
                    let reason = down.reason.as_exit();
                    if self.boot.is_some_and(|(_, reference)| reference == down.reference) {
                        self.boot = None;
                        self.start_failed(me, RunError::Crashed(reason).into());
                    } else if self.stop == Some(down.reference) {
                        return self.tell(Tell::Ended(Err(RunError::Crashed(reason).into())));
                    }
                }
                Received::Event(_) => {}
            }
        }
    }

    fn tell(&self, tell: Tell) {
        // Nobody listens any more: it was forced.
        drop(self.tell.send(tell));
    }

    fn start_failed(&mut self, me: Address<Message>, error: ServiceError) {
        if self.stop.is_none() {
            self.ended = Some(error);
            self.begin(me, StopCause::StartFailed);
        }
    }

    fn begin(&mut self, me: Address<Message>, cause: StopCause) {
        if self.stop.is_some() {
            return;
        }
        tracing::info!(target: "engset", %cause, "the service stops");
        self.tell(Tell::Stopping(self.deadline));
        send_after(self.deadline, me, Message::Deadline);
        let boot = self.boot.take();
        let (_, reference) = spawn_monitor(move || {
            if let Some((pid, _)) = boot {
                // Otherwise it might start something that the stop does not see.
                kill(pid);
                wait_for_death(pid, GRACE);
            }
            let result = CoordinatedShutdown::current().and_then(|shutdown| shutdown.run(cause));
            me.send(Message::Stopped(result));
        });
        self.stop = Some(reference);
    }

    fn end(&mut self, stopped: Result<StopReport, ShutdownError>) {
        let result = match (self.ended.take(), stopped) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(error.into()),
            (None, Ok(report)) => match &report.cause {
                StopCause::ApplicationEnded { name, reason } => Err(ServiceError::ApplicationEnded {
                    name: Arc::clone(name),
                    reason: reason.clone(),
                    report,
                }),
                _ if report.aborted.is_some() => Err(ServiceError::Aborted(report)),
                _ => Ok(report),
            },
        };
        self.tell(Tell::Ended(result));
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // After another end it is not heard.
        self.tell(Tell::Ended(Err(RunError::Crashed(ExitReason::Killed).into())));
    }
}

impl Boot {
    fn run(self, control: Address<Message>) -> Result<(), ServiceError> {
        let node = Node::current().ok_or(ExtensionError::OutsideOfProcess)?;
        let shutdown = CoordinatedShutdown::current()?;
        for phase in self.phases {
            shutdown.add_phase(phase)?;
        }
        shutdown.add_task(STOP, "applications", || Ok(application::stop_all()?))?;
        let stopping = node.clone();
        shutdown.add_task(NODE_STOP, "extensions", move || {
            stopping.stop_extensions();
            Ok(())
        })?;
        controller::keep(move |name, reason| {
            control.send(Message::Stop(StopCause::ApplicationEnded { name, reason }));
        })
        .map_err(ApplicationError::from)?;
        for create in self.extensions {
            create(&node)?;
        }
        let wanted: Option<Vec<String>> = node.live_config().get("extensions")?;
        for name in wanted.unwrap_or_default() {
            match self.offered.iter().find(|(offered, _)| *offered == name) {
                Some((_, create)) => create(&node)?,
                None => {
                    let suggestion = similar(&name, self.offered.iter().map(|(name, _)| &**name));
                    let suggestion = suggestion.map(str::to_owned);
                    return Err(ServiceError::UnknownExtension { name, suggestion });
                }
            }
        }
        application::start_all(self.applications)?;
        if let Some(started) = self.started {
            started();
        }
        Ok(())
    }
}
