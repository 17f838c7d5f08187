//! Bounded mailboxes (semantics row S14).
//!
//! A process that is spawned with a [`Limit`] is marked; sends to it take the path in this file. What
//! its mailbox holds is counted in a [`Bound`] that the senders share:
//!
//! 1. A message *reserves* room before it goes on its way; the receiver gives it back when it takes the
//!    message out ([`taken`]), or when the message is dropped with the mailbox. So what is under way counts too.
//!    A timer's message reserves when it fires; it does not wait for room. Events and signals are exempt.
//! 2. *Block*: a sender without room puts itself on the waiting list, looks once more, and sleeps; a receiver
//!    that has room for half of the limit again pokes all who wait. The lock of the list orders the second look
//!    against the poke, so none is lost.
//! 3. *Drop oldest*: the message goes in beyond the limit; a receiver whose mailbox holds more than the limit
//!    drops from the front until it does not ([`is_over`]). One that does not look until twice the limit is held
//!    gets no more: then the newest is dropped.

use crate::{
    error::SendError,
    node,
    pid::{Address, Pid},
    process::try_self_pid,
    reason::ExitReason,
    reductions::price,
    relations, send,
    signal::Signal,
};
use engset_scheduler::{
    Envelope, Kind,
    current::{self, Position, Wake},
};
use hashbrown::HashMap;
use std::{
    fmt, mem,
    sync::{
        Arc, Condvar, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// What a mailbox may hold, and what happens to a message that does not fit.
#[derive(Clone)]
pub struct Limit {
    messages: usize,
    bytes: usize,
    overflow: Overflow,
    weigh: Option<Weigh>,
}

/// Weighs a message, in bytes.
type Weigh = Arc<dyn Fn(&Envelope) -> usize + Send + Sync>;

/// What happens to a message that does not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The sender waits for room. (A thread that is no process blocks.)
    #[default]
    Block,
    /// It is dropped.
    DropNewest,
    /// The oldest in the mailbox is dropped for it.
    DropOldest,
    /// The receiver is killed: who relies on it learns that it was overloaded.
    KillReceiver,
}

impl Limit {
    /// At most so many messages.
    ///
    /// # Panics
    ///
    /// If it is 0.
    #[must_use]
    pub fn messages(most: usize) -> Self {
        assert!(most > 0, "a mailbox that holds 0 messages");
        Limit { messages: most, bytes: usize::MAX, overflow: Overflow::default(), weigh: None }
    }

    /// At most so many bytes of messages. A message counts with its own size, without what it points
    /// to, if [`Limit::weigh`] does not say otherwise.
    ///
    /// # Panics
    ///
    /// If it is 0.
    #[must_use]
    pub fn bytes(most: usize) -> Self {
        assert!(most > 0, "a mailbox that holds 0 bytes");
        Limit { messages: usize::MAX, bytes: most, overflow: Overflow::default(), weigh: None }
    }

    /// And at most so many bytes.
    #[must_use]
    pub fn and_bytes(self, most: usize) -> Self {
        Limit { bytes: most.min(self.bytes).max(1), ..self }
    }

    /// And at most so many messages.
    #[must_use]
    pub fn and_messages(self, most: usize) -> Self {
        Limit { messages: most.min(self.messages).max(1), ..self }
    }

    /// What happens to a message that does not fit. Default: the sender waits.
    #[must_use]
    pub fn overflow(self, overflow: Overflow) -> Self {
        Limit { overflow, ..self }
    }

    /// With other numbers or another policy where some are given. (Those of the configuration.)
    pub(crate) fn replaced(
        self,
        messages: Option<usize>,
        bytes: Option<usize>,
        overflow: Option<Overflow>,
    ) -> Self {
        Limit {
            messages: messages.unwrap_or(self.messages),
            bytes: bytes.unwrap_or(self.bytes),
            overflow: overflow.unwrap_or(self.overflow),
            weigh: self.weigh,
        }
    }

    /// How many bytes a message counts for, what it points to included.
    #[must_use]
    pub fn weigh<M: Send + 'static>(self, weigh: impl Fn(&M) -> usize + Send + Sync + 'static) -> Self {
        let weigh: Weigh =
            Arc::new(move |envelope: &Envelope| envelope.get::<M>().map_or(envelope.size(), &weigh));
        Limit { weigh: Some(weigh), ..self }
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("messages", &self.messages)
            .field("bytes", &self.bytes)
            .field("overflow", &self.overflow)
            .finish_non_exhaustive()
    }
}

/// The shared count of one mailbox.
pub(crate) struct Bound {
    limit: Limit,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    someone_waits: AtomicBool,
    waiting: Mutex<Vec<Pid>>,
    /// For threads that are no processes; with the lock of `waiting`.
    room: Condvar,
    closed: AtomicBool,
}

enum Admission {
    Yes,
    No,
    Kill,
}

enum Room {
    Yes,
    No,
    Never(usize),
}

impl Bound {
    pub(crate) fn new(limit: Limit) -> Self {
        Bound {
            limit,
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            someone_waits: AtomicBool::new(false),
            waiting: Mutex::new(Vec::new()),
            room: Condvar::new(),
            closed: AtomicBool::new(false),
        }
    }

