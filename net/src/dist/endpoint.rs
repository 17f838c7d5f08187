//! A node among nodes: the table of links, and what the node asks of others and answers itself.

use super::{
    handshake::{Admission, Identity, Refusal, simultaneous},
    link::{Link, LinkCounters},
    peer::{self, PeerMessage},
    secret::Secret,
    session::Settings,
    shake,
    transport::{Accept, Stream, Transport},
    wire::{Request, Task},
};
use engset_runtime::{
    Address, Builder, DownReason, Event, Mailbox, NodeId, Pid, Priority, now,
    remote::{self, Ancestry, Parcel, PendingCall, Router, Way},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Connections whose handshake is not done, that others have opened. More are closed at once.
const HALF_OPEN: usize = 64;

/// Why a node has refused a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RequestError {
    /// Nobody there has the name.
    UnknownName,
    /// Who has the name takes messages of a type that is not registered there for other nodes.
    NotExported,
    /// Who has the name takes messages of another type.
    WrongType {
        /// Of this one.
        takes: String,
    },
    /// The type of that name looks different there.
    Different,
    /// No entry point is registered there under the name.
    UnknownEntry,
    /// The argument cannot be decoded there.
    BadArgument(String),
    /// No process could be spawned there.
    Spawn(String),
    /// It does not understand the request.
    BadRequest(String),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::UnknownName => f.write_str("nobody has that name there"),
            RequestError::NotExported => {
                f.write_str("the type of its messages is not registered there for other nodes")
            }
            RequestError::WrongType { takes } => write!(f, "it takes messages of the type {takes}"),
            RequestError::Different => f.write_str("the type of that name looks different there"),
            RequestError::UnknownEntry => f.write_str("no entry point is registered there under that name"),
            RequestError::BadArgument(error) => write!(f, "the argument cannot be decoded there: {error}"),
            RequestError::Spawn(error) => write!(f, "nothing was spawned there: {error}"),
            RequestError::BadRequest(error) => write!(f, "it does not understand the request: {error}"),
        }
    }
}

impl std::error::Error for RequestError {}

/// The answer to a request: a process, and the incarnation of the node that has answered.
pub(crate) type Answer = Result<(Task, u64), RequestError>;

/// Spawns a process for a parent.
pub(crate) type SpawnFor = Box<dyn FnOnce(Pid, Ancestry) -> Result<Pid, RequestError>>;

/// A registered entry point: decodes its argument.
pub(crate) type Entry = Arc<dyn Fn(&[u8]) -> Result<SpawnFor, RequestError> + Send + Sync>;

struct Pending {
    call: PendingCall,
    link: Arc<str>,
    /// It is a spawn.
    ancestry: Option<Ancestry>,
}

pub(crate) enum ManagerMessage {
    Link(Arc<Link>),
    Accepted(Box<dyn Stream>),
}

pub(crate) struct Endpoint {
    home: NodeId,
    identity: Identity,
    secret: Secret,
    settings: Settings,
    nesting: usize,
    addresses: BTreeMap<String, String>,
    transport: Arc<dyn Transport>,
    manager: OnceLock<Address<ManagerMessage>>,
    links: RwLock<BTreeMap<Arc<str>, Arc<Link>>>,
    own: Weak<Endpoint>,
    pending: Mutex<HashMap<(Pid, u64), Pending>>,
    watchers: Mutex<Vec<Pid>>,
    entries: RwLock<HashMap<String, Entry>>,
    half_open: AtomicUsize,
}

pub(crate) struct Parts {
    pub(crate) home: NodeId,
    pub(crate) identity: Identity,
    pub(crate) secret: Secret,
    pub(crate) settings: Settings,
    pub(crate) nesting: usize,
    pub(crate) addresses: BTreeMap<String, String>,
    pub(crate) transport: Arc<dyn Transport>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Endpoint {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { home, identity, secret, settings, nesting, addresses, transport } = parts;
        Arc::new_cyclic(|own| Endpoint {
            home,
            identity,
            secret,
            settings,
            nesting,
            addresses,
            transport,
            manager: OnceLock::new(),
            links: RwLock::default(),
            own: own.clone(),
            pending: Mutex::default(),
            watchers: Mutex::default(),
            entries: RwLock::default(),
            half_open: AtomicUsize::new(0),
        })
    }

