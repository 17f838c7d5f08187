//! `ring`, `bigring`: a token goes round.

use crate::{
    measure::{Failure, Figure, first_process, timed},
    options::{Kind, Options},
};
use engset::{Address, Flow, Mailbox, Node, Received, Server, serve, spawn};

/// To a member of the ring.
pub(super) enum Message {
    /// Closes the ring.
    Next(Address<Message>),
    /// So many hops are left.
    Token(u64),
}

/// To the first process: the token has made its hops.
pub(super) struct Finished;

/// One process of the ring.
struct Member {
    next: Option<Address<Message>>,
    main: Address<Finished>,
}

impl Member {
    fn take(&mut self, message: Message) {
        match (message, self.next) {
            (Message::Next(next), _) => self.next = Some(next),
            (Message::Token(0), _) => self.main.send(Finished),
            (Message::Token(left), Some(next)) => next.send(Message::Token(left - 1)),
            (Message::Token(_), None) => panic!("a token in a ring that is not closed"),
        }
    }

    fn join(mut self, kind: Kind) -> Address<Message> {
        match kind {
            Kind::Plain => spawn(move |mut mailbox: Mailbox<Message>| {
                loop {
                    self.take(mailbox.message());
                }
            }),
            Kind::Server => serve(self),
        }
    }
}

impl Server for Member {
    type Message = Message;

    fn handle(&mut self, received: Received<Message>) -> Flow {
        if let Received::Message(message) = received {
            self.take(message);
        }
        Flow::Continue
    }
}

/// All members.
pub(super) fn closed_ring(size: u64, kind: Kind, main: Address<Finished>) -> Vec<Address<Message>> {
    let first = Member { next: None, main }.join(kind);
    let mut members = vec![first];
    for _ in 1..size {
        let next = members.last().copied();
        members.push(Member { next, main }.join(kind));
    }
    first.send(Message::Next(members[members.len() - 1]));
    members
}

pub(super) fn ring(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (size, hops, kind) = (options.number("size"), options.number("hops"), options.kind());
    let (time, ()) = first_process(node, move |mut mailbox: Mailbox<Finished>| {
        let main = mailbox.address();
        let first = closed_ring(size, kind, main)[0];
        // A lap that does not count, so that every process has run and waits.
        first.send(Message::Token(size));
        mailbox.message();
        timed(|| {
            first.send(Message::Token(hops));
            mailbox.message();
        })
    })?;
    Ok(vec![Figure::each("hop", hops, time)])
}
