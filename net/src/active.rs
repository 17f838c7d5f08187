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
    source::{Direction, Source, UNLIMITED},
};
use engset_runtime::{Address, SendError, pause::mailbox_len};
use std::{io, os::fd::AsFd, sync::Weak};

/// A receiver with more messages than this has to catch up first.
const LONG_MAILBOX: u32 = 256;
/// What one socket may use up before others have their turn: a piece that needs no reading is 1.
const BUDGET: usize = 64;
/// The same for a read.
const READING: usize = 16;

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

/// What a read has brought.
pub(crate) struct Taken<E> {
    /// A piece, if it is whole.
    pub(crate) event: Option<E>,
    /// It was all that there is.
    pub(crate) all: bool,
}

/// Makes pieces of what a kind of socket receives.
pub(crate) trait Pieces<S>: Send {
    type Event: Send;
    /// A piece that needs no reading.
    fn waiting(&mut self) -> io::Result<Option<Self::Event>>;
    /// Reads. `None`: the end.
    fn take(&mut self, io: &S) -> io::Result<Option<Taken<Self::Event>>>;
    /// After the end: a last piece.
    fn last(&mut self) -> io::Result<Option<Self::Event>>;
    /// The allowance is used up.
    fn passive() -> Self::Event;
    /// It failed. The second value comes after it, at the end of all.
    fn failed(error: Option<io::Error>) -> (Option<Self::Event>, Option<Self::Event>);
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

/// A receiver for one kind of piece.
pub(crate) struct Reading<S, M, F, P> {
    receiver: Receiver<S, M, F>,
    pieces: P,
    /// What comes is over; only what is held is left.
    ended: bool,
}

impl<S, M, F, P> Reading<S, M, F, P> {
    pub(crate) fn new(receiver: Receiver<S, M, F>, pieces: P) -> Self {
        Reading { receiver, pieces, ended: false }
    }
}

impl<S, M, F, P> Pump for Reading<S, M, F, P>
where
    S: AsFd + Send + Sync,
    M: Send + 'static,
    F: Fn(P::Event) -> M + Send,
    P: Pieces<S>,
{
    fn pump(&mut self, source: &Source) -> Pumped {
        match self.receiver.offer_held() {
            None => return Pumped::Ended,
            Some(false) => return Pumped::Full,
            Some(true) if self.ended => return Pumped::Ended,
            Some(true) => {}
        }
        let mut budget = BUDGET;
        while budget > 0 {
            if !source.has_credit() {
                return Pumped::Enough;
            }
            if mailbox_len(self.receiver.to) > LONG_MAILBOX {
                return Pumped::Full;
            }
            let step = match self.pieces.waiting() {
                Ok(Some(event)) => {
                    budget -= 1;
                    self.hand_out_piece(source, event)
                }
                Ok(None) => {
                    budget = budget.saturating_sub(READING);
                    self.read(source)
                }
                Err(error) => Err(self.end(Some(error))),
            };
            if let Err(pumped) = step {
                return pumped;
            }
            if !self.receiver.held.is_empty() {
                return Pumped::Full;
            }
        }
        Pumped::More
    }
}

impl<S, M, F, P> Reading<S, M, F, P>
where
    S: AsFd + Send + Sync,
    M: Send + 'static,
    F: Fn(P::Event) -> M + Send,
    P: Pieces<S>,
{
    /// False: the receiver is dead.
    fn hand_out(&mut self, event: P::Event) -> bool {
        let message = (self.receiver.wrap)(event);
        self.receiver.send(message)
    }

    fn hand_out_piece(&mut self, source: &Source, event: P::Event) -> Result<(), Pumped> {
        // Before the message is sent: who gets it may ask for more at once, and must not have that taken away.
        let last = source.spend();
        let alive = self.hand_out(event) && (!last || self.hand_out(P::passive()));
        if alive { Ok(()) } else { Err(Pumped::Ended) }
    }

    /// `Err`: it goes no further now.
    fn read(&mut self, source: &Source) -> Result<(), Pumped> {
        let Some(io) = self.receiver.io.upgrade() else { return Err(Pumped::Ended) };
        let Some(seen) = source.ready(Direction::Read) else { return Err(Pumped::Enough) };
        match self.pieces.take(io.get_ref()) {
            Ok(Some(piece)) => {
                if piece.all {
                    source.used_up(seen, Direction::Read);
                }
                piece.event.map_or(Ok(()), |event| self.hand_out_piece(source, event))
            }
            Ok(None) => match self.pieces.last() {
                Ok(Some(event)) => self.hand_out_piece(source, event),
                Ok(None) => Err(self.end(None)),
                Err(error) => Err(self.end(Some(error))),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                source.would_block(seen, Direction::Read);
                Err(Pumped::Enough)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) if P::survives(&error) => {
                let alive = P::failed(Some(error)).0.is_none_or(|event| self.hand_out(event));
                if alive { Ok(()) } else { Err(Pumped::Ended) }
            }
            Err(error) => Err(self.end(Some(error))),
        }
    }

    fn end(&mut self, error: Option<io::Error>) -> Pumped {
        let (first, last) = P::failed(error);
        for event in [first, last].into_iter().flatten() {
            if !self.hand_out(event) {
                return Pumped::Ended;
            }
        }
        self.ended = true;
        if self.receiver.held.is_empty() { Pumped::Ended } else { Pumped::Full }
    }
}
