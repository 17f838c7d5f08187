//! Sending and receiving.

use super::{Section, used_up, worker};
use crate::{
    envelope::{Envelope, Kind},
    remote_queue::Link,
    slot::{First, Slot, State},
    task::TaskId,
    worker::{Wake, Worker},
};
use std::{marker::PhantomData, ptr::NonNull};

/// Sends. On a worker of the task's scheduler only.
///
/// # Errors
///
/// The envelope comes back if the task is dead as far as can be seen.
#[inline(always)]
pub fn send(to: TaskId, envelope: Envelope) -> Result<(), Envelope> {
    match Section::enter() {
        Some(section) => section.worker.send(to, envelope),
        None => Err(envelope),
    }
}

/// Why [`send_message`] did not send. The message comes back.
#[derive(Debug)]
pub enum Unsent<M> {
    /// The task is dead as far as can be seen.
    Dead(M),
    /// The task is marked ([`Settings::marked`](crate::Settings::marked)), and no room in its mailbox is held here.
    Marked(M),
    /// This is no worker of the scheduler with that tag.
    Elsewhere(M),
}

/// [`send_message`] in the usual case: the task is alive and not marked, and there is a cell at hand.
///
/// All else is left to a function that the caller ends with, so that a send needs no frame.
///
/// # Errors
///
/// It is not that case; the message comes back.
///
/// # Signals
///
/// As [`reduce`](super::reduce).
#[inline(always)]
pub fn send_quickly<M: Send + 'static>(tag: u32, to: TaskId, message: M) -> Result<(), M> {
    let Some(worker) = worker() else { return Err(message) };
    if worker.tag != tag {
        return Err(message);
    }
    let Some(slot) = worker.shared.slab.get(to.index()) else { return Err(message) };
    if slot.serial() != to.serial() || slot.is_marked() {
        return Err(message);
    }
    let Some(cell) = worker.cells.take_at_hand() else { return Err(message) };
    worker.post(slot, to.serial(), Envelope::message_in(cell, to.serial(), message));
    Ok(())
}

/// Sends a message to a task of the scheduler with this tag, if this is one of its workers and the task is
/// not marked, or room in its mailbox is held here ([`keep_room`](super::keep_room)). The sender pays a reduction, and more if many messages wait at the receiver (`Slot::price`); if its slice
/// is used up then, others have their turn.
///
/// # Errors
///
/// See [`Unsent`].
///
/// # Signals
///
/// As [`reduce`](super::reduce).
#[inline(always)]
pub fn send_message<M: Send + 'static>(tag: u32, to: TaskId, message: M) -> Result<(), Unsent<M>> {
    let Some(worker) = worker() else { return Err(Unsent::Elsewhere(message)) };
    if worker.tag != tag {
        return Err(Unsent::Elsewhere(message));
    }
    let Some(slot) = worker.shared.slab.get(to.index()) else { return Err(Unsent::Dead(message)) };
    if slot.serial() != to.serial() {
        return Err(Unsent::Dead(message));
    }
    if slot.is_marked() && !worker.take_room(to) {
        return Err(Unsent::Marked(message));
    }
    worker.post(slot, to.serial(), Envelope::message_in(worker.cells.take(), to.serial(), message));
    Ok(())
}

/// Why [`receive`] has nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// The deadline has passed.
    TimedOut,
    /// The task is unwinding or ending: nothing can come any more.
    Ending,
    /// The task that runs here is not the one that asks, or none.
    Stranger,
    /// The next thing is no message, and only one was asked for.
    Other,
}

/// Something received.
#[derive(Debug)]
pub enum Got<M> {
    /// A message of the type asked for. It came first, had no tag, no signal had to be looked at before it, and nobody looks on: the usual case.
    Message(Plain<M>),
    /// Whatever it is.
    Envelope(Envelope),
}

/// A message that has been received, still where it lay: so it is moved once, to where it is needed.
#[derive(Debug)]
pub struct Plain<M> {
    /// One that [`Private::pop_message`](crate::slot::Private::pop_message) has given for this type.
    envelope: Envelope,
    holds: PhantomData<M>,
}

impl<M: Send + 'static> Plain<M> {
    #[inline(always)]
    fn new(envelope: Envelope) -> Self {
        Plain { envelope, holds: PhantomData }
    }

    /// The message itself.
    #[inline(always)]
    pub fn take(self) -> M {
        // SAFETY: see the field: its type has been looked at.
        unsafe { self.envelope.take_unchecked() }
    }
}

