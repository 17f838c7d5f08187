//! What a worker holds back for tasks of other workers.
//!
//! Envelopes for some tasks are gathered in a mailbag for the worker that owns them all (of a long run for one task all but the first become a
//! bundle, `bundle.rs`); if it turns out that they have several owners, they are dealt out into one for each. What is for a task on the move goes
//! into its remote queue, and its token to the owner's inbox.
//!
//! 1. The outbox is flushed at the end of a slice that was long (by reductions, and by the clock), after [`OLD`] others, when there is nothing to
//!    run, before tasks are given away or settled, and by a rescuer. So what a task has sent is under way
//!    before the task can move, and it waits for some short slices at most.
//! 2. Runs go in the order in which they were begun, so envelopes of one sender for one task keep theirs. What goes into a remote queue
//!    is pushed before the mailbags are (`owner.rs`: why order is kept).
//! 3. Owners are looked up, and all is pushed, within a flush (`flushing.rs`).

use super::Worker;
use crate::{
    bundle::{BUNDLE, Bundle},
    envelope::{Envelope, Kind},
    mailbag::{MAILBAG, Mailbag},
    owner::WorkerId,
    remote_queue::Push,
    slot::Slot,
    stock::{OwnStock, Stock},
};
use std::{mem, ptr};

/// So many envelopes of a run go as they are. Guess: a bundle costs the receiver two more cache misses.
const SHORT: usize = 3;
/// Envelopes in the mailbag from which on it goes. Guess: the lines of their slots are in the nearest cache still.
const ENOUGH: usize = 32;

const _: () = assert!(ENOUGH + SHORT <= MAILBAG);
/// Short slices after which all goes. Guess: a microsecond.
const OLD: u32 = 16;

/// What is held back (rule 1).
pub(crate) struct Outbox {
    /// Envelopes in all.
    held: u32,
    /// Slices that have ended since the first one of all this was held back.
    slices: u32,
    /// The task of the latest run, and how long it is.
    to: *const Slot,
    run: usize,
    mailbag: Box<Mailbag>,
    /// The rest of a run that is not short.
    bundle: Box<Bundle>,
    /// Empty ones.
    pub(super) stock: OwnStock<Bundle>,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Outbox {
            held: 0,
            slices: 0,
            to: ptr::null(),
            run: 0,
            mailbag: Mailbag::new(),
            bundle: Bundle::new(),
            stock: OwnStock::new(),
        }
    }

    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes an envelope in. True: it is time to flush.
    #[inline(always)]
    fn hold(&mut self, slot: &Slot, serial: u64, envelope: Envelope, stock: &Stock<Bundle>) -> bool {
        let envelope = match self.hold_quickly(slot, envelope) {
            Ok(full) => return full,
            Err(envelope) => envelope,
        };
        if ptr::eq(self.to, slot) {
            self.held += 1;
            self.run += 1;
            self.bundle.push(envelope, serial);
            return self.bundle.len() >= BUNDLE;
        }
        self.close_run(stock);
        self.begin_run(slot, envelope)
    }

    /// The same for what goes into the mailbag as it is: the latest run is short, with this one too if it belongs to it. Else it comes back.
    #[inline(always)]
    fn hold_quickly(&mut self, slot: &Slot, envelope: Envelope) -> Result<bool, Envelope> {
        let same = ptr::eq(self.to, slot);
        if self.run > SHORT || same && self.run == SHORT {
            return Err(envelope);
        }
        if !same {
            return Ok(self.begin_run(slot, envelope));
        }
        self.run += 1;
        Ok(self.put(slot, envelope))
    }

    #[inline(always)]
    fn begin_run(&mut self, slot: &Slot, envelope: Envelope) -> bool {
        (self.to, self.run) = (slot, 1);
        self.put(slot, envelope)
    }

    #[inline(always)]
    fn put(&mut self, slot: &Slot, envelope: Envelope) -> bool {
        self.held += 1;
        self.mailbag.push(slot, envelope);
        self.mailbag.len() >= ENOUGH
    }

    /// The latest run is complete.
    #[inline(never)]
    fn close_run(&mut self, stock: &Stock<Bundle>) {
        if self.bundle.len() <= SHORT {
            self.bundle.drain().for_each(|envelope| self.mailbag.push(self.to, envelope));
        } else {
            let empty = self.stock.take(stock, Bundle::new);
            self.mailbag.push(self.to, Envelope::event(mem::replace(&mut self.bundle, empty)));
        }
    }

    /// Takes all out.
    fn empty(&mut self, stock: &Stock<Bundle>, empty: Box<Mailbag>) -> Box<Mailbag> {
        if self.run > SHORT {
            self.close_run(stock);
        }
        (self.held, self.slices, self.to, self.run) = (0, 0, ptr::null(), 0);
        mem::replace(&mut self.mailbag, empty)
    }
}

