//! Starting and stopping, and what can be asked for from outside. What the threads share is in `shared.rs`.
//!
//! # Shutdown, in steps
//!
//! 1. `stop_tasks`: each worker marks all its tasks doomed, and dooms what is spawned from then on. Tasks
//!    that run end at their next reduction point, those that wait unwind, those without a stack just end.
//!    The order is repeated until no task lives (tasks may have been on their way between two workers)
//!    or the caller's patience ends.
//! 2. `halt`: the workers leave their loops, let their free carriers end, and leak the stacks that are
//!    left (`carrier.rs`, rule 2).
//! 3. The watchdog stops, then the blocking pool; threads in a blocking call are not waited for.
//! 4. Threads are joined, except one that is stuck in native code: it keeps `Shared` alive and ends by
//!    itself if it ever comes back.

use crate::{
    body::OwnedBody,
    config::{Config, MAX_WORKERS, Settings},
    current,
    envelope::Envelope,
    extension::Extension,
    metrics::WorkerMetrics,
    owner::WorkerId,
    shared::Shared,
    slab::MAX_TASKS,
    sync::lock,
    task::{Hooks, TaskId},
    worker::{Control, Seed},
};
use std::{
    fmt, io, ptr,
    sync::{Arc, atomic::Ordering, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

/// Without progress the order to stop is given again after this many nanoseconds.
const REPEAT_STOP: u64 = 100_000_000;

/// A scheduler. Dropping it does not stop it; see [`Scheduler::stop_tasks`] and [`Scheduler::halt`].
#[derive(Clone)]
pub struct Scheduler {
    pub(crate) shared: Arc<Shared>,
}

/// Why a scheduler could not be started.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is out of range.
    Setting {
        /// Which one.
        name: &'static str,
        /// What it is.
        value: usize,
        /// What it may be.
        allowed: &'static str,
    },
    /// The operating system refused memory or a thread.
    System(io::Error),
    /// The stacks' address range could not be set up.
    Stacks(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Setting { name, value, allowed } => {
                write!(f, "the setting {name} is {value}, but must be {allowed}")
            }
            StartError::System(error) => write!(f, "the system refused resources: {error}"),
            StartError::Stacks(error) => write!(f, "no room for stacks: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::System(error) => Some(error),
            StartError::Setting { .. } | StartError::Stacks(_) => None,
        }
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        StartError::System(error)
    }
}

/// Why a task could not be spawned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnError {
    /// As many tasks live as may.
    Limit {
        /// That many.
        limit: u32,
    },
    /// The stack size asked for cannot be had.
    Stack {
        /// What was asked for, in bytes.
        asked: usize,
        /// Why not.
        reason: String,
    },
    /// The scheduler has stopped.
    Stopped,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::Limit { limit } => write!(f, "the limit of {limit} processes is reached"),
            SpawnError::Stack { asked, reason } => {
                write!(f, "a stack of {asked} bytes is not possible: {reason}")
            }
            SpawnError::Stopped => f.write_str("the node has stopped"),
        }
    }
}

impl std::error::Error for SpawnError {}

impl Scheduler {
    /// Starts the workers (none in systematic mode: [`Scheduler::run_systematic`] does their work).
    ///
    /// # Errors
    ///
    /// A setting out of range, or the system refuses memory or threads.
    pub fn start(config: Config, hooks: Arc<dyn Hooks>) -> Result<Scheduler, StartError> {
        let setting = |name, value, ok, allowed| {
            if ok { Ok(()) } else { Err(StartError::Setting { name, value, allowed }) }
        };
        setting("workers", config.workers, (1..=MAX_WORKERS).contains(&config.workers), "1 to 250")?;
        let max_tasks = config.max_tasks;
        setting("max_tasks", max_tasks as usize, (1..=MAX_TASKS).contains(&max_tasks), "1 to 134217728")?;
        setting("slice", config.slice as usize, (1..=1_000_000).contains(&config.slice), "1 to 1000000")?;
        let shared = Shared::new(config, hooks)?;
        let scheduler = Scheduler { shared };
        if scheduler.shared.systematic {
            scheduler.shared.new_worker();
            return Ok(scheduler);
        }
        for _ in 0..scheduler.shared.config.workers {
            scheduler.shared.start_worker()?;
        }
        let shared = Arc::clone(&scheduler.shared);
        let name = format!("{}-watchdog", shared.config.name);
        let handle = thread::Builder::new().name(name).spawn(move || shared.watchdog.run(&shared))?;
        lock(&scheduler.shared.threads).push(handle);
        Ok(scheduler)
    }

