//! `hog`: how long a call takes, and how late a sleep ends, while others compute.

#![allow(
    clippy::disallowed_methods,
    reason = "tests and benchmarks look at the real clock and block real threads"
)]

use crate::{
    measure::{Failure, Figure, first_process, quantile},
    options::{Kind, Options},
    workloads::call::{echo, echo_server},
};
use engset::{Mailbox, Node, sleep};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Some integer arithmetic whose result the next round needs.
#[inline(always)]
pub(super) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    black_box(x ^ (x >> 29))
}

#[engset::preemptible]
fn compute_for_ever(mut x: u64) {
    loop {
        x = mix(x);
    }
}

/// The same without a single reduction point: only the watchdog can help.
fn compute_for_ever_natively(mut x: u64) {
    loop {
        x = mix(x);
    }
}

/// Time between two calls.
const PAUSE: Duration = Duration::from_millis(1);

/// By then each hog runs.
const HEAD_START: Duration = Duration::from_millis(200);

pub(super) fn hog(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (hogs, seconds) = (options.number("hogs"), Duration::from_secs(options.number("seconds")));
    let native = options.word("mode") == "native";
    // From outside, and before anything else has started: a native hog keeps its thread for ever, and with it
    // every process that has a stack there. What has not started yet, the watchdog moves to another thread.
    for seed in 0..hogs {
        node.spawn(move || if native { compute_for_ever_natively(seed) } else { compute_for_ever(seed) })
            .map_err(Failure::Spawn)?;
    }
    std::thread::sleep(HEAD_START);
    let (calls, late) = first_process(node, move |_mailbox: Mailbox<()>| {
        let server = echo_server(Kind::Plain);
        let (mut calls, mut late) = (Vec::new(), Vec::new());
        let start = Instant::now();
        while start.elapsed() < seconds {
            let asleep = Instant::now();
            sleep(PAUSE);
            let awake = Instant::now();
            echo(server, calls.len() as u64);
            calls.push(awake.elapsed());
            late.push((awake - asleep).saturating_sub(PAUSE));
        }
        calls.sort_unstable();
        late.sort_unstable();
        (calls, late)
    })?;
    let micros = |name, share| Figure::new(name, quantile(&calls, share).as_nanos() as f64 / 1e3, "us");
    let millis = |name, share| Figure::new(name, quantile(&late, share).as_nanos() as f64 / 1e6, "ms");
    Ok(vec![
        micros("p50", 0.5),
        micros("p99", 0.99),
        micros("max", 1.0),
        millis("late_p50", 0.5),
        millis("late_p99", 0.99),
        Figure::new("done", calls.len() as f64, "calls"),
    ])
}
