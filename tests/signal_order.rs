//! S1: signals of one sender to one receiver arrive in the order sent, all kinds together.

mod support;

use engset::{
    Address, Alias, Config, DownReason, Event, ExitReason, Flow, Item, Mailbox, Pid, Received, exit,
    exit_self, kill, link, monitor, reduce, serve_with, sleep, spawn, spawn_link, spawn_monitor, trap_exits,
    unlink, yield_now,
};
use proptest::prelude::*;
use std::{sync::Arc, time::Duration};
use support::{boom, both, both_with, drive, signals_have_acted, threaded};

#[test]
fn a_down_never_overtakes_a_message_that_the_dying_process_sent_before() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let (_, reference) = spawn_monitor(move || (0..500).for_each(|number| me.send(number)));
        for number in 0..500 {
            match mailbox.receive() {
                Received::Message(message) => assert_eq!(message, number),
                Received::Event(event) => panic!("{event:?} came before message {number}"),
            }
        }
        assert!(
            matches!(mailbox.receive(), Received::Event(Event::Down(down)) if down.reference == reference)
        );
    });
}

#[test]
fn an_exit_never_overtakes_a_message_that_the_dying_process_sent_before() {
    both(|mut mailbox: Mailbox<u32>| {
        trap_exits(true);
        let me = mailbox.address();
        let dying = spawn_link(move || {
            (0..300).for_each(|number| me.send(number));
            exit_self(boom());
        });
        for number in 0..300 {
            match mailbox.receive() {
                Received::Message(message) => assert_eq!(message, number),
                Received::Event(event) => panic!("{event:?} came before message {number}"),
            }
        }
        match mailbox.receive() {
            Received::Event(Event::Exit(exit)) => assert_eq!((exit.from, exit.reason), (dying, boom())),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn messages_that_a_destructor_sends_come_before_the_down() {
    struct Last(Address<u32>);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.send(2);
        }
    }
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let (victim, _) = spawn_monitor(move || {
            let _last = Last(me);
            me.send(1);
            sleep(Duration::MAX);
        });
        assert_eq!(mailbox.message(), 1);
        kill(victim);
        assert!(matches!(mailbox.receive(), Received::Message(2)));
        assert!(matches!(mailbox.receive(), Received::Event(Event::Down(_))));
    });
}

#[test]
fn each_sender_keeps_its_own_order_whatever_the_others_do() {
    both(|mut mailbox: Mailbox<(usize, u32)>| {
        let me = mailbox.address();
        for sender in 0..4 {
            spawn(move || {
                for number in 0..200 {
                    me.send((sender, number));
                    reduce(number * 7 % 130);
                }
            });
        }
        let mut next = [0; 4];
        for _ in 0..800 {
            let (sender, number) = mailbox.message();
            assert_eq!(number, next[sender], "sender {sender}");
            next[sender] += 1;
        }
    });
}

#[test]
fn one_sender_that_alternates_between_receivers_keeps_the_order_to_each() {
    both(|mut mailbox: Mailbox<bool>| {
        let me = mailbox.address();
        let receivers: Vec<Address<u32>> = (0..8)
            .map(|_| {
                spawn(move |mut mailbox: Mailbox<u32>| {
                    me.send((0..100).all(|number| mailbox.message() == number));
                })
            })
            .collect();
        for number in 0..100 {
            receivers.iter().for_each(|receiver| receiver.send(number));
        }
        for _ in 0..8 {
            assert!(mailbox.message(), "out of order");
        }
    });
}

#[test]
fn order_is_kept_while_servers_without_a_stack_move_between_workers() {
    // Each server passes on what it gets, in order, to the next one; all of them can move at any time.
    threaded(Config::new().workers(4), |mut mailbox: Mailbox<u32>| {
        for _ in 0..20 {
            let mut to = mailbox.address();
            for _ in 0..30 {
                to = serve_with(to, |next: &mut Address<u32>, received: Received<u32>| {
                    if let Received::Message(number) = received {
                        next.send(number);
                    }
                    Flow::Continue
                });
            }
            let noise: Vec<Pid> = (0..8).map(|_| spawn(|| (0..2000).for_each(|_| reduce(50)))).collect();
            for number in 0..500 {
                to.send(number);
                if number % 50 == 0 {
                    yield_now();
                }
            }
            for number in 0..500 {
                assert_eq!(mailbox.message(), number);
            }
            noise.into_iter().for_each(kill);
        }
    });
}

#[test]
fn an_exit_signal_acts_in_its_place_among_messages() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let receiver = spawn(move |mut mailbox: Mailbox<u32>| {
            trap_exits(true);
            me.send(0);
            for number in 0..20 {
                match mailbox.receive() {
                    Received::Message(message) => assert_eq!(message, number),
                    other => panic!("{other:?} before {number}"),
                }
                match mailbox.receive() {
                    Received::Event(Event::Exit(exit)) => {
                        assert_eq!(exit.reason, ExitReason::error(number.to_string()));
                    }
                    other => panic!("{other:?} in the place of exit {number}"),
                }
            }
            me.send(1);
        });
        assert_eq!(mailbox.message(), 0);
        for number in 0..20 {
            receiver.send(number);
            exit(receiver, ExitReason::error(number.to_string()));
        }
        assert_eq!(mailbox.message(), 1);
    });
}

#[test]
fn a_question_about_a_process_is_answered_after_what_was_sent_before() {
    both(|_mailbox: Mailbox<()>| {
        let victim = spawn(|| sleep(Duration::MAX));
        assert!(engset::is_alive(victim));
        exit(victim, boom());
        assert!(!engset::is_alive(victim), "the question has overtaken the exit signal");
    });
}

