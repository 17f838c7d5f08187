//! What a node knows of another one: the state that senders and the peer process share, under one lock.
//!
//! Senders put parcels in ([`Link::route`]), on any thread; the *peer process* (`peer.rs`) takes bytes out, and puts bytes in. While there is no
//! connection parcels wait, up to the bound of the queue; when there is one for another incarnation than they are for, or none comes, they
//! end as if the connection had been lost.

use super::{
    channel::{Channel, Kick},
    endpoint::{Answer, Endpoint},
    handshake::Agreement,
    packet,
    peer::PeerMessage,
    relations::Relations,
    session::{Control, Lane, Outgoing, SenderKey, Settings, seal},
    wire::{Body, Packet, Task},
};
use engset_runtime::{
    Address, DownReason, NodeId, Pid, Undecodable,
    remote::{self, Ancestry, Codec, Op, Parcel, PendingCall, SpawnFor},
};
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// How long a sender waits for room in a full queue before its message is dropped.
const PATIENCE: Duration = Duration::from_secs(5);

/// So many times the bound is what senders that cannot wait may fill: then their messages are dropped.
const OVERFLOW: usize = 2;

/// Bodies from this size on move into the queue instead of being copied.
const LARGE: usize = 32 * 1024;

/// Reductions that a message to another node costs, and so many bytes of it one more: it takes as long as so many sends to a neighbour.
const WORK: u32 = 20;
const WORK_BYTES: usize = 32;
/// What it costs more where much of its sender waits already: a tenth of a slice. Whoever fills the queue has short turns.
const CROWDING: u32 = 400;

/// What has become of messages to a node. Each is counted once it is known.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) suspended: AtomicU64,
}

/// Counters of the messages between this node and another one, over all connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkCounters {
    /// Messages that were given to a connection. Those of a connection that was lost may not have arrived.
    pub sent: u64,
    /// Messages that have come, and were delivered.
    pub received: u64,
    /// Messages that were dropped here before they were given to a connection: there was none, the queue was full, or they were too large.
    pub dropped: u64,
    /// Messages that have come and were not delivered: dead or full receivers, unknown or different types, bytes that cannot be decoded.
    pub refused: u64,
    /// How often a sender had to wait for room.
    pub suspended: u64,
}

pub(crate) fn add(counter: &AtomicU64) {
    // Relaxed: counters guard nothing.
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A request of the node itself, or a parcel.
#[derive(Debug)]
pub(crate) enum Cargo {
    Parcel(Parcel),
    Request { call: PendingCall, bytes: Vec<u8> },
}

pub(crate) struct Waiting {
    /// The incarnation that it is for; `None`: any.
    node: Option<NodeId>,
    cargo: Cargo,
}

/// An established connection.
pub(crate) struct Up {
    pub(crate) node: NodeId,
    pub(crate) creation: u64,
    pub(crate) channel: Arc<Channel>,
    pub(crate) outgoing: Outgoing,
    pub(crate) relations: Relations,
    /// Numbers of types, by the place of their codec; `None`: the other does not take it.
    types: HashMap<usize, Option<u32>>,
    /// Why the other does not take some.
    refused: HashMap<usize, Undecodable>,
    /// The one that was asked for last.
    latest: (usize, Option<u32>),
    announced: Vec<&'static Codec>,
    /// Where packets are put together.
    scratch: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) up: Option<Up>,
    pub(crate) dialling: bool,
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
    suspended: Vec<(Pid, Lane)>,
    /// The peer process will look soon.
    flush: bool,
}

pub(crate) struct Link {
    pub(crate) name: Arc<str>,
    state: Mutex<State>,
    room: Condvar,
    /// Processes and threads that wait for room.
    short_of_room: AtomicUsize,
    claimed: AtomicBool,
    /// The latest incarnation that has proved itself; changed under the lock.
    pub(crate) newest: AtomicU64,
    peer: OnceLock<Address<PeerMessage>>,
    pub(crate) counts: Counts,
    limit: usize,
}

fn key(pid: Option<Pid>) -> SenderKey {
    pid.map_or((0, 0), |pid| {
        let (index, serial) = remote::parts(pid);
        (serial, index)
    })
}

fn task(pid: Pid) -> Task {
    remote::parts(pid)
}

impl Link {
    pub(crate) fn new(name: Arc<str>, limit: usize) -> Self {
        Link {
            name,
            state: Mutex::default(),
            room: Condvar::new(),
            short_of_room: AtomicUsize::new(0),
            claimed: AtomicBool::new(false),
            newest: AtomicU64::new(0),
            peer: OnceLock::new(),
            counts: Counts::default(),
            limit,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer process begins.
    pub(crate) fn set_peer(&self, peer: Address<PeerMessage>) {
        // It is spawned once.
        let _ = self.peer.set(peer);
    }

    /// True for the first that asks: it spawns the peer process.
    pub(crate) fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::Relaxed)
    }

