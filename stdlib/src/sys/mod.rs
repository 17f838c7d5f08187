//! Looking into behaviours while they run: their state, statistics, traces; suspending them (semantics row B10).
//!
//! All behaviours of this crate answer: servers, agents, supervisors, tasks. The requests go the system lane
//! ([`call_system`]), so a pid is all one needs, and the message type of the process does not matter. They take
//! their turn in the mailbox, and keep their order with the sender's messages.
//!
//! ```
//! # engset_runtime::run(|| {
//! use engset_stdlib::{GenServer, Next, from_fn, sys};
//!
//! let counter = from_fn(0_u32, |count, add: u32, _| { *count += add; Next::wait() }).start()?;
//! counter.send(40);
//! assert_eq!(sys::get_state::<u32>(counter), Ok(40));
//!
//! sys::suspend(counter).unwrap();
//! counter.send(1); // waits in the mailbox
//! sys::replace_state(counter, |count: &u32| count + 1).unwrap();
//! assert_eq!(sys::get_state::<u32>(counter), Ok(41));
//! sys::resume(counter).unwrap();
//! assert_eq!(sys::get_state::<u32>(counter), Ok(42));
//! # Ok::<(), engset_stdlib::StartError>(())
//! # }).unwrap().unwrap();
//! ```
//!
//! * *State.* Who knows the type of the state can have it as a value ([`get_state`], if it can be cloned), look at it
//!   ([`with_state`]) and replace it. For everybody there is a text ([`state_text`]): what the behaviour makes of it
//!   ([`GenServer::format_state`](crate::GenServer::format_state)), by default the name of its type.
//! * *Suspended*, it answers these functions and ends when its supervisor asks it to. All else waits in the mailbox, in
//!   its order. It holds a stack meanwhile.
//! * A process that is no behaviour answers [`SysError::NotSupported`] at once, a dead one that it is dead.
//! * All wait 5 seconds at most. All are for people and tests: a program whose parts replace each other's states has no
//!   parts.

mod observed;
mod request;
mod watch;

pub(crate) use observed::{Inspect, Observed};
pub use request::Status;
pub use watch::{Statistics, TraceEvent, Traced};

use engset_runtime::{Address, CallError, DEFAULT_CALL_TIMEOUT, Pid, Reply, call_system};
use request::{Request, Tracing};
use std::{any::Any, fmt};

/// Why a behaviour did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SysError {
    /// The process lives, and is no behaviour that can be looked into.
    NotSupported,
    /// Its state is of another type than was asked for.
    WrongType {
        /// The type that was asked for.
        asked: &'static str,
    },
    /// The closure that looked at the state, or what makes a text of it, panicked with this message. The behaviour lives
    /// on.
    Panicked(String),
    /// It is dead, or did not answer in time.
    Call(CallError),
}

impl fmt::Display for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SysError::NotSupported => f.write_str("the process is no behaviour that can be looked into"),
            SysError::WrongType { asked } => write!(f, "the state is no {asked}"),
            SysError::Panicked(text) => write!(f, "a panic while looking at the state: {text}"),
            SysError::Call(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SysError {}

impl From<CallError> for SysError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NoReply => SysError::NotSupported,
            other => SysError::Call(other),
        }
    }
}

fn ask<T: Send + 'static>(
    pid: impl Into<Pid>,
    request: impl FnOnce(Reply<T>) -> Request,
) -> Result<T, SysError> {
    call_system(pid, request, DEFAULT_CALL_TIMEOUT).map_err(SysError::from)
}

/// A copy of the state.
///
/// # Errors
///
/// See [`SysError`].
pub fn get_state<S: Any + Clone + Send>(pid: impl Into<Pid>) -> Result<S, SysError> {
    with_state(pid, |state: &mut S| state.clone())
}

/// Runs `look` in the behaviour's process, with its state, and brings back what it returns.
///
/// # Errors
///
/// See [`SysError`]. If `look` panics, what it has changed by then stays.
pub fn with_state<S: Any, R: Send + 'static>(
    pid: impl Into<Pid>,
    look: impl FnOnce(&mut S) -> R + Send + 'static,
) -> Result<R, SysError> {
    ask(pid, |reply: Reply<Result<R, SysError>>| {
        Request::State(Box::new(move |state| {
            reply.send(match state.downcast_mut::<S>() {
                Some(state) => observed::guarded(|| look(state)),
                None => Err(SysError::WrongType { asked: std::any::type_name::<S>() }),
            });
        }))
    })?
}

/// Puts what `change` makes of the state in its place, and drops the old one. If `change` panics, the state stays.
///
/// # Errors
///
/// See [`SysError`].
pub fn replace_state<S: Any + Send>(
    pid: impl Into<Pid>,
    change: impl FnOnce(&S) -> S + Send + 'static,
) -> Result<(), SysError> {
    with_state(pid, |state: &mut S| *state = change(state))
}

/// The state as a text, 4 KiB at most.
///
/// # Errors
///
/// See [`SysError`].
pub fn state_text(pid: impl Into<Pid>) -> Result<String, SysError> {
    ask(pid, Request::StateText)?
}

/// What is known of the behaviour.
///
/// # Errors
///
/// See [`SysError`].
pub fn get_status(pid: impl Into<Pid>) -> Result<Status, SysError> {
    ask(pid, Request::Status).map(|status| *status)
}

/// From now on it receives nothing but these functions' requests. Suspending twice is suspending.
///
/// # Errors
///
/// See [`SysError`].
pub fn suspend(pid: impl Into<Pid>) -> Result<(), SysError> {
    ask(pid, Request::Suspend)
}

/// It goes on with what has come meanwhile.
///
/// # Errors
///
/// See [`SysError`].
pub fn resume(pid: impl Into<Pid>) -> Result<(), SysError> {
    ask(pid, Request::Resume)
}

/// Begins to count what it does, from zero.
///
/// # Errors
///
/// See [`SysError`].
pub fn statistics_on(pid: impl Into<Pid>) -> Result<(), SysError> {
    ask(pid, |reply| Request::Statistics(true, reply))
}

/// Ends it.
///
/// # Errors
///
/// See [`SysError`].
pub fn statistics_off(pid: impl Into<Pid>) -> Result<(), SysError> {
    ask(pid, |reply| Request::Statistics(false, reply))
}

/// What was counted; `None`: it is not being counted.
///
/// # Errors
///
/// See [`SysError`].
pub fn statistics(pid: impl Into<Pid>) -> Result<Option<Statistics>, SysError> {
    ask(pid, Request::GetStatistics)
}

/// From now on it writes what it receives to `tracing`, with the target `engset::trace` and the level INFO.
///
/// # Errors
///
/// See [`SysError`].
pub fn trace_on(pid: impl Into<Pid>) -> Result<(), SysError> {
    ask(pid, |reply| Request::Trace(Tracing::Log(true), reply))
}

/// From now on it sends what it receives to this process, instead of the one before.
///
/// # Errors
///
/// See [`SysError`].
pub fn trace_to(pid: impl Into<Pid>, to: Address<TraceEvent>) -> Result<(), SysError> {
    ask(pid, |reply| Request::Trace(Tracing::To(to), reply))
}

/// Ends both.
///
/// # Errors
///
/// See [`SysError`].
pub fn trace_off(pid: impl Into<Pid>) -> Result<(), SysError> {
    ask(pid, |reply| Request::Trace(Tracing::Off, reply))
}
