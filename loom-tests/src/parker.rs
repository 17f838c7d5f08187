//! Race: unpark comes before, during or after park; several unparks become one.
//!
//! Checks the promises in the head of `parker.rs`: an unpark that comes first is not lost, and what was
//! written before an unpark is seen after the park that it ends, even if it is the second one.
//!
//! Takes less than a second.
//!
//! Mutations that it fails with, all as a deadlock: `unpark` without release; either early way out of `park`
//! without acquire (a relaxed exchange, or a store); an `unpark` that does nothing when a permit is there;
//! one that does not take the lock before it notifies; a `park_in` whose first exchange does not release, or whose last
//! one does not acquire; an `unpark_with` that does not acquire, or does not call `wake`. A failure here ends the test process: loom's report
//! of a deadlock panics while a lock is held.

use crate::parts::explore;
use engset_scheduler::parker::Parker;
use loom::{
    cell::UnsafeCell,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

struct Model {
    parker: Parker,
    value: UnsafeCell<u32>,
    flags: [AtomicBool; 2],
}

// SAFETY: the value is a loom cell, which checks what this claims.
unsafe impl Sync for Model {}
// SAFETY: as above.
unsafe impl Send for Model {}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Model { parker: Parker::new(), value: UnsafeCell::new(0), flags: Default::default() })
    }
}

#[test]
fn what_is_written_before_an_unpark_is_seen_after_the_park() {
    explore(6, || {
        let model = Model::new();
        let waker = thread::spawn({
            let model = model.clone();
            move || {
                // SAFETY: the parker orders it before the read; loom checks it.
                model.value.with_mut(|at| unsafe { *at = 1 });
                model.parker.unpark();
            }
        });
        model.parker.park(None);
        // SAFETY: as above.
        assert_eq!(model.value.with(|at| unsafe { *at }), 1);
        waker.join().unwrap();
    });
}

#[test]
fn an_unpark_that_finds_another_one_is_not_lost() {
    explore(3, || {
        let model = Model::new();
        let wakers = [0, 1].map(|which| {
            let model = model.clone();
            thread::spawn(move || {
                model.flags[which].store(true, Relaxed);
                model.parker.unpark();
            })
        });
        // If a park swallows the second unpark it must show what came before that one, too.
        while !model.flags.iter().all(|flag| flag.load(Relaxed)) {
            model.parker.park(None);
        }
        for waker in wakers {
            waker.join().unwrap();
        }
    });
}

#[test]
fn each_of_two_parks_takes_one_unpark_of_a_worker_that_answers() {
    explore(6, || {
        let model = Model::new();
        let waker = thread::spawn({
            let model = model.clone();
            move || {
                model.flags[0].store(true, Relaxed);
                model.parker.unpark();
                model.flags[1].store(true, Relaxed);
                model.parker.unpark();
            }
        });
        model.parker.park(None);
        assert!(model.flags[0].load(Relaxed));
        while !model.flags[1].load(Relaxed) {
            model.parker.park(None);
        }
        waker.join().unwrap();
    });
}

/// What `park_in` waits in, in miniature: an event counter that a wake raises, and that a wait takes back to zero.
struct Eye {
    rung: Mutex<bool>,
    bell: Condvar,
}

struct Watching {
    parker: Parker,
    /// Made by the owner before its first `park_in`; the unparker reads it without another look.
    eye: UnsafeCell<Option<Arc<Eye>>>,
    value: UnsafeCell<u32>,
    flags: [AtomicBool; 2],
}

// SAFETY: the cells are loom's, which check what this claims.
unsafe impl Sync for Watching {}
// SAFETY: as above.
unsafe impl Send for Watching {}

impl Watching {
    fn new() -> Arc<Self> {
        Arc::new(Watching {
            parker: Parker::new(),
            eye: UnsafeCell::new(None),
            value: UnsafeCell::new(0),
            flags: Default::default(),
        })
    }

    fn open_eye(&self) -> Arc<Eye> {
        let eye = Arc::new(Eye { rung: Mutex::new(false), bell: Condvar::new() });
        // SAFETY: the parker orders it before the reads in `unpark`; loom checks it.
        self.eye.with_mut(|at| unsafe { *at = Some(eye.clone()) });
        eye
    }

    fn park(&self, eye: &Eye) {
        self.parker.park_in(|| {
            let mut rung = eye.rung.lock().unwrap();
            while !*rung {
                rung = eye.bell.wait(rung).unwrap();
            }
            *rung = false;
        });
    }

    fn unpark(&self) {
        self.parker.unpark_with(|| {
            // SAFETY: as above.
            let eye = self.eye.with(|at| unsafe { (*at).clone() }).unwrap();
            *eye.rung.lock().unwrap() = true;
            eye.bell.notify_one();
        });
    }
}

#[test]
fn an_unpark_ends_a_park_in_something_else() {
    explore(4, || {
        let model = Watching::new();
        let waker = thread::spawn({
            let model = model.clone();
            move || {
                // SAFETY: the parker orders it before the read; loom checks it.
                model.value.with_mut(|at| unsafe { *at = 1 });
                model.flags[0].store(true, Relaxed);
                model.unpark();
            }
        });
        let eye = model.open_eye();
        // It may come back early: what an earlier unpark has rung.
        while !model.flags[0].load(Relaxed) {
            model.park(&eye);
        }
        waker.join().unwrap();
    });
}

#[test]
fn what_is_written_before_is_seen_after_a_park_in_something_else() {
    explore(4, || {
        let model = Watching::new();
        let waker = thread::spawn({
            let model = model.clone();
            move || {
                // SAFETY: the parker orders it before the read; loom checks it.
                model.value.with_mut(|at| unsafe { *at = 1 });
                model.unpark();
            }
        });
        let eye = model.open_eye();
        model.park(&eye);
        // SAFETY: as above.
        assert_eq!(model.value.with(|at| unsafe { *at }), 1);
        waker.join().unwrap();
    });
}

#[test]
fn of_two_unparks_none_is_lost_to_a_park_in_something_else() {
    explore(2, || {
        let model = Watching::new();
        let eye = model.open_eye();
        let wakers = [0, 1].map(|which| {
            let model = model.clone();
            thread::spawn(move || {
                model.flags[which].store(true, Relaxed);
                model.unpark();
            })
        });
        while !model.flags.iter().all(|flag| flag.load(Relaxed)) {
            model.park(&eye);
        }
        for waker in wakers {
            waker.join().unwrap();
        }
    });
}
