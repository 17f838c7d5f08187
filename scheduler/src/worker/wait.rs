//! What a running task does to wait, and how it comes back.
//!
//! The task suspends the carrier that it runs on, which stays with it; the base loop goes on with
//! another. All who could wake it are on this worker, or come by token through this worker's loop; so
//! the state that it waits in can be written before the stack is left, and no wake-up is lost.

use super::{Parting, Worker, timers};
use crate::{
    carrier::Carrier,
    envelope::List,
    remote_queue::Link,
    slot::{DOOMED, ENDING, NO_TIMER, POKED, SIGNALLED, Slot, State, TIMED_OUT},
    task::Doomed,
};
use std::{panic::resume_unwind, ptr::NonNull, sync::atomic::Ordering};

/// Why a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Wake {
    /// What it waited for is there, probably: look.
    Ready,
    /// The deadline has passed.
    TimedOut,
    /// Somebody asked for attention.
    Poked,
    /// The task is unwinding or ending, or not to be interrupted: it cannot wait, and did not.
    Ending,
}

/// In how many calls of `current::uninterrupted` the task that runs is, and whether its turn was over in one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Uninterrupted {
    depth: u32,
    owes: bool,
}

impl Uninterrupted {
    #[inline(always)]
    pub(crate) fn is_on(self) -> bool {
        self.depth != 0
    }

    #[inline(always)]
    pub(crate) fn enter(self) -> Self {
        Uninterrupted { depth: self.depth + 1, ..self }
    }

    /// True: the turn was over inside, and is to be given up at the next reduction point.
    #[inline(always)]
    pub(crate) fn leave(self) -> (Self, bool) {
        let left = Uninterrupted { depth: self.depth - 1, ..self };
        if left.is_on() { (left, false) } else { (Self::default(), left.owes) }
    }

    fn owing_a_turn(self) -> Self {
        Uninterrupted { owes: self.is_on(), ..self }
    }
}

/// Can the caller wait? Not while it unwinds (`carrier.rs`, rule 3), not while it ends, and not in a piece of code that
/// is not to be interrupted.
pub(crate) fn may_wait(worker: &Worker) -> bool {
    let Some(slot) = worker.current() else { return false };
    !std::thread::panicking() && !worker.uninterrupted.get().is_on() && !worker.private(slot).has(ENDING)
}

/// A searched list that goes back into the mailbox, also if the wait unwinds.
struct Aside<'a> {
    worker: &'a Worker,
    slot: &'a Slot,
    list: List,
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        let entered = self.worker.custody.enter();
        self.worker.private(self.slot).restore_inner(std::mem::replace(&mut self.list, List::new()));
        if entered {
            self.worker.custody.leave();
        }
    }
}

impl Worker {
    /// The task that runs waits in this state, at most until `deadline` (nanoseconds; `u64::MAX`: none).
    /// Unwinds it if it is doomed.
    #[inline(always)]
    pub(crate) fn wait(&self, state: State, deadline: u64) -> Wake {
        match self.current() {
            Some(slot) => self.wait_as(slot, state, deadline),
            None => Wake::Ending,
        }
    }

    /// The same for who knows the task that runs.
    #[inline(always)]
    pub(crate) fn wait_as(&self, slot: &Slot, state: State, deadline: u64) -> Wake {
        debug_assert!(std::ptr::eq(self.current.get(), slot));
        let task = self.private(slot);
        if (deadline != u64::MAX
            || task.has(DOOMED | ENDING | POKED | TIMED_OUT | SIGNALLED)
            || self.uninterrupted.get().is_on()
            || std::thread::panicking())
            && let Some(wake) = self.prepare_wait(slot, state, deadline)
        {
            return wake;
        }
        task.set_state(state);
        self.park_current(slot);
        if deadline == u64::MAX && !task.has(DOOMED | POKED | TIMED_OUT) {
            return Wake::Ready;
        }
        self.after_wait(slot)
    }

