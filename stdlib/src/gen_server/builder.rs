//! Options of a server, and its start.

use super::{GenServer, Running};
use crate::{
    RegisterError, Registry, StartError,
    registry::Key,
    start::{self, Tie},
    sys::Observed,
};
use engset_runtime::{Address, Builder, Limit, MonitorRef, Priority, Server};
use std::{fmt, sync::Arc, time::Duration};

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
pub(super) type Via<M> = Arc<dyn Fn(Address<M>) -> Result<(), RegisterError> + Send + Sync>;

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

    pub(super) fn new(server: S) -> Self {
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
