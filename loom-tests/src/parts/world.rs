//! Workers without threads, and the lines of `scheduler/src/worker/{deliver,outbox,arrivals,balance,control,mod}.rs` that
//! combine the protocols.

use super::{
    Pace,
    slot::{Slot, open_run, seal},
};
use engset_scheduler::{
    custody::{Custody, Rescue},
    flushing::Flushing,
    inbox::{Inbox, Wake},
    owner::{Whose, WorkerId},
    parker::Parker,
    remote_queue::Link,
};
use loom::cell::UnsafeCell;
use std::{
    collections::VecDeque,
    mem,
    ptr::{self, NonNull},
    sync::atomic::{
        AtomicU32,
        Ordering::{Relaxed, SeqCst},
    },
};

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
