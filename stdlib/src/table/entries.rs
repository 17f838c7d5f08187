//! What can be done with the entries of a table: one under its key, or all of them.

use super::{
    SharedTable, TableError,
    store::{KeyedBy, Part},
};
use crate::inside::inside;
use engset_runtime::reduce;

/// Entries that are visited for one reduction.
const PER_REDUCTION: usize = 16;

impl<K, V, P> SharedTable<K, V, P>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    P: Part<K, V>,
{
    pub(super) fn reading<R>(&self, part: usize, f: impl FnOnce(&P) -> R) -> Result<R, TableError> {
        self.core.check(false)?;
        inside(|| {
            let part = self.core.store.read(part);
            self.core.still_there()?;
            Ok(f(&part))
        })
    }

    pub(super) fn writing<R>(&self, part: usize, f: impl FnOnce(&mut P) -> R) -> Result<R, TableError> {
        self.core.check(true)?;
        inside(|| {
            let mut part = self.core.store.write(part);
            self.core.still_there()?;
            Ok(f(&mut part))
        })
    }

    /// How many entries there are. Others may write meanwhile.
    ///
    /// # Errors
    ///
    /// It is gone, or private.
    pub fn len(&self) -> Result<usize, TableError> {
        reduce(1);
        (0..self.core.store.count()).map(|part| self.reading(part, P::size)).sum()
    }

    /// Is there none?
    ///
    /// # Errors
    ///
    /// As [`SharedTable::len`].
    pub fn is_empty(&self) -> Result<bool, TableError> {
        Ok(self.len()? == 0)
    }

    /// Deletes all entries.
    ///
    /// # Errors
    ///
    /// It is gone, or this process must not write.
    pub fn clear(&self) -> Result<(), TableError> {
        reduce(1);
        for part in 0..self.core.store.count() {
            drop(self.writing(part, P::empty)?);
        }
        Ok(())
    }

