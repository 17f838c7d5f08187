//! `router` and `table`: what many processes share.

use crate::{
    measure::{Failure, Figure, first_process, timed},
    options::Options,
};
use engset::{
    Address, Flow, Mailbox, Node, Received, Reply, serve_with, spawn_link,
    stdlib::{OrderedTable, Router, Routing, Table},
};

enum Work {
    Item,
    HowMany(Reply<u64>),
}

fn worker() -> Address<Work> {
    serve_with(0_u64, |count, received| {
        match received {
            Received::Message(Work::Item) => *count += 1,
            Received::Message(Work::HowMany(reply)) => reply.send(*count),
            Received::Event(_) => {}
        }
        Flow::Continue
    })
}

pub(super) fn router(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (n, workers, way) = (options.number("n"), options.number("workers"), options.word("way"));
    let (time, ()) = first_process(node, move |_mailbox: Mailbox<()>| {
        let all: Vec<Address<Work>> = (0..workers).map(|_| worker()).collect();
        let routing = match way {
            "least" => Routing::LeastLoaded,
            "two" => Routing::TwoChoices,
            "random" => Routing::Random,
            _ => Routing::RoundRobin,
        };
        let router = Router::new(routing, all.iter().copied());
        timed(|| {
            match way {
                "direct" => all.iter().cycle().take(n as usize).for_each(|worker| worker.send(Work::Item)),
                "key" => (0..n).for_each(|key| drop(router.send_keyed(&key, Work::Item))),
                _ => (0..n).for_each(|_| drop(router.send(Work::Item))),
            }
            // Behind all that was sent.
            let done: u64 = all.iter().map(|worker| worker.call(Work::HowMany).unwrap_or(0)).sum();
            assert_eq!(done, n, "messages that were received");
        })
    })?;
    Ok(vec![Figure::rate("rate", n, time, "msgs/s")])
}

pub(super) fn table(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (n, processes, keys) = (options.number("n"), options.number("processes"), options.number("keys"));
    let (kind, op) = (options.word("kind"), options.word("op"));
    let (time, ()) = first_process(node, move |mut mailbox: Mailbox<()>| {
        let (hash, tree) = (Table::new(), OrderedTable::new());
        for key in 0..keys {
            assert_eq!((hash.insert(key, key), tree.insert(key, key)), (Ok(None), Ok(None)));
        }
        let me = mailbox.address();
        timed(|| {
            for seed in 0..processes {
                let (hash, tree) = (hash.clone(), tree.clone());
                spawn_link(move || {
                    let mut key = seed;
                    for _ in 0..n {
                        // Knuth's generator: each process goes its own way through the keys.
                        key = key
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        let at = (key >> 33) % keys;
                        let found = match (kind, op) {
                            ("hash", "read") => hash.lookup(&at).is_ok(),
                            ("hash", "write") => hash.insert(at, key).is_ok(),
                            ("hash", _) => hash.update(&at, |value| *value = key).is_ok(),
                            (_, "read") => tree.lookup(&at).is_ok(),
                            (_, "write") => tree.insert(at, key).is_ok(),
                            _ => tree.update(&at, |value| *value = key).is_ok(),
                        };
                        assert!(found, "the table is there");
                    }
                    me.send(());
                });
            }
            (0..processes).for_each(|_| mailbox.message());
        })
    })?;
    Ok(vec![Figure::rate("rate", n * processes, time, "ops/s")])
}
