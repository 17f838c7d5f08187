//! A node among nodes: the table of links, and what the node asks of others and answers itself.

use super::{
    discovery::Sources,
    handshake::{Admission, Identity, Refusal, simultaneous},
    link::{Link, LinkCounters},
    nesting,
    peer::{self, PeerMessage},
    secret::Secret,
    session::Settings,
    shake,
    transport::{Accept, Stream, Transport},
    wire::{Request, Task},
};
use engset_runtime::{
    Address, Builder, DownReason, Event, Mailbox, NodeId, Pid, Priority, now,
    remote::{
        self, Ancestry, Codec, EntryPoint, Nodes, Parcel, PendingCall, RemoteError, RequestError, Router,
        SpawnFor, Way,
    },
};
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Connections whose handshake is not done, that others have opened. More are closed at once.
const HALF_OPEN: usize = 64;

/// The answer to a request: a process, and the incarnation of the node that has answered.
pub(crate) type Answer = Result<(Task, u64), RequestError>;

/// Nodes that are up, and who wants to know.
#[derive(Default)]
struct Watched {
    /// By whom; also of the hidden ones?
    watchers: Vec<(Pid, bool)>,
    /// Hidden?
    up: BTreeMap<Arc<str>, (NodeId, bool)>,
}

impl Watched {
    fn up(&self, hidden: bool) -> Nodes {
        let wanted = |(name, (node, is_hidden)): (&Arc<str>, &(NodeId, bool))| {
            (!is_hidden || hidden).then(|| (Arc::clone(name), *node))
        };
        self.up.iter().filter_map(wanted).collect()
    }
}

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
    sources: Sources,
    transport: Arc<dyn Transport>,
    manager: OnceLock<Address<ManagerMessage>>,
    links: RwLock<BTreeMap<Arc<str>, Arc<Link>>>,
    own: Weak<Endpoint>,
    pending: Mutex<HashMap<(Pid, u64), Pending>>,
    watched: Mutex<Watched>,
    entries: RwLock<HashMap<String, EntryPoint>>,
    half_open: AtomicUsize,
}

pub(crate) struct Parts {
    pub(crate) home: NodeId,
    pub(crate) identity: Identity,
    pub(crate) secret: Secret,
    pub(crate) settings: Settings,
    pub(crate) nesting: usize,
    pub(crate) addresses: BTreeMap<String, String>,
    pub(crate) sources: Sources,
    pub(crate) transport: Arc<dyn Transport>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Endpoint {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { home, identity, secret, settings, nesting, addresses, sources, transport } = parts;
        Arc::new_cyclic(|own| Endpoint {
            home,
            identity,
            secret,
            settings,
            nesting,
            addresses,
            sources,
            transport,
            manager: OnceLock::new(),
            links: RwLock::default(),
            own: own.clone(),
            pending: Mutex::default(),
            watched: Mutex::default(),
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
                self.0.sources.leave();
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
        let mut state = link.lock();
        if peer.creation < link.newest.load(Ordering::Acquire) {
            return Admission::Refuse(Refusal::Stale);
        }
        match state.connected_with() {
            Some(creation) if creation == peer.creation => Admission::Alive,
            Some(creation) if creation > peer.creation => Admission::Refuse(Refusal::Stale),
            None if state.dialling && simultaneous(&self.identity.name, &peer.name) => {
                Admission::Refuse(Refusal::Simultaneous)
            }
            _ => {
                // Nothing comes between this and the end of its handshake; and between two looks at the state it could begin to dial.
                state.comes(peer.creation);
                Admission::Welcome
            }
        }
    }

    /// The other says that it has a connection with us. Do we know of one?
    pub(crate) fn knows_connection(&self, name: &str) -> bool {
        self.link(name).lock().connected_with().is_some()
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

    /// Shall a process be told of nodes, of all of them or only of those that are not hidden? `None`: no more. Those that are up.
    pub(crate) fn watch(&self, pid: Pid, hidden: Option<bool>) -> Nodes {
        let mut watched = locked(&self.watched);
        watched.watchers.retain(|(other, _)| *other != pid);
        watched.watchers.extend(hidden.map(|hidden| (pid, hidden)));
        watched.up(hidden.unwrap_or(false))
    }

    /// The nodes that are up.
    pub(crate) fn up(&self, hidden: bool) -> Nodes {
        locked(&self.watched).up(hidden)
    }

    /// Tells who has asked. The table changes with it, so that who asks for both misses nothing.
    pub(crate) fn announce(&self, event: &Event, hidden: bool) {
        let mut watched = locked(&self.watched);
        match event {
            Event::NodeUp(up) => drop(watched.up.insert(Arc::clone(&up.name), (up.id, hidden))),
            Event::NodeDown(down) => drop(watched.up.remove(&down.name)),
            _ => {}
        }
        let watchers = watched.watchers.clone();
        drop(watched);
        for (pid, wants_hidden) in watchers {
            if (!hidden || wants_hidden) && !remote::tell(pid, event.clone()) {
                self.watch(pid, None);
            }
        }
    }

    pub(crate) fn register_entry(&self, name: String, entry: EntryPoint) -> bool {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        match entries.entry(name) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(entry);
                true
            }
        }
    }

    /// Where a node is to be dialled. In a process: sources may take their time.
    pub(crate) fn resolve(&self, name: &str) -> String {
        if let Some(address) = self.addresses.get(name) {
            return address.clone();
        }
        self.sources.find(name).unwrap_or_else(|| self.address_of(name))
    }

    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Asks a node. In a process.
    pub(crate) fn ask<T: DeserializeOwned + Send + 'static>(
        &self,
        node: &str,
        request: &Request,
        ancestry: Option<Ancestry>,
    ) -> Result<T, engset_runtime::CallError> {
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

    /// The same, for a process that is there.
    pub(crate) fn ask_for(
        &self,
        node: &str,
        request: &Request,
        ancestry: Option<Ancestry>,
    ) -> Result<Pid, RemoteError> {
        let answer: Answer = self.ask(node, request, ancestry).map_err(RemoteError::Call)?;
        let ((index, serial), creation) = answer.map_err(RemoteError::Refused)?;
        match self.node_id(node, creation) {
            Some(of) => Ok(remote::pid(of, index, serial)),
            None => Err(RemoteError::NotJoined),
        }
    }

    /// What an entry point makes of an argument.
    fn enter(&self, entry: &str, argument: &[u8]) -> Result<SpawnFor, RequestError> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(entry).cloned().ok_or(RequestError::UnknownEntry)?;
        drop(entries);
        nesting::check(argument, self.nesting)
            .map_err(|error| RequestError::BadArgument(error.to_string()))?;
        entry(argument)
    }

