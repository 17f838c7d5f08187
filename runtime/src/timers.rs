//! Messages and events that come later.
//!
//! A timer is never early. It may be late: by up to a quarter of a millisecond as a rule, by up to a slice
//! if the worker is busy. A timer for a process that has died does nothing.

use crate::{
    bound,
    call::fresh_tag,
    event::Event,
    node,
    pid::{Address, Pid},
    process::{add, self_pid},
    reductions::price,
    send,
};
use engset_scheduler::{
    Envelope, TimerHandle,
    current::{self, NotOwn},
};
use std::{fmt, time::Duration};

/// A timer that has been set. It can be cancelled and read, from its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timer {
    node: node::NodeId,
    handle: TimerHandle,
}

impl Timer {
    /// Cancels it. The time that was left; `None`: it has fired already (or it was cancelled), so what it
    /// sends may be in a mailbox. If it returns `Some`, what it would have sent never comes.
    ///
    /// # Signals
    ///
    /// If the timer was set on another worker, this waits for it; an exit signal may end the process.
    #[inline]
    pub fn cancel(self) -> Option<Duration> {
        self.ask(true)
    }

    /// The time that is left; `None`: it is not set any more.
    ///
    /// # Signals
    ///
    /// As [`Timer::cancel`].
    #[must_use]
    pub fn remaining(self) -> Option<Duration> {
        self.ask(false)
    }

    #[inline(always)]
    fn ask(self, cancel: bool) -> Option<Duration> {
        let left = match current::own_timer(self.handle, self.node.number(), cancel) {
            Ok(left) => {
                current::reduce(price::OTHER);
                left
            }
            Err(NotOwn) => self.ask_elsewhere(cancel),
        };
        left.map(Duration::from_nanos)
    }

    #[inline(never)]
    fn ask_elsewhere(self, cancel: bool) -> Option<u64> {
        if current::tag() == Some(self.node.number()) && current::task().is_some() {
            let left = current::timer(self.handle, cancel, fresh_tag());
            current::reduce(price::OTHER);
            left
        } else {
            node::scheduler_of(self.node)?.timer_from_outside(self.handle, cancel)
        }
    }
}

/// Which timer an [`Event::Timer`] is of. A cancelled timer's event cannot be mistaken for a new one's.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimerRef(u64);

impl fmt::Debug for TimerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimerRef({:x})", self.0)
    }
}

/// Sends a message after a time.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::{Mailbox, send_after, spawn};
/// use std::time::Duration;
///
/// let late = spawn(|mut mailbox: Mailbox<u32>| assert_eq!(mailbox.message(), 7));
/// let timer = send_after(Duration::from_millis(20), late, 1);
/// assert!(timer.cancel().is_some());
/// send_after(Duration::from_millis(1), late, 7);
/// # }).unwrap();
/// ```
///
/// # Panics
///
/// Outside of a process.
#[inline]
pub fn send_after<M: Send + 'static>(after: Duration, to: Address<M>, message: M) -> Timer {
    let (nanos, node) = (add(0, after), to.pid().node());
    match current::send_message_after(nanos, node.number(), to.pid().task(), message) {
        Ok(handle) => paid(Timer { node, handle }),
        Err(message) => send_by_job(current::soon().saturating_add(nanos), to, message),
    }
}

/// Sends a message at a time of [`now`](crate::now)'s clock.
///
/// # Panics
///
/// Outside of a process.
#[inline]
pub fn send_at<M: Send + 'static>(at: Duration, to: Address<M>, message: M) -> Timer {
    let (at, node) = (add(0, at), to.pid().node());
    match current::send_message_at(at, node.number(), to.pid().task(), message) {
        Ok(handle) => paid(Timer { node, handle }),
        Err(message) => send_by_job(at, to, message),
    }
}

/// To another node, or into a mailbox that may be full then.
#[inline(never)]
fn send_by_job<M: Send + 'static>(at: u64, to: Address<M>, message: M) -> Timer {
    let me = self_pid();
    let job = move || {
        if let Some(envelope) = bound::offer(to, message) {
            drop(send::envelope(to.pid(), envelope));
        }
    };
    set(me, current::run_at(at, Box::new(job)))
}

/// Sends copies of a message: the first after `period`, then one each `period`, as long as the receiver
/// lives or until it is cancelled. The times do not drift; those that a busy worker has missed are not made
/// up for.
///
/// # Panics
///
/// Outside of a process, and if the receiver lives on another node.
pub fn send_interval<M: Clone + Send + 'static>(period: Duration, to: Address<M>, message: M) -> Timer {
    let me = self_pid();
    assert_eq!(to.pid().node(), me.node(), "send_interval to a process of another node");
    let nanos = add(0, period).max(1);
    let first = current::soon().saturating_add(nanos);
    let bounded = send::is_marked(to.pid());
    let make = Box::new(move || {
        let message = message.clone();
        if bounded { bound::offer(to, message) } else { Some(Envelope::message(message)) }
    });
    set(me, current::send_every(first, nanos, to.pid().task(), make))
}

/// Sets a timer that sends this process an [`Event::Timer`].
///
/// # Panics
///
/// Outside of a process.
pub fn start_timer(after: Duration) -> (Timer, TimerRef) {
    let me = self_pid();
    let reference = TimerRef(crate::call::fresh_reference());
    let at = add(current::soon(), after);
    let handle = current::send_at(at, me.task(), Envelope::event(Event::Timer(reference)));
    (set(me, handle), reference)
}

fn set(me: Pid, handle: Option<TimerHandle>) -> Timer {
    match handle {
        Some(handle) => paid(Timer { node: me.node(), handle }),
        None => unreachable!("a process runs on a worker"),
    }
}

#[inline(always)]
fn paid(timer: Timer) -> Timer {
    current::reduce(price::OTHER);
    timer
}

/// Sends an exit signal after a time. See [`exit`](crate::exit).
///
/// # Panics
///
/// Outside of a process.
pub fn exit_after(after: Duration, pid: impl Into<Pid>, reason: crate::ExitReason) -> Timer {
    let me = self_pid();
    let to = pid.into();
    let at = add(current::soon(), after);
    let job = Box::new(move || {
        let origin = crate::exit_rule::Origin::Call;
        send::signal(to, crate::signal::Signal::exit(me, reason, origin));
    });
    set(me, current::run_at(at, job))
}
