//! Processes under keys of any type: unique keys name one process each, duplicate keys any number.
//!
//! A registry is a table and a server. The server alone changes the table, one request after the other, and watches
//! each process that has an entry: when it ends, its entries go. Everybody reads the table without asking
//! the server.
//!
//! What is promised: after [`register`](Registry::register) has returned, everybody sees the entry. A process that has
//! ended is seen until its `Down` has reached the server; but its unique keys can be had at once, for the
//! server looks whether the owner lives before it refuses a key.
//!
//! When not to use it: for a few names that are texts, a process' own name is enough
//! ([`ServerBuilder::name`](crate::ServerBuilder::name)).

use crate::{
    StartError,
    start::{self, Ack, Tie},
};
use engset_runtime::{
    Address, Builder, CallError, Event, Flow, MonitorRef, Pid, Received, Reply, Server, demonitor, is_alive,
    monitor, self_pid,
};
use hashbrown::HashMap;
use std::{
    fmt,
    hash::Hash,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

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
    table: Table<K, V>,
}

/// A registry that is to be started.
pub struct RegistryBuilder<K, V> {
    unique: bool,
    table: Table<K, V>,
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

type Entries<K, V> = HashMap<K, Vec<(Pid, V)>>;

/// Shared by the server, which writes, and all who read.
type Table<K, V> = Arc<RwLock<Entries<K, V>>>;

fn read<K, V>(table: &Table<K, V>) -> RwLockReadGuard<'_, Entries<K, V>> {
    table.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<K, V>(table: &Table<K, V>) -> RwLockWriteGuard<'_, Entries<K, V>> {
    table.write().unwrap_or_else(PoisonError::into_inner)
}

/// What a key must be.
pub trait Key: Hash + Eq + Clone + Send + Sync + 'static {}

impl<K: Hash + Eq + Clone + Send + Sync + 'static> Key for K {}

