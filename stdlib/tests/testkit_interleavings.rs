//! All interleavings whose order matters: the same outcomes as without reduction, by fewer schedules.

use engset_runtime::{
    Address, Flow, Mailbox, Received, Reply, Server, is_alive, kill, monitor, reduce, register, serve_with,
    sleep, spawn, whereis,
};
use engset_stdlib::testkit::{self, Cause, Check, Explored, Replay, touch};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);

type Outcomes = Arc<Mutex<BTreeSet<String>>>;

/// All outcomes of a program, with reduction and without: how many schedules, and which.
fn compare(program: fn() -> String) -> (Explored, u64, BTreeSet<String>) {
    let (reduced, all) = (Outcomes::default(), Outcomes::default());
    let note = |to: &Outcomes| {
        let to = Arc::clone(to);
        move || {
            let outcome = program();
            to.lock().unwrap().insert(outcome);
        }
    };
    let explored = testkit::interleavings(note(&reduced));
    let every = Check::new().free_switches().max_schedules(3000);
    let every = every.try_exhaustive(u32::MAX, note(&all)).unwrap();
    let (reduced, all) = (reduced.lock().unwrap().clone(), all.lock().unwrap().clone());
    if every.complete {
        assert_eq!(reduced, all, "{explored:?} against {} schedules", every.schedules);
    } else {
        assert!(reduced.is_superset(&all), "{explored:?}: {reduced:?} against {all:?}");
    }
    (explored, every.schedules, reduced)
}

/// Who comes first in a mailbox.
fn two_senders() -> String {
    gather(4, |to| {
        for name in ["a", "b"] {
            spawn(move || (1..=2).for_each(|number| to.send(format!("{name}{number}"))));
        }
    })
}

/// Runs `start`, and receives so many texts.
fn gather(count: usize, start: impl FnOnce(Address<String>)) -> String {
    let result = Arc::new(Mutex::new(None));
    let place = Arc::clone(&result);
    let collector = spawn(move |mut mailbox: Mailbox<String>| {
        let texts: Vec<_> = (0..count).map(|_| mailbox.message()).collect();
        *place.lock().unwrap() = Some(texts.join(" "));
    });
    start(collector);
    sleep(SECOND);
    result.lock().unwrap().clone().unwrap_or_else(|| "they wait".to_owned())
}

#[test]
fn all_orders_of_messages_in_a_mailbox_are_tried() {
    let (explored, all, outcomes) = compare(two_senders);
    assert_eq!(outcomes.len(), 6, "{outcomes:?}");
    assert!(explored.schedules < all);
}

/// The smallest program with two orders: all its schedules are tried in both ways.
fn one_message_each() -> String {
    gather(2, |to| {
        spawn(move || to.send("a".to_owned()));
        to.send("b".to_owned());
    })
}

#[test]
fn nothing_is_left_out_of_a_program_that_can_be_tried_completely() {
    let (explored, all, outcomes) = compare(one_message_each);
    assert_eq!(outcomes, BTreeSet::from(["a b".to_owned(), "b a".to_owned()]));
    assert!(explored.schedules < all);
}

/// Pairs that have nothing to do with each other.
fn two_pairs() -> String {
    let mut texts = Vec::new();
    let results: Vec<Outcomes> = (0..2).map(|_| Outcomes::default()).collect();
    for result in &results {
        let result = Arc::clone(result);
        let to = spawn(move |mut mailbox: Mailbox<u32>| {
            let sum = mailbox.message() + mailbox.message();
            result.lock().unwrap().insert(sum.to_string());
        });
        spawn(move || (1..=2).for_each(|number| to.send(number)));
    }
    sleep(SECOND);
    for result in &results {
        texts.extend(result.lock().unwrap().iter().cloned());
    }
    texts.join(" ")
}

#[test]
fn what_has_nothing_to_do_with_each_other_is_not_interleaved() {
    let (explored, all, outcomes) = compare(two_pairs);
    assert_eq!(outcomes.len(), 1);
    assert!(explored.schedules * 20 < all, "{explored:?} of {all}");
    assert!(explored.schedules <= 8, "{explored:?}");
}

enum Cell {
    Get(Reply<u32>),
    Set(u32),
}

fn cell() -> Address<Cell> {
    serve_with(0, |value, received| {
        match received {
            Received::Message(Cell::Get(reply)) => reply.send(*value),
            Received::Message(Cell::Set(new)) => *value = new,
            Received::Event(_) => {}
        }
        Flow::Continue
    })
}

fn increments_of_a_cell() -> String {
    let cell = cell();
    for _ in 0..2 {
        spawn(move || {
            let value = cell.call(Cell::Get).unwrap();
            cell.send(Cell::Set(value + 1));
        });
    }
    sleep(SECOND);
    cell.call(Cell::Get).unwrap().to_string()
}

