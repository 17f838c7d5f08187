//! may: a process is a coroutine with a channel of may's, a call is a request with a channel for the answer.
//!
//! may has neither bounded channels nor supervision nor timers that can be cancelled; a join handle tells of a panic.

use super::{COOPERATIVE, Measured, Outcome, other};
use crate::{
    measure::{resident, timed},
    options::Options,
};
use engset::Random;
use may::{
    config, go,
    sync::mpsc::{self, Receiver, Sender},
};
use std::time::Duration;

pub(super) fn run(options: &Options) -> Outcome {
    config().set_workers(options.threads());
    let options = options.clone();
    go!(move || job(&options)).join().unwrap_or_else(|_| panic!("the job has panicked"))
}

fn job(options: &Options) -> Outcome {
    let number = |name| options.number(name);
    let time = match options.workload().name {
        "spawn" => spawning(number("n")),
        "idle" => return Ok(idle(number("n"))),
        "pingpong" => pairs(1, number("n"), 1),
        "pairs" => pairs(number("pairs"), number("n"), number("window")),
        "fanin" if number("bound") > 0 => return Err("may has no bounded channels"),
        "fanin" => fanin(number("senders"), number("n")),
        "ring" | "bigring" => ring(number("size"), number("hops")),
        "big" => big(number("n"), number("pings")),
        "skynet" => skynet(number("depth")),
        "call" => call(number("n")),
        "restart" => restart(number("n")),
        "timers" => return Err("may has no timers but sleeping coroutines, whose cancelling is unsafe"),
        "monitor" => return Err("may has no monitors"),
        "hog" => return Err(COOPERATIVE),
        _ => return Err("the program for may has no such workload"),
    };
    Ok(Measured::Time(time))
}

fn send<T>(to: &Sender<T>, message: T) {
    to.send(message).expect("the receiver is there");
}

fn receive(from: &Receiver<u64>) -> u64 {
    from.recv().expect("a sender is there")
}

fn collect(from: &Receiver<u64>, n: u64) {
    let sum: u64 = (0..n).map(|_| receive(from)).sum();
    assert_eq!(sum, n * (n + 1) / 2, "the sum of the numbers from 1 to {n}");
}

fn spawning(n: u64) -> Duration {
    let (collector, inbox) = mpsc::channel();
    let (time, ()) = timed(|| {
        go!(move || {
            for number in 1..=n {
                let (mailbox, collector) = (mpsc::channel::<u64>(), collector.clone());
                go!(move || {
                    let _mailbox = mailbox;
                    send(&collector, number);
                });
            }
        });
        collect(&inbox, n);
    });
    time
}

fn idle(n: u64) -> Measured {
    let (collector, inbox) = mpsc::channel();
    let before = resident();
    let (time, coroutines) = timed(|| {
        let spawner = go!(move || {
            let mut coroutines = Vec::new();
            for number in 1..=n {
                let ((to, mailbox), collector) = (mpsc::channel(), collector.clone());
                go!(move || {
                    while let Ok(number) = mailbox.recv() {
                        send(&collector, number);
                    }
                });
                send(&to, number);
                coroutines.push(to);
            }
            coroutines
        });
        collect(&inbox, n);
        spawner.join().expect("the spawner does not panic")
    });
    let bytes = resident().saturating_sub(before);
    // They would end one by one.
    std::mem::forget(coroutines);
    Measured::Idle(time, bytes)
}

fn pairs(pairs: u64, n: u64, window: u64) -> Duration {
    let pinger = move || {
        let ((ping, pings), (pong, pongs)) = (mpsc::channel(), mpsc::channel());
        go!(move || {
            while let Ok(number) = pings.recv() {
                // The last answers come when nobody wants them.
                let _ = pong.send(number);
            }
        });
        let mut sent = n.min(window);
        (0..sent).for_each(|number| send(&ping, number));
        for expected in 0..n {
            assert_eq!(receive(&pongs), expected, "answers come in order");
            if sent < n {
                send(&ping, sent);
                sent += 1;
            }
        }
    };
    let (time, ()) = timed(|| {
        let pingers: Vec<_> = (0..pairs).map(|_| go!(pinger)).collect();
        pingers.into_iter().for_each(|pinger| pinger.join().expect("a pinger does not panic"));
    });
    time
}

