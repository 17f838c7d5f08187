//! A readable end for a process that has used up its stack.
//!
//! An overflow runs into the guard page below the stack, which is a `SIGSEGV` (or `SIGBUS`) on the worker
//! thread. There is no way back from it: the process's destructors have not run, and they may hold anything.
//! So the handler says which green process it was and ends the program with `abort`. A fault that is not in a
//! guard page of ours goes to the handler that was there before, such as the one by which std reports
//! overflows of threads.
//!
//! # Who may touch what
//!
//! * H1: The handler, and everything it calls, is async-signal-safe: it takes no lock, allocates nothing, and
//!   calls only async-signal-safe functions of the C library.
//! * H2: A slot of [`SLOTS`] is written by the one [`Registration`] that has taken it. The table in it is
//!   made once and never freed, so the handler may read any table at any time; the table of a free slot is
//!   empty. A region's stacks keep it registered, so a fault of a process that runs is always found. Someone
//!   else's fault at the very moment at which a region ends may still be taken for an overflow of it.
//! * H3: The previous handlers are stored before ours are installed, and never change after that.
//! * H4: The memory of an [`AltStack`] is the kernel's from `install` until its `Drop`, on the same thread,
//!   has taken it back.

#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

use std::fmt::{self, Write};
use std::io;
use std::marker::PhantomData;
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Once, OnceLock};

use libc::{c_int, c_void, siginfo_t};

use crate::stack::{self, Fault, RegionTable, StackError};

/// How many regions there can be at a time.
const MAX_REGIONS: usize = 64;
/// Size of an alternate signal stack, guard page included, unless the machine's signal frames are huge.
const ALT_STACK_BYTES: usize = 64 << 10;
/// What the handler itself needs of it, at the most.
const HANDLER_BYTES: usize = 32 << 10;

/// Text of at most `N` bytes of UTF-8; what does not fit is dropped, and control characters become `?`.
pub struct FixedBuf<const N: usize> {
    bytes: [u8; N],
    len: usize,
    full: bool,
}

/// Where a hook writes what a reader should know of the process.
pub type LabelBuf = FixedBuf<128>;

impl<const N: usize> FixedBuf<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], len: 0, full: false }
    }

    pub(crate) fn as_str(&self) -> &str {
        // Only whole characters are ever written.
        str::from_utf8(&self.bytes[..self.len]).unwrap_or("")
    }
}

impl<const N: usize> Write for FixedBuf<N> {
    /// Never fails: an error would end the formatting of what still fits.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let c = if c.is_control() { '?' } else { c };
            // Once a character was dropped, a shorter one must not take its place.
            self.full |= self.len + c.len_utf8() > N;
            if self.full {
                break;
            }
            self.len += c.encode_utf8(&mut self.bytes[self.len..]).len();
        }
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for FixedBuf<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FixedBuf").field(&self.as_str()).finish()
    }
}

/// The hook of [`set_describe`] as a `fn(&mut LabelBuf)`, or null.
static DESCRIBE: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Sets the function that writes the name of the process which runs on the calling thread.
///
/// It is called by the signal handler, on the thread that has overflowed and on its alternate stack: it must
/// be async-signal-safe (H1), and cannot rely on whatever the process was just doing.
pub(crate) fn set_describe(describe: fn(&mut LabelBuf)) {
    // Release: partner of the Acquire in `label`.
    DESCRIBE.store(describe as *mut (), Ordering::Release);
}

fn label(buffer: &mut LabelBuf) {
    // Acquire: partner of the Release in `set_describe`.
    let describe = DESCRIBE.load(Ordering::Acquire);
    if !describe.is_null() {
        // SAFETY: only `set_describe` writes to DESCRIBE, and it stores a function of this very type.
        let describe: fn(&mut LabelBuf) = unsafe { mem::transmute(describe) };
        describe(buffer);
    }
    if buffer.as_str().is_empty() {
        let _ = buffer.write_str("unknown");
    }
}

/// A place for one region that the handler knows (H2).
struct Slot {
    taken: AtomicBool,
    table: OnceLock<Box<RegionTable>>,
}

static SLOTS: [Slot; MAX_REGIONS] =
    [const { Slot { taken: AtomicBool::new(false), table: OnceLock::new() } }; MAX_REGIONS];

