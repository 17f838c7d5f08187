//! The slots of a scheduler: one reserved range of addresses, taken in blocks by the workers.
//!
//! 1. The range is reserved once for the greatest number of tasks; memory is committed by first use.
//!    So a look-up is an addition, and a slot never moves.
//! 2. A block of slots is initialised by the worker that claims it, before `claimed` covers it; blocks
//!    are claimed in order, under a lock, so every index below `claimed` is an initialised slot.
//! 3. No counter is shared on spawn and exit: a worker takes slots from the blocks that it has claimed
//!    and from the tasks that ended with it.

use crate::{
    owner::WorkerId,
    slot::Slot,
    sync::{Mutex, lock},
};
use std::{
    io,
    ops::Range,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, Ordering},
};

/// Most slots that a block has. Guess: a block is 32 KiB.
const BLOCK: u32 = 256;
/// The hard limit of the number of tasks of a scheduler; 16 GiB of addresses.
pub const MAX_TASKS: u32 = 1 << 27;

pub(crate) struct Slab {
    base: NonNull<Slot>,
    limit: u32,
    claimed: AtomicU32,
    claim: Mutex<()>,
}

// SAFETY: slots are `Sync`; the range is written under rule 2 only.
unsafe impl Sync for Slab {}
// SAFETY: the range belongs to the value.
unsafe impl Send for Slab {}

impl Slab {
    /// Reserves room for `limit` slots.
    pub(crate) fn new(limit: u32) -> io::Result<Self> {
        assert!(limit > 0 && limit <= MAX_TASKS);
        let bytes = limit as usize * size_of::<Slot>();
        // SAFETY: a fresh private mapping; no memory of ours is touched.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let Some(base) = NonNull::new(base.cast()) else { return Err(io::Error::last_os_error()) };
        Ok(Slab { base, limit, claimed: AtomicU32::new(0), claim: Mutex::new(()) })
    }

    /// The slot with this index, if there is one.
    #[inline(always)]
    pub(crate) fn get(&self, index: u32) -> Option<&Slot> {
        // Acquire: pairs with the release in `claim_block`: the slot is initialised (rule 2).
        if index < self.claimed.load(Ordering::Acquire) {
            // SAFETY: rules 1 and 2.
            Some(unsafe { self.base.add(index as usize).as_ref() })
        } else {
            None
        }
    }

    /// Index of a slot of this slab.
    #[inline(always)]
    pub(crate) fn index_of(&self, slot: &Slot) -> u32 {
        let offset = ptr::from_ref(slot).addr() - self.base.as_ptr().addr();
        (offset / size_of::<Slot>()) as u32
    }

    /// Slots that have ever been in use.
    pub(crate) fn claimed(&self) -> u32 {
        self.claimed.load(Ordering::Acquire)
    }

    /// The most slots that there can be.
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// A block of fresh slots for `worker`; `None`: the limit is reached.
    pub(crate) fn claim_block(&self, worker: WorkerId) -> Option<Range<u32>> {
        let _guard = lock(&self.claim);
        // Relaxed: written under the lock only.
        let start = self.claimed.load(Ordering::Relaxed);
        let size = BLOCK.min((self.limit / 64).max(1));
        let end = start.saturating_add(size).min(self.limit);
        if start >= end {
            return None;
        }
        for index in start..end {
            // SAFETY: inside the mapping (rule 1), and nobody knows the slot yet (rule 2).
            unsafe { self.base.add(index as usize).write(Slot::new(worker)) };
        }
        // Release: pairs with the acquire in `get`.
        self.claimed.store(end, Ordering::Release);
        Some(start..end)
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        for index in 0..self.claimed() {
            // SAFETY: initialised (rule 2); nobody uses the slab any more. What a slot still holds
            // (after a shutdown that had to leave tasks behind, they hold nothing that is ours to
            // drop) is dropped with it.
            unsafe { self.base.add(index as usize).drop_in_place() };
        }
        // SAFETY: our own mapping, not used any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.limit as usize * size_of::<Slot>()) };
    }
}
