//! Why a behaviour did not start.

use crate::{RegisterError, SpecError};
use engset_runtime::{BuildError, ExitReason, NameError, SpawnError};
use std::{fmt, sync::Arc, time::Duration};

/// Why a behaviour did not start. In every case nothing of it is left, and the process that wanted to start
/// it has got no exit signal from it: the failure is told once, here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// Its `init` said so, with this reason.
    InitFailed(ExitReason),
    /// Its `init` panicked, or the process was ended by a signal meanwhile.
    InitExited(ExitReason),
    /// Its `init` took longer than it may. The process has been killed.
    InitTimeout(Duration),
    /// A supervisor's description of its children is wrong.
    Spec(SpecError),
    /// A child of a supervisor did not start; those before it have been stopped again.
    Child {
        /// The child.
        id: Arc<str>,
        /// Why.
        error: Box<StartError>,
    },
    /// The function that makes it panicked, in the process that called it.
    Factory(String),
    /// The name cannot be had.
    Name(NameError),
    /// The key of a registry cannot be had.
    Register(RegisterError),
    /// The scheduler refuses another process.
    Spawn(SpawnError),
    /// Behaviours are started by processes; here none runs.
    OutsideOfProcess,
    /// The process that wanted to start it is ending, and cannot wait.
    Ending,
}

impl StartError {
    /// The exit reason of one that ends because of this error.
    #[must_use]
    pub fn as_exit(&self) -> ExitReason {
        match self {
            StartError::InitFailed(reason) | StartError::InitExited(reason) => reason.clone(),
            other => ExitReason::error(other.to_string()),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::InitFailed(reason) => write!(f, "init failed: {reason}"),
            StartError::InitExited(reason) => write!(f, "the process ended in init: {reason}"),
            StartError::InitTimeout(time) => write!(f, "init was not done within {time:?}"),
            StartError::Spec(error) => error.fmt(f),
            StartError::Child { id, error } => write!(f, "the child {id:?} did not start: {error}"),
            StartError::Factory(why) => write!(f, "the function that makes it panicked: {why}"),
            StartError::Name(error) => error.fmt(f),
            StartError::Register(error) => error.fmt(f),
            StartError::Spawn(error) => error.fmt(f),
            StartError::OutsideOfProcess => f.write_str("a behaviour can only be started by a process"),
            StartError::Ending => f.write_str("a process that is ending cannot start another"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<SpecError> for StartError {
    fn from(error: SpecError) -> Self {
        StartError::Spec(error)
    }
}

impl From<BuildError> for StartError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Name(error) => StartError::Name(error),
            BuildError::Spawn(error) => StartError::Spawn(error),
            _ => StartError::OutsideOfProcess,
        }
    }
}