fn fanin(senders: u64, n: u64) -> Duration {
    let (to, inbox) = mpsc::channel();
    let (time, total) = timed(|| {
        for _ in 0..senders {
            let to = to.clone();
            go!(move || (1..=n).for_each(|number| send(&to, number)));
        }
        (0..senders * n).map(|_| receive(&inbox)).sum::<u64>()
    });
    assert_eq!(total, senders * (n * (n + 1) / 2), "the sum of all items");
    time
}

fn ring(size: u64, hops: u64) -> Duration {
    let ((finished, end), (first, mut mailbox)) = (mpsc::channel(), mpsc::channel());
    for place in 1..=size {
        let (next, next_mailbox) = mpsc::channel();
        let (next, finished) = (if place == size { first.clone() } else { next }, finished.clone());
        go!(move || {
            while let Ok(left) = mailbox.recv() {
                if left == 0 { send(&finished, 0) } else { send(&next, left - 1) }
            }
        });
        mailbox = next_mailbox;
    }
    // A lap that does not count.
    send(&first, size);
    receive(&end);
    let (time, _) = timed(|| {
        send(&first, hops);
        receive(&end)
    });
    time
}

enum Message {
    Start,
    Ping { from: usize, number: u64 },
    Pong(u64),
}

fn big(n: u64, pings: u64) -> Duration {
    let n = n as usize;
    let (finished, ends) = mpsc::channel();
    let (peers, mailboxes): (Vec<_>, Vec<_>) = (0..n).map(|_| mpsc::channel::<Message>()).unzip();
    for (place, mailbox) in mailboxes.into_iter().enumerate() {
        // Senders cannot be shared between threads: each coroutine has its own.
        let (peers, finished) = (peers.clone(), finished.clone());
        go!(move || {
            let (mut random, mut sent) = (Random::new(place as u64), 0);
            while let Ok(message) = mailbox.recv() {
                let answered = match message {
                    Message::Ping { from, number } => {
                        send(&peers[from], Message::Pong(number));
                        continue;
                    }
                    Message::Start => 0,
                    Message::Pong(number) => number,
                };
                assert_eq!(answered, sent, "the answer to the ping in flight");
                if sent == pings {
                    send(&finished, sent);
                } else {
                    sent += 1;
                    send(&peers[other(&mut random, n, place)], Message::Ping { from: place, number: sent });
                }
            }
        });
    }
    let (time, ()) = timed(|| {
        peers.iter().for_each(|peer| send(peer, Message::Start));
        for _ in 0..n {
            receive(&ends);
        }
    });
    time
}

fn subtree(parent: Sender<u64>, first: u64, size: u64) {
    go!(move || {
        if size == 1 {
            return send(&parent, first);
        }
        let (me, mailbox) = mpsc::channel();
        (0..10).for_each(|child| subtree(me.clone(), first + child * (size / 10), size / 10));
        send(&parent, (0..10).map(|_| receive(&mailbox)).sum());
    });
}

fn skynet(depth: u64) -> Duration {
    let size = 10_u64.pow(depth as u32);
    let (root, mailbox) = mpsc::channel();
    let (time, sum) = timed(|| {
        subtree(root, 0, size);
        receive(&mailbox)
    });
    assert_eq!(sum, size * (size - 1) / 2, "the sum of the numbers below {size}");
    time
}

fn call(n: u64) -> Duration {
    let (server, requests) = mpsc::channel::<(u64, Sender<u64>)>();
    go!(move || {
        while let Ok((number, reply)) = requests.recv() {
            // Whoever has given up does not listen.
            let _ = reply.send(number);
        }
    });
    let calls = |n| {
        for number in 0..n {
            let (reply, answer) = mpsc::channel();
            send(&server, (number, reply));
            assert_eq!(answer.recv_timeout(Duration::from_secs(5)), Ok(number));
        }
    };
    calls(1000);
    timed(|| calls(n)).0
}

fn restart(n: u64) -> Duration {
    std::panic::set_hook(Box::new(|_| {}));
    let (time, ()) = timed(|| {
        for crash in 0..n {
            let (child, mailbox) = mpsc::channel();
            let running = go!(move || -> () { panic!("crash {}", receive(&mailbox)) });
            send(&child, crash);
            assert!(running.join().is_err(), "it crashes");
        }
    });
    time
}