/// A region's place in the handler's table, until it is dropped. The region enters its chunks in the table.
pub(crate) struct Registration {
    slot: &'static Slot,
    table: &'static RegionTable,
}

impl Registration {
    /// The table which the handler reads.
    pub(crate) fn table(&self) -> &'static RegionTable {
        self.table
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.table.clear();
        // Release: partner of the Acquire in `register`. The next owner finds an empty table.
        self.slot.taken.store(false, Ordering::Release);
    }
}

/// Makes room for one more region.
pub(crate) fn register() -> Result<Registration, StackError> {
    for slot in &SLOTS {
        // Acquire: partner of the Release in `Registration::drop`. Relaxed: nothing follows from a failure.
        if slot.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            let table = slot.table.get_or_init(|| Box::new(RegionTable::new()));
            return Ok(Registration { slot, table });
        }
    }
    Err(StackError::TooManyRegions { limit: MAX_REGIONS })
}

/// The stack, of any region, in whose guard page `addr` lies. Async-signal-safe: `OnceLock::get` is a load.
pub(crate) fn find(addr: usize) -> Option<Fault> {
    SLOTS.iter().filter_map(|slot| slot.table.get()).find_map(|table| table.locate(addr))
}

/// The handlers that were there before (H3).
static OLD_SEGV: OnceLock<libc::sigaction> = OnceLock::new();
static OLD_BUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the handlers, once per program. A thread that runs processes needs an [`AltStack`] besides.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        install_for(libc::SIGSEGV, &OLD_SEGV);
        install_for(libc::SIGBUS, &OLD_BUS);
    });
}

/// Should the kernel refuse, which POSIX has no reason for, faults just stay unexplained.
fn install_for(signal: c_int, old: &'static OnceLock<libc::sigaction>) {
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: `before` is a valid place for the answer; nothing is changed.
    if unsafe { libc::sigaction(signal, ptr::null(), before.as_mut_ptr()) } != 0 {
        return;
    }
    // SAFETY: zeroed is a valid sigaction (no handler, no restorer), and the kernel has filled it in.
    let _ = old.set(unsafe { before.assume_init() });

    // SAFETY: as above, and SIG_DFL is 0.
    let mut ours: libc::sigaction = unsafe { mem::zeroed() };
    ours.sa_sigaction = on_fault as *const () as usize;
    // No SA_NODEFER: a fault within the handler, such as in the hook, ends the program at once.
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: `on_fault` has the signature that SA_SIGINFO wants and is async-signal-safe (H1); the previous
    // handler is stored (H3).
    unsafe {
        libc::sigemptyset(&mut ours.sa_mask);
        libc::sigaction(signal, &ours, ptr::null_mut());
    }
}

/// The handler (H1).
extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo.
    let code = unsafe { (*info).si_code };
    // A signal that somebody sent (kill, raise) has no address.
    let sent = code <= 0;
    if !sent {
        // SAFETY: a SIGSEGV or SIGBUS of the kernel's own has an address.
        let addr = unsafe { (*info).si_addr() } as usize;
        if let Some(fault) = find(addr) {
            report(addr, fault);
            // SAFETY: async-signal-safe, and does not return.
            unsafe { libc::abort() };
        }
    }
    chain(signal, info, context, sent);
}

/// Hands a signal that is not ours to whoever had it before.
fn chain(signal: c_int, info: *mut siginfo_t, context: *mut c_void, sent: bool) {
    let old = if signal == libc::SIGSEGV { OLD_SEGV.get() } else { OLD_BUS.get() };
    match old {
        Some(old) if old.sa_sigaction != libc::SIG_DFL && old.sa_sigaction != libc::SIG_IGN => {
            let handler = old.sa_sigaction as *const ();
            if old.sa_flags & libc::SA_SIGINFO != 0 {
                // SAFETY: it was installed with SA_SIGINFO as a handler for this signal, so it has this
                // signature and may be called with what the kernel gave to us.
                unsafe {
                    let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = mem::transmute(handler);
                    handler(signal, info, context);
                }
            } else {
                // SAFETY: it was installed without SA_SIGINFO, so it has this signature.
                unsafe {
                    let handler: extern "C" fn(c_int) = mem::transmute(handler);
                    handler(signal);
                }
            }
        }
        // One that was sent can be ignored. A fault cannot: it would recur for ever.
        Some(old) if sent && old.sa_sigaction == libc::SIG_IGN => {}
        // With the default action in place the fault recurs, and ends the program. One that was sent does not
        // recur: it is sent again, and waits until the handler has returned.
        _ => {
            // SAFETY: async-signal-safe calls; zeroed, with SIG_DFL, is a valid sigaction.
            unsafe {
                let mut default: libc::sigaction = mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &default, ptr::null_mut());
                if sent {
                    libc::raise(signal);
                }
            }
        }
    }
}

