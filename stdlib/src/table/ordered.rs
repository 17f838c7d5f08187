//! What tables with an order can do besides.

use super::{OrderedTable, TableError, store::TreePart};
use engset_runtime::reduce;
use std::{
    collections::BTreeMap,
    ops::{Bound, RangeBounds},
};

/// Entries that are copied under one lock.
const PAGE: usize = 256;

impl<K, V> OrderedTable<K, V>
where
    K: Ord + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn look(
        &self,
        f: impl FnOnce(&BTreeMap<K, V>) -> Option<(&K, &V)>,
    ) -> Result<Option<(K, V)>, TableError> {
        reduce(1);
        self.reading(0, |part: &TreePart<K, V>| {
            f(part.map()).map(|(key, value)| (key.clone(), value.clone()))
        })
    }

    /// The entry with the least key.
    ///
    /// # Errors
    ///
    /// It is gone, or private.
    pub fn first(&self) -> Result<Option<(K, V)>, TableError> {
        self.look(BTreeMap::first_key_value)
    }

    /// The entry with the greatest key.
    ///
    /// # Errors
    ///
    /// It is gone, or private.
    pub fn last(&self) -> Result<Option<(K, V)>, TableError> {
        self.look(BTreeMap::last_key_value)
    }

    /// The entry after a key, which need not be there.
    ///
    /// # Errors
    ///
    /// It is gone, or private.
    pub fn next(&self, key: &K) -> Result<Option<(K, V)>, TableError> {
        self.look(|map| map.range((Bound::Excluded(key), Bound::Unbounded)).next())
    }

    /// The entry before a key, which need not be there.
    ///
    /// # Errors
    ///
    /// It is gone, or private.
    pub fn prev(&self, key: &K) -> Result<Option<(K, V)>, TableError> {
        self.look(|map| map.range((Bound::Unbounded, Bound::Excluded(key))).next_back())
    }

    /// Takes the entry with the least key out. With it a table is a queue by priority.
    ///
    /// # Errors
    ///
    /// It is gone, or this process must not write.
    pub fn take_first(&self) -> Result<Option<(K, V)>, TableError> {
        reduce(1);
        self.writing(0, |part: &mut TreePart<K, V>| part.map_mut().pop_first())
    }

    /// Copies of the entries whose keys are in a range, in order. Others may write meanwhile, between two pages.
    ///
    /// # Errors
    ///
    /// It is gone, or private.
    pub fn range(&self, range: impl RangeBounds<K>) -> Result<Vec<(K, V)>, TableError> {
        let mut found: Vec<(K, V)> = Vec::new();
        let end = range.end_bound();
        loop {
            let before = found.len();
            let start = match found.last() {
                Some((key, _)) => Bound::Excluded(key.clone()),
                None => range.start_bound().cloned(),
            };
            if is_empty(start.as_ref(), end) {
                return Ok(found);
            }
            self.reading(0, |part: &TreePart<K, V>| {
                let page = part.map().range((start.as_ref(), end)).take(PAGE);
                found.extend(page.map(|(key, value)| (key.clone(), value.clone())));
            })?;
            reduce(1 + (found.len() - before) as u32 / 16);
            if found.len() - before < PAGE {
                return Ok(found);
            }
        }
    }
}

/// Ranges that `BTreeMap` would panic at hold nothing.
fn is_empty<K: Ord>(start: Bound<&K>, end: Bound<&K>) -> bool {
    match (start, end) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Excluded(start), Bound::Excluded(end)) => start >= end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
            start > end
        }
    }
}
