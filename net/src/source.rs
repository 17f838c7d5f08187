//! What is known of a socket's readiness, and who waits for it.
//!
//! 1. `bits` says in which directions the socket is believed to be ready. An event sets them, an operation that
//!    would block clears them, and so does a read that got less than it asked for: then there is nothing more, and
//!    the system call that would say so is saved. (The *closed* bits stay: at the end of the stream there is no
//!    other event.) A socket that is not watched yet is believed to be ready.
//! 2. Bits and a count of events are one word. A clear is a compare-exchange with what was seen *before* the
//!    operation: if an event came meanwhile it fails, and the operation is tried again.
//! 3. Who waits enters itself into the list under the lock and looks at the bits there; an event sets the bits
//!    and takes the list under the lock. So no wake-up is lost.
//! 4. All who wait in the direction of an event are woken: one edge may stand for many connections to accept.

use crate::{
    active::{Active, Pump, Pumped},
    poller::{self, EventPoller, Happened, lock},
};
use engset_runtime::{Pid, pause::poke};
use engset_scheduler::driver;
use mio::Token;
use std::{
    io, mem,
    os::fd::BorrowedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::Waker,
};

/// Ready to read.
pub(crate) const READ: u32 = 1;
/// Ready to write.
pub(crate) const WRITE: u32 = 2;
/// Nothing more will come than what is there.
const READ_CLOSED: u32 = 4;
/// Nothing can be written any more: trying says why.
const WRITE_CLOSED: u32 = 8;
/// One event, in the count.
const EVENT: u32 = 16;

/// A direction to wait in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl Direction {
    fn open(self) -> u32 {
        match self {
            Direction::Read => READ,
            Direction::Write => WRITE,
        }
    }

    fn all(self) -> u32 {
        match self {
            Direction::Read => READ | READ_CLOSED,
            Direction::Write => WRITE | WRITE_CLOSED,
        }
    }
}

pub(crate) fn bits_of(event: &mio::event::Event) -> u32 {
    let bit = |is: bool, bit| if is { bit } else { 0 };
    bit(event.is_readable() || event.is_error(), READ)
        | bit(event.is_writable() || event.is_error(), WRITE)
        | bit(event.is_read_closed(), READ_CLOSED)
        | bit(event.is_write_closed(), WRITE_CLOSED)
}

/// See the head of this file.
pub(crate) struct Source {
    bits: AtomicU32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    home: Option<(Arc<EventPoller>, Token)>,
    waiters: Vec<(Direction, Waiter)>,
    pump: PumpState,
    /// Is called at each event.
    listener: Option<Listener>,
    /// Pieces of data that may be handed out in active mode; 0: it is passive.
    credit: u32,
    /// After the last one the receiver is told.
    tells: bool,
}

/// See [`Source::listen`].
pub(crate) type Listener = Arc<dyn Fn() + Send + Sync>;

/// Credit that does not end.
pub(crate) const UNLIMITED: u32 = u32::MAX;

/// Who reads, in active mode.
#[derive(Default)]
enum PumpState {
    #[default]
    None,
    /// It is being used, by somebody who has taken it out.
    Out,
    Here(Box<dyn Pump>),
}

/// Who waits.
pub(crate) enum Waiter {
    Process(Pid),
    Task(Waker),
}

impl Waiter {
    fn is_same(&self, other: &Waiter) -> bool {
        match (self, other) {
            (Waiter::Process(one), Waiter::Process(other)) => one == other,
            (Waiter::Task(one), Waiter::Task(other)) => one.will_wake(other),
            _ => false,
        }
    }
}

/// What was believed before an operation (rule 2).
#[derive(Clone, Copy)]
pub(crate) struct Seen(u32);

