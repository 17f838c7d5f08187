//! Race: a worker enters and leaves sections while a rescuer tries to take custody.
//!
//! Checks `custody.rs` rules 1 to 4, with fences for the barriers. The private state is a loom cell: two who
//! are inside at once, or one who does not see what the other did, end the test.
//!
//! Takes about 8 s (two cores, both busy with other things as well).
//!
//! Mutations that it fails with: no light barrier; no heavy barrier; `leave`, or the end of a rescue,
//! without release; the load of `reasons` in `try_enter`, or of `status` in `try_seize`, without acquire; no
//! look at `reasons`; no look at `status`; no second look after waiting; a rescuer that gives up without
//! clearing `REVOKED` (the worker spins for ever: "exceeded maximum number of branches").

use crate::parts::{Pace, Seen, explore};
use engset_scheduler::custody::Custody;
use loom::{
    cell::UnsafeCell,
    sync::{Arc, Mutex},
    thread,
};

struct Model {
    custody: Custody,
    pace: Pace,
    private: UnsafeCell<u32>,
    /// Rule 4.
    rescuers: Mutex<()>,
}

// SAFETY: the private state is a loom cell, which checks what this claims.
unsafe impl Sync for Model {}
// SAFETY: as above.
unsafe impl Send for Model {}

impl Model {
    fn new(slow: bool) -> Arc<Self> {
        Arc::new(Model {
            custody: Custody::new(slow),
            pace: Pace::new(),
            private: UnsafeCell::new(0),
            rescuers: Mutex::new(()),
        })
    }

    /// Touches the private state.
    fn touch(&self) {
        // SAFETY: that nobody else is here is what loom checks.
        self.private.with_mut(|at| unsafe { *at += 1 });
    }

    fn read(&self) -> u32 {
        // SAFETY: as above.
        self.private.with(|at| unsafe { *at })
    }

    /// A worker that is inside, goes out, and comes back `times` times, and once more each time if that goes quickly. Returns how often it
    /// touched the private state.
    fn work(&self, times: u32) -> u32 {
        let mut touched = times + 1;
        for _ in 0..times {
            self.touch();
            self.custody.leave();
            // Here is user code.
            self.pace.touch();
            if self.custody.enter_quickly() {
                self.touch();
                self.custody.leave();
                touched += 1;
            }
            assert!(self.custody.enter());
            assert!(!self.custody.enter(), "it was inside already");
        }
        self.touch();
        self.custody.leave();
        touched
    }

    fn rescue(&self) -> bool {
        let _guard = self.rescuers.lock().unwrap();
        self.pace.touch();
        let rescue = self.custody.try_seize();
        if rescue.is_some() {
            self.touch();
        }
        rescue.is_some()
    }
}

#[test]
fn worker_and_rescuer_are_never_both_inside() {
    static SEEN: Seen = Seen::new();
    explore(5, || {
        let model = Model::new(false);
        let rescuer = thread::spawn({
            let model = model.clone();
            move || model.rescue()
        });
        let touched = model.work(2);
        let seized = rescuer.join().unwrap();
        SEEN.note(u32::from(seized));
        assert_eq!(model.read(), touched + u32::from(seized));
    });
    SEEN.assert_all(2);
}

#[test]
fn a_rescuer_that_comes_again_lets_the_worker_in_between() {
    static SEEN: Seen = Seen::new();
    explore(4, || {
        let model = Model::new(true);
        let rescuer = thread::spawn({
            let model = model.clone();
            move || u32::from(model.rescue()) + u32::from(model.rescue())
        });
        let touched = model.work(1);
        let seized = rescuer.join().unwrap();
        SEEN.note(seized);
        assert_eq!(model.read(), touched + seized);
    });
    SEEN.assert_all(3);
}

#[test]
fn two_rescuers_and_the_worker_see_what_the_others_did() {
    static SEEN: Seen = Seen::new();
    explore(3, || {
        let model = Model::new(false);
        let rescuers = [0, 1].map(|_| {
            let model = model.clone();
            thread::spawn(move || u32::from(model.rescue()))
        });
        let touched = model.work(1);
        let seized = rescuers.into_iter().map(|rescuer| rescuer.join().unwrap()).sum();
        SEEN.note(seized);
        assert_eq!(model.read(), touched + seized);
    });
    SEEN.assert_all(3);
}
