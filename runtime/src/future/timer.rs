//! Time for futures.
//!
//! A process has a list of alarms: deadline, number, waker. A [`Sleep`] enters itself there when it is polled, and
//! takes itself out when it is dropped; [`block_on`](super::block_on) sleeps until the first deadline, and wakes those
//! that are due. A future that has been polled in one process and goes on in another enters itself anew there; what is
//! left in the first list is one needless wake.

use crate::{
    process::{add, try_self_pid},
    state,
};
use engset_scheduler::current;
use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

/// Never.
const NEVER: u64 = u64::MAX;

/// The alarms of a process.
#[derive(Default)]
pub(crate) struct Alarms {
    set: BTreeMap<(u64, u64), Waker>,
    last: u64,
}

/// The first deadline; [`NEVER`] if there is none.
fn first() -> u64 {
    let first = state::with_existing(|state| {
        let alarms = &state.rare.as_ref()?.alarms;
        alarms.set.first_key_value().map(|((deadline, _), _)| *deadline)
    });
    first.flatten().unwrap_or(NEVER)
}

/// Wakes what is due at `now`. When the next one is; [`NEVER`] if there is none.
pub(super) fn fire_due(now: u64) -> u64 {
    loop {
        let deadline = first();
        if deadline > now || deadline == NEVER {
            return deadline;
        }
        let due = state::with_existing(|state| Some(state.rare.as_mut()?.alarms.set.pop_first()?.1));
        // Code of others: not while the state is borrowed.
        if let Some(waker) = due.flatten() {
            waker.wake();
        }
    }
}

/// An entry in the list of the process that made it.
#[derive(Debug)]
struct Alarm {
    owner: crate::Pid,
    key: (u64, u64),
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if try_self_pid() == Some(self.owner) {
            let waker = state::with_existing(|state| state.rare.as_mut()?.alarms.set.remove(&self.key));
            drop(waker);
        }
    }
}

/// A future that is ready when its time has come. See [`sleep`].
#[derive(Debug)]
#[must_use = "a future does nothing until it is awaited"]
pub struct Sleep {
    /// `Err`: from the first poll on.
    deadline: Result<u64, Duration>,
    alarm: Option<Alarm>,
}

/// A future that is ready after a time, which runs from now (outside of a process: from its first poll).
///
/// It is polled within a process: by [`block_on`](super::block_on) there.
///
/// # Panics
///
/// When it is polled elsewhere.
pub fn sleep(duration: Duration) -> Sleep {
    let deadline = try_self_pid().map(|_| add(current::now(), duration)).ok_or(duration);
    Sleep { deadline, alarm: None }
}

/// The same, at a time of the clock of [`now`](crate::now).
///
/// # Panics
///
/// As [`sleep`].
pub fn sleep_until(at: Duration) -> Sleep {
    Sleep { deadline: Ok(add(0, at)), alarm: None }
}

impl Sleep {
    /// Sets another time. (A later one costs nothing: the alarm that is set goes off in vain, and is set again then.)
    pub fn reset(&mut self, at: Duration) {
        let deadline = add(0, at);
        self.deadline = Ok(deadline);
        if self.alarm.as_ref().is_some_and(|alarm| alarm.key.0 > deadline) {
            self.alarm = None;
        }
    }

    fn poll_now(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(me) = try_self_pid() else {
            panic!("a timer of engset is polled outside of a process: there is no clock here");
        };
        let waker = context.waker();
        if let (Ok(deadline), Some(alarm)) = (self.deadline, &self.alarm)
            && alarm.owner == me
            && alarm.key.0 <= deadline
        {
            let is_set = state::with_existing(|state| {
                let known = state.rare.as_ref().and_then(|rare| rare.alarms.set.get(&alarm.key));
                known.is_some_and(|known| known.will_wake(waker))
            });
            if is_set == Some(true) {
                return Poll::Pending;
            }
        }
        self.alarm = None;
        let now = current::now();
        let deadline = self.deadline.unwrap_or_else(|duration| add(now, duration));
        self.deadline = Ok(deadline);
        if deadline <= now {
            return Poll::Ready(());
        }
        if deadline == NEVER {
            return Poll::Pending;
        }
        let key = state::with(|state| {
            let alarms = &mut state.rare().alarms;
            alarms.last += 1;
            let key = (deadline, alarms.last);
            alarms.set.insert(key, waker.clone());
            key
        });
        self.alarm = key.map(|key| Alarm { owner: me, key });
        Poll::Pending
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.get_mut().poll_now(context)
    }
}

/// A future with a time limit. See [`timeout`].
#[must_use = "a future does nothing until it is awaited"]
pub struct Timeout<F> {
    /// Boxed, so that this needs no projection of pins.
    future: Pin<Box<F>>,
    sleep: Sleep,
    limit: Duration,
}

/// Limits the time of a future, from now on. When it is over the future is dropped with this one; it is not polled again.
/// If the future is ready at the last moment, it has won.
///
/// # Panics
///
/// As [`sleep`], when it is polled.
pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    Timeout { future: Box::pin(future), sleep: sleep(limit), limit }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Poll::Ready(output) = this.future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        this.sleep.poll_now(context).map(|()| Err(Elapsed(this.limit)))
    }
}

impl<F> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// The time of a [`timeout`] is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(Duration);

impl Elapsed {
    /// The limit.
    #[must_use]
    pub fn limit(self) -> Duration {
        self.0
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not ready within {:?}", self.0)
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> Self {
        std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}
