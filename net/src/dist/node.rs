//! The interface: a node joins others.

use super::{
    discovery::{Discovery, HostEntry, HostError, HostNames, Sources},
    endpoint::{Endpoint, Parts},
    explore,
    handshake::{Identity, Limits, MAX_NAME, feature},
    link::LinkCounters,
    nesting,
    peer::PeerMessage,
    secret::{Secret, WeakSecret},
    session::Settings,
    transport::Transport,
    wire::Request,
};
use engset_runtime::{
    Address, Builder, Mailbox, MonitorRef, Node, NodeId, Pid,
    remote::{self, Named, Relation, Remote, RemoteError, Router},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fmt, io, net::SocketAddr, sync::Arc, time::Duration};

/// How a node joins others.
#[derive(Clone)]
#[must_use]
pub struct Config {
    name: String,
    cluster: String,
    secret: Secret,
    settings: Settings,
    nesting: usize,
    addresses: BTreeMap<String, String>,
    creation: Option<u64>,
    hidden: bool,
    connect_all: bool,
    sources: Vec<Arc<dyn Discovery>>,
    host: Option<HostNames>,
    entry: Option<Arc<HostEntry>>,
    look_every: Duration,
}

impl Config {
    /// A name and the cluster's secret. What follows an `@` in the name is the address that others dial, if they are
    /// not told another one: `"shop@10.0.0.7:7100"`.
    pub fn new(name: impl Into<String>, secret: Secret) -> Self {
        Config {
            name: name.into(),
            cluster: "engset".to_owned(),
            secret,
            settings: Settings::default(),
            nesting: nesting::DEFAULT_DEPTH,
            addresses: BTreeMap::new(),
            creation: None,
            hidden: false,
            connect_all: true,
            sources: Vec::new(),
            host: None,
            entry: None,
            look_every: Duration::from_secs(5),
        }
    }

    /// The name of the cluster: nodes of different ones do not talk. Default: `engset`.
    pub fn cluster(self, cluster: impl Into<String>) -> Self {
        Config { cluster: cluster.into(), ..self }
    }

    /// Limits of a connection.
    pub fn settings(self, settings: Settings) -> Self {
        Config { settings, ..self }
    }

    /// Large packets are compressed (LZ4) on the way to nodes that do it too. What they become there is bounded before anything is
    /// decompressed: by the size of a packet, and to 64 times of what has come.
    pub fn compress(mut self) -> Self {
        self.settings.compress = true;
        self
    }

    /// How deep messages may be nested; at most [`nesting::MAX_DEPTH`].
    pub fn nesting(self, depth: usize) -> Self {
        Config { nesting: depth.min(nesting::MAX_DEPTH), ..self }
    }

    /// Where a node is found, if its name does not say it.
    pub fn address(mut self, node: impl Into<String>, address: impl Into<String>) -> Self {
        self.addresses.insert(node.into(), address.into());
        self
    }

    /// The incarnation, which must be greater than that of any node that had the name before. Default: by the system's
    /// clock.
    pub fn creation(self, creation: u64) -> Self {
        Config { creation: Some(creation), ..self }
    }

    /// A hidden node, as for tools that look at a cluster and do not belong to it: it is not among [`Distribution::nodes`] of others, nobody is
    /// told when it comes and goes, it is not told to others, and it connects with nobody but whom it is told to. All else works.
    pub fn hidden(self) -> Self {
        Config { hidden: true, ..self }
    }

    /// Shall nodes that connect tell each other whom they see, and connect with those too? So all nodes of a cluster see
    /// each other, as in Erlang. Default: yes.
    pub fn connect_all(self, connect_all: bool) -> Self {
        Config { connect_all, ..self }
    }

    /// Where nodes are to be found. They are looked for again and again ([`Config::look_every`]), and connected with. There may be
    /// several sources.
    pub fn discover(mut self, source: impl Discovery + 'static) -> Self {
        self.sources.push(Arc::new(source));
        self
    }

    /// Nodes of this host find each other by name, without fixed ports: this one is put into the directory, and looks for others there.
    pub fn on_host(self, host: HostNames) -> Self {
        Config { host: Some(host), ..self }
    }

    /// How often nodes are looked for in the sources. Default: 5 s.
    pub fn look_every(self, time: Duration) -> Self {
        Config { look_every: time.max(Duration::from_millis(10)), ..self }
    }

    /// The node listens here: it is put into the directory of the host, if it is to be.
    pub(crate) fn listening(mut self, address: SocketAddr) -> Result<Self, JoinError> {
        check_name(&self.name)?;
        if let Some(host) = self.host.take() {
            let entry = host.enter(&self.cluster, &self.name, address).map_err(JoinError::Host)?;
            self.entry = Some(Arc::new(entry));
        }
        Ok(self)
    }

