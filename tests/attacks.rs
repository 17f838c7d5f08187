//! Attempts to break the runtime from safe code: what must hold whatever a program does. `docs/soundness.md` has the list.

#![allow(clippy::disallowed_methods, reason = "threads that are no processes sleep")]

mod support;

use engset::{
    Address, Builder, CallError, Config, DownReason, ExitReason, Limit, Mailbox, Overflow, Priority, Reply,
    blocking, kill, monitor, send_after, sleep, spawn, spawn_monitor, yield_now,
};
use std::{
    cell::RefCell,
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};
use support::{OnDrop, both, both_with, child_part, counter, down_of, in_child, systematic, threaded};

const MS: Duration = Duration::from_millis(1);

/// A thread borrows from the stack of a process, which is killed meanwhile: the stack stays until the thread has ended.
#[test]
fn a_scoped_thread_keeps_the_stack_of_a_killed_process() {
    threaded(Config::new().workers(2), |mut mailbox: Mailbox<&'static str>| {
        let me = mailbox.address();
        let (release, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (gate, sum) = (Arc::clone(&release), Arc::clone(&seen));
        let (victim, reference) = spawn_monitor(move |mut mailbox: Mailbox<()>| {
            let on_the_stack = [7_u64; 100];
            thread::scope(|scope| {
                scope.spawn(|| {
                    me.send("borrowed");
                    while !gate.load(SeqCst) {
                        thread::yield_now();
                    }
                    // It has been killed, and unwinds as far as this scope.
                    for _ in 0..20 {
                        thread::sleep(MS);
                        assert!(on_the_stack.iter().all(|number| *number == 7));
                    }
                    sum.store(on_the_stack.iter().sum(), SeqCst);
                });
                mailbox.message();
            });
        });
        assert_eq!(mailbox.message(), "borrowed");
        kill(victim);
        release.store(true, SeqCst);
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
        assert_eq!(seen.load(SeqCst), 700);
    });
}

thread_local! {
    static SHARED: RefCell<u32> = const { RefCell::new(0) };
}

/// Processes of one worker share its thread-locals. A borrow that is held over a yield is an error of the program, and a panic; no more.
#[test]
fn a_borrow_of_a_thread_local_over_a_yield_is_a_panic_of_the_other_and_no_more() {
    systematic(|mut mailbox: Mailbox<bool>| {
        let me = mailbox.address();
        spawn(move || {
            SHARED.with_borrow_mut(|number| {
                let other = spawn(move || me.send(SHARED.with(|shared| shared.try_borrow_mut().is_ok())));
                while engset::is_alive(other) {
                    yield_now();
                }
                *number += 1;
            });
            me.send(SHARED.with(|shared| shared.try_borrow_mut().is_ok()));
        });
        assert!(!mailbox.message(), "another process could borrow it, too");
        assert!(mailbox.message());
    });
}

/// A killed process that holds a borrow gives it back when it unwinds.
#[test]
fn a_kill_gives_borrows_of_thread_locals_back() {
    both(|mut mailbox: Mailbox<()>| {
        let me = mailbox.address();
        let (holder, reference) = spawn_monitor(move || {
            let own = Arc::new(Mutex::new(0));
            let guard = own.lock();
            me.send(());
            sleep(Duration::MAX);
            drop(guard);
        });
        mailbox.message();
        kill(holder);
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
    });
}

#[test]
fn forgotten_handles_leak_and_do_no_more() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let (forgetful, reference) = spawn_monitor(move |mut mailbox: Mailbox<Reply<u32>>| {
            mem::forget(mailbox.message());
            me.send(1);
            mem::forget(mailbox.message());
        });
        let caller = spawn(move || drop(forgetful.call_timeout(|reply| reply, Duration::MAX)));
        assert_eq!(mailbox.message(), 1);
        assert!(engset::is_alive(caller), "nobody answers, and it is still alive that could");
        kill(caller);
        let second = forgetful.call(|reply| reply);
        assert!(matches!(second, Err(CallError::Down(_))), "{second:?}");
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Normal));
        let _ = send_after(MS, me, 5);
        assert_eq!(mailbox.message(), 5, "a timer does not depend on its handle");
    });
}

