//! What comes from another node: bytes, packets, and what they become here.

use super::{
    channel::{Channel, LONG},
    endpoint::Endpoint,
    link::{Link, add},
    nesting,
    packet::{self, PacketError},
    peer::PeerMessage,
    session::{Control, Incoming, Input, SessionError, TypeRefusal},
    wire::{Body, Packet, Request, Task},
};
use crate::dist::endpoint::Answer;
use engset_runtime::{
    NodeId, Pid, Undecodable, now,
    remote::{self, Codec, NotNamed, Op, Parcel, RequestError},
};
use engset_scheduler::driver;
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Bytes that are read in one go.
const PIECE: usize = 32 * 1024;
/// Messages after which others have their turn: those who get them, first of all.
const ENOUGH: usize = 512;
/// Messages in a row that cannot be decoded, after which the connection is closed.
const TOO_MANY: u32 = 100;

/// Where bytes are that have come.
pub(crate) enum Come<'a> {
    Bytes(&'a [u8]),
    /// In the space that the session has given for them.
    Filled(usize),
}

/// The reading half of a connection. One has it at a time (`channel.rs`, rule 2).
pub(crate) struct Reader {
    endpoint: Arc<Endpoint>,
    link: Arc<Link>,
    node: NodeId,
    incoming: Incoming,
    types: Vec<Known>,
    undecodable: u32,
    addressees: Addressees,
}

/// Who has got messages since the last question.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Addressees {
    /// How many were for processes of the worker that reads, and for others.
    pub(crate) here: usize,
    pub(crate) elsewhere: usize,
    /// The latest of the others.
    pub(crate) other: Option<Pid>,
}

impl Addressees {
    fn count(&mut self, to: Pid) {
        if remote::is_here(to) {
            self.here += 1;
        } else {
            self.elsewhere += 1;
            self.other = Some(to);
        }
    }
}

impl Reader {
    pub(crate) fn new(endpoint: Arc<Endpoint>, link: Arc<Link>, node: NodeId, incoming: Incoming) -> Self {
        Reader {
            endpoint,
            link,
            node,
            incoming,
            types: Vec::new(),
            undecodable: 0,
            addressees: Addressees::default(),
        }
    }

    /// Who has got messages since the last question.
    pub(crate) fn take_addressees(&mut self) -> Addressees {
        std::mem::take(&mut self.addressees)
    }

