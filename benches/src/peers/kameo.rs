//! kameo: a process is an actor with an unbounded mailbox, a message a `tell`, a call an `ask` with a timeout.
//!
//! `fanin bound=N` has a bounded mailbox. The supervisor is kameo's; links stand in for monitors, which it does not have.

use super::{COOPERATIVE, Measured, Outcome, on_tokio, other};
use crate::{measure::resident, options::Options};
use engset::Random;
use kameo::{
    error::{ActorStopReason, Infallible},
    mailbox,
    prelude::*,
    supervision::{RestartPolicy, SupervisionStrategy},
};
use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

pub(super) fn run(options: &Options) -> Outcome {
    let number = |name| options.number(name);
    match options.workload().name {
        "spawn" => on_tokio(options, spawning(number("n"))),
        "idle" => on_tokio(options, idle(number("n"))),
        "pingpong" => on_tokio(options, pairs(1, number("n"), 1)),
        "pairs" => on_tokio(options, pairs(number("pairs"), number("n"), number("window"))),
        "fanin" => on_tokio(options, fanin(number("senders"), number("n"), number("bound"))),
        "ring" | "bigring" => on_tokio(options, ring(number("size"), number("hops"))),
        "big" => on_tokio(options, big(number("n"), number("pings"))),
        "skynet" => on_tokio(options, skynet(number("depth"))),
        "call" => on_tokio(options, call(number("n"))),
        "restart" => on_tokio(options, restart(number("n"))),
        "monitor" => on_tokio(options, monitor(number("n"))),
        "timers" => Err("kameo has no timers but sleeping tasks: those of tokio"),
        "hog" => Err(COOPERATIVE),
        _ => Err("the program for kameo has no such workload"),
    }
}

/// kameo's default is a mailbox of 64 messages, with which these jobs can come to a deadlock.
fn start<A: Actor>(args: A::Args) -> ActorRef<A> {
    A::spawn_with_mailbox(args, mailbox::unbounded())
}

async fn tell<A: Message<M>, M: Send + 'static>(to: &ActorRef<A>, message: M) {
    to.tell(message).await.unwrap_or_else(|_| panic!("the actor has stopped"));
}

/// Where the job hears of the end.
type End = mpsc::UnboundedSender<u64>;

/// Adds up so many numbers.
#[derive(Actor)]
struct Collector {
    missing: u64,
    sum: u64,
    end: End,
}

struct Number(u64);

impl Message<Number> for Collector {
    type Reply = ();

    async fn handle(&mut self, Number(number): Number, _: &mut Context<Self, ()>) {
        self.sum += number;
        self.missing -= 1;
        if self.missing == 0 {
            let _ = self.end.send(self.sum);
        }
    }
}

fn collector(missing: u64) -> (ActorRef<Collector>, mpsc::UnboundedReceiver<u64>) {
    let (end, sum) = mpsc::unbounded_channel();
    (start::<Collector>(Collector { missing, sum: 0, end }), sum)
}

/// Sends a number as it starts, and stops since nobody has its address.
struct Reporter;

impl Actor for Reporter {
    type Args = (u64, ActorRef<Collector>);
    type Error = Infallible;

    async fn on_start((number, collector): Self::Args, _: ActorRef<Self>) -> Result<Self, Infallible> {
        tell(&collector, Number(number)).await;
        Ok(Reporter)
    }
}

async fn spawning(n: u64) -> Outcome {
    let (collector, mut sum) = collector(n);
    let begin = Instant::now();
    for number in 1..=n {
        drop(start::<Reporter>((number, collector.clone())));
    }
    assert_eq!(sum.recv().await, Some(n * (n + 1) / 2), "the sum of the numbers from 1 to {n}");
    Ok(Measured::Time(begin.elapsed()))
}

/// Sends each number on.
#[derive(Actor)]
struct Forwarder(ActorRef<Collector>);

impl Message<Number> for Forwarder {
    type Reply = ();

    async fn handle(&mut self, number: Number, _: &mut Context<Self, ()>) {
        tell(&self.0, number).await;
    }
}

