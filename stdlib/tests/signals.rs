//! Signals of the operating system as messages. (Real ones, as a program gets them: `tests/service.rs` of the root package.)

mod support;

use engset_runtime::{Config, Mailbox, run_with, spawn};
use engset_stdlib::signals::{self, OsSignal};
use std::{process::Command, time::Duration};
use support::{everywhere, nothing_more, wait_dead};

#[test]
fn each_subscriber_gets_a_message_of_its_own_making() {
    everywhere(|mailbox: &mut Mailbox<(u8, OsSignal)>| {
        let me = mailbox.address();
        let first =
            signals::subscribe(&[OsSignal::User1, OsSignal::User2], me, |signal| (1, signal)).unwrap();
        signals::subscribe(&[OsSignal::User1], me, |signal| (2, signal)).unwrap();
        assert_eq!(signals::simulate(OsSignal::User1).unwrap(), 2);
        assert_eq!(signals::simulate(OsSignal::User2).unwrap(), 1);
        let expected = [(1, OsSignal::User1), (2, OsSignal::User1), (1, OsSignal::User2)];
        assert_eq!([mailbox.message(), mailbox.message(), mailbox.message()], expected);
        assert!(signals::unsubscribe(first));
        assert!(!signals::unsubscribe(first));
        assert_eq!(signals::simulate(OsSignal::User1).unwrap(), 1);
        assert_eq!(mailbox.message(), (2, OsSignal::User1));
        nothing_more(mailbox);
    });
}

#[test]
fn a_dead_subscriber_and_one_whose_function_panics_are_forgotten() {
    everywhere(|mailbox: &mut Mailbox<()>| {
        let dead = spawn(|_: Mailbox<()>| {});
        signals::subscribe(&[OsSignal::User1], dead, |_| ()).unwrap();
        wait_dead(dead.pid());
        assert_eq!(signals::simulate(OsSignal::User1).unwrap(), 0);
        let me = mailbox.address();
        signals::subscribe(&[OsSignal::User1], me, |_| panic!("no message")).unwrap();
        signals::subscribe(&[OsSignal::User1], me, |_| ()).unwrap();
        assert_eq!(signals::simulate(OsSignal::User1).unwrap(), 1);
        mailbox.message();
        nothing_more(mailbox);
    });
}

#[test]
fn outside_of_a_process_there_is_no_subscription() {
    assert!(signals::simulate(OsSignal::User1).is_err());
    assert_eq!(OsSignal::Terminate.to_string(), "SIGTERM");
    assert_eq!(OsSignal::Terminate.number(), 15);
}

/// `SIGWINCH` harms nobody.
#[test]
fn a_real_signal_comes_to_all_nodes_of_the_program() {
    let node = || {
        run_with(Config::new().workers(1), || {
            let (subscriber, _) = engset_runtime::spawn_monitor(|mut mailbox: Mailbox<OsSignal>| {
                signals::subscribe(&[OsSignal::WindowChange], mailbox.address(), |signal| signal).unwrap();
                let me = std::process::id().to_string();
                assert!(Command::new("kill").args(["-WINCH", &me]).status().unwrap().success());
                assert_eq!(mailbox.message_timeout(Duration::from_secs(20)), Some(OsSignal::WindowChange));
            });
            wait_dead(subscriber.pid());
        })
        .unwrap();
    };
    std::thread::scope(|scope| {
        scope.spawn(node);
        scope.spawn(node);
    });
    node();
}
