//! Giving tasks to idle workers.
//!
//! Work sharing with private queues (after U. Acar, A. Charguéraud, M. Rainey, *Scheduling Parallel
//! Programs by Work Stealing with Private Deques*, PPoPP 2013; the sender-initiated variant): an idle
//! worker says so in a set that all can read; a busy one looks at it between two slices and gives half
//! of what it can spare. Its queue needs no atomics, and it flushes and settles everything before it
//! lets go, which a thief could not do for it.
//!
//! 1. Only tasks without a stack are given (`carrier.rs`). Not started ones and servers between two steps.
//! 2. A queue is shared only when it has not been empty for a while: a burst of processes that start, and then
//!    wait for each other, is better off together, and those that have started stay where they are. The end of a
//!    burst counts, also if nobody looked at the queue just then (`RunQueue::lulls`). Few new tasks are enough if they have
//!    stood for longer.
//! 3. Tasks that have started stay where they are, so it matters where they start. A worker whose queue is
//!    long also looks, now and then, whether another one's is much shorter, and gives part of the
//!    difference before its tasks have started. The queue of a worker with a tree goes up and down all the time, and what one worker knows of
//!    another is old: so if most tasks are new it does that again only after a pause. Nor is a gift given back before that, unless its tasks end as
//!    they start, or take long (rule 6): who has given half of a burst and started the rest waits for it, perhaps, and is idle for that alone.
//! 4. An idle worker is claimed (taken out of the set) by one giver at a time.
//! 5. What was new with the giver is new with the receiver, and older than all that is new there: a tree unfolds depth first
//!    there too (`run_queue.rs`).
//! 6. New tasks that end in their first slice talk to nobody later: if they are also long, by the clock, they are given sooner. Short ones
//!    never: to move one costs as much as to run it. Slices that take longer than any move are a reason for all tasks without a stack.

