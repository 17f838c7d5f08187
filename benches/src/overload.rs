//! 64 fast senders and one slow receiver, with each policy of a bounded mailbox, on one node and on two: how much memory waits, and what others
//! notice of it.
//!
//! The others: a process calls an echo server, again and again, first with nothing else to do, then while the senders send. The figure is
//! the 99th percentile of the call under load as a multiple of the idle one.

#![allow(
    clippy::disallowed_methods,
    reason = "it measures real time, from outside of the runtime, and in calls"
)]

use engset::{
    Address, Builder, Limit, Mailbox, Node, Overflow, Pid, Reply,
    dist::{Config, Distribution, Secret, tcp},
    reduce, register_mailbox,
    remote::{Remote, register},
};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    time::{Duration, Instant},
};

/// How many send.
pub const SENDERS: usize = 64;
/// Messages that the receiver's mailbox holds.
pub const BOUND: usize = 1000;
/// Bytes of a message.
const SIZE: usize = 256;

#[derive(Serialize, Deserialize)]
enum Job {
    Work(Vec<u8>),
    Echo(Reply<u32>),
}

impl Remote for Job {
    const NAME: &'static str = "overload.Job";
}

/// What came out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The policy.
    pub policy: &'static str,
    /// On another node?
    pub remote: bool,
    /// Messages that were sent.
    pub sent: u64,
    /// Messages that the receiver has taken.
    pub received: u64,
    /// The most that was in its mailbox.
    pub longest: u32,
    /// Growth of resident memory meanwhile, in bytes.
    pub grown: i64,
    /// The 99th percentile of a call with nothing else to do.
    pub idle: Duration,
    /// The same while all send.
    pub busy: Duration,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:6} {:12} sent {:9}, received {:8}, longest mailbox {:5}, memory {:+6.1} MiB, p99 of a call {:?} idle, {:?} busy: {:.1} times",
            if self.remote { "remote" } else { "local" },
            self.policy,
            self.sent,
            self.received,
            self.longest,
            self.grown as f64 / 1048576.0,
            self.idle,
            self.busy,
            self.busy.as_secs_f64() / self.idle.as_secs_f64()
        )
    }
}

fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<i64>().ok()).unwrap_or(0) * 1024
}

/// The policies, as they are called here.
pub const POLICIES: [(&str, Overflow); 4] = [
    ("block", Overflow::Block),
    ("drop newest", Overflow::DropNewest),
    ("drop oldest", Overflow::DropOldest),
    ("kill", Overflow::KillReceiver),
];

struct Place {
    /// Where senders and callers live.
    near: Node,
    /// Where the receiver and the echo live.
    far: Node,
    nodes: Option<(Distribution, String)>,
    _other: Option<Distribution>,
}

impl Place {
    fn new(remote: bool) -> Self {
        let node = || match Node::start(engset::Config::new().crash_reports_per_second(0_u32)) {
            Ok(node) => node,
            Err(error) => panic!("{error}"),
        };
        let near = node();
        if !remote {
            return Place { far: near.clone(), near, nodes: None, _other: None };
        }
        let far = node();
        register::<Job>();
        let join = |node: &Node, name: &str| {
            let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
            let Ok(address) = address else { panic!("no free port") };
            let name = format!("{name}@{address}");
            match tcp::join(node, Config::new(name.clone(), Secret::new("of the overload")), address) {
                Ok((distribution, _)) => (distribution, name),
                Err(error) => panic!("{error}"),
            }
        };
        let (here, _) = join(&near, "near");
        let (there, name) = join(&far, "far");
        Place { near, far, nodes: Some((here, name)), _other: Some(there) }
    }