    /// Spawns a task from any thread. From a worker use [`crate::current::spawn`], which does not wait.
    ///
    /// # Errors
    ///
    /// The limit is reached, the stack size is impossible, or the scheduler has stopped.
    pub fn spawn(
        &self,
        body: OwnedBody,
        extension: Option<Extension>,
        settings: Settings,
    ) -> Result<TaskId, SpawnError> {
        let class = self.shared.class_of(settings.stack_size)?;
        let Settings { priority, marked, flagged, spread, .. } = settings;
        let seed = Seed { body, extension, priority, class, marked, flagged, spread };
        let limit = SpawnError::Limit { limit: self.shared.slab.limit() };
        if self.shared.systematic {
            let worker = self.shared.worker(1).ok_or(SpawnError::Stopped)?;
            return worker.spawn(seed).map_err(|_| limit);
        }
        let (reply, answer) = mpsc::channel();
        let to = self.shared.some_worker();
        self.shared.order(to, Control::Spawn { seed, reply });
        self.answer(&answer).ok_or(SpawnError::Stopped)?.ok_or(limit)
    }

    /// Waits for the answer to an order. `None`: there will be none, for the workers have left their loops.
    fn answer<T>(&self, answer: &mpsc::Receiver<T>) -> Option<T> {
        loop {
            match answer.recv_timeout(Duration::from_millis(20)) {
                Ok(answer) => return Some(answer),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) if self.shared.stopped.load(Ordering::Relaxed) => {
                    return None;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Sends from any thread. The envelope comes back if the task is dead.
    ///
    /// # Errors
    ///
    /// The task is dead.
    pub fn send(&self, to: TaskId, envelope: Envelope) -> Result<(), Envelope> {
        self.shared.send_from_outside(to, envelope)
    }

    /// Is the task alive as far as can be seen from here? A signal under way may be about to end it.
    #[must_use]
    pub fn is_alive(&self, task: TaskId) -> bool {
        self.shared.slab.get(task.index()).is_some_and(|slot| slot.serial() == task.serial())
    }

    /// Messages that wait in the task's mailbox, as its owner last counted.
    #[must_use]
    pub fn queued(&self, task: TaskId) -> Option<u32> {
        let slot = self.shared.slab.get(task.index())?;
        (slot.serial() == task.serial()).then(|| slot.queued())
    }

    /// Was the task marked when it was spawned?
    #[must_use]
    pub fn is_marked(&self, task: TaskId) -> bool {
        let slot = self.shared.slab.get(task.index());
        slot.is_some_and(|slot| slot.is_marked() && slot.serial() == task.serial())
    }

    /// All tasks that live now, roughly: others come and go meanwhile.
    #[must_use]
    pub fn tasks(&self) -> Vec<TaskId> {
        let slab = &self.shared.slab;
        let alive = |index| {
            let serial = slab.get(index)?.serial();
            (serial % 2 == 1).then(|| TaskId::new(index, serial))
        };
        (0..slab.claimed()).filter_map(alive).collect()
    }

    /// Nanoseconds on the scheduler's clock. Schedulers of one OS process that are not systematic have the same.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.shared.clock.now()
    }

    /// Nanoseconds since the scheduler started.
    #[must_use]
    pub fn uptime(&self) -> u64 {
        self.shared.clock.now() - self.shared.start
    }

    /// What the workers have done; spare ones included.
    #[must_use]
    pub fn metrics(&self) -> Vec<WorkerMetrics> {
        (0..self.shared.worker_count())
            .filter_map(|at| self.shared.worker(at as WorkerId + 1))
            .map(|worker| worker.metrics.snapshot(u64::from(worker.slices.load(Ordering::Relaxed))))
            .collect()
    }

    /// Runs a systematic scheduler on this thread until `done` says so or nothing can happen any more.
    /// False: the latter.
    ///
    /// # Panics
    ///
    /// If the scheduler is not systematic, or the thread is a worker already.
    pub fn run_systematic(&self, done: &dyn Fn() -> bool) -> bool {
        assert!(self.shared.systematic, "run_systematic on a scheduler with threads");
        let Some(worker) = self.shared.worker(1) else { return false };
        current::run_as(worker, || worker.run_until(done))
    }

    /// Systematic mode, for several schedulers with one time: runs until nothing can run without time passing.
    ///
    /// # Panics
    ///
    /// If the scheduler has threads.
    pub fn run_ready(&self) {
        assert!(self.shared.systematic, "run_ready on a scheduler with threads");
        // Relaxed: one thread.
        self.shared.hold.store(true, Ordering::Relaxed);
        self.run_systematic(&|| false);
        self.shared.hold.store(false, Ordering::Relaxed);
    }

    /// Systematic mode: when its next timer may fire, in nanoseconds.
    #[must_use]
    pub fn next_timer(&self) -> Option<u64> {
        let worker = self.shared.systematic.then(|| self.shared.worker(1)).flatten()?;
        current::run_as(worker, || worker.next_timer())
    }

    /// Systematic mode: lets time pass.
    pub fn advance_to(&self, time: u64) {
        self.shared.clock.advance_to(time);
    }

    /// Ends a systematic scheduler's tasks and carriers, on this thread.
    pub fn stop_systematic(&self) {
        let Some(worker) = self.shared.worker(1) else { return };
        current::run_as(worker, || {
            self.shared.order(1, Control::StopTasks);
            // Not until nothing can happen: what timers have been left over need not fire.
            worker.run_until(&|| worker.live() == 0);
            self.shared.order(1, Control::Halt);
            worker.run();
        });
        self.shared.pool.close();
    }

    /// Step 1 of the shutdown. It waits as long as tasks end, and gives up when none has for `patience`. True:
    /// no task is left. Not from a worker.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "a thread outside waits here")]
    pub fn stop_tasks(&self, patience: Duration) -> bool {
        let patience = patience.as_nanos() as u64;
        let (mut left, mut since, mut ordered) = (u64::MAX, self.now(), None);
        let mut pause = Duration::from_micros(50);
        loop {
            // The order goes through all of a worker's tasks: again only when it seems to have missed some, that
            // were on their way between two workers.
            if ordered.is_none_or(|time| self.now() - time >= REPEAT_STOP) {
                for at in 0..self.shared.worker_count() {
                    self.shared.order(at as WorkerId + 1, Control::StopTasks);
                }
                ordered = Some(self.now());
            }
            thread::sleep(pause);
            let now_left = self.live();
            if now_left == 0 && self.tasks().is_empty() {
                return true;
            }
            if now_left != left {
                (left, since) = (now_left, self.now());
                ordered = Some(since);
            } else if self.now() - since >= patience {
                return false;
            }
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }

    /// Tasks that live, by the workers' counts of spawns and ends.
    fn live(&self) -> u64 {
        let workers = (0..self.shared.worker_count()).filter_map(|at| self.shared.worker(at as WorkerId + 1));
        workers.fold(0, |sum: u64, worker| sum.wrapping_add(worker.live()))
    }

    /// Steps 2 to 4 of the shutdown. True: all threads have ended. Not from a worker.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "a thread outside waits here")]
    pub fn halt(&self, patience: Duration) -> bool {
        // Relaxed: who waits for an answer looks again and again.
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.shared.watchdog.stop();
        for at in 0..self.shared.worker_count() {
            self.shared.order(at as WorkerId + 1, Control::Halt);
        }
        let end = self.now().saturating_add(patience.as_nanos() as u64);
        let mut threads = std::mem::take(&mut *lock(&self.shared.threads));
        loop {
            let (ended, running): (Vec<_>, Vec<_>) = threads.into_iter().partition(JoinHandle::is_finished);
            for handle in ended {
                // A worker thread does not panic; if it did, its message is out already.
                let _ = handle.join();
            }
            threads = running;
            if threads.is_empty() || self.now() >= end {
                break;
            }
            thread::sleep(Duration::from_micros(100));
        }
        self.shared.pool.close();
        threads.is_empty()
    }

    /// The hooks that it was started with.
    #[must_use]
    pub fn hooks(&self) -> &Arc<dyn Hooks> {
        &self.shared.hooks
    }

    /// Is it the one that the calling worker belongs to?
    #[must_use]
    pub fn is_here(&self) -> bool {
        current::with_shared(|shared| ptr::eq(shared, &*self.shared)).unwrap_or(false)
    }

    /// The settings that it was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The scheduler's threads for blocking calls run `job`. In systematic mode it runs at once.
    pub fn run_blocking(&self, job: Box<dyn FnOnce() + Send>) {
        if self.shared.systematic {
            job();
        } else {
            self.shared.pool.run(job);
        }
    }

    /// Cancels or reads a timer, from a thread that is no worker. The nanoseconds that were left.
    #[must_use]
    pub fn timer_from_outside(&self, handle: crate::TimerHandle, cancel: bool) -> Option<u64> {
        if self.shared.systematic {
            return self.shared.worker(1)?.timer_order(handle, cancel);
        }
        let (reply, answer) = mpsc::channel();
        self.shared.order(handle.worker, Control::TimerOutside { handle, cancel, reply });
        self.answer(&answer).flatten()
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").field("workers", &self.shared.worker_count()).finish_non_exhaustive()
    }
}
