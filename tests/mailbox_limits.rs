//! S14: bounded mailboxes.

mod support;

use engset::{
    Address, Alias, Builder, CallError, Config, DownReason, Event, ExitReason, Item, Limit, Mailbox, Node,
    Overflow, Received, Reply, SendError, kill, process_info, send_after, send_interval, sleep, spawn,
    spawn_monitor, yield_now,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use support::{await_end, both, counter, down_of};

const MS: Duration = Duration::from_millis(1);

/// A process with this limit that does nothing until it is told to go on; then it reports what it receives.
fn stopped<M: Send + Clone + 'static>(limit: Limit, report: Address<M>) -> (Address<M>, Address<()>) {
    let gate = spawn(|mut mailbox: Mailbox<()>| mailbox.message());
    let receiver = Builder::new().mailbox(limit).spawn(move |mut mailbox: Mailbox<M>| {
        let reference = engset::monitor(gate);
        down_of(&mut mailbox, reference);
        loop {
            report.send(mailbox.message());
        }
    });
    (receiver.expect("it can be spawned"), gate)
}

fn received<M: Send + 'static>(mailbox: &mut Mailbox<M>) -> Vec<M> {
    std::iter::from_fn(|| mailbox.message_timeout(10 * MS)).collect()
}

#[test]
fn drop_newest_keeps_the_first_ones() {
    both(|mut mailbox: Mailbox<u32>| {
        let limit = Limit::messages(5).overflow(Overflow::DropNewest);
        let (receiver, gate) = stopped(limit, mailbox.address());
        (0..5).for_each(|number| assert!(receiver.try_send(number).is_ok()));
        assert_eq!(receiver.try_send(5), Err(SendError::Full(5)));
        receiver.send(6);
        gate.send(());
        assert_eq!(received(&mut mailbox), [0, 1, 2, 3, 4]);
        assert!(receiver.try_send(7).is_ok(), "there is room again");
        assert_eq!(mailbox.message(), 7);
    });
}

#[test]
fn drop_oldest_keeps_the_last_ones() {
    both(|mut mailbox: Mailbox<u32>| {
        let limit = Limit::messages(5).overflow(Overflow::DropOldest);
        let (receiver, gate) = stopped(limit, mailbox.address());
        (0..8).for_each(|number| receiver.send(number));
        gate.send(());
        assert_eq!(received(&mut mailbox), [3, 4, 5, 6, 7]);
        receiver.send(8);
        assert_eq!(mailbox.message(), 8, "nothing is owed any more");
    });
}

#[test]
fn drop_oldest_drops_the_oldest_also_if_the_receiver_selects_a_newer_one() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let limit = Limit::messages(2).overflow(Overflow::DropOldest);
        let gate = spawn(|mut mailbox: Mailbox<()>| mailbox.message());
        let receiver = Builder::new().mailbox(limit).spawn(move |mut mailbox: Mailbox<u32>| {
            let reference = engset::monitor(gate);
            down_of(&mut mailbox, reference);
            let newest = mailbox.select_timeout(|item| matches!(item, Item::Message(3)), MS);
            me.send(newest.and_then(Received::message).unwrap_or(99));
            loop {
                me.send(mailbox.message());
            }
        });
        let receiver = receiver.expect("it can be spawned");
        (1..=3).for_each(|number| receiver.send(number));
        gate.send(());
        assert_eq!(received(&mut mailbox), [3, 2], "1 was the oldest");
    });
}

#[test]
fn drop_oldest_holds_at_most_twice_its_limit_of_bytes() {
    both(|mut mailbox: Mailbox<Vec<u8>>| {
        let limit = Limit::bytes(100).overflow(Overflow::DropOldest).weigh(|message: &Vec<u8>| message.len());
        let (receiver, gate) = stopped(limit, mailbox.address());
        (0..50).for_each(|number| receiver.send(vec![number; 100]));
        let held = process_info(receiver).unwrap().mailbox_len;
        assert!(held <= 2, "{held} messages of 100 bytes in a mailbox for 100 bytes");
        gate.send(());
        assert_eq!(received(&mut mailbox).len(), 1);
    });
}

#[test]
fn kill_receiver_kills_it_and_who_watches_it_is_told() {
    both(|mut mailbox: Mailbox<u32>| {
        let limit = Limit::messages(3).overflow(Overflow::KillReceiver);
        let (receiver, _gate) = stopped(limit, mailbox.address());
        let reference = engset::monitor(receiver);
        (0..3).for_each(|number| receiver.send(number));
        assert!(engset::is_alive(receiver));
        receiver.send(3);
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
    });
}

