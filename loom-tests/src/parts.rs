//! What surrounds the protocols, in miniature: envelopes and slots (`slot.rs`), workers, and the few lines of
//! `scheduler/src/worker` that combine them (`world.rs`). Here is what explores a model, and notes what has happened in it.
//!
//! 1. The protocols are the real ones. What is restated here keeps the order of the steps of the original.
//! 2. Everything that the rules call private is a loom `UnsafeCell`: an access without a happens-before edge
//!    to the one before it ends the test.
//! 3. So is the *use of a token's link* ([`Slot`], `link_use`): who holds the token touches it.
//! 4. Loom looks for races by what each object was *last* used for. When a thread loads a value to guess it
//!    and then exchanges it (as both pushes do), its own load hides the earlier load of a thread that polls,
//!    and loom never tries the two the other way round. So whoever polls, and whoever changes what is
//!    polled, touches a [`Pace`] as well. It is relaxed: it makes loom switch there, and adds no edge.
//! 5. Bookkeeping of the tests (not of the code under test) is in `std` atomics, which loom does not see: it
//!    adds no edges.

mod slot;
mod world;

pub(crate) use slot::{Slot, open_run, seal};
pub(crate) use world::World;

use loom::sync::atomic::AtomicUsize;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Relaxed, SeqCst},
};

/// Explores all executions of `model` with at most `preemptions` preemptions (`LOOM_MAX_PREEMPTIONS`
/// overrides it).
pub(crate) fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(model);
}

/// Rule 4.
pub(crate) struct Pace(AtomicUsize);

impl Pace {
    pub(crate) fn new() -> Self {
        Pace(AtomicUsize::new(0))
    }

    pub(crate) fn touch(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Which outcomes some execution has had: a model in which the race never happens proves nothing.
pub(crate) struct Seen(AtomicU32);

impl Seen {
    pub(crate) const fn new() -> Self {
        Seen(AtomicU32::new(0))
    }

    pub(crate) fn note(&self, outcome: u32) {
        self.0.fetch_or(1 << outcome, SeqCst);
    }

    /// Outcomes 0 to `count` - 1 must have been noted.
    #[track_caller]
    pub(crate) fn assert_all(&self, count: u32) {
        assert_eq!(self.0.load(SeqCst), (1 << count) - 1, "outcomes that occurred, as bits");
    }
}