    /// The address of a process of the far node, as the near one sees it.
    fn find(&self, name: &'static str) -> Address<Job> {
        let (tell, told) = mpsc::channel();
        let nodes = self.nodes.clone();
        let finder = self.near.spawn(move || {
            let found = match nodes {
                None => engset::lookup::<Job>(name).ok(),
                Some((nodes, other)) => nodes.lookup::<Job>(&other, name).ok(),
            };
            let _ = tell.send(found);
        });
        match finder.map(|_| told.recv()) {
            Ok(Ok(Some(address))) => address,
            _ => panic!("{name} is not there"),
        }
    }
}

/// The 99th percentile of calls for so long.
fn percentile(node: &Node, echo: Address<Job>, time: Duration) -> Duration {
    let (tell, told) = mpsc::channel();
    let caller = node.spawn(move || {
        let end = Instant::now() + time;
        let mut times = Vec::new();
        while Instant::now() < end {
            let start = Instant::now();
            // One that times out counts with all its time.
            let _ = echo.call(Job::Echo);
            times.push(start.elapsed());
            engset::sleep(Duration::from_micros(200));
        }
        let _ = tell.send(times);
    });
    let Ok(Ok(mut times)) = caller.map(|_| told.recv()) else { panic!("the caller has failed") };
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// Runs it with one policy.
///
/// # Panics
///
/// If a node does not start.
#[must_use]
pub fn run(policy: (&'static str, Overflow), remote: bool, time: Duration) -> Outcome {
    let place = Place::new(remote);
    let received = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&received);
    let (tell, told) = mpsc::channel();
    let slow = Builder::new().mailbox(Limit::messages(BOUND).overflow(policy.1));
    let _receiver = slow.spawn_on(&place.far, move |mut mailbox: Mailbox<Job>| {
        let registered = register_mailbox("receiver", &mailbox).is_ok();
        let _ = tell.send(registered);
        loop {
            if let Job::Work(bytes) = mailbox.message() {
                count.fetch_add(1, Relaxed);
                // Slow.
                reduce(500 + u32::from(bytes[0]));
            }
        }
    });
    let echo = place.far.spawn(|mut mailbox: Mailbox<Job>| {
        if register_mailbox("echo", &mailbox).is_ok() {
            loop {
                if let Job::Echo(reply) = mailbox.message() {
                    reply.send(1);
                }
            }
        }
    });
    assert!(echo.is_ok() && told.recv() == Ok(true), "the far processes do not start");
    std::thread::sleep(Duration::from_millis(100));
    let (receiver, echo) = (place.find("receiver"), place.find("echo"));
    let pid: Option<Pid> = place.far.whereis("receiver");
    let idle = percentile(&place.near, echo, time);
    let before = resident();
    let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    for _ in 0..SENDERS {
        let (over, sent) = (Arc::clone(&over), Arc::clone(&sent));
        let sender = place.near.spawn(move || {
            while !over.load(Relaxed) {
                receiver.send(Job::Work(vec![1; SIZE]));
                sent.fetch_add(1, Relaxed);
            }
        });
        assert!(sender.is_ok(), "a sender does not start");
    }
    let watching = Arc::clone(&over);
    let far = place.far.clone();
    let watcher = std::thread::spawn(move || {
        let (mut longest, mut most) = (0, before);
        while !watching.load(Relaxed) {
            longest = longest.max(pid.and_then(|pid| far.mailbox_len(pid)).unwrap_or(0));
            most = most.max(resident());
            std::thread::sleep(Duration::from_millis(5));
        }
        (longest, most)
    });
    let busy = percentile(&place.near, echo, time);
    over.store(true, Relaxed);
    let Ok((longest, most)) = watcher.join() else { panic!("the watcher has failed") };
    let outcome = Outcome {
        policy: policy.0,
        remote,
        sent: sent.load(Relaxed),
        received: received.load(Relaxed),
        longest,
        grown: most - before,
        idle,
        busy,
    };
    end(&place);
    outcome
}

/// Ends the nodes; senders that wait for room are ended with them.
fn end(place: &Place) {
    let stopped = place.near.stop();
    assert!(place.nodes.is_none() || place.far.stop() && stopped, "a node does not stop");
}
