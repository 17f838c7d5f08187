//! An envelope's way to its task.
//!
//! Same worker: straight into the private list, no atomic operation. Another worker: into the *outbox*,
//! a run of envelopes for one task that is pushed as a whole when the next one is for another task,
//! when it is long enough, or at the end of the slice; and if the push finds that the owner does not
//! know yet, the task's token goes to the owner's inbox. Tokens for one worker are gathered in the outbox too:
//! all workers push into its inbox, so an exchange there is dear.
//!
//! 1. The outbox is flushed at the end of a long slice, after [`OLD`] short ones, when there is nothing to
//!    run, before tasks are given away or settled, and by a rescuer. So what a task has sent is under way
//!    before the task can move, and it waits for a few short slices at most.
//! 2. A private push comes after what is in the remote queue (`owner.rs`: why order is kept).

use super::Worker;
use crate::{
    envelope::{Envelope, Kind},
    owner::{Whose, WorkerId},
    remote_queue::{Link, Push},
    slot::{DOOMED, ENDING, POKED, Private, SIGNALLED, Slot, State, TIMED_OUT},
    task::{Handled, TaskId},
};
use std::{
    mem,
    ptr::{self, NonNull},
    sync::atomic::Ordering,
};

/// Envelopes that are held back at most. Guess: the push costs as much as some ten of them.
const RUN: u32 = 64;
/// Short slices after which they go. Guess: some hundred nanoseconds.
const OLD: u32 = 8;

/// What is held back (rule 1): a run of envelopes for one task, and a run of tokens for one worker.
pub(crate) struct Outbox {
    to: *const Slot,
    envelopes: Run,
    worker: WorkerId,
    tokens: Run,
    /// Slices that have ended since the first one of all this was held back.
    slices: u32,
}

/// Links, newest first.
#[derive(Clone, Copy)]
struct Run {
    newest: *mut Link,
    oldest: *mut Link,
    len: u32,
}

impl Run {
    const EMPTY: Run = Run { newest: ptr::null_mut(), oldest: ptr::null_mut(), len: 0 };

    /// The link must be the caller's.
    #[inline(always)]
    fn push(&mut self, link: NonNull<Link>) {
        if self.len == 0 {
            self.oldest = link.as_ptr();
        } else {
            // SAFETY: the link is ours until the run is pushed. Relaxed: published by that.
            unsafe { link.as_ref() }.next.store(self.newest, Ordering::Relaxed);
        }
        self.newest = link.as_ptr();
        self.len += 1;
    }
}

