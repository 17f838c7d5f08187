//! For tests of programs made of processes: many interleavings, virtual time, probes, expectations.
//!
//! ```
//! use engset_runtime::{Address, Mailbox, spawn};
//! use engset_stdlib::testkit::{self, Probe};
//!
//! // The code under test: it greets whom it is told of.
//! fn greeter(mut mailbox: Mailbox<(String, Address<String>)>) {
//!     loop {
//!         let (name, to) = mailbox.message();
//!         to.send(format!("hello, {name}"));
//!     }
//! }
//!
//! testkit::systematic(50, || {
//!     let mut probe = Probe::new();
//!     let greeter = spawn(greeter);
//!     greeter.send(("Agner".to_owned(), probe.address()));
//!     probe.expect("hello, Agner".to_owned());
//! });
//! ```
//!
//! # Which one when
//!
//! | for | take |
//! |---|---|
//! | a test under many interleavings, each of which can be repeated by its seed | [`systematic`] |
//! | all interleavings of a tiny program whose order matters | [`interleavings`] |
//! | all schedules of a tiny program with few interruptions | [`exhaustive`] |
//! | the same on threads; limits, leaks, crashes that may be | [`Check`] |
//! | a process that the test plays | [`Probe`] |
//! | crashes, dead letters, log events that belong to the test | [`expect_crash`], [`expect_dead_letters`], [`expect_log`] |
//! | a place in the code that goes wrong when the test says so | [`fault()`], [`crash_point`], [`arm`] |
//! | a line of one's own in the trace | [`note`] |
//!
//! # What fails a test
//!
//! The test is a process of a fresh node. It fails if that process ends otherwise than normally; if another process
//! crashes and that was not expected (an exit of another kind is none of the kit's business; link with the process if it
//! shall end the test); if the test waits and nothing can ever happen; if it takes too long. Then the test panics with the cause, the
//! seed, and one command that runs this test with this seed only. Run so, it prints a trace: who spawns, sends, receives, crashes
//! and ends, with the virtual time.
//!
//! # Time
//!
//! In systematic and exhaustive runs time is virtual, and needs no hand to move it: when no process can run it jumps to
//! the next timer. So a test [sleeps](engset_runtime::sleep) for an hour to let an hour pass, in no time; a timeout in the code under test
//! comes when nothing else can happen. On threads ([`Check::threaded`]) time is real and cannot be moved: there
//! is one clock for all nodes of a program, and native code between two calls takes the time that it takes.
//!
//! # The environment
//!
//! | variable | meaning |
//! |---|---|
//! | `ENGSET_SEEDS` | how many seeds |
//! | `ENGSET_SEED` | the first one; without `ENGSET_SEEDS` the only one, with a trace if it fails |
//! | `ENGSET_SCHEDULE` | the only schedule of an exhaustive test, with a trace if it fails |
//!
//! They hold for all tests that run: name one, as the printed command does.
//!
//! # What is not seen
//!
//! Real clocks, random numbers of other sources, hash maps of the standard library, threads and files are not repeated. Processes
//! are interrupted at reduction points only, so what two of them do with an atomic or a lock between two such points
//! is one step.

mod check;
mod expect;
mod explorer;
mod failure;
pub(crate) mod fault;
mod log;
mod probe;
mod recorder;
mod recording;
mod replay;
mod trace;

pub use self::{
    check::{Check, Explored},
    expect::{CrashPattern, expect_crash, expect_dead_letters},
    failure::{Cause, Failure, Waiting},
    fault::{When, arm, crash_point, disarm, fault, reached},
    log::expect_log,
    probe::Probe,
    recorder::Crash,
    recording::Recording,
    replay::Replay,
};
pub use engset_runtime::observe::{note, touch};

use recorder::Recorder;
use std::{sync::Arc, time::Duration};

/// How long expectations wait if they are not told otherwise. Virtual in systematic runs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Runs a test under so many seeds, each an interleaving of its own on a fresh node, with virtual time. With other conditions:
/// [`Check::systematic`].
///
/// ```
/// use engset_stdlib::{Agent, testkit};
///
/// testkit::systematic(100, || {
///     let total = Agent::start_link(0).unwrap();
///     let adders: Vec<_> = (1..=3)
///         .map(|number| engset_runtime::spawn_monitor(move || total.update(move |sum| *sum += number).unwrap()))
///         .collect();
///     while adders.iter().any(|(pid, _)| engset_runtime::is_alive(*pid)) {
///         engset_runtime::yield_now();
///     }
///     assert_eq!(total.get(|sum| *sum), Ok(6));
/// });
/// ```
///
/// # Panics
///
/// If it fails under a seed: with that seed, and the command that repeats it.
#[track_caller]
pub fn systematic(seeds: u64, test: impl Fn() + Send + Sync + 'static) {
    Check::new().seeds(seeds).systematic(test);
}