    /// Reads at most so many pieces. True: there may be more.
    pub(crate) fn read(&mut self, channel: &Channel, pieces: usize) -> Result<bool, End> {
        let end = now() + LONG;
        for _ in 0..pieces {
            match channel.stream.read(self.incoming.space(PIECE)) {
                Ok(0) => return Err(End::Io(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => self.take_in(channel, Come::Filled(count))?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(End::Io(error)),
            }
            if self.addressees.here + self.addressees.elsewhere > ENOUGH || now() >= end {
                break;
            }
        }
        Ok(true)
    }

    pub(crate) fn take_in(&mut self, channel: &Channel, come: Come<'_>) -> Result<(), End> {
        let now = now();
        let beat = |is_ping: bool| {
            let mut pulse = channel.pulse.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if is_ping { pulse.beat(now) } else { pulse.heard(now) }
        };
        beat(false);
        let Reader { endpoint, link, node, incoming, types, undecodable, addressees } = self;
        let mut inbound = Inbound {
            endpoint,
            link,
            node: *node,
            number: channel.number,
            types,
            undecodable,
            addressees,
            error: None,
        };
        let mut on = |input: Input<'_>| match input {
            Input::Control(Control::Ping) => beat(true),
            Input::Control(control) => inbound.control(control),
            Input::Packet(bytes) => inbound.packet(bytes),
        };
        let result = match come {
            Come::Bytes(bytes) => incoming.receive(bytes, &mut on),
            Come::Filled(count) => incoming.filled(count, &mut on),
        };
        let error = inbound.error.take();
        result.map_err(End::Session)?;
        if let Some(bytes) = incoming.take_credit()
            && let Some(up) = &mut link.lock().up
        {
            up.outgoing.control(&Control::Credit { bytes });
        }
        if let Some(error) = error {
            return Err(End::Session(error));
        }
        if *undecodable >= TOO_MANY { Err(End::Undecodable) } else { Ok(()) }
    }
}

/// Why a connection has ended.
pub(crate) enum End {
    Io(io::Error),
    Session(SessionError),
    Closed(&'static str),
    Replaced { restarted: bool },
    Undecodable,
}

impl End {
    pub(crate) fn text(&self) -> String {
        match self {
            End::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                "the other has closed the connection".into()
            }
            End::Io(error) => error.to_string(),
            End::Session(error) => error.to_string(),
            End::Closed(why) => (*why).to_owned(),
            End::Replaced { restarted: true } => "the node was restarted".into(),
            End::Replaced { restarted: false } => "the node has connected anew".into(),
            End::Undecodable => format!("{TOO_MANY} messages in a row that cannot be decoded"),
        }
    }
}

/// A type of the other node's.
enum Known {
    Codec(&'static Codec),
    /// Not registered when it was announced: it may be by now.
    Unknown {
        name: String,
        fingerprint: u64,
    },
    Refused(Undecodable),
}

/// What comes from the other node, on its way to the processes here.
struct Inbound<'a> {
    endpoint: &'a Arc<Endpoint>,
    link: &'a Link,
    node: NodeId,
    number: u64,
    types: &'a mut Vec<Known>,
    undecodable: &'a mut u32,
    addressees: &'a mut Addressees,
    error: Option<SessionError>,
}

impl Inbound<'_> {
    fn control(&mut self, control: Control) {
        let mut state = self.link.lock();
        let Some(up) = &mut state.up else { return };
        match control {
            // Seen before.
            Control::Ping | Control::Goodbye { .. } => {}
            Control::Credit { bytes } => {
                up.outgoing.tell_time(now());
                if let Err(error) = up.outgoing.credit(bytes) {
                    self.error.get_or_insert(error);
                }
            }
            Control::Type { id, name, fingerprint } => {
                if id as usize != self.types.len() {
                    self.error.get_or_insert(SessionError::Control(PacketError::BadLength));
                    return;
                }
                let (known, refusal) = match remote::codec_by_name(&name) {
                    None => {
                        tracing::warn!(target: "engset", node = %self.link.name, message = name, "messages of a type that is not registered here are refused");
                        (Known::Unknown { name, fingerprint }, Some(TypeRefusal::Unknown))
                    }
                    Some(codec) if codec.fingerprint() != fingerprint => {
                        let own = codec.fingerprint();
                        tracing::error!(
                            target: "engset", node = %self.link.name, message = name,
                            theirs = format_args!("{fingerprint:016x}"), own = format_args!("{own:016x}"),
                            "messages of a type that looks different there are refused"
                        );
                        let different = Undecodable::DifferentType { name, sent: fingerprint, read: own };
                        (Known::Refused(different), Some(TypeRefusal::Different { fingerprint: own }))
                    }
                    Some(codec) => (Known::Codec(codec), None),
                };
                self.types.push(known);
                if let Some(why) = refusal {
                    up.outgoing.control(&Control::TypeRefused { id, why });
                }
            }
            Control::TypeRefused { id, why } => {
                let codec = match why {
                    TypeRefusal::Different { fingerprint } => up.refuse(id, fingerprint),
                    TypeRefusal::Unknown => up.announced(id),
                };
                let name = codec.map_or("?", Codec::name);
                tracing::error!(target: "engset", node = %self.link.name, message = name, ?why, "the other node does not take messages of a type");
            }
        }
    }

    fn packet(&mut self, bytes: &[u8]) {
        match Packet::read(bytes) {
            Ok(packet) => self.deliver(packet),
            Err(error) => {
                self.error.get_or_insert(SessionError::Packet(error));
            }
        }
    }

    fn here(&self, (index, serial): Task) -> Pid {
        remote::pid(self.endpoint.home(), index, serial)
    }

    fn there(&self, (index, serial): Task) -> Pid {
        remote::pid(self.node, index, serial)
    }