    /// The less usual part of `wait`, before it. `None`: go on waiting.
    #[inline(never)]
    fn prepare_wait(&self, slot: &Slot, state: State, deadline: u64) -> Option<Wake> {
        if !may_wait(self) {
            return Some(Wake::Ending);
        }
        let task = self.private(slot);
        if task.has(SIGNALLED) && !task.has(DOOMED) {
            // What it has sent to itself, or has taken in by the way: nobody would wake it for that.
            self.act_on_signals(task);
            let there_is = match state {
                State::Asleep => task.has_answer(),
                _ => !task.inner_is_empty() || !task.outer_is_empty(),
            };
            if there_is {
                self.die_if_doomed(slot);
                return Some(Wake::Ready);
            }
        }
        self.die_if_doomed(slot);
        if deadline != u64::MAX {
            // As the loop has last read the clock: if it has passed since, the timer fires at the next look.
            if deadline <= self.coarse_now() {
                task.clear(TIMED_OUT);
                return Some(Wake::TimedOut);
            }
            self.arm(task, deadline);
        }
        task.set_deadline(deadline);
        task.clear(TIMED_OUT);
        if task.has(POKED) {
            task.clear(POKED);
            return Some(Wake::Poked);
        }
        None
    }

    #[inline(never)]
    fn after_wait(&self, slot: &Slot) -> Wake {
        let task = self.private(slot);
        task.set_deadline(u64::MAX);
        self.die_if_doomed(slot);
        if task.has(POKED) {
            task.clear(POKED);
            return Wake::Poked;
        }
        if task.has(TIMED_OUT) {
            task.clear(TIMED_OUT);
            return Wake::TimedOut;
        }
        Wake::Ready
    }

    /// Waits for something to receive behind `position`, where a search has come to. What lies before it
    /// does not end the wait, though it is something to receive.
    pub(crate) fn wait_behind(&self, slot: &Slot, position: Option<NonNull<Link>>, deadline: u64) -> Wake {
        let task = self.private(slot);
        loop {
            self.take_in(slot);
            if !task.has(SIGNALLED) {
                self.splice(task);
            }
            if task.has_behind(position) {
                return Wake::Ready;
            }
            // The searched part is set aside: what the loop looks at to decide whether this task can run is
            // then only what has come since.
            let aside = Aside { worker: self, slot, list: task.take_inner() };
            let woken = self.wait(State::Waiting, deadline);
            drop(aside);
            match woken {
                Wake::Ready => {}
                woken => return woken,
            }
        }
    }

    /// The task that runs lets others have their turn, by itself or because its slice is used up. Unwinds it if it is
    /// doomed.
    #[inline(never)]
    pub(crate) fn yield_current(&self, voluntarily: bool) {
        let Some(slot) = self.current() else { return };
        if !may_wait(self) {
            self.uninterrupted.set(self.uninterrupted.get().owing_a_turn());
            // It goes on; it gets a new slice, or it would come here at each reduction.
            self.reductions.store(self.shared.config.slice as i32, Ordering::Relaxed);
            return;
        }
        let task = self.private(slot);
        self.die_if_doomed(slot);
        task.set_state(State::Running);
        // Before it is queued: the queue tells tasks with a stack from those that may be given away.
        task.set_carrier(self.carrier.get(), 0);
        self.turned_away(slot, voluntarily);
        self.enqueue(task);
        self.metrics.preempted.add(1);
        self.park_current(slot);
        self.die_if_doomed(slot);
    }

    /// Leaves the carrier with the current task, and comes back when the task is resumed.
    #[inline(always)]
    fn park_current(&self, slot: &Slot) {
        let carrier = self.carrier.get();
        self.private(slot).set_carrier(carrier, Carrier::depth(carrier));
        self.parting.set(Parting::Kept);
        self.end_slice();
        // SAFETY: the carrier that runs; it lives until `finish`.
        unsafe { &*carrier }.suspend();
    }

    /// A doomed task goes no further: its stack unwinds from here.
    #[inline(always)]
    pub(crate) fn die_if_doomed(&self, slot: &Slot) {
        let task = self.private(slot);
        if task.has(DOOMED) && may_wait(self) {
            // In user code from here on: destructors run.
            self.custody.leave();
            resume_unwind(Box::new(Doomed));
        }
    }

    /// Sees to it that the task is looked at when `deadline` comes. A timer that is set already and
    /// fires earlier will do: it finds the later deadline and is set again. So a task that makes one
    /// call after the other, each with a timeout, sets a timer once in a timeout, not once in a call.
    #[inline]
    fn arm(&self, task: crate::slot::Private<'_>, deadline: u64) {
        let tick = timers::tick_for(deadline);
        if task.timer() != NO_TIMER {
            if self.timer_tick(task.timer()) <= tick {
                return;
            }
            self.disarm(task);
        }
        self.set_wait_timer(task, tick);
    }
}
