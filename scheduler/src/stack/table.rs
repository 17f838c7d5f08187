//! The chunks of a region as the signal handler sees them.
//!
//! R1 to R6 are the rules in the head of `stack.rs`.

use super::{
    class::{CLASSES, StackClass, usable},
    pages::page_size,
};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Chunks a region can have: 4 TiB of address space, 16 million stacks of the default class.
pub(super) const MAX_CHUNKS: usize = 4096;
/// A table word is the chunk's base (page aligned) with the class, plus one, in the low bits.
pub(super) const CLASS_MASK: usize = 0xf;

const _: () = assert!(CLASSES <= CLASS_MASK);

/// Where a fault happened, if it was in a guard page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Class of the stack.
    pub(crate) class: StackClass,
    /// Number of the stack within its class.
    pub(crate) index: u32,
    /// Bytes which the stack had for use.
    pub(crate) usable_size: usize,
}

/// The chunks of a region, for the signal handler (R5).
///
/// Chunks are entered in order, so the n-th word of a class is the n-th chunk of that class.
pub(crate) struct RegionTable {
    guard: usize,
    chunks: [AtomicUsize; MAX_CHUNKS],
}

impl RegionTable {
    /// A table without chunks.
    pub(crate) fn new() -> Self {
        Self { guard: page_size(), chunks: [const { AtomicUsize::new(0) }; MAX_CHUNKS] }
    }

    /// Enters the chunk. Only the holder of the region's lock comes here (R5).
    pub(super) fn publish(&self, position: usize, base: usize, class: StackClass) {
        debug_assert_eq!(base & CLASS_MASK, 0);
        // Release: partner of the Acquire in `locate`. The chunk is mapped before it is entered.
        self.chunks[position].store(base | (class.slot() + 1), Ordering::Release);
    }

    /// Removes all chunks. Only the region's `Drop` comes here (R5).
    pub(crate) fn clear(&self) {
        for chunk in &self.chunks {
            // Release: partner of the Acquire in `locate`.
            chunk.store(0, Ordering::Release);
        }
    }

    /// The stack in whose guard page `addr` lies. Async-signal-safe: no lock, no allocation, no call.
    pub(crate) fn locate(&self, addr: usize) -> Option<Fault> {
        let mut seen = [0usize; CLASSES];
        for chunk in &self.chunks {
            // Acquire: partner of the Release in `publish` and `clear`.
            let word = chunk.load(Ordering::Acquire);
            if word == 0 {
                return None;
            }
            let class = StackClass((word & CLASS_MASK) as u8 - 1);
            let offset = addr.wrapping_sub(word & !CLASS_MASK);
            if offset < class.chunk_len(self.guard) {
                if offset % class.span(self.guard) >= self.guard {
                    return None;
                }
                let index = seen[class.slot()] * class.per_chunk() + offset / class.span(self.guard);
                return Some(Fault { class, index: index as u32, usable_size: usable(class, index) });
            }
            seen[class.slot()] += 1;
        }
        None
    }
}
