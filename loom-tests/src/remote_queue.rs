//! Race: senders push while the owner takes (with the token, or early), and while the slot gets its next
//! life.
//!
//! Checks `remote_queue.rs` rules 1 to 4 and `slot.rs` rules 3 and 4.
//!
//! The token travels here by a relaxed flag, so that nothing but the queue orders anything.
//!
//! Takes about 15 s (two cores, both busy with other things as well).
//!
//! Mutations that it fails with: the push without release; `take` or `take_early` without acquire; the push
//! without acquire or `take` without release (the next token's flag may then be overwritten by the end of
//! the last one: "links without a token"); `take_early` that leaves `EMPTY` ("two tokens"); `take` that
//! leaves `NOTIFIED`.

use crate::parts::{Seen, Slot, explore, open_run, seal};
use engset_scheduler::remote_queue::Link;
use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

struct Model {
    slot: Slot,
    /// The token is on its way to the owner, or there.
    token: AtomicBool,
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Model { slot: Slot::new(0, 1), token: AtomicBool::new(false) })
    }

    fn push_run(&self, newest: *mut Link, oldest: *mut Link) {
        // SAFETY: the run is ours, and the test opens all that it takes.
        if unsafe { self.slot.push(newest, oldest) } {
            self.token.store(true, Relaxed);
        }
    }

    fn push(&self, serial: u64, payload: u32) {
        let link = seal(serial, payload);
        self.push_run(link, link);
    }

    /// What the owner finds when it looks: with the token if that is there, else early.
    fn look(&self) -> Vec<(u64, u32)> {
        if self.token.load(Relaxed) {
            self.with_token()
        } else if self.slot.has_links() {
            open_run(self.slot.remote.take_early())
        } else {
            Vec::new()
        }
    }

    fn with_token(&self) -> Vec<(u64, u32)> {
        self.token.store(false, Relaxed);
        self.slot.token_ends();
        open_run(self.slot.remote.take())
    }

    /// At the end: the token, if there is one, must bring all that is left.
    fn rest(&self) -> Vec<(u64, u32)> {
        let rest = if self.token.load(Relaxed) { self.with_token() } else { Vec::new() };
        assert!(!self.slot.has_links(), "links without a token");
        rest
    }
}

#[test]
fn nothing_is_lost_or_doubled_and_each_senders_order_is_kept() {
    static SEEN: Seen = Seen::new();
    explore(3, || {
        let model = Model::new();
        let two = thread::spawn({
            let model = model.clone();
            move || {
                model.push(1, 1);
                model.push(1, 2);
            }
        });
        let run = thread::spawn({
            let model = model.clone();
            move || {
                let (older, newer) = (seal(1, 3), seal(1, 4));
                // SAFETY: both are ours.
                unsafe { (*newer).next.store(older, Relaxed) };
                model.push_run(newer, older);
            }
        });
        let mut got = model.look();
        if !got.is_empty() {
            SEEN.note(0);
        }
        got.extend(model.look());
        let while_running = got.len();
        two.join().unwrap();
        run.join().unwrap();
        got.extend(model.rest());
        if while_running < got.len() {
            SEEN.note(1);
        }

        let payloads: Vec<u32> = got.iter().map(|&(_, payload)| payload).collect();
        let of =
            |sender: [u32; 2]| payloads.iter().copied().filter(|payload| sender.contains(payload)).collect();
        let (first, second): (Vec<u32>, Vec<u32>) = (of([1, 2]), of([3, 4]));
        assert_eq!(payloads.len(), 4);
        assert_eq!(first, [1, 2]);
        assert_eq!(second, [3, 4]);
    });
    SEEN.assert_all(2);
}

#[test]
fn after_an_early_take_the_token_under_way_still_counts() {
    static SEEN: Seen = Seen::new();
    explore(5, || {
        let model = Model::new();
        let sender = thread::spawn({
            let model = model.clone();
            move || {
                for payload in 1..=3 {
                    model.push(1, payload);
                }
            }
        });
        let mut got = Vec::new();
        // Early whatever has become of the token, then with it, then early again.
        if model.slot.has_links() {
            SEEN.note(0);
            got.extend(open_run(model.slot.remote.take_early()));
        }
        if model.token.load(Relaxed) {
            SEEN.note(1);
            got.extend(model.with_token());
        }
        if model.slot.has_links() {
            SEEN.note(2);
            got.extend(open_run(model.slot.remote.take_early()));
        }
        sender.join().unwrap();
        got.extend(model.rest());
        assert_eq!(got, [(1, 1), (1, 2), (1, 3)]);
    });
    SEEN.assert_all(3);
}

#[test]
fn mail_for_the_last_life_does_not_reach_the_next_one() {
    static SEEN: Seen = Seen::new();
    explore(3, || {
        let model = Model::new();
        // Each reads which life it is, is delayed perhaps, and pushes.
        let senders = [1, 2].map(|payload| {
            let model = model.clone();
            thread::spawn(move || {
                let serial = model.slot.serial();
                if serial % 2 == 1 {
                    model.push(serial, payload);
                }
                serial
            })
        });
        // The owner: the first life ends and its mail goes with it, then the second begins.
        let mut got = model.look();
        assert!(got.iter().all(|&(stamp, _)| stamp == 1));
        let mut disposed = Vec::new();
        model.slot.next_serial();
        if model.slot.has_links() {
            let last = open_run(model.slot.remote.take_early());
            assert!(last.iter().all(|&(stamp, _)| stamp == 1), "mail from the future");
            disposed.extend(last);
        }
        assert_eq!(model.slot.next_serial(), 3);
        let mut second = model.look();
        let read = senders.map(|sender| sender.join().unwrap());
        second.extend(model.rest());
        for (stamp, payload) in second {
            if stamp == 3 {
                SEEN.note(0);
                got.push((stamp, payload));
            } else {
                SEEN.note(1);
                assert_eq!(stamp, 1, "only the stamp tells");
                disposed.push((stamp, payload));
            }
        }
        // Each came out once, on one side, or its sender saw that the task was dead.
        for (payload, serial) in (1..).zip(read) {
            let times = got.iter().chain(&disposed).filter(|&&found| found == (serial, payload)).count();
            assert_eq!(times, usize::from(serial % 2 == 1));
            if serial == 2 {
                SEEN.note(2);
            }
        }
    });
    SEEN.assert_all(3);
}
