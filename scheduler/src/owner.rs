//! Which worker a task belongs to, and how it moves.
//!
//! The private half of a slot (`slot.rs`) is touched by its owner only. The owner word names it: the
//! worker's number, and for a task on the move one of two bits: `DEPARTING`, the owner is about to give it away; `ARRIVING`, the
//! new owner has not touched it yet.
//!
//! 1. Only the owner (or a rescuer in its place, `custody.rs`) gives a task away, by [`Owner::depart`] and [`Owner::give`],
//!    and only one without a stack (not started, or idle between two steps). After that it does not
//!    touch the private half any more. The release/acquire pair on this word hands the data over.
//! 2. The new owner may find the task in two ways: by the adoption order in its control queue, or
//!    earlier, because one of its own processes sends to it, or its token comes in. Whichever is
//!    first *settles* it ([`Owner::settle`]). Before that it flushes what it
//!    holds back for other workers (`worker/outbox.rs`): from now on sends to this task go straight
//!    into its private list, and none may overtake a message that is held back.
//! 3. A token of the task (`remote_queue.rs`) goes to the inbox of the worker that the pusher read
//!    here. That may be a former owner: it passes the token on, until it reaches the present one. So
//!    a token is never lost and never doubled, and no order between this word and the queue's head is
//!    needed.
//! 4. Another worker sends by mailbag (`mailbag.rs`) to the owner's inbox if the word bears no bit ([`Owner::address`]), else
//!    through the task's remote queue. It looks here while it flushes (`flushing.rs`).
//! 5. A worker that gives a task away marks it as departing, waits for the flushes that may have looked before, takes in what
//!    is in its inbox, and gives only then. Meanwhile it does not touch the task's remote queue.
//! 6. A worker that has adopted a task takes in what is in its inbox before it runs the task.
//! 7. *Free slots* are given without a mark and without waiting (`worker/control.rs`). No task lives in them, so there is no order to
//!    keep: what is still on its way to one is for an earlier life. Wherever it comes in, its serial number tells, and it is disposed of: here, if a
//!    mailbag with it comes after the `give`; with the new owner, if it is in the slot's remote queue.
//!
//! Why order is kept (semantics row S1), for messages m1, m2 of one sender to one receiver:
//!
//! * Both to the private list, both to the remote queue, or both by mailbag to one inbox: first in, first out.
//! * m1 private: it is in the list, which moves along, and all else is appended.
//! * m1 by the remote queue, m2 not: the push of m1 is visible to the receiver's thread (same thread, or handed over with m2, or by
//!   `give`/`settle`), and what is appended to the private list comes after what is in the remote queue.
//! * m1 by mailbag, m2 by the remote queue or by mailbag to another inbox: the receiver was departing or has moved. m1 was
//!   taken in before the `give`, m2 after it (rule 5).
//! * m1 by mailbag, m2 private: if the receiver has moved to the sender's worker, rule 5; if the sender has moved, m1
//!   was pushed before its `give`, and taken in before it ran (rule 6).
//! * m1 held back in an outbox: rule 2; and a worker flushes before it gives a task away, so a *sender* never moves with a message held
//!   back.
//!
//! Models: `loom-tests/src/owner.rs`, `loom-tests/src/departure.rs`.

use crate::sync::atomic::{AtomicU16, Ordering};

/// A worker's number; 0 is nobody.
pub type WorkerId = u16;

const ARRIVING: u16 = 1 << 15;
const DEPARTING: u16 = 1 << 14;

/// See the head of this file.
#[derive(Debug)]
pub struct Owner(AtomicU16);

/// Whose task is it?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The asking worker's.
    Mine,
    /// The asking worker's, but it has to settle it first.
    Arriving,
    /// The asking worker's, which is about to give it away (rule 5).
    Departing,
    /// Another's.
    Other(WorkerId),
}

impl Owner {
    /// Belongs to `worker`.
    pub fn new(worker: WorkerId) -> Self {
        debug_assert!(worker < DEPARTING);
        Owner(AtomicU16::new(worker))
    }

    /// Asks for worker `me`.
    #[inline(always)]
    pub fn look(&self, me: WorkerId) -> Whose {
        // Acquire: pairs with the release in `give`.
        let word = self.0.load(Ordering::Acquire);
        if word == me {
            Whose::Mine
        } else if word & !(ARRIVING | DEPARTING) != me {
            Whose::Other(word & !(ARRIVING | DEPARTING))
        } else if word & ARRIVING != 0 {
            Whose::Arriving
        } else {
            Whose::Departing
        }
    }

    /// The worker to send tokens to.
    #[inline]
    pub fn id(&self) -> WorkerId {
        // Relaxed: only an address; a wrong one is corrected by rule 3.
        self.0.load(Ordering::Relaxed) & !(ARRIVING | DEPARTING)
    }

    /// The worker to send mailbags to; `None`: it is on the move (rule 4).
    #[inline(always)]
    pub fn address(&self) -> Option<WorkerId> {
        // Relaxed: ordered by the fences of `flushing.rs`, rule 3.
        let word = self.0.load(Ordering::Relaxed);
        (word & (ARRIVING | DEPARTING) == 0).then_some(word)
    }

    /// Marks a task of worker `me` that is about to be given away (rule 5).
    pub fn depart(&self, me: WorkerId) {
        debug_assert_eq!(self.address(), Some(me));
        // Relaxed: ordered by the fence of `Flushing::mark`.
        self.0.store(me | DEPARTING, Ordering::Relaxed);
    }

    /// Gives the task to worker `to` (rule 1).
    pub fn give(&self, to: WorkerId) {
        // Release: pairs with the acquire in `look`: the private half as we leave it.
        self.0.store(to | ARRIVING, Ordering::Release);
    }

    /// Takes what has arrived (rule 2).
    pub fn settle(&self, me: WorkerId) {
        // Relaxed: other workers draw the same conclusion from both values.
        self.0.store(me, Ordering::Relaxed);
    }
}
