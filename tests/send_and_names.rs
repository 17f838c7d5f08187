//! S6: sending never blocks and never fails the sender; a name holds one live process.

mod support;

use engset::{
    Builder, Config, DownReason, ExitReason, Mailbox, NameError, Node, SendError, kill, lookup, name_of,
    process_info, register, register_mailbox, registered, self_pid, send_named, sleep, spawn, spawn_monitor,
    unregister, whereis,
};
use std::time::Duration;
use support::{await_end, both, down_of, wait_until_outside};

#[test]
fn a_send_to_a_dead_process_is_silent_and_try_send_gives_the_message_back() {
    both(|mut mailbox: Mailbox<()>| {
        let (victim, reference) = spawn_monitor(|_: Mailbox<String>| ());
        down_of(&mut mailbox, reference);
        victim.send("lost".to_owned());
        assert_eq!(victim.try_send("back".to_owned()), Err(SendError::Dead("back".to_owned())));
    });
}

#[test]
fn messages_to_the_dead_are_counted() {
    let node = Node::start(Config::new().workers(2)).expect("a node");
    let victim = node.spawn(|_: Mailbox<u32>| sleep(Duration::MAX)).expect("a process");
    (0..5).for_each(|number| victim.send(number));
    kill(victim);
    wait_until_outside(|| !node.is_alive(victim));
    wait_until_outside(|| node.dead_letters() == 5);
    assert!(node.stop());
}

#[test]
fn a_send_does_not_wait_for_a_receiver_that_never_receives() {
    both(|_mailbox: Mailbox<()>| {
        let deaf = spawn(|_: Mailbox<u32>| sleep(Duration::MAX));
        (0..5000).for_each(|number| deaf.send(number));
        assert!(deaf.try_send(5000).is_ok());
        assert_eq!(process_info(deaf).unwrap().mailbox_len, 5001);
    });
}

#[test]
fn a_process_can_send_to_itself() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        (0..10).for_each(|number| me.send(number));
        (0..10).for_each(|number| assert_eq!(mailbox.message(), number));
    });
}

#[test]
fn messages_of_any_size_arrive_whole() {
    both(|mut mailbox: Mailbox<[u64; 5]>| {
        let me = mailbox.address();
        let (_, empty) = spawn_monitor(move |mut mailbox: Mailbox<()>| {
            mailbox.address().send(());
            mailbox.message();
            me.send([1, 2, 3, 4, 5]);
        });
        assert_eq!(mailbox.message(), [1, 2, 3, 4, 5]);
        down_of(&mut mailbox, empty);
        let (_, large) = spawn_monitor(move |mut mailbox: Mailbox<[u64; 500]>| {
            let numbers: [u64; 500] = std::array::from_fn(|at| at as u64);
            mailbox.address().send(numbers);
            assert_eq!(mailbox.message(), numbers);
        });
        assert_eq!(down_of(&mut mailbox, large).reason, DownReason::Exited(ExitReason::Normal));
    });
}

#[test]
fn threads_that_are_no_processes_can_send() {
    let node = Node::start(Config::new().workers(2)).expect("a node");
    let (done, sum) = std::sync::mpsc::channel();
    let adder = node.spawn(move |mut mailbox: Mailbox<u64>| {
        let sum: u64 = (0..400).map(|_| mailbox.message()).sum();
        done.send(sum).expect("the test waits");
    });
    let adder = adder.expect("a process");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || (1..=100).for_each(|number| adder.send(number)));
        }
    });
    assert_eq!(sum.recv_timeout(support::DEADLINE), Ok(4 * 5050));
    assert!(node.stop());
}

