//! `flat`: what an operation costs while so many processes are there.
//!
//! They form a ring, whose token visits them all; the other figures are of operations beside them.

use crate::{
    measure::{Failure, Figure, first_process, timed},
    options::{Kind, Options},
    workloads::{
        call::{echo, echo_server},
        ring::{Finished, Message, closed_ring},
    },
};
use engset::{Address, Mailbox, Node, Random, demonitor, monitor, send_after, spawn};
use std::time::Duration;

/// Timers that are set at any time, while others are set and cancelled.
const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn flat(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (size, n, kind) = (options.number("size"), options.number("n"), options.kind());
    first_process(node, move |mut mailbox: Mailbox<Finished>| {
        let ring = closed_ring(size, kind, mailbox.address());
        // One that does not count.
        lap(&mut mailbox, ring[0], size);
        let mut figures = vec![Figure::each("hop", n.max(size), lap(&mut mailbox, ring[0], n.max(size)))];
        let mut add = |name, time| figures.push(Figure::each(name, n, time));
        add("spawn", spawns(&mut mailbox, n));
        add("call", calls(n));
        add("timer", timers(n, ring[0]));
        add("monitor", monitors(n, &ring));
        figures
    })
}

/// So many hops of the token.
fn lap(mailbox: &mut Mailbox<Finished>, first: Address<Message>, hops: u64) -> Duration {
    let (time, ()) = timed(|| {
        first.send(Message::Token(hops));
        mailbox.message();
    });
    time
}

/// Each lives until it has reported.
fn spawns(mailbox: &mut Mailbox<Finished>, n: u64) -> Duration {
    let me = mailbox.address();
    let (time, ()) = timed(|| {
        for _ in 0..n {
            spawn(move || me.send(Finished));
            mailbox.message();
        }
    });
    time
}

fn calls(n: u64) -> Duration {
    let server = echo_server(Kind::Server);
    timed(|| (0..n).for_each(|number| echo(server, number))).0
}

fn timers(n: u64, member: Address<Message>) -> Duration {
    let mut random = Random::new(1);
    let (time, ()) = timed(|| {
        for _ in 0..n {
            let after = HOUR + Duration::from_millis(random.below(60_000));
            assert!(
                send_after(after, member, Message::Token(0)).cancel().is_some(),
                "an hour has not passed"
            );
        }
    });
    time
}

fn monitors(n: u64, ring: &[Address<Message>]) -> Duration {
    let mut random = Random::new(2);
    let (time, ()) = timed(|| {
        for _ in 0..n {
            let member = ring[random.below(ring.len() as u64) as usize];
            assert!(demonitor(monitor(member), true), "it is alive");
        }
    });
    time
}
