//! Stacks of the stackful processes.
//!
//! A suspended stackful process is one stack, and a node may hold a million of them while the default
//! `vm.max_map_count` is 65,530. So stacks are not mapped one by one: a [`StackRegion`] reserves address
//! space in large chunks (one mapping each, committed by the kernel page by page as it is touched) and cuts
//! them into stacks of one [`StackClass`]. The guard page below each stack is a page-table marker where the
//! kernel has them ([`GuardMode::Kernel`], Linux 6.13 and later), which costs no mapping.
//!
//! On older kernels ([`GuardMode::Protect`]) a guard is `mprotect(PROT_NONE)` on one page and costs two
//! mappings: the guard and the part of the chunk it cuts off. A stack without a guard would let safe code
//! overwrite its neighbour, so none is ever handed out: once the process has used its share of
//! `vm.max_map_count` (three quarters, that is about 24,500 stacks at the default) [`StackRegion::take`]
//! answers [`StackError::NoGuard`]. The count is for the whole operating-system process, over all regions.
//!
//! Layout of one stack (addresses grow to the right, the stack to the left):
//!
//! ```text
//! low          low + guard                  base                        low + guard + size
//!  | guard page |  usable ...                |  head  |  colour: (index % 16) * 64 bytes  |
//! ```
//!
//! The size of a stack is all of it but the guard page. The head is a line for what its owner has to know of it ([`Stack::head`]): who goes on with a
//! stack finds both in one page. The guard is one page: code that moves
//! its stack pointer by more than a page without touching each page (foreign code built without stack
//! probes; rustc always probes) can step over it.
//!
//! # Who may touch what
//!
//! * R1: A [`Stack`] exists only for an index whose guard is in place, and a guard is taken away only from an
//!   index on a free list, under the region's lock ([`StackRegion::reclaim_guard`]).
//! * R2: An index is in exactly one place: owned by one [`Stack`], on its class's `free` list (guarded), on
//!   its `bare` list (not guarded), in the hands of [`StackRegion::take_batch`] on its way from the latter to a `Stack`,
//!   or not carved yet. Whoever has it, owns the memory of that stack.
//! * R3: The chunks belong to the region, and each [`Stack`] holds an [`Arc`] of it. They are unmapped in the
//!   region's `Drop` only, hence after the last [`Stack`], and after the [`RegionTable`] was emptied.
//! * R4: The memory of an owned [`Stack`] is used by a coroutine only while that coroutine owns the `Stack`
//!   or holds it by `&mut`. So `&mut Stack` outside of a coroutine means that nothing runs on it. The head belongs to whoever has the
//!   `Stack`, or the coroutine that owns it; it outlives that only as long as it takes to move out what is in it.
//! * R5: A [`RegionTable`] is never freed, and one word describes one chunk. The signal handler reads it with
//!   plain atomic loads and touches nothing else of the region; only the holder of the region's lock, or its
//!   `Drop`, writes to it.
//! * R6: Everything else of the region is behind its lock. Giving a stack back never allocates.

#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

mod class;
mod pages;
mod table;

pub(crate) use class::{StackClass, StackError, class_for};
pub(crate) use pages::{GuardMode, errno, map, page_size, protect, unmap};
pub(crate) use table::{Fault, RegionTable};

