//! S14, the policy that makes senders wait: never more than the limit, nobody sleeps while there is room, nothing is lost.

mod support;

use engset::{
    Address, Builder, Config, Item, Limit, Mailbox, Received, SendError, is_alive, kill, now, process_info,
    reduce, sleep, spawn, spawn_monitor, yield_now,
};
use proptest::prelude::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};
use support::{await_end, both, counter, down_of, drive, systematic, threaded};

const MS: Duration = Duration::from_millis(1);

/// So many senders send so many messages each to a mailbox for `limit`; some are killed on the way.
fn crowd(limit: usize, senders: usize, each: u32, killed: usize, mut main: Mailbox<(usize, u32)>) {
    let me = main.address();
    let (sent, received) = (counter(), counter());
    let (before, after) = (Arc::clone(&sent), Arc::clone(&received));
    let receiver = Builder::new().mailbox(Limit::messages(limit)).spawn(move |mut mailbox: Mailbox<_>| {
        loop {
            let message = mailbox.message();
            // First those that have been sent: what is sent after that look does not count.
            let sent = before.load(SeqCst);
            let received = after.fetch_add(1, SeqCst) + 1;
            assert!(sent <= received + limit, "{sent} sent, {received} received: more than {limit}");
            me.send(message);
        }
    });
    let receiver: Address<(usize, u32)> = receiver.expect("it can be spawned");
    let crowd: Vec<_> = (0..senders)
        .map(|sender| {
            let sent = Arc::clone(&sent);
            spawn_monitor(move || {
                for number in 0..each {
                    receiver.send((sender, number));
                    sent.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    yield_now();
    for (pid, _) in &crowd[..killed] {
        kill(*pid);
    }
    let mut next = vec![0; senders];
    let mut missing: u32 = each * (senders - killed) as u32;
    while missing > 0 {
        let (sender, number) = main.message();
        assert_eq!(number, next[sender], "of sender {sender}, in its order");
        next[sender] += 1;
        missing -= u32::from(sender >= killed);
    }
    for (_, reference) in crowd {
        down_of(&mut main, reference);
    }
}

#[test]
fn there_are_never_more_messages_than_the_limit_and_all_arrive() {
    for limit in [1, 2, 10, 100] {
        both(move |mailbox: Mailbox<_>| crowd(limit, 8, 60, 0, mailbox));
    }
}

#[test]
fn on_more_workers_than_processors_too() {
    for limit in [1, 7, 64, 1000] {
        threaded(Config::new().workers(4), move |mailbox: Mailbox<_>| crowd(limit, 24, 500, 0, mailbox));
    }
}

#[test]
fn senders_that_are_killed_in_line_hold_up_nobody() {
    for limit in [1, 3, 200] {
        both(move |mailbox: Mailbox<_>| crowd(limit, 8, 60, 3, mailbox));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_numbers_all_that_is_sent_arrives_in_order(
        seed in any::<u64>(),
        limit in prop_oneof![1..6_usize, 14..70_usize],
        senders in 1..7_usize,
        each in 1..90_u32,
        killed in 0..3_usize,
    ) {
        let killed = killed.min(senders - 1);
        let scenario = Arc::new(move |mailbox: Mailbox<_>| crowd(limit, senders, each, killed, mailbox));
        prop_assert_eq!(drive(Config::new().seed(seed), Some(0), &scenario), Ok(()));
    }
}

#[test]
fn one_free_place_wakes_a_sender_if_the_receiver_waits() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let receiver = Builder::new().mailbox(Limit::messages(4)).spawn(move |mut mailbox: Mailbox<u32>| {
            let mut select =
                |wanted| mailbox.select(|item| matches!(item, Item::Message(it) if *it == wanted));
            // 1, 2 and 3 stay in the mailbox. What it waits for is with a sender that found no room.
            for wanted in [0, 4, 5, 6] {
                me.send(select(wanted).message().expect("a message"));
            }
        });
        let receiver = receiver.expect("it can be spawned");
        spawn(move || (0..7).for_each(|number| receiver.send(number)));
        for wanted in [0, 4, 5, 6] {
            assert_eq!(mailbox.message(), wanted);
        }
    });
}

#[test]
fn a_receiver_that_takes_one_and_waits_for_its_sender_gets_the_next() {
    // As the test before, with a limit where room is held in advance.
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let receiver =
            Builder::new().mailbox(Limit::messages(100)).spawn(move |mut mailbox: Mailbox<u32>| {
                sleep(5 * MS);
                let mut select =
                    |wanted| mailbox.select(|item| matches!(item, Item::Message(it) if *it == wanted));
                for wanted in [0, 100, 101] {
                    me.send(select(wanted).message().expect("a message"));
                }
            });
        let receiver = receiver.expect("it can be spawned");
        spawn(move || (0..102).for_each(|number| receiver.send(number)));
        for wanted in [0, 100, 101] {
            assert_eq!(mailbox.message(), wanted);
        }
    });
}

#[test]
fn room_is_there_for_who_hears_of_it_in_the_middle_of_a_slice() {
    const TAKEN: usize = 10;
    threaded(Config::new().workers(2), |mut main: Mailbox<()>| {
        let receiver = Builder::new().mailbox(Limit::messages(320)).spawn(|mut mailbox: Mailbox<u32>| {
            let me = mailbox.address();
            let all_fit = Arc::new(AtomicBool::new(false));
            let other = sender_elsewhere(me, TAKEN, &all_fit);
            while me.try_send(0).is_ok() {}
            yield_now();
            (0..TAKEN).for_each(|_| assert_eq!(mailbox.message(), 0));
            // One in two of the new processes is given to the other worker, and what is held back goes before it. The slice goes on.
            for _ in 0..20 {
                other.send(());
                let idler = Builder::new().spread().spawn(|_: Mailbox<()>| {});
                idler.expect("it can be spawned");
            }
            let give_up = now() + support::DEADLINE / 4;
            while !all_fit.load(SeqCst) && now() < give_up {
                std::hint::spin_loop();
            }
            assert!(
                all_fit.load(SeqCst),
                "it has heard that {TAKEN} were received, and did not find their room"
            );
        });
        await_end(&mut main, receiver.expect("it can be spawned").pid());
    });
}

/// A process on another worker than the caller's, which is never idle: when it has heard something it sends so many messages.
fn sender_elsewhere(to: Address<u32>, messages: usize, all_fit: &Arc<AtomicBool>) -> Address<()> {
    let home = thread::current().id();
    loop {
        let is_away = Arc::new(AtomicBool::new(false));
        let (away, done) = (Arc::clone(&is_away), Arc::clone(all_fit));
        let sender = Builder::new().spread().spawn(move |mut mailbox: Mailbox<()>| {
            if thread::current().id() == home {
                return;
            }
            away.store(true, SeqCst);
            while mailbox.try_receive().is_none() {
                yield_now();
            }
            for _ in 0..messages {
                while to.try_send(1).is_err() {
                    yield_now();
                }
            }
            done.store(true, SeqCst);
        });
        let sender = sender.expect("it can be spawned");
        while is_alive(sender) {
            if is_away.load(SeqCst) {
                return sender;
            }
            sleep(MS);
        }
    }
}

#[test]
fn a_large_message_waits_until_its_bytes_fit() {
    both(|mut mailbox: Mailbox<usize>| {
        let me = mailbox.address();
        let limit = Limit::bytes(100).weigh(|text: &String| text.len());
        let receiver = Builder::new().mailbox(limit).spawn(move |mut mailbox: Mailbox<String>| {
            sleep(2 * MS);
            loop {
                me.send(mailbox.message().len());
            }
        });
        let receiver = receiver.expect("it can be spawned");
        // Less than half is in use, and it does not fit.
        receiver.send("x".repeat(45));
        receiver.send("x".repeat(60));
        receiver.send("x".repeat(100));
        for wanted in [45, 60, 100] {
            assert_eq!(mailbox.message(), wanted);
        }
    });
}

#[test]
fn senders_of_all_sizes_get_their_turn() {
    both(|mut mailbox: Mailbox<usize>| {
        let me = mailbox.address();
        let limit = Limit::bytes(100).and_messages(5).weigh(|text: &String| text.len());
        let receiver = Builder::new().mailbox(limit).spawn(move |mut mailbox: Mailbox<String>| {
            loop {
                let held = process_info(mailbox.address()).map_or(0, |info| info.mailbox_len);
                assert!(held <= 5, "{held} messages");
                me.send(mailbox.message().len());
            }
        });
        let receiver = receiver.expect("it can be spawned");
        let sizes = [1, 30, 55, 70, 100];
        for size in sizes {
            spawn(move || (0..10).for_each(|_| receiver.send("x".repeat(size))));
        }
        let mut total = 0;
        for _ in 0..10 * sizes.len() {
            total += mailbox.message();
        }
        assert_eq!(total, 10 * sizes.iter().sum::<usize>());
    });
}

#[test]
fn with_one_worker_the_limit_is_exact() {
    systematic(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let receiver =
            Builder::new().mailbox(Limit::messages(100)).spawn(move |mut mailbox: Mailbox<u32>| {
                loop {
                    let Received::Message(number) = mailbox.receive() else { continue };
                    if number == 0 {
                        // It goes on with its slice, if it can; the one that hears of it finds the room.
                        me.send(number);
                        reduce(1);
                    } else {
                        sleep(Duration::MAX);
                    }
                }
            });
        let receiver = receiver.expect("it can be spawned");
        // Takes more room at a time than it needs.
        (0..11).for_each(|_| receiver.send(0));
        (0..11).for_each(|_| assert_eq!(mailbox.message(), 0));
        (0..7).for_each(|_| receiver.send(1));
        // It takes the first of them, and then no more.
        sleep(MS);
        let mut fit = 0;
        while receiver.try_send(1).is_ok() {
            fit += 1;
        }
        assert_eq!(fit, 94, "beside the 6 that are there");
        let other = spawn(move || assert_eq!(receiver.try_send(1), Err(SendError::Full(1))));
        await_end(&mut mailbox, other);
    });
}

