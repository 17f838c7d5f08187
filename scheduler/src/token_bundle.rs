//! The tokens of many tasks under one link, for a worker's inbox.
//!
//! Linked tokens (`inbox.rs`) are read slowly by another core: each lies in a slot that the sender has just written, so there is one
//! cache miss after the other. Here the slots lie side by side; the owner asks for all of them at once, and then for
//! their mail.
//!
//! 1. Who puts a slot in holds its token (`remote_queue.rs`, rule 1); who takes it out holds it then.
//! 2. A link that leads to a bundle is marked by a bit of its address that no slot's token has set. Only
//!    [`TokenBundle::into_link`] makes such an address, and [`TokenBundle::from_link`] takes it back, once.

use crate::{depot::prefetch_to_write, remote_queue::Link, slot::Slot};
use std::ptr::{self, NonNull};

/// Tokens in a bundle at most.
pub(crate) const TOKENS: usize = 64;
/// Rule 2. (The bit below is the inbox' own, and links are aligned to 8 bytes.)
const MARK: usize = 2;

const _: () = assert!(align_of::<TokenBundle>() > MARK && align_of::<Link>() > MARK);

/// See the head of this file.
#[repr(C)]
pub(crate) struct TokenBundle {
    link: Link,
    len: usize,
    slots: [*const Slot; TOKENS],
}

impl TokenBundle {
    pub(crate) fn new() -> Box<Self> {
        Box::new(TokenBundle { link: Link::new(), len: 0, slots: [ptr::null(); TOKENS] })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts a slot in (rule 1). The bundle must not be full.
    pub(crate) fn push(&mut self, slot: &Slot) {
        self.slots[self.len] = slot;
        self.len += 1;
    }

    /// Takes all out, in their order.
    pub(crate) fn take(&mut self) -> &[*const Slot] {
        let len = std::mem::take(&mut self.len);
        &self.slots[..len]
    }

    /// Asks for the lines of all slots, and then for the first one of each slot's mail.
    pub(crate) fn prefetch(&self) {
        let slots = &self.slots[..self.len];
        slots.iter().for_each(|slot| prefetch_to_write(*slot));
        for slot in slots {
            // SAFETY: slots stay mapped while a worker runs.
            prefetch_to_write(unsafe { &**slot }.remote.newest());
        }
    }

    /// For an inbox: what leads to it, marked, and the link itself, whose `next` is to be set.
    pub(crate) fn into_link(self: Box<Self>) -> (*mut Link, *mut Link) {
        let link = Box::into_raw(self).cast::<Link>();
        (link.map_addr(|address| address | MARK), link)
    }

    /// The bundle that a link of an inbox leads to; `None`: it is a slot's token.
    ///
    /// # Safety
    ///
    /// The caller has taken the link out of an inbox.
    pub(crate) unsafe fn from_link(link: NonNull<Link>) -> Option<Box<Self>> {
        if link.addr().get() & MARK == 0 {
            return None;
        }
        // SAFETY: rule 2.
        Some(unsafe {
            Box::from_raw(link.as_ptr().map_addr(|address| address & !MARK).cast::<TokenBundle>())
        })
    }

    /// What comes behind it in the inbox.
    pub(crate) fn next(&self) -> *mut Link {
        // Relaxed: acquired with the inbox' `take`.
        self.link.next.load(std::sync::atomic::Ordering::Relaxed)
    }
}