use crate::overflow::{self, Registration};
use class::{CLASSES, COLOUR_BYTES, HEAD, usable};
use corosensei::stack::StackPointer;
use libc::c_void;
use pages::{ProtectLimit, install_marker, install_markers, populate};
use std::{
    fmt,
    mem::ManuallyDrop,
    ptr::{self, NonNull},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use table::MAX_CHUNKS;

/// Guards in place by `mprotect`, over all regions of the operating-system process.
///
/// A plain count that publishes nothing: `Relaxed` throughout, no partner.
static PROTECT_GUARDS: AtomicUsize = AtomicUsize::new(0);

/// The stacks of a node. Shared by its workers, who take and give back in batches.
pub(crate) struct StackRegion {
    mode: GuardMode,
    guard: usize,
    max_stacks: usize,
    /// `mprotect` guards this region may have; those of the process are limited by `protect`.
    guard_limit: usize,
    protect: ProtectLimit,
    registration: Registration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    classes: [ClassState; CLASSES],
    /// Chunks, over all classes.
    chunks: usize,
    /// Stacks which are handed out, over all classes.
    live: usize,
    /// `mprotect` guards in place.
    guards: usize,
}

#[derive(Default)]
struct ClassState {
    /// Bases of the chunks.
    chunks: Vec<usize>,
    /// Stacks cut from them so far.
    carved: usize,
    /// Stacks to hand out again, with a guard. The last one was given back last, and its memory is warm.
    free: Vec<u32>,
    /// Stacks which were carved and have no guard.
    bare: Vec<u32>,
}

impl ClassState {
    fn low(&self, class: StackClass, guard: usize, index: u32) -> usize {
        let (chunk, rest) = (index as usize / class.per_chunk(), index as usize % class.per_chunk());
        self.chunks[chunk] + rest * class.span(guard)
    }
}

impl StackRegion {
    /// A region without any stacks yet, which hands out at most `max_stacks` at a time.
    pub(crate) fn new(max_stacks: usize, mode: GuardMode) -> Result<Arc<Self>, StackError> {
        Self::build(max_stacks, mode, usize::MAX)
    }

    /// A region with at most `guard_limit` guards in [`GuardMode::Protect`].
    #[cfg(test)]
    pub(crate) fn with_guard_limit(
        max_stacks: usize,
        mode: GuardMode,
        guard_limit: usize,
    ) -> Result<Arc<Self>, StackError> {
        Self::build(max_stacks, mode, guard_limit)
    }

    fn build(max_stacks: usize, mode: GuardMode, guard_limit: usize) -> Result<Arc<Self>, StackError> {
        let protect = ProtectLimit::read();
        Ok(Arc::new(Self {
            mode,
            guard: page_size(),
            max_stacks,
            guard_limit: guard_limit.min(protect.guards),
            protect,
            registration: overflow::register()?,
            state: Mutex::new(State::default()),
        }))
    }

    /// Hands out a stack: of those which were given back the last one, otherwise a new one.
    pub(crate) fn take(self: &Arc<Self>, class: StackClass) -> Result<Stack, StackError> {
        let mut state = self.lock();
        let index = self.take_index(&mut state, class)?;
        Ok(self.stack(&state, class, index))
    }

    /// Hands out up to `count` stacks, pushes them to `out` and says how many they are. That they are fewer
    /// than asked for is not an error; that there is not a single one is.
    pub(crate) fn take_batch(
        self: &Arc<Self>,
        class: StackClass,
        count: usize,
        out: &mut Vec<Stack>,
    ) -> Result<usize, StackError> {
        out.reserve(count);
        let mut bare = Vec::new();
        let (mut taken, mut failure) = (0, None);
        let mut state = self.lock();
        while taken + bare.len() < count {
            if state.live == self.max_stacks {
                failure = Some(StackError::TooManyStacks { limit: self.max_stacks });
                break;
            }
            // Guards of the other mode are counted under the lock.
            let guarded = self.mode == GuardMode::Protect || !state.classes[class.slot()].free.is_empty();
            let done = if guarded {
                self.take_index(&mut state, class).map(|index| {
                    out.push(self.stack(&state, class, index));
                    taken += 1;
                })
            } else {
                self.carve(&mut state, class).map(|index| {
                    state.live += 1;
                    bare.push((index, state.classes[class.slot()].low(class, self.guard, index)));
                })
            };
            if let Err(error) = done {
                failure = Some(error);
                break;
            }
        }
        drop(state);
        taken += self.finish(class, &bare, out, &mut failure);
        match failure {
            Some(error) if taken == 0 => Err(error),
            _ => Ok(taken),
        }
    }

    /// Makes stacks of indices that the caller owns and that have no guard yet, with one system call and without the lock: for other
    /// workers a lock that is held over system calls is dearer than those. What fails goes back.
    fn finish(
        self: &Arc<Self>,
        class: StackClass,
        bare: &[(u32, usize)],
        out: &mut Vec<Stack>,
        failure: &mut Option<StackError>,
    ) -> usize {
        if bare.is_empty() {
            return 0;
        }
        let lows: Vec<usize> = bare.iter().map(|(_, low)| *low).collect();
        // SAFETY: the pages are in chunks of ours (R3) and the caller owns the stacks they belong to (R2).
        let (guarded, result) = unsafe { install_markers(&lows, self.guard) };
        for &(index, low) in &bare[..guarded] {
            out.push(Stack::at(low, Arc::clone(self), index, class));
        }
        if guarded < bare.len() {
            let mut state = self.lock();
            state.live -= bare.len() - guarded;
            state.classes[class.slot()].bare.extend(bare[guarded..].iter().map(|(index, _)| *index));
        }
        if let Err(os_error) = result {
            *failure = Some(StackError::GuardRefused { os_error });
        }
        guarded
    }

    /// Asks the kernel to back the top page of each of these stacks, which is about to be used. With many at a time that is cheaper than
    /// a page fault for each.
    pub(crate) fn back_tops(stacks: &mut [Stack]) {
        let page = page_size();
        let tops = stacks.iter().map(|stack| stack.low() + stack.span() - page);
        // SAFETY: they are of stacks that we have by `&mut`: mapped (R3), ours alone (R2), and no guards (R1).
        unsafe { populate(tops, page) };
    }

    /// Gives the memory of these stacks back to the kernel; they stay taken, guarded and usable, and read as
    /// zeroes. Sorts them by address, so that neighbours need one system call only. Says how many bytes (of
    /// address space, not of memory) were released.
    pub(crate) fn release_memory(stacks: &mut [Stack]) -> usize {
        let mut released = 0;
        for_each_run(stacks, |low, len| {
            // SAFETY: `low..low + len` is made up of whole stacks, all of which we have by `&mut`: they are
            // mapped (R3), ours alone (R2), and nothing runs on them (R4). Guards outlive this: page-table
            // markers survive MADV_DONTNEED, and so does the protection of a page.
            let done = unsafe { libc::madvise(low as *mut c_void, len, libc::MADV_DONTNEED) };
            if done == 0 {
                released += len;
            }
        });
        released
    }

    /// The stack of this region in whose guard page `addr` lies. Async-signal-safe.
    #[cfg(test)]
    pub(crate) fn locate(&self, addr: usize) -> Option<Fault> {
        self.registration.table().locate(addr)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two related writes under the lock: a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stack(self: &Arc<Self>, state: &State, class: StackClass, index: u32) -> Stack {
        let low = state.classes[class.slot()].low(class, self.guard, index);
        Stack::at(low, Arc::clone(self), index, class)
    }

    /// Takes ownership of an index (R2) whose guard is in place (R1).
    fn take_index(&self, state: &mut State, class: StackClass) -> Result<u32, StackError> {
        if state.live >= self.max_stacks {
            return Err(StackError::TooManyStacks { limit: self.max_stacks });
        }
        let index = match state.classes[class.slot()].free.pop() {
            Some(index) => index,
            None => {
                let index = self.carve(state, class)?;
                if let Err(error) = self.install_guard(state, class, index) {
                    state.classes[class.slot()].bare.push(index);
                    return Err(error);
                }
                index
            }
        };
        state.live += 1;
        Ok(index)
    }

    /// An index without a guard, which belongs to nobody else (R2).
    fn carve(&self, state: &mut State, class: StackClass) -> Result<u32, StackError> {
        let of_class = &mut state.classes[class.slot()];
        if let Some(index) = of_class.bare.pop() {
            return Ok(index);
        }
        if of_class.carved == of_class.chunks.len() * class.per_chunk() {
            let len = class.chunk_len(self.guard);
            let error = |os_error| StackError::OutOfAddressSpace { requested: len, os_error };
            if state.chunks == MAX_CHUNKS {
                return Err(error(libc::ENOMEM));
            }
            let base = map(len).map_err(error)?;
            self.registration.table().publish(state.chunks, base.get(), class);
            state.chunks += 1;
            of_class.chunks.push(base.get());
        }
        let index = of_class.carved as u32;
        of_class.carved += 1;
        // R6: there is room for every stack of this class to come back (the list is empty now).
        of_class.free.reserve(of_class.carved);
        Ok(index)
    }

    /// Makes the guard of an index which the caller owns and which has none.
    fn install_guard(&self, state: &mut State, class: StackClass, index: u32) -> Result<(), StackError> {
        let low = state.classes[class.slot()].low(class, self.guard, index);
        if self.mode == GuardMode::Kernel {
            // SAFETY: the page is in a chunk of ours (R3) and the caller owns the stack it belongs to (R2).
            return unsafe { install_marker(low, self.guard) }
                .map_err(|os_error| StackError::GuardRefused { os_error });
        }
        let no_guard =
            StackError::NoGuard { limit: self.guard_limit, max_map_count: self.protect.max_map_count };
        if !(self.count_guard(state) || self.reclaim_guard(state) && self.count_guard(state)) {
            return Err(no_guard);
        }
        // SAFETY: as above.
        match unsafe { protect(low, self.guard, libc::PROT_NONE) } {
            Ok(()) => Ok(()),
            Err(os_error) => {
                self.uncount_guards(state, 1);
                // ENOMEM is the kernel's word for "too many mappings": somebody else has used the rest.
                Err(if os_error == libc::ENOMEM { no_guard } else { StackError::GuardRefused { os_error } })
            }
        }
    }

    /// Takes the `mprotect` guard away from some stack that is on a free list, which makes it a bare one:
    /// otherwise guards would stay with a class that does not need them any more.
    fn reclaim_guard(&self, state: &mut State) -> bool {
        let found = state
            .classes
            .iter_mut()
            .enumerate()
            .find_map(|(slot, c)| c.free.pop().map(|index| (slot, index)));
        let Some((slot, index)) = found else { return false };
        let class = StackClass(slot as u8);
        let of_class = &mut state.classes[slot];
        let low = of_class.low(class, self.guard, index);
        // SAFETY: the stack is in a chunk of ours (R3) and was on a free list, so it is ours (R2); the guard
        // is not needed there any more (R1).
        let bare = unsafe {
            libc::madvise(low as *mut c_void, class.span(self.guard), libc::MADV_DONTNEED);
            protect(low, self.guard, libc::PROT_READ | libc::PROT_WRITE)
        };
        if bare.is_err() {
            of_class.free.push(index);
            return false;
        }
        of_class.bare.push(index);
        self.uncount_guards(state, 1);
        true
    }

    /// Counts one more `mprotect` guard, unless there are too many.
    fn count_guard(&self, state: &mut State) -> bool {
        if state.guards >= self.guard_limit {
            return false;
        }
        let limit = self.protect.guards;
        // Relaxed: see PROTECT_GUARDS.
        let counted = PROTECT_GUARDS
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < limit).then_some(n + 1))
            .is_ok();
        state.guards += usize::from(counted);
        counted
    }

    fn uncount_guards(&self, state: &mut State, count: usize) {
        state.guards -= count;
        // Relaxed: see PROTECT_GUARDS.
        PROTECT_GUARDS.fetch_sub(count, Ordering::Relaxed);
    }

    /// Takes many stacks of this region back at once.
    pub(crate) fn give_all(&self, stacks: Vec<Stack>) {
        let mut state = self.lock();
        for stack in stacks {
            debug_assert!(ptr::eq(self, &raw const *stack.region), "a stack of another region");
            state.live -= 1;
            state.classes[stack.class.slot()].free.push(stack.index);
            stack.given_back();
        }
    }

    /// Takes an index back from its owner. Does not allocate (R6).
    fn give(&self, class: StackClass, index: u32) {
        let mut state = self.lock();
        state.live -= 1;
        state.classes[class.slot()].free.push(index);
    }
}