    /// Waits until the peer process is there: who has claimed it is about to spawn it.
    pub(crate) fn await_peer(&self) {
        while self.peer.get().is_none() {
            engset_runtime::sleep(Duration::from_millis(1));
        }
    }

    /// Spawns a child for a process of the other node, and answers. Both under the lock: the child's end cannot go out before
    /// the answer; and in the child's name, so that it does not overtake it either.
    pub(crate) fn answer_spawn(
        &self,
        endpoint: &Endpoint,
        parent: Pid,
        reference: u64,
        ancestry: Ancestry,
        spawn: SpawnFor,
    ) {
        let mut state = self.lock();
        let Some(up) = &mut state.up else { return };
        let node = up.node;
        let spawned = spawn(parent, ancestry);
        let mut from = None;
        if let Ok(child) = &spawned {
            from = Some(*child);
            up.relations.spawned_for(parent, *child, ancestry.link, ancestry.monitor);
        }
        let answer: Answer = spawned.map(|child| (task(child), endpoint.identity().creation));
        let mut body = Vec::new();
        packet::encode(&mut body, &answer);
        let parcel = Parcel { from, to: parent, op: Op::Answer { reference, body } };
        // There is a connection, and an answer is not larger than a packet may be.
        let _ = self.push(endpoint, &mut state, Some(node), Cargo::Parcel(parcel));
    }

    pub(crate) fn tell(&self, message: PeerMessage) {
        if let Some(peer) = self.peer.get() {
            peer.send(message);
        }
    }

