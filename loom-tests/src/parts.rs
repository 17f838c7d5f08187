//! What surrounds the protocols, in miniature: envelopes, slots, workers, and the few lines of
//! `scheduler/src/worker/{deliver,outbox,arrivals,balance,control,mod}.rs` that combine them.
//!
//! 1. The protocols are the real ones. What is restated here keeps the order of the steps of the original.
//! 2. Everything that the rules call private is a loom `UnsafeCell`: an access without a happens-before edge
//!    to the one before it ends the test.
//! 3. So is the *use of a token's link* ([`Slot`], `link_use`): who holds the token touches it.
//! 4. Loom looks for races by what each object was *last* used for. When a thread loads a value to guess it
//!    and then exchanges it (as both pushes do), its own load hides the earlier load of a thread that polls,
//!    and loom never tries the two the other way round. So whoever polls, and whoever changes what is
//!    polled, touches a [`Pace`] as well. It is relaxed: it makes loom switch there, and adds no edge.
//! 5. Bookkeeping of the tests (not of the code under test) is in `std` atomics, which loom does not see: it
//!    adds no edges.

use engset_scheduler::{
    custody::{Custody, Rescue},
    flushing::Flushing,
    inbox::{Inbox, Wake},
    owner::{Owner, Whose, WorkerId},
    parker::Parker,
    remote_queue::{Link, Push, RemoteQueue},
};
use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU64, AtomicUsize},
};
use std::{
    collections::VecDeque,
    mem,
    ptr::{self, NonNull},
    sync::atomic::{
        AtomicBool, AtomicU32,
        Ordering::{Acquire, Relaxed, Release, SeqCst},
    },
};

/// Explores all executions of `model` with at most `preemptions` preemptions (`LOOM_MAX_PREEMPTIONS`
/// overrides it).
pub(crate) fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(model);
}

/// Rule 4.
pub(crate) struct Pace(AtomicUsize);

impl Pace {
    pub(crate) fn new() -> Self {
        Pace(AtomicUsize::new(0))
    }

