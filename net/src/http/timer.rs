//! `hyper::rt::Timer` by the timers of processes.
//!
//! hyper makes a timer for the head of each request, and drops it when the head is there. So a connection has one alarm, which
//! all its timers share: it is set for the first, and when it goes off it is set again for the one that is
//! wanted then. A request costs no more than a look.

use engset_runtime::future;
use engset_scheduler::current;
use hyper::rt::{Sleep, Timer};
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// Time for hyper, within a process: needed for its timeouts, as
/// [`header_read_timeout`](hyper::server::conn::http1::Builder::header_read_timeout). One for each connection: its timers share
/// an alarm of the process.
#[derive(Clone, Debug, Default)]
pub struct EngsetTimer(Arc<Mutex<Option<future::Sleep>>>);

impl EngsetTimer {
    /// A timer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// hyper reckons with the system's clock: a moment on it, and the same one on ours. Both go on alike.
fn origin() -> (Instant, Duration) {
    static ORIGIN: OnceLock<(Instant, Duration)> = OnceLock::new();
    #[allow(
        clippy::disallowed_methods,
        reason = "hyper reckons in it; there are no sockets in systematic mode"
    )]
    *ORIGIN.get_or_init(|| (Instant::now(), Duration::from_nanos(current::now())))
}

/// A time of the system's clock on ours.
fn ours(deadline: Instant) -> Duration {
    let (theirs, ours) = origin();
    ours.saturating_add(deadline.saturating_duration_since(theirs))
}

struct Alarm {
    shared: Arc<Mutex<Option<future::Sleep>>>,
    deadline: Duration,
}

impl Future for Alarm {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut shared = crate::poller::lock(&self.shared);
        let sleep = shared.get_or_insert_with(|| future::sleep_until(self.deadline));
        sleep.reset(self.deadline);
        Pin::new(sleep).poll(context)
    }
}

impl Sleep for Alarm {}

impl Timer for EngsetTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        let deadline = Duration::from_nanos(current::now()).saturating_add(duration);
        Box::pin(Alarm { shared: Arc::clone(&self.0), deadline })
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Alarm { shared: Arc::clone(&self.0), deadline: ours(deadline) })
    }

    fn now(&self) -> Instant {
        // As of the last look of the worker: at most about a slice ago.
        let (theirs, ours) = origin();
        theirs + Duration::from_nanos(current::coarse_now()).saturating_sub(ours)
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, new_deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<Alarm>() {
            Some(alarm) => alarm.get_mut().deadline = ours(new_deadline),
            None => *sleep = self.sleep_until(new_deadline),
        }
    }
}
