//! The process that speaks for another node here: one for each node that was ever heard of, for good.
//!
//! All that a node sends is delivered by this one process, over all connections with it. So the runtime's own order of signals makes `nodeup`
//! come before all that a connection brings, `nodedown` after it and after the end of links and monitors, and nothing of an old
//! connection after the next `nodeup` (N3, N4). Its stack is large: it decodes what others have encoded.

use super::{
    endpoint::{Answer, Endpoint},
    handshake::{Agreement, feature},
    link::{Link, add},
    nesting,
    packet::{self, PacketError},
    session::{Control, Incoming, Input, Pulse, SessionError, TypeRefusal},
    transport::Stream,
    wire::{Body, Packet, Task},
};
use engset_runtime::{
    Address, Builder, DownReason, Event, Mailbox, NodeDown, NodeId, NodeUp, Pid, Priority, Undecodable, now,
    remote::{self, Codec, NotNamed, Op, Parcel, RequestError},
};
use std::{io, sync::Arc, time::Duration};

/// How long a node is tried before what waits for it is given up.
const SETUP: Duration = Duration::from_secs(7);
/// Bytes that are read, and written, in one go.
const PIECE: usize = 256 * 1024;
/// Stack for decoding values nested [`nesting::MAX_DEPTH`] deep.
const STACK: usize = 1 << 20;
/// Messages in a row that cannot be decoded, after which the connection is closed.
const TOO_MANY: u32 = 100;

