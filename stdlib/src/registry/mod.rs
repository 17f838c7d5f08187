//! Processes under keys of any type: unique keys name one process each, duplicate keys any number.
//!
//! A registry is a shared table and a server. Everybody reads and changes the table without asking the server, under one lock
//! that nobody keeps while waiting; the server stands for the registry (when it ends, the registry is empty and takes
//! nothing), and sends changes to who has subscribed.
//!
//! What is promised:
//!
//! 1. After [`register`](Registry::register) has returned, everybody sees the entry. The entries of a process that ends go
//!    before anybody is told of its end (semantics row S2); so who gets `Down` can have the key. (Of entries
//!    that another process has made for it, if that was done by the time at which it ended; a unique key can be had at once
//!    all the same, for the owner is asked before a key is refused.)
//! 2. A subscriber sees the table as it was when it subscribed, and each change after that, in order.
//! 3. Functions of the user's that look at entries run while the table is locked, and nothing interrupts them: keep them
//!    short. One that comes back to a registry, to groups or to a table panics.
//!
//! When not to use it: for a few names that are texts, a process' own name is enough
//! ([`ServerBuilder::name`](crate::ServerBuilder::name)); for many processes that do the same, take [`Groups`](crate::Groups).

mod table;

use crate::{
    StartError,
    feed::SubscriptionRef,
    start::{self, Ack, Tie},
};
use engset_runtime::{
    Address, Builder, CallError, DownReason, Flow, NameError, Pid, Received, Reply, Server, hold, is_alive,
    let_go, lookup, reduce, self_pid,
};
use std::{fmt, hash::Hash, sync::Arc, time::Duration};
use table::Shared;

/// A registry. Cheap to clone. See the [module](self).
///
/// With addresses as values it is a way to reach processes:
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::{Address, Mailbox, Reply, spawn};
/// use engset_stdlib::Registry;
///
/// let rooms: Registry<(u32, &str), Address<Reply<u32>>> = Registry::unique().start_link()?;
/// let room = rooms.clone();
/// spawn(move |mut mailbox: Mailbox<Reply<u32>>| {
///     room.register((1, "lobby"), mailbox.address()).unwrap();
///     loop { mailbox.message().send(7) }
/// });
/// let lobby = loop {
///     if let Some(lobby) = rooms.get(&(1, "lobby")) { break lobby }
///     engset_runtime::yield_now();
/// };
/// assert_eq!(lobby.call(|reply| reply), Ok(7));
/// # Ok::<(), engset_stdlib::StartError>(())
/// # }).unwrap().unwrap();
/// ```
pub struct Registry<K, V> {
    server: Address<Request<K, V>>,
    shared: Arc<Shared<K, V>>,
}

/// A registry that is to be started.
#[must_use = "it does nothing until it starts"]
pub struct RegistryBuilder<K, V> {
    unique: bool,
    options: Builder,
    kind: std::marker::PhantomData<fn(K, V)>,
}

/// Why a process has not got an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// The key is unique, and another live process has it.
    Taken {
        /// That process.
        by: Pid,
    },
    /// The registry did not answer.
    Registry(CallError),
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegisterError::Taken { by } => write!(f, "{by} has the key"),
            RegisterError::Registry(error) => write!(f, "the registry did not answer: {error}"),
        }
    }
}

impl std::error::Error for RegisterError {}

/// A change of a registry, for subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryChange<K, V> {
    /// A process has an entry.
    Registered {
        /// Under this key.
        key: K,
        /// The process.
        pid: Pid,
        /// The value.
        value: V,
    },
    /// The value of an entry has changed.
    Updated {
        /// Under this key.
        key: K,
        /// The process.
        pid: Pid,
        /// The new value.
        value: V,
    },
    /// An entry is gone: it was taken away, or its process has ended.
    Unregistered {
        /// Under this key.
        key: K,
        /// The process.
        pid: Pid,
        /// What the value was.
        value: V,
    },
}

impl<K, V> RegistryChange<K, V> {
    /// The key that it is about.
    pub fn key(&self) -> &K {
        match self {
            RegistryChange::Registered { key, .. }
            | RegistryChange::Updated { key, .. }
            | RegistryChange::Unregistered { key, .. } => key,
        }
    }
}

