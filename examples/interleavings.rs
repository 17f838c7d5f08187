//! A lost update and a deadlock, found by trying all interleavings that matter; and how many there are if all are tried.
//!
//! `cargo run --release --example interleavings`

#![allow(clippy::print_stdout, reason = "it prints what it finds")]

use engset::{
    Address, Flow, Mailbox, Received, Reply, Server, serve, serve_with, sleep, spawn,
    testkit::{Check, Explored, Failure},
};
use std::time::{Duration, Instant};

enum Cell {
    Get(Reply<u32>),
    Set(u32),
    Add(u32),
}

fn cell() -> Address<Cell> {
    serve_with(0, |value, received| {
        match received {
            Received::Message(Cell::Get(reply)) => reply.send(*value),
            Received::Message(Cell::Set(new)) => *value = new,
            Received::Message(Cell::Add(more)) => *value += more,
            Received::Event(_) => {}
        }
        Flow::Continue
    })
}

/// Two processes add 1. `right`: the cell does it; else they read and write.
fn increments(right: bool) {
    let cell = cell();
    for _ in 0..2 {
        spawn(move || {
            if right {
                cell.send(Cell::Add(1));
            } else {
                let value = cell.call(Cell::Get).expect("it lives");
                cell.send(Cell::Set(value + 1));
            }
        });
    }
    sleep(Duration::from_secs(1)); // of virtual time: when all has been done
    assert_eq!(cell.call(Cell::Get), Ok(2), "an update is lost");
}

enum Hand {
    Take(Reply<()>),
    Put,
}

/// A fork: one holds it, one may wait for it.
struct Fork {
    held: bool,
    waiting: Option<Reply<()>>,
}

impl Server for Fork {
    type Message = Hand;

    fn handle(&mut self, received: Received<Hand>) -> Flow {
        match received {
            Received::Message(Hand::Take(reply)) if self.held => self.waiting = Some(reply),
            Received::Message(Hand::Take(reply)) => {
                self.held = true;
                reply.send(());
            }
            Received::Message(Hand::Put) => match self.waiting.take() {
                Some(next) => next.send(()),
                None => self.held = false,
            },
            Received::Event(_) => {}
        }
        Flow::Continue
    }
}

/// Two philosophers. `right`: both take the same fork first.
fn philosophers(right: bool) {
    let forks = [0, 1].map(|_| serve(Fork { held: false, waiting: None }));
    let dine = move |seat: usize| {
        let (first, second) = if right { (0, 1) } else { (seat, 1 - seat) };
        for fork in [first, second] {
            forks[fork].call_timeout(Hand::Take, Duration::MAX).expect("it lives");
        }
        forks.iter().for_each(|fork| fork.send(Hand::Put));
    };
    let other = spawn(move |mut mailbox: Mailbox<Reply<()>>| {
        dine(1);
        mailbox.message().send(());
    });
    dine(0);
    other.call_timeout(|reply| reply, Duration::MAX).expect("it has eaten");
}

fn show(what: &str, check: impl FnOnce() -> Result<Explored, Box<Failure>>) {
    #[allow(clippy::disallowed_methods, reason = "the time that the search takes, outside of the runtime")]
    let start = Instant::now();
    let result = check();
    let time = start.elapsed();
    match result {
        Ok(explored) => {
            let all = if explored.complete { "all" } else { "given up after" };
            println!("{what}: {all} {} schedules, no failure, {time:.1?}", explored.schedules);
        }
        Err(failure) => {
            let text = failure.to_string();
            println!("{what}: {}, {time:.1?}", text.lines().next().unwrap_or_default());
        }
    }
}

fn main() {
    let limit = 20_000;
    let plain = || Check::new().free_switches().max_schedules(limit);
    for (name, program) in
        [("increments", increments as fn(bool)), ("philosophers", philosophers as fn(bool))]
    {
        for (kind, right) in [("wrong", false), ("right", true)] {
            show(&format!("{name}, {kind}, reduced"), || {
                Check::new().try_interleavings(move || program(right))
            });
            show(&format!("{name}, {kind}, plain"), || {
                plain().try_exhaustive(u32::MAX, move || program(right))
            });
        }
    }
}
