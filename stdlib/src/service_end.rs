//! How a service has ended if not in order, and what hangs when it is forced.

use crate::{
    application::ApplicationError,
    shutdown::{CoordinatedShutdown, ShutdownError},
    shutdown_run::StopReport,
    signals::{OsSignal, SignalError},
};
use engset_runtime::{ExitReason, ExtensionError, Node, Pid, RunError, config::ConfigError};
use std::{fmt, sync::Arc};

/// Processes that a report names; of more it tells the number.
const MOST: usize = 32;

/// Why a service has not stopped in order.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServiceError {
    /// The configuration is wrong.
    Config(ConfigError),
    /// The node did not start, or a process of the service's own crashed.
    Node(RunError),
    /// An extension could not be created.
    Extension(ExtensionError),
    /// The configuration wants an extension that the program does not offer.
    UnknownExtension {
        /// Its name.
        name: String,
        /// One that is offered and looks like it.
        suggestion: Option<String>,
    },
    /// Signals cannot be had.
    Signals(SignalError),
    /// The phases of the shutdown are wrong.
    Shutdown(ShutdownError),
    /// An application did not start.
    Application(ApplicationError),
    /// An application has ended without which the service does not go on. It has stopped in order.
    ApplicationEnded {
        /// The application.
        name: Arc<str>,
        /// Why it ended.
        reason: ExitReason,
        /// The stop.
        report: StopReport,
    },
    /// A phase of the shutdown has failed that does not recover.
    Aborted(StopReport),
    /// It was forced to stop.
    Forced(HangReport),
}

impl ServiceError {
    /// The exit code of a program that ends with it: see the table of [`service`](crate::service).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // EX_CONFIG of sysexits.h.
            ServiceError::Config(_) | ServiceError::UnknownExtension { .. } => 78,
            ServiceError::Forced(HangReport { by: Forced::Signal(signal), .. }) => {
                128 | u8::try_from(signal.number()).unwrap_or(0)
            }
            // As timeout(1).
            ServiceError::Forced(HangReport { by: Forced::Deadline, .. }) => 124,
            _ => 1,
        }
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServiceError::Config(error) => write!(f, "configuration: {error}"),
            ServiceError::Node(error) => error.fmt(f),
            ServiceError::Extension(error) => error.fmt(f),
            ServiceError::UnknownExtension { name, suggestion } => {
                write!(f, "configuration: extensions: there is no {name:?}")?;
                match suggestion {
                    Some(suggestion) => write!(f, "; did you mean {suggestion:?}?"),
                    None => Ok(()),
                }
            }
            ServiceError::Signals(error) => error.fmt(f),
            ServiceError::Shutdown(error) => error.fmt(f),
            ServiceError::Application(error) => error.fmt(f),
            ServiceError::ApplicationEnded { report, .. } | ServiceError::Aborted(report) => report.fmt(f),
            ServiceError::Forced(hang) => hang.fmt(f),
        }
    }
}

impl std::error::Error for ServiceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ServiceError::Config(error) => Some(error),
            ServiceError::Node(error) => Some(error),
            ServiceError::Extension(error) => Some(error),
            ServiceError::Signals(error) => Some(error),
            ServiceError::Shutdown(error) => Some(error),
            ServiceError::Application(error) => Some(error),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($error:ty => $variant:ident,)*) => {
        $(impl From<$error> for ServiceError {
            fn from(error: $error) -> Self {
                ServiceError::$variant(error)
            }
        })*
    };
}

from! {
    ConfigError => Config,
    RunError => Node,
    ExtensionError => Extension,
    SignalError => Signals,
    ShutdownError => Shutdown,
    ApplicationError => Application,
}

/// What has forced the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Forced {
    /// The time of the stop was over.
    Deadline,
    /// The second signal.
    Signal(OsSignal),
}

/// What hung when a service was forced to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HangReport {
    /// What has forced it.
    pub by: Forced,
    /// The phase of the shutdown that ran; `None`: none had begun.
    pub phase: Option<Arc<str>>,
    /// The tasks of that phase that were not done.
    pub tasks: Vec<(Arc<str>, Pid)>,
    /// Processes that still lived, with their names, those of the runtime left out. The ones with names come first.
    pub processes: Vec<(Pid, Option<Arc<str>>)>,
}

impl HangReport {
    /// Needs no process: workers may hang.
    pub(crate) fn of(node: &Node, by: Forced) -> Self {
        let progress = node.find_extension::<CoordinatedShutdown>().map(|shutdown| shutdown.progress());
        let progress = progress.unwrap_or_default();
        let is_task = |pid: &Pid| progress.tasks.iter().any(|(_, task)| task == pid);
        let mut processes: Vec<_> = node
            .processes()
            .into_iter()
            .filter(|pid| !is_task(pid))
            .map(|pid| (pid, node.name_of(pid)))
            .filter(|(_, name)| !name.as_ref().is_some_and(|name| name.starts_with("engset.")))
            .collect();
        processes.sort_by_key(|(pid, name)| (name.is_none(), *pid));
        HangReport { by, phase: progress.phase, tasks: progress.tasks, processes }
    }
}

impl fmt::Display for HangReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            Forced::Deadline => f.write_str("forced to stop: the deadline has passed")?,
            Forced::Signal(signal) => write!(f, "forced to stop: a second signal, {signal}")?,
        }
        match &self.phase {
            Some(phase) => write!(f, " in the phase {phase}")?,
            None => f.write_str(" in no phase")?,
        }
        for (name, pid) in &self.tasks {
            write!(f, "\n  task {name:?} {pid} is not done")?;
        }
        for (pid, name) in self.processes.iter().take(MOST) {
            match name {
                Some(name) => write!(f, "\n  process {name} {pid} lives")?,
                None => write!(f, "\n  process {pid} lives")?,
            }
        }
        match self.processes.len().saturating_sub(MOST) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} others"),
        }
    }
}
