//! Any future runs inside a process.
//!
//! 1. The future is polled on the process' own stack; between two polls the process waits, and its worker does
//!    something else. So a future that waits for a socket of engset costs no other thread.
//! 2. The waker is a signal: it wakes the process like any other. Many wakes between two polls are one; a wake by the
//!    process itself is a flag only.
//! 3. Timers ([`sleep`], [`timeout`]) are entries in a list of the process. [`block_on`] sleeps until the first of
//!    them; no timer is set or cancelled anywhere else, and in systematic mode they are as deterministic as all others.
//! 4. What a future must not do is wait in the middle of a poll for something that another branch of it brings about: a
//!    call, a receive, a blocking read suspend the whole process, as they do everywhere.
//!
//! ```
//! # engset_runtime::run(|| {
//! use engset_runtime::future::{self, block_on};
//! use std::time::Duration;
//!
//! let slow = future::sleep(Duration::from_secs(60));
//! let result = block_on(future::timeout(Duration::from_millis(5), slow));
//! assert!(result.is_err());
//! # }).unwrap();
//! ```

mod offload;
mod timekeeper;
mod timer;

pub(crate) use timekeeper::{Kept, Timekeeper, keep};
pub(crate) use timer::Alarms;
pub use {
    offload::{Offload, detach, offload},
    timer::{Elapsed, Sleep, Timeout, sleep, sleep_until, timeout},
};

use crate::{pid::Pid, process::try_self_pid, send, signal::Signal};
use engset_scheduler::current::{self, Wake};
use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
};

/// Runs a future to its end; the process waits meanwhile, without a worker. Outside of a process it
/// blocks the thread.
///
/// The future need not be `Send`: it stays on this stack. It may hold what `block_on` is called for again (a nested
/// call waits for the inner future only). A future that needs a runtime of its own kind (tokio's sockets and timers)
/// needs that runtime too.
///
/// # Signals
///
/// If an exit signal ends the process, the future is dropped: the stack unwinds from here.
///
/// # Panics
///
/// If the future does, or in a process that is ending and the future is not ready.
///
/// ```
/// # engset_runtime::run(|| {
/// assert_eq!(engset_runtime::block_on(async { 6 * 7 }), 42);
/// # }).unwrap();
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let Some(pid) = try_self_pid() else { return block_thread_on(future) };
    let wakeup = Arc::new(Wakeup { pid, woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&wakeup));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        current::reduce(crate::reductions::price::OTHER);
        // As of the last look: who sleeps reads the clock, and who never does, because it is always woken, gets here again.
        let mut now = current::coarse_now();
        loop {
            let next = timer::fire_due(now);
            // Acquire: pairs with the release in `wake_by_ref`: what was written before the wake is seen by the poll.
            if wakeup.woken.swap(false, Ordering::Acquire) {
                break;
            }
            match current::sleep(next) {
                Wake::Ending => panic!("block_on in a process that is ending"),
                Wake::TimedOut => now = current::now(),
                Wake::Ready | Wake::Poked => {}
            }
        }
    }
}

struct Wakeup {
    pid: Pid,
    woken: AtomicBool,
}

impl std::task::Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: pairs with the acquire in `block_on`. One signal for all wakes between two polls. The process that
        // runs looks at the flag before it waits.
        if !self.woken.swap(true, Ordering::AcqRel) && try_self_pid() != Some(self.pid) {
            send::signal(self.pid, Signal::Poke);
        }
    }
}

/// With a flag of its own: what a poll calls may park the thread too, and use the wake-up up.
struct ThreadWakeup {
    thread: thread::Thread,
    woken: AtomicBool,
}

impl std::task::Wake for ThreadWakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release, and the acquire below: as in `block_on`.
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

fn block_thread_on<F: Future>(mut future: std::pin::Pin<&mut F>) -> F::Output {
    let wakeup = Arc::new(ThreadWakeup { thread: thread::current(), woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&wakeup));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        while !wakeup.woken.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}
