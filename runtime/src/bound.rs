//! Bounded mailboxes (semantics row S14).
//!
//! A process that is spawned with a [`Limit`] is marked; sends to it take the path in this file, unless its worker holds room for
//! them. What its mailbox holds is counted in a [`Bound`] that the senders share:
//!
//! 1. A message *reserves* room before it goes on its way; the receiver gives it back when it takes the
//!    message out ([`received`]). So what is under way counts too.
//!    A timer's message reserves when it fires; it does not wait for room. Events and signals are exempt.
//! 2. *Block*: a sender without room stands in line and sleeps until it is called (`scheduler/src/room.rs`).
//! 3. *Drop oldest*: the message goes in beyond the limit; a receiver whose mailbox holds more than the limit
//!    drops from the front until it does not ([`is_over`]). One that does not look until twice the limit is held
//!    gets no more: then the newest is dropped.
//! 4. A worker may take room for several messages at once, and give it back so, while a slice lasts
//!    (`scheduler/src/worker/rooms.rs`): at most a [`SHARE`]th of the limit, and only where senders wait. The other policies would drop or kill for
//!    room that is not used; there each message reserves for itself. With one worker nobody sees a difference, for what it
//!    holds is settled before anybody is refused.
//! 5. Room for a message is room for its bytes and for its number. Both are looked at before either is taken; if the second cannot be taken after all,
//!    the first one goes back, and who was refused meanwhile is called. With a limit of bytes all in line are called at
//!    a time: where the first does not fit a later one may.

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
    Envelope, Kind, Lender, TaskId,
    current::{self, Position, Wake},
    room::{Back, Room},
};
use hashbrown::HashMap;
use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, Thread},
};

/// Rule 4.
const SHARE: usize = 16;
/// What is held at most, however large the limit is. Guess: an atomic operation in so many messages is nothing.
const MOST_HELD: usize = 256;
/// Senders that are called at a time, if the limit is not small.
const CALLS: usize = 2;

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
    room: Room<Waiter>,
    bytes: AtomicUsize,
    limit: Limit,
}

/// Who waits for room.
#[derive(Clone, Debug)]
enum Waiter {
    Process(Pid),
    Thread(Thread),
}

impl Waiter {
    fn current() -> Self {
        try_self_pid().map_or_else(|| Waiter::Thread(thread::current()), Waiter::Process)
    }

    fn wake(self) {
        match self {
            Waiter::Process(pid) => send::signal(pid, Signal::Poke),
            Waiter::Thread(thread) => thread.unpark(),
        }
    }
}

enum Admission {
    Yes,
    No,
    Kill,
}

/// Why a sender does not wait any more.
enum Waited {
    HasRoom,
    TimedOut,
    Closed,
}

/// A sender's place in line.
struct InLine<'a> {
    room: &'a Room<Waiter>,
    ticket: Option<u64>,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.room.leave(ticket).into_iter().for_each(Waiter::wake);
        }
    }
}

impl Bound {
    pub(crate) fn new(mut limit: Limit) -> Self {
        let calls = if limit.bytes == usize::MAX {
            limit.weigh = None;
            (limit.messages / 64).clamp(1, CALLS)
        } else {
            usize::MAX
        };
        Bound { room: Room::new(limit.messages, calls), bytes: AtomicUsize::new(0), limit }
    }

    fn weight(&self, envelope: &Envelope) -> usize {
        if self.limit.bytes == usize::MAX {
            return 0;
        }
        self.limit.weigh.as_ref().map_or(envelope.size(), |weigh| weigh(envelope))
    }

    /// Does only the number of messages count, and does what does not fit not get in?
    fn is_plain(&self) -> bool {
        self.limit.bytes == usize::MAX && self.limit.overflow != Overflow::DropOldest
    }

