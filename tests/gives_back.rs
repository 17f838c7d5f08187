//! What a node takes and gives back: memory of a burst of messages, processor time of a node with nothing to do.
//!
//! Each test looks at a whole OS process, so it runs in one of its own.

#![allow(
    clippy::disallowed_methods,
    reason = "tests and benchmarks look at the real clock and block real threads"
)]

mod support;

use engset::{
    Address, Config, Event, Mailbox, Node, Received, envelope_memory, send_after, sleep, spawn_monitor,
};
use std::{fs, sync::mpsc, time::Duration};
use support::{child_part, in_child};

/// Runs the test in an OS process of its own.
fn alone(test: &str, job: impl FnOnce()) {
    if child_part().is_some() {
        return job();
    }
    let (status, messages) = in_child(test, "alone");
    assert!(status.success(), "{status}: {messages}");
}

/// Bytes of this program that are in memory.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line VmRSS");
    1024 * line
        .split_whitespace()
        .next()
        .and_then(|number| number.parse::<usize>().ok())
        .expect("a number of kB")
}

#[test]
fn a_burst_of_a_million_messages_gives_its_memory_back() {
    const MESSAGES: usize = 1_000_000;
    alone("a_burst_of_a_million_messages_gives_its_memory_back", || {
        let node = Node::start(Config::new().workers(2)).expect("a node");
        let (tell, told) = mpsc::channel();
        let job = move |mut mailbox: Mailbox<()>| {
            // Four times: what the first one leaves is there for the next, and it must not grow.
            for _ in 0..4 {
                let (receiver, _) = spawn_monitor(|mut mailbox: Mailbox<usize>| {
                    mailbox.select(|item| matches!(item, engset::Item::Message(&MESSAGES)));
                    (0..MESSAGES).for_each(|expected| assert_eq!(mailbox.message(), expected));
                });
                let receiver: Address<usize> = receiver;
                (0..MESSAGES).for_each(|number| receiver.send(number));
                let most = envelope_memory();
                receiver.send(MESSAGES);
                assert!(matches!(mailbox.receive(), Received::Event(Event::Down(_))));
                tell.send((most, envelope_memory(), resident())).expect("the test waits");
            }
        };
        node.spawn(job).expect("room for a process");
        let mut first = None;
        for _ in 0..4 {
            let (cells, cells_after, resident_after) = told.recv().expect("no crash");
            // A cell is 64 bytes.
            assert!(cells >= 64 * MESSAGES, "{cells} bytes of cells for {MESSAGES} messages at once");
            assert!(cells_after < cells / 4, "{cells_after} bytes of cells are left of {cells}");
            // What the allocator keeps of it (see docs/internals/allocator.md) it uses the next time.
            let first = *first.get_or_insert(resident_after);
            assert!(
                resident_after < first + cells / 4,
                "{first} bytes after the first burst, now {resident_after}"
            );
        }
        assert!(node.stop(), "the node stops");
    });
}

/// What a plain process has on its stack while it waits is a page at least, and a free stack keeps it for a while.
#[test]
fn a_burst_of_processes_with_stacks_gives_their_memory_back() {
    const PROCESSES: usize = 20_000;
    alone("a_burst_of_processes_with_stacks_gives_their_memory_back", || {
        let node = Node::start(Config::new().workers(2)).expect("a node");
        let (tell, told) = mpsc::channel();
        let job = move |mut mailbox: Mailbox<()>| {
            for _ in 0..3 {
                let before = resident();
                let me = mailbox.address();
                let start = |_| {
                    let process = move |mut mailbox: Mailbox<()>| {
                        me.send(());
                        mailbox.message();
                    };
                    spawn_monitor(process).0
                };
                let waiting: Vec<Address<()>> = (0..PROCESSES).map(start).collect();
                (0..PROCESSES).for_each(|_| mailbox.message());
                let most = resident();
                waiting.iter().for_each(|process| process.send(()));
                for _ in 0..PROCESSES {
                    assert!(matches!(mailbox.receive(), Received::Event(Event::Down(_))));
                }
                // The workers have nothing to do while this one sleeps.
                let mut after = resident();
                for _ in 0..1000 {
                    if after < before + (most - before) / 2 {
                        break;
                    }
                    sleep(Duration::from_millis(10));
                    after = resident();
                }
                tell.send((before, most, after)).expect("the test waits");
            }
        };
        node.spawn(job).expect("room for a process");
        for _ in 0..3 {
            let (before, most, after) = told.recv().expect("no crash");
            // Some of what was there before is used again.
            assert!(
                most > before + 2048 * PROCESSES,
                "{before} bytes, then {most} with {PROCESSES} processes"
            );
            assert!(after < before + (most - before) / 2, "{before} bytes, then {most}, then {after}");
        }
        assert!(node.stop(), "the node stops");
    });
}

/// Processor time that the threads of this program have had; the thread that asks is counted too.
fn processor_time() -> Duration {
    let threads = fs::read_dir("/proc/self/task").expect("Linux");
    let of_each = threads.filter_map(|thread| {
        // A thread may end meanwhile.
        let line = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        line.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    });
    of_each.sum()
}

#[test]
fn an_idle_node_takes_no_processor_time() {
    const WATCHED: Duration = Duration::from_secs(3);
    alone("an_idle_node_takes_no_processor_time", || {
        let node = Node::start(Config::new().workers(2)).expect("a node");
        let (tell, told) = mpsc::channel();
        for _ in 0..2000 {
            let tell = tell.clone();
            let waits = move |mut mailbox: Mailbox<u64>| {
                let timer = send_after(Duration::from_secs(3600), mailbox.address(), 0);
                tell.send(()).expect("the test waits");
                mailbox.message();
                timer.cancel();
            };
            node.spawn(waits).expect("room for a process");
        }
        (0..2000).for_each(|_| told.recv().expect("no crash"));
        // It goes to sleep.
        std::thread::sleep(Duration::from_millis(500));
        let before = processor_time();
        std::thread::sleep(WATCHED);
        let taken = processor_time() - before;
        // 1 % of one processor.
        assert!(taken < WATCHED / 100, "{taken:?} of processor time in {WATCHED:?}");
        assert!(node.stop(), "the node stops");
    });
}
