//! actix: a process is an actor, a message a `do_send`, a call a `send` with a timeout.
//!
//! An actor stays on the thread of the arbiter that has started it. Here they are dealt out over as many arbiters as there
//! are threads, so a ring or a pair crosses threads at each hop; `threads=1` has them all on one, which is what
//! `Actor::start` does. `do_send` knows no bound; a panic ends an arbiter with all its actors, so there is no supervisor
//! that restarts.

use super::{COOPERATIVE, Measured, Outcome, other};
use crate::{measure::resident, options::Options};
use actix::prelude::*;
use engset::Random;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

pub(super) fn run(options: &Options) -> Outcome {
    let number = |name| options.number(name);
    System::new().block_on(async {
        let pool = Pool::new(options.threads());
        let time = match options.workload().name {
            "spawn" => spawning(pool, number("n")).await,
            "idle" => return Ok(idle(pool, number("n")).await),
            "pingpong" => pairs(pool, 1, number("n"), 1).await,
            "pairs" => pairs(pool, number("pairs"), number("n"), number("window")).await,
            "fanin" if number("bound") > 0 => return Err("do_send of actix ignores the bound of a mailbox"),
            "fanin" => fanin(pool, number("senders"), number("n")).await,
            "ring" | "bigring" => ring(pool, number("size"), number("hops")).await,
            "big" => big(pool, number("n"), number("pings")).await,
            "skynet" => skynet(pool, number("depth")).await,
            "call" => call(pool, number("n")).await,
            "restart" => return Err("a panic ends an arbiter of actix with all its actors"),
            "monitor" => return Err("actix has no monitors"),
            "timers" => {
                return Err("an actor of actix keeps its timers in a list, which takes quadratic time");
            }
            "hog" => return Err(COOPERATIVE),
            _ => return Err("the program for actix has no such workload"),
        };
        Ok(Measured::Time(time))
    })
}

/// The arbiters.
#[derive(Clone)]
struct Pool {
    arbiters: Arc<[ArbiterHandle]>,
    next: Arc<AtomicUsize>,
}

impl Pool {
    fn new(threads: usize) -> Pool {
        let others = (1..threads).map(|_| Arbiter::new().handle());
        Pool { arbiters: [Arbiter::current()].into_iter().chain(others).collect(), next: Arc::default() }
    }

    /// Starts an actor on the next arbiter in turn.
    fn start<A: Actor<Context = Context<A>> + Send>(&self, actor: A) -> Addr<A> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        A::start_in_arbiter(&self.arbiters[turn % self.arbiters.len()], move |_| actor)
    }
}

/// Where the job hears of the end.
type End = mpsc::UnboundedSender<u64>;

/// Actors with nothing to do as they start.
macro_rules! actors {
    ($($name:ident),*) => { $(impl Actor for $name { type Context = Context<Self>; })* };
}

actors!(Collector, Spawner, Forwarder, Pinger, Ponger, Sender, Member, Peer, Echo);

/// Adds up so many numbers.
struct Collector {
    missing: u64,
    sum: u64,
    end: End,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Number(u64);

impl Handler<Number> for Collector {
    type Result = ();

    fn handle(&mut self, Number(number): Number, _: &mut Context<Self>) {
        self.sum += number;
        self.missing -= 1;
        if self.missing == 0 {
            let _ = self.end.send(self.sum);
        }
    }
}

fn collector(pool: &Pool, missing: u64) -> (Addr<Collector>, mpsc::UnboundedReceiver<u64>) {
    let (end, sum) = mpsc::unbounded_channel();
    (pool.start(Collector { missing, sum: 0, end }), sum)
}

/// Sends a number as it starts, and stops.
struct Reporter(u64, Addr<Collector>);

impl Actor for Reporter {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.1.do_send(Number(self.0));
        context.stop();
    }
}

struct Spawner(Pool, Addr<Collector>);

impl Handler<Number> for Spawner {
    type Result = ();

    fn handle(&mut self, Number(n): Number, _: &mut Context<Self>) {
        for number in 1..=n {
            self.0.start(Reporter(number, self.1.clone()));
        }
    }
}

async fn spawning(pool: Pool, n: u64) -> Duration {
    let (collector, mut sum) = collector(&pool, n);
    let spawner = pool.start(Spawner(pool.clone(), collector));
    let begin = Instant::now();
    spawner.do_send(Number(n));
    assert_eq!(sum.recv().await, Some(n * (n + 1) / 2), "the sum of the numbers from 1 to {n}");
    begin.elapsed()
}

/// Sends each number on.
struct Forwarder(Addr<Collector>);

impl Handler<Number> for Forwarder {
    type Result = ();

    fn handle(&mut self, number: Number, _: &mut Context<Self>) {
        self.0.do_send(number);
    }
}