    /// Answers a request of another node. In its peer process.
    pub(crate) fn answer(&self, link: &Link, from: Pid, reference: u64, request: Request) {
        let answer: Result<Task, RequestError> = match request {
            Request::Ping => Ok((0, 0)),
            Request::Nodes => {
                let names: Vec<String> = self.up(false).iter().map(|(name, _)| name.to_string()).collect();
                return remote::answer(from, reference, names);
            }
            Request::Lookup { name, type_name, fingerprint } => lookup(&name, &type_name, fingerprint),
            Request::Spawn { entry, link: linked, monitor, argument } => {
                match self.enter(&entry, &argument) {
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

    fn route_named(&self, node: &str, parcel: Parcel, may_wait: bool) {
        self.link(node).route_parcel(self, None, parcel, may_wait);
    }

    fn nodes(&self) -> Nodes {
        self.up(false)
    }

    fn watch_nodes(&self, watcher: Pid, on: bool) -> Nodes {
        self.watch(watcher, on.then_some(false))
    }

    fn lookup(&self, node: &str, name: &str, codec: &'static Codec) -> Result<Pid, RemoteError> {
        if node == self.identity.name {
            let found = lookup(name, codec.name(), codec.fingerprint()).map_err(RemoteError::Refused)?;
            return Ok(remote::pid(self.home, found.0, found.1));
        }
        let (name, type_name) = (name.to_owned(), codec.name().to_owned());
        let request = Request::Lookup { name, type_name, fingerprint: codec.fingerprint() };
        self.ask_for(node, &request, None)
    }

    fn spawn(
        &self,
        node: &str,
        entry: &str,
        argument: Vec<u8>,
        ancestry: Ancestry,
    ) -> Result<Pid, RemoteError> {
        if node == self.identity.name {
            let spawn = self.enter(entry, &argument).map_err(RemoteError::Refused)?;
            return spawn(engset_runtime::self_pid(), ancestry).map_err(RemoteError::Refused);
        }
        let (entry, link) = (entry.to_owned(), ancestry.link);
        let request = Request::Spawn { entry, link, monitor: ancestry.monitor, argument };
        self.ask_for(node, &request, Some(ancestry))
    }

    fn export(&self, name: &str, entry: EntryPoint) -> bool {
        self.register_entry(name.to_owned(), entry)
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
            self.link.route_parcel(&endpoint, Some(self.node), parcel, may_wait);
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
