//! The tasks of one worker that can run, by priority. Private to the worker.
//!
//! As in Erlang: while there is a `max` task, none below is chosen; the same for `high`. `normal` and
//! `low` are interleaved: after [`NORMAL_PER_LOW`] normal ones a low one has its turn, so it does not
//! starve.
//!
//! Normal tasks that have just been spawned do not go behind all others, but before them: what a task spawns in one slice runs
//! next, in the order of spawning, before what was spawned earlier. A tree of tasks so unfolds depth first, and as many are alive at a time as it is
//! deep, not as it is wide; and they find the memory of those that have just ended. That is fair all the same: after as many new ones
//! as there were (or a few), all others that wait by then have their turns; and now and then ([`AGING`]) the new one that has waited
//! longest becomes one of these. Not often: it is the root of a large tree, and begins to unfold while the others are half done.
//!
//! Normal tasks that are not new are the usual case: to push one, and to pop it, counts nothing but what their ring counts.

use crate::{clock::Random, ring::Ring, slot::Slot};
use std::{collections::VecDeque, ptr};

/// Normal tasks that run between two low ones when both wait (Erlang's figure).
const NORMAL_PER_LOW: u8 = 8;
/// So many new tasks may run before the others have their turns, even if fewer wait. Guess: some microseconds, if they are short.
const NEW_IN_A_ROW: usize = 16;
/// Nanoseconds until the new task that has waited longest is new no more, by the worker's clock. Guess: some thousand short slices.
pub(crate) const AGING: u64 = 250_000;
const LEVELS: usize = 4;
const NORMAL: usize = 2;
const LOW: usize = 3;

/// A task in a queue.
pub(crate) type Entry = *const Slot;

/// Tasks that have their turns soon, probably; or null.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    pub(crate) next: Entry,
    /// The one after it, or one that has been there: to ask for its lines, not to look at it.
    pub(crate) behind: Entry,
}

impl Ahead {
    pub(crate) const NOBODY: Self = Ahead { next: ptr::null(), behind: ptr::null() };
}

/// With its place in the order of arrival.
#[derive(Clone, Copy, Debug)]
struct Item {
    entry: Entry,
    number: u64,
}

/// The tasks of one priority, in two rings: those without a stack, which may be given to other workers, can so
/// be found at once among any number of others. Together they are one queue, by the numbers.
#[derive(Debug, Default)]
struct Level {
    fresh: Ring<Item>,
    started: Ring<Item>,
}

impl Level {
    fn len(&self) -> usize {
        self.fresh.len() + self.started.len()
    }

    #[inline(always)]
    fn ring(&mut self, fresh: bool) -> &mut Ring<Item> {
        if fresh { &mut self.fresh } else { &mut self.started }
    }

    /// The ring in which the oldest one is first.
    #[inline(always)]
    fn oldest(&mut self) -> &mut Ring<Item> {
        let fresh = self
            .fresh
            .front()
            .is_some_and(|fresh| self.started.front().is_none_or(|started| fresh.number < started.number));
        self.ring(fresh)
    }

    /// Takes the oldest one. And those that come behind it in its ring, as far as can be seen at a glance.
    #[inline(always)]
    fn pop(&mut self) -> Option<(Entry, Ahead)> {
        let ring = self.oldest();
        let item = ring.pop_front()?;
        let ahead = match ring.front() {
            Some(next) => Ahead { next: next.entry, behind: ring.around_second().entry },
            None => Ahead::NOBODY,
        };
        Some((item.entry, ahead))
    }

    /// Moves the youngest ones without a stack that are `wanted` to `out`, in their order.
    fn take_youngest(&mut self, most: usize, wanted: impl Fn(Entry) -> bool, out: &mut Vec<Entry>) {
        let mut missing = most;
        let mut from = self.fresh.len();
        while from > 0 && missing > 0 {
            from -= 1;
            missing -= usize::from(self.fresh.get(from).is_some_and(|item| wanted(item.entry)));
        }
        let tail = self.fresh.split_off(from);
        for item in tail {
            if wanted(item.entry) {
                out.push(item.entry);
            } else {
                self.fresh.push_back(item);
            }
        }
    }

