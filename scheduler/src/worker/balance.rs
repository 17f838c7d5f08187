//! Giving tasks to idle workers.
//!
//! Work sharing with private queues (after U. Acar, A. Charguéraud, M. Rainey, *Scheduling Parallel
//! Programs by Work Stealing with Private Deques*, PPoPP 2013; the sender-initiated variant): an idle
//! worker says so in a set that all can read; a busy one looks at it between two slices and gives half
//! of what it can spare. Its queue needs no atomics, and it flushes and settles everything before it
//! lets go, which a thief could not do for it.
//!
//! 1. Only tasks without a stack are given (`carrier.rs`). Not started ones and servers between two steps.
//! 2. A long queue is shared at once; a short one only when it has stayed for a while: two processes
//!    that take turns in microseconds are better off together.
//! 3. An idle worker is claimed (taken out of the set) by one giver at a time.

use super::{Control, Worker};
use crate::{owner::WorkerId, slot::NO_TIMER};
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Queued tasks from which on they are shared at once.
const LONG_QUEUE: usize = 16;
/// How long a shorter queue must have stood, in nanoseconds. Guess: a few times a cross-CPU wake-up.
const SHORT_QUEUE_PATIENCE: u64 = 50_000;
/// Most tasks given in one go.
const MOST: usize = 1024;
/// Most tasks looked at to find them.
const LOOK: usize = 4096;

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

    /// Takes one out (rule 3).
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

impl Worker {
    /// Gives work to an idle worker if there is enough (rule 2).
    #[cold]
    #[inline(never)]
    pub(crate) fn share_work(&self) {
        let len = self.queue_len();
        let waiting = len.saturating_sub(usize::from(self.current().is_none()));
        if waiting == 0 || self.shared.systematic {
            self.surplus_since.set(u64::MAX);
            return;
        }
        if len < LONG_QUEUE {
            let now = self.shared.clock.now();
            if self.surplus_since.get() == u64::MAX {
                self.surplus_since.set(now);
            }
            if now - self.surplus_since.get() < SHORT_QUEUE_PATIENCE {
                return;
            }
        }
        self.surplus_since.set(u64::MAX);
        let most = len.div_ceil(2).min(MOST);
        self.give_to_idle(most);
    }

    fn give_to_idle(&self, most: usize) {
        let Some(to) = self.shared.idle.claim() else { return };
        if to == self.id {
            return;
        }
        let tasks = self.take_movable(most);
        if tasks.is_empty() {
            // It goes on being idle.
            self.shared.idle.insert(to);
            return;
        }
        self.give(tasks, to);
    }

    /// For a spare that is not needed any more: all that can move goes to its successor.
    #[cold]
    pub(super) fn retire(&self) {
        let tasks = self.take_movable(usize::MAX);
        if !tasks.is_empty() {
            self.give(tasks, self.retire_to.get());
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
        let tasks = self.take_movable(usize::MAX);
        let moved = tasks.len();
        if moved > 0 {
            self.give(tasks, to);
        }
        self.rescued.set(false);
        moved
    }

    /// Takes tasks that may move out of the run queue.
    pub(crate) fn take_movable(&self, most: usize) -> Vec<u32> {
        let mut tasks = Vec::new();
        let shared = &self.shared;
        // SAFETY: `Worker` rule 1; the closure only reads slots of ours.
        unsafe {
            self.queue.with(|queue| {
                queue.take_movable(
                    most,
                    if most == usize::MAX { usize::MAX } else { LOOK },
                    &mut |index| shared.slab.get(index).is_some_and(|slot| self.private(slot).is_movable()),
                    &mut tasks,
                );
            });
        }
        tasks
    }

    /// Gives tasks, all `Queued` and in no queue, to another worker.
    pub(crate) fn give(&self, tasks: Vec<u32>, to: WorkerId) {
        self.flush();
        self.metrics.given.add(tasks.len() as u64);
        for &index in &tasks {
            let Some(slot) = self.shared.slab.get(index) else { continue };
            let task = self.private(slot);
            if task.timer() != NO_TIMER {
                self.disarm(task);
            }
            slot.owner.give(to);
        }
        self.shared.order(to, Control::Adopt(tasks));
    }

    /// Takes in what was given to us.
    pub(super) fn adopt(&self, tasks: Vec<u32>) {
        self.flush();
        self.metrics.adopted.add(tasks.len() as u64);
        for index in tasks {
            let Some(slot) = self.shared.slab.get(index) else { continue };
            slot.owner.settle(self.id);
            let priority = self.private(slot).priority();
            // SAFETY: `Worker` rule 1.
            unsafe { self.queue.with(|queue| queue.push(index, priority)) };
        }
    }
}