/// Runs a test by every schedule that deviates at most so many times from the plain one, in which a process goes on until it
/// waits, and then the one that has been ready for the longest time has its turn. To interrupt a process is a
/// deviation, and to let another one go on than the one whose turn it is. For small programs: the number of
/// schedules grows with the length of the run to the power of the bound. Most errors need no more than two or three deviations.
/// With other conditions, another way of counting among them: [`Check::exhaustive`].
///
/// A moment at which a process may be interrupted is a reduction point: after a send or a spawn, before a receive, at
/// [`reduce`](engset_runtime::reduce). Timers fire only when nothing can run. No two schedules are the same, but schedules whose
/// difference does not matter are all tried: [`interleavings`] leaves them out.
///
/// ```
/// use engset_runtime::{reduce, spawn};
/// use engset_stdlib::testkit::{self, Check};
/// use std::{sync::Arc, sync::atomic::{AtomicU32, Ordering::SeqCst}, time::Duration};
///
/// fn two_increments() {
///     let value = Arc::new(AtomicU32::new(0));
///     for _ in 0..2 {
///         let value = Arc::clone(&value);
///         spawn(move || {
///             let read = value.load(SeqCst);
///             reduce(1); // here it may be interrupted
///             value.store(read + 1, SeqCst);
///         });
///     }
///     engset_runtime::sleep(Duration::from_secs(1));
///     assert_eq!(value.load(SeqCst), 2, "an update is lost");
/// }
///
/// assert!(testkit::exhaustive(0, two_increments).complete, "without deviations it works");
/// let failure = Check::new().try_exhaustive(1, two_increments).unwrap_err();
/// assert!(failure.to_string().contains("an update is lost"));
/// ```
///
/// # Panics
///
/// If it fails by a schedule: with the command that repeats it. And if there are more than a million schedules.
#[track_caller]
pub fn exhaustive(deviations: u32, test: impl Fn() + Send + Sync + 'static) -> Explored {
    Check::new().exhaustive(deviations, test)
}

/// Runs a test by all its interleavings, without a bound, but for those that differ only in the order of steps that have nothing to do
/// with each other: partial-order reduction, as Concuerror does it for Erlang. What processes do between two reduction points is one step.
/// Two steps are ordered if both touch the same mailbox, name, table, registry, group, or the same [`touch`]ed object. What a program shares in
/// other ways (atomics, locks, statics) it must [`touch`], or interleavings are left out. With other conditions: [`Check::interleavings`].
///
/// A lost update, with a cell that is a process:
///
/// ```
/// use engset_runtime::{Flow, Received, Reply, serve_with, spawn_monitor, Mailbox};
/// use engset_stdlib::testkit::Check;
///
/// enum Cell { Get(Reply<u32>), Set(u32) }
///
/// fn two_increments() {
///     let cell = serve_with(0, |value, received| {
///         match received {
///             Received::Message(Cell::Get(reply)) => reply.send(*value),
///             Received::Message(Cell::Set(new)) => *value = new,
///             Received::Event(_) => {}
///         }
///         Flow::Continue
///     });
///     let (_, waiting) = spawn_monitor(move |mut mailbox: Mailbox<()>| {
///         for _ in 0..2 {
///             spawn_monitor(move || {
///                 let value = cell.call(Cell::Get).unwrap();
///                 cell.send(Cell::Set(value + 1));
///             });
///         }
///         for _ in 0..2 {
///             mailbox.receive();
///         }
///         assert_eq!(cell.call(Cell::Get), Ok(2), "an update is lost");
///     });
///     # let _ = waiting;
/// }
///
/// let failure = Check::new().try_interleavings(two_increments).unwrap_err();
/// assert!(failure.to_string().contains("an update is lost"), "{failure}");
/// ```
///
/// # Panics
///
/// If it fails by a schedule: with the command that repeats it. And if there are more than a million schedules.
#[track_caller]
pub fn interleavings(test: impl Fn() + Send + Sync + 'static) -> Explored {
    Check::new().interleavings(test)
}

/// The recorder of this run.
#[track_caller]
fn recorder_here() -> Arc<Recorder> {
    match Recorder::current() {
        Some(recorder) => recorder,
        None => panic!(
            "this works only in a process of a test that the kit runs (testkit::systematic, for example)"
        ),
    }
}

/// Waits, at most for this time, until something holds. Does it?
fn eventually(most: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = engset_runtime::now().saturating_add(most);
    loop {
        if holds() {
            return true;
        }
        if engset_runtime::now() >= end {
            return false;
        }
        engset_runtime::sleep(Duration::from_millis(1));
    }
}
