//! A supervised application under load, with everything going wrong all the time; and an eye on what must not grow and must not get lost.
//!
//! | what runs | what must hold |
//! |---|---|
//! | accounts, which transfer to each other and crash when told | no money comes or goes |
//! | clients, which call them | each call has ended, but for those of clients that were killed |
//! | watchers of processes with short lives | each monitor fires once |
//! | timers, half of them cancelled | set = fired + cancelled |
//! | senders that are faster than their bounded receiver | its mailbox stays within its bound |
//! | chaos, which kills accounts and clients | they are there again |
//! | a second node that is stopped and started anew, over TCP | calls to it end; nothing is left of it |
//!
//! At the end the application is stopped; then processes, descriptors and threads must be as before it was started.

#![allow(clippy::disallowed_methods, reason = "it measures real time, outside of the runtime")]

mod load;
mod nodes;
mod sample;

pub use sample::Sample;

use engset::{Node, StartError, exit, monitor, unlink};
use load::Counts;
use std::{
    fmt,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

/// How long, and how hard.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    /// Time under load.
    pub time: Duration,
    /// How often chaos kills somebody.
    pub kill_every: Duration,
    /// How long a second node lives.
    pub node_life: Duration,
    /// Growth of memory that is allowed in the second half, in bytes.
    pub growth: u64,
}

impl Default for Soak {
    fn default() -> Self {
        Soak {
            time: Duration::from_secs(600),
            kill_every: Duration::from_millis(50),
            node_life: Duration::from_secs(3),
            growth: 8 << 20,
        }
    }
}

/// One thing that must hold.
#[derive(Clone, Debug)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// Does it?
    pub holds: bool,
    /// The figures.
    pub figures: String,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:6} {}: {}", if self.holds { "ok" } else { "FAILED" }, self.name, self.figures)
    }
}

impl Soak {
    /// Runs it; `progress` is told each second.
    ///
    /// # Errors
    ///
    /// A node does not start.
    pub fn run(self, mut progress: impl FnMut(&Sample, &str)) -> Result<Vec<Check>, StartError> {
        let node = Node::start(engset::Config::new().crash_reports_per_second(0_u32))?;
        let counts = Arc::new(Counts::default());
        let joined = nodes::Joined::start(&node, self.node_life, Arc::clone(&counts));
        // What is made at first use is there.
        std::thread::sleep(Duration::from_millis(500));
        let before = Sample::take(&node);
        let application = start(&node, self, &counts, &joined);
        let end = Instant::now() + self.time;
        let mut samples = Vec::new();
        while Instant::now() < end {
            std::thread::sleep(Duration::from_secs(1).min(self.time));
            let sample = Sample::take(&node);
            progress(&sample, &counts.to_string());
            samples.push(sample);
        }
        stop(&application);
        joined.stop();
        let after = sample::settle(&node, &before);
        let mut checks = counts.checks();
        checks.extend(sample::checks(&samples, &before, &after, self.growth));
        checks.push(Check { name: "the node stops", holds: node.stop(), figures: String::new() });
        Ok(checks)
    }
}

/// The process that has started the application, and stops it: a supervisor obeys its parent.
type Owner = (engset::Address<()>, mpsc::Receiver<bool>);

fn start(node: &Node, soak: Soak, counts: &Arc<Counts>, joined: &nodes::Joined) -> Owner {
    let (tell, told) = mpsc::channel();
    let (counts, remote) = (Arc::clone(counts), joined.client());
    let owner = node.spawn(move |mut mailbox: engset::Mailbox<()>| {
        let supervisor = load::application(soak, &counts, remote).start_link();
        // Nobody listens only if the program ends, here and below.
        let _ = tell.send(supervisor.is_ok());
        let Ok(supervisor) = supervisor else { return };
        mailbox.message();
        unlink(supervisor);
        monitor(supervisor);
        exit(supervisor, engset::ExitReason::Shutdown);
        mailbox.receive();
        let _ = tell.send(true);
    });
    match owner {
        Ok(owner) if told.recv() == Ok(true) => (owner, told),
        other => panic!("the application does not start: {other:?}"),
    }
}

fn stop((owner, told): &Owner) {
    owner.send(());
    if let Err(error) = told.recv_timeout(Duration::from_secs(120)) {
        panic!("the application does not stop: {error}");
    }
}