/// What a key must be.
pub trait Key: Hash + Eq + Clone + Send + Sync + 'static {}

impl<K: Hash + Eq + Clone + Send + Sync + 'static> Key for K {}

/// What a value must be.
pub trait Value: Clone + Send + Sync + 'static {}

impl<V: Clone + Send + Sync + 'static> Value for V {}

impl<K: Key, V: Value> RegistryBuilder<K, V> {
    fn new(unique: bool) -> Self {
        RegistryBuilder { unique, options: Builder::new(), kind: std::marker::PhantomData }
    }

    /// Registers the registry's own process under a name: [`Registry::named`] finds it.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.options = self.options.name(name);
        self
    }

    /// Starts it, linked with this process.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start_link(self) -> Result<Registry<K, V>, StartError> {
        self.launch(Tie::Link)
    }

    /// Starts it without a link.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(self) -> Result<Registry<K, V>, StartError> {
        self.launch(Tie::None)
    }

    fn launch(self, tie: Tie) -> Result<Registry<K, V>, StartError> {
        let shared = Shared::new(self.unique);
        let make = |ack| Keeper { shared: Arc::clone(&shared), ack: Some(ack) };
        let (server, _) = start::start(self.options, tie, Duration::MAX, make)?;
        Ok(Registry { server, shared })
    }
}

impl<K: Key, V: Value> Registry<K, V> {
    /// A registry in which a key has one process at most.
    pub fn unique() -> RegistryBuilder<K, V> {
        RegistryBuilder::new(true)
    }

    /// A registry in which a key has any number of processes, and a process may have it several times.
    pub fn duplicate() -> RegistryBuilder<K, V> {
        RegistryBuilder::new(false)
    }

    /// The registry whose process has this name on the caller's node.
    ///
    /// # Errors
    ///
    /// Nobody has the name, or it is no registry of these types, or it has just ended.
    pub fn named(name: &str) -> Result<Self, NameError> {
        let server: Address<Request<K, V>> = lookup(name)?;
        server.call(Request::Handle).map_err(|_| NameError::Dead { name: name.to_owned() })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.server.pid()
    }

    /// Gives this process an entry.
    ///
    /// # Errors
    ///
    /// The key is unique and another live process has it (or this one), or the registry has ended.
    ///
    /// # Panics
    ///
    /// Outside of a process.
    pub fn register(&self, key: K, value: V) -> Result<(), RegisterError> {
        self.register_for(self_pid(), key, value)
    }

    /// Gives another process an entry.
    ///
    /// # Errors, Panics
    ///
    /// As [`Registry::register`].
    pub fn register_for(&self, pid: impl Into<Pid>, key: K, value: V) -> Result<(), RegisterError> {
        let (pid, me) = (pid.into(), self_pid());
        reduce(1);
        loop {
            match self.shared.insert(pid, key.clone(), value.clone()) {
                Ok(()) => return Ok(()),
                Err(None) => return Err(RegisterError::Registry(CallError::Down(DownReason::NoProc))),
                // Asking waits: the lock is not held.
                Err(Some(by)) if by == me || is_alive(by) => return Err(RegisterError::Taken { by }),
                Err(Some(dead)) => self.shared.forget(dead),
            }
        }
    }

    /// Takes all entries of this process under a key away; how many there were.
    ///
    /// # Panics
    ///
    /// Outside of a process.
    pub fn unregister(&self, key: &K) -> usize {
        self.unregister_where(key, |_| true)
    }

    /// The same, of those whose value is such.
    ///
    /// # Panics
    ///
    /// Outside of a process.
    pub fn unregister_where(&self, key: &K, goes: impl FnMut(&V) -> bool) -> usize {
        reduce(1);
        self.shared.remove(self_pid(), key, goes)
    }

