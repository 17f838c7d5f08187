//! What goes over a link, and how it becomes a packet of the connection; or what becomes of it if it cannot be brought.

use super::{Link, State, Up, add, key, task};
use crate::dist::{
    endpoint::Endpoint,
    session::{Control, seal},
    wire::{Body, Packet, Task},
};
use engset_runtime::{
    DownReason, NodeId, Undecodable,
    remote::{self, Codec, Op, Parcel, PendingCall},
};
use std::sync::atomic::Ordering;

/// Bodies from this size on move into the queue instead of being copied.
const LARGE: usize = 32 * 1024;

/// A request of the node itself, or a parcel.
#[derive(Debug)]
pub(crate) enum Cargo {
    Parcel(Parcel),
    Request { call: PendingCall, bytes: Vec<u8> },
}

impl Link {
    /// Puts cargo into the connection that there is. Returns a buffer that is not needed any more.
    #[allow(clippy::result_large_err, reason = "the cargo comes back")]
    pub(super) fn push(
        &self,
        endpoint: &Endpoint,
        state: &mut State,
        node: Option<NodeId>,
        mut cargo: Cargo,
    ) -> Result<Vec<u8>, (Cargo, DownReason)> {
        let Some(up) = &mut state.up else { return Err((cargo, DownReason::NoConnection)) };
        if node.is_some_and(|node| node != up.node) {
            return Err((cargo, DownReason::NodeRestarted));
        }
        // Only local processes have a name on the wire.
        let home = endpoint.home();
        let (from, to, body) = match &cargo {
            Cargo::Request { call, bytes } => {
                endpoint.expect(*call, &self.name);
                (Some(call.caller), (0, 0), Body::Request { reference: call.reference, bytes })
            }
            Cargo::Parcel(parcel) => {
                if parcel.from.is_some_and(|from| from.node() != home)
                    && !matches!(parcel.op, Op::Message { .. } | Op::Named { .. })
                {
                    return Err((cargo, DownReason::NoConnection));
                }
                let from = up.relations.outgoing(parcel);
                match self.body(endpoint, up, parcel) {
                    Some(body) => (from.filter(|from| from.node() == home), task(parcel.to), body),
                    None => return Ok(Vec::new()),
                }
            }
        };
        let mut bytes = std::mem::take(&mut up.scratch);
        bytes.clear();
        bytes.push(0);
        let compresses = up.outgoing.compresses();
        let packet = Packet { from: from.map(task), to, body };
        let tail = packet.write_head(&mut bytes);
        let is_large = tail.len() > LARGE && !compresses;
        if !is_large {
            bytes.extend_from_slice(tail);
        }
        if compresses {
            bytes = seal(bytes, true);
        }
        let pushed = match cargo {
            // What is large is not copied once more.
            Cargo::Parcel(Parcel {
                from: sender,
                to,
                op: Op::Message { body, codec, patience, alias, calls },
            }) if is_large => match up.outgoing.push_parts(key(from), &bytes, body) {
                Ok(pressure) => {
                    add(&self.counts.sent);
                    up.scratch = bytes;
                    let _ = pressure;
                    return Ok(Vec::new());
                }
                Err((error, body)) => {
                    let op = Op::Message { body, codec, patience, alias, calls };
                    cargo = Cargo::Parcel(Parcel { from: sender, to, op });
                    Err(error)
                }
            },
            other => {
                if is_large {
                    // An answer, or a request.
                    bytes.extend_from_slice(other.bytes());
                }
                cargo = other;
                up.outgoing.push_from(key(from), &mut bytes)
            }
        };
        match pushed {
            Ok(_) => {
                up.scratch = bytes;
                match cargo {
                    Cargo::Parcel(Parcel {
                        op: Op::Message { body, .. } | Op::Named { body, .. }, ..
                    }) => {
                        // Relaxed: only written under the lock.
                        let sent = self.counts.sent.load(Ordering::Relaxed);
                        self.counts.sent.store(sent + 1, Ordering::Relaxed);
                        Ok(body)
                    }
                    Cargo::Parcel(Parcel { op: Op::Answer { body, .. }, .. }) => Ok(body),
                    _ => Ok(Vec::new()),
                }
            }
            Err(error) => {
                tracing::warn!(target: "engset", node = %self.name, size = error.size, limit = error.limit, "a message is larger than the other node takes, and is dropped");
                if let Cargo::Parcel(Parcel { from, to, op: Op::Answer { reference, .. } }) = cargo {
                    // The caller is told that there is none.
                    let broken = Op::Broken { reference, down: None };
                    return self.push(endpoint, state, node, Cargo::Parcel(Parcel { from, to, op: broken }));
                }
                Err((cargo, DownReason::NoConnection))
            }
        }
    }

