//! The seam to what reports events from outside: sockets, pipes, child programs.
//!
//! This crate knows no sockets. The crate above implements [`Poller`], and gives a worker one when the first
//! task there waits for a socket ([`with_poller`]), or when a socket is moved there ([`poller_of`]). From then on
//!
//! 1. the worker, when it has nothing to do, waits *in the poller* instead of on its parker's lock; mail ends
//!    that wait by [`Poller::wake`] (`parker.rs`, `park_in`). So an event reaches its task without another thread;
//! 2. a busy worker looks at the poller every 50 µs, between two slices;
//! 3. a rescuer (`watchdog.rs`) looks at it in place of a stuck worker: what comes may be for a task that
//!    has been given away. What is sent then goes by way of that worker: of what one source sends, some before and some after, order is kept.
//!
//! Events are handed out on the stack of the worker's thread, which is as large as the stack of any thread: a carrier that
//! finds that a look is due goes back to the base loop first. (A rescuer has the stack of its own thread.)
//!
//! Each worker has a poller of its own: a task that waits in the middle of something never changes its worker, so its
//! events come to where it is. Only a task without a stack, which may move, can get an event from another
//! worker, by mail like all others.
//!
//! A worker without a poller pays one load when it looks at the clock. In systematic mode there is no
//! poller: what happens outside cannot be repeated.

use crate::{current, owner::WorkerId, task::TaskId, worker::Worker};
use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

/// A busy worker looks at its poller this often, in nanoseconds: a look is a system call of about 0.3 µs, so it
/// costs less than 1 %.
const INTERVAL: u64 = 50_000;

/// Waits for events from outside, and hands them out. See the [module](self).
pub trait Poller: Any + Send + Sync {
    /// Collects what has happened. If that is nothing it waits for it, for `timeout` at most (`None`: until
    /// something happens), or until [`Poller::wake`]; it may return earlier. It must not run code of users. If
    /// another thread is in it, it may return at once.
    fn wait(&self, timeout: Option<Duration>);

    /// Hands out what has been collected. It may run code of users; on the stack of a thread, with no task to whom it
    /// belongs.
    fn dispatch(&self);

    /// Ends the `wait` under way, or the next one. From any thread.
    fn wake(&self);
}

