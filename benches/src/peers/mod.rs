//! Other runtimes, on the same workloads: one file each, behind the cargo feature of its name.
//!
//! The programs are small, and written as the users of each runtime write them: an actor or a task with a mailbox
//! for each process, messages of ordinary types, the runtime's own call. The keys, the defaults and the output are
//! those of `workloads`. What a runtime has no means for is left out, and not built by hand for it; the program then
//! ends with the code [`NOT_DONE`], and says why on standard error.

use crate::{measure::Figure, options::Options};
use std::time::Duration;

#[cfg(feature = "actix")]
mod actix;
#[cfg(feature = "kameo")]
mod kameo;
#[cfg(feature = "may")]
mod may;
#[cfg(feature = "ractor")]
mod ractor;
#[cfg(feature = "tokio")]
mod tokio;

/// The exit code of a peer that does not do a workload.
pub const NOT_DONE: u8 = 3;

/// Why there is no `hog`.
#[cfg(any(feature = "actix", feature = "kameo", feature = "may", feature = "ractor", feature = "tokio"))]
const COOPERATIVE: &str = "tasks give way by themselves only: one that computes keeps its thread for ever";

/// A runtime that is compared with.
#[derive(Debug)]
pub struct Peer {
    /// What it is called: the name of its crate, and of the feature.
    pub name: &'static str,
    run: fn(&Options) -> Outcome,
}

/// What a workload has measured, or why there is nothing.
type Outcome = Result<Measured, &'static str>;

/// What a workload has measured.
#[derive(Debug)]
#[cfg_attr(not(feature = "tokio"), allow(dead_code, reason = "each peer uses a part of it"))]
enum Measured {
    /// How long the job took.
    Time(Duration),
    /// `idle`: how long it took, and by how many bytes resident memory grew.
    Idle(Duration, u64),
    /// `timers`: how long it took to set them, and to cancel nine of ten.
    Timers(Duration, Duration),
}

/// Those that this program was built with.
pub const PEERS: &[Peer] = &[
    #[cfg(feature = "actix")]
    Peer { name: "actix", run: actix::run },
    #[cfg(feature = "kameo")]
    Peer { name: "kameo", run: kameo::run },
    #[cfg(feature = "may")]
    Peer { name: "may", run: may::run },
    #[cfg(feature = "ractor")]
    Peer { name: "ractor", run: ractor::run },
    #[cfg(feature = "tokio")]
    Peer { name: "tokio", run: tokio::run },
];

impl Peer {
    /// Does the workload.
    ///
    /// # Errors
    ///
    /// It does not do this one, and this is why.
    pub fn run(&self, options: &Options) -> Result<Vec<Figure>, &'static str> {
        let measured = (self.run)(options)?;
        Ok(figures(options, &measured))
    }
}

/// The same figures as those of `workloads`.
fn figures(options: &Options, measured: &Measured) -> Vec<Figure> {
    let number = |name| options.number(name);
    let name = options.workload().name;
    let time = match *measured {
        Measured::Time(time) => time,
        Measured::Idle(time, bytes) => {
            let n = number("n");
            return vec![
                Figure::new("bytes", bytes as f64 / n as f64, "bytes/process"),
                Figure::rate("rate", n, time, "spawns/s"),
            ];
        }
        Measured::Timers(setting, cancelling) => {
            let n = number("n");
            return vec![
                Figure::rate("set", n, setting, "timers/s"),
                Figure::rate("cancel", cancelled(n), cancelling, "timers/s"),
            ];
        }
    };
    vec![match name {
        "spawn" => Figure::rate("rate", number("n"), time, "spawns/s"),
        "pairs" => Figure::rate("rate", 2 * number("pairs") * number("n"), time, "msgs/s"),
        "fanin" => Figure::rate("rate", number("senders") * number("n"), time, "msgs/s"),
        "ring" | "bigring" => Figure::each("hop", number("hops"), time),
        "big" => Figure::rate("rate", 2 * number("n") * number("pings"), time, "msgs/s"),
        "skynet" => Figure::new("time", time.as_secs_f64() * 1e3, "ms"),
        "restart" => Figure::rate("rate", number("n"), time, "restarts/s"),
        "monitor" => Figure::rate("rate", number("n"), time, "downs/s"),
        _ => Figure::each("rtt", number("n"), time),
    }]
}

/// How many of `n` timers are cancelled: the tenth is left alone.
fn cancelled(n: u64) -> u64 {
    n - n / 10
}

/// The runtime of tokio, with the job in a task of its own, not on the thread that waits for it.
#[cfg(feature = "tokio")]
fn on_tokio(options: &Options, job: impl Future<Output = Outcome> + Send + 'static) -> Outcome {
    let runtime = ::tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads())
        .enable_all()
        .build()
        .unwrap_or_else(|error| panic!("the runtime of tokio: {error}"));
    let outcome = runtime.block_on(async { ::tokio::spawn(job).await });
    // Millions of tasks may be left; they end with the program.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|error| panic!("the job: {error}"))
}

/// Any place below `n` but this one.
#[cfg(any(feature = "actix", feature = "kameo", feature = "may", feature = "ractor", feature = "tokio"))]
fn other(random: &mut engset::Random, n: usize, place: usize) -> usize {
    let other = random.below(n as u64 - 1) as usize;
    if other < place { other } else { other + 1 }
}