    fn weight(&self, envelope: &Envelope) -> usize {
        if self.limit.bytes == usize::MAX {
            return 0;
        }
        self.limit.weigh.as_ref().map_or(envelope.size(), |weigh| weigh(envelope))
    }

    /// Rule 1.
    fn reserve(&self, envelope: &Envelope) -> Room {
        let weight = self.weight(envelope);
        if weight > self.limit.bytes {
            return Room::Never(weight);
        }
        // Relaxed, here and below: the counts guard no data; the messages travel with their own order.
        if self.messages.fetch_add(1, Ordering::Relaxed) >= self.limit.messages {
            self.messages.fetch_sub(1, Ordering::Relaxed);
            return Room::No;
        }
        if weight > 0 && self.bytes.fetch_add(weight, Ordering::Relaxed) + weight > self.limit.bytes {
            self.bytes.fetch_sub(weight, Ordering::Relaxed);
            self.messages.fetch_sub(1, Ordering::Relaxed);
            return Room::No;
        }
        Room::Yes
    }

    /// Beyond the limit, but not beyond twice the limit (rule 3).
    fn force(&self, envelope: &Envelope) -> bool {
        let weight = self.weight(envelope);
        let messages = self.messages.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.bytes.fetch_add(weight, Ordering::Relaxed) + weight;
        let fits =
            messages <= self.limit.messages.saturating_mul(2) && bytes <= self.limit.bytes.saturating_mul(2);
        if !fits {
            self.messages.fetch_sub(1, Ordering::Relaxed);
            self.bytes.fetch_sub(weight, Ordering::Relaxed);
        }
        fits
    }

    fn is_over(&self) -> bool {
        self.messages.load(Ordering::Relaxed) > self.limit.messages
            || self.bytes.load(Ordering::Relaxed) > self.limit.bytes
    }

    /// Room without waiting for it; what does not fit is dropped by the caller.
    fn admit(&self, envelope: &Envelope) -> Admission {
        match self.reserve(envelope) {
            Room::Yes => Admission::Yes,
            Room::Never(_) => Admission::No,
            Room::No => match self.limit.overflow {
                Overflow::Block | Overflow::DropNewest => Admission::No,
                Overflow::DropOldest if self.force(envelope) => Admission::Yes,
                Overflow::DropOldest => Admission::No,
                Overflow::KillReceiver => Admission::Kill,
            },
        }
    }

    fn give_back(&self, weight: usize) {
        let left = self.messages.fetch_sub(1, Ordering::Relaxed) - 1;
        let bytes = self.bytes.fetch_sub(weight, Ordering::Relaxed) - weight;
        // Sequentially consistent with the store in `wait_for_room`: either we see that someone waits, or that
        // someone's second look sees the room.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.someone_waits.load(Ordering::Relaxed)
            && left <= self.limit.messages / 2
            && bytes <= self.limit.bytes / 2
        {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(&self) {
        let mut waiting = node::lock(&self.waiting);
        self.someone_waits.store(false, Ordering::Relaxed);
        let pids = mem::take(&mut *waiting);
        drop(waiting);
        self.room.notify_all();
        for pid in pids {
            send::signal(pid, Signal::Poke);
        }
    }

    /// Rule 2. Returns when it is worth another try, or when the deadline has passed (false).
    fn wait_for_room(&self, deadline: u64) -> bool {
        let mut waiting = node::lock(&self.waiting);
        self.someone_waits.store(true, Ordering::Relaxed);
        std::sync::atomic::fence(Ordering::SeqCst);
        let full = self.messages.load(Ordering::Relaxed) >= self.limit.messages
            || (self.limit.bytes != usize::MAX && self.bytes.load(Ordering::Relaxed) > self.limit.bytes / 2);
        if !full || self.closed.load(Ordering::Relaxed) {
            return true;
        }
        match try_self_pid() {
            Some(pid) => {
                if !waiting.contains(&pid) {
                    waiting.push(pid);
                }
                drop(waiting);
                current::sleep(deadline) != Wake::TimedOut
            }
            None => {
                drop(self.room.wait(waiting));
                true
            }
        }
    }
}

/// The bounds of a node's marked processes.
#[derive(Default)]
pub(crate) struct Bounds {
    table: RwLock<HashMap<Pid, Arc<Bound>>>,
}

impl Bounds {
    pub(crate) fn insert(&self, pid: Pid, bound: Arc<Bound>) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).insert(pid, bound);
    }

    pub(crate) fn remove(&self, pid: Pid, bound: &Bound) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).remove(&pid);
        bound.closed.store(true, Ordering::Relaxed);
        bound.wake_all();
    }

    fn get(&self, pid: Pid) -> Option<Arc<Bound>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).get(&pid).cloned()
    }
}

fn of(pid: Pid) -> Option<Arc<Bound>> {
    node::with_node(pid.node(), |node| node.bounds.get(pid)).flatten()
}