    fn remove(&mut self, at: usize) -> Option<Item> {
        if at < self.fresh.len() { self.fresh.remove(at) } else { self.started.remove(at - self.fresh.len()) }
    }
}

#[derive(Debug)]
pub(crate) struct RunQueue {
    /// Tasks that are not normal.
    special: usize,
    next_number: u64,
    levels: [Level; LEVELS],
    normal_turns: u8,
    /// Those in the two below.
    new_count: usize,
    /// New tasks; the last one is next.
    new: VecDeque<Entry>,
    /// Those that were spawned since the last `pop`, in their order.
    newest: Vec<Entry>,
    /// How often there was no new one left.
    lulls: u64,
    /// So many new ones have their turns before the others.
    new_left: usize,
    /// The others with smaller numbers have theirs before new ones.
    others_before: u64,
}

impl RunQueue {
    pub(crate) fn new() -> Self {
        RunQueue {
            special: 0,
            next_number: 0,
            levels: Default::default(),
            normal_turns: 0,
            new_count: 0,
            new: VecDeque::new(),
            newest: Vec::new(),
            lulls: 0,
            new_left: 0,
            others_before: 0,
        }
    }

    /// New tasks that have not run yet.
    #[inline(always)]
    pub(crate) fn new_len(&self) -> usize {
        self.new_count
    }

    /// A normal task that was just spawned, without a stack.
    #[inline(always)]
    pub(crate) fn push_new(&mut self, entry: Entry) {
        self.new_count += 1;
        self.newest.push(entry);
    }

    /// How often the new tasks have run out.
    #[inline(always)]
    pub(crate) fn lulls(&self) -> u64 {
        self.lulls
    }

