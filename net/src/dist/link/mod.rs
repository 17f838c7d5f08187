//! What a node knows of another one: the state that senders and the peer process share, under one lock.
//!
//! Senders put parcels in ([`Link::route_parcel`]), on any thread; the *peer process* (`peer.rs`) takes bytes out, and puts bytes in. While there is no
//! connection parcels wait, up to the bound of the queue; when there is one for another incarnation than they are for, or none comes, they
//! end as if the connection had been lost.
//!
//! | file | idea |
//! |---|---|
//! | `mod.rs` | the link, its state, and what the peer process does with it |
//! | `cargo.rs` | what goes over it, as packets of the connection |
//! | `room.rs` | senders that find its queue full |

mod cargo;
mod room;

pub(crate) use cargo::Cargo;

use super::{
    channel::{Channel, Kick},
    endpoint::{Answer, Endpoint},
    handshake::Agreement,
    packet,
    peer::PeerMessage,
    relations::Relations,
    session::{Lane, Outgoing, SenderKey, Settings},
    wire::Task,
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

/// See the head of this file.
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

/// What is under the lock.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) up: Option<Up>,
    /// A handshake with this incarnation is done, or cannot fail any more, and the peer process will make a connection of it: to other handshakes it is
    /// one already. The other side may have begun to use it, and a second connection would replace it.
    coming: Option<u64>,
    pub(crate) dialling: bool,
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
    suspended: Vec<(Pid, Lane)>,
    /// The peer process will look soon.
    flush: bool,
}

impl State {
    /// With which incarnation there is a connection, or one as good as made.
    pub(crate) fn connected_with(&self) -> Option<u64> {
        self.coming.max(self.up.as_ref().map(|up| up.creation))
    }

    /// See [`Link::comes`].
    pub(crate) fn comes(&mut self, creation: u64) {
        self.coming = self.coming.max(Some(creation));
    }
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

/// Cargo that waits for a connection.
struct Waiting {
    /// The incarnation that it is for; `None`: any.
    node: Option<NodeId>,
    cargo: Cargo,
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

    /// From now on it dials, and who asks to come in is told so. False: a connection is coming anyway.
    pub(crate) fn begin_to_dial(&self) -> bool {
        let mut state = self.lock();
        state.dialling = state.connected_with().is_none();
        state.dialling
    }

    /// A handshake is done. To be called before the other hears of it; then the peer process is told
    /// ([`Connected`](PeerMessage::Connected)), and calls [`arrived`](Self::arrived).
    pub(crate) fn comes(&self, creation: u64) {
        self.lock().comes(creation);
    }

    /// The peer process has what a handshake has made, and has made a connection of it or has not.
    pub(crate) fn arrived(&self, creation: u64) {
        let mut state = self.lock();
        state.coming.take_if(|coming| *coming <= creation);
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

    /// The peer process looks now: who comes after this wakes it again.
    pub(crate) fn looked(&self) -> (bool, bool) {
        let mut state = self.lock();
        state.flush = false;
        (state.up.is_some(), !state.waiting.is_empty())
    }
}

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

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.name)
    }
}
