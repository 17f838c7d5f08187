//! What the system says of this program: memory, descriptors, threads; and the node: processes, timers.

#![allow(clippy::disallowed_methods, reason = "it measures real time, outside of the runtime")]

use super::Check;
use engset::Node;
use std::{
    fmt,
    time::{Duration, Instant},
};

/// Processes that speak with another node: they come with the first connection, and stay.
const SPEAKERS: usize = 2;

/// One look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Processes of the first node.
    pub processes: usize,
    /// One-shot timers that were set on it and have neither fired nor been cancelled cannot be seen; those set so far.
    pub timers: u64,
    /// Memory mappings: stacks that are not given back would show.
    pub mappings: usize,
}

fn entries(path: &str) -> usize {
    std::fs::read_dir(path).map_or(0, Iterator::count)
}

impl Sample {
    /// Looks.
    #[must_use]
    pub fn take(node: &Node) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 =
            resident.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
        let mappings = std::fs::read_to_string("/proc/self/maps").unwrap_or_default().lines().count();
        Sample {
            resident: kib * 1024,
            // The directory itself is one while it is read.
            descriptors: entries("/proc/self/fd").saturating_sub(1),
            threads: entries("/proc/self/task"),
            processes: node.processes().len(),
            timers: node.metrics().iter().map(|worker| worker.timers).sum(),
            mappings,
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} MiB, {} descriptors, {} threads, {} processes, {} mappings",
            self.resident as f64 / 1048576.0,
            self.descriptors,
            self.threads,
            self.processes,
            self.mappings
        )
    }
}

/// Waits until all is as before, at most half a minute; the last look.
pub(super) fn settle(node: &Node, before: &Sample) -> Sample {
    let start = Instant::now();
    loop {
        let sample = Sample::take(node);
        let settled =
            sample.processes <= before.processes + SPEAKERS && sample.descriptors <= before.descriptors;
        if settled || start.elapsed() > Duration::from_secs(30) {
            return sample;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn mean(samples: &[Sample]) -> f64 {
    samples.iter().map(|sample| sample.resident as f64).sum::<f64>() / samples.len().max(1) as f64
}

/// Bytes a second, by least squares over the second half.
fn slope(samples: &[Sample]) -> f64 {
    let half = &samples[samples.len() / 2..];
    let middle = (half.len() as f64 - 1.0) / 2.0;
    let mean = mean(half);
    let (mut above, mut below) = (0.0, 0.0);
    for (at, sample) in half.iter().enumerate() {
        let x = at as f64 - middle;
        above += x * (sample.resident as f64 - mean);
        below += x * x;
    }
    if below == 0.0 { 0.0 } else { above / below }
}

/// What must hold of them.
pub(super) fn checks(samples: &[Sample], before: &Sample, after: &Sample, growth: u64) -> Vec<Check> {
    let slope = slope(samples);
    let grown = slope * samples.len() as f64 / 2.0;
    let most = samples.iter().map(|sample| sample.descriptors).max().unwrap_or(0);
    vec![
        Check {
            name: "memory",
            holds: grown <= growth as f64,
            figures: format!(
                "{:.1} MiB at the end, slope of the second half {:.1} KiB/s, {:.1} MiB in all of it",
                samples.last().map_or(0, |sample| sample.resident) as f64 / 1048576.0,
                slope / 1024.0,
                grown / 1048576.0
            ),
        },
        Check {
            name: "processes",
            holds: after.processes <= before.processes + SPEAKERS,
            figures: format!(
                "{} before, {} after, {SPEAKERS} of them for the other node",
                before.processes, after.processes
            ),
        },
        Check {
            name: "descriptors",
            holds: after.descriptors <= before.descriptors,
            figures: format!("{} before, at most {most}, {} after", before.descriptors, after.descriptors),
        },
        Check {
            name: "threads",
            // Threads for blocking calls may stay for a while.
            holds: after.threads <= before.threads + 2,
            figures: format!("{} before, {} after", before.threads, after.threads),
        },
        Check {
            name: "stacks",
            // Stacks are cut from regions, which stay; there must not be more and more of them.
            holds: samples.last().is_none_or(|last| {
                let middle = &samples[samples.len() / 2];
                last.mappings <= middle.mappings + middle.mappings / 4 + 64
            }),
            figures: format!(
                "{} mappings in the middle, {} at the end",
                samples.get(samples.len() / 2).map_or(0, |sample| sample.mappings),
                samples.last().map_or(0, |sample| sample.mappings)
            ),
        },
    ]
}