    /// Takes in what was new with another worker, in the order of `take_fresh`: it has its turn after what is new here.
    pub(crate) fn adopt_new(&mut self, entries: &[Entry]) {
        self.new_count += entries.len();
        for entry in entries {
            self.new.push_front(*entry);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.new_count + self.levels.iter().map(Level::len).sum::<usize>()
    }

    /// Tasks that may be given away.
    pub(crate) fn fresh(&self) -> usize {
        self.new_count + self.levels.iter().map(|level| level.fresh.len()).sum::<usize>()
    }

    /// `fresh`: it has no stack. That does not change while it is in the queue.
    #[inline(always)]
    pub(crate) fn push(&mut self, entry: Entry, priority: u8, fresh: bool) {
        let item = Item { entry, number: self.next_number };
        self.next_number += 1;
        if priority as usize == NORMAL {
            self.levels[NORMAL].ring(fresh).push_back(item);
        } else {
            self.push_special(item, priority, fresh);
        }
    }

    /// The same if it is a normal task and there is room for it. False: it is not so.
    #[inline(always)]
    pub(crate) fn push_quickly(&mut self, entry: Entry, priority: u8, fresh: bool) -> bool {
        if priority as usize != NORMAL {
            return false;
        }
        let pushed = self.levels[NORMAL].ring(fresh).push_quickly(Item { entry, number: self.next_number });
        self.next_number += u64::from(pushed);
        pushed
    }

    #[cold]
    fn push_special(&mut self, item: Item, priority: u8, fresh: bool) {
        self.special += 1;
        self.levels[priority as usize].ring(fresh).push_back(item);
    }

    pub(crate) fn pop(&mut self) -> Option<Entry> {
        self.pop_and_look().map(|(entry, _)| entry)
    }

    #[inline(always)]
    pub(crate) fn pop_and_look(&mut self) -> Option<(Entry, Ahead)> {
        if self.special == 0 { self.pop_normal() } else { self.pop_mixed() }
    }

    #[inline(always)]
    fn pop_normal(&mut self) -> Option<(Entry, Ahead)> {
        if self.new_len() > 0
            && let Some(entry) = self.pop_new()
        {
            return Some((entry, Ahead::NOBODY));
        }
        self.levels[NORMAL].pop()
    }

    /// A new one, if it is not the others' turn.
    #[inline(never)]
    fn pop_new(&mut self) -> Option<Entry> {
        if self.levels[NORMAL].oldest().front().is_some_and(|item| item.number < self.others_before) {
            return None;
        }
        if self.new_left == 0 {
            self.new_left = self.new_count.max(NEW_IN_A_ROW);
        }
        self.new_left -= 1;
        let next = if self.newest.len() == 1 {
            self.newest.pop()
        } else {
            self.new.extend(self.newest.drain(..).rev());
            self.new.pop_back()
        }?;
        self.new_count -= 1;
        if self.new_left == 0 || self.new_count == 0 {
            self.new_left = 0;
            self.others_before = self.next_number;
            self.lulls += u64::from(self.new_count == 0);
        }
        Some(next)
    }

    /// The new one that has waited longest is new no more.
    pub(crate) fn age(&mut self) {
        if let Some(oldest) = self.new.pop_front() {
            // `push` counts it again.
            self.new_count -= 1;
            self.push(oldest, NORMAL as u8, true);
        }
    }

    #[cold]
    fn pop_mixed(&mut self) -> Option<(Entry, Ahead)> {
        for level in 0..NORMAL {
            if let Some(entry) = self.pop_special(level) {
                return Some(entry);
            }
        }
        if self.normal_turns >= NORMAL_PER_LOW || self.levels[NORMAL].len() == 0 && self.new_len() == 0 {
            self.normal_turns = 0;
            if let Some(entry) = self.pop_special(LOW) {
                return Some(entry);
            }
        }
        self.normal_turns += 1;
        self.pop_normal()
    }

    fn pop_special(&mut self, level: usize) -> Option<(Entry, Ahead)> {
        let popped = self.levels[level].pop()?;
        self.special -= 1;
        Some(popped)
    }

    /// For the systematic mode: any task that the priorities allow, by chance.
    pub(crate) fn pop_any(&mut self, random: &mut Random) -> Option<Entry> {
        if self.len() == 0 {
            return None;
        }
        let urgent = (0..NORMAL).find(|level| self.levels[*level].len() > 0);
        let (level, at) = match urgent {
            Some(level) => (level, random.below(self.levels[level].len() as u64) as usize),
            None => {
                let (normal, low) = (self.levels[NORMAL].len(), self.levels[LOW].len());
                let at = random.below((normal + low) as u64) as usize;
                if at < normal { (NORMAL, at) } else { (LOW, at - normal) }
            }
        };
        self.take_out(level, at)
    }

    /// For a script: the one that `choose` picks of all that the priorities allow, oldest first.
    pub(crate) fn pop_chosen(&mut self, choose: impl FnOnce(&[Entry]) -> usize) -> Option<Entry> {
        if self.len() == 0 {
            return None;
        }
        let urgent = (0..NORMAL).find(|level| self.levels[*level].len() > 0);
        let levels = urgent.map_or(NORMAL..LEVELS, |level| level..level + 1);
        let mut allowed: Vec<(Item, usize, usize)> = Vec::new();
        for level in levels {
            let rings = &self.levels[level];
            let items = rings.fresh.iter().chain(rings.started.iter()).enumerate();
            allowed.extend(items.map(|(at, item)| (item, level, at)));
        }
        allowed.sort_unstable_by_key(|(item, ..)| item.number);
        let entries: Vec<Entry> = allowed.iter().map(|(item, ..)| item.entry).collect();
        let (_, level, at) = allowed[choose(&entries)];
        self.take_out(level, at)
    }

    fn take_out(&mut self, level: usize, at: usize) -> Option<Entry> {
        self.special -= usize::from(level != NORMAL);
        self.levels[level].remove(at).map(|item| item.entry)
    }

    /// Takes out at most so many tasks without a stack: first new ones, the oldest, for they are the roots of the largest trees;
    /// then of the others the youngest (they are the least likely to be warm
    /// here). Their order is kept. Those that are `tied` to others here stay, unless all are. And how many were new: they come first.
    pub(crate) fn take_fresh(&mut self, most: usize, tied: impl Fn(Entry) -> bool) -> (Vec<Entry>, usize) {
        let mut out = Vec::new();
        let mut new = 0;
        self.new.extend(self.newest.drain(..).rev());
        for all in [false, true] {
            let mut at = 0;
            while at < self.new.len() && out.len() < most {
                if all || !tied(self.new[at]) {
                    out.extend(self.new.remove(at));
                    self.new_count -= 1;
                } else {
                    at += 1;
                }
            }
            out.reverse();
            new = out.len();
            for (level, rings) in self.levels.iter_mut().enumerate() {
                let before = out.len();
                rings.take_youngest(most - before, |entry| all || !tied(entry), &mut out);
                self.special -= if level == NORMAL { 0 } else { out.len() - before };
            }
            if !out.is_empty() {
                break;
            }
        }
        (out, new)
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
            queue.push(task(index), 2, index % 2 == 0);
        }
        queue.push(task(100), 3, true);
        queue.push(task(200), 1, false);
        queue.push(task(300), 0, true);
        assert_eq!(queue.pop(), Some(task(300)));
        assert_eq!(queue.pop(), Some(task(200)));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(number).collect();
        assert_eq!(order.iter().position(|index| *index == 100), Some(NORMAL_PER_LOW as usize));
        let normal: Vec<_> = order.into_iter().filter(|index| *index < 100).collect();
        assert_eq!(normal, (0..20).collect::<Vec<_>>());
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn new_ones_first_depth_first_and_the_others_after_some_of_them() {
        let mut queue = RunQueue::new();
        queue.push(task(0), 2, false);
        (1..=3).for_each(|index| queue.push_new(task(index)));
        assert_eq!(queue.pop(), Some(task(1)));
        (10..=12).for_each(|index| queue.push_new(task(index)));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(number).collect();
        assert_eq!(order, [10, 11, 12, 2, 3, 0]);
        assert_eq!((queue.len(), queue.fresh(), queue.new_len()), (0, 0, 0));

        // Each new one spawns two more, for ever: nobody starves, neither old nor new.
        queue.push(task(1000), 2, false);
        queue.push(task(1001), 3, false);
        queue.push_new(task(0));
        let mut order = Vec::new();
        for index in 0..1000 {
            if index % 100 == 0 {
                queue.age();
            }
            let next = queue.pop().map(number).expect("there are more and more");
            order.push(next);
            if !(1000..2000).contains(&next) {
                queue.push_new(task(2000 + 2 * index));
                queue.push_new(task(2001 + 2 * index));
            }
        }
        assert!(order[..NEW_IN_A_ROW + 1].contains(&1000));
        assert!(order.contains(&1001));
        assert!(order.contains(&2001), "one of the first pair waited at the bottom");
        assert_eq!(queue.len(), queue.fresh());
    }

    #[test]
    fn of_new_ones_the_oldest_are_given_away() {
        let mut queue = RunQueue::new();
        (0..4).for_each(|index| queue.push_new(task(index)));
        assert_eq!(queue.pop(), Some(task(0)));
        (10..14).for_each(|index| queue.push_new(task(index)));
        let (out, new) = queue.take_fresh(4, |entry| number(entry) == 3);
        assert_eq!(out.iter().copied().map(number).collect::<Vec<_>>(), [12, 13, 1, 2]);
        assert_eq!((new, queue.len()), (4, 3));

        let mut other = RunQueue::new();
        other.push(task(30), 2, false);
        other.push_new(task(20));
        other.push_new(task(21));
        assert_eq!(other.pop(), Some(task(20)));
        other.push_new(task(22));
        other.adopt_new(&out);
        // The roots of the largest trees are the last here, and the first to go on from here.
        assert_eq!(other.take_fresh(1, |_| false), (vec![task(2)], 1));
        let order: Vec<_> = std::iter::from_fn(|| other.pop()).map(number).collect();
        assert_eq!(order, [22, 21, 12, 13, 1, 30]);
        assert_eq!((other.len(), other.fresh(), other.new_len()), (0, 0, 0));
    }

    #[test]
    fn the_end_of_a_burst_of_new_ones_is_noticed() {
        let mut queue = RunQueue::new();
        queue.push(task(0), 2, true);
        (1..=3).for_each(|index| queue.push_new(task(index)));
        assert_eq!((queue.pop(), queue.pop(), queue.lulls()), (Some(task(1)), Some(task(2)), 0));
        assert_eq!((queue.pop(), queue.lulls()), (Some(task(3)), 1));
        assert_eq!((queue.pop(), queue.lulls()), (Some(task(0)), 1));
    }

    #[test]
    fn takes_those_without_a_stack_from_the_back_in_order() {
        let mut queue = RunQueue::new();
        for index in 0..10 {
            queue.push(task(index), 2, index % 2 == 0);
        }
        let (out, new) = queue.take_fresh(3, |_| false);
        assert_eq!(new, 0);
        assert_eq!(out.into_iter().map(number).collect::<Vec<_>>(), [4, 6, 8]);
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).map(number).collect();
        assert_eq!(rest, [0, 1, 2, 3, 5, 7, 9]);
        assert_eq!((queue.len(), queue.fresh()), (0, 0));
    }

