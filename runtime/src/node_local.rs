//! What libraries keep for a node: one value of a type, made when it is first asked for, dropped with the node.

use crate::node;
use engset_scheduler::current;
use hashbrown::HashMap;
use std::{
    any::{Any, TypeId},
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

#[derive(Default)]
pub(crate) struct NodeLocals {
    table: RwLock<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl NodeLocals {
    fn get<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let key = TypeId::of::<T>();
        let found = self.table.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        // Made without the lock: it is the user's code.
        let any = found.unwrap_or_else(|| {
            let made: Arc<dyn Any + Send + Sync> = Arc::new(T::default());
            let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(table.entry(key).or_insert(made))
        });
        match any.downcast() {
            Ok(value) => value,
            Err(_) => unreachable!("the key is the type"),
        }
    }
}

impl fmt::Debug for NodeLocals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeLocals")
    }
}

/// The value of this type that belongs to the node of the process that calls, made by `Default` if it is the first to
/// ask. `None`: outside of a process. For libraries that need one thing for each node, as a table of names.
///
/// ```
/// # engset_runtime::run(|| {
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// #[derive(Default)]
/// struct Visits(AtomicU32);
///
/// engset_runtime::node_local::<Visits>().unwrap().0.fetch_add(1, Ordering::Relaxed);
/// assert_eq!(engset_runtime::node_local::<Visits>().unwrap().0.load(Ordering::Relaxed), 1);
/// # }).unwrap();
/// ```
#[must_use]
pub fn node_local<T: Default + Send + Sync + 'static>() -> Option<Arc<T>> {
    current::reduce(crate::reductions::price::OTHER);
    node::with_current(|node| node.node_locals.get())
}
