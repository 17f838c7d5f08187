//! S12: a panic is an exit; what ends the whole program says so.

mod support;

use engset::{
    Address, Builder, CallError, Config, DownReason, ExitReason, Mailbox, Node, Reply, catch, exit_self,
    link, run_with, sleep, spawn, spawn_monitor, trap_exits,
};
use std::{sync::Arc, sync::atomic::Ordering, time::Duration};
use support::{OnDrop, both_with, child_part, counter, down_of, exit_of, in_child};

fn reason_of(mailbox: &mut Mailbox<()>, f: impl FnOnce() + Send + 'static) -> ExitReason {
    let (_, reference) = spawn_monitor(f);
    match down_of(mailbox, reference).reason {
        DownReason::Exited(reason) => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn a_panic_is_an_exit_with_its_message_and_its_place() {
    both_with(Config::new(), Some(2), |mut mailbox: Mailbox<()>| {
        let line = line!() + 1;
        let reason = reason_of(&mut mailbox, || panic!("number {}", 7));
        let panic = reason.panic().expect("a panic");
        assert_eq!(panic.message, "number 7");
        let location = &panic.location;
        assert!(
            location.contains("tests/crashes.rs") && location.contains(&format!(":{line}:")),
            "{location}"
        );
        let text = reason.to_string();
        assert!(text.contains("number 7") && text.contains("crashes.rs"), "{text}");
        let empty: Vec<u32> = std::hint::black_box(Vec::new());
        let reason = reason_of(&mut mailbox, move || support::ignore(empty[3]));
        assert!(reason.panic().expect("a panic").message.contains("index is 3"), "{reason}");
    });
}

#[test]
fn a_payload_that_is_not_a_text_is_a_panic_all_the_same() {
    both_with(Config::new(), Some(2), |mut mailbox: Mailbox<()>| {
        let reason = reason_of(&mut mailbox, || std::panic::panic_any(42_u32));
        let panic = reason.panic().expect("a panic");
        assert!(panic.message.contains("not a text"), "{}", panic.message);
        assert!(panic.location.contains("crashes.rs"), "{}", panic.location);
        let reason = reason_of(&mut mailbox, || std::panic::resume_unwind(Box::new("resumed")));
        let panic = reason.panic().expect("a panic");
        assert_eq!((panic.message.as_str(), panic.location.as_str()), ("resumed", ""));
    });
}

#[test]
fn catch_gives_the_panic_as_the_reason_that_would_have_been_and_the_process_goes_on() {
    both_with(Config::new().crash_reports_per_second(0), Some(0), |mut mailbox: Mailbox<()>| {
        let line = line!() + 1;
        let reason = catch(|| panic!("number {}", 7)).expect_err("a panic");
        let panic = reason.panic().expect("a panic");
        assert_eq!(panic.message, "number 7");
        assert!(panic.location.contains(&format!("crashes.rs:{line}:")), "{}", panic.location);
        assert_eq!(catch(|| 6 * 7), Ok(42));
        let (catches, _) = spawn_monitor(|mut mailbox: Mailbox<Reply<()>>| {
            let reply = mailbox.message();
            let caught = catch(move || {
                let _reply = reply;
                panic!("with a reply in hand");
            });
            assert!(caught.is_err());
            mailbox.message().send(());
        });
        assert_eq!(catches.call(|reply| reply), Err(CallError::NoReply), "it lives");
        assert_eq!(catches.call(|reply| reply), Ok(()));
        let signal = reason_of(&mut mailbox, || {
            let _ = catch(|| exit_self(ExitReason::error("not to be caught")));
            unreachable!("the stack unwinds from catch");
        });
        assert_eq!(signal, ExitReason::error("not to be caught"));
    });
}

#[test]
fn a_panic_that_was_caught_before_is_not_taken_for_the_one_that_ends() {
    both_with(Config::new(), Some(1), |mut mailbox: Mailbox<()>| {
        let reason = reason_of(&mut mailbox, || {
            assert!(std::panic::catch_unwind(|| panic!("the first")).is_err());
            panic!("the second");
        });
        assert_eq!(reason.panic().expect("a panic").message, "the second");
        let caught = reason_of(&mut mailbox, || {
            assert!(std::panic::catch_unwind(|| panic!("caught")).is_err());
        });
        assert_eq!(caught, ExitReason::Normal);
    });
}

#[test]
fn a_crash_drops_what_is_on_the_stack_and_in_the_mailbox() {
    both_with(Config::new(), Some(1), |mut mailbox: Mailbox<()>| {
        let drops = counter();
        let guard = || {
            let drops = Arc::clone(&drops);
            OnDrop(move || {
                drops.fetch_add(1, Ordering::SeqCst);
            })
        };
        let (captured, sent) = (guard(), guard());
        let (victim, reference) = spawn_monitor(move |_mailbox: Mailbox<_>| {
            let _captured = captured;
            sleep(Duration::from_millis(2));
            panic!("and all goes");
        });
        victim.send(sent);
        down_of(&mut mailbox, reference);
        assert_eq!(drops.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn a_payload_whose_destructor_panics_harms_nobody() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("in the destructor of a payload");
        }
    }
    both_with(Config::new(), None, |mut mailbox: Mailbox<()>| {
        let reason = reason_of(&mut mailbox, || std::panic::panic_any(Bad));
        assert!(matches!(reason, ExitReason::Panic(_)));
        let reason = reason_of(&mut mailbox, || ());
        assert_eq!(reason, ExitReason::Normal);
    });
}

#[test]
fn a_message_whose_destructor_panics_harms_nobody() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("in the destructor of a message");
        }
    }
    both_with(Config::new(), None, |mut mailbox: Mailbox<()>| {
        let (victim, reference) = spawn_monitor(|_: Mailbox<Bad>| sleep(Duration::MAX));
        (0..3).for_each(|_| victim.send(Bad));
        engset::kill(victim);
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
        assert_eq!(reason_of(&mut mailbox, || ()), ExitReason::Normal);
    });
}