impl Drop for StackRegion {
    fn drop(&mut self) {
        // R3, R5: first the handler must not find the chunks any more.
        self.registration.table().clear();
        let mut state = std::mem::take(self.state.get_mut().unwrap_or_else(PoisonError::into_inner));
        for (slot, of_class) in state.classes.iter().enumerate() {
            let len = StackClass(slot as u8).chunk_len(self.guard);
            for &base in &of_class.chunks {
                // SAFETY: R3: mapped by `carve` with that length, and no `Stack` is left.
                unsafe { unmap(base, len) };
            }
        }
        let guards = state.guards;
        self.uncount_guards(&mut state, guards);
    }
}

impl fmt::Debug for StackRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackRegion")
            .field("mode", &self.mode)
            .field("max_stacks", &self.max_stacks)
            .finish_non_exhaustive()
    }
}

/// A stack of a [`StackRegion`], to which it goes back when it is dropped.
pub(crate) struct Stack {
    region: Arc<StackRegion>,
    /// Where its frames end, and its head begins. (And not its low end: this is asked for at each switch.)
    base: StackPointer,
    index: u32,
    class: StackClass,
}

impl Stack {
    /// One whose guard page lies at `low`.
    fn at(low: usize, region: Arc<StackRegion>, index: u32, class: StackClass) -> Self {
        let base = low + region.guard + usable(class, index as usize);
        Stack { base: StackPointer::new(base).expect("the kernel maps nothing at 0"), region, index, class }
    }

