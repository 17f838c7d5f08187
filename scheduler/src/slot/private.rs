//! The private half of a slot, in the hands of its owner. The rules are those of `slot.rs`.

use super::{BUNDLED, CROWD, FLAGGED, MARKED, MOST_CROWD, NO_TIMER, SIGNALLED, Slot, State};
use crate::{
    body::OwnedBody,
    carrier::{Carrier, MOST_DEPTH},
    envelope::{Envelope, Kind, List},
    extension::Extension,
    remote_queue::Link,
};
use std::{
    mem,
    ptr::{self, NonNull},
    sync::atomic::Ordering,
};

/// What comes first in a mailbox ([`Private::pop_message`]).
pub(crate) enum First {
    /// A message without a tag.
    Plain(Envelope),
    /// One with a tag.
    Tagged(Envelope),
    /// It is still there.
    Other,
    Nothing,
}

/// The private half of a slot, in the hands of its owner.
#[derive(Clone, Copy)]
pub(crate) struct Private<'a>(pub(super) &'a Slot);

impl<'a> Private<'a> {
    pub(crate) fn slot(self) -> &'a Slot {
        self.0
    }

    #[inline(always)]
    pub(crate) fn state(self) -> State {
        self.0.state.get()
    }

    #[inline(always)]
    pub(crate) fn set_state(self, state: State) {
        self.0.state.set(state);
    }

    /// What it waited for when it was queued.
    pub(crate) fn waited(self) -> State {
        self.0.waited.get()
    }

    pub(crate) fn set_waited(self, state: State) {
        self.0.waited.set(state);
    }

    #[inline(always)]
    pub(crate) fn has(self, bits: u8) -> bool {
        self.0.bits.get() & bits != 0
    }

    #[inline(always)]
    pub(crate) fn set(self, bits: u8) {
        self.0.bits.set(self.0.bits.get() | bits);
    }

    #[inline(always)]
    pub(crate) fn clear(self, bits: u8) {
        self.0.bits.set(self.0.bits.get() & !bits);
    }

    pub(crate) fn priority(self) -> u8 {
        self.0.priority.get()
    }

    pub(crate) fn set_priority(self, priority: u8) {
        self.0.priority.set(priority);
    }

    pub(crate) fn class(self) -> u8 {
        self.0.class.get()
    }

    pub(crate) fn carrier(self) -> *const Carrier {
        self.0.carrier.get().map_addr(|address| address & !MOST_DEPTH)
    }

    /// Keeps a carrier that is so deep; null: none.
    #[inline(always)]
    pub(crate) fn set_carrier(self, carrier: *const Carrier, depth: usize) {
        debug_assert!(carrier.addr() & MOST_DEPTH == 0 && depth <= MOST_DEPTH);
        self.0.carrier.set(carrier.map_addr(|address| address | depth));
    }

    /// May it change its worker?
    pub(crate) fn is_movable(self) -> bool {
        self.0.carrier.get().is_null() && self.state() != State::Running
    }

    pub(crate) fn deadline(self) -> u64 {
        self.0.deadline.get()
    }

    pub(crate) fn set_deadline(self, deadline: u64) {
        self.0.deadline.set(deadline);
    }

    pub(crate) fn timer(self) -> u32 {
        self.0.timer.get()
    }

    pub(crate) fn set_timer(self, timer: u32) {
        self.0.timer.set(timer);
    }

    pub(crate) fn take_body(self) -> Option<OwnedBody> {
        // SAFETY: rules 1 and 2.
        unsafe { (*self.0.body.get()).take() }
    }

    pub(crate) fn put_body(self, body: OwnedBody) {
        // SAFETY: rules 1 and 2; while its body is out the field is empty, so nothing is dropped here.
        unsafe { ptr::write(self.0.body.get(), Some(body)) }
    }

    pub(crate) fn take_extension(self) -> Option<Extension> {
        // SAFETY: rules 1 and 2.
        unsafe { (*self.0.extension.get()).take() }
    }

    /// Puts it back. The field must be empty: what is there is not dropped here (rule 2).
    pub(crate) fn put_extension(self, extension: Extension) {
        // SAFETY: rules 1 and 2.
        let old = unsafe { (*self.0.extension.get()).replace(extension) };
        if old.is_some() {
            // Only the owner's thread could have put it there, while it held the first one.
            mem::forget(old);
            debug_assert!(false, "an extension was made while another was out");
        }
    }

    /// Asks for what its next slice touches beside the slot.
    #[inline(always)]
    pub(crate) fn prefetch(self) {
        let carrier = self.0.carrier.get();
        // SAFETY: rules 1 and 2.
        let (body, outer) = unsafe { (&*self.0.body.get(), &*self.0.outer.get()) };
        if let Some(body) = body {
            body.prefetch();
        } else if !carrier.is_null() {
            Carrier::prefetch(carrier.map_addr(|address| address & !MOST_DEPTH), carrier.addr() & MOST_DEPTH);
        }
        outer.prefetch();
    }

    /// Appends to the outer list.
    #[inline(always)]
    pub(crate) fn push_outer(self, envelope: Envelope) {
        if envelope.kind() == Kind::Message {
            self.count_in(1);
        } else {
            self.set(SIGNALLED);
        }
        // SAFETY: rules 1 and 2.
        unsafe { (*self.0.outer.get()).push(envelope) };
    }

    /// Appends a message to the outer list. Returns how many there are now.
    #[inline(always)]
    pub(crate) fn push_message(self, envelope: Envelope) -> u32 {
        let queued = self.push_uncounted(envelope);
        if queued.is_multiple_of(CROWD) {
            self.count_crowd(queued);
        }
        queued
    }

    /// The same; if the number is a multiple of [`CROWD`] the caller calls [`Private::count_crowd`].
    #[inline(always)]
    pub(crate) fn push_uncounted(self, envelope: Envelope) -> u32 {
        debug_assert_eq!(envelope.kind(), Kind::Message);
        // SAFETY: rules 1 and 2.
        unsafe { (*self.0.outer.get()).push(envelope) };
        // Relaxed: as in `count_in`.
        let queued = self.0.queued.load(Ordering::Relaxed).wrapping_add(1);
        self.0.queued.store(queued, Ordering::Relaxed);
        queued
    }

    /// Appends a plain bundle with so many messages to the outer list.
    pub(crate) fn push_bundle(self, bundle: Envelope, len: u32) {
        self.count_in(len);
        self.set(BUNDLED);
        // SAFETY: rules 1 and 2.
        unsafe { (*self.0.outer.get()).push(bundle) };
    }

    #[inline(always)]
    pub(crate) fn pop_outer(self) -> Option<Envelope> {
        // SAFETY: rules 1 and 2.
        unsafe { (*self.0.outer.get()).pop() }
    }

    #[inline(always)]
    pub(crate) fn outer_is_empty(self) -> bool {
        // SAFETY: rules 1 and 2.
        unsafe { (*self.0.outer.get()).is_empty() }
    }

    #[inline(always)]
    pub(crate) fn inner_is_empty(self) -> bool {
        // SAFETY: rules 1 and 2.
        unsafe { (*self.0.inner.get()).is_empty() }
    }

    pub(crate) fn push_inner(self, envelope: Envelope) {
        // SAFETY: rules 1 and 2.
        unsafe { (*self.0.inner.get()).push(envelope) };
    }

    #[inline(always)]
    pub(crate) fn pop_inner(self) -> Option<Envelope> {
        // SAFETY: rules 1 and 2.
        unsafe { (*self.0.inner.get()).pop() }
    }

    /// Takes what comes first, if that is a message of this type, and no signal waits.
    #[inline(always)]
    pub(crate) fn pop_message<M: Send + 'static>(self) -> First {
        if self.has(SIGNALLED) {
            return First::Other;
        }
        let list = if self.inner_is_empty() { &self.0.outer } else { &self.0.inner };
        // SAFETY: rules 1 and 2.
        match unsafe { (*list.get()).pop_if(Envelope::is_message::<M>) } {
            Some(Ok(envelope)) => {
                self.count_out();
                if envelope.tag() == 0 { First::Plain(envelope) } else { First::Tagged(envelope) }
            }
            Some(Err(())) => First::Other,
            None => First::Nothing,
        }
    }

    /// Is the first of the inner list a message?
    pub(crate) fn inner_starts_with_message(self) -> bool {
        // SAFETY: rules 1 and 2.
        unsafe { (*self.0.inner.get()).first_kind() == Some(Kind::Message) }
    }

    /// Puts back what was taken first from the inner list.
    pub(crate) fn unpop_inner(self, envelope: Envelope) {
        let mut list = List::new();
        list.push(envelope);
        self.restore_inner(list);
    }

    /// Moves the whole outer list behind the inner one. There must be no bundles in it.
    pub(crate) fn splice(self) {
        debug_assert!(!self.has(BUNDLED));
        // SAFETY: rules 1 and 2; the two lists are different fields.
        unsafe { (*self.0.inner.get()).append(&mut *self.0.outer.get()) };
    }

    /// Takes the inner list out, to search it with foreign code (rule 2).
    pub(crate) fn take_inner(self) -> List {
        // SAFETY: rules 1 and 2.
        mem::replace(unsafe { &mut *self.0.inner.get() }, List::new())
    }

    /// Puts it back before what has come since.
    pub(crate) fn restore_inner(self, mut list: List) {
        // SAFETY: rules 1 and 2.
        let inner = unsafe { &mut *self.0.inner.get() };
        list.append(inner);
        mem::forget(mem::replace(inner, list));
    }

    /// Is there something in the inner list behind `position`?
    pub(crate) fn has_behind(self, position: Option<NonNull<Link>>) -> bool {
        // SAFETY: rules 1 and 2.
        unsafe { (*self.0.inner.get()).has_behind(position) }
    }

    /// Counts messages in.
    #[inline(always)]
    pub(crate) fn count_in(self, number: u32) {
        // Relaxed, here and below: the owner is the only writer, others want a hint.
        let before = self.0.queued.load(Ordering::Relaxed);
        let queued = before.wrapping_add(number);
        self.0.queued.store(queued, Ordering::Relaxed);
        if before ^ queued >= CROWD {
            self.count_crowd(queued);
        }
    }

    /// Counts a message out.
    #[inline(always)]
    pub(crate) fn count_out(self) {
        let queued = self.0.queued.load(Ordering::Relaxed).wrapping_sub(1);
        self.0.queued.store(queued, Ordering::Relaxed);
        // Not as soon as it is below the limit: a queue may go up and down there.
        if queued.is_multiple_of(CROWD) && (queued > 0 || self.0.crowd.load(Ordering::Relaxed) & !MARKED != 0)
        {
            self.count_crowd(queued);
        }
    }

    /// The number of messages is a multiple of [`CROWD`] now, or has passed one.
    #[cold]
    #[inline(never)]
    pub(crate) fn count_crowd(self, queued: u32) {
        let before = self.0.crowd.load(Ordering::Relaxed);
        let crowd = before & MARKED | (u32::BITS - (queued / CROWD).leading_zeros()).min(MOST_CROWD) as u8;
        // Not always: the line is shared.
        if crowd != before {
            self.0.crowd.store(crowd, Ordering::Relaxed);
        }
    }

    /// From now on the reply with this tag is awaited.
    #[inline(always)]
    pub(crate) fn await_reply(self, tag: u32) {
        debug_assert!(self.0.answer.get() & 1 == 1 || self.0.answer.get() == 0);
        self.0.answer.set((tag as usize) << 1 | 1);
    }

    /// The same, whatever was awaited before; no reply is there.
    #[inline(always)]
    pub(crate) fn await_still(self, tag: u32) {
        debug_assert!(!self.has_answer());
        self.0.answer.set((tag as usize) << 1 | 1);
    }

    /// Is the reply with this tag awaited?
    #[inline(always)]
    pub(crate) fn awaits(self, tag: u32) -> bool {
        self.0.answer.get() == (tag as usize) << 1 | 1
    }

    #[inline(always)]
    pub(crate) fn put_answer(self, reply: Envelope) {
        self.0.answer.set(reply.into_link().as_ptr().expose_provenance());
    }

    #[inline(always)]
    pub(crate) fn has_answer(self) -> bool {
        let answer = self.0.answer.get();
        answer != 0 && answer & 1 == 0
    }

    /// The reply, if it has come; and no reply is awaited any more.
    #[inline(always)]
    pub(crate) fn take_answer(self) -> Option<Envelope> {
        let answer = self.0.answer.replace(0);
        if answer & 1 == 1 {
            return None;
        }
        let link = NonNull::new(ptr::with_exposed_provenance_mut::<Link>(answer))?;
        // SAFETY: it came from `put_answer`, and the field does not hold it any more.
        Some(unsafe { Envelope::from_link(link) })
    }

    /// A new task begins to live in a free slot. Returns its serial number.
    pub(crate) fn revive(
        self,
        body: OwnedBody,
        extension: Option<Extension>,
        priority: u8,
        class: u8,
        marked: bool,
        flagged: bool,
    ) -> u64 {
        debug_assert_eq!(self.state(), State::Free);
        self.0.bits.set(if flagged { FLAGGED } else { 0 });
        self.0.priority.set(priority);
        self.0.class.set(class);
        self.0.waited.set(State::Free);
        self.0.state.set(State::Queued);
        self.put_body(body);
        if let Some(extension) = extension {
            self.put_extension(extension);
        }
        if marked {
            self.0.crowd.store(MARKED, Ordering::Relaxed);
        }
        let serial = self.0.serial.load(Ordering::Relaxed) + 1;
        debug_assert_eq!(serial % 2, 1);
        // Release: pairs with the acquire in `serial`.
        self.0.serial.store(serial, Ordering::Release);
        serial
    }

    /// The task is dead from here on: its serial number matches no more. The slot is not free yet.
    pub(crate) fn end(self) {
        let serial = self.0.serial.load(Ordering::Relaxed) + 1;
        debug_assert_eq!(serial % 2, 0);
        // Release: pairs with the acquire in `serial`.
        self.0.serial.store(serial, Ordering::Release);
    }

    /// The slot is free; it is left empty.
    pub(crate) fn free(self) {
        debug_assert!(self.outer_is_empty() && self.inner_is_empty());
        debug_assert!(self.0.carrier.get().is_null());
        debug_assert_eq!(self.timer(), NO_TIMER);
        // Relaxed: the owner is the only writer.
        self.0.queued.store(0, Ordering::Relaxed);
        self.0.crowd.store(0, Ordering::Relaxed);
        self.0.deadline.set(u64::MAX);
        self.0.state.set(State::Free);
    }
}
