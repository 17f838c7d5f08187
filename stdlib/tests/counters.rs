//! Numbers that everybody adds to, and values that are replaced seldom.

mod support;

use engset_runtime::{DownReason, ExitReason, Pid, spawn_monitor};
use engset_stdlib::{Counters, ReadMostly};
use support::{down_of, everywhere, threaded};

#[test]
fn what_is_added_anywhere_is_counted_once() {
    everywhere::<()>(|mailbox| {
        let counters = Counters::new(3);
        let workers: Vec<Pid> = (0..4)
            .map(|worker| {
                let counters = counters.clone();
                spawn_monitor(move || {
                    for number in 0..100 {
                        counters.add(1, worker);
                        counters.add(2, -1);
                        engset_runtime::reduce(number * 10);
                    }
                })
                .0
            })
            .collect();
        // Taken out while others add: nothing is lost, nothing is counted twice.
        let mut taken = 0;
        for _ in 0..10 {
            taken += counters.exchange(2, 0);
            engset_runtime::yield_now();
        }
        for pid in workers {
            assert_eq!(down_of(mailbox, pid), DownReason::Exited(ExitReason::Normal));
        }
        assert_eq!((counters.get(0), counters.get(1)), (0, 600));
        assert_eq!(taken + counters.exchange(2, 7), -400);
        assert_eq!(counters.get(2), 7);
        assert_eq!(counters.size(), 3);
    });
}

#[test]
#[should_panic(expected = "there is no counter 3: there are 3")]
fn a_counter_that_is_not_there_is_named() {
    Counters::new(3).add(3, 1);
}

#[test]
fn no_update_of_a_read_mostly_value_is_lost() {
    threaded::<()>(|mailbox| {
        let numbers = ReadMostly::new(Vec::new());
        let old = numbers.get();
        let workers: Vec<Pid> = (0..4)
            .map(|worker| {
                let numbers = numbers.clone();
                let push = move |old: &Vec<u32>| [old.as_slice(), &[worker]].concat();
                spawn_monitor(move || (0..50).for_each(|_| numbers.update(push))).0
            })
            .collect();
        for pid in workers {
            assert_eq!(down_of(mailbox, pid), DownReason::Exited(ExitReason::Normal));
        }
        assert_eq!(old.len(), 0, "who has read keeps what it has read");
        assert_eq!(numbers.with(Vec::len), 200);
        assert_eq!(numbers.set(vec![1]).len(), 200);
        assert_eq!(*numbers.get(), [1]);
    });
}
