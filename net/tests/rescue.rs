//! What a source of events sends keeps its order while the workers that hand it out are stuck, and others stand in for them.

#![allow(clippy::disallowed_methods, reason = "processes block their workers on purpose")]

use engset_runtime::{Address, Config, Mailbox, Node, Received, yield_now};
use engset_scheduler::driver::{self, Poller};
use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// Longer than a worker may be stuck.
const BLOCK: Duration = Duration::from_millis(20);
const STUCK_AFTER: Duration = Duration::from_millis(5);
const ROUNDS: usize = 40;

/// Something happens whenever somebody looks: sends the next number.
struct Counter {
    to: Address<u64>,
    next: Mutex<u64>,
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Poller for Counter {
    fn wait(&self, timeout: Option<Duration>) {
        // An idle worker comes back by itself, and looks again.
        let timeout = timeout.unwrap_or(Duration::MAX).min(Duration::from_millis(1));
        let woken = self.woken.lock().expect("nobody panics");
        let (mut woken, _) = self.wake.wait_timeout_while(woken, timeout, |woken| !*woken).expect("the same");
        *woken = false;
    }

    fn dispatch(&self) {
        // As with a socket, one at a time: the worker itself may be in the middle of it.
        if let Ok(mut next) = self.next.try_lock() {
            self.to.send(*next);
            *next += 1;
        }
    }

    fn wake(&self) {
        *self.woken.lock().expect("nobody panics") = true;
        self.wake.notify_one();
    }
}

#[test]
fn order_is_kept_when_the_workers_of_source_and_receiver_are_both_stuck() {
    let node = Node::start(Config::new().workers(2).stuck_after(STUCK_AFTER)).expect("a node");
    let stop = Arc::new(AtomicBool::new(false));
    let (tell, told) = mpsc::channel();
    let (result, results) = mpsc::channel();
    let stops = Arc::clone(&stop);
    let get_stuck = Arc::new(AtomicBool::new(false));
    let gets_stuck = Arc::clone(&get_stuck);
    let receiver = move |mut mailbox: Mailbox<u64>| {
        tell.send(mailbox.address()).expect("the test waits");
        let (mut expected, mut wrong) = (0, Vec::new());
        while !stops.load(Ordering::Relaxed) {
            if !gets_stuck.swap(false, Ordering::Relaxed) {
                yield_now();
                continue;
            }
            thread::sleep(BLOCK);
            while let Some(received) = mailbox.try_receive() {
                let Received::Message(number) = received else { continue };
                if number != expected {
                    wrong.push((expected, number));
                }
                expected = number + 1;
            }
        }
        result.send((expected, wrong, driver::poller_address())).expect("the test waits");
    };
    node.spawn(receiver).expect("a process");
    let to = told.recv().expect("it runs");
    let source = move |_: Mailbox<()>| {
        let make = || {
            let poller = Counter { to, next: Mutex::new(0), woken: Mutex::new(false), wake: Condvar::new() };
            Ok(Arc::new(poller) as Arc<dyn Poller>)
        };
        driver::with_poller(make, |_| ()).expect("a worker").expect("a poller");
        for _ in 0..ROUNDS {
            thread::sleep(BLOCK);
            // The last of what is sent now lies in the inbox of the other worker when both are found stuck. Long enough for some looks.
            get_stuck.store(true, Ordering::Relaxed);
            let end = Instant::now() + Duration::from_millis(1);
            while Instant::now() < end {
                yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
    };
    // On the next worker in turn.
    node.spawn(source).expect("a process");
    let (received, wrong, poller) = results.recv().expect("it ends");
    assert!(node.stop());
    assert!(received > 2 * ROUNDS as u64, "only {received}");
    assert_eq!(poller, None, "the receiver is on the other worker");
    assert_eq!(wrong, [], "of {received}");
}
