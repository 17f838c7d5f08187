//! The nodes of a scenario, and what happens to them.

use super::{Disk, When};
use engset_net::dist::{self, Distribution, Secret, simulation};
use engset_runtime::{Config, Mailbox, Node, Pid, Random};
use engset_stdlib::testkit::Recording;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// A call waits for so long, in virtual time.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What a program on a node knows of its place.
#[derive(Clone, Debug)]
pub struct Here {
    /// The name of the node.
    pub name: Arc<str>,
    /// The way to the others.
    pub nodes: Distribution,
    /// The disk of the machine, which outlives the node.
    pub disk: Disk,
}

type Program = Arc<dyn Fn(&Here) + Send + Sync>;

/// What [`Cluster::trouble`] has done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// Two nodes do not hear each other.
    Cut(String, String),
    /// One does not hear the other.
    CutOneWay(String, String),
    /// Everybody hears everybody.
    Healed,
    /// The connections of two are broken.
    Reset(String, String),
    /// Bytes are slow.
    Slow(Duration),
    /// A node was restarted.
    Restarted(String),
    /// A node does nothing.
    Paused(String, Duration),
    /// A clock has jumped.
    Jumped(String, Duration),
    /// A disk is slow.
    SlowDisk(String),
}

/// The nodes of a run, and their world. Node names are as everywhere: what follows an `@` is the address.
pub struct Cluster<'a> {
    simulation: simulation::Simulation,
    recording: &'a Recording,
    random: Random,
    program: Option<Program>,
    disks: BTreeMap<String, Disk>,
    settings: Config,
    seed: u64,
}

impl<'a> Cluster<'a> {
    pub(super) fn new(seed: u64, recording: &'a Recording) -> Self {
        Cluster {
            simulation: simulation::Simulation::new(seed),
            recording,
            random: Random::new(seed ^ 0x0005_1A11),
            program: None,
            disks: BTreeMap::new(),
            settings: Config::new().crash_reports_per_second(0_u32),
            seed,
        }
    }

    pub(super) fn end(&mut self) {
        self.note_names();
    }

    /// The seed of this run.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A number below `bound`, by the seed, for the scenario's own choices.
    pub fn random(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    /// What each node runs from its next start on, also after a restart: as its first process, which may end.
    pub fn program(&mut self, program: impl Fn(&Here) + Send + Sync + 'static) {
        self.program = Some(Arc::new(program));
    }

    /// Settings of nodes from their next start on. The seed and the observer are the simulation's.
    pub fn settings(&mut self, settings: Config) {
        self.settings = settings.crash_reports_per_second(0_u32);
    }

    /// Starts a node.
    ///
    /// # Panics
    ///
    /// If it runs, or cannot be started.
    #[track_caller]
    pub fn start(&mut self, name: &str) {
        assert!(self.member(name).is_none(), "the node {name} runs");
        let settings = self.settings.clone().observer(self.recording.observer());
        let config = dist::Config::new(name, Secret::new("simulation"));
        let member = match self.simulation.start_node(settings, config, name) {
            Ok(member) => member,
            Err(error) => panic!("the node {name} does not start: {error}"),
        };
        self.recording.name_node(member.node.id(), name);
        if let Some(program) = self.program.clone() {
            self.begin(name, move |here| program(here));
        }
    }

    fn member(&self, name: &str) -> Option<simulation::Member> {
        self.simulation.members().find(|(other, _)| *other == name).map(|(_, member)| member.clone())
    }

    #[track_caller]
    fn running(&self, name: &str) -> simulation::Member {
        match self.member(name) {
            Some(member) => member,
            None => panic!("the node {name:?} does not run"),
        }
    }

    /// The names of the nodes that run, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.simulation.members().map(|(name, _)| name.to_owned()).collect()
    }

    /// A node that runs.
    ///
    /// # Panics
    ///
    /// If it does not.
    #[must_use]
    #[track_caller]
    pub fn node(&self, name: &str) -> Node {
        self.running(name).node
    }

    /// The disk of a machine.
    pub fn disk(&mut self, name: &str) -> Disk {
        let seed = self.seed ^ self.disks.len() as u64;
        self.disks.entry(name.to_owned()).or_insert_with(|| Disk::new(seed)).clone()
    }

