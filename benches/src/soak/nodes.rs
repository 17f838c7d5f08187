//! The second node: it lives for a while, ends, and comes again under its name, all over real sockets.

#![allow(clippy::disallowed_methods, reason = "it measures real time, outside of the runtime")]

use super::load::Counts;
use engset::{
    Mailbox, Node, Reply,
    dist::{Config, Distribution, Secret, tcp},
    register_mailbox,
    remote::{Remote, register},
    sleep,
};
use serde::{Deserialize, Serialize};
use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

#[derive(Serialize, Deserialize)]
struct Double(u32, Reply<u32>);

impl Remote for Double {
    const NAME: &'static str = "soak.Double";
}

/// The first node has joined; a thread has the second.
pub(super) struct Joined {
    distribution: Distribution,
    name: String,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    counts: Arc<Counts>,
}

fn join(node: &Node, name: &str, address: SocketAddr) -> Option<Distribution> {
    let config = Config::new(name, Secret::new("of the soak"));
    tcp::join(node, config, address).ok().map(|(distribution, _)| distribution)
}

fn free_address() -> SocketAddr {
    match TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()) {
        Ok(address) => address,
        Err(error) => panic!("no free port: {error}"),
    }
}

fn doubler(mut mailbox: Mailbox<Double>) {
    if register_mailbox("doubler", &mailbox).is_err() {
        return;
    }
    loop {
        let Double(number, reply) = mailbox.message();
        reply.send(2 * number);
    }
}

/// One life of the second node.
fn live(name: &str, address: SocketAddr, life: Duration, over: &AtomicBool, counts: &Counts) {
    let config = engset::Config::new().workers(1).crash_reports_per_second(0_u32);
    let Ok(node) = Node::start(config) else { return };
    if join(&node, name, address).is_some() {
        counts.node_lives.fetch_add(1, Ordering::Relaxed);
        let end = Instant::now() + life;
        if node.spawn(doubler).is_ok() {
            while Instant::now() < end && !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    } else {
        // Its port is not free again yet.
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(node.stop(), "the second node does not stop");
}

impl Joined {
    pub(super) fn start(node: &Node, life: Duration, counts: Arc<Counts>) -> Self {
        register::<Double>();
        let (own, other) = (free_address(), free_address());
        let Some(distribution) = join(node, &format!("first@{own}"), own) else {
            panic!("the first node cannot listen at {own}")
        };
        let name = format!("second@{other}");
        let over = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (name, over, counts) = (name.clone(), Arc::clone(&over), Arc::clone(&counts));
            move || {
                while !over.load(Ordering::Relaxed) {
                    live(&name, other, life, &over, &counts);
                }
            }
        });
        Joined { distribution, name, over, thread, counts }
    }

    /// What a process of the first node runs: it calls the second one.
    pub(super) fn client(&self) -> impl Fn() + Send + Sync + 'static {
        let (distribution, name, counts) =
            (self.distribution.clone(), self.name.clone(), Arc::clone(&self.counts));
        move || {
            loop {
                let Ok(doubler) = distribution.lookup::<Double>(&name, "doubler") else {
                    counts.remote_failed.fetch_add(1, Ordering::Relaxed);
                    sleep(Duration::from_millis(100));
                    continue;
                };
                for number in 0..100 {
                    match doubler.call(|reply| Double(number, reply)) {
                        Ok(answer) => {
                            assert_eq!(answer, 2 * number);
                            counts.remote_answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) => {
                            counts.remote_failed.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                    }
                }
                sleep(Duration::from_millis(5));
            }
        }
    }

    pub(super) fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        assert!(self.thread.join().is_ok(), "the second node has failed");
    }
}
