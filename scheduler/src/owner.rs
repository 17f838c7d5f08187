//! Which worker a task belongs to, and how it moves.
//!
//! The private half of a slot (`slot.rs`) is touched by its owner only. The owner word names it: the
//! worker's number, and a bit `ARRIVING` that says that the new owner has not touched the task yet.
//!
//! 1. Only the owner (or a rescuer in its place, `custody.rs`) gives a task away, by [`Owner::give`],
//!    and only one without a stack (not started, or idle between two steps). After that it does not
//!    touch the private half any more. The release/acquire pair on this word hands the data over.
//! 2. The new owner may find the task in two ways: by the adoption order in its control queue, or
//!    earlier, because one of its own processes sends to it, or its token comes in. Whichever is
//!    first *settles* it ([`Owner::settle`]). Before that it flushes the run of messages that it
//!    holds back for other workers (`worker/deliver.rs`): from now on sends to this task go straight
//!    into its private list, and none may overtake a message that is held back.
//! 3. A token of the task (`remote_queue.rs`) goes to the inbox of the worker that the pusher read
//!    here. That may be a former owner: it passes the token on, until it reaches the present one. So
//!    a token is never lost and never doubled, and no order between this word and the queue's head is
//!    needed.
//!
//! Why order is kept (semantics row S1), for messages m1, m2 of one sender to one receiver:
//! both to the private list, or both to the remote queue: first in, first out. m1 private, m2 remote:
//! the receiver has moved away in between with its private list, and what comes from the remote
//! queue is appended. m1 remote, m2 private: sender and receiver are on one worker now; the sender's
//! push of m1 is visible to this thread (same thread, or handed over by `give`/`settle`), and a private
//! push first moves over what is in the remote queue. m1 held back in an outbox: rule 2, and a
//! worker flushes before it gives a task away, so a *sender* never moves with a message held back.
//!
//! Model: `loom-tests/src/owner.rs`.

use crate::sync::atomic::{AtomicU16, Ordering};

/// A worker's number; 0 is nobody.
pub type WorkerId = u16;

const ARRIVING: u16 = 1 << 15;

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
    /// Another's.
    Other(WorkerId),
}

impl Owner {
    /// Belongs to `worker`.
    pub fn new(worker: WorkerId) -> Self {
        debug_assert!(worker < ARRIVING);
        Owner(AtomicU16::new(worker))
    }

    /// Asks for worker `me`.
    #[inline(always)]
    pub fn look(&self, me: WorkerId) -> Whose {
        // Acquire: pairs with the release in `give`.
        let word = self.0.load(Ordering::Acquire);
        if word == me {
            Whose::Mine
        } else if word == me | ARRIVING {
            Whose::Arriving
        } else {
            Whose::Other(word & !ARRIVING)
        }
    }

    /// The worker to send tokens to.
    #[inline]
    pub fn id(&self) -> WorkerId {
        // Relaxed: only an address; a wrong one is corrected by rule 3.
        self.0.load(Ordering::Relaxed) & !ARRIVING
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