/// The next thing to receive by the task `owner` of the scheduler with this tag, which must be the one that
/// runs here. It pays a reduction, and waits until the deadline (nanoseconds; `u64::MAX`: none; 0: it does
/// not wait). With `messages` it takes only a message, and says [`Miss::Other`] if something else comes first. With `opened` it may give
/// [`Got::Message`].
///
/// # Errors
///
/// See [`Miss`].
///
/// # Signals
///
/// As [`wait`](super::wait).
///
/// Inlined (`worker/run.rs`, `enter`, says why).
#[inline(always)]
pub fn receive<M: Send + 'static>(
    tag: u32,
    owner: TaskId,
    deadline: u64,
    messages: bool,
    opened: bool,
) -> Result<Got<M>, Miss> {
    let Some(worker) = worker() else { return Err(Miss::Stranger) };
    let Some(slot) = worker.current() else { return Err(Miss::Stranger) };
    if !worker.is_current(slot, tag, owner) {
        return Err(Miss::Stranger);
    }
    if !worker.pay_little(1) {
        used_up();
    }
    if !worker.custody.enter_quickly() {
        let entered = worker.custody.enter();
        return receive_rest(worker, slot, deadline, messages, entered).map(Got::Envelope);
    }
    let task = worker.private(slot);
    loop {
        match task.pop_message::<M>() {
            First::Plain(envelope) if opened => {
                worker.custody.leave();
                return Ok(Got::Message(Plain::new(envelope)));
            }
            First::Plain(envelope) | First::Tagged(envelope) => {
                worker.custody.leave();
                return Ok(Got::Envelope(envelope));
            }
            First::Other => break,
            First::Nothing if worker.more_may_come(task) => break,
            First::Nothing => {}
        }
        let missed = match worker.wait_as(slot, State::Waiting, deadline) {
            Wake::Ready | Wake::Poked => continue,
            Wake::TimedOut if worker.has_input(task) => continue,
            Wake::TimedOut => Miss::TimedOut,
            Wake::Ending => Miss::Ending,
        };
        worker.custody.leave();
        return Err(missed);
    }
    receive_rest(worker, slot, deadline, messages, true).map(Got::Envelope)
}

/// What is not usual, in a section, which it leaves if it is to.
#[inline(never)]
fn receive_rest(
    worker: &Worker,
    slot: &Slot,
    deadline: u64,
    messages: bool,
    leaves: bool,
) -> Result<Envelope, Miss> {
    let task = worker.private(slot);
    let result = loop {
        if messages && !task.inner_is_empty() && !task.inner_starts_with_message() {
            break Err(Miss::Other);
        }
        if let Some(envelope) = worker.next(task) {
            if messages && envelope.kind() != Kind::Message {
                // It came in with the signals that have just acted: back to where it was.
                task.unpop_inner(envelope);
                break Err(Miss::Other);
            }
            if worker.observed {
                worker.received(slot, &envelope);
            }
            break Ok(envelope);
        }
        // An exit signal among what was looked at ends the task in `wait`.
        match worker.wait_as(slot, State::Waiting, deadline) {
            Wake::Ready | Wake::Poked => {}
            Wake::TimedOut if worker.has_input(task) => {}
            Wake::TimedOut => break Err(Miss::TimedOut),
            Wake::Ending => break Err(Miss::Ending),
        }
    };
    if leaves {
        worker.custody.leave();
    }
    result
}

/// Messages that wait in a task's mailbox, as its owner last counted; 0 if it is dead.
#[inline(always)]
#[must_use]
pub fn queued(task: TaskId) -> u32 {
    let slot = worker().and_then(|worker| worker.shared.slab.get(task.index()));
    slot.map_or(0, |slot| if slot.serial() == task.serial() { slot.queued() } else { 0 })
}

/// The next thing to receive by the task that runs, if there is one. Signals that came before it have acted; if one of them
/// dooms the task, its stack unwinds from here. `opened`: as for [`receive`]; then `None` may come though there is something in this worker's
/// inbox.
#[inline(always)]
#[must_use]
pub fn next<M: Send + 'static>(opened: bool) -> Option<Got<M>> {
    let worker = worker()?;
    let slot = worker.current()?;
    let entered = if opened && worker.custody.enter_quickly() {
        match worker.private(slot).pop_message::<M>() {
            First::Plain(envelope) => {
                worker.custody.leave();
                return Some(Got::Message(Plain::new(envelope)));
            }
            First::Tagged(envelope) => {
                worker.custody.leave();
                return Some(Got::Envelope(envelope));
            }
            First::Nothing => {
                // What has come from other workers wakes it again.
                worker.custody.leave();
                return None;
            }
            First::Other => true,
        }
    } else {
        worker.custody.enter()
    };
    let envelope = worker.next(worker.private(slot));
    match &envelope {
        // If it unwinds it has left the section.
        None => worker.die_if_doomed(slot),
        Some(envelope) if worker.observed => worker.received(slot, envelope),
        Some(_) => {}
    }
    if entered {
        worker.custody.leave();
    }
    envelope.map(Got::Envelope)
}

/// Where a search in the mailbox has come to. It holds as long as nothing else is received meanwhile.
#[derive(Debug, Default)]
pub struct Position(Option<NonNull<Link>>);

/// Searches the mailbox from `position`: the first thing that `wanted` picks. What has been looked at
/// is not looked at again. `wanted` must not receive.
pub fn search(position: &mut Position, wanted: &mut dyn FnMut(&Envelope) -> bool) -> Option<Envelope> {
    let section = Section::enter()?;
    let slot = section.task()?;
    let found = section.worker.search(section.worker.private(slot), &mut position.0, wanted);
    match &found {
        None => section.worker.die_if_doomed(slot),
        Some(envelope) if section.worker.observed => section.worker.received(slot, envelope),
        Some(_) => {}
    }
    found
}

/// Waits until something comes to receive that a search which has come to `position` has not seen.
///
/// # Signals
///
/// As [`wait`](super::wait).
pub fn wait_for_more(position: &Position, deadline: u64) -> Wake {
    let Some(section) = Section::enter() else { return Wake::Ending };
    let Some(slot) = section.task() else { return Wake::Ending };
    section.worker.wait_behind(slot, position.0, deadline)
}
