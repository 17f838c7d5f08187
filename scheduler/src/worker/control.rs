//! Orders to a worker from outside.
//!
//! They come as envelopes to the worker's own control slot, by token, like all mail: so they wake it,
//! they come in order from one sender, and there is no second mechanism.

use super::{
    Worker,
    balance::{AHEAD, Batch, ask_for},
    timers::TimerHandle,
};
use crate::{
    body::OwnedBody,
    config::Priority,
    envelope::Envelope,
    extension::Extension,
    owner::{Whose, WorkerId},
    slot::{DOOMED, State},
    stack::StackClass,
    task::{Seen, TaskId},
};
use std::{
    ptr::NonNull,
    sync::{atomic::Ordering, mpsc},
};

/// Most free slots a worker gives away in one go.
const MOST_SLOTS: usize = 4096;

/// An order.
pub(crate) enum Control {
    /// These tasks are yours: `Queued`, and in no run queue.
    Adopt(Batch),
    /// These free slots are yours.
    Slots(Vec<u32>),
    /// Give some free slots to this worker.
    WantSlots(WorkerId),
    /// Spawn, for a thread that is no worker.
    Spawn { seed: Seed, reply: mpsc::Sender<Option<TaskId>> },
    /// Cancel or read a timer of yours; the answer goes to the task, with the tag.
    Timer { handle: TimerHandle, cancel: bool, to: TaskId, tag: u32 },
    /// The same for a thread that is no worker.
    TimerOutside { handle: TimerHandle, cancel: bool, reply: mpsc::Sender<Option<u64>> },
    /// All your tasks must end.
    StopTasks,
    /// Leave your loop.
    Halt,
    /// You are a spare that is not needed any more: give what can be given to this worker. 0: you are
    /// needed again.
    Retire(WorkerId),
}

/// What a task grows from.
pub(crate) struct Seed {
    pub(crate) body: OwnedBody,
    pub(crate) extension: Option<Extension>,
    pub(crate) priority: Priority,
    pub(crate) class: StackClass,
    pub(crate) marked: bool,
    pub(crate) flagged: bool,
    pub(crate) spread: bool,
}

/// The answer to a timer order that went to another worker.
#[derive(Debug)]
pub(crate) struct TimerAnswer(pub(crate) Option<u64>);

impl Worker {
    /// Carries out the orders that have come. A rescuer leaves those that call hooks or end the loop to
    /// the worker's own thread.
    pub(super) fn obey(&self) {
        let mut deferred = Vec::new();
        let mut link = self.control.remote.take();
        while let Some(at) = NonNull::new(link) {
            // SAFETY: `take` made the run ours. Relaxed: as in `reverse`.
            link = unsafe { at.as_ref() }.next.load(Ordering::Relaxed);
            // SAFETY: only orders are pushed to a control slot, as envelopes.
            let envelope = unsafe { Envelope::from_link(at) };
            match envelope.take::<Control>() {
                Ok(control @ (Control::StopTasks | Control::Halt | Control::Retire(_)))
                    if self.rescued.get() =>
                {
                    deferred.push(control);
                }
                Ok(control) => self.carry_out(control),
                Err(_) => unreachable!("not an order"),
            }
        }
        for control in deferred {
            self.deferred(control);
        }
    }

    /// Keeps an order for the worker's own thread.
    fn deferred(&self, control: Control) {
        // SAFETY: `Worker` rule 1.
        unsafe { self.orders.with(|orders| orders.push(control)) };
        self.attention.set(true);
    }

    /// What a rescuer has left to do.
    pub(super) fn obey_deferred(&self) {
        // SAFETY: `Worker` rule 1.
        for control in unsafe { self.orders.with(std::mem::take) } {
            self.carry_out(control);
        }
    }

