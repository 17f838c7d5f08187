//! What has come from another node becomes what it was there.

use super::{Op, Parcel};
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

/// Delivers a parcel to a local process. To be called by a process of its node; what one process delivers arrives in that order.
/// Answers are delivered by [`PendingCall::answer`](super::PendingCall::answer) instead.
///
/// The body of a message must have been looked at before: its decoder recurses as deep as it is nested.
///
/// # Errors
///
/// See [`Undelivered`].
pub fn deliver(parcel: Parcel) -> Result<(), Undelivered> {
    deliver_calls(parcel, &[])
}

/// The same for a message with these calls in it, by caller and reference: if the process is dead they are told so.
///
/// # Errors
///
/// As [`deliver`](fn@deliver).
pub fn deliver_calls(parcel: Parcel, calls: &[(Pid, u64)]) -> Result<(), Undelivered> {
    let Parcel { from, to, op } = parcel;
    // Of no process: as if the receiver itself had sent it.
    let from = from.unwrap_or(to);
    let signal = match op {
        Op::Message { codec, body, patience, alias, .. } => {
            let mut message = codec.decode(&body).map_err(Undelivered::Undecodable)?;
            debug_assert_eq!(message.type_id(), codec.type_id());
            if let Some(patience) = patience {
                message.set_tag(hooks::expiry_in(patience));
            }
            return deliver_message(to, message, alias, calls);
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

fn deliver_message(
    to: Pid,
    mut message: Envelope,
    alias: Option<u64>,
    calls: &[(Pid, u64)],
) -> Result<(), Undelivered> {
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
