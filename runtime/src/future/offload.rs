//! Blocking calls as futures.

use crate::{node, process::try_self_pid};
use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    thread,
};

/// A blocking call under way. See [`offload`].
#[must_use = "the result is lost"]
pub struct Offload<T>(Arc<Mutex<Slot<T>>>);

enum Slot<T> {
    Running(Option<Waker>),
    Done(thread::Result<T>),
    /// The node stopped before it began.
    Lost,
    Taken,
}

/// Starts `f` on a thread for blocking calls, at once; the future is its result. [`blocking`](crate::blocking) for
/// asynchronous code, and for blocking calls with a [`timeout`](super::timeout): `f` itself cannot be stopped, and runs
/// on if the future is dropped.
///
/// Outside of a process `f` is just called.
///
/// # Panics
///
/// The future panics if `f` does, or if the node stops before `f` has begun.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::future::{block_on, offload};
///
/// assert_eq!(block_on(async { offload(|| 6 * 7).await }), 42);
/// # }).unwrap();
/// ```
pub fn offload<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Offload<T> {
    let Some(scheduler) = try_self_pid().and_then(|pid| node::scheduler_of(pid.node())) else {
        return Offload(Arc::new(Mutex::new(Slot::Done(Ok(f())))));
    };
    let slot = Arc::new(Mutex::new(Slot::Running(None)));
    let end = End(Arc::clone(&slot));
    scheduler.run_blocking(Box::new(move || {
        let result = catch_unwind(AssertUnwindSafe(f));
        end.set(Slot::Done(result));
    }));
    Offload(slot)
}

/// Tells the future, also if the job is dropped.
struct End<T>(Arc<Mutex<Slot<T>>>);

impl<T> End<T> {
    fn set(&self, to: Slot<T>) {
        let before = {
            let mut slot = node::lock(&self.0);
            if !matches!(*slot, Slot::Running(_)) {
                return;
            }
            std::mem::replace(&mut *slot, to)
        };
        if let Slot::Running(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        self.set(Slot::Lost);
    }
}

impl<T> Future for Offload<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut slot = node::lock(&self.0);
        if let Slot::Running(waker) = &mut *slot {
            let former = waker.replace(context.waker().clone());
            drop(slot);
            drop(former);
            return Poll::Pending;
        }
        let result = std::mem::replace(&mut *slot, Slot::Taken);
        drop(slot);
        match result {
            Slot::Done(Ok(value)) => Poll::Ready(value),
            Slot::Done(Err(panic)) => resume_unwind(panic),
            Slot::Lost => panic!("offload: the node is stopping"),
            Slot::Running(_) | Slot::Taken => panic!("offload: polled after its end"),
        }
    }
}

impl<T> fmt::Debug for Offload<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Offload")
    }
}

/// Runs `f` on a thread for blocking calls, and waits for nothing: for what is to be done after a process, or by one
/// that is ending. Outside of a process, or if the node stops, `f` is called here and now.
pub fn detach(f: impl FnOnce() + Send + 'static) {
    match try_self_pid().and_then(|pid| node::scheduler_of(pid.node())) {
        Some(scheduler) => scheduler.run_blocking(Box::new(f)),
        None => f(),
    }
}
