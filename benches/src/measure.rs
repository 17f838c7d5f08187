//! What the workloads share: a first process with a mailbox, and figures.

#![allow(
    clippy::disallowed_methods,
    reason = "tests and benchmarks look at the real clock and block real threads"
)]

use engset::{BuildError, Mailbox, Node};
use std::{
    borrow::Cow,
    fmt, fs,
    sync::mpsc,
    time::{Duration, Instant},
};

/// One line of the output.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    name: Cow<'static, str>,
    value: f64,
    unit: &'static str,
}

impl Figure {
    pub(crate) fn new(name: impl Into<Cow<'static, str>>, value: f64, unit: &'static str) -> Self {
        Figure { name: name.into(), value, unit }
    }

    /// So many in this time, for each second.
    pub(crate) fn rate(name: &'static str, count: u64, time: Duration, unit: &'static str) -> Self {
        Self::new(name, count as f64 / time.as_secs_f64(), unit)
    }

    /// Nanoseconds for each of so many.
    pub(crate) fn each(name: &'static str, count: u64, time: Duration) -> Self {
        Self::new(name, time.as_nanos() as f64 / count as f64, "ns")
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = if self.value.abs() >= 1000.0 { 0 } else { 2 };
        write!(f, "{} {:.decimals$} {}", self.name, self.value, self.unit)
    }
}

/// Why there are no figures.
#[derive(Debug)]
pub enum Failure {
    /// The first process could not be spawned.
    Spawn(BuildError),
    /// It crashed: something came that should not have. The node has reported what.
    Crashed,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Spawn(error) => write!(f, "the first process: {error}"),
            Failure::Crashed => f.write_str("the workload has crashed"),
        }
    }
}

impl std::error::Error for Failure {}

/// Runs a function in the first process of a workload, and waits outside of the runtime for what it returns.
///
/// As `engset::run`, but with a mailbox.
pub(crate) fn first_process<M: Send + 'static, T: Send + 'static>(
    node: &Node,
    job: impl FnOnce(Mailbox<M>) -> T + Send + 'static,
) -> Result<T, Failure> {
    let (sender, result) = mpsc::channel();
    // If nobody waits for the result any more there is nobody to tell.
    node.spawn(move |mailbox: Mailbox<M>| drop(sender.send(job(mailbox)))).map_err(Failure::Spawn)?;
    result.recv().map_err(|_| Failure::Crashed)
}

/// How long a function takes, and what it returns.
pub(crate) fn timed<T>(job: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = job();
    (start.elapsed(), result)
}

/// Bytes of this program that are in memory.
///
/// # Panics
///
/// If the system does not tell (it is not Linux).
pub(crate) fn resident() -> u64 {
    let status =
        fs::read_to_string("/proc/self/status").unwrap_or_else(|error| panic!("/proc/self/status: {error}"));
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok());
    1024 * kilobytes.unwrap_or_else(|| panic!("/proc/self/status tells no VmRSS"))
}

/// The value that this share of a sorted list does not exceed.
pub(crate) fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_values_are_whole() {
        let line = |value| Figure::new("rate", value, "/s").to_string();
        assert_eq!(line(1234.56), "rate 1235 /s");
        assert_eq!(line(12.345), "rate 12.35 /s");
    }

    #[test]
    fn quantiles_are_values_of_the_list() {
        let list: Vec<_> = (1..=100).map(Duration::from_micros).collect();
        assert_eq!(quantile(&list, 0.5), Duration::from_micros(50));
        assert_eq!(quantile(&list, 0.99), Duration::from_micros(99));
        assert_eq!(quantile(&list, 1.0), Duration::from_micros(100));
        assert_eq!(quantile(&list[..1], 0.5), Duration::from_micros(1));
    }
}
