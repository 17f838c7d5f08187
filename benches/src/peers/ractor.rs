//! ractor: a process is an actor, a message a `cast`, a call its `call_t!`.
//!
//! A supervisor is an actor that starts its child again when told of its failure; monitoring is done with the same
//! supervision events (its monitors are an optional feature). Mailboxes have no bound.

use super::{COOPERATIVE, Measured, Outcome, on_tokio, other};
use crate::{measure::resident, options::Options};
use engset::Random;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent, call_t};
use std::{pin::Pin, sync::Arc};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

pub(super) fn run(options: &Options) -> Outcome {
    let number = |name| options.number(name);
    match options.workload().name {
        "spawn" => go(options, spawning(number("n"))),
        "idle" => go(options, idle(number("n"))),
        "pingpong" => go(options, pairs(1, number("n"), 1)),
        "pairs" => go(options, pairs(number("pairs"), number("n"), number("window"))),
        "fanin" if number("bound") > 0 => Err("ractor has no bounded mailboxes"),
        "fanin" => go(options, fanin(number("senders"), number("n"))),
        "ring" | "bigring" => go(options, ring(number("size"), number("hops"))),
        "big" => go(options, big(number("n"), number("pings"))),
        "skynet" => go(options, skynet(number("depth"))),
        "call" => go(options, call(number("n"))),
        "restart" => go(options, restart(number("n"))),
        "monitor" => go(options, monitor(number("n"))),
        "timers" => Err("ractor has no timers but sleeping tasks: those of tokio"),
        "hog" => Err(COOPERATIVE),
        _ => Err("the program for ractor has no such workload"),
    }
}

type Done<T = ()> = Result<T, ActorProcessingErr>;

/// No error is expected of a job.
fn go(options: &Options, job: impl Future<Output = Done<Measured>> + Send + 'static) -> Outcome {
    on_tokio(options, async { Ok(job.await.unwrap_or_else(|error| panic!("{error}"))) })
}

/// Starts an actor whose state is what it is started with.
async fn start<A: Actor<Arguments = <A as Actor>::State>>(actor: A, state: A::State) -> ActorRef<A::Msg> {
    Actor::spawn(None, actor, state).await.unwrap_or_else(|error| panic!("{error}")).0
}

/// What tells the job that it is finished.
type Finish = Option<oneshot::Sender<u64>>;

fn finish(end: &mut Finish, result: u64) {
    end.take().and_then(|end| end.send(result).ok()).expect("the job waits for one end");
}

/// Adds up so many numbers.
struct Collector;

struct Collected {
    missing: u64,
    sum: u64,
    end: Finish,
}

impl Actor for Collector {
    type Msg = u64;
    type State = Collected;
    type Arguments = Collected;

    async fn pre_start(&self, _: ActorRef<u64>, state: Collected) -> Done<Collected> {
        Ok(state)
    }

    async fn handle(&self, _: ActorRef<u64>, number: u64, state: &mut Collected) -> Done {
        state.sum += number;
        state.missing -= 1;
        if state.missing == 0 {
            finish(&mut state.end, state.sum);
        }
        Ok(())
    }
}

async fn collector(missing: u64) -> (ActorRef<u64>, oneshot::Receiver<u64>) {
    let (end, sum) = oneshot::channel();
    (start(Collector, Collected { missing, sum: 0, end: Some(end) }).await, sum)
}

/// Sends a number as it starts, and ends.
struct Reporter;

impl Actor for Reporter {
    type Msg = u64;
    type State = (u64, ActorRef<u64>);
    type Arguments = Self::State;

    async fn pre_start(&self, _: ActorRef<u64>, state: Self::State) -> Done<Self::State> {
        Ok(state)
    }

    async fn post_start(&self, me: ActorRef<u64>, (number, collector): &mut Self::State) -> Done {
        collector.cast(*number)?;
        me.stop(None);
        Ok(())
    }
}

async fn spawning(n: u64) -> Done<Measured> {
    let (collector, sum) = collector(n).await;
    let begin = Instant::now();
    for number in 1..=n {
        start(Reporter, (number, collector.clone())).await;
    }
    assert_eq!(sum.await?, n * (n + 1) / 2, "the sum of the numbers from 1 to {n}");
    Ok(Measured::Time(begin.elapsed()))
}

/// Sends each number on.
struct Forwarder;

impl Actor for Forwarder {
    type Msg = u64;
    type State = ActorRef<u64>;
    type Arguments = ActorRef<u64>;

