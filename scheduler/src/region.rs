//! Address space in pieces of the size of a huge page, each aligned to that size.

use std::{
    alloc::{Layout, handle_alloc_error},
    ptr::{self, NonNull},
};

/// Size and alignment of a region: a huge page of x86-64 and most others.
pub(crate) const REGION_SIZE: usize = 2 << 20;

/// Maps a region, all zeros. Its memory comes by the page as it is touched; with `huge`, as a whole if the system has huge pages:
/// much faster for what is filled densely, and a waste for what is not.
pub(crate) fn map(huge: bool) -> NonNull<u8> {
    let fail = || handle_alloc_error(Layout::new::<[u8; REGION_SIZE]>());
    let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping.
    let start = unsafe { libc::mmap(ptr::null_mut(), 2 * REGION_SIZE, access, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        fail();
    }
    let before = start.addr().next_multiple_of(REGION_SIZE) - start.addr();
    // SAFETY: within the mapping.
    let region = unsafe { start.byte_add(before) };
    // SAFETY: parts of our mapping that nobody knows: what lies before and behind the region.
    unsafe {
        if before > 0 {
            libc::munmap(start, before);
        }
        libc::munmap(region.byte_add(REGION_SIZE), REGION_SIZE - before);
        if huge {
            // A wish: without it, it is only slower.
            libc::madvise(region, REGION_SIZE, libc::MADV_HUGEPAGE);
        }
    }
    let Some(region) = NonNull::new(region.cast()) else { fail() };
    region
}

/// Unmaps a region.
///
/// # Safety
///
/// It came from [`map`], and nothing in it is used any more.
pub(crate) unsafe fn unmap(region: NonNull<u8>) {
    // SAFETY: contract.
    unsafe { libc::munmap(region.as_ptr().cast(), REGION_SIZE) };
}

/// Gives memory of a region back to the system: whole pages within `start..start + len`. They read as zeros after that.
///
/// # Safety
///
/// The range is within a region from [`map`], and nothing in it is used any more.
pub(crate) unsafe fn release(start: NonNull<u8>, len: usize) {
    let page = crate::stack::page_size();
    let before = start.addr().get().next_multiple_of(page) - start.addr().get();
    if let Some(len) = len.checked_sub(before) {
        // SAFETY: contract; the mapping stays. If it fails the memory stays too, and is used again.
        unsafe {
            libc::madvise(start.byte_add(before).as_ptr().cast(), len / page * page, libc::MADV_DONTNEED)
        };
    }
}
