//! The record of a task: two cache lines, everything that a send, a wake or a switch needs.
//!
//! The first line is what workers read that are not the owner; the owner writes it seldom, so that a sender elsewhere keeps
//! its copy. What changes with each message or switch is in the second.
//!
//! | field | who | when |
//! |---|---|---|
//! | `serial` | all read; the owner writes | odd: a live task; even: free. Grows by one at each change |
//! | `owner` | all read; the owner gives, the new owner settles | `owner.rs` |
//! | `remote`, `ready` | all push; the owner takes | `remote_queue.rs`, `inbox.rs`; little used: mail goes by mailbag (`owner.rs`, rule 4) |
//! | `crowd` | all read; the owner writes | how long the queue is, roughly, for the price of a send; and the mark |
//! | `queued` | all read; the owner writes | messages in the private lists, a hint to others |
//! | the rest | the owner only | inside a runtime section (`custody.rs`) |
//!
//! 1. The private fields are reached through [`Private`] only. Making one is unsafe: the maker is in
//!    a section of the worker that owns the slot, or a rescuer with custody of it, or it is setting up
//!    a slot that nobody else knows yet.
//! 2. Between two uses of a `Private` on the same slot no reference into it lives: its methods copy,
//!    swap or call no foreign code while they borrow. So two `Private`s of one slot on one thread do
//!    no harm.
//! 3. Slots are never unmapped while a handle to the scheduler exists: a late push is a push to valid
//!    memory, and the next point makes it harmless.
//! 4. An envelope bears the low half of its receiver's serial. The owner compares when it moves it from
//!    `remote` or a mailbag to the private list; a plain bundle bears it as a whole. Half is enough: whenever a task ends, `remote` is
//!    emptied, so what is in it is at most one life old; and a mailbag does not lie in an inbox for two thousand million lives.

mod private;

pub(crate) use private::{First, Private};

use crate::{
    body::OwnedBody,
    carrier::Carrier,
    depot::prefetch,
    envelope::List,
    extension::Extension,
    owner::{Owner, WorkerId},
    remote_queue::{Link, RemoteQueue},
};
use std::{
    cell::{Cell, UnsafeCell},
    mem,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
};

/// What a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    Free,
    /// In a run queue, or in an adoption order on its way to one.
    Queued,
    Running,
    /// Waits with a stack for the reply with its tag, or to be poked; messages leave it asleep.
    Asleep,
    /// Waits without a stack for something to receive.
    Idle,
    /// Waits with a stack for something to receive.
    Waiting,
}

impl State {
    /// Does a message wake it? (The last two, so that one comparison tells.)
    #[inline(always)]
    pub(crate) fn listens(self) -> bool {
        self as u8 >= State::Idle as u8
    }
}

/// `bits`: there is a non-message in the outer list that has not acted yet.
pub(crate) const SIGNALLED: u8 = 1;
/// `bits`: it must end; its stack, if any, unwinds at its next suspension point.
pub(crate) const DOOMED: u8 = 1 << 1;
/// `bits`: the deadline of its wait has passed.
pub(crate) const TIMED_OUT: u8 = 1 << 2;
/// `bits`: somebody asked for its attention (`current::poke`).
pub(crate) const POKED: u8 = 1 << 3;
/// `bits`: it is ending; it cannot wait any more.
pub(crate) const ENDING: u8 = 1 << 4;
/// `bits`: the flag of the crate above ([`crate::Settings::flagged`]); for life.
pub(crate) const FLAGGED: u8 = 1 << 5;

/// `bits`: there may be bundles in the outer list.
pub(crate) const BUNDLED: u8 = 1 << 6;

/// `crowd`: the crate above wants sends to this task to take its slow path.
const MARKED: u8 = 1 << 7;
/// Messages to which `crowd` is rounded.
pub(crate) const CROWD: u32 = 64;
/// 4096 messages and more.
const MOST_CROWD: u32 = 7;
/// By `crowd`: see [`Slot::price`].
const PRICES: [i32; 8] = [1, 2, 5, 17, 65, 257, 1025, 4097];

/// `timer`: none is set.
pub(crate) const NO_TIMER: u32 = u32::MAX;

