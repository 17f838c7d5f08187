//! Any future runs inside a process.
//!
//! The waker is a signal: it wakes the process like any other. The future is polled on the process' own
//! stack; between two polls the process waits, and its worker does something else.

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
/// A future that needs a runtime of its own kind (tokio's sockets and timers) needs that runtime too.
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
        // Acquire: pairs with the release in `wake_by_ref`: what was written before the wake is seen by the poll.
        while !wakeup.woken.swap(false, Ordering::Acquire) {
            if current::sleep(u64::MAX) == Wake::Ending {
                panic!("block_on in a process that is ending");
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
        // Release: pairs with the acquire in `block_on`. One signal for all wakes between two polls.
        if !self.woken.swap(true, Ordering::AcqRel) {
            send::signal(self.pid, Signal::Poke);
        }
    }
}

struct ThreadWaker(thread::Thread);

impl std::task::Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_thread_on<F: Future>(mut future: std::pin::Pin<&mut F>) -> F::Output {
    let waker = Waker::from(Arc::new(ThreadWaker(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
