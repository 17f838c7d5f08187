//! The jobs of a comparison: a workload, its sizes, and the figure of it that is compared.
//!
//! The sizes are the same for all, small enough for the slowest, and large enough that the fastest is not done within
//! some milliseconds. `--quick` only shows that everything runs.

/// What is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Better {
    Higher,
    Lower,
}

/// One row of the comparison.
#[derive(Debug)]
pub(super) struct Job {
    /// What it is called here: the workload, and what is particular.
    pub(super) name: &'static str,
    pub(super) workload: &'static str,
    args: &'static [&'static str],
    quick: &'static [&'static str],
    /// The figure that is compared.
    pub(super) figure: &'static str,
    pub(super) better: Better,
    /// What the bar in the chart counts, per second; `idle`: per GB.
    pub(super) counts: &'static str,
    /// Such a bar for a value of the figure.
    pub(super) bar: fn(f64) -> f64,
    /// Is there another program of engset's for servers?
    pub(super) server: bool,
}

impl Job {
    pub(super) fn args(&self, quick: bool) -> &'static [&'static str] {
        if quick { self.quick } else { self.args }
    }
}

const fn job(name: &'static str, figure: &'static str, better: Better) -> Job {
    let (counts, bar): (_, fn(f64) -> f64) = match better {
        Better::Higher => ("per second", |rate| rate),
        Better::Lower => ("per second", |nanoseconds| 1e9 / nanoseconds),
    };
    Job { name, workload: name, args: &[], quick: &[], figure, better, counts, bar, server: true }
}

/// All of them.
pub(super) const JOBS: &[Job] = &[
    Job {
        args: &["n=500000"],
        quick: &["n=2000"],
        counts: "spawns per second",
        ..job("spawn", "rate", Better::Higher)
    },
    Job {
        args: &["n=200000"],
        quick: &["n=2000"],
        counts: "processes per GB",
        bar: |bytes| 1e9 / bytes,
        ..job("idle", "bytes", Better::Lower)
    },
    Job {
        args: &["n=1000000"],
        quick: &["n=2000"],
        counts: "round trips per second",
        ..job("pingpong", "rtt", Better::Lower)
    },
    Job {
        args: &["n=50000"],
        quick: &["pairs=4", "n=1000"],
        counts: "messages per second",
        ..job("pairs", "rate", Better::Higher)
    },
    Job {
        args: &["n=50000"],
        quick: &["senders=4", "n=1000"],
        counts: "messages per second",
        ..job("fanin", "rate", Better::Higher)
    },
    Job {
        workload: "fanin",
        args: &["n=50000", "bound=1000"],
        quick: &["senders=4", "n=1000", "bound=100"],
        counts: "messages per second",
        ..job("fanin-bounded", "rate", Better::Higher)
    },
    Job {
        args: &["hops=2000000"],
        quick: &["hops=5000"],
        counts: "hops per second",
        ..job("ring", "hop", Better::Lower)
    },
    Job {
        args: &["hops=1000000"],
        quick: &["size=500", "hops=5000"],
        counts: "hops per second",
        ..job("bigring", "hop", Better::Lower)
    },
    Job {
        args: &["pings=1000"],
        quick: &["n=32", "pings=50"],
        counts: "messages per second",
        ..job("big", "rate", Better::Higher)
    },
    Job {
        args: &["depth=5"],
        quick: &["depth=2"],
        counts: "leaves per second",
        bar: |milliseconds| 1e5 / (milliseconds / 1e3),
        ..job("skynet", "time", Better::Lower)
    },
    Job {
        args: &["n=300000"],
        quick: &["n=2000"],
        counts: "calls per second",
        ..job("call", "rtt", Better::Lower)
    },
    Job {
        args: &["n=500000"],
        quick: &["n=2000"],
        counts: "timers per second",
        server: false,
        ..job("timers", "set", Better::Higher)
    },
    Job {
        args: &["n=300000"],
        quick: &["n=2000"],
        counts: "ends per second",
        ..job("monitor", "rate", Better::Higher)
    },
    Job {
        args: &["n=5000"],
        quick: &["n=200"],
        counts: "restarts per second",
        server: false,
        ..job("restart", "rate", Better::Higher)
    },
    Job {
        args: &["seconds=2"],
        quick: &["seconds=1"],
        counts: "1 / p99 of a call's time",
        bar: |microseconds| 1e6 / microseconds,
        server: false,
        ..job("hog", "p99", Better::Lower)
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    #[test]
    fn each_job_is_a_command_line_that_workloads_understands() {
        for job in JOBS {
            for quick in [false, true] {
                let kind = job.server.then_some("kind=server");
                let args = [job.workload].into_iter().chain(job.args(quick).iter().copied()).chain(kind);
                let options = Options::parse(args.map(str::to_owned));
                assert!(options.is_ok(), "{}: {options:?}", job.name);
            }
        }
    }
}
