//! Processes of nodes that are not in this OS process: the seam to the distribution.
//!
//! 1. A node elsewhere has a [`NodeId`] too, given to one *incarnation* of it as one local node sees it. So pids, addresses and all
//!    that works with them stay what they are, and a pid of a former incarnation never matches the new one.
//! 2. `send.rs` gives what is for such a node to `send`: envelopes become [`Parcel`]s, and go the [`Way`] that the local node's [`Router`]
//!    knows. All kinds go this one way, so their order is its to keep.
//! 3. What comes from there goes through [`deliver`](fn@deliver), on a worker of the local node, and becomes what it was.
//! 4. A message has to be encoded by who knows its type only as an envelope. So whoever makes or takes an address that can leave the node
//!    *registers* the type (`codec.rs`): `serde` bounds are asked for there, and nowhere else.
//!
//! 5. What processes ask of other nodes (`nodes.rs`, `named.rs`) goes to the router too: behaviours use it and know no sockets.
//!
//! Nodes of one OS process reach each other without all this, if their addresses did not go through the distribution.

mod codec;
mod deliver;
mod named;
mod nodes;
mod request;
mod schema;
mod spawn;
mod wire;

pub use {
    codec::{Codec, Remote, codec_by_name, recycle, register},
    deliver::{Incoming, Undelivered, deliver, deliver_message, discard},
    named::{Named, NotNamed, find_named, named, named_from},
    nodes::{Nodes, export, export_with, lookup_at, monitor_nodes, nodes, own_name, spawn_at},
    request::{EntryPoint, Relation, RemoteError, RequestError, SpawnFor, entry_point, entry_point_with},
    schema::fingerprint,
    spawn::{Ancestry, spawn_for},
    wire::{Bytes, Local},
};

use crate::{
    call::{self, Broken, Why},
    error::Undecodable,
    node::{self, NodeId},
    pid::Pid,
    reason::{DownReason, ExitReason},
    signal::Signal,
};
use codec::Noted;
use engset_scheduler::{Envelope, Kind, TaskId, current};
use hashbrown::HashMap;
use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// The distribution of a local node: knows the ways to others. Called on any thread; it must not wait or run code of users.
pub trait Router: Send + Sync {
    /// The way to an incarnation of a node. It is asked for once for each.
    fn way(&self, node: NodeId, name: &str, creation: u64) -> Arc<dyn Way>;

    /// Takes an [`Op::Named`], for whatever incarnation of the node is there. If it may it waits for room, as
    /// [`Way::route`] does.
    fn route_named(&self, node: &str, parcel: Parcel, may_wait: bool);

    /// The nodes that are up, but hidden ones.
    fn nodes(&self) -> Nodes;

    /// Shall this process be told of nodes that come and go? Returns those that are up; what comes after that is told.
    fn watch_nodes(&self, watcher: Pid, on: bool) -> Nodes;

    /// Who has a name there, if it takes messages of this type. Called by a process; it waits.
    ///
    /// # Errors
    ///
    /// See [`RemoteError`].
    fn lookup(&self, node: &str, name: &str, codec: &'static Codec) -> Result<Pid, RemoteError>;

    /// Spawns a process there, for the one that calls, which waits. On this node itself it has no relations yet.
    ///
    /// # Errors
    ///
    /// See [`RemoteError`].
    fn spawn(
        &self,
        node: &str,
        entry: &str,
        argument: Vec<u8>,
        ancestry: Ancestry,
    ) -> Result<Pid, RemoteError>;

    /// Others may spawn this. False: the name is taken.
    fn export(&self, name: &str, entry: EntryPoint) -> bool;
}

/// What brings parcels to one incarnation of another node.
///
/// Its methods are called on any thread, also within runtime sections: they must not run code of users, and not wait, but for
/// [`Way::route`] if it may.
pub trait Way: Send + Sync {
    /// Can anything still arrive there? `Some`: no, and that is known for sure.
    fn verdict(&self) -> Option<DownReason>;

