//! Memory for envelopes, bodies and the like: cells of one or two cache lines from 16 KiB chunks, handed out in magazines.
//!
//! A message costs an allocation, and in a naive design that is its largest cost (36 % in BEAM). So
//! each worker keeps a private free list ([`Cache`]) and exchanges whole *magazines* of cells with
//! this process-wide depot, after J. Bonwick and J. Adams, *Magazines and Vmem* (USENIX 2001). A
//! producer on one worker and a consumer on another so touch the depot's lock once per
//! [`MAGAZINE`] messages.
//!
//! 1. A free cell is in exactly one place: a cache, a magazine of the depot, or the free list of its
//!    chunk, where its first word links it. Caches and magazines are arrays of pointers: a cell that another core has
//!    written last is not touched but to fill it, and can be asked for before that.
//! 2. Full magazines beyond [`KEEP_MAGAZINES`] are taken apart: each cell goes back to its chunk
//!    (found by masking the address), and the memory of a chunk whose cells are all there goes back to the
//!    system. So a burst of a million messages gives its memory back.
//! 3. Everything in `Depot` is touched under its lock only. New memory is first touched outside of it: a page
//!    fault costs more than all else here.
//! 4. Chunks are cut from regions of address space that are never unmapped, so that a chunk's memory comes and goes by
//!    the page. All regions but the first ask for huge pages: a program that has filled that one has traffic.
//! 5. Each size has a depot of its own, and caches for it. A cell is aligned to its size, so no two values share a line; else two workers that
//!    have neighbours would take it from each other all the time.

use crate::{
    region::{self, REGION_SIZE},
    sync::{Mutex, lock},
};
use std::{
    cell::Cell,
    fmt,
    ptr::{self, NonNull},
};

/// Size and alignment of a cell: one cache line.
pub(crate) const CELL_SIZE: usize = 64;
/// The same of a wide one.
pub(crate) const WIDE_SIZE: usize = 128;
/// Cells in a magazine. Guess: large against the lock, small against a cache.
pub(crate) const MAGAZINE: usize = 128;
/// Magazines a depot keeps whole: 8 or 16 MiB. Guess: a few times a second-level cache.
const KEEP_MAGAZINES: usize = 1024;
const CHUNK_SIZE: usize = 16 * 1024;
/// Fresh cells that a cache takes in at a time: a page or two of them.
const BATCH: usize = 64;

/// The first cell of a chunk holds its header.
const fn cells_per_chunk(size: usize) -> u32 {
    (CHUNK_SIZE / size - 1) as u32
}

/// A free cell, of any size: only its link is meaningful, and only in the list of its chunk.
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
    /// None of whose cells, of this size, is free.
    fn handed_out(size: usize) -> Self {
        Chunk {
            free: ptr::null_mut(),
            free_count: 0,
            fresh: cells_per_chunk(size),
            next: ptr::null_mut(),
            previous: ptr::null_mut(),
        }
    }
}

/// Free cells.
type Magazine = [*mut FreeCell; MAGAZINE];

/// What the depot has for a cache that is empty.
enum Supply {
    Magazine(Box<Magazine>),
    /// So many cells.
    Loose(usize),
    /// To be written by the caller; all of its cells are the caller's.
    Chunk(*mut Chunk),
}

/// The common stock of cells of one size.
pub(crate) struct Depot(Mutex<Stores>);

struct Stores {
    size: usize,
    #[expect(clippy::vec_box, reason = "they come and go as boxes")]
    magazines: Vec<Box<Magazine>>,
    /// Chunks with at least one free cell.
    partial: *mut Chunk,
    /// Chunks without memory.
    empty: Vec<*mut Chunk>,
    regions: usize,
    /// Chunks with memory.
    chunks: usize,
}

// SAFETY: the pointers lead to memory that only the holder of the lock touches (rule 3).
unsafe impl Send for Stores {}

/// For cells of [`CELL_SIZE`].
pub(crate) static CELLS: Depot = Depot::of(CELL_SIZE);
/// For those of [`WIDE_SIZE`].
pub(crate) static WIDE: Depot = Depot::of(WIDE_SIZE);

/// Cells that a cache holds at most.
const CAPACITY: usize = 4 * MAGAZINE;

/// A private stock of free cells of a depot. It belongs to one thread.
pub(crate) struct Cache {
    depot: &'static Depot,
    size: usize,
    /// The first `len` are free cells; the one given back last is last.
    cells: [Cell<*mut FreeCell>; CAPACITY],
    len: Cell<usize>,
    /// Cells of a new chunk that have never been used: the next one, and how many.
    fresh: Cell<*mut FreeCell>,
    fresh_count: Cell<usize>,
    /// An empty magazine.
    spare: Cell<Option<Box<Magazine>>>,
}