#[test]
fn a_value_whose_destructor_panics_in_a_process_that_returns_is_a_crash() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    both_with(Config::new(), Some(1), |mut mailbox: Mailbox<()>| {
        let reason = reason_of(&mut mailbox, || {
            let _bad = Bad;
        });
        assert_eq!(reason.panic().expect("a panic").message, "in a destructor");
    });
}

#[test]
fn the_state_of_a_server_whose_destructor_panics_harms_nobody() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("in the destructor of a server");
        }
    }
    impl engset::Server for Bad {
        type Message = ();
        fn handle(&mut self, _: engset::Received<()>) -> engset::Flow {
            engset::Flow::Stop(ExitReason::Shutdown)
        }
    }
    both_with(Config::new(), None, |mut mailbox: Mailbox<()>| {
        let (server, reference) = Builder::new().serve_monitor(Bad).expect("it can be spawned");
        server.send(());
        assert!(matches!(down_of(&mut mailbox, reference).reason, DownReason::Exited(_)));
        let (server, reference) = Builder::new().serve_monitor(Bad).expect("it can be spawned");
        engset::kill(server);
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
    });
}

#[test]
fn ten_thousand_crashes_leave_the_others_undisturbed() {
    let config = Config::new().workers(2).crash_reports_per_second(1_u32);
    let node = Node::start(config).expect("a node");
    let (tell, told) = std::sync::mpsc::channel();
    node.spawn(move |mut mailbox: Mailbox<()>| {
        let server: Address<Reply<u32>> = spawn(|mut mailbox: Mailbox<Reply<u32>>| {
            for count in 0.. {
                mailbox.message().send(count);
            }
        });
        for round in 0..100 {
            let references: Vec<_> = (0..100)
                .map(|number| spawn_monitor(move || panic!("crash {number} of round {round}")).1)
                .collect();
            assert_eq!(server.call(|reply| reply), Ok(round));
            for (number, reference) in references.into_iter().enumerate() {
                match down_of(&mut mailbox, reference).reason {
                    DownReason::Exited(ExitReason::Panic(panic)) => {
                        assert_eq!(panic.message, format!("crash {number} of round {round}"));
                    }
                    other => panic!("{other}"),
                }
            }
        }
        tell.send(()).expect("the test waits");
    })
    .expect("a process");
    told.recv_timeout(support::DEADLINE).expect("all is well");
    assert!(node.stop());
    assert_eq!(node.crashes(), 10_000);
}