#[test]
fn a_lost_update_of_a_cell_is_among_the_outcomes() {
    let (explored, all, outcomes) = compare(increments_of_a_cell);
    assert_eq!(outcomes, BTreeSet::from(["1".to_owned(), "2".to_owned()]));
    assert!(explored.schedules * 2 < all, "{explored:?} of {all}");
}

fn two_who_want_a_name() -> String {
    let result = Arc::new(Mutex::new(Vec::new()));
    for name in ["a", "b"] {
        let result = Arc::clone(&result);
        spawn(move || {
            let has = register("the one").is_ok();
            let sees = whereis("the one").is_some();
            touch("result");
            result.lock().unwrap().push(format!("{name} {has} {sees}"));
        });
    }
    sleep(SECOND);
    let mut result = result.lock().unwrap().clone();
    result.sort();
    result.join(", ")
}

#[test]
fn names_are_something_shared() {
    let (_, _, outcomes) = compare(two_who_want_a_name);
    assert!(outcomes.len() >= 3, "{outcomes:?}");
}

/// A process is killed while it sends, and watched.
fn killed_in_the_middle() -> String {
    gather(1, |to| {
        let victim = spawn(move |mut mailbox: Mailbox<u32>| {
            let number = mailbox.message();
            to.send(format!("got {number}"));
        });
        spawn(move || kill(victim));
        spawn(move || victim.send(7));
        spawn(move |mut mailbox: Mailbox<()>| {
            monitor(victim);
            mailbox.receive();
            if !is_alive(victim) {
                to.send("down".to_owned());
            }
        });
    })
}

#[test]
fn kills_and_monitors_are_interleaved() {
    let (explored, all, outcomes) = compare(killed_in_the_middle);
    assert_eq!(outcomes, BTreeSet::from(["got 7".to_owned(), "down".to_owned()]));
    assert!(explored.schedules < all);
}

/// Shared memory, with and without a word about it.
fn increments_of_an_atomic(says_so: bool) {
    let value = Arc::new(AtomicU32::new(0));
    for _ in 0..2 {
        let value = Arc::clone(&value);
        spawn(move || {
            let say = || {
                if says_so {
                    touch("value")
                }
            };
            say();
            let read = value.load(SeqCst);
            reduce(1);
            say();
            value.store(read + 1, SeqCst);
        });
    }
    sleep(SECOND);
    assert_eq!(value.load(SeqCst), 2, "an update is lost");
}

#[test]
fn what_is_touched_is_interleaved() {
    let failure = Check::new().try_interleavings(|| increments_of_an_atomic(true)).unwrap_err();
    assert!(failure.to_string().contains("an update is lost"), "{failure}");
    let Replay::Schedule(choices) = &failure.replay else { panic!("{failure}") };
    assert!(!choices.is_empty());
    assert!(failure.command.as_ref().unwrap().starts_with("ENGSET_SCHEDULE="));
}

/// A lock by messages.
struct Fork(Option<Reply<()>>, bool);

enum Hand {
    Take(Reply<()>),
    Put,
}

impl Server for Fork {
    type Message = Hand;

    fn handle(&mut self, received: Received<Hand>) -> Flow {
        match received {
            Received::Message(Hand::Take(reply)) if self.1 => self.0 = Some(reply),
            Received::Message(Hand::Take(reply)) => {
                self.1 = true;
                reply.send(());
            }
            Received::Message(Hand::Put) => match self.0.take() {
                Some(next) => next.send(()),
                None => self.1 = false,
            },
            Received::Event(_) => {}
        }
        Flow::Continue
    }
}

fn philosophers(same_order: bool) {
    let forks = [0, 1].map(|_| engset_runtime::serve(Fork(None, false)));
    let eaten = spawn(|mut mailbox: Mailbox<Reply<()>>| {
        let replies = [mailbox.message(), mailbox.message()];
        replies.into_iter().for_each(|reply| reply.send(()));
    });
    for seat in [0, 1] {
        let (first, second) = if same_order { (0, 1) } else { (seat, 1 - seat) };
        let (first, second) = (forks[first], forks[second]);
        let dine = move || {
            for fork in [first, second] {
                fork.call_timeout(Hand::Take, Duration::MAX).unwrap();
            }
            first.send(Hand::Put);
            second.send(Hand::Put);
            eaten.call_timeout(|reply| reply, Duration::MAX).unwrap();
        };
        if seat == 0 {
            spawn(dine);
        } else {
            dine();
        }
    }
}

#[test]
fn a_deadlock_is_found_and_its_absence_shown() {
    let failure = Check::new().try_interleavings(|| philosophers(false)).unwrap_err();
    assert!(matches!(failure.cause.main(), Cause::Deadlock(_)), "{failure}");
    let explored = Check::new().max_schedules(5000).try_interleavings(|| philosophers(true)).unwrap();
    assert!(explored.complete && explored.schedules > 2);
}

#[test]
fn a_crash_after_the_end_of_the_test_at_the_same_time_counts() {
    let failure = Check::new().try_interleavings(|| {
        spawn(|| panic!("late"));
    });
    assert!(failure.unwrap_err().to_string().contains("late"));
}
