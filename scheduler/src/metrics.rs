//! Counters of a worker. One writer each, so a count is a load, an addition and a store.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that one thread writes and all may read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline(always)]
    pub(crate) fn add(&self, by: u64) {
        // Relaxed: a statistic; no read-modify-write, for there is one writer.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Debug, Default)]
        pub(crate) struct Metrics { $(pub(crate) $name: Counter,)* }

        /// What a worker has done since it started.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct WorkerMetrics {
            /// Slices that tasks had.
            pub slices: u64,
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Metrics {
            pub(crate) fn snapshot(&self, slices: u64) -> WorkerMetrics {
                WorkerMetrics { slices, $($name: self.$name.get(),)* }
            }
        }
    };
}

metrics! {
    /// Tasks spawned here.
    spawned,
    /// Tasks that ended here.
    ended,
    /// Slices that were cut short.
    preempted,
    /// Envelopes sent to tasks of other workers.
    remote,
    /// Tasks given to other workers.
    given,
    /// Tasks taken in from other workers.
    adopted,
    /// Times it found nothing to do.
    idle,
    /// Times it went to sleep.
    parked,
    /// One-shot timers set.
    timers,
    /// One-shot timers fired.
    fired,
    /// Times a task had to wait because no stack was to be had.
    no_stack,
}
