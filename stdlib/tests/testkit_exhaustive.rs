//! All schedules of tiny programs, within a bound.

use engset_runtime::{Address, Mailbox, Reply, reduce, sleep, spawn, yield_now};
use engset_stdlib::testkit::{self, Cause, Check, Probe, Replay};
use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);

/// Two processes read, may be interrupted, and write.
fn two_increments() {
    let value = Arc::new(AtomicU32::new(0));
    for _ in 0..2 {
        let value = Arc::clone(&value);
        spawn(move || {
            let read = value.load(SeqCst);
            reduce(1);
            value.store(read + 1, SeqCst);
        });
    }
    sleep(SECOND);
    assert_eq!(value.load(SeqCst), 2, "an update is lost");
}

#[test]
fn a_lost_update_needs_one_deviation() {
    let explored = testkit::exhaustive(0, two_increments);
    assert!(explored.complete);
    let failure = Check::new().try_exhaustive(1, two_increments).unwrap_err();
    assert!(failure.to_string().contains("an update is lost"), "{failure}");
    assert!(matches!(failure.replay, Replay::Schedule(_)));
    let command = failure.command.clone().unwrap();
    assert!(command.starts_with("ENGSET_SCHEDULE="), "{command}");
}

/// A lock by messages.
enum Fork {
    Take(Reply<()>),
    Put,
}

fn fork(mut mailbox: Mailbox<Fork>) {
    loop {
        let Fork::Take(reply) = mailbox.message() else { panic!("it lies on the table") };
        reply.send(());
        let Fork::Put = next_put(&mut mailbox) else { unreachable!("selected") };
    }
}

fn next_put(mailbox: &mut Mailbox<Fork>) -> Fork {
    let received = mailbox.select(|item| matches!(item, engset_runtime::Item::Message(Fork::Put)));
    received.message().expect("selected")
}

fn philosophers(same_order: bool) {
    let mut probe = Probe::new();
    let table = probe.address();
    let forks = [fork, fork].map(|fork| spawn(fork));
    for seat in [0, 1] {
        let (first, second) = if same_order { (0, 1) } else { (seat, 1 - seat) };
        let (first, second) = (forks[first], forks[second]);
        spawn(move || {
            for fork in [first, second] {
                fork.call_timeout(Fork::Take, Duration::MAX).expect("the forks live");
            }
            first.send(Fork::Put);
            second.send(Fork::Put);
            table.send(seat);
        });
    }
    probe.timeout(Duration::MAX);
    probe.receive_n(2);
}

#[test]
fn a_deadlock_of_two_philosophers_is_found_with_who_waits() {
    let failure = Check::new().try_exhaustive(2, || philosophers(false)).unwrap_err();
    let Cause::Deadlock(waiting) = failure.cause.main() else { panic!("{failure}") };
    assert!(waiting.len() >= 5, "{failure}");
    let asked = waiting
        .iter()
        .filter(|process| process.last.as_deref().is_some_and(|last| last.starts_with("sends Fork to")));
    assert_eq!(asked.count(), 2, "{failure}");
}

#[test]
fn philosophers_who_agree_on_an_order_never_starve() {
    let explored = testkit::exhaustive(2, || philosophers(true));

    assert!(explored.complete && explored.schedules > 100, "{explored:?}");
}

#[test]
fn every_order_of_messages_is_tried_and_none_twice_without_need() {
    let seen: Arc<Mutex<HashSet<Vec<u32>>>> = Arc::default();
    let orders = Arc::clone(&seen);
    let explored = Check::new().max_schedules(5000).free_switches().exhaustive(0, move || {
        let mut probe = Probe::new();
        let to = probe.address();
        for number in 0..4 {
            spawn(move || to.send(number));
        }
        orders.lock().unwrap().insert(probe.receive_n(4));
    });
    assert_eq!(seen.lock().unwrap().len(), 24);
    assert!(explored.complete && explored.schedules < 200, "{explored:?}");
}

#[test]
fn a_loop_that_polls_comes_to_an_end() {
    let explored = testkit::exhaustive(2, || {
        let flag = Arc::new(AtomicU32::new(0));
        for _ in 0..2 {
            let flag = Arc::clone(&flag);
            spawn(move || {
                flag.fetch_add(1, SeqCst);
            });
        }
        while flag.load(SeqCst) < 2 {
            yield_now();
        }
    });
    assert!(explored.complete, "{explored:?}");
}

#[test]
fn too_many_schedules_are_no_success() {
    let test = || {
        let mut probe = Probe::new();
        let to: Address<u32> = probe.address();
        (0..4).for_each(|number| {
            spawn(move || (0..4).for_each(|_| to.send(number)));
        });
        probe.receive_n(16);
    };
    let explored = Check::new().max_schedules(50).try_exhaustive(2, test).unwrap();
    assert!(!explored.complete && explored.schedules == 50, "{explored:?}");
    let panicked = std::panic::catch_unwind(|| Check::new().max_schedules(50).exhaustive(2, test));
    let text = panicked.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("more than 50 schedules"), "{text}");
}

#[test]
fn a_test_that_depends_on_something_else_is_found_out() {
    let runs = AtomicU32::new(0);
    let failure = Check::new().try_exhaustive(1, move || {
        // Fewer processes in each run.
        let run = runs.fetch_add(1, SeqCst);
        for _ in 0..3_u32.saturating_sub(run) {
            spawn(|| ());
        }
        sleep(SECOND);
    });
    let failure = failure.unwrap_err();
    assert_eq!(*failure.cause.main(), Cause::Diverged, "{failure}");
}
