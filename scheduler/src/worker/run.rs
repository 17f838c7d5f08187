//! The loop: find a task, run it, see what became of it.

use super::{Parting, Worker, balance};
use crate::{
    body::OwnedBody,
    carrier::{Carrier, CarrierBox},
    current,
    run_queue::{Ahead, Entry, RunQueue},
    slot::{DOOMED, ENDING, NO_TIMER, Private, Slot, State},
    stack::StackClass,
    task::{Outcome, Step},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::atomic::Ordering,
};

/// Turns of the loop between two looks at the clock. Guess: at 30 ns a turn, well below a microsecond.
pub(super) const CLOCK_INTERVAL: u32 = 32;
/// A slice that has used more than this many reductions is a reason to look at the clock.
const LONG_SLICE: i32 = 500;

impl Worker {
    /// The base loop (rule 3). Returns when it has been told to halt.
    pub(crate) fn run(&self) {
        self.thread.register();
        let mut next: *const Slot = ptr::null();
        loop {
            if self.base_wanted.get() {
                self.see_to_base();
            }
            // SAFETY: slots live as long as `shared`.
            let slot = match unsafe { next.as_ref() } {
                Some(slot) => slot,
                None => match self.find() {
                    Some(slot) => slot,
                    None => {
                        if self.halt.get() || !self.idle() {
                            break;
                        }
                        continue;
                    }
                },
            };
            next = self.enter(slot);
        }
        self.finish();
    }

    /// What a carrier has come back to the base loop for.
    #[cold]
    fn see_to_base(&self) {
        self.base_wanted.set(self.halt.get());
        self.poll_if_wanted();
        self.trim_if_due();
    }

    /// The base loop of the systematic mode: until `done` says so (true), or nothing can happen any more.
    pub(crate) fn run_until(&self, done: &dyn Fn() -> bool) -> bool {
        let mut next: *const Slot = ptr::null();
        loop {
            self.base_wanted.set(false);
            self.trim_if_due();
            if done() {
                // SAFETY: slots live as long as `shared`.
                if let Some(slot) = unsafe { next.as_ref() } {
                    // It has been chosen, and has not run: as if it had not been.
                    self.push(self.private(slot));
                }
                return true;
            }
            // SAFETY: slots live as long as `shared`.
            let found = unsafe { next.as_ref() }.or_else(|| self.find());
            match found {
                Some(slot) => next = self.enter(slot),
                None if self.idle() => {}
                None => return done(),
            }
        }
    }

    /// Resumes the slot's carrier, or a free one for it. Returns the task to go on with, if known.
    ///
    /// Inlined, like all that is between a switch and the code that it leads to: each return of a function that
    /// was called before a switch is mispredicted after it.
    #[inline(always)]
    fn enter(&self, slot: &Slot) -> *const Slot {
        let task = self.private(slot);
        let mut carrier: *const Carrier = task.carrier();
        if carrier.is_null() {
            match self.take_carrier(StackClass(task.class())) {
                Some(free) => carrier = free.into_raw(),
                None => {
                    // No stack to be had now: it waits until one is given back, here or by another worker.
                    self.metrics.no_stack.add(1);
                    self.enqueue(task);
                    std::thread::yield_now();
                    return ptr::null();
                }
            }
        } else {
            task.set_carrier(ptr::null(), 0);
        }
        self.carrier.set(carrier);
        self.begin_slice(slot);
        // SAFETY: carriers are ours and live until `finish` (`carrier.rs`, rule 4).
        let ended = unsafe { &*carrier }.resume();
        debug_assert!(!ended);
        self.carrier.set(ptr::null());
        match self.parting.get() {
            Parting::Kept => ptr::null(),
            Parting::Free(next) => {
                // SAFETY: it was made by `into_raw`, and no task keeps it.
                self.give_carrier(unsafe { CarrierBox::from_raw(carrier) });
                next
            }
        }
    }

    /// What a carrier does: run the current task, then others, as long as they can run here. Called by
    /// `carrier.rs` on the carrier's stack; never returns but to end the carrier.
    pub(crate) fn carry() {
        loop {
            // The thread's worker: a carrier never leaves its thread.
            current::with_worker(|worker| {
                loop {
                    worker.run_current();
                    if worker.base_wanted.get() {
                        worker.parting.set(Parting::Free(ptr::null()));
                        break;
                    }
                    match worker.find() {
                        // In systematic mode the base loop looks between any two slices whether it is done.
                        Some(slot) if worker.fits_here(slot) => {
                            worker.begin_slice(slot);
                        }
                        found => {
                            worker.parting.set(Parting::Free(found.map_or(ptr::null(), ptr::from_ref)));
                            break;
                        }
                    }
                }
                // SAFETY: the carrier that runs, which lives until `finish`.
                unsafe { &*worker.carrier.get() }.suspend();
            });
            if current::with_worker(|worker| worker.current.get().is_null()) {
                return;
            }
        }
    }

    pub(crate) fn on_carrier(&self) -> bool {
        !self.carrier.get().is_null()
    }

    fn fits_here(&self, slot: &Slot) -> bool {
        let task = self.private(slot);
        // SAFETY: the carrier that runs, which lives until `finish`.
        task.carrier().is_null()
            && unsafe { &*self.carrier.get() }.class() == task.class()
            // In systematic mode it is set for good.
            && !(self.attention.get() && self.shared.systematic)
    }