    /// Starts a process on a node, and does not wait for it.
    ///
    /// # Panics
    ///
    /// If the node does not run.
    #[track_caller]
    pub fn spawn(&mut self, name: &str, process: impl FnOnce(&Here) + Send + 'static) -> Pid {
        self.begin(name, process)
    }

    #[track_caller]
    fn begin(&mut self, name: &str, process: impl FnOnce(&Here) + Send + 'static) -> Pid {
        let member = self.running(name);
        let here = Here { name: name.into(), nodes: member.distribution.clone(), disk: self.disk(name) };
        match member.node.spawn(move || process(&here)) {
            Ok(pid) => pid,
            Err(error) => panic!("a process on {name}: {error}"),
        }
    }

    /// Runs this in a process on a node, and lets time pass until it has returned.
    ///
    /// # Panics
    ///
    /// If the node does not run, if the process ends without a result, or it has none after an hour of virtual time.
    #[track_caller]
    pub fn call<T: Send + 'static>(
        &mut self,
        name: &str,
        work: impl FnOnce(&Here) -> T + Send + 'static,
    ) -> T {
        self.call_with_mailbox(name, move |here, _: Mailbox<()>| work(here))
    }

    /// The same with a mailbox.
    ///
    /// # Panics
    ///
    /// As [`Cluster::call`].
    #[track_caller]
    pub fn call_with_mailbox<M: Send + 'static, T: Send + 'static>(
        &mut self,
        name: &str,
        work: impl FnOnce(&Here, Mailbox<M>) -> T + Send + 'static,
    ) -> T {
        let member = self.running(name);
        let here = Here { name: name.into(), nodes: member.distribution.clone(), disk: self.disk(name) };
        let slot = Arc::new(Mutex::new(None));
        let place = Arc::clone(&slot);
        let process = move |mailbox: Mailbox<M>| {
            let value = work(&here, mailbox);
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        };
        let pid = match member.node.spawn(process) {
            Ok(address) => address.pid(),
            Err(error) => panic!("a process on {name}: {error}"),
        };
        let take = || slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut value = None;
        self.simulation.run(PATIENCE, || {
            value = take();
            value.is_some() || !member.node.is_alive(pid)
        });
        match value.or_else(take) {
            Some(value) => value,
            None if member.node.is_alive(pid) => {
                panic!("the process on {name} has no result after {PATIENCE:?}")
            }
            None => panic!("the process on {name} has ended without a result"),
        }
    }

    /// The virtual time since the start of the run.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.simulation.now()
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        self.simulation.run_for(time);
    }

    /// Lets time pass until something holds, at most for so long. Does it?
    pub fn run_until(&mut self, most: Duration, holds: impl FnMut() -> bool) -> bool {
        self.simulation.run(most, holds)
    }

    /// How long bytes take, from and to; drawn for each write. At first 0.1 to 5 ms.
    pub fn delay(&mut self, least: Duration, most: Duration) {
        self.simulation.delay(least, most);
    }

    /// Two nodes do not hear each other any more. Nothing tells them but silence; what is under way arrives when it is healed.
    pub fn cut(&mut self, one: &str, other: &str) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// The second does not hear the first: a connection that is half open.
    pub fn cut_one_way(&mut self, from: &str, to: &str) {
        self.simulation.cut(from, to);
    }

    /// They hear each other again.
    pub fn heal(&mut self, one: &str, other: &str) {
        self.simulation.heal(one, other);
        self.simulation.heal(other, one);
    }

    /// All that run hear each other again.
    pub fn heal_all(&mut self) {
        for (one, other) in self.pairs() {
            self.simulation.heal(&one, &other);
        }
    }

    /// Only nodes of one group hear each other; who is in none hears nobody.
    pub fn partition(&mut self, groups: &[&[&str]]) {
        for (one, other) in self.pairs() {
            let together = groups.iter().any(|group| group.contains(&&*one) && group.contains(&&*other));
            if together { self.simulation.heal(&one, &other) } else { self.simulation.cut(&one, &other) }
        }
    }

    fn pairs(&self) -> Vec<(String, String)> {
        let names: Vec<String> = self.names().into_iter().chain(self.disks.keys().cloned()).collect();
        let pair =
            |one: &String| names.iter().map(move |other| (one.clone(), other.clone())).collect::<Vec<_>>();
        names.iter().flat_map(pair).filter(|(one, other)| one != other).collect()
    }

    /// Breaks all connections of two nodes: what is under way is lost, and both know.
    pub fn reset(&mut self, one: &str, other: &str) {
        self.simulation.reset(one, other);
    }

    /// Cuts the nodes off one by one in an order of the seed, and heals them in another, with pauses: what finds most in practice
    /// (FoundationDB's swizzle-clogging).
    pub fn swizzle(&mut self, names: &[&str], pause: Duration) {
        for healing in [false, true] {
            let mut left: Vec<&str> = names.to_vec();
            while !left.is_empty() {
                let name = left.swap_remove(self.random.below(left.len() as u64) as usize);
                for other in self.names() {
                    match healing {
                        true => self.heal(name, &other),
                        false => self.cut(name, &other),
                    }
                }
                let time = self.random.below(pause.as_nanos() as u64 + 1);
                self.run_for(Duration::from_nanos(time));
            }
        }
    }

    /// Ends a node without a word, as if its machine had lost power: its connections say nothing, its disk forgets what was not synced.
    pub fn crash(&mut self, name: &str) {
        self.note_names();
        self.simulation.crash(name, true);
        self.disk(name).crash();
    }

    /// Ends a node as when its OS process is killed: the system closes its connections.
    pub fn kill(&mut self, name: &str) {
        self.note_names();
        self.simulation.crash(name, false);
    }

    /// Crashes a node, and starts it anew.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    #[track_caller]
    pub fn restart(&mut self, name: &str) {
        self.crash(name);
        self.start(name);
    }

    /// A node does nothing for so long, as an OS process that is not run: bytes for it wait, its timers are late.
    pub fn pause(&mut self, name: &str, time: Duration) {
        self.simulation.pause(name, time);
    }

    /// The clock of a node jumps ahead.
    pub fn jump(&mut self, name: &str, by: Duration) {
        self.simulation.jump(name, by);
    }

    /// From now on the places with this name go wrong, on all nodes: [`testkit::arm`](crate::testkit::arm).
    pub fn arm(&mut self, name: &str, when: When) {
        self.recording.arm(name, when);
    }

    /// They do not any more.
    pub fn disarm(&mut self, name: &str) {
        self.recording.disarm(name);
    }

    /// Something goes wrong, or is right again, by the seed; among the nodes that run. With fewer than two nothing but a restart, a pause or a jump.
    ///
    /// # Panics
    ///
    /// If no node runs.
    #[track_caller]
    pub fn trouble(&mut self) -> Trouble {
        let names = self.names();
        assert!(!names.is_empty(), "trouble, and no node runs");
        let pick = |random: &mut Random| names[random.below(names.len() as u64) as usize].clone();
        let one = pick(&mut self.random);
        let other = pick(&mut self.random);
        let millis = Duration::from_millis(1 + self.random.below(3000));
        let kind = if one == other { 6 + self.random.below(4) } else { self.random.below(10) };
        match kind {
            0 => {
                self.cut(&one, &other);
                Trouble::Cut(one, other)
            }
            1 => {
                self.cut_one_way(&one, &other);
                Trouble::CutOneWay(one, other)
            }
            2 | 3 => {
                self.heal_all();
                Trouble::Healed
            }
            4 => {
                self.reset(&one, &other);
                Trouble::Reset(one, other)
            }
            5 => {
                self.delay(Duration::from_micros(100), millis / 10);
                Trouble::Slow(millis / 10)
            }
            6 => {
                self.restart(&one);
                Trouble::Restarted(one)
            }
            7 => {
                self.pause(&one, millis);
                Trouble::Paused(one, millis)
            }
            8 => {
                self.jump(&one, millis);
                Trouble::Jumped(one, millis)
            }
            _ => {
                self.disk(&one).slow(millis / 20);
                Trouble::SlowDisk(one)
            }
        }
    }

    /// What has happened so far, a line for each thing, as a failure shows it.
    #[must_use]
    pub fn trace(&self) -> String {
        self.note_names();
        self.recording.trace()
    }

    /// How the nodes know each other, for the trace.
    fn note_names(&self) {
        for (_, member) in self.simulation.members() {
            for (name, id) in member.distribution.nodes() {
                self.recording.name_node(id, &name);
            }
        }
    }
}

impl fmt::Debug for Cluster<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("seed", &self.seed)
            .field("simulation", &self.simulation)
            .finish_non_exhaustive()
    }
}
