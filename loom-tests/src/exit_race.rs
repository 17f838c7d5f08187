//! Race: a request to monitor a task (a link's is the same) is sent while the task ends, and its slot gets
//! its next life.
//!
//! Checks that each request is answered by exactly one `Down`: by the task that ends, if the request acted
//! in time; by the owner's disposal, if it came too late (`slot.rs` rules 3 and 4, `remote_queue.rs` rule
//! 4); or by the asker, who saw that the serial number matches no more. The steps are those of
//! `Worker::end_task` and `Worker::close_mailbox`.
//!
//! Takes about 12 s (two cores, both busy with other things as well).
//!
//! Mutations that it fails with: no comparison of stamps; a `close_mailbox` that does not change the serial
//! number, or changes it last; one that drops what is in the mailbox without disposing of it; those of the
//! orderings of `remote_queue` and `inbox`; `take_early` that leaves `EMPTY`. Not caught: a relaxed store of
//! the serial number (no answer rests on it: the stamp decides); no early drain in `close_mailbox` (the
//! token brings the same mail later; the drain is there so that nothing stays for more than one life, which
//! no answer shows).

use crate::parts::{Seen, World, explore};
use loom::{sync::Arc, thread};
use std::sync::atomic::Ordering::SeqCst;

const TASK: usize = 0;

/// The owner: perhaps a slice, then the last one, in which the task ends. Who was monitoring in time is
/// answered by the task.
fn live_and_end(world: &World) -> Vec<u32> {
    world.turn(1, 1);
    // It runs, so what comes now waits in the mailbox and does not act any more.
    world.slots[TASK].private(|private| private.queued = true);
    world.turn(1, 0);
    // The requests that have acted are what it received; `hooks.ended` answers them.
    let monitors = world.received(TASK);
    world.close_mailbox(1, TASK);
    monitors
}

#[test]
fn each_request_gets_exactly_one_answer() {
    static SEEN: Seen = Seen::new();
    explore(3, || {
        let world = Arc::new(World::new(1, &[1]));
        let askers = [1, 2].map(|number| {
            let world = world.clone();
            thread::spawn(move || world.send_from_outside(TASK, 1, number))
        });
        let by_task = live_and_end(&world);
        // The rest of the owner's life.
        world.turn(1, 0);
        let sent = askers.map(|asker| asker.join().unwrap());
        world.run_to_rest();
        assert_eq!(world.received(TASK), by_task, "somebody monitors a dead task");
        for (number, sent) in (1..).zip(sent) {
            let task = by_task.iter().filter(|&&found| found == number).count();
            let owner = world.disposed[number as usize].load(SeqCst) as usize;
            assert_eq!(task + owner + usize::from(!sent), 1, "answers to request {number}");
            SEEN.note(if task == 1 { 0 } else { 1 + owner as u32 });
        }
    });
    SEEN.assert_all(3);
}

#[test]
fn a_late_request_does_not_bind_the_next_life() {
    static SEEN: Seen = Seen::new();
    explore(3, || {
        let world = Arc::new(World::new(1, &[1]));
        let late = thread::spawn({
            let world = world.clone();
            move || world.send_from_outside(TASK, 1, 1)
        });
        let by_task = live_and_end(&world);
        // The next life begins in the same slot, and somebody who was told of it asks at once.
        world.slots[TASK].private(|private| {
            private.received.clear();
            private.queued = false;
        });
        let serial = world.slots[TASK].next_serial();
        let early = thread::spawn({
            let world = world.clone();
            move || assert!(world.send_from_outside(TASK, serial, 2), "it lives")
        });
        world.turn(1, 1);
        let sent = late.join().unwrap();
        early.join().unwrap();
        world.run_to_rest();
        // The late one never acts on the new life, the other one does.
        assert_eq!(world.received(TASK), [2]);
        let owner = world.disposed[1].load(SeqCst) as usize;
        assert_eq!(by_task.len() + owner + usize::from(!sent), 1, "answers to the late request");
        assert_eq!(world.disposed[2].load(SeqCst), 0);
        SEEN.note(if by_task.is_empty() { 1 + owner as u32 } else { 0 });
    });
    SEEN.assert_all(3);
}
