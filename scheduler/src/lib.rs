//! The M:N scheduler of engset: tasks with mailboxes on a few worker threads.
//!
//! This crate is the lower half of the runtime. Programs use `engset`.
//!
//! # The parts, in order of reading
//!
//! | module | idea |
//! |---|---|
//! | `task` | what a task is to this crate; the seam to the crate above |
//! | `envelope`, `depot`, `place` | what travels between tasks; where its memory comes from, and that of other small things |
//! | `slot`, `slab`, `owner` | a task's record; the table; whose it is |
//! | `remote_queue`, `inbox`, `parker`, `custody`, `flushing`, `room` | the lock-free protocols (with `owner`, all of them) |
//! | `bundle`, `mailbag`, `stock` | many messages under one link; used again |
//! | `carrier`, `stack`, `overflow` | stacks: what runs on them, where they are, what if one is used up |
//! | `worker` | the loop, delivery, waiting, timers, balance |
//! | `timer_wheel`, `blocks`, `region` | a worker's timers; arrays that grow without moving; address space for them and for cells |
//! | `watchdog`, `thread_clock` | the time limit of slices; stuck workers |
//! | `home` | on which CPU a worker wakes up |
//! | `driver` | the seam to sockets: what a worker waits in |
//! | `clock`, `blocking`, `metrics`, `config` | as they say |
//! | `scheduler`, `current` | the interface from outside, and from within a task |
//! | `shared` | what all workers share, and how they reach each other |
//!
//! # Invariants
//!
//! * It knows tasks and envelopes; it knows no process identifiers, links, names or nodes.
//! * A task belongs to one worker at a time. A stack never changes its thread.
//! * No lock is taken on the way of a message between two tasks, but the depot's, once in
//!   a hundred messages.
//! * Nothing reads the clock or draws a random number but through `clock`.

// Lock-free protocols; the loom models use them as they are.
#[doc(hidden)]
pub mod custody;
#[doc(hidden)]
pub mod flushing;
#[doc(hidden)]
pub mod inbox;
#[doc(hidden)]
pub mod owner;
#[doc(hidden)]
pub mod parker;
#[doc(hidden)]
pub mod remote_queue;
#[doc(hidden)]
pub mod room;
#[doc(hidden)]
pub mod sync;

#[cfg(not(loom))]
mod blocking;
#[cfg(not(loom))]
mod blocks;
#[cfg(not(loom))]
mod body;
#[cfg(not(loom))]
mod bundle;
#[cfg(not(loom))]
mod carrier;
#[cfg(not(loom))]
mod choice;
#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
mod config;
#[cfg(not(loom))]
pub mod current;
#[cfg(not(loom))]
mod depot;
#[cfg(not(loom))]
pub mod driver;
#[cfg(not(loom))]
mod envelope;
#[cfg(not(loom))]
mod extension;
#[cfg(not(loom))]
mod home;
#[cfg(not(loom))]
mod mailbag;
#[cfg(not(loom))]
mod metrics;
#[cfg(not(loom))]
mod overflow;
#[cfg(not(loom))]
mod own;
#[cfg(not(loom))]
mod place;
#[cfg(not(loom))]
mod region;
#[cfg(not(loom))]
mod ring;
#[cfg(not(loom))]
mod run_queue;
#[cfg(not(loom))]
mod scheduler;
#[cfg(not(loom))]
mod shared;
#[cfg(not(loom))]
mod slab;
#[cfg(not(loom))]
mod slot;
#[cfg(not(loom))]
mod stack;
#[cfg(not(loom))]
mod stock;
#[cfg(not(loom))]
mod stopwatch;
#[cfg(not(loom))]
mod task;
#[cfg(not(loom))]
mod thread_clock;
#[cfg(not(loom))]
mod timer_wheel;
#[cfg(not(loom))]
mod watchdog;
#[cfg(not(loom))]
mod worker;

#[cfg(not(loom))]
pub use {
    body::OwnedBody,
    choice::{Choice, Guide, Script},
    clock::Random,
    config::{Config, MAX_WORKERS, Priority, Settings},
    envelope::{Envelope, Kind},
    extension::Extension,
    metrics::WorkerMetrics,
    overflow::LabelBuf,
    scheduler::{Scheduler, SpawnError, StartError},
    slab::MAX_TASKS,
    task::{Body, Doomed, Handled, Hooks, LongSchedule, Outcome, Seen, Step, TaskId},
    worker::{Lender, TimerHandle},
};

/// Bytes that messages' cells take up in this OS process now, free ones included.
#[cfg(not(loom))]
#[must_use]
pub fn envelope_memory() -> usize {
    depot::allocated_bytes()
}
