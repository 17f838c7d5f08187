//! `pingpong`, `pairs`, `fanin`: messages between processes that are there already. (`big` has its own file.)

use crate::{
    measure::{Failure, Figure, first_process, timed},
    options::{Kind, Options},
};
use engset::{Address, BuildError, Builder, ExitReason, Flow, Limit, Mailbox, Node, Received, Server, spawn};
use std::time::Duration;

/// To the first process: this part of the job is done.
struct Finished;

struct Ping(u64);

struct Pong(u64);

pub(super) fn pingpong(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let n = options.number("n");
    let time = play(node, 1, Game { n, window: 1, bound: 0 }, options.kind())?;
    Ok(vec![Figure::each("rtt", n, time)])
}

pub(super) fn pairs(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (pairs, n) = (options.number("pairs"), options.number("n"));
    let (window, bound) = (options.number("window"), options.number("bound") as usize);
    let time = play(node, pairs, Game { n, window, bound }, options.kind())?;
    Ok(vec![Figure::rate("rate", 2 * pairs * n, time, "msgs/s")])
}

/// What a pair has to do: `n` round trips, `window` of them at a time.
#[derive(Clone, Copy)]
struct Game {
    n: u64,
    window: u64,
    /// Messages that each mailbox holds; 0: unbounded.
    bound: usize,
}

fn with_bound(bound: usize) -> Builder {
    if bound > 0 { Builder::new().mailbox(Limit::messages(bound)) } else { Builder::new() }
}

fn or_panic<T>(spawned: Result<T, BuildError>) -> T {
    spawned.unwrap_or_else(|error| panic!("{error}"))
}

fn play(node: &Node, pairs: u64, game: Game, kind: Kind) -> Result<Duration, Failure> {
    let (time, ()) = first_process(node, move |mut mailbox: Mailbox<Finished>| {
        let main = mailbox.address();
        timed(|| {
            for _ in 0..pairs {
                let builder = with_bound(game.bound).link();
                match kind {
                    Kind::Plain => {
                        or_panic(builder.spawn(move |mailbox: Mailbox<Pong>| pinger(mailbox, game, main)));
                    }
                    Kind::Server => {
                        or_panic(builder.serve(Pinger { game, sent: 0, answered: 0, ponger: None, main }));
                    }
                }
            }
            for _ in 0..pairs {
                mailbox.message();
            }
        })
    })?;
    Ok(time)
}

fn pinger(mut mailbox: Mailbox<Pong>, game: Game, main: Address<Finished>) {
    let pinger = mailbox.address();
    let ponger = or_panic(with_bound(game.bound).spawn(move |mut mailbox: Mailbox<Ping>| {
        loop {
            let Ping(number) = mailbox.message();
            pinger.send(Pong(number));
        }
    }));
    let mut sent = game.n.min(game.window);
    (0..sent).for_each(|number| ponger.send(Ping(number)));
    for expected in 0..game.n {
        let Pong(number) = mailbox.message();
        assert_eq!(number, expected, "answers come in order");
        if sent < game.n {
            ponger.send(Ping(sent));
            sent += 1;
        }
    }
    main.send(Finished);
}

/// The same as a server.
struct Pinger {
    game: Game,
    sent: u64,
    answered: u64,
    ponger: Option<Address<Ping>>,
    main: Address<Finished>,
}

impl Pinger {
    fn ping(&mut self) {
        if let Some(ponger) = self.ponger
            && self.sent < self.game.n
        {
            ponger.send(Ping(self.sent));
            self.sent += 1;
        }
    }
}

struct Ponger(Address<Pong>);

impl Server for Ponger {
    type Message = Ping;

    fn handle(&mut self, received: Received<Ping>) -> Flow {
        if let Received::Message(Ping(number)) = received {
            self.0.send(Pong(number));
        }
        Flow::Continue
    }
}

impl Server for Pinger {
    type Message = Pong;

    fn start(&mut self, me: Address<Pong>) -> Flow {
        self.ponger = Some(or_panic(with_bound(self.game.bound).serve(Ponger(me))));
        (0..self.game.window).for_each(|_| self.ping());
        Flow::Continue
    }

    fn handle(&mut self, received: Received<Pong>) -> Flow {
        let Received::Message(Pong(number)) = received else { return Flow::Continue };
        assert_eq!(number, self.answered, "answers come in order");
        self.answered += 1;
        self.ping();
        if self.answered < self.game.n {
            return Flow::Continue;
        }
        self.main.send(Finished);
        Flow::Stop(ExitReason::Normal)
    }
}

struct Item(u64);

struct Total(u64);

/// The receiver of `fanin`: adds up `count` items.
fn adder(
    builder: Builder,
    kind: Kind,
    count: u64,
    main: Address<Total>,
) -> Result<Address<Item>, BuildError> {
    match kind {
        Kind::Plain => builder.spawn(move |mut mailbox: Mailbox<Item>| {
            let total = (0..count).map(|_| mailbox.message().0).sum();
            main.send(Total(total));
        }),
        Kind::Server => builder.serve(Adder { missing: count, total: 0, main }),
    }
}

struct Adder {
    missing: u64,
    total: u64,
    main: Address<Total>,
}

impl Server for Adder {
    type Message = Item;

    fn handle(&mut self, received: Received<Item>) -> Flow {
        let Received::Message(Item(number)) = received else { return Flow::Continue };
        self.total += number;
        self.missing -= 1;
        if self.missing > 0 {
            return Flow::Continue;
        }
        self.main.send(Total(self.total));
        Flow::Stop(ExitReason::Normal)
    }
}

pub(super) fn fanin(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (senders, n, kind) = (options.number("senders"), options.number("n"), options.kind());
    let bound = options.number("bound") as usize;
    let (time, ()) = first_process(node, move |mut mailbox: Mailbox<Total>| {
        let main = mailbox.address();
        let (time, Total(total)) = timed(|| {
            let receiver = or_panic(adder(with_bound(bound).link(), kind, senders * n, main));
            for _ in 0..senders {
                spawn(move || (1..=n).for_each(|number| receiver.send(Item(number))));
            }
            mailbox.message()
        });
        assert_eq!(total, senders * (n * (n + 1) / 2), "the sum of all items");
        (time, ())
    })?;
    Ok(vec![Figure::rate("rate", senders * n, time, "msgs/s")])
}
