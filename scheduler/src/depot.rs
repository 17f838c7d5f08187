//! Memory for envelopes: 64-byte cells from 16 KiB chunks, handed out in magazines.
//!
//! A message costs an allocation, and in a naive design that is its largest cost (36 % in BEAM). So
//! each worker keeps a private free list ([`Cache`]) and exchanges whole *magazines* of cells with
//! this process-wide depot, after J. Bonwick and J. Adams, *Magazines and Vmem* (USENIX 2001). A
//! producer on one worker and a consumer on another so touch the depot's lock once per
//! [`MAGAZINE`] messages.
//!
//! 1. A free cell is in exactly one place: a cache, a magazine of the depot, or the free list of its
//!    chunk. Its first word links it there.
//! 2. Full magazines beyond [`KEEP_MAGAZINES`] are taken apart: each cell goes back to its chunk
//!    (found by masking the address), and a chunk whose cells are all there is freed. So a burst of
//!    a million messages gives its memory back.
//! 3. Everything below `Depot::lock` is touched under that lock only.

use crate::sync::{Mutex, lock};
use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
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

struct Depot {
    magazines: Vec<*mut FreeCell>,
    /// Chunks with at least one free cell.
    partial: *mut Chunk,
    chunks: usize,
}

// SAFETY: the pointers lead to memory that only the holder of the lock touches (rule 3).
unsafe impl Send for Depot {}

static DEPOT: Mutex<Depot> = Mutex::new(Depot { magazines: Vec::new(), partial: ptr::null_mut(), chunks: 0 });

/// A private free list. It belongs to one thread.
#[derive(Debug)]
pub(crate) struct Cache {
    head: Cell<*mut FreeCell>,
    len: Cell<usize>,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Cache { head: Cell::new(ptr::null_mut()), len: Cell::new(0) }
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
        let head = lock(&DEPOT).take_magazine();
        // SAFETY: a magazine is a list of MAGAZINE free cells (rule 1).
        self.head.set(unsafe { (*head.as_ptr()).next });
        self.len.set(MAGAZINE - 1);
        head
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
    fn take_magazine(&mut self) -> NonNull<FreeCell> {
        if let Some(magazine) = self.magazines.pop() {
            // SAFETY: magazines are never empty.
            return unsafe { NonNull::new_unchecked(magazine) };
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
        first
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
                dealloc(chunk.cast(), chunk_layout());
            }
        }
    }

    fn add_chunk(&mut self) {
        let layout = chunk_layout();
        // SAFETY: the layout is not empty.
        let chunk = unsafe { alloc(layout) }.cast::<Chunk>();
        if chunk.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: fresh memory of that size.
        unsafe {
            chunk.write(Chunk {
                free: ptr::null_mut(),
                free_count: CELLS_PER_CHUNK,
                fresh: 0,
                next: ptr::null_mut(),
                previous: ptr::null_mut(),
            });
            self.link(chunk);
        }
        self.chunks += 1;
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

fn chunk_layout() -> Layout {
    const {
        assert!(size_of::<Chunk>() <= CELL_SIZE);
        assert!(size_of::<FreeCell>() == CELL_SIZE);
    }
    match Layout::from_size_align(CHUNK_SIZE, CHUNK_SIZE) {
        Ok(layout) => layout,
        Err(_) => unreachable!("a power of two"),
    }
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
