//! Several nodes in one OS process, one thread, one virtual time, and a network between them that a seed and the test decide on.
//!
//! * Each node is in systematic mode. [`Simulation::run`] lets each run until nothing can happen, then lets time pass to whatever is
//!   next: a timer of a node, or bytes that arrive.
//! * Bytes arrive after a delay that the seed draws, in pieces that it cuts; in order, as TCP has it.
//! * [`Simulation::cut`] stops them, in one direction or both: they arrive when it heals, or never. [`Simulation::reset`] breaks the
//!   connections of two nodes; [`Simulation::crash`] ends a node without a word to others, [`Simulation::restart`] starts it anew.
//! * [`Simulation::jump`] sets the clock of one node forward; [`Simulation::pause`] lets a node do nothing for a while, as a process does that the
//!   system does not run: bytes for it arrive and wait, its timers are late.
//!
//! The same seed gives the same run.

use super::{
    node::{Config, Distribution, JoinError},
    secret::Secret,
    transport::{Accept, Stream, Transport, Waker},
};
use engset_runtime::{Node, Random, StartError};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    io::{self, IoSlice},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Bytes that a simulated socket takes before it has to wait.
const SOCKET: usize = 64 * 1024;

type Name = Arc<str>;

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    /// Bytes on their way, by arrival.
    flying: VecDeque<(Duration, Vec<u8>)>,
    flying_bytes: usize,
    arrived: VecDeque<u8>,
    /// No more bytes will be put in; when the last has arrived the reader sees the end.
    closed: bool,
    /// When the end arrives.
    end: Option<Duration>,
    ended: bool,
}

struct Connection {
    /// Who has dialled, who was dialled.
    ends: [Name; 2],
    /// To the first, to the second.
    pipes: [Pipe; 2],
    wakers: [Option<Waker>; 2],
    open: [bool; 2],
    broken: bool,
}

struct Net {
    now: Duration,
    random: Random,
    delay: (Duration, Duration),
    next: u64,
    connections: BTreeMap<u64, Connection>,
    listeners: BTreeMap<Name, Accept>,
    /// Connections that are being made, by the time at which they arrive.
    arriving: Vec<(Duration, u64)>,
    /// From, to.
    cuts: BTreeSet<(Name, Name)>,
}

impl Net {
    fn draw_delay(&mut self) -> Duration {
        let (least, most) = self.delay;
        let span = (most - least).as_nanos() as u64;
        least + Duration::from_nanos(self.random.below(span + 1))
    }

    fn is_cut(&self, from: &Name, to: &Name) -> bool {
        self.cuts.contains(&(Arc::clone(from), Arc::clone(to)))
    }

    /// When the next thing arrives.
    fn next_arrival(&self) -> Option<Duration> {
        let mut next = self.arriving.iter().filter(|(_, id)| !self.is_stuck(*id, 1)).map(|(at, _)| *at).min();
        for (id, connection) in &self.connections {
            for to in 0..2 {
                if self.is_stuck(*id, to) {
                    continue;
                }
                let pipe = &connection.pipes[to];
                let first = pipe.flying.front().map(|(at, _)| *at).or(pipe.end);
                next = [next, first].into_iter().flatten().min();
            }
        }
        next
    }

    /// Is this direction cut?
    fn is_stuck(&self, id: u64, to: usize) -> bool {
        self.connections
            .get(&id)
            .is_none_or(|connection| self.is_cut(&connection.ends[1 - to], &connection.ends[to]))
    }

