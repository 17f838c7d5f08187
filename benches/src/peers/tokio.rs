//! tokio: a process is a task with a channel, a call is a oneshot in a request, with `tokio::time::timeout`.
//!
//! `fanin bound=N` has a bounded channel. A monitor is a task of a `JoinSet`, a supervisor a loop around a `JoinHandle`:
//! what users of tokio write where others have supervision. Timers are sleeping tasks that are aborted.

use super::{COOPERATIVE, Measured, Outcome, cancelled, on_tokio, other};
use crate::{measure::resident, options::Options};
use engset::Random;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    spawn,
    sync::{mpsc, oneshot},
    task::{JoinSet, yield_now},
    time::{sleep, timeout},
};

pub(super) fn run(options: &Options) -> Outcome {
    let number = |name| options.number(name);
    match options.workload().name {
        "spawn" => on_tokio(options, spawning(number("n"))),
        "idle" => on_tokio(options, idle(number("n"))),
        "pingpong" => on_tokio(options, pairs(1, number("n"), 1)),
        "pairs" => on_tokio(options, pairs(number("pairs"), number("n"), number("window"))),
        "fanin" if number("bound") > 0 => {
            on_tokio(options, bounded_fanin(number("senders"), number("n"), number("bound")))
        }
        "fanin" => on_tokio(options, fanin(number("senders"), number("n"))),
        "ring" | "bigring" => on_tokio(options, ring(number("size"), number("hops"))),
        "big" => on_tokio(options, big(number("n"), number("pings"))),
        "skynet" => on_tokio(options, skynet(number("depth"))),
        "call" => on_tokio(options, call(number("n"))),
        "timers" => on_tokio(options, timers(number("n"))),
        "restart" => on_tokio(options, restart(number("n"))),
        "monitor" => on_tokio(options, monitor(number("n"))),
        "hog" => Err(COOPERATIVE),
        _ => Err("the program for tokio has no such workload"),
    }
}

type Tx = mpsc::UnboundedSender<u64>;
type Rx = mpsc::UnboundedReceiver<u64>;

fn channel() -> (Tx, Rx) {
    mpsc::unbounded_channel()
}

fn send(to: &Tx, number: u64) {
    to.send(number).expect("the receiver is there");
}

async fn receive(from: &mut Rx) -> u64 {
    from.recv().await.expect("a sender is there")
}

async fn collect(mut from: Rx, n: u64) {
    let mut sum = 0;
    for _ in 0..n {
        sum += receive(&mut from).await;
    }
    assert_eq!(sum, n * (n + 1) / 2, "the sum of the numbers from 1 to {n}");
}

/// As `timed`, for what waits.
async fn timed_async<T>(job: impl Future<Output = T>) -> (Duration, T) {
    let start = tokio::time::Instant::now();
    let result = job.await;
    (start.elapsed(), result)
}

async fn spawning(n: u64) -> Outcome {
    let (collector, inbox) = channel();
    let (time, ()) = timed_async(async {
        spawn(async move {
            for number in 1..=n {
                let (mailbox, collector) = (channel(), collector.clone());
                spawn(async move {
                    let _mailbox = mailbox;
                    send(&collector, number);
                });
            }
        });
        collect(inbox, n).await;
    })
    .await;
    Ok(Measured::Time(time))
}

async fn idle(n: u64) -> Outcome {
    let (collector, inbox) = channel();
    let before = resident();
    let (time, _tasks) = timed_async(async {
        let tasks = spawn(async move {
            let mut tasks = Vec::new();
            for number in 1..=n {
                let ((to, mut mailbox), collector) = (channel(), collector.clone());
                spawn(async move {
                    while let Some(number) = mailbox.recv().await {
                        send(&collector, number);
                    }
                });
                send(&to, number);
                tasks.push(to);
            }
            tasks
        });
        collect(inbox, n).await;
        tasks.await
    })
    .await;
    Ok(Measured::Idle(time, resident().saturating_sub(before)))
}

