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

use crate::{
    RegisterError, Registry, StartError,
    lazy_timer::{Fired, LazyTimer},
    registry::Key,
    start::{self, Ack, Tie},
    sys::{Inspect, Observed},
};
use engset_runtime::{
    Address, Builder, Event, ExitReason, Flow, Limit, MonitorRef, Pid, Priority, Received, Server,
};
use std::{any::Any, fmt, sync::Arc, time::Duration};

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

/// Options of a server that is to be started.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_stdlib::{Next, GenServer, from_fn};
/// use std::time::Duration;
///
/// let printer = from_fn((), |(), text: String, _| { println!("{text}"); Next::wait() })
///     .options()
///     .name("printer")
///     .init_timeout(Duration::from_secs(1))
///     .start()?;
/// printer.send("hello".to_owned());
/// # Ok::<(), engset_stdlib::StartError>(())
/// # }).unwrap().unwrap();
/// ```
#[derive(Clone)]
#[must_use = "it does nothing until it starts"]
pub struct ServerBuilder<S: GenServer> {
    server: S,
    options: Builder,
    init_timeout: Duration,
    keep_last_message: bool,
    via: Option<Via<S::Message>>,
}

/// Puts a new server under a key.
type Via<M> = Arc<dyn Fn(Address<M>) -> Result<(), RegisterError> + Send + Sync>;

impl<S: GenServer> ServerBuilder<S> {
    /// The server, and whether its messages are to be kept.
    pub(crate) fn into_server(self) -> (S, bool) {
        (self.server, self.keep_last_message)
    }

    /// Starts what `make` makes of it, linked.
    pub(crate) fn launch_as<B: Server<Message = S::Message>>(
        self,
        make: impl FnOnce(Running<S>) -> B,
    ) -> Result<Address<S::Message>, StartError> {
        let ServerBuilder { server, options, init_timeout, keep_last_message, via } = self;
        let make = |ack| make(Running::new(server, ack, keep_last_message, via));
        start::start(options, Tie::Link, init_timeout, make).map(|(address, _)| address)
    }

    fn new(server: S) -> Self {
        ServerBuilder {
            server,
            options: Builder::new(),
            init_timeout: Duration::MAX,
            keep_last_message: false,
            via: None,
        }
    }

    /// Registers it under a key of a registry before its `init`; who knows the key calls it by
    /// [`Registry::via`]. If the key is taken, it does not start: [`StartError::Register`].
    pub fn via<K: Key>(mut self, registry: &Registry<K, Address<S::Message>>, key: K) -> Self {
        let registry = registry.clone();
        self.via = Some(Arc::new(move |address| registry.register(key.clone(), address)));
        self
    }

    /// Registers it under a name before its `init`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.options = self.options.name(name);
        self
    }

    /// When it is chosen among those that can run.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options = self.options.priority(priority);
        self
    }

    /// Bounds its mailbox.
    pub fn mailbox(mut self, limit: Limit) -> Self {
        self.options = self.options.mailbox(limit);
        self
    }

    /// The stack that its callbacks have, in bytes of address space.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.options = self.options.stack_size(bytes);
        self
    }

    /// It traps exits from the start: `terminate` then runs when its supervisor stops it.
    pub fn trap_exits(mut self) -> Self {
        self.options = self.options.trap_exits();
        self
    }

    /// The id that its supervisor knows it by: see [`Builder::configured_as`].
    pub(crate) fn configured_as(mut self, id: Arc<str>) -> Self {
        self.options = self.options.configured_as(id);
        self
    }

    /// How long its `init` may take; then it is killed. Default: as long as it likes.
    pub fn init_timeout(mut self, time: Duration) -> Self {
        self.init_timeout = time;
        self
    }

    /// Each message is written as a text ([`GenServer::format_message`]) before it is handled, so that a crash report can
    /// show the last one. Costs that text for each message; without it a report shows the type only, for free.
    pub fn keep_last_message(mut self) -> Self {
        self.keep_last_message = true;
        self
    }

    /// See [`GenServer::start`].
    ///
    /// # Errors, Signals
    ///
    /// As there.
    pub fn start(self) -> Result<Address<S::Message>, StartError> {
        self.launch(Tie::None).map(|(address, _)| address)
    }

    /// See [`GenServer::start_link`].
    ///
    /// # Errors, Signals
    ///
    /// As there.
    pub fn start_link(self) -> Result<Address<S::Message>, StartError> {
        self.launch(Tie::Link).map(|(address, _)| address)
    }

    /// See [`GenServer::start_monitor`].
    ///
    /// # Errors, Signals
    ///
    /// As there.
    pub fn start_monitor(self) -> Result<(Address<S::Message>, MonitorRef), StartError> {
        match self.launch(Tie::Monitor)? {
            (address, Some(monitor)) => Ok((address, monitor)),
            (_, None) => unreachable!("a monitor was asked for"),
        }
    }

    fn launch(self, tie: Tie) -> Result<start::Started<S::Message>, StartError> {
        let ServerBuilder { server, options, init_timeout, keep_last_message, via } = self;
        start::start(options, tie, init_timeout, |ack| {
            Observed::new(Running::new(server, ack, keep_last_message, via))
        })
    }
}

