//! A worker's poller: an epoll (by mio) that the worker sleeps in, and a table of the sockets that it watches.
//!
//! 1. Each worker that a process has waited for a socket on has one (`engset_scheduler::driver`). A socket is entered into
//!    the poller of the worker where somebody first waits for it, for both directions and edge-triggered, once;
//!    it is moved when somebody waits on another worker and nobody waits on the former one.
//! 2. `wait` collects events, `dispatch` hands them out one by one, without a lock held: it runs code of users
//!    (the closures of active mode, the wakers of futures).
//! 3. A token names a place in the table and its use; an event for a socket that has gone finds nothing.
//! 4. Sockets are closed without being taken out of the epoll: closing does that. They are taken out of the table.
//! 5. Where question and answer follow each other quickly, a wait begins with some looks: to be woken takes longer than to look,
//!    and between two looks others have the processor. It is given up as soon as events come more slowly.

use crate::source::Source;
use engset_runtime::now;
use engset_scheduler::driver::{self, Poller, WorkerName};
use mio::{Events, Interest, Poll, Registry, Token, Waker, unix::SourceFd};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime},
};
use std::{
    any::Any,
    collections::VecDeque,
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Events taken from the kernel in one go.
const EVENTS: usize = 256;
/// Pause before data are offered again to a mailbox that was full.
const RETRY: Duration = Duration::from_millis(1);
/// An event within this time has come soon.
const SOON: Duration = Duration::from_micros(40);
/// Waits in a row that end soon before a wait begins with looks.
const BRISK: u32 = 8;
/// The waker's token.
const WAKE: Token = Token(usize::MAX);
/// The alarm's token: the least of ours.
const ALARM: Token = Token(usize::MAX - 1);

/// No code that panics runs with a lock held.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What has happened to a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Happened {
    /// Bits as in `source.rs`.
    pub(crate) bits: u32,
}

/// See the head of this file.
pub(crate) struct EventPoller {
    polling: Mutex<Polling>,
    registry: Registry,
    waker: Waker,
    /// For waits that are shorter than the epoll can count.
    alarm: OwnedFd,
    table: Mutex<Table>,
    pending: Mutex<Pending>,
}

struct Polling {
    poll: Poll,
    events: Events,
    /// Waits in a row that an event has ended soon (rule 5).
    brisk: u32,
}

impl Polling {
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let waits = timeout.is_none_or(|time| time >= Duration::from_millis(1));
        if !waits {
            return self.poll.poll(&mut self.events, timeout);
        }
        let start = now();
        if self.brisk >= BRISK {
            while now().saturating_sub(start) < SOON {
                self.poll.poll(&mut self.events, Some(Duration::ZERO))?;
                if !self.events.is_empty() {
                    return Ok(());
                }
                // Whoever brings the event may need this processor.
                std::thread::yield_now();
            }
        }
        let result = self.poll.poll(&mut self.events, timeout);
        let was_soon = now().saturating_sub(start) < SOON && !self.events.is_empty();
        self.brisk = if was_soon { (self.brisk + 1).min(2 * BRISK) } else { self.brisk / 2 };
        result
    }
}

#[derive(Default)]
struct Pending {
    events: VecDeque<(Token, Happened)>,
    /// Sockets in active mode whose receiver's mailbox was full.
    later: Vec<Token>,
    /// What is to be run here.
    jobs: VecDeque<Arc<dyn Job>>,
    /// The latest `wait` was for jobs only.
    skipped: bool,
}

/// Something that a worker does when it has nothing to run, or next looks at its poller: see [`EventPoller::soon`].
pub(crate) trait Job: Send + Sync {
    fn run(self: Arc<Self>);
}

#[derive(Default)]
struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
}

struct Place {
    /// How often it has been used.
    uses: u32,
    source: Option<Arc<Source>>,
}

