//! Memory for envelopes: 64-byte cells from 16 KiB chunks, handed out in magazines.
//!
//! A message costs an allocation, and in a naive design that is its largest cost (36 % in BEAM). So
//! each worker keeps a private free list ([`Cache`]) and exchanges whole *magazines* of cells with
//! this process-wide depot, after J. Bonwick and J. Adams, *Magazines and Vmem* (USENIX 2001). A
//! producer on one worker and a consumer on another so touch the depot's lock once per
//! [`MAGAZINE`] messages.
//!
//! 1. A free cell is in exactly one place: a cache, a magazine of the depot, or the free list of its
//!    chunk. Its first word links it there. (The cells of a new chunk that its cache has not come to yet
//!    are the cache's, without a link.)
//! 2. Full magazines beyond [`KEEP_MAGAZINES`] are taken apart: each cell goes back to its chunk
//!    (found by masking the address), and the memory of a chunk whose cells are all there goes back to the
//!    system. So a burst of a million messages gives its memory back.
//! 3. Everything in `Depot` is touched under its lock only. New memory is first touched outside of it: a page
//!    fault costs more than all else here.
//! 4. Chunks are cut from regions of address space that are never unmapped, so that a chunk's memory comes and goes by
//!    the page. All regions but the first ask for huge pages: a program that has filled that one has traffic.

use crate::sync::{Mutex, lock};
use std::{
    alloc::{Layout, handle_alloc_error},
    cell::Cell,
    ptr::{self, NonNull},
};

/// Size and alignment of a cell: one cache line.
pub(crate) const CELL_SIZE: usize = 64;
/// Cells in a magazine. Guess: large against the lock, small against a cache.
pub(crate) const MAGAZINE: usize = 128;
/// Magazines the depot keeps whole: 8 MiB. Guess: a few times a second-level cache.
const KEEP_MAGAZINES: usize = 1024;
const CHUNK_SIZE: usize = 16 * 1024;
/// Size and alignment of a region: a huge page of x86-64 and most others.
const REGION_SIZE: usize = 2 << 20;
/// Fresh cells that a cache links at a time: a page of them.
const BATCH: usize = 64;
/// The first cell of a chunk holds its header.
const CELLS_PER_CHUNK: u32 = (CHUNK_SIZE / CELL_SIZE - 1) as u32;

/// A free cell: only its link is meaningful.
#[repr(C, align(64))]
pub(crate) struct FreeCell {
    next: *mut FreeCell,
}

#[repr(C)]
struct Chunk {
    free: *mut FreeCell,
    free_count: u32,
    /// Cells that were never handed out lie behind this one.
    fresh: u32,
    /// Neighbours in the list of chunks that have a free cell.
    next: *mut Chunk,
    previous: *mut Chunk,
}

impl Chunk {
    /// None of whose cells is free.
    fn handed_out() -> Self {
        Chunk {
            free: ptr::null_mut(),
            free_count: 0,
            fresh: CELLS_PER_CHUNK,
            next: ptr::null_mut(),
            previous: ptr::null_mut(),
        }
    }
}

struct Depot {
    magazines: Vec<*mut FreeCell>,
    /// Chunks with at least one free cell.
    partial: *mut Chunk,
    /// Chunks without memory.
    empty: Vec<*mut Chunk>,
    regions: usize,
    /// Chunks with memory.
    chunks: usize,
}

// SAFETY: the pointers lead to memory that only the holder of the lock touches (rule 3).
unsafe impl Send for Depot {}

static DEPOT: Mutex<Depot> = Mutex::new(Depot {
    magazines: Vec::new(),
    partial: ptr::null_mut(),
    empty: Vec::new(),
    regions: 0,
    chunks: 0,
});

