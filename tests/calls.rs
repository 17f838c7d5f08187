//! S7: calls.

#![allow(
    clippy::disallowed_methods,
    reason = "tests and benchmarks look at the real clock and block real threads"
)]

mod support;

use engset::{
    Address, CallError, Config, DownReason, Event, ExitReason, Flow, Item, Mailbox, Node, Received, Reply,
    exit_self, is_alive, kill, now, process_info, self_pid, serve_with, sleep, spawn, spawn_monitor,
    yield_now,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use support::{assert_silence, await_end, boom, both, both_with, counter, down_of, wait_until_outside};

const SHORT: Duration = Duration::from_millis(20);

enum Request {
    Double(u32, Reply<u32>),
    Keep(Reply<u32>),
    Drop(Reply<u32>),
    Crash(Reply<u32>),
    Late(Duration, Reply<u32>),
}

fn server() -> Address<Request> {
    spawn(|mut mailbox: Mailbox<Request>| {
        let mut kept = Vec::new();
        loop {
            match mailbox.message() {
                Request::Double(number, reply) => reply.send(2 * number),
                Request::Keep(reply) => kept.push(reply),
                Request::Drop(reply) => drop(reply),
                Request::Crash(reply) => {
                    let _reply = reply;
                    exit_self(boom());
                }
                Request::Late(after, reply) => {
                    sleep(after);
                    reply.send(0);
                }
            }
        }
    })
}

#[test]
fn a_call_returns_the_answer() {
    both(|_mailbox: Mailbox<()>| {
        let server = server();
        for number in 0..50 {
            assert_eq!(server.call(|reply| Request::Double(number, reply)), Ok(2 * number));
        }
    });
}

#[test]
fn a_call_times_out_with_the_time_in_the_error_and_not_before() {
    both(|_mailbox: Mailbox<()>| {
        let server = server();
        let start = now();
        assert_eq!(server.call_timeout(Request::Keep, SHORT), Err(CallError::Timeout(SHORT)));
        assert!(now() - start >= SHORT);
        assert_eq!(server.call(|reply| Request::Double(4, reply)), Ok(8), "it still serves");
    });
}

#[test]
fn the_default_timeout_is_five_seconds() {
    support::systematic(|_mailbox: Mailbox<()>| {
        let server = server();
        let start = now();
        let five = Duration::from_secs(5);
        assert_eq!(server.call(Request::Keep), Err(CallError::Timeout(five)));
        assert!((five..five + SHORT).contains(&(now() - start)));
    });
}

#[test]
fn a_call_to_a_dead_process_is_down_noproc_at_once() {
    both(|mut mailbox: Mailbox<()>| {
        let server = server();
        kill(server);
        await_end(&mut mailbox, server);
        assert_eq!(server.call(Request::Keep), Err(CallError::Down(DownReason::NoProc)));
    });
}

#[test]
fn a_server_that_ends_with_the_request_in_hand_gives_its_reason() {
    both(|_mailbox: Mailbox<()>| {
        let server = server();
        assert_eq!(server.call(Request::Crash), Err(CallError::Down(DownReason::Exited(boom()))));
    });
}

#[test]
fn a_server_that_ends_with_the_request_in_its_mailbox_gives_its_reason() {
    both(|_mailbox: Mailbox<()>| {
        let deaf = spawn(|_: Mailbox<Request>| sleep(Duration::MAX));
        spawn(move || {
            while engset::mailbox_len(deaf) == 0 {
                sleep(Duration::from_millis(2));
            }
            engset::exit(deaf, boom());
        });
        let result = deaf.call(Request::Keep);
        assert_eq!(result, Err(CallError::Down(DownReason::Exited(boom()))));
    });
}

#[test]
fn a_server_that_ends_while_another_process_keeps_the_reply_gives_its_reason() {
    both(|mut mailbox: Mailbox<Reply<u32>>| {
        let keeper = mailbox.address();
        let server = spawn(move |mut mailbox: Mailbox<Reply<u32>>| {
            keeper.send(mailbox.message());
            sleep(Duration::from_millis(30));
            exit_self(boom());
        });
        let (_, reference) = spawn_monitor(move || {
            let result = server.call_timeout(|reply| reply, Duration::MAX);
            assert_eq!(result, Err(CallError::Down(DownReason::Exited(boom()))));
        });
        let kept = mailbox.message();
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Normal));
        kept.send(5);
    });
}