    async fn pre_start(&self, _: ActorRef<u64>, to: ActorRef<u64>) -> Done<ActorRef<u64>> {
        Ok(to)
    }

    async fn handle(&self, _: ActorRef<u64>, number: u64, to: &mut ActorRef<u64>) -> Done {
        Ok(to.cast(number)?)
    }
}

async fn idle(n: u64) -> Done<Measured> {
    let (collector, sum) = collector(n).await;
    let (before, begin) = (resident(), Instant::now());
    let mut actors = Vec::new();
    for number in 1..=n {
        let actor = start(Forwarder, collector.clone()).await;
        actor.cast(number)?;
        actors.push(actor);
    }
    assert_eq!(sum.await?, n * (n + 1) / 2, "the sum of the numbers from 1 to {n}");
    Ok(Measured::Idle(begin.elapsed(), resident().saturating_sub(before)))
}

struct Pinger;

enum ToPinger {
    Start(ActorRef<u64>),
    Pong(u64),
}

struct Game {
    n: u64,
    window: u64,
    sent: u64,
    answered: u64,
    ponger: Option<ActorRef<u64>>,
    collector: ActorRef<u64>,
}

impl Game {
    fn ping(&mut self) -> Done {
        if let Some(ponger) = &self.ponger
            && self.sent < self.n
        {
            ponger.cast(self.sent)?;
            self.sent += 1;
        }
        Ok(())
    }
}

impl Actor for Pinger {
    type Msg = ToPinger;
    type State = Game;
    type Arguments = Game;

    async fn pre_start(&self, _: ActorRef<ToPinger>, game: Game) -> Done<Game> {
        Ok(game)
    }

    async fn handle(&self, _: ActorRef<ToPinger>, message: ToPinger, game: &mut Game) -> Done {
        match message {
            ToPinger::Start(ponger) => {
                game.ponger = Some(ponger);
                (0..game.window).try_for_each(|_| game.ping())?;
            }
            ToPinger::Pong(number) => {
                assert_eq!(number, game.answered, "answers come in order");
                game.answered += 1;
                game.ping()?;
                if game.answered == game.n {
                    game.collector.cast(1)?;
                }
            }
        }
        Ok(())
    }
}

struct Ponger;

impl Actor for Ponger {
    type Msg = u64;
    type State = ActorRef<ToPinger>;
    type Arguments = Self::State;

    async fn pre_start(&self, _: ActorRef<u64>, pinger: Self::State) -> Done<Self::State> {
        Ok(pinger)
    }

    async fn handle(&self, _: ActorRef<u64>, number: u64, pinger: &mut Self::State) -> Done {
        Ok(pinger.cast(ToPinger::Pong(number))?)
    }
}

async fn pairs(pairs: u64, n: u64, window: u64) -> Done<Measured> {
    let (collector, end) = collector(pairs).await;
    let mut all = Vec::new();
    for _ in 0..pairs {
        let game = Game { n, window, sent: 0, answered: 0, ponger: None, collector: collector.clone() };
        let pinger = start(Pinger, game).await;
        all.push((pinger.clone(), start(Ponger, pinger).await));
    }
    let begin = Instant::now();
    for (pinger, ponger) in &all {
        pinger.cast(ToPinger::Start(ponger.clone()))?;
    }
    end.await?;
    Ok(Measured::Time(begin.elapsed()))
}

/// Sends the numbers up to the one that it gets.
struct Sender;

impl Actor for Sender {
    type Msg = u64;
    type State = ActorRef<u64>;
    type Arguments = ActorRef<u64>;

    async fn pre_start(&self, _: ActorRef<u64>, to: ActorRef<u64>) -> Done<ActorRef<u64>> {
        Ok(to)
    }

    async fn handle(&self, _: ActorRef<u64>, n: u64, to: &mut ActorRef<u64>) -> Done {
        Ok((1..=n).try_for_each(|number| to.cast(number))?)
    }
}

async fn fanin(senders: u64, n: u64) -> Done<Measured> {
    let (receiver, total) = collector(senders * n).await;
    let begin = Instant::now();
    for _ in 0..senders {
        start(Sender, receiver.clone()).await.cast(n)?;
    }
    assert_eq!(total.await?, senders * (n * (n + 1) / 2), "the sum of all items");
    Ok(Measured::Time(begin.elapsed()))
}

/// One actor of the ring.
struct Member;

enum ToMember {
    Next(ActorRef<ToMember>),
    Token(u64),
}

impl Actor for Member {
    type Msg = ToMember;
    type State = (Option<ActorRef<ToMember>>, mpsc::UnboundedSender<()>);
    type Arguments = Self::State;

