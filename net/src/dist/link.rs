//! What a node knows of another one: the state that senders and the peer process share, under one lock.
//!
//! Senders put parcels in ([`Link::route`]), on any thread; the *peer process* (`peer.rs`) takes bytes out, and puts bytes in. While there is no
//! connection parcels wait, up to the bound of the queue; when there is one for another incarnation than they are for, or none comes, they
//! end as if the connection had been lost.

use super::{
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
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// How long a sender waits for room in a full queue before its message is dropped.
const PATIENCE: Duration = Duration::from_secs(5);

/// So many times the bound is what senders that cannot wait may fill: then their messages are dropped.
const OVERFLOW: usize = 2;

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
    pub(crate) outgoing: Outgoing,
    pub(crate) relations: Relations,
    /// Numbers of types, by the place of their codec; or why the other does not take it.
    types: HashMap<usize, Result<u32, Undecodable>>,
    announced: Vec<&'static Codec>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) up: Option<Up>,
    pub(crate) dialling: bool,
    /// The latest incarnation that has proved itself.
    pub(crate) newest: u64,
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
    claimed: AtomicBool,
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
            claimed: AtomicBool::new(false),
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

    /// Is this incarnation gone for sure?
    pub(crate) fn verdict(&self, creation: u64) -> Option<DownReason> {
        (creation < self.lock().newest).then_some(DownReason::NodeRestarted)
    }

    /// Is there room for a message? See [`Router::admit`](remote::Router::admit).
    pub(crate) fn admit(&self, from: Option<Pid>, size: usize, may_wait: bool) -> bool {
        let state = self.lock();
        if !state.is_full(from, size, self.limit) {
            return true;
        }
        // Who cannot wait has some more room.
        let admitted = if may_wait {
            add(&self.counts.suspended);
            self.wait_for_room(state, from, size)
        } else {
            !state.is_full(from, size, self.limit.saturating_mul(OVERFLOW))
        };
        if !admitted {
            add(&self.counts.dropped);
        }
        admitted
    }

    /// Takes cargo.
    pub(crate) fn route(&self, endpoint: &Endpoint, node: Option<NodeId>, cargo: Cargo) {
        let mut state = self.lock();
        let result = if state.up.is_some() {
            self.push(endpoint, &mut state, node, cargo)
        } else {
            state.waiting_bytes += cargo.size();
            state.waiting.push(Waiting { node, cargo });
            Ok(())
        };
        let wake = !state.flush;
        state.flush = true;
        drop(state);
        if let Err((cargo, reason)) = result {
            self.fail(endpoint, cargo, &reason);
        }
        if wake {
            self.tell(PeerMessage::Flush);
        }
    }

    /// Puts cargo into the connection that there is.
    #[allow(clippy::result_large_err, reason = "the cargo comes back")]
    fn push(
        &self,
        endpoint: &Endpoint,
        state: &mut State,
        node: Option<NodeId>,
        cargo: Cargo,
    ) -> Result<(), (Cargo, DownReason)> {
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
                    None => return Ok(()),
                }
            }
        };
        let mut bytes = Vec::with_capacity(64 + cargo.size());
        bytes.push(0);
        Packet { from: from.map(task), to, body }.write(&mut bytes);
        let bytes = seal(bytes, up.outgoing.compresses());
        match up.outgoing.push(key(from), &bytes) {
            Ok(_) => {
                if cargo.is_message() {
                    add(&self.counts.sent);
                }
                Ok(())
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
        match up.number(codec) {
            Ok(number) => Some(number),
            Err(why) => {
                add(&self.counts.dropped);
                calls.iter().for_each(|call| call.undecodable(why.clone()));
                None
            }
        }
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
    ) -> Vec<(Cargo, DownReason)> {
        let mut state = self.lock();
        let creation = agreement.peer.creation;
        state.newest = state.newest.max(creation);
        state.dialling = false;
        state.up = Some(Up {
            node,
            creation,
            outgoing: Outgoing::new(settings, agreement),
            relations: Relations::default(),
            types: HashMap::new(),
            announced: Vec::new(),
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

    /// Waits until there is room. False: [`PATIENCE`] has ended before.
    fn wait_for_room<'a>(&'a self, mut state: MutexGuard<'a, State>, from: Option<Pid>, size: usize) -> bool {
        let limit = self.limit;
        let Some(me) = engset_runtime::try_self_pid() else {
            // A thread that is no process.
            let is_full = |state: &mut State| state.is_full(from, size, limit);
            let waited = self.room.wait_timeout_while(state, PATIENCE, is_full);
            return !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out();
        };
        let end = engset_runtime::now() + PATIENCE;
        while state.is_full(from, size, limit) {
            let left = end.saturating_sub(engset_runtime::now());
            if left.is_zero() {
                return false;
            }
            let lane = state.lane(from, size);
            if !state.suspended.contains(&(me, lane)) {
                state.suspended.push((me, lane));
            }
            drop(state);
            remote::park(left);
            state = self.lock();
        }
        true
    }

    /// Wakes senders that wait, where there is room.
    pub(crate) fn wake_senders(&self) {
        let mut state = self.lock();
        if state.suspended.is_empty() {
            drop(state);
            // Threads look for themselves; as a rule there are none.
            return self.room.notify_all();
        }
        let room = |lane| state.up.as_ref().is_none_or(|up| up.outgoing.has_room(lane));
        let room = [room(Lane::Small), room(Lane::Bulk)];
        let awake: Vec<(Pid, Lane)> =
            state.suspended.extract_if(.., |(_, lane)| room[*lane as usize]).collect();
        drop(state);
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
    fn lane(&self, from: Option<Pid>, size: usize) -> Lane {
        self.up.as_ref().map_or(Lane::Small, |up| up.outgoing.lane(key(from), size))
    }

    /// Do so many bytes wait in the lane of this message, or for a connection?
    fn is_full(&self, from: Option<Pid>, size: usize, limit: usize) -> bool {
        match &self.up {
            Some(up) => up.outgoing.queued_in(up.outgoing.lane(key(from), size)) >= limit,
            None => self.waiting_bytes >= limit,
        }
    }
}

impl Up {
    /// The number of a type on this connection; it is announced before it is used.
    fn number(&mut self, codec: &'static Codec) -> Result<u32, Undecodable> {
        let (types, announced, outgoing) = (&mut self.types, &mut self.announced, &mut self.outgoing);
        let number = types.entry(std::ptr::from_ref(codec).addr()).or_insert_with(|| {
            let id = announced.len() as u32;
            announced.push(codec);
            let (name, fingerprint) = (codec.name().to_owned(), codec.fingerprint());
            outgoing.control(&Control::Type { id, name, fingerprint });
            Ok(id)
        });
        number.clone()
    }

    /// The other does not take a type, which has this fingerprint there.
    pub(crate) fn refuse(&mut self, id: u32, there: u64) -> Option<&'static Codec> {
        let codec = *self.announced.get(id as usize)?;
        let name = codec.name().to_owned();
        let why = Undecodable::DifferentType { name, sent: codec.fingerprint(), read: there };
        self.types.insert(std::ptr::from_ref(codec).addr(), Err(why));
        Some(codec)
    }

    /// The type that has this number.
    pub(crate) fn announced(&self, id: u32) -> Option<&'static Codec> {
        self.announced.get(id as usize).copied()
    }
}

impl Cargo {
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

    fn is_message(&self) -> bool {
        matches!(self, Cargo::Parcel(Parcel { op: Op::Message { .. } | Op::Named { .. }, .. }))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.name)
    }
}
