//! Futures within processes: timers, several at once, nested, killed; blocking calls as futures.

#![allow(
    clippy::disallowed_methods,
    reason = "tests and benchmarks look at the real clock and block real threads"
)]

mod support;

use engset::{
    Config, DownReason, ExitReason, Mailbox, Reply, block_on, future, kill, now, sleep, spawn, spawn_monitor,
};
use futures_util::{
    StreamExt,
    future::{join, join_all, select},
    stream::FuturesUnordered,
};
use std::{
    future::{Future, pending, poll_fn, ready},
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};
use support::{OnDrop, both, both_with, counter, down_of, systematic, threaded, wait_until};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_timer_is_never_early() {
    both(|_mailbox: Mailbox<()>| {
        for time in [0, 1, 7] {
            let start = now();
            block_on(future::sleep(time * MS));
            assert!(now() - start >= time * MS);
        }
    });
}

#[test]
fn time_runs_from_the_making_of_a_timer() {
    systematic(|_mailbox: Mailbox<()>| {
        let start = now();
        let timer = future::sleep(10 * MS);
        sleep(8 * MS);
        block_on(timer);
        assert!(now() - start < 18 * MS, "and not from its first poll: {:?}", now() - start);
    });
}

#[test]
fn timers_of_one_process_end_in_the_order_of_their_deadlines() {
    systematic(|_mailbox: Mailbox<()>| {
        let start = now();
        let mut timers: FuturesUnordered<_> = [30, 10, 20, 40]
            .into_iter()
            .map(|time| async move {
                future::sleep(time * MS).await;
                time
            })
            .collect();
        let order = block_on(async {
            let mut order = Vec::new();
            while let Some(time) = timers.next().await {
                order.push(time);
            }
            order
        });
        assert_eq!(order, [10, 20, 30, 40]);
        assert!(now() - start < 50 * MS, "at the same time, not one after the other");
    });
}

#[test]
fn a_future_that_is_not_ready_in_time_is_dropped() {
    both(|_mailbox: Mailbox<()>| {
        let dropped = counter();
        let seen = dropped.clone();
        let guard = OnDrop(move || {
            seen.fetch_add(1, Ordering::Relaxed);
        });
        let slow = async move {
            let _guard = guard;
            pending::<()>().await;
        };
        let error = block_on(future::timeout(5 * MS, slow)).expect_err("it never ends");
        assert_eq!(error.to_string(), "not ready within 5ms");
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        assert_eq!(block_on(future::timeout(5 * MS, ready(3))), Ok(3));
        assert_eq!(block_on(future::timeout(Duration::ZERO, ready(4))), Ok(4), "ready has won");
        assert_eq!(block_on(future::timeout(Duration::MAX, future::sleep(MS))), Ok(()));
    });
}

#[test]
fn the_shorter_one_of_nested_limits_counts() {
    both(|_mailbox: Mailbox<()>| {
        let inner = future::timeout(5 * MS, pending::<()>());
        assert!(block_on(future::timeout(Duration::from_secs(600), inner)).expect("the outer one").is_err());
        let inner = future::timeout(Duration::from_secs(600), pending::<()>());
        assert!(block_on(future::timeout(5 * MS, inner)).is_err());
    });
}

#[test]
fn many_timers_that_are_dropped_leave_nothing() {
    both(|_mailbox: Mailbox<()>| {
        for _ in 0..100 {
            let long = pin!(future::sleep(Duration::from_secs(3600)));
            block_on(select(long, pin!(future::sleep(Duration::ZERO))));
        }
        // If an alarm were left, this would wait for it in virtual time.
        let start = now();
        block_on(future::timeout(MS, pending::<()>())).expect_err("never");
        assert!(now() - start < Duration::from_secs(60));
    });
}

#[test]
fn block_on_within_a_future_that_is_blocked_on() {
    both(|_mailbox: Mailbox<()>| {
        let outer = async {
            let inner = block_on(async {
                future::sleep(2 * MS).await;
                20
            });
            future::sleep(2 * MS).await;
            inner + 1
        };
        // A timer of the outer one that is due while the inner one waits.
        assert_eq!(block_on(join(future::sleep(MS), outer)).1, 21);
    });
}

#[test]
fn a_kill_drops_the_future_with_its_timers() {
    both_with(Config::new(), Some(0), |mut mailbox: Mailbox<()>| {
        let dropped = counter();
        let seen = dropped.clone();
        let (pid, reference) = spawn_monitor(move || {
            let _guard = OnDrop(move || {
                seen.fetch_add(1, Ordering::Relaxed);
            });
            block_on(join_all((0..10).map(|_| future::sleep(Duration::from_secs(3600)))));
        });
        sleep(MS);
        kill(pid);
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_timer_moves_with_its_future_to_another_process() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let mut timer = Box::pin(future::sleep(3 * MS));
        block_on(poll_fn(|context| {
            assert!(timer.as_mut().poll(context).is_pending());
            Poll::Ready(())
        }));
        spawn(move || {
            block_on(timer);
            me.send(1);
        });
        assert_eq!(mailbox.message(), 1);
    });
}