    async fn pre_start(&self, _: ActorRef<ToMember>, state: Self::State) -> Done<Self::State> {
        Ok(state)
    }

    async fn handle(&self, _: ActorRef<ToMember>, message: ToMember, state: &mut Self::State) -> Done {
        match (message, &state.0) {
            (ToMember::Next(next), _) => state.0 = Some(next),
            (ToMember::Token(0), _) => state.1.send(())?,
            (ToMember::Token(left), Some(next)) => next.cast(ToMember::Token(left - 1))?,
            (ToMember::Token(_), None) => panic!("a token in a ring that is not closed"),
        }
        Ok(())
    }
}

async fn ring(size: u64, hops: u64) -> Done<Measured> {
    let (finished, mut ends) = mpsc::unbounded_channel();
    let first = start(Member, (None, finished.clone())).await;
    let mut next = first.clone();
    for _ in 1..size {
        next = start(Member, (Some(next), finished.clone())).await;
    }
    first.cast(ToMember::Next(next))?;
    // A lap that does not count.
    first.cast(ToMember::Token(size))?;
    ends.recv().await;
    let begin = Instant::now();
    first.cast(ToMember::Token(hops))?;
    ends.recv().await;
    Ok(Measured::Time(begin.elapsed()))
}

struct Peer;

enum Message {
    Peers(Arc<[ActorRef<Message>]>),
    Start,
    Ping { from: usize, number: u64 },
    Pong(u64),
}

struct PeerState {
    place: usize,
    peers: Arc<[ActorRef<Message>]>,
    random: Random,
    sent: u64,
    pings: u64,
    collector: ActorRef<u64>,
}

impl Actor for Peer {
    type Msg = Message;
    type State = PeerState;
    type Arguments = PeerState;

    async fn pre_start(&self, _: ActorRef<Message>, state: PeerState) -> Done<PeerState> {
        Ok(state)
    }

    async fn handle(&self, _: ActorRef<Message>, message: Message, state: &mut PeerState) -> Done {
        let answered = match message {
            Message::Peers(peers) => {
                state.peers = peers;
                return Ok(());
            }
            Message::Ping { from, number } => return Ok(state.peers[from].cast(Message::Pong(number))?),
            Message::Start => 0,
            Message::Pong(number) => number,
        };
        assert_eq!(answered, state.sent, "the answer to the ping in flight");
        if state.sent == state.pings {
            return Ok(state.collector.cast(1)?);
        }
        state.sent += 1;
        let to = other(&mut state.random, state.peers.len(), state.place);
        Ok(state.peers[to].cast(Message::Ping { from: state.place, number: state.sent })?)
    }
}

async fn big(n: u64, pings: u64) -> Done<Measured> {
    let (collector, end) = collector(n).await;
    let mut peers = Vec::new();
    for place in 0..n as usize {
        let (random, collector) = (Random::new(place as u64), collector.clone());
        peers.push(
            start(Peer, PeerState { place, peers: Arc::new([]), random, sent: 0, pings, collector }).await,
        );
    }
    let peers: Arc<[_]> = peers.into();
    for peer in peers.iter() {
        peer.cast(Message::Peers(Arc::clone(&peers)))?;
    }
    let begin = Instant::now();
    for peer in peers.iter() {
        peer.cast(Message::Start)?;
    }
    end.await?;
    Ok(Measured::Time(begin.elapsed()))
}

/// Adds up the sums of ten children.
struct Adder;

struct Subtree {
    parent: ActorRef<u64>,
    first: u64,
    size: u64,
    missing: u64,
    sum: u64,
}

impl Actor for Adder {
    type Msg = u64;
    type State = Subtree;
    type Arguments = Subtree;

    async fn pre_start(&self, _: ActorRef<u64>, subtree: Subtree) -> Done<Subtree> {
        Ok(subtree)
    }

    async fn post_start(&self, me: ActorRef<u64>, subtree: &mut Subtree) -> Done {
        if subtree.size == 1 {
            subtree.parent.cast(subtree.first)?;
            me.stop(None);
            return Ok(());
        }
        let size = subtree.size / 10;
        for child in 0..10 {
            grow(me.clone(), subtree.first + child * size, size).await;
        }
        Ok(())
    }

    async fn handle(&self, me: ActorRef<u64>, sum: u64, subtree: &mut Subtree) -> Done {
        subtree.sum += sum;
        subtree.missing -= 1;
        if subtree.missing == 0 {
            subtree.parent.cast(subtree.sum)?;
            me.stop(None);
        }
        Ok(())
    }
}

