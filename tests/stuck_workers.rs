//! Processes that never come to a reduction point stop nobody else: their worker's other work is handed over.

#![allow(clippy::disallowed_methods, reason = "the test's own thread waits for the hogs")]

use engset::{Address, Config, Flow, Mailbox, Node, Received, Reply, send_after, serve_with, spawn};
use std::{
    hint,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// A question that is answered at once.
struct Ask(Reply<u32>);

/// Native loops without an end, one for each worker and some more.
struct Hogs {
    stop: Arc<AtomicBool>,
    running: Arc<AtomicUsize>,
}

impl Hogs {
    fn start(node: &Node, count: usize) -> Self {
        let hogs = Hogs { stop: Arc::default(), running: Arc::default() };
        for _ in 0..count {
            let (stop, running) = (Arc::clone(&hogs.stop), Arc::clone(&hogs.running));
            node.spawn(move || {
                running.fetch_add(1, Ordering::SeqCst);
                while !stop.load(Ordering::SeqCst) {
                    hint::spin_loop();
                }
                running.fetch_sub(1, Ordering::SeqCst);
            })
            .expect("a hog can be spawned");
        }
        while hogs.running.load(Ordering::SeqCst) < count {
            thread::sleep(Duration::from_millis(1));
        }
        hogs
    }

    fn all_run(&self, count: usize) -> bool {
        self.running.load(Ordering::SeqCst) == count
    }
}

/// An idle server of the node.
fn server(node: &Node) -> Address<Ask> {
    let (sender, receiver) = mpsc::channel();
    let starter = node.spawn(move || {
        let server = serve_with((), |(), received| {
            if let Received::Message(Ask(reply)) = received {
                reply.send(7);
            }
            Flow::Continue
        });
        let _ = sender.send(server);
    });
    starter.expect("it can be spawned");
    receiver.recv().expect("the starter sends it")
}

#[test]
fn servers_answer_while_every_worker_is_stuck_in_a_native_loop() {
    let node = Node::start(Config::new().workers(2).crash_reports_per_second(0)).expect("it starts");
    let server = server(&node);
    assert_eq!(server.call(Ask), Ok(7));
    // As many as there are workers, and two that take the spares' threads too.
    let hogs = Hogs::start(&node, 4);
    for _ in 0..100 {
        assert_eq!(server.call(Ask), Ok(7));
    }
    assert!(hogs.all_run(4), "no hog has ended, and still all calls were answered");
    hogs.stop.store(true, Ordering::SeqCst);
    assert!(node.stop());
}

#[test]
fn timers_of_a_stuck_worker_fire() {
    let node = Node::start(Config::new().workers(1).crash_reports_per_second(0)).expect("it starts");
    let (sender, receiver) = mpsc::channel();
    let target = node.spawn(move |mut mailbox: Mailbox<u32>| {
        // The target is told by a process that has not started yet when the worker gets stuck, and by a timer in
        // the stuck worker's wheel.
        let relay: Address<u32> = serve_with((), move |(), received| {
            if let Received::Message(number) = received {
                let sender = sender.clone();
                spawn(move || {
                    let _ = sender.send(number);
                });
            }
            Flow::Continue
        });
        send_after(Duration::from_millis(30), relay, 7);
        mailbox.message();
    });
    target.expect("it can be spawned");
    let hogs = Hogs::start(&node, 1);
    assert_eq!(receiver.recv_timeout(Duration::from_secs(20)), Ok(7));
    assert!(hogs.all_run(1));
    hogs.stop.store(true, Ordering::SeqCst);
    assert!(node.stop());
}

#[test]
fn what_was_handed_over_goes_on_when_the_worker_is_back() {
    let node = Node::start(Config::new().workers(1).crash_reports_per_second(0)).expect("it starts");
    let server = server(&node);
    for _ in 0..5 {
        let hogs = Hogs::start(&node, 2);
        for _ in 0..10 {
            assert_eq!(server.call(Ask), Ok(7));
        }
        hogs.stop.store(true, Ordering::SeqCst);
        while !hogs.all_run(0) {
            thread::sleep(Duration::from_millis(1));
        }
        for _ in 0..10 {
            assert_eq!(server.call(Ask), Ok(7));
        }
    }
    assert!(node.stop());
}
