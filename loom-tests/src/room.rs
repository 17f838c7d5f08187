//! Race: room comes back while senders find none, stand in line, are called, or give up.
//!
//! Checks `room.rs` rules 1 to 5. A sender that is not woken parks for ever, which loom reports as a deadlock.
//!
//! Takes about 12 s (two cores, both busy with other things as well).
//!
//! Mutations that it fails with: no fence in `in_order`; `stand` that does not tell that somebody is wanted; `call` that tells it
//! only after its look at what is free; `leave` that does not call the next one, or does not count itself out;
//! `stand` that does not count itself out when it has been called.

use crate::parts::{Seen, explore};
use engset_scheduler::{
    parker::Parker,
    room::{Back, Room},
};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

/// A mailbox for `most` messages, its receiver, and two senders.
struct Model {
    room: Room<usize>,
    most: usize,
    held: AtomicUsize,
    receiver: Parker,
    senders: [Parker; 2],
    seen: &'static Seen,
}

impl Model {
    /// With so many messages in it already.
    fn new(seen: &'static Seen, most: usize, calls: usize, full: u32) -> Arc<Self> {
        let model = Model {
            room: Room::new(most, calls),
            most,
            held: AtomicUsize::new(full as usize),
            receiver: Parker::new(),
            senders: [Parker::new(), Parker::new()],
            seen,
        };
        for _ in 0..full {
            assert_eq!(model.room.claim(1), 1);
        }
        Arc::new(model)
    }

    fn wake(&self, called: Vec<usize>) {
        called.into_iter().for_each(|who| self.senders[who].unpark());
    }

    /// A message goes into the mailbox; room for it has been claimed.
    fn push(&self) {
        assert!(self.held.fetch_add(1, SeqCst) < self.most, "more messages than the limit");
        self.receiver.unpark();
    }

    /// `Bound::wait_for_room` and a send. False: the room is closed. Notes 0: it has slept; 1: it found room as it stood in line.
    fn send(&self, me: usize) -> bool {
        let mut ticket = None;
        let sent = loop {
            if self.room.claim(1) == 1 {
                break true;
            }
            if !self.room.stand(&mut ticket, || me) {
                return false;
            }
            if self.room.claim(1) == 1 {
                self.seen.note(1);
                break true;
            }
            self.seen.note(0);
            self.senders[me].park(None);
        };
        self.push();
        if let Some(ticket) = ticket {
            self.wake(self.room.leave(ticket));
        }
        sent
    }

    /// Takes a message out, if there is one. True: somebody is owed a call.
    fn take(&self, enough: impl FnOnce(usize) -> bool) -> Option<bool> {
        let mut held = self.held.load(SeqCst);
        while held > 0 {
            match self.held.compare_exchange(held, held - 1, SeqCst, SeqCst) {
                Ok(_) => {
                    return Some(self.give_back(1, enough));
                }
                Err(now) => held = now,
            }
        }
        None
    }

    fn give_back(&self, messages: u32, enough: impl FnOnce(usize) -> bool) -> bool {
        match self.room.give_back(messages, enough) {
            Back::Done => false,
            Back::Owed => true,
            Back::Call(called) => {
                self.wake(called);
                false
            }
        }
    }
}

fn spawn(model: &Arc<Model>, f: impl FnOnce(&Model) + Send + 'static) -> thread::JoinHandle<()> {
    let model = model.clone();
    thread::spawn(move || f(&model))
}

#[test]
fn two_senders_without_room_both_get_some() {
    static SEEN: Seen = Seen::new();
    explore(4, || {
        let model = Model::new(&SEEN, 1, 1, 1);
        let senders: Vec<_> = (0..2).map(|me| spawn(&model, move |model| assert!(model.send(me)))).collect();
        let mut taken = 0;
        while taken < 3 {
            match model.take(|_| true) {
                Some(_) => taken += 1,
                None => model.receiver.park(None),
            }
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert_eq!(model.room.used(), 0);
    });
    SEEN.assert_all(2);
}

#[test]
fn who_takes_several_in_a_slice_calls_at_its_end_at_the_latest() {
    static SEEN: Seen = Seen::new();
    explore(4, || {
        let model = Model::new(&SEEN, 3, 1, 3);
        let sender = spawn(&model, |model| assert!(model.send(0)));
        // One is too little to call anybody. It takes no more before the sender has sent.
        let owed = model.take(|used| used <= 1).unwrap();
        if owed {
            assert!(!model.give_back(0, |_| true));
        }
        sender.join().unwrap();
        assert_eq!(model.room.used(), 3);
    });
    SEEN.assert_all(2);
}

#[test]
fn a_sender_that_gives_up_passes_its_call_on() {
    static SEEN: Seen = Seen::new();
    explore(4, || {
        let model = Model::new(&SEEN, 1, 1, 1);
        let impatient = spawn(&model, |model| {
            let mut ticket = None;
            assert!(model.room.stand(&mut ticket, || 1));
            // It dies, whether it has been called or not.
            model.wake(model.room.leave(ticket.unwrap()));
        });
        let sender = spawn(&model, |model| assert!(model.send(0)));
        model.take(|_| true);
        sender.join().unwrap();
        impatient.join().unwrap();
        assert_eq!(model.room.used(), 1);
    });
    SEEN.assert_all(2);
}

#[test]
fn room_that_a_worker_held_and_did_not_use_wakes_a_sender() {
    static SEEN: Seen = Seen::new();
    explore(4, || {
        let model = Model::new(&SEEN, 2, 1, 1);
        let holder = spawn(&model, |model| {
            let some = model.room.claim(2);
            model.give_back(some, |_| true);
        });
        let sender = spawn(&model, |model| assert!(model.send(0)));
        sender.join().unwrap();
        holder.join().unwrap();
        assert_eq!(model.room.used(), 2);
    });
    SEEN.assert_all(2);
}

#[test]
fn when_the_room_is_closed_nobody_waits_any_more() {
    static SEEN: Seen = Seen::new();
    explore(4, || {
        let model = Model::new(&SEEN, 1, 1, 1);
        let senders: Vec<_> = (0..2)
            .map(|me| {
                spawn(&model, move |model| {
                    assert!(!model.send(me));
                })
            })
            .collect();
        model.wake(model.room.close());
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
    SEEN.assert_all(1);
}
