//! An array that grows at its end and does not move: in blocks of the size of a huge page.
//!
//! What grows to a million entries by doubling is copied, and its memory comes by the small page, which costs more than to fill it.
//!
//! 1. The first `len` places, block by block, hold values; the rest hold none.
//! 2. There is no block without a value in it. All but the first ask for a huge page: an array that has filled that one may fill more.

use crate::region::{self, REGION_SIZE};
use std::{
    fmt,
    marker::PhantomData,
    ops::{Index, IndexMut},
    ptr::NonNull,
};

/// See the head of this file.
pub(crate) struct Blocks<T> {
    blocks: Vec<NonNull<T>>,
    len: usize,
    owns: PhantomData<T>,
}

// SAFETY: it owns its values, as a `Vec` does.
unsafe impl<T: Send> Send for Blocks<T> {}

impl<T> Blocks<T> {
    /// Places of a block, as a power of two.
    const SHIFT: u32 = {
        assert!(size_of::<T>() > 0 && size_of::<T>() <= REGION_SIZE);
        (REGION_SIZE / size_of::<T>()).ilog2()
    };
    const PLACES: usize = 1 << Self::SHIFT;

    /// An empty one; it has no memory.
    pub(crate) const fn new() -> Self {
        Blocks { blocks: Vec::new(), len: 0, owns: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The place of this number. It must be within a block.
    #[inline(always)]
    fn place(&self, index: usize) -> NonNull<T> {
        let block = self.blocks[index >> Self::SHIFT];
        // SAFETY: a block has so many places.
        unsafe { block.add(index & (Self::PLACES - 1)) }
    }

    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        // SAFETY: rule 1.
        (index < self.len).then(|| unsafe { self.place(index).as_ref() })
    }

    #[inline(always)]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        // SAFETY: rule 1; the borrow is exclusive.
        (index < self.len).then(|| unsafe { self.place(index).as_mut() })
    }

    /// Asks for the line of a place, which will be looked at soon.
    #[inline(always)]
    pub(crate) fn prefetch(&self, index: usize) {
        if index < self.len {
            crate::depot::prefetch(self.place(index).as_ptr());
        }
    }

    /// Appends a value.
    #[inline]
    pub(crate) fn push(&mut self, value: T) {
        if self.len == self.blocks.len() << Self::SHIFT {
            self.blocks.push(region::map(!self.blocks.is_empty()).cast());
        }
        // SAFETY: there is room, and no value in it (rule 1).
        unsafe { self.place(self.len).write(value) };
        self.len += 1;
    }

    /// Takes the last value out. Its memory stays until [`give_back`](Self::give_back).
    fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: it held a value (rule 1), and does not any more.
        Some(unsafe { self.place(self.len).read() })
    }

    /// Takes all values but the first `keep` out, the last one first, and gives their memory back to the system.
    pub(crate) fn truncate(&mut self, keep: usize, mut each: impl FnMut(T)) {
        while self.len > keep
            && let Some(value) = self.pop()
        {
            each(value);
        }
        self.give_back();
    }

    fn give_back(&mut self) {
        while self.blocks.len() > self.len.div_ceil(Self::PLACES)
            && let Some(block) = self.blocks.pop()
        {
            // SAFETY: there is no value in it (rule 1).
            unsafe { region::unmap(block.cast()) };
        }
        if !self.len.is_multiple_of(Self::PLACES) {
            let used = self.len % Self::PLACES * size_of::<T>();
            // SAFETY: the rest of the last block, without a value (rule 1).
            unsafe { region::release(self.place(self.len).cast(), REGION_SIZE - used) };
        }
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        (0..self.len).map(|index| &self[index])
    }
}

impl<T> Index<usize> for Blocks<T> {
    type Output = T;

    #[inline(always)]
    fn index(&self, index: usize) -> &T {
        self.get(index).expect("an index below the length")
    }
}

impl<T> IndexMut<usize> for Blocks<T> {
    #[inline(always)]
    fn index_mut(&mut self, index: usize) -> &mut T {
        self.get_mut(index).expect("an index below the length")
    }
}

impl<T> Drop for Blocks<T> {
    fn drop(&mut self) {
        self.truncate(0, drop);
    }
}

impl<T> fmt::Debug for Blocks<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Bytes of the array that are in memory: what lies where the blocks are.
    fn resident<T>(blocks: &Blocks<T>) -> usize {
        let page = crate::stack::page_size();
        let mut pages = vec![0_u8; REGION_SIZE / page];
        let mut count = 0;
        for block in &blocks.blocks {
            // SAFETY: a mapping of ours, and a byte for each page of it.
            let done = unsafe { libc::mincore(block.as_ptr().cast(), REGION_SIZE, pages.as_mut_ptr()) };
            assert_eq!(done, 0);
            count += pages.iter().filter(|page| **page & 1 != 0).count();
        }
        count * page
    }

    #[test]
    fn values_stay_where_they_are_and_the_memory_of_those_taken_out_goes_back() {
        let mut blocks = Blocks::new();
        for number in 0..1_000_000_u64 {
            blocks.push((number, !number));
        }
        let first = &raw const blocks[0];
        assert_eq!(blocks.len(), 1_000_000);
        assert!(blocks.iter().enumerate().all(|(index, value)| *value == (index as u64, !(index as u64))));
        assert!(blocks.get(1_000_000).is_none() && blocks.get(usize::MAX).is_none());
        assert!(resident(&blocks) >= 16_000_000);
        let mut out = Vec::new();
        blocks.truncate(1000, |value| out.push(value.0));
        assert_eq!(out, (1000..1_000_000).rev().collect::<Vec<_>>());
        assert_eq!((first, blocks[999]), (&raw const blocks[0], (999, !999)));
        assert!(resident(&blocks) <= 32 * 1024, "{} bytes", resident(&blocks));
        blocks.push((7, 7));
        assert_eq!(blocks[1000], (7, 7));
    }

    #[test]
    fn each_value_is_dropped_once() {
        let count = Arc::new(());
        let mut blocks = Blocks::new();
        (0..10).for_each(|_| blocks.push(Arc::clone(&count)));
        blocks.truncate(4, drop);
        assert_eq!(Arc::strong_count(&count), 5);
        drop(blocks);
        assert_eq!(Arc::strong_count(&count), 1);
    }
}