    /// Rules 1 and 5. The weight is within the limit.
    fn reserve(&self, weight: usize) -> bool {
        if weight == 0 {
            return self.room.claim(1) == 1;
        }
        // Sequentially consistent, as all of the room: a sender that is refused looks at them after it stood in line.
        if self.room.is_full() || self.bytes.load(Ordering::SeqCst) > self.limit.bytes - weight {
            return false;
        }
        let more = |bytes: usize| bytes.checked_add(weight).filter(|bytes| *bytes <= self.limit.bytes);
        if self.bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_err() {
            return false;
        }
        if self.room.claim(1) == 1 {
            return true;
        }
        self.put_back(0, weight, true);
        false
    }

    /// The same; what this worker holds is settled before it says no.
    fn reserve_settled(&self, weight: usize) -> bool {
        self.reserve(weight) || {
            current::settle_rooms();
            self.reserve(weight)
        }
    }

    /// Beyond the limit, but not beyond twice the limit (rule 3).
    fn force(&self, weight: usize) -> bool {
        let most = self.limit.bytes.saturating_mul(2);
        let more = |bytes: usize| bytes.checked_add(weight).filter(|bytes| *bytes <= most);
        if self.bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_err() {
            return false;
        }
        let forced = self.room.force();
        if !forced {
            self.bytes.fetch_sub(weight, Ordering::SeqCst);
        }
        forced
    }

    fn is_over(&self) -> bool {
        self.limit.overflow == Overflow::DropOldest
            && (self.room.used() > self.limit.messages
                || self.bytes.load(Ordering::SeqCst) > self.limit.bytes)
    }

    /// Room without waiting for it; what does not fit is dropped by the caller.
    fn admit(&self, envelope: &Envelope) -> Admission {
        let weight = self.weight(envelope);
        if weight > self.limit.bytes {
            return Admission::No;
        }
        if self.reserve_settled(weight) {
            return Admission::Yes;
        }
        match self.limit.overflow {
            Overflow::Block | Overflow::DropNewest => Admission::No,
            Overflow::DropOldest if self.force(weight) => Admission::Yes,
            Overflow::DropOldest => Admission::No,
            Overflow::KillReceiver => Admission::Kill,
        }
    }

    /// Gives room back. `rest`: no more will come for now. True: somebody waits, and it was too little to call anybody (`Room`,
    /// rule 4).
    fn put_back(&self, messages: u32, weight: usize, rest: bool) -> bool {
        let bytes = match weight {
            0 => self.bytes.load(Ordering::Relaxed),
            weight => self.bytes.fetch_sub(weight, Ordering::SeqCst) - weight,
        };
        let enough = |used| rest || used <= self.limit.messages / 2 && bytes <= self.limit.bytes / 2;
        match self.room.give_back(messages, enough) {
            Back::Done => false,
            Back::Owed => true,
            Back::Call(called) => {
                called.into_iter().for_each(Waiter::wake);
                false
            }
        }
    }

    /// Rule 2.
    fn wait_for_room(&self, weight: usize, deadline: u64) -> Waited {
        let mut place = InLine { room: &self.room, ticket: None };
        loop {
            if !self.room.stand(&mut place.ticket, Waiter::current) {
                // Nobody counts calls any more.
                place.ticket = None;
                return Waited::Closed;
            }
            if self.reserve(weight) {
                return Waited::HasRoom;
            }
            if !sleep(deadline) {
                return Waited::TimedOut;
            }
            if self.reserve(weight) {
                return Waited::HasRoom;
            }
        }
    }
}

/// Until it is woken, or something else happens; false: the deadline has passed.
fn sleep(deadline: u64) -> bool {
    if current::on_worker() {
        return !matches!(current::sleep(deadline), Wake::TimedOut | Wake::Ending);
    }
    thread::park();
    true
}

impl Lender for Bound {
    fn claim(&self, wish: u32) -> u32 {
        self.room.claim(wish)
    }

    fn give_back(&self, messages: u32, rest: bool) -> bool {
        self.put_back(messages, 0, rest)
    }

    fn share(&self) -> u32 {
        match self.limit.overflow {
            _ if !self.is_plain() => 0,
            Overflow::Block => (self.limit.messages / SHARE).clamp(1, MOST_HELD) as u32,
            Overflow::DropNewest | Overflow::DropOldest | Overflow::KillReceiver => 1,
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
        bound.room.close().into_iter().for_each(Waiter::wake);
    }

    fn get(&self, pid: Pid) -> Option<Arc<Bound>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).get(&pid).cloned()
    }
}

