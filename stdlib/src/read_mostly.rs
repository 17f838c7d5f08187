//! A value that is read always and replaced seldom: settings, routing tables, compiled rules.

use arc_swap::ArcSwap;
use std::{fmt, sync::Arc};

/// A place for such a value. Cheap to clone; belongs to nobody. A read takes no lock and copies nothing; who reads keeps what
/// it has read, whatever is put there later.
///
/// ```
/// use engset_stdlib::ReadMostly;
///
/// let limits = ReadMostly::new(vec![1, 2, 3]);
/// let seen = limits.get();
/// limits.update(|old| old.iter().map(|limit| limit * 10).collect());
/// assert_eq!((*seen).len(), 3);
/// assert_eq!(*limits.get(), [10, 20, 30]);
/// ```
pub struct ReadMostly<T> {
    place: Arc<ArcSwap<T>>,
}

impl<T> ReadMostly<T> {
    /// A place with a value.
    pub fn new(value: T) -> Self {
        ReadMostly { place: Arc::new(ArcSwap::from_pointee(value)) }
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        self.place.load_full()
    }

    /// What `look` makes of the value: cheaper than [`ReadMostly::get`], as nothing is counted.
    #[inline]
    pub fn with<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.place.load())
    }

    /// Replaces the value; returns the old one.
    pub fn set(&self, value: T) -> Arc<T> {
        self.place.swap(Arc::new(value))
    }

    /// Replaces the value by one that is made of it. If others replace it meanwhile, `make` is called again, with theirs:
    /// no change is lost.
    pub fn update(&self, mut make: impl FnMut(&T) -> T) {
        self.place.rcu(|old| make(old));
    }
}

impl<T> Clone for ReadMostly<T> {
    fn clone(&self) -> Self {
        ReadMostly { place: Arc::clone(&self.place) }
    }
}

impl<T: fmt::Debug> fmt::Debug for ReadMostly<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|value| f.debug_tuple("ReadMostly").field(value).finish())
    }
}
