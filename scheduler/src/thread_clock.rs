//! What the system knows of a worker's thread: how much CPU time it has had, and whether it wants more.
//!
//! The watchdog asks when a worker seems stuck: on a busy machine a thread may have been stopped by the
//! system for longer than a slice may last, and then another thread in its place would only add to the load.

use std::sync::atomic::{AtomicI32, Ordering};

/// One thread, once it has [registered](ThreadClock::register).
#[derive(Debug, Default)]
pub(crate) struct ThreadClock {
    /// The kernel's number of the thread; 0: none yet.
    thread: AtomicI32,
    /// The clock of its CPU time.
    clock: AtomicI32,
}

impl ThreadClock {
    /// This is the calling thread's.
    pub(crate) fn register(&self) {
        let mut clock = 0;
        // SAFETY: the calling thread's own handle; `clock` has room for the answer.
        let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
        if failed == 0 {
            // SAFETY: it takes nothing and always succeeds.
            let thread = unsafe { libc::gettid() };
            self.clock.store(clock, Ordering::Relaxed);
            // Release: pairs with the acquire in `nanos`.
            self.thread.store(thread, Ordering::Release);
        }
    }

    /// CPU time that the thread has had, in nanoseconds; `None`: unknown.
    pub(crate) fn nanos(&self) -> Option<u64> {
        // Acquire: pairs with the release in `register`.
        if self.thread.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` has room for the answer; the clock of a thread that has ended is an error.
        let failed = unsafe { libc::clock_gettime(self.clock.load(Ordering::Relaxed), &raw mut time) };
        (failed == 0).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    /// Does the thread want to run (or does it run)? Not if it waits in a system call.
    pub(crate) fn is_runnable(&self) -> bool {
        let thread = self.thread.load(Ordering::Relaxed);
        let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
        // "number (name) state ...", and the name may have parentheses in it.
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('R'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_computes_uses_time_and_one_that_sleeps_does_not() {
        let clock = ThreadClock::default();
        assert_eq!(clock.nanos(), None);
        clock.register();
        let before = clock.nanos().unwrap();
        assert!(clock.is_runnable());
        let mut sum = 0_u64;
        while clock.nanos().unwrap() < before + 2_000_000 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(sum > 0);
    }
}