#[test]
fn pairs_with_a_window_as_large_as_the_limit_never_wait_for_ever() {
    for window in [1, 3, 50, 300] {
        both(move |mut mailbox: Mailbox<u32>| {
            let me = mailbox.address();
            let echo =
                Builder::new().mailbox(Limit::messages(window)).spawn(move |mut mailbox: Mailbox<u32>| {
                    loop {
                        let number = mailbox.message();
                        me.send(number);
                    }
                });
            let echo = echo.expect("it can be spawned");
            let window = window as u32;
            (0..window).for_each(|number| echo.send(number));
            for number in 0..window + 300 {
                assert_eq!(mailbox.message(), number);
                echo.send(window + number);
            }
        });
    }
}

#[test]
fn a_server_with_a_bounded_mailbox_takes_in_all() {
    both(|mut mailbox: Mailbox<u64>| {
        let me = mailbox.address();
        let adder =
            engset::Builder::new().mailbox(Limit::messages(20)).serve(Adder { sum: 0, missing: 900, to: me });
        let adder = adder.expect("it can be spawned");
        for _ in 0..9 {
            spawn(move || (0..100).for_each(|number| adder.send(number)));
        }
        assert_eq!(mailbox.message(), 9 * 4950);
    });
}

struct Adder {
    sum: u64,
    missing: u32,
    to: Address<u64>,
}

impl engset::Server for Adder {
    type Message = u64;

    fn handle(&mut self, received: Received<u64>) -> engset::Flow {
        if let Received::Message(number) = received {
            self.sum += number;
            self.missing -= 1;
            if self.missing == 0 {
                self.to.send(self.sum);
            }
        }
        engset::Flow::Continue
    }
}