/// A private free list. It belongs to one thread.
#[derive(Debug)]
pub(crate) struct Cache {
    head: Cell<*mut FreeCell>,
    len: Cell<usize>,
    /// Cells of a new chunk that have never been used: the next one, and how many.
    fresh: Cell<*mut FreeCell>,
    fresh_count: Cell<usize>,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Cache {
            head: Cell::new(ptr::null_mut()),
            len: Cell::new(0),
            fresh: Cell::new(ptr::null_mut()),
            fresh_count: Cell::new(0),
        }
    }

    /// A cell, uninitialised.
    #[inline(always)]
    pub(crate) fn take(&self) -> NonNull<FreeCell> {
        let head = self.head.get();
        let Some(cell) = NonNull::new(head) else { return self.refill() };
        // SAFETY: a cell in the cache is free and valid, its link set (rule 1).
        self.head.set(unsafe { (*head).next });
        self.len.set(self.len.get() - 1);
        cell
    }

    #[cold]
    #[inline(never)]
    fn refill(&self) -> NonNull<FreeCell> {
        if self.fresh_count.get() == 0 {
            let chunk = match lock(&DEPOT).magazine_or_chunk() {
                Ok(head) => {
                    // SAFETY: a magazine is a list of MAGAZINE free cells (rule 1).
                    self.head.set(unsafe { (*head.as_ptr()).next });
                    self.len.set(MAGAZINE - 1);
                    return head;
                }
                Err(chunk) => chunk,
            };
            // SAFETY: the chunk is ours alone, and its memory fresh.
            unsafe { chunk.write(Chunk::handed_out()) };
            // SAFETY: within the chunk; the first cell holds its header.
            self.fresh.set(unsafe { chunk.cast::<FreeCell>().add(1) });
            self.fresh_count.set(CELLS_PER_CHUNK as usize);
        }
        let count = self.fresh_count.get().min(BATCH);
        let first = self.fresh.get();
        for index in 0..count {
            // SAFETY: so many fresh cells lie there, ours (rule 1).
            unsafe {
                let cell = first.add(index);
                (*cell).next = if index + 1 < count { cell.add(1) } else { ptr::null_mut() };
            }
        }
        // SAFETY: as above.
        self.fresh.set(unsafe { first.add(count) });
        self.fresh_count.set(self.fresh_count.get() - count);
        // SAFETY: as above; it is not null.
        self.head.set(unsafe { (*first).next });
        self.len.set(count - 1);
        // SAFETY: it lies in a chunk.
        unsafe { NonNull::new_unchecked(first) }
    }

    /// Gives a cell back.
    ///
    /// # Safety
    ///
    /// It came from a cache or [`take_one`], and nothing refers to it any more.
    #[inline(always)]
    pub(crate) unsafe fn give(&self, cell: NonNull<FreeCell>) {
        // SAFETY: contract of this function.
        unsafe { (*cell.as_ptr()).next = self.head.get() };
        self.head.set(cell.as_ptr());
        self.len.set(self.len.get() + 1);
        if self.len.get() >= 4 * MAGAZINE {
            self.spill();
        }
    }

    #[cold]
    #[inline(never)]
    fn spill(&self) {
        for _ in 0..2 {
            let magazine = self.split();
            lock(&DEPOT).give_magazine(magazine);
        }
    }

    /// Cuts one full magazine off.
    fn split(&self) -> *mut FreeCell {
        let head = self.head.get();
        let mut last = head;
        for _ in 1..MAGAZINE {
            // SAFETY: the cache has at least MAGAZINE cells, linked (rule 1).
            last = unsafe { (*last).next };
        }
        // SAFETY: as above.
        self.head.set(unsafe { (*last).next });
        // SAFETY: as above.
        unsafe { (*last).next = ptr::null_mut() };
        self.len.set(self.len.get() - MAGAZINE);
        head
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let mut depot = lock(&DEPOT);
        while self.len.get() >= MAGAZINE {
            let magazine = self.split();
            depot.give_magazine(magazine);
        }
        let mut at = self.head.get();
        while !at.is_null() {
            // SAFETY: free cells, linked (rule 1).
            let next = unsafe { (*at).next };
            depot.give_cell(at);
            at = next;
        }
        for index in 0..self.fresh_count.get() {
            // SAFETY: fresh cells, ours (rule 1).
            depot.give_cell(unsafe { self.fresh.get().add(index) });
        }
    }
}

/// One cell, for threads without a cache.
pub(crate) fn take_one() -> NonNull<FreeCell> {
    lock(&DEPOT).take_cell()
}

/// Gives a cell back from a thread without a cache.
///
/// # Safety
///
/// As [`Cache::give`].
pub(crate) unsafe fn give_one(cell: NonNull<FreeCell>) {
    lock(&DEPOT).give_cell(cell.as_ptr());
}

/// Bytes of chunks that are allocated now.
pub(crate) fn allocated_bytes() -> usize {
    lock(&DEPOT).chunks * CHUNK_SIZE
}

impl Depot {
    /// A magazine; or a chunk, to be written by the caller, all of whose cells are the caller's.
    fn magazine_or_chunk(&mut self) -> Result<NonNull<FreeCell>, *mut Chunk> {
        if let Some(magazine) = self.magazines.pop() {
            // SAFETY: magazines are never empty.
            return Ok(unsafe { NonNull::new_unchecked(magazine) });
        }
        if self.partial.is_null() {
            return Err(self.new_chunk());
        }
        let first = self.take_cell();
        let mut last = first;
        for _ in 1..MAGAZINE {
            let cell = self.take_cell();
            // SAFETY: `last` is a cell that we have just taken.
            unsafe { (*last.as_ptr()).next = cell.as_ptr() };
            last = cell;
        }
        // SAFETY: as above.
        unsafe { (*last.as_ptr()).next = ptr::null_mut() };
        Ok(first)
    }

    fn give_magazine(&mut self, magazine: *mut FreeCell) {
        if self.magazines.len() < KEEP_MAGAZINES {
            self.magazines.push(magazine);
            return;
        }
        let mut at = magazine;
        while !at.is_null() {
            // SAFETY: free cells, linked (rule 1).
            let next = unsafe { (*at).next };
            self.give_cell(at);
            at = next;
        }
    }

