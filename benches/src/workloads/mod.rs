//! The table of the workloads, and one file for each group of them.

use crate::{
    measure::{Failure, Figure},
    options::{Key, Options},
};
use engset::{Config, Node};

mod big;
mod boxes;
mod call;
mod echo;
mod flat;
mod flood;
mod hog;
mod messaging;
mod monitor;
mod raw_tcp;
mod remote;
mod restart;
mod ring;
mod shared;
mod spawn;
mod timers;

/// One job, defined once for every runtime that is measured.
#[derive(Debug)]
pub struct Workload {
    /// What it is called, here and in the output.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// What can be chosen, besides the number of threads.
    pub keys: &'static [Key],
    /// Does it.
    pub run: fn(&Node, &Options) -> Result<Vec<Figure>, Failure>,
    silent: bool,
}

impl Workload {
    /// The node's settings for this workload.
    #[must_use]
    pub fn config(&self, config: Config) -> Config {
        if self.silent { config.crash_reports_per_second(0) } else { config }
    }
}

const KIND: Key = Key::word("kind", &["plain", "server"], "functions with a stack, or servers without");

/// All of them.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "spawn",
        about: "one process spawns n, one after the other; each sends a message and ends",
        keys: &[
            Key::number("n", 1_000_000, "processes"),
            Key::off("work", "rounds of arithmetic that each does first"),
            KIND,
        ],
        run: spawn::spawn,
        silent: false,
    },
    Workload {
        name: "idle",
        about: "n processes answer one message and wait for another one; memory and time",
        keys: &[Key::number("n", 1_000_000, "processes"), KIND],
        run: spawn::idle,
        silent: false,
    },
    Workload {
        name: "pingpong",
        about: "two processes, one message in flight",
        keys: &[Key::number("n", 2_000_000, "round trips"), KIND],
        run: messaging::pingpong,
        silent: false,
    },
    Workload {
        name: "pairs",
        about: "independent pairs, in each a window of messages in flight; both directions count",
        keys: &[
            Key::number("pairs", 64, "pairs"),
            Key::number("n", 200_000, "round trips of each"),
            Key::number("window", 100, "messages in flight in each"),
            Key::off("bound", "messages that each mailbox holds, at least the window; 0: unbounded"),
            KIND,
        ],
        run: messaging::pairs,
        silent: false,
    },
    Workload {
        name: "fanin",
        about: "senders that send as fast as they can to one receiver",
        keys: &[
            Key::number("senders", 64, "senders"),
            Key::number("n", 200_000, "messages of each"),
            Key::off("bound", "messages that the mailbox holds; senders wait for room; 0: unbounded"),
            Key::word("kind", &["plain", "server"], "of the receiver"),
        ],
        run: messaging::fanin,
        silent: false,
    },
    Workload {
        name: "ring",
        about: "a token goes round a ring of processes",
        keys: &[Key::number("size", 503, "processes"), Key::number("hops", 5_000_000, "hops in total"), KIND],
        run: ring::ring,
        silent: false,
    },
    Workload {
        name: "bigring",
        about: "the same with a ring that is larger than the caches",
        keys: &[
            Key::number("size", 100_000, "processes"),
            Key::number("hops", 2_000_000, "hops in total"),
            KIND,
        ],
        run: ring::ring,
        silent: false,
    },
    Workload {
        name: "big",
        about: "each of n processes pings random others, one ping in flight each",
        keys: &[Key::number("n", 512, "processes"), Key::number("pings", 2000, "pings of each"), KIND],
        run: big::big,
        silent: false,
    },
    Workload {
        name: "skynet",
        about: "a tree of processes with 10^depth leaves, summed up",
        keys: &[Key::number("depth", 6, "levels below the root"), KIND],
        run: spawn::skynet,
        silent: false,
    },
    Workload {
        name: "call",
        about: "request and reply, with the default timeout of 5 s",
        keys: &[Key::number("n", 500_000, "calls"), Key::word("kind", &["plain", "server"], "of the callee")],
        run: call::call,
        silent: false,
    },
    Workload {
        name: "hog",
        about: "a call each millisecond while others compute for ever",
        keys: &[
            Key::number("hogs", 4, "processes that compute"),
            Key::number("seconds", 5, "how long"),
            Key::word("mode", &["instrumented", "native"], "with reduction points, or without any"),
        ],
        run: hog::hog,
        silent: false,
    },
    Workload {
        name: "restart",
        about: "a child crashes on each message, and its supervisor starts it again",
        keys: &[
            Key::number("n", 200_000, "restarts"),
            Key::off("others", "children that do not crash"),
            Key::word("end", &["panic", "stop"], "how it crashes: by a panic, or by stopping with an error"),
        ],
        run: restart::restart,
        silent: true,
    },
    Workload {
        name: "router",
        about: "one process sends n messages to workers, through a router or not",
        keys: &[
            Key::number("n", 5_000_000, "messages"),
            Key::number("workers", 8, "workers"),
            Key::word("way", &["direct", "turn", "random", "two", "least", "key"], "who chooses, and how"),
        ],
        run: shared::router,
        silent: false,
    },
    Workload {
        name: "table",
        about: "processes that use one shared table",
        keys: &[
            Key::number("n", 2_000_000, "operations of each"),
            Key::number("processes", 2, "processes"),
            Key::number("keys", 10_000, "keys"),
            Key::word("kind", &["hash", "ordered"], "of the table"),
            Key::word("op", &["read", "write", "update"], "lookup, insert, or a change in place"),
        ],
        run: shared::table,
        silent: false,
    },
    Workload {
        name: "remote_pingpong",
        about: "two OS processes, a node in each; one message in flight between them",
        keys: &[
            Key::number("n", 100_000, "round trips"),
            Key::number("nodes", 0, "more nodes that are connected with the other one"),
        ],
        run: remote::pingpong,
        silent: false,
    },
    Workload {
        name: "remote_stream",
        about: "n messages from a node to one in another OS process, which answers after the last",
        keys: &[
            Key::number("n", 2_000_000, "messages"),
            Key::number("size", 16, "bytes of each"),
            Key::number("nodes", 0, "more nodes that are connected with the other one"),
        ],
        run: remote::stream,
        silent: false,
    },
    Workload {
        name: "remote_mixed",
        about: "small calls to another node while a process sends it mebibytes; their p99, and the largest gap between heartbeats",
        keys: &[
            Key::number("calls", 20_000, "small calls without the load"),
            Key::number("mebibytes", 1024, "that one process sends"),
        ],
        run: remote::mixed,
        silent: false,
    },
    Workload {
        name: "tcp_pingpong",
        about: "the same as remote_pingpong with blocking sockets alone",
        keys: &[Key::number("n", 100_000, "round trips")],
        run: raw_tcp::pingpong,
        silent: false,
    },
    Workload {
        name: "tcp_stream",
        about: "the same as remote_stream with blocking sockets and buffers alone",
        keys: &[Key::number("n", 2_000_000, "messages"), Key::number("size", 16, "bytes of each")],
        run: raw_tcp::stream,
        silent: false,
    },
    Workload {
        name: "tcp_node",
        about: "the other process of tcp_*, which start it",
        keys: &[Key::number("port", 7100, "where they listen, on 127.0.0.1")],
        run: raw_tcp::node,
        silent: false,
    },
    Workload {
        name: "remote_node",
        about: "the other node of remote_*, which start it; ends with its input",
        keys: &[Key::number("port", 7100, "where it listens, on 127.0.0.1")],
        run: remote::node,
        silent: false,
    },
    Workload {
        name: "timers",
        about: "n timers are set at random times within a minute, and 90 % of them cancelled",
        keys: &[Key::number("n", 1_000_000, "timers")],
        run: timers::timers,
        silent: false,
    },
    Workload {
        name: "echo",
        about: "a TCP server that answers what it gets, until it is ended",
        keys: &[
            Key::off("port", "port on 127.0.0.1; 0: the system chooses one, which is printed"),
            Key::word(
                "kind",
                &["plain", "server"],
                "a function for each connection, or a server in active mode",
            ),
        ],
        run: echo::echo,
        silent: false,
    },
    Workload {
        name: "echo_load",
        about: "loads an echo server from one thread outside of the runtime: each connection has one request under way",
        keys: &[
            Key::number("port", 7777, "of the server, on 127.0.0.1"),
            Key::number("conns", 64, "connections"),
            Key::off("idle", "connections more, which only stay open"),
            Key::number("size", 64, "bytes of a request"),
            Key::number("seconds", 5, "how long"),
        ],
        run: echo::load,
        silent: false,
    },
    Workload {
        name: "connections",
        about: "n idle connections, each with a process (and 64 B to read into) at the server's end; memory of each",
        keys: &[
            Key::number("n", 10_000, "connections"),
            Key::word(
                "kind",
                &["plain", "server"],
                "a function for each connection, or a server in active mode",
            ),
        ],
        run: echo::connections,
        silent: false,
    },
    Workload {
        name: "monitor",
        about: "n processes are spawned and monitored, and told to end",
        keys: &[Key::number("n", 500_000, "processes"), KIND],
        run: monitor::monitor,
        silent: false,
    },
    Workload {
        name: "flat",
        about: "what an operation costs while so many processes are there",
        keys: &[
            Key::number("size", 100_000, "processes"),
            Key::number("n", 200_000, "operations of each sort; of hops as many as processes at least"),
            KIND,
        ],
        run: flat::flat,
        silent: false,
    },
    Workload {
        name: "flood",
        about: "messages that wait in one mailbox, and are then received; memory before, then, and after",
        keys: &[Key::number("n", 1_000_000, "messages"), Key::number("rounds", 2, "rounds of n")],
        run: flood::flood,
        silent: false,
    },
    Workload {
        name: "boxes",
        about: "transfers between accounts, as messages that own a list and a text: the allocator's part",
        keys: &[
            Key::number("accounts", 1000, "processes"),
            Key::number("n", 2000, "transfers that each begins"),
            Key::number("window", 4, "transfers of each that are under way"),
            KIND,
        ],
        run: boxes::boxes,
        silent: false,
    },
    Workload {
        name: "crash",
        about: "n processes panic; memory after each round",
        keys: &[Key::number("n", 1_000_000, "processes"), Key::number("rounds", 2, "rounds of n"), KIND],
        run: monitor::crash,
        silent: true,
    },
];