    pub(crate) fn touch(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Which outcomes some execution has had: a model in which the race never happens proves nothing.
pub(crate) struct Seen(AtomicU32);

impl Seen {
    pub(crate) const fn new() -> Self {
        Seen(AtomicU32::new(0))
    }

    pub(crate) fn note(&self, outcome: u32) {
        self.0.fetch_or(1 << outcome, SeqCst);
    }

    /// Outcomes 0 to `count` - 1 must have been noted.
    #[track_caller]
    pub(crate) fn assert_all(&self, count: u32) {
        assert_eq!(self.0.load(SeqCst), (1 << count) - 1, "outcomes that occurred, as bits");
    }
}

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
    token_out: AtomicBool,
    index: usize,
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

    fn token(&self) -> *mut Link {
        ptr::from_ref(self).cast::<Link>().cast_mut()
    }

    /// # Safety
    ///
    /// `token` is from [`Slot::token`], and its slot lives.
    unsafe fn of_token<'a>(token: NonNull<Link>) -> &'a Slot {
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

    fn settle(&self, me: WorkerId) {
        self.pace.touch();
        self.owner.settle(me);
    }

    fn address(&self) -> Option<WorkerId> {
        self.pace.touch();
        self.owner.address()
    }

    fn depart(&self, me: WorkerId) {
        self.owner.depart(me);
        self.pace.touch();
    }

    fn give(&self, to: WorkerId) {
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
    fn use_link(&self) {
        // SAFETY: nothing is behind the pointer; loom checks that uses do not race.
        self.link_use.with_mut(|at| unsafe { *at = () });
    }

    /// Touches the private half; loom checks that the caller may.
    pub(crate) fn private<R>(&self, f: impl FnOnce(&mut Private) -> R) -> R {
        // SAFETY: loom ends the execution if the access races; `f` does not come back here.
        self.private.with_mut(|at| f(unsafe { &mut *at }))
    }
}

/// A run that is held back (`outbox.rs`, rule 1), oldest first.
struct Outbox {
    to: usize,
    links: Vec<*mut Link>,
}

/// What goes into an inbox, marked as the real one is.
#[repr(C)]
struct Mailbag {
    link: Link,
    to: usize,
    links: UnsafeCell<Vec<*mut Link>>,
    /// Loom complains when one is never opened.
    _leak: loom::alloc::Track<()>,
}

const MAILBAG: usize = 2;

/// In place of a task's index, in an order.
const NOTHING: u32 = u32::MAX;

#[derive(Default)]
struct WorkerPrivate {
    queue: VecDeque<usize>,
    outbox: Option<Outbox>,
}

/// A worker, without a thread.
pub(crate) struct Worker {
    pub(crate) inbox: Inbox,
    pub(crate) parker: Parker,
    pub(crate) custody: Custody,
    flushing: Flushing,
    pace: Pace,
    control: Slot,
    private: UnsafeCell<WorkerPrivate>,
}

// SAFETY: private fields are loom cells, which check what this claims.
unsafe impl Sync for Worker {}
// SAFETY: as above.
unsafe impl Send for Worker {}

impl Worker {
    pub(crate) fn has_tokens(&self) -> bool {
        self.pace.touch();
        self.inbox.has_tokens()
    }

    pub(crate) fn enter(&self) -> bool {
        self.pace.touch();
        self.custody.enter()
    }

    pub(crate) fn try_seize(&self) -> Option<Rescue<'_>> {
        self.pace.touch();
        self.custody.try_seize()
    }

    fn private<R>(&self, f: impl FnOnce(&mut WorkerPrivate) -> R) -> R {
        // SAFETY: loom ends the execution if the access races; `f` does not come back here.
        self.private.with_mut(|at| f(unsafe { &mut *at }))
    }
}

/// Workers 1 to n and slots 0 to m - 1.
pub(crate) struct World {
    workers: Vec<Worker>,
    pub(crate) slots: Vec<Slot>,
    /// What was disposed of, by payload: how often.
    pub(crate) disposed: [AtomicU32; 8],
}

impl World {
    /// `owners`: of the slots.
    pub(crate) fn new(workers: u16, owners: &[WorkerId]) -> Self {
        World {
            workers: (1..=workers)
                .map(|id| Worker {
                    inbox: Inbox::new(),
                    parker: Parker::new(),
                    custody: Custody::new(false),
                    flushing: Flushing::new(),
                    pace: Pace::new(),
                    control: Slot::new(usize::MAX, id),
                    private: UnsafeCell::new(WorkerPrivate::default()),
                })
                .collect(),
            slots: owners.iter().enumerate().map(|(index, &owner)| Slot::new(index, owner)).collect(),
            disposed: Default::default(),
        }
    }

    pub(crate) fn worker(&self, id: WorkerId) -> &Worker {
        &self.workers[usize::from(id) - 1]
    }

    // deliver.rs

    /// `Scheduler::send_from_outside`, with a stamp that the caller knows. False: dead.
    pub(crate) fn send_from_outside(&self, index: usize, serial: u64, payload: u32) -> bool {
        let slot = &self.slots[index];
        if slot.serial() != serial {
            return false;
        }
        let link = seal(serial, payload);
        self.push(slot, link, link);
        true
    }

    /// `Worker::send`.
    pub(crate) fn send(&self, me: WorkerId, index: usize, payload: u32) {
        let slot = &self.slots[index];
        let link = seal(slot.serial(), payload);
        match slot.look(me) {
            Whose::Mine => self.deliver(me, slot, link),
            Whose::Arriving => {
                self.settle(me, slot);
                self.deliver(me, slot, link);
            }
            Whose::Departing => unreachable!("nothing is sent while tasks are given"),
            Whose::Other(_) => self.hold_back(me, index, link),
        }
    }

    fn settle(&self, me: WorkerId, slot: &Slot) {
        self.flush(me);
        slot.settle(me);
    }

    fn deliver(&self, me: WorkerId, slot: &Slot, link: *mut Link) {
        if slot.has_links() {
            self.drain_remote(me, slot, true);
        }
        for (_, payload) in open_run(link) {
            self.put(me, slot, payload);
        }
    }

    fn put(&self, me: WorkerId, slot: &Slot, payload: u32) {
        let wake = slot.private(|private| {
            private.mailbox.push_back(payload);
            !mem::replace(&mut private.queued, true)
        });
        if wake {
            self.worker(me).private(|private| private.queue.push_back(slot.index));
        }
    }

    fn hold_back(&self, me: WorkerId, index: usize, link: *mut Link) {
        if self.worker(me).private(|private| private.outbox.as_ref().is_some_and(|outbox| outbox.to != index))
        {
            self.flush(me);
        }
        self.worker(me).private(|private| match &mut private.outbox {
            None => private.outbox = Some(Outbox { to: index, links: vec![link] }),
            Some(outbox) => outbox.links.push(link),
        });
    }

    /// `Worker::flush`.
    pub(crate) fn flush(&self, me: WorkerId) {
        let Some(run) = self.worker(me).private(|private| private.outbox.take()) else { return };
        let slot = &self.slots[run.to];
        self.worker(me).flushing.begin();
        match slot.address() {
            Some(owner) => self.push_mailbag(run, owner),
            None => run.links.into_iter().for_each(|link| self.push(slot, link, link)),
        }
        self.worker(me).flushing.end();
    }

    fn push_mailbag(&self, run: Outbox, owner: WorkerId) {
        let mailbag = Box::into_raw(Box::new(Mailbag {
            link: Link::new(),
            to: run.to,
            links: UnsafeCell::new(Vec::new()),
            _leak: loom::alloc::Track::new(()),
        }));
        // SAFETY: it is ours, and was made a line above.
        unsafe { (*mailbag).links.with_mut(|links| *links = run.links) };
        let link = mailbag.cast::<Link>();
        let worker = self.worker(owner);
        // SAFETY: the mailbag is the inbox' now; the mark is taken off before the link is used.
        let pushed = unsafe { worker.inbox.push_run(link.map_addr(|address| address | MAILBAG), link) };
        if pushed == Wake::Unpark {
            worker.parker.unpark();
        }
        worker.pace.touch();
    }

    fn push(&self, slot: &Slot, newest: *mut Link, oldest: *mut Link) {
        // SAFETY: the run is ours, linked from newest to oldest; what takes it opens it.
        if unsafe { slot.push(newest, oldest) } {
            self.pass_token(slot, slot.owner());
        }
    }

    /// `Shared::pass_token`.
    fn pass_token(&self, slot: &Slot, to: WorkerId) {
        slot.use_link();
        let worker = self.worker(to);
        // SAFETY: the caller holds the token; slots live as long as the world.
        if unsafe { worker.inbox.push(slot.token()) } == Wake::Unpark {
            worker.parker.unpark();
        }
        worker.pace.touch();
    }

    /// `Worker::drain_remote`.
    pub(crate) fn drain_remote(&self, me: WorkerId, slot: &Slot, early: bool) {
        let run = if early {
            slot.remote.take_early()
        } else {
            slot.token_ends();
            slot.remote.take()
        };
        let serial = slot.serial();
        for (stamp, payload) in open_run(run) {
            if stamp == serial {
                self.put(me, slot, payload);
            } else {
                self.dispose(payload);
            }
        }
    }

    /// `Worker::dispose`.
    pub(crate) fn dispose(&self, payload: u32) {
        self.disposed[payload as usize].fetch_add(1, SeqCst);
    }

    /// `Worker::drain_inbox`.
    pub(crate) fn drain_inbox(&self, me: WorkerId) {
        while self.take_in_arrivals(me, false) && self.worker(me).has_tokens() {}
    }

    /// `Worker::take_in_arrivals`. True: a task has been adopted.
    fn take_in_arrivals(&self, me: WorkerId, only_mail: bool) -> bool {
        let mut adopted = false;
        let mut links = Vec::new();
        let mut link =
            if self.worker(me).has_tokens() { self.worker(me).inbox.take() } else { ptr::null_mut() };
        while let Some(at) = NonNull::new(link) {
            links.push(at);
            // SAFETY: the inbox gave it to us; without the mark it is a link's address.
            link = unsafe { &*at.as_ptr().map_addr(|address| address & !MAILBAG) }.next.load(Relaxed);
        }
        for at in links.into_iter().rev() {
            if at.addr().get() & MAILBAG != 0 {
                // SAFETY: `push_mailbag` made it of a box.
                let mailbag = unsafe {
                    Box::from_raw(at.as_ptr().map_addr(|address| address & !MAILBAG).cast::<Mailbag>())
                };
                // SAFETY: the box is ours; loom checks it.
                let links = mailbag.links.with_mut(|links| mem::take(unsafe { &mut *links }));
                links.into_iter().for_each(|link| self.arrive(me, mailbag.to, link));
                continue;
            }
            // SAFETY: tokens come from slots of this world.
            let slot = unsafe { Slot::of_token(at) };
            slot.use_link();
            if ptr::eq(slot, &raw const self.worker(me).control) {
                if only_mail {
                    self.pass_token(slot, me);
                } else {
                    adopted |= self.obey(me);
                }
                continue;
            }
            match slot.look(me) {
                Whose::Mine => {}
                Whose::Arriving => self.settle(me, slot),
                Whose::Departing => {
                    self.pass_token(slot, me);
                    continue;
                }
                Whose::Other(owner) => {
                    self.pass_token(slot, owner);
                    continue;
                }
            }
            self.drain_remote(me, slot, false);
        }
        adopted
    }

    /// `Worker::arrive`.
    fn arrive(&self, me: WorkerId, index: usize, link: *mut Link) {
        let slot = &self.slots[index];
        let departing = match slot.look(me) {
            Whose::Mine => false,
            Whose::Departing => true,
            other => panic!("mail for a task of {other:?}"),
        };
        if !departing && slot.has_links() {
            self.drain_remote(me, slot, true);
        }
        for (_, payload) in open_run(link) {
            self.put(me, slot, payload);
        }
    }

    /// `Worker::close_mailbox`.
    pub(crate) fn close_mailbox(&self, me: WorkerId, index: usize) {
        let slot = &self.slots[index];
        slot.next_serial();
        for payload in slot.private(|private| mem::take(&mut private.mailbox)) {
            self.dispose(payload);
        }
        if slot.has_links() {
            self.drain_remote(me, slot, true);
        }
    }

    // balance.rs and control.rs

    /// `Shared::order`; the only order here is to adopt a task.
    fn order(&self, to: WorkerId, index: usize) {
        let control = &self.worker(to).control;
        let link = seal(0, index as u32);
        self.push(control, link, link);
    }

    /// An order that asks for nothing.
    pub(crate) fn order_nothing(&self, to: WorkerId) {
        let control = &self.worker(to).control;
        let link = seal(0, NOTHING);
        self.push(control, link, link);
    }

    /// `Worker::obey`. True: a task has been adopted.
    fn obey(&self, me: WorkerId) -> bool {
        let control = &self.worker(me).control;
        control.token_ends();
        let orders = open_run(control.remote.take());
        let tasks: Vec<_> =
            orders.iter().map(|(_, index)| *index).filter(|index| *index != NOTHING).collect();
        for index in &tasks {
            self.adopt(me, *index as usize);
        }
        !tasks.is_empty()
    }

    /// `Worker::give`, of a task that is in no run queue.
    pub(crate) fn give(&self, me: WorkerId, index: usize, to: WorkerId) {
        self.flush(me);
        let slot = &self.slots[index];
        slot.depart(me);
        Flushing::mark();
        for (_, other) in (1..).zip(&self.workers).filter(|(id, _)| *id != me) {
            other.flushing.wait();
        }
        self.take_in_arrivals(me, true);
        // Its last touch.
        slot.private(|private| assert!(private.queued));
        slot.give(to);
        self.order(to, index);
    }

    fn adopt(&self, me: WorkerId, index: usize) {
        self.flush(me);
        let slot = &self.slots[index];
        slot.settle(me);
        slot.private(|private| private.adopted += 1);
        self.worker(me).private(|private| private.queue.push_back(index));
    }

    // mod.rs

    /// `Worker::enqueue`.
    pub(crate) fn enqueue(&self, me: WorkerId, index: usize) {
        self.slots[index].private(|private| assert!(!mem::replace(&mut private.queued, true)));
        self.worker(me).private(|private| private.queue.push_back(index));
    }

    /// The next task to run, or to give.
    pub(crate) fn pop(&self, me: WorkerId) -> Option<usize> {
        self.worker(me).private(|private| private.queue.pop_front())
    }

    /// A slice of a task: it receives all there is. `is_ready` and `run_current`.
    pub(crate) fn run_slice(&self, me: WorkerId, index: usize) {
        let slot = &self.slots[index];
        assert_eq!(slot.look(me), Whose::Mine, "a task of another worker runs here");
        if slot.has_links() {
            self.drain_remote(me, slot, true);
        }
        slot.private(|private| {
            private.slices += 1;
            private.received.extend(mem::take(&mut private.mailbox));
        });
        self.flush(me);
        // Does it stay busy?
        if slot.has_links() {
            self.worker(me).private(|private| private.queue.push_back(index));
        } else {
            slot.private(|private| private.queued = false);
        }
    }

    /// A turn of the base loop: mail, then at most `slices` tasks.
    pub(crate) fn turn(&self, me: WorkerId, slices: usize) {
        if self.worker(me).has_tokens() {
            self.drain_inbox(me);
        }
        for _ in 0..slices {
            let Some(index) = self.pop(me) else { break };
            self.run_slice(me, index);
        }
    }

    /// When all threads have ended, the caller goes on in the place of all workers until nothing is left
    /// to do. Then all mail must have arrived.
    pub(crate) fn run_to_rest(&self) {
        let mut turns = 0;
        while (1..).zip(&self.workers).any(|(id, worker)| {
            let busy = worker.has_tokens() || worker.private(|private| !private.queue.is_empty());
            if busy {
                self.turn(id, 8);
            }
            busy
        }) {
            turns += 1;
            assert!(turns < 50, "tokens go round in circles");
        }
        for slot in self.slots.iter().chain(self.workers.iter().map(|worker| &worker.control)) {
            assert!(!slot.has_links(), "mail without a token");
            assert!(!slot.token_out.load(SeqCst), "a token was lost");
        }
    }

    /// What a task has received, in order.
    pub(crate) fn received(&self, index: usize) -> Vec<u32> {
        self.slots[index].private(|private| private.received.clone())
    }
}
