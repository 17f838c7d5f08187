//! What has come to a worker's inbox: mailbags for its tasks, their tokens, and orders.
//!
//! 1. What the inbox held is kept in [`Arrivals`] until it is taken in, one thing after the other, oldest first. To dispose of a
//!    message to a dead task runs code of users, which may come here again, or hold the thread for so long that a rescuer does: it goes on where
//!    the first one was.
//! 2. All is taken in at once, too, when a task that runs has nothing to receive, and before tasks are given away (`owner.rs`, rule 5):
//!    [`Worker::take_in_mail`]. Orders are left to the loop then, and what is for dead tasks, for code of users might not come back.

use super::Worker;
use crate::{
    envelope::Envelope,
    mailbag::{self, Mailbag},
    owner::Whose,
    remote_queue::Link,
    slot::Slot,
    stock::{OwnStock, Stock},
    task::TaskId,
};
use std::{
    collections::VecDeque,
    ptr::{self, NonNull},
    sync::atomic::Ordering,
};

/// See the head of this file.
pub(super) struct Arrivals {
    /// Links of the inbox, the oldest last.
    links: Vec<NonNull<Link>>,
    /// What is being taken in.
    open: Option<Box<Mailbag>>,
    /// For tasks that are dead (rule 2).
    late: VecDeque<(TaskId, Envelope)>,
    /// Empty ones.
    stock: OwnStock<Mailbag>,
}

enum Arrival {
    /// A token or a mailbag, as it came.
    Link(NonNull<Link>),
    Mail(*const Slot, Envelope),
}

impl Arrivals {
    pub(super) fn new() -> Self {
        Arrivals { links: Vec::new(), open: None, late: VecDeque::new(), stock: OwnStock::new() }
    }

    /// Takes what the inbox held: links, newest first.
    fn add(&mut self, newest: *mut Link) {
        let before: Vec<_> = self.links.drain(..).collect();
        let mut link = newest;
        while let Some(at) = NonNull::new(link) {
            self.links.push(at);
            // Now, for when a token's task has been seen to its link may be used again.
            let itself = mailbag::unmarked(at);
            if mailbag::is_marked(at) {
                Mailbag::prefetch_itself(itself.as_ptr().cast());
            }
            // SAFETY: the inbox gave it to us. Relaxed: acquired by its `take`.
            link = unsafe { itself.as_ref() }.next.load(Ordering::Relaxed);
        }
        self.links.extend(before);
    }

    #[inline(always)]
    fn next(&mut self, stock: &Stock<Mailbag>) -> Option<Arrival> {
        if let Some(mailbag) = &mut self.open {
            if let Some((to, envelope)) = mailbag.pop() {
                return Some(Arrival::Mail(to, envelope));
            }
            if let Some(empty) = self.open.take() {
                self.stock.give(stock, empty);
            }
        }
        self.links.pop().map(Arrival::Link)
    }
}

impl Worker {
    /// Sees to all that has come, as the loop does between two slices.
    #[inline(never)]
    pub(crate) fn drain_inbox(&self) {
        loop {
            self.adopted.set(false);
            self.take_in_arrivals();
            // What a task that has been adopted has sent from where it was is here by now (`owner.rs`, rule 6).
            if !(self.adopted.get() && self.public.inbox.has_tokens()) {
                return;
            }
        }
    }

    /// If something has come to this worker, takes the mail in (rule 2).
    #[inline(always)]
    pub(super) fn take_in_mail(&self) -> bool {
        let any = self.public.inbox.has_tokens();
        if any {
            self.take_in_all_mail();
        }
        any
    }

    /// Takes in all mail, what an outer call has not come to yet included.
    pub(super) fn take_in_all_mail(&self) {
        let before = self.only_mail.replace(true);
        self.take_in_arrivals();
        self.only_mail.set(before);
    }

    /// Takes in what is there now.
    #[inline(never)]
    fn take_in_arrivals(&self) {
        if self.public.inbox.has_tokens() {
            // SAFETY: `Worker` rule 1.
            unsafe { self.arrivals.with(|arrivals| arrivals.add(self.public.inbox.take())) };
        }
        loop {
            // SAFETY: `Worker` rule 1.
            let next = unsafe { self.arrivals.with(|arrivals| arrivals.next(&self.shared.mailbags)) };
            let Some(arrival) = next else { return };
            match arrival {
                // SAFETY: slots live as long as `shared`.
                Arrival::Mail(to, envelope) => self.arrive(unsafe { &*to }, envelope),
                // SAFETY: the inbox gave it to us.
                Arrival::Link(link) => match unsafe { Mailbag::from_link(link) } {
                    Some(mailbag) => {
                        mailbag.prefetch();
                        // SAFETY: `Worker` rule 1.
                        let before = unsafe { self.arrivals.with(|arrivals| arrivals.open.replace(mailbag)) };
                        debug_assert!(before.is_none());
                    }
                    None => self.see_to(link),
                },
            }
        }
    }