    /// Takes a parcel. If it cannot be brought, whoever waits for it is told in the way of a lost connection. If it is a message
    /// and there is no room for it, it waits for room if it may, until its patience ends; then the message is dropped and counted,
    /// and its calls have no answer.
    fn route(&self, parcel: Parcel, may_wait: bool);
}

/// Something for a process elsewhere.
#[derive(Debug)]
pub struct Parcel {
    /// The local process that sends it: parcels of one sender keep their order. `None`: no process.
    pub from: Option<Pid>,
    /// Who gets it.
    pub to: Pid,
    /// What it is.
    pub op: Op,
}

/// What travels between nodes.
#[derive(Debug)]
pub enum Op {
    /// A message.
    Message {
        /// How it was encoded.
        codec: &'static Codec,
        /// Its bytes.
        body: Vec<u8>,
        /// Milliseconds that the caller will wait, if it is a request.
        patience: Option<u32>,
        /// The alias that it was sent to.
        alias: Option<u64>,
        /// Calls whose `Reply` is in it.
        calls: Vec<PendingCall>,
    },
    /// A message for who has a name on the node.
    Named {
        /// The name.
        name: Arc<str>,
        /// How it was encoded.
        codec: &'static Codec,
        /// Its bytes.
        body: Vec<u8>,
        /// Milliseconds that the caller will wait, if it is a request.
        patience: Option<u32>,
        /// Calls whose `Reply` is in it.
        calls: Vec<PendingCall>,
    },
    /// The answer to a call, for `to`.
    Answer {
        /// The call.
        reference: u64,
        /// Its bytes.
        body: Vec<u8>,
    },
    /// There will be no answer.
    Broken {
        /// The call.
        reference: u64,
        /// Why; `None`: the `Reply` was dropped.
        down: Option<DownReason>,
    },
    /// There will be no answer: the request could not be read.
    Undecodable {
        /// The call.
        reference: u64,
        /// What is wrong.
        why: Undecodable,
    },
    /// An exit signal.
    Exit {
        /// Why.
        reason: ExitReason,
        /// It comes from a link.
        link: bool,
    },
    /// The sender links itself.
    Link,
    /// The sender unlinks itself.
    Unlink {
        /// The number that the acknowledgement bears.
        id: u64,
    },
    /// The sender has seen an `Unlink`.
    UnlinkAck {
        /// Its number.
        id: u64,
    },
    /// The sender watches.
    Monitor {
        /// The monitor.
        reference: u64,
    },
    /// The sender does not watch any more.
    Demonitor {
        /// The monitor.
        reference: u64,
    },
    /// A monitor of the receiver's has fired.
    Down {
        /// The monitor.
        reference: u64,
        /// What is known.
        reason: DownReason,
    },
    /// A question about a process.
    Inspect {
        /// Who asks.
        call: PendingCall,
    },
}

/// A call of a local process that waits for an answer from elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct PendingCall {
    /// Who waits: a process, or a thread that is none.
    pub caller: Pid,
    /// The call.
    pub reference: u64,
    pub(crate) decode: codec::DecodeAnswer,
}

impl PendingCall {
    /// The answer has come: for its caller.
    ///
    /// # Errors
    ///
    /// The bytes are not what the caller waits for; it is told that there is no answer.
    pub fn answer(self, body: &[u8]) -> Result<(), String> {
        match (self.decode)(self.reference, body) {
            Ok(envelope) => {
                call::give(self.caller, envelope);
                Ok(())
            }
            Err(error) => {
                self.undecodable(Undecodable::Malformed { error: error.clone() });
                Err(error)
            }
        }
    }

    /// There will be no answer: it, or the request, cannot be read.
    pub fn undecodable(self, why: Undecodable) {
        call::break_off(self.caller, Broken::undecodable(self.reference, why));
    }

    /// There will be no answer. `None`: the `Reply` was dropped.
    pub fn broken(self, down: Option<DownReason>) {
        let broken = match down {
            Some(reason) => Broken::down(self.reference, reason),
            None => Broken::no_reply(self.reference),
        };
        call::break_off(self.caller, broken);
    }
}

/// A node elsewhere, as a local one sees it.
struct Elsewhere {
    name: Arc<str>,
    creation: u64,
    home: NodeId,
    way: Arc<dyn Way>,
}

/// A local node that others know by this name.
struct Home {
    name: Arc<str>,
    creation: u64,
    router: Arc<dyn Router>,
}

