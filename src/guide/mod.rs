//! How to use engset, topic by topic. Every example here is compiled and run as a test.
//!
//! | chapter | what it answers |
//! |---|---|
//! | [`processes`] | what a process is, how it starts and ends, why `spawn` is safe |
//! | [`messages`] | mailboxes, calls, order, selective receive, bounds, names, timers |
//! | [`links`] | what happens when a process crashes, and who learns of it |
//! | [`blocking`] | files, foreign libraries, futures, threads that are no processes |
//! | [`preemption`] | reductions, long computations, what cannot be interrupted |
//! | [`testing`] | seeds, virtual time, deadlocks that are found |
//! | [`tuning`] | settings, stack sizes, priorities, what to look at |
//!
//! Nodes that talk to each other have a page of their own, `docs/nodes.md`.
//!
//! The program `examples/index` in the repository uses most of it. What exactly is promised, and what is not,
//! stands in `docs/semantics.md`; how it works, in `docs/architecture.md`.

pub mod blocking;
pub mod links;
pub mod messages;
pub mod preemption;
pub mod processes;
pub mod testing;
pub mod tuning;

/// The examples of the read-me file are tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// And those of the page about nodes.
#[cfg(doctest)]
#[doc = include_str!("../../docs/nodes.md")]
struct Nodes;
