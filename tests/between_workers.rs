//! S1, S6, S8 where senders and receivers live on different workers, and messages travel in long runs (bundles).

mod support;

use engset::{
    Address, Builder, Config, DownReason, Event, ExitReason, Item, Mailbox, Received, exit, kill, monitor,
    sleep, spawn_monitor, trap_exits,
};
use std::{
    hint::black_box,
    sync::Arc,
    thread::{self, ThreadId},
    time::Duration,
};
use support::{both, threaded};

/// Messages that each sender sends.
const EACH: u32 = 5_000;
/// A signal after so many messages: some runs are broken by one, others not.
const SIGNAL_AFTER: u32 = 97;

fn two_workers() -> Config {
    Config::new().workers(2)
}

/// Processes that start on one worker after the other.
fn spread(body: impl FnOnce() + Send + 'static) {
    Builder::new().spread().spawn(move |_: Mailbox<()>| body()).expect("a process");
}

#[test]
fn long_runs_keep_their_order_with_signals_between() {
    both(|mut mailbox: Mailbox<(u32, u32)>| {
        trap_exits(true);
        let me = mailbox.address();
        for sender in 0..4 {
            spread(move || {
                for number in 0..EACH / 10 {
                    me.send((sender, number));
                    if number % SIGNAL_AFTER == SIGNAL_AFTER - 1 {
                        exit(me, ExitReason::ShutdownWith(format!("{sender} {number}").into()));
                    }
                }
            });
        }
        check(&mut mailbox, EACH / 10);
    });
    threaded(two_workers(), |mut mailbox: Mailbox<(u32, u32)>| {
        trap_exits(true);
        let me = mailbox.address();
        for sender in 0..4 {
            spread(move || {
                for number in 0..EACH {
                    me.send((sender, number));
                    if number % SIGNAL_AFTER == SIGNAL_AFTER - 1 {
                        exit(me, ExitReason::ShutdownWith(format!("{sender} {number}").into()));
                    }
                }
            });
        }
        check(&mut mailbox, EACH);
    });
}

