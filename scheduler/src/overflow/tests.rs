//! Tests of the report on a stack overflow.

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
    let mut coroutine = Coroutine::<(), (), usize, Stack>::with_stack(stack, move |_, ()| body(black_box(0)));
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
        text.ends_with("Give it more with Builder::stack_size, or move deep recursion to blocking(..).\n"),
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
        let _region = StackRegion::new(10, GuardMode::detect()).unwrap().take(StackClass::DEFAULT).unwrap();
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
        let _ =
            std::thread::Builder::new().name("deep".into()).spawn(|| recurse(black_box(0))).unwrap().join();
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
    unsafe { libc::_exit(if signal == libc::SIGSEGV && (*info).si_addr() as usize == 8 { 44 } else { 45 }) };
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