#[test]
#[should_panic(expected = "outside of a process")]
fn a_timer_outside_of_a_process_says_so() {
    let _ = pin!(future::sleep(MS)).poll(&mut Context::from_waker(Waker::noop()));
}

#[test]
fn wakes_from_many_threads_are_not_lost() {
    threaded(Config::new().workers(2), |_mailbox: Mailbox<()>| {
        let count = counter();
        let (sender, receiver) = std::sync::mpsc::channel::<Waker>();
        let counted = count.clone();
        let thread = std::thread::spawn(move || {
            for waker in receiver {
                counted.fetch_add(1, Ordering::Release);
                waker.wake();
            }
        });
        for round in 1..=2000 {
            let mut sent = false;
            block_on(poll_fn(|context| {
                if count.load(Ordering::Acquire) == round {
                    return Poll::Ready(());
                }
                if !std::mem::replace(&mut sent, true) {
                    sender.send(context.waker().clone()).expect("it listens");
                }
                Poll::Pending
            }));
        }
        drop(sender);
        thread.join().expect("no panic");
    });
}

#[test]
fn a_future_that_makes_a_call_suspends_the_process() {
    both(|_mailbox: Mailbox<()>| {
        let server = spawn(|mut mailbox: Mailbox<(u32, Reply<u32>)>| {
            loop {
                let (number, reply) = mailbox.message();
                sleep(MS);
                reply.send(number + 1);
            }
        });
        let sum = block_on(async {
            let mut sum = 0;
            for number in 0..3 {
                future::sleep(MS).await;
                sum += server.call(|reply| (number, reply)).expect("it lives");
            }
            sum
        });
        assert_eq!(sum, 6);
        kill(server);
    });
}

#[test]
fn blocking_calls_as_futures_run_at_the_same_time() {
    threaded(Config::new().workers(1), |_mailbox: Mailbox<()>| {
        // Each of the two waits for the other: one after the other they would never end.
        let barrier = std::sync::Arc::new(std::sync::Barrier::new(2));
        let wait = |number: u32| {
            let barrier = barrier.clone();
            future::offload(move || {
                barrier.wait();
                number
            })
        };
        assert_eq!(block_on(join(wait(1), wait(2))), (1, 2));
    });
    both(|_mailbox: Mailbox<()>| {
        assert_eq!(block_on(join_all((0..20).map(|n| future::offload(move || n)))).len(), 20)
    });
    assert_eq!(block_on(future::offload(|| 5)), 5, "outside of a process it is a call");
}

#[test]
fn a_blocking_call_that_takes_too_long_is_left_to_itself() {
    threaded(Config::new().workers(1), |_mailbox: Mailbox<()>| {
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let ended = counter();
        let seen = ended.clone();
        let stuck = future::offload(move || {
            let _ = gate.recv();
            seen.fetch_add(1, Ordering::Release);
        });
        block_on(future::timeout(5 * MS, stuck)).expect_err("the gate is closed");
        drop(open);
        wait_until(|| ended.load(Ordering::Acquire) == 1);
    });
}

#[test]
fn a_panic_of_a_blocking_call_goes_on_in_the_future() {
    both_with(Config::new(), Some(1), |mut mailbox: Mailbox<()>| {
        let (_, reference) = spawn_monitor(|| block_on(future::offload(|| panic!("over there"))));
        match down_of(&mut mailbox, reference).reason {
            DownReason::Exited(ExitReason::Panic(panic)) => assert_eq!(panic.message, "over there"),
            other => panic!("{other}"),
        }
    });
}

#[test]
fn detached_calls_are_done_after_the_death_of_the_process() {
    both(|_mailbox: Mailbox<()>| {
        let done = counter();
        let count = done.clone();
        let pid = spawn(move || {
            let _guard = OnDrop(move || {
                let count = count.clone();
                future::detach(move || {
                    count.fetch_add(1, Ordering::Release);
                });
            });
            sleep(Duration::from_secs(3600));
        });
        sleep(MS);
        kill(pid);
        wait_until(|| done.load(Ordering::Acquire) == 1);
    });
}

#[test]
fn a_stream_of_ready_values_yields_to_others() {
    static POLLED: AtomicUsize = AtomicUsize::new(0);
    threaded(Config::new().workers(1), |mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        // Wakes itself for ever; others run all the same.
        let pid = spawn(|| {
            block_on(poll_fn(|context| {
                POLLED.fetch_add(1, Ordering::Relaxed);
                context.waker().wake_by_ref();
                Poll::<()>::Pending
            }));
        });
        spawn(move || me.send(1));
        assert_eq!(mailbox.message(), 1);
        wait_until(|| POLLED.load(Ordering::Relaxed) > 10);
        kill(pid);
    });
}
