//! Envelopes, and the records of tasks (`scheduler/src/slot.rs`).

use super::Pace;
use engset_scheduler::{
    owner::{Owner, Whose, WorkerId},
    remote_queue::{Link, Push, RemoteQueue},
};
use loom::{cell::UnsafeCell, sync::atomic::AtomicU64};
use std::{
    collections::VecDeque,
    ptr::{self, NonNull},
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Relaxed, Release, SeqCst},
    },
};

/// An envelope: a link, a stamp, and a payload that the receiver must see.
#[repr(C)]
struct Envelope {
    link: Link,
    serial: u64,
    payload: UnsafeCell<u32>,
    /// Loom complains when one is never opened.
    _leak: loom::alloc::Track<()>,
}

/// A new envelope, the caller's until it is pushed.
pub(crate) fn seal(serial: u64, payload: u32) -> *mut Link {
    let envelope = Box::into_raw(Box::new(Envelope {
        link: Link::new(),
        serial,
        payload: UnsafeCell::new(0),
        _leak: loom::alloc::Track::new(()),
    }));
    // SAFETY: it is ours, and was made a line above.
    unsafe { (*envelope).payload.with_mut(|at| *at = payload) };
    envelope.cast()
}

/// Stamp and payload of an envelope, which is gone then.
///
/// # Safety
///
/// The link is from `seal`, and the caller took it from the queue.
unsafe fn open(link: NonNull<Link>) -> (u64, u32) {
    // SAFETY: contract.
    let envelope = unsafe { Box::from_raw(link.as_ptr().cast::<Envelope>()) };
    // SAFETY: the box is ours, and the pointer does not outlive the closure.
    let payload = envelope.payload.with(|at| unsafe { *at });
    (envelope.serial, payload)
}

/// Opens a run that came from a `take`: stamps and payloads, oldest first.
pub(crate) fn open_run(mut link: *mut Link) -> Vec<(u64, u32)> {
    let mut run = Vec::new();
    while let Some(at) = NonNull::new(link) {
        // SAFETY: `take` made the run ours.
        link = unsafe { at.as_ref() }.next.load(Relaxed);
        // SAFETY: as above; only envelopes are pushed.
        run.push(unsafe { open(at) });
    }
    run
}

/// A record of a task.
#[repr(C)]
pub(crate) struct Slot {
    ready: Link,
    owner: Owner,
    pub(crate) remote: RemoteQueue,
    pace: Pace,
    /// `slot.rs`: odd is a live task.
    serial: AtomicU64,
    private: UnsafeCell<Private>,
    /// Rule 3.
    link_use: UnsafeCell<()>,
    /// Rule 5: somebody holds the token.
    pub(super) token_out: AtomicBool,
    pub(super) index: usize,
}

/// The private half.
#[derive(Default)]
pub(crate) struct Private {
    pub(crate) mailbox: VecDeque<u32>,
    pub(crate) received: Vec<u32>,
    pub(crate) queued: bool,
    pub(crate) adopted: u32,
    pub(crate) slices: u32,
}

impl Slot {
    /// A live task of `owner`'s, idle.
    pub(crate) fn new(index: usize, owner: WorkerId) -> Self {
        Slot {
            ready: Link::new(),
            owner: Owner::new(owner),
            remote: RemoteQueue::new(),
            pace: Pace::new(),
            serial: AtomicU64::new(1),
            private: UnsafeCell::new(Private::default()),
            link_use: UnsafeCell::new(()),
            token_out: AtomicBool::new(false),
            index,
        }
    }

    pub(super) fn token(&self) -> *mut Link {
        ptr::from_ref(self).cast::<Link>().cast_mut()
    }

    /// # Safety
    ///
    /// `token` is from [`Slot::token`], and its slot lives.
    pub(super) unsafe fn of_token<'a>(token: NonNull<Link>) -> &'a Slot {
        // SAFETY: contract; the link is the first field.
        unsafe { &*token.as_ptr().cast::<Slot>() }
    }

    /// `slot.rs`: the life that the slot is in.
    pub(crate) fn serial(&self) -> u64 {
        self.pace.touch();
        self.serial.load(Acquire)
    }

    /// `Private::revive` and `Private::end`.
    pub(crate) fn next_serial(&self) -> u64 {
        self.pace.touch();
        let serial = self.serial.load(Relaxed) + 1;
        self.serial.store(serial, Release);
        serial
    }

    pub(crate) fn look(&self, me: WorkerId) -> Whose {
        self.pace.touch();
        self.owner.look(me)
    }

    pub(crate) fn owner(&self) -> WorkerId {
        self.pace.touch();
        self.owner.id()
    }

    pub(super) fn settle(&self, me: WorkerId) {
        self.pace.touch();
        self.owner.settle(me);
    }

    pub(super) fn address(&self) -> Option<WorkerId> {
        self.pace.touch();
        self.owner.address()
    }

    pub(super) fn depart(&self, me: WorkerId) {
        self.owner.depart(me);
        self.pace.touch();
    }

    pub(super) fn give(&self, to: WorkerId) {
        self.owner.give(to);
        self.pace.touch();
    }

    pub(crate) fn has_links(&self) -> bool {
        self.pace.touch();
        self.remote.has_links()
    }

    /// True: the caller has the token now.
    ///
    /// # Safety
    ///
    /// As `RemoteQueue::push`.
    pub(crate) unsafe fn push(&self, newest: *mut Link, oldest: *mut Link) -> bool {
        // SAFETY: contract.
        let push = unsafe { self.remote.push(newest, oldest) };
        if push == Push::Notify {
            assert!(!self.token_out.swap(true, SeqCst), "two tokens of one task");
        }
        self.pace.touch();
        push == Push::Notify
    }

    /// The owner has the token, and is about to call `take`.
    pub(crate) fn token_ends(&self) {
        assert!(self.token_out.swap(false, SeqCst), "a token out of nowhere");
    }

    /// Whoever holds the token may (rule 3).
    pub(super) fn use_link(&self) {
        // SAFETY: nothing is behind the pointer; loom checks that uses do not race.
        self.link_use.with_mut(|at| unsafe { *at = () });
    }

    /// Touches the private half; loom checks that the caller may.
    pub(crate) fn private<R>(&self, f: impl FnOnce(&mut Private) -> R) -> R {
        // SAFETY: loom ends the execution if the access races; `f` does not come back here.
        self.private.with_mut(|at| f(unsafe { &mut *at }))
    }
}
