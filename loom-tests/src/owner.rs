//! Race: a task moves from one worker to another while a third thread, and a process on its new worker, send
//! to it; and the same when the sender moves, too.
//!
//! Checks `owner.rs` rules 1 to 3 and its argument for the order of messages, with `remote_queue.rs`,
//! `inbox.rs` and `deliver.rs` rules 1 and 2 around it.
//!
//! Takes about 80 s (two cores, both busy with other things as well).
//!
//! Mutations that it fails with: `give` without release; `look` without acquire; the order before the
//! `give`; a private half touched after the `give`; a former owner that keeps the token, or takes the mail
//! itself; settling, or adopting, without a flush; a private delivery that leaves what is in the remote
//! queue where it is.

use crate::parts::{Seen, World, explore};
use engset_scheduler::owner::Whose;
use loom::{sync::Arc, thread};

const A: u16 = 1;
const B: u16 = 2;
const C: u16 = 3;

#[track_caller]
fn assert_order(received: &[u32], first: u32, second: u32) {
    let at = |payload| received.iter().position(|&found| found == payload).expect("it must be there");
    assert!(at(first) < at(second), "{received:?}");
}

#[test]
fn a_task_that_moves_loses_no_mail_and_keeps_its_order() {
    static SEEN: Seen = Seen::new();
    explore(2, || {
        let world = Arc::new(World::new(2, &[A]));
        world.slots[0].private(|private| private.queued = true);
        let outside = thread::spawn({
            let world = world.clone();
            move || {
                assert!(world.send_from_outside(0, 1, 1));
            }
        });
        let other = thread::spawn({
            let world = world.clone();
            move || {
                // A process on B sends; between two slices B looks at its mail.
                SEEN.note(u32::from(world.slots[0].look(B) == Whose::Arriving));
                world.send(B, 0, 3);
                world.send(B, 0, 4);
                world.flush(B);
                world.turn(B, 1);
            }
        });
        world.give(A, 0, B);
        if world.worker(A).has_tokens() {
            SEEN.note(2);
        }
        world.turn(A, 1);
        outside.join().unwrap();
        other.join().unwrap();
        world.run_to_rest();

        let received = world.received(0);
        assert_eq!(received.len(), 3, "{received:?}");
        assert_order(&received, 3, 4);
        assert_eq!(world.slots[0].private(|private| private.adopted), 1);
    });
    SEEN.assert_all(3);
}

#[test]
fn what_is_held_back_goes_out_before_an_arriving_task_is_touched() {
    static SEEN: Seen = Seen::new();
    explore(3, || {
        let world = Arc::new(World::new(2, &[A]));
        world.slots[0].private(|private| private.queued = true);
        let other = thread::spawn({
            let world = world.clone();
            move || {
                // B looks at its mail with a message in its outbox, and finds the order there, or not yet.
                world.send(B, 0, 1);
                world.turn(B, 0);
                SEEN.note(u32::from(world.slots[0].owner() == B));
                world.send(B, 0, 2);
                world.flush(B);
            }
        });
        world.give(A, 0, B);
        world.turn(A, 0);
        other.join().unwrap();
        world.run_to_rest();
        assert_eq!(world.received(0), [1, 2]);
    });
    SEEN.assert_all(2);
}

#[test]
fn a_task_that_moves_twice_is_followed_by_its_tokens() {
    static SEEN: Seen = Seen::new();
    explore(2, || {
        let world = Arc::new(World::new(3, &[A]));
        world.slots[0].private(|private| private.queued = true);
        let outside = thread::spawn({
            let world = world.clone();
            move || {
                assert!(world.send_from_outside(0, 1, 1));
                assert!(world.send_from_outside(0, 1, 2));
            }
        });
        let between = thread::spawn({
            let world = world.clone();
            move || {
                // What B adopts, it gives away again.
                world.turn(B, 0);
                let found = world.pop(B);
                if let Some(index) = found {
                    world.give(B, index, C);
                }
                world.turn(B, 0);
                found.is_some()
            }
        });
        world.give(A, 0, B);
        world.turn(A, 0);
        outside.join().unwrap();
        SEEN.note(u32::from(between.join().unwrap()));
        world.run_to_rest();
        assert_eq!(world.received(0), [1, 2]);
    });
    SEEN.assert_all(2);
}

#[test]
fn order_is_kept_when_the_sender_moves_to_where_the_receiver_moves() {
    static SEEN: Seen = Seen::new();
    const RECEIVER: usize = 0;
    const SENDER: usize = 1;
    explore(2, || {
        let world = Arc::new(World::new(3, &[A, C]));
        for slot in &world.slots {
            slot.private(|private| private.queued = true);
        }
        let from = thread::spawn({
            let world = world.clone();
            move || {
                // The sender's first slice on C; then it moves.
                world.send(C, RECEIVER, 1);
                world.flush(C);
                world.give(C, SENDER, B);
            }
        });
        let to = thread::spawn({
            let world = world.clone();
            move || {
                for _ in 0..2 {
                    world.turn(B, 0);
                    while let Some(index) = world.pop(B) {
                        if index == SENDER {
                            // Its second slice.
                            SEEN.note(u32::from(world.slots[RECEIVER].owner() == B));
                            world.send(B, RECEIVER, 2);
                            world.flush(B);
                        } else {
                            world.run_slice(B, index);
                        }
                    }
                }
            }
        });
        world.give(A, RECEIVER, B);
        world.turn(A, 0);
        from.join().unwrap();
        to.join().unwrap();
        let sent = world.slots[SENDER].private(|private| private.adopted) == 1;
        // If the sender's turn has not come before, it comes now, as a task like another.
        world.run_to_rest();
        let received = world.received(RECEIVER);
        match received.as_slice() {
            [1, 2] => SEEN.note(2),
            [1] => SEEN.note(3),
            _ => panic!("{received:?}"),
        }
        assert!(sent || received == [1]);
    });
    SEEN.assert_all(4);
}
