//! Errors, one type for each operation. A rejected message comes back in its error.

use crate::reason::{DownReason, ExitReason};
use std::{fmt, time::Duration};

pub use engset_scheduler::{SpawnError, StartError};

/// Why a message was certainly not sent. The message comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError<M> {
    /// There is no such process (any more).
    Dead(M),
    /// Its mailbox is full, and its policy does not take the message (or the caller asked not to wait).
    Full(M),
    /// The message alone is larger than its mailbox may be.
    TooLarge {
        /// The message.
        message: M,
        /// Its size in bytes, as the mailbox weighs it.
        size: usize,
        /// What the mailbox may hold, in bytes.
        limit: usize,
    },
}

impl<M> SendError<M> {
    /// The message.
    pub fn into_message(self) -> M {
        match self {
            SendError::Dead(message) | SendError::Full(message) | SendError::TooLarge { message, .. } => {
                message
            }
        }
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Dead(_) => f.write_str("the receiver is dead"),
            SendError::Full(_) => f.write_str("the receiver's mailbox is full"),
            SendError::TooLarge { size, limit, .. } => {
                write!(f, "the message has {size} bytes, the receiver's mailbox holds {limit} at most")
            }
        }
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<M> std::error::Error for SendError<M> {}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// None came in time. If it comes later it is dropped; it never reaches the mailbox.
    Timeout(Duration),
    /// The process was dead, or ended before it answered.
    Down(DownReason),
    /// The process dropped the [`Reply`](crate::Reply) without using it, and lives on.
    NoReply,
    /// The mailbox of the process does not take the request: it is full, or the request is too large.
    Refused(String),
    /// A process has called itself: nobody could answer.
    CallingSelf,
    /// The caller is unwinding or ending, and cannot wait.
    Unwinding,
    /// The request or its answer could not be read by the node that it went to. Nothing of it was delivered.
    Undecodable(Undecodable),
}

/// Why a node could not read what another one has sent.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Undecodable {
    /// The type is not registered there.
    UnknownType {
        /// Its name.
        name: String,
    },
    /// The type of that name looks different there.
    DifferentType {
        /// Its name.
        name: String,
        /// The fingerprint of who has sent it.
        sent: u64,
        /// The fingerprint of who has read it.
        read: u64,
    },
    /// Who has the name takes messages of another type.
    TakesOthers {
        /// The type that was sent.
        name: String,
    },
    /// The bytes are not what their type says, or are nested too deeply.
    Malformed {
        /// What is wrong with them.
        error: String,
    },
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Undecodable::UnknownType { name } => write!(f, "the type {name:?} is not registered there"),
            Undecodable::DifferentType { name, sent, read } => {
                write!(
                    f,
                    "the type {name:?} looks different there: {sent:016x} was sent, {read:016x} is known"
                )
            }
            Undecodable::TakesOthers { name } => {
                write!(f, "the process takes no messages of the type {name:?}")
            }
            Undecodable::Malformed { error } => write!(f, "malformed: {error}"),
        }
    }
}

impl std::error::Error for Undecodable {}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Timeout(time) => write!(f, "no answer within {time:?}"),
            CallError::Down(reason) => write!(f, "the process called is down: {reason}"),
            CallError::NoReply => f.write_str("the process called has dropped the request without an answer"),
            CallError::Refused(why) => write!(f, "the process called did not take the request: {why}"),
            CallError::CallingSelf => f.write_str("a process called itself"),
            CallError::Unwinding => f.write_str("a process that is ending cannot call"),
            CallError::Undecodable(why) => write!(f, "the request or its answer cannot be read: {why}"),
        }
    }
}

impl std::error::Error for CallError {}

/// What is wrong with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// Another process has it.
    Taken {
        /// The name.
        name: String,
        /// Who.
        by: crate::Pid,
    },
    /// Nobody has it.
    Unknown {
        /// The name.
        name: String,
    },
    /// The process that has it takes messages of another type.
    WrongType {
        /// The name.
        name: String,
        /// What it takes.
        takes: &'static str,
        /// What was asked for.
        asked: &'static str,
    },
    /// The process to be named is dead.
    Dead {
        /// The name.
        name: String,
    },
    /// The name is empty or longer than 255 bytes.
    Invalid {
        /// The name.
        name: String,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Taken { name, by } => write!(f, "the name {name:?} is taken by {by}"),
            NameError::Unknown { name } => write!(f, "no process has the name {name:?}"),
            NameError::WrongType { name, takes, asked } => {
                write!(f, "the process named {name:?} takes messages of type {takes}, not {asked}")
            }
            NameError::Dead { name } => write!(f, "the process to be named {name:?} is dead"),
            NameError::Invalid { name } => {
                write!(f, "a name has 1 to 255 bytes, this one has {}: {name:?}", name.len())
            }
        }
    }
}

impl std::error::Error for NameError {}

/// Why [`run`](crate::run) has no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// The node did not start.
    Start(StartError),
    /// A setting cannot be read.
    Config(crate::config::ConfigError),
    /// The first process ended without returning.
    Crashed(ExitReason),
    /// Called from within a process: a node's threads must not wait for another node.
    Nested,
    /// Systematic mode: the first process waits, and nothing will ever happen any more. All processes that
    /// wait, with what is known of them.
    Deadlock(Vec<String>),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Start(error) => write!(f, "the node did not start: {error}"),
            RunError::Config(error) => write!(f, "{error}"),
            RunError::Crashed(reason) => write!(f, "the first process ended: {reason}"),
            RunError::Nested => {
                f.write_str("run was called within a process; use Node::start on another thread")
            }
            RunError::Deadlock(waiting) => {
                write!(f, "deadlock: {} processes wait and nothing can happen:", waiting.len())?;
                waiting.iter().try_for_each(|process| write!(f, "\n  {process}"))
            }
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RunError::Start(error) => Some(error),
            RunError::Config(error) => Some(error),
            _ => None,
        }
    }
}

impl From<StartError> for RunError {
    fn from(error: StartError) -> Self {
        RunError::Start(error)
    }
}

impl From<crate::config::ConfigError> for RunError {
    fn from(error: crate::config::ConfigError) -> Self {
        RunError::Config(error)
    }
}
