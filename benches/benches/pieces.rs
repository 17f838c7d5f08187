//! The pieces that everything is made of, one by one: `cargo bench -p engset-benches`.
//!
//! All of it through the public API, as a program meets it, on a node with one worker, so that what is seen is the piece
//! and not how two processors share memory; only `mailbox/from another thread` has a second thread. `switch` is a
//! process that gives way to another one, and so on.
//!
//! Criterion, because of `iter_custom`: the loop and its clock are inside a process, and criterion sees only how long
//! so many iterations took. divan, which is smaller, can only time closures that are called on its own thread.

#![allow(missing_docs, reason = "criterion's macros make functions without")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests and benchmarks look at the real clock and block real threads"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use engset::{
    Address, Config, Flow, Mailbox, Node, Received, Reply, demonitor, link, monitor, reduce, send_after,
    serve, serve_with, spawn, unlink, yield_now,
};
use std::{
    hint::black_box,
    sync::mpsc,
    time::{Duration, Instant},
};

/// Benchmarks a loop that runs in a process: so many iterations, and how long they took.
fn in_process(
    criterion: &mut Criterion,
    name: &str,
    job: impl Fn(&mut Mailbox<u64>, u64) -> Duration + Copy + Send + 'static,
) {
    let node = Node::start(Config::new().workers(1)).expect("a node with one worker");
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let (done, time) = mpsc::channel();
            let process = move |mut mailbox: Mailbox<u64>| {
                done.send(job(&mut mailbox, iterations)).expect("the benchmark waits");
            };
            node.spawn(process).expect("room for a process");
            time.recv().expect("the process does not crash")
        });
    });
    assert!(node.stop(), "the node stops");
}

/// How long it takes to do this so many times.
fn repeat(iterations: u64, mut step: impl FnMut(u64)) -> Duration {
    let start = Instant::now();
    for number in 0..iterations {
        step(number);
    }
    start.elapsed()
}

fn switch(criterion: &mut Criterion) {
    in_process(criterion, "switch/yield_now, alone", |_, iterations| repeat(iterations, |_| yield_now()));
    in_process(criterion, "switch/yield_now, two processes", |mailbox, iterations| {
        let me = mailbox.address();
        // Each iteration of this one is one of the other.
        let other = spawn(move || {
            (0..iterations).for_each(|_| yield_now());
            me.send(0);
        });
        yield_now();
        let time = repeat(iterations, |_| yield_now());
        mailbox.message();
        black_box(other);
        time
    });
    in_process(criterion, "switch/reduction check", |_, iterations| {
        repeat(iterations, |_| reduce(black_box(1)))
    });
}

fn mailbox(criterion: &mut Criterion) {
    in_process(criterion, "mailbox/push and pop, own", |mailbox, iterations| {
        let me = mailbox.address();
        repeat(iterations, |number| {
            me.send(number);
            black_box(mailbox.message());
        })
    });
    in_process(criterion, "mailbox/push and pop, round trip to a process", |mailbox, iterations| {
        let me = mailbox.address();
        let echo = spawn(move |mut mailbox: Mailbox<u64>| {
            loop {
                me.send(mailbox.message());
            }
        });
        round_trips(mailbox, echo, iterations)
    });
    in_process(criterion, "mailbox/push and pop, round trip to a server", |mailbox, iterations| {
        let echo = serve_with(mailbox.address(), |back: &mut Address<u64>, received| {
            if let Received::Message(number) = received {
                back.send(number);
            }
            Flow::Continue
        });
        round_trips(mailbox, echo, iterations)
    });
    from_another_thread(criterion);
}

fn round_trips(mailbox: &mut Mailbox<u64>, echo: Address<u64>, iterations: u64) -> Duration {
    repeat(iterations, |number| {
        echo.send(number);
        black_box(mailbox.message());
    })
}