/// The worker that owns all the tasks.
fn common_owner(mailbag: &Mailbag) -> Option<WorkerId> {
    // SAFETY: slots live as long as the scheduler.
    let mut owners = mailbag.slots().map(|slot| unsafe { &*slot }.owner.address());
    let first = owners.next()?;
    if owners.all(|owner| owner == first) { first } else { None }
}

impl Worker {
    /// Into the outbox: for a task of worker `owner`, or of one that it has been given to.
    #[inline]
    pub(super) fn hold_back(&self, slot: &Slot, serial: u64, envelope: Envelope, owner: WorkerId) {
        self.metrics.remote.add(1);
        let urgent = envelope.kind() != Kind::Message || self.shared.idle.contains(owner);
        // SAFETY: `Worker` rule 1.
        let full =
            unsafe { self.outbox.with(|outbox| outbox.hold(slot, serial, envelope, &self.shared.bundles)) };
        if full || urgent {
            self.flush();
        }
    }

    /// A message into the outbox, in the usual case: not of a long run, and for a worker that is not idle. True: it is time to flush. Else it comes
    /// back.
    #[inline(always)]
    pub(super) fn hold_quickly(&self, slot: &Slot, message: Envelope) -> Result<bool, Envelope> {
        debug_assert_eq!(message.kind(), Kind::Message);
        // SAFETY: `Worker` rule 1.
        let held = unsafe { self.outbox.with(|outbox| outbox.hold_quickly(slot, message)) };
        if held.is_ok() {
            self.metrics.remote.add(1);
        }
        held
    }

    /// Pushes what is held back (rule 1).
    #[inline(always)]
    pub(crate) fn flush(&self) {
        if self.holds_back() {
            self.flush_now();
        }
    }

    #[inline(always)]
    fn holds_back(&self) -> bool {
        // SAFETY: `Worker` rule 1.
        unsafe { self.outbox.with(|outbox| !outbox.is_empty()) }
    }

    /// A short slice has ended (rule 1).
    #[inline(always)]
    pub(super) fn flush_if_old(&self) {
        // SAFETY: `Worker` rule 1.
        let old = unsafe {
            self.outbox.with(|outbox| {
                !outbox.is_empty() && {
                    outbox.slices += 1;
                    outbox.slices >= OLD
                }
            })
        };
        if old {
            self.flush_now();
        }
    }

    #[inline(never)]
    fn flush_now(&self) {
        // `rooms.rs`, rule 1. Before the flush begins: lenders send signals, and those flush on their own.
        self.settle_rooms_early();
        if !self.holds_back() {
            return;
        }
        let empty = self.empty_mailbag();
        // SAFETY: `Worker` rule 1.
        let mailbag = unsafe { self.outbox.with(|outbox| outbox.empty(&self.shared.bundles, empty)) };
        self.flushing.begin();
        match common_owner(&mailbag) {
            Some(owner) => self.push_mailbag(mailbag, owner),
            None => self.deal_out(mailbag),
        }
        self.flushing.end();
    }

    /// To each worker its own; what has no owner now into the tasks' remote queues.
    #[inline(never)]
    fn deal_out(&self, mut mailbag: Box<Mailbag>) {
        let mut dealt: Vec<(WorkerId, Box<Mailbag>)> = Vec::new();
        while let Some((to, envelope)) = mailbag.pop() {
            // SAFETY: slots live as long as `shared`.
            let slot = unsafe { &*to };
            let Some(owner) = slot.owner.address() else {
                let link = envelope.into_link().as_ptr();
                // SAFETY: a run of one, ours; slots stay mapped.
                if unsafe { slot.remote.push(link, link) } == Push::Notify {
                    self.shared.notify(slot);
                }
                continue;
            };
            let at = dealt.iter().position(|(worker, _)| *worker == owner).unwrap_or_else(|| {
                dealt.push((owner, self.empty_mailbag()));
                dealt.len() - 1
            });
            dealt[at].1.push(to, envelope);
        }
        self.keep_mailbag(mailbag);
        for (owner, mailbag) in dealt {
            self.push_mailbag(mailbag, owner);
        }
    }

    fn push_mailbag(&self, mailbag: Box<Mailbag>, owner: WorkerId) {
        let (marked, link) = mailbag.into_link();
        self.shared.push_mail(marked, link, owner);
    }
}
