//! Why a process ended, and what a monitor says about it.

use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// Why a process ended, or is asked to end.
///
/// Cheap to clone: details are shared.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExitReason {
    /// It was finished. Linked processes do not care, unless they trap exits.
    Normal,
    /// Its supervisor asked it to end.
    Shutdown,
    /// The same with a word about why.
    ShutdownWith(Arc<str>),
    /// The request that cannot be trapped. A process that is killed ends with `Killed`; this one as a
    /// reason of an *end* comes only from a process that chose it itself, by `exit(ExitReason::Kill)`.
    Kill,
    /// Somebody killed it.
    Killed,
    /// There is no such process (any more).
    NoProc,
    /// The connection to its node is lost. The process itself may be alive.
    NoConnection,
    /// It panicked.
    Panic(Arc<Panic>),
    /// A reason of the user's.
    Error(Arc<str>),
}

/// What is known about a panic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Panic {
    /// The message, if it was a text.
    pub message: String,
    /// Where: file, line and column. Empty if the panic was resumed rather than started.
    pub location: String,
    /// The backtrace, if `RUST_BACKTRACE` asks for one.
    pub backtrace: Option<String>,
}

impl ExitReason {
    /// A reason of the user's.
    pub fn error(reason: impl Into<Arc<str>>) -> Self {
        ExitReason::Error(reason.into())
    }

    /// Shutdown, with a word about why.
    pub fn shutdown_with(reason: impl Into<Arc<str>>) -> Self {
        ExitReason::ShutdownWith(reason.into())
    }

    /// Is it `Normal`?
    #[must_use]
    pub fn is_normal(&self) -> bool {
        matches!(self, ExitReason::Normal)
    }

    /// Is it an orderly end: `Normal`, `Shutdown` or `ShutdownWith`? A `transient` child is not restarted
    /// after one.
    #[must_use]
    pub fn is_orderly(&self) -> bool {
        matches!(self, ExitReason::Normal | ExitReason::Shutdown | ExitReason::ShutdownWith(_))
    }

    /// The panic, if it is one.
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        match self {
            ExitReason::Panic(panic) => Some(panic),
            _ => None,
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitReason::Normal => f.write_str("normal"),
            ExitReason::Shutdown => f.write_str("shutdown"),
            ExitReason::ShutdownWith(why) => write!(f, "shutdown: {why}"),
            ExitReason::Kill => f.write_str("kill"),
            ExitReason::Killed => f.write_str("killed"),
            ExitReason::NoProc => f.write_str("noproc"),
            ExitReason::NoConnection => f.write_str("noconnection"),
            ExitReason::Panic(panic) if panic.location.is_empty() => write!(f, "panic: {}", panic.message),
            ExitReason::Panic(panic) => write!(f, "panic at {}: {}", panic.location, panic.message),
            ExitReason::Error(why) => write!(f, "error: {why}"),
        }
    }
}

impl fmt::Debug for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a monitor has found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DownReason {
    /// It ended, for this reason, while it was monitored.
    Exited(ExitReason),
    /// When the monitor was set there was no such process: it had ended, or the name was free.
    NoProc,
    /// Its node cannot be reached. It may be alive.
    NoConnection,
    /// Its node has been restarted: the process is gone with the former incarnation.
    NodeRestarted,
}

impl DownReason {
    /// The exit reason that Erlang would show.
    #[must_use]
    pub fn as_exit(&self) -> ExitReason {
        match self {
            DownReason::Exited(reason) => reason.clone(),
            DownReason::NoProc | DownReason::NodeRestarted => ExitReason::NoProc,
            DownReason::NoConnection => ExitReason::NoConnection,
        }
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DownReason::Exited(reason) => write!(f, "exited ({reason})"),
            DownReason::NoProc => f.write_str("no such process"),
            DownReason::NoConnection => f.write_str("its node cannot be reached"),
            DownReason::NodeRestarted => f.write_str("its node was restarted"),
        }
    }
}
