//! Address space and guard pages, as the system gives them.
//!
//! R1 to R6 are the rules in the head of `stack.rs`. The functions here know nothing of regions; who calls them keeps R1 to R4.

use libc::{c_int, c_void};
use std::{io, num::NonZeroUsize, ptr, sync::OnceLock};

/// `MADV_GUARD_INSTALL` of Linux 6.13.
pub(super) const MADV_GUARD_INSTALL: c_int = 102;
/// `MADV_POPULATE_WRITE` of Linux 5.14; for a list of pages since 6.13.
const MADV_POPULATE_WRITE: c_int = 23;
/// For a descriptor of the calling process itself, since Linux 6.14.
pub(super) const PIDFD_SELF_THREAD: c_int = -10_000;
/// Pages that one call of `process_madvise` may name (`UIO_MAXIOV`).
pub(super) const MOST_PAGES: usize = 1024;
/// What `vm.max_map_count` is taken for if it cannot be read.
pub(super) const DEFAULT_MAX_MAP_COUNT: usize = 65_530;

/// How guard pages are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuardMode {
    /// Page-table markers (`MADV_GUARD_INSTALL`): any number of them, at no mapping.
    Kernel,
    /// `mprotect(PROT_NONE)`: two mappings each, a limited number.
    Protect,
}

impl GuardMode {
    /// [`GuardMode::Kernel`] if this kernel has it, which is found out once.
    pub(crate) fn detect() -> Self {
        static MODE: OnceLock<GuardMode> = OnceLock::new();
        *MODE.get_or_init(|| if kernel_has_guards() { Self::Kernel } else { Self::Protect })
    }
}

/// Installs a guard on a page of its own, and looks whether it is one: an emulated kernel may well accept
/// advice that it does not know.
pub(super) fn kernel_has_guards() -> bool {
    let len = page_size();
    let Ok(page) = map(len) else { return false };
    // SAFETY: the page was just mapped, and only this function knows of it.
    let works = unsafe { install_marker(page.get(), len) }.is_ok() && !kernel_can_read(page.get());
    // SAFETY: as above; it is not used after this.
    unsafe { unmap(page.get(), len) };
    works
}

/// Whether the kernel can read the byte at `addr` on our behalf; never faults. A pipe is used because what
/// takes its bytes must copy them, and because checkers that emulate system calls (valgrind) leave that to
/// the kernel.
pub(super) fn kernel_can_read(addr: usize) -> bool {
    let mut ends = [-1; 2];
    // SAFETY: the array has room for the two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } != 0 {
        // Nothing is known: without a proof of the guard it counts as none.
        return true;
    }
    // SAFETY: the kernel checks the address, and answers EFAULT for one that it cannot read.
    let done = unsafe { libc::write(ends[1], addr as *const c_void, 1) };
    let readable = !(done == -1 && errno() == libc::EFAULT);
    for end in ends {
        // SAFETY: ours, and not used after this.
        unsafe { libc::close(end) };
    }
    readable
}

/// What `mprotect` guards there can be.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProtectLimit {
    /// For the operating-system process.
    pub(super) guards: usize,
    pub(super) max_map_count: usize,
}

impl ProtectLimit {
    /// Three quarters of the mappings, at two mappings a guard. The rest is for everybody else.
    pub(super) fn read() -> Self {
        let max_map_count = std::fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|s| s.trim().parse::<usize>().ok())
            .unwrap_or(DEFAULT_MAX_MAP_COUNT);
        Self { guards: max_map_count / 4 * 3 / 2, max_map_count }
    }
}

/// Size of a page, and of a guard.
pub(crate) fn page_size() -> usize {
    // SAFETY: no arguments that matter.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).expect("every system has a page size")
}

/// Why the last call into the C library has failed, on this thread.
pub(crate) fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Reserves readable and writable address space that costs memory only where it is touched.
pub(crate) fn map(len: usize) -> Result<NonZeroUsize, i32> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping wherever the kernel likes replaces no other.
    let base = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
    if base == libc::MAP_FAILED {
        return Err(errno());
    }
    // One touched byte shall cost one page, not 2 MiB. An error says that the kernel has no huge pages.
    // SAFETY: the range was just mapped, and advice on huge pages does not change its contents.
    unsafe { libc::madvise(base, len, libc::MADV_NOHUGEPAGE) };
    Ok(NonZeroUsize::new(base as usize).expect("the kernel maps nothing at 0"))
}

