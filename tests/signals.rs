//! S2: signals act at the receiver's next scheduling point, whether or not it ever receives.

mod support;

use engset::{
    Alias, Builder, DownReason, Event, ExitReason, Mailbox, Received, demonitor, exit, exit_self, is_alive,
    kill, link, lookup, monitor, process_info, reduce, register, registered, self_pid, send_after, sleep,
    spawn, spawn_link, spawn_monitor, trap_exits, unlink, unregister, whereis, yield_now,
};
use std::{
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use support::{assert_silence, await_end, boom, both, counter, down_of, exit_of, wait_until};

/// Computes for ever, and never receives.
fn busy() -> ! {
    loop {
        reduce(10);
    }
}

#[test]
fn an_exit_signal_ends_a_process_that_only_computes() {
    both(|mut mailbox: Mailbox<()>| {
        let (hog, reference) = spawn_monitor(|| busy());
        yield_now();
        exit(hog, boom());
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(boom()));
    });
}

#[test]
fn a_monitor_works_on_a_process_that_never_receives() {
    both(|mut mailbox: Mailbox<()>| {
        let hog = spawn(|| busy());
        let reference = monitor(hog);
        assert!(is_alive(hog));
        kill(hog);
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
    });
}

#[test]
fn a_link_ends_a_process_that_never_receives() {
    both(|mut mailbox: Mailbox<()>| {
        let (hog, reference) = spawn_monitor(|| busy());
        spawn(move || {
            link(hog);
            exit_self(boom());
        });
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(boom()));
    });
}

#[test]
fn questions_are_answered_by_a_process_that_never_receives() {
    both(|mut mailbox: Mailbox<()>| {
        for hog in [spawn(|| busy()), spawn(|| sleep(Duration::MAX))] {
            link(hog);
            let reference = monitor(hog);
            let info = process_info(hog).expect("it lives");
            assert_eq!((info.pid, info.links, info.watchers), (hog, vec![self_pid()], vec![self_pid()]));
            unlink(hog);
            assert!(demonitor(reference, true));
            let info = process_info(hog).expect("it lives");
            assert_eq!((info.links, info.watchers), (vec![], vec![]));
            kill(hog);
        }
        assert_silence(&mut mailbox);
    });
}

#[test]
fn an_exit_signal_ends_a_process_in_each_kind_of_wait() {
    both(|mut mailbox: Mailbox<()>| {
        let never = spawn(|_: Mailbox<engset::Reply<()>>| sleep(Duration::MAX));
        let victims = [
            spawn_monitor(|| sleep(Duration::MAX)),
            spawn_monitor(|| sleep(Duration::from_secs(3600))),
            spawn_monitor(move || drop(never.call_timeout(|reply| reply, Duration::MAX))),
            spawn_monitor(|| engset::block_on(std::future::pending::<()>())),
        ];
        let (receiving, receiving_reference) = spawn_monitor(|mut mailbox: Mailbox<()>| mailbox.message());
        let (selecting, selecting_reference) = spawn_monitor(|mut mailbox: Mailbox<()>| {
            let _ = mailbox.select(|_| false);
        });
        sleep(Duration::from_millis(2));
        for (victim, reference) in victims {
            exit(victim, boom());
            assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(boom()));
        }
        exit(receiving, boom());
        assert_eq!(down_of(&mut mailbox, receiving_reference).reason, DownReason::Exited(boom()));
        exit(selecting, boom());
        assert_eq!(down_of(&mut mailbox, selecting_reference).reason, DownReason::Exited(boom()));
    });
}

#[test]
fn who_gets_the_down_can_take_the_name_at_once() {
    both(|mut mailbox: Mailbox<()>| {
        for _ in 0..10 {
            let (holder, reference) = Builder::new()
                .name("the name")
                .spawn_monitor(|| sleep(Duration::MAX))
                .expect("the name is free");
            assert_eq!(whereis("the name"), Some(holder));
            kill(holder);
            down_of(&mut mailbox, reference);
            assert_eq!(whereis("the name"), None);
            register("the name").expect("it was released before the Down");
            unregister("the name").expect("it is ours");
        }
    });
}

#[test]
fn who_gets_the_exit_can_take_the_name_at_once() {
    both(|mut mailbox: Mailbox<()>| {
        trap_exits(true);
        for round in 0..10 {
            let holder = spawn_link(move || {
                register("the name").expect("the name is free");
                if round % 2 == 0 {
                    exit_self(boom());
                }
            });
            exit_of(&mut mailbox, holder);
            register("the name").expect("it was released before the Exit");
            unregister("the name").expect("it is ours");
        }
    });
}

#[test]
fn all_names_of_a_dead_process_are_free() {
    both(|mut mailbox: Mailbox<()>| {
        let (_, reference) = spawn_monitor(|| {
            for name in ["one", "two", "three"] {
                register(name).expect("free");
            }
            unregister("two").expect("ours");
        });
        down_of(&mut mailbox, reference);
        assert_eq!(registered(), []);
    });
}