    #[inline(always)]
    fn begin_slice(&self, slot: &Slot) {
        self.private(slot).set_state(State::Running);
        self.current.set(slot);
        // Relaxed, here and below: hints for the watchdog and the metrics; one writer.
        self.slices.store(self.slices.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let mut budget = self.slice;
        if self.attention.get() && self.shared.systematic {
            budget = if self.shared.config.script.is_some() {
                0
            } else {
                // SAFETY: rule 1.
                unsafe { self.random.with(|random| random.skewed(budget as u64)) as i32 }
            };
        }
        self.reductions.store(budget, Ordering::Relaxed);
    }

    /// The current task's slice is over, one way or another.
    #[inline(always)]
    pub(super) fn end_slice(&self) {
        self.settle_rooms();
        self.current.set(ptr::null());
        let used = self.slice - self.reductions.load(Ordering::Relaxed);
        // A moving average over some eight slices.
        self.usage.set(self.usage.get() + ((used.min(balance::LONG) - self.usage.get()) >> 3));
        // A dear send may have used it up in no time.
        if used > LONG_SLICE && !self.stopwatch.is_fresh() {
            self.turn.set(CLOCK_INTERVAL);
            self.flush();
        } else {
            self.flush_if_old();
        }
    }

    /// One or more steps of the current task, on the carrier that runs.
    fn run_current(&self) {
        let Some(slot) = self.current() else { return };
        let task = self.private(slot);
        let Some(mut body) = task.take_body() else { return };
        let outcome = if task.has(DOOMED) {
            Outcome::NotRunning
        } else {
            match self.outside(|| catch_unwind(AssertUnwindSafe(|| body.step()))) {
                Ok(Step::Done) => Outcome::Returned,
                Err(payload) => Outcome::Unwound(payload),
                Ok(step) => {
                    task.put_body(body);
                    self.end_slice();
                    let busy = step == Step::Yield || self.has_input(task) || task.has(DOOMED);
                    task.set_state(if busy { State::Running } else { State::Idle });
                    if busy {
                        if step == Step::Yield {
                            self.turned_away(slot, false);
                        }
                        self.enqueue(task);
                    }
                    return;
                }
            }
        };
        self.end_task(task, body, outcome);
        self.end_slice();
    }

    pub(crate) fn has_input(&self, task: Private<'_>) -> bool {
        !task.outer_is_empty() || !task.inner_is_empty() || task.slot().remote.has_links()
    }

    /// The last of a task: its body is dropped, the hook tells the world, the slot is free again.
    #[inline(never)]
    fn end_task(&self, task: Private<'_>, body: OwnedBody, outcome: Outcome) {
        task.set(ENDING);
        self.drop_outside(body);
        let id = self.task_id(task.slot());
        self.shared.hooks.ended(id, outcome);
        if task.slot().serial() == id.serial() {
            self.close_mailbox(task);
        }
        if task.timer() != NO_TIMER {
            self.disarm(task);
        }
        drop(task.take_extension());
        task.free();
        let index = id.index();
        // SAFETY: rule 1.
        unsafe { self.free_slots.with(|free| free.push(index)) };
        self.metrics.ended.add(1);
    }

    /// A task whose turn it is, if there is one; looks at mail, clock and the needs of others first.
    #[inline(always)]
    fn find(&self) -> Option<&Slot> {
        loop {
            if self.public.inbox.has_tokens() {
                self.drain_inbox();
            }
            let turn = self.turn.get() + 1;
            self.turn.set(turn);
            // Relaxed: a hint; a set that is lost to ours comes again.
            if turn >= CLOCK_INTERVAL || self.public.tick.load(Ordering::Relaxed) {
                self.public.tick.store(false, Ordering::Relaxed);
                self.turn.set(0);
                self.look_at_clock();
                self.poll_if_due();
                self.age();
                self.level();
            }
            if self.shared.idle.any() && self.movable() > 0 {
                self.share_work();
            }
            let (entry, ahead) = if self.attention.get() {
                (self.attend()?, Ahead::NOBODY)
            } else {
                // SAFETY: rule 1.
                unsafe { self.queue.with(RunQueue::pop_and_look) }?
            };
            // SAFETY: slots live as long as `shared`.
            let slot = unsafe { &*entry };
            if self.is_ready(slot) {
                self.look_ahead(ahead);
                return Some(slot);
            }
        }
    }

    /// Asks for what the next slices will touch, while this one runs: of the next task all, of one behind it its record, which leads to the
    /// rest.
    #[inline(always)]
    fn look_ahead(&self, ahead: Ahead) {
        // SAFETY: slots live as long as `shared`.
        if let Some(next) = unsafe { ahead.next.as_ref() } {
            self.private(next).prefetch();
            Slot::prefetch(ahead.behind);
        }
    }

    /// What is not usual, and then the next of the queue.
    #[cold]
    #[inline(never)]
    fn attend(&self) -> Option<Entry> {
        self.attention.set(self.shared.systematic || self.retire_to.get() != 0);
        self.obey_deferred();
        self.dispose_of_late();
        if self.retire_to.get() != 0 {
            self.retire();
        }
        if self.shared.systematic {
            // SAFETY: rule 1, here and below.
            return unsafe {
                self.queue.with(|queue| {
                    self.scripted.with(|scripted| match scripted {
                        Some(scripted) => queue.pop_chosen(|among| {
                            let now = self.shared.clock.now();
                            // Slots live as long as `shared`.
                            scripted.choose(among, now, |entry| self.task_id(&*entry))
                        }),
                        None => self.random.with(|random| queue.pop_any(random)),
                    })
                })
            };
        }
        // SAFETY: rule 1.
        unsafe { self.queue.with(RunQueue::pop) }
    }

    /// The task that runs goes back into the queue; a script must know.
    pub(crate) fn turned_away(&self, slot: &Slot, voluntarily: bool) {
        if self.shared.config.script.is_some() {
            // SAFETY: rule 1.
            unsafe {
                self.scripted.with(|scripted| {
                    if let Some(scripted) = scripted {
                        scripted.turned_away(slot, voluntarily);
                    }
                });
            }
        }
    }
}