    /// What goes out for a parcel; `None`: it is dropped.
    fn body<'a>(&self, endpoint: &Endpoint, up: &mut Up, parcel: &'a Parcel) -> Option<Body<'a>> {
        Some(match &parcel.op {
            Op::Message { codec, body, patience, alias, calls } => {
                let type_id = self.number(up, codec, calls)?;
                let calls = self.expected(endpoint, calls);
                Body::Message { type_id, patience: *patience, alias: *alias, calls, bytes: body }
            }
            Op::Named { name, codec, body, patience, calls } => {
                let type_id = self.number(up, codec, calls)?;
                let calls = self.expected(endpoint, calls);
                Body::Named { name, type_id, patience: *patience, calls, bytes: body }
            }
            Op::Undecodable { reference, why } => {
                Body::Undecodable { reference: *reference, why: why.clone() }
            }
            Op::Answer { reference, body } => Body::Answer { reference: *reference, bytes: body },
            Op::Broken { reference, down } => Body::Broken { reference: *reference, down: down.clone() },
            Op::Exit { reason, link } => Body::Exit { link: *link, reason: reason.clone() },
            Op::Link => Body::Link,
            Op::Unlink { id } => Body::Unlink { id: *id },
            Op::UnlinkAck { id } => Body::UnlinkAck { id: *id },
            Op::Monitor { reference } => Body::Monitor { reference: *reference },
            Op::Demonitor { reference } => Body::Demonitor { reference: *reference },
            Op::Down { reference, reason } => Body::Down { reference: *reference, reason: reason.clone() },
            Op::Inspect { call } => {
                endpoint.expect(*call, &self.name);
                Body::Inspect { reference: call.reference }
            }
        })
    }

    /// The number of a message's type. `None`: the other does not take it, and the callers have been told.
    fn number(&self, up: &mut Up, codec: &'static Codec, calls: &[PendingCall]) -> Option<u32> {
        let number = up.number(codec);
        if number.is_none() {
            add(&self.counts.dropped);
            let why = up.refused.get(&std::ptr::from_ref(codec).addr());
            for call in calls {
                match why {
                    Some(why) => call.undecodable(why.clone()),
                    None => call.broken(None),
                }
            }
        }
        number
    }

    /// Calls whose answers will come over this link, as they are told to the other.
    fn expected(&self, endpoint: &Endpoint, calls: &[PendingCall]) -> Vec<(Task, u64)> {
        calls.iter().for_each(|call| endpoint.expect(*call, &self.name));
        calls.iter().map(|call| (task(call.caller), call.reference)).collect()
    }

    /// Cargo that cannot be brought: who waits for it is told. Not under the lock.
    pub(crate) fn fail(&self, endpoint: &Endpoint, cargo: Cargo, reason: &DownReason) {
        let parcel = match cargo {
            Cargo::Request { call, .. } => {
                endpoint.forget(&call);
                return call.broken(Some(reason.clone()));
            }
            Cargo::Parcel(parcel) => parcel,
        };
        let Parcel { from, to, op } = parcel;
        let back = match op {
            Op::Message { calls, .. } | Op::Named { calls, .. } => {
                add(&self.counts.dropped);
                for call in calls {
                    endpoint.forget(&call);
                    call.broken(Some(reason.clone()));
                }
                return;
            }
            Op::Inspect { call } => {
                endpoint.forget(&call);
                return call.broken(Some(reason.clone()));
            }
            Op::Link => Op::Exit { reason: reason.as_exit(), link: true },
            Op::Monitor { reference } => Op::Down { reference, reason: reason.clone() },
            _ => return,
        };
        if let Some(from) = from {
            // It does not fail: it is no message.
            let _ = remote::deliver(Parcel { from: Some(to), to: from, op: back });
        }
    }
}

impl Up {
    /// The number of a type on this connection; it is announced before it is used.
    fn number(&mut self, codec: &'static Codec) -> Option<u32> {
        let place = std::ptr::from_ref(codec).addr();
        if self.latest.0 == place {
            return self.latest.1;
        }
        let (types, announced, outgoing) = (&mut self.types, &mut self.announced, &mut self.outgoing);
        let number = *types.entry(place).or_insert_with(|| {
            let id = announced.len() as u32;
            announced.push(codec);
            let (name, fingerprint) = (codec.name().to_owned(), codec.fingerprint());
            outgoing.control(&Control::Type { id, name, fingerprint });
            Some(id)
        });
        self.latest = (place, number);
        number
    }

    /// The other does not take a type, which has this fingerprint there.
    pub(crate) fn refuse(&mut self, id: u32, there: u64) -> Option<&'static Codec> {
        let codec = *self.announced.get(id as usize)?;
        let name = codec.name().to_owned();
        let why = Undecodable::DifferentType { name, sent: codec.fingerprint(), read: there };
        self.refused.insert(std::ptr::from_ref(codec).addr(), why);
        self.types.insert(std::ptr::from_ref(codec).addr(), None);
        self.latest = (0, None);
        Some(codec)
    }

    /// The type that has this number.
    pub(crate) fn announced(&self, id: u32) -> Option<&'static Codec> {
        self.announced.get(id as usize).copied()
    }
}

impl Cargo {
    /// The bytes at the end of its packet.
    fn bytes(&self) -> &[u8] {
        match self {
            Cargo::Request { bytes, .. } => bytes,
            Cargo::Parcel(Parcel {
                op: Op::Message { body, .. } | Op::Named { body, .. } | Op::Answer { body, .. },
                ..
            }) => body,
            Cargo::Parcel(_) => &[],
        }
    }

    pub(super) fn size(&self) -> usize {
        match self {
            Cargo::Request { bytes, .. } => bytes.len(),
            Cargo::Parcel(Parcel {
                op: Op::Message { body, .. } | Op::Named { body, .. } | Op::Answer { body, .. },
                ..
            }) => body.len() + 32,
            Cargo::Parcel(_) => 32,
        }
    }
}
