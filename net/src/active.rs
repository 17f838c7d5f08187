//! Active mode: data come as messages.
//!
//! The worker that finds that there are data reads them and sends them to the receiver, in one step: a server
//! need not be woken to be told that it may read. How much may come is said by [`Active`]; it is the back-pressure.
//! Besides, a receiver whose mailbox is long, or bounded and full, gets nothing more until it has
//! become shorter, whatever the mode: the data stay in the kernel, and the peer has to wait.
//!
//! The receiver's death makes the socket passive. (As a rule it owns the socket, which is closed then.)

use crate::{
    io::Io,
    source::{Direction, Seen, Source, UNLIMITED},
};
use engset_runtime::{Address, SendError, pause::mailbox_len};
use std::{io, os::fd::AsFd, sync::Weak};

/// A receiver with more messages than this has to catch up first.
const LONG_MAILBOX: u32 = 256;
/// Pieces for one socket before others have their turn.
const PIECES: usize = 4;

/// How much comes as messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Active {
    /// Nothing: the socket is passive.
    Passive,
    /// One piece, then it is passive again. The usual choice: who has dealt with a piece asks for the next one.
    Once,
    /// That many pieces; after the last one comes [`TcpEvent::Passive`](crate::TcpEvent::Passive). 0 is `Passive`.
    Count(u32),
    /// All, as fast as the receiver takes it.
    Always,
}

impl Active {
    /// What is left of it when one piece has been handed out.
    #[cfg(feature = "tls")]
    pub(crate) fn after_one(self) -> Self {
        match self {
            Active::Always => Active::Always,
            Active::Count(count @ 2..) => Active::Count(count - 1),
            _ => Active::Passive,
        }
    }

    pub(crate) fn credit(self) -> u32 {
        match self {
            Active::Passive => 0,
            Active::Once => 1,
            Active::Count(count) => count.min(UNLIMITED - 1),
            Active::Always => UNLIMITED,
        }
    }
}

/// Reads for a receiver.
pub(crate) trait Pump: Send {
    fn pump(&mut self, source: &Source) -> Pumped;
}

/// Why a pump has paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// There is nothing more now, or the receiver wants nothing more.
    Enough,
    /// There is more; others have their turn first.
    More,
    /// The receiver has to catch up.
    Full,
    /// Nothing will come any more.
    Ended,
}

/// One piece.
pub(crate) struct Taken<E> {
    pub(crate) event: E,
    /// It was all that there is.
    pub(crate) all: bool,
}

/// What a kind of socket hands out.
pub(crate) trait Events<S>: Send + Sized + 'static {
    /// Takes one piece. `None`: the end.
    fn take(io: &S) -> io::Result<Option<Taken<Self>>>;
    /// The allowance is used up.
    fn passive() -> Self;
    /// It failed. The second value comes after it, at the end of all.
    fn failed(error: Option<io::Error>) -> (Option<Self>, Option<Self>);
    /// Goes on after an error?
    fn survives(error: &io::Error) -> bool;
}

pub(crate) struct Receiver<S, M, F> {
    io: Weak<Io<S>>,
    to: Address<M>,
    wrap: F,
    /// Did not fit into the mailbox, in this order.
    held: Vec<M>,
}

impl<S, M, F> Receiver<S, M, F> {
    pub(crate) fn new(io: Weak<Io<S>>, to: Address<M>, wrap: F) -> Self {
        Receiver { io, to, wrap, held: Vec::new() }
    }
}

impl<S, M: Send + 'static, F> Receiver<S, M, F> {
    /// False: the receiver is dead.
    fn send(&mut self, message: M) -> bool {
        if !self.held.is_empty() {
            self.held.push(message);
            return true;
        }
        match self.to.try_send(message) {
            Err(SendError::Dead(_)) => false,
            Err(SendError::Full(message)) => {
                self.held.push(message);
                true
            }
            // A single message that is larger than the mailbox may be is lost, as for every sender.
            Ok(()) | Err(_) => true,
        }
    }

    /// Offers again what did not fit. `None`: the receiver is dead.
    fn offer_held(&mut self) -> Option<bool> {
        for message in std::mem::take(&mut self.held) {
            if !self.send(message) {
                return None;
            }
        }
        Some(self.held.is_empty())
    }
}

/// A receiver for one kind of event.
pub(crate) struct Reading<S, M, F, E> {
    receiver: Receiver<S, M, F>,
    /// What comes is over; only what is held is left.
    ended: bool,
    events: std::marker::PhantomData<fn() -> E>,
}

impl<S, M, F, E> Reading<S, M, F, E> {
    pub(crate) fn new(receiver: Receiver<S, M, F>) -> Self {
        Reading { receiver, ended: false, events: std::marker::PhantomData }
    }
}

impl<S, M, F, E> Reading<S, M, F, E>
where
    S: AsFd + Send + Sync,
    M: Send + 'static,
    F: Fn(E) -> M + Send,
    E: Events<S>,
{
    fn hand_out(&mut self, event: E) -> bool {
        let message = (self.receiver.wrap)(event);
        self.receiver.send(message)
    }

    fn end(&mut self, error: Option<io::Error>) -> Pumped {
        let (first, last) = E::failed(error);
        for event in [first, last].into_iter().flatten() {
            if !self.hand_out(event) {
                return Pumped::Ended;
            }
        }
        self.ended = true;
        if self.receiver.held.is_empty() { Pumped::Ended } else { Pumped::Full }
    }
}

impl<S, M, F, E> Pump for Reading<S, M, F, E>
where
    S: AsFd + Send + Sync,
    M: Send + 'static,
    F: Fn(E) -> M + Send,
    E: Events<S>,
{
    fn pump(&mut self, source: &Source) -> Pumped {
        match self.receiver.offer_held() {
            None => return Pumped::Ended,
            Some(false) => return Pumped::Full,
            Some(true) if self.ended => return Pumped::Ended,
            Some(true) => {}
        }
        for _ in 0..PIECES {
            if !source.has_credit() {
                return Pumped::Enough;
            }
            if mailbox_len(self.receiver.to) > LONG_MAILBOX {
                return Pumped::Full;
            }
            let Some(io) = self.receiver.io.upgrade() else { return Pumped::Ended };
            let Some(seen) = source.ready(Direction::Read) else { return Pumped::Enough };
            let alive = match E::take(io.get_ref()) {
                Ok(Some(piece)) => self.took(source, seen, piece),
                Ok(None) => return self.end(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    source.would_block(seen, Direction::Read);
                    return Pumped::Enough;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
                Err(error) if E::survives(&error) => match E::failed(Some(error)).0 {
                    Some(event) => self.hand_out(event),
                    None => true,
                },
                Err(error) => return self.end(Some(error)),
            };
            if !alive {
                return Pumped::Ended;
            }
            if !self.receiver.held.is_empty() {
                return Pumped::Full;
            }
        }
        Pumped::More
    }
}

impl<S, M, F, E> Reading<S, M, F, E>
where
    S: AsFd + Send + Sync,
    M: Send + 'static,
    F: Fn(E) -> M + Send,
    E: Events<S>,
{
    /// False: the receiver is dead.
    fn took(&mut self, source: &Source, seen: Seen, piece: Taken<E>) -> bool {
        if piece.all {
            source.used_up(seen, Direction::Read);
        }
        // Before the message is sent: who gets it may ask for more at once, and must not have that taken away.
        let last = source.spend();
        let alive = self.hand_out(piece.event);
        if alive && last {
            return self.hand_out(E::passive());
        }
        alive
    }
}
