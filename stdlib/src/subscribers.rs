//! Who wants to hear of something, each with a function that makes its message of it.
//!
//! A subscriber that is dead is forgotten when there is something to tell. Nothing waits: what does not fit into a bounded mailbox
//! is dropped.

use engset_runtime::{Address, SendError};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// False: nobody is there any more.
type Deliver<E> = Arc<dyn Fn(&E) -> bool + Send + Sync>;

pub(crate) struct Subscribers<E> {
    list: Mutex<List<E>>,
}

struct List<E> {
    last: u64,
    all: Vec<(u64, Deliver<E>)>,
}

impl<E> Default for Subscribers<E> {
    fn default() -> Self {
        Subscribers { list: Mutex::new(List { last: 0, all: Vec::new() }) }
    }
}

impl<E> Subscribers<E> {
    /// While it is held nothing of the users' may be called or dropped.
    fn lock(&self) -> MutexGuard<'_, List<E>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number is for [`Subscribers::remove`].
    pub(crate) fn add(&self, deliver: impl Fn(&E) -> bool + Send + Sync + 'static) -> u64 {
        let deliver: Deliver<E> = Arc::new(deliver);
        let mut list = self.lock();
        list.last += 1;
        let id = list.last;
        list.all.push((id, deliver));
        id
    }

    pub(crate) fn remove(&self, id: u64) -> bool {
        let mut list = self.lock();
        let at = list.all.iter().position(|(other, _)| *other == id);
        let removed = at.map(|at| list.all.remove(at));
        drop(list);
        removed.is_some()
    }

    pub(crate) fn clear(&self) {
        let removed = std::mem::take(&mut self.lock().all);
        drop(removed);
    }

    /// Tells all; how many live ones there were. The functions run without the lock, for they are the users'.
    pub(crate) fn publish(&self, event: &E) -> usize {
        let all = self.lock().all.clone();
        let mut told = 0;
        for (id, deliver) in all {
            match catch_unwind(AssertUnwindSafe(|| deliver(event))) {
                Ok(true) => told += 1,
                Ok(false) => drop(self.remove(id)),
                Err(_) => {
                    tracing::error!(target: "engset", "the function of a subscriber panicked; it is removed");
                    self.remove(id);
                }
            }
        }
        told
    }
}

/// False: nobody is there any more.
pub(crate) fn offer<M: Send + 'static>(to: Address<M>, message: M) -> bool {
    !matches!(to.try_send(message), Err(SendError::Dead(_)))
}
