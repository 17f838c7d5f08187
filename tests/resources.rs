//! Resources: what a process has outside of itself is released before anybody is told of its death (S2).

mod support;

use engset::{
    Event, ExitReason, Mailbox, Pid, Received, Resource, hold, is_alive, kill, let_go, reduce, self_pid,
    sleep, spawn, spawn_monitor, uninterrupted, yield_now,
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use support::{both, both_with};

/// Notes who was released, under its number.
struct Note(u32, Arc<Mutex<Vec<(u32, Pid)>>>);

impl Resource for Note {
    fn release(&self, owner: Pid) {
        self.1.lock().unwrap().push((self.0, owner));
    }
}

type Notes = Arc<Mutex<Vec<(u32, Pid)>>>;

fn wait_down<M: Send + 'static>(mailbox: &mut Mailbox<M>) {
    while !matches!(mailbox.receive(), Received::Event(Event::Down(_))) {}
}

#[test]
fn resources_are_released_in_order_before_down_leaves() {
    both::<()>(|mut mailbox| {
        let notes = Notes::default();
        let inner = Arc::clone(&notes);
        let (pid, _) = spawn_monitor(move || {
            for number in 0..3 {
                hold(self_pid(), Arc::new(Note(number, Arc::clone(&inner))));
            }
        });
        wait_down(&mut mailbox);
        assert_eq!(*notes.lock().unwrap(), [(0, pid), (1, pid), (2, pid)]);
    });
}

#[test]
fn a_resource_given_to_another_process_is_released_with_it() {
    both::<()>(|mut mailbox| {
        let notes = Notes::default();
        let (pid, _) = spawn_monitor(|| sleep(Duration::MAX));
        let first = hold(pid, Arc::new(Note(1, Arc::clone(&notes))));
        assert_eq!(first.owner(), pid);
        hold(pid, Arc::new(Note(2, Arc::clone(&notes))));
        let_go(first);
        kill(pid);
        wait_down(&mut mailbox);
        assert_eq!(*notes.lock().unwrap(), [(2, pid)]);
    });
}

#[test]
fn a_resource_for_a_dead_process_is_released_at_once() {
    both::<()>(|mut mailbox| {
        let notes = Notes::default();
        let (pid, _) = spawn_monitor(|| ());
        wait_down(&mut mailbox);
        hold(pid, Arc::new(Note(7, Arc::clone(&notes))));
        assert_eq!(*notes.lock().unwrap(), [(7, pid)]);
    });
}

#[test]
fn a_resource_under_way_to_a_dying_process_is_not_lost() {
    both::<()>(|_| {
        let notes = Notes::default();
        for number in 0..50 {
            let pid = spawn(|| reduce(3));
            hold(pid, Arc::new(Note(number, Arc::clone(&notes))));
        }
        for _ in 0..20_000 {
            if notes.lock().unwrap().len() == 50 {
                return;
            }
            sleep(Duration::from_millis(1));
        }
        panic!("lost: {:?}", notes.lock().unwrap().len());
    });
}

#[test]
fn what_was_let_go_is_not_released() {
    both::<()>(|mut mailbox| {
        let notes = Notes::default();
        let inner = Arc::clone(&notes);
        spawn_monitor(move || let_go(hold(self_pid(), Arc::new(Note(1, inner)))));
        wait_down(&mut mailbox);
        assert_eq!(*notes.lock().unwrap(), []);
    });
}

#[test]
fn a_panic_in_a_release_harms_nothing_else() {
    struct Panics;
    impl Resource for Panics {
        fn release(&self, _: Pid) {
            panic!("in a release");
        }
    }
    both::<()>(|mut mailbox| {
        let notes = Notes::default();
        let inner = Arc::clone(&notes);
        spawn_monitor(move || {
            hold(self_pid(), Arc::new(Panics));
            hold(self_pid(), Arc::new(Note(1, inner)));
        });
        let Received::Event(Event::Down(down)) = mailbox.receive() else { panic!("not a Down") };
        assert_eq!(down.reason.as_exit(), ExitReason::Normal);
        assert_eq!(notes.lock().unwrap().len(), 1);
    });
}

#[test]
fn nothing_interrupts_an_uninterrupted_piece() {
    both::<()>(|mut mailbox| {
        let inside = Arc::new(AtomicUsize::new(0));
        for _ in 0..4 {
            let inside = Arc::clone(&inside);
            spawn_monitor(move || {
                for _ in 0..20 {
                    uninterrupted(|| {
                        // On one worker; with two, both may be inside.
                        let others = inside.fetch_add(1, Ordering::SeqCst);
                        (0..100).for_each(|_| reduce(1000));
                        sleep(Duration::from_secs(1000));
                        assert!(others < 2, "one was interrupted inside");
                        inside.fetch_sub(1, Ordering::SeqCst);
                    });
                    reduce(100);
                }
            });
        }
        (0..4).for_each(|_| wait_down(&mut mailbox));
        assert_eq!(inside.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_turn_that_was_over_inside_is_given_up_after_it() {
    both::<()>(|_| {
        let busy = spawn(|| {
            loop {
                // Outside of the piece the slice is never used up by what is paid there.
                uninterrupted(|| (0..3).for_each(|_| reduce(3000)));
                reduce(1);
            }
        });
        (0..20).for_each(|_| yield_now());
        kill(busy);
        while is_alive(busy) {
            yield_now();
        }
    });
}

#[test]
fn a_kill_waits_for_the_end_of_an_uninterrupted_piece() {
    both_with::<()>(engset::Config::new(), None, |mut mailbox| {
        let done = Arc::new(AtomicUsize::new(0));
        let inner = Arc::clone(&done);
        let (pid, _) = spawn_monitor(move || {
            loop {
                uninterrupted(|| {
                    inner.fetch_add(1, Ordering::SeqCst);
                    (0..10).for_each(|_| reduce(1000));
                    inner.fetch_add(1, Ordering::SeqCst);
                });
                reduce(10);
            }
        });
        (0..20).for_each(|_| yield_now());
        kill(pid);
        wait_down(&mut mailbox);
        assert!(!is_alive(pid));
        assert_eq!(done.load(Ordering::SeqCst) % 2, 0, "killed in the middle");
    });
}