    /// Replaces the value of this process' entry under a key (of several: of the oldest) by what `change` makes of it; the
    /// old one. `None`: it has no entry there.
    ///
    /// # Panics
    ///
    /// Outside of a process.
    pub fn update(&self, key: &K, change: impl FnOnce(&V) -> V) -> Option<V> {
        let me = self_pid();
        reduce(1);
        let (old, wake) = self.shared.write(|table| {
            let entries = table.entries.get_mut(key)?;
            let (_, value) = entries.iter_mut().find(|(owner, _)| *owner == me)?;
            let old = std::mem::replace(value, change(value));
            let new = &*value;
            let event = || RegistryChange::Updated { key: key.clone(), pid: me, value: new.clone() };
            Some((old, table.feed.note(event)))
        })?;
        self.shared.wake(wake);
        Some(old)
    }

    /// The value under a key: of a duplicate key, that of the oldest entry.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V> {
        reduce(1);
        self.shared.read(|table| {
            table.entries.get(key).and_then(|entries| entries.first()).map(|(_, value)| value.clone())
        })
    }

    /// The process under a key: of a duplicate key, that of the oldest entry.
    #[must_use]
    pub fn whereis(&self, key: &K) -> Option<Pid> {
        reduce(1);
        self.shared
            .read(|table| table.entries.get(key).and_then(|entries| entries.first()).map(|(pid, _)| *pid))
    }

    /// All entries under a key, the oldest first.
    #[must_use]
    pub fn lookup(&self, key: &K) -> Vec<(Pid, V)> {
        reduce(1);
        self.shared.read(|table| table.entries.get(key).cloned().unwrap_or_default())
    }

    /// Calls `f` with all entries under a key, if there are any: in the process that calls, on a copy.
    pub fn dispatch<R>(&self, key: &K, f: impl FnOnce(&[(Pid, V)]) -> R) -> Option<R> {
        let entries = self.lookup(key);
        (!entries.is_empty()).then(|| f(&entries))
    }

    /// What `f` makes of the entries, of those for which it makes something, in no order (rule 3 of the
    /// [module](self)).
    pub fn select<R>(&self, mut f: impl FnMut(&K, Pid, &V) -> Option<R>) -> Vec<R> {
        reduce(1);
        self.shared.read(|table| {
            let all = table.entries.iter().flat_map(|(key, entries)| entries.iter().map(move |it| (key, it)));
            all.filter_map(|(key, (pid, value))| f(key, *pid, value)).collect()
        })
    }

    /// How many entries there are for which `holds` does (rule 3 of the [module](self)).
    pub fn count(&self, mut holds: impl FnMut(&K, Pid, &V) -> bool) -> usize {
        self.select(|key, pid, value| holds(key, pid, value).then_some(())).len()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.read(|table| table.entries.values().map(Vec::len).sum())
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.read(|table| table.entries.is_empty())
    }

    /// All keys, in no order.
    #[must_use]
    pub fn keys(&self) -> Vec<K> {
        reduce(1);
        self.shared.read(|table| table.entries.keys().cloned().collect())
    }

    /// The keys of a process' entries, the oldest first; a key as often as it has it.
    #[must_use]
    pub fn keys_of(&self, pid: impl Into<Pid>) -> Vec<K> {
        let pid = pid.into();
        reduce(1);
        self.shared.read(|table| table.owners.get(&pid).map(|owner| owner.keys.clone()).unwrap_or_default())
    }

    /// All entries as they are now, and each change from now on, as a message that `into` makes of it; `None`: this one does not
    /// matter. It ends with the process that gets them, or by [`Registry::unsubscribe`].
    ///
    /// `into` runs in the registry's process: a panic in it ends the registry.
    ///
    /// # Errors
    ///
    /// The registry has ended.
    ///
    /// ```
    /// # engset_runtime::run(|| {
    /// use engset_runtime::{Mailbox, spawn_monitor};
    /// use engset_stdlib::{Registry, RegistryChange};
    ///
    /// let rooms: Registry<&'static str, u32> = Registry::unique().start_link()?;
    /// spawn_monitor(move |mut mailbox: Mailbox<RegistryChange<&'static str, u32>>| {
    ///     let (now, _) = rooms.subscribe(mailbox.address(), |change| Some(change.clone())).unwrap();
    ///     assert!(now.is_empty());
    ///     rooms.register("lobby", 7).unwrap();
    ///     assert!(matches!(mailbox.message(), RegistryChange::Registered { key: "lobby", value: 7, .. }));
    /// });
    /// # Ok::<(), engset_stdlib::StartError>(())
    /// # }).unwrap().unwrap();
    /// ```
    #[allow(clippy::type_complexity, reason = "it is what there is: the entries, and the reference")]
    pub fn subscribe<M: Send + 'static>(
        &self,
        to: Address<M>,
        into: impl Fn(&RegistryChange<K, V>) -> Option<M> + Send + Sync + 'static,
    ) -> Result<(Vec<(K, Pid, V)>, SubscriptionRef), RegisterError> {
        reduce(1);
        let deliver = move |change: &RegistryChange<K, V>| {
            if let Some(message) = into(change) {
                to.send(message);
            }
        };
        let subscribed = self.shared.write(|table| {
            if table.closed {
                return None;
            }
            let reference = table.feed.subscribe(to.pid(), Arc::new(deliver));
            let all = table.entries.iter().flat_map(|(key, entries)| entries.iter().map(move |it| (key, it)));
            Some((all.map(|(key, (pid, value))| (key.clone(), *pid, value.clone())).collect(), reference))
        });
        let subscribed = subscribed.ok_or(RegisterError::Registry(CallError::Down(DownReason::NoProc)))?;
        let (held, reference) = (hold(to, Arc::clone(&self.shared) as _), subscribed.1);
        if !self.shared.write(|table| table.feed.keep(reference, held)) {
            let_go(held);
        }
        Ok(subscribed)
    }

    /// Ends a subscription. What is under way may still come. False: there is none such.
    pub fn unsubscribe(&self, subscription: SubscriptionRef) -> bool {
        match self.shared.write(|table| table.feed.unsubscribe(subscription)) {
            None => false,
            Some((_, held)) => {
                if let Some(held) = held {
                    let_go(held);
                }
                true
            }
        }
    }
}