/// The sender is a thread that is no process: each push goes through the queue for mail from elsewhere.
fn from_another_thread(criterion: &mut Criterion) {
    let node = Node::start(Config::new().workers(1)).expect("a node with one worker");
    criterion.bench_function("mailbox/push and pop, from another thread", |bencher| {
        bencher.iter_custom(|iterations| {
            let (done, end) = mpsc::channel();
            let receiver = move |mut mailbox: Mailbox<u64>| {
                for _ in 0..iterations {
                    black_box(mailbox.message());
                }
                done.send(()).expect("the benchmark waits");
            };
            let receiver: Address<u64> = node.spawn(receiver).expect("room for a process");
            let start = Instant::now();
            (0..iterations).for_each(|number| receiver.send(number));
            end.recv().expect("the process does not crash");
            start.elapsed()
        });
    });
    assert!(node.stop(), "the node stops");
}

fn lives(criterion: &mut Criterion) {
    in_process(criterion, "spawn and exit/process", |mailbox, iterations| {
        let me = mailbox.address();
        repeat(iterations, |number| {
            spawn(move || me.send(number));
            mailbox.message();
        })
    });
    in_process(criterion, "spawn and exit/server", |mailbox, iterations| {
        let me = mailbox.address();
        repeat(iterations, |number| {
            serve(Once(me, number));
            mailbox.message();
        })
    });
}

/// Sends a number as it starts, and ends.
struct Once(Address<u64>, u64);

impl engset::Server for Once {
    type Message = u64;

    fn start(&mut self, _me: Address<u64>) -> Flow {
        self.0.send(self.1);
        Flow::Stop(engset::ExitReason::Normal)
    }

    fn handle(&mut self, _received: Received<u64>) -> Flow {
        Flow::Continue
    }
}

fn timers(criterion: &mut Criterion) {
    const HOUR: Duration = Duration::from_secs(3600);
    in_process(criterion, "timer/set and cancel", |mailbox, iterations| {
        let me = mailbox.address();
        repeat(iterations, |number| {
            black_box(send_after(HOUR, me, number).cancel());
        })
    });
    in_process(criterion, "timer/set", |mailbox, iterations| {
        let (me, mut timers) = (mailbox.address(), Vec::with_capacity(iterations as usize));
        let time = repeat(iterations, |number| timers.push(send_after(HOUR, me, number)));
        for timer in timers {
            timer.cancel();
        }
        time
    });
    in_process(criterion, "timer/cancel", |mailbox, iterations| {
        let me = mailbox.address();
        let timers: Vec<_> = (0..iterations).map(|number| send_after(HOUR, me, number)).collect();
        let mut timers = timers.into_iter();
        repeat(iterations, |_| {
            black_box(timers.next().map(engset::Timer::cancel));
        })
    });
}

/// A process that waits until it is told to end.
fn waiter() -> Address<u64> {
    spawn(|mut mailbox: Mailbox<u64>| {
        mailbox.message();
    })
}

fn signals(criterion: &mut Criterion) {
    in_process(criterion, "signals/monitor and demonitor", |_, iterations| {
        let waiter = waiter();
        let time = repeat(iterations, |_| {
            black_box(demonitor(monitor(waiter), true));
        });
        waiter.send(0);
        time
    });
    in_process(criterion, "signals/link and unlink", |_, iterations| {
        let waiter = waiter();
        let time = repeat(iterations, |_| {
            link(waiter);
            unlink(waiter);
        });
        waiter.send(0);
        time
    });
    in_process(criterion, "signals/exit seen by a monitor", |mailbox, iterations| {
        repeat(iterations, |_| {
            engset::spawn_monitor(|| ());
            black_box(mailbox.receive());
        })
    });
}

struct Ask(u64, Reply<u64>);

fn calls(criterion: &mut Criterion) {
    in_process(criterion, "call/process", |_, iterations| {
        let server = spawn(|mut mailbox: Mailbox<Ask>| {
            loop {
                let Ask(number, reply) = mailbox.message();
                reply.send(number);
            }
        });
        ask(server, iterations)
    });
    in_process(criterion, "call/server", |_, iterations| {
        let server = serve_with((), |(), received| {
            if let Received::Message(Ask(number, reply)) = received {
                reply.send(number);
            }
            Flow::Continue
        });
        ask(server, iterations)
    });
}

fn ask(server: Address<Ask>, iterations: u64) -> Duration {
    let time = repeat(iterations, |number| {
        assert_eq!(server.call(|reply| Ask(number, reply)), Ok(number));
    });
    engset::kill(server);
    time
}

criterion_group!(pieces, switch, mailbox, lives, timers, signals, calls);
criterion_main!(pieces);
