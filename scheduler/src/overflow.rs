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
mod tests {
    use std::hint::black_box;
    use std::os::unix::process::ExitStatusExt;

    use corosensei::Coroutine;
    use corosensei::stack::Stack as _;

    use super::*;
    use crate::stack::{GuardMode, Stack, StackClass, StackRegion, child};

    fn recurse(n: usize) -> usize {
        let frame = black_box([n as u8; 100]);
        if n == usize::MAX { 0 } else { recurse(n + 1) + usize::from(frame[7]) }
    }

    fn big_frame(n: usize) -> usize {
        let mut frame = [n as u8; 100 << 10];
        black_box(&mut frame);
        if n == usize::MAX { 0 } else { big_frame(n + 1) + usize::from(frame[7]) }
    }

    fn overflow_in_coroutine(mode: GuardMode, body: fn(usize) -> usize) {
        install();
        let _alt = AltStack::install().unwrap();
        let region = StackRegion::new(10, mode).unwrap();
        let _below = region.take(StackClass::DEFAULT).unwrap();
        let stack = region.take(StackClass::DEFAULT).unwrap();
        let mut coroutine =
            Coroutine::<(), (), usize, Stack>::with_stack(stack, move |_, ()| body(black_box(0)));
        coroutine.resume(());
    }

    fn stderr(output: &std::process::Output) -> String {
        String::from_utf8(output.stderr.clone()).unwrap()
    }