    /// The secret.
    #[must_use]
    pub fn get_secret(&self) -> &Secret {
        &self.secret
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("name", &self.name)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// Why a node did not join.
#[derive(Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// Empty, too long, or with control characters.
    BadName {
        /// The name.
        name: String,
    },
    /// The secret is not good for the address.
    WeakSecret(WeakSecret),
    /// It cannot be put into the directory of the host's nodes.
    Host(HostError),
    /// The transport does not start.
    Transport(io::Error),
    /// The node has stopped, or is full.
    Spawn(engset_runtime::BuildError),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::BadName { name } => write!(f, "{name:?} is no name for a node"),
            JoinError::WeakSecret(error) => error.fmt(f),
            JoinError::Host(error) => error.fmt(f),
            JoinError::Transport(error) => write!(f, "the node cannot be reached by others: {error}"),
            JoinError::Spawn(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for JoinError {}

fn check_name(name: &str) -> Result<(), JoinError> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(JoinError::BadName { name: name.to_owned() });
    }
    Ok(())
}

/// A node that has joined others.
///
/// Addresses that are sent or looked up lead to processes of other nodes; all that works with addresses and pids works with
/// them. Connections are made when they are first used.
///
/// ```
/// use engset_net::dist::{Config, Secret, tcp};
/// use engset_runtime::{Mailbox, Node, Reply, register_mailbox, remote::{Remote, register}};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Double(u32, Reply<u32>);
///
/// impl Remote for Double {
///     const NAME: &'static str = "Double";
/// }
///
/// // Two nodes of one program; usually they are on two machines.
/// let (one, two) = (Node::start(Default::default())?, Node::start(Default::default())?);
/// let secret = Secret::new("for this example");
/// let free = "127.0.0.1:0".parse()?;
/// let (_, address) = tcp::join(&two, Config::new("two", secret.clone()), free)?;
/// let config = Config::new("one", secret).address("two", address.to_string());
/// let (others, _) = tcp::join(&one, config, free)?;
///
/// register::<Double>();
/// let (ready, is_ready) = std::sync::mpsc::channel();
/// two.spawn(move |mut mailbox: Mailbox<Double>| {
///     register_mailbox("doubler", &mailbox).unwrap();
///     ready.send(()).unwrap();
///     loop {
///         let Double(number, reply) = mailbox.message();
///         reply.send(2 * number);
///     }
/// })?;
/// is_ready.recv()?;
/// let (tell, told) = std::sync::mpsc::channel();
/// one.spawn(move || {
///     let doubler = others.lookup::<Double>("two", "doubler").unwrap();
///     tell.send(doubler.call(|reply| Double(21, reply))).unwrap();
/// })?;
/// assert_eq!(told.recv()?, Ok(42));
/// assert!(one.stop() & two.stop());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Distribution {
    endpoint: Arc<Endpoint>,
}

impl Distribution {
    /// Joins with this transport. Others use [`super::tcp::join`].
    ///
    /// # Errors
    ///
    /// See [`JoinError`].
    pub fn join_with(node: &Node, config: Config, transport: Arc<dyn Transport>) -> Result<Self, JoinError> {
        let Config { name, cluster, secret, settings, nesting, addresses, creation, .. } = config;
        check_name(&name)?;
        let sources = Sources::new(config.sources, config.entry, config.look_every);
        let connect_all = config.connect_all && !config.hidden;
        let explores = connect_all || !sources.is_empty();
        let creation = creation.unwrap_or_else(creation_by_clock);
        let limits = Limits {
            max_packet: settings.max_packet,
            window: settings.window,
            heartbeat: settings.heartbeat.as_millis() as u32,
        };
        let mut features = if settings.compress { feature::LZ4 } else { 0 };
        if config.hidden {
            features |= feature::HIDDEN;
        }
        let identity = Identity { cluster, name: name.clone(), creation, features, limits };
        let parts =
            Parts { home: node.id(), identity, secret, settings, nesting, addresses, sources, transport };
        let endpoint = Endpoint::new(parts);
        let of_manager = Arc::clone(&endpoint);
        remote::join(node.id(), name.into(), creation, Arc::clone(&endpoint) as _);
        let manager = Builder::new()
            .spawn_on(node, move |mailbox: Mailbox<_>| of_manager.manage(mailbox))
            .inspect_err(|_| remote::leave(node.id()))
            .map_err(JoinError::Spawn)?;
        endpoint.set_manager(manager);
        if let Some(accept) = endpoint.acceptor()
            && let Err(error) = endpoint.transport().listen(accept)
        {
            engset_runtime::kill(manager);
            return Err(JoinError::Transport(error));
        }
        if explores {
            let of_explorer = Arc::clone(&endpoint);
            let body = move |mailbox| explore::run(&of_explorer, mailbox, connect_all);
            if let Err(error) = Builder::new().spawn_on(node, body) {
                engset_runtime::kill(manager);
                return Err(JoinError::Spawn(error));
            }
        }
        Ok(Distribution { endpoint })
    }