impl<K: Key, M: Send + 'static> Registry<K, Address<M>> {
    /// Sends a message to each process under a key; to how many.
    pub fn broadcast(&self, key: &K, message: &M) -> usize
    where
        M: Clone,
    {
        let receivers = self.lookup(key);
        receivers.iter().for_each(|(_, address)| address.send(message.clone()));
        receivers.len()
    }

    /// The process under a key, whoever it is at the time of each send or call.
    pub fn via(&self, key: K) -> crate::Via<K, M> {
        crate::Via::new(self.clone(), key)
    }
}

impl<K, V> Clone for Registry<K, V> {
    fn clone(&self) -> Self {
        Registry { server: self.server, shared: Arc::clone(&self.shared) }
    }
}

impl<K, V> fmt::Debug for Registry<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registry{}", self.server.pid())
    }
}

impl<K, V> fmt::Debug for RegistryBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryBuilder").field("unique", &self.unique).finish_non_exhaustive()
    }
}

enum Request<K, V> {
    /// There are events.
    Deliver,
    Handle(Reply<Registry<K, V>>),
}

/// The server.
struct Keeper<K, V> {
    shared: Arc<Shared<K, V>>,
    ack: Option<Ack>,
}

impl<K: Key, V: Value> Server for Keeper<K, V> {
    type Message = Request<K, V>;

    fn start(&mut self, me: Address<Request<K, V>>) -> Flow {
        // Nobody else has the table yet.
        let _ = self.shared.server.set(me);
        hold(me, Arc::clone(&self.shared) as _);
        if let Some(ack) = self.ack.take() {
            ack.succeed();
        }
        Flow::Continue
    }

    fn handle(&mut self, received: Received<Request<K, V>>) -> Flow {
        match received {
            Received::Message(Request::Deliver) => {
                let all = self.shared.write(|table| table.feed.take());
                all.iter().for_each(|(deliver, change)| deliver(change));
            }
            Received::Message(Request::Handle(reply)) => {
                if let Some(server) = self.shared.server.get() {
                    reply.send(Registry { server: *server, shared: Arc::clone(&self.shared) });
                }
            }
            Received::Event(_) => {}
        }
        Flow::Continue
    }
}