impl Cache {
    pub(crate) fn new(depot: &'static Depot) -> Self {
        Cache {
            depot,
            size: lock(&depot.0).size,
            cells: [const { Cell::new(ptr::null_mut()) }; CAPACITY],
            len: Cell::new(0),
            fresh: Cell::new(ptr::null_mut()),
            fresh_count: Cell::new(0),
            spare: Cell::new(None),
        }
    }

    /// A cell, uninitialised.
    #[inline(always)]
    pub(crate) fn take(&self) -> NonNull<FreeCell> {
        self.take_at_hand().unwrap_or_else(|| self.refill())
    }

    /// The same, if it takes no look at the depot.
    #[inline(always)]
    pub(crate) fn take_at_hand(&self) -> Option<NonNull<FreeCell>> {
        let len = self.len.get().checked_sub(1)?;
        self.len.set(len);
        // SAFETY: the first `len` of at most CAPACITY are free cells (rule 1), not null.
        Some(unsafe { NonNull::new_unchecked(self.cells.get_unchecked(len).get()) })
    }

    #[cold]
    #[inline(never)]
    fn refill(&self) -> NonNull<FreeCell> {
        if self.fresh_count.get() == 0 {
            let supply = lock(&self.depot.0).supply(&self.cells[..]);
            match supply {
                Supply::Magazine(magazine) => {
                    for (cell, place) in magazine.iter().zip(self.cells.iter()) {
                        place.set(*cell);
                        // It was used on another worker, as a rule.
                        prefetch_to_write(*cell);
                    }
                    self.spare.set(Some(magazine));
                    self.len.set(MAGAZINE);
                    return self.take();
                }
                Supply::Loose(count) => {
                    self.len.set(count);
                    return self.take();
                }
                Supply::Chunk(chunk) => {
                    // SAFETY: the chunk is ours alone, and its memory fresh.
                    unsafe { chunk.write(Chunk::handed_out(self.size)) };
                    // SAFETY: within the chunk; the first cell holds its header.
                    self.fresh.set(unsafe { chunk.byte_add(self.size) }.cast());
                    self.fresh_count.set(cells_per_chunk(self.size) as usize);
                }
            }
        }
        let count = self.fresh_count.get().min(BATCH);
        let first = self.fresh.get();
        // The lowest address is handed out first.
        for (index, place) in (0..count).rev().zip(self.cells.iter()) {
            // SAFETY: so many fresh cells lie there, ours (rule 1).
            place.set(unsafe { first.byte_add(index * self.size) });
        }
        // SAFETY: as above.
        self.fresh.set(unsafe { first.byte_add(count * self.size) });
        self.fresh_count.set(self.fresh_count.get() - count);
        self.len.set(count);
        self.take()
    }

    /// Gives a cell back.
    ///
    /// # Safety
    ///
    /// It came from a cache of the same depot or its [`Depot::take_one`], and nothing refers to it any more.
    #[inline(always)]
    pub(crate) unsafe fn give(&self, cell: NonNull<FreeCell>) {
        let len = self.len.get();
        // SAFETY: `spill` keeps `len` below CAPACITY.
        unsafe { self.cells.get_unchecked(len) }.set(cell.as_ptr());
        self.len.set(len + 1);
        if len + 1 == CAPACITY {
            self.spill();
        }
    }

    /// Half of the cells go to the depot: those that have not been used for longest.
    #[cold]
    #[inline(never)]
    fn spill(&self) {
        for index in 0..CAPACITY / 2 / MAGAZINE {
            let magazine = self.pack(index * MAGAZINE);
            lock(&self.depot.0).give_magazine(magazine);
        }
        for (to, from) in (CAPACITY / 2..CAPACITY).enumerate() {
            self.cells[to].set(self.cells[from].get());
        }
        self.len.set(CAPACITY / 2);
    }

    /// A magazine of the cells from `first` on, which are no longer the cache's.
    fn pack(&self, first: usize) -> Box<Magazine> {
        let mut magazine = self.spare.take().unwrap_or_else(|| Box::new([ptr::null_mut(); MAGAZINE]));
        for (place, cell) in magazine.iter_mut().zip(&self.cells[first..]) {
            *place = cell.get();
        }
        magazine
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("len", &self.len.get()).finish_non_exhaustive()
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let mut depot = lock(&self.depot.0);
        while self.len.get() >= MAGAZINE {
            self.len.set(self.len.get() - MAGAZINE);
            let magazine = self.pack(self.len.get());
            depot.give_magazine(magazine);
        }
        for cell in &self.cells[..self.len.get()] {
            depot.give_cell(cell.get());
        }
        for index in 0..self.fresh_count.get() {
            // SAFETY: fresh cells, ours (rule 1).
            depot.give_cell(unsafe { self.fresh.get().byte_add(index * self.size) });
        }
    }
}

