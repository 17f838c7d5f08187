//! The system lane: requests to the general part of a process, whatever its messages are.
//!
//! A behaviour has questions to answer that have nothing to do with its message type: what is your state,
//! stop for a while, start again. Such a request is a [`SystemRequest`], a box of anything; the sender needs a
//! pid only. Its rules:
//!
//! 1. It is a signal, and keeps the order of all signals of its sender.
//! 2. A [`Server`](crate::Server) receives it in its place among the messages, by
//!    [`Server::system`](crate::Server::system). A server whose class does not know it drops it.
//! 3. A plain process has no general part: it drops the request at its next scheduling point, also if it never
//!    receives. A dead one drops it too. So a [`call_system`] ends at once with an error, never in silence.
//! 4. A server that is to take no messages for a while calls [`receive_system`]: what is no system request
//!    stays in the mailbox, in its order.

use crate::{
    call::{self, Reply},
    error::CallError,
    event::{Event, Exit},
    pid::Pid,
    process,
    reductions::price,
    send,
    signal::{Signal, SystemSignal},
};
use engset_scheduler::{
    Envelope, Kind,
    current::{self, Position, Wake},
};
use std::{any::Any, fmt, time::Duration};

/// A request to the general part of a process, whatever its messages are: what [`call_system`] sends, and a
/// [`Server`](crate::Server) gets by [`Server::system`](crate::Server::system).
pub struct SystemRequest(Box<dyn Any + Send>);

impl SystemRequest {
    /// A request.
    pub fn new<T: Any + Send>(request: T) -> Self {
        SystemRequest(Box::new(request))
    }

    /// What it is.
    ///
    /// # Errors
    ///
    /// The request itself, if it is no `T`.
    pub fn take<T: Any>(self) -> Result<T, Self> {
        self.0.downcast().map(|request| *request).map_err(SystemRequest)
    }
}

impl fmt::Debug for SystemRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SystemRequest")
    }
}

/// Sends a system request. Like a message, it is lost if the process is dead; and if the process does not take
/// such requests.
pub fn send_system<T: Any + Send>(to: impl Into<Pid>, request: T) {
    let request = SystemRequest::new(request);
    send::signal(to.into(), Signal::System(Box::new(SystemSignal { request, call: None })));
    current::reduce(price::OTHER);
}

/// Sends the system request that `make` builds around a [`Reply`], and waits for the answer.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::{
///     CallError, Flow, Received, Reply, Server, SystemRequest, call_system, serve, sleep, spawn,
/// };
/// use std::time::Duration;
///
/// struct HowMany(Reply<u32>);
///
/// struct Counter(u32);
///
/// impl Server for Counter {
///     type Message = ();
///
///     fn handle(&mut self, _: Received<()>) -> Flow {
///         self.0 += 1;
///         Flow::Continue
///     }
///
///     fn system(&mut self, request: SystemRequest) -> Flow {
///         if let Ok(HowMany(reply)) = request.take() {
///             reply.send(self.0);
///         }
///         Flow::Continue
///     }
/// }
///
/// let counter = serve(Counter(0));
/// counter.send(());
/// assert_eq!(call_system(counter, HowMany, Duration::from_secs(5)), Ok(1));
/// let plain = spawn(|| sleep(Duration::from_secs(60)));
/// assert_eq!(call_system(plain, HowMany, Duration::from_secs(5)), Err(CallError::NoReply));
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// [`CallError::NoReply`]: the process lives, but takes no such request. Else see [`CallError`].
///
/// # Signals
///
/// If an exit signal ends the caller, its stack unwinds from here.
pub fn call_system<T: Send + 'static, R: Any + Send>(
    to: impl Into<Pid>,
    make: impl FnOnce(Reply<T>) -> R,
    timeout: Duration,
) -> Result<T, CallError> {
    let make = |reply: Reply<T>| {
        let call = Some(reply.parts());
        Signal::System(Box::new(SystemSignal { request: SystemRequest::new(make(reply)), call }))
    };
    call::call_by_signal(to.into(), make, timeout)
}

/// What [`receive_system`] has received.
#[derive(Debug)]
#[non_exhaustive]
pub enum System {
    /// A system request.
    Request(SystemRequest),
    /// An exit signal that is trapped, of the process that was asked for.
    Exit(Exit),
}

/// For a [`Server`](crate::Server), within a callback: the next system request, or exit event of `from`. Everything
/// else stays in the mailbox, in its order. `None`: the time is over, or the process is ending.
///
/// # Signals
///
/// If an exit signal ends the process, its stack unwinds from here.
///
/// # Panics
///
/// Outside of a process.
pub fn receive_system(from: Option<Pid>, timeout: Duration) -> Option<System> {
    let _ = process::self_pid();
    let deadline = process::deadline(timeout);
    let mut wanted = |envelope: &Envelope| {
        if envelope.kind() != Kind::Event {
            return false;
        }
        let of_parent = matches!(envelope.get(), Some(Event::Exit(exit)) if Some(exit.from) == from);
        of_parent || envelope.is::<SystemRequest>()
    };
    let mut position = Position::default();
    let mut timed_out = false;
    loop {
        if let Some(envelope) = current::search(&mut position, &mut wanted) {
            return match envelope.take::<SystemRequest>() {
                Ok(request) => Some(System::Request(request)),
                Err(envelope) => match envelope.take::<Event>() {
                    Ok(Event::Exit(exit)) => Some(System::Exit(exit)),
                    _ => None,
                },
            };
        }
        if timed_out {
            return None;
        }
        match current::wait_for_more(&position, deadline) {
            Wake::Ready | Wake::Poked => {}
            Wake::TimedOut => timed_out = true,
            Wake::Ending => return None,
        }
    }
}

/// The signal acts: what becomes of the request.
pub(crate) fn arrived(system: SystemSignal) -> Option<Envelope> {
    if current::is_subject_flagged() {
        return Some(Envelope::event(system.request));
    }
    // Rule 3: the reply in it tells the caller.
    current::drop_outside(system);
    None
}