#[test]
fn a_name_that_is_taken_is_an_error_that_says_by_whom() {
    both(|_mailbox: Mailbox<()>| {
        register("one").expect("free");
        let by = self_pid();
        let taken = NameError::Taken { name: "one".into(), by };
        assert_eq!(register("one"), Err(taken.clone()), "by this very process");
        let other = Builder::new().name("one").spawn(|| ());
        assert_eq!(other.unwrap_err().to_string(), taken.to_string());
        assert!(
            taken.to_string().contains("\"one\"") && taken.to_string().contains(&by.to_string()),
            "{taken}"
        );
        assert_eq!(whereis("one"), Some(by));
    });
}

#[test]
fn a_process_may_have_several_names_and_gives_them_up_one_by_one() {
    both(|_mailbox: Mailbox<()>| {
        register("a").expect("free");
        register("b").expect("free");
        assert_eq!(process_info(self_pid()).unwrap().names.len(), 2);
        assert_eq!(registered().len(), 2);
        unregister("a").expect("ours");
        assert_eq!(whereis("a"), None);
        assert_eq!(whereis("b"), Some(self_pid()));
        assert_eq!(name_of(self_pid()).as_deref(), Some("b"));
        assert_eq!(unregister("a"), Err(NameError::Unknown { name: "a".into() }));
    });
}

#[test]
fn only_who_has_a_name_can_give_it_up() {
    both(|mut mailbox: Mailbox<()>| {
        register("mine").expect("free");
        let (_, reference) = spawn_monitor(|| {
            assert_eq!(unregister("mine"), Err(NameError::Unknown { name: "mine".into() }));
        });
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Normal));
        assert_eq!(whereis("mine"), Some(self_pid()));
    });
}

#[test]
fn a_name_finds_the_address_with_its_type_and_only_with_its_type() {
    both(|mut mailbox: Mailbox<u32>| {
        register_mailbox("typed", &mailbox).expect("free");
        register("untyped").expect("free");
        assert_eq!(lookup::<u32>("typed"), Ok(mailbox.address()));
        let wrong = lookup::<String>("typed").unwrap_err();
        assert!(matches!(&wrong, NameError::WrongType { takes: "u32", .. }), "{wrong}");
        assert!(wrong.to_string().contains("String") && wrong.to_string().contains("u32"), "{wrong}");
        assert!(matches!(lookup::<u32>("untyped"), Err(NameError::WrongType { takes: "unknown", .. })));
        assert_eq!(lookup::<u32>("nobody"), Err(NameError::Unknown { name: "nobody".into() }));
        send_named("typed", 5_u32).expect("it is there");
        assert_eq!(mailbox.message(), 5);
        assert!(send_named("typed", "text").is_err());
        assert!(send_named("nobody", 5_u32).is_err());
    });
}

#[test]
fn an_impossible_name_is_an_error() {
    both(|_mailbox: Mailbox<()>| {
        let long = "x".repeat(256);
        for name in ["", long.as_str()] {
            let error = register(name).unwrap_err();
            assert_eq!(error, NameError::Invalid { name: name.to_owned() });
            assert!(error.to_string().contains(&name.len().to_string()), "{error}");
            assert!(Builder::new().name(name).spawn(|| ()).is_err());
        }
        register("x".repeat(255)).expect("255 bytes are fine");
    });
}

#[test]
fn a_name_passes_to_another_process_after_the_first_has_ended() {
    both(|mut mailbox: Mailbox<()>| {
        for _ in 0..20 {
            let holder = Builder::new().name("seat").spawn(|| ()).expect("free");
            await_end(&mut mailbox, holder);
        }
        assert_eq!(whereis("seat"), None);
    });
}

#[test]
fn a_process_that_is_spawned_on_a_node_from_outside_gets_its_name() {
    let node = Node::start(Config::new().workers(1)).expect("a node");
    let named = Builder::new().name("outside").spawn_on(&node, |mut mailbox: Mailbox<u32>| {
        mailbox.message();
    });
    let named = named.expect("a process");
    assert_eq!(node.whereis("outside"), Some(named.pid()), "the name was left out without a word");
    assert_eq!(node.lookup::<u32>("outside"), Ok(named));
    assert!(node.stop());
}
