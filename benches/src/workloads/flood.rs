//! `flood`: a mailbox that grows long, and what it leaves behind.

use crate::{
    measure::{Failure, Figure, first_process, resident, timed},
    options::Options,
};
use engset::{Address, Item, Mailbox, Node, envelope_memory, spawn};
use std::time::Duration;

enum Message {
    Number(u64),
    /// All are there.
    Begin,
}

/// Takes nothing before it is told to, then everything in order.
fn receiver(n: u64, main: Address<()>) -> Address<Message> {
    spawn(move |mut mailbox: Mailbox<Message>| {
        mailbox.select(|item| matches!(item, Item::Message(Message::Begin)));
        for expected in 0..n {
            match mailbox.message() {
                Message::Number(number) => assert_eq!(number, expected, "in order"),
                Message::Begin => panic!("it was taken already"),
            }
        }
        main.send(());
    })
}

pub(super) fn flood(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (n, rounds) = (options.number("n"), options.number("rounds"));
    let megabytes = |name: String, bytes: u64| Figure::new(name, bytes as f64 / 1e6, "MB");
    first_process(node, move |mut mailbox: Mailbox<()>| {
        let (mut sending, mut receiving) = (Duration::ZERO, Duration::ZERO);
        let mut memory = vec![megabytes("rss0".to_owned(), resident())];
        for round in 1..=rounds {
            let receiver = receiver(n, mailbox.address());
            let (time, ()) = timed(|| (0..n).for_each(|number| receiver.send(Message::Number(number))));
            sending += time;
            memory.push(megabytes(format!("full{round}"), resident()));
            let (time, ()) = timed(|| {
                receiver.send(Message::Begin);
                mailbox.message();
            });
            receiving += time;
            memory.push(megabytes(format!("rss{round}"), resident()));
            memory.push(megabytes(format!("cells{round}"), envelope_memory() as u64));
        }
        let mut figures = vec![
            Figure::rate("send", n * rounds, sending, "msgs/s"),
            Figure::rate("receive", n * rounds, receiving, "msgs/s"),
        ];
        figures.append(&mut memory);
        figures
    })
}