#[derive(Default)]
struct Table {
    elsewhere: HashMap<NodeId, Elsewhere>,
    homes: HashMap<NodeId, Home>,
    /// By home, name and incarnation.
    known: HashMap<(NodeId, Arc<str>, u64), NodeId>,
}

/// Grows when nodes leave: then what threads remember of [`LAST`] is out of date.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// A way, and the generation in which it was found.
type Remembered = (u64, NodeId, Arc<dyn Way>);

thread_local! {
    /// The latest way that was used on this thread. It is taken out while it is in use: code of users runs meanwhile.
    static LAST: Cell<Option<Remembered>> = const { Cell::new(None) };
}

static TABLE: RwLock<Option<Table>> = RwLock::new(None);

fn read<R>(f: impl FnOnce(&Table) -> R) -> Option<R> {
    TABLE.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(f)
}

fn write<R>(f: impl FnOnce(&mut Table) -> R) -> R {
    f(TABLE.write().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// A local node has this name and incarnation for others from now on.
pub fn join(home: NodeId, name: Arc<str>, creation: u64, router: Arc<dyn Router>) {
    codec::register_answers();
    write(|table| table.homes.insert(home, Home { name, creation, router }));
}

/// It has none any more; what it knew of others is forgotten.
pub fn leave(home: NodeId) {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    let gone = write(|table| {
        table.known.retain(|(other, _, _), _| *other != home);
        let gone: Vec<Elsewhere> =
            table.elsewhere.extract_if(|_, node| node.home == home).map(|(_, node)| node).collect();
        (gone, table.homes.remove(&home))
    });
    // Routers are dropped without the lock.
    drop(gone);
}

/// The number of a node, as `home` sees it: of itself or of another one. `None`: `home` has not joined.
#[must_use]
pub fn node_id(home: NodeId, name: &str, creation: u64) -> Option<NodeId> {
    let found = read(|table| {
        let own = table.homes.get(&home)?;
        if &*own.name == name && own.creation == creation {
            return Some(home);
        }
        table.known.get(&(home, Arc::from(name), creation)).copied()
    });
    if let Some(Some(id)) = found {
        return Some(id);
    }
    let id = node::fresh_id();
    let router = read(|table| table.homes.get(&home).map(|home| Arc::clone(&home.router))).flatten()?;
    // Not under the lock: it may be dropped again.
    let way = router.way(id, name, creation);
    write(|table| {
        table.homes.get(&home)?;
        let name: Arc<str> = Arc::from(name);
        let found = *table.known.entry((home, Arc::clone(&name), creation)).or_insert(id);
        if found == id {
            table.elsewhere.insert(id, Elsewhere { name, creation, home, way });
        }
        Some(found)
    })
}

/// Name and incarnation of a node, local or not, if it has joined.
#[must_use]
pub fn identity(node: NodeId) -> Option<(Arc<str>, u64)> {
    read(|table| {
        let elsewhere = table.elsewhere.get(&node).map(|node| (Arc::clone(&node.name), node.creation));
        elsewhere.or_else(|| table.homes.get(&node).map(|home| (Arc::clone(&home.name), home.creation)))
    })
    .flatten()
}

/// A task of a node, as a pid.
#[must_use]
pub fn pid(node: NodeId, index: u32, serial: u64) -> Pid {
    Pid::new(node, TaskId::new(index, serial))
}

/// The two numbers of a pid besides its node.
#[must_use]
pub fn parts(pid: Pid) -> (u32, u64) {
    pid.parts()
}

/// The node itself, or the local one that sees it.
pub(crate) fn home(node: NodeId) -> NodeId {
    read(|table| table.elsewhere.get(&node).map(|node| node.home)).flatten().unwrap_or(node)
}

fn way(node: NodeId) -> Option<Arc<dyn Way>> {
    read(|table| table.elsewhere.get(&node).map(|node| Arc::clone(&node.way))).flatten()
}

/// What is known of a process of a node that a send has found unreachable.
pub(crate) fn verdict(node: NodeId) -> Option<DownReason> {
    way(node)?.verdict()
}

/// Was this node the latest one elsewhere that this thread has sent to? Then it is none of this OS process.
#[inline]
pub(crate) fn is_usual(node: NodeId) -> bool {
    let last = LAST.take();
    let is_it = last.as_ref().is_some_and(|(_, other, _)| *other == node);
    LAST.set(last);
    is_it
}

/// The way of an envelope to a node elsewhere. It comes back if the node is not known, or is gone for sure.
pub(crate) fn send(to: Pid, envelope: Envelope) -> Result<(), Envelope> {
    let node = to.node();
    // Relaxed: a way that is out of date takes parcels still, as one of a node that has just left does.
    let generation = GENERATION.load(Ordering::Relaxed);
    let (generation, way) = match LAST.take() {
        Some((seen, other, way)) if seen == generation && other == node => (seen, way),
        _ => match way(node) {
            Some(way) => (generation, way),
            None => return Err(envelope),
        },
    };
    let result = send_by(&*way, to, envelope);
    LAST.set(Some((generation, node, way)));
    result
}

fn send_by(way: &dyn Way, to: Pid, envelope: Envelope) -> Result<(), Envelope> {
    if way.verdict().is_some() {
        return Err(envelope);
    }
    if let Some((from, op)) = parcel(to, envelope) {
        let may_wait = current::may_wait() || !current::on_worker();
        way.route(Parcel { from, to, op }, may_wait);
    }
    Ok(())
}

/// Sends an event to a local process. False: it is dead.
pub fn tell(to: Pid, event: crate::Event) -> bool {
    crate::send::envelope(to, Envelope::event(event)).is_ok()
}

/// Does a local process belong to this worker? A hint: it may move.
#[must_use]
pub fn is_here(to: Pid) -> bool {
    current::is_here(to.task())
}

/// The worker that a local process belongs to. A hint: it may move.
#[must_use]
pub fn worker_of(to: Pid) -> Option<engset_scheduler::driver::WorkerName> {
    engset_scheduler::driver::worker_of(to.task())
}

/// Ends the wait of a process in [`park`].
pub fn poke(to: Pid) {
    crate::send::signal(to, Signal::Poke);
}

/// Waits, for a [`poke`] or for so long. The process may be poked for other reasons.
pub fn park(timeout: std::time::Duration) {
    let _ = current::sleep(crate::process::deadline(timeout));
}

/// The process that sends pays so many reductions for it. It gives up its turn later, not here.
pub fn pay(units: u32) {
    current::pay(units.min(i32::MAX as u32) as i32);
}

/// A question about a local process, from elsewhere.
pub fn inspect(from: Pid, to: Pid, reference: u64) {
    crate::send::signal(to, Signal::Inspect { caller: from, reference });
}

/// Answers a call from elsewhere.
pub fn answer<T: serde::Serialize + Send + 'static>(caller: Pid, reference: u64, value: T) {
    codec::register_answer::<T>();
    call::answer(caller, reference, value);
}

/// Tells a caller elsewhere that its request was dropped.
pub fn break_off(caller: Pid, reference: u64) {
    call::break_off(caller, Broken::no_reply(reference));
}

/// Finds the process that has a name on the node of the process that calls, if it takes messages of a registered type.
#[must_use]
pub fn find_exported(name: &str) -> Option<(Pid, Option<&'static Codec>)> {
    let (pid, type_id) = node::with_current(|node| node.names.find_type(name)).flatten()?;
    Some((pid, type_id.and_then(codec::of_type)))
}

/// An address, by who has made sure that the process takes messages of the type.
#[must_use]
pub fn address<M: Remote>(pid: Pid) -> crate::Address<M> {
    register::<M>();
    crate::Address::new(pid)
}

/// Sends what is no envelope: a request of the distribution itself.
pub fn ask<T: Send + serde::de::DeserializeOwned + 'static>(
    send: impl FnOnce(PendingCall),
) -> Result<T, crate::CallError> {
    call::wait_for(|reply: crate::Reply<T>| {
        let (caller, reference) = reply.into_parts();
        send(PendingCall { caller, reference, decode: codec::decode_answer::<T> });
    })
}

