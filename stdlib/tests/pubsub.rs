//! Publish and subscribe: typed topics, members that come and go, the last value.

mod support;

use engset_runtime::{
    CallError, Config, DownReason, ExitReason, Mailbox, kill, run_with, self_pid, spawn, spawn_monitor,
    trap_exits,
};
use engset_stdlib::{PubSub, Topic, TopicError};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use support::{down_of, eventually, everywhere, nothing_more, wait_dead};

#[derive(Debug, PartialEq)]
enum Message {
    Price(u32),
    Title(String),
    Ready,
}

fn prices() -> Topic<u32> {
    PubSub::start_link().unwrap().topic("prices").unwrap()
}

#[test]
fn a_subscriber_gets_values_as_messages_of_its_own_type() {
    everywhere(|mailbox| {
        let pubsub = PubSub::start_link().unwrap();
        let (prices, titles) = (pubsub.topic("prices").unwrap(), pubsub.topic("titles").unwrap());
        assert_eq!(prices.publish(1), 0, "nobody hears it");
        prices.subscribe(mailbox.address(), Message::Price).unwrap();
        titles.subscribe(mailbox.address(), Message::Title).unwrap();
        assert_eq!(prices.publish(2), 1);
        assert_eq!(titles.publish("a".to_owned()), 1);
        assert_eq!(mailbox.message(), Message::Price(2));
        assert_eq!(mailbox.message(), Message::Title("a".to_owned()));
        nothing_more(mailbox);
    });
}

#[test]
fn values_of_one_publisher_come_in_order_to_all() {
    everywhere(|mailbox: &mut Mailbox<(u32, u32)>| {
        let prices = prices();
        for number in 0..3 {
            let (topic, me) = (prices.clone(), mailbox.address());
            spawn(move |mut mailbox: Mailbox<u32>| {
                topic.subscribe(mailbox.address(), |price| price).unwrap();
                (0..20).for_each(|_| me.send((number, mailbox.message())));
            });
        }
        eventually("they subscribe", || prices.subscribers().len() == 3);
        (0..20).for_each(|price| assert_eq!(prices.publish(price), 3));
        let mut next = [0; 3];
        for _ in 0..60 {
            let (number, price) = mailbox.message();
            assert_eq!(price, next[number as usize]);
            next[number as usize] += 1;
        }
    });
}

#[test]
fn a_process_that_subscribes_twice_gets_each_value_twice() {
    everywhere(|mailbox| {
        let prices = prices();
        let (first, _) = prices.subscribe(mailbox.address(), Message::Price).unwrap();
        prices.subscribe(mailbox.address(), |price| Message::Price(price * 10)).unwrap();
        assert_eq!(prices.publish(1), 2);
        assert_eq!((mailbox.message(), mailbox.message()), (Message::Price(1), Message::Price(10)));
        assert_eq!(prices.unsubscribe(first), Ok(true));
        assert_eq!(prices.unsubscribe(first), Ok(false));
        assert_eq!(prices.publish(2), 1);
        assert_eq!(mailbox.message(), Message::Price(20));
        nothing_more(mailbox);
    });
}

#[test]
fn a_subscription_ends_in_its_own_topic_only() {
    everywhere(|mailbox| {
        let pubsub = PubSub::start_link().unwrap();
        let (one, two): (Topic<u32>, Topic<u32>) =
            (pubsub.topic("one").unwrap(), pubsub.topic("two").unwrap());
        let (first, _) = one.subscribe(mailbox.address(), Message::Price).unwrap();
        assert_eq!(two.unsubscribe(first), Ok(false));
        assert_eq!(one.publish(1), 1);
        assert_eq!(mailbox.message(), Message::Price(1));
    });
}

#[test]
fn a_subscriber_that_ends_is_gone_from_all_topics() {
    everywhere::<()>(|_| {
        let pubsub = PubSub::start_link().unwrap();
        let (one, two): (Topic<u32>, Topic<u32>) =
            (pubsub.topic("one").unwrap(), pubsub.topic("two").unwrap());
        let topics = (one.clone(), two.clone());
        let subscriber = spawn(move |mut mailbox: Mailbox<u32>| {
            for _ in 0..2 {
                topics.0.subscribe(mailbox.address(), |price| price).unwrap();
                topics.1.subscribe(mailbox.address(), |price| price).unwrap();
            }
            loop {
                mailbox.message();
            }
        });
        eventually("it subscribes", || two.subscribers().len() == 2);
        assert_eq!(one.subscribers(), [subscriber.pid(); 2]);
        kill(subscriber);
        eventually("it is gone", || one.publish(1) == 0 && two.publish(1) == 0);
    });
}

#[test]
fn a_process_that_is_dead_already_does_not_stay() {
    everywhere::<()>(|_| {
        let prices = prices();
        let dead = spawn(|_: Mailbox<u32>| ());
        wait_dead(dead.pid());
        prices.subscribe(dead, |price| price).unwrap();
        eventually("it goes", || prices.subscribers().is_empty());
    });
}

#[test]
fn a_retained_value_comes_from_subscribe_and_all_later_ones_as_messages() {
    everywhere(|mailbox| {
        let pubsub = PubSub::start_link().unwrap();
        pubsub.retained_topic::<u32>("prices").unwrap().publish(1);
        // Nobody has had it meanwhile.
        let prices = pubsub.retained_topic::<u32>("prices").unwrap();
        assert_eq!(prices.latest(), Some(1));
        prices.publish(2);
        let (_, latest) = prices.subscribe(mailbox.address(), Message::Price).unwrap();
        assert_eq!(latest, Some(2));
        prices.publish(3);
        assert_eq!(mailbox.message(), Message::Price(3));
        nothing_more(mailbox);
        assert_eq!(prices.clear_latest(), Some(3));
        assert_eq!(prices.subscribe(mailbox.address(), Message::Price).unwrap().1, None);
        let plain = pubsub.topic::<u32>("plain").unwrap();
        plain.publish(1);
        assert_eq!(plain.latest(), None);
    });
}