#[test]
fn a_server_that_panics_gives_its_panic() {
    both_with(Config::new(), Some(1), |_mailbox: Mailbox<()>| {
        let server = spawn(|mut mailbox: Mailbox<Reply<u32>>| {
            let _reply = mailbox.message();
            panic!("no idea");
        });
        match server.call(|reply| reply) {
            Err(CallError::Down(DownReason::Exited(reason))) => {
                assert_eq!(reason.panic().unwrap().message, "no idea")
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_process_that_calls_itself_gets_an_error() {
    both(|mut mailbox: Mailbox<Reply<u32>>| {
        let me = mailbox.address();
        assert_eq!(me.call(|reply| reply), Err(CallError::CallingSelf));
        assert!(mailbox.try_receive().is_none(), "the request was not sent");
    });
}

#[test]
fn a_request_that_was_dropped_for_its_deadline_is_a_timeout() {
    // The server's thread stands still until the deadline has passed, and the caller's for longer: there the server's word comes before the time.
    engset::run(|| {
        let stand_still = |milliseconds| std::thread::sleep(Duration::from_millis(milliseconds));
        for _ in 0..10 {
            let server =
                engset::Builder::new().spread().spawn(move |mut mailbox: Mailbox<Option<Reply<()>>>| {
                    loop {
                        match mailbox.message() {
                            Some(reply) => reply.send(()),
                            None => stand_still(8),
                        }
                    }
                });
            let server = server.expect("nothing forbids it");
            server.send(None);
            sleep(Duration::from_millis(2));
            spawn(move || stand_still(25));
            let result = server.call_timeout(Some, Duration::from_millis(1));
            assert!(matches!(result, Err(CallError::Timeout(_)) | Ok(())), "{result:?}");
            kill(server);
        }
    })
    .unwrap();
}

#[test]
fn a_late_answer_never_reaches_the_mailbox_nor_a_later_call() {
    both(|mut mailbox: Mailbox<u32>| {
        let server = server();
        for number in 0..5 {
            let late = Duration::from_millis(3);
            let result = server.call_timeout(|reply| Request::Late(late, reply), Duration::from_millis(1));
            // With threads the answer may be in time after all: the machine may be slow to time out.
            assert!(matches!(result, Err(CallError::Timeout(_)) | Ok(0)), "{result:?}");
            assert_eq!(server.call(|reply| Request::Double(number, reply)), Ok(2 * number));
        }
        assert_silence(&mut mailbox);
    });
}

#[test]
fn a_dropped_reply_is_an_error_at_once() {
    both(|_mailbox: Mailbox<()>| {
        let server = server();
        assert_eq!(server.call_timeout(Request::Drop, Duration::MAX), Err(CallError::NoReply));
        assert!(is_alive(server));
    });
}

#[test]
fn a_reply_that_is_dropped_by_a_panic_that_is_caught_is_an_error_at_once() {
    both(|_mailbox: Mailbox<()>| {
        let careful = spawn(|mut mailbox: Mailbox<Reply<u32>>| {
            loop {
                let reply = mailbox.message();
                let caught = catch_unwind(AssertUnwindSafe(|| {
                    let _reply = reply;
                    panic!("caught by the server");
                }));
                assert!(caught.is_err());
            }
        });
        let result = careful.call_timeout(|reply| reply, Duration::from_secs(30));
        assert_eq!(result, Err(CallError::NoReply), "the server lives, so the caller must be told");
    });
}

#[test]
fn the_answer_may_come_later_and_from_another_process() {
    both(|_mailbox: Mailbox<()>| {
        let server = spawn(|mut mailbox: Mailbox<Reply<engset::Pid>>| {
            loop {
                let reply = mailbox.message();
                spawn(move || {
                    sleep(Duration::from_millis(1));
                    reply.send(self_pid());
                });
            }
        });
        let answered_by = server.call(|reply| reply).expect("an answer");
        assert_ne!(answered_by, server.pid());
    });
}

#[test]
fn answers_do_not_pass_through_the_mailbox_and_leave_it_as_it_is() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        (0..10).for_each(|number| me.send(number));
        let server = server();
        assert_eq!(server.call(|reply| Request::Double(21, reply)), Ok(42));
        assert_eq!(process_info(self_pid()).unwrap().mailbox_len, 10);
        (0..10).for_each(|number| assert_eq!(mailbox.message(), number));
    });
}

#[test]
fn a_server_does_not_receive_requests_whose_callers_have_given_up() {
    both(|mut mailbox: Mailbox<()>| {
        let seen = counter();
        let count = Arc::clone(&seen);
        let server = spawn(move |mut mailbox: Mailbox<Option<Reply<u32>>>| {
            // The first thing is the word to begin.
            let is_word = |item: Item<'_, Option<Reply<u32>>>| matches!(item, Item::Message(None));
            let _ = mailbox.select(is_word);
            while let Received::Message(Some(reply)) = mailbox.receive() {
                count.fetch_add(1, Ordering::SeqCst);
                reply.send(1);
            }
        });
        for _ in 0..3 {
            assert_eq!(server.call_timeout(Some, SHORT), Err(CallError::Timeout(SHORT)));
        }
        sleep(SHORT);
        server.send(None);
        assert_eq!(server.call(Some), Ok(1));
        assert_eq!(seen.load(Ordering::SeqCst), 1, "only the request of a caller that still waits");
        assert_eq!(Node::current().expect("a node").expired_requests(), 3);
        server.send(None);
        await_end(&mut mailbox, server);
    });
}

#[test]
fn a_selecting_server_skips_them_too() {
    both(|_mailbox: Mailbox<()>| {
        let server = spawn(move |mut mailbox: Mailbox<Option<Reply<u32>>>| {
            let _ = mailbox.select(|item| matches!(item, Item::Message(None)));
            loop {
                let wanted = mailbox.select(|item| matches!(item, Item::Message(Some(_))));
                if let Received::Message(Some(reply)) = wanted {
                    reply.send(process_info(self_pid()).expect("itself").mailbox_len);
                }
            }
        });
        for _ in 0..3 {
            assert!(server.call_timeout(Some, SHORT).is_err());
        }
        sleep(SHORT);
        server.send(None);
        assert_eq!(server.call(Some), Ok(0), "the expired ones are gone from the mailbox");
    });
}

#[test]
fn a_server_without_a_stack_skips_them_too() {
    both(|_mailbox: Mailbox<()>| {
        let server = serve_with(0_u32, |count, received: Received<Reply<u32>>| {
            if let Received::Message(reply) = received {
                *count += 1;
                if *count == 1 {
                    sleep(4 * SHORT);
                }
                reply.send(*count);
            }
            Flow::Continue
        });
        for _ in 0..3 {
            assert!(server.call_timeout(|reply| reply, SHORT / 2).is_err());
        }
        sleep(8 * SHORT);
        assert_eq!(server.call(|reply| reply), Ok(2));
    });
}

#[test]
fn a_request_may_be_built_with_the_help_of_another_call() {
    both(|_mailbox: Mailbox<()>| {
        let (helper, server) = (server(), server());
        let result = server.call(|reply| {
            let number = helper.call(|reply| Request::Double(10, reply)).expect("an answer");
            Request::Double(number, reply)
        });
        assert_eq!(result, Ok(40), "the inner call must not take the outer one's place");
    });
}

#[test]
fn a_request_may_be_built_with_any_other_question() {
    both(|_mailbox: Mailbox<()>| {
        let server = server();
        let result = server.call(|reply| {
            assert!(is_alive(server));
            let (timer, _) = engset::start_timer(Duration::from_secs(3600));
            assert!(timer.cancel().is_some());
            yield_now();
            Request::Double(3, reply)
        });
        assert_eq!(result, Ok(6));
    });
}

#[test]
fn a_call_whose_request_panics_while_it_is_built_leaves_the_caller_able_to_call() {
    both(|mut mailbox: Mailbox<()>| {
        let server = server();
        let result = catch_unwind(AssertUnwindSafe(|| server.call(|_reply: Reply<u32>| panic!("in make"))));
        assert!(result.is_err());
        assert_eq!(server.call(|reply| Request::Double(1, reply)), Ok(2));
        assert_silence(&mut mailbox);
    });
}

#[test]
fn a_call_waits_without_a_timeout_if_told_so() {
    support::systematic(|_mailbox: Mailbox<()>| {
        let server = server();
        let hour = Duration::from_secs(3600);
        assert_eq!(server.call_timeout(|reply| Request::Late(hour, reply), Duration::MAX), Ok(0));
    });
}

#[test]
fn a_call_with_a_timeout_of_months_is_not_taken_for_expired() {
    support::systematic(|_mailbox: Mailbox<()>| {
        let server = server();
        for days in [1, 20, 25, 27, 40, 51, 53, 80, 400] {
            let timeout = Duration::from_secs(days * 24 * 3600);
            let result = server.call_timeout(|reply| Request::Double(1, reply), timeout);
            assert_eq!(result, Ok(2), "{days} days");
        }
    });
}

#[test]
fn a_destructor_of_a_process_that_ends_gets_an_error_and_does_not_wait() {
    struct Calls(Address<Request>, Arc<AtomicUsize>);
    impl Drop for Calls {
        fn drop(&mut self) {
            if self.0.call(|reply| Request::Double(1, reply)) == Err(CallError::Unwinding) {
                self.1.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
    both(|mut mailbox: Mailbox<()>| {
        let (server, refused) = (server(), counter());
        let calls = Calls(server, Arc::clone(&refused));
        let (victim, reference) = spawn_monitor(move || {
            let _calls = calls;
            sleep(Duration::MAX);
        });
        yield_now();
        kill(victim);
        down_of(&mut mailbox, reference);
        assert_eq!(refused.load(Ordering::SeqCst), 1);
        assert_eq!(server.call(|reply| Request::Double(2, reply)), Ok(4));
    });
}

#[test]
fn killing_the_caller_does_not_disturb_the_server() {
    both(|mut mailbox: Mailbox<()>| {
        let server = server();
        let caller = spawn(move || drop(server.call(|reply| Request::Late(Duration::from_millis(3), reply))));
        sleep(Duration::from_millis(1));
        kill(caller);
        await_end(&mut mailbox, caller);
        assert_eq!(server.call(|reply| Request::Double(2, reply)), Ok(4));
    });
}

#[test]
fn a_long_call_leaves_no_monitor_behind() {
    both(|mut mailbox: Mailbox<()>| {
        let server = server();
        let late = Duration::from_millis(40);
        assert_eq!(server.call(|reply| Request::Late(late, reply)), Ok(0));
        assert_eq!(process_info(server).unwrap().watchers, []);
        assert_eq!(process_info(self_pid()).unwrap().monitors, []);
        kill(server);
        await_end(&mut mailbox, server);
        assert_silence(&mut mailbox);
    });
}

#[test]
fn events_that_come_during_a_call_are_there_after_it() {
    both(|mut mailbox: Mailbox<()>| {
        let server = server();
        let (_, reference) = spawn_monitor(|| ());
        let late = Duration::from_millis(5);
        assert_eq!(server.call(|reply| Request::Late(late, reply)), Ok(0));
        assert!(
            matches!(mailbox.receive(), Received::Event(Event::Down(down)) if down.reference == reference)
        );
    });
}

#[test]
fn many_callers_get_each_their_own_answer() {
    both(|mut mailbox: Mailbox<bool>| {
        let (server, me) = (server(), mailbox.address());
        for caller in 0..20 {
            spawn(move || {
                let right = |number| server.call(|reply| Request::Double(number, reply)) == Ok(2 * number);
                me.send((0..20).all(|turn| right(caller * 1000 + turn)));
            });
        }
        for _ in 0..20 {
            assert!(mailbox.message());
        }
    });
}

fn with_node(test: impl FnOnce(&Node)) {
    let node = Node::start(Config::new().workers(2)).expect("a node");
    test(&node);
    assert!(node.stop());
}

#[test]
fn a_thread_that_is_no_process_can_call() {
    with_node(|node| {
        let server = node.spawn(|mut mailbox: Mailbox<Request>| {
            loop {
                match mailbox.message() {
                    Request::Double(number, reply) => {
                        assert_eq!(reply.caller(), None);
                        reply.send(2 * number);
                    }
                    Request::Drop(reply) => drop(reply),
                    Request::Crash(reply) => {
                        let _reply = reply;
                        exit_self(boom());
                    }
                    Request::Keep(reply) => std::mem::forget(reply),
                    Request::Late(..) => {}
                }
            }
        });
        let server = server.expect("a process");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for number in 0..50 {
                        let number = thread * 100 + number;
                        assert_eq!(server.call(|reply| Request::Double(number, reply)), Ok(2 * number));
                    }
                });
            }
        });
        assert_eq!(server.call(Request::Drop), Err(CallError::NoReply));
        assert_eq!(server.call_timeout(Request::Keep, SHORT), Err(CallError::Timeout(SHORT)));
        assert_eq!(server.call(Request::Crash), Err(CallError::Down(DownReason::Exited(boom()))));
    });
}

