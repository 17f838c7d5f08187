//! Who a table belongs to, who may use it, and its end.

use super::{
    Access, SharedTable, TableError,
    store::{Part, Store},
};
use engset_runtime::{Address, Pid, Resource, ResourceRef, hold, let_go, try_self_pid, uninterrupted};
use hashbrown::HashMap;
use std::{
    any::Any,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

type Tell<K, V, P> = Box<dyn FnOnce(SharedTable<K, V, P>, Pid) + Send>;

/// Who gets the table when its owner ends, and how that process is told.
pub(super) struct Heir<K, V, P> {
    pub(super) pid: Pid,
    pub(super) tell: Tell<K, V, P>,
}

impl<K, V, P> Heir<K, V, P> {
    pub(super) fn new<M: Send + 'static>(
        heir: Address<M>,
        into: impl FnOnce(SharedTable<K, V, P>, Pid) -> M + Send + 'static,
    ) -> Self {
        Heir { pid: heir.pid(), tell: Box::new(move |table, from| heir.send(into(table, from))) }
    }
}

struct Ownership<K, V, P> {
    owner: Pid,
    held: Option<ResourceRef>,
    heir: Option<Heir<K, V, P>>,
}

/// What the handles of a table share.
pub(super) struct Core<K, V, P> {
    me: Weak<Self>,
    pub(super) access: Access,
    pub(super) name: Option<Arc<str>>,
    names: Weak<Names>,
    /// Looked at under the lock of a part, and set before the parts are emptied: so nothing gets in afterwards.
    gone: AtomicBool,
    pub(super) store: Store<P>,
    ownership: Mutex<Ownership<K, V, P>>,
}

/// The names of a node's tables.
#[derive(Default)]
pub(super) struct Names {
    table: RwLock<HashMap<Arc<str>, Arc<dyn Any + Send + Sync>>>,
}

impl Names {
    pub(super) fn find(&self, name: &str) -> Option<Arc<dyn Any + Send + Sync>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl<K, V, P> Core<K, V, P>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    P: Part<K, V>,
{
    pub(super) fn new(
        owner: Pid,
        access: Access,
        heir: Option<Heir<K, V, P>>,
        name: Option<(Arc<str>, Arc<Names>)>,
    ) -> Result<Arc<Self>, TableError> {
        let names = name.as_ref().map_or_else(Weak::new, |(_, names)| Arc::downgrade(names));
        let core = Arc::new_cyclic(|me| Core {
            me: me.clone(),
            access,
            name: name.as_ref().map(|(name, _)| Arc::clone(name)),
            names,
            gone: AtomicBool::new(false),
            store: Store::new(),
            ownership: Mutex::new(Ownership { owner, held: None, heir }),
        });
        if let Some((name, names)) = name {
            let mut table = names.table.write().unwrap_or_else(PoisonError::into_inner);
            if table.contains_key(&name) {
                return Err(TableError::NameTaken { name });
            }
            table.insert(name, Arc::clone(&core) as _);
        }
        core.hand_to(owner);
        Ok(core)
    }

    fn ownership(&self) -> MutexGuard<'_, Ownership<K, V, P>> {
        self.ownership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn owner(&self) -> Option<Pid> {
        uninterrupted(|| (!self.is_gone()).then(|| self.ownership().owner))
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// May the caller?
    #[inline]
    pub(super) fn check(&self, writes: bool) -> Result<(), TableError> {
        match self.access {
            Access::Public => Ok(()),
            Access::Protected if !writes => Ok(()),
            Access::Protected | Access::Private => self.check_owner().map(drop),
        }
    }

    pub(super) fn check_owner(&self) -> Result<Pid, TableError> {
        let owner = self.owner().ok_or(TableError::Gone)?;
        match try_self_pid() {
            Some(me) if me == owner => Ok(me),
            _ => Err(TableError::Denied { owner, access: self.access }),
        }
    }

    /// For what runs under the lock of a part.
    #[inline]
    pub(super) fn still_there(&self) -> Result<(), TableError> {
        if self.is_gone() { Err(TableError::Gone) } else { Ok(()) }
    }

    /// The process shall have it. If it is dead, the table is released from within.
    fn hand_to(&self, owner: Pid) {
        let Some(me) = self.me.upgrade() else { return };
        // Without the lock: see above.
        let held = hold(owner, me);
        let mut ownership = self.ownership();
        if ownership.owner == owner {
            ownership.held = Some(held);
        }
    }

    pub(super) fn set_heir(&self, heir: Option<Heir<K, V, P>>) {
        let old = uninterrupted(|| std::mem::replace(&mut self.ownership().heir, heir));
        drop(old);
    }

    /// By the owner, to another process.
    pub(super) fn give(&self, to: Pid) {
        uninterrupted(|| {
            let mut ownership = self.ownership();
            ownership.owner = to;
            let held = ownership.held.take();
            drop(ownership);
            if let Some(held) = held {
                let_go(held);
            }
            self.hand_to(to);
        });
    }

    pub(super) fn destroy(&self) {
        let owned = uninterrupted(|| {
            if self.gone.swap(true, Ordering::SeqCst) {
                return None;
            }
            if let (Some(name), Some(names)) = (&self.name, self.names.upgrade()) {
                drop(names.table.write().unwrap_or_else(PoisonError::into_inner).remove(name));
            }
            let mut ownership = self.ownership();
            let of_process = (ownership.held.take(), ownership.heir.take());
            drop(ownership);
            let parts: Vec<P> = (0..self.store.count()).map(|part| self.store.write(part).empty()).collect();
            Some((of_process, parts))
        });
        // Keys and values end without a lock, one by one.
        let Some(((held, heir), parts)) = owned else { return };
        if let Some(held) = held {
            let_go(held);
        }
        drop((heir, parts));
    }
}

impl<K, V, P> Resource for Core<K, V, P>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    P: Part<K, V>,
{
    fn release(&self, owner: Pid) {
        let heir = uninterrupted(|| {
            let mut ownership = self.ownership();
            if ownership.owner != owner || self.is_gone() {
                // It has been given away meanwhile.
                return None;
            }
            let heir = ownership.heir.take();
            if let Some(heir) = &heir {
                ownership.owner = heir.pid;
                ownership.held = None;
            }
            Some(heir)
        });
        match heir {
            None => {}
            Some(None) => self.destroy(),
            Some(Some(Heir { pid, tell })) => {
                self.hand_to(pid);
                if let Some(core) = self.me.upgrade() {
                    tell(SharedTable::of(core), owner);
                }
            }
        }
    }
}