/// Writes the report to standard error, in one piece if the kernel takes it.
fn report(addr: usize, fault: Fault) {
    let mut name = LabelBuf::new();
    label(&mut name);
    let mut text = FixedBuf::<512>::new();
    let _ = write!(
        text,
        "engset: stack overflow in process {}: its stack of {} bytes is used up (fault at {addr:#x}). Give \
         it more with Builder::stack_size, or move deep recursion to blocking(..).",
        name.as_str(),
        fault.class.stack_size(),
    );
    write_all(text.as_str().as_bytes());
    write_all(b"\n");
}

fn write_all(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the range is that of a slice; write is async-signal-safe.
        match unsafe { libc::write(libc::STDERR_FILENO, bytes.as_ptr().cast(), bytes.len()) } {
            n if n > 0 => bytes = &bytes[n as usize..],
            _ if stack::errno() == libc::EINTR => {}
            _ => return,
        }
    }
}

/// The calling thread's alternate signal stack, without which the handler would have nowhere to run.
///
/// The previous one is restored on drop. Not `Send`: it belongs to the thread.
pub(crate) struct AltStack {
    low: usize,
    len: usize,
    old: libc::stack_t,
    _thread: PhantomData<*mut ()>,
}

impl AltStack {
    /// Maps a signal stack with a guard page below it and makes it that of the calling thread.
    pub(crate) fn install() -> io::Result<Self> {
        let page = stack::page_size();
        let len = (page + HANDLER_BYTES + min_signal_stack()).max(ALT_STACK_BYTES).next_multiple_of(page);
        let low = stack::map(len).map_err(io::Error::from_raw_os_error)?.get();
        let new = libc::stack_t { ss_sp: (low + page) as *mut c_void, ss_flags: 0, ss_size: len - page };
        let mut old = disabled();
        // SAFETY: the range was just mapped, and is ours.
        let done = unsafe { stack::protect(low, page, libc::PROT_NONE) }.and_then(|()| {
            // SAFETY: H4: the memory stays mapped until `drop` has taken it back from the kernel.
            match unsafe { libc::sigaltstack(&new, &mut old) } {
                0 => Ok(()),
                _ => Err(stack::errno()),
            }
        });
        if let Err(os_error) = done {
            // SAFETY: the kernel has not taken it.
            unsafe { stack::unmap(low, len) };
            return Err(io::Error::from_raw_os_error(os_error));
        }
        Ok(Self { low, len, old, _thread: PhantomData })
    }

    /// Whether the thread's signal stack is this one.
    fn is_current(&self) -> bool {
        let mut current = disabled();
        // SAFETY: only asks.
        let done = unsafe { libc::sigaltstack(ptr::null(), &mut current) };
        done == 0 && (self.low..self.low + self.len).contains(&(current.ss_sp as usize))
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        // If it is not the current one, then somebody has put another in its place, and may yet restore this
        // one; and if the kernel refuses, then the thread runs on it. Either way rather lose the memory (H4).
        // SAFETY: `old` is what the kernel said was in place before us.
        if !self.is_current() || unsafe { libc::sigaltstack(&self.old, ptr::null_mut()) } != 0 {
            return;
        }
        // SAFETY: H4: mapped by `install`, and not the kernel's any more.
        unsafe { stack::unmap(self.low, self.len) };
    }
}

impl fmt::Debug for AltStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AltStack").field("len", &self.len).finish_non_exhaustive()
    }
}

/// A thread without an alternate stack.
fn disabled() -> libc::stack_t {
    libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 }
}

/// What the kernel needs of a signal stack on this machine.
fn min_signal_stack() -> usize {
    // SAFETY: no pointers; answers 0 for what it does not know.
    let bytes = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) };
    (bytes as usize).max(libc::MINSIGSTKSZ)
}

#[cfg(test)]
mod tests;
