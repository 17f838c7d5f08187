//! Systematic mode: the seed decides everything.

mod support;

use engset::{
    Builder, Config, Mailbox, Priority, RunError, blocking, kill, now, reduce, run_with, self_pid,
    send_after, sleep, spawn, yield_now,
};
use std::{collections::HashSet, time::Duration};

/// What happens in a program with many choices, in order.
fn trace(seed: u64) -> Vec<String> {
    let program = || {
        let (tell, told) = std::sync::mpsc::channel();
        let collector = spawn(move |mut mailbox: Mailbox<String>| {
            loop {
                tell.send(format!("{:?} {}", now(), mailbox.message())).expect("the first process waits");
            }
        });
        let victim = spawn(|| sleep(Duration::MAX));
        for worker in 0..5_u32 {
            let priority = if worker == 0 { Priority::Low } else { Priority::Normal };
            let spawned = Builder::new().priority(priority).spawn(move || {
                for turn in 0..5 {
                    collector.send(format!(
                        "{} {worker}.{turn}",
                        self_pid().to_string().split_once('.').expect("a pid").1
                    ));
                    match (worker + turn) % 5 {
                        0 => sleep(Duration::from_millis(u64::from(turn))),
                        1 => reduce(3000),
                        2 => yield_now(),
                        3 => {
                            send_after(
                                Duration::from_millis(2),
                                collector,
                                format!("timer of {worker}.{turn}"),
                            );
                        }
                        _ => kill(victim),
                    }
                }
            });
            spawned.expect("it can be spawned");
        }
        sleep(Duration::from_secs(60));
        told.try_iter().collect::<Vec<_>>()
    };
    run_with(Config::new().seed(seed), program).expect("it runs")
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in support::seeds() {
        let first = trace(seed);
        assert!(first.len() >= 25, "{first:?}");
        assert_eq!(first, trace(seed), "seed {seed}");
    }
}

#[test]
fn different_seeds_give_different_traces() {
    let traces: HashSet<_> = (0..50).map(trace).collect();
    assert!(traces.len() >= 25, "only {} different traces among 50 seeds", traces.len());
}

#[test]
fn every_order_that_is_possible_is_found() {
    let orders: HashSet<Vec<u32>> = (0..200)
        .map(|seed| {
            let program = || {
                let (tell, told) = std::sync::mpsc::channel();
                for number in 0..3 {
                    let tell = tell.clone();
                    spawn(move || tell.send(number).expect("the first process waits"));
                }
                sleep(Duration::from_millis(1));
                told.try_iter().collect()
            };
            run_with(Config::new().seed(seed), program).expect("it runs")
        })
        .collect();
    assert_eq!(orders.len(), 6, "{orders:?}");
}

#[test]
fn a_race_is_found_under_some_seed() {
    // Two processes read, yield at a reduction point, and write: an update is lost if they interleave.
    let lost = (0..50).any(|seed| {
        let program = || {
            let value = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
            for _ in 0..2 {
                let value = std::sync::Arc::clone(&value);
                spawn(move || {
                    let read = value.load(std::sync::atomic::Ordering::SeqCst);
                    reduce(2000);
                    value.store(read + 1, std::sync::atomic::Ordering::SeqCst);
                });
            }
            sleep(Duration::from_millis(1));
            value.load(std::sync::atomic::Ordering::SeqCst)
        };
        run_with(Config::new().seed(seed), program).expect("it runs") == 1
    });
    assert!(lost, "slices of random length must preempt between the two");
}

#[test]
fn a_deadlock_is_reported_with_who_waits() {
    let result = run_with(Config::new().seed(1_u64), || {
        let waiter = Builder::new().name("the waiter").spawn(|mut mailbox: Mailbox<()>| mailbox.message());
        waiter.expect("it can be spawned");
        sleep(Duration::MAX);
    });
    match result {
        Err(error @ RunError::Deadlock(_)) => {
            let text = error.to_string();
            assert!(text.contains("deadlock") && text.contains("the waiter"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sleep_of_an_hour_takes_no_time() {
    #[allow(clippy::disallowed_methods, reason = "the real clock is what is compared with")]
    let start = std::time::Instant::now();
    for seed in 0..20 {
        let (before, after) = run_with(Config::new().seed(seed), || {
            let before = now();
            sleep(Duration::from_secs(3600));
            (before, now())
        })
        .expect("it runs");
        let slept = after - before;
        assert!(slept >= Duration::from_secs(3600) && slept < Duration::from_secs(3601), "{slept:?}");
    }
    // Twenty hours: so far from the limit that it is no matter of speed.
    assert!(start.elapsed() < Duration::from_secs(3600));
}

#[test]
fn virtual_time_stands_still_while_anything_can_run() {
    for seed in 0..20 {
        let (start, end) = run_with(Config::new().seed(seed), || {
            send_after(Duration::from_millis(1), spawn(|mut mailbox: Mailbox<()>| mailbox.message()), ());
            let start = now();
            for _ in 0..100 {
                reduce(1000);
                yield_now();
            }
            (start, now())
        })
        .expect("it runs");
        assert_eq!(start, end);
    }
}

#[test]
fn blocking_jobs_are_part_of_the_run() {
    for seed in 0..20 {
        let program = || {
            let numbers: Vec<u32> = (0..10).map(|number| blocking(move || number)).collect();
            (numbers, now())
        };
        let result = run_with(Config::new().seed(seed), program).expect("it runs");
        assert_eq!(result, ((0..10).collect(), Duration::ZERO));
    }
}

#[test]
fn everything_runs_on_the_calling_thread() {
    let here = std::thread::current().id();
    let threads = run_with(Config::new().seed(5_u64), || {
        let (tell, told) = std::sync::mpsc::channel();
        for _ in 0..10 {
            let tell = tell.clone();
            spawn(move || {
                tell.send(std::thread::current().id()).expect("the first process waits");
            });
        }
        sleep(Duration::from_millis(1));
        told.try_iter().collect::<Vec<_>>()
    });
    assert_eq!(threads.expect("it runs"), [here; 10]);
}
