//! `big`: everybody pings everybody else.

use crate::{
    measure::{Failure, Figure, first_process, timed},
    options::{Kind, Options},
};
use engset::{Address, Flow, Mailbox, Node, Random, Received, Server, serve, spawn};
use std::sync::Arc;

/// To the first process: one has had all its answers.
struct Finished;

/// To a process of `big`.
enum Message {
    Start(Arc<[Address<Message>]>),
    Ping { from: Address<Message>, number: u64 },
    Pong(u64),
}

/// A process of `big`: number `place` among the peers.
struct Peer {
    place: usize,
    peers: Arc<[Address<Message>]>,
    random: Random,
    sent: u64,
    pings: u64,
    main: Address<Finished>,
}

impl Peer {
    fn take(&mut self, message: Message) {
        match message {
            Message::Ping { from, number } => from.send(Message::Pong(number)),
            Message::Start(peers) => {
                self.peers = peers;
                self.ping();
            }
            Message::Pong(number) => {
                assert_eq!(number, self.sent, "the answer to the ping in flight");
                if self.sent < self.pings { self.ping() } else { self.main.send(Finished) }
            }
        }
    }

    /// To any process but this one.
    fn ping(&mut self) {
        let other = self.random.below(self.peers.len() as u64 - 1) as usize;
        let to = self.peers[if other < self.place { other } else { other + 1 }];
        self.sent += 1;
        to.send(Message::Ping { from: self.peers[self.place], number: self.sent });
    }
}

impl Server for Peer {
    type Message = Message;

    fn handle(&mut self, received: Received<Message>) -> Flow {
        if let Received::Message(message) = received {
            self.take(message);
        }
        Flow::Continue
    }
}

pub(super) fn big(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (n, pings, kind) = (options.number("n"), options.number("pings"), options.kind());
    let (time, ()) = first_process(node, move |mut mailbox: Mailbox<Finished>| {
        assert!(n > 1, "nobody to send to");
        let main = mailbox.address();
        let peers: Arc<[_]> = (0..n as usize)
            .map(|place| {
                let random = Random::new(place as u64);
                let mut peer = Peer { place, peers: Arc::default(), random, sent: 0, pings, main };
                match kind {
                    Kind::Plain => spawn(move |mut mailbox: Mailbox<Message>| {
                        loop {
                            peer.take(mailbox.message());
                        }
                    }),
                    Kind::Server => serve(peer),
                }
            })
            .collect();
        timed(|| {
            peers.iter().for_each(|peer| peer.send(Message::Start(Arc::clone(&peers))));
            for _ in 0..n {
                mailbox.message();
            }
        })
    })?;
    Ok(vec![Figure::rate("rate", 2 * n * pings, time, "msgs/s")])
}
