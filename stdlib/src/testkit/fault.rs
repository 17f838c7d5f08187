//! Planted faults: named places in the code under test that go wrong when a test says so.
//!
//! The code asks [`fault`] at the place, and does what a real failure would do there; [`crash_point`] panics. Outside of a
//! run of the kit, and if no test of the program has armed anything, that is one load of a number that never changes.

use super::recorder::Recorder;
use engset_runtime::Random;
use hashbrown::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// A test of this program has armed a fault at some time.
static USED: AtomicBool = AtomicBool::new(false);

/// When an armed place goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum When {
    /// Each time.
    Always,
    /// The time with this number only; the first is 1.
    Nth(u64),
    /// Each time with this probability, by the seed of the run.
    Chance(f64),
}

/// The faults of one run.
pub(super) struct Faults {
    armed: HashMap<String, When>,
    reached: HashMap<String, u64>,
    random: Random,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        // Another sequence than the scheduler's, from the same seed.
        let random = Random::new(seed ^ 0x000F_A017_F411_7000);
        Faults { armed: HashMap::new(), reached: HashMap::new(), random }
    }

    fn reach(&mut self, name: &str) -> bool {
        let count = self.reached.entry_ref(name).or_insert(0);
        *count += 1;
        match self.armed.get(name) {
            None => false,
            Some(When::Always) => true,
            Some(When::Nth(number)) => count == number,
            Some(When::Chance(part)) => (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 <= *part,
        }
    }
}

/// A place where a test may plant a fault: true if it is to go wrong now.
///
/// ```
/// use engset_stdlib::testkit::{self, When};
///
/// fn save(text: &str) -> Result<(), String> {
///     if testkit::fault("save") {
///         return Err("the disk is full".to_owned());
///     }
///     # let _ = text;
///     Ok(())
/// }
///
/// testkit::systematic(10, || {
///     testkit::arm("save", When::Nth(2));
///     assert!(save("one").is_ok());
///     assert!(save("two").is_err());
///     assert!(save("three").is_ok());
/// });
/// ```
#[must_use]
pub fn fault(name: &str) -> bool {
    // Relaxed: the test's run arms it before the code under test runs, on the same thread or by a message.
    if !USED.load(Ordering::Relaxed) {
        return false;
    }
    let goes_wrong = Recorder::current().is_some_and(|recorder| recorder.notes().faults.reach(name));
    if goes_wrong {
        engset_runtime::observe::note(&format!("planted fault {name:?}"));
    }
    goes_wrong
}

/// A place where a test may plant a crash.
///
/// # Panics
///
/// If it is to go wrong now.
#[track_caller]
pub fn crash_point(name: &str) {
    assert!(!fault(name), "planted fault: {name}");
}

/// From now on the place with this name goes wrong, in this run.
///
/// # Panics
///
/// Outside of a run of the kit.
#[track_caller]
pub fn arm(name: &str, when: When) {
    super::recorder_here().arm(name, when);
}

impl Recorder {
    pub(super) fn arm(&self, name: &str, when: When) {
        USED.store(true, Ordering::Relaxed);
        self.notes().faults.armed.insert(name.to_owned(), when);
    }

    pub(super) fn disarm(&self, name: &str) {
        self.notes().faults.armed.remove(name);
    }
}

/// The place with this name does not go wrong any more, in this run.
///
/// # Panics
///
/// Outside of a run of the kit.
#[track_caller]
pub fn disarm(name: &str) {
    super::recorder_here().disarm(name);
}

/// How often the place with this name has been reached in this run, since something was armed for the first time.
///
/// # Panics
///
/// Outside of a run of the kit.
#[must_use]
#[track_caller]
pub fn reached(name: &str) -> u64 {
    super::recorder_here().notes().faults.reached.get(name).copied().unwrap_or(0)
}
