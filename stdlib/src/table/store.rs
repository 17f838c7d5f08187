//! Where a table keeps its entries: parts, each a map of its own under a lock of its own.
//!
//! A hash table has [`PARTS`] parts, chosen by the key's hash, so that writers of different keys seldom meet. An ordered one has
//! a single B-tree: an order over many parts would make each step of an iteration a search in all of them, and a
//! lock-free skip list (crossbeam-skiplist) has no atomic update of a value in its place.
//!
//! No lock-free map either (papaya): values could not be changed in place, a counter would be an allocation each time,
//! and a hash function or comparison of the user's would still have to be kept from being interrupted in the map's inner steps.
//!
//! Poisoning is ignored: a closure of the user's that panics leaves the entry as it was at that moment, and no map
//! is changed while a closure runs.

use crossbeam_utils::CachePadded;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::{
    borrow::Borrow,
    collections::BTreeMap,
    fmt,
    hash::{BuildHasher, Hash},
    ops::Bound,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Parts of a hash table. Some times the workers of a usual machine; 4 KiB for an empty table.
const PARTS: usize = 32;

/// Entries of an ordered table that are visited under one lock.
const PAGE: usize = 256;

/// A kind of table: [`HashPart`] or [`TreePart`]. Not to be implemented elsewhere.
pub trait Part<K, V>: private::Sealed + Send + Sync + Sized + 'static {
    #[doc(hidden)]
    fn parts(seed: u64) -> Vec<Self>;
    /// Puts an entry in; what was there.
    #[doc(hidden)]
    fn put(&mut self, key: K, value: V) -> Option<V>;
    /// The value under the key; made if there is none.
    #[doc(hidden)]
    fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V;
    #[doc(hidden)]
    fn size(&self) -> usize;
    #[doc(hidden)]
    fn empty(&mut self) -> Self;
    /// Visits entries from the cursor on. The cursor is `None` at the beginning and at the end.
    #[doc(hidden)]
    fn visit(&self, cursor: &mut Option<K>, see: &mut dyn FnMut(&K, &V));
    #[doc(hidden)]
    fn extract(&mut self, goes: &mut dyn FnMut(&K, &mut V) -> bool) -> Vec<(K, V)>;
}

/// That a kind of table can be asked for `Q`: the key's type, or what it [`Borrow`]s as.
pub trait KeyedBy<Q: ?Sized, K, V>: Part<K, V> {
    #[doc(hidden)]
    fn hash_of(hasher: &FixedState, key: &Q) -> u64;
    #[doc(hidden)]
    fn find(&self, key: &Q) -> Option<&V>;
    #[doc(hidden)]
    fn find_mut(&mut self, key: &Q) -> Option<&mut V>;
    #[doc(hidden)]
    fn take(&mut self, key: &Q) -> Option<(K, V)>;
}

mod private {
    pub trait Sealed {}
}

/// A part of a hash table.
pub struct HashPart<K, V> {
    map: HashTable<(K, V)>,
    hasher: FixedState,
}

/// The only part of an ordered table.
pub struct TreePart<K, V> {
    map: BTreeMap<K, V>,
}

impl<K, V> private::Sealed for HashPart<K, V> {}
impl<K, V> private::Sealed for TreePart<K, V> {}

impl<K: Hash + Eq + Send + Sync + 'static, V: Send + Sync + 'static> Part<K, V> for HashPart<K, V> {
    fn parts(seed: u64) -> Vec<Self> {
        let part = || HashPart { map: HashTable::new(), hasher: FixedState::with_seed(seed) };
        (0..PARTS).map(|_| part()).collect()
    }

    fn put(&mut self, key: K, value: V) -> Option<V> {
        let hash = self.hasher.hash_one(&key);
        if let Some((_, old)) = self.map.find_mut(hash, |(own, _)| *own == key) {
            return Some(std::mem::replace(old, value));
        }
        let hasher = &self.hasher;
        self.map.insert_unique(hash, (key, value), |(key, _)| hasher.hash_one(key));
        None
    }

    fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let (hash, hasher) = (self.hasher.hash_one(&key), &self.hasher);
        let entry = self.map.entry(hash, |(own, _)| *own == key, |(key, _)| hasher.hash_one(key));
        &mut entry.or_insert_with(|| (key, make())).into_mut().1
    }

    fn size(&self) -> usize {
        self.map.len()
    }

    fn empty(&mut self) -> Self {
        HashPart { map: std::mem::take(&mut self.map), hasher: self.hasher.clone() }
    }

    fn visit(&self, cursor: &mut Option<K>, see: &mut dyn FnMut(&K, &V)) {
        *cursor = None;
        self.map.iter().for_each(|(key, value)| see(key, value));
    }

    fn extract(&mut self, goes: &mut dyn FnMut(&K, &mut V) -> bool) -> Vec<(K, V)> {
        self.map.extract_if(|(key, value)| goes(key, value)).collect()
    }
}

