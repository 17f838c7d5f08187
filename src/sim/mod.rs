//! A whole cluster in one OS thread: nodes, their network, their disks, their clocks; everything by a seed, time virtual.
//!
//! A *scenario* starts nodes, lets time pass, and does what the world does to clusters: connections are cut, nodes crash and come
//! back, clocks jump, disks are slow. It runs under many seeds. Under one seed everything is the same each time: which process goes on, how
//! long bytes are on their way, what is lost in a crash. If an assertion fails, of the scenario or in a process, the test fails with that
//! seed and with one command that repeats it, with a trace of all signals.
//!
//! ```
//! use engset::{prelude::*, register_mailbox, remote, sim::{Here, Simulation}};
//! use std::time::Duration;
//!
//! // What each node runs: a server that doubles.
//! fn program(_: &Here) {
//!     spawn(|mut mailbox: Mailbox<Request>| {
//!         register_mailbox("doubler", &mailbox).unwrap();
//!         loop {
//!             let Request(number, reply) = mailbox.message();
//!             reply.send(2 * number);
//!         }
//!     });
//! }
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Request(u32, Reply<u32>);
//! impl remote::Remote for Request { const NAME: &'static str = "sim.Request"; }
//!
//! Simulation::new().seeds(5).run(|cluster| {
//!     remote::register::<Request>();
//!     cluster.program(program);
//!     cluster.start("a@1");
//!     cluster.start("b@2");
//!     let ask = |here: &Here| {
//!         let doubler = here.nodes.lookup::<Request>("b@2", "doubler").map_err(|error| error.to_string())?;
//!         doubler.call(|reply| Request(21, reply)).map_err(|error| error.to_string())
//!     };
//!     assert_eq!(cluster.call("a@1", ask), Ok(42));
//!     cluster.cut("a@1", "b@2");
//!     assert!(cluster.call("a@1", ask).is_err());
//!     cluster.heal_all();
//!     cluster.run_for(Duration::from_secs(20));
//!     assert_eq!(cluster.call("a@1", ask), Ok(42));
//! });
//! ```
//!
//! # What there is
//!
//! | of | |
//! |---|---|
//! | seeds, virtual time | [`Simulation`], [`Cluster::run_for`], [`Cluster::run_until`] |
//! | preemption | slices of a length that the seed draws, on each node |
//! | messages | [`Cluster::delay`]: bytes take a time that the seed draws, and arrive in pieces |
//! | the network | [`Cluster::cut`], [`Cluster::cut_one_way`] (a half-open connection), [`Cluster::partition`], [`Cluster::reset`], [`Cluster::swizzle`] |
//! | nodes | [`Cluster::crash`], [`Cluster::restart`], [`Cluster::pause`] |
//! | clocks | [`Cluster::jump`] |
//! | disks | [`Disk`]: slow, full, failing; a crash loses what was not synced |
//! | planted faults | [`Cluster::arm`], with [`testkit::fault`](crate::testkit::fault()) in the code |
//! | all of it by chance | [`Cluster::trouble`] |
//! | tiny programs, all interleavings | [`testkit::interleavings`](crate::testkit::interleavings()) |
//!
//! Connections are as TCP: nothing is reordered or lost within one; what is lost is lost with it. So there is no dropping of single bytes.
//! The environment, crashes and dead letters are as in the [test kit](crate::testkit), which this is made of.
//!
//! # What is not simulated
//!
//! Sockets other than those between nodes, files other than [`Disk`], threads. Nodes share no memory in the program under test; if it
//! uses statics, its nodes do.

mod cluster;
mod disk;

pub use cluster::{Cluster, Here, Trouble};
pub use disk::{Disk, DiskError};
#[doc(no_inline)]
pub use engset_stdlib::testkit::{Failure, When};

use engset_stdlib::testkit::Check;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A scenario's conditions: how many seeds, which crashes may be.
#[derive(Clone, Debug, Default)]
#[must_use = "it does nothing until it runs a scenario"]
pub struct Simulation {
    check: Check,
}

impl Simulation {
    /// 100 seeds, no crashes.
    pub fn new() -> Self {
        Self::default()
    }

    /// So many seeds. `ENGSET_SEEDS` overrides it.
    pub fn seeds(self, count: u64) -> Self {
        Simulation { check: self.check.seeds(count) }
    }

    /// Beginning with this one. Default 0. `ENGSET_SEED` overrides it.
    pub fn first_seed(self, seed: u64) -> Self {
        Simulation { check: self.check.first_seed(seed) }
    }

    /// Any number of processes may crash. (That a node crashes is no crash of its processes.)
    pub fn allow_crashes(self) -> Self {
        Simulation { check: self.check.allow_crashes() }
    }

    /// Runs the scenario under each seed.
    ///
    /// # Panics
    ///
    /// If it fails under one: with the seed and the command that repeats it.
    #[track_caller]
    pub fn run(self, scenario: impl Fn(&mut Cluster)) {
        self.check.runs(|seed, recording| one(seed, recording, &scenario));
    }

    /// The same with the failure as a value.
    ///
    /// # Errors
    ///
    /// The first failure.
    #[track_caller]
    pub fn try_run(self, scenario: impl Fn(&mut Cluster)) -> Result<(), Box<Failure>> {
        self.check.try_runs(|seed, recording| one(seed, recording, &scenario))
    }
}

fn one(
    seed: u64,
    recording: &engset_stdlib::testkit::Recording,
    scenario: &impl Fn(&mut Cluster),
) -> Result<(), String> {
    let mut cluster = Cluster::new(seed, recording);
    let result = catch_unwind(AssertUnwindSafe(|| scenario(&mut cluster)));
    cluster.end();
    result.map_err(|payload| {
        let text = payload.downcast_ref::<&'static str>().map(|text| (*text).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "the scenario panicked".to_owned())
    })
}
