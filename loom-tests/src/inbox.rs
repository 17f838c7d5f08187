//! Race: a token is pushed while the worker goes to sleep, sleeps, or wakes for another reason.
//!
//! Checks `inbox.rs` rules 1 to 3 together with `parker.rs`, as `Worker::sleep` uses them. A worker that is
//! not woken parks for ever, which loom reports as a deadlock.
//!
//! Takes about 23 s (two cores, both busy with other things as well).
//!
//! Mutations that it fails with: the push without release; `take` without acquire; `try_sleep` that does not
//! compare; `awake` that does not compare; a push that does not ask for the unpark; `unpark` that does not
//! take the lock.

use crate::parts::{Pace, Seen, World, explore};
use engset_scheduler::{
    inbox::{Inbox, Wake},
    parker::Parker,
    remote_queue::Link,
};
use loom::{cell::UnsafeCell, sync::Arc, sync::atomic::Ordering::Relaxed, thread};
use std::ptr::NonNull;

#[repr(C)]
struct Token {
    link: Link,
    payload: UnsafeCell<u32>,
}

struct Model {
    inbox: Inbox,
    parker: Parker,
    pace: Pace,
    tokens: [Token; 2],
}

// SAFETY: the payloads are loom cells, which check what this claims.
unsafe impl Sync for Model {}
// SAFETY: as above.
unsafe impl Send for Model {}

impl Model {
    fn new() -> Arc<Self> {
        let token = || Token { link: Link::new(), payload: UnsafeCell::new(0) };
        Arc::new(Model {
            inbox: Inbox::new(),
            parker: Parker::new(),
            pace: Pace::new(),
            tokens: [token(), token()],
        })
    }

    /// Fills a token and pushes it. True: it had to wake the worker.
    fn push(&self, which: usize) -> bool {
        let token = &self.tokens[which];
        // SAFETY: each token has one pusher; loom checks it.
        token.payload.with_mut(|at| unsafe { *at = which as u32 + 1 });
        let link = std::ptr::from_ref(token).cast::<Link>().cast_mut();
        // SAFETY: the token is ours, and lives as long as the model.
        let wake = unsafe { self.inbox.push(link) } == Wake::Unpark;
        if wake {
            self.parker.unpark();
        }
        self.pace.touch();
        wake
    }

    fn has_tokens(&self) -> bool {
        self.pace.touch();
        self.inbox.has_tokens()
    }

    /// The payloads of the tokens that are here, in order.
    fn take(&self) -> Vec<u32> {
        let mut found = Vec::new();
        let mut token = self.inbox.take();
        while let Some(at) = NonNull::new(token) {
            // SAFETY: the inbox gave it to us.
            token = unsafe { at.as_ref() }.next.load(Relaxed);
            // SAFETY: all tokens here are of this type.
            let at = unsafe { at.cast::<Token>().as_ref() };
            // SAFETY: the token is ours now; loom checks it.
            found.push(at.payload.with(|at| unsafe { *at }));
        }
        found
    }

    /// `Worker::sleep`. True: it parked.
    fn sleep(&self) -> bool {
        let slept = self.inbox.try_sleep();
        if slept {
            self.parker.park(None);
            self.inbox.awake();
        }
        slept
    }
}

#[test]
fn a_worker_that_goes_to_sleep_misses_no_token() {
    static SEEN: Seen = Seen::new();
    explore(3, || {
        let model = Model::new();
        let pushers = [0, 1].map(|which| {
            let model = model.clone();
            thread::spawn(move || model.push(which))
        });
        let mut found = Vec::new();
        let mut parked = 0;
        while found.len() < 2 {
            if model.has_tokens() {
                found.extend(model.take());
            } else if model.sleep() {
                parked += 1;
            } else {
                SEEN.note(0);
            }
        }
        let wakes = pushers.map(|pusher| pusher.join().unwrap()).iter().filter(|&&wake| wake).count();
        found.sort_unstable();
        assert_eq!(found, [1, 2]);
        assert!(model.take().is_empty());
        // Each announcement here is answered by exactly one push: nothing else wakes this worker.
        assert!(wakes <= parked, "woken without having announced to sleep");
        match (parked, wakes) {
            (0, 0) => SEEN.note(1),
            (1, 1) => SEEN.note(2),
            (2, 2) => SEEN.note(3),
            _ => {}
        }
    });
    SEEN.assert_all(4);
}

#[test]
fn a_worker_that_wakes_for_another_reason_misses_no_token() {
    static SEEN: Seen = Seen::new();
    explore(3, || {
        let model = Model::new();
        let pusher = thread::spawn({
            let model = model.clone();
            move || model.push(0)
        });
        let other = thread::spawn({
            let model = model.clone();
            // A timeout, as far as the worker can tell.
            move || model.parker.unpark()
        });
        let mut found = Vec::new();
        while found.is_empty() {
            if model.has_tokens() {
                found = model.take();
            } else if model.sleep() && !model.has_tokens() {
                // Rule 3: the announcement is taken back, and it can be made again.
                SEEN.note(0);
            }
        }
        let woken = pusher.join().unwrap();
        other.join().unwrap();
        assert_eq!(found, [1]);
        SEEN.note(if woken { 1 } else { 2 });
    });
    SEEN.assert_all(3);
}

#[test]
fn mail_wakes_a_worker_through_token_and_parker() {
    static SEEN: Seen = Seen::new();
    explore(3, || {
        let world = Arc::new(World::new(1, &[1]));
        let senders = [1, 2].map(|payload| {
            let world = world.clone();
            thread::spawn(move || assert!(world.send_from_outside(0, 1, payload)))
        });
        // Takes the mail, and sleeps when there is none, until both have come.
        let worker = world.worker(1);
        while world.received(0).len() < 2 {
            world.turn(1, 8);
            if world.received(0).len() < 2 && worker.inbox.try_sleep() {
                SEEN.note(0);
                worker.parker.park(None);
                worker.inbox.awake();
            }
        }
        for sender in senders {
            sender.join().unwrap();
        }
        world.run_to_rest();
        let mut received = world.received(0);
        if received == [2, 1] {
            SEEN.note(1);
        }
        received.sort_unstable();
        assert_eq!(received, [1, 2]);
    });
    SEEN.assert_all(2);
}
