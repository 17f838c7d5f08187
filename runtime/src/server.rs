//! Processes that hold no stack while they wait.
//!
//! A plain process that waits keeps its stack: 4 KiB and more. A server is a value with a function that
//! is called for each thing received; between two calls it is nothing but that value and its mailbox,
//! a few hundred bytes. In the function it may wait like any process; the stack then stays with it until
//! the function returns. The behaviours of the standard library stand on this.

use crate::{
    crash::{self, CrashDetails},
    event::Received,
    mailbox::open,
    pid::Address,
    process::self_pid,
    reason::ExitReason,
    state,
    system::SystemRequest,
};
use engset_scheduler::{
    Body, Envelope, Kind, Step,
    current::{self, Got},
};

/// A process as a value: between two calls of [`Server::handle`] it owns no stack.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::{Flow, Received, Reply, Server, serve};
///
/// struct Counter(u64);
///
/// enum Request { Add(u64), Get(Reply<u64>) }
///
/// impl Server for Counter {
///     type Message = Request;
///
///     fn handle(&mut self, received: Received<Request>) -> Flow {
///         match received {
///             Received::Message(Request::Add(number)) => self.0 += number,
///             Received::Message(Request::Get(reply)) => reply.send(self.0),
///             Received::Event(_) => {}
///         }
///         Flow::Continue
///     }
/// }
///
/// let counter = serve(Counter(0));
/// counter.send(Request::Add(2));
/// assert_eq!(counter.call(Request::Get), Ok(2));
/// # }).unwrap();
/// ```
pub trait Server: Send + 'static {
    /// What it takes.
    type Message: Send + 'static;

    /// Called once, first, in the new process.
    fn start(&mut self, me: Address<Self::Message>) -> Flow {
        let _ = me;
        Flow::Continue
    }

    /// Called for each thing received.
    ///
    /// # Signals
    ///
    /// An exit signal that is not trapped ends the process between two calls, or in one that waits.
    fn handle(&mut self, received: Received<Self::Message>) -> Flow;

    /// Called for each system request ([`call_system`](crate::call_system)). One that is dropped is not supported: its
    /// caller gets an error. So do all, if this is not overridden.
    ///
    /// # Signals
    ///
    /// As [`Server::handle`].
    fn system(&mut self, request: SystemRequest) -> Flow {
        drop(request);
        Flow::Continue
    }

    /// Called if the server has panicked, or stopped with a reason that is not orderly, and a report will be written:
    /// what a reader shall know of it. It must not wait. A panic in it is caught.
    ///
    /// A server that has stopped is reported if it tells its behaviour here; one that has panicked always is.
    fn describe(&self, details: &mut CrashDetails) {
        let _ = details;
    }
}

/// How a server goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// With the next thing received.
    Continue,
    /// Not at all: the process ends for this reason.
    Stop(ExitReason),
}

/// Spawns a server.
///
/// # Panics
///
/// Outside of a process, and if the limit of processes is reached ([`Builder::serve`](crate::Builder::serve)
/// gives an error instead).
#[track_caller]
pub fn serve<S: Server>(server: S) -> Address<S::Message> {
    crate::Builder::new().serve(server).unwrap_or_else(|error| panic!("serve: {error}"))
}

/// Spawns a server that is a state and a closure.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::{Flow, Received, Reply, serve_with};
///
/// let counter = serve_with(0_u64, |count, received: Received<Reply<u64>>| {
///     if let Received::Message(reply) = received {
///         *count += 1;
///         reply.send(*count);
///     }
///     Flow::Continue
/// });
/// assert_eq!(counter.call(|reply| reply), Ok(1));
/// assert_eq!(counter.call(|reply| reply), Ok(2));
/// # }).unwrap();
/// ```
///
/// # Panics
///
/// As [`serve`].
#[track_caller]
pub fn serve_with<T, M, F>(state: T, handle: F) -> Address<M>
where
    T: Send + 'static,
    M: Send + 'static,
    F: FnMut(&mut T, Received<M>) -> Flow + Send + 'static,
{
    serve(Closure { state, handle, takes: std::marker::PhantomData })
}

struct Closure<T, M, F> {
    state: T,
    handle: F,
    takes: std::marker::PhantomData<fn(M)>,
}

impl<T, M, F> Server for Closure<T, M, F>
where
    T: Send + 'static,
    M: Send + 'static,
    F: FnMut(&mut T, Received<M>) -> Flow + Send + 'static,
{
    type Message = M;

    fn handle(&mut self, received: Received<M>) -> Flow {
        (self.handle)(&mut self.state, received)
    }
}

/// The body of a server.
pub(crate) struct Serving<S: Server> {
    server: S,
    started: bool,
    bounded: bool,
    /// Within a step. If it is dropped so, it is being unwound.
    running: bool,
    /// When it started, on the scheduler's coarse clock.
    born: u64,
}

impl<S: Server> Serving<S> {
    pub(crate) fn new(server: S) -> Self {
        Serving { server, started: false, bounded: false, running: false, born: 0 }
    }
}

impl<S: Server> Body for Serving<S> {
    #[inline]
    fn step(&mut self) -> Step {
        self.running = true;
        let step = self.run();
        self.running = false;
        step
    }
}

impl<S: Server> Serving<S> {
    #[inline(always)]
    fn run(&mut self) -> Step {
        if !self.started {
            self.started = true;
            self.bounded = current::is_current_marked();
            self.born = current::coarse_now();
            if let Flow::Stop(reason) = self.server.start(Address::new(self_pid())) {
                return self.stop(reason);
            }
        }
        while let Some(got) = current::next(!self.bounded) {
            let flow = match got {
                Got::Message(message) => self.server.handle(Received::Message(message.take())),
                Got::Envelope(envelope) => self.handle_envelope(envelope),
            };
            if let Flow::Stop(reason) = flow {
                return self.stop(reason);
            }
            if !current::pay_one() {
                return Step::Yield;
            }
        }
        Step::Idle
    }

    #[inline(never)]
    fn handle_envelope(&mut self, envelope: Envelope) -> Flow {
        if envelope.kind() == Kind::Event && envelope.is::<SystemRequest>() {
            return match envelope.take() {
                Ok(request) => self.server.system(request),
                Err(_) => Flow::Continue,
            };
        }
        match open(envelope, if self.bounded { current::task() } else { None }) {
            Some(received) => self.server.handle(received),
            None => Flow::Continue,
        }
    }

    #[cold]
    fn stop(&mut self, reason: ExitReason) -> Step {
        if !reason.is_orderly() {
            crash::note(&self.server, self.born, false);
        }
        if !reason.is_normal() {
            state::with(|state| state.doom(reason));
        }
        Step::Done
    }
}

impl<S: Server> Drop for Serving<S> {
    fn drop(&mut self) {
        // A doomed one has a reason already; what is left is a panic. (The panic has been caught when this runs.)
        if self.running && state::with_existing(|state| state.is_doomed()) != Some(true) {
            crash::note(&self.server, self.born, true);
        }
    }
}