async fn idle(n: u64) -> Outcome {
    let (collector, mut sum) = collector(n);
    let (before, begin) = (resident(), Instant::now());
    let mut actors = Vec::new();
    for number in 1..=n {
        let actor = start::<Forwarder>(Forwarder(collector.clone()));
        tell(&actor, Number(number)).await;
        actors.push(actor);
    }
    assert_eq!(sum.recv().await, Some(n * (n + 1) / 2), "the sum of the numbers from 1 to {n}");
    Ok(Measured::Idle(begin.elapsed(), resident().saturating_sub(before)))
}

#[derive(Actor)]
struct Pinger {
    n: u64,
    window: u64,
    sent: u64,
    answered: u64,
    ponger: ActorRef<Ponger>,
    collector: ActorRef<Collector>,
}

#[derive(Actor)]
struct Ponger;

struct Start;

struct Ping(u64, ActorRef<Pinger>);

struct Pong(u64);

impl Pinger {
    async fn ping(&mut self, me: ActorRef<Pinger>) {
        if self.sent < self.n {
            tell(&self.ponger, Ping(self.sent, me)).await;
            self.sent += 1;
        }
    }
}

impl Message<Start> for Pinger {
    type Reply = ();

    async fn handle(&mut self, _: Start, context: &mut Context<Self, ()>) {
        for _ in 0..self.window {
            self.ping(context.actor_ref().clone()).await;
        }
    }
}

impl Message<Pong> for Pinger {
    type Reply = ();

    async fn handle(&mut self, Pong(number): Pong, context: &mut Context<Self, ()>) {
        assert_eq!(number, self.answered, "answers come in order");
        self.answered += 1;
        self.ping(context.actor_ref().clone()).await;
        if self.answered == self.n {
            tell(&self.collector, Number(1)).await;
        }
    }
}

impl Message<Ping> for Ponger {
    type Reply = ();

    async fn handle(&mut self, Ping(number, pinger): Ping, _: &mut Context<Self, ()>) {
        tell(&pinger, Pong(number)).await;
    }
}

async fn pairs(pairs: u64, n: u64, window: u64) -> Outcome {
    let (collector, mut end) = collector(pairs);
    let begin = Instant::now();
    let pingers: Vec<_> = (0..pairs)
        .map(|_| {
            let ponger = start::<Ponger>(Ponger);
            start::<Pinger>(Pinger { n, window, sent: 0, answered: 0, ponger, collector: collector.clone() })
        })
        .collect();
    for pinger in &pingers {
        tell(pinger, Start).await;
    }
    end.recv().await;
    Ok(Measured::Time(begin.elapsed()))
}

/// Sends the numbers up to the one that it gets.
#[derive(Actor)]
struct Sender(ActorRef<Collector>);

impl Message<Number> for Sender {
    type Reply = ();

    async fn handle(&mut self, Number(n): Number, _: &mut Context<Self, ()>) {
        for number in 1..=n {
            tell(&self.0, Number(number)).await;
        }
    }
}

async fn fanin(senders: u64, n: u64, bound: u64) -> Outcome {
    let (end, mut total) = mpsc::unbounded_channel();
    let collector = Collector { missing: senders * n, sum: 0, end };
    let mailbox = if bound > 0 { mailbox::bounded(bound as usize) } else { mailbox::unbounded() };
    let receiver = Collector::spawn_with_mailbox(collector, mailbox);
    let begin = Instant::now();
    let senders_of_items: Vec<_> = (0..senders).map(|_| start::<Sender>(Sender(receiver.clone()))).collect();
    for sender in &senders_of_items {
        tell(sender, Number(n)).await;
    }
    assert_eq!(total.recv().await, Some(senders * (n * (n + 1) / 2)), "the sum of all items");
    Ok(Measured::Time(begin.elapsed()))
}

/// One actor of the ring.
#[derive(Actor)]
struct Member {
    next: Option<ActorRef<Member>>,
    end: End,
}

struct Next(ActorRef<Member>);

struct Token(u64);

impl Message<Next> for Member {
    type Reply = ();

    async fn handle(&mut self, Next(next): Next, _: &mut Context<Self, ()>) {
        self.next = Some(next);
    }
}

impl Message<Token> for Member {
    type Reply = ();

    async fn handle(&mut self, Token(left): Token, _: &mut Context<Self, ()>) {
        match &self.next {
            _ if left == 0 => drop(self.end.send(0)),
            Some(next) => tell(next, Token(left - 1)).await,
            None => panic!("a token in a ring that is not closed"),
        }
    }
}