    /// Lets arrive what is due. Returns whom to wake, and connections for listeners.
    fn arrive(&mut self, net: &Shared) -> (Vec<Waker>, Vec<(Accept, SimStream)>) {
        let (mut wake, mut opened) = (Vec::new(), Vec::new());
        let now = self.now;
        let stuck: BTreeSet<(u64, usize)> = self
            .connections
            .keys()
            .flat_map(|id| [(*id, 0), (*id, 1)])
            .filter(|(id, to)| self.is_stuck(*id, *to))
            .collect();
        let arriving = std::mem::take(&mut self.arriving);
        for (at, id) in arriving {
            if at > now || stuck.contains(&(id, 1)) {
                self.arriving.push((at, id));
                continue;
            }
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            match self.listeners.get(&connection.ends[1]) {
                Some(accept) => {
                    connection.open[1] = true;
                    opened.push((Arc::clone(accept), SimStream { net: Arc::clone(net), id, end: 1 }));
                }
                None => {
                    // Nobody listens.
                    connection.broken = true;
                    wake.extend(connection.wakers[0].clone());
                }
            }
        }
        for (id, connection) in &mut self.connections {
            for to in 0..2 {
                if stuck.contains(&(*id, to)) {
                    continue;
                }
                let pipe = &mut connection.pipes[to];
                let mut moved = false;
                while pipe.flying.front().is_some_and(|(at, _)| *at <= now) {
                    if let Some((_, bytes)) = pipe.flying.pop_front() {
                        pipe.flying_bytes -= bytes.len();
                        pipe.arrived.extend(bytes);
                        moved = true;
                    }
                }
                if pipe.flying.is_empty() && pipe.end.is_some_and(|end| end <= now) {
                    pipe.end = None;
                    pipe.ended = true;
                    moved = true;
                }
                if moved {
                    // The reader, and the writer, who has room again.
                    wake.extend(connection.wakers[to].clone());
                    wake.extend(connection.wakers[1 - to].clone());
                }
            }
        }
        self.connections.retain(|_, connection| connection.open[0] || connection.open[1]);
        (wake, opened)
    }
}

type Shared = Arc<Mutex<Net>>;

fn lock(net: &Shared) -> MutexGuard<'_, Net> {
    net.lock().unwrap_or_else(PoisonError::into_inner)
}

struct SimStream {
    net: Shared,
    id: u64,
    /// 0: who has dialled.
    end: usize,
}

impl Stream for SimStream {
    fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut net = lock(&self.net);
        let Some(connection) = net.connections.get_mut(&self.id) else {
            return Err(io::ErrorKind::ConnectionReset.into());
        };
        if connection.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let pipe = &mut connection.pipes[self.end];
        if pipe.arrived.is_empty() {
            return if pipe.ended { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let most = bytes.len().min(pipe.arrived.len());
        let count = 1 + net.random.below(most as u64) as usize;
        let Some(connection) = net.connections.get_mut(&self.id) else { return Ok(0) };
        for (place, byte) in bytes.iter_mut().zip(connection.pipes[self.end].arrived.drain(..count)) {
            *place = byte;
        }
        Ok(count)
    }

    fn write(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut net = lock(&self.net);
        let delay = net.draw_delay();
        let now = net.now;
        let Some(connection) = net.connections.get_mut(&self.id) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        if connection.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let pipe = &mut connection.pipes[1 - self.end];
        let room = SOCKET.saturating_sub(pipe.flying_bytes);
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut taken: Vec<u8> = bytes.iter().flat_map(|part| part.iter().copied()).take(room).collect();
        taken.shrink_to_fit();
        let count = taken.len();
        // Not before what was written earlier.
        let at = pipe.flying.back().map_or(now + delay, |(at, _)| (*at).max(now + delay));
        pipe.flying.push_back((at, taken));
        pipe.flying_bytes += count;
        Ok(count)
    }

    fn set_waker(&self, waker: Waker) {
        if let Some(connection) = lock(&self.net).connections.get_mut(&self.id) {
            connection.wakers[self.end] = Some(Arc::clone(&waker));
        }
        waker();
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        let mut net = lock(&self.net);
        let delay = net.draw_delay();
        let now = net.now;
        let Some(connection) = net.connections.get_mut(&self.id) else { return };
        connection.open[self.end] = false;
        let waker = connection.wakers[self.end].take();
        let pipe = &mut connection.pipes[1 - self.end];
        if !pipe.closed {
            pipe.closed = true;
            pipe.end = Some(pipe.flying.back().map_or(now + delay, |(at, _)| (*at).max(now + delay)));
        }
        drop(net);
        drop(waker);
    }
}

struct SimTransport {
    net: Shared,
    name: Name,
}

impl Transport for SimTransport {
    fn dial(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let mut net = lock(&self.net);
        let id = net.next;
        net.next += 1;
        // What follows an `@` in a name is its address.
        let is_it = |name: &&Name| name.split_once('@').map_or(&***name, |(_, address)| address) == address;
        let to = net.listeners.keys().find(is_it).cloned().unwrap_or_else(|| address.into());
        let at = net.now + net.draw_delay();
        net.connections.insert(
            id,
            Connection {
                ends: [Arc::clone(&self.name), to],
                pipes: Default::default(),
                wakers: [None, None],
                open: [true, false],
                broken: false,
            },
        );
        net.arriving.push((at, id));
        Ok(Box::new(SimStream { net: Arc::clone(&self.net), id, end: 0 }))
    }