/// See the head of this file.
#[repr(C, align(128))]
pub(crate) struct Slot {
    serial: AtomicU64,
    pub(crate) owner: Owner,
    /// Bits of the number of messages that wait, in units of [`CROWD`].
    crowd: AtomicU8,
    priority: Cell<u8>,
    timer: Cell<u32>,
    pub(crate) remote: RemoteQueue,
    ready: Link,
    extension: UnsafeCell<Option<Extension>>,
    /// 0: waits for no reply. Odd: waits for the one with this tag (shifted left). Else: the reply.
    answer: Cell<usize>,
    deadline: Cell<u64>,
    // Second line.
    outer: UnsafeCell<List>,
    inner: UnsafeCell<List>,
    body: UnsafeCell<Option<OwnedBody>>,
    /// Its low bits, which are clear in a carrier's address, say how deep it is ([`Carrier::depth`]).
    carrier: Cell<*const Carrier>,
    queued: AtomicU32,
    state: Cell<State>,
    /// What it waited for before it was queued.
    waited: Cell<State>,
    bits: Cell<u8>,
    class: Cell<u8>,
}

const _: () = assert!(size_of::<Slot>() == 128 && mem::offset_of!(Slot, outer) == 64);

// SAFETY: the shared fields are atomics; the private ones are touched under rule 1.
unsafe impl Sync for Slot {}
// SAFETY: everything in it may move between threads (bodies and extensions are `Send`), but for a
// carrier, which is only set while the task stays with its worker.
unsafe impl Send for Slot {}

impl Slot {
    pub(crate) fn new(owner: WorkerId) -> Self {
        Slot {
            serial: AtomicU64::new(0),
            owner: Owner::new(owner),
            crowd: AtomicU8::new(0),
            priority: Cell::new(0),
            timer: Cell::new(NO_TIMER),
            remote: RemoteQueue::new(),
            ready: Link::new(),
            extension: UnsafeCell::new(None),
            answer: Cell::new(0),
            deadline: Cell::new(u64::MAX),
            outer: UnsafeCell::new(List::new()),
            inner: UnsafeCell::new(List::new()),
            body: UnsafeCell::new(None),
            carrier: Cell::new(ptr::null()),
            queued: AtomicU32::new(0),
            state: Cell::new(State::Free),
            waited: Cell::new(State::Free),
            bits: Cell::new(0),
            class: Cell::new(0),
        }
    }

    /// The serial number of the task that lives here now; even: none.
    #[inline(always)]
    pub(crate) fn serial(&self) -> u64 {
        // Acquire: pairs with the release in `Private::revive` and `Private::end`.
        self.serial.load(Ordering::Acquire)
    }

    /// Messages received and not taken, as the owner last counted.
    #[inline(always)]
    pub(crate) fn queued(&self) -> u32 {
        self.queued.load(Ordering::Relaxed)
    }

    /// What a message to the task costs its sender: 1 reduction, and the square of the number of 64s of messages that
    /// wait, rounded down to a power of 4; at most a slice of the default length.
    ///
    /// Steep, so that a queue settles at some thousand messages if senders are faster than their receiver: they stay in the
    /// cache of its core then, and are received several times faster.
    #[inline(always)]
    pub(crate) fn price(&self) -> i32 {
        // Relaxed: a hint.
        PRICES[usize::from(self.crowd.load(Ordering::Relaxed)) & 7]
    }

    /// Was the task marked when it was spawned?
    #[inline(always)]
    pub(crate) fn is_marked(&self) -> bool {
        // Relaxed: written before the serial number is.
        self.crowd.load(Ordering::Relaxed) & MARKED != 0
    }

    /// The token (`remote_queue.rs`, rule 1).
    pub(crate) fn token(&self) -> *mut Link {
        (&raw const self.ready).cast_mut()
    }

    /// The slot of a token.
    ///
    /// # Safety
    ///
    /// `token` came from [`Slot::token`] of a slot that is still mapped.
    pub(crate) unsafe fn of_token<'a>(token: NonNull<Link>) -> &'a Slot {
        // SAFETY: contract; rule 3.
        unsafe { &*token.as_ptr().cast_const().byte_sub(mem::offset_of!(Slot, ready)).cast::<Slot>() }
    }

    /// Where the line of a slot lies that its owner writes with each message; to ask for it, not to read it.
    pub(crate) fn private_line(slot: *const Slot) -> *const u8 {
        slot.cast::<u8>().wrapping_add(mem::offset_of!(Slot, outer))
    }

    /// Asks for its lines, to run it soon.
    #[inline(always)]
    pub(crate) fn prefetch(slot: *const Slot) {
        prefetch(slot);
        prefetch(Self::private_line(slot));
    }

    /// The private half.
    ///
    /// # Safety
    ///
    /// Rule 1.
    #[inline(always)]
    pub(crate) unsafe fn private(&self) -> Private<'_> {
        Private(self)
    }
}