    pub(crate) fn home(&self) -> NodeId {
        self.home
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn nesting(&self) -> usize {
        self.nesting
    }

    pub(crate) fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    pub(crate) fn set_manager(&self, manager: Address<ManagerMessage>) {
        // There is one.
        let _ = self.manager.set(manager);
    }

    /// The process that spawns the others: a parcel may be routed where no process can be spawned.
    pub(crate) fn manage(self: &Arc<Self>, mut mailbox: Mailbox<ManagerMessage>) {
        /// When the node stops its processes are killed, this one too: others hear no more of the node.
        struct Leave(Arc<Endpoint>);
        impl Drop for Leave {
            fn drop(&mut self) {
                self.0.transport.close();
                remote::leave(self.0.home);
            }
        }
        let _leave = Leave(Arc::clone(self));
        loop {
            match mailbox.message() {
                ManagerMessage::Link(link) => self.start_link(&link),
                ManagerMessage::Accepted(stream) => {
                    // Relaxed: a count that guards nothing.
                    if self.half_open.fetch_add(1, Ordering::Relaxed) >= HALF_OPEN {
                        self.half_open.fetch_sub(1, Ordering::Relaxed);
                        tracing::warn!(target: "engset", "too many connections without a handshake: one more is closed");
                        continue;
                    }
                    let endpoint = Arc::clone(self);
                    let spawned =
                        Builder::new().priority(Priority::High).spawn(move |mailbox: Mailbox<()>| {
                            let _count = HalfOpen(&endpoint);
                            shake::accept(&endpoint, stream, mailbox);
                        });
                    if spawned.is_err() {
                        self.half_open.fetch_sub(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// For the transport.
    pub(crate) fn acceptor(&self) -> Option<Accept> {
        let manager = *self.manager.get()?;
        Some(Arc::new(move |stream| manager.send(ManagerMessage::Accepted(stream))))
    }

    /// Spawns the peer process of a link, if nobody has. In a process.
    pub(crate) fn start_link(self: &Arc<Self>, link: &Arc<Link>) {
        if link.claim() {
            peer::start(Arc::clone(self), Arc::clone(link));
        }
    }

    /// The link with a node of this name.
    pub(crate) fn link(&self, name: &str) -> Arc<Link> {
        if let Some(link) = self.links.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Arc::clone(link);
        }
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(name) {
            return Arc::clone(link);
        }
        let name: Arc<str> = name.into();
        let link = Arc::new(Link::new(Arc::clone(&name), self.settings.queue));
        links.insert(name, Arc::clone(&link));
        drop(links);
        if let Some(manager) = self.manager.get() {
            manager.send(ManagerMessage::Link(Arc::clone(&link)));
        }
        link
    }

    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn counters(&self, name: &str) -> LinkCounters {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        links.get(name).map(|link| link.counters()).unwrap_or_default()
    }

    pub(crate) fn node_id(&self, name: &str, creation: u64) -> Option<NodeId> {
        remote::node_id(self.home, name, creation)
    }

    pub(crate) fn address_of(&self, name: &str) -> String {
        match self.addresses.get(name) {
            Some(address) => address.clone(),
            None => name.split_once('@').map_or(name, |(_, address)| address).to_owned(),
        }
    }

    pub(crate) fn dial(self: &Arc<Self>, link: &Arc<Link>) {
        let (endpoint, of) = (Arc::clone(self), Arc::clone(link));
        let body = move |mailbox: Mailbox<()>| shake::dial(&endpoint, &of, mailbox);
        if let Err(error) = Builder::new().priority(Priority::High).spawn(body) {
            link.tell(PeerMessage::Failed(error.to_string(), false));
        }
    }

    /// May a node that has proved itself come in?
    pub(crate) fn admission(&self, peer: &Identity) -> Admission {
        let link = self.link(&peer.name);
        let state = link.lock();
        if peer.creation < link.newest.load(Ordering::Acquire) {
            return Admission::Refuse(Refusal::Stale);
        }
        match &state.up {
            Some(up) if up.creation == peer.creation => Admission::Alive,
            Some(_) => Admission::Welcome,
            None if state.dialling && simultaneous(&self.identity.name, &peer.name) => {
                Admission::Refuse(Refusal::Simultaneous)
            }
            None => Admission::Welcome,
        }
    }

    /// The other says that it has a connection with us. Do we know of one?
    pub(crate) fn knows_connection(&self, name: &str) -> bool {
        self.link(name).lock().up.is_some()
    }

    /// An answer will come over a link.
    pub(crate) fn expect(&self, call: PendingCall, link: &Arc<str>) {
        let key = (call.caller, call.reference);
        let mut pending = locked(&self.pending);
        // A spawn is there already, with its ancestry.
        pending.entry(key).or_insert(Pending { call, link: Arc::clone(link), ancestry: None });
    }

    fn expect_child(&self, call: PendingCall, link: &Arc<str>, ancestry: Ancestry) {
        let pending = Pending { call, link: Arc::clone(link), ancestry: Some(ancestry) };
        locked(&self.pending).insert((call.caller, call.reference), pending);
    }

    pub(crate) fn forget(&self, call: &PendingCall) {
        locked(&self.pending).remove(&(call.caller, call.reference));
    }

    pub(crate) fn take_pending(
        &self,
        caller: Pid,
        reference: u64,
    ) -> Option<(PendingCall, Option<Ancestry>)> {
        locked(&self.pending).remove(&(caller, reference)).map(|pending| (pending.call, pending.ancestry))
    }

    /// A connection is lost: so are the calls over it.
    pub(crate) fn lost(&self, link: &Arc<str>, reason: &DownReason) {
        let mut lost: Vec<_> = locked(&self.pending).extract_if(|_, pending| pending.link == *link).collect();
        lost.sort_unstable_by_key(|(key, _)| *key);
        for (_, pending) in lost {
            pending.call.broken(Some(reason.clone()));
        }
    }

    pub(crate) fn watch(&self, pid: Pid, on: bool) {
        let mut watchers = locked(&self.watchers);
        watchers.retain(|other| *other != pid);
        if on {
            watchers.push(pid);
        }
    }

    /// Tells who has asked.
    pub(crate) fn announce(&self, event: &Event) {
        let watchers = locked(&self.watchers).clone();
        for pid in watchers {
            if !remote::tell(pid, event.clone()) {
                self.watch(pid, false);
            }
        }
    }

    pub(crate) fn register_entry(&self, name: String, entry: Entry) -> bool {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.insert(name, entry).is_none()
    }

    /// Asks a node. In a process.
    pub(crate) fn ask(
        &self,
        node: &str,
        request: &Request,
        ancestry: Option<Ancestry>,
    ) -> Result<Answer, engset_runtime::CallError> {
        let link = self.link(node);
        let mut bytes = Vec::new();
        super::packet::encode(&mut bytes, request);
        remote::ask(|call| {
            if let Some(ancestry) = ancestry {
                self.expect_child(call, &link.name, ancestry);
            }
            link.route_request(self, call, bytes);
        })
    }

    /// Answers a request of another node. In its peer process.
    pub(crate) fn answer(&self, link: &Link, from: Pid, reference: u64, request: Request) {
        let answer: Result<Task, RequestError> = match request {
            Request::Ping => Ok((0, 0)),
            Request::Lookup { name, type_name, fingerprint } => lookup(&name, &type_name, fingerprint),
            Request::Spawn { entry, link: linked, monitor, argument } => {
                let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
                let entry = entries.get(&entry).cloned();
                drop(entries);
                match entry.map_or(Err(RequestError::UnknownEntry), |entry| entry(&argument)) {
                    Err(error) => Err(error),
                    Ok(spawn) => {
                        let ancestry = Ancestry { link: linked, monitor };
                        return link.answer_spawn(self, from, reference, ancestry, spawn);
                    }
                }
            }
        };
        let answer: Answer = answer.map(|task| (task, self.identity.creation));
        remote::answer(from, reference, answer);
    }
}

fn lookup(name: &str, type_name: &str, fingerprint: u64) -> Result<Task, RequestError> {
    let Some((pid, codec)) = remote::find_exported(name) else { return Err(RequestError::UnknownName) };
    let Some(codec) = codec else { return Err(RequestError::NotExported) };
    if codec.name() != type_name {
        return Err(RequestError::WrongType { takes: codec.name().to_owned() });
    }
    if codec.fingerprint() != fingerprint {
        return Err(RequestError::Different);
    }
    Ok(remote::parts(pid))
}

struct HalfOpen<'a>(&'a Endpoint);

impl Drop for HalfOpen<'_> {
    fn drop(&mut self) {
        self.0.half_open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Router for Endpoint {
    fn way(&self, node: NodeId, name: &str, creation: u64) -> Arc<dyn Way> {
        Arc::new(LinkWay { endpoint: self.own.clone(), link: self.link(name), node, creation })
    }
}

/// The way to one incarnation of another node.
struct LinkWay {
    /// Threads remember ways: that must not keep a node.
    endpoint: Weak<Endpoint>,
    link: Arc<Link>,
    node: NodeId,
    creation: u64,
}

impl Way for LinkWay {
    fn verdict(&self) -> Option<DownReason> {
        self.link.verdict(self.creation)
    }

    fn route(&self, parcel: Parcel, may_wait: bool) {
        if let Some(endpoint) = self.endpoint.upgrade() {
            self.link.route_parcel(&endpoint, self.node, parcel, may_wait);
        }
    }
}

/// For `shake`: a nonce, or why there is none.
pub(crate) fn nonce(endpoint: &Endpoint) -> std::io::Result<[u8; 32]> {
    let mut nonce = [0; 32];
    endpoint.transport.entropy(&mut nonce)?;
    Ok(nonce)
}

/// When a handshake that begins now has to be done.
pub(crate) fn time() -> Duration {
    now()
}
