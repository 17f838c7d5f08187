//! What one node may ask of another, and why it may refuse.

use super::{Ancestry, Pid};
use crate::{BuildError, CallError, Mailbox};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{fmt, sync::Arc};

/// Why a node has refused a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RequestError {
    /// Nobody there has the name.
    UnknownName,
    /// Who has the name takes messages of a type that is not registered there for other nodes.
    NotExported,
    /// Who has the name takes messages of another type.
    WrongType {
        /// Of this one.
        takes: String,
    },
    /// The type of that name looks different there.
    Different,
    /// No entry point is registered there under the name.
    UnknownEntry,
    /// The argument cannot be decoded there.
    BadArgument(String),
    /// No process could be spawned there.
    Spawn(String),
    /// It does not understand the request.
    BadRequest(String),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::UnknownName => f.write_str("nobody has that name there"),
            RequestError::NotExported => {
                f.write_str("the type of its messages is not registered there for other nodes")
            }
            RequestError::WrongType { takes } => write!(f, "it takes messages of the type {takes}"),
            RequestError::Different => f.write_str("the type of that name looks different there"),
            RequestError::UnknownEntry => f.write_str("no entry point is registered there under that name"),
            RequestError::BadArgument(error) => write!(f, "the argument cannot be decoded there: {error}"),
            RequestError::Spawn(error) => write!(f, "nothing was spawned there: {error}"),
            RequestError::BadRequest(error) => write!(f, "it does not understand the request: {error}"),
        }
    }
}

impl std::error::Error for RequestError {}

/// Why a request to another node has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteError {
    /// There is no connection, or it was lost meanwhile: it may or may not have been done.
    Call(CallError),
    /// The node has refused.
    Refused(RequestError),
    /// What was to be sent cannot be encoded.
    Encode(String),
    /// The node of the process that asks has not joined others.
    NotJoined,
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteError::Call(error) => error.fmt(f),
            RemoteError::Refused(error) => write!(f, "refused: {error}"),
            RemoteError::Encode(error) => write!(f, "the argument cannot be encoded: {error}"),
            RemoteError::NotJoined => f.write_str("this node has not joined others"),
        }
    }
}

impl std::error::Error for RemoteError {}

/// Relations of a process that is spawned on another node; they are there from its first moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relation {
    /// A link.
    pub link: bool,
    /// A monitor.
    pub monitor: bool,
}

/// Spawns a process for a parent elsewhere.
pub type SpawnFor = Box<dyn FnOnce(Pid, Ancestry) -> Result<Pid, RequestError>>;

/// What other nodes may spawn under a name: it decodes its argument, whose nesting was looked at before.
pub type EntryPoint = Arc<dyn Fn(&[u8]) -> Result<SpawnFor, RequestError> + Send + Sync>;

/// An entry point that runs `entry`.
pub fn entry_point<A: DeserializeOwned + Send + 'static>(
    entry: impl Fn(A) + Send + Sync + 'static,
) -> EntryPoint {
    let entry = Arc::new(entry);
    decoding(move |argument: A| {
        let entry = Arc::clone(&entry);
        move |parent, ancestry| super::spawn_for(parent, ancestry, move || entry(argument))
    })
}

/// One whose process has a mailbox.
pub fn entry_point_with<A: DeserializeOwned + Send + 'static, M: Send + 'static>(
    entry: impl Fn(A, Mailbox<M>) + Send + Sync + 'static,
) -> EntryPoint {
    let entry = Arc::new(entry);
    decoding(move |argument: A| {
        let entry = Arc::clone(&entry);
        let body = move |mailbox: Mailbox<M>| entry(argument, mailbox);
        move |parent, ancestry| super::spawn_for(parent, ancestry, body)
    })
}

fn decoding<A: DeserializeOwned, S>(prepare: impl Fn(A) -> S + Send + Sync + 'static) -> EntryPoint
where
    S: FnOnce(Pid, Ancestry) -> Result<Pid, BuildError> + 'static,
{
    Arc::new(move |argument: &[u8]| {
        let argument =
            rmp_serde::from_slice(argument).map_err(|error| RequestError::BadArgument(error.to_string()))?;
        let spawn = prepare(argument);
        let spawn = move |parent: Pid, ancestry: Ancestry| {
            spawn(parent, ancestry).map_err(|error| RequestError::Spawn(error.to_string()))
        };
        Ok(Box::new(spawn) as SpawnFor)
    })
}
