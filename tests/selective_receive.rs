//! S8: selective receive.

mod support;

use engset::{
    Config, Event, Item, Mailbox, Received, Reply, kill, now, process_info, reductions_left, self_pid, sleep,
    spawn, spawn_monitor,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use support::{both, both_with, counter, signals_have_acted, threaded};

fn is(wanted: u32) -> impl FnMut(Item<'_, u32>) -> bool {
    move |item| matches!(item, Item::Message(number) if *number == wanted)
}

#[test]
fn the_first_match_in_queue_order_wins_and_the_rest_stays_in_place() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        (0..10).for_each(|number| me.send(number));
        let even_above_three = |item: Item<'_, u32>| matches!(item, Item::Message(n) if n % 2 == 0 && *n > 3);
        assert_eq!(mailbox.select(even_above_three).message(), Some(4));
        assert_eq!(mailbox.select(even_above_three).message(), Some(6));
        for number in [0, 1, 2, 3, 5, 7, 8, 9] {
            assert_eq!(mailbox.message(), number);
        }
    });
}

#[test]
fn messages_and_events_are_in_one_queue() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        me.send(0);
        let (child, reference) = spawn_monitor(move || me.send(1));
        support::await_end(&mut mailbox, child);
        me.send(2);
        assert_eq!(mailbox.message(), 0);
        assert_eq!(mailbox.message(), 1, "events stay");
        assert_eq!(mailbox.message(), 2, "events stay");
        assert!(
            matches!(mailbox.receive(), Received::Event(Event::Down(down)) if down.reference == reference)
        );
    });
}

#[test]
fn what_has_been_looked_at_is_not_looked_at_again_after_a_wake_up() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        (0..500).for_each(|number| me.send(number));
        spawn(move || {
            for number in 500..600 {
                me.send(number);
                sleep(Duration::from_micros(300));
            }
        });
        let mut looks = 0;
        let found = mailbox.select(|item| {
            looks += 1;
            matches!(item, Item::Message(599))
        });
        assert_eq!(found.message(), Some(599));
        assert_eq!(looks, 600, "one look at each message, however often it was woken");
        assert_eq!(process_info(self_pid()).unwrap().mailbox_len, 599);
    });
}

#[test]
fn a_call_does_not_look_at_two_hundred_thousand_messages_that_wait() {
    // The time of a call cannot be counted, but its reductions, its looks and its wake-ups can.
    #[derive(Debug)]
    struct Ask(#[allow(dead_code, reason = "answered below")] Option<Reply<u32>>);
    threaded(Config::new().workers(1).slice(4_000_u32), |mut mailbox: Mailbox<u32>| {
        let server = spawn(|mut mailbox: Mailbox<Ask>| {
            while let Some(reply) = mailbox.message().0 {
                reply.send(7);
            }
        });
        let cost = || {
            engset::yield_now();
            let before = reductions_left();
            assert_eq!(server.call(|reply| Ask(Some(reply))), Ok(7));
            (before, reductions_left())
        };
        let empty = cost();
        let me = mailbox.address();
        (0..200_000).for_each(|number| me.send(number));
        let full = cost();
        assert_eq!(empty, full, "the same reductions with an empty and a full mailbox");
        assert_eq!(process_info(self_pid()).unwrap().mailbox_len, 200_000);
        for number in 0..200_000 {
            assert_eq!(mailbox.message(), number);
        }
    });
}

#[test]
fn waiting_for_an_answer_is_not_disturbed_by_messages_that_come() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let server = spawn(move |mut mailbox: Mailbox<Reply<u32>>| {
            let reply = mailbox.message();
            (0..100).for_each(|number| me.send(number));
            reply.send(1);
        });
        assert_eq!(server.call(|reply| reply), Ok(1));
        for number in 0..100 {
            assert_eq!(mailbox.message(), number);
        }
    });
}

#[test]
fn a_timeout_of_zero_only_looks() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let start = now();
        assert!(mailbox.select_timeout(is(1), Duration::ZERO).is_none());
        assert!(mailbox.receive_timeout(Duration::ZERO).is_none());
        assert!(mailbox.message_timeout(Duration::ZERO).is_none());
        assert!(mailbox.try_receive().is_none());
        me.send(0);
        me.send(1);
        assert!(mailbox.select_timeout(is(1), Duration::ZERO).is_some());
        assert!(mailbox.receive_timeout(Duration::ZERO).is_some());
        assert!(now() - start < Duration::from_secs(10));
    });
}

#[test]
fn a_select_that_times_out_leaves_everything_in_place() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        (0..10).for_each(|number| me.send(number));
        let start = now();
        assert!(mailbox.select_timeout(is(99), Duration::from_millis(5)).is_none());
        assert!(now() - start >= Duration::from_millis(5));
        (10..20).for_each(|number| me.send(number));
        for number in 0..20 {
            assert_eq!(mailbox.message(), number);
        }
    });
}

#[test]
fn a_predicate_that_panics_takes_nothing_out() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        (0..5).for_each(|number| me.send(number));
        let result = catch_unwind(AssertUnwindSafe(|| {
            mailbox.select(|item| match item {
                Item::Message(3) => panic!("in the predicate"),
                _ => false,
            })
        }));
        assert!(result.is_err());
        assert_eq!(process_info(self_pid()).unwrap().mailbox_len, 5);
        for number in 0..5 {
            assert_eq!(mailbox.message(), number);
        }
    });
}

#[test]
fn a_predicate_may_send() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        me.send(0);
        let mut sent = false;
        let found = mailbox.select(|item| {
            if !sent {
                sent = true;
                me.send(1);
            }
            matches!(item, Item::Message(1))
        });
        assert_eq!(found.message(), Some(1));
        assert_eq!(mailbox.message(), 0);
    });
}

#[test]
fn a_predicate_may_be_preempted_and_the_mailbox_stays_whole() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        (0..20).for_each(|number| me.send(number));
        let sender = spawn(move || (20..40).for_each(|number| me.send(number)));
        let found = mailbox.select(|item| {
            engset::reduce(3000);
            matches!(item, Item::Message(15))
        });
        assert_eq!(found.message(), Some(15));
        signals_have_acted(sender);
        for number in (0..40).filter(|number| *number != 15) {
            assert_eq!(mailbox.message(), number);
        }
    });
}

#[test]
fn killing_a_process_in_a_select_drops_all_its_messages() {
    both(|mut mailbox: Mailbox<()>| {
        let drops = counter();
        type Guard = support::OnDrop<Box<dyn FnMut() + Send>>;
        let (victim, reference) = spawn_monitor(|mut mailbox: Mailbox<Guard>| {
            let _ = mailbox.select(|_| false);
        });
        for _ in 0..30 {
            let drops = Arc::clone(&drops);
            victim.send(support::OnDrop(Box::new(move || {
                drops.fetch_add(1, Ordering::SeqCst);
            })));
        }
        engset::yield_now();
        kill(victim);
        support::down_of(&mut mailbox, reference);
        assert_eq!(drops.load(Ordering::SeqCst), 30);
    });
}

#[test]
fn selecting_from_the_end_costs_one_look_at_each() {
    both_with(Config::new(), Some(0), |mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        (0..100).for_each(|number| me.send(number));
        let mut looks = 0;
        for wanted in (0..100).rev() {
            let found = mailbox.select(|item| {
                looks += 1;
                matches!(item, Item::Message(number) if *number == wanted)
            });
            assert_eq!(found.message(), Some(wanted));
        }
        assert_eq!(looks, 100 * 101 / 2);
    });
}
