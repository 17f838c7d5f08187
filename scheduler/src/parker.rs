//! Blocks a worker's thread until it is unparked; an unpark that comes first is not lost.
//!
//! After crossbeam-utils `sync/parker.rs`; the difference is that there is one owner known in
//! advance, so no handle is cloned, and the shim's types are used. States: `EMPTY` (0), `PARKED`,
//! `NOTIFIED`; `AWAY`: the owner waits in something else than this ([`Parker::park_in`]), which the unparker then has
//! to end in its way. A park may return without an unpark (timeout, or an old permit): callers look again.
//! Model: `loom-tests/src/inbox.rs` uses it together with the inbox, as the worker does.

use crate::sync::{
    Condvar, Mutex,
    atomic::{AtomicU8, Ordering},
    lock,
};
use std::time::Duration;

const EMPTY: u8 = 0;
const PARKED: u8 = 1;
const NOTIFIED: u8 = 2;
const AWAY: u8 = 3;

/// See the head of this file.
#[derive(Debug)]
pub struct Parker {
    state: AtomicU8,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Parker {
    /// A parker without a permit.
    pub fn new() -> Self {
        Parker { state: AtomicU8::new(EMPTY), lock: Mutex::new(()), wake: Condvar::new() }
    }

    /// Waits for [`Parker::unpark`], at most `timeout` long if one is given. Only the owner calls it.
    pub fn park(&self, timeout: Option<Duration>) {
        // Acquire: pairs with the release in `unpark`.
        if self.state.compare_exchange(NOTIFIED, EMPTY, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return;
        }
        let mut guard = lock(&self.lock);
        // Relaxed on success: the lock orders it with the `unpark` that sees PARKED. Acquire on
        // failure: as above.
        match self.state.compare_exchange(EMPTY, PARKED, Ordering::Relaxed, Ordering::Acquire) {
            Ok(_) => {}
            Err(state) => {
                debug_assert_eq!(state, NOTIFIED);
                // Acquire by a swap, not a store: a second `unpark` may have come, and what was
                // written before it must be seen too.
                self.state.swap(EMPTY, Ordering::Acquire);
                return;
            }
        }
        loop {
            guard = match timeout {
                None => match self.wake.wait(guard) {
                    Ok(guard) => guard,
                    Err(poisoned) => poisoned.into_inner(),
                },
                #[cfg(not(loom))]
                Some(time) => {
                    let _guard = match self.wake.wait_timeout(guard, time) {
                        Ok((guard, _)) => guard,
                        Err(poisoned) => poisoned.into_inner().0,
                    };
                    // Notified, timed out or spurious: all end the park.
                    self.state.swap(EMPTY, Ordering::Acquire);
                    return;
                }
                #[cfg(loom)]
                Some(_) => unreachable!("loom has no clock"),
            };
            // Acquire: pairs with the release in `unpark`.
            if self.state.compare_exchange(NOTIFIED, EMPTY, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return;
            }
        }
    }

    /// As [`Parker::park`], but what blocks is `wait`. It must come back when the `wake` of an
    /// [`Parker::unpark_with`] has been called, also if that was before `wait` began.
    pub fn park_in(&self, wait: impl FnOnce()) {
        // Release on success: pairs with the acquire in `unpark_with`: what `wake` needs is seen. Acquire on
        // failure: as in `park`.
        if self.state.compare_exchange(EMPTY, AWAY, Ordering::Release, Ordering::Acquire).is_ok() {
            wait();
        }
        // Acquire: what was written before each unpark is seen.
        self.state.swap(EMPTY, Ordering::Acquire);
    }

    /// Ends the owner's park, or its next one. For an owner that never calls [`Parker::park_in`].
    pub fn unpark(&self) {
        self.unpark_with(|| {});
    }

    /// Ends the owner's park, or its next one; `wake` ends the `wait` of a [`Parker::park_in`].
    pub fn unpark_with(&self, wake: impl FnOnce()) {
        // Release: pairs with the acquires in `park`. Acquire: with the release in `park_in`. A swap, not a
        // compare-exchange: even when the state is NOTIFIED already, the owner must see what was written
        // before *this* call.
        match self.state.swap(NOTIFIED, Ordering::AcqRel) {
            PARKED => {
                // The owner may be between its exchange and the wait: taking the lock waits for that.
                // It is released before notifying, so that the owner does not wake into a held lock.
                drop(lock(&self.lock));
                self.wake.notify_one();
            }
            AWAY => wake(),
            _ => {}
        }
    }
}

impl Default for Parker {
    fn default() -> Self {
        Self::new()
    }
}