impl Outbox {
    pub(super) fn new() -> Self {
        Outbox { to: ptr::null(), envelopes: Run::EMPTY, worker: 0, tokens: Run::EMPTY, slices: 0 }
    }

    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.envelopes.len == 0 && self.tokens.len == 0
    }
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
            Whose::Other(_) => self.hold_back(slot, envelope),
        }
        Ok(())
    }

    /// Sends a message to a live task, and pays for it (`current::send_message`). From user code.
    #[inline(never)]
    pub(crate) fn post(&self, slot: &Slot, serial: u64, mut envelope: Envelope) {
        let price = 1 + (slot.queued() / 64).min(64) as i32;
        envelope.address(serial);
        let entered = self.custody.enter();
        if self.observed {
            self.sent(TaskId::new(self.shared.slab.index_of(slot), serial), &envelope);
        }
        match slot.owner.look(self.id) {
            Whose::Mine => {
                let task = self.private(slot);
                if slot.remote.has_links() {
                    self.drain_remote(task, true);
                }
                task.push_message(envelope);
                self.look_at_queue(task);
                if matches!(task.state(), State::Idle | State::Waiting) {
                    self.enqueue(task);
                }
            }
            Whose::Arriving => {
                self.settle(slot);
                self.deliver(self.private(slot), envelope);
            }
            Whose::Other(_) => self.hold_back(slot, envelope),
        }
        if entered {
            self.custody.leave();
        }
        // Relaxed, no read-modify-write: see the field.
        let left = self.reductions.load(Ordering::Relaxed).saturating_sub(price);
        self.reductions.store(left, Ordering::Relaxed);
        if left < 0 {
            crate::current::used_up();
        }
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
            task.push_message(envelope);
            self.look_at_queue(task);
            if matches!(task.state(), State::Idle | State::Waiting) {
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
                self.drop_outside(envelope);
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
    fn look_at_queue(&self, task: Private<'_>) {
        let queued = task.slot().queued();
        if queued == self.alarm {
            self.shared.hooks.long_queue(self.task_id(task.slot()), queued);
        }
    }

    /// Into the outbox.
    fn hold_back(&self, slot: &Slot, envelope: Envelope) {
        let urgent = envelope.kind() != Kind::Message || self.shared.idle.contains(slot.owner.id());
        let link = envelope.into_link();
        // SAFETY: `Worker` rule 1.
        let full = unsafe {
            self.outbox.with(|outbox| {
                if outbox.is_empty() {
                    outbox.slices = 0;
                }
                if !ptr::eq(outbox.to, slot) {
                    self.push_envelopes(outbox);
                    outbox.to = slot;
                }
                outbox.envelopes.push(link);
                outbox.envelopes.len >= RUN
            })
        };
        if full || urgent {
            self.flush();
        }
    }

    /// Pushes what is held back (rule 1).
    #[inline(always)]
    pub(crate) fn flush(&self) {
        // SAFETY: `Worker` rule 1.
        if unsafe { self.outbox.with(|outbox| !outbox.is_empty()) } {
            self.flush_now();
        }
    }

    /// A short slice has ended (rule 1).
    #[inline(always)]
    pub(super) fn flush_if_old(&self) {
        // SAFETY: `Worker` rule 1.
        let old = unsafe {
            self.outbox.with(|outbox| {
                outbox.slices += 1;
                outbox.slices >= OLD && !outbox.is_empty()
            })
        };
        if old {
            self.flush_now();
        }
    }

    #[inline(never)]
    fn flush_now(&self) {
        // SAFETY: `Worker` rule 1.
        unsafe {
            self.outbox.with(|outbox| {
                self.push_envelopes(outbox);
                self.push_tokens(outbox);
            });
        }
    }

    /// Pushes the envelopes; their receiver's token, if it is ours then, is held back.
    fn push_envelopes(&self, outbox: &mut Outbox) {
        let run = mem::replace(&mut outbox.envelopes, Run::EMPTY);
        if run.len == 0 {
            return;
        }
        self.metrics.remote.add(u64::from(run.len));
        // SAFETY: slots live as long as `shared`.
        let slot = unsafe { &*outbox.to };
        outbox.to = ptr::null();
        // SAFETY: the run is ours, linked from newest to oldest; slots stay mapped.
        if unsafe { slot.remote.push(run.newest, run.oldest) } == Push::Quiet {
            return;
        }
        let owner = slot.owner.id();
        if outbox.worker != owner || outbox.tokens.len >= RUN {
            self.push_tokens(outbox);
            outbox.worker = owner;
        }
        // SAFETY: a slot is not at address 0.
        outbox.tokens.push(unsafe { NonNull::new_unchecked(slot.token()) });
    }

    fn push_tokens(&self, outbox: &mut Outbox) {
        let run = mem::replace(&mut outbox.tokens, Run::EMPTY);
        if run.len > 0 {
            self.shared.pass_tokens(run.newest, run.oldest, outbox.worker);
        }
    }

    /// Takes what others have pushed to a task of ours. `early`: the token is still under way.
    pub(super) fn drain_remote(&self, task: Private<'_>, early: bool) {
        let remote = &task.slot().remote;
        let mut link = if early { remote.take_early() } else { remote.take() };
        let serial = task.slot().serial();
        while let Some(at) = NonNull::new(link) {
            // SAFETY: `take` made the run ours. Relaxed: as in `reverse`.
            link = unsafe { at.as_ref() }.next.load(Ordering::Relaxed);
            // SAFETY: envelopes are all that is pushed to slots.
            let envelope = unsafe { Envelope::from_link(at) };
            if envelope.is_for(serial) {
                self.put(task, envelope);
            } else {
                let to = TaskId::new(self.shared.slab.index_of(task.slot()), envelope.serial_before(serial));
                self.dispose(to, envelope);
            }
        }
    }

    /// For an envelope whose receiver is dead.
    #[cold]
    pub(crate) fn dispose(&self, to: TaskId, envelope: Envelope) {
        match envelope.kind() {
            Kind::Signal => self.shared.hooks.undeliverable(envelope),
            Kind::Message => {
                self.shared.hooks.dead_letter(to, &envelope);
                self.drop_outside(envelope);
            }
            Kind::Event | Kind::Reply => self.drop_outside(envelope),
        }
    }

    /// Sees to the tasks that have mail from outside.
    #[inline(never)]
    pub(crate) fn drain_inbox(&self) {
        let mut token = self.public.inbox.take();
        while let Some(at) = NonNull::new(token) {
            // Before the token's task is seen to: after that its link may be used again.
            // SAFETY: the inbox gave it to us. Relaxed: acquired by `take`.
            token = unsafe { at.as_ref() }.next.load(Ordering::Relaxed);
            // SAFETY: tokens come from slots; slots stay mapped.
            let slot = unsafe { Slot::of_token(at) };
            if ptr::eq(slot, &raw const self.control) {
                self.obey();
                continue;
            }
            match slot.owner.look(self.id) {
                Whose::Mine => {}
                Whose::Arriving => self.settle(slot),
                Whose::Other(owner) => {
                    self.shared.pass_token(slot, owner);
                    continue;
                }
            }
            self.drain_remote(self.private(slot), false);
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
                Kind::Message | Kind::Event => task.push_inner(envelope),
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
                            task.count(1);
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

    /// The next thing to receive, of the task that runs.
    #[inline(always)]
    pub(crate) fn next(&self, task: Private<'_>) -> Option<Envelope> {
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
                    task.count(-1);
                }
                return Some(envelope);
            }
            if !task.slot().remote.has_links() {
                return None;
            }
            self.drain_remote(task, true);
        }
    }

    /// Takes what others have sent to the running task, and lets its signals act.
    pub(crate) fn take_in(&self, slot: &Slot) {
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
        if task.slot().remote.has_links() {
            self.drain_remote(task, true);
        }
        if task.has(SIGNALLED) {
            // If it is doomed, signals that are not for it any more stay where they are.
            self.act_on_signals(task);
        } else {
            task.splice();
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
            task.count(-1);
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
