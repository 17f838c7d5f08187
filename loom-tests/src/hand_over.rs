//! Race: a worker is stuck in user code; the watchdog takes custody, sees to its mail and gives its task to
//! a spare, while somebody sends to that task and the worker comes back.
//!
//! Checks `watchdog.rs` rule 2 and `Worker::rescue`: `custody.rs`, `owner.rs`, `remote_queue.rs` and
//! `inbox.rs` together.
//!
//! Takes about 23 s (two cores, both busy with other things as well).
//!
//! Mutations that it fails with: all of those listed in `custody`; those of the orderings of `remote_queue`
//! and `inbox`.

use crate::parts::{Seen, World, explore};
use loom::{sync::Arc, thread};

const STUCK: u16 = 1;
const SPARE: u16 = 2;
const TASK: usize = 0;

/// `stand_in` and `Worker::rescue`. True: it had custody.
fn stand_in(world: &World) -> bool {
    let stuck = world.worker(STUCK);
    let Some(_rescue) = stuck.try_seize() else { return false };
    world.flush(STUCK);
    if stuck.has_tokens() {
        world.drain_inbox(STUCK);
    }
    while let Some(index) = world.pop(STUCK) {
        world.give(STUCK, index, SPARE);
    }
    true
}

/// The stuck worker is back: one section, with a turn of its loop in it.
fn come_back(world: &World) {
    let stuck = world.worker(STUCK);
    assert!(stuck.enter());
    world.flush(STUCK);
    world.turn(STUCK, 1);
    stuck.custody.leave();
}

fn check_outcome(world: &World, seen: &Seen, seized: bool) {
    world.run_to_rest();
    let slot = &world.slots[TASK];
    assert_eq!(world.received(TASK), [1, 2], "each message once, in order");
    let (slices, adopted) = slot.private(|private| (private.slices, private.adopted));
    assert!(slices >= 1);
    assert!(adopted <= u32::from(seized));
    // Given away; found by the worker itself.
    seen.note(adopted);
}

#[test]
fn a_task_of_a_stuck_worker_is_run_by_exactly_one() {
    static SEEN: Seen = Seen::new();
    explore(2, || {
        let world = Arc::new(World::new(2, &[STUCK]));
        // One message is there already, and the task waits for its turn.
        world.send(STUCK, TASK, 1);
        world.worker(STUCK).custody.leave();
        let worker = thread::spawn({
            let world = world.clone();
            move || come_back(&world)
        });
        let rescuer = thread::spawn({
            let world = world.clone();
            move || stand_in(&world)
        });
        let spare = thread::spawn({
            let world = world.clone();
            move || world.turn(SPARE, 1)
        });
        assert!(world.send_from_outside(TASK, 1, 2));
        worker.join().unwrap();
        spare.join().unwrap();
        let seized = rescuer.join().unwrap();
        check_outcome(&world, &SEEN, seized);
    });
    SEEN.assert_all(2);
}

#[test]
fn mail_of_an_idle_task_of_a_stuck_worker_is_seen_to() {
    static SEEN: Seen = Seen::new();
    explore(2, || {
        let world = Arc::new(World::new(2, &[STUCK]));
        // The task is idle: only its token makes it runnable, and whoever drains the inbox gets it.
        world.worker(STUCK).custody.leave();
        let worker = thread::spawn({
            let world = world.clone();
            move || come_back(&world)
        });
        let rescuer = thread::spawn({
            let world = world.clone();
            // Two ticks of the watchdog.
            move || stand_in(&world) | stand_in(&world)
        });
        assert!(world.send_from_outside(TASK, 1, 1));
        assert!(world.send_from_outside(TASK, 1, 2));
        worker.join().unwrap();
        let seized = rescuer.join().unwrap();
        check_outcome(&world, &SEEN, seized);
    });
    SEEN.assert_all(2);
}

#[test]
fn what_a_stuck_worker_held_back_is_sent_once() {
    static SEEN: Seen = Seen::new();
    explore(4, || {
        let world = Arc::new(World::new(2, &[SPARE]));
        // The task that is stuck has sent twice before; both are in the worker's outbox.
        world.send(STUCK, TASK, 1);
        world.send(STUCK, TASK, 2);
        world.worker(STUCK).custody.leave();
        let worker = thread::spawn({
            let world = world.clone();
            move || come_back(&world)
        });
        let rescuer = thread::spawn({
            let world = world.clone();
            move || stand_in(&world)
        });
        world.turn(SPARE, 1);
        worker.join().unwrap();
        SEEN.note(u32::from(rescuer.join().unwrap()));
        world.run_to_rest();
        assert_eq!(world.received(TASK), [1, 2]);
    });
    SEEN.assert_all(2);
}