    #[track_caller]
    fn check_report(output: &std::process::Output, name: &str) {
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
        let text = stderr(output);
        let start = format!(
            "engset: stack overflow in process {name}: its stack of 262144 bytes is used up (fault at 0x"
        );
        assert!(text.contains(&start), "{text}");
        assert!(
            text.ends_with(
                "Give it more with Builder::stack_size, or move deep recursion to blocking(..).\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn overflow_is_reported_with_the_label() {
        if child::here() {
            set_describe(|buffer| {
                let _ = write!(buffer, "<{}.{}> \"resizer\"", 0, 42);
            });
            overflow_in_coroutine(GuardMode::detect(), recurse);
        }
        let output = child::run(module_path!(), "overflow_is_reported_with_the_label");
        check_report(&output, "<0.42> \"resizer\"");
    }

    #[test]
    fn overflow_is_reported_in_protect_mode_without_a_label() {
        if child::here() {
            overflow_in_coroutine(GuardMode::Protect, recurse);
        }
        let output = child::run(module_path!(), "overflow_is_reported_in_protect_mode_without_a_label");
        check_report(&output, "unknown");
    }

    #[test]
    fn frames_larger_than_the_guard_do_not_step_over_it() {
        if child::here() {
            overflow_in_coroutine(GuardMode::detect(), big_frame);
        }
        let output = child::run(module_path!(), "frames_larger_than_the_guard_do_not_step_over_it");
        check_report(&output, "unknown");
    }

    #[test]
    fn null_dereference_is_still_a_segmentation_fault() {
        if child::here() {
            install();
            let _alt = AltStack::install().unwrap();
            let _region =
                StackRegion::new(10, GuardMode::detect()).unwrap().take(StackClass::DEFAULT).unwrap();
            // SAFETY: none; the test is that this faults.
            unsafe { black_box(ptr::without_provenance_mut::<u8>(8)).write_volatile(1) };
        }
        let output = child::run(module_path!(), "null_dereference_is_still_a_segmentation_fault");
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{output:?}");
        assert!(!stderr(&output).contains("engset:"));
    }

    #[test]
    fn overflow_of_a_thread_is_still_reported_by_std() {
        if child::here() {
            install();
            let _ = std::thread::Builder::new()
                .name("deep".into())
                .spawn(|| recurse(black_box(0)))
                .unwrap()
                .join();
        }
        let output = child::run(module_path!(), "overflow_of_a_thread_is_still_reported_by_std");
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
        assert!(stderr(&output).contains("has overflowed its stack"), "{output:?}");
    }

    extern "C" fn plain_handler(signal: c_int) {
        // SAFETY: async-signal-safe.
        unsafe { libc::_exit(if signal == libc::SIGSEGV { 42 } else { 43 }) };
    }

    extern "C" fn info_handler(signal: c_int, info: *mut siginfo_t, _: *mut c_void) {
        // SAFETY: the kernel's siginfo, passed on; _exit is async-signal-safe.
        unsafe {
            libc::_exit(if signal == libc::SIGSEGV && (*info).si_addr() as usize == 8 { 44 } else { 45 })
        };
    }

    /// In a child: the state before `install`.
    fn set_old(signal: c_int, handler: usize, flags: c_int) {
        // SAFETY: zeroed is a valid sigaction; the handlers given fit their flags.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = handler;
            action.sa_flags = flags;
            assert_eq!(libc::sigaction(signal, &action, ptr::null_mut()), 0);
        }
        install();
        install();
    }

    fn fault() {
        // SAFETY: none; the test is that this faults.
        unsafe { black_box(ptr::without_provenance_mut::<u8>(8)).write_volatile(1) };
    }

    #[test]
    fn plain_handler_is_chained() {
        if child::here() {
            set_old(libc::SIGSEGV, plain_handler as *const () as usize, 0);
            fault();
        }
        let output = child::run(module_path!(), "plain_handler_is_chained");
        assert_eq!(output.status.code(), Some(42), "{output:?}");
    }

    #[test]
    fn siginfo_handler_is_chained() {
        if child::here() {
            set_old(libc::SIGSEGV, info_handler as *const () as usize, libc::SA_SIGINFO);
            fault();
        }
        let output = child::run(module_path!(), "siginfo_handler_is_chained");
        assert_eq!(output.status.code(), Some(44), "{output:?}");
    }

    #[test]
    fn sigbus_is_chained() {
        if child::here() {
            set_old(libc::SIGBUS, plain_handler as *const () as usize, 0);
            // SAFETY: async-signal-safe.
            unsafe { libc::raise(libc::SIGBUS) };
        }
        let output = child::run(module_path!(), "sigbus_is_chained");
        assert_eq!(output.status.code(), Some(43), "{output:?}");
    }

    #[test]
    fn ignored_faults_are_fatal_and_ignored_signals_are_not() {
        if child::here() {
            set_old(libc::SIGSEGV, libc::SIG_IGN, 0);
            // SAFETY: async-signal-safe.
            unsafe { libc::raise(libc::SIGSEGV) };
            write_all(b"still there\n");
            fault();
        }
        let output = child::run(module_path!(), "ignored_faults_are_fatal_and_ignored_signals_are_not");
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{output:?}");
        assert!(stderr(&output).contains("still there"));
    }

    #[test]
    fn a_signal_that_was_sent_has_its_default_action() {
        if child::here() {
            set_old(libc::SIGSEGV, libc::SIG_DFL, 0);
            // SAFETY: async-signal-safe.
            unsafe { libc::raise(libc::SIGSEGV) };
            write_all(b"still there\n");
        }
        let output = child::run(module_path!(), "a_signal_that_was_sent_has_its_default_action");
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{output:?}");
        assert!(!stderr(&output).contains("still there"));
    }

    fn current_alt_stack() -> (usize, usize, c_int) {
        let mut current = disabled();
        // SAFETY: only asks.
        assert_eq!(unsafe { libc::sigaltstack(ptr::null(), &mut current) }, 0);
        (current.ss_sp as usize, current.ss_size, current.ss_flags)
    }

    #[test]
    fn alt_stack_restores_the_one_before() {
        let before = current_alt_stack();
        let outer = AltStack::install().unwrap();
        let with_outer = current_alt_stack();
        assert_ne!(with_outer, before);
        assert!(with_outer.1 >= ALT_STACK_BYTES - stack::page_size());
        assert_eq!(with_outer.2, 0);
        let inner = AltStack::install().unwrap();
        assert_ne!(current_alt_stack(), with_outer);
        drop(inner);
        assert_eq!(current_alt_stack(), with_outer);
        assert!(format!("{outer:?}").contains("AltStack"));

        // Dropped in the wrong order: what the inner one restores is still mapped.
        let inner = AltStack::install().unwrap();
        drop(outer);
        drop(inner);
        assert_eq!(current_alt_stack(), with_outer);
        let mut core = 0u8;
        // SAFETY: mincore only looks, and writes one byte for one page.
        assert_eq!(unsafe { libc::mincore(with_outer.0 as *mut c_void, 1, &mut core) }, 0);

        let old = libc::stack_t { ss_sp: before.0 as *mut c_void, ss_flags: before.2, ss_size: before.1 };
        // SAFETY: what was in place before this test.
        assert_eq!(unsafe { libc::sigaltstack(&old, ptr::null_mut()) }, 0);
    }

    #[test]
    fn slots_are_used_again_and_run_out_with_an_error() {
        if !child::here() {
            return child::succeeds(module_path!(), "slots_are_used_again_and_run_out_with_an_error");
        }
        let mode = GuardMode::detect();
        for _ in 0..3 * MAX_REGIONS {
            let region = StackRegion::new(1, mode).unwrap();
            let low = region.take(StackClass::DEFAULT).unwrap().limit().get();
            assert!(find(low).is_some());
            drop(region);
            assert_eq!(find(low), None);
        }
        assert_eq!(SLOTS.iter().filter(|s| s.table.get().is_some()).count(), 1);
        let mut regions: Vec<_> = (0..MAX_REGIONS).map(|_| StackRegion::new(1, mode).unwrap()).collect();
        assert_eq!(StackRegion::new(1, mode).unwrap_err(), StackError::TooManyRegions { limit: MAX_REGIONS });
        regions.pop();
        assert!(StackRegion::new(1, mode).is_ok());
    }

    #[test]
    fn buffers_truncate_at_characters() {
        let mut buffer = FixedBuf::<8>::new();
        write!(buffer, "a\näää").unwrap();
        assert_eq!(buffer.as_str(), "a?äää");
        write!(buffer, "xyz").unwrap();
        assert_eq!(buffer.as_str(), "a?äää");
        let mut buffer = FixedBuf::<8>::new();
        write!(buffer, "abcdefgä").unwrap();
        write!(buffer, "h").unwrap();
        assert_eq!(buffer.as_str(), "abcdefg");
        assert_eq!(format!("{buffer:?}"), "FixedBuf(\"abcdefg\")");
    }

    #[test]
    fn label_is_unknown_without_a_hook() {
        let mut buffer = LabelBuf::new();
        label(&mut buffer);
        assert_eq!(buffer.as_str(), "unknown");
    }
}
