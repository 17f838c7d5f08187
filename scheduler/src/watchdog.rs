//! The thread that sees to it that a task which never comes to a reduction point stops nobody else.
//!
//! 1. Each [`TICK`] it compares every worker's count of slices with what it was. A worker that has not
//!    begun a new slice since the last tick is asked to end this one: its budget is set to -1, which the
//!    task meets at its next reduction point. That is the time limit of a slice.
//! 2. A worker that has been in user code, in one slice, for `stuck_after` is *stuck*, unless the system has
//!    not let its thread run meanwhile (`thread_clock.rs`). The watchdog takes
//!    custody (`custody.rs`), gives everything that can move to a spare worker, and does so again
//!    each tick until the worker comes back: its mail and its timers are seen to all the time. Tasks
//!    with a stack wait for their thread; nothing else would be sound (`carrier.rs`).
//! 3. When it is back, the spare is told to retire: what can move goes back (to it, or if it is a spare itself
//!    to one of the first workers), what has a stack stays until it ends. A spare that has retired sleeps, and is the first to be used the next time.
//! 4. While all workers sleep the watchdog sleeps too, for [`NAP`] at a time; a worker that wakes up
//!    wakes it (a wake that is missed costs one nap at most).

use crate::{
    owner::WorkerId,
    parker::Parker,
    shared::Shared,
    task::LongSchedule,
    worker::{Control, Worker},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Time between two looks.
pub(crate) const TICK: Duration = Duration::from_millis(1);
const NAP: Duration = Duration::from_millis(50);
/// A stuck worker is reported after this many times `stuck_after`.
const REPORT_AFTER: u64 = 3;
/// Ticks without any slice before it naps.
const QUIET_TICKS: u32 = 20;

#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    parker: Parker,
    asleep: AtomicBool,
    stop: AtomicBool,
    /// A bit for each worker that is stuck.
    stuck: [AtomicU64; 4],
}

struct Watched {
    slices: u32,
    /// When this slice was first seen.
    since: u64,
    /// CPU time of its thread then.
    cpu: u64,
    /// The spare that stands in for it.
    spare: Option<WorkerId>,
    reported: bool,
}

impl Watchdog {
    /// Ends a nap (rule 4).
    #[inline]
    pub(crate) fn wake(&self) {
        // Relaxed: a missed wake costs a nap (rule 4).
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            self.parker.unpark();
        }
    }

    /// Is this worker stuck? A hint.
    pub(crate) fn is_stuck(&self, worker: WorkerId) -> bool {
        self.stuck[worker as usize / 64].load(Ordering::Relaxed) >> (worker % 64) & 1 == 1
    }

    fn set_stuck(&self, worker: WorkerId, stuck: bool) {
        let (word, bit) = (&self.stuck[worker as usize / 64], 1 << (worker % 64));
        if stuck {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    pub(crate) fn stop(&self) {
        // Relaxed: the parker orders it.
        self.stop.store(true, Ordering::Relaxed);
        self.parker.unpark();
    }

    /// The thread's body.
    pub(crate) fn run(&self, shared: &Arc<Shared>) {
        let mut watched: Vec<Watched> = Vec::new();
        let mut retired: Vec<WorkerId> = Vec::new();
        let mut quiet = 0;
        while !self.stop.load(Ordering::Relaxed) {
            if quiet >= QUIET_TICKS {
                self.asleep.store(true, Ordering::Relaxed);
                self.parker.park(Some(NAP));
                self.asleep.store(false, Ordering::Relaxed);
                quiet = QUIET_TICKS - 2;
            } else {
                self.parker.park(Some(TICK));
            }
            quiet += 1;
            let now = shared.clock.now();
            for at in 0..shared.worker_count() {
                let Some(worker) = shared.worker(at as WorkerId + 1) else { continue };
                // Relaxed: a hint.
                let slices = worker.slices.load(Ordering::Relaxed);
                // Relaxed: a hint.
                worker.public.tick.store(true, Ordering::Relaxed);
                if watched.len() <= at {
                    watched.push(Watched {
                        slices,
                        since: now,
                        cpu: cpu_of(worker),
                        spare: None,
                        reported: false,
                    });
                }
                let seen = &mut watched[at];
                if seen.slices != slices || !worker.custody.in_user_code() {
                    if seen.slices != slices {
                        quiet = 0;
                    }
                    seen.slices = slices;
                    seen.since = now;
                    seen.cpu = UNKNOWN;
                    seen.reported = false;
                    if let Some(spare) = seen.spare.take() {
                        self.set_stuck(worker.id, false);
                        // Always to one of the first workers: those never retire, so there is no circle.
                        let first = (worker.id - 1) % shared.config.workers as WorkerId + 1;
                        shared.order(spare, Control::Retire(first));
                        retired.push(spare);
                    }
                    continue;
                }
                quiet = 0;
                if seen.cpu == UNKNOWN {
                    seen.cpu = cpu_of(worker);
                }
                // Rule 1. Relaxed: the worker may overwrite it, then we come again.
                if now - seen.since >= shared.config.slice_time.as_nanos() as u64 / 2 {
                    worker.reductions.store(-1, Ordering::Relaxed);
                }
                let patience = shared.config.stuck_after.as_nanos() as u64;
                if now - seen.since >= patience
                    && (seen.spare.is_some() || !is_starved(worker, seen.cpu, patience))
                {
                    stand_in(shared, worker, seen, &mut retired, now);
                    self.set_stuck(worker.id, seen.spare.is_some());
                }
            }
        }
    }
}

/// CPU time that is not known yet.
const UNKNOWN: u64 = u64::MAX;

fn cpu_of(worker: &Worker) -> u64 {
    worker.thread.nanos().unwrap_or(UNKNOWN)
}

/// Wants the thread to run, and has not had the time since its CPU time was `before`?
fn is_starved(worker: &Worker, before: u64, patience: u64) -> bool {
    let Some(now) = worker.thread.nanos() else { return false };
    now.saturating_sub(before) < patience / 4 * 3 && worker.thread.is_runnable()
}

/// Rule 2.
fn stand_in(
    shared: &Arc<Shared>,
    worker: &Worker,
    seen: &mut Watched,
    retired: &mut Vec<WorkerId>,
    now: u64,
) {
    let Some(rescue) = worker.custody.try_seize() else { return };
    // Whose slice is it? Only now can it be asked safely.
    let task = worker.current().map(|slot| worker.task_id(slot));
    if seen.spare.is_none() {
        // Not itself: it may be a spare that has retired, and got stuck over what it was left with.
        let other = retired.iter().rposition(|spare| *spare != worker.id);
        seen.spare = other.map(|at| retired.remove(at)).or_else(|| shared.add_spare());
        if let Some(spare) = seen.spare {
            shared.order(spare, Control::Retire(0));
        }
    }
    let moved = match seen.spare {
        Some(spare) => worker.rescue(spare),
        None => 0,
    };
    drop(rescue);
    // Reported only when it has lasted.
    let patience = REPORT_AFTER * shared.config.stuck_after.as_nanos() as u64;
    if !seen.reported
        && now - seen.since >= patience
        && let Some(task) = task
    {
        seen.reported = true;
        shared.hooks.long_schedule(LongSchedule { task, nanos: now - seen.since, moved });
    }
}