async fn pairs(pairs: u64, n: u64, window: u64) -> Outcome {
    let (time, ()) = timed_async(async {
        let mut pingers = JoinSet::new();
        for _ in 0..pairs {
            let ((ping, mut pings), (pong, mut pongs)) = (channel(), channel());
            spawn(async move {
                while let Some(number) = pings.recv().await {
                    // The last answers come when nobody wants them.
                    let _ = pong.send(number);
                }
            });
            pingers.spawn(async move {
                let mut sent = n.min(window);
                (0..sent).for_each(|number| send(&ping, number));
                for expected in 0..n {
                    assert_eq!(receive(&mut pongs).await, expected, "answers come in order");
                    if sent < n {
                        send(&ping, sent);
                        sent += 1;
                    }
                }
            });
        }
        pingers.join_all().await;
    })
    .await;
    Ok(Measured::Time(time))
}

async fn fanin(senders: u64, n: u64) -> Outcome {
    let (to, mut inbox) = channel();
    let (time, total) = timed_async(async {
        for _ in 0..senders {
            let to = to.clone();
            spawn(async move { (1..=n).for_each(|number| send(&to, number)) });
        }
        let mut total = 0;
        for _ in 0..senders * n {
            total += receive(&mut inbox).await;
        }
        total
    })
    .await;
    assert_eq!(total, senders * (n * (n + 1) / 2), "the sum of all items");
    Ok(Measured::Time(time))
}

async fn bounded_fanin(senders: u64, n: u64, bound: u64) -> Outcome {
    let (to, mut inbox) = mpsc::channel::<u64>(bound as usize);
    let (time, total) = timed_async(async {
        for _ in 0..senders {
            let to = to.clone();
            spawn(async move {
                for number in 1..=n {
                    to.send(number).await.expect("the receiver is there");
                }
            });
        }
        let mut total = 0;
        for _ in 0..senders * n {
            total += inbox.recv().await.expect("a sender is there");
        }
        total
    })
    .await;
    assert_eq!(total, senders * (n * (n + 1) / 2), "the sum of all items");
    Ok(Measured::Time(time))
}

async fn ring(size: u64, hops: u64) -> Outcome {
    let ((finished, mut end), (first, mut mailbox)) = (channel(), channel());
    for place in 1..=size {
        let (next, next_mailbox) = channel();
        let (next, finished) = (if place == size { first.clone() } else { next }, finished.clone());
        spawn(async move {
            while let Some(left) = mailbox.recv().await {
                if left == 0 { send(&finished, 0) } else { send(&next, left - 1) }
            }
        });
        mailbox = next_mailbox;
    }
    // A lap that does not count.
    send(&first, size);
    receive(&mut end).await;
    let (time, _) = timed_async(async {
        send(&first, hops);
        receive(&mut end).await
    })
    .await;
    Ok(Measured::Time(time))
}

enum Message {
    Start,
    Ping { from: usize, number: u64 },
    Pong(u64),
}

