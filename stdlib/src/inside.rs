//! Locks of what processes share: tables, registries, groups.
//!
//! All of them are taken in here, by the thread of a process that nothing interrupts until it has let go. So no process
//! waits for its turn, or is killed, with such a lock in its hands; and there is one at a time, so that there is no order of
//! locks to keep.

use engset_runtime::{observe, uninterrupted};
use std::cell::Cell;

thread_local! {
    /// Is a lock held on this thread? (Nothing interrupts it, so it is the process that runs here.)
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`, which takes such a lock, and may call the user's code.
///
/// # Panics
///
/// The user's code has come back: it would wait for itself, or two processes for each other.
pub(crate) fn inside<R>(f: impl FnOnce() -> R) -> R {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            INSIDE.set(false);
        }
    }
    uninterrupted(|| {
        assert!(
            !INSIDE.replace(true),
            "a closure that runs inside of a table has come back to a table, a registry or a scope of groups"
        );
        let _leave = Leave;
        observe::touch("engset.inside");
        f()
    })
}