impl Table {
    fn insert(&mut self, source: Arc<Source>) -> Token {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { uses: 0, source: None });
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[at as usize];
        place.uses = place.uses.wrapping_add(1) & 0x7FFF_FFFF;
        place.source = Some(source);
        Token((place.uses as usize) << 32 | at as usize)
    }

    fn place(&mut self, token: Token) -> Option<&mut Place> {
        let place = self.places.get_mut(token.0 & 0xFFFF_FFFF)?;
        (place.uses as usize == token.0 >> 32).then_some(place)
    }

    fn remove(&mut self, token: Token) -> Option<Arc<Source>> {
        let source = self.place(token)?.source.take()?;
        self.free.push((token.0 & 0xFFFF_FFFF) as u32);
        Some(source)
    }
}

impl EventPoller {
    fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let alarm =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        registry.register(&mut SourceFd(&alarm.as_raw_fd()), ALARM, Interest::READABLE)?;
        Ok(EventPoller {
            waker: Waker::new(&registry, WAKE)?,
            registry,
            alarm,
            polling: Mutex::new(Polling { poll, events: Events::with_capacity(EVENTS), brisk: 0 }),
            table: Mutex::default(),
            pending: Mutex::default(),
        })
    }

    /// False: there is no alarm to be had.
    fn set_alarm(&self, time: Duration) -> bool {
        let at = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        timerfd_settime(&self.alarm, TimerfdTimerFlags::empty(), &once).is_ok()
    }

    /// Begins to watch; what is there already is told as well.
    pub(crate) fn watch(&self, fd: BorrowedFd<'_>, source: &Arc<Source>) -> io::Result<Token> {
        let token = lock(&self.table).insert(Arc::clone(source));
        let interests = Interest::READABLE | Interest::WRITABLE;
        match self.registry.register(&mut SourceFd(&fd.as_raw_fd()), token, interests) {
            Ok(()) => Ok(token),
            Err(error) => {
                self.forget(token);
                Err(error)
            }
        }
    }

    /// Ends it, for a socket that goes on.
    pub(crate) fn unwatch(&self, fd: BorrowedFd<'_>, token: Token) {
        // It fails if the kernel does not know the socket any more: all the better.
        let _ = self.registry.deregister(&mut SourceFd(&fd.as_raw_fd()));
        self.forget(token);
    }

    /// The same for one that is about to be closed (rule 4).
    pub(crate) fn forget(&self, token: Token) {
        let source = lock(&self.table).remove(token);
        drop(source);
    }

    /// There is more to be done for this socket, after others.
    pub(crate) fn again(&self, token: Token, bits: u32) {
        lock(&self.pending).events.push_back((token, Happened { bits }));
    }

    /// Runs a job on this poller's worker, as soon as it has nothing else to do, or looks for events in any case. To be called
    /// on that worker: another one would not be woken.
    pub(crate) fn soon(&self, job: Arc<dyn Job>) {
        lock(&self.pending).jobs.push_back(job);
    }

    /// The same, after [`RETRY`].
    pub(crate) fn later(&self, token: Token) {
        lock(&self.pending).later.push(token);
    }
}

impl Poller for EventPoller {
    fn wait(&self, timeout: Option<Duration>) {
        // Somebody else is in it: a rescuer, or the thread that it stands in for.
        let Ok(mut polling) = self.polling.try_lock() else { return };
        let timeout = {
            let mut pending = lock(&self.pending);
            let only_looks = timeout.is_some_and(|time| time.is_zero());
            pending.skipped = only_looks && !pending.jobs.is_empty() && !pending.skipped;
            if pending.skipped {
                // First the jobs, without a system call; the next look is a real one.
                return;
            }
            if !pending.events.is_empty() || !pending.jobs.is_empty() {
                Some(Duration::ZERO)
            } else if pending.later.is_empty() {
                timeout
            } else {
                Some(timeout.map_or(RETRY, |timeout| timeout.min(RETRY)))
            }
        };
        // The epoll counts in milliseconds. Timers are finer: for the last part of one there is an alarm.
        let timeout = match timeout {
            Some(time) if !time.is_zero() && time < Duration::from_millis(1) => {
                Some(if self.set_alarm(time) { Duration::from_millis(1) } else { Duration::ZERO })
            }
            Some(time) => Some(Duration::from_millis(time.as_millis().min(86_400_000) as u64)),
            None => None,
        };
        // Interrupted by a signal: nothing has happened.
        if polling.wait(timeout).is_err() {
            return;
        }
        let mut pending = lock(&self.pending);
        let waited = timeout.is_none_or(|time| !time.is_zero());
        for event in polling.events.iter().filter(|event| event.token() < ALARM) {
            pending.events.push_back((event.token(), Happened { bits: crate::source::bits_of(event) }));
        }
        if waited || !pending.later.is_empty() {
            let Pending { events, later, .. } = &mut *pending;
            events.extend(later.drain(..).map(|token| (token, Happened { bits: crate::source::READ })));
        }
    }