    pub(crate) fn counters(&self) -> LinkCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LinkCounters {
            sent: read(&self.counts.sent),
            received: read(&self.counts.received),
            dropped: read(&self.counts.dropped),
            refused: read(&self.counts.refused),
            suspended: read(&self.counts.suspended),
        }
    }

    pub(crate) fn heartbeat_gap(&self) -> Option<Duration> {
        let channel = Arc::clone(&self.lock().up.as_ref()?.channel);
        let pulse = channel.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        Some(pulse.longest_gap())
    }

    /// Is this incarnation gone for sure?
    pub(crate) fn verdict(&self, creation: u64) -> Option<DownReason> {
        // Acquire: who sees the new incarnation sees what came before it.
        (creation < self.newest.load(Ordering::Acquire)).then_some(DownReason::NodeRestarted)
    }

    /// Is there room for a message? It waits for room, if it may.
    fn admit<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        from: Option<Pid>,
        size: usize,
        may_wait: bool,
    ) -> Option<MutexGuard<'a, State>> {
        if !state.is_full(from, size, self.limit) {
            return Some(state);
        }
        // Who cannot wait has some more room.
        let admitted = if may_wait {
            add(&self.counts.suspended);
            self.wait_for_room(state, from, size)
        } else {
            Some(state).filter(|state| !state.is_full(from, size, self.limit.saturating_mul(OVERFLOW)))
        };
        if admitted.is_none() {
            add(&self.counts.dropped);
        }
        admitted
    }

    /// See [`Way::route`](remote::Way::route). For this incarnation, or for any.
    pub(crate) fn route_parcel(
        &self,
        endpoint: &Endpoint,
        node: Option<NodeId>,
        parcel: Parcel,
        may_wait: bool,
    ) {
        let mut state = self.lock();
        if let Op::Message { body, calls, .. } | Op::Named { body, calls, .. } = &parcel.op {
            remote::pay(state.price(parcel.from, body.len()));
            match self.admit(state, parcel.from, body.len(), may_wait) {
                Some(locked) => state = locked,
                None => return calls.iter().for_each(|call| call.broken(None)),
            }
        }
        self.route_locked(endpoint, state, node, Cargo::Parcel(parcel));
    }

    /// Takes a request of the node itself, for any incarnation.
    pub(crate) fn route_request(&self, endpoint: &Endpoint, call: PendingCall, bytes: Vec<u8>) {
        self.route_locked(endpoint, self.lock(), None, Cargo::Request { call, bytes });
    }

    fn route_locked(
        &self,
        endpoint: &Endpoint,
        mut state: MutexGuard<'_, State>,
        node: Option<NodeId>,
        cargo: Cargo,
    ) {
        if state.up.is_none() {
            state.waiting_bytes += cargo.size();
            state.waiting.push(Waiting { node, cargo });
            let wake = !std::mem::replace(&mut state.flush, true);
            drop(state);
            if wake {
                self.tell(PeerMessage::Flush);
            }
            return;
        }
        let result = self.push(endpoint, &mut state, node, cargo);
        let kick = state.up.as_ref().and_then(|up| {
            let queued = up.outgoing.queued();
            // Without room on the way it need not be tried: credit makes room, and who takes it in writes.
            let needed = up.outgoing.has_work() && up.channel.is_kick_needed(queued) == Kick::Yes;
            needed.then(|| (Arc::clone(&up.channel), queued))
        });
        drop(state);
        match result {
            Ok(body) => remote::recycle(body),
            Err((cargo, reason)) => self.fail(endpoint, cargo, &reason),
        }
        if let Some((channel, queued)) = kick {
            channel.kick(queued);
        }
    }

    /// Puts cargo into the connection that there is. Returns a buffer that is not needed any more.
    #[allow(clippy::result_large_err, reason = "the cargo comes back")]
    fn push(
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

    /// There is a connection. What has waited goes out; what was for another incarnation is returned.
    pub(crate) fn set_up(
        &self,
        endpoint: &Endpoint,
        settings: &Settings,
        agreement: &Agreement,
        node: NodeId,
        channel: &Arc<Channel>,
    ) -> Vec<(Cargo, DownReason)> {
        let mut state = self.lock();
        let creation = agreement.peer.creation;
        self.newest.fetch_max(creation, Ordering::AcqRel);
        state.dialling = false;
        state.up = Some(Up {
            node,
            creation,
            channel: Arc::clone(channel),
            outgoing: Outgoing::new(settings, agreement),
            relations: Relations::default(),
            types: HashMap::new(),
            refused: HashMap::new(),
            latest: (0, None),
            announced: Vec::new(),
            scratch: Vec::new(),
        });
        let waiting = std::mem::take(&mut state.waiting);
        state.waiting_bytes = 0;
        let mut failed = Vec::new();
        for Waiting { node, cargo } in waiting {
            failed.extend(self.push(endpoint, &mut state, node, cargo).err());
        }
        failed
    }

    /// No connection has come in time: all that has waited.
    pub(crate) fn give_up(&self) -> Vec<Cargo> {
        let mut state = self.lock();
        state.dialling = false;
        state.waiting_bytes = 0;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.wake_senders();
        waiting.into_iter().map(|waiting| waiting.cargo).collect()
    }

    /// Waits until there is room. `None`: [`PATIENCE`] has ended before.
    fn wait_for_room<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        from: Option<Pid>,
        size: usize,
    ) -> Option<MutexGuard<'a, State>> {
        let limit = self.limit;
        let Some(me) = engset_runtime::try_self_pid() else {
            // A thread that is no process.
            let is_full = |state: &mut State| state.is_full(from, size, limit);
            self.short_of_room.fetch_add(1, Ordering::Relaxed);
            let waited = self.room.wait_timeout_while(state, PATIENCE, is_full);
            let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            self.short_of_room.fetch_sub(1, Ordering::Relaxed);
            return (!waited.timed_out()).then_some(state);
        };
        let end = engset_runtime::now() + PATIENCE;
        while state.is_full(from, size, limit) {
            let left = end.saturating_sub(engset_runtime::now());
            if left.is_zero() {
                return None;
            }
            let lane = state.lane(from, size);
            if !state.suspended.contains(&(me, lane)) {
                state.suspended.push((me, lane));
                self.short_of_room.fetch_add(1, Ordering::Relaxed);
            }
            drop(state);
            remote::park(left);
            state = self.lock();
        }
        Some(state)
    }

    /// Wakes senders that wait, where there is room.
    pub(crate) fn wake_senders(&self) {
        // Relaxed: it is changed under the lock, and whoever has made room has had the lock since: a sender that was
        // there before it is seen, and one that comes after it sees the room.
        if self.short_of_room.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut state = self.lock();
        let room = |lane| state.up.as_ref().is_none_or(|up| up.outgoing.has_room(lane));
        let room = [room(Lane::Small), room(Lane::Bulk)];
        let awake: Vec<(Pid, Lane)> =
            state.suspended.extract_if(.., |(_, lane)| room[*lane as usize]).collect();
        self.short_of_room.fetch_sub(awake.len(), Ordering::Relaxed);
        drop(state);
        // Threads look for themselves.
        self.room.notify_all();
        awake.into_iter().for_each(|(pid, _)| remote::poke(pid));
    }

    /// The peer process looks now: who comes after this wakes it again.
    pub(crate) fn looked(&self) -> (bool, bool) {
        let mut state = self.lock();
        state.flush = false;
        (state.up.is_some(), !state.waiting.is_empty())
    }
}

impl State {
    /// What a message costs its sender, in reductions: for the work that it makes, and more where its sender fills the queue.
    fn price(&self, from: Option<Pid>, size: usize) -> u32 {
        let work = WORK + (size / WORK_BYTES).min(4000) as u32;
        let crowds = self.up.as_ref().is_some_and(|up| up.outgoing.is_crowding(key(from)));
        if crowds { work + CROWDING } else { work }
    }

    fn lane(&self, from: Option<Pid>, size: usize) -> Lane {
        self.up.as_ref().map_or(Lane::Small, |up| up.outgoing.lane(key(from), size))
    }

    /// Has this message to wait for room in its lane, or in what waits for a connection?
    fn is_full(&self, from: Option<Pid>, size: usize, limit: usize) -> bool {
        match &self.up {
            Some(up) => up.outgoing.must_wait(key(from), size, limit),
            None => self.waiting_bytes >= limit,
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

    fn size(&self) -> usize {
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

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.name)
    }
}