#[test]
fn no_value_is_missed_between_the_retained_one_and_the_messages() {
    everywhere(|mailbox| {
        let prices: Topic<u32> = PubSub::start_link().unwrap().retained_topic("prices").unwrap();
        let topic = prices.clone();
        let (publisher, _) = spawn_monitor(move || {
            for price in 1..=50 {
                topic.publish(price);
                engset_runtime::yield_now();
            }
        });
        let (_, latest) = prices.subscribe(mailbox.address(), Message::Price).unwrap();
        for price in latest.unwrap_or(0) + 1..=50 {
            assert_eq!(mailbox.message(), Message::Price(price));
        }
        assert_eq!(down_of(mailbox, publisher), DownReason::Exited(ExitReason::Normal));
        nothing_more(mailbox);
    });
}

#[test]
fn a_topic_has_one_type_and_one_kind() {
    everywhere::<()>(|_| {
        let pubsub = PubSub::start_link().unwrap();
        let prices = pubsub.topic::<u32>("prices").unwrap();
        let wrong = pubsub.topic::<String>("prices").unwrap_err();
        assert_eq!(wrong.to_string(), "the topic \"prices\" holds u32, not alloc::string::String");
        let kind = TopicError::OtherKind { topic: "prices".into(), retains: false };
        assert_eq!(pubsub.retained_topic::<u32>("prices").unwrap_err(), kind);
        assert_eq!(pubsub.topics(), [prices.name().into()]);
        drop(prices);
        assert!(pubsub.topics().is_empty(), "nobody has it any more");
        assert_eq!(pubsub.topic::<String>("prices").unwrap().publish(String::new()), 0);
    });
}

#[test]
fn topics_that_nobody_has_take_no_room() {
    everywhere::<()>(|_| {
        let pubsub = PubSub::start_link().unwrap();
        let kept = pubsub.topic::<()>("kept").unwrap();
        for number in 0..2000 {
            pubsub.topic::<u32>(format!("room {number}")).unwrap().publish(number);
        }
        assert_eq!(pubsub.topics(), ["kept".into()]);
        assert_eq!(pubsub.topic::<()>("kept").unwrap().name(), kept.name());
    });
}

#[test]
fn a_mapping_that_panics_costs_its_process_and_not_the_publisher() {
    everywhere(|mailbox| {
        let prices = prices();
        let topic = prices.clone();
        let me = mailbox.address();
        let (bad, _) = spawn_monitor(move |mut mailbox: Mailbox<u32>| {
            topic.subscribe(mailbox.address(), |price| 100 / price).unwrap();
            me.send(Message::Ready);
            loop {
                mailbox.message();
            }
        });
        assert_eq!(mailbox.message(), Message::Ready);
        prices.subscribe(mailbox.address(), Message::Price).unwrap();
        assert_eq!(prices.publish(5), 2);
        assert_eq!(prices.publish(0), 1);
        assert_eq!((mailbox.message(), mailbox.message()), (Message::Price(5), Message::Price(0)));
        let DownReason::Exited(ExitReason::Error(why)) = down_of(mailbox, bad.pid()) else {
            panic!("another")
        };
        assert!(why.contains("attempt to divide by zero"), "{why}");
    });
}

#[test]
fn a_value_is_cloned_for_all_but_one() {
    struct Counted(Arc<AtomicUsize>);
    impl Clone for Counted {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, Ordering::Relaxed);
            Counted(Arc::clone(&self.0))
        }
    }
    everywhere(|mailbox| {
        let topic: Topic<Counted> = PubSub::start_link().unwrap().topic("counted").unwrap();
        for _ in 0..3 {
            topic.subscribe(mailbox.address(), |counted| counted).unwrap();
        }
        let clones = Arc::new(AtomicUsize::new(0));
        assert_eq!(topic.publish(Counted(Arc::clone(&clones))), 3);
        (0..3).for_each(|_| drop(mailbox.message()));
        assert_eq!(clones.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn without_its_keeper_a_topic_has_no_subscribers_and_takes_none() {
    everywhere(|mailbox| {
        trap_exits(true);
        let pubsub = PubSub::start_link().unwrap();
        let prices: Topic<u32> = pubsub.topic("prices").unwrap();
        prices.subscribe(mailbox.address(), Message::Price).unwrap();
        kill(pubsub.pid());
        wait_dead(pubsub.pid());
        eventually("they are forgotten", || prices.publish(1) == 0);
        let refused = prices.subscribe(mailbox.address(), Message::Price);
        assert_eq!(refused.unwrap_err(), CallError::Down(DownReason::NoProc));
    });
}

#[test]
fn threads_that_are_no_processes_can_publish() {
    let run = run_with(Config::new().workers(2), || {
        let pubsub = PubSub::start_link().unwrap();
        let prices: Topic<u32> = pubsub.topic("prices").unwrap();
        let (topic, me) = (prices.clone(), self_pid());
        let reader = spawn(move |mut mailbox: Mailbox<u32>| {
            topic.subscribe(mailbox.address(), |price| price).unwrap();
            assert_eq!(mailbox.message(), 9);
        });
        assert_ne!(reader.pid(), me);
        eventually("it subscribes", || prices.subscribers().len() == 1);
        let topic = prices.clone();
        let reached = engset_runtime::blocking(move || topic.publish(9));
        assert_eq!(reached, 1);
        wait_dead(reader.pid());
    });
    run.unwrap();
}
