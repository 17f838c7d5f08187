//! Nodes over real sockets, in one OS process and in two; and what strangers send.

#![allow(clippy::disallowed_methods, reason = "tests look at the real clock and block real threads")]

use engset_net::dist::{Config, Distribution, JoinError, Secret, tcp};
use engset_runtime::{
    Address, Builder, CallError, Config as NodeConfig, DownReason, Event, Mailbox, Node, Received, Reply,
    monitor, register_mailbox,
    remote::{Remote, register},
    sleep, yield_now,
};
use serde::{Deserialize, Serialize};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

const NET: Duration = Duration::from_secs(60);
/// For what depends on who is faster.
const ROUNDS: usize = 100;

#[derive(Serialize, Deserialize)]
enum Request {
    Double(u32, Reply<u32>),
    Bytes(Vec<u8>, Reply<usize>),
}

impl Remote for Request {
    const NAME: &'static str = "tests.tcp.Request";
}

fn server(mailbox: Mailbox<Request>) {
    register::<Request>();
    register_mailbox("server", &mailbox).expect("the name is free");
    serve(mailbox);
}

fn serve(mut mailbox: Mailbox<Request>) -> ! {
    loop {
        match mailbox.message() {
            Request::Double(number, reply) => reply.send(2 * number),
            Request::Bytes(bytes, reply) => reply.send(bytes.len()),
        }
    }
}

/// A node on a free port; its name tells it.
fn start(name: &str) -> (Node, Distribution, String, SocketAddr) {
    start_with(name, 1)
}