async fn idle(pool: Pool, n: u64) -> Measured {
    let (collector, mut sum) = collector(&pool, n);
    let (before, begin) = (resident(), Instant::now());
    let mut actors = Vec::new();
    for number in 1..=n {
        let actor = pool.start(Forwarder(collector.clone()));
        actor.do_send(Number(number));
        actors.push(actor);
    }
    assert_eq!(sum.recv().await, Some(n * (n + 1) / 2), "the sum of the numbers from 1 to {n}");
    Measured::Idle(begin.elapsed(), resident().saturating_sub(before))
}

struct Pinger {
    n: u64,
    window: u64,
    sent: u64,
    answered: u64,
    ponger: Addr<Ponger>,
    collector: Addr<Collector>,
}

struct Ponger;

#[derive(Message)]
#[rtype(result = "()")]
struct Start;

#[derive(Message)]
#[rtype(result = "()")]
struct Ping(u64, Addr<Pinger>);

#[derive(Message)]
#[rtype(result = "()")]
struct Pong(u64);

impl Pinger {
    fn ping(&mut self, me: Addr<Pinger>) {
        if self.sent < self.n {
            self.ponger.do_send(Ping(self.sent, me));
            self.sent += 1;
        }
    }
}

impl Handler<Start> for Pinger {
    type Result = ();

    fn handle(&mut self, _: Start, context: &mut Context<Self>) {
        (0..self.window).for_each(|_| self.ping(context.address()));
    }
}

impl Handler<Pong> for Pinger {
    type Result = ();

    fn handle(&mut self, Pong(number): Pong, context: &mut Context<Self>) {
        assert_eq!(number, self.answered, "answers come in order");
        self.answered += 1;
        self.ping(context.address());
        if self.answered == self.n {
            self.collector.do_send(Number(1));
        }
    }
}

impl Handler<Ping> for Ponger {
    type Result = ();

    fn handle(&mut self, Ping(number, pinger): Ping, _: &mut Context<Self>) {
        pinger.do_send(Pong(number));
    }
}

async fn pairs(pool: Pool, pairs: u64, n: u64, window: u64) -> Duration {
    let (collector, mut end) = collector(&pool, pairs);
    let begin = Instant::now();
    // An actor whose last address is dropped ends, whatever is on its way to it.
    let mut pingers = Vec::new();
    for _ in 0..pairs {
        let ponger = pool.start(Ponger);
        let pinger = Pinger { n, window, sent: 0, answered: 0, ponger, collector: collector.clone() };
        pingers.push(pool.start(pinger));
    }
    pingers.iter().for_each(|pinger| pinger.do_send(Start));
    end.recv().await;
    begin.elapsed()
}

/// Sends the numbers up to the one that it gets.
struct Sender(Addr<Collector>);

impl Handler<Number> for Sender {
    type Result = ();

    fn handle(&mut self, Number(n): Number, _: &mut Context<Self>) {
        (1..=n).for_each(|number| self.0.do_send(Number(number)));
    }
}

async fn fanin(pool: Pool, senders: u64, n: u64) -> Duration {
    let (receiver, mut total) = collector(&pool, senders * n);
    let begin = Instant::now();
    for _ in 0..senders {
        pool.start(Sender(receiver.clone())).do_send(Number(n));
    }
    assert_eq!(total.recv().await, Some(senders * (n * (n + 1) / 2)), "the sum of all items");
    begin.elapsed()
}

/// One actor of the ring.
struct Member {
    next: Option<Addr<Member>>,
    end: End,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Next(Addr<Member>);

#[derive(Message)]
#[rtype(result = "()")]
struct Token(u64);

impl Handler<Next> for Member {
    type Result = ();

    fn handle(&mut self, Next(next): Next, _: &mut Context<Self>) {
        self.next = Some(next);
    }
}

impl Handler<Token> for Member {
    type Result = ();

    fn handle(&mut self, Token(left): Token, _: &mut Context<Self>) {
        match &self.next {
            _ if left == 0 => drop(self.end.send(0)),
            Some(next) => next.do_send(Token(left - 1)),
            None => panic!("a token in a ring that is not closed"),
        }
    }
}

async fn ring(pool: Pool, size: u64, hops: u64) -> Duration {
    let (end, mut ends) = mpsc::unbounded_channel();
    let first = pool.start(Member { next: None, end: end.clone() });
    let mut next = first.clone();
    for _ in 1..size {
        next = pool.start(Member { next: Some(next), end: end.clone() });
    }
    first.do_send(Next(next));
    // A lap that does not count.
    first.do_send(Token(size));
    ends.recv().await;
    let begin = Instant::now();
    first.do_send(Token(hops));
    ends.recv().await;
    begin.elapsed()
}

struct Peer {
    place: usize,
    peers: Arc<[Addr<Peer>]>,
    random: Random,
    sent: u64,
    pings: u64,
    collector: Addr<Collector>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Peers(Arc<[Addr<Peer>]>);

#[derive(Message)]
#[rtype(result = "()")]
struct PingFrom {
    from: usize,
    number: u64,
}

impl Peer {
    fn ping(&mut self) {
        if self.sent == self.pings {
            return self.collector.do_send(Number(1));
        }
        self.sent += 1;
        let to = other(&mut self.random, self.peers.len(), self.place);
        self.peers[to].do_send(PingFrom { from: self.place, number: self.sent });
    }
}

impl Handler<Peers> for Peer {
    type Result = ();