#[test]
fn block_makes_the_sender_wait_and_loses_nothing() {
    both(|mut mailbox: Mailbox<u32>| {
        let sent = counter();
        let (receiver, gate) = stopped(Limit::messages(4), mailbox.address());
        let count = Arc::clone(&sent);
        let sender = spawn(move || {
            for number in 0..100 {
                receiver.send(number);
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        sleep(5 * MS);
        assert_eq!(sent.load(Ordering::SeqCst), 4, "it waits for room");
        assert!(engset::is_alive(sender));
        assert_eq!(receiver.try_send(0), Err(SendError::Full(0)), "try_send does not wait");
        gate.send(());
        (0..100).for_each(|number| assert_eq!(mailbox.message(), number));
        await_end(&mut mailbox, sender);
    });
}

#[test]
fn many_blocked_senders_all_get_their_turn_each_in_its_order() {
    both(|mut mailbox: Mailbox<(usize, u32)>| {
        let (receiver, gate) = stopped(Limit::messages(3), mailbox.address());
        for sender in 0..5 {
            spawn(move || (0..20).for_each(|number| receiver.send((sender, number))));
        }
        yield_now();
        gate.send(());
        let mut next = [0; 5];
        for _ in 0..100 {
            let (sender, number) = mailbox.message();
            assert_eq!(number, next[sender]);
            next[sender] += 1;
        }
    });
}

#[test]
fn a_blocked_sender_is_woken_when_the_receiver_dies() {
    both(|mut mailbox: Mailbox<u32>| {
        let (receiver, _gate) = stopped(Limit::messages(2), mailbox.address());
        let senders: Vec<_> = (0..4)
            .map(|_| spawn_monitor(move || (0..5).for_each(|number| receiver.send(number))).1)
            .collect();
        sleep(3 * MS);
        kill(receiver);
        for reference in senders {
            assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Normal));
        }
    });
}

#[test]
fn a_blocked_sender_keeps_its_own_mailbox_and_can_be_killed() {
    both(|mut mailbox: Mailbox<u32>| {
        let (receiver, _gate) = stopped(Limit::messages(1), mailbox.address());
        let me = mailbox.address();
        let (sender, reference) = spawn_monitor(move |mut mailbox: Mailbox<u32>| {
            (0..2).for_each(|number| receiver.send(number));
            me.send(mailbox.message());
        });
        sender.send(5);
        sleep(2 * MS);
        kill(sender);
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
    });
}

#[test]
fn bytes_are_counted_with_the_size_of_the_message() {
    both(|mut mailbox: Mailbox<[u8; 40]>| {
        let limit = Limit::bytes(100).overflow(Overflow::DropNewest);
        let (receiver, gate) = stopped(limit, mailbox.address());
        assert!(receiver.try_send([0; 40]).is_ok());
        assert!(receiver.try_send([1; 40]).is_ok());
        assert!(matches!(receiver.try_send([2; 40]), Err(SendError::Full(_))));
        gate.send(());
        assert_eq!(received(&mut mailbox).len(), 2);
        assert!(receiver.try_send([3; 40]).is_ok());
    });
}

#[test]
fn what_a_message_weighs_can_be_said() {
    both(|mut mailbox: Mailbox<String>| {
        let limit = Limit::bytes(10).overflow(Overflow::DropNewest).weigh(|text: &String| text.len());
        let (receiver, gate) = stopped(limit, mailbox.address());
        assert!(receiver.try_send("12345678".into()).is_ok());
        assert!(receiver.try_send("123".into()).is_err(), "3 more are too many");
        assert!(receiver.try_send("12".into()).is_ok());
        assert!(receiver.try_send(String::new()).is_ok(), "nothing weighs nothing");
        gate.send(());
        assert_eq!(received(&mut mailbox), ["12345678", "12", ""]);
    });
}

#[test]
fn both_limits_hold_at_once() {
    both(|mailbox: Mailbox<String>| {
        let limit =
            Limit::messages(3).and_bytes(10).overflow(Overflow::DropNewest).weigh(|text: &String| text.len());
        let (receiver, _gate) = stopped(limit, mailbox.address());
        (0..3).for_each(|_| assert!(receiver.try_send("1".into()).is_ok()));
        assert!(receiver.try_send(String::new()).is_err(), "the fourth");
        let limit =
            Limit::bytes(10).and_messages(3).overflow(Overflow::DropNewest).weigh(|text: &String| text.len());
        let (receiver, _gate) = stopped(limit, mailbox.address());
        assert!(receiver.try_send("1234567890".into()).is_ok());
        assert!(receiver.try_send("1".into()).is_err(), "the eleventh byte");
    });
}

#[test]
fn a_message_that_alone_is_too_large_is_an_error_with_its_size_and_the_limit() {
    both(|mut mailbox: Mailbox<String>| {
        for overflow in [Overflow::Block, Overflow::DropNewest, Overflow::DropOldest, Overflow::KillReceiver]
        {
            let limit = Limit::bytes(10).overflow(overflow).weigh(|text: &String| text.len());
            let (receiver, gate) = stopped(limit, mailbox.address());
            let error = receiver.try_send("x".repeat(11)).unwrap_err();
            assert!(matches!(error, SendError::TooLarge { size: 11, limit: 10, .. }), "{error}");
            assert!(error.to_string().contains("11") && error.to_string().contains("10"), "{error}");
            assert_eq!(error.into_message().len(), 11);
            // A send does not wait for ever, and kills nobody.
            receiver.send("x".repeat(11));
            assert!(engset::is_alive(receiver));
            receiver.send("fits".into());
            gate.send(());
            assert_eq!(mailbox.message(), "fits");
        }
    });
}

#[test]
fn events_are_exempt() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let limit = Limit::messages(1).overflow(Overflow::DropNewest);
        let receiver = Builder::new().mailbox(limit).trap_exits().spawn(move |mut mailbox: Mailbox<u32>| {
            for _ in 0..5 {
                spawn_monitor(|| ());
                engset::spawn_link(|| ());
            }
            sleep(10 * MS);
            let mut events = 0;
            while let Some(received) = mailbox.receive_timeout(MS) {
                match received {
                    Received::Event(Event::Down(_) | Event::Exit(_)) => events += 1,
                    other => assert!(matches!(other, Received::Message(1)), "{other:?}"),
                }
            }
            me.send(events);
        });
        receiver.expect("it can be spawned").send(1);
        assert_eq!(mailbox.message(), 10);
    });
}