async fn ring(size: u64, hops: u64) -> Outcome {
    let (end, mut ends) = mpsc::unbounded_channel();
    let first = start::<Member>(Member { next: None, end: end.clone() });
    let mut next = first.clone();
    for _ in 1..size {
        next = start::<Member>(Member { next: Some(next), end: end.clone() });
    }
    tell(&first, Next(next)).await;
    // A lap that does not count.
    tell(&first, Token(size)).await;
    ends.recv().await;
    let begin = Instant::now();
    tell(&first, Token(hops)).await;
    ends.recv().await;
    Ok(Measured::Time(begin.elapsed()))
}

#[derive(Actor)]
struct Peer {
    place: usize,
    peers: Arc<[ActorRef<Peer>]>,
    random: Random,
    sent: u64,
    pings: u64,
    collector: ActorRef<Collector>,
}

struct Peers(Arc<[ActorRef<Peer>]>);

struct PingFrom {
    from: usize,
    number: u64,
}

impl Peer {
    async fn ping(&mut self) {
        if self.sent == self.pings {
            return tell(&self.collector, Number(1)).await;
        }
        self.sent += 1;
        let to = other(&mut self.random, self.peers.len(), self.place);
        tell(&self.peers[to], PingFrom { from: self.place, number: self.sent }).await;
    }
}

impl Message<Peers> for Peer {
    type Reply = ();

    async fn handle(&mut self, Peers(peers): Peers, _: &mut Context<Self, ()>) {
        self.peers = peers;
    }
}

impl Message<Start> for Peer {
    type Reply = ();

    async fn handle(&mut self, _: Start, _: &mut Context<Self, ()>) {
        self.ping().await;
    }
}

impl Message<PingFrom> for Peer {
    type Reply = ();

    async fn handle(&mut self, PingFrom { from, number }: PingFrom, _: &mut Context<Self, ()>) {
        tell(&self.peers[from], Pong(number)).await;
    }
}

impl Message<Pong> for Peer {
    type Reply = ();

    async fn handle(&mut self, Pong(number): Pong, _: &mut Context<Self, ()>) {
        assert_eq!(number, self.sent, "the answer to the ping in flight");
        self.ping().await;
    }
}

async fn big(n: u64, pings: u64) -> Outcome {
    let (collector, mut end) = collector(n);
    let peers: Arc<[_]> = (0..n as usize)
        .map(|place| {
            let (random, collector) = (Random::new(place as u64), collector.clone());
            start::<Peer>(Peer { place, peers: Arc::new([]), random, sent: 0, pings, collector })
        })
        .collect();
    for peer in peers.iter() {
        tell(peer, Peers(Arc::clone(&peers))).await;
    }
    let begin = Instant::now();
    for peer in peers.iter() {
        tell(peer, Start).await;
    }
    end.recv().await;
    Ok(Measured::Time(begin.elapsed()))
}

/// Where a sum goes.
enum Parent {
    Root(End),
    Adder(ActorRef<Adder>),
}

impl Parent {
    async fn tell(&self, sum: u64) {
        match self {
            Parent::Root(end) => drop(end.send(sum)),
            Parent::Adder(parent) => tell(parent, Number(sum)).await,
        }
    }
}

/// Adds up the sums of ten children.
struct Adder {
    parent: Parent,
    missing: u64,
    sum: u64,
}

impl Actor for Adder {
    type Args = (Parent, u64, u64);
    type Error = Infallible;

    async fn on_start((parent, first, size): Self::Args, me: ActorRef<Self>) -> Result<Self, Infallible> {
        if size == 1 {
            // It stops, since nobody has its address.
            parent.tell(first).await;
        } else {
            for child in 0..10 {
                let first = first + child * (size / 10);
                drop(start::<Adder>((Parent::Adder(me.clone()), first, size / 10)));
            }
        }
        Ok(Adder { parent, missing: 10, sum: 0 })
    }
}

impl Message<Number> for Adder {
    type Reply = ();

    async fn handle(&mut self, Number(sum): Number, context: &mut Context<Self, ()>) {
        self.sum += sum;
        self.missing -= 1;
        if self.missing == 0 {
            self.parent.tell(self.sum).await;
            context.stop();
        }
    }
}