    fn carry_out(&self, control: Control) {
        match control {
            Control::Adopt(tasks) => self.adopt(tasks),
            Control::Slots(slots) => {
                // As in `adopt`.
                for (at, &index) in slots.iter().enumerate() {
                    if let Some(later) = slots.get(at + AHEAD).and_then(|index| self.shared.slab.get(*index))
                    {
                        ask_for(later);
                    }
                    if let Some(slot) = self.shared.slab.get(index) {
                        slot.owner.settle(self.id);
                    }
                }
                self.slots_asked.set(false);
                // SAFETY: `Worker` rule 1.
                unsafe { self.free_slots.with(|free| free.extend(slots)) };
            }
            Control::WantSlots(to) => {
                // SAFETY: `Worker` rule 1.
                let slots: Vec<u32> = unsafe {
                    self.free_slots.with(|free| {
                        let count = (free.len() / 2).min(MOST_SLOTS);
                        free.drain(..count).collect()
                    })
                };
                for &index in &slots {
                    if let Some(slot) = self.shared.slab.get(index) {
                        // No `depart`: they are free (`owner.rs`, rule 7).
                        slot.owner.give(to);
                    }
                }
                self.shared.order(to, Control::Slots(slots));
            }
            Control::Spawn { seed, reply } => {
                let spawned = self.spawn(seed);
                // The asker may have gone: nobody minds.
                let _ = reply.send(spawned.map_err(|seed| self.drop_outside(seed)).ok());
            }
            Control::Timer { handle, cancel, to, tag } => {
                let left = self.timer_order(handle, cancel);
                if let Err(envelope) = self.send(to, Envelope::reply(tag, TimerAnswer(left))) {
                    drop(envelope);
                }
                self.flush();
            }
            Control::TimerOutside { handle, cancel, reply } => {
                // As above.
                let _ = reply.send(self.timer_order(handle, cancel));
            }
            Control::StopTasks => {
                self.stopping.set(true);
                self.stop_tasks();
            }
            Control::Halt => {
                self.halt.set(true);
                self.base_wanted.set(true);
            }
            Control::Retire(to) => {
                self.retire_to.set(to);
                self.attention.set(true);
            }
        }
    }

    #[inline(always)]
    pub(crate) fn timer_order(&self, handle: TimerHandle, cancel: bool) -> Option<u64> {
        if cancel { self.cancel_timer(handle.key) } else { self.read_timer(handle.key) }
    }

    /// A new task of ours. The seed comes back if no slot can be had.
    #[inline]
    pub(crate) fn spawn(&self, seed: Seed) -> Result<TaskId, Seed> {
        // SAFETY: `Worker` rule 1.
        let Some(index) = (unsafe { self.free_slots.with(Vec::pop) }).or_else(|| self.more_slots()) else {
            return Err(seed);
        };
        let Some(slot) = self.shared.slab.get(index) else { return Err(seed) };
        let task = self.private(slot);
        let priority = seed.priority as u8;
        let serial =
            task.revive(seed.body, seed.extension, priority, seed.class.0, seed.marked, seed.flagged);
        if self.stopping.get() {
            task.set(DOOMED);
        }
        if seed.spread && !self.shared.systematic {
            self.spread(task);
        } else if priority == Priority::Normal as u8 && !self.shared.systematic {
            // SAFETY: rule 1.
            unsafe { self.queue.with(|queue| queue.push_new(slot)) };
        } else {
            self.push(task);
        }
        self.metrics.spawned.add(1);
        let id = TaskId::new(index, serial);
        if self.observed {
            let by = self.subject().map(|slot| self.task_id(slot));
            self.shared.hooks.observed(Seen::Spawned { by, task: id });
        }
        Ok(id)
    }

    #[cold]
    fn more_slots(&self) -> Option<u32> {
        // One that has more than it needs may give some, for the next time.
        if !self.slots_asked.get()
            && let Some(rich) = self.shared.richest_worker(self.id)
        {
            self.slots_asked.set(true);
            self.shared.order(rich, Control::WantSlots(self.id));
        }
        let block = self.shared.slab.claim_block(self.id)?;
        // SAFETY: `Worker` rule 1.
        unsafe {
            self.free_slots.with(|free| {
                free.extend(block.rev());
                free.pop()
            })
        }
    }

    /// All tasks of ours must end.
    fn stop_tasks(&self) {
        for index in 0..self.shared.slab.claimed() {
            let Some(slot) = self.shared.slab.get(index) else { break };
            match slot.owner.look(self.id) {
                Whose::Mine => {}
                Whose::Arriving => self.settle(slot),
                Whose::Departing | Whose::Other(_) => continue,
            }
            let task = self.private(slot);
            if task.state() == State::Free || task.has(DOOMED) {
                continue;
            }
            let before = self.set_subject(slot);
            self.shared.hooks.stop(self.task_id(slot));
            self.set_subject(before);
            task.set(DOOMED);
            if matches!(task.state(), State::Idle | State::Waiting | State::Asleep) {
                self.enqueue(task);
            }
        }
    }
}