/// With a destructor that panics while a kill unwinds the stack there is no way on: the program aborts, as everywhere in Rust.
#[test]
fn a_destructor_that_panics_during_a_kill_aborts_the_program() {
    const TEST: &str = "a_destructor_that_panics_during_a_kill_aborts_the_program";
    if child_part().is_some() {
        let _ = engset::run(|| {
            let victim = spawn(|| {
                let _clumsy = OnDrop(|| panic!("in a destructor"));
                sleep(Duration::MAX);
            });
            sleep(10 * MS);
            kill(victim);
            sleep(Duration::from_secs(60));
        });
        return;
    }
    let (status, text) = in_child(TEST, "kill");
    assert!(!status.success());
    assert!(text.contains("in a destructor"), "{text}");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6), "{status}: {text}");
}

#[test]
fn a_kill_during_blocking_ends_the_process_and_the_job_runs_on_with_what_it_owns() {
    threaded(Config::new().workers(2), |mut mailbox: Mailbox<u64>| {
        let me = mailbox.address();
        let open = Arc::new(AtomicBool::new(false));
        let gate = Arc::clone(&open);
        let (victim, reference) = spawn_monitor(move || {
            let owned = vec![3_u64; 1000];
            blocking(move || {
                me.send(0);
                while !gate.load(SeqCst) {
                    thread::yield_now();
                }
                me.send(owned.iter().sum());
            });
        });
        assert_eq!(mailbox.message(), 0);
        kill(victim);
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
        open.store(true, SeqCst);
        assert_eq!(mailbox.message(), 3000);
    });
}

/// A thread that a process has started is no process: a runtime of its own may live there, while the process waits elsewhere.
#[test]
fn a_runtime_in_a_thread_of_a_process_is_another_runtime() {
    threaded(Config::new().workers(1), |mailbox: Mailbox<u32>| {
        let outer = mailbox.address();
        let inner = blocking(move || {
            thread::spawn(move || {
                engset::run(move || {
                    let own = engset::self_pid();
                    assert_ne!(own.node(), outer.pid().node());
                    outer.send(1);
                    engset::run(|| 1).is_err()
                })
            })
            .join()
        });
        assert!(matches!(inner, Ok(Ok(true))), "a nested run within the inner one is refused");
    });
}

/// Code of the user's runs in the middle of a search through the mailbox. It may send, spawn, ask others: what comes meanwhile must not
/// confuse the search.
#[test]
fn a_selection_that_waits_and_sends_within_finds_what_it_wants() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let echo = spawn(|mut mailbox: Mailbox<Reply<u32>>| {
            loop {
                mailbox.message().send(1);
            }
        });
        for number in 0..20 {
            me.send(number);
        }
        let mut looks = 0;
        let found = mailbox.select(|item| {
            looks += 1;
            me.send(100 + looks);
            let _ = echo.call(|reply| reply);
            yield_now();
            matches!(item, engset::Item::Message(19))
        });
        assert_eq!(found.message(), Some(19));
        let rest: Vec<u32> = std::iter::from_fn(|| mailbox.message_timeout(Duration::ZERO)).collect();
        let mut expected: Vec<u32> = (0..19).collect();
        expected.extend((1..=looks).map(|look| 100 + look));
        assert_eq!(rest, expected);
    });
}

/// A message whose destructor uses the runtime, dropped in each way in which messages are dropped.
#[test]
fn destructors_of_messages_may_use_the_runtime_wherever_they_run() {
    struct Talker(Address<u32>, Arc<AtomicUsize>);
    impl Drop for Talker {
        fn drop(&mut self) {
            self.1.fetch_add(1, SeqCst);
            self.0.send(1);
            spawn(|| ());
            // There is no waiting everywhere; that it returns is what counts.
            yield_now();
        }
    }
    both(|mut mailbox: Mailbox<u32>| {
        let (me, drops) = (mailbox.address(), counter());
        let talker = || Talker(me, Arc::clone(&drops));
        // In the mailbox of one that dies, of one that is dead, of one that is full, in a process that is killed before it starts.
        let (victim, reference) = spawn_monitor(|_: Mailbox<Talker>| sleep(Duration::MAX));
        (0..10).for_each(|_| victim.send(talker()));
        kill(victim);
        down_of(&mut mailbox, reference);
        victim.send(talker());
        let full = Builder::new()
            .mailbox(Limit::messages(1).overflow(Overflow::DropNewest))
            .spawn(|_: Mailbox<Talker>| sleep(Duration::MAX))
            .expect("a process");
        (0..3).for_each(|_| full.send(talker()));
        kill(full);
        let reference = monitor(full);
        down_of(&mut mailbox, reference);
        let unborn = talker();
        let (unborn, reference) = spawn_monitor(move || drop(unborn));
        kill(unborn);
        down_of(&mut mailbox, reference);
        for _ in 0..15 {
            assert_eq!(mailbox.message(), 1);
        }
        assert_eq!(drops.load(SeqCst), 15);
    });
}