fn grow(parent: ActorRef<u64>, first: u64, size: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move { drop(start(Adder, Subtree { parent, first, size, missing: 10, sum: 0 }).await) })
}

async fn skynet(depth: u64) -> Done<Measured> {
    let size = 10_u64.pow(depth as u32);
    let (root, sum) = collector(1).await;
    let begin = Instant::now();
    grow(root, 0, size).await;
    assert_eq!(sum.await?, size * (size - 1) / 2, "the sum of the numbers below {size}");
    Ok(Measured::Time(begin.elapsed()))
}

struct Echo;

impl Actor for Echo {
    type Msg = (u64, RpcReplyPort<u64>);
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Done {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Self::Msg>, (number, reply): Self::Msg, (): &mut ()) -> Done {
        Ok(reply.send(number)?)
    }
}

async fn call(n: u64) -> Done<Measured> {
    let server = start(Echo, ()).await;
    let calls = async |n| {
        for number in 0..n {
            let answer = call_t!(server, |reply| (number, reply), 5000);
            assert_eq!(answer.unwrap_or_else(|error| panic!("{error}")), number);
        }
    };
    calls(1000).await;
    let begin = Instant::now();
    calls(n).await;
    Ok(Measured::Time(begin.elapsed()))
}

struct Child;

impl Actor for Child {
    type Msg = u64;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<u64>, (): ()) -> Done {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<u64>, number: u64, (): &mut ()) -> Done {
        panic!("crash {number}");
    }
}

struct Supervisor;

struct Restarts {
    left: u64,
    end: Finish,
}

async fn crash_a_child(supervisor: ActorCell, number: u64) -> Done {
    let (child, _) = Actor::spawn_linked(None, Child, (), supervisor).await?;
    Ok(child.cast(number)?)
}

impl Actor for Supervisor {
    type Msg = ();
    type State = Restarts;
    type Arguments = Restarts;

    async fn pre_start(&self, _: ActorRef<()>, restarts: Restarts) -> Done<Restarts> {
        Ok(restarts)
    }

    async fn handle(&self, me: ActorRef<()>, (): (), restarts: &mut Restarts) -> Done {
        crash_a_child(me.get_cell(), restarts.left).await
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<()>,
        event: SupervisionEvent,
        restarts: &mut Restarts,
    ) -> Done {
        if let SupervisionEvent::ActorFailed(..) = event {
            restarts.left -= 1;
            if restarts.left > 0 {
                return crash_a_child(me.get_cell(), restarts.left).await;
            }
            finish(&mut restarts.end, 0);
        }
        Ok(())
    }
}

async fn restart(n: u64) -> Done<Measured> {
    std::panic::set_hook(Box::new(|_| {}));
    let (end, ended) = oneshot::channel();
    let supervisor = start(Supervisor, Restarts { left: n, end: Some(end) }).await;
    let begin = Instant::now();
    supervisor.cast(())?;
    ended.await?;
    Ok(Measured::Time(begin.elapsed()))
}

/// Ends when told to.
struct Waiter;

impl Actor for Waiter {
    type Msg = u64;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<u64>, (): ()) -> Done {
        Ok(())
    }

    async fn handle(&self, me: ActorRef<u64>, _number: u64, (): &mut ()) -> Done {
        me.stop(None);
        Ok(())
    }
}

struct Watcher;

impl Actor for Watcher {
    type Msg = ();
    type State = Restarts;
    type Arguments = Restarts;

    async fn pre_start(&self, _: ActorRef<()>, ends: Restarts) -> Done<Restarts> {
        Ok(ends)
    }

    async fn handle(&self, me: ActorRef<()>, (): (), ends: &mut Restarts) -> Done {
        let mut waiters = Vec::new();
        for _ in 0..ends.left {
            waiters.push(Actor::spawn_linked(None, Waiter, (), me.get_cell()).await?.0);
        }
        for (number, waiter) in (0..).zip(waiters) {
            waiter.cast(number)?;
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        ends: &mut Restarts,
    ) -> Done {
        if let SupervisionEvent::ActorTerminated(..) = event {
            ends.left -= 1;
            if ends.left == 0 {
                finish(&mut ends.end, 0);
            }
        }
        Ok(())
    }
}

async fn monitor(n: u64) -> Done<Measured> {
    let (end, ended) = oneshot::channel();
    let watcher = start(Watcher, Restarts { left: n, end: Some(end) }).await;
    let begin = Instant::now();
    watcher.cast(())?;
    ended.await?;
    Ok(Measured::Time(begin.elapsed()))
}