    /// Where its guard page lies.
    fn low(&self) -> usize {
        self.base.get() - self.usable_size() - self.region.guard
    }

    /// The class it was taken from.
    pub(crate) fn class(&self) -> StackClass {
        self.class
    }

    /// Its index is on a free list: nothing is left to be done but to let the region go, which cannot be the last one who holds it.
    fn given_back(self) {
        let stack = ManuallyDrop::new(self);
        // SAFETY: it is read once, and not dropped by `stack`.
        drop(unsafe { ptr::read(&raw const stack.region) });
    }

    /// Its number within its class.
    #[cfg(test)]
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Its size and the guard page's.
    fn span(&self) -> usize {
        self.class.span(self.region.guard)
    }

    /// Room for a value of that type, for who has the stack (R4), in the line above its base. As long as the stack is not given back, and its memory
    /// not released.
    pub(crate) fn head<T>(&mut self) -> NonNull<T> {
        const { assert!(size_of::<T>() <= HEAD && align_of::<T>() <= COLOUR_BYTES) };
        NonNull::new(ptr::with_exposed_provenance_mut(self.base.get())).expect("above its low end")
    }

    /// Bytes between its guard and its base.
    pub(crate) fn usable_size(&self) -> usize {
        usable(self.class, self.index as usize)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.region.give(self.class, self.index);
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("class", &self.class)
            .field("index", &self.index)
            .field("low", &format_args!("{:#x}", self.low()))
            .finish()
    }
}

