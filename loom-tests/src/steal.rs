//! Race: two busy workers see one idle worker and want to give it a task, while it goes to sleep.
//!
//! Checks `balance.rs` rule 3 and the way of an adoption order (`owner.rs` rules 1 and 2, `inbox.rs`,
//! `parker.rs`). The real `IdleSet` uses `std` atomics, for it is a hint and no protocol; its few lines are
//! restated here with loom's: the `fetch_and` on the word decides who has claimed the worker.
//!
//! Takes about 14 s (two cores, both busy with other things as well).
//!
//! Mutations that it fails with: `remove` as a load and a store; a claim that does not ask whether it was
//! the one to remove the worker; the order before the `give`; `inbox` without acquire or release; a push
//! that does not ask for the unpark.

use crate::parts::{Pace, Seen, World, explore};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    thread,
};

const IDLE: u16 = 3;

/// `IdleSet`, with one word.
struct IdleSet {
    count: AtomicU32,
    word: AtomicU64,
    pace: Pace,
}

impl IdleSet {
    fn new() -> Self {
        IdleSet { count: AtomicU32::new(0), word: AtomicU64::new(0), pace: Pace::new() }
    }

    fn insert(&self, worker: u16) {
        self.pace.touch();
        let bit = 1 << worker;
        if self.word.fetch_or(bit, Relaxed) & bit == 0 {
            self.count.fetch_add(1, Relaxed);
        }
    }

    fn remove(&self, worker: u16) -> bool {
        self.pace.touch();
        let bit = 1 << worker;
        let was_in = self.word.fetch_and(!bit, Relaxed) & bit != 0;
        if was_in {
            self.count.fetch_sub(1, Relaxed);
        }
        was_in
    }

    fn claim(&self) -> Option<u16> {
        self.pace.touch();
        let bits = self.word.load(Relaxed);
        let worker = bits.trailing_zeros() as u16;
        (bits != 0 && self.remove(worker)).then_some(worker)
    }
}

struct Model {
    world: World,
    idle: IdleSet,
}

impl Model {
    /// Workers 1 and 2 have a task each, worker 3 has announced that it is idle.
    fn new() -> Arc<Self> {
        let model = Model { world: World::new(3, &[1, 2]), idle: IdleSet::new() };
        model.world.enqueue(1, 0);
        model.world.enqueue(2, 1);
        model.idle.insert(IDLE);
        Arc::new(model)
    }

    /// `Worker::give_to_idle`, else it runs the task itself. True: it had a claim.
    fn give_or_run(&self, me: u16) -> bool {
        let index = self.world.pop(me).unwrap();
        let claim = self.idle.claim();
        match claim {
            Some(to) => self.world.give(me, index, to),
            None => self.world.run_slice(me, index),
        }
        claim.is_some()
    }

    /// The rest of `Worker::idle`: sleeps until it has work.
    fn wait_for_work(&self) {
        let worker = self.world.worker(IDLE);
        if !worker.has_tokens() && worker.inbox.try_sleep() {
            worker.parker.park(None);
            worker.inbox.awake();
        }
        self.idle.remove(IDLE);
        self.world.turn(IDLE, 2);
    }

    fn check_rest(&self) -> [u32; 2] {
        self.world.run_to_rest();
        assert_eq!(self.idle.count.load(Relaxed), self.idle.word.load(Relaxed).count_ones());
        [0, 1].map(|index| {
            self.world.slots[index].private(|private| {
                assert_eq!(private.slices, 1, "each task runs once");
                private.adopted
            })
        })
    }
}

#[test]
fn an_idle_worker_is_claimed_by_one_giver_and_wakes() {
    static SEEN: Seen = Seen::new();
    explore(3, || {
        let model = Model::new();
        let givers = [1, 2].map(|me| {
            let model = model.clone();
            thread::spawn(move || model.give_or_run(me))
        });
        model.wait_for_work();
        let claims = givers.map(|giver| giver.join().unwrap());
        assert_eq!(claims.iter().filter(|&&claimed| claimed).count(), 1);
        assert_eq!(model.check_rest(), claims.map(u32::from));
        SEEN.note(u32::from(claims[0]));
    });
    SEEN.assert_all(2);
}

#[test]
fn a_worker_that_is_idle_again_may_be_claimed_again() {
    static SEEN: Seen = Seen::new();
    explore(3, || {
        let model = Model::new();
        let givers = [1, 2].map(|me| {
            let model = model.clone();
            thread::spawn(move || model.give_or_run(me))
        });
        model.wait_for_work();
        // Idle again, but it does not wait this time.
        model.idle.insert(IDLE);
        model.world.turn(IDLE, 2);
        let claims = givers.map(|giver| giver.join().unwrap());
        let times = claims.iter().filter(|&&claimed| claimed).count();
        assert!(times >= 1);
        assert_eq!(model.check_rest(), claims.map(u32::from));
        SEEN.note(times as u32 - 1);
    });
    SEEN.assert_all(2);
}

#[test]
fn a_claim_that_is_given_back_can_be_taken_by_the_other_giver() {
    static SEEN: Seen = Seen::new();
    explore(5, || {
        let model = Model::new();
        let poor = thread::spawn({
            let model = model.clone();
            move || {
                // `give_to_idle` without anything that can move.
                let claim = model.idle.claim();
                if let Some(to) = claim {
                    model.idle.insert(to);
                }
                model.give_or_run(2)
            }
        });
        let first = model.give_or_run(1);
        let second = poor.join().unwrap();
        assert!(first != second, "one worker, one claim");
        SEEN.note(u32::from(second));
        model.idle.remove(IDLE);
        assert_eq!(model.check_rest(), [first, second].map(u32::from));
    });
    SEEN.assert_all(2);
}