/// Asks for a line that will be written soon, and may be in another core's cache.
///
/// By the instruction itself: `_mm_prefetch` asks for a copy to read, whatever its hint says, if the target has no feature `prfchw`. A processor without it
/// takes it as a no-operation if it has 64 bits (AMD64 Architecture Programmer's Manual, volume 3; Intel's, volume 2, `PREFETCHW`).
#[inline(always)]
pub(crate) fn prefetch_to_write<T>(line: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; it never faults, whatever the address.
    unsafe {
        std::arch::asm!("prefetchw byte ptr [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// The same, for a line that will be read.
#[inline(always)]
pub(crate) fn prefetch<T>(line: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; it never faults, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

impl Depot {
    const fn of(size: usize) -> Self {
        Depot(Mutex::new(Stores {
            size,
            magazines: Vec::new(),
            partial: ptr::null_mut(),
            empty: Vec::new(),
            regions: 0,
            chunks: 0,
        }))
    }

    /// One cell, for threads without a cache.
    pub(crate) fn take_one(&self) -> NonNull<FreeCell> {
        lock(&self.0).take_cell()
    }

    /// Gives a cell back from a thread without a cache.
    ///
    /// # Safety
    ///
    /// As [`Cache::give`].
    pub(crate) unsafe fn give_one(&self, cell: NonNull<FreeCell>) {
        lock(&self.0).give_cell(cell.as_ptr());
    }

    fn allocated_bytes(&self) -> usize {
        lock(&self.0).chunks * CHUNK_SIZE
    }
}

/// Bytes of chunks that are allocated now.
pub(crate) fn allocated_bytes() -> usize {
    CELLS.allocated_bytes() + WIDE.allocated_bytes()
}

impl Stores {
    /// A magazine if there is one; else loose cells, put into `places`; else a new chunk.
    fn supply(&mut self, places: &[Cell<*mut FreeCell>]) -> Supply {
        if let Some(magazine) = self.magazines.pop() {
            return Supply::Magazine(magazine);
        }
        if self.partial.is_null() {
            return Supply::Chunk(self.new_chunk());
        }
        let mut count = 0;
        for place in &places[..MAGAZINE] {
            if self.partial.is_null() {
                break;
            }
            place.set(self.take_cell().as_ptr());
            count += 1;
        }
        Supply::Loose(count)
    }

    fn give_magazine(&mut self, magazine: Box<Magazine>) {
        if self.magazines.len() < KEEP_MAGAZINES {
            self.magazines.push(magazine);
            return;
        }
        for cell in *magazine {
            self.give_cell(cell);
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
                chunk.byte_add((*chunk).fresh as usize * self.size).cast()
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
            } else if (*chunk).free_count == cells_per_chunk(self.size) {
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
            chunk.write(Chunk {
                free_count: cells_per_chunk(self.size),
                fresh: 0,
                ..Chunk::handed_out(self.size)
            });
            self.link(chunk);
        }
    }

    /// The memory for a chunk.
    fn new_chunk(&mut self) -> *mut Chunk {
        self.chunks += 1;
        if let Some(chunk) = self.empty.pop() {
            return chunk;
        }
        let region = region::map(self.regions > 0).as_ptr();
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
        for depot in [&CELLS, &WIDE] {
            let cache = Cache::new(depot);
            let before = depot.allocated_bytes();
            let cells: Vec<_> = (0..1_000_000).map(|_| cache.take()).collect();
            assert!(depot.allocated_bytes() - before >= 1_000_000 * cache.size);
            for cell in cells {
                // SAFETY: taken above, not used.
                unsafe { cache.give(cell) };
            }
            let most = 2 * KEEP_MAGAZINES * MAGAZINE * cache.size;
            drop(cache);
            let kept = depot.allocated_bytes().saturating_sub(before);
            assert!(kept <= most, "{kept} bytes kept");
        }
    }

    #[test]
    fn cells_are_distinct_and_aligned() {
        for (depot, size) in [(&CELLS, CELL_SIZE), (&WIDE, WIDE_SIZE)] {
            let cache = Cache::new(depot);
            let mut seen = std::collections::HashSet::new();
            for index in 0..1000 {
                let cell = if index % 2 == 0 { cache.take() } else { depot.take_one() };
                assert_eq!(cell.as_ptr().addr() % size, 0);
                // All of it is ours.
                // SAFETY: taken just now, and as large as that.
                unsafe { cell.cast::<u8>().write_bytes(0xA5, size) };
                assert!(seen.insert(cell));
            }
            for cell in seen {
                // SAFETY: taken above, not used any more.
                unsafe { depot.give_one(cell) };
            }
        }
    }
}