use super::{Control, Worker};
use crate::{
    depot::prefetch_to_write,
    flushing::Flushing,
    owner::WorkerId,
    run_queue::{AGING, Entry, RunQueue},
    slot::{NO_TIMER, Private, Slot},
};
use crossbeam_utils::CachePadded;
use std::{
    cell::Cell,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

/// Queued tasks from which on a worker compares itself with others that are busy too.
const LONG_QUEUE: usize = 16;
/// How long a queue must have stood, in nanoseconds: some thousand short slices, or a few cross-CPU wake-ups.
/// Guess: what a ring of 500 processes takes to start must not split it.
const PATIENCE: u64 = 200_000;
/// Nanoseconds of a slice up to which [`PATIENCE`] holds. Guess: to move a task costs that much, to both workers.
const BRISK: u64 = 100;
/// So many nanoseconds of work must wait to be given sooner. Guess: several times what it costs to wake a CPU.
const WORTH: u64 = 50_000;
/// Tasks with short slices that are enough to share. Guess.
const ENOUGH: usize = 64;
/// For so many tasks a new one counts. Guess.
const NEW_COUNTS: usize = 8;
/// Short slices between two looks at whether there is work to share.
const LOOKS: u32 = 8;
/// Slices to the first look: the others would come late if the first tasks of a burst are long.
const EARLY_LOOK: u32 = 2;
/// The same in nanoseconds, if slices are long.
const LONG_LOOK: u64 = 20_000;
/// Nanoseconds of a slice from which on it is dearer than a move, and than some messages between workers. Guess: ten times a wake-up.
const LONG_TIME: u64 = 50_000;
/// Nanoseconds of a slice from which on a look is cheap beside it.
const NOT_SHORT: u64 = 1_000;
/// Reductions of a slice up to which it is short.
const SHORT: usize = 50;
/// Reductions of a slice that count at most in the average: one long slice says little of the next ones.
pub(super) const LONG: i32 = 256;
/// Most tasks given in one go.
const MOST: usize = 4096;
/// Nanoseconds from a gift, made or got, until its effect shows in the lengths of queues. Guess: many times [`PATIENCE`].
const PAUSE: u64 = 1_000_000;

/// Slots that a receiver asks for ahead. Guess: as many lines, twice, as a core can wait for at a time.
pub(super) const AHEAD: usize = 8;

/// Asks for both lines of a slot that another worker has written.
pub(super) fn ask_for(slot: Entry) {
    let lines: *const [u8; size_of::<Slot>() / 2] = slot.cast();
    prefetch_to_write(lines);
    prefetch_to_write(lines.wrapping_add(1));
}

/// The idle workers.
#[derive(Debug, Default)]
pub(crate) struct IdleSet {
    count: CachePadded<AtomicU32>,
    words: [AtomicU64; 4],
}

impl IdleSet {
    /// Is there one? Relaxed, here and below: the set is a hint, looked at again and again; what is
    /// handed over goes by the control queue.
    #[inline(always)]
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn contains(&self, worker: WorkerId) -> bool {
        self.any() && self.words[worker as usize / 64].load(Ordering::Relaxed) >> (worker % 64) & 1 == 1
    }

    pub(crate) fn insert(&self, worker: WorkerId) {
        let bit = 1 << (worker % 64);
        if self.words[worker as usize / 64].fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// True: it was in, and the caller is the one who took it out.
    pub(crate) fn remove(&self, worker: WorkerId) -> bool {
        let bit = 1 << (worker % 64);
        let was_in = self.words[worker as usize / 64].fetch_and(!bit, Ordering::Relaxed) & bit != 0;
        if was_in {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        was_in
    }

    /// Takes one out (rule 4).
    fn claim(&self) -> Option<WorkerId> {
        for (index, word) in self.words.iter().enumerate() {
            let bits = word.load(Ordering::Relaxed);
            if bits != 0 {
                let worker = (index * 64) as WorkerId + bits.trailing_zeros() as WorkerId;
                if self.remove(worker) {
                    return Some(worker);
                }
            }
        }
        None
    }
}

/// The clock, and how many slices and ended tasks there had been by then.
#[derive(Clone, Copy, Debug, Default)]
struct Lives {
    now: u64,
    slices: u32,
    ended: u64,
}

/// What a worker remembers of its queue, to decide what to give.
#[derive(Debug)]
pub(super) struct Balance {
    /// Since when there has been work to spare.
    surplus_since: Cell<u64>,
    /// The queue's lulls as of the latest look.
    lulls: Cell<u64>,
    /// When the oldest new task ceases to be new.
    next_aging: Cell<u64>,
    /// Not before that is given what stays where it starts (rule 3).
    next_gift: Cell<u64>,
    /// Not before that are new tasks given to a worker that is busy too.
    next_level: Cell<u64>,
    /// As of the latest look at the pace.
    lives: Cell<Lives>,
    /// The two latest ones: nanoseconds of a slice; 0: they are short, and most of the tasks did not end in theirs.
    paces: Cell<[u64; 2]>,
}

impl Balance {
    pub(super) fn new() -> Self {
        Balance {
            surplus_since: Cell::new(u64::MAX),
            lulls: Cell::new(0),
            next_aging: Cell::new(0),
            next_gift: Cell::new(0),
            next_level: Cell::new(0),
            lives: Cell::new(Lives::default()),
            paces: Cell::new([0; 2]),
        }
    }

    /// How long do slices take, if that counts (rule 6)? The latest look was in the same burst.
    fn look_at_pace(&self, lives: Lives) {
        let before = self.lives.get();
        let (slices, time) = (lives.slices.wrapping_sub(before.slices), lives.now - before.now);
        if slices == 0 || slices < LOOKS && time < LONG_LOOK {
            return;
        }
        self.lives.set(lives);
        let most_ended = 4 * (lives.ended - before.ended) >= 3 * u64::from(slices);
        let slice = time / u64::from(slices);
        let pace = if most_ended || slice >= LONG_TIME { slice.min(PATIENCE) } else { 0 };
        self.paces.set([self.paces.get()[1], pace]);
    }

    /// The lesser one: a single slice that took long, or was interrupted by the system, says nothing of the others.
    fn pace(&self) -> u64 {
        let [before, last] = self.paces.get();
        before.min(last)
    }
}

/// Tasks on their way.
pub(crate) struct Batch {
    tasks: Vec<Entry>,
    /// The first so many of them were new.
    new: usize,
}

// SAFETY: slots are `Sync`; what is private in them has been given by `Owner::give`.
unsafe impl Send for Batch {}

impl Worker {
    /// Gives work to an idle worker if there is enough (rule 2).
    #[cold]
    #[inline(never)]
    pub(crate) fn share_work(&self) {
        if self.queue_len() < 2 {
            // It runs next.
            return;
        }
        // To look is dearer than a short slice: not after each.
        let short = self.usage.get() < SHORT as i32 && self.balance.pace() < NOT_SHORT;
        if short && !self.turn.get().is_multiple_of(LOOKS) && self.turn.get() != EARLY_LOOK {
            return;
        }
        if self.has_surplus() {
            self.give_to_idle(self.movable().div_ceil(2).min(MOST));
        }
    }

    /// Has there been enough to spare for long enough (rule 2)? The shorter the slices, the more tasks are
    /// enough: what is given then lies together in the queue, and most of it only talks to its neighbours.
    fn has_surplus(&self) -> bool {
        let seen = &self.balance;
        let enough = (ENOUGH * SHORT / self.usage.get().max(1) as usize).clamp(1, ENOUGH);
        // SAFETY: `Worker` rule 1.
        let (fresh, new, lulls) =
            unsafe { self.queue.with(|queue| (queue.fresh(), queue.new_len(), queue.lulls())) };
        // A new task that has not had its turn for so long is the root of a tree, as a rule.
        let spare = fresh + (NEW_COUNTS - 1) * new;
        let lull = seen.lulls.replace(lulls) != lulls && fresh - new < enough;
        let pace = seen.pace();
        let count = if pace >= LONG_TIME { fresh } else { new } as u64;
        let nothing = spare < enough && count == 0;
        if lull || nothing || self.shared.systematic || self.retire_to.get() != 0 {
            seen.surplus_since.set(u64::MAX);
            return false;
        }
        let now = self.shared.clock.now();
        // Relaxed: our own count.
        let lives =
            Lives { now, slices: self.slices.load(Ordering::Relaxed), ended: self.metrics.ended.get() };
        if seen.surplus_since.get() == u64::MAX {
            seen.surplus_since.set(now);
            seen.lives.set(lives);
        } else {
            seen.look_at_pace(lives);
        }
        if pace == 0 && now < seen.next_gift.get() {
            return false;
        }
        let stood = now - seen.surplus_since.get();
        // The longer the slices, the sooner it pays.
        if count * pace >= WORTH && stood >= PATIENCE * BRISK * BRISK / (pace * pace) {
            return true;
        }
        if spare < enough {
            // Few new ones must have stood for longer.
            return (new * NEW_COUNTS) as u64 * stood >= ENOUGH as u64 * PATIENCE;
        }
        let usage = self.usage.get().clamp(SHORT as i32, LONG) as u64;
        stood >= PATIENCE * (SHORT * SHORT) as u64 / (usage * usage)
    }

    /// Says how long the queue is, and gives part of it to a worker whose queue is much shorter (rule 3).
    #[inline(never)]
    pub(crate) fn level(&self) {
        let (len, now) = (self.queue_len(), self.now.get());
        // Relaxed, here and below: hints.
        self.public.load.store(len as u32, Ordering::Relaxed);
        if len < LONG_QUEUE || !self.has_surplus() {
            return;
        }
        // SAFETY: `Worker` rule 1.
        let (fresh, new) = unsafe { self.queue.with(|queue| (queue.fresh(), queue.new_len())) };
        if 2 * new > fresh && now < self.balance.next_level.get() {
            return;
        }
        // Two at random, the better one of them: as good as all, and cheap with many workers (M. Mitzenmacher,
        // The Power of Two Choices in Randomized Load Balancing, 2001).
        let workers = self.shared.config.workers as u64;
        let mut best: Option<(u32, WorkerId)> = None;
        for _ in 0..2 {
            // SAFETY: `Worker` rule 1.
            let id = unsafe { self.random.with(|random| random.below(workers)) } as WorkerId + 1;
            let Some(other) = self.shared.worker(id) else { continue };
            let load = other.public.load.load(Ordering::Relaxed);
            if id != self.id && best.is_none_or(|(least, _)| load < least) {
                best = Some((load, id));
            }
        }
        if let Some((load, to)) = best
            && len >= 2 * load as usize + LONG_QUEUE
            && !self.shared.watchdog.is_stuck(to)
        {
            let batch = self.take_movable(((len - load as usize) / 2).min(self.movable()).min(MOST));
            if !batch.tasks.is_empty() {
                // Or it would be given more as an idle one (rule 4).
                self.shared.idle.remove(to);
                self.count_in(batch.tasks.len(), load, to);
                self.give(batch, to);
            }
        }
    }

    /// Now and then the oldest new task is new no more (`run_queue.rs`). By the clock: the longer slices are, the more often, counted in them.
    #[inline(always)]
    pub(super) fn age(&self) {
        let now = self.now.get();
        if now >= self.balance.next_aging.get() {
            self.balance.next_aging.set(now + AGING);
            // SAFETY: `Worker` rule 1.
            unsafe { self.queue.with(RunQueue::age) };
        }
    }

    fn give_to_idle(&self, most: usize) {
        let Some(to) = self.shared.idle.claim() else { return };
        if to == self.id {
            return;
        }
        let batch = self.take_movable(most);
        if batch.tasks.is_empty() {
            // It goes on being idle.
            self.shared.idle.insert(to);
            return;
        }
        self.count_in(batch.tasks.len(), 0, to);
        self.give(batch, to);
    }

    /// So that the next look, here or elsewhere, finds so many more with that worker, which had `load`. It takes a while to begin with them.
    fn count_in(&self, number: usize, load: u32, to: WorkerId) {
        if let Some(other) = self.shared.worker(to) {
            other.public.load.store(load + number as u32, Ordering::Relaxed);
        }
        self.balance.next_level.set(self.now.get() + PAUSE);
    }

    /// For a spare that is not needed any more: all that can move goes to its successor.
    #[cold]
    pub(super) fn retire(&self) {
        let batch = self.take_movable(usize::MAX);
        if !batch.tasks.is_empty() {
            self.give(batch, self.retire_to.get());
        }
    }

    /// In place of a stuck worker's thread, with custody: sees to its mail and its timers, and gives
    /// everything that can move to `to`. Returns how many tasks moved.
    pub(crate) fn rescue(&self, to: WorkerId) -> usize {
        self.rescued.set(true);
        self.flush();
        if self.public.inbox.has_tokens() {
            self.drain_inbox();
        }
        self.look_at_clock();
        self.poll();
        let batch = self.take_movable(usize::MAX);
        let moved = batch.tasks.len();
        if moved > 0 {
            self.give(batch, to);
        }
        self.rescued.set(false);
        moved
    }

    /// Takes tasks that may move out of the run queue.
    pub(crate) fn take_movable(&self, most: usize) -> Batch {
        // SAFETY: `Worker` rule 1.
        let (tasks, new) =
            unsafe { self.queue.with(|queue| queue.take_fresh(most, |entry| self.is_tied(entry))) };
        Batch { tasks, new }
    }

    /// Has it got mail already? Then the sender is probably here (rule 2).
    fn is_tied(&self, entry: Entry) -> bool {
        self.slot_of(entry).queued() > 0
    }

    /// Puts a new task into the queue of the next worker in turn.
    #[cold]
    pub(super) fn spread(&self, task: Private<'_>) {
        let to = self.shared.some_worker();
        if to == self.id || self.shared.watchdog.is_stuck(to) {
            self.push(task);
        } else {
            self.give(Batch { tasks: vec![task.slot()], new: 0 }, to);
        }
    }

    /// Gives tasks, all `Queued` and in no queue, to another worker.
    pub(crate) fn give(&self, batch: Batch, to: WorkerId) {
        self.flush();
        self.metrics.given.add(batch.tasks.len() as u64);
        for &entry in &batch.tasks {
            let slot = self.slot_of(entry);
            let task = self.private(slot);
            // What the soundness of `spawn` rests on is checked in all builds.
            assert!(task.is_movable(), "a task with a stack was about to be given away");
            if task.timer() != NO_TIMER {
                self.disarm(task);
            }
            slot.owner.depart(self.id);
        }
        self.await_mail();
        for &entry in &batch.tasks {
            self.slot_of(entry).owner.give(to);
        }
        self.shared.order(to, Control::Adopt(batch));
    }

    /// Takes in all that was sent to tasks of ours before they were marked (`owner.rs`, rule 5).
    fn await_mail(&self) {
        Flushing::mark();
        for id in 1..=self.shared.worker_count() as WorkerId {
            if id != self.id
                && let Some(other) = self.shared.worker(id)
            {
                other.flushing.wait();
            }
        }
        self.take_in_all_mail();
    }

    /// Takes in what was given to us.
    pub(super) fn adopt(&self, batch: Batch) {
        self.flush();
        self.adopted.set(true);
        self.metrics.adopted.add(batch.tasks.len() as u64);
        self.balance.next_gift.set(self.shared.clock.now() + PAUSE);
        // The slots are in the giver's cache: they are asked for some at a time, ahead of the first write.
        let mut ahead = batch.tasks.iter();
        ahead.by_ref().take(AHEAD).for_each(|entry| ask_for(*entry));
        let (new, others) = batch.tasks.split_at(batch.new);
        for &entry in new {
            ahead.next().inspect(|entry| ask_for(**entry));
            self.slot_of(entry).owner.settle(self.id);
        }
        // SAFETY: `Worker` rule 1.
        unsafe { self.queue.with(|queue| queue.adopt_new(new)) };
        self.balance.next_level.set(self.now.get() + PAUSE);
        for &entry in others {
            ahead.next().inspect(|entry| ask_for(**entry));
            let slot = self.slot_of(entry);
            slot.owner.settle(self.id);
            self.push(self.private(slot));
        }
    }

    /// The slot of an entry.
    fn slot_of(&self, entry: Entry) -> &Slot {
        // SAFETY: entries are slots of the slab, which lives as long as `shared`.
        unsafe { &*entry }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_tasks_that_end_and_not_of_one_long_slice() {
        let seen = Balance::new();
        let mut lives = Lives::default();
        let mut look = |slices: u32, ended: u64, time: u64| {
            lives = Lives {
                now: lives.now + time,
                slices: lives.slices.wrapping_add(slices),
                ended: lives.ended + ended,
            };
            seen.look_at_pace(lives);
            seen.pace()
        };
        assert_eq!(look(8, 8, 8_000), 0);
        assert_eq!(look(8, 7, 16_000), 1_000);
        // Too few to tell: they count the next time.
        assert_eq!(look(4, 4, 400), 1_000);
        assert_eq!(look(4, 4, 400), 100);
        // One that takes long says nothing, two do.
        assert_eq!(look(1, 1, 50_000), 100);
        assert_eq!(look(1, 1, 50_000), 50_000);
        // More is no reason to hurry more.
        look(1, 1, u64::from(u32::MAX) + 1);
        assert_eq!(look(1, 1, 10_000_000), PATIENCE);
        // These wait.
        assert_eq!(look(10, 5, 100_000), 0);
        assert_eq!(look(10, 0, 1_000_000), 0);
        assert_eq!(look(10, 0, 1_000_000), 100_000);
    }
}
