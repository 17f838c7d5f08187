//! Parcels as bytes of a packet.
//!
//! ```text
//! kind u8 · sender (0, or 1 index serial) · receiver (index serial) · numbers of the kind · the rest
//! ```
//!
//! Numbers are LEB128. The node of a sender is the one that the connection leads to, that of a receiver this one: nobody can speak in another node's
//! name. The rest is the body of a message or an answer as MessagePack, or a reason.

use super::packet::{self, PacketError, read_number, write_number};
use engset_runtime::{DownReason, ExitReason, Undecodable};
use serde::{Deserialize, Serialize};

/// A process by the two numbers that its own node knows it by.
pub(crate) type Task = (u32, u64);

/// A packet.
#[derive(Debug, PartialEq)]
pub(crate) struct Packet<'a> {
    pub(crate) from: Option<Task>,
    pub(crate) to: Task,
    pub(crate) body: Body<'a>,
}

/// What is in it.
#[derive(Debug, PartialEq)]
pub(crate) enum Body<'a> {
    Message {
        type_id: u32,
        patience: Option<u32>,
        alias: Option<u64>,
        /// Callers and calls, to be told if it cannot be decoded.
        calls: Vec<(Task, u64)>,
        bytes: &'a [u8],
    },
    /// A message for who has a name.
    Named {
        name: &'a str,
        type_id: u32,
        patience: Option<u32>,
        calls: Vec<(Task, u64)>,
        bytes: &'a [u8],
    },
    Answer {
        reference: u64,
        bytes: &'a [u8],
    },
    Undecodable {
        reference: u64,
        why: Undecodable,
    },
    Broken {
        reference: u64,
        down: Option<DownReason>,
    },
    Exit {
        link: bool,
        reason: ExitReason,
    },
    Link,
    Unlink {
        id: u64,
    },
    UnlinkAck {
        id: u64,
    },
    Monitor {
        reference: u64,
    },
    Demonitor {
        reference: u64,
    },
    Down {
        reference: u64,
        reason: DownReason,
    },
    Inspect {
        reference: u64,
    },
    Request {
        reference: u64,
        bytes: &'a [u8],
    },
}

/// What a node asks of another node itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Is it there?
    Ping,
    /// Which nodes does it see? (Not the hidden ones.)
    Nodes,
    /// Who has this name?
    Lookup { name: String, type_name: String, fingerprint: u64 },
    /// Spawn a registered entry point.
    Spawn { entry: String, link: bool, monitor: Option<u64>, argument: Vec<u8> },
}

/// Calls in one message that are told apart.
const MAX_CALLS: u64 = 256;

fn write_calls(out: &mut Vec<u8>, calls: &[(Task, u64)]) {
    write_number(out, calls.len() as u64);
    for (caller, reference) in calls {
        write_task(out, *caller);
        write_number(out, *reference);
    }
}

fn read_calls(bytes: &mut &[u8]) -> Result<Vec<(Task, u64)>, PacketError> {
    let count = read_number(bytes)?;
    if count > MAX_CALLS {
        return Err(PacketError::BadLength);
    }
    (0..count).map(|_| Ok((read_task(bytes)?, read_number(bytes)?))).collect()
}

fn read_text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, PacketError> {
    let len = usize::try_from(read_number(bytes)?).map_err(|_| PacketError::BadLength)?;
    let (text, rest) = bytes.split_at_checked(len).ok_or(PacketError::BadLength)?;
    *bytes = rest;
    std::str::from_utf8(text).map_err(|error| PacketError::Decode(error.to_string()))
}

fn read_patience(bytes: &mut &[u8]) -> Result<Option<u32>, PacketError> {
    Ok(read_option(bytes)?.map(|patience| u32::try_from(patience).unwrap_or(u32::MAX)))
}

fn write_task(out: &mut Vec<u8>, (index, serial): Task) {
    write_number(out, u64::from(index));
    write_number(out, serial);
}

fn read_u32(bytes: &mut &[u8]) -> Result<u32, PacketError> {
    u32::try_from(read_number(bytes)?).map_err(|_| PacketError::BadLength)
}

fn read_task(bytes: &mut &[u8]) -> Result<Task, PacketError> {
    Ok((read_u32(bytes)?, read_number(bytes)?))
}

fn write_option(out: &mut Vec<u8>, number: Option<u64>) {
    // One more, so that 0 is none; the greatest number is not used.
    write_number(out, number.map_or(0, |number| number.saturating_add(1)));
}

fn read_option(bytes: &mut &[u8]) -> Result<Option<u64>, PacketError> {
    Ok(read_number(bytes)?.checked_sub(1))
}

impl<'a> Packet<'a> {
    /// Appends it.
    #[cfg(test)]
    fn write(&self, out: &mut Vec<u8>) {
        let tail = self.write_head(out);
        out.extend_from_slice(tail);
    }

