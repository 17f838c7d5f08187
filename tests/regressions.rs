//! What has been found and must not come back.

mod support;

use engset::{
    DownReason, ExitReason, Mailbox, exit, kill, link, monitor, self_pid, sleep, spawn, spawn_monitor,
};
use std::time::Duration;
use support::{boom, both, down_of};

#[test]
fn a_signal_that_a_process_has_sent_to_itself_acts_before_it_sleeps() {
    both(|mut mailbox: Mailbox<()>| {
        let (gone, reference) = spawn_monitor(|| ());
        down_of(&mut mailbox, reference);
        let waits: [fn(); 3] = [
            || sleep(Duration::MAX),
            || engset::block_on(std::future::pending()),
            || {
                let deaf = spawn(|_: Mailbox<engset::Reply<()>>| sleep(Duration::MAX));
                let _ = deaf.call_timeout(|reply| reply, Duration::MAX);
            },
        ];
        for wait in waits {
            let (_, reference) = spawn_monitor(move || {
                link(gone);
                wait();
            });
            assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::NoProc));
        }
    });
}

#[test]
fn a_kill_that_is_taken_in_by_the_way_is_not_forgotten_in_a_sleep() {
    both(|mut mailbox: Mailbox<()>| {
        for _ in 0..30 {
            let (victim, reference) = spawn_monitor(|mailbox: Mailbox<()>| {
                // A send to itself takes in what others have sent.
                for _ in 0..50 {
                    mailbox.address().send(());
                }
                sleep(Duration::MAX);
            });
            kill(victim);
            assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
        }
    });
}

#[test]
fn what_follows_the_signal_that_ends_a_process_finds_it_dead() {
    both(|mut mailbox: Mailbox<()>| {
        engset::trap_exits(true);
        let victim = spawn(|| sleep(Duration::MAX));
        exit(victim, boom());
        link(victim);
        let reference = monitor(victim);
        assert_eq!(support::exit_of(&mut mailbox, victim).reason, ExitReason::NoProc);
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::NoProc);
        assert!(!engset::is_alive(victim));
        assert_ne!(victim, self_pid());
    });
}

/// A task that yielded was queued before its stack was noted, so it looked like one that may change its worker.
#[test]
fn a_process_that_yields_while_other_workers_are_idle_stays_on_its_thread() {
    let result = engset::run_with(engset::Config::new().workers(2), || {
        let (_, reference) = spawn_monitor(|mut mailbox: Mailbox<()>| {
            let parent = mailbox.address();
            // One after the other, so that all have started on one worker while the other has nothing to do.
            let children: Vec<_> = (0..100)
                .map(|_| {
                    let child = spawn_monitor(move |mut mailbox: Mailbox<()>| {
                        let not_send = std::rc::Rc::new(std::thread::current().id());
                        parent.send(());
                        mailbox.message();
                        for _ in 0..500 {
                            engset::yield_now();
                            assert_eq!(*not_send, std::thread::current().id());
                        }
                    });
                    mailbox.message();
                    child
                })
                .collect();
            children.iter().for_each(|(child, _)| child.send(()));
            for (_, reference) in children {
                assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Normal));
            }
        });
        let _ = reference;
        while engset::processes().len() > 2 {
            sleep(Duration::from_millis(1));
        }
        engset::Node::current().map(|node| node.crashes())
    });
    assert_eq!(result.expect("the first process ends well"), Some(0));
}

/// A timer that fired while the process was queued for a signal, which was no reason for it to run, was lost.
#[test]
fn a_sleep_ends_also_if_a_signal_comes_at_the_same_moment() {
    let result = engset::run_with(engset::Config::new().workers(2), || {
        for round in 0..300 {
            let nap = std::time::Duration::from_micros(200 + round % 100);
            for _ in 0..4 {
                engset::spawn_monitor(move || engset::sleep(nap));
            }
            engset::sleep(nap);
        }
        300
    });
    assert_eq!(result.expect("no sleep lasts for ever"), 300);
}

/// A send that a full mailbox, or a dead process, does not take cost no reduction: processes that send to one in a loop never ended their slice, and all
/// others of their worker starved, the receiver first. Found by the overload program.
#[test]
fn senders_to_a_full_mailbox_or_to_the_dead_let_others_run() {
    use engset::{Address, Builder, Limit, Overflow, Reply};
    for overflow in [Overflow::DropNewest, Overflow::DropOldest, Overflow::KillReceiver] {
        let scenario = move |_: Mailbox<()>| {
            let limit = Limit::messages(10).overflow(overflow);
            let slow = Builder::new().mailbox(limit).spawn(|_: Mailbox<u32>| sleep(Duration::MAX));
            let slow: Address<u32> = slow.expect("a process");
            let senders: Vec<_> = (0..3)
                .map(|_| {
                    spawn(move || {
                        loop {
                            slow.send(1);
                        }
                    })
                })
                .collect();
            let echo = spawn(|mut mailbox: Mailbox<Reply<u32>>| {
                loop {
                    mailbox.message().send(1);
                }
            });
            for _ in 0..3 {
                assert_eq!(echo.call_timeout(|reply| reply, Duration::MAX), Ok(1));
            }
            senders.into_iter().for_each(kill);
        };
        // Without the watchdog, which would help in the end.
        let config = engset::Config::new().stuck_after(Duration::from_secs(600));
        support::both_with(config, Some(0), scenario);
    }
}
