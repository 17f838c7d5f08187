//! An envelope's way to its task.
//!
//! Same worker: straight into the private list, no atomic operation. Another worker: into the outbox (`outbox.rs`), from there
//! in a mailbag into the owner's inbox (`arrivals.rs`); the owner moves it to the private list. If the task is on the move, or the sender no worker: into
//! the task's remote queue, and the task's token into its owner's inbox.
//!
//! A private push comes after what is in the remote queue (`owner.rs`: why order is kept).

use super::Worker;
use crate::{
    bundle::Bundle,
    envelope::{Envelope, Kind},
    owner::{Whose, WorkerId},
    remote_queue::Link,
    slot::{BUNDLED, CROWD, DOOMED, ENDING, POKED, Private, SIGNALLED, Slot, State, TIMED_OUT},
    task::{Handled, TaskId},
};
use std::{ptr::NonNull, sync::atomic::Ordering};

/// The bundle in it, if it is one (`bundle.rs`, rule 1).
#[inline(always)]
fn bundle_in(envelope: &Envelope) -> Option<&Bundle> {
    if envelope.kind() == Kind::Event { envelope.get::<Box<Bundle>>().map(|bundle| &**bundle) } else { None }
}

impl Worker {
    /// Sends. The envelope comes back if the task is dead as far as can be seen here.
    #[inline]
    pub(crate) fn send(&self, id: TaskId, mut envelope: Envelope) -> Result<(), Envelope> {
        let Some(slot) = self.shared.slab.get(id.index()) else { return Err(envelope) };
        if slot.serial() != id.serial() {
            return Err(envelope);
        }
        envelope.address(id.serial());
        if self.observed {
            self.sent(id, &envelope);
        }
        match slot.owner.look(self.id) {
            Whose::Mine => self.deliver(self.private(slot), envelope),
            Whose::Arriving => {
                self.settle(slot);
                self.deliver(self.private(slot), envelope);
            }
            Whose::Departing => self.put(self.private(slot), envelope),
            Whose::Other(owner) => self.hold_back(slot, id.serial(), envelope, owner),
        }
        Ok(())
    }

    /// Sends a message to a live task, and pays for it (`current::send_message`). From user code. The message bears its address already.
    ///
    /// What is not the usual case is in functions of its own that this one ends with, so that it needs no frame.
    #[inline(never)]
    pub(crate) fn post(&self, slot: &Slot, serial: u64, envelope: Envelope) {
        if !self.custody.enter_quickly() {
            return self.post_slowly(slot, serial, envelope);
        }
        match slot.owner.look(self.id) {
            Whose::Mine if !slot.remote.has_links() => {}
            Whose::Other(owner) => return self.post_far(slot, serial, envelope, owner),
            _ => return self.post_elsewhere(slot, serial, envelope, true),
        }
        let task = self.private(slot);
        let price = slot.price();
        let queued = task.push_uncounted(envelope);
        if queued.is_multiple_of(CROWD) {
            return self.post_rest(task, queued, price);
        }
        if task.state().listens() {
            return self.post_and_wake(task, queued, price);
        }
        self.custody.leave();
        self.pay_for_send(price);
    }

    /// The task waits for a message, and it has just been appended. Without a frame, too.
    #[inline(never)]
    fn post_and_wake(&self, task: Private<'_>, queued: u32, price: i32) {
        if !self.enqueue_quickly(task) {
            return self.post_rest(task, queued, price);
        }
        self.custody.leave();
        self.pay_for_send(price);
    }

    /// What there is to do about a message that has just been appended.
    #[inline(never)]
    fn post_rest(&self, task: Private<'_>, queued: u32, price: i32) {
        if queued.is_multiple_of(CROWD) {
            task.count_crowd(queued);
            self.look_at_queue(task, queued);
        }
        if task.state().listens() {
            self.enqueue(task);
        }
        self.custody.leave();
        self.pay_for_send(price);
    }

    /// For a task of another worker. Without a frame, too.
    #[inline(never)]
    fn post_far(&self, slot: &Slot, serial: u64, envelope: Envelope, owner: WorkerId) {
        let price = slot.price();
        if self.shared.idle.contains(owner) {
            return self.post_elsewhere(slot, serial, envelope, true);
        }
        match self.hold_quickly(slot, envelope) {
            Ok(false) => {}
            Ok(true) => return self.post_full(price),
            Err(envelope) => return self.post_elsewhere(slot, serial, envelope, true),
        }
        self.custody.leave();
        self.pay_for_send(price);
    }

