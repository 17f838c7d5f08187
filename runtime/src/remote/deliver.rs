//! What has come from another node becomes what it was there.

use super::{Codec, Op, Parcel};
use crate::{
    bound,
    call::{self, Broken},
    event::MonitorRef,
    exit_rule::Origin,
    hooks,
    pid::Pid,
    reason::DownReason,
    send,
    signal::Signal,
};
use engset_scheduler::{Envelope, current};
use std::fmt;

/// Why a message from another node was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Undelivered {
    /// Its bytes are not what its type says.
    Undecodable(String),
    /// The process is dead; for what is not a message that is no error.
    Dead,
    /// Its mailbox is full. (Who has sent it cannot wait: the connection would.)
    Full,
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Undelivered::Undecodable(error) => write!(f, "it cannot be decoded: {error}"),
            Undelivered::Dead => f.write_str("the process is dead"),
            Undelivered::Full => f.write_str("the mailbox of the process is full"),
        }
    }
}

impl std::error::Error for Undelivered {}

/// A message that has come.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// How it is decoded.
    pub codec: &'static Codec,
    /// Its bytes.
    pub body: &'a [u8],
    /// Milliseconds that the caller will wait, if it is a request.
    pub patience: Option<u32>,
    /// The alias that it was sent to.
    pub alias: Option<u64>,
    /// Calls in it, by caller and reference: if the process is dead they are told so.
    pub calls: &'a [(Pid, u64)],
}

/// Delivers a message to a local process. To be called on a worker of its node; what comes from one node has to be delivered by one
/// after the other.
///
/// The body must have been looked at before: its decoder recurses as deep as it is nested.
///
/// # Errors
///
/// See [`Undelivered`].
pub fn deliver_message(to: Pid, incoming: Incoming<'_>) -> Result<(), Undelivered> {
    let Incoming { codec, body, patience, alias, calls } = incoming;
    let mut message = codec.decode(body).map_err(Undelivered::Undecodable)?;
    debug_assert_eq!(message.type_id(), codec.type_id());
    if let Some(patience) = patience {
        message.set_tag(hooks::expiry_in(patience));
    }
    give(to, message, alias, calls)
}

/// Delivers a parcel to a local process, as [`deliver_message`] does. Answers are delivered by
/// [`PendingCall::answer`](super::PendingCall::answer) instead.
///
/// # Errors
///
/// See [`Undelivered`].
pub fn deliver(parcel: Parcel) -> Result<(), Undelivered> {
    let Parcel { from, to, op } = parcel;
    // Of no process: as if the receiver itself had sent it.
    let from = from.unwrap_or(to);
    let signal = match op {
        Op::Message { codec, body, patience, alias, .. } => {
            return deliver_message(to, Incoming { codec, body: &body, patience, alias, calls: &[] });
        }
        // Answers go another way, and who has a name was found before.
        Op::Answer { .. } | Op::Named { .. } => return Ok(()),
        Op::Undecodable { reference, why } => {
            call::break_off(to, Broken::undecodable(reference, why));
            return Ok(());
        }
        Op::Broken { reference, down } => {
            let broken = match down {
                Some(reason) => Broken::down(reference, reason),
                None => Broken::no_reply(reference),
            };
            call::break_off(to, broken);
            return Ok(());
        }
        Op::Exit { reason, link } => {
            Signal::exit(from, reason, if link { Origin::Link } else { Origin::Call })
        }
        Op::Link => Signal::Link { from, to },
        Op::Unlink { id } => Signal::Unlink { from, id },
        Op::UnlinkAck { id } => Signal::UnlinkAck { from, id },
        Op::Monitor { reference } => Signal::Monitor { watcher: from, reference: MonitorRef(reference) },
        Op::Demonitor { reference } => Signal::Demonitor { watcher: from, reference: MonitorRef(reference) },
        Op::Down { reference, reason } => {
            if let Some(call) = to.outside_waiter() {
                call::break_off(to, Broken::down(call, reason));
                return Ok(());
            }
            Signal::Down { reference: MonitorRef(reference), reason }
        }
        Op::Inspect { call } => Signal::Inspect { caller: from, reference: call.reference },
    };
    send::signal(to, signal);
    Ok(())
}

/// A message that nobody gets. The `Reply`s in it are dropped, which tells callers on third nodes; the bytes must have been looked at.
pub fn discard(codec: &'static super::Codec, body: &[u8]) {
    if let Ok(message) = codec.decode(body) {
        current::drop_outside(message);
    }
}

fn give(to: Pid, mut message: Envelope, alias: Option<u64>, calls: &[(Pid, u64)]) -> Result<(), Undelivered> {
    if send::is_marked(to) {
        message = bound::admit(to, message).ok_or(Undelivered::Full)?;
    }
    if let Some(alias) = alias {
        send::signal(to, Signal::Aliased { alias, message });
        return Ok(());
    }
    send::envelope(to, message).map_err(|message| {
        // Before the drop of the `Reply`s says less.
        for (caller, reference) in calls {
            call::break_off(*caller, Broken::down(*reference, DownReason::NoProc));
        }
        current::drop_outside(message);
        Undelivered::Dead
    })
}
