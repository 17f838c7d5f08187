//! What a test expects of other processes than its own: crashes, messages to the dead.

use super::{PATIENCE, eventually, recorder::Crash, recorder_here, trace};
use std::fmt::Write;

/// Which crash is meant: a part of its message, or a function that looks at it.
pub trait CrashPattern {
    /// Is it this one?
    fn matches(&self, crash: &Crash) -> bool;
}

impl CrashPattern for &str {
    fn matches(&self, crash: &Crash) -> bool {
        crash.message.contains(*self)
    }
}

impl<F: Fn(&Crash) -> bool> CrashPattern for F {
    fn matches(&self, crash: &Crash) -> bool {
        self(crash)
    }
}

/// Runs `body`, and expects that a process (another one than the test's) crashes meanwhile, or within 3 seconds after it. That
/// crash is none that fails the test. Crashes are not written to standard error in runs of the kit, expected or not.
///
/// ```
/// use engset_stdlib::testkit;
///
/// testkit::systematic(10, || {
///     let crash = testkit::expect_crash("no such account", || {
///         engset_runtime::spawn(|| panic!("no such account: 7"));
///     });
///     assert_eq!(crash.message, "no such account: 7");
/// });
/// ```
///
/// # Panics
///
/// If none does, with those that crashed instead; and outside of a run of the kit.
#[track_caller]
pub fn expect_crash(pattern: impl CrashPattern, body: impl FnOnce()) -> Crash {
    let recorder = recorder_here();
    let start = recorder.notes().crash_count;
    body();
    let mut found = None;
    let look = || {
        // The pattern is the user's: it is not asked while the notes are locked.
        let crashes = recorder.notes().crashes.clone();
        let hit = crashes.into_iter().find(|(number, crash)| *number > start && pattern.matches(crash));
        let is_there = hit.is_some();
        found = hit;
        is_there
    };
    eventually(PATIENCE, look);
    match found {
        Some((number, crash)) => {
            recorder.notes().crashes.retain(|(other, _)| *other != number);
            crash
        }
        None => {
            let crashes = recorder.notes().crashes.clone();
            let mut others = String::new();
            for (_, crash) in crashes.iter().filter(|(number, _)| *number > start) {
                // Writing to a `String` cannot fail.
                let _ = write!(others, "\n  {crash}");
            }
            match others.as_str() {
                "" => panic!("a crash was expected, and no process crashed within {PATIENCE:?}"),
                others => panic!("a crash was expected within {PATIENCE:?}, and these were others:{others}"),
            }
        }
    }
}

/// Runs `body`, and expects that so many messages of type `M` find their receivers dead meanwhile, or within 3 seconds after
/// it.
///
/// ```
/// use engset_stdlib::testkit;
/// use engset_runtime::{Mailbox, spawn, sleep};
/// use std::time::Duration;
///
/// testkit::systematic(10, || {
///     let gone = spawn(|_: Mailbox<u32>| ());
///     sleep(Duration::from_millis(1));
///     testkit::expect_dead_letters::<u32, _>(2, || {
///         gone.send(1);
///         gone.send(2);
///     });
/// });
/// ```
///
/// # Panics
///
/// If fewer do, with those of other types; and outside of a run of the kit.
#[track_caller]
pub fn expect_dead_letters<M, R>(count: usize, body: impl FnOnce() -> R) -> R {
    let recorder = recorder_here();
    let start = recorder.notes().dead_letter_count;
    let result = body();
    let wanted = std::any::type_name::<M>();
    let is_it = |number: u64, message: &str| number > start && message == wanted;
    let found =
        || recorder.notes().dead_letters.iter().filter(|(number, message)| is_it(*number, message)).count();
    if !eventually(PATIENCE, || found() >= count) {
        let notes = recorder.notes();
        let others: Vec<_> = notes
            .dead_letters
            .iter()
            .filter(|(number, message)| *number > start && *message != wanted)
            .map(|(_, message)| trace::short(message))
            .collect();
        drop(notes);
        panic!(
            "{count} dead letters of type {} were expected, and {} came within {PATIENCE:?}; of other types: {others:?}",
            trace::short(wanted),
            found()
        );
    }
    let mut left = count;
    recorder.notes().dead_letters.retain(|(number, message)| {
        let claimed = left > 0 && is_it(*number, message);
        left -= usize::from(claimed);
        !claimed
    });
    result
}