/// A function that weighs messages is called in the middle of a send.
#[test]
fn a_weight_that_sends_and_panics_harms_nobody() {
    both_with(Config::new(), None, |mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let limit = Limit::bytes(100).overflow(Overflow::DropNewest).weigh(move |number: &u32| {
            me.send(*number);
            assert!(*number != 13, "unlucky");
            10
        });
        let sink = Builder::new().mailbox(limit).spawn(move |mut mailbox: Mailbox<u32>| {
            loop {
                me.send(1000 + mailbox.message());
            }
        });
        let sink = sink.expect("a process");
        let (_, reference) = spawn_monitor(move || {
            sink.send(12);
            sink.send(13);
        });
        let reason = down_of(&mut mailbox, reference).reason;
        assert!(matches!(reason, DownReason::Exited(ExitReason::Panic(_))), "{reason}");
        sink.send(14);
        let mut seen: Vec<u32> = Vec::new();
        while !seen.contains(&1014) {
            seen.push(mailbox.message());
        }
        assert!(seen.contains(&1012) && !seen.contains(&1013), "{seen:?}");
    });
}

/// The destructor of a thread-local of a worker runs when the worker's thread ends, and tries everything.
#[test]
fn a_thread_local_that_uses_the_runtime_at_the_end_of_its_worker_finds_none() {
    static TRIED: AtomicUsize = AtomicUsize::new(0);
    struct Late(Address<u32>);
    impl Drop for Late {
        fn drop(&mut self) {
            self.0.send(1);
            assert!(engset::try_self_pid().is_none());
            let _ = engset::now();
            let failed = std::panic::catch_unwind(|| spawn(|| ()));
            assert!(failed.is_err(), "there is no runtime any more");
            TRIED.fetch_add(1, SeqCst);
        }
    }
    thread_local! {
        static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
    }
    for _ in 0..5 {
        let before = TRIED.load(SeqCst);
        let result = engset::run_with(Config::new().workers(1), || {
            let address = spawn(|mut mailbox: Mailbox<u32>| {
                mailbox.message();
            });
            LATE.set(Some(Late(address)));
        });
        assert!(result.is_ok());
        assert_eq!(TRIED.load(SeqCst), before + 1);
    }
}

/// Slots of the table are used again at once. What is under way to the process that lived there before must not reach the next one.
#[test]
fn mail_for_a_dead_process_never_reaches_the_next_one_in_its_place() {
    threaded(Config::new().workers(2), |mut mailbox: Mailbox<Option<String>>| {
        let me = mailbox.address();
        // It sends to whom it is told of; on another worker, as a rule.
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let sender = Builder::new().spread().spawn(|mut mailbox: Mailbox<(Address<u64>, u64)>| {
                    loop {
                        let (to, life) = mailbox.message();
                        (0..3).for_each(|_| to.send(life));
                    }
                });
                sender.expect("a process")
            })
            .collect();
        let starter = move || {
            for life in 0..20_000_u64 {
                let child = move |mut mailbox: Mailbox<u64>| {
                    for _ in 0..life % 3 {
                        yield_now();
                    }
                    while let Some(number) = mailbox.message_timeout(Duration::ZERO) {
                        if number != life {
                            me.send(Some(format!("mail for life {number} in life {life}")));
                        }
                    }
                };
                let child = Builder::new().priority(Priority::High).spawn(child).expect("a process");
                senders.iter().for_each(|sender| sender.send((child, life)));
                yield_now();
            }
            me.send(None);
        };
        spawn(starter);
        if let Some(wrong) = mailbox.message() {
            panic!("{wrong}");
        }
    });
}