impl<S: GenServer> fmt::Debug for ServerBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("server", &std::any::type_name::<S>())
            .field("options", &self.options)
            .field("init_timeout", &self.init_timeout)
            .field("keep_last_message", &self.keep_last_message)
            .finish()
    }
}

/// The process of a server.
pub(crate) struct Running<S: GenServer> {
    server: S,
    keeps_messages: bool,
    ack: Option<Ack>,
    via: Option<Via<S::Message>>,
    context: Option<Context<S::Message>>,
    /// The timeout of [`Next::wait_for`]: set with each message, perhaps, and nearly always cancelled.
    idle: LazyTimer,
}

impl<S: GenServer> Running<S> {
    fn new(server: S, ack: Ack, keeps_messages: bool, via: Option<Via<S::Message>>) -> Self {
        Running { server, keeps_messages, ack: Some(ack), via, context: None, idle: LazyTimer::default() }
    }

    /// Another life in the same process: `server` takes the place of one that has failed. The `Next` is what
    /// [`Running::go_on`] has to do when everybody knows that it has started.
    pub(crate) fn reborn(
        server: S,
        keeps_messages: bool,
        me: Address<S::Message>,
        parent: Option<Pid>,
    ) -> Self {
        let context = Some(Context { me, parent });
        Running { server, keeps_messages, ack: None, via: None, context, idle: LazyTimer::default() }
    }

    /// The `init` of one that is [`reborn`](Running::reborn).
    pub(crate) fn init_again(&mut self) -> Result<Next, ExitReason> {
        let Some(context) = &mut self.context else { return Err(ExitReason::NoProc) };
        match self.server.init(context)? {
            Next(Step::Stop(reason)) => Err(reason),
            next => Ok(next),
        }
    }

    pub(crate) fn go_on(&mut self, next: Next) -> Flow {
        let Some(context) = &mut self.context else { return Flow::Continue };
        let mut next = next;
        loop {
            match next.0 {
                Step::Wait => return Flow::Continue,
                Step::WaitFor(time) => {
                    self.idle.set(time);
                    return Flow::Continue;
                }
                Step::Again => {
                    engset_runtime::reduce(1);
                    next = self.server.again(context);
                }
                Step::Stop(reason) => {
                    self.server.terminate(&reason, context);
                    return Flow::Stop(reason);
                }
            }
        }
    }
}

impl<S: GenServer> Server for Running<S> {
    type Message = S::Message;

    fn start(&mut self, me: Address<S::Message>) -> Flow {
        // Held here and not in `self`, so that it is dropped in the unwinding if `init` panics.
        let Some(ack) = self.ack.take() else { return Flow::Stop(ExitReason::NoProc) };
        if let Some(via) = self.via.take()
            && let Err(error) = via(me)
        {
            let error = StartError::Register(error);
            let reason = error.as_exit();
            ack.fail(error);
            return Flow::Stop(reason);
        }
        let context = self.context.insert(Context { me, parent: ack.parent() });
        match self.server.init(context) {
            Ok(Next(Step::Stop(reason))) | Err(reason) => {
                ack.fail(StartError::InitFailed(reason.clone()));
                Flow::Stop(reason)
            }
            Ok(next) => {
                ack.succeed();
                self.go_on(next)
            }
        }
    }

