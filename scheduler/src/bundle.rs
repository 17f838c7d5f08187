//! Many envelopes for one task under one link.
//!
//! A run of linked envelopes that comes from another core is read slowly: the address of each is in the one before it, which
//! lies in the other core's cache, so there is one cache miss after the other. In a bundle the addresses
//! lie side by side; the receiver asks for all at once, when the first of them is about to be received.
//!
//! 1. A bundle owns its envelopes. It travels as the payload of an envelope and is never received: the owner of the task
//!    unpacks it (`worker/deliver.rs`). Until then it may lie in the outer list of a mailbox, nowhere else.
//! 2. The envelopes are in the order in which they were sent.
//! 3. If it is *plain*, all of them are messages for the task with the bundle's serial number.

use crate::{
    depot::prefetch_to_write,
    envelope::{Envelope, Kind},
    remote_queue::Link,
};
use std::{mem::MaybeUninit, ptr::NonNull};

/// Envelopes in a bundle at most.
pub(crate) const BUNDLE: usize = 64;

/// See the head of this file.
pub(crate) struct Bundle {
    len: usize,
    serial: u64,
    plain: bool,
    links: [MaybeUninit<NonNull<Link>>; BUNDLE],
}

// SAFETY: rule 1; envelopes are `Send`.
unsafe impl Send for Bundle {}

impl Bundle {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Bundle { len: 0, serial: 0, plain: true, links: [MaybeUninit::uninit(); BUNDLE] })
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Is it plain, and for the task with this serial number (rule 3)?
    pub(crate) fn is_plain_for(&self, serial: u64) -> bool {
        self.plain && self.serial == serial
    }

    /// Puts an envelope in that bears this serial number. The bundle must not be full.
    #[inline(always)]
    pub(crate) fn push(&mut self, envelope: Envelope, serial: u64) {
        if self.len == 0 {
            self.serial = serial;
            self.plain = true;
        }
        self.plain &= envelope.kind() == Kind::Message && self.serial == serial;
        self.links[self.len].write(envelope.into_link());
        self.len += 1;
    }

    /// Asks for the cache lines of all.
    pub(crate) fn prefetch(&self) {
        for link in &self.links[..self.len] {
            // SAFETY: the first `len` are written.
            prefetch_to_write(unsafe { link.assume_init() }.as_ptr());
        }
    }

    /// Takes all out, in their order.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Envelope> {
        let len = std::mem::take(&mut self.len);
        let links = &self.links[..len];
        // SAFETY: the first `len` are written; each was an envelope's, and is taken once, for `len` is 0 now.
        links.iter().map(|link| unsafe { Envelope::from_link(link.assume_init()) })
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        self.drain().for_each(drop);
    }
}
