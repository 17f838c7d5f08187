//! Threads for calls that block, or that compute for long without a reduction point.
//!
//! The pool grows by a thread when a job comes and none is waiting, up to a limit; then jobs queue. A
//! thread that has had nothing to do for a while ends. In the systematic mode a job runs at once, on the
//! one thread that there is.

use crate::sync::{Condvar, Mutex, lock};
use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

/// Stack of a blocking thread, in bytes: foreign code may want much.
const STACK: usize = 2 * 1024 * 1024;

type Job = Box<dyn FnOnce() + Send>;

pub(crate) struct Pool {
    state: Mutex<State>,
    wake: Condvar,
    most: usize,
    keep: Duration,
    name: String,
}

struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    waiting: usize,
    closed: bool,
}

impl Pool {
    pub(crate) fn new(most: usize, keep: Duration, name: String) -> Arc<Self> {
        Arc::new(Pool {
            state: Mutex::new(State { jobs: VecDeque::new(), threads: 0, waiting: 0, closed: false }),
            wake: Condvar::new(),
            most: most.max(1),
            keep,
            name,
        })
    }

    /// Runs the job on a thread of the pool. After `close` it is dropped.
    pub(crate) fn run(self: &Arc<Self>, job: Job) {
        let mut state = lock(&self.state);
        if state.closed {
            return;
        }
        state.jobs.push_back(job);
        if state.waiting >= state.jobs.len() {
            drop(state);
            self.wake.notify_one();
        } else if state.threads < self.most {
            state.threads += 1;
            drop(state);
            let pool = Arc::clone(self);
            let spawned = thread::Builder::new()
                .name(format!("{}-blocking", self.name))
                .stack_size(STACK)
                .spawn(move || pool.work());
            if spawned.is_err() {
                // The job stays queued for the threads that there are.
                lock(&self.state).threads -= 1;
            }
        }
    }

    /// No more jobs; waiting threads end. Those that are in a job end after it, nobody waits for them.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        self.wake.notify_all();
        drop(jobs);
    }

    fn work(&self) {
        let mut state = lock(&self.state);
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // The job reports its own panic; the thread goes on.
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = lock(&self.state);
                continue;
            }
            if state.closed {
                break;
            }
            state.waiting += 1;
            let (guard, timeout) = match self.wake.wait_timeout(state, self.keep) {
                Ok(result) => result,
                Err(poisoned) => poisoned.into_inner(),
            };
            state = guard;
            state.waiting -= 1;
            if timeout.timed_out() && state.jobs.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("most", &self.most).finish_non_exhaustive()
    }
}
