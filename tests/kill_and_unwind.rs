//! S11: a process that is killed unwinds: its destructors run, wherever it is.

mod support;

use engset::{
    Address, Builder, Config, DownReason, ExitReason, Flow, Mailbox, MonitorRef, Node, Overflow, Received,
    Reply, Server, block_on, exit, exit_self, kill, link, reduce, register, send_after, sleep, spawn,
    spawn_monitor, yield_now,
};
use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use support::{OnDrop, boom, both, counter, down_of, wait_until};

/// Counts itself when it is dropped.
fn guard(drops: &Arc<AtomicUsize>) -> OnDrop<impl FnMut() + Send + 'static> {
    let drops = Arc::clone(drops);
    OnDrop(move || {
        drops.fetch_add(1, Ordering::SeqCst);
    })
}

/// Kills a process that is in `state`, and sees that a value on its stack is dropped before the `Down`.
fn dies_in(state: impl Fn() + Send + Sync + Clone + 'static) {
    both(move |mut mailbox: Mailbox<()>| {
        let (drops, me, state) = (counter(), mailbox.address(), state.clone());
        let value = guard(&drops);
        let (victim, reference) = spawn_monitor(move || {
            let _value = value;
            me.send(());
            state();
        });
        mailbox.message();
        // Not a sleep: virtual time stands still while the victim can run.
        (0..5).for_each(|_| yield_now());
        kill(victim);
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_sleeping_process_unwinds() {
    dies_in(|| sleep(Duration::MAX));
}

#[test]
fn a_calling_process_unwinds() {
    dies_in(|| {
        let deaf = spawn(|_: Mailbox<Reply<()>>| sleep(Duration::MAX));
        let _ = deaf.call_timeout(|reply| reply, Duration::MAX);
    });
}

#[test]
fn a_process_that_waits_for_a_future_unwinds() {
    dies_in(|| block_on(std::future::pending()));
}

#[test]
fn a_preempted_process_unwinds() {
    dies_in(|| {
        loop {
            reduce(7);
        }
    });
}

#[test]
fn a_process_that_yields_all_the_time_unwinds() {
    dies_in(|| {
        loop {
            yield_now();
        }
    });
}

#[test]
fn a_process_that_sends_all_the_time_unwinds() {
    dies_in(|| {
        let sink = engset::serve_with((), |_, _: Received<u32>| Flow::Continue);
        loop {
            sink.send(1);
        }
    });
}

#[test]
fn a_process_that_waits_for_room_in_a_mailbox_unwinds() {
    dies_in(|| {
        let limit = engset::Limit::messages(1).overflow(Overflow::Block);
        let deaf = Builder::new().mailbox(limit).spawn(|_: Mailbox<u32>| sleep(Duration::MAX));
        let deaf = deaf.expect("it can be spawned");
        (0..3).for_each(|number| deaf.send(number));
    });
}

#[test]
fn a_process_that_waits_for_a_blocking_job_unwinds() {
    support::threaded(Config::new().workers(2), |mut mailbox: Mailbox<()>| {
        let drops = counter();
        let value = guard(&drops);
        let (open, closed) = std::sync::mpsc::channel::<()>();
        let (victim, reference) = spawn_monitor(move || {
            let _value = value;
            support::ignore(engset::blocking(move || closed.recv().is_err()));
        });
        sleep(Duration::from_millis(5));
        kill(victim);
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        drop(open);
    });
}

#[test]
fn a_waiting_process_unwinds_with_values_that_are_not_send() {
    both(|mut mailbox: Mailbox<()>| {
        let drops = counter();
        let value = guard(&drops);
        let (victim, reference) = spawn_monitor(move |mut mailbox: Mailbox<()>| {
            let shared = Rc::new(RefCell::new(Some(value)));
            let _other = Rc::clone(&shared);
            mailbox.message();
            drop(shared.borrow_mut().take());
        });
        yield_now();
        kill(victim);
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_process_that_is_killed_before_it_starts_drops_what_it_has_captured_and_never_runs() {
    both(|mut mailbox: Mailbox<()>| {
        for _ in 0..10 {
            let (drops, ran) = (counter(), counter());
            let (value, mark) = (guard(&drops), Arc::clone(&ran));
            let (victim, reference) = spawn_monitor(move || {
                mark.fetch_add(1, Ordering::SeqCst);
                let _value = value;
                sleep(Duration::MAX);
            });
            kill(victim);
            assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
            assert_eq!(drops.load(Ordering::SeqCst), 1);
            assert!(ran.load(Ordering::SeqCst) <= 1);
        }
    });
}

/// A server that holds something.
struct Holder<T>(T, Arc<AtomicUsize>);

impl<T: Send + 'static> Server for Holder<T> {
    type Message = Option<Reply<()>>;

    fn handle(&mut self, received: Received<Self::Message>) -> Flow {
        self.1.fetch_add(1, Ordering::SeqCst);
        match received {
            Received::Message(Some(reply)) => reply.send(()),
            Received::Message(None) => sleep(Duration::MAX),
            Received::Event(_) => {}
        }
        Flow::Continue
    }
}

fn holder(drops: &Arc<AtomicUsize>) -> (Address<Option<Reply<()>>>, MonitorRef) {
    let server = Holder(guard(drops), counter());
    Builder::new().serve_monitor(server).expect("it can be spawned")
}

#[test]
fn an_idle_server_that_is_killed_drops_its_state() {
    both(|mut mailbox: Mailbox<()>| {
        let drops = counter();
        let (server, reference) = holder(&drops);
        server.call(Some).expect("an answer");
        assert!(!engset::process_info(server).expect("it lives").has_stack, "an idle server has no stack");
        kill(server);
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_server_that_waits_within_a_call_drops_its_state_too() {
    both(|mut mailbox: Mailbox<()>| {
        let drops = counter();
        let (server, reference) = holder(&drops);
        server.send(None);
        sleep(Duration::from_millis(1));
        exit(server, boom());
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(boom()));
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn catching_the_unwinding_only_delays_the_end() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let (victim, reference) = spawn_monitor(move |mut mailbox: Mailbox<()>| {
            for turn in 0..5 {
                let caught = catch_unwind(AssertUnwindSafe(|| mailbox.message()));
                assert!(caught.is_err());
                me.send(turn);
            }
        });
        yield_now();
        kill(victim);
        let down = down_of(&mut mailbox, reference);
        assert_eq!(down.reason, DownReason::Exited(ExitReason::Killed));
    });
}

#[test]
fn a_process_that_catches_its_own_exit_still_ends_with_that_reason() {
    both(|mut mailbox: Mailbox<()>| {
        let (_, reference) = spawn_monitor(|| {
            assert!(catch_unwind(|| exit_self(boom())).is_err());
        });
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(boom()));
    });
}

#[test]
fn a_deep_stack_unwinds_from_the_inside_out() {
    fn deep(depth: usize, order: &Arc<std::sync::Mutex<Vec<usize>>>) {
        let order_too = Arc::clone(order);
        let _guard = OnDrop(move || order_too.lock().expect("not poisoned").push(depth));
        if depth == 0 {
            sleep(Duration::MAX);
        } else {
            deep(depth - 1, order);
        }
    }
    both(|mut mailbox: Mailbox<()>| {
        let order = Arc::<std::sync::Mutex<Vec<usize>>>::default();
        let place = Arc::clone(&order);
        let (victim, reference) = spawn_monitor(move || deep(50, &place));
        yield_now();
        kill(victim);
        down_of(&mut mailbox, reference);
        // Killed before it ran there is nothing to unwind.
        let order = order.lock().expect("not poisoned");
        assert!(order.is_empty() || *order == (0..=50).collect::<Vec<_>>(), "{order:?}");
    });
}

#[test]
fn destructors_of_a_killed_process_can_use_the_runtime_but_not_wait() {
    struct Last(Address<&'static str>);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.send("dropped");
            sleep(Duration::MAX);
            yield_now();
            reduce(100_000);
            let child = spawn(|| ());
            engset::monitor(child);
            link(child);
            engset::unlink(child);
            let _ = register("while unwinding");
            send_after(Duration::ZERO, self.0, "later");
            self.0.send("done");
        }
    }
    both(|mut mailbox: Mailbox<&'static str>| {
        let last = Last(mailbox.address());
        let (victim, reference) = spawn_monitor(move || {
            let _last = last;
            sleep(Duration::MAX);
        });
        yield_now();
        kill(victim);
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
        let mut words: Vec<_> = (0..3).map(|_| mailbox.message()).collect();
        words.sort_unstable();
        assert_eq!(words, ["done", "dropped", "later"]);
        assert_eq!(engset::whereis("while unwinding"), None);
    });
}

#[test]
fn a_kill_that_comes_while_a_process_unwinds_changes_nothing() {
    both(|mut mailbox: Mailbox<()>| {
        let (_, reference) = spawn_monitor(|| {
            let me = engset::self_pid();
            let _guard = OnDrop(move || kill(me));
            exit_self(boom());
        });
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(boom()));
    });
}

#[test]
fn stopping_a_node_runs_the_destructors_of_all_its_processes() {
    let drops = counter();
    let node = Node::start(Config::new().workers(2)).expect("a node");
    let started = counter();
    for at in 0..200 {
        let (value, started) = (guard(&drops), Arc::clone(&started));
        node.spawn(move || {
            let _value = value;
            started.fetch_add(1, Ordering::SeqCst);
            match at % 4 {
                0 => sleep(Duration::MAX),
                1 => block_on(std::future::pending()),
                2 => loop {
                    reduce(10);
                },
                _ => loop {
                    sleep(Duration::from_millis(1));
                },
            }
        })
        .expect("a process");
    }
    assert!(node.stop());
    assert_eq!(drops.load(Ordering::SeqCst), 200);
}

#[test]
fn a_stack_is_not_used_again_while_frames_on_it_live() {
    both(|mut mailbox: Mailbox<bool>| {
        // Each holds a pattern on its stack over many waits while others come and go on the same stacks.
        let me = mailbox.address();
        for holder in 0..20_u8 {
            spawn(move || {
                let pattern = std::hint::black_box([holder; 4096]);
                for _ in 0..5 {
                    sleep(Duration::from_micros(300));
                    let passing = spawn(|| support::ignore(std::hint::black_box([255_u8; 8192])));
                    kill(passing);
                    yield_now();
                }
                me.send(std::hint::black_box(&pattern).iter().all(|byte| *byte == holder));
            });
        }
        for _ in 0..20 {
            assert!(mailbox.message(), "a stack was overwritten");
        }
    });
}

#[test]
fn a_killed_process_leaves_its_name_its_links_and_its_timers_to_nobody() {
    both(|mut mailbox: Mailbox<()>| {
        let before = engset::processes().len();
        for _ in 0..20 {
            let (victim, reference) = Builder::new()
                .name("victim")
                .spawn_monitor(|mut mailbox: Mailbox<()>| {
                    send_after(Duration::from_secs(60), mailbox.address(), ());
                    mailbox.message();
                })
                .expect("the name is free");
            kill(victim);
            down_of(&mut mailbox, reference);
        }
        wait_until(|| engset::processes().len() == before);
    });
}