/// What the peer process is told.
pub(crate) enum PeerMessage {
    /// Something is to be sent.
    Flush,
    /// The stream of this number may be read or written.
    Ready(u64),
    /// A handshake is done.
    Connected { stream: Box<dyn Stream>, agreement: Box<Agreement>, rest: Vec<u8>, unsent: Vec<u8> },
    /// An attempt to dial has failed; `true`: the other's own attempt is awaited.
    Failed(String, bool),
    /// Close the connection, orderly.
    Close(&'static str),
}

/// Why a connection has ended.
enum End {
    Io(io::Error),
    Session(SessionError),
    Closed(&'static str),
    Replaced { restarted: bool },
    Undecodable,
}

impl End {
    fn text(&self) -> String {
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

/// The connection that there is.
struct Connection {
    stream: Box<dyn Stream>,
    node: NodeId,
    creation: u64,
    /// One of both nodes is a hidden one.
    hidden: bool,
    incoming: Incoming,
    pulse: Pulse,
    types: Vec<Known>,
    /// Bytes that the stream did not take yet.
    out: Vec<u8>,
    written: usize,
    undecodable: u32,
}

struct Peer {
    endpoint: Arc<Endpoint>,
    link: Arc<Link>,
    me: Address<PeerMessage>,
    connection: Option<Connection>,
    /// Number of the stream, so that calls of an old one's waker are not mistaken.
    stream: u64,
    /// Until when a connection has to be there, for what waits.
    patience: Option<Duration>,
    tick: Duration,
    buffer: Vec<u8>,
}

/// Spawns it. In a process of the node.
pub(crate) fn start(endpoint: Arc<Endpoint>, link: Arc<Link>) {
    let body = move |mailbox: Mailbox<PeerMessage>| {
        let me = mailbox.address();
        let peer = Peer {
            endpoint,
            link,
            me,
            connection: None,
            stream: 0,
            patience: None,
            tick: now(),
            buffer: vec![0; 64 * 1024],
        };
        peer.run(mailbox);
    };
    if let Err(error) = Builder::new().priority(Priority::High).stack_size(STACK).spawn(body) {
        tracing::error!(target: "engset", %error, "no process for another node");
    }
}

impl Peer {
    fn run(mut self, mut mailbox: Mailbox<PeerMessage>) {
        self.link.set_peer(self.me);
        self.flush();
        loop {
            let look = self.next_look();
            let message = match look {
                Some(at) => mailbox.message_timeout(at.saturating_sub(now())),
                None => Some(mailbox.message()),
            };
            match message {
                // A timeout is never early: the process is ending.
                None if look.is_some_and(|at| now() < at) => return,
                None => {}
                Some(PeerMessage::Flush) => self.flush(),
                Some(PeerMessage::Ready(stream)) if stream == self.stream => {
                    self.read();
                    self.flush();
                }
                Some(PeerMessage::Ready(_)) => {}
                Some(PeerMessage::Connected { stream, agreement, rest, unsent }) => {
                    self.connected(stream, &agreement, &rest, unsent);
                }
                Some(PeerMessage::Failed(why, await_other)) => self.failed(&why, await_other),
                Some(PeerMessage::Close(why)) => self.close(why),
            }
            self.pass_time();
        }
    }

    /// When it has to look without being told.
    fn next_look(&self) -> Option<Duration> {
        let tick = self.connection.is_some().then_some(self.tick);
        [tick, self.patience].into_iter().flatten().min()
    }

    fn pass_time(&mut self) {
        let now = now();
        if self.patience.is_some_and(|end| now >= end) {
            self.patience = None;
            self.give_up("no connection within the time for it");
        }
        let Some(connection) = &mut self.connection else { return };
        if now < self.tick {
            return;
        }
        self.tick = now + self.endpoint.settings().heartbeat / 4;
        match connection.pulse.tick(now) {
            Ok(false) => {}
            Ok(true) => {
                if let Some(up) = &mut self.link.lock().up {
                    up.outgoing.control(&Control::Ping);
                }
                self.flush();
            }
            Err(error) => self.end(End::Session(error)),
        }
    }

    fn dial(&mut self) {
        if self.connection.is_some() || self.patience.is_some() {
            return;
        }
        self.patience = Some(now() + SETUP);
        self.link.lock().dialling = true;
        self.endpoint.dial(&self.link);
    }

    fn failed(&mut self, why: &str, await_other: bool) {
        self.link.lock().dialling = false;
        if self.connection.is_none() && !await_other {
            self.patience = None;
            self.give_up(why);
        }
    }

    fn give_up(&mut self, why: &str) {
        if self.connection.is_some() {
            return;
        }
        tracing::info!(target: "engset", node = %self.link.name, why, "not connected");
        for cargo in self.link.give_up() {
            self.link.fail(&self.endpoint, cargo, &DownReason::NoConnection);
        }
    }

    fn connected(
        &mut self,
        mut stream: Box<dyn Stream>,
        agreement: &Agreement,
        rest: &[u8],
        unsent: Vec<u8>,
    ) {
        if let Some(old) = &self.connection {
            let restarted = old.creation < agreement.peer.creation;
            self.end(End::Replaced { restarted });
        }
        let name = &self.link.name;
        let Some(node) = self.endpoint.node_id(name, agreement.peer.creation) else { return };
        self.patience = None;
        self.stream += 1;
        let (me, number) = (self.me, self.stream);
        stream.set_waker(Arc::new(move || me.send(PeerMessage::Ready(number))));
        let settings = self.endpoint.settings();
        let theirs = Duration::from_millis(u64::from(agreement.peer.limits.heartbeat));
        self.tick = now();
        let both = agreement.peer.features | self.endpoint.identity().features;
        let hidden = both & feature::HIDDEN != 0;
        self.connection = Some(Connection {
            stream,
            node,
            hidden,
            creation: agreement.peer.creation,
            incoming: Incoming::new(settings, agreement),
            pulse: Pulse::new(settings.heartbeat, theirs, now()),
            types: Vec::new(),
            out: unsent,
            written: 0,
            undecodable: 0,
        });
        tracing::info!(target: "engset", node = %name, "connected");
        self.endpoint.announce(&Event::NodeUp(NodeUp::new(Arc::clone(name), node)), hidden);
        let failed = self.link.set_up(&self.endpoint, settings, agreement, node);
        for (cargo, reason) in failed {
            self.link.fail(&self.endpoint, cargo, &reason);
        }
        if let Err(end) = self.take_in(rest) {
            return self.end(end);
        }
        self.flush();
    }

    fn close(&mut self, why: &'static str) {
        if let Some(up) = &mut self.link.lock().up {
            up.outgoing.control(&Control::Goodbye { why: why.to_owned() });
        }
        self.flush();
        if self.connection.is_some() {
            self.end(End::Closed(why));
        }
    }

    /// The connection is over: each link and monitor over it ends, then the node is down.
    fn end(&mut self, end: End) {
        let Some(connection) = self.connection.take() else { return };
        let why = end.text();
        tracing::info!(target: "engset", node = %self.link.name, why, "disconnected");
        drop(connection.stream);
        let reason = match end {
            End::Replaced { restarted: true } => DownReason::NodeRestarted,
            _ => DownReason::NoConnection,
        };
        let up = self.link.lock().up.take();
        if let Some(up) = up {
            for parcel in up.relations.lost(&reason) {
                // They are no messages: it does not fail.
                let _ = remote::deliver(parcel);
            }
        }
        self.endpoint.lost(&self.link.name, &reason);
        self.link.wake_senders();
        let down = NodeDown::new(Arc::clone(&self.link.name), connection.node, why.into());
        self.endpoint.announce(&Event::NodeDown(down), connection.hidden);
    }

    /// Writes what there is to write; without a connection, dials if something waits.
    fn flush(&mut self) {
        let (up, waiting) = self.link.looked();
        let Some(connection) = &mut self.connection else {
            if waiting && !up {
                self.dial();
            }
            return;
        };
        let end = loop {
            if connection.written == connection.out.len() {
                connection.out.clear();
                connection.written = 0;
                if let Some(up) = &mut self.link.lock().up {
                    up.outgoing.produce(&mut connection.out, PIECE);
                }
                if connection.out.is_empty() {
                    break None;
                }
            }
            match connection.stream.write(&connection.out[connection.written..]) {
                Ok(0) => break Some(io::ErrorKind::WriteZero.into()),
                Ok(count) => connection.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(error),
            }
            engset_runtime::reduce(200);
        };
        if connection.out.capacity() > 2 * PIECE && connection.out.is_empty() {
            connection.out = Vec::new();
        }
        self.link.wake_senders();
        if let Some(error) = end {
            // What has come before the connection broke still counts.
            self.read();
            self.end(End::Io(error));
        }
    }

    fn read(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let end = loop {
            let Some(connection) = &mut self.connection else { break None };
            match connection.stream.read(&mut buffer) {
                Ok(0) => break Some(End::Io(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => {
                    if let Err(end) = self.take_in(&buffer[..count]) {
                        break Some(end);
                    }
                    engset_runtime::reduce(count as u32 / 64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(End::Io(error)),
            }
        };
        self.buffer = buffer;
        if let Some(end) = end {
            self.end(end);
        }
    }

    fn take_in(&mut self, bytes: &[u8]) -> Result<(), End> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let now = now();
        let Connection { incoming, pulse, types, node, undecodable, .. } = connection;
        pulse.heard(now);
        let mut inbound = Inbound {
            endpoint: &self.endpoint,
            link: &self.link,
            node: *node,
            types,
            undecodable,
            error: None,
        };
        let result = incoming.receive(bytes, &mut |input| match input {
            Input::Control(Control::Ping) => pulse.beat(now),
            Input::Control(control) => inbound.control(control),
            Input::Packet(bytes) => inbound.packet(bytes),
        });
        let error = inbound.error.take();
        result.map_err(End::Session)?;
        if let Some(bytes) = incoming.take_credit()
            && let Some(up) = &mut self.link.lock().up
        {
            up.outgoing.control(&Control::Credit { bytes });
        }
        if let Some(error) = error {
            return Err(End::Session(error));
        }
        if *undecodable >= TOO_MANY { Err(End::Undecodable) } else { Ok(()) }
    }
}

/// What comes from the other node, on its way to the processes here.
struct Inbound<'a> {
    endpoint: &'a Arc<Endpoint>,
    link: &'a Link,
    node: NodeId,
    types: &'a mut Vec<Known>,
    undecodable: &'a mut u32,
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
                return self.message(from, to, type_id, patience, alias, &calls, bytes);
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
                    Ok(()) => call.answer(bytes),
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
                return self.named(from, name, type_id, patience, &calls, bytes);
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
        from: Option<Pid>,
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
        self.deliver_message(codec, from, to, patience, alias, calls, bytes);
    }

    /// A message for who has a name here.
    fn named(
        &mut self,
        from: Option<Pid>,
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
        match remote::find_named(name, codec) {
            Ok(to) => self.deliver_message(codec, from, to, patience, None, calls, bytes),
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
            remote::discard(codec, bytes);
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
        from: Option<Pid>,
        to: Pid,
        patience: Option<u32>,
        alias: Option<u64>,
        calls: &[(Task, u64)],
        bytes: &[u8],
    ) {
        let result = match nesting::check(bytes, self.endpoint.nesting()) {
            Ok(()) => {
                let op = Op::Message { codec, body: bytes.to_vec(), patience, alias, calls: Vec::new() };
                let calls: Vec<(Pid, u64)> =
                    calls.iter().map(|(caller, call)| (self.there(*caller), *call)).collect();
                remote::deliver_calls(Parcel { from, to, op }, &calls)
            }
            Err(error) => Err(remote::Undelivered::Undecodable(error.to_string())),
        };
        match result {
            Ok(()) => {
                *self.undecodable = 0;
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

    fn request(&self, from: Pid, reference: u64, bytes: &[u8]) {
        match packet::decode(bytes) {
            Ok(request) => self.endpoint.answer(self.link, from, reference, request),
            Err(error) => {
                let answer: Answer = Err(RequestError::BadRequest(error.to_string()));
                remote::answer(from, reference, answer);
            }
        }
    }
}
