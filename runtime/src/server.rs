//! Processes that hold no stack while they wait.
//!
//! A plain process that waits keeps its stack: 4 KiB and more. A server is a value with a function that
//! is called for each thing received; between two calls it is nothing but that value and its mailbox,
//! a few hundred bytes. In the function it may wait like any process; the stack then stays with it until
//! the function returns. The behaviours of the standard library stand on this.

use crate::{
    event::Received, mailbox::open, pid::Address, process::self_pid, reason::ExitReason, reductions::price,
    state,
};
use engset_scheduler::{Body, Step, current};

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
pub(crate) struct Serving<S> {
    server: S,
    started: bool,
    bounded: bool,
}

impl<S: Server> Serving<S> {
    pub(crate) fn new(server: S) -> Self {
        Serving { server, started: false, bounded: false }
    }
}

impl<S: Server> Body for Serving<S> {
    #[inline]
    fn step(&mut self) -> Step {
        if !self.started {
            self.started = true;
            self.bounded = current::is_current_marked();
            if let Flow::Stop(reason) = self.server.start(Address::new(self_pid())) {
                return stop(reason);
            }
        }
        while let Some(envelope) = current::next() {
            let Some(received) = open(envelope, self.bounded) else { continue };
            if let Flow::Stop(reason) = self.server.handle(received) {
                return stop(reason);
            }
            current::pay(price::RECEIVE);
            if current::is_used_up() {
                return Step::Yield;
            }
        }
        Step::Idle
    }
}

#[cold]
fn stop(reason: ExitReason) -> Step {
    if !reason.is_normal() {
        state::with(|state| state.reason.get_or_insert(reason).clone());
    }
    Step::Done
}