    /// The outbox is full after that.
    #[inline(never)]
    fn post_full(&self, price: i32) {
        self.flush();
        self.custody.leave();
        self.pay_for_send(price);
    }

    #[inline(never)]
    fn post_slowly(&self, slot: &Slot, serial: u64, envelope: Envelope) {
        let entered = self.custody.enter();
        if self.observed {
            self.sent(TaskId::new(self.shared.slab.index_of(slot), serial), &envelope);
        }
        self.post_elsewhere(slot, serial, envelope, entered);
    }

    /// Wherever the task is.
    #[inline(never)]
    fn post_elsewhere(&self, slot: &Slot, serial: u64, envelope: Envelope, entered: bool) {
        let price = slot.price();
        match slot.owner.look(self.id) {
            Whose::Other(owner) => self.hold_back(slot, serial, envelope, owner),
            Whose::Mine => self.deliver(self.private(slot), envelope),
            Whose::Arriving => {
                self.settle(slot);
                self.deliver(self.private(slot), envelope);
            }
            Whose::Departing => self.put(self.private(slot), envelope),
        }
        if entered {
            self.custody.leave();
        }
        self.pay_for_send(price);
    }

    #[inline(always)]
    fn pay_for_send(&self, price: i32) {
        if !self.pay_little(price) {
            crate::current::used_up();
        }
    }

    /// Pays at most some thousand reductions. False: the slice is used up.
    #[inline(always)]
    pub(crate) fn pay_little(&self, price: i32) -> bool {
        // Relaxed, no read-modify-write: see the field. It does not wrap: `current::pay` leaves room below, and who finds the slice used up
        // begins another one.
        let left = self.reductions.load(Ordering::Relaxed).wrapping_sub(price);
        self.reductions.store(left, Ordering::Relaxed);
        left >= 0
    }

    /// What has arrived becomes ours (`owner.rs`, rule 2).
    #[cold]
    pub(super) fn settle(&self, slot: &Slot) {
        self.flush();
        slot.owner.settle(self.id);
    }

    /// Appends to the private list of a task of ours, and wakes it if this is what it waits for.
    #[inline(always)]
    fn deliver(&self, task: Private<'_>, envelope: Envelope) {
        if task.slot().remote.has_links() {
            self.drain_remote(task, true);
        }
        self.put(task, envelope);
    }

    #[inline(always)]
    fn put(&self, task: Private<'_>, envelope: Envelope) {
        let kind = envelope.kind();
        if kind == Kind::Message {
            let queued = task.push_message(envelope);
            self.look_at_queue(task, queued);
            if task.state().listens() {
                self.enqueue(task);
            }
            return;
        }
        if kind == Kind::Reply && !task.has(SIGNALLED) {
            // Nothing in the list has to act before it: it may go straight to the one that waits.
            if task.awaits(envelope.tag()) {
                task.put_answer(envelope);
                if task.state() == State::Asleep {
                    self.enqueue(task);
                }
            } else {
                self.dispose(self.task_id(task.slot()), envelope);
            }
            return;
        }
        task.push_outer(envelope);
        if matches!(task.state(), State::Idle | State::Waiting | State::Asleep) {
            self.enqueue(task);
        }
    }

    /// A message has come in: is this one too many?
    #[inline(always)]
    fn look_at_queue(&self, task: Private<'_>, queued: u32) {
        if queued == self.alarm {
            self.shared.hooks.long_queue(self.task_id(task.slot()), queued);
        }
    }

    /// Takes what others have pushed to a task of ours. `early`: the token is still under way.
    pub(super) fn drain_remote(&self, task: Private<'_>, early: bool) {
        let remote = &task.slot().remote;
        let mut link = if early { remote.take_early() } else { remote.take() };
        while let Some(at) = NonNull::new(link) {
            // SAFETY: `take` made the run ours. Relaxed: as in `reverse`.
            link = unsafe { at.as_ref() }.next.load(Ordering::Relaxed);
            // SAFETY: envelopes are all that is pushed to slots.
            self.unwrap(task, unsafe { Envelope::from_link(at) });
        }
    }

