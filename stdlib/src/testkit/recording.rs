//! For drivers of their own: several nodes, a simulated network. The kit gives seeds, the trace, crashes, faults and the command that
//! repeats a failure; the driver starts the nodes and lets them run. `engset::sim` is one.

use super::{
    check::Check,
    failure::{Cause, Failure},
    log::Capture,
    recorder::{Crash, Recorder},
    replay::{self, Replay},
    trace,
};
use crate::testkit::When;
use engset_runtime::{NodeId, observe::Observer};
use std::{panic::Location, sync::Arc};

/// What is recorded of one run: give its [observer](Recording::observer) to each node of the run.
pub struct Recording {
    recorder: Arc<Recorder>,
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording").finish_non_exhaustive()
    }
}

impl Recording {
    /// The observer for [`Config::observer`](engset_runtime::Config::observer). With it [`fault`](super::fault()), [`arm`](super::arm)
    /// and the expectations of the kit work on the node.
    #[must_use]
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.recorder) as _
    }

    /// Processes of this node are shown with this name.
    pub fn name_node(&self, node: NodeId, name: &str) {
        self.recorder.notes().nodes.insert(node, name.to_owned());
    }

    /// From now on the place with this name goes wrong, on all nodes of the run: [`arm`](super::arm).
    pub fn arm(&self, name: &str, when: When) {
        self.recorder.arm(name, when);
    }

    /// It does not any more.
    pub fn disarm(&self, name: &str) {
        self.recorder.disarm(name);
    }

    /// Crashes so far that nobody has expected.
    #[must_use]
    pub fn crashes(&self) -> Vec<Crash> {
        self.recorder.notes().crashes.iter().map(|(_, crash)| crash.clone()).collect()
    }

    /// What has happened so far, a line for each thing.
    #[must_use]
    pub fn trace(&self) -> String {
        trace::text(&self.recorder.notes())
    }
}

impl Check {
    /// Runs a driver under each seed: it starts nodes with the recording's observer, lets them run, and says what is wrong. Of the
    /// check's conditions those count that are about seeds, crashes and dead letters.
    ///
    /// # Errors
    ///
    /// The first failure.
    ///
    /// # Panics
    ///
    /// If a variable of the environment is no number.
    #[track_caller]
    pub fn try_runs(&self, run: impl Fn(u64, &Recording) -> Result<(), String>) -> Result<(), Box<Failure>> {
        let at = Location::caller();
        let (seeds, replays) = self.seeds_to_run();
        let capture = Capture::new();
        capture.on_this_thread(|| {
            for seed in seeds {
                capture.begin();
                let recording = Recording { recorder: Recorder::new(seed, None) };
                let result = run(seed, &recording).map_err(Cause::Scenario);
                let result = result.and_then(|()| self.judge_crashes(&recording.recorder));
                result.map_err(|cause| {
                    let cause = (cause.with(recording.crashes()), recording.trace());
                    Failure::new(cause, Replay::Seed(seed), at, replays)
                })?;
            }
            Ok(())
        })
    }

    /// The same.
    ///
    /// # Panics
    ///
    /// If it fails under a seed: with that seed, and the command that repeats it.
    #[track_caller]
    pub fn runs(&self, run: impl Fn(u64, &Recording) -> Result<(), String>) {
        if let Err(failure) = self.try_runs(run) {
            failure.raise();
        }
    }

    fn seeds_to_run(&self) -> (std::ops::Range<u64>, bool) {
        let (first, count) = self.seed_range();
        replay::seeds(first, count)
    }
}