#[test]
fn a_call_from_outside_to_a_dead_process_is_down_noproc() {
    with_node(|node| {
        let server = node.spawn(|_: Mailbox<Reply<u32>>| ()).expect("a process");
        wait_until_outside(|| !node.is_alive(server));
        assert_eq!(server.call(|reply| reply), Err(CallError::Down(DownReason::NoProc)));
    });
}

#[test]
fn a_call_from_outside_whose_reply_is_leaked_ends_with_the_server() {
    with_node(|node| {
        let server = node.spawn(|mut mailbox: Mailbox<Reply<u32>>| {
            std::mem::forget(mailbox.message());
            exit_self(boom());
        });
        let result = server.expect("a process").call_timeout(|reply| reply, Duration::MAX);
        assert_eq!(result, Err(CallError::Down(DownReason::Exited(boom()))));
    });
}

#[test]
fn a_server_skips_expired_requests_from_outside_too() {
    with_node(|node| {
        let (begin, wait) = std::sync::mpsc::channel::<()>();
        let server = node.spawn(move |mut mailbox: Mailbox<Reply<u32>>| {
            engset::blocking(move || wait.recv()).expect("the test begins");
            for count in 1.. {
                mailbox.message().send(count);
            }
        });
        let server = server.expect("a process");
        assert_eq!(server.call_timeout(|reply| reply, SHORT), Err(CallError::Timeout(SHORT)));
        std::thread::sleep(2 * SHORT);
        begin.send(()).expect("it waits");
        assert_eq!(server.call(|reply| reply), Ok(1), "the first request had expired");
        assert_eq!(node.expired_requests(), 1);
    });
}

#[test]
fn a_call_to_a_process_of_a_node_that_is_gone_is_down_noconnection() {
    let node = Node::start(Config::new().workers(1)).expect("a node");
    let server = node.spawn(|_: Mailbox<Reply<u32>>| sleep(Duration::MAX)).expect("a process");
    assert!(node.stop());
    assert_eq!(server.call(|reply| reply), Err(CallError::Down(DownReason::NoConnection)), "from a thread");
    both(move |_mailbox: Mailbox<()>| {
        assert_eq!(
            server.call(|reply| reply),
            Err(CallError::Down(DownReason::NoConnection)),
            "from a process"
        );
    });
}