#[test]
fn a_dead_process_is_dead_to_all_questions_when_its_down_is_there() {
    both(|mut mailbox: Mailbox<()>| {
        let (victim, reference) = spawn_monitor(|mut mailbox: Mailbox<()>| mailbox.message());
        kill(victim);
        down_of(&mut mailbox, reference);
        assert!(!is_alive(victim));
        assert!(process_info(victim).is_none());
        assert!(victim.try_send(()).is_err());
        assert!(!engset::processes().contains(&victim.pid()));
    });
}

#[test]
fn process_locals_are_dropped_before_the_down() {
    engset::process_local! {
        static GUARD: Option<support::OnDrop<Box<dyn FnMut() + Send>>> = None;
    }
    both(|mut mailbox: Mailbox<()>| {
        let dropped = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&dropped);
        let (_, reference) = spawn_monitor(move || {
            let guard: Box<dyn FnMut() + Send> = Box::new(move || flag.store(true, Ordering::SeqCst));
            GUARD.replace(Some(support::OnDrop(guard)));
        });
        down_of(&mut mailbox, reference);
        assert!(dropped.load(Ordering::SeqCst));
    });
}

#[test]
fn messages_that_a_dead_process_has_not_received_are_dropped_before_its_down() {
    both(|mut mailbox: Mailbox<()>| {
        let drops = counter();
        let (victim, reference) =
            spawn_monitor(|_: Mailbox<support::OnDrop<Box<dyn FnMut() + Send>>>| sleep(Duration::MAX));
        for _ in 0..10 {
            let drops = Arc::clone(&drops);
            victim.send(support::OnDrop(Box::new(move || {
                drops.fetch_add(1, Ordering::SeqCst);
            })));
        }
        kill(victim);
        down_of(&mut mailbox, reference);
        assert_eq!(drops.load(Ordering::SeqCst), 10);
    });
}

#[test]
fn an_alias_of_a_dead_process_takes_nothing() {
    both(|mut mailbox: Mailbox<Alias<u32>>| {
        let me = mailbox.address();
        let (owner, reference) = spawn_monitor(move |mailbox: Mailbox<u32>| {
            me.send(Alias::new(&mailbox));
        });
        let alias = mailbox.message();
        down_of(&mut mailbox, reference);
        assert_eq!(alias.pid(), owner.pid());
        alias.send(1);
        assert_eq!(await_end(&mut mailbox, owner), DownReason::NoProc);
    });
}

#[test]
fn a_name_that_a_destructor_registers_while_the_process_ends_does_not_outlive_it() {
    struct Registers;
    impl Drop for Registers {
        fn drop(&mut self) {
            let _ = register("late");
        }
    }
    engset::process_local! {
        static LOCAL: Option<Registers> = None;
    }
    both(|mut mailbox: Mailbox<()>| {
        let (_, first) = spawn_monitor(|| {
            let _on_the_stack = Registers;
            exit_self(boom());
        });
        down_of(&mut mailbox, first);
        assert_eq!(whereis("late"), None, "registered by a value on the stack");
        let (second, reference) = spawn_monitor(|_: Mailbox<Registers>| sleep(Duration::MAX));
        second.send(Registers);
        kill(second);
        down_of(&mut mailbox, reference);
        assert_eq!(whereis("late"), None, "registered by a message in the mailbox");
        let (_, reference) = spawn_monitor(|| drop(LOCAL.replace(Some(Registers))));
        down_of(&mut mailbox, reference);
        assert_eq!(whereis("late"), None, "registered by a process-local value");
    });
}

#[test]
fn a_lookup_finds_a_name_with_its_type_from_the_first_moment() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        for number in 0..10 {
            let worker = Builder::new().name("typed").spawn(move |mut mailbox: Mailbox<u32>| {
                let own = lookup::<u32>("typed").expect("its own name");
                assert_eq!(own, mailbox.address());
                me.send(mailbox.message());
            });
            let worker = worker.expect("the name is free");
            assert_eq!(lookup::<u32>("typed"), Ok(worker));
            worker.send(number);
            assert_eq!(mailbox.message(), number);
            await_end(&mut mailbox, worker);
        }
    });
}

#[test]
fn names_taken_and_released_by_many_short_lives_are_never_left_to_the_dead() {
    both(|mut mailbox: Mailbox<()>| {
        let me = mailbox.address();
        for _ in 0..4 {
            spawn(move || {
                for _ in 0..100 {
                    // Often taken by one of the others: that is an error value, and nothing else.
                    if Builder::new().name("contended").spawn(|| ()).is_err() {
                        yield_now();
                    }
                }
                me.send(());
            });
        }
        (0..4).for_each(|_| mailbox.message());
        wait_until(|| engset::processes().len() <= 2);
        assert_eq!(whereis("contended"), None);
        register("contended").expect("nobody has it");
    });
}

#[test]
fn a_timer_of_a_dead_process_to_a_live_one_still_fires() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let (_, reference) = spawn_monitor(move || {
            send_after(Duration::from_millis(5), me, 7);
        });
        assert!(
            matches!(mailbox.receive(), Received::Event(Event::Down(down)) if down.reference == reference)
        );
        assert_eq!(mailbox.message(), 7);
    });
}