impl<K: Key, V: Clone + Send + Sync + 'static> RegistryBuilder<K, V> {
    fn new(unique: bool) -> Self {
        RegistryBuilder { unique, table: Table::default() }
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
        let table = Arc::clone(&self.table);
        let make =
            |ack| Keeper { unique: self.unique, table: self.table, owners: HashMap::new(), ack: Some(ack) };
        let (server, _) = start::start(Builder::new(), tie, Duration::MAX, make)?;
        Ok(Registry { server, table })
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Registry<K, V> {
    /// A registry in which a key has one process at most.
    pub fn unique() -> RegistryBuilder<K, V> {
        RegistryBuilder::new(true)
    }

    /// A registry in which a key has any number of processes, and a process may have it several times.
    pub fn duplicate() -> RegistryBuilder<K, V> {
        RegistryBuilder::new(false)
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
    /// The key is unique and another live process has it (or this one), or the registry does not answer.
    ///
    /// # Panics
    ///
    /// Outside of a process.
    pub fn register(&self, key: K, value: V) -> Result<(), RegisterError> {
        self.register_for(self_pid(), key, value)
    }

    /// Gives another process an entry.
    ///
    /// # Errors
    ///
    /// As [`Registry::register`].
    pub fn register_for(&self, pid: impl Into<Pid>, key: K, value: V) -> Result<(), RegisterError> {
        let pid = pid.into();
        let answer = self.server.call(|reply| Request::Register { pid, key, value, reply });
        answer.map_err(RegisterError::Registry)?
    }

    /// Takes all entries of this process under a key away; how many there were.
    ///
    /// # Errors
    ///
    /// The registry does not answer.
    ///
    /// # Panics
    ///
    /// Outside of a process.
    pub fn unregister(&self, key: &K) -> Result<usize, CallError> {
        let (pid, key) = (self_pid(), key.clone());
        self.server.call(|reply| Request::Unregister { pid, key, reply })
    }

    /// The value under a key: of a duplicate key, that of the oldest entry.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V> {
        read(&self.table).get(key).and_then(|entries| entries.first()).map(|(_, value)| value.clone())
    }

    /// All entries under a key, the oldest first.
    #[must_use]
    pub fn lookup(&self, key: &K) -> Vec<(Pid, V)> {
        read(&self.table).get(key).cloned().unwrap_or_default()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        read(&self.table).values().map(Vec::len).sum()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        read(&self.table).is_empty()
    }

    /// All keys, in no order.
    #[must_use]
    pub fn keys(&self) -> Vec<K> {
        read(&self.table).keys().cloned().collect()
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
}

impl<K, V> Clone for Registry<K, V> {
    fn clone(&self) -> Self {
        Registry { server: self.server, table: Arc::clone(&self.table) }
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
    Register { pid: Pid, key: K, value: V, reply: Reply<Result<(), RegisterError>> },
    Unregister { pid: Pid, key: K, reply: Reply<usize> },
}

/// The server. `owners` mirrors the table: each process with its monitor and the keys of its entries.
struct Keeper<K, V> {
    unique: bool,
    table: Table<K, V>,
    owners: HashMap<Pid, (MonitorRef, Vec<K>)>,
    ack: Option<Ack>,
}

impl<K: Key, V: Clone + Send + Sync + 'static> Keeper<K, V> {
    fn register(&mut self, pid: Pid, key: K, value: V) -> Result<(), RegisterError> {
        if self.unique {
            let owner = read(&self.table).get(&key).and_then(|entries| entries.first()).map(|(pid, _)| *pid);
            match owner {
                // Asking waits: the lock is not held.
                Some(by) if is_alive(by) => return Err(RegisterError::Taken { by }),
                Some(dead) => self.forget(dead),
                None => {}
            }
        }
        let owner = self.owners.entry(pid).or_insert_with(|| (monitor(pid), Vec::new()));
        owner.1.push(key.clone());
        write(&self.table).entry(key).or_default().push((pid, value));
        Ok(())
    }

    fn unregister(&mut self, pid: Pid, key: &K) -> usize {
        let Some((reference, keys)) = self.owners.get_mut(&pid) else { return 0 };
        keys.retain(|own| own != key);
        if keys.is_empty() {
            demonitor(*reference, true);
            self.owners.remove(&pid);
        }
        Self::remove(&mut write(&self.table), pid, key)
    }

    /// A process has ended.
    fn forget(&mut self, pid: Pid) {
        let Some((reference, keys)) = self.owners.remove(&pid) else { return };
        demonitor(reference, true);
        let mut table = write(&self.table);
        for key in keys {
            Self::remove(&mut table, pid, &key);
        }
    }

    fn remove(table: &mut Entries<K, V>, pid: Pid, key: &K) -> usize {
        let Some(entries) = table.get_mut(key) else { return 0 };
        let before = entries.len();
        entries.retain(|(owner, _)| *owner != pid);
        let removed = before - entries.len();
        if entries.is_empty() {
            table.remove(key);
        }
        removed
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Server for Keeper<K, V> {
    type Message = Request<K, V>;

    fn start(&mut self, _: Address<Request<K, V>>) -> Flow {
        if let Some(ack) = self.ack.take() {
            ack.succeed();
        }
        Flow::Continue
    }

    fn handle(&mut self, received: Received<Request<K, V>>) -> Flow {
        match received {
            Received::Message(Request::Register { pid, key, value, reply }) => {
                reply.send(self.register(pid, key, value));
            }
            Received::Message(Request::Unregister { pid, key, reply }) => {
                reply.send(self.unregister(pid, &key))
            }
            Received::Event(Event::Down(down)) => self.forget(down.pid),
            Received::Event(_) => {}
        }
        Flow::Continue
    }
}

impl<K, V> Drop for Keeper<K, V> {
    fn drop(&mut self) {
        // Who still has a handle must not find processes that nobody watches any more.
        write(&self.table).clear();
    }
}
