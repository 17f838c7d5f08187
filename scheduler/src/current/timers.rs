//! Timers, from within a task.

use super::{
    Section, Wake, is_marked, poke_self,
    reply::{await_reply, wait_reply},
    task,
};
use crate::{
    TimerHandle,
    envelope::Envelope,
    task::TaskId,
    worker::{Control, TimerAnswer, Worker},
};

/// Sends the envelope at a time (nanoseconds). Nothing is sent if this is no worker.
pub fn send_at(deadline: u64, to: TaskId, envelope: Envelope) -> Option<TimerHandle> {
    let section = Section::enter()?;
    Some(section.worker.send_at(deadline, to, envelope))
}

/// Sends a message in so many nanoseconds, from a task of the scheduler with this tag to another one of it that is not marked.
///
/// # Errors
///
/// The message, if this is no such task or the other one is marked.
#[inline]
pub fn send_message_after<T: Send + 'static>(
    nanos: u64,
    tag: u32,
    to: TaskId,
    message: T,
) -> Result<TimerHandle, T> {
    send_message(|worker| worker.soon().saturating_add(nanos), tag, to, message)
}

/// The same at a time (nanoseconds).
///
/// # Errors
///
/// As [`send_message_after`].
#[inline]
pub fn send_message_at<T: Send + 'static>(
    deadline: u64,
    tag: u32,
    to: TaskId,
    message: T,
) -> Result<TimerHandle, T> {
    send_message(|_| deadline, tag, to, message)
}

#[inline(always)]
fn send_message<T: Send + 'static>(
    deadline: impl FnOnce(&Worker) -> u64,
    tag: u32,
    to: TaskId,
    message: T,
) -> Result<TimerHandle, T> {
    match Section::enter() {
        Some(section) if section.worker.tag == tag && section.task().is_some() && !is_marked(to) => {
            Ok(section.worker.send_message_at(deadline(section.worker), to, message))
        }
        _ => Err(message),
    }
}

/// Sends an envelope of `make` (if it makes one) at a time, and again each `period` nanoseconds, as long as the task lives.
pub fn send_every(
    first: u64,
    period: u64,
    to: TaskId,
    make: Box<dyn FnMut() -> Option<Envelope> + Send>,
) -> Option<TimerHandle> {
    let section = Section::enter()?;
    Some(section.worker.send_every(first, period, to, make))
}

/// Runs a short job at a time, between two slices of this worker.
pub fn run_at(deadline: u64, job: Box<dyn FnOnce() + Send>) -> Option<TimerHandle> {
    let section = Section::enter()?;
    Some(section.worker.run_at(deadline, job))
}

/// Cancels or reads a timer of this worker, from a task of the scheduler with this tag: the nanoseconds that were left, `None` if it is not set
/// any more.
///
/// # Errors
///
/// This is no such task, or the timer is another worker's.
#[inline]
pub fn own_timer(handle: TimerHandle, tag: u32, cancel: bool) -> Result<Option<u64>, NotOwn> {
    match Section::enter() {
        Some(section)
            if section.worker.id == handle.worker
                && section.worker.tag == tag
                && section.task().is_some() =>
        {
            Ok(section.worker.timer_order(handle, cancel))
        }
        _ => Err(NotOwn),
    }
}

/// A timer has to be asked for elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOwn;

/// Cancels or reads a timer: the nanoseconds that were left, `None` if it is not set any more. Waits
/// if the timer is another worker's. `tag` must be fresh, as for a call.
pub fn timer(handle: TimerHandle, cancel: bool, tag: u32) -> Option<u64> {
    let section = Section::enter()?;
    let worker = section.worker;
    if handle.worker == worker.id {
        return worker.timer_order(handle, cancel);
    }
    let to = task()?;
    await_reply(tag);
    worker.shared.order(handle.worker, Control::Timer { handle, cancel, to, tag });
    drop(section);
    loop {
        match wait_reply(u64::MAX) {
            Ok(reply) => return reply.take::<TimerAnswer>().ok()?.0,
            Err(Wake::Poked) => poke_self(),
            Err(_) => return None,
        }
    }
}