    /// Mail from a mailbag.
    #[inline(always)]
    fn arrive(&self, slot: &Slot, envelope: Envelope) {
        match slot.owner.look(self.id) {
            Whose::Mine => {
                let task = self.private(slot);
                if slot.remote.has_links() {
                    self.drain_remote(task, true);
                }
                self.unwrap(task, envelope);
            }
            Whose::Departing => self.unwrap(self.private(slot), envelope),
            Whose::Arriving => {
                self.settle(slot);
                self.arrive(slot, envelope);
            }
            // Mail for a live task is taken in before the task is given (`owner.rs`, rule 5).
            Whose::Other(_) => {
                let (index, now) = (self.shared.slab.index_of(slot), slot.serial());
                self.unpack(envelope, |envelope| {
                    debug_assert!(!envelope.is_for(now));
                    self.dispose(TaskId::new(index, envelope.serial_before(now)), envelope);
                });
            }
        }
    }

    /// For who holds a slot's token: sees to its mail, or passes the token on.
    fn see_to(&self, token: NonNull<Link>) {
        // SAFETY: tokens come from slots; slots stay mapped.
        let slot = unsafe { Slot::of_token(token) };
        if ptr::eq(slot, &raw const self.control) {
            if self.only_mail.get() {
                // It comes back, to the loop.
                self.shared.pass_token(slot, self.id);
            } else {
                self.obey();
            }
            return;
        }
        match slot.owner.look(self.id) {
            Whose::Mine => {}
            Whose::Arriving => self.settle(slot),
            // Its mail has to wait; the token comes back here, and is passed on then.
            Whose::Departing => return self.shared.pass_token(slot, self.id),
            Whose::Other(owner) => return self.shared.pass_token(slot, owner),
        }
        self.drain_remote(self.private(slot), false);
    }

    /// Keeps what is for a dead task until code of users may run (rule 2).
    #[cold]
    pub(super) fn keep_for_later(&self, to: TaskId, envelope: Envelope) {
        // SAFETY: `Worker` rule 1.
        unsafe { self.arrivals.with(|arrivals| arrivals.late.push_back((to, envelope))) };
        self.attention.set(true);
    }

    /// Disposes of what has been kept.
    pub(super) fn dispose_of_late(&self) {
        // Else all of it would be kept again, without end. Only the loop comes here, and nothing waits in the middle of rule 2.
        debug_assert!(!self.only_mail.get());
        // SAFETY: `Worker` rule 1.
        while let Some((to, envelope)) = unsafe { self.arrivals.with(|arrivals| arrivals.late.pop_front()) } {
            self.dispose(to, envelope);
        }
    }

    /// An empty mailbag.
    #[inline]
    pub(super) fn empty_mailbag(&self) -> Box<Mailbag> {
        // SAFETY: `Worker` rule 1.
        unsafe { self.arrivals.with(|arrivals| arrivals.stock.take(&self.shared.mailbags, Mailbag::new)) }
    }

    /// Keeps an empty mailbag.
    pub(super) fn keep_mailbag(&self, mailbag: Box<Mailbag>) {
        debug_assert_eq!(mailbag.len(), 0);
        // SAFETY: `Worker` rule 1.
        unsafe { self.arrivals.with(|arrivals| arrivals.stock.give(&self.shared.mailbags, mailbag)) };
    }

    /// Drops what an inbox holds that nobody will look at any more.
    pub(super) fn discard_arrivals(&self) {
        // SAFETY: `Worker` rule 1.
        unsafe {
            self.arrivals.with(|arrivals| {
                if self.public.inbox.has_tokens() {
                    arrivals.add(self.public.inbox.take());
                }
                for link in arrivals.links.drain(..) {
                    // SAFETY: the inbox gave it to us.
                    drop(Mailbag::from_link(link));
                }
                arrivals.open = None;
                arrivals.late.clear();
            });
        }
    }
}
