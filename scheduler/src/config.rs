//! Settings of a scheduler: every limit with its unit, default and reason.

use crate::choice::Script;
use std::{sync::Arc, time::Duration};

/// Settings of a scheduler.
#[derive(Clone, Debug)]
pub struct Config {
    /// Worker threads. Default: one for each CPU. 1 to [`MAX_WORKERS`].
    pub workers: usize,
    /// The most tasks that may live at a time. Default 4,194,304 (address space: 128 B each).
    pub max_tasks: u32,
    /// Stack of a task if it does not ask otherwise, in bytes of address space; memory is committed by
    /// use. Default 256 KiB.
    pub stack_size: usize,
    /// Reductions of a time slice. Default 4000, as in Erlang.
    pub slice: u32,
    /// A task that has run for longer than this ends its slice at its next reduction point. Default 1 ms.
    pub slice_time: Duration,
    /// A task that has reached no reduction point for this long is reported, and its worker's other
    /// work is given to a spare thread. Default 10 ms.
    pub stuck_after: Duration,
    /// Spare threads that may exist for stuck workers. Default 64.
    pub max_spares: usize,
    /// How long an idle worker looks for work before it sleeps. Default 20 µs: about what it costs to
    /// wake a sleeping CPU.
    pub spin: Duration,
    /// The most threads for blocking calls. Default 128.
    pub blocking_threads: usize,
    /// How long a blocking thread without work stays. Default 10 s.
    pub blocking_keep: Duration,
    /// Messages in a mailbox at which [`crate::Hooks::long_queue`] is called; 0: never. Default 0. With one that is no multiple of 64 each
    /// send looks at the length.
    pub queue_alarm: u32,
    /// Systematic mode: one thread, virtual time, choices from this seed. Default: off.
    pub seed: Option<u64>,
    /// Systematic mode with this script in place of a seed, which decides about random numbers only. Default: none.
    pub script: Option<Arc<Script>>,
    /// [`crate::Hooks::observed`] is called. Default: no.
    pub observed: bool,
    /// A number that the user of this crate wants to find again (`current::tag`).
    pub tag: u32,
    /// Name of the threads.
    pub name: String,
}

/// The most worker threads, spare ones included.
pub const MAX_WORKERS: usize = 250;

impl Default for Config {
    fn default() -> Self {
        Config {
            workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MAX_WORKERS),
            max_tasks: 1 << 22,
            stack_size: 256 * 1024,
            slice: 4000,
            slice_time: Duration::from_millis(1),
            stuck_after: Duration::from_millis(10),
            max_spares: 64,
            spin: Duration::from_micros(20),
            blocking_threads: 128,
            blocking_keep: Duration::from_secs(10),
            queue_alarm: 0,
            seed: None,
            script: None,
            observed: false,
            tag: 0,
            name: "engset".into(),
        }
    }
}

/// Settings of a task.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// When it is chosen.
    pub priority: Priority,
    /// Its stack in bytes; `None`: the scheduler's default.
    pub stack_size: Option<usize>,
    /// Mark it: [`crate::current::is_marked`] finds the mark.
    pub marked: bool,
    /// A flag for the hooks of the crate above: [`crate::current::is_subject_flagged`] finds it.
    pub flagged: bool,
    /// Start it on the next worker in turn, and not on the one that spawns it.
    pub spread: bool,
}

/// When a task is chosen among those that can run on a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Priority {
    /// Before all others. For what keeps the system alive.
    Max = 0,
    /// Before normal and low ones.
    High = 1,
    /// The default.
    #[default]
    Normal = 2,
    /// Interleaved with normal ones, one turn to their eight.
    Low = 3,
}
