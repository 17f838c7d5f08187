//! Dead letters: who subscribes learns of messages that nobody receives.

mod support;

use engset_runtime::{
    Config, DeadLetter, Mailbox, Node, Pid, SendError, kill, monitor, sleep, spawn, spawn_monitor, yield_now,
};
use std::time::Duration;
use support::{down_of, everywhere, nothing_more};

const LONG: Duration = Duration::from_secs(3600);

fn gone(mailbox: &mut Mailbox<DeadLetter>) -> engset_runtime::Address<String> {
    let (gone, _) = spawn_monitor(|_: Mailbox<String>| ());
    down_of(mailbox, gone.pid());
    gone
}

fn node() -> Node {
    Node::current().unwrap()
}

#[test]
fn a_message_to_a_dead_process_is_told_with_its_target_and_its_type() {
    everywhere(|mailbox: &mut Mailbox<DeadLetter>| {
        node().subscribe_dead_letters(mailbox.address(), 1000);
        let gone = gone(mailbox);
        let before = node().dead_letters();
        gone.send("hello?".to_owned());
        let letter = mailbox.message();
        assert_eq!((letter.to, letter.message, letter.suppressed), (gone.pid(), "alloc::string::String", 0));
        assert_eq!(node().dead_letters(), before + 1);
    });
}

#[test]
fn so_are_messages_that_a_process_leaves_in_its_mailbox() {
    everywhere(|mailbox: &mut Mailbox<DeadLetter>| {
        node().subscribe_dead_letters(mailbox.address(), 1000);
        let deaf = spawn(|_: Mailbox<u16>| sleep(LONG));
        monitor(deaf);
        (0..5).for_each(|number| deaf.send(number));
        kill(deaf);
        down_of(mailbox, deaf.pid());
        for _ in 0..5 {
            let letter = mailbox.message();
            assert_eq!((letter.to, letter.message), (deaf.pid(), "u16"));
        }
        nothing_more(mailbox);
    });
}

#[test]
fn what_came_back_to_its_sender_is_none() {
    everywhere(|mailbox: &mut Mailbox<DeadLetter>| {
        node().subscribe_dead_letters(mailbox.address(), 1000);
        let gone = gone(mailbox);
        assert_eq!(gone.try_send("back".to_owned()), Err(SendError::Dead("back".to_owned())));
        nothing_more(mailbox);
    });
}

#[test]
fn more_than_a_subscriber_wants_in_a_second_are_counted_and_told_later() {
    // Virtual time: a second passes when the test says so.
    support::systematic(|mailbox: &mut Mailbox<DeadLetter>| {
        let gone = gone(mailbox);
        // The beginning of a second.
        let rest = 1_000_000_000 - engset_runtime::now().subsec_nanos();
        sleep(Duration::from_nanos(u64::from(rest)) + Duration::from_millis(1));
        node().subscribe_dead_letters(mailbox.address(), 3);
        (0..10).for_each(|_| gone.send("again".to_owned()));
        (0..3).for_each(|_| assert_eq!(mailbox.message().suppressed, 0));
        nothing_more(mailbox);
        sleep(Duration::from_secs(1));
        gone.send("and again".to_owned());
        assert_eq!(mailbox.message().suppressed, 7);
    });
}

#[test]
fn a_subscription_ends_with_its_process_or_by_request() {
    everywhere(|mailbox: &mut Mailbox<DeadLetter>| {
        let other = spawn(|_: Mailbox<DeadLetter>| sleep(LONG));
        let me = mailbox.address();
        node().subscribe_dead_letters(other, 1000);
        node().subscribe_dead_letters(me, 1000);
        monitor(other);
        kill(other);
        down_of(mailbox, other.pid());
        let gone = gone(mailbox);
        gone.send("one".to_owned());
        assert_eq!(mailbox.message().to, gone.pid());
        // It has been found dead by now; and its letters are none themselves.
        assert!(!node().unsubscribe_dead_letters(other));
        assert!(node().unsubscribe_dead_letters(me));
        gone.send("two".to_owned());
        nothing_more(mailbox);
    });
}

#[test]
fn a_thread_that_is_no_process_sends_dead_letters_too() {
    let node = Node::start(Config::new().workers(2)).unwrap();
    let gone = node.spawn(|_: Mailbox<u8>| ()).unwrap();
    while node.is_alive(gone) {
        std::thread::yield_now();
    }
    let asked = node.clone();
    let watcher = node.spawn(move |mut mailbox: Mailbox<DeadLetter>| {
        asked.subscribe_dead_letters(mailbox.address(), 10);
        // Found by name: only after the subscription.
        engset_runtime::register_mailbox("watcher", &mailbox).unwrap();
        let letter = mailbox.message();
        assert_eq!(letter.message, "u8");
    });
    let watcher: Pid = watcher.unwrap().pid();
    while node.whereis("watcher").is_none() {
        std::thread::yield_now();
    }
    gone.send(1);
    while node.is_alive(watcher) {
        std::thread::yield_now();
    }
    assert_eq!(node.crashes(), 0);
    assert!(node.dead_letters() >= 1);
    assert!(node.stop());
}

#[test]
fn a_subscriber_that_dies_among_letters_does_no_harm() {
    everywhere(|mailbox: &mut Mailbox<DeadLetter>| {
        let gone = gone(mailbox);
        for _ in 0..20 {
            let subscriber = spawn(|mut mailbox: Mailbox<DeadLetter>| {
                mailbox.message();
            });
            node().subscribe_dead_letters(subscriber, u32::MAX);
            (0..10).for_each(|_| {
                gone.send("x".to_owned());
                yield_now();
            });
            kill(subscriber);
        }
        node().subscribe_dead_letters(mailbox.address(), u32::MAX);
        gone.send("last".to_owned());
        let to_gone = |item: engset_runtime::Item<'_, DeadLetter>| matches!(item, engset_runtime::Item::Message(letter) if letter.to == gone.pid());
        mailbox.select(to_gone);
    });
}