    /// Takes what others have sent to a task of ours: an envelope, or a bundle of them.
    #[inline(always)]
    pub(super) fn unwrap(&self, task: Private<'_>, envelope: Envelope) {
        match bundle_in(&envelope) {
            None => self.take_over(task, envelope),
            Some(bundle) if bundle.is_plain_for(task.slot().serial()) => {
                let (before, len) = (task.slot().queued(), bundle.len() as u32);
                task.push_bundle(envelope, len);
                if before < self.alarm && before + len >= self.alarm {
                    self.shared.hooks.long_queue(self.task_id(task.slot()), before + len);
                }
                if task.state().listens() {
                    self.enqueue(task);
                }
            }
            Some(_) => self.unpack(envelope, |envelope| self.take_over(task, envelope)),
        }
    }

    /// Takes the envelopes out of a bundle, if it is one; else it is passed on itself.
    pub(super) fn unpack(&self, envelope: Envelope, mut take: impl FnMut(Envelope)) {
        let mut bundle = match envelope.take::<Box<Bundle>>() {
            Ok(bundle) => bundle,
            Err(envelope) => return take(envelope),
        };
        bundle.prefetch();
        bundle.drain().for_each(take);
        // SAFETY: `Worker` rule 1.
        unsafe { self.outbox.with(|outbox| outbox.stock.give(&self.shared.bundles, bundle)) };
    }

    /// Moves the outer list, in which there is no signal, behind the inner one.
    pub(super) fn splice(&self, task: Private<'_>) {
        if task.has(BUNDLED) {
            while let Some(envelope) = task.pop_outer() {
                self.unpack(envelope, |envelope| task.push_inner(envelope));
            }
            task.clear(BUNDLED);
        }
        task.splice();
    }

    #[inline(always)]
    fn take_over(&self, task: Private<'_>, envelope: Envelope) {
        let serial = task.slot().serial();
        if envelope.is_for(serial) {
            self.put(task, envelope);
        } else {
            let to = TaskId::new(self.shared.slab.index_of(task.slot()), envelope.serial_before(serial));
            self.dispose(to, envelope);
        }
    }

    /// For an envelope whose receiver is dead.
    #[cold]
    pub(crate) fn dispose(&self, to: TaskId, envelope: Envelope) {
        if self.only_mail.get() {
            return self.keep_for_later(to, envelope);
        }
        match envelope.kind() {
            Kind::Signal => self.shared.hooks.undeliverable(envelope),
            Kind::Message => {
                self.shared.hooks.dead_letter(to, &envelope);
                self.drop_outside(envelope);
            }
            Kind::Event if bundle_in(&envelope).is_some() => {
                self.unpack(envelope, |envelope| self.dispose(to, envelope));
            }
            Kind::Event | Kind::Reply => self.drop_outside(envelope),
        }
    }

    /// The turn of a task has come: do its signals act, and does it still have a reason to run?
    #[inline(always)]
    pub(super) fn is_ready(&self, slot: &Slot) -> bool {
        let task = self.private(slot);
        if slot.remote.has_links() {
            self.drain_remote(task, true);
        }
        if task.has(SIGNALLED) {
            self.act_on_signals(task);
        }
        let ready = match task.waited() {
            State::Idle | State::Waiting => {
                !task.outer_is_empty() || !task.inner_is_empty() || task.has(DOOMED | TIMED_OUT | POKED)
            }
            State::Asleep => task.has_answer() || task.has(DOOMED | TIMED_OUT | POKED),
            State::Free | State::Queued | State::Running => true,
        };
        if !ready {
            task.set_state(task.waited());
        }
        ready
    }

    /// Moves the outer list to the inner one; what is not a message acts, in its place.
    #[cold]
    #[inline(never)]
    pub(super) fn act_on_signals(&self, task: Private<'_>) {
        if task.has(DOOMED) {
            // What follows the signal that ended it finds it dead: `close_mailbox` sees to that.
            return;
        }
        task.clear(SIGNALLED);
        let before = self.set_subject(task.slot());
        let id = self.task_id(task.slot());
        while let Some(envelope) = task.pop_outer() {
            match envelope.kind() {
                Kind::Message => task.push_inner(envelope),
                Kind::Event => self.unpack(envelope, |envelope| task.push_inner(envelope)),
                Kind::Reply => {
                    if task.awaits(envelope.tag()) {
                        task.put_answer(envelope);
                    } else {
                        self.drop_outside(envelope);
                    }
                }
                Kind::Signal => match self.shared.hooks.signal(id, envelope) {
                    Handled::Done => {}
                    Handled::Deliver(event) => {
                        if event.kind() == Kind::Message {
                            task.count_in(1);
                        }
                        task.push_inner(event);
                    }
                    Handled::Answer(answer) => {
                        if task.awaits(answer.tag()) {
                            task.put_answer(answer);
                        } else {
                            self.drop_outside(answer);
                        }
                    }
                    Handled::Doom => {
                        task.set(DOOMED | SIGNALLED);
                        break;
                    }
                },
            }
        }
        self.set_subject(before);
    }