    fn deliver(&mut self, packet: Packet<'_>) {
        let (from, to) = (packet.from.map(|task| self.there(task)), self.here(packet.to));
        let op = match packet.body {
            Body::Message { type_id, patience, alias, calls, bytes } => {
                return self.message(to, type_id, patience, alias, &calls, bytes);
            }
            Body::Answer { reference, bytes } => {
                // Unknown: its caller was told before that the connection was lost.
                let Some((call, ancestry)) = self.endpoint.take_pending(to, reference) else { return };
                if let Some(ancestry) = ancestry
                    && let Ok(Ok((child, _))) = packet::decode::<Answer>(bytes)
                {
                    let child = self.there(child);
                    if let Some(up) = &mut self.link.lock().up {
                        up.relations.spawned_by(to, child, ancestry.link, ancestry.monitor);
                    }
                    ancestry.adopt(to, child);
                }
                let result = match nesting::check(bytes, self.endpoint.nesting()) {
                    Ok(()) => {
                        self.addressees.count(to);
                        guarded(|| call.answer(bytes).map_err(remote::Undelivered::Undecodable))
                            .map_err(|error| error.to_string())
                    }
                    Err(error) => {
                        call.undecodable(Undecodable::Malformed { error: error.to_string() });
                        Err(error.to_string())
                    }
                };
                if let Err(error) = result {
                    tracing::warn!(target: "engset", node = %self.link.name, %error, "an answer cannot be decoded");
                }
                return;
            }
            Body::Broken { reference, down } => {
                match self.endpoint.take_pending(to, reference) {
                    Some((call, _)) => return call.broken(down),
                    // What a monitor of a thread that is no process says comes in this way, too.
                    None => Op::Broken { reference, down },
                }
            }
            Body::Named { name, type_id, patience, calls, bytes } => {
                return self.named(name, type_id, patience, &calls, bytes);
            }
            Body::Undecodable { reference, why } => {
                if let Some((call, _)) = self.endpoint.take_pending(to, reference) {
                    call.undecodable(why);
                }
                return;
            }
            Body::Request { reference, bytes } => {
                if let Some(from) = from {
                    self.request(from, reference, bytes);
                }
                return;
            }
            Body::Exit { link, reason } => Op::Exit { reason, link },
            Body::Link => Op::Link,
            Body::Unlink { id } => Op::Unlink { id },
            Body::UnlinkAck { id } => Op::UnlinkAck { id },
            Body::Monitor { reference } => Op::Monitor { reference },
            Body::Demonitor { reference } => Op::Demonitor { reference },
            Body::Down { reference, reason } => Op::Down { reference, reason },
            Body::Inspect { reference } => {
                if let Some(from) = from {
                    remote::inspect(from, to, reference);
                }
                return;
            }
        };
        let parcel = Parcel { from, to, op };
        if let Some(up) = &mut self.link.lock().up {
            up.relations.incoming(&parcel);
        }
        // No message: it does not fail.
        let _ = remote::deliver(parcel);
    }

    #[allow(clippy::too_many_arguments, reason = "they are the fields of a message")]
    fn message(
        &mut self,
        to: Pid,
        type_id: u32,
        patience: Option<u32>,
        alias: Option<u64>,
        calls: &[(Task, u64)],
        bytes: &[u8],
    ) {
        let codec = match self.codec(type_id) {
            Some(Ok(codec)) => codec,
            Some(Err(why)) => return self.refused(calls, &why),
            None => return,
        };
        self.deliver_message(codec, to, patience, alias, calls, bytes);
    }

    /// A message for who has a name here.
    fn named(
        &mut self,
        name: &str,
        type_id: u32,
        patience: Option<u32>,
        calls: &[(Task, u64)],
        bytes: &[u8],
    ) {
        let codec = match self.codec(type_id) {
            Some(Ok(codec)) => codec,
            Some(Err(why)) => return self.refused(calls, &why),
            None => return,
        };
        match remote::find_named(self.endpoint.home(), name, codec) {
            Ok(to) => self.deliver_message(codec, to, patience, None, calls, bytes),
            Err(NotNamed::Nobody) => {
                add(&self.link.counts.refused);
                for (caller, reference) in calls {
                    remote::nobody_there(self.there(*caller), *reference);
                }
                self.discard(codec, bytes);
            }
            Err(NotNamed::TakesOthers) => {
                self.refused(calls, &Undecodable::TakesOthers { name: codec.name().to_owned() });
                self.discard(codec, bytes);
            }
        }
    }