    /// The name of this node.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.endpoint.identity().name
    }

    /// Its incarnation.
    #[must_use]
    pub fn creation(&self) -> u64 {
        self.endpoint.identity().creation
    }

    /// Connects with a node, if there is no connection.
    ///
    /// # Errors
    ///
    /// There is none within 7 seconds, or this is no process.
    pub fn connect(&self, node: &str) -> Result<(), RemoteError> {
        self.endpoint.ask_for(node, &Request::Ping, None).map(drop)
    }

    /// Closes the connection with a node, if there is one. The next use connects again; and so does a source that names the node, at its
    /// next look.
    pub fn disconnect(&self, node: &str) {
        self.endpoint.link(node).tell(PeerMessage::Close("disconnected"));
    }

    /// The nodes that this one is connected with, but [hidden](Config::hidden) ones.
    #[must_use]
    pub fn nodes(&self) -> Vec<(Arc<str>, NodeId)> {
        self.endpoint.up(false)
    }

    /// The hidden nodes that this one is connected with; if it is hidden itself, all are.
    #[must_use]
    pub fn hidden_nodes(&self) -> Vec<(Arc<str>, NodeId)> {
        let visible = self.endpoint.up(false);
        self.endpoint.up(true).into_iter().filter(|node| !visible.contains(node)).collect()
    }

    /// Shall the process that calls get [`NodeUp`](engset_runtime::Event::NodeUp) and
    /// [`NodeDown`](engset_runtime::Event::NodeDown)? Returns the nodes that are up; what changes after that it is told.
    ///
    /// # Panics
    ///
    /// Outside of a process.
    pub fn monitor_nodes(&self, on: bool) -> Vec<(Arc<str>, NodeId)> {
        self.endpoint.watch(engset_runtime::self_pid(), on.then_some(false))
    }

    /// The same, with hidden nodes.
    ///
    /// # Panics
    ///
    /// Outside of a process.
    pub fn monitor_all_nodes(&self, on: bool) -> Vec<(Arc<str>, NodeId)> {
        self.endpoint.watch(engset_runtime::self_pid(), on.then_some(true))
    }

    /// The process that has a name on another node, as something to send to: the name is looked up there, for each message.
    pub fn named<M: Remote>(&self, node: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Named<M> {
        remote::named_from(self.endpoint.home(), node, name)
    }

    /// The process that has a name on another node. It must take messages of type `M`, and `M` must be known there: by an address that
    /// was sent or received, or by [`register`](engset_runtime::remote::register).
    ///
    /// # Errors
    ///
    /// See [`RemoteError`].
    pub fn lookup<M: Remote>(&self, node: &str, name: &str) -> Result<Address<M>, RemoteError> {
        Ok(remote::address(self.endpoint.lookup(node, name, remote::register::<M>())?))
    }

    /// Lets other nodes spawn processes that run `entry` with an argument of theirs. Nothing else can be spawned from elsewhere.
    ///
    /// # Panics
    ///
    /// If the name is taken.
    pub fn export<A: DeserializeOwned + Send + 'static>(
        &self,
        name: impl Into<String>,
        entry: impl Fn(A) + Send + Sync + 'static,
    ) {
        let name = name.into();
        let is_new = self.endpoint.register_entry(name.clone(), remote::entry_point(entry));
        assert!(is_new, "two entry points with the name {name}");
    }

    /// Spawns a process on another node: what is exported there as `entry`, with this argument.
    ///
    /// # Errors
    ///
    /// See [`RemoteError`]. If the connection is lost meanwhile the process may have been spawned; if a link was asked for, it
    /// then ends.
    pub fn spawn<A: Serialize>(
        &self,
        node: &str,
        entry: &str,
        argument: &A,
        relation: Relation,
    ) -> Result<(Pid, Option<MonitorRef>), RemoteError> {
        remote::spawn_at(node, entry, argument, relation)
    }

    /// Counters of the messages between this node and another one.
    #[must_use]
    pub fn counters(&self, node: &str) -> LinkCounters {
        self.endpoint.counters(node)
    }

    /// The longest time between two heartbeats of a node, since it is connected; `None`: it is not.
    #[must_use]
    pub fn heartbeat_gap(&self, node: &str) -> Option<Duration> {
        self.endpoint.link(node).heartbeat_gap()
    }
}

impl fmt::Debug for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Distribution({} {:x})", self.name(), self.creation())
    }
}

/// Microseconds since 1970: a node does not start twice in one.
fn creation_by_clock() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "it has to grow from one run of the program to the next")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(1, |time| time.as_micros() as u64)
}
