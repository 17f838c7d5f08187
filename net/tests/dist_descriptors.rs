//! A node that stops leaves nothing open. In a program of its own, for the descriptors of all tests in one are the same.

#![allow(clippy::disallowed_methods, reason = "tests look at the real clock and block real threads")]

use engset_net::dist::{Config, Distribution, Secret, tcp};
use engset_runtime::{Config as NodeConfig, Node};
use std::{
    net::TcpListener,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

const LIVES: usize = 8;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("it is Linux").count()
}

fn start(name: &str) -> (Node, Distribution, String) {
    let node = Node::start(NodeConfig::new().workers(1)).expect("a node");
    loop {
        // It was free a moment ago: others may have been faster.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
        let name = format!("{name}@{address}");
        if let Ok((distribution, _)) =
            tcp::join(&node, Config::new(name.clone(), Secret::new("descriptors")), address)
        {
            return (node, distribution, name);
        }
    }
}

/// The soak found that the sockets of a node that was stopped, and the pollers of its workers, stayed open: link and
/// connection knew each other, and who would have parted them was dead.
#[test]
fn a_node_that_stops_while_it_is_connected_leaves_no_descriptors() {
    let (first, distribution, _) = start("first");
    let mut before = 0;
    for life in 0..=LIVES {
        let (second, _its, name) = start("second");
        let (sender, result) = mpsc::channel();
        let (from, to) = (distribution.clone(), name.clone());
        first
            .spawn(move |_: engset_runtime::Mailbox<()>| drop(sender.send(from.connect(&to))))
            .expect("a process");
        let connected = result.recv_timeout(Duration::from_secs(60)).expect("it ends");
        assert!(connected.is_ok(), "{connected:?}");
        assert!(second.stop());
        let end = Instant::now() + Duration::from_secs(60);
        while distribution.nodes().iter().any(|(node, _)| **node == *name) {
            assert!(Instant::now() < end, "the first node does not notice that the second is gone");
            thread::sleep(Duration::from_millis(5));
        }
        if life == 0 {
            before = descriptors();
        }
    }
    // What is closed by other threads may take a moment.
    let end = Instant::now() + Duration::from_secs(20);
    while descriptors() > before && Instant::now() < end {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(descriptors() <= before, "{before} after the first life, {} after {LIVES} more", descriptors());
    assert!(first.stop());
}