/// Tells a caller elsewhere that its request could not be read here.
pub fn undecodable(caller: Pid, reference: u64, why: Undecodable) {
    call::break_off(caller, Broken::undecodable(reference, why));
}

/// Tells a caller elsewhere that who was asked is not there.
pub fn nobody_there(caller: Pid, reference: u64) {
    call::break_off(caller, Broken::down(reference, DownReason::NoProc));
}

fn encode_message(envelope: Envelope, alias: Option<u64>) -> Option<Op> {
    let Some(codec) = codec::of_message(&envelope) else {
        tracing::warn!(target: "engset", message = envelope.type_name(), "a message of a type that is not registered for other nodes is dropped");
        current::drop_outside(envelope);
        return None;
    };
    let patience = crate::hooks::patience(&envelope);
    let (encoded, calls) = codec::encode(codec, &envelope);
    // Replies in it that were encoded have left it.
    current::drop_outside(envelope);
    match encoded {
        Ok(body) => Some(Op::Message { codec, body, patience, alias, calls }),
        Err(error) => {
            tracing::warn!(target: "engset", message = codec.name(), %error, "a message for another node was not encoded, and is dropped");
            calls.into_iter().for_each(|call: Noted| call.broken(None));
            None
        }
    }
}

/// An envelope as it travels, and who sends it. `None`: it does not travel.
fn parcel(to: Pid, envelope: Envelope) -> Option<(Option<Pid>, Op)> {
    let sender = crate::try_self_pid();
    match envelope.kind() {
        Kind::Message => Some((sender, encode_message(envelope, None)?)),
        Kind::Event => None,
        Kind::Reply => {
            let envelope = match envelope.take::<Broken>() {
                Ok(broken) => {
                    let (reference, why) = broken.into_parts();
                    let op = match why {
                        Why::Dropped => Op::Broken { reference, down: None },
                        Why::Down(reason) => Op::Broken { reference, down: Some(reason) },
                        Why::Undecodable(why) => Op::Undecodable { reference, why },
                    };
                    return Some((sender, op));
                }
                Err(envelope) => envelope,
            };
            let encoded = codec::encode_answer(&envelope);
            let name = envelope.type_name();
            current::drop_outside(envelope);
            match encoded {
                Ok((reference, body)) => Some((sender, Op::Answer { reference, body })),
                Err((reference, error)) => {
                    tracing::warn!(target: "engset", answer = name, %error, "an answer for another node was not encoded");
                    Some((sender, Op::Broken { reference: reference?, down: None }))
                }
            }
        }
        Kind::Signal => {
            let signal = envelope.take::<Signal>().ok()?;
            Some(match signal {
                Signal::Exit(exit) => {
                    let link = exit.origin == crate::exit_rule::Origin::Link;
                    ((exit.from != to).then_some(exit.from), Op::Exit { reason: exit.reason, link })
                }
                Signal::Link { from, .. } => (Some(from), Op::Link),
                Signal::Unlink { from, id } => (Some(from), Op::Unlink { id }),
                Signal::UnlinkAck { from, id } => (Some(from), Op::UnlinkAck { id }),
                Signal::Monitor { watcher, reference } => {
                    (Some(watcher), Op::Monitor { reference: reference.0 })
                }
                Signal::Demonitor { watcher, reference } => {
                    (Some(watcher), Op::Demonitor { reference: reference.0 })
                }
                Signal::Down { reference, reason } => (sender, Op::Down { reference: reference.0, reason }),
                Signal::Aliased { alias, message } => (sender, encode_message(message, Some(alias))?),
                Signal::Inspect { caller, reference } => {
                    let decode = codec::decode_answer::<Box<crate::ProcessInfo>>;
                    (Some(caller), Op::Inspect { call: PendingCall { caller, reference, decode } })
                }
                Signal::System(system) => {
                    // A request of any type cannot travel. Its reply says so, when it is dropped.
                    current::drop_outside(system);
                    return None;
                }
                // What belongs to this node cannot live as long as a process of another.
                Signal::Hold(parcel) => {
                    parcel.bounce();
                    return None;
                }
                Signal::LetGo { .. } | Signal::Adopt { .. } | Signal::Poke | Signal::Survived => return None,
            })
        }
    }
}

impl fmt::Debug for dyn Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Router")
    }
}

impl fmt::Debug for dyn Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Way")
    }
}
