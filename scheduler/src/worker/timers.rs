//! The worker's timer wheel: deadlines of waits, and envelopes to be sent later.
//!
//! 1. Each worker has a wheel of its own, touched like its other private fields. So setting and
//!    cancelling cost no atomic operation, and *cancel against fire* is no race: both happen on this
//!    worker, one after the other. A cancel from elsewhere is an order (`control.rs`).
//! 2. A tick is 2^18 ns (0.26 ms). Deadlines are rounded up to the next tick: never early.
//! 3. `Timed::Wait` belongs to a task with a stack, which stays here; the slot's `timer` names it, and
//!    is cleared when it fires or is cancelled. A task gives its timer up before it moves.

use super::Worker;
use crate::{
    envelope::{Draft, Envelope},
    slot::{NO_TIMER, Private, State, TIMED_OUT},
    task::TaskId,
    timer_wheel::{TimerKey, TimerWheel},
};
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Nanoseconds of a tick, as a power of two.
const TICK_SHIFT: u32 = 18;
/// Timers that fire between two looks at the run queue.
const BATCH: usize = 256;

/// A timer's name: which worker's wheel, and where in it. It is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerHandle {
    pub(crate) worker: u16,
    pub(crate) key: TimerKey,
}

/// Makes the envelopes of a repeated timer; `None`: not this time.
pub(crate) type Maker = Box<dyn FnMut() -> Option<Envelope> + Send>;

pub(crate) enum Timed {
    Wait(u32),
    /// A message that is small enough. The task's number is in two parts, for that leaves no gaps.
    Small {
        index: u32,
        serial: u64,
        draft: Draft,
    },
    Send {
        to: TaskId,
        envelope: Envelope,
    },
    Every(Box<Every>),
    Run(Box<dyn FnOnce() + Send>),
}

const _: () =
    assert!(size_of::<Option<Timed>>() == 48, "with 16 bytes of the wheel's own it takes a cache line");

/// A repeated timer. Its key changes each time; `series` finds it.
pub(crate) struct Every {
    to: TaskId,
    period: u64,
    due: u64,
    series: TimerHandle,
    make: Maker,
}

/// The tick at which a deadline has certainly passed.
#[inline(always)]
pub(crate) fn tick_for(deadline: u64) -> u64 {
    // The last tick of all is for what never comes; it must be one that can come.
    let tick = (deadline >> TICK_SHIFT) + u64::from(deadline & ((1 << TICK_SHIFT) - 1) != 0);
    tick.min(u64::MAX >> TICK_SHIFT)
}

/// Ticks that have begun by this time.
pub(crate) fn ticks_passed(now: u64) -> u64 {
    now >> TICK_SHIFT
}

/// When a tick begins.
#[inline(always)]
pub(crate) fn tick_start(tick: u64) -> u64 {
    tick.saturating_mul(1 << TICK_SHIFT)
}

#[inline(never)]
fn latest_key(series: &HashMap<TimerKey, TimerKey>, key: TimerKey) -> TimerKey {
    *series.get(&key).unwrap_or(&key)
}

impl Worker {
    #[inline(always)]
    fn with_wheel<R>(&self, f: impl FnOnce(&mut TimerWheel<Timed>) -> R) -> R {
        // SAFETY: `Worker` rule 1; the closures here call neither users' code nor hooks.
        unsafe { self.wheel.with(f) }
    }

    /// Sends the envelope at `deadline` (nanoseconds).
    pub(crate) fn send_at(&self, deadline: u64, to: TaskId, envelope: Envelope) -> TimerHandle {
        self.set(deadline, Timed::Send { to, envelope })
    }