#[test]
fn a_timer_obeys_the_limit_too_and_does_not_upset_the_count() {
    both(|mut mailbox: Mailbox<u32>| {
        let limit = Limit::messages(2).overflow(Overflow::DropNewest);
        let (receiver, gate) = stopped(limit, mailbox.address());
        send_after(Duration::ZERO, receiver, 100);
        sleep(2 * MS);
        gate.send(());
        assert_eq!(mailbox.message(), 100);
        for round in 0..5 {
            receiver.send(round);
            assert_eq!(mailbox.message(), round);
        }
        assert!(engset::is_alive(receiver));
    });
}

#[test]
fn timers_cannot_fill_a_mailbox_beyond_its_limit() {
    both(|mailbox: Mailbox<u32>| {
        let limit = Limit::messages(2).overflow(Overflow::DropNewest);
        let (receiver, _gate) = stopped(limit, mailbox.address());
        let timer = send_interval(MS, receiver, 1);
        (0..10).for_each(|number| {
            send_after(MS, receiver, number);
        });
        sleep(30 * MS);
        assert!(timer.cancel().is_some());
        let held = process_info(receiver).unwrap().mailbox_len;
        assert!(held <= 2, "{held} messages in a mailbox for 2");
    });
}

#[test]
fn a_message_to_an_alias_obeys_the_limit_too_and_does_not_upset_the_count() {
    both(|mut mailbox: Mailbox<Alias<u32>>| {
        let me = mailbox.address();
        let limit = Limit::messages(2).overflow(Overflow::DropNewest);
        let receiver = Builder::new().mailbox(limit).spawn(move |mut mailbox: Mailbox<u32>| {
            me.send(Alias::new(&mailbox));
            for number in [100, 0, 1, 2] {
                assert_eq!(mailbox.message(), number);
            }
        });
        let receiver = receiver.expect("it can be spawned");
        let reference = engset::monitor(receiver);
        mailbox.message().send(100);
        for number in 0..3 {
            while receiver.try_send(number).is_err() {
                sleep(MS);
            }
        }
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Normal));
    });
}

#[test]
fn a_call_to_a_full_mailbox_gives_up_in_time() {
    both(|_mailbox: Mailbox<()>| {
        let deaf =
            Builder::new().mailbox(Limit::messages(1)).spawn(|_: Mailbox<Reply<()>>| sleep(Duration::MAX));
        let deaf = deaf.expect("it can be spawned");
        assert_eq!(deaf.call_timeout(|reply| reply, MS), Err(CallError::Timeout(MS)));
        let result = deaf.call_timeout(|reply| reply, 20 * MS);
        assert_eq!(
            result,
            Err(CallError::Timeout(20 * MS)),
            "it waits for room no longer than for the answer"
        );
    });
}

