//! An entry of the wheel: a timer, its deadline, and the list that it is in.

use super::{LEVELS, SLOTS, USED_UP};

/// A timer, or a free place for one.
pub(super) struct Entry<T> {
    pub(super) when: When,
    /// The next of the free list.
    pub(super) next: u32,
    pub(super) generation: u32,
    pub(super) value: Option<T>,
}

impl<T> Entry<T> {
    /// Its value was taken out: it goes to the free list. Its mention, if there is one, is stale from here on.
    #[inline(always)]
    pub(super) fn free(&mut self, index: u32, list: &mut u32) {
        self.generation += 1;
        // The last freed is used next, as it is in the cache. This makes the generations of an entry go
        // fast: in a busy worker 2^32 of them may be a matter of hours.
        if self.generation != USED_UP {
            self.next = *list;
            *list = index;
        }
    }
}

/// A deadline, and the list that its entry is in. That follows from invariant 2, but is cheaper to keep than to work out.
#[derive(Clone, Copy)]
pub(super) struct When(pub(super) u64);

impl When {
    pub(super) const LIST_BITS: u32 = (LEVELS * SLOTS).next_power_of_two().ilog2();

    #[inline(always)]
    pub(super) fn deadline(self) -> u64 {
        self.0 >> Self::LIST_BITS
    }

    #[inline(always)]
    pub(super) fn list(self) -> usize {
        (self.0 & ((1 << Self::LIST_BITS) - 1)) as usize
    }

    #[inline(always)]
    pub(super) fn new(deadline: u64, list: usize) -> Self {
        When(deadline << Self::LIST_BITS | list as u64)
    }
}
