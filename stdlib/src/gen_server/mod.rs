//! The generic server: a state that takes messages one by one (semantics row B8).
//!
//! A server is a value of a type that implements [`GenServer`]. One message type, usually an enum with a
//! [`Reply`](engset_runtime::Reply) in the variants that ask something; [`Address::call`] is how others ask.
//! Between two callbacks a server holds no stack.
//!
//! What a server gets, in which order:
//!
//! 1. [`init`](GenServer::init), while the starter waits.
//! 2. [`handle`](GenServer::handle) for each message, [`event`](GenServer::event) for what the runtime tells.
//!    Requests whose callers have given up are skipped ([`Node::expired_requests`](engset_runtime::Node)).
//! 3. [`timeout`](GenServer::timeout), if the latest callback asked for one and nothing at all came since.
//! 4. [`again`](GenServer::again), if the latest callback asked for it: before anything else.
//! 5. [`terminate`](GenServer::terminate), if a callback stops the server, or if it traps exits and the process
//!    that started it with a link (its supervisor, as a rule) ends or asks it to end.
//!
//! `terminate` does *not* run after a panic, for then the state is half done, nor after an exit signal that is
//! not trapped. What must happen in any case belongs into a destructor.
//!
//! When not to use it: if there is no state and nobody asks, spawn a function; if the state machine is the
//! point, use a state machine; to share a value that is only read and replaced, use an [`Agent`](crate::Agent).

mod builder;
mod fn_server;
mod running;

pub use builder::{IntoServer, ServerBuilder};
pub use fn_server::{FnServer, from_fn};
pub(crate) use running::Running;

use crate::StartError;
use engset_runtime::{Address, Event, ExitReason, MonitorRef, Pid};
use std::{any::Any, fmt, time::Duration};