/// Undoes [`map`].
///
/// # Safety
///
/// The range was mapped by [`map`], and nobody uses it any more.
pub(crate) unsafe fn unmap(base: usize, len: usize) {
    // SAFETY: the caller's promise.
    let done = unsafe { libc::munmap(base as *mut c_void, len) };
    debug_assert_eq!(done, 0, "munmap of a whole mapping of ours");
}

/// Changes the protection of a range of pages.
///
/// # Safety
///
/// The range was mapped by [`map`], and the caller owns it.
pub(crate) unsafe fn protect(low: usize, len: usize, protection: c_int) -> Result<(), i32> {
    // SAFETY: the caller's promise.
    match unsafe { libc::mprotect(low as *mut c_void, len, protection) } {
        0 => Ok(()),
        _ => Err(errno()),
    }
}

/// Turns a range of pages into guards by page-table markers; what they held is lost.
///
/// # Safety
///
/// The range was mapped by [`map`], and the caller owns it.
pub(super) unsafe fn install_marker(low: usize, len: usize) -> Result<(), i32> {
    loop {
        // SAFETY: the caller's promise.
        if unsafe { libc::madvise(low as *mut c_void, len, MADV_GUARD_INSTALL) } == 0 {
            return Ok(());
        }
        match errno() {
            // The page tables were contended.
            libc::EAGAIN | libc::EINTR => {}
            error => return Err(error),
        }
    }
}

/// Asks the kernel, by one system call for many of them, to back pages as if they had been written to. What they hold stays. A wish: a kernel
/// without this backs them when they are touched.
///
/// # Safety
///
/// Each page was mapped by [`map`], and the caller owns it.
pub(super) unsafe fn populate(pages: impl Iterator<Item = usize>, len: usize) {
    let pages: Vec<_> =
        pages.map(|page| libc::iovec { iov_base: page as *mut c_void, iov_len: len }).collect();
    for pages in pages.chunks(MOST_PAGES) {
        // SAFETY: the caller's promise; the list outlives the call.
        unsafe { advise_all(pages, MADV_POPULATE_WRITE) };
    }
}

/// Gives advice on ranges of this process' memory by one system call. The bytes that have been advised on, negative if none were.
///
/// # Safety
///
/// The caller may give this advice on each of them.
unsafe fn advise_all(ranges: &[libc::iovec], advice: c_int) -> libc::c_long {
    // SAFETY: the caller's promise; the list outlives the call.
    unsafe {
        libc::syscall(libc::SYS_process_madvise, PIDFD_SELF_THREAD, ranges.as_ptr(), ranges.len(), advice, 0)
    }
}

/// [`install_marker`] for many pages, as many as possible by one system call. How many of them, counted from the first, are guards now, and why
/// not all of them.
///
/// # Safety
///
/// As [`install_marker`], for each of them.
pub(super) unsafe fn install_markers(lows: &[usize], len: usize) -> (usize, Result<(), i32>) {
    let pages: Vec<_> =
        lows.iter().map(|&low| libc::iovec { iov_base: low as *mut c_void, iov_len: len }).collect();
    let mut done = 0;
    // With one page there is nothing to gain.
    while lows.len() - done > 1 {
        let rest = &pages[done..];
        // SAFETY: the caller's promise.
        let advised = unsafe { advise_all(&rest[..rest.len().min(MOST_PAGES)], MADV_GUARD_INSTALL) };
        match usize::try_from(advised) {
            Ok(bytes) if bytes >= len => done += bytes / len,
            // Not with this kernel, or not here (seccomp): one by one.
            _ => break,
        }
    }
    while let Some(&low) = lows.get(done) {
        // SAFETY: the caller's promise.
        if let Err(error) = unsafe { install_marker(low, len) } {
            return (done, Err(error));
        }
        done += 1;
    }
    (done, Ok(()))
}