    #[test]
    fn those_that_are_tied_stay_unless_all_are() {
        let mut queue = RunQueue::new();
        for index in 0..10 {
            queue.push(task(index), 2, true);
        }
        let tied = |entry| number(entry) > 3;
        let numbers = |(out, _): (Vec<Entry>, usize)| out.into_iter().map(number).collect::<Vec<_>>();
        assert_eq!(numbers(queue.take_fresh(3, tied)), [1, 2, 3]);
        assert_eq!(numbers(queue.take_fresh(3, tied)), [0]);
        assert_eq!(numbers(queue.take_fresh(3, tied)), [7, 8, 9]);
        assert_eq!(std::iter::from_fn(|| queue.pop()).map(number).collect::<Vec<_>>(), [4, 5, 6]);
    }

    #[test]
    fn a_choice_is_among_those_that_the_priorities_allow_by_age() {
        let mut queue = RunQueue::new();
        for index in 0..6 {
            queue.push(task(index), if index == 3 { 3 } else { 2 }, index % 2 == 0);
        }
        queue.push(task(10), 1, true);
        assert_eq!(
            queue.pop_chosen(|among| {
                assert_eq!(among, [task(10)]);
                0
            }),
            Some(task(10))
        );
        let all: Vec<_> = (0..6).map(task).collect();
        assert_eq!(
            queue.pop_chosen(|among| {
                assert_eq!(among, all);
                3
            }),
            Some(task(3))
        );
        assert_eq!(queue.pop_chosen(|_| 4), Some(task(5)));
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).map(number).collect();
        assert_eq!(rest, [0, 1, 2, 4]);
        assert_eq!((queue.len(), queue.fresh()), (0, 0));
    }

    #[test]
    fn any_takes_each_once() {
        let mut queue = RunQueue::new();
        for index in 0..30 {
            queue.push(task(index), if index % 3 == 0 { 3 } else { 2 }, index % 2 == 0);
        }
        let mut random = Random::new(1);
        let mut order: Vec<_> = std::iter::from_fn(|| queue.pop_any(&mut random)).map(number).collect();
        assert_ne!(order, (0..30).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..30).collect::<Vec<_>>());
    }
}
