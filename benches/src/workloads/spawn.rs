//! `spawn`, `idle`, `skynet`: the lives of many processes.

use crate::{
    measure::{Failure, Figure, first_process, resident, timed},
    options::{Kind, Options},
    workloads::hog::mix,
};
use engset::{
    Address, ExitReason, Flow, Mailbox, Node, Received, Server, serve, serve_with, spawn as spawn_process,
};
use std::hint::black_box;

/// To the collector: this process has done its part.
struct Done(u64);

/// Counts until all have reported, and checks that each did so once.
fn collect(mut mailbox: Mailbox<Done>, n: u64) {
    let sum: u64 = (0..n).map(|_| mailbox.message().0).sum();
    assert_eq!(sum, n * (n + 1) / 2, "the sum of the numbers from 1 to {n}");
}

/// A server that lives for one message, as it starts.
struct Reporter {
    number: u64,
    collector: Address<Done>,
}

impl Server for Reporter {
    type Message = ();

    fn start(&mut self, _me: Address<()>) -> Flow {
        self.collector.send(Done(self.number));
        Flow::Stop(ExitReason::Normal)
    }

    fn handle(&mut self, _received: Received<()>) -> Flow {
        Flow::Continue
    }
}

/// The same, with some work before that.
struct Busy {
    work: u64,
    reporter: Reporter,
}

impl Server for Busy {
    type Message = ();

    fn start(&mut self, me: Address<()>) -> Flow {
        compute(self.work);
        self.reporter.start(me)
    }

    fn handle(&mut self, _received: Received<()>) -> Flow {
        Flow::Continue
    }
}

/// So many rounds of arithmetic, a nanosecond or two each.
fn compute(rounds: u64) {
    black_box((0..rounds).fold(rounds, |x, _| mix(x)));
}

pub(super) fn spawn(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (n, work, kind) = (options.number("n"), options.number("work"), options.kind());
    let (time, ()) = first_process(node, move |mailbox: Mailbox<Done>| {
        let collector = mailbox.address();
        timed(|| {
            spawn_process(move || {
                for number in 1..=n {
                    match kind {
                        Kind::Plain if work == 0 => drop(spawn_process(move || collector.send(Done(number)))),
                        Kind::Server if work == 0 => drop(serve(Reporter { number, collector })),
                        Kind::Plain => drop(spawn_process(move || {
                            compute(work);
                            collector.send(Done(number));
                        })),
                        Kind::Server => {
                            let reporter = Reporter { number, collector };
                            let _busy = serve(Busy { work, reporter });
                        }
                    }
                }
            });
            collect(mailbox, n);
        })
    })?;
    Ok(vec![Figure::rate("rate", n, time, "spawns/s")])
}

/// To a process of `idle`: answer with this number.
struct Hello(u64);

/// Answers once, then waits for a message that never comes.
fn idler(kind: Kind, collector: Address<Done>) -> Address<Hello> {
    match kind {
        Kind::Plain => spawn_process(move |mut mailbox: Mailbox<Hello>| {
            let Hello(number) = mailbox.message();
            collector.send(Done(number));
            mailbox.message();
        }),
        Kind::Server => serve_with(collector, |collector, received| {
            if let Received::Message(Hello(number)) = received {
                collector.send(Done(number));
            }
            Flow::Continue
        }),
    }
}

pub(super) fn idle(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (n, kind) = (options.number("n"), options.kind());
    let (time, bytes) = first_process(node, move |mailbox: Mailbox<Done>| {
        let collector = mailbox.address();
        let before = resident();
        let (time, ()) = timed(|| {
            spawn_process(move || {
                for number in 1..=n {
                    idler(kind, collector).send(Hello(number));
                }
            });
            collect(mailbox, n);
        });
        (time, resident().saturating_sub(before))
    })?;
    Ok(vec![
        Figure::new("bytes", bytes as f64 / n as f64, "bytes/process"),
        Figure::rate("rate", n, time, "spawns/s"),
    ])
}

/// To a parent of `skynet`: the sum of a subtree.
struct Sum(u64);

/// A part of the tree: the leaves from `first`, `size` of them.
struct Subtree {
    parent: Address<Sum>,
    first: u64,
    size: u64,
}

const CHILDREN: u64 = 10;

impl Subtree {
    fn children(&self, me: Address<Sum>) -> impl Iterator<Item = Subtree> + use<> {
        let (first, size) = (self.first, self.size / CHILDREN);
        (0..CHILDREN).map(move |child| Subtree { parent: me, first: first + child * size, size })
    }

    /// Spawns the process for it.
    fn grow(self) {
        if self.size == 1 {
            spawn_process(move || self.parent.send(Sum(self.first)));
            return;
        }
        spawn_process(move |mut mailbox: Mailbox<Sum>| {
            self.children(mailbox.address()).for_each(Subtree::grow);
            let sum = (0..CHILDREN).map(|_| mailbox.message().0).sum();
            self.parent.send(Sum(sum));
        });
    }
}

/// The same as a server.
struct Adder {
    subtree: Subtree,
    sum: u64,
    missing: u64,
}

impl Adder {
    fn grow(subtree: Subtree) {
        serve(Adder { subtree, sum: 0, missing: CHILDREN });
    }
}

impl Server for Adder {
    type Message = Sum;

    fn start(&mut self, me: Address<Sum>) -> Flow {
        if self.subtree.size == 1 {
            self.subtree.parent.send(Sum(self.subtree.first));
            return Flow::Stop(ExitReason::Normal);
        }
        self.subtree.children(me).for_each(Adder::grow);
        Flow::Continue
    }

    fn handle(&mut self, received: Received<Sum>) -> Flow {
        let Received::Message(Sum(sum)) = received else { return Flow::Continue };
        self.sum += sum;
        self.missing -= 1;
        if self.missing > 0 {
            return Flow::Continue;
        }
        self.subtree.parent.send(Sum(self.sum));
        Flow::Stop(ExitReason::Normal)
    }
}

pub(super) fn skynet(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (depth, kind) = (options.number("depth"), options.kind());
    let (time, ()) = first_process(node, move |mut mailbox: Mailbox<Sum>| {
        let size = CHILDREN.pow(depth as u32);
        let root = Subtree { parent: mailbox.address(), first: 0, size };
        let (time, Sum(sum)) = timed(|| {
            match kind {
                Kind::Plain => root.grow(),
                Kind::Server => Adder::grow(root),
            }
            mailbox.message()
        });
        assert_eq!(sum, size * (size - 1) / 2, "the sum of the numbers below {size}");
        (time, ())
    })?;
    Ok(vec![Figure::new("time", time.as_secs_f64() * 1e3, "ms")])
}