impl Source {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Source { bits: AtomicU32::new(READ | WRITE), state: Mutex::default() })
    }

    /// `Some` if it is believed to be ready.
    pub(crate) fn ready(&self, direction: Direction) -> Option<Seen> {
        // Acquire: pairs with the release of an event.
        let bits = self.bits.load(Ordering::Acquire);
        (bits & direction.all() != 0).then_some(Seen(bits))
    }

    /// The operation would have blocked.
    pub(crate) fn would_block(&self, seen: Seen, direction: Direction) {
        self.clear(seen, direction.all());
    }

    /// It has got all that there was.
    pub(crate) fn used_up(&self, seen: Seen, direction: Direction) {
        self.clear(seen, direction.open());
    }

    /// Somebody has seen that it is ready.
    pub(crate) fn believe(&self, direction: Direction) {
        self.bits.fetch_or(direction.open(), Ordering::Release);
    }

    fn clear(&self, seen: Seen, mask: u32) {
        // Relaxed: it says only that there is nothing. A failure: rule 2.
        let _ = self.bits.compare_exchange(seen.0, seen.0 & !mask, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Enters somebody who waits, and sees to it that the socket is watched. False: it is ready, do not wait.
    pub(crate) fn enter(
        self: &Arc<Self>,
        fd: BorrowedFd<'_>,
        direction: Direction,
        waiter: Waiter,
    ) -> io::Result<bool> {
        let here = poller::with(|here| Ok(Arc::clone(here)));
        let mut state = lock(&self.state);
        match here {
            Some(here) => self.move_to(&mut state, fd, &here?)?,
            None if state.home.is_none() => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "a future that waits for a socket must first be polled within a process",
                ));
            }
            None => {}
        }
        if self.ready(direction).is_some() {
            return Ok(false);
        }
        if !state.waiters.iter().any(|(way, other)| *way == direction && waiter.is_same(other)) {
            if state.waiters.capacity() == 0 {
                state.waiters.reserve_exact(1);
            }
            state.waiters.push((direction, waiter));
        }
        Ok(true)
    }

    /// Watched by the poller of this worker from now on, if nobody waits by way of another one.
    fn move_to(
        self: &Arc<Self>,
        state: &mut State,
        fd: BorrowedFd<'_>,
        here: &Arc<EventPoller>,
    ) -> io::Result<()> {
        if let Some((home, token)) = &state.home {
            if Arc::ptr_eq(home, here) || !state.waiters.is_empty() {
                return Ok(());
            }
            home.unwatch(fd, *token);
            state.home = None;
        }
        let token = here.watch(fd, self)?;
        state.home = Some((Arc::clone(here), token));
        Ok(())
    }

    /// Who waits has given up.
    pub(crate) fn leave(&self, direction: Direction, waiter: &Waiter) {
        lock(&self.state).waiters.retain(|(way, other)| *way != direction || !waiter.is_same(other));
    }

    /// The socket goes on without us: nobody watches it any more.
    pub(crate) fn release(&self, fd: BorrowedFd<'_>) {
        if let Some((home, token)) = lock(&self.state).home.take() {
            home.unwatch(fd, token);
        }
    }

    /// Calls this at each event from now on, and watches the socket by way of this worker's poller, if this is a worker.
    pub(crate) fn listen(self: &Arc<Self>, fd: BorrowedFd<'_>, listener: Listener) -> io::Result<()> {
        let here = poller::with(|here| Ok(Arc::clone(here))).transpose()?;
        let mut state = lock(&self.state);
        let before = state.listener.replace(listener);
        let result = here.map_or(Ok(()), |here| self.move_to(&mut state, fd, &here));
        drop(state);
        drop(before);
        result
    }

    /// Watches it by way of this worker's poller.
    pub(crate) fn attach(self: &Arc<Self>, fd: BorrowedFd<'_>) -> io::Result<()> {
        let Some(here) = poller::with(|here| Ok(Arc::clone(here))).transpose()? else { return Ok(()) };
        self.move_to(&mut lock(&self.state), fd, &here)
    }

    /// The socket is about to be closed.
    pub(crate) fn close(&self) {
        let (home, pump, listener) = {
            let mut state = lock(&self.state);
            (state.home.take(), mem::take(&mut state.pump), state.listener.take())
        };
        if let Some((home, token)) = home {
            home.forget(token);
        }
        drop((pump, listener));
    }

    /// An event (or a reminder: `EventPoller::again`).
    pub(crate) fn happened(&self, happened: Happened) {
        let (woken, listener) = {
            let mut state = lock(&self.state);
            let before = self.bits.load(Ordering::Relaxed);
            let mut now = before;
            loop {
                // Release: pairs with the acquire in `ready`. The count wraps around.
                let after = (now | happened.bits).wrapping_add(EVENT);
                match self.bits.compare_exchange(now, after, Ordering::Release, Ordering::Relaxed) {
                    Ok(_) => break,
                    Err(other) => now = other,
                }
            }
            let is_woken = |(way, _): &mut (Direction, Waiter)| way.all() & happened.bits != 0;
            let woken = if state.waiters.len() == 1 {
                // The usual case, without an allocation.
                let one = state.waiters.pop_if(is_woken);
                one.map(Woken::One).unwrap_or(Woken::Many(Vec::new()))
            } else {
                Woken::Many(state.waiters.extract_if(.., is_woken).collect())
            };
            (woken, state.listener.clone())
        };
        woken.wake();
        if let Some(listener) = listener {
            listener();
        }
        if happened.bits & Direction::Read.all() != 0 {
            self.pump();
        }
    }

    /// Is it in active mode?
    pub(crate) fn is_active(&self) -> bool {
        lock(&self.state).credit != 0
    }

    /// Sets who gets the data in active mode; nobody has the right to any yet.
    pub(crate) fn set_pump(&self, pump: Box<dyn Pump>) {
        let mut state = lock(&self.state);
        state.credit = 0;
        let before = mem::replace(&mut state.pump, PumpState::Here(pump));
        drop(state);
        // It is code of users: not under the lock.
        drop(before);
    }

    /// Sets how many pieces of data may be handed out, and hands out what is there already.
    pub(crate) fn set_credit(self: &Arc<Self>, fd: BorrowedFd<'_>, mode: Active) -> io::Result<()> {
        let credit = mode.credit();
        {
            let mut state = lock(&self.state);
            if matches!(state.pump, PumpState::None) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "activate has not been called, or the connection has ended",
                ));
            }
            if credit != 0 {
                let Some(here) = poller::with(|here| Ok(Arc::clone(here))) else {
                    return Err(io::Error::other("active mode is set within a process"));
                };
                self.move_to(&mut state, fd, &here?)?;
            }
            state.credit = credit;
            state.tells = matches!(mode, Active::Count(_));
        }
        if credit != 0 {
            self.pump();
        }
        Ok(())
    }

    /// Nothing more comes as a message.
    pub(crate) fn make_passive(&self) {
        lock(&self.state).credit = 0;
    }

    /// May a piece of data be handed out?
    pub(crate) fn has_credit(&self) -> bool {
        lock(&self.state).credit != 0
    }

    /// One has been. True: it was the last one, and the receiver wants to be told.
    pub(crate) fn spend(&self) -> bool {
        let mut state = lock(&self.state);
        if state.credit != 0 && state.credit != UNLIMITED {
            state.credit -= 1;
            return state.credit == 0 && state.tells;
        }
        false
    }

    /// In active mode: reads what is there, as far as the receiver wants it. Runs code of users.
    fn pump(&self) {
        let mut pump = {
            let mut state = lock(&self.state);
            if state.credit == 0 {
                return;
            }
            match mem::replace(&mut state.pump, PumpState::Out) {
                PumpState::Here(pump) => pump,
                other => {
                    // Whoever has it looks again before it puts it back.
                    state.pump = other;
                    return;
                }
            }
        };
        // Who has had it before may have been another worker: what it has sent comes first.
        driver::take_in();
        loop {
            let fuse = Fuse(self);
            let pumped = pump.pump(self);
            mem::forget(fuse);
            // And what was sent now comes before what another one sends that finds it in its place again.
            driver::flush();
            let mut state = lock(&self.state);
            if !matches!(state.pump, PumpState::Out) {
                // The socket was closed, or another receiver was set. (The lock is given back before the old one is dropped.)
                return;
            }
            match pumped {
                Pumped::Enough if state.credit != 0 && self.ready(Direction::Read).is_some() => continue,
                Pumped::Enough => {}
                Pumped::More | Pumped::Full => {
                    if let Some((home, token)) = &state.home {
                        if pumped == Pumped::More { home.again(*token, READ) } else { home.later(*token) }
                    }
                }
                Pumped::Ended => {
                    state.pump = PumpState::None;
                    state.credit = 0;
                    return;
                }
            }
            state.pump = PumpState::Here(pump);
            return;
        }
    }
}

/// If the code of users panics, or the process is killed in the middle of it, nothing more comes.
struct Fuse<'a>(&'a Source);

impl Drop for Fuse<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.credit = 0;
        if matches!(state.pump, PumpState::Out) {
            state.pump = PumpState::None;
        }
    }
}

/// Those to be woken.
enum Woken {
    One((Direction, Waiter)),
    Many(Vec<(Direction, Waiter)>),
}

impl Woken {
    fn wake(self) {
        let wake = |(_, waiter)| match waiter {
            Waiter::Process(pid) => poke(pid),
            Waiter::Task(waker) => waker.wake(),
        };
        match self {
            Woken::One(one) => wake(one),
            Woken::Many(many) => many.into_iter().for_each(wake),
        }
    }
}
