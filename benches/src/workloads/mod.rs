//! The table of the workloads, and one file for each group of them.

use crate::{
    measure::{Failure, Figure},
    options::{Key, Options},
};
use engset::{Config, Node};

mod spawn;

/// One job, defined once for every runtime that is measured.
#[derive(Debug)]
pub struct Workload {
    /// What it is called, here and in the output.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// What can be chosen, besides the number of threads.
    pub keys: &'static [Key],
    /// Does it.
    pub run: fn(&Node, &Options) -> Result<Vec<Figure>, Failure>,
    silent: bool,
}

impl Workload {
    /// The node's settings for this workload.
    #[must_use]
    pub fn config(&self, config: Config) -> Config {
        if self.silent { config.crash_reports_per_second(0) } else { config }
    }
}

const KIND: Key = Key::word("kind", &["plain", "server"], "functions with a stack, or servers without");

/// All of them.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "spawn",
        about: "one process spawns n, one after the other; each sends a message and ends",
        keys: &[Key::number("n", 1_000_000, "processes"), KIND],
        run: spawn::spawn,
        silent: false,
    },
    Workload {
        name: "idle",
        about: "n processes answer one message and wait for another one; memory and time",
        keys: &[Key::number("n", 1_000_000, "processes"), KIND],
        run: spawn::idle,
        silent: false,
    },
    Workload {
        name: "skynet",
        about: "a tree of processes with 10^depth leaves, summed up",
        keys: &[Key::number("depth", 6, "levels below the root"), KIND],
        run: spawn::skynet,
        silent: false,
    },
];