    /// Has something come that is not in the lists of the task that runs yet, and is perhaps for it?
    #[inline(always)]
    pub(crate) fn more_may_come(&self, task: Private<'_>) -> bool {
        task.slot().remote.has_links() || self.public.inbox.has_tokens()
    }

    /// The next thing to receive, of the task that runs.
    #[inline(always)]
    pub(crate) fn next(&self, task: Private<'_>) -> Option<Envelope> {
        let mut looked = false;
        loop {
            if task.has(SIGNALLED) {
                self.act_on_signals(task);
            }
            let envelope = match task.pop_inner() {
                Some(envelope) => Some(envelope),
                // It is doomed, and what is left is not its any more.
                None if task.has(SIGNALLED) => return None,
                // No signal is among these, so what comes first is received first.
                None => task.pop_outer(),
            };
            if let Some(envelope) = envelope {
                if envelope.kind() == Kind::Message {
                    task.count_out();
                } else if bundle_in(&envelope).is_some() {
                    // The inner list is empty.
                    self.unpack(envelope, |envelope| task.push_inner(envelope));
                    continue;
                }
                return Some(envelope);
            }
            if task.slot().remote.has_links() {
                self.drain_remote(task, true);
            } else if looked || !self.take_in_mail() {
                return None;
            } else {
                looked = true;
            }
        }
    }

    /// Takes what others have sent to the running task, and lets its signals act.
    pub(crate) fn take_in(&self, slot: &Slot) {
        self.take_in_mail();
        let task = self.private(slot);
        if slot.remote.has_links() {
            self.drain_remote(task, true);
        }
        if task.has(SIGNALLED) {
            self.act_on_signals(task);
        }
    }

    /// Is it ending?
    pub(crate) fn is_ending(&self, slot: &Slot) -> bool {
        self.private(slot).has(ENDING)
    }

    /// Searches the mailbox of the task that runs: the first thing behind `position` that `wanted` picks.
    pub(crate) fn search(
        &self,
        task: Private<'_>,
        position: &mut Option<NonNull<Link>>,
        wanted: &mut dyn FnMut(&Envelope) -> bool,
    ) -> Option<Envelope> {
        self.take_in_mail();
        if task.slot().remote.has_links() {
            self.drain_remote(task, true);
        }
        if task.has(SIGNALLED) {
            // If it is doomed, signals that are not for it any more stay where they are.
            self.act_on_signals(task);
        } else {
            self.splice(task);
        }
        // Code of users looks at the envelopes: the list is out of the slot meanwhile, and goes back even
        // if that code panics.
        struct Restore<'a>(Private<'a>, crate::envelope::List);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.restore_inner(std::mem::replace(&mut self.1, crate::envelope::List::new()));
            }
        }
        let mut restore = Restore(task, task.take_inner());
        let found = self.outside(|| restore.1.remove_after(position, wanted));
        drop(restore);
        if let Some(envelope) = &found
            && envelope.kind() == Kind::Message
        {
            task.count_out();
        }
        found
    }

    /// Ends the life of a task's mailbox: its number matches no more, and what is in it is disposed of.
    pub(crate) fn close_mailbox(&self, task: Private<'_>) {
        task.set(ENDING);
        let ended = self.task_id(task.slot());
        task.end();
        drop(task.take_answer());
        while let Some(envelope) = task.pop_inner() {
            self.dispose(ended, envelope);
        }
        while let Some(envelope) = task.pop_outer() {
            self.dispose(ended, envelope);
        }
        task.clear(SIGNALLED);
        if task.slot().remote.has_links() {
            // Everything there is for the life that has ended.
            self.drain_remote(task, true);
        }
    }
}
