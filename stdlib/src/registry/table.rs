//! The table of a registry, which the handles and the server share.
//!
//! 1. A process' entries are in `entries` by their keys, and its keys in `owners`, both in the order in which they were made.
//! 2. A process with entries holds the table as a resource, so it forgets them when the process ends. The runtime is asked for that without the
//!    lock: meanwhile the process may end, or its entries may be taken away.
//! 3. Who has noted a change wakes the server when it has left the lock.

use super::{Key, RegistryChange, Request, Value};
use crate::{feed::Feed, inside::inside};
use engset_runtime::{Address, Pid, Resource, ResourceRef, hold, let_go};
use hashbrown::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};

/// What the handles and the server share. As a resource of a process: its entries and subscriptions.
pub(super) struct Shared<K, V> {
    me: Weak<Self>,
    unique: bool,
    table: RwLock<Table<K, V>>,
    pub(super) server: OnceLock<Address<Request<K, V>>>,
}

/// What the table knows of a process.
pub(super) struct Owner<K> {
    held: Option<ResourceRef>,
    /// One for each entry, in the order in which they were made.
    pub(super) keys: Vec<K>,
}

/// What is under the lock.
pub(super) struct Table<K, V> {
    /// By key, the oldest first.
    pub(super) entries: HashMap<K, Vec<(Pid, V)>>,
    pub(super) owners: HashMap<Pid, Owner<K>>,
    pub(super) feed: Feed<RegistryChange<K, V>>,
    /// The server has ended.
    pub(super) closed: bool,
}

impl<K: Key, V: Value> Shared<K, V> {
    pub(super) fn new(unique: bool) -> Arc<Self> {
        let table =
            Table { entries: HashMap::new(), owners: HashMap::new(), feed: Feed::default(), closed: false };
        Arc::new_cyclic(|me| Shared {
            me: me.clone(),
            unique,
            table: RwLock::new(table),
            server: OnceLock::new(),
        })
    }

    pub(super) fn read<R>(&self, f: impl FnOnce(&Table<K, V>) -> R) -> R {
        inside(|| f(&self.table.read().unwrap_or_else(PoisonError::into_inner)))
    }

    pub(super) fn write<R>(&self, f: impl FnOnce(&mut Table<K, V>) -> R) -> R {
        inside(|| f(&mut self.table.write().unwrap_or_else(PoisonError::into_inner)))
    }

    /// To the server: there are events.
    pub(super) fn wake(&self, there_are: bool) {
        if there_are && let Some(server) = self.server.get() {
            server.send(Request::Deliver);
        }
    }

    /// `Err(None)`: the registry has ended.
    pub(super) fn insert(&self, pid: Pid, key: K, value: V) -> Result<(), Option<Pid>> {
        let (first, wake) = self.write(|table| {
            if table.closed {
                return Err(None);
            }
            if self.unique
                && let Some((by, _)) = table.entries.get(&key).and_then(|entries| entries.first())
            {
                return Err(Some(*by));
            }
            let event = || RegistryChange::Registered { key: key.clone(), pid, value: value.clone() };
            let wake = table.feed.note(event);
            let owner = table.owners.entry(pid).or_insert_with(|| Owner { held: None, keys: Vec::new() });
            owner.keys.push(key.clone());
            let first = owner.keys.len() == 1 && owner.held.is_none();
            table.entries.entry(key).or_default().push((pid, value));
            Ok((first, wake))
        })?;
        if first {
            self.hold_for(pid);
        }
        self.wake(wake);
        Ok(())
    }

    /// The entries of the process shall go when it ends. Without the lock: if it is dead, they go at once.
    fn hold_for(&self, pid: Pid) {
        let Some(me) = self.me.upgrade() else { return };
        let held = hold(pid, me);
        let superfluous = self.write(|table| match table.owners.get_mut(&pid) {
            Some(owner) if owner.held.is_none() => {
                owner.held = Some(held);
                false
            }
            _ => true,
        });
        if superfluous {
            let_go(held);
        }
    }

    /// Takes away those entries of a process under a key for which `goes` says so.
    pub(super) fn remove(&self, pid: Pid, key: &K, mut goes: impl FnMut(&V) -> bool) -> usize {
        let (removed, held, wake) = self.write(|table| {
            let Some(entries) = table.entries.get_mut(key) else { return (Vec::new(), None, false) };
            // Of the process' entries under the key, in order; its list of keys has the same order.
            let (mut place, mut places) = (0_u32, Vec::new());
            let mut is_one = |owner: Pid, value: &V| {
                if owner != pid {
                    return false;
                }
                place += 1;
                let it_goes = goes(value);
                places.extend(it_goes.then_some(place));
                it_goes
            };
            let removed: Vec<(Pid, V)> =
                entries.extract_if(.., |(owner, value)| is_one(*owner, value)).collect();
            if entries.is_empty() {
                table.entries.remove(key);
            }
            let mut held = None;
            if let Some(owner) = table.owners.get_mut(&pid) {
                let mut place = 0_u32;
                owner.keys.retain(|own| {
                    place += u32::from(own == key);
                    own != key || !places.contains(&place)
                });
                if owner.keys.is_empty() {
                    held = table.owners.remove(&pid).and_then(|owner| owner.held);
                }
            }
            let mut wake = false;
            for (pid, value) in &removed {
                let event =
                    || RegistryChange::Unregistered { key: key.clone(), pid: *pid, value: value.clone() };
                wake |= table.feed.note(event);
            }
            (removed, held, wake)
        });
        if let Some(held) = held {
            let_go(held);
        }
        self.wake(wake);
        removed.len()
    }

    /// A process has ended.
    pub(super) fn forget(&self, pid: Pid) {
        let (gone, wake) = self.write(|table| {
            let subscriptions = table.feed.forget(pid);
            let keys = table.owners.remove(&pid).map(|owner| owner.keys).unwrap_or_default();
            let mut removed = Vec::new();
            let mut wake = false;
            for key in keys {
                let Some(entries) = table.entries.get_mut(&key) else { continue };
                let Some(at) = entries.iter().position(|(owner, _)| *owner == pid) else { continue };
                let (_, value) = entries.remove(at);
                if entries.is_empty() {
                    table.entries.remove(&key);
                }
                wake |= table.feed.note(|| RegistryChange::Unregistered {
                    key: key.clone(),
                    pid,
                    value: value.clone(),
                });
                removed.push((key, value));
            }
            ((subscriptions, removed), wake)
        });
        drop(gone);
        self.wake(wake);
    }

    /// The server has ended: who still has a handle must not find processes that nobody cares for.
    fn close(&self) {
        let all = self.write(|table| {
            table.closed = true;
            (
                std::mem::take(&mut table.entries),
                std::mem::take(&mut table.owners),
                std::mem::take(&mut table.feed),
            )
        });
        let (entries, owners, feed) = all;
        owners.values().filter_map(|owner| owner.held).for_each(let_go);
        drop((entries, feed));
    }
}

impl<K: Key, V: Value> Resource for Shared<K, V> {
    fn release(&self, owner: Pid) {
        if self.server.get().is_some_and(|server| server.pid() == owner) {
            self.close();
        }
        self.forget(owner);
    }
}