fn start_with(name: &str, workers: usize) -> (Node, Distribution, String, SocketAddr) {
    // The name has to be known before the port: so a port that was free a moment ago.
    for _ in 0..20 {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let Ok(address) = free else { continue };
        let name = format!("{name}@{address}");
        let node = Node::start(NodeConfig::new().workers(workers)).expect("a node");
        match tcp::join(&node, Config::new(name.clone(), Secret::new("of this test")), address) {
            Ok((distribution, listens)) => {
                assert_eq!(listens, address);
                return (node, distribution, name, address);
            }
            Err(JoinError::Transport(_)) => assert!(node.stop()),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no free port");
}

/// Runs `f` in a process of `node`.
#[track_caller]
fn on<T: Send + 'static>(node: &Node, f: impl FnOnce(Mailbox<u32>) -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    node.spawn(move |mailbox: Mailbox<u32>| drop(tell.send(f(mailbox)))).expect("a process");
    told.recv_timeout(NET).expect("the process returns a value")
}

fn find(distribution: &Distribution, node: &str) -> Address<Request> {
    loop {
        match distribution.lookup(node, "server") {
            Ok(server) => return server,
            // It may not have its name yet.
            Err(_) => sleep(Duration::from_millis(10)),
        }
    }
}

fn wait_until(what: impl Fn() -> bool) {
    let end = Instant::now() + NET;
    while !what() {
        assert!(Instant::now() < end, "it does not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn calls_and_large_messages_over_sockets() {
    let ((one, a, ..), (two, _b, there, _)) = (start("a"), start("b"));
    two.spawn(server).expect("a process");
    let server = on(&one, move |_| {
        let server = find(&a, &there);
        for number in 0..500 {
            assert_eq!(server.call(|reply| Request::Double(number, reply)), Ok(2 * number));
        }
        for size in [1000, 100_000, 5 << 20] {
            // Code that is not optimised decodes this byte by byte.
            let call = |reply| Request::Bytes(vec![1; size], reply);
            assert_eq!(server.call_timeout(call, NET), Ok(size));
        }
        server
    });
    // And from a thread that is no process.
    assert_eq!(server.call(|reply| Request::Double(4, reply)), Ok(8));
    assert!(one.stop() & two.stop());
}

#[test]
fn a_small_call_is_answered_while_others_send_much() {
    let ((one, a, ..), (two, _b, there, _)) = (start("a"), start("b"));
    two.spawn(server).expect("a process");
    on(&one, move |_| {
        let server = find(&a, &there);
        engset_runtime::spawn(move || {
            for _ in 0..10 {
                let size = 4 << 20;
                assert_eq!(server.call(|reply| Request::Bytes(vec![1; size], reply)), Ok(size));
            }
        });
        for number in 0..100 {
            assert_eq!(server.call(|reply| Request::Double(number, reply)), Ok(2 * number));
        }
    });
    assert!(one.stop() & two.stop());
}

/// What a [`sink`] is sent.
#[derive(Serialize, Deserialize)]
enum Item {
    Number(u64),
    /// Is answered by a message.
    Tell(Address<u32>, u32),
    Count(Reply<u64>),
}

impl Remote for Item {
    const NAME: &'static str = "tests.tcp.Item";
}

/// Counts numbers that must come in order.
fn sink(name: &str, mut mailbox: Mailbox<Item>) {
    register::<Item>();
    register_mailbox(name, &mailbox).expect("the name is free");
    let mut expected = 0;
    loop {
        match mailbox.message() {
            Item::Number(number) => {
                assert_eq!(number, expected, "{name}");
                expected += 1;
            }
            Item::Tell(to, what) => to.send(what),
            Item::Count(reply) => reply.send(expected),
        }
    }
}

fn find_sink(distribution: &Distribution, node: &str, name: &str) -> Address<Item> {
    loop {
        match distribution.lookup(node, name) {
            Ok(sink) => return sink,
            // It may not have its name yet.
            Err(_) => sleep(Duration::from_millis(10)),
        }
    }
}

#[test]
fn messages_keep_their_order_while_the_socket_follows_their_receivers() {
    let ((one, a, ..), (two, _b, there, _)) = (start_with("a", 2), start_with("b", 3));
    for name in ["first", "second", "third"] {
        Builder::new().spread().spawn_on(&two, move |mailbox| sink(name, mailbox)).expect("a process");
    }
    on(&one, move |mailbox| {
        let sinks = ["first", "second", "third"].map(|name| find_sink(&a, &there, name));
        let mut sent = [0_u64; 3];
        // One after the other is the only one for a while. Now and then it answers: then its worker writes, and reads as well.
        for phase in 0..60 {
            let at = phase % 3;
            for turn in 0..50_u32 {
                for _ in 0..1 + phase % 5 {
                    sinks[at].send(Item::Number(sent[at]));
                    sent[at] += 1;
                }
                if turn as usize % 4 < phase % 4 {
                    sinks[at].send(Item::Tell(mailbox.address(), turn));
                }
                if phase % 2 == 0 {
                    sleep(Duration::from_micros(50));
                } else {
                    yield_now();
                }
            }
            assert_eq!(sinks[at].call(Item::Count), Ok(sent[at]));
        }
    });
    assert!(one.stop() & two.stop());
}

#[test]
fn the_socket_moves_to_the_worker_of_an_only_receiver() {
    let ((one, a, ..), (two, _b, there, _)) = (start("a"), start_with("b", 3));
    for name in ["first", "second", "third"] {
        Builder::new().spread().spawn_on(&two, move |mailbox| sink(name, mailbox)).expect("a process");
    }
    for name in ["first", "second", "third"] {
        let (a, there) = (a.clone(), there.clone());
        let sink = on(&one, move |_| find_sink(&a, &there, name));
        let crossed = || two.metrics().iter().map(|worker| worker.remote).sum::<u64>();
        // Until its messages do not cross from worker to worker any more.
        let mut sent = 0;
        let end = Instant::now() + NET;
        loop {
            let before = crossed();
            sent = on(&one, move |_| {
                for number in sent..sent + 100 {
                    sink.send(Item::Number(number));
                    sleep(Duration::from_micros(50));
                }
                assert_eq!(sink.call(Item::Count), Ok(sent + 100));
                sent + 100
            });
            if crossed() - before < 50 {
                break;
            }
            assert!(Instant::now() < end, "{name}: the socket does not move");
        }
    }
    assert!(one.stop() & two.stop());
}

#[test]
fn many_nodes_talk_to_each_other() {
    let nodes: Vec<_> = (0..6).map(|number| start(&format!("n{number}"))).collect();
    for (node, ..) in &nodes {
        node.spawn(server).expect("a process");
    }
    let names: Vec<String> = nodes.iter().map(|(_, _, name, _)| name.clone()).collect();
    for (node, distribution, own, _) in &nodes {
        let (distribution, names, own) = (distribution.clone(), names.clone(), own.clone());
        on(node, move |_| {
            for name in names.iter().filter(|name| **name != own) {
                assert_eq!(find(&distribution, name).call(|reply| Request::Double(1, reply)), Ok(2));
            }
        });
    }
    for (_, distribution, ..) in &nodes {
        assert_eq!(distribution.nodes().len(), 5);
    }
    assert!(nodes.iter().all(|(node, ..)| node.stop()));
}

/// Who dials hears that a connection stands, in the handshake, before his own peer process does: his attempt must not replace it.
#[test]
fn two_that_dial_at_once_make_one_connection() {
    for round in 0..ROUNDS {
        let ((one, a, here, _), (two, b, there, _)) = (start_with("a", 2), start_with("b", 2));
        for node in [&one, &two] {
            let (ready, is_ready) = mpsc::channel();
            let body = move |mailbox| {
                register::<Request>();
                register_mailbox("server", &mailbox).expect("the name is free");
                ready.send(()).expect("the test waits");
                serve(mailbox);
            };
            node.spawn(body).expect("a process");
            is_ready.recv_timeout(NET).expect("it is ready");
        }
        let (tell, told) = mpsc::channel();
        for (node, distribution, other) in [(&one, a, there), (&two, b, here)] {
            let tell = tell.clone();
            let body = move |mut mailbox: Mailbox<u32>| {
                // The other may have been faster altogether.
                let already = distribution.monitor_nodes(true).len();
                let server: Result<Address<Request>, _> = distribution.lookup(&other, "server");
                let answer = server.map(|server| server.call(|reply| Request::Double(21, reply)));
                // Time for what a second connection would bring.
                sleep(Duration::from_millis(20));
                let mut events = vec![true; already];
                while let Some(received) = mailbox.try_receive() {
                    events.push(format!("{received:?}").starts_with("Event(NodeUp"));
                }
                tell.send((format!("{answer:?}"), events)).expect("the test waits");
            };
            node.spawn(body).expect("a process");
        }
        for _ in 0..2 {
            let told = told.recv_timeout(NET).expect("it is told");
            assert_eq!(told, ("Ok(Ok(42))".to_owned(), vec![true]), "round {round}");
        }
        assert!(one.stop() & two.stop());
    }
}

#[test]
fn when_a_node_stops_the_others_are_told() {
    let ((one, a, ..), (two, _b, there, _)) = (start("a"), start("b"));
    two.spawn(server).expect("a process");
    let (ready, is_ready) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let body = move |mut mailbox: Mailbox<u32>| {
        let server = find(&a, &there);
        a.monitor_nodes(true);
        monitor(server);
        assert_eq!(server.call(|reply| Request::Double(1, reply)), Ok(2));
        ready.send(()).expect("the test waits");
        let Received::Event(Event::Down(down)) = mailbox.receive() else { panic!("no Down") };
        let Received::Event(Event::NodeDown(_)) = mailbox.receive() else { panic!("no nodedown after it") };
        tell.send((down.reason, server.call(|reply| Request::Double(1, reply)))).expect("the test waits");
    };
    one.spawn(body).expect("a process");
    is_ready.recv_timeout(NET).expect("it is ready");
    assert!(two.stop());
    let (reason, call) = told.recv_timeout(NET).expect("it is told");
    assert!(matches!(reason, DownReason::Exited(_) | DownReason::NoConnection), "{reason}");
    assert_eq!(call, Err(CallError::Down(DownReason::NoConnection)));
    assert!(one.stop());
}

#[test]
fn nodes_of_two_programs_talk_and_a_killed_one_is_noticed() {
    if let Ok(address) = std::env::var("ENGSET_TEST_LISTEN") {
        let address: SocketAddr = address.parse().expect("an address");
        let node = Node::start(NodeConfig::new().workers(1)).expect("a node");
        let name = format!("child@{address}");
        let joined = tcp::join(&node, Config::new(name, Secret::new("of this test")), address);
        assert!(joined.is_ok());
        node.spawn(server).expect("a process");
        std::thread::sleep(NET);
        return;
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let address = free.expect("a free port");
    let mut child = Command::new(std::env::current_exe().expect("the test binary"))
        .args(["nodes_of_two_programs_talk_and_a_killed_one_is_noticed", "--exact"])
        .env("ENGSET_TEST_LISTEN", address.to_string())
        .stdout(Stdio::null())
        .spawn()
        .expect("a child");
    let (one, a, ..) = start("a");
    let (ready, is_ready) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let body = move |mut mailbox: Mailbox<u32>| {
        let server = find(&a, &format!("child@{address}"));
        monitor(server);
        assert_eq!(server.call(|reply| Request::Double(21, reply)), Ok(42));
        ready.send(()).expect("the test waits");
        let Received::Event(Event::Down(down)) = mailbox.receive() else { panic!("no Down") };
        tell.send(down.reason).expect("the test waits");
    };
    one.spawn(body).expect("a process");
    let is_ready = is_ready.recv_timeout(NET);
    child.kill().expect("it runs");
    child.wait().expect("it has ended");
    assert_eq!(is_ready, Ok(()));
    assert_eq!(told.recv_timeout(NET), Ok(DownReason::NoConnection));
    assert!(one.stop());
}

/// The node closes, and says nothing.
fn closes_silently(address: SocketAddr, bytes: &[u8]) {
    let mut stranger = TcpStream::connect(address).expect("it listens");
    stranger.set_read_timeout(Some(NET)).expect("a timeout");
    // It may close while we still write.
    let _ = stranger.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stranger.read_to_end(&mut answer);
    assert_eq!(answer, b"", "to {bytes:?}");
}

#[test]
fn strangers_are_sent_away_and_nobody_else_notices() {
    let ((one, a, ..), (two, _b, there, address)) = (start("a"), start("b"));
    two.spawn(server).expect("a process");
    closes_silently(address, b"GET / HTTP/1.1\r\nHost: engset\r\n\r\n");
    closes_silently(address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    closes_silently(address, b"EGS\x01\xff\xff");
    closes_silently(address, b"EGS\x01\x05\x00\x01\x91\x91\x91\x91");
    // Many that say nothing: those beyond the bound are closed at once.
    let silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    drop(silent);
    on(&one, move |_| {
        assert_eq!(find(&a, &there).call(|reply| Request::Double(2, reply)), Ok(4));
    });
    assert!(one.stop() & two.stop());
}

#[test]
fn who_has_another_secret_does_not_come_in() {
    let (two, b, there, _) = start("b");
    let node = Node::start(NodeConfig::new().workers(1)).expect("a node");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let (a, _) =
        tcp::join(&node, Config::new("a@nowhere", Secret::new("a guess")), listen).expect("it joins");
    let error = on(&node, move |_| a.connect(&there)).expect_err("no connection");
    assert!(matches!(error, engset_net::dist::RemoteError::Call(CallError::Down(DownReason::NoConnection))));
    assert!(b.nodes().is_empty());
    wait_until(|| b.nodes().is_empty());
    assert!(node.stop() & two.stop());
}

#[test]
fn a_weak_secret_does_not_listen_where_others_are() {
    let node = Node::start(NodeConfig::new().workers(1)).expect("a node");
    let listen = "0.0.0.0:0".parse().expect("an address");
    let error =
        tcp::join(&node, Config::new("a@nowhere", Secret::new("short")), listen).expect_err("refused");
    assert!(matches!(error, JoinError::WeakSecret(_)), "{error}");
    assert!(error.to_string().contains("5 bytes"), "{error}");
    assert!(node.stop());
}