    /// Appends it, but for the bytes that it returns.
    pub(crate) fn write_head(&self, out: &mut Vec<u8>) -> &'a [u8] {
        let kind = match &self.body {
            Body::Message { .. } => 1,
            Body::Answer { .. } => 2,
            Body::Broken { .. } => 3,
            Body::Exit { .. } => 4,
            Body::Link => 5,
            Body::Unlink { .. } => 6,
            Body::UnlinkAck { .. } => 7,
            Body::Monitor { .. } => 8,
            Body::Demonitor { .. } => 9,
            Body::Down { .. } => 10,
            Body::Inspect { .. } => 11,
            Body::Request { .. } => 12,
            Body::Named { .. } => 13,
            Body::Undecodable { .. } => 14,
        };
        out.push(kind);
        match self.from {
            None => out.push(0),
            Some(task) => {
                out.push(1);
                write_task(out, task);
            }
        }
        write_task(out, self.to);
        match &self.body {
            Body::Message { type_id, patience, alias, calls, bytes } => {
                write_number(out, u64::from(*type_id));
                write_option(out, patience.map(u64::from));
                write_option(out, *alias);
                write_calls(out, calls);
                return bytes;
            }
            Body::Named { name, type_id, patience, calls, bytes } => {
                packet::write(out, name.as_bytes());
                write_number(out, u64::from(*type_id));
                write_option(out, patience.map(u64::from));
                write_calls(out, calls);
                return bytes;
            }
            Body::Undecodable { reference, why } => {
                write_number(out, *reference);
                packet::encode(out, why);
            }
            Body::Answer { reference, bytes } | Body::Request { reference, bytes } => {
                write_number(out, *reference);
                return bytes;
            }
            Body::Broken { reference, down } => {
                write_number(out, *reference);
                packet::encode(out, down);
            }
            Body::Exit { link, reason } => {
                out.push(u8::from(*link));
                packet::encode(out, reason);
            }
            Body::Link => {}
            Body::Unlink { id: number }
            | Body::UnlinkAck { id: number }
            | Body::Monitor { reference: number }
            | Body::Demonitor { reference: number }
            | Body::Inspect { reference: number } => write_number(out, *number),
            Body::Down { reference, reason } => {
                write_number(out, *reference);
                packet::encode(out, reason);
            }
        }
        &[]
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// The bytes are none.
    pub(crate) fn read(mut bytes: &'a [u8]) -> Result<Self, PacketError> {
        let bytes = &mut bytes;
        let kind = read_number(bytes)?;
        let from = match read_number(bytes)? {
            0 => None,
            1 => Some(read_task(bytes)?),
            _ => return Err(PacketError::BadLength),
        };
        let to = read_task(bytes)?;
        let body = match kind {
            1 => {
                let type_id = read_u32(bytes)?;
                let patience = read_patience(bytes)?;
                let alias = read_option(bytes)?;
                let calls = read_calls(bytes)?;
                Body::Message { type_id, patience, alias, calls, bytes }
            }
            2 => Body::Answer { reference: read_number(bytes)?, bytes },
            3 => Body::Broken { reference: read_number(bytes)?, down: packet::decode(bytes)? },
            4 => Body::Exit { link: read_number(bytes)? != 0, reason: packet::decode(bytes)? },
            5 => Body::Link,
            6 => Body::Unlink { id: read_number(bytes)? },
            7 => Body::UnlinkAck { id: read_number(bytes)? },
            8 => Body::Monitor { reference: read_number(bytes)? },
            9 => Body::Demonitor { reference: read_number(bytes)? },
            10 => Body::Down { reference: read_number(bytes)?, reason: packet::decode(bytes)? },
            11 => Body::Inspect { reference: read_number(bytes)? },
            12 => Body::Request { reference: read_number(bytes)?, bytes },
            13 => {
                let name = read_text(bytes)?;
                let type_id = read_u32(bytes)?;
                let patience = read_patience(bytes)?;
                Body::Named { name, type_id, patience, calls: read_calls(bytes)?, bytes }
            }
            14 => Body::Undecodable { reference: read_number(bytes)?, why: packet::decode(bytes)? },
            _ => return Err(PacketError::Decode(format!("a packet of the unknown kind {kind}"))),
        };
        Ok(Packet { from, to, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn task() -> impl Strategy<Value = Task> {
        (any::<u32>(), any::<u64>())
    }

    fn reason() -> impl Strategy<Value = ExitReason> {
        prop_oneof![
            Just(ExitReason::Normal),
            Just(ExitReason::Kill),
            ".{0,30}".prop_map(|text| ExitReason::Error(text.into()))
        ]
    }

    proptest! {
        #[test]
        fn packets_are_read_as_they_were_written(
            from in prop::option::of(task()), to in task(), kind in 0..14, number in 0..u64::MAX,
            option in prop::option::of(0..u64::MAX), patience in prop::option::of(any::<u32>()),
            calls in prop::collection::vec((task(), any::<u64>()), 0..4), reason in reason(),
            bytes in prop::collection::vec(any::<u8>(), 0..50), name in ".{0,40}",
        ) {
            let bytes = &bytes[..];
            let body = match kind {
                0 => Body::Message { type_id: number as u32, patience, alias: option, calls, bytes },
                1 => Body::Answer { reference: number, bytes },
                2 => Body::Broken { reference: number, down: option.map(|_| DownReason::Exited(reason)) },
                3 => Body::Exit { link: option.is_some(), reason },
                4 => Body::Link,
                5 => Body::Unlink { id: number },
                6 => Body::UnlinkAck { id: number },
                7 => Body::Monitor { reference: number },
                8 => Body::Demonitor { reference: number },
                9 => Body::Down { reference: number, reason: DownReason::NodeRestarted },
                10 => Body::Inspect { reference: number },
                11 => Body::Named { name: &name, type_id: number as u32, patience, calls, bytes },
                12 => {
                    Body::Undecodable { reference: number, why: Undecodable::UnknownType { name: name.clone() } }
                }
                _ => Body::Request { reference: number, bytes },
            };
            let sent = Packet { from, to, body };
            let mut out = Vec::new();
            sent.write(&mut out);
            prop_assert_eq!(Packet::read(&out), Ok(sent));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            drop(Packet::read(&bytes));
        }
    }
}