    fn handle(&mut self, Peers(peers): Peers, _: &mut Context<Self>) {
        self.peers = peers;
    }
}

impl Handler<Start> for Peer {
    type Result = ();

    fn handle(&mut self, _: Start, _: &mut Context<Self>) {
        self.ping();
    }
}

impl Handler<PingFrom> for Peer {
    type Result = ();

    fn handle(&mut self, PingFrom { from, number }: PingFrom, _: &mut Context<Self>) {
        self.peers[from].do_send(Pong(number));
    }
}

impl Handler<Pong> for Peer {
    type Result = ();

    fn handle(&mut self, Pong(number): Pong, _: &mut Context<Self>) {
        assert_eq!(number, self.sent, "the answer to the ping in flight");
        self.ping();
    }
}

async fn big(pool: Pool, n: u64, pings: u64) -> Duration {
    let (collector, mut end) = collector(&pool, n);
    let peers: Arc<[_]> = (0..n as usize)
        .map(|place| {
            let (random, collector) = (Random::new(place as u64), collector.clone());
            pool.start(Peer { place, peers: Arc::new([]), random, sent: 0, pings, collector })
        })
        .collect();
    peers.iter().for_each(|peer| peer.do_send(Peers(Arc::clone(&peers))));
    let begin = Instant::now();
    peers.iter().for_each(|peer| peer.do_send(Start));
    end.recv().await;
    begin.elapsed()
}

/// Where a sum goes.
#[derive(Clone)]
enum Parent {
    Root(End),
    Adder(Addr<Adder>),
}

impl Parent {
    fn tell(&self, sum: u64) {
        match self {
            Parent::Root(end) => drop(end.send(sum)),
            Parent::Adder(parent) => parent.do_send(Number(sum)),
        }
    }
}

/// Adds up the sums of ten children.
struct Adder {
    pool: Pool,
    /// It lives until it gives this up.
    me: Option<Addr<Adder>>,
    parent: Parent,
    first: u64,
    size: u64,
    missing: u64,
    sum: u64,
}

impl Adder {
    fn grow(pool: &Pool, parent: Parent, first: u64, size: u64) {
        pool.start(Adder { pool: pool.clone(), me: None, parent, first, size, missing: 10, sum: 0 });
    }
}

impl Actor for Adder {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        if self.size == 1 {
            self.parent.tell(self.first);
            return context.stop();
        }
        self.me = Some(context.address());
        let size = self.size / 10;
        for child in 0..10 {
            Adder::grow(&self.pool, Parent::Adder(context.address()), self.first + child * size, size);
        }
    }
}

impl Handler<Number> for Adder {
    type Result = ();

    fn handle(&mut self, Number(sum): Number, context: &mut Context<Self>) {
        self.sum += sum;
        self.missing -= 1;
        if self.missing == 0 {
            self.parent.tell(self.sum);
            self.me = None;
            context.stop();
        }
    }
}

async fn skynet(pool: Pool, depth: u64) -> Duration {
    let size = 10_u64.pow(depth as u32);
    let (root, mut sum) = mpsc::unbounded_channel();
    let begin = Instant::now();
    Adder::grow(&pool, Parent::Root(root), 0, size);
    assert_eq!(sum.recv().await, Some(size * (size - 1) / 2), "the sum of the numbers below {size}");
    begin.elapsed()
}

struct Echo;

#[derive(Message)]
#[rtype(result = "u64")]
struct Ask(u64);

impl Handler<Ask> for Echo {
    type Result = u64;

    fn handle(&mut self, Ask(number): Ask, _: &mut Context<Self>) -> u64 {
        number
    }
}

async fn call(pool: Pool, n: u64) -> Duration {
    // The job is on the first arbiter; the server is on the last one.
    let server = Echo::start_in_arbiter(&pool.arbiters[pool.arbiters.len() - 1], |_| Echo);
    let calls = async |n| {
        for number in 0..n {
            let answer = server.send(Ask(number)).timeout(Duration::from_secs(5)).await;
            assert_eq!(answer.unwrap_or_else(|error| panic!("{error}")), number);
        }
    };
    calls(1000).await;
    let begin = Instant::now();
    calls(n).await;
    begin.elapsed()
}