#[test]
fn a_monitor_that_follows_an_exit_signal_finds_the_process_dead() {
    both(|mut mailbox: Mailbox<()>| {
        let victim = spawn(|| sleep(Duration::MAX));
        exit(victim, boom());
        let reference = monitor(victim);
        assert_eq!(support::down_of(&mut mailbox, reference).reason, DownReason::NoProc);
    });
}

#[test]
fn a_link_that_is_ended_and_made_again_is_a_link() {
    both(|mut mailbox: Mailbox<()>| {
        trap_exits(true);
        let peer = spawn(|| sleep(Duration::MAX));
        for _ in 0..5 {
            link(peer);
            unlink(peer);
        }
        link(peer);
        signals_have_acted(peer);
        exit(peer, boom());
        assert_eq!(support::exit_of(&mut mailbox, peer).reason, boom());
        support::assert_silence(&mut mailbox);
    });
}

#[test]
fn plain_messages_and_those_to_an_alias_keep_their_order() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let aliases: Vec<Alias<u32>> = (0..50).map(|_| Alias::new(&mailbox)).collect();
        spawn(move || {
            for (number, alias) in (0..).zip(aliases) {
                me.send(2 * number);
                alias.send(2 * number + 1);
            }
        });
        for number in 0..100 {
            assert_eq!(mailbox.message(), number);
        }
    });
}

#[test]
fn a_request_and_plain_messages_of_one_sender_keep_their_order() {
    enum To {
        Plain(u32),
        Ask(engset::Reply<Vec<u32>>),
    }
    both(|_mailbox: Mailbox<()>| {
        let server = spawn(|mut mailbox: Mailbox<To>| {
            let mut seen = Vec::new();
            loop {
                match mailbox.message() {
                    To::Plain(number) => seen.push(number),
                    To::Ask(reply) => reply.send(std::mem::take(&mut seen)),
                }
            }
        });
        for round in 0..30 {
            (0..round).for_each(|number| server.send(To::Plain(number)));
            assert_eq!(server.call(To::Ask).unwrap(), (0..round).collect::<Vec<_>>());
        }
    });
}

/// What a sender does next.
#[derive(Clone, Debug)]
enum Op {
    Message,
    Exit,
    Alias,
    Yield,
    Work(u32),
    LinkAndUnlink,
    MonitorAndForget,
    Ask,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Message),
        2 => Just(Op::Exit),
        1 => Just(Op::Alias),
        1 => Just(Op::Yield),
        1 => (1..5000_u32).prop_map(Op::Work),
        1 => Just(Op::LinkAndUnlink),
        1 => Just(Op::MonitorAndForget),
        1 => Just(Op::Ask),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_mixture_of_signals_arrives_in_the_order_sent(ops in prop::collection::vec(op(), 1..80), seed in 0..u64::MAX) {
        let scenario = Arc::new(move |mut mailbox: Mailbox<u32>| {
            trap_exits(true);
            let me = mailbox.address();
            let aliases: Vec<Alias<u32>> = ops.iter().map(|_| Alias::new(&mailbox)).collect();
            let mut expected = Vec::new();
            for (number, op) in (0..).zip(&ops) {
                match op {
                    Op::Message | Op::Alias => expected.push((false, number)),
                    Op::Exit => expected.push((true, number)),
                    _ => {}
                }
            }
            let ops = ops.clone();
            let (_, reference) = spawn_monitor(move || {
                for ((number, op), alias) in (0..).zip(ops).zip(aliases) {
                    match op {
                        Op::Message => me.send(number),
                        Op::Exit => exit(me, ExitReason::error(number.to_string())),
                        Op::Alias => alias.send(number),
                        Op::Yield => yield_now(),
                        Op::Work(units) => reduce(units),
                        Op::LinkAndUnlink => {
                            link(me);
                            unlink(me);
                        }
                        Op::MonitorAndForget => assert!(engset::demonitor(monitor(me), true)),
                        Op::Ask => assert!(engset::is_alive(me)),
                    }
                }
            });
            let mut seen = Vec::new();
            loop {
                match mailbox.receive() {
                    Received::Message(number) => seen.push((false, number)),
                    Received::Event(Event::Exit(exit)) => match &exit.reason {
                        ExitReason::Error(text) => seen.push((true, text.parse().unwrap())),
                        other => panic!("{other}"),
                    },
                    Received::Event(Event::Down(down)) if down.reference == reference => {
                        assert_eq!(down.reason, DownReason::Exited(ExitReason::Normal));
                        break;
                    }
                    Received::Event(other) => panic!("{other:?}"),
                }
            }
            assert_eq!(seen, expected);
        });
        let systematic = drive(Config::new().seed(seed), Some(0), &scenario);
        prop_assert!(systematic.is_ok(), "seed {seed}: {systematic:?}");
        let threaded = drive(Config::new().workers(2), Some(0), &scenario);
        prop_assert!(threaded.is_ok(), "{threaded:?}");
    }
}

#[test]
fn order_holds_when_the_receiver_selects_the_last_message_first() {
    both_with(Config::new(), Some(0), |mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        spawn(move || (0..100).for_each(|number| me.send(number)));
        let last = mailbox.select(|item| matches!(item, Item::Message(99)));
        assert_eq!(last.message(), Some(99));
        for number in 0..99 {
            assert_eq!(mailbox.message(), number);
        }
    });
}