    #[inline]
    fn handle(&mut self, received: Received<S::Message>) -> Flow {
        let Some(context) = &mut self.context else { return Flow::Continue };
        let next = match received {
            Received::Message(message) => {
                self.idle.clear();
                self.server.handle(message, context)
            }
            Received::Event(Event::Timer(timer)) => match self.idle.fired(timer) {
                Fired::Early => Next::wait(),
                Fired::Due => self.server.timeout(context),
                Fired::Foreign => {
                    self.idle.clear();
                    self.server.event(Event::Timer(timer), context)
                }
            },
            Received::Event(Event::Exit(exit)) if Some(exit.from) == context.parent => {
                Next::stop_with(exit.reason)
            }
            Received::Event(event) => {
                self.idle.clear();
                self.server.event(event, context)
            }
        };
        self.go_on(next)
    }
}

impl<S: GenServer> Inspect for Running<S> {
    fn class(&self) -> &'static str {
        std::any::type_name::<S>()
    }

    fn parent(&self) -> Option<Pid> {
        self.context.as_ref().and_then(Context::parent)
    }

    fn state(&mut self) -> &mut dyn Any {
        self.server.sys_state()
    }

    fn format_state(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.server.format_state(out)
    }

    fn format_message(message: &S::Message, out: &mut dyn fmt::Write) -> fmt::Result {
        S::format_message(message, out)
    }

    fn keeps_messages(&self) -> bool {
        self.keeps_messages
    }
}

/// A server that is a state and a closure.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::Reply;
/// use engset_stdlib::{GenServer, Next, from_fn};
///
/// let ticket = from_fn(0_u32, |last, reply: Reply<u32>, _| {
///     *last += 1;
///     reply.send(*last);
///     Next::wait()
/// })
/// .start()?;
/// assert_eq!(ticket.call(|reply| reply), Ok(1));
/// assert_eq!(ticket.call(|reply| reply), Ok(2));
/// # Ok::<(), engset_stdlib::StartError>(())
/// # }).unwrap().unwrap();
/// ```
pub fn from_fn<T, M, F>(state: T, handle: F) -> FnServer<T, M, F>
where
    T: Send + 'static,
    M: Send + 'static,
    F: FnMut(&mut T, M, &mut Context<M>) -> Next + Send + 'static,
{
    FnServer { state, handle, format: None, takes: std::marker::PhantomData }
}

/// A [`GenServer`], with or without options.
pub trait IntoServer: Send {
    /// The server.
    type Server: GenServer;

    /// With options.
    fn into_builder(self) -> ServerBuilder<Self::Server>;
}

impl<S: GenServer> IntoServer for S {
    type Server = S;

    fn into_builder(self) -> ServerBuilder<S> {
        self.options()
    }
}

impl<S: GenServer> IntoServer for ServerBuilder<S> {
    type Server = S;

    fn into_builder(self) -> ServerBuilder<S> {
        self
    }
}

/// See [`from_fn`].
#[derive(Clone)]
pub struct FnServer<T, M, F> {
    state: T,
    handle: F,
    format: Option<fn(&T, &mut dyn fmt::Write) -> fmt::Result>,
    takes: std::marker::PhantomData<fn(M)>,
}

impl<T: fmt::Debug, M, F> FnServer<T, M, F> {
    /// Reports and [`sys::state_text`](crate::sys::state_text) show its state as `Debug` does.
    #[must_use]
    pub fn debug_state(mut self) -> Self {
        self.format = Some(|state, out| write!(out, "{state:?}"));
        self
    }
}

impl<T, M, F> GenServer for FnServer<T, M, F>
where
    T: Send + 'static,
    M: Send + 'static,
    F: FnMut(&mut T, M, &mut Context<M>) -> Next + Send + 'static,
{
    type Message = M;

    fn handle(&mut self, message: M, context: &mut Context<M>) -> Next {
        (self.handle)(&mut self.state, message, context)
    }

    fn format_state(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match self.format {
            Some(format) => format(&self.state, out),
            None => out.write_str(std::any::type_name::<T>()),
        }
    }

    fn sys_state(&mut self) -> &mut dyn Any {
        &mut self.state
    }
}

impl<T: fmt::Debug, M, F> fmt::Debug for FnServer<T, M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FnServer").field(&self.state).finish()
    }
}