async fn skynet(depth: u64) -> Outcome {
    let size = 10_u64.pow(depth as u32);
    let (root, mut sum) = mpsc::unbounded_channel();
    let begin = Instant::now();
    drop(start::<Adder>((Parent::Root(root), 0, size)));
    assert_eq!(sum.recv().await, Some(size * (size - 1) / 2), "the sum of the numbers below {size}");
    Ok(Measured::Time(begin.elapsed()))
}

#[derive(Actor)]
struct Echo;

impl Message<Number> for Echo {
    type Reply = u64;

    async fn handle(&mut self, Number(number): Number, _: &mut Context<Self, u64>) -> u64 {
        number
    }
}

async fn call(n: u64) -> Outcome {
    let server = start::<Echo>(Echo);
    let calls = async |n| {
        for number in 0..n {
            let answer = server.ask(Number(number)).reply_timeout(Duration::from_secs(5)).await;
            assert_eq!(answer.ok(), Some(number));
        }
    };
    calls(1000).await;
    let begin = Instant::now();
    calls(n).await;
    Ok(Measured::Time(begin.elapsed()))
}

struct Supervisor;

impl Actor for Supervisor {
    type Args = (u64, End);
    type Error = Infallible;

    fn supervision_strategy() -> SupervisionStrategy {
        SupervisionStrategy::OneForOne
    }

    async fn on_start((n, end): Self::Args, me: ActorRef<Self>) -> Result<Self, Infallible> {
        let starts = Arc::new(AtomicU64::new(0));
        Child::supervise_with(&me, move || (Arc::clone(&starts), n, end.clone()))
            .restart_policy(RestartPolicy::Permanent)
            .restart_limit(u32::MAX, Duration::from_secs(3600))
            .spawn_with_mailbox(mailbox::unbounded())
            .await;
        Ok(Supervisor)
    }
}

struct Child;

impl Actor for Child {
    type Args = (Arc<AtomicU64>, u64, End);
    type Error = Infallible;

    async fn on_start((starts, n, end): Self::Args, me: ActorRef<Self>) -> Result<Self, Infallible> {
        let number = starts.fetch_add(1, Ordering::Relaxed);
        if number < n {
            tell(&me, Number(number)).await;
        } else {
            let _ = end.send(n);
        }
        Ok(Child)
    }
}

impl Message<Number> for Child {
    type Reply = ();

    async fn handle(&mut self, Number(number): Number, _: &mut Context<Self, ()>) {
        panic!("crash {number}");
    }
}

async fn restart(n: u64) -> Outcome {
    std::panic::set_hook(Box::new(|_| {}));
    kameo::error::set_actor_error_hook(|_| {});
    let (end, mut ended) = mpsc::unbounded_channel();
    let begin = Instant::now();
    let _supervisor = start::<Supervisor>((n, end));
    ended.recv().await;
    Ok(Measured::Time(begin.elapsed()))
}

/// Linked to all waiters.
struct Watcher {
    missing: u64,
    end: End,
}

impl Actor for Watcher {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(watcher: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(watcher)
    }

    async fn on_link_died(
        &mut self,
        _: WeakActorRef<Self>,
        _: ActorId,
        _: ActorStopReason,
    ) -> Result<ControlFlow<ActorStopReason>, Infallible> {
        self.missing -= 1;
        if self.missing == 0 {
            let _ = self.end.send(0);
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Message<Start> for Watcher {
    type Reply = ();

    async fn handle(&mut self, _: Start, context: &mut Context<Self, ()>) {
        let mut waiters = Vec::new();
        for _ in 0..self.missing {
            waiters.push(
                Waiter::spawn_link_with_mailbox(context.actor_ref(), Waiter, mailbox::unbounded()).await,
            );
        }
        for (number, waiter) in (0..).zip(&waiters) {
            tell(waiter, Number(number)).await;
        }
    }
}

/// Stops when told to.
#[derive(Actor)]
struct Waiter;

impl Message<Number> for Waiter {
    type Reply = ();

    async fn handle(&mut self, _: Number, context: &mut Context<Self, ()>) {
        context.stop();
    }
}

async fn monitor(n: u64) -> Outcome {
    let (end, mut ended) = mpsc::unbounded_channel();
    let watcher = start::<Watcher>(Watcher { missing: n, end });
    let begin = Instant::now();
    tell(&watcher, Start).await;
    ended.recv().await;
    Ok(Measured::Time(begin.elapsed()))
}