fn of(pid: Pid) -> Option<Arc<Bound>> {
    node::with_node(pid.node(), |node| node.bounds.get(pid)).flatten()
}

/// Of the process that runs, or that a hook is called for.
fn own() -> Option<Arc<Bound>> {
    crate::state::with_existing(|state| state.rare.as_ref().and_then(|rare| rare.bound.clone())).flatten()
}

/// A message of the process that a hook is called for, which lives, is dropped, and with it what it has reserved. (When a process
/// ends its bound is the first to go.)
pub(crate) fn dropped(envelope: &Envelope) {
    if envelope.kind() == Kind::Message
        && current::is_subject_marked()
        && let Some(bound) = own()
    {
        bound.put_back(1, bound.weight(envelope), true);
    }
}

/// The process that runs, which is marked, has taken this message out of its mailbox. True: the mailbox held more than it may,
/// and the message is to be dropped (rule 3).
#[inline(always)]
pub(crate) fn received(owner: TaskId, envelope: &Envelope) -> bool {
    !current::put_room(owner) && received_slowly(owner, envelope)
}

#[inline(never)]
fn received_slowly(owner: TaskId, envelope: &Envelope) -> bool {
    let Some(bound) = own() else { return false };
    let is_over = bound.is_over();
    let owed = bound.put_back(1, bound.weight(envelope), false);
    if owed || bound.is_plain() {
        current::keep_room(owner, bound, owed);
    }
    is_over
}

/// For the receiver: does its mailbox hold more than it may (rule 3)?
pub(crate) fn is_over() -> bool {
    own().is_some_and(|bound| bound.is_over())
}

/// For the receiver, before it searches: drops from the front what its mailbox may not hold (rule 3).
pub(crate) fn drop_surplus() {
    while is_over() {
        let mut is_message = |envelope: &Envelope| envelope.kind() == Kind::Message;
        let Some(oldest) = current::search(&mut Position::default(), &mut is_message) else { return };
        if let Some(owner) = current::task() {
            received(owner, &oldest);
        }
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
    let is_here = current::tag() == Some(to.node().number());
    if is_here && current::take_room(to.task()) {
        return Ok(envelope);
    }
    let bound = loop {
        match of(to) {
            Some(bound) => break bound,
            // The spawner is between two lines: it sets the bound without waiting for anything.
            None if send::is_marked(to) => std::hint::spin_loop(),
            None => return Err(send::dead(envelope)),
        }
    };
    let weight = bound.weight(&envelope);
    if weight > bound.limit.bytes {
        let message = send::dead(envelope).into_message();
        return Err(SendError::TooLarge { message, size: weight, limit: bound.limit.bytes });
    }
    if !bound.reserve_settled(weight) {
        if bound.room.is_closed() {
            return Err(send::dead(envelope));
        }
        match (bound.limit.overflow, wait) {
            (Overflow::Block, Some(deadline)) if current::may_wait() || !current::on_worker() => {
                match bound.wait_for_room(weight, deadline) {
                    Waited::HasRoom => {}
                    Waited::TimedOut => return Err(full(envelope)),
                    Waited::Closed => return Err(send::dead(envelope)),
                }
            }
            (Overflow::Block | Overflow::DropNewest, _) => return Err(full(envelope)),
            (Overflow::DropOldest, _) if bound.force(weight) => {
                current::pay(price::FULL);
                return Ok(envelope);
            }
            (Overflow::DropOldest, _) => return Err(full(envelope)),
            (Overflow::KillReceiver, _) => {
                relations::exit(to, ExitReason::Kill);
                return Err(full(envelope));
            }
        }
    }
    if is_here && bound.is_plain() {
        current::keep_room(to.task(), bound, false);
    }
    Ok(envelope)
}

fn full<M: Send + 'static>(envelope: Envelope) -> SendError<M> {
    // Who goes on sending to a full mailbox should not take the time of the others.
    current::pay(price::FULL);
    SendError::Full(send::dead(envelope).into_message())
}