/// The poller of the worker that this thread is; `make` makes it if it has none. `None`: this is no worker.
///
/// # Errors
///
/// What `make` returns, and [`io::ErrorKind::Unsupported`] in systematic mode.
pub fn with_poller<R>(
    make: impl FnOnce() -> io::Result<Arc<dyn Poller>>,
    f: impl FnOnce(&Arc<dyn Poller>) -> R,
) -> Option<io::Result<R>> {
    current::on_this_worker(|worker| {
        if worker.shared.systematic {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let poller = match worker.poller.get() {
            Some(poller) => poller,
            None => {
                let made = make()?;
                worker.poller.get_or_init(|| made)
            }
        };
        Ok(f(poller))
    })
}

/// Is this thread a worker?
#[must_use]
pub fn on_worker() -> bool {
    current::on_worker()
}

/// Where the poller of this worker is, if it has one: to be compared, no more.
#[must_use]
pub fn poller_address() -> Option<usize> {
    current::on_this_worker(|worker| worker.poller.get().map(|poller| Arc::as_ptr(poller).addr())).flatten()
}

/// The name of a worker of this thread's scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerName(WorkerId);

/// The worker that a task belongs to. A hint: the task may move. `None`: it is about to, or this is no worker.
#[must_use]
pub fn worker_of(task: TaskId) -> Option<WorkerName> {
    current::with_shared(|shared| shared.slab.get(task.index())?.owner.address().map(WorkerName)).flatten()
}

/// Has this worker nothing to do? A hint.
#[must_use]
pub fn is_idle(worker: WorkerName) -> bool {
    current::with_shared(|shared| shared.idle.contains(worker.0)).unwrap_or(false)
}

/// The poller of a worker; `make` makes it if it has none. `None`: this is no worker.
///
/// # Errors
///
/// As [`with_poller`].
pub fn poller_of(
    worker: WorkerName,
    make: impl FnOnce() -> io::Result<Arc<dyn Poller>>,
) -> Option<io::Result<Arc<dyn Poller>>> {
    current::with_shared(|shared| {
        if shared.systematic {
            return Some(Err(io::ErrorKind::Unsupported.into()));
        }
        let worker = shared.worker(worker.0)?;
        if let Some(poller) = worker.poller.get() {
            return Some(Ok(Arc::clone(poller)));
        }
        let made = match make() {
            Ok(made) => made,
            Err(error) => return Some(Err(error)),
        };
        let poller = Arc::clone(worker.poller.get_or_init(|| made));
        // It may wait on its parker's lock now, where no event would wake it.
        worker.unpark();
        Some(Ok(poller))
    })
    .flatten()
}

/// Is this a worker that hands out events now, on its thread's own stack? Then nothing that is called can wait.
#[must_use]
pub fn is_dispatching() -> bool {
    current::on_this_worker(|worker| worker.dispatching.get()).unwrap_or(false)
}

/// What was sent on this worker until now is under way to other workers: nothing that is sent later, by whomever, overtakes it.
///
/// Whoever takes over from this worker what sends (a socket's reader), calls [`take_in`] before it goes on.
pub fn flush() {
    with_sender(Worker::flush);
}

/// What was under way to this worker before this is in the mailboxes of its tasks: nothing that is sent here from now on overtakes it. (For
/// a task that moves the scheduler sees to that itself: `owner.rs`, rule 6.)
pub fn take_in() {
    with_sender(Worker::take_in_all_mail);
}

/// The worker by way of which this thread sends.
fn with_sender(f: impl FnOnce(&Worker)) {
    match current::stands_in_for() {
        Some(worker) => f(worker),
        None => {
            current::on_this_worker(f);
        }
    }
}

/// Does this thread run a systematic scheduler?
#[must_use]
pub fn is_systematic() -> bool {
    current::with_shared(|shared| shared.systematic).unwrap_or(false)
}

impl Worker {
    /// Hands out what has happened outside until now.
    #[inline]
    pub(crate) fn poll(&self) {
        if let Some(poller) = self.poller.get() {
            self.poll_with(poller);
        }
    }

    /// The same, not more often than every [`INTERVAL`]. On a carrier it only asks for it.
    #[inline]
    pub(crate) fn poll_if_due(&self) {
        if let Some(poller) = self.poller.get()
            && self.coarse_now() >= self.next_poll.get()
        {
            if self.on_carrier() {
                self.poll_wanted.set(true);
                self.base_wanted.set(true);
            } else {
                self.poll_with(poller);
            }
        }
    }

    /// On the base loop: the look that a carrier has asked for.
    #[inline]
    pub(crate) fn poll_if_wanted(&self) {
        if self.poll_wanted.get() {
            self.poll();
        }
    }

    #[cold]
    fn poll_with(&self, poller: &Arc<dyn Poller>) {
        self.poll_wanted.set(false);
        self.next_poll.set(self.coarse_now() + INTERVAL);
        poller.wait(Some(Duration::ZERO));
        self.dispatch(poller);
    }

    fn dispatch(&self, poller: &Arc<dyn Poller>) {
        // A rescuer is not this worker, which may itself be in the middle of this.
        let before = self.dispatching.replace(!self.rescued.get());
        let hand_out = || catch_unwind(AssertUnwindSafe(|| poller.dispatch()));
        let result =
            if self.rescued.get() { current::stand_in_for(self, hand_out) } else { self.outside(hand_out) };
        self.dispatching.set(before);
        if let Err(payload) = result {
            std::mem::forget(payload);
        }
        self.flush();
    }

    /// Waits until mail comes, or an event from outside, or the time is over.
    pub(crate) fn park(&self, timeout: Option<Duration>) {
        match self.poller.get() {
            None => self.public.parker.park(timeout),
            Some(poller) => self.public.parker.park_in(|| poller.wait(timeout)),
        }
    }

    /// After [`Worker::park`], when the worker has said that it is awake.
    pub(crate) fn after_park(&self) {
        if let Some(poller) = self.poller.get() {
            self.dispatch(poller);
        }
    }

    /// Ends [`Worker::park`]. From any thread.
    pub(crate) fn unpark(&self) {
        self.public.parker.unpark_with(|| {
            if let Some(poller) = self.poller.get() {
                poller.wake();
            }
        });
    }
}
