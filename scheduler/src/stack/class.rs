//! Sizes of stacks, and why one cannot be had.
//!
//! R1 to R6, in all files here, are the rules in the head of `stack.rs`; the indices of R2 are counted in each class.

use super::pages::page_size;
use std::{fmt, io};

/// Size of the smallest class.
pub(super) const MIN_SIZE: usize = 16 << 10;
/// Size of the largest class.
pub(super) const MAX_SIZE: usize = 64 << 20;
/// Number of size classes.
pub(super) const CLASSES: usize = (MAX_SIZE / MIN_SIZE).trailing_zeros() as usize + 1;
/// Address space that is reserved at a time, unless that is less than [`MIN_CHUNK_STACKS`] stacks.
pub(super) const CHUNK_BYTES: usize = 1 << 30;
/// The least number of stacks in a chunk.
pub(super) const MIN_CHUNK_STACKS: usize = 64;
/// How many tops are told apart, and by how many bytes: neighbours' tops shall not share cache sets.
///
/// All of it is less than a quarter of a page: what a process has on its stack while it waits is less than three quarters as a rule, and
/// so takes one page.
pub(super) const COLOURS: usize = 16;
pub(super) const COLOUR_BYTES: usize = 64;

const _: () = assert!(COLOUR_BYTES.is_multiple_of(corosensei::stack::STACK_ALIGNMENT));

/// Bytes above a stack's base, at its end, for who runs it: whole cache lines.
pub(super) const HEAD: usize = if cfg!(debug_assertions) { 128 } else { 64 };

const _: () = assert!(HEAD.is_multiple_of(COLOUR_BYTES));

/// A size class: stacks of 16 KiB, 32 KiB, ... 64 MiB, everything included but the guard page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StackClass(pub(crate) u8);

impl StackClass {
    /// 256 KiB.
    #[cfg(test)]
    pub(crate) const DEFAULT: Self = Self::of_power(256 << 10);

    /// The class of exactly `size` bytes, a power of two in range.
    pub(super) const fn of_power(size: usize) -> Self {
        assert!(size.is_power_of_two() && size >= MIN_SIZE && size <= MAX_SIZE);
        Self((size / MIN_SIZE).trailing_zeros() as u8)
    }

    /// Size of a stack of this class, head and colour included.
    pub(crate) const fn stack_size(self) -> usize {
        MIN_SIZE << self.0
    }

    /// Stacks in one chunk.
    pub(super) const fn per_chunk(self) -> usize {
        let n = CHUNK_BYTES / self.stack_size();
        if n < MIN_CHUNK_STACKS { MIN_CHUNK_STACKS } else { n }
    }

    /// From one stack to the next. The guard page comes on top of the size, a power of two: so the tops, which are all that most stacks ever use, are
    /// an odd number of pages apart, and spread over all sets of a TLB that takes them from the page's number. Powers of two apart they share a few.
    pub(super) const fn span(self, guard: usize) -> usize {
        self.stack_size() + guard
    }

    /// Length of one chunk.
    pub(super) const fn chunk_len(self, guard: usize) -> usize {
        self.per_chunk() * self.span(guard)
    }

    pub(super) const fn slot(self) -> usize {
        self.0 as usize
    }
}

/// The smallest class whose stacks have `size_bytes`.
///
/// On a machine with pages larger than 4 KiB the smallest class is four pages.
pub(crate) fn class_for(size_bytes: usize) -> Result<StackClass, StackError> {
    if size_bytes == 0 {
        return Err(StackError::ZeroSize);
    }
    if size_bytes > MAX_SIZE {
        return Err(StackError::SizeTooLarge { requested: size_bytes, max: MAX_SIZE });
    }
    Ok(StackClass::of_power(size_bytes.max(MIN_SIZE).max(4 * page_size()).next_power_of_two()))
}

/// By how many bytes the end of that stack is lowered.
pub(super) const fn colour(index: usize) -> usize {
    index % COLOURS * COLOUR_BYTES
}

/// What that stack of class `class` has for frames.
pub(super) const fn usable(class: StackClass, index: usize) -> usize {
    class.stack_size() - HEAD - colour(index)
}

/// Why there is no stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StackError {
    /// The kernel did not reserve the address space for more stacks.
    OutOfAddressSpace {
        /// Bytes asked for.
        requested: usize,
        /// The kernel's `errno`.
        os_error: i32,
    },
    /// The region's maximum number of stacks is in use.
    TooManyStacks {
        /// That maximum.
        limit: usize,
    },
    /// This kernel has no page-table guards, and the mappings for `mprotect` guards are used up.
    NoGuard {
        /// How many guards there can be.
        limit: usize,
        /// The setting which the limit comes from.
        max_map_count: usize,
    },
    /// The kernel refused to install a guard page, for another reason than the number of mappings.
    GuardRefused {
        /// The kernel's `errno`.
        os_error: i32,
    },
    /// A stack of that size is larger than the largest class.
    SizeTooLarge {
        /// Bytes asked for.
        requested: usize,
        /// The largest possible stack.
        max: usize,
    },
    /// A stack of no bytes was asked for.
    ZeroSize,
    /// The overflow handler's table of regions is full.
    TooManyRegions {
        /// How many regions there can be at a time.
        limit: usize,
    },
}

impl fmt::Display for StackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OutOfAddressSpace { requested, os_error } => write!(
                f,
                "the kernel did not reserve {requested} bytes of address space for stacks: {}",
                io::Error::from_raw_os_error(os_error)
            ),
            Self::TooManyStacks { limit } => {
                write!(f, "all of the {limit} stacks this node may have are in use")
            }
            Self::NoGuard { limit, max_map_count } => write!(
                f,
                "no guard page for another stack: this kernel has no MADV_GUARD_INSTALL (Linux 6.13), so \
                 each guard costs two memory mappings, and vm.max_map_count = {max_map_count} leaves room \
                 for {limit} of them; raise vm.max_map_count, or use stackless processes"
            ),
            Self::GuardRefused { os_error } => {
                write!(
                    f,
                    "the kernel refused a stack's guard page: {}",
                    io::Error::from_raw_os_error(os_error)
                )
            }
            Self::SizeTooLarge { requested, max } => {
                write!(f, "a stack of {requested} bytes is larger than the maximum of {max} bytes")
            }
            Self::ZeroSize => f.write_str("a stack of 0 bytes is of no use"),
            Self::TooManyRegions { limit } => {
                write!(f, "there are {limit} stack regions (nodes) in this program already")
            }
        }
    }
}

impl std::error::Error for StackError {}
