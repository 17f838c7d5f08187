//! Mail for many tasks of one worker, under one link of its inbox.
//!
//! What a worker sends to tasks of another one lies in the sender's cache. If each message were pushed to its own task, the lines of both
//! tasks' records would travel, and the addresses would be found one cache miss after the other. In a mailbag the addresses lie
//! side by side; the receiving worker asks for all at once, and the records of its tasks stay with it.
//!
//! 1. A mailbag owns its envelopes (an envelope may hold a bundle, `bundle.rs`). They are in the order in which they were sent.
//! 2. It goes to the worker that was the owner of all its tasks when it was pushed (`owner.rs`, rule 5).
//! 3. A link that leads to a mailbag is marked by a bit of its address that no slot's token has set. Only
//!    [`Mailbag::into_link`] makes such an address, and [`Mailbag::from_link`] takes it back, once.

use crate::{depot::prefetch_to_write, envelope::Envelope, remote_queue::Link, slot::Slot};
use std::{mem::MaybeUninit, ptr::NonNull};

/// Envelopes in a mailbag at most.
pub(crate) const MAILBAG: usize = 64;
/// Cache lines of a mailbag that are asked for ahead. Guess: what half a mailbag takes.
const LINES: usize = 9;
/// Rule 3. (The bit below is the inbox' own, and links are aligned to 8 bytes.)
const MARK: usize = 2;

const _: () = assert!(align_of::<Mailbag>() > MARK && align_of::<Link>() > MARK);

/// See the head of this file.
#[repr(C)]
pub(crate) struct Mailbag {
    link: Link,
    /// Taken out so far.
    taken: u32,
    len: u32,
    items: [MaybeUninit<Item>; MAILBAG],
}

/// An envelope and the slot that it goes to.
#[derive(Clone, Copy)]
struct Item {
    to: *const Slot,
    envelope: NonNull<Link>,
}

// SAFETY: rule 1; envelopes are `Send`, and slots are `Sync`.
unsafe impl Send for Mailbag {}

impl Mailbag {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Mailbag { link: Link::new(), taken: 0, len: 0, items: [MaybeUninit::uninit(); MAILBAG] })
    }

    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Puts an envelope in. The mailbag must not be full.
    #[inline(always)]
    pub(crate) fn push(&mut self, to: *const Slot, envelope: Envelope) {
        self.items[self.len as usize].write(Item { to, envelope: envelope.into_link() });
        self.len += 1;
    }

    /// The slots, in the order of the envelopes that are left.
    pub(crate) fn slots(&self) -> impl Iterator<Item = *const Slot> {
        let items = &self.items[self.taken as usize..self.len as usize];
        // SAFETY: the first `len` are written.
        items.iter().map(|item| unsafe { item.assume_init_ref() }.to)
    }

    /// The next envelope, and where it goes. After the last one the mailbag is empty, for use again.
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<(*const Slot, Envelope)> {
        if self.taken == self.len {
            (self.taken, self.len) = (0, 0);
            return None;
        }
        // SAFETY: the first `len` are written.
        let item = unsafe { self.items[self.taken as usize].assume_init() };
        self.taken += 1;
        // SAFETY: `push` put it in, and it is taken once.
        Some((item.to, unsafe { Envelope::from_link(item.envelope) }))
    }

    /// Asks for its own cache lines, as many as are used as a rule.
    #[inline]
    pub(crate) fn prefetch_itself(mailbag: *const u8) {
        for line in 0..LINES {
            prefetch_to_write(mailbag.wrapping_add(line * 64));
        }
    }

    /// Asks for the cache lines of all that is in it.
    pub(crate) fn prefetch(&self) {
        for item in &self.items[..self.len as usize] {
            // SAFETY: the first `len` are written.
            let item = unsafe { item.assume_init_ref() };
            prefetch_to_write(item.envelope.as_ptr());
            prefetch_to_write(Slot::private_line(item.to));
        }
    }

    /// For an inbox: what leads to it, marked, and the link itself, whose `next` is to be set.
    pub(crate) fn into_link(self: Box<Self>) -> (*mut Link, *mut Link) {
        let link = Box::into_raw(self).cast::<Link>();
        (link.map_addr(|address| address | MARK), link)
    }

    /// The mailbag that a link of an inbox leads to; `None`: it is a slot's token.
    ///
    /// # Safety
    ///
    /// The caller has taken the link out of an inbox.
    pub(crate) unsafe fn from_link(link: NonNull<Link>) -> Option<Box<Self>> {
        if !is_marked(link) {
            return None;
        }
        // SAFETY: rule 3.
        Some(unsafe { Box::from_raw(unmarked(link).as_ptr().cast::<Mailbag>()) })
    }
}

/// Does a link that an inbox gave out lead to a mailbag?
pub(crate) fn is_marked(link: NonNull<Link>) -> bool {
    link.addr().get() & MARK != 0
}

/// The link itself, of what an inbox gave out.
pub(crate) fn unmarked(link: NonNull<Link>) -> NonNull<Link> {
    // SAFETY: links are aligned, so what is left is not null.
    unsafe { NonNull::new_unchecked(link.as_ptr().map_addr(|address| address & !MARK)) }
}

impl Drop for Mailbag {
    fn drop(&mut self) {
        while let Some((_, envelope)) = self.pop() {
            drop(envelope);
        }
    }
}
