//! A connection between two nodes after the handshake, as a machine: no input or output, no clock.
//!
//! # The rules
//!
//! 1. *Order.* What one sender gives to [`Outgoing::push`] comes out at the other side in that order, each packet once or,
//!    if the connection ends, a prefix of them. Between senders there is no order. (N1, S1)
//! 2. *Lanes.* `control` (heartbeats, credit, types, the end) goes first, whatever waits. `small` packets go in batches; their senders take
//!    turns, and one that had nothing waiting comes before those that stand (`fair.rs`). A packet that is larger than a
//!    frame goes in fragments, on a stream of its sender; [`STREAMS`] of them take turns with each other and with
//!    the batches, so a small packet waits for one fragment at most, and no sender for the whole of another's. What a sender with a
//!    stream sends meanwhile follows on its stream, and a stream begins when nothing small of its sender waits: rule 1.
//! 3. *Credit.* At most the receiver's window of bytes is under way in `small` and `bulk`; `control` is exempt, and small by
//!    itself. So a receiver that does not keep up is never flooded, and heartbeats pass all the same. (N5)
//! 4. *Bound.* Messages wait in the queue of their lane up to a limit; above it [`Outgoing::push`] says so, and the caller decides by its
//!    policy: suspend the sender, or drop and count. Signals are exempt: they are few, and may not be lost. (N2) Of the small lane's second half
//!    each sender may fill its share, and one that has nothing in it is let in up to twice the limit ([`Outgoing::must_wait`]).
//! 5. *Liveness.* A heartbeat each interval; anything that comes is a sign of life; silence is judged by [`Phi`].
//! 6. *Mistrust.* All that comes is bounded and checked; anything wrong is a [`SessionError`], which ends the connection, and nothing else.
//!    (N6)
//!
//! 7. *Pace.* Only as much is under way as the path holds: if a frame takes longer than the fastest
//!    one and half a millisecond, it has waited in somebody's buffers, and less is sent ahead; else more, up to the window.
//!    A small packet waits behind what is in those buffers. Fresh senders (rule 2) may go a little beyond it: they have not filled them.
//!
//! One connection carries all lanes. Several of them would spare small packets the wait for a lost segment of a large one; but then
//! the order of rule 1 would hold within a lane only, a node could be half connected, and `nodedown` would have to wait for all of
//! them. What waits in the kernel before a small packet is bounded by the transport instead.

mod control;
mod fair;
mod incoming;
mod outgoing;

pub use {
    control::{Control, TypeRefusal},
    incoming::{Incoming, Input},
    outgoing::{Counters, FRAGMENT, Lane, Outgoing, Pressure, SenderKey, TooLarge, seal},
};

use super::{frame::FrameError, handshake::Agreement, packet::PacketError, phi::Phi};
use std::{fmt, time::Duration};

/// Streams of fragments at a time.
pub const STREAMS: usize = 16;

/// Own limits of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The largest packet that this side takes.
    pub max_packet: u64,
    /// Bytes that may be under way to this side.
    pub window: u32,
    /// How often a heartbeat goes out.
    pub heartbeat: Duration,
    /// Bytes that may wait to be sent, in each lane.
    pub queue: usize,
    /// Compress what is large, if the other can read it.
    pub compress: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            max_packet: 64 << 20,
            window: 8 << 20,
            heartbeat: Duration::from_secs(1),
            queue: 1 << 20,
            compress: false,
        }
    }
}

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// Bytes that are no frame.
    Frame(FrameError),
    /// A packet of the connection that cannot be read.
    Control(PacketError),
    /// A packet goes beyond its frame.
    Packet(PacketError),
    /// A fragment of a stream that there is not.
    UnknownStream {
        /// Its number.
        stream: u16,
    },
    /// A fragment that is not the next one of its packet: a first one in the middle, or none at the beginning.
    OutOfOrder {
        /// Its stream.
        stream: u16,
    },
    /// Fragments that are more, or fewer, than their packet says.
    BadTotal {
        /// What it says.
        total: u64,
        /// What has come.
        bytes: u64,
    },
    /// A packet larger than this side takes.
    PacketTooLarge {
        /// What it says.
        size: u64,
        /// What is allowed.
        limit: u64,
    },
    /// More bytes than the window allows.
    CreditOverrun {
        /// How many.
        bytes: u64,
        /// What is allowed.
        window: u64,
    },
    /// Credit that nobody has used.
    BadCredit {
        /// How much.
        bytes: u64,
    },
    /// Compressed bytes though that was not agreed.
    NotAgreed,
    /// Compressed bytes that do not become what they say.
    Decompress {
        /// What they say.
        size: u64,
        /// The trouble.
        error: String,
    },
    /// They would grow by more than 64 times: a bomb.
    Bomb {
        /// Bytes before.
        compressed: usize,
        /// Bytes after.
        size: u64,
    },
    /// Nothing has been heard for too long.
    Silent {
        /// The suspicion.
        phi: u32,
    },
    /// The other has said that it goes.
    Goodbye {
        /// Why.
        why: String,
    },
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionError::Frame(error) => error.fmt(f),
            SessionError::Control(error) => write!(f, "in a control frame: {error}"),
            SessionError::Packet(error) => write!(f, "in a batch: {error}"),
            SessionError::UnknownStream { stream } => {
                write!(f, "a fragment of stream {stream}, there are {STREAMS}")
            }
            SessionError::OutOfOrder { stream } => write!(f, "a fragment out of order on stream {stream}"),
            SessionError::BadTotal { total, bytes } => {
                write!(f, "fragments of {bytes} bytes of a packet that says {total}")
            }
            SessionError::PacketTooLarge { size, limit } => {
                write!(f, "a packet of {size} bytes, {limit} is the most")
            }
            SessionError::CreditOverrun { bytes, window } => {
                write!(f, "{bytes} bytes under way, the window is {window}")
            }
            SessionError::BadCredit { bytes } => {
                write!(f, "credit for {bytes} bytes that were not under way")
            }
            SessionError::NotAgreed => f.write_str("compressed bytes, which was not agreed"),
            SessionError::Decompress { size, error } => {
                write!(f, "compressed bytes that do not become {size} bytes: {error}")
            }
            SessionError::Bomb { compressed, size } => {
                write!(f, "{compressed} compressed bytes that would become {size}")
            }
            SessionError::Silent { phi } => write!(f, "nothing was heard for too long (suspicion {phi})"),
            SessionError::Goodbye { why } => write!(f, "the other has closed: {why}"),
        }
    }
}