/// The process that runs has taken this out of its mailbox, or it is dropped with it.
pub(crate) fn taken(envelope: &Envelope) {
    if envelope.kind() != Kind::Message || !current::is_subject_marked() {
        return;
    }
    let bound = crate::state::with_existing(|state| state.rare.as_ref().and_then(|rare| rare.bound.clone()));
    if let Some(bound) = bound.flatten() {
        bound.give_back(bound.weight(envelope));
    }
}

/// For the receiver, before it takes a message out from the front: does its mailbox hold more than it may, so
/// that this one is dropped (rule 3)?
pub(crate) fn is_over() -> bool {
    let bound = crate::state::with_existing(|state| state.rare.as_ref().and_then(|rare| rare.bound.clone()));
    bound.flatten().is_some_and(|bound| bound.limit.overflow == Overflow::DropOldest && bound.is_over())
}

/// For the receiver, before it searches: drops from the front what its mailbox may not hold (rule 3).
pub(crate) fn drop_surplus() {
    while is_over() {
        let mut is_message = |envelope: &Envelope| envelope.kind() == Kind::Message;
        let Some(oldest) = current::search(&mut Position::default(), &mut is_message) else { return };
        taken(&oldest);
    }
}

/// A timer has fired: its message for `to`, if there is room.
pub(crate) fn offer<M: Send + 'static>(to: Address<M>, message: M) -> Option<Envelope> {
    admit(to.pid(), Envelope::message(message))
}

/// A message of one that cannot wait for room.
pub(crate) fn admit(to: Pid, envelope: Envelope) -> Option<Envelope> {
    let Some(bound) = of(to) else { return Some(envelope) };
    match bound.admit(&envelope) {
        Admission::Yes => Some(envelope),
        Admission::No => None,
        Admission::Kill => {
            relations::exit(to, ExitReason::Kill);
            None
        }
    }
}

pub(crate) fn send<M: Send + 'static>(to: Address<M>, message: M) -> Result<(), SendError<M>> {
    push(to, Envelope::message(message), Some(u64::MAX))
}

pub(crate) fn try_send<M: Send + 'static>(to: Address<M>, message: M) -> Result<(), SendError<M>> {
    push(to, Envelope::message(message), None)
}

/// `wait`: until when it may wait for room.
pub(crate) fn send_request<M: Send + 'static>(
    to: Address<M>,
    message: M,
    expiry: u32,
    wait: Option<u64>,
) -> Result<(), SendError<M>> {
    let mut envelope = Envelope::message(message);
    envelope.set_tag(expiry);
    push(to, envelope, wait)
}

/// Do senders wait for room in this mailbox?
pub(crate) fn makes_wait(to: Pid) -> bool {
    of(to).is_some_and(|bound| bound.limit.overflow == Overflow::Block)
}

/// `wait`: until when it may wait for room.
fn push<M: Send + 'static>(
    to: Address<M>,
    envelope: Envelope,
    wait: Option<u64>,
) -> Result<(), SendError<M>> {
    let result = make_room(to.pid(), envelope, wait)
        .and_then(|envelope| send::envelope(to.pid(), envelope).map_err(send::dead));
    // Also if it was refused: a loop of refused sends must end its slice like any other.
    current::reduce(price::SEND);
    result
}

/// Reserves room for a message (rule 1); the policy says what happens if there is none.
pub(crate) fn make_room<M: Send + 'static>(
    to: Pid,
    envelope: Envelope,
    wait: Option<u64>,
) -> Result<Envelope, SendError<M>> {
    let bound = loop {
        match of(to) {
            Some(bound) => break bound,
            // The spawner is between two lines: it sets the bound without waiting for anything.
            None if send::is_marked(to) => std::hint::spin_loop(),
            None => return Err(send::dead(envelope)),
        }
    };
    loop {
        match bound.reserve(&envelope) {
            Room::Yes => return Ok(envelope),
            Room::Never(size) => {
                let message = send::dead(envelope).into_message();
                return Err(SendError::TooLarge { message, size, limit: bound.limit.bytes });
            }
            Room::No if bound.closed.load(Ordering::Relaxed) => return Err(send::dead(envelope)),
            Room::No => match (bound.limit.overflow, wait) {
                (Overflow::Block, Some(deadline)) if current::may_wait() || !current::on_worker() => {
                    if !bound.wait_for_room(deadline) {
                        return Err(full(envelope));
                    }
                }
                (Overflow::Block | Overflow::DropNewest, _) => return Err(full(envelope)),
                (Overflow::DropOldest, _) if bound.force(&envelope) => {
                    current::pay(price::FULL);
                    return Ok(envelope);
                }
                (Overflow::DropOldest, _) => return Err(full(envelope)),
                (Overflow::KillReceiver, _) => {
                    relations::exit(to, ExitReason::Kill);
                    return Err(full(envelope));
                }
            },
        }
    }
}

fn full<M: Send + 'static>(envelope: Envelope) -> SendError<M> {
    // Who goes on sending to a full mailbox should not take the time of the others.
    current::pay(price::FULL);
    SendError::Full(send::dead(envelope).into_message())
}
