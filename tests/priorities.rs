//! S9: priorities.

mod support;

use engset::{Address, Builder, Config, Mailbox, Priority, reduce, sleep, spawn, yield_now};
use std::time::Duration;
use support::{systematic, threaded};

/// Spawns `count` processes of this priority, each of which reports `turns` times and yields in between.
fn reporters(report: Address<Priority>, priority: Priority, count: usize, turns: usize) {
    for _ in 0..count {
        let reporter = Builder::new().priority(priority).spawn(move || {
            for _ in 0..turns {
                report.send(priority);
                yield_now();
            }
        });
        reporter.expect("it can be spawned");
    }
}

/// The order in which the turns of these processes came.
fn order_of(mailbox: &mut Mailbox<Priority>, groups: &[(Priority, usize, usize)]) -> Vec<Priority> {
    let report = mailbox.address();
    let groups = groups.to_vec();
    let total = groups.iter().map(|(_, count, turns)| count * turns).sum();
    // A process of the highest priority spawns them: none has its turn before all of them are there.
    let starter = Builder::new().priority(Priority::Max).spawn(move || {
        groups.iter().for_each(|(priority, count, turns)| reporters(report, *priority, *count, *turns));
    });
    starter.expect("it can be spawned");
    (0..total).map(|_| mailbox.message()).collect()
}

fn is_sorted_by_urgency(mailbox: &mut Mailbox<Priority>) {
    use Priority::{High, Max, Normal};
    let order = order_of(mailbox, &[(Normal, 5, 5), (High, 5, 5), (Max, 5, 5)]);
    let expected: Vec<_> = [Max, High, Normal].iter().flat_map(|priority| [*priority; 25]).collect();
    assert_eq!(order, expected);
}

#[test]
fn while_max_processes_can_run_no_lower_one_is_chosen_and_then_high_ones_come() {
    systematic(|mut mailbox: Mailbox<Priority>| is_sorted_by_urgency(&mut mailbox));
    threaded(Config::new().workers(1), |mut mailbox: Mailbox<Priority>| is_sorted_by_urgency(&mut mailbox));
}

#[test]
fn low_processes_have_one_turn_to_eight_normal_ones() {
    threaded(Config::new().workers(1), |mut mailbox: Mailbox<Priority>| {
        let order = order_of(&mut mailbox, &[(Priority::Normal, 20, 40), (Priority::Low, 3, 20)]);
        // This process is a normal one too, and takes turns to receive.
        let before_the_fifth =
            order.iter().enumerate().filter(|(_, priority)| **priority == Priority::Low).nth(4);
        let (at, _) = before_the_fifth.expect("there are 60");
        assert!((30..=60).contains(&at), "the fifth turn of a low process came after {at} turns");
    });
}

#[test]
fn low_processes_never_starve() {
    fn scenario(mut mailbox: Mailbox<Priority>) {
        for _ in 0..4 {
            spawn(|| {
                loop {
                    reduce(100);
                }
            });
        }
        let report = mailbox.address();
        reporters(report, Priority::Low, 3, 10);
        for _ in 0..30 {
            assert_eq!(mailbox.message(), Priority::Low);
        }
    }
    systematic(scenario);
    threaded(Config::new().workers(1), scenario);
}

#[test]
fn a_hog_of_a_lower_priority_does_not_keep_a_higher_one_from_its_turn() {
    fn scenario(mut mailbox: Mailbox<Priority>) {
        for _ in 0..4 {
            let hog = Builder::new().priority(Priority::Low).spawn(|| {
                loop {
                    reduce(1);
                }
            });
            hog.expect("it can be spawned");
        }
        let report = mailbox.address();
        let urgent = Builder::new().priority(Priority::Max).spawn(move || {
            for _ in 0..5 {
                sleep(Duration::from_millis(1));
                report.send(Priority::Max);
            }
        });
        urgent.expect("it can be spawned");
        for _ in 0..5 {
            assert_eq!(mailbox.message(), Priority::Max);
        }
    }
    // Virtual time stands still while a hog can run, so not in systematic mode.
    threaded(Config::new().workers(1), scenario);
}

#[test]
fn the_priority_can_be_seen() {
    systematic(|_mailbox: Mailbox<()>| {
        for priority in [Priority::Max, Priority::High, Priority::Normal, Priority::Low] {
            let pid =
                Builder::new().priority(priority).spawn(|| sleep(Duration::MAX)).expect("it can be spawned");
            assert_eq!(engset::process_info(pid).unwrap().priority, priority);
        }
    });
}
