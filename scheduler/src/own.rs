//! A cell for data that one thread at a time owns by a rule, not by a lock.

use std::{cell::UnsafeCell, fmt};

/// A field of a worker that is touched only inside a section of its custody (`custody.rs`).
pub(crate) struct Own<T>(UnsafeCell<T>);

impl<T> Own<T> {
    pub(crate) const fn new(value: T) -> Self {
        Own(UnsafeCell::new(value))
    }

    /// # Safety
    ///
    /// The caller has custody of the worker (its own thread in a section, or a rescuer), and `f` does
    /// not come back to the same field: it runs no code of users and no hooks.
    #[inline(always)]
    pub(crate) unsafe fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: contract: no other thread is here, and no other reference on this one.
        f(unsafe { &mut *self.0.get() })
    }
}

impl<T> fmt::Debug for Own<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Own(..)")
    }
}