    fn discard(&self, codec: &'static Codec, bytes: &[u8]) {
        if nesting::check(bytes, self.endpoint.nesting()).is_ok() {
            // Its callers have been told already, as far as they are known.
            let _ = guarded(|| {
                remote::discard(codec, bytes);
                Ok(())
            });
        }
    }

    /// The type of this number, or why its messages are not taken. `None`: it was not announced, which ends the connection.
    fn codec(&mut self, type_id: u32) -> Option<Result<&'static Codec, Undecodable>> {
        let Some(known) = self.types.get_mut(type_id as usize) else {
            self.error.get_or_insert(SessionError::Packet(PacketError::Decode(format!(
                "type {type_id} was not announced"
            ))));
            return None;
        };
        if let Known::Unknown { name, fingerprint } = known
            && let Some(codec) = remote::codec_by_name(name)
        {
            *known = if codec.fingerprint() == *fingerprint {
                Known::Codec(codec)
            } else {
                let (name, read) = (std::mem::take(name), codec.fingerprint());
                Known::Refused(Undecodable::DifferentType { name, sent: *fingerprint, read })
            };
        }
        Some(match known {
            Known::Codec(codec) => Ok(*codec),
            Known::Unknown { name, .. } => Err(Undecodable::UnknownType { name: name.clone() }),
            Known::Refused(why) => Err(why.clone()),
        })
    }

    #[allow(clippy::too_many_arguments, reason = "they are the fields of a message")]
    fn deliver_message(
        &mut self,
        codec: &'static Codec,
        to: Pid,
        patience: Option<u32>,
        alias: Option<u64>,
        calls: &[(Task, u64)],
        bytes: &[u8],
    ) {
        let result = match nesting::check(bytes, self.endpoint.nesting()) {
            Ok(()) => {
                let calls: Vec<(Pid, u64)> =
                    calls.iter().map(|(caller, call)| (self.there(*caller), *call)).collect();
                let incoming = remote::Incoming { codec, body: bytes, patience, alias, calls: &calls };
                guarded(|| remote::deliver_message(to, incoming))
            }
            Err(error) => Err(remote::Undelivered::Undecodable(error.to_string())),
        };
        match result {
            Ok(()) => {
                *self.undecodable = 0;
                self.addressees.count(to);
                add(&self.link.counts.received);
            }
            Err(remote::Undelivered::Undecodable(error)) => {
                // A type that is not known, or another one, is a matter of versions. This is none.
                *self.undecodable += 1;
                tracing::warn!(target: "engset", node = %self.link.name, %error, "a message is not delivered");
                self.refused(calls, &Undecodable::Malformed { error });
            }
            // A `Reply` in it was dropped, which tells the caller.
            Err(_) => add(&self.link.counts.refused),
        }
    }

    /// A message that cannot be read. Its `Reply`s did not come to life: who waits for them is told.
    fn refused(&self, calls: &[(Task, u64)], why: &Undecodable) {
        add(&self.link.counts.refused);
        for (caller, reference) in calls {
            remote::undecodable(self.there(*caller), *reference, why.clone());
        }
    }

    /// The peer process answers: that may mean to spawn a process.
    fn request(&self, from: Pid, reference: u64, bytes: &[u8]) {
        match packet::decode::<Request>(bytes) {
            Ok(request) => {
                self.link.tell(PeerMessage::Request { number: self.number, from, reference, request });
            }
            Err(error) => {
                let answer: Answer = Err(RequestError::BadRequest(error.to_string()));
                remote::answer(from, reference, answer);
            }
        }
    }
}

/// Runs code of users (a type's decoder), which may panic.
fn guarded<T>(f: impl FnOnce() -> Result<T, remote::Undelivered>) -> Result<T, remote::Undelivered> {
    let panicked =
        |why: String| Err(remote::Undelivered::Undecodable(format!("its decoder panicked: {why}")));
    if driver::is_dispatching() {
        return catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
            // A payload whose own destructor panics is leaked.
            std::mem::forget(payload);
            panicked("see above".into())
        });
    }
    // In a process an exit signal passes.
    engset_runtime::catch(f).unwrap_or_else(|reason| panicked(reason.to_string()))
}
