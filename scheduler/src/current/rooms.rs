//! Room in bounded mailboxes that this worker holds (`worker/rooms.rs`).

use super::{Section, worker};
use crate::{task::TaskId, worker::Lender};
use std::sync::Arc;

/// Takes room for one message in the mailbox of a task of this worker's scheduler. False: there is none at once, or the
/// task has no lender here; ask the mailbox.
#[inline]
#[must_use]
pub fn take_room(task: TaskId) -> bool {
    worker().is_some_and(|worker| worker.take_room(task))
}

/// The task that runs has taken a message out of its mailbox: its room comes back, at the end of the slice at the latest. False: it
/// has no lender here.
#[inline(always)]
#[must_use]
pub fn put_room(task: TaskId) -> bool {
    worker().is_some_and(|worker| worker.put_room(task))
}

/// From now on this worker holds room in the mailbox of that task of its scheduler, if it likes. `owed`: the lender wants to be asked
/// with `rest` when the slice is over.
pub fn keep_room(task: TaskId, lender: Arc<dyn Lender>, owed: bool) {
    if let Some(section) = Section::enter() {
        section.worker.keep_room(task, lender, owed);
    }
}

/// Gives back all room that this worker holds.
pub fn settle_rooms() {
    if let Some(section) = Section::enter() {
        section.worker.settle_rooms();
    }
}