/// A server: see the [module](self).
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::Reply;
/// use engset_stdlib::{Context, GenServer, Next};
///
/// struct Counter(u64);
///
/// enum Request { Add(u64), Get(Reply<u64>) }
///
/// impl GenServer for Counter {
///     type Message = Request;
///
///     fn handle(&mut self, message: Request, _: &mut Context<Request>) -> Next {
///         match message {
///             Request::Add(number) => self.0 += number,
///             Request::Get(reply) => reply.send(self.0),
///         }
///         Next::wait()
///     }
/// }
///
/// let counter = Counter(40).start_link()?;
/// counter.send(Request::Add(2));
/// assert_eq!(counter.call(Request::Get), Ok(42));
/// # Ok::<(), engset_stdlib::StartError>(())
/// # }).unwrap().unwrap();
/// ```
pub trait GenServer: Send + 'static {
    /// What it takes.
    type Message: Send + 'static;

    /// Called first, in the new process; the starter waits for it.
    ///
    /// # Errors
    ///
    /// A reason not to start (a [`Next::stop_with`] is the same). The starter gets [`StartError::InitFailed`], and the process ends with the reason.
    fn init(&mut self, context: &mut Context<Self::Message>) -> Result<Next, ExitReason> {
        let _ = context;
        Ok(Next::wait())
    }

    /// Called for each message.
    fn handle(&mut self, message: Self::Message, context: &mut Context<Self::Message>) -> Next;

    /// Called for each event: a monitored process is down, a timer has fired, and, if the server traps exits, an
    /// exit signal has come (not the starter's: that ends the server).
    fn event(&mut self, event: Event, context: &mut Context<Self::Message>) -> Next {
        let _ = (event, context);
        Next::wait()
    }

    /// Called before the next message, if the latest callback returned [`Next::again`]. The place for work that
    /// the starter, or a caller, shall not wait for.
    fn again(&mut self, context: &mut Context<Self::Message>) -> Next {
        let _ = context;
        Next::wait()
    }

    /// Called if the latest callback returned [`Next::wait_for`] and nothing came in that time.
    fn timeout(&mut self, context: &mut Context<Self::Message>) -> Next {
        let _ = context;
        Next::wait()
    }

    /// Called last, in an orderly end (rule 5 of the [module](self)). A panic in it becomes the reason of the end.
    fn terminate(&mut self, reason: &ExitReason, context: &mut Context<Self::Message>) {
        let _ = (reason, context);
    }

    /// Writes the state for people: crash reports, [`sys::state_text`](crate::sys::state_text). Default: the name of the
    /// type. With `Debug` at hand it is `write!(out, "{self:?}")`.
    ///
    /// # Errors
    ///
    /// Those of `out`, which cuts off what is too long.
    fn format_state(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(std::any::type_name::<Self>())
    }

    /// Writes a message for people: traces, and crash reports if they are to show the last one
    /// ([`ServerBuilder::keep_last_message`]). Default: the name of the type.
    ///
    /// # Errors
    ///
    /// As [`GenServer::format_state`].
    fn format_message(message: &Self::Message, out: &mut dyn fmt::Write) -> fmt::Result
    where
        Self: Sized,
    {
        let _ = message;
        out.write_str(std::any::type_name::<Self::Message>())
    }

    /// What [`sys::get_state`](crate::sys::get_state) and its like see: the server itself, unless it is a shell around
    /// what its user calls the state.
    #[doc(hidden)]
    fn sys_state(&mut self) -> &mut dyn Any
    where
        Self: Sized,
    {
        self
    }

    /// Options before the start.
    fn options(self) -> ServerBuilder<Self>
    where
        Self: Sized,
    {
        ServerBuilder::new(self)
    }

    /// Starts it, without a tie to this process.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    ///
    /// # Signals
    ///
    /// If an exit signal ends this process while it waits, its stack unwinds from here; the server starts all the
    /// same.
    fn start(self) -> Result<Address<Self::Message>, StartError>
    where
        Self: Sized,
    {
        self.options().start()
    }

    /// Starts it, linked with this process.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    ///
    /// # Signals
    ///
    /// If an exit signal ends this process while it waits, its stack unwinds from here, and the server ends too.
    fn start_link(self) -> Result<Address<Self::Message>, StartError>
    where
        Self: Sized,
    {
        self.options().start_link()
    }

    /// Starts it, with a monitor.
    ///
    /// # Errors, Signals
    ///
    /// As [`GenServer::start`].
    fn start_monitor(self) -> Result<(Address<Self::Message>, MonitorRef), StartError>
    where
        Self: Sized,
    {
        self.options().start_monitor()
    }
}

/// How a server goes on. Made by its functions only.
#[derive(Debug)]
#[must_use = "it tells how the server goes on"]
pub struct Next(Step);

#[derive(Debug)]
enum Step {
    Wait,
    WaitFor(Duration),
    Again,
    Stop(ExitReason),
}

impl Next {
    /// With the next message or event.
    pub fn wait() -> Self {
        Next(Step::Wait)
    }

    /// The same; if nothing comes in this time, with [`GenServer::timeout`]. Anything that comes, also an event,
    /// cancels the timeout.
    pub fn wait_for(time: Duration) -> Self {
        Next(Step::WaitFor(time))
    }

    /// With [`GenServer::again`], before anything else.
    pub fn again() -> Self {
        Next(Step::Again)
    }

    /// Not at all: it ends, with reason `Normal`.
    pub fn stop() -> Self {
        Next(Step::Stop(ExitReason::Normal))
    }

    /// Not at all: it ends, with this reason.
    pub fn stop_with(reason: ExitReason) -> Self {
        Next(Step::Stop(reason))
    }
}

/// What a server can ask about itself.
pub struct Context<M> {
    me: Address<M>,
    parent: Option<Pid>,
}

impl<M: Send + 'static> Context<M> {
    /// Its own address.
    #[must_use]
    pub fn address(&self) -> Address<M> {
        self.me
    }

    /// The process that has started it, if it is linked with it.
    #[must_use]
    pub fn parent(&self) -> Option<Pid> {
        self.parent
    }
}

impl<M> fmt::Debug for Context<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("me", &self.me).field("parent", &self.parent).finish()
    }
}
