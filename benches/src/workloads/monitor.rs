//! `monitor`, `crash`: processes that end, and who hears of it.

use crate::{
    measure::{Failure, Figure, first_process, resident, timed},
    options::{Kind, Options},
};
use engset::{
    Address, Builder, DownReason, Event, ExitReason, Flow, Mailbox, Node, Received, Server, spawn_monitor,
};
use std::time::Duration;

/// To a process of `monitor`: end.
struct Stop(#[expect(dead_code, reason = "it is carried, as in every workload, and nobody asks for it")] u64);

/// Waits for a message that tells it to end.
struct Waiter;

impl Server for Waiter {
    type Message = Stop;

    fn handle(&mut self, received: Received<Stop>) -> Flow {
        match received {
            Received::Message(Stop(_)) => Flow::Stop(ExitReason::Normal),
            Received::Event(_) => Flow::Continue,
        }
    }
}

fn monitored<S: Server>(server: S) -> Address<S::Message> {
    let (address, _) = Builder::new().serve_monitor(server).unwrap_or_else(|error| panic!("{error}"));
    address
}

fn waiter(kind: Kind) -> Address<Stop> {
    match kind {
        Kind::Plain => {
            let (address, _) = spawn_monitor(|mut mailbox: Mailbox<Stop>| {
                mailbox.message();
            });
            address
        }
        Kind::Server => monitored(Waiter),
    }
}

/// Counts the ends of `n` processes.
fn downs(mailbox: &mut Mailbox<()>, n: u64, is_expected: fn(&ExitReason) -> bool) {
    for _ in 0..n {
        match mailbox.receive() {
            Received::Event(Event::Down(down)) => match down.reason {
                DownReason::Exited(reason) if is_expected(&reason) => {}
                other => panic!("{} has ended with {other:?}", down.pid),
            },
            other => panic!("{other:?} is not the end of a process"),
        }
    }
}

pub(super) fn monitor(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (n, kind) = (options.number("n"), options.kind());
    let (whole, ends) = first_process(node, move |mut mailbox: Mailbox<()>| {
        let (spawning, waiters) = timed(|| (0..n).map(|_| waiter(kind)).collect::<Vec<_>>());
        let (ends, ()) = timed(|| {
            (0..).zip(&waiters).for_each(|(number, waiter)| waiter.send(Stop(number)));
            downs(&mut mailbox, n, ExitReason::is_normal);
        });
        (spawning + ends, ends)
    })?;
    Ok(vec![Figure::rate("rate", n, whole, "downs/s"), Figure::rate("exit_rate", n, ends, "downs/s")])
}

/// Panics as it starts.
struct Crasher(u64);

impl Server for Crasher {
    type Message = ();

    fn start(&mut self, _me: Address<()>) -> Flow {
        panic!("process {} crashes", self.0);
    }

    fn handle(&mut self, _received: Received<()>) -> Flow {
        Flow::Continue
    }
}

pub(super) fn crash(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (n, rounds, kind) = (options.number("n"), options.number("rounds"), options.kind());
    let (time, memory) = first_process(node, move |mut mailbox: Mailbox<()>| {
        let (mut time, mut memory) = (Duration::ZERO, Vec::new());
        for _ in 0..rounds {
            let (round, ()) = timed(|| {
                for number in 0..n {
                    match kind {
                        Kind::Plain => drop(spawn_monitor(move || panic!("process {number} crashes"))),
                        Kind::Server => drop(monitored(Crasher(number))),
                    }
                }
                downs(&mut mailbox, n, |reason| reason.panic().is_some());
            });
            time += round;
            memory.push(resident());
        }
        (time, memory)
    })?;
    let mut figures = vec![Figure::rate("rate", n * rounds, time, "crashes/s")];
    for (round, bytes) in (1..).zip(memory) {
        figures.push(Figure::new(format!("rss{round}"), bytes as f64 / 1e6, "MB"));
    }
    Ok(figures)
}
