//! Waiting for the one reply that a call is answered with.
//!
//! A task awaits one tag at a time. The reply with that tag goes past the mailbox (`worker/deliver.rs`); all
//! others are dropped, so an answer that comes too late is never found.

use super::{Section, Wake};
use crate::{envelope::Envelope, slot::State};

/// From now on the reply with this tag is awaited, and no other.
#[inline(always)]
pub fn await_reply(tag: u32) {
    if let Some(section) = Section::enter()
        && let Some(slot) = section.task()
    {
        drop(section.worker.private(slot).take_answer());
        section.worker.private(slot).await_reply(tag);
    }
}

/// The reply with this tag is awaited, as before: if a reply has come meanwhile it stays.
#[inline(always)]
pub fn await_still(tag: u32) {
    if let Some(section) = Section::enter()
        && let Some(slot) = section.task()
        && !section.worker.private(slot).has_answer()
    {
        section.worker.private(slot).await_still(tag);
    }
}

/// Waits for the awaited reply. What comes to receive meanwhile waits in the mailbox. `Err`: why there
/// is none; it is still awaited.
///
/// # Errors
///
/// The deadline has passed, or the task cannot wait, or it was poked.
///
/// # Signals
///
/// As [`wait`](super::wait).
#[inline]
pub fn wait_reply(deadline: u64) -> Result<Envelope, Wake> {
    let Some(section) = Section::enter() else { return Err(Wake::Ending) };
    let Some(slot) = section.task() else { return Err(Wake::Ending) };
    let task = section.worker.private(slot);
    loop {
        if task.has_answer()
            && let Some(reply) = task.take_answer()
        {
            if section.worker.observed {
                section.worker.received(slot, &reply);
            }
            return Ok(reply);
        }
        match section.worker.wait(State::Asleep, deadline) {
            Wake::Ready => {}
            Wake::TimedOut if task.has_answer() => {}
            other => return Err(other),
        }
    }
}

/// No reply is awaited any more; one that has come is dropped.
#[inline]
pub fn cancel_reply() {
    if let Some(section) = Section::enter()
        && let Some(slot) = section.task()
        && let Some(reply) = section.worker.private(slot).take_answer()
    {
        section.worker.drop_outside(reply);
    }
}
