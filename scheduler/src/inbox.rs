//! A worker's inbox: the tokens of tasks that have mail from outside, and whether the worker sleeps.
//!
//! One word says both, so that *the push tells whether the worker must be woken* and no second look
//! at another variable is needed:
//!
//! | head | meaning |
//! |---|---|
//! | `EMPTY` | no token; the worker is awake (running or spinning) |
//! | `ASLEEP` | no token; the worker has decided to park |
//! | a token | tokens, newest first; the worker is awake, or the push that replaced `ASLEEP` wakes it |
//!
//! 1. The worker goes to sleep only by the exchange `EMPTY` → `ASLEEP`, which fails if a token is there.
//! 2. The push that replaces `ASLEEP` gets [`Wake::Unpark`] and must unpark the worker; exactly one
//!    push does.
//! 3. The worker that wakes for another reason (a timer) undoes it by `ASLEEP` → `EMPTY`
//!    ([`Inbox::awake`]); if that fails, a token is there and an unpark is under way, which the next
//!    park will consume: a spurious return, which every park has to expect.
//!
//! Tokens are links inside the tasks' slots, or of mailbags (`mailbag.rs`: their addresses are marked by a bit, which the inbox
//! neither sets nor looks at); a slot is in at most one inbox (`remote_queue.rs`, rule 1).
//! Model: `loom-tests/src/inbox.rs`.

use crate::{
    remote_queue::Link,
    sync::atomic::{AtomicPtr, Ordering},
};
use std::ptr;

/// What the pusher has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Wake {
    /// The worker sleeps, or is about to: unpark it.
    Unpark,
    /// It is awake and will look.
    Nothing,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Inbox {
    head: AtomicPtr<Link>,
}

const EMPTY: *mut Link = ptr::null_mut();
const ASLEEP: *mut Link = ptr::without_provenance_mut(1);

impl Inbox {
    /// Empty, and its worker awake.
    pub fn new() -> Self {
        Inbox { head: AtomicPtr::new(EMPTY) }
    }

    /// Puts a token in.
    ///
    /// # Safety
    ///
    /// The caller holds the token (`remote_queue.rs`, rule 1) and it stays valid until `take` returns it.
    pub unsafe fn push(&self, token: *mut Link) -> Wake {
        // SAFETY: contract; a run of one.
        unsafe { self.push_run(token, token) }
    }

    /// Puts a run of tokens in: `newest` leads over `next` to `oldest`.
    ///
    /// # Safety
    ///
    /// As [`Inbox::push`], for all of them.
    pub unsafe fn push_run(&self, newest: *mut Link, oldest: *mut Link) -> Wake {
        // Relaxed: only a guess; the compare-exchange below decides.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let next = if head == ASLEEP { EMPTY } else { head };
            // SAFETY: the run is the caller's until the exchange succeeds. Relaxed: published by it.
            unsafe { (*oldest).next.store(next, Ordering::Relaxed) };
            // Release: pairs with the acquire in `take`.
            match self.head.compare_exchange_weak(head, newest, Ordering::Release, Ordering::Relaxed) {
                Ok(ASLEEP) => return Wake::Unpark,
                Ok(_) => return Wake::Nothing,
                Err(now) => head = now,
            }
        }
    }

    /// For the worker: is there something to take? Relaxed: it looks again before it parks.
    #[inline]
    pub fn has_tokens(&self) -> bool {
        self.head.load(Ordering::Relaxed).addr() > ASLEEP.addr()
    }

    /// For the worker: takes all tokens, newest first (no order is promised between different
    /// receivers); null if there are none. Never called while asleep.
    #[must_use]
    pub fn take(&self) -> *mut Link {
        // Acquire: pairs with the release in `push`.
        let head = self.head.swap(EMPTY, Ordering::Acquire);
        debug_assert_ne!(head, ASLEEP);
        head
    }

    /// For the worker: announces that it parks next. False: a token came, do not park.
    #[must_use]
    pub fn try_sleep(&self) -> bool {
        // Relaxed: no data travel with the announcement; a token that replaces it is acquired by `take`.
        self.head.compare_exchange(EMPTY, ASLEEP, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// For the worker, back from parking: takes the announcement back (rule 3).
    pub fn awake(&self) {
        // Relaxed: as in `try_sleep`. A failure means that a push has replaced it already.
        let _ = self.head.compare_exchange(ASLEEP, EMPTY, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}