/// What each of four senders has sent comes in its order, and each exit signal right behind the message before it.
fn check(mailbox: &mut Mailbox<(u32, u32)>, each: u32) {
    let mut next = [0; 4];
    let signals = 4 * (each / SIGNAL_AFTER);
    for _ in 0..4 * each + signals {
        match mailbox.receive() {
            Received::Message((sender, number)) => {
                assert_eq!(number, next[sender as usize], "of sender {sender}");
                next[sender as usize] += 1;
            }
            Received::Event(Event::Exit(end)) => {
                let ExitReason::ShutdownWith(text) = end.reason else { panic!("{end:?}") };
                let is_behind =
                    |(sender, next): (usize, &u32)| *text == *format!("{sender} {}", next.wrapping_sub(1));
                assert!(
                    next.iter().enumerate().any(is_behind),
                    "{text} does not come behind its message: {next:?}"
                );
            }
            Received::Event(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(next, [each; 4]);
}

#[test]
fn a_search_looks_into_runs_that_have_come_as_a_whole() {
    threaded(two_workers(), |mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        spread(move || (0..EACH).for_each(|number| me.send(number)));
        let odd = |item: Item<'_, u32>| matches!(item, Item::Message(number) if number % 2 == 1);
        for number in (1..EACH).step_by(2) {
            assert_eq!(mailbox.select(odd).message(), Some(number));
        }
        for number in (0..EACH).step_by(2) {
            assert_eq!(mailbox.message(), number);
        }
    });
}

#[test]
fn what_is_on_its_way_to_the_dead_is_dropped_once_and_reaches_nobody_else() {
    threaded(two_workers(), |mut mailbox: Mailbox<()>| {
        let payload = Arc::new(());
        for round in 0..100_u32 {
            // It takes some of what comes, and ends; another process soon has its place.
            let (receiver, reference) = victim(round);
            for _ in 0..2 {
                let payload = Arc::clone(&payload);
                spread(move || {
                    for _ in 0..1_000 {
                        receiver.send((round, Arc::clone(&payload)));
                    }
                });
            }
            if round % 3 == 0 {
                kill(receiver);
            }
            match mailbox.receive() {
                Received::Event(Event::Down(down)) => {
                    assert_eq!(down.reference, reference);
                    let as_it_should = match &down.reason {
                        DownReason::Exited(reason) => reason.is_normal() || *reason == ExitReason::Killed,
                        _ => false,
                    };
                    assert!(as_it_should, "{:?}", down.reason);
                }
                other => panic!("{other:?}"),
            }
        }
        // Whoever still sends, sends to the dead.
        while Arc::strong_count(&payload) > 1 {
            sleep(Duration::from_millis(1));
        }
    });
}

type Marked = (u32, Arc<()>);

fn victim(round: u32) -> (Address<Marked>, engset::MonitorRef) {
    spawn_monitor(move |mut mailbox: Mailbox<Marked>| {
        for _ in 0..round * 7 {
            let (of, _) = mailbox.message();
            assert_eq!(of, round, "a message for an earlier life");
        }
    })
}

#[test]
fn a_server_that_is_given_away_with_runs_in_its_mailbox_loses_nothing() {
    threaded(two_workers(), |mut mailbox: Mailbox<u64>| {
        let me = mailbox.address();
        let servers: Vec<_> = (0..64)
            .map(|_| {
                let mut sum = 0;
                engset::serve_with((), move |(), received: Received<u32>| {
                    if let Received::Message(number) = received {
                        assert_eq!(u64::from(number), sum, "the next one");
                        sum += 1;
                        if sum == 500 {
                            me.send(sum);
                        }
                        // Long enough that the other worker is given some of them.
                        engset::reduce(200);
                    }
                    engset::Flow::Continue
                })
            })
            .collect();
        let watched: Vec<_> = servers.iter().map(|server| monitor(*server)).collect();
        for half in 0..2 {
            let servers = servers.clone();
            spread(move || {
                for server in servers.into_iter().skip(half).step_by(2) {
                    (0..500).for_each(|number| server.send(number));
                }
            });
        }
        for _ in 0..64 {
            match mailbox.receive() {
                Received::Message(sum) => assert_eq!(sum, 500),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(watched.len(), 64);
    });
}

/// Computes for some milliseconds without a reduction point, then says on which thread.
fn compute_and_report(to: Address<ThreadId>) {
    let sum = (0..300_000_u64).fold(0, |sum, number| black_box(sum ^ number.wrapping_mul(0x9E37_79B9)));
    black_box(sum);
    to.send(thread::current().id());
}

#[test]
fn a_few_long_processes_do_not_all_stay_where_they_were_spawned() {
    threaded(two_workers(), |mut mailbox: Mailbox<ThreadId>| {
        let (me, here) = (mailbox.address(), thread::current().id());
        // The other worker may be late: its thread may not have come to run yet.
        let elsewhere = (0..2_000).any(|_| {
            for _ in 0..4 {
                engset::spawn(move || compute_and_report(me));
            }
            (0..4).filter(|_| mailbox.message() != here).count() > 0
        });
        assert!(elsewhere, "the other worker had nothing to do");
    });
}

/// A binary tree of processes of this depth; the number of leaves goes to the parent.
fn tree(depth: u32, parent: Address<u64>) {
    engset::spawn(move |mut mailbox: Mailbox<u64>| {
        if depth == 0 {
            return parent.send(1);
        }
        (0..2).for_each(|_| tree(depth - 1, mailbox.address()));
        parent.send((0..2).map(|_| mailbox.message()).sum());
    });
}

#[test]
fn a_tree_that_is_given_away_in_parts_is_summed_up() {
    threaded(Config::new().workers(4), |mut mailbox: Mailbox<u64>| {
        for _ in 0..4 {
            tree(14, mailbox.address());
        }
        assert_eq!((0..4).map(|_| mailbox.message()).sum::<u64>(), 4 << 14);
    });
}
