//! File descriptors: at their limit, and none is leaked. One test, for the limit is the whole program's.

mod support;

use engset_net::{TcpListener, TcpStream};
use engset_runtime::{Builder, Mailbox, kill, sleep, spawn, spawn_monitor};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    io::{Read, Write},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use support::{down_of, process, wait_until};
use tracing::{Event, Level, Metadata, Subscriber, span};

static WARNINGS: AtomicUsize = AtomicUsize::new(0);

/// Counts warnings.
struct Counting;

impl Subscriber for Counting {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target() == "engset"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        WARNINGS.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Memory in use, in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("it is Linux");
    let pages = text.split_whitespace().nth(1).and_then(|word| word.parse::<usize>().ok());
    pages.expect("a number") * rustix::param::page_size()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("it is Linux").count()
}

#[test]
fn descriptors_come_to_their_limit_and_are_given_back() {
    tracing::subscriber::set_global_default(Counting).expect("the only one");
    process::<()>(ten_thousand_connections_leak_nothing);
    process::<()>(a_listener_without_descriptors_waits_and_recovers);
}

fn ten_thousand_connections_leak_nothing(mailbox: &mut Mailbox<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let serve = move || {
                let mut byte = [0];
                while let Ok(1) = stream.read(&mut byte) {
                    if byte[0] == b'!' {
                        panic!("on purpose");
                    }
                    let _ = stream.write_all(&byte);
                }
            };
            Builder::new().spread().spawn(serve).expect("room");
        }
    });
    let processes = engset_runtime::processes().len();
    let round = |count: usize| {
        for at in 0..count {
            let mut client = TcpStream::connect(address).expect("it listens");
            client.set_linger(Some(Duration::ZERO)).expect("connected");
            match at % 4 {
                0 => {}
                1 => client.write_all(b"!").expect("connected"),
                _ => {
                    client.write_all(b"x").expect("connected");
                    client.read_exact(&mut [0]).expect("connected");
                }
            }
        }
    };
    round(1000);
    let alone = || engset_runtime::processes().len() <= processes;
    wait_until(alone);
    let (before, memory) = (descriptors(), resident());
    round(10_000);
    wait_until(alone);
    wait_until(|| descriptors() <= before);
    // A kilobyte that stays of each would be 10 MB.
    let grown = resident().saturating_sub(memory);
    assert!(grown < 8_000_000, "{grown} bytes more than before 10,000 connections");
    let reference = engset_runtime::monitor(server);
    kill(server);
    down_of(mailbox, reference);
}

fn a_listener_without_descriptors_waits_and_recovers(mailbox: &mut Mailbox<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (server, reference) = spawn_monitor(move || {
        loop {
            let (mut stream, _) = listener.accept().expect("it waits, and does not fail");
            spawn(move || stream.write_all(b"hello").expect("connected"));
        }
    });
    // The listener's process has a poller now.
    drop(TcpStream::connect(address).expect("it listens"));
    let before = getrlimit(Resource::Nofile);
    let warnings = WARNINGS.load(Ordering::Relaxed);
    // The clients have theirs before the limit comes down.
    let mut clients: Vec<_> = (0..3)
        .map(|_| socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket"))
        .collect();
    sleep(Duration::from_millis(20));
    // Descriptors are given out from the lowest free number: none is below the limit.
    let mut fillers = Vec::new();
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum: before.maximum }).expect("lower");
    while let Ok(file) = std::fs::File::open("/dev/null") {
        fillers.push(file);
    }
    for client in &clients {
        client.connect(&address.into()).expect("the system accepts for the listener");
    }
    sleep(Duration::from_millis(100));
    assert_eq!(WARNINGS.load(Ordering::Relaxed), warnings + 1, "it is reported once");
    assert!(engset_runtime::is_alive(server));
    fillers.clear();
    setrlimit(Resource::Nofile, before).expect("as it was");
    for client in &mut clients {
        let mut got = Vec::new();
        // The test's own sockets are std's: on a thread, for they block.
        let mut client: std::net::TcpStream = client.try_clone().expect("a descriptor").into();
        let got = engset_runtime::blocking(move || client.read_to_end(&mut got).map(|_| got));
        assert_eq!(got.expect("connected"), b"hello");
    }
    kill(server);
    down_of(mailbox, reference);
}
