//! The one shim between this crate and the memory model that it runs on.
//!
//! A normal build takes the types from `std`, a build with `--cfg loom` takes those of the loom
//! model checker. Only the files that hold a lock-free protocol (`remote_queue`, `inbox`, `parker`,
//! `custody`, `owner`, `flushing`, `room`) import from here; everything else is private to one thread or behind a lock.

#[cfg(loom)]
pub use loom::{
    hint,
    sync::{Condvar, Mutex, MutexGuard, atomic},
    thread,
};

#[cfg(not(loom))]
pub use std::{
    hint,
    sync::{Condvar, Mutex, MutexGuard, atomic},
    thread,
};

/// Locks, and takes the data of a poisoned lock as they are: no code of this crate panics while it
/// holds a lock, so poison can only come from a panic that was not ours.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}