    fn dispatch(&self) {
        // As many as there are now: what they bring about has its turn the next time.
        let count = lock(&self.pending).jobs.len();
        for _ in 0..count {
            let Some(job) = lock(&self.pending).jobs.pop_front() else { break };
            job.run();
        }
        let count = lock(&self.pending).events.len();
        for _ in 0..count {
            let Some((token, happened)) = lock(&self.pending).events.pop_front() else { break };
            let source = lock(&self.table).place(token).and_then(|place| place.source.clone());
            if let Some(source) = source {
                source.happened(happened);
            }
        }
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            // Without it a worker may sleep on mail. It does not happen while the descriptor is open.
            tracing::error!(target: "engset", %error, "a worker cannot be woken");
        }
    }
}

/// Calls `f` with the poller of the worker that this thread is.
///
/// # Errors
///
/// It could not be made; systematic mode.
pub(crate) fn with<R>(f: impl FnOnce(&Arc<EventPoller>) -> io::Result<R>) -> Option<io::Result<R>> {
    let make = || Ok(Arc::new(EventPoller::new()?) as Arc<dyn Poller>);
    let found = driver::with_poller(make, Arc::clone)?;
    Some(found.map_err(explain).and_then(|poller| {
        let poller: Arc<dyn Any + Send + Sync> = poller;
        match poller.downcast::<EventPoller>() {
            Ok(poller) => f(&poller),
            Err(_) => Err(io::Error::other("the worker has a poller of another kind")),
        }
    }))
}

/// Runs a job on another worker of this one's node, soon ([`EventPoller::soon`]), if that is possible.
pub(crate) fn soon_at(worker: WorkerName, job: Arc<dyn Job>) {
    let make = || Ok(Arc::new(EventPoller::new()?) as Arc<dyn Poller>);
    if let Some(Ok(poller)) = driver::poller_of(worker, make) {
        let poller: Arc<dyn Any + Send + Sync> = poller;
        if let Ok(poller) = poller.downcast::<EventPoller>() {
            poller.soon(job);
            poller.wake();
        }
    }
}

/// The poller of the worker that this thread is, if it has one: its address.
pub(crate) fn here() -> Option<usize> {
    driver::poller_address()
}

/// An error if this thread runs a systematic scheduler.
pub(crate) fn refuse_systematic() -> io::Result<()> {
    if driver::is_systematic() { Err(explain(io::ErrorKind::Unsupported.into())) } else { Ok(()) }
}

fn explain(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::Unsupported {
        return io::Error::new(error.kind(), "there are no real sockets in systematic mode");
    }
    error
}

/// A poller for one wait of a thread that is no worker.
pub(crate) fn block_thread(fd: BorrowedFd<'_>, read: bool, timeout: Option<Duration>) -> io::Result<bool> {
    let flags = if read { PollFlags::IN | PollFlags::RDHUP } else { PollFlags::OUT };
    let time = timeout.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    });
    match poll(&mut [PollFd::new(&fd, flags)], time.as_ref()) {
        Ok(count) => Ok(count > 0),
        // The caller tries again.
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