    /// Calls `see` with each entry, a page at a time (rules 3 and 4 of the [module](super)).
    ///
    /// # Errors
    ///
    /// It is gone (also if that happens meanwhile), or private.
    pub fn for_each(&self, mut see: impl FnMut(&K, &V)) -> Result<(), TableError> {
        for part in 0..self.core.store.count() {
            let mut cursor = None;
            loop {
                let mut seen = 0_usize;
                self.reading(part, |part| {
                    part.visit(&mut cursor, &mut |key, value| {
                        seen += 1;
                        see(key, value);
                    });
                })?;
                reduce(1 + u32::try_from(seen / PER_REDUCTION).unwrap_or(u32::MAX));
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Accumulates over all entries.
    ///
    /// # Errors
    ///
    /// As [`SharedTable::for_each`].
    pub fn fold<A>(&self, first: A, mut f: impl FnMut(A, &K, &V) -> A) -> Result<A, TableError> {
        let mut sum = Some(first);
        self.for_each(|key, value| sum = sum.take().map(|sum| f(sum, key, value)))?;
        // It is empty only if `f` has panicked, and then nobody comes here.
        sum.ok_or(TableError::Gone)
    }

    /// What `f` makes of the entries, of those for which it makes something. Of an [`OrderedTable`](super::OrderedTable), in order.
    ///
    /// # Errors
    ///
    /// As [`SharedTable::for_each`].
    pub fn select<R>(&self, mut f: impl FnMut(&K, &V) -> Option<R>) -> Result<Vec<R>, TableError> {
        let mut all = Vec::new();
        self.for_each(|key, value| all.extend(f(key, value)))?;
        Ok(all)
    }

    /// How many entries there are for which `holds` does.
    ///
    /// # Errors
    ///
    /// As [`SharedTable::for_each`].
    pub fn count(&self, mut holds: impl FnMut(&K, &V) -> bool) -> Result<usize, TableError> {
        self.fold(0, |sum, key, value| sum + usize::from(holds(key, value)))
    }

    /// Deletes the entries for which `holds` does; how many.
    ///
    /// # Errors
    ///
    /// It is gone, or this process must not write.
    pub fn delete_where(&self, mut holds: impl FnMut(&K, &V) -> bool) -> Result<usize, TableError> {
        let mut deleted = 0;
        for part in 0..self.core.store.count() {
            let taken = self.writing(part, |part| part.extract(&mut |key, value| holds(key, value)))?;
            deleted += taken.len();
            reduce(1);
        }
        Ok(deleted)
    }

    /// Puts an entry in; returns what was under the key.
    ///
    /// # Errors
    ///
    /// It is gone, or this process must not write.
    pub fn insert(&self, key: K, value: V) -> Result<Option<V>, TableError>
    where
        P: KeyedBy<K, K, V>,
    {
        reduce(1);
        self.writing(self.core.store.index_of(&key), |part| part.put(key, value))
    }

    /// Puts an entry in if there is none under the key. True: it was put in.
    ///
    /// # Errors
    ///
    /// It is gone, or this process must not write.
    pub fn insert_new(&self, key: K, value: V) -> Result<bool, TableError>
    where
        P: KeyedBy<K, K, V>,
    {
        reduce(1);
        let mut value = Some(value);
        self.writing(self.core.store.index_of(&key), |part| {
            if part.find(&key).is_none()
                && let Some(value) = value.take()
            {
                part.put(key, value);
            }
        })?;
        Ok(value.is_none())
    }

    /// A copy of the value under a key.
    ///
    /// # Errors
    ///
    /// It is gone, or private.
    #[inline]
    pub fn lookup<Q: ?Sized>(&self, key: &Q) -> Result<Option<V>, TableError>
    where
        P: KeyedBy<Q, K, V>,
        V: Clone,
    {
        self.with(key, |value| value.cloned())
    }

    /// What `look` makes of the value under a key: without a copy. `look` runs inside (rule 3 of the [module](super)).
    ///
    /// # Errors
    ///
    /// It is gone, or private.
    #[inline]
    pub fn with<Q: ?Sized, R>(&self, key: &Q, look: impl FnOnce(Option<&V>) -> R) -> Result<R, TableError>
    where
        P: KeyedBy<Q, K, V>,
    {
        reduce(1);
        self.reading(self.core.store.index_of(key), |part| look(part.find(key)))
    }

    /// Is there an entry under the key?
    ///
    /// # Errors
    ///
    /// It is gone, or private.
    pub fn contains<Q: ?Sized>(&self, key: &Q) -> Result<bool, TableError>
    where
        P: KeyedBy<Q, K, V>,
    {
        self.with(key, |value| value.is_some())
    }

    /// Deletes an entry, and returns it.
    ///
    /// # Errors
    ///
    /// It is gone, or this process must not write.
    pub fn take<Q: ?Sized>(&self, key: &Q) -> Result<Option<(K, V)>, TableError>
    where
        P: KeyedBy<Q, K, V>,
    {
        reduce(1);
        self.writing(self.core.store.index_of(key), |part| part.take(key))
    }

    /// Deletes an entry. True: there was one.
    ///
    /// # Errors
    ///
    /// It is gone, or this process must not write.
    pub fn delete<Q: ?Sized>(&self, key: &Q) -> Result<bool, TableError>
    where
        P: KeyedBy<Q, K, V>,
    {
        self.take(key).map(|taken| taken.is_some())
    }

    /// Changes the value under a key in its place; `None`: there is none. `change` runs inside (rule 3 of the [module](super)).
    ///
    /// # Errors
    ///
    /// It is gone, or this process must not write.
    pub fn update<Q: ?Sized, R>(
        &self,
        key: &Q,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<Option<R>, TableError>
    where
        P: KeyedBy<Q, K, V>,
    {
        reduce(1);
        self.writing(self.core.store.index_of(key), |part| part.find_mut(key).map(change))
    }

    /// Changes the value under a key in its place; if there is none, `make` makes it first. Both run inside.
    ///
    /// # Errors
    ///
    /// It is gone, or this process must not write.
    pub fn update_or_insert<R>(
        &self,
        key: K,
        make: impl FnOnce() -> V,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<R, TableError>
    where
        P: KeyedBy<K, K, V>,
    {
        reduce(1);
        self.writing(self.core.store.index_of(&key), |part| change(part.entry(key, make)))
    }

    /// Adds to a number; what it is then.
    ///
    /// # Errors
    ///
    /// There is none under the key; the sum is out of range (then nothing changes); it is gone, or this process must not
    /// write.
    pub fn update_counter<Q: ?Sized>(&self, key: &Q, by: i64) -> Result<V, TableError>
    where
        P: KeyedBy<Q, K, V>,
        V: Number,
    {
        self.update(key, |value| add(value, by))?.ok_or(TableError::Missing)?
    }

    /// The same; if there is none under the key, `first` is put there before.
    ///
    /// # Errors
    ///
    /// As [`SharedTable::update_counter`].
    pub fn update_counter_or(&self, key: K, by: i64, first: V) -> Result<V, TableError>
    where
        P: KeyedBy<K, K, V>,
        V: Number,
    {
        self.update_or_insert(key, || first, |value| add(value, by))?
    }
}

fn add<V: Number>(value: &mut V, by: i64) -> Result<V, TableError> {
    *value = value.plus(by).ok_or(TableError::Overflow { by })?;
    Ok(*value)
}

/// A number that [`SharedTable::update_counter`] can add to: the integers of up to 64 bits.
pub trait Number: Copy {
    /// The sum, if it is in range.
    #[must_use]
    fn plus(self, by: i64) -> Option<Self>;
}

macro_rules! numbers {
    ($($type:ty),*) => {
        $(impl Number for $type {
            fn plus(self, by: i64) -> Option<Self> {
                <$type>::try_from(i128::try_from(self).ok()? + i128::from(by)).ok()
            }
        })*
    };
}

numbers!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize);