async fn big(n: u64, pings: u64) -> Outcome {
    let n = n as usize;
    let (finished, mut ends) = channel();
    let (peers, mailboxes): (Vec<_>, Vec<_>) = (0..n).map(|_| mpsc::unbounded_channel::<Message>()).unzip();
    let peers: Arc<[_]> = peers.into();
    for (place, mut mailbox) in mailboxes.into_iter().enumerate() {
        let (peers, finished) = (Arc::clone(&peers), finished.clone());
        let tell = move |to: usize, message| peers[to].send(message).expect("the peer is there");
        spawn(async move {
            let (mut random, mut sent) = (Random::new(place as u64), 0);
            while let Some(message) = mailbox.recv().await {
                let answered = match message {
                    Message::Ping { from, number } => {
                        tell(from, Message::Pong(number));
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
                    tell(other(&mut random, n, place), Message::Ping { from: place, number: sent });
                }
            }
        });
    }
    let (time, ()) = timed_async(async {
        for peer in peers.iter() {
            peer.send(Message::Start).expect("the peer is there");
        }
        for _ in 0..n {
            receive(&mut ends).await;
        }
    })
    .await;
    Ok(Measured::Time(time))
}

fn subtree(parent: Tx, first: u64, size: u64) {
    spawn(async move {
        if size == 1 {
            send(&parent, first);
            return;
        }
        let (me, mut mailbox) = channel();
        (0..10).for_each(|child| subtree(me.clone(), first + child * (size / 10), size / 10));
        let mut sum = 0;
        for _ in 0..10 {
            sum += receive(&mut mailbox).await;
        }
        send(&parent, sum);
    });
}

async fn skynet(depth: u64) -> Outcome {
    let size = 10_u64.pow(depth as u32);
    let (root, mut mailbox) = channel();
    let (time, sum) = timed_async(async {
        subtree(root, 0, size);
        receive(&mut mailbox).await
    })
    .await;
    assert_eq!(sum, size * (size - 1) / 2, "the sum of the numbers below {size}");
    Ok(Measured::Time(time))
}

async fn call(n: u64) -> Outcome {
    let (server, mut requests) = mpsc::unbounded_channel::<(u64, oneshot::Sender<u64>)>();
    spawn(async move {
        while let Some((number, reply)) = requests.recv().await {
            // Whoever has given up does not listen.
            let _ = reply.send(number);
        }
    });
    let calls = async |n| {
        for number in 0..n {
            let (reply, answer) = oneshot::channel();
            server.send((number, reply)).expect("the server is there");
            let answer = timeout(Duration::from_secs(5), answer).await;
            assert_eq!(answer.expect("in time").expect("an answer"), number);
        }
    };
    calls(1000).await;
    Ok(Measured::Time(timed_async(calls(n)).await.0))
}

/// Counts what is dropped with its task.
struct Gone(Arc<AtomicU64>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A timer is there when its task has run once, and it is cancelled when the task is gone.
async fn timers(n: u64) -> Outcome {
    let (me, _mailbox) = channel();
    let mut random = Random::new(1);
    let times: Vec<_> = (0..n).map(|_| Duration::from_millis(1 + random.below(60_000))).collect();
    let (armed, gone) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (setting, tasks) = timed_async(async {
        let mut tasks = Vec::with_capacity(times.len());
        for (number, time) in (0..).zip(times) {
            let (me, armed, gone) = (me.clone(), Arc::clone(&armed), Gone(Arc::clone(&gone)));
            let task = spawn(async move {
                let _gone = gone;
                armed.fetch_add(1, Ordering::Relaxed);
                sleep(time).await;
                let _ = me.send(number);
            });
            tasks.push(task.abort_handle());
        }
        while armed.load(Ordering::Relaxed) < n {
            yield_now().await;
        }
        tasks
    })
    .await;
    let (cancelling, ()) = timed_async(async {
        for (number, task) in tasks.iter().enumerate() {
            if number % 10 != 9 {
                task.abort();
            }
        }
        while gone.load(Ordering::Relaxed) < cancelled(n) {
            yield_now().await;
        }
    })
    .await;
    Ok(Measured::Timers(setting, cancelling))
}

async fn restart(n: u64) -> Outcome {
    std::panic::set_hook(Box::new(|_| {}));
    let (time, ()) = timed_async(async {
        for crash in 0..n {
            let (child, mut mailbox) = channel();
            let running = spawn(async move {
                let number = receive(&mut mailbox).await;
                panic!("crash {number}");
            });
            send(&child, crash);
            assert!(running.await.is_err_and(|error| error.is_panic()), "it crashes");
        }
    })
    .await;
    Ok(Measured::Time(time))
}

async fn monitor(n: u64) -> Outcome {
    let (time, ends) = timed_async(async {
        let mut set = JoinSet::new();
        let mut waiters = Vec::new();
        for _ in 0..n {
            let (to, mut mailbox) = channel();
            set.spawn(async move { receive(&mut mailbox).await });
            waiters.push(to);
        }
        (0..).zip(&waiters).for_each(|(number, waiter)| send(waiter, number));
        let mut ends = 0;
        while set.join_next().await.is_some() {
            ends += 1;
        }
        ends
    })
    .await;
    assert_eq!(ends, n, "all have ended");
    Ok(Measured::Time(time))
}