#[test]
fn a_call_to_a_full_mailbox_that_drops_is_refused_with_the_reason() {
    both(|_mailbox: Mailbox<()>| {
        let limit = Limit::messages(1).overflow(Overflow::DropNewest);
        let deaf = Builder::new().mailbox(limit).spawn(|_: Mailbox<Option<Reply<()>>>| sleep(Duration::MAX));
        let deaf = deaf.expect("it can be spawned");
        deaf.send(None);
        match deaf.call(Some) {
            Err(CallError::Refused(why)) => assert!(why.contains("full"), "{why}"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn expired_requests_give_their_room_back() {
    both(|_mailbox: Mailbox<()>| {
        let limit = Limit::messages(2).overflow(Overflow::DropNewest);
        let gate = spawn(|mut mailbox: Mailbox<()>| mailbox.message());
        let server = Builder::new().mailbox(limit).spawn(move |mut mailbox: Mailbox<Reply<u32>>| {
            let reference = engset::monitor(gate);
            down_of(&mut mailbox, reference);
            for count in 0.. {
                mailbox.message().send(count);
            }
        });
        let server = server.expect("it can be spawned");
        for _ in 0..2 {
            assert!(server.call_timeout(|reply| reply, 5 * MS).is_err());
        }
        sleep(10 * MS);
        gate.send(());
        sleep(5 * MS);
        for count in 0..5 {
            assert_eq!(server.call(|reply| reply), Ok(count));
        }
    });
}

#[test]
fn a_process_that_sends_to_its_own_bounded_mailbox_from_its_first_moment_is_counted_right() {
    both(|mut mailbox: Mailbox<()>| {
        for _ in 0..30 {
            let limit = Limit::messages(2).overflow(Overflow::DropNewest);
            let spawned = Builder::new().mailbox(limit).spawn_monitor(|mut mailbox: Mailbox<u32>| {
                for number in 0..5 {
                    mailbox.address().send(number);
                    assert_eq!(mailbox.message(), number);
                }
            });
            let (_, reference) = spawned.expect("it can be spawned");
            assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Normal));
        }
    });
}

#[test]
fn a_thread_that_is_no_process_waits_for_room_too() {
    let node = Node::start(Config::new().workers(2)).expect("a node");
    let (tell, told) = std::sync::mpsc::channel();
    node.spawn(move || {
        let slow = Builder::new().mailbox(Limit::messages(2)).spawn(|mut mailbox: Mailbox<u32>| {
            for number in 0..50 {
                assert_eq!(mailbox.message(), number);
                sleep(MS / 4);
            }
        });
        tell.send(slow.expect("it can be spawned")).expect("the test waits");
        sleep(Duration::MAX);
    })
    .expect("a process");
    let slow = told.recv().expect("an address");
    (0..50).for_each(|number| slow.send(number));
    support::wait_until_outside(|| !node.is_alive(slow));
    assert_eq!(node.crashes(), 0);
    assert!(node.stop());
}

#[test]
fn a_limit_holds_for_a_process_that_is_spawned_on_a_node_from_outside() {
    let node = Node::start(Config::new().workers(1)).expect("a node");
    let limit = Limit::messages(2).overflow(Overflow::DropNewest);
    let deaf = Builder::new().mailbox(limit).spawn_on(&node, |_: Mailbox<u32>| sleep(Duration::MAX));
    let deaf = deaf.expect("a process");
    assert!(deaf.try_send(1).is_ok());
    assert!(deaf.try_send(2).is_ok());
    assert_eq!(deaf.try_send(3), Err(SendError::Full(3)), "the limit was left out without a word");
    assert!(node.stop());
}

#[test]
fn an_unbounded_mailbox_is_the_default() {
    both(|_mailbox: Mailbox<()>| {
        let deaf = spawn(|_: Mailbox<[u64; 20]>| sleep(Duration::MAX));
        for _ in 0..3000 {
            assert!(deaf.try_send([0; 20]).is_ok());
        }
    });
}

#[test]
fn a_mailbox_without_a_limit_can_raise_an_alarm_when_it_grows_long() {
    let config = Config::new().workers(2).mailbox_alarm(100);
    let node = Node::start(config).expect("it starts");
    let deaf = node.spawn(|_: Mailbox<u32>| sleep(Duration::MAX)).expect("it can be spawned");
    for number in 0..99 {
        deaf.send(number);
    }
    support::wait_until_outside(|| node.mailbox_len(deaf) == Some(99));
    assert_eq!(node.mailbox_alarms(), 0);
    for number in 0..200 {
        deaf.send(number);
    }
    support::wait_until_outside(|| node.mailbox_len(deaf) == Some(299));
    assert_eq!(node.mailbox_alarms(), 1);
    assert!(node.stop());
}