#[test]
fn the_crash_of_one_is_not_counted_again_for_those_whom_its_links_end() {
    both_with(Config::new(), Some(1), |mut mailbox: Mailbox<()>| {
        trap_exits(true);
        let me = mailbox.address();
        let hub = spawn(move || {
            sleep(Duration::from_millis(5));
            panic!("one crash");
        });
        for _ in 0..5 {
            engset::spawn_link(move || {
                link(hub);
                me.send(());
                sleep(Duration::MAX);
            });
        }
        (0..5).for_each(|_| mailbox.message());
        for _ in 0..5 {
            let exit = mailbox.receive().event();
            assert!(matches!(exit, Some(engset::Event::Exit(exit)) if exit.reason.panic().is_some()));
        }
    });
}

#[test]
fn a_linked_process_that_traps_hears_of_a_panic() {
    both_with(Config::new(), Some(1), |mut mailbox: Mailbox<()>| {
        trap_exits(true);
        let child = engset::spawn_link(|| panic!("hear me"));
        assert_eq!(exit_of(&mut mailbox, child).reason.panic().expect("a panic").message, "hear me");
    });
}

#[test]
fn a_destructor_that_panics_while_unwinding_aborts_the_program() {
    if child_part().is_some() {
        struct Bad;
        impl Drop for Bad {
            fn drop(&mut self) {
                panic!("the second panic");
            }
        }
        let result = run_with(Config::new().workers(1), || {
            let _bad = Bad;
            panic!("the first panic");
        });
        panic!("it went on: {result:?}");
    }
    let (status, errors) = in_child("a_destructor_that_panics_while_unwinding_aborts_the_program", "abort");
    assert!(!status.success());
    assert!(!errors.contains("it went on"), "{errors}");
    assert!(errors.contains("aborting"), "{errors}");
    assert!(errors.contains("the second panic"), "it does not say why: {errors}");
}

fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { recurse(depth + 1) + frame[1] }
}

#[test]
fn a_stack_overflow_names_the_process_and_its_stack_size() {
    if child_part().is_some() {
        let result = run_with(Config::new().workers(1), || {
            let deep = Builder::new().name("the deep one").stack_size(64 << 10);
            deep.spawn(|| support::ignore(std::hint::black_box(recurse(0)))).expect("it can be spawned");
            sleep(Duration::from_secs(20));
        });
        panic!("it went on: {result:?}");
    }
    let (status, errors) = in_child("a_stack_overflow_names_the_process_and_its_stack_size", "overflow");
    assert!(!status.success());
    assert!(errors.contains("stack overflow in process"), "{errors}");
    assert!(errors.contains("the deep one"), "{errors}");
    assert!(errors.contains("65536 bytes"), "{errors}");
    assert!(!errors.contains("it went on"), "{errors}");
}

#[test]
fn a_crash_report_names_the_process_the_place_and_the_message() {
    if child_part().is_some() {
        let result = run_with(Config::new().workers(1), || {
            let crashed = Builder::new().name("the clumsy one").spawn(|| panic!("dropped it"));
            crashed.expect("it can be spawned");
            sleep(Duration::from_millis(50));
        });
        return assert!(result.is_ok());
    }
    let (status, errors) = in_child("a_crash_report_names_the_process_the_place_and_the_message", "report");
    assert!(status.success(), "{errors}");
    let line = errors.lines().find(|line| line.contains("dropped it")).unwrap_or_default();
    assert!(line.contains("the clumsy one") && line.contains("crashes.rs:"), "{errors}");
}

#[test]
fn reports_beyond_the_limit_are_counted_and_left_out() {
    if child_part().is_some() {
        let config =
            Config::new().workers(1).crash_reports_per_second(2_u32).stuck_after(Duration::from_secs(600));
        let result = run_with(config, || {
            (0..200).for_each(|_| support::ignore(spawn(|| panic!("one of many"))));
            sleep(Duration::from_millis(50));
        });
        return assert!(result.is_ok());
    }
    let (status, errors) = in_child("reports_beyond_the_limit_are_counted_and_left_out", "flood");
    assert!(status.success(), "{errors}");
    let reports = errors.matches("one of many").count();
    // A second may end in between.
    assert!((2..=4).contains(&reports), "{reports} reports:\n{errors}");
}
