//! Where a worker wakes up: each on a CPU of its own.
//!
//! When a thread that sleeps is woken, Linux prefers the CPU of the waker, unless the CPU where it slept is known to be free. On a virtual
//! machine a CPU that sleeps counts as taken away by the host, so it is not: both workers of a machine with two CPUs end up on one, and as
//! each sleeps soon after it has woken the other one they take turns, in step, and the other CPU stays idle for a long time.
//! (`sched_switch` events showed both at work for 100 µs and asleep for 100 µs, in turn; any other program that runs for a moment starts it.)
//!
//! 1. Before a worker sleeps it restricts itself to its *home*, one CPU; when it has woken it lifts that again. So code of users, and the
//!    threads and programs that it starts, never have a restricted mask.
//! 2. A worker has a home only if there are as many workers as CPUs that the thread may use: then no CPU is better than another one.
//! 3. A worker that has only passed on a message since it woke sleeps where it is (`worker/idle.rs`): the CPU of the waker is the fastest then.
//! 4. The mask is read again before each sleep: what others have set meanwhile (`taskset`) holds.

use std::{
    mem,
    sync::atomic::{AtomicUsize, Ordering},
};

/// See the head of this file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Home {
    /// Number among the workers, from any number on.
    number: usize,
    workers: usize,
}

impl Home {
    /// Of worker number `number`, of so many.
    pub(crate) fn new(number: usize, workers: usize) -> Self {
        Home { number, workers }
    }

    /// For a new scheduler: the number of its first worker. The first workers are often the busiest, so those of several schedulers shall
    /// not all have one home.
    pub(crate) fn first() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Relaxed: just a number.
        std::process::id() as usize + NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// Runs `sleep`, and sees to it that the calling thread wakes up at home.
    pub(crate) fn sleep_in(&self, sleep: impl FnOnce()) {
        // With one CPU, or one worker, there is nothing to choose.
        if self.workers < 2 {
            return sleep();
        }
        let allowed = allowed();
        match allowed.as_ref().and_then(|allowed| self.of(allowed)) {
            Some(home) if restrict(&home) => {
                sleep();
                if let Some(allowed) = &allowed {
                    // If this fails the mask has been changed while it slept, to one that has none of these.
                    restrict(allowed);
                }
            }
            _ => sleep(),
        }
    }

    /// Its CPU among these (rule 2).
    fn of(&self, allowed: &libc::cpu_set_t) -> Option<libc::cpu_set_t> {
        // SAFETY: the set is initialised, here and below.
        let count = unsafe { libc::CPU_COUNT(allowed) } as usize;
        if count < 2 || self.workers < count {
            return None;
        }
        let cpus = 0..libc::CPU_SETSIZE as usize;
        // SAFETY: the numbers are within the set.
        let home = cpus.filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, allowed) }).nth(self.number % count)?;
        let mut set = empty();
        // SAFETY: as above.
        unsafe { libc::CPU_SET(home, &mut set) };
        Some(set)
    }
}

fn empty() -> libc::cpu_set_t {
    // SAFETY: a set is an array of bits.
    unsafe { mem::zeroed() }
}

/// The CPUs that the calling thread may use; `None`: unknown.
fn allowed() -> Option<libc::cpu_set_t> {
    let mut set = empty();
    // SAFETY: the set has room for the answer; 0 is the calling thread.
    let failed = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    (failed == 0).then_some(set)
}

/// From now on the calling thread uses these CPUs only. False: the system refused.
fn restrict(set: &libc::cpu_set_t) -> bool {
    // SAFETY: the set is only read; 0 is the calling thread.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus(set: &libc::cpu_set_t) -> Vec<usize> {
        // SAFETY: the set is initialised, and the numbers are within it.
        (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, set) }).collect()
    }

    #[test]
    fn workers_of_a_whole_machine_have_homes_of_their_own() {
        let mut set = empty();
        // SAFETY: the numbers are within the set.
        [1, 4, 7].into_iter().for_each(|cpu| unsafe { libc::CPU_SET(cpu, &mut set) });
        let homes = [0, 1, 2].map(|number| cpus(&Home::new(number, 3).of(&set).unwrap()));
        assert_eq!(homes, [vec![1], vec![4], vec![7]]);
    }

    #[test]
    fn with_more_cpus_than_workers_they_have_none() {
        let mut set = empty();
        // SAFETY: the numbers are within the set.
        [1, 4, 7].into_iter().for_each(|cpu| unsafe { libc::CPU_SET(cpu, &mut set) });
        assert!(Home::new(0, 2).of(&set).is_none());
    }

    #[test]
    fn the_mask_is_as_before_after_a_sleep() {
        let before = allowed().unwrap();
        let count = cpus(&before).len();
        let mut during = empty();
        for number in 0..count {
            Home::new(number, count).sleep_in(|| during = allowed().unwrap());
            assert_eq!(cpus(&during), if count > 1 { vec![cpus(&before)[number]] } else { cpus(&before) });
            assert_eq!(cpus(&allowed().unwrap()), cpus(&before));
        }
    }
}