impl<Q, K, V> KeyedBy<Q, K, V> for HashPart<K, V>
where
    Q: Hash + Eq + ?Sized,
    K: Hash + Eq + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn hash_of(hasher: &FixedState, key: &Q) -> u64 {
        hasher.hash_one(key)
    }

    fn find(&self, key: &Q) -> Option<&V> {
        let hash = self.hasher.hash_one(key);
        self.map.find(hash, |(own, _)| own.borrow() == key).map(|(_, value)| value)
    }

    fn find_mut(&mut self, key: &Q) -> Option<&mut V> {
        let hash = self.hasher.hash_one(key);
        self.map.find_mut(hash, |(own, _)| own.borrow() == key).map(|(_, value)| value)
    }

    fn take(&mut self, key: &Q) -> Option<(K, V)> {
        let hash = self.hasher.hash_one(key);
        self.map.find_entry(hash, |(own, _)| own.borrow() == key).ok().map(|entry| entry.remove().0)
    }
}

impl<K: Ord + Clone + Send + Sync + 'static, V: Send + Sync + 'static> Part<K, V> for TreePart<K, V> {
    fn parts(_: u64) -> Vec<Self> {
        vec![TreePart { map: BTreeMap::new() }]
    }

    fn put(&mut self, key: K, value: V) -> Option<V> {
        self.map.insert(key, value)
    }

    fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.map.entry(key).or_insert_with(make)
    }

    fn size(&self) -> usize {
        self.map.len()
    }

    fn empty(&mut self) -> Self {
        TreePart { map: std::mem::take(&mut self.map) }
    }

    fn visit(&self, cursor: &mut Option<K>, see: &mut dyn FnMut(&K, &V)) {
        let from = cursor.take().map_or(Bound::Unbounded, Bound::Excluded);
        for (seen, (key, value)) in self.map.range((from, Bound::Unbounded)).enumerate() {
            see(key, value);
            if seen + 1 == PAGE {
                *cursor = Some(key.clone());
                break;
            }
        }
    }

    fn extract(&mut self, goes: &mut dyn FnMut(&K, &mut V) -> bool) -> Vec<(K, V)> {
        self.map.extract_if(.., |key, value| goes(key, value)).collect()
    }
}

impl<Q, K, V> KeyedBy<Q, K, V> for TreePart<K, V>
where
    Q: Ord + ?Sized,
    K: Ord + Clone + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn hash_of(_: &FixedState, _: &Q) -> u64 {
        0
    }

    fn find(&self, key: &Q) -> Option<&V> {
        self.map.get(key)
    }

    fn find_mut(&mut self, key: &Q) -> Option<&mut V> {
        self.map.get_mut(key)
    }

    fn take(&mut self, key: &Q) -> Option<(K, V)> {
        self.map.remove_entry(key)
    }
}

impl<K, V> TreePart<K, V> {
    pub(super) fn map(&self) -> &BTreeMap<K, V> {
        &self.map
    }

    pub(super) fn map_mut(&mut self) -> &mut BTreeMap<K, V> {
        &mut self.map
    }
}

/// The parts with their locks.
pub(super) struct Store<P> {
    hasher: FixedState,
    parts: Box<[CachePadded<RwLock<P>>]>,
}

impl<P> Store<P> {
    pub(super) fn new<K, V>() -> Self
    where
        P: Part<K, V>,
    {
        let seed = engset_runtime::random();
        let parts = P::parts(seed).into_iter().map(|part| CachePadded::new(RwLock::new(part))).collect();
        Store { hasher: FixedState::with_seed(seed), parts }
    }

    pub(super) fn index_of<Q: ?Sized, K, V>(&self, key: &Q) -> usize
    where
        P: KeyedBy<Q, K, V>,
    {
        if self.parts.len() == 1 {
            return 0;
        }
        // Bits from the middle: a part's map looks at both ends.
        (P::hash_of(&self.hasher, key) >> 32) as usize % self.parts.len()
    }

    pub(super) fn count(&self) -> usize {
        self.parts.len()
    }

    pub(super) fn read(&self, index: usize) -> RwLockReadGuard<'_, P> {
        self.parts[index].read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self, index: usize) -> RwLockWriteGuard<'_, P> {
        self.parts[index].write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> fmt::Debug for HashPart<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashPart of {}", self.map.len())
    }
}

impl<K, V> fmt::Debug for TreePart<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreePart of {}", self.map.len())
    }
}
