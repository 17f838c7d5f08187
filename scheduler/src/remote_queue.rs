//! The shared half of a mailbox: many senders on other threads push, the owner takes all at once.
//!
//! A task belongs to one worker at a time (`owner.rs`). Sends on that worker go straight into the
//! task's private list. Everybody else pushes here: a Treiber stack (R. K. Treiber, *Systems
//! Programming: Coping with Parallelism*, IBM RJ 5118, 1986) that is only ever emptied whole, so
//! the ABA problem does not arise. Differences from the original: a whole run of links goes in with
//! one compare-exchange, and the head tells whether the owner has been told.
//!
//! # The token
//!
//! The head is in one of three states:
//!
//! | head | meaning |
//! |---|---|
//! | `EMPTY` | nothing here, and no notice to the owner is under way |
//! | `NOTIFIED` | nothing here, but a notice is under way (somewhere between the pusher and the owner's inbox) |
//! | a link | links are here, and a notice is under way |
//!
//! 1. The push that finds `EMPTY` must notify the owner: it puts the task's *token* into the owner's
//!    inbox. All other pushes need not. So at most one token of a task exists, and the link field
//!    that the token uses (in the slot) has one user at a time.
//! 2. The owner, when it processes the token, calls [`RemoteQueue::take`]: the head becomes `EMPTY`.
//!    It has unlinked the token from its inbox *before*, for the next push may use the link at once.
//! 3. The owner may look earlier ([`RemoteQueue::take_early`]), because a local send or a receive
//!    must not overtake what is already here: the head becomes `NOTIFIED`, since the token is still
//!    on its way.
//! 4. The queue is never closed. A link carries the generation of the task that it is meant for, and
//!    the owner of the slot drops (or answers) what comes too late. Slots are never unmapped while a
//!    push can happen, so a push to a task that has died is always a push to valid memory.
//!
//! There is no window in which a link is pushed but cannot be reached (as there is in Vyukov's
//! queue): what a thread has pushed, a later `take` by any thread that knows of the push will find.
//! The order of signals when a sender or a receiver changes its worker rests on this.
//!
//! Model: `loom-tests/src/remote_queue.rs`.

use crate::sync::atomic::{AtomicPtr, Ordering};
use std::ptr;

/// The link of an element; must be the first field of a `repr(C)` element.
#[derive(Debug)]
#[repr(C)]
pub struct Link {
    /// The next element: older while in a [`RemoteQueue`], newer in the list that `take` returns.
    pub next: AtomicPtr<Link>,
}

impl Link {
    /// A link to nothing.
    pub fn new() -> Self {
        Link { next: AtomicPtr::new(ptr::null_mut()) }
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

/// What the pusher has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Push {
    /// The owner does not know: put the task's token into its inbox (rule 1).
    Notify,
    /// A token is under way.
    Quiet,
}

/// See the head of this file.
#[derive(Debug)]
pub struct RemoteQueue {
    head: AtomicPtr<Link>,
}

const EMPTY: *mut Link = ptr::null_mut();
const NOTIFIED: *mut Link = ptr::without_provenance_mut(1);

fn is_link(head: *mut Link) -> bool {
    head.addr() > NOTIFIED.addr()
}

impl RemoteQueue {
    /// An empty queue without a token.
    pub fn new() -> Self {
        RemoteQueue { head: AtomicPtr::new(EMPTY) }
    }

    /// Pushes a run of links: `newest` leads over `next` to `oldest`.
    ///
    /// # Safety
    ///
    /// The caller owns the run, `oldest` is reached from `newest`, and all of it stays valid until a
    /// `take` returns it.
    pub unsafe fn push(&self, newest: *mut Link, oldest: *mut Link) -> Push {
        // Relaxed: only a guess; the compare-exchange below decides.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let next = if is_link(head) { head } else { EMPTY };
            // SAFETY: the run is the caller's until the exchange below succeeds. Relaxed: published by it.
            unsafe { (*oldest).next.store(next, Ordering::Relaxed) };
            // Release: pairs with the acquire of `take` and `take_early`: the payloads are written.
            // (They see older pushes too: each exchange continues the release sequence before it.)
            // Acquire, for who finds EMPTY: pairs with the release of `take`: the token's link is free (rule 2).
            match self.head.compare_exchange_weak(head, newest, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(EMPTY) => return Push::Notify,
                Ok(_) => return Push::Quiet,
                Err(now) => head = now,
            }
        }
    }

    /// Is there anything to take? Relaxed: to a thread that knows of a push (it made it, or was told
    /// by a release/acquire pair) coherence shows it; for the others the token tells.
    #[inline]
    pub fn has_links(&self) -> bool {
        is_link(self.head.load(Ordering::Relaxed))
    }

    /// The newest link, or something that leads nowhere: to ask for its cache line, not to read it.
    #[inline]
    pub fn newest(&self) -> *const Link {
        self.head.load(Ordering::Relaxed)
    }

    /// For the owner with the token in hand (rule 2): takes all, oldest first; null if there is none.
    #[must_use]
    pub fn take(&self) -> *mut Link {
        // Acquire: pairs with the release of `push`. Release: pairs with the acquire of the push that finds
        // EMPTY: our last look at the token's link comes before its first use there (rule 2).
        reverse(self.head.swap(EMPTY, Ordering::AcqRel))
    }

    /// For the owner without the token, and only after [`RemoteQueue::has_links`] (rule 3): takes
    /// all, oldest first.
    #[must_use]
    pub fn take_early(&self) -> *mut Link {
        debug_assert!(self.has_links());
        // Acquire: pairs with the release of `push`.
        reverse(self.head.swap(NOTIFIED, Ordering::Acquire))
    }
}

impl Default for RemoteQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// Newest-first to oldest-first. The taker owns the run, so plain order is enough.
fn reverse(head: *mut Link) -> *mut Link {
    if !is_link(head) {
        return ptr::null_mut();
    }
    let mut newer = ptr::null_mut();
    let mut at = head;
    while !at.is_null() {
        // SAFETY: the run was pushed valid (contract of `push`) and is ours since the exchange.
        // Relaxed: that exchange acquired it.
        let older = unsafe { (*at).next.load(Ordering::Relaxed) };
        // SAFETY: as above.
        unsafe { (*at).next.store(newer, Ordering::Relaxed) };
        newer = at;
        at = older;
    }
    newer
}