// SAFETY: the memory from the guard to the base is mapped readable and writable (R3) and ours alone (R2), the
// page at `limit` is a guard (R1), more than MIN_STACK_SIZE lies between them (`class_for` gives at least
// four pages, of which head and colour take less than one), and base and limit do not change.
unsafe impl corosensei::stack::Stack for Stack {
    #[inline]
    fn base(&self) -> StackPointer {
        self.base
    }

    /// The low end of the guard page: the contract wants guards included.
    #[inline]
    fn limit(&self) -> StackPointer {
        StackPointer::new(self.low()).expect("the kernel maps nothing at 0")
    }
}

/// Sorts by address and calls `run(low, len)` for each maximal run of adjacent stacks.
fn for_each_run(stacks: &mut [Stack], mut run: impl FnMut(usize, usize)) {
    stacks.sort_unstable_by_key(Stack::low);
    let mut current: Option<(usize, usize)> = None;
    for stack in stacks {
        let (low, size) = (stack.low(), stack.span());
        current = match current {
            Some((start, len)) if start + len == low => Some((start, len + size)),
            other => {
                if let Some((start, len)) = other {
                    run(start, len);
                }
                Some((low, size))
            }
        };
    }
    if let Some((start, len)) = current {
        run(start, len);
    }
}

/// Tests which end in a signal, or count the mappings of the whole process, run in a child: the test binary
/// starts itself again for that one test.
#[cfg(test)]
pub(crate) mod child;

#[cfg(test)]
mod tests;
