//! The lock-free protocols of `engset-scheduler`, checked by the loom model checker.
//!
//! Loom runs a small program again and again, with every interleaving of its threads (up to a number of
//! preemptions) and every value that the memory model lets a load return. The files of the protocols are
//! used as they are: under `--cfg loom` the scheduler takes its atomics from loom (`scheduler/src/sync.rs`).
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release -p engset-loom-tests
//! ```
//!
//! **Without that cfg this crate is empty**: `cargo test` reports `0 tests` here, and has checked nothing.
//! `LOOM_MAX_PREEMPTIONS=3` (or more) overrides the bound that each test has chosen so that the whole
//! set takes a minute or two on two cores. What loom needs to follow one failing execution:
//! `LOOM_LOG=trace LOOM_LOCATION=1` (see its documentation).
//!
//! | module | race |
//! |---|---|
//! | `remote_queue` | pushes against takes; late mail against the next life of the slot |
//! | `inbox` | a token against a worker that goes to sleep, or wakes for another reason |
//! | `parker` | unpark before, during and after park |
//! | `departure` | flushes against a task, or its sender, that is given away |
//! | `owner` | a task (and its sender) that moves, against those who send to it |
//! | `custody` | a worker that enters a section against a rescuer |
//! | `exit_race` | a monitor's request against the end of its target |
//! | `hand_over` | the watchdog gives a stuck worker's task away, against senders and the worker's return |
//! | `room` | room in a bounded mailbox comes back, against senders that find none, wait, or give up |
//! | `steal` | two givers against one idle worker |
//!
//! `parts` is what surrounds the protocols, in miniature.
//!
//! What is *not* here:
//!
//! * Cancelling a timer against its firing: there is no such race. Each timer wheel is private to one
//!   worker; a cancellation from elsewhere is an order to that worker (`scheduler/src/worker/timers.rs`),
//!   and orders travel as all mail does (`remote_queue`, `inbox`).
//! * The generations of the process table: they are the slots' serial numbers, see `remote_queue` and
//!   `exit_race`.
//! * Timeouts of `Parker::park`: loom has no clock. `inbox` stands in for one by an unpark without a token.
//! * `membarrier`: `custody` has a sequentially consistent fence for both of its barriers.
//! * Reordering of a load behind a later store of the same thread (load buffering): loom does not explore
//!   it. `parts` therefore asks for a happens-before edge wherever one thread's use of a token's link must
//!   come before another's.

#[cfg(all(test, loom))]
mod custody;
#[cfg(all(test, loom))]
mod departure;
#[cfg(all(test, loom))]
mod exit_race;
#[cfg(all(test, loom))]
mod hand_over;
#[cfg(all(test, loom))]
mod inbox;
#[cfg(all(test, loom))]
mod owner;
#[cfg(all(test, loom))]
mod parker;
#[cfg(all(test, loom))]
mod parts;
#[cfg(all(test, loom))]
mod remote_queue;
#[cfg(all(test, loom))]
mod room;
#[cfg(all(test, loom))]
mod steal;