impl std::error::Error for SessionError {}

impl From<FrameError> for SessionError {
    fn from(error: FrameError) -> Self {
        SessionError::Frame(error)
    }
}

/// Heartbeats and silence (rule 5).
#[derive(Debug)]
pub struct Pulse {
    interval: Duration,
    next: Duration,
    looked: Duration,
    phi: Phi,
}

impl Pulse {
    /// Begins now. `theirs`: how often the other sends.
    #[must_use]
    pub fn new(interval: Duration, theirs: Duration, now: Duration) -> Self {
        Pulse { interval, next: now, looked: now, phi: Phi::new(theirs, now) }
    }

    /// Something has come.
    pub fn heard(&mut self, now: Duration) {
        self.phi.heard(now);
    }

    /// A heartbeat has come.
    pub fn beat(&mut self, now: Duration) {
        self.phi.beat(now);
    }

    /// The longest time between two heartbeats that have come.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        self.phi.longest_gap()
    }

    /// To be called each quarter of an interval. True: a heartbeat is due.
    ///
    /// # Errors
    ///
    /// [`SessionError::Silent`].
    pub fn tick(&mut self, now: Duration) -> Result<bool, SessionError> {
        let stall = now.saturating_sub(self.looked).saturating_sub(self.interval);
        self.looked = now;
        if !stall.is_zero() {
            self.phi.excuse(stall, now);
        }
        if self.phi.is_down(now) {
            // It is infinite for a very long silence.
            return Err(SessionError::Silent { phi: self.phi.phi(now).min(1e6) as u32 });
        }
        let due = now >= self.next;
        if due {
            self.next = now + self.interval;
        }
        Ok(due)
    }
}

/// Both halves of a connection and its pulse, for one owner. Where senders are many, the halves are used apart: [`Outgoing`]
/// behind a lock, [`Incoming`] with the reader.
#[derive(Debug)]
pub struct Session {
    /// What goes out.
    pub outgoing: Outgoing,
    /// What comes in.
    pub incoming: Incoming,
    /// Is it alive?
    pub pulse: Pulse,
}

impl Session {
    /// After the handshake.
    #[must_use]
    pub fn new(settings: &Settings, agreement: &Agreement, now: Duration) -> Self {
        let theirs = Duration::from_millis(u64::from(agreement.peer.limits.heartbeat));
        Session {
            outgoing: Outgoing::new(settings, agreement),
            incoming: Incoming::new(settings, agreement),
            pulse: Pulse::new(settings.heartbeat, theirs, now),
        }
    }

    /// Takes bytes. `on` gets what is for others: packets, types, refusals.
    ///
    /// # Errors
    ///
    /// See [`SessionError`]: close.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        now: Duration,
        on: &mut dyn FnMut(Input<'_>),
    ) -> Result<(), SessionError> {
        self.pulse.heard(now);
        let Session { outgoing, incoming, pulse } = self;
        let mut error = None;
        incoming.receive(bytes, &mut |input| match input {
            Input::Control(Control::Ping) => pulse.beat(now),
            Input::Control(Control::Credit { bytes }) => {
                error = error.take().or(outgoing.credit(bytes).err());
            }
            other => on(other),
        })?;
        if let Some(bytes) = incoming.take_credit() {
            outgoing.control(&Control::Credit { bytes });
        }
        error.map_or(Ok(()), Err)
    }

    /// Lets time pass: see [`Pulse::tick`].
    ///
    /// # Errors
    ///
    /// [`SessionError::Silent`].
    pub fn tick(&mut self, now: Duration) -> Result<(), SessionError> {
        if self.pulse.tick(now)? {
            self.outgoing.control(&Control::Ping);
        }
        Ok(())
    }
}