    fn listen(&self, accept: Accept) -> io::Result<()> {
        lock(&self.net).listeners.insert(Arc::clone(&self.name), accept);
        Ok(())
    }

    fn entropy(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut net = lock(&self.net);
        bytes.iter_mut().for_each(|byte| *byte = net.random.next_u64() as u8);
        Ok(())
    }

    fn close(&self) {
        lock(&self.net).listeners.remove(&self.name);
    }
}

/// A node of a simulation.
#[derive(Clone, Debug)]
pub struct Member {
    /// The node.
    pub node: Node,
    /// How it has joined.
    pub distribution: Distribution,
}

/// Nodes and the network between them.
pub struct Simulation {
    net: Shared,
    seed: u64,
    started: u64,
    members: BTreeMap<Name, Member>,
    /// How far their clocks are ahead.
    jumps: BTreeMap<Name, Duration>,
    /// Until when they do nothing.
    pauses: BTreeMap<Name, Duration>,
}

impl Simulation {
    /// No nodes yet. Bytes take 0.1 to 5 ms.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let net = Net {
            now: Duration::ZERO,
            random: Random::new(seed ^ 0xD157),
            delay: (Duration::from_micros(100), Duration::from_millis(5)),
            next: 0,
            connections: BTreeMap::new(),
            listeners: BTreeMap::new(),
            arriving: Vec::new(),
            cuts: BTreeSet::new(),
        };
        Simulation {
            net: Arc::new(Mutex::new(net)),
            seed,
            started: 0,
            members: BTreeMap::new(),
            jumps: BTreeMap::new(),
            pauses: BTreeMap::new(),
        }
    }

    /// How long bytes take, from and to.
    pub fn delay(&self, least: Duration, most: Duration) {
        lock(&self.net).delay = (least, most.max(least));
    }

    /// Starts a node under a name.
    ///
    /// # Errors
    ///
    /// The node does not start.
    pub fn start(&mut self, name: &str) -> Result<Member, SimulationError> {
        self.start_with(Config::new(name, Secret::new("simulation")), name)
    }

    /// The same with a configuration, whose incarnation is the simulation's.
    ///
    /// # Errors
    ///
    /// As [`Simulation::start`].
    pub fn start_with(&mut self, config: Config, name: &str) -> Result<Member, SimulationError> {
        self.start_node(engset_runtime::Config::new(), config, name)
    }

    /// The same with settings of the node, whose seed is the simulation's.
    ///
    /// # Errors
    ///
    /// As [`Simulation::start`].
    pub fn start_node(
        &mut self,
        settings: engset_runtime::Config,
        config: Config,
        name: &str,
    ) -> Result<Member, SimulationError> {
        self.started += 1;
        let seed = self.seed.wrapping_mul(31).wrapping_add(self.started);
        let node = Node::start(settings.seed(seed)).map_err(SimulationError::Start)?;
        let now = lock(&self.net).now;
        let name: Name = name.into();
        node.advance_to(now + self.jumps.get(&name).copied().unwrap_or_default());
        let transport = SimTransport { net: Arc::clone(&self.net), name: Arc::clone(&name) };
        let config = config.creation(self.started);
        let distribution =
            Distribution::join_with(&node, config, Arc::new(transport)).map_err(SimulationError::Join)?;
        let member = Member { node, distribution };
        self.members.insert(name, member.clone());
        Ok(member)
    }

    /// Ends a node. With `quietly` its connections say nothing: others find out by its silence.
    pub fn crash(&mut self, name: &str, quietly: bool) {
        let Some(member) = self.members.remove(name) else { return };
        if quietly {
            let mut net = lock(&self.net);
            for connection in net.connections.values_mut() {
                for end in (0..2).filter(|end| *connection.ends[*end] == *name) {
                    // What it has sent may still arrive; no end does.
                    connection.pipes[1 - end].closed = true;
                }
            }
        }
        // Systematic: it always ends.
        let _ = member.node.stop();
    }

    /// Ends a node, and starts it anew under its name.
    ///
    /// # Errors
    ///
    /// As [`Simulation::start`].
    pub fn restart(&mut self, name: &str, quietly: bool) -> Result<Member, SimulationError> {
        self.crash(name, quietly);
        self.start(name)
    }

    /// Stops all bytes from one node to another.
    pub fn cut(&self, from: &str, to: &str) {
        lock(&self.net).cuts.insert((from.into(), to.into()));
    }

    /// They go on.
    pub fn heal(&self, from: &str, to: &str) {
        lock(&self.net).cuts.remove(&(from.into(), to.into()));
    }

    /// Breaks all connections between two nodes: bytes on their way are lost.
    pub fn reset(&self, one: &str, other: &str) {
        let mut wake = Vec::new();
        for connection in lock(&self.net).connections.values_mut() {
            let [a, b] = &connection.ends;
            if (&**a, &**b) == (one, other) || (&**b, &**a) == (one, other) {
                connection.broken = true;
                wake.extend(connection.wakers.iter().flatten().cloned());
            }
        }
        wake.iter().for_each(|waker| waker());
    }

    /// Sets the clock of a node forward, and with it its timers: it sees time jump. (Clocks that go back are not seen by it: its clock
    /// is monotonic.) A restart does not set it back.
    pub fn jump(&mut self, name: &str, by: Duration) {
        let now = self.now();
        let ahead = self.jumps.entry(name.into()).or_default();
        *ahead += by;
        if let Some(member) = self.members.get(name) {
            member.node.advance_to(now + *ahead);
        }
    }

    /// The node does nothing for so long.
    pub fn pause(&mut self, name: &str, time: Duration) {
        let end = self.now() + time;
        self.pauses.insert(name.into(), end);
    }

    fn is_paused(&self, name: &Name, now: Duration) -> bool {
        self.pauses.get(name).is_some_and(|end| now < *end)
    }

    /// When something happens on a node by itself, as the simulation counts time.
    fn next_timer(&self, name: &Name, member: &Member) -> Option<Duration> {
        let ahead = self.jumps.get(name).copied().unwrap_or_default();
        let timer = member.node.next_timer().map(|time| time.saturating_sub(ahead));
        match self.pauses.get(name) {
            Some(end) if self.now() < *end => Some(timer.map_or(*end, |timer| timer.max(*end))),
            _ => timer,
        }
    }

    /// The nodes that run.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Member)> {
        self.members.iter().map(|(name, member)| (&**name, member))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Duration {
        lock(&self.net).now
    }

    /// Runs until `done`, or for so long (in virtual time). True: it is done.
    pub fn run(&mut self, most: Duration, mut done: impl FnMut() -> bool) -> bool {
        let end = self.now() + most;
        loop {
            self.settle();
            if done() {
                return true;
            }
            let arrival = lock(&self.net).next_arrival();
            let timer = self.members.iter().filter_map(|(name, member)| self.next_timer(name, member)).min();
            let Some(next) = [arrival, timer].into_iter().flatten().min().filter(|next| *next <= end) else {
                self.pass_to(end);
                self.settle();
                return done();
            };
            self.pass_to(next);
        }
    }

    /// Runs for so long, in virtual time.
    pub fn run_for(&mut self, time: Duration) {
        self.run(time, || false);
    }

    /// Until nothing can happen without time passing.
    fn settle(&mut self) {
        loop {
            let now = self.now();
            for (name, member) in &self.members {
                if !self.is_paused(name, now) {
                    member.node.run_ready();
                }
            }
            let (wake, opened) = {
                let mut net = lock(&self.net);
                net.arrive(&self.net)
            };
            if wake.is_empty() && opened.is_empty() {
                return;
            }
            wake.iter().for_each(|waker| waker());
            opened.into_iter().for_each(|(accept, stream)| accept(Box::new(stream)));
        }
    }

    fn pass_to(&mut self, time: Duration) {
        let mut net = lock(&self.net);
        net.now = net.now.max(time);
        drop(net);
        for (name, member) in &self.members {
            // One that is paused sees the time when it goes on.
            if !self.is_paused(name, time) {
                member.node.advance_to(time + self.jumps.get(name).copied().unwrap_or_default());
            }
        }
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A test has failed: processes cannot be unwound on a thread that is unwinding.
            return;
        }
        let names: Vec<Name> = self.members.keys().cloned().collect();
        names.iter().for_each(|name| self.crash(name, true));
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("seed", &self.seed)
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}

/// Why a simulated node did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum SimulationError {
    /// The node.
    Start(StartError),
    /// The distribution.
    Join(JoinError),
}

impl fmt::Display for SimulationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SimulationError::Start(error) => error.fmt(f),
            SimulationError::Join(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SimulationError {}
