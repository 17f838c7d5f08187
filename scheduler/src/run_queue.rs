//! The tasks of one worker that can run, by priority. Private to the worker.
//!
//! As in Erlang: while there is a `max` task, none below is chosen; the same for `high`. `normal` and
//! `low` are interleaved: after [`NORMAL_PER_LOW`] normal ones a low one has its turn, so it does not
//! starve.
//!
//! The oldest normal task is kept in a field of its own, `front`: two tasks that wake each other in turn, which
//! is the most frequent case, never touch the ring.

use crate::{clock::Random, slot::Slot};
use std::{collections::VecDeque, ptr};

/// Normal tasks that run between two low ones when both wait (Erlang's figure).
const NORMAL_PER_LOW: u8 = 8;
const LEVELS: usize = 4;
const NORMAL: usize = 2;
const LOW: usize = 3;

/// A task in a queue.
pub(crate) type Entry = *const Slot;

#[derive(Debug)]
pub(crate) struct RunQueue {
    /// The oldest normal task, or null; then `levels[NORMAL]` is empty.
    front: Entry,
    /// Tasks that are not normal.
    special: usize,
    len: usize,
    levels: [VecDeque<Entry>; LEVELS],
    normal_turns: u8,
}

impl RunQueue {
    pub(crate) fn new() -> Self {
        RunQueue { front: ptr::null(), special: 0, len: 0, levels: Default::default(), normal_turns: 0 }
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, entry: Entry, priority: u8) {
        self.len += 1;
        if priority as usize != NORMAL {
            self.special += 1;
            self.levels[priority as usize].push_back(entry);
        } else if self.front.is_null() {
            self.front = entry;
        } else {
            self.levels[NORMAL].push_back(entry);
        }
    }

    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        if self.len == 0 {
            return None;
        }
        self.len -= 1;
        if self.special == 0 { self.pop_normal() } else { self.pop_mixed() }
    }

    #[inline(always)]
    fn pop_normal(&mut self) -> Option<Entry> {
        let front = self.front;
        if front.is_null() {
            return None;
        }
        // With one task in all (it is not counted any more) the ring need not be looked at.
        self.front =
            if self.len == 0 { ptr::null() } else { self.levels[NORMAL].pop_front().unwrap_or(ptr::null()) };
        Some(front)
    }

    #[cold]
    fn pop_mixed(&mut self) -> Option<Entry> {
        for level in 0..NORMAL {
            if let Some(entry) = self.levels[level].pop_front() {
                self.special -= 1;
                return Some(entry);
            }
        }
        if self.normal_turns >= NORMAL_PER_LOW || self.front.is_null() {
            self.normal_turns = 0;
            if let Some(entry) = self.levels[LOW].pop_front() {
                self.special -= 1;
                return Some(entry);
            }
        }
        self.normal_turns += 1;
        self.pop_normal()
    }

    /// For the systematic mode: any task that the priorities allow, by chance.
    pub(crate) fn pop_any(&mut self, random: &mut Random) -> Option<Entry> {
        if self.len == 0 {
            return None;
        }
        self.len -= 1;
        for level in 0..NORMAL {
            if !self.levels[level].is_empty() {
                self.special -= 1;
                let at = random.below(self.levels[level].len() as u64) as usize;
                return self.levels[level].remove(at);
            }
        }
        self.unfold();
        let (normal, low) = (self.levels[NORMAL].len(), self.levels[LOW].len());
        let at = random.below((normal + low) as u64) as usize;
        let found = if at < normal {
            self.levels[NORMAL].remove(at)
        } else {
            self.special -= 1;
            self.levels[LOW].remove(at - normal)
        };
        self.fold();
        found
    }

    /// Puts `front` back into the ring.
    fn unfold(&mut self) {
        if !self.front.is_null() {
            self.levels[NORMAL].push_front(self.front);
            self.front = ptr::null();
        }
    }

    fn fold(&mut self) {
        self.front = self.levels[NORMAL].pop_front().unwrap_or(ptr::null());
    }

    /// Takes out tasks that `movable` picks, from the back (the youngest, least likely to be warm
    /// here), until `out` has `most` or `look` were looked at. Their order is kept.
    pub(crate) fn take_movable(
        &mut self,
        most: usize,
        look: usize,
        movable: &mut dyn FnMut(Entry) -> bool,
        out: &mut Vec<Entry>,
    ) {
        self.unfold();
        let before = out.len();
        let mut looked = 0;
        for level in 0..LEVELS {
            let queue = &mut self.levels[level];
            let mut kept = Vec::new();
            while out.len() - before < most && looked < look {
                let Some(entry) = queue.pop_back() else { break };
                looked += 1;
                if movable(entry) {
                    out.push(entry);
                    self.len -= 1;
                    if level != NORMAL {
                        self.special -= 1;
                    }
                } else {
                    kept.push(entry);
                }
            }
            queue.extend(kept.into_iter().rev());
        }
        self.fold();
        out[before..].reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The queue does not look behind the pointers.
    fn task(number: usize) -> Entry {
        ptr::without_provenance(number + 1)
    }

    fn number(entry: Entry) -> usize {
        entry.addr() - 1
    }

    #[test]
    fn urgent_first_and_low_is_not_starved() {
        let mut queue = RunQueue::new();
        for index in 0..20 {
            queue.push(task(index), 2);
        }
        queue.push(task(100), 3);
        queue.push(task(200), 1);
        queue.push(task(300), 0);
        assert_eq!(queue.pop(), Some(task(300)));
        assert_eq!(queue.pop(), Some(task(200)));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(number).collect();
        assert_eq!(order.iter().position(|index| *index == 100), Some(NORMAL_PER_LOW as usize));
        let normal: Vec<_> = order.into_iter().filter(|index| *index < 100).collect();
        assert_eq!(normal, (0..20).collect::<Vec<_>>());
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn takes_movable_ones_from_the_back_in_order() {
        let mut queue = RunQueue::new();
        for index in 0..10 {
            queue.push(task(index), 2);
        }
        let mut out = Vec::new();
        queue.take_movable(3, 100, &mut |entry| number(entry).is_multiple_of(2), &mut out);
        assert_eq!(out.into_iter().map(number).collect::<Vec<_>>(), [4, 6, 8]);
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).map(number).collect();
        assert_eq!(rest, [0, 1, 2, 3, 5, 7, 9]);
    }

    #[test]
    fn any_takes_each_once() {
        let mut queue = RunQueue::new();
        for index in 0..30 {
            queue.push(task(index), if index % 3 == 0 { 3 } else { 2 });
        }
        let mut random = Random::new(1);
        let mut order: Vec<_> = std::iter::from_fn(|| queue.pop_any(&mut random)).map(number).collect();
        assert_ne!(order, (0..30).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..30).collect::<Vec<_>>());
    }
}
