//! Timers, from within a task.

use super::{
    Section, Wake, poke_self,
    reply::{await_reply, wait_reply},
    task,
};
use crate::{
    TimerHandle,
    envelope::Envelope,
    task::TaskId,
    worker::{Control, TimerAnswer},
};

/// Sends the envelope at a time (nanoseconds). Nothing is sent if this is no worker.
pub fn send_at(deadline: u64, to: TaskId, envelope: Envelope) -> Option<TimerHandle> {
    let section = Section::enter()?;
    Some(section.worker.send_at(deadline, to, envelope))
}

/// Sends a message at a time (nanoseconds). Nothing is sent if this is no worker.
#[inline]
pub fn send_message_at<T: Send + 'static>(deadline: u64, to: TaskId, message: T) -> Option<TimerHandle> {
    let section = Section::enter()?;
    Some(section.worker.send_message_at(deadline, to, message))
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
