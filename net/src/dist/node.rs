//! The interface: a node joins others.

use super::{
    endpoint::{Endpoint, Parts, RequestError, SpawnFor},
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
    Address, Builder, CallError, Mailbox, MonitorRef, Node, NodeId, Pid,
    remote::{self, Ancestry, Remote},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fmt, io, sync::Arc};

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
            JoinError::Transport(error) => write!(f, "the node cannot be reached by others: {error}"),
            JoinError::Spawn(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for JoinError {}

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
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteError::Call(error) => error.fmt(f),
            RemoteError::Refused(error) => write!(f, "refused: {error}"),
            RemoteError::Encode(error) => write!(f, "the argument cannot be encoded: {error}"),
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
        let Config { name, cluster, secret, settings, nesting, addresses, creation } = config;
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(JoinError::BadName { name });
        }
        let creation = creation.unwrap_or_else(creation_by_clock);
        let limits = Limits {
            max_packet: settings.max_packet,
            window: settings.window,
            heartbeat: settings.heartbeat.as_millis() as u32,
        };
        let features = if settings.compress { feature::LZ4 } else { 0 };
        let identity = Identity { cluster, name: name.clone(), creation, features, limits };
        let parts = Parts { home: node.id(), identity, secret, settings, nesting, addresses, transport };
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
        self.ask(node, &Request::Ping, None).map(drop)
    }

    /// Closes the connection with a node, if there is one.
    pub fn disconnect(&self, node: &str) {
        self.endpoint.link(node).tell(PeerMessage::Close("disconnected"));
    }

    /// The nodes that this one is connected with.
    #[must_use]
    pub fn nodes(&self) -> Vec<(Arc<str>, NodeId)> {
        let up = |link: Arc<super::link::Link>| {
            let node = link.lock().up.as_ref().map(|up| up.node)?;
            Some((Arc::clone(&link.name), node))
        };
        self.endpoint.links().into_iter().filter_map(up).collect()
    }

    /// Shall the process that calls get [`NodeUp`](engset_runtime::Event::NodeUp) and
    /// [`NodeDown`](engset_runtime::Event::NodeDown)?
    ///
    /// # Panics
    ///
    /// Outside of a process.
    pub fn monitor_nodes(&self, on: bool) {
        self.endpoint.watch(engset_runtime::self_pid(), on);
    }

    /// The process that has a name on another node. It must take messages of type `M`, and `M` must be known there: by an address that
    /// was sent or received, or by [`register`](engset_runtime::remote::register).
    ///
    /// # Errors
    ///
    /// See [`RemoteError`].
    pub fn lookup<M: Remote>(&self, node: &str, name: &str) -> Result<Address<M>, RemoteError> {
        let codec = remote::register::<M>();
        let (name, type_name) = (name.to_owned(), codec.name().to_owned());
        let request = Request::Lookup { name, type_name, fingerprint: codec.fingerprint() };
        Ok(remote::address(self.ask(node, &request, None)?))
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
        let (name, entry, depth) = (name.into(), Arc::new(entry), self.endpoint.nesting());
        let decode = move |argument: &[u8]| {
            let bad = |error: String| RequestError::BadArgument(error);
            nesting::check(argument, depth).map_err(|error| bad(error.to_string()))?;
            let argument: A = rmp_serde::from_slice(argument).map_err(|error| bad(error.to_string()))?;
            let entry = Arc::clone(&entry);
            let spawn = move |parent: Pid, ancestry: Ancestry| {
                let child = remote::spawn_for(parent, ancestry, move || entry(argument));
                child.map_err(|error| RequestError::Spawn(error.to_string()))
            };
            Ok(Box::new(spawn) as SpawnFor)
        };
        let is_new = self.endpoint.register_entry(name.clone(), Arc::new(decode));
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
        let argument = rmp_serde::to_vec(argument).map_err(|error| RemoteError::Encode(error.to_string()))?;
        let ancestry = Ancestry::new(relation.link, relation.monitor);
        let (entry, link) = (entry.to_owned(), relation.link);
        let request = Request::Spawn { entry, link, monitor: ancestry.monitor, argument };
        Ok((self.ask(node, &request, Some(ancestry))?, ancestry.monitor_ref()))
    }

    /// Counters of the messages between this node and another one.
    #[must_use]
    pub fn counters(&self, node: &str) -> LinkCounters {
        self.endpoint.counters(node)
    }

    /// The longest time between two heartbeats of a node, since it is connected; `None`: it is not.
    #[must_use]
    pub fn heartbeat_gap(&self, node: &str) -> Option<std::time::Duration> {
        self.endpoint.link(node).heartbeat_gap()
    }

    fn ask(&self, node: &str, request: &Request, ancestry: Option<Ancestry>) -> Result<Pid, RemoteError> {
        let answer = self.endpoint.ask(node, request, ancestry).map_err(RemoteError::Call)?;
        let ((index, serial), creation) = answer.map_err(RemoteError::Refused)?;
        let Some(of) = self.endpoint.node_id(node, creation) else {
            return Err(RemoteError::Call(CallError::Unwinding));
        };
        Ok(remote::pid(of, index, serial))
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
