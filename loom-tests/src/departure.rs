//! Race: a worker looks up the owner of a task and pushes into its inbox, while that owner gives the task away; or
//! while the sender moves to the owner's worker, with mail in that worker's inbox.
//!
//! Checks `flushing.rs` and `owner.rs` rules 4 to 6, with `arrivals.rs` around them.
//!
//! Takes about 45 s (two cores, both busy with other things as well).
//!
//! Mutations that it fails with: either fence of `flushing.rs` left out; the end of a flush without release; a wait without
//! acquire, or none; a `give` that takes no mail in; an `address` that ignores the mark; the remote queue of a departing task
//! looked into; mail that is put behind nothing of what is in the remote queue; an inbox that is taken in newest first; no second look after an
//! adoption.

use crate::parts::{Seen, World, explore};
use engset_scheduler::owner::Whose;
use loom::{sync::Arc, thread};

const A: u16 = 1;
const B: u16 = 2;
const C: u16 = 3;

#[test]
fn what_is_pushed_to_a_former_owner_comes_before_what_follows() {
    static SEEN: Seen = Seen::new();
    explore(2, || {
        let world = Arc::new(World::new(3, &[A]));
        world.slots[0].private(|private| private.queued = true);
        let sender = thread::spawn({
            let world = world.clone();
            move || {
                world.send(B, 0, 1);
                world.flush(B);
                SEEN.note(u32::from(world.slots[0].owner() == C));
                world.send(B, 0, 2);
                world.flush(B);
            }
        });
        let new_owner = thread::spawn({
            let world = world.clone();
            move || world.turn(C, 1)
        });
        world.give(A, 0, C);
        sender.join().unwrap();
        new_owner.join().unwrap();
        world.run_to_rest();
        assert_eq!(world.received(0), [1, 2]);
    });
    SEEN.assert_all(2);
}

#[test]
fn a_sender_that_moves_to_its_receiver_does_not_overtake_itself() {
    static SEEN: Seen = Seen::new();
    const RECEIVER: usize = 0;
    const SENDER: usize = 1;
    explore(2, || {
        let world = Arc::new(World::new(3, &[A, C]));
        world.slots[SENDER].private(|private| private.queued = true);
        let from = thread::spawn({
            let world = world.clone();
            move || {
                // The sender's first slice on C; then it moves.
                world.send(C, RECEIVER, 1);
                world.flush(C);
                world.give(C, SENDER, A);
            }
        });
        // Another order is on its way, so that there may be one token for both.
        let other = thread::spawn({
            let world = world.clone();
            move || world.order_nothing(A)
        });
        for _ in 0..2 {
            world.turn(A, 0);
            while let Some(index) = world.pop(A) {
                if index == SENDER {
                    SEEN.note(1);
                    world.send(A, RECEIVER, 2);
                }
                world.run_slice(A, index);
            }
        }
        from.join().unwrap();
        other.join().unwrap();
        let sent = world.slots[SENDER].look(A) == Whose::Mine
            && world.slots[SENDER].private(|private| private.slices) == 1;
        world.run_to_rest();
        SEEN.note(u32::from(sent));
        assert_eq!(world.received(RECEIVER), if sent { vec![1, 2] } else { vec![1] });
    });
    SEEN.assert_all(2);
}