    /// Sends the message at `deadline` (nanoseconds). Most timers never fire: an envelope is made only then, if the message is small.
    #[inline(always)]
    pub(crate) fn send_message_at<T: Send + 'static>(
        &self,
        deadline: u64,
        to: TaskId,
        message: T,
    ) -> TimerHandle {
        let timed = if Draft::takes::<T>() {
            Timed::Small { index: to.index(), serial: to.serial(), draft: Draft::new(message) }
        } else {
            Timed::Send { to, envelope: Envelope::message(message) }
        };
        self.set(deadline, timed)
    }

    #[inline(always)]
    fn set(&self, deadline: u64, timed: Timed) -> TimerHandle {
        let key = self.with_wheel(|wheel| {
            if wheel.is_crowded() {
                // Timers of tasks that have died would hold their memory until they fire.
                self.sweep(wheel);
            }
            wheel.insert(tick_for(deadline), timed)
        });
        self.metrics.timers.add(1);
        TimerHandle { worker: self.id, key }
    }

    #[cold]
    #[inline(never)]
    fn sweep(&self, wheel: &mut TimerWheel<Timed>) {
        let lives = |index, serial| self.shared.slab.get(index).is_some_and(|slot| slot.serial() == serial);
        let mut dead = Vec::new();
        wheel.retain(
            |timed| match timed {
                Timed::Wait(_) | Timed::Run(_) => true,
                Timed::Small { index, serial, .. } => lives(*index, *serial),
                Timed::Send { to, .. } => lives(to.index(), to.serial()),
                Timed::Every(every) => lives(every.to.index(), every.to.serial()),
            },
            &mut dead,
        );
        // What is in the dead ones is dropped by the loop, where users' code may run.
        // SAFETY: `Worker` rule 1; another field.
        unsafe { self.trash.with(|trash| trash.append(&mut dead)) };
    }

    /// Sends an envelope of `make` at `first`, and then again each `period` nanoseconds.
    pub(crate) fn send_every(&self, first: u64, period: u64, to: TaskId, make: Maker) -> TimerHandle {
        let series = TimerHandle { worker: self.id, key: TimerKey { index: 0, generation: 0 } };
        let every = Box::new(Every { to, period: period.max(1), due: first, series, make });
        let key = self.with_wheel(|wheel| {
            let key = wheel.insert(tick_for(first), Timed::Every(every));
            if let Some(Timed::Every(every)) = wheel.get_mut(key) {
                every.series.key = key;
            }
            key
        });
        TimerHandle { worker: self.id, key }
    }

    /// Runs the job at `deadline`, on this worker, between two slices. It must be short.
    pub(crate) fn run_at(&self, deadline: u64, job: Box<dyn FnOnce() + Send>) -> TimerHandle {
        let key = self.with_wheel(|wheel| wheel.insert(tick_for(deadline), Timed::Run(job)));
        TimerHandle { worker: self.id, key }
    }

    /// Cancels a timer of this wheel. The nanoseconds that were left; `None`: it has fired.
    #[inline(always)]
    pub(crate) fn cancel_timer(&self, key: TimerKey) -> Option<u64> {
        let now = self.just_now();
        let current = self.current_key(key);
        let (tick, timed) = self.with_wheel(|wheel| wheel.cancel(current))?;
        if let Timed::Every(_) = timed {
            // SAFETY: `Worker` rule 1.
            unsafe { self.series.with(|series| series.remove(&key)) };
        }
        match timed {
            Timed::Small { draft, .. } if !draft.needs_drop() => {}
            // Its cell is given back, and no code of users runs.
            Timed::Send { envelope, .. } if !envelope.needs_drop() => drop(envelope),
            timed => self.drop_outside(timed),
        }
        Some(tick_start(tick).saturating_sub(now))
    }

    /// The nanoseconds that are left of a timer of this wheel.
    pub(crate) fn read_timer(&self, key: TimerKey) -> Option<u64> {
        let now = self.just_now();
        let current = self.current_key(key);
        self.with_wheel(|wheel| wheel.get(current).map(|(tick, _)| tick_start(tick).saturating_sub(now)))
    }

    /// The key under which a repeated timer is in the wheel now.
    #[inline(always)]
    fn current_key(&self, key: TimerKey) -> TimerKey {
        // SAFETY: `Worker` rule 1.
        unsafe { self.series.with(|series| if series.is_empty() { key } else { latest_key(series, key) }) }
    }

    pub(super) fn set_wait_timer(&self, task: Private<'_>, tick: u64) {
        let index = self.shared.slab.index_of(task.slot());
        let key = self.with_wheel(|wheel| wheel.insert(tick, Timed::Wait(index)));
        task.set_timer(key.index);
    }

    /// The tick of a wait's timer.
    pub(super) fn timer_tick(&self, index: u32) -> u64 {
        self.with_wheel(|wheel| wheel.get(wheel.key_at(index)).map_or(u64::MAX, |(tick, _)| tick))
    }

    /// Takes a task's wait timer out of the wheel.
    pub(crate) fn disarm(&self, task: Private<'_>) {
        if task.timer() != NO_TIMER {
            let index = task.timer();
            task.set_timer(NO_TIMER);
            self.with_wheel(|wheel| wheel.cancel(wheel.key_at(index)));
        }
    }

    /// Fires what is due.
    pub(super) fn turn_wheel(&self) {
        if self.with_wheel(|wheel| wheel.is_empty()) {
            return;
        }
        let mut due = Vec::new();
        let more =
            self.with_wheel(|wheel| wheel.turn_limited(ticks_passed(self.coarse_now()), BATCH, &mut due));
        for timed in due {
            self.fire(timed);
        }
        if more {
            self.turn.set(super::run::CLOCK_INTERVAL - 1);
        }
        // SAFETY: `Worker` rule 1.
        let trash = unsafe { self.trash.with(std::mem::take) };
        for timed in trash {
            self.drop_outside(timed);
        }
    }

    fn fire(&self, timed: Timed) {
        match timed {
            Timed::Wait(index) => {
                let Some(slot) = self.shared.slab.get(index) else { return };
                let task = self.private(slot);
                task.set_timer(NO_TIMER);
                if task.deadline() == u64::MAX {
                    // It does not wait any more (or not with a deadline): the timer was left over.
                    return;
                }
                if tick_for(task.deadline()) > ticks_passed(self.coarse_now()) {
                    self.set_wait_timer(task, tick_for(task.deadline()));
                    return;
                }
                // Also when it is queued, because a signal came: that may be no reason for it to run.
                task.set(TIMED_OUT);
                if matches!(task.state(), State::Waiting | State::Asleep) {
                    self.enqueue(task);
                }
            }
            Timed::Small { index, serial, draft } => {
                self.fire_message(TaskId::new(index, serial), draft.seal())
            }
            Timed::Send { to, envelope } => self.fire_message(to, envelope),
            Timed::Run(job) => {
                // A panic of the job ends here; it is not a task's.
                let _ = self.outside(|| catch_unwind(AssertUnwindSafe(job)));
            }
            Timed::Every(mut every) => {
                let made = self.outside(|| catch_unwind(AssertUnwindSafe(|| (every.make)())));
                let Ok(envelope) = made else { return self.end_series(*every) };
                let alive = match envelope.map(|envelope| self.send(every.to, envelope)) {
                    None => {
                        let slot = self.shared.slab.get(every.to.index());
                        slot.is_some_and(|slot| slot.serial() == every.to.serial())
                    }
                    Some(Ok(())) => true,
                    Some(Err(envelope)) => {
                        self.drop_outside(envelope);
                        false
                    }
                };
                if !alive {
                    return self.end_series(*every);
                }
                self.flush();
                // From the time it was due, so that it does not drift; what was missed is not made up for.
                let now = self.coarse_now();
                every.due += every.period;
                if every.due <= now {
                    every.due += (now - every.due).div_ceil(every.period) * every.period;
                }
                let (tick, series) = (tick_for(every.due), every.series.key);
                let key = self.with_wheel(|wheel| wheel.insert(tick, Timed::Every(every)));
                // SAFETY: `Worker` rule 1.
                unsafe { self.series.with(|map| map.insert(series, key)) };
            }
        }
    }

    fn fire_message(&self, to: TaskId, envelope: Envelope) {
        self.metrics.fired.add(1);
        if let Err(envelope) = self.send(to, envelope) {
            self.dispose(to, envelope);
        }
        self.flush();
    }

    fn end_series(&self, every: Every) {
        // SAFETY: `Worker` rule 1.
        unsafe { self.series.with(|series| series.remove(&every.series.key)) };
        self.drop_outside(every);
    }
}
