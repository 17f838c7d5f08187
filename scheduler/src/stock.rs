//! Boxes that workers use again and again: empty mailbags and bundles.
//!
//! They go with the messages, from worker to worker. If one sends more than it receives its own run out and pile up at the other; the
//! system's allocator would take a lock for each. Here they are exchanged by the batch.

use crate::sync::{Mutex, lock};

/// Boxes that go between a worker and the common stock at once.
const BATCH: usize = 32;
/// Most that a worker keeps.
const OWN: usize = 2 * BATCH;
/// Most in the common stock. Guess: a thousand mailbags are 1 MB.
const COMMON: usize = 1024;

/// What all workers have in common.
#[derive(Debug, Default)]
pub(crate) struct Stock<T>(Mutex<Vec<Box<T>>>);

/// What one worker has.
#[derive(Debug)]
pub(crate) struct OwnStock<T>(Vec<Box<T>>);

impl<T> Stock<T> {
    pub(crate) fn new() -> Self {
        Stock(Mutex::new(Vec::new()))
    }
}

impl<T> OwnStock<T> {
    pub(crate) fn new() -> Self {
        OwnStock(Vec::new())
    }

    /// Takes one.
    #[inline]
    pub(crate) fn take(&mut self, stock: &Stock<T>, make: impl FnOnce() -> Box<T>) -> Box<T> {
        if let Some(one) = self.0.pop() {
            return one;
        }
        let mut common = lock(&stock.0);
        let rest = common.len().saturating_sub(BATCH);
        self.0.extend(common.drain(rest..));
        drop(common);
        self.0.pop().unwrap_or_else(make)
    }

    /// Gives one back.
    #[inline]
    pub(crate) fn give(&mut self, stock: &Stock<T>, one: Box<T>) {
        if self.0.len() == OWN {
            let mut common = lock(&stock.0);
            if common.len() < COMMON {
                // The oldest: the others are in the cache.
                common.extend(self.0.drain(..BATCH));
            } else {
                drop(common);
                self.0.drain(..BATCH).for_each(drop);
            }
        }
        self.0.push(one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_gives_another_takes() {
        let stock = Stock::new();
        let (mut one, mut other) = (OwnStock::new(), OwnStock::new());
        for number in 0..OWN + 1 {
            one.give(&stock, Box::new(number));
        }
        let taken: Vec<usize> = (0..BATCH).map(|_| *other.take(&stock, || unreachable!())).collect();
        assert!((0..BATCH).all(|number| taken.contains(&number)), "{taken:?}");
        assert_eq!(*other.take(&stock, || Box::new(1000)), 1000);
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let stock = Stock::new();
        let mut one = OwnStock::new();
        for number in 0..100_000 {
            one.give(&stock, Box::new(number));
        }
        assert!(one.0.len() <= OWN && lock(&stock.0).len() < COMMON + BATCH);
    }
}