    fn take_cell(&mut self) -> NonNull<FreeCell> {
        if self.partial.is_null() {
            self.add_chunk();
        }
        let chunk = self.partial;
        // SAFETY: chunks in the list are valid and have a free cell; we hold the lock (rule 3).
        unsafe {
            (*chunk).free_count -= 1;
            let cell = if (*chunk).free.is_null() {
                (*chunk).fresh += 1;
                chunk.cast::<FreeCell>().add((*chunk).fresh as usize)
            } else {
                let cell = (*chunk).free;
                (*chunk).free = (*cell).next;
                cell
            };
            if (*chunk).free_count == 0 {
                self.unlink(chunk);
            }
            NonNull::new_unchecked(cell)
        }
    }

    fn give_cell(&mut self, cell: *mut FreeCell) {
        let chunk = cell.map_addr(|address| address & !(CHUNK_SIZE - 1)).cast::<Chunk>();
        // SAFETY: cells lie in chunks aligned to their size; we hold the lock (rule 3).
        unsafe {
            (*cell).next = (*chunk).free;
            (*chunk).free = cell;
            (*chunk).free_count += 1;
            if (*chunk).free_count == 1 {
                self.link(chunk);
            } else if (*chunk).free_count == CELLS_PER_CHUNK {
                self.unlink(chunk);
                self.chunks -= 1;
                release(chunk);
                self.empty.push(chunk);
            }
        }
    }

    /// A chunk with all its cells, for threads without a cache.
    fn add_chunk(&mut self) {
        let chunk = self.new_chunk();
        // SAFETY: fresh memory of that size.
        unsafe {
            chunk.write(Chunk { free_count: CELLS_PER_CHUNK, fresh: 0, ..Chunk::handed_out() });
            self.link(chunk);
        }
    }

    /// The memory for a chunk.
    fn new_chunk(&mut self) -> *mut Chunk {
        self.chunks += 1;
        if let Some(chunk) = self.empty.pop() {
            return chunk;
        }
        let region = map_region(self.regions > 0);
        self.regions += 1;
        for index in (1..REGION_SIZE / CHUNK_SIZE).rev() {
            // SAFETY: within the region.
            self.empty.push(unsafe { region.add(index * CHUNK_SIZE) }.cast());
        }
        region.cast()
    }

    /// # Safety
    ///
    /// A valid chunk that is not in the list.
    unsafe fn link(&mut self, chunk: *mut Chunk) {
        // SAFETY: contract; the list's chunks are valid.
        unsafe {
            (*chunk).previous = ptr::null_mut();
            (*chunk).next = self.partial;
            if !self.partial.is_null() {
                (*self.partial).previous = chunk;
            }
        }
        self.partial = chunk;
    }

    /// # Safety
    ///
    /// A valid chunk that is in the list.
    unsafe fn unlink(&mut self, chunk: *mut Chunk) {
        // SAFETY: contract; the list's chunks are valid.
        unsafe {
            if (*chunk).previous.is_null() {
                self.partial = (*chunk).next;
            } else {
                (*(*chunk).previous).next = (*chunk).next;
            }
            if !(*chunk).next.is_null() {
                (*(*chunk).next).previous = (*chunk).previous;
            }
        }
    }
}

const _: () = assert!(size_of::<Chunk>() <= CELL_SIZE && size_of::<FreeCell>() == CELL_SIZE);

/// Address space for a region, aligned to its size, all zeros.
fn map_region(huge: bool) -> *mut u8 {
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
    region.cast()
}

/// Gives a chunk's memory back to the system.
///
/// # Safety
///
/// Nothing in it is used any more.
unsafe fn release(chunk: *mut Chunk) {
    // SAFETY: contract; the mapping stays. If it fails the memory stays too, and is used again.
    unsafe { libc::madvise(chunk.cast(), CHUNK_SIZE, libc::MADV_DONTNEED) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_gives_its_memory_back() {
        let cache = Cache::new();
        let before = allocated_bytes();
        let cells: Vec<_> = (0..1_000_000).map(|_| cache.take()).collect();
        assert!(allocated_bytes() - before >= 1_000_000 * CELL_SIZE);
        for cell in cells {
            // SAFETY: taken above, not used.
            unsafe { cache.give(cell) };
        }
        drop(cache);
        let kept = allocated_bytes().saturating_sub(before);
        assert!(kept <= 2 * KEEP_MAGAZINES * MAGAZINE * CELL_SIZE, "{kept} bytes kept");
    }

    #[test]
    fn cells_are_distinct_and_aligned() {
        let cache = Cache::new();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let cell = cache.take();
            assert_eq!(cell.as_ptr().addr() % CELL_SIZE, 0);
            assert!(seen.insert(cell));
        }
        for cell in seen {
            // SAFETY: taken above, not used.
            unsafe { give_one(cell) };
        }
    }
}
