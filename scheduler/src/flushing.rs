//! Says when nothing is under way any more to where a task has been.
//!
//! A worker looks up the owner of a task and pushes into that owner's inbox (`worker/outbox.rs`). Between the two the
//! task may be given away; then what was pushed lies in the inbox of a former owner, and what is sent next
//! would overtake it. So the owner, before it gives a task away, waits until all who may have looked it up before have pushed:
//! an epoch-based grace period (as in P. McKenney, J. Slingwine, *Read-Copy Update*, PDCS 1998, with one
//! counter for each reader).
//!
//! 1. Each worker counts the begins and ends of its flushes: the number is odd in between. It looks up owners, and pushes
//!    to them, only in between. A flush calls no code of users and waits for nothing.
//! 2. The owner marks the task ([`Owner::depart`](crate::owner::Owner::depart)), and then waits for each other worker until
//!    its number is even, or has changed. A flush that looks later finds the mark.
//! 3. Why: there is a sequentially consistent fence between the begin and the look-up, and one between the mark and the look at
//!    the number. If the flush's fence comes first the owner sees that it has begun (or has ended, with all that it
//!    pushed); if the owner's comes first the flush sees the mark.
//!
//! Model: `loom-tests/src/departure.rs`.

use crate::sync::{
    atomic::{AtomicU32, Ordering, fence},
    hint, thread,
};

/// Looks at the number before a waiting thread gives up its turn. Guess: a flush takes a microsecond or two.
const SPINS: u32 = 200;

/// See the head of this file.
#[derive(Debug)]
pub struct Flushing(AtomicU32);

impl Flushing {
    /// Not flushing.
    pub fn new() -> Self {
        Flushing(AtomicU32::new(0))
    }

    /// A flush begins (rule 1).
    #[inline]
    pub fn begin(&self) {
        // Relaxed: one writer, and the fence orders it before the look-ups; it pairs with that of `mark`.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// It ends.
    #[inline]
    pub fn end(&self) {
        // Release: pairs with the acquire in `wait`: what was pushed is there.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    /// Between the marks and the first [`Flushing::wait`] (rule 3).
    pub fn mark() {
        // Pairs with the fence in `begin`.
        fence(Ordering::SeqCst);
    }

    /// Waits for the end of a flush that is going on (rule 2).
    pub fn wait(&self) {
        // Acquire, here and below: pairs with the release in `end`.
        let before = self.0.load(Ordering::Acquire);
        if before.is_multiple_of(2) {
            return;
        }
        let mut spins = 0;
        while self.0.load(Ordering::Acquire) == before {
            spins += 1;
            // Loom has no time: there a waiting thread always gives up its turn.
            if cfg!(loom) || spins % SPINS == 0 {
                // The system has taken its CPU away.
                thread::yield_now();
            } else {
                hint::spin_loop();
            }
        }
    }
}

impl Default for Flushing {
    fn default() -> Self {
        Self::new()
    }
}
