//! What a stranger, or a node that has lost its mind, can send to a node over a real socket: that connection ends, with a named error in the
//! log, within a bounded time; and another node's calls are answered all the while.

#![allow(clippy::disallowed_methods, reason = "tests look at the real clock and block real threads")]

use engset_net::dist::{
    Config, Distribution, Secret,
    frame::{self, Kind, MAX_PAYLOAD},
    handshake::{Handshake, Identity, Limits, Step},
    packet, tcp,
};
use engset_runtime::{
    Address, Config as NodeConfig, ExitReason, Mailbox, Node, Reply, register_mailbox,
    remote::{Remote, parts, register},
    self_pid, sleep, spawn_link,
};
use serde::{Deserialize, Serialize};
use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Mutex, Once, mpsc},
    time::{Duration, Instant},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// After this something hangs.
const NET: Duration = Duration::from_secs(60);
const SECRET: &str = "of these tests";

static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes what is logged.
struct Log;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "engset"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        LOG.lock().expect("no panic").push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Waits until a line with both texts is in the log.
#[track_caller]
fn logged(one: &str, other: &str) {
    let end = Instant::now() + NET;
    loop {
        let log = LOG.lock().expect("no panic").clone();
        if log.iter().any(|line| line.contains(one) && line.contains(other)) {
            return;
        }
        assert!(Instant::now() < end, "nothing with {one:?} and {other:?} in {log:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[derive(Serialize, Deserialize)]
enum Request {
    Double(u32, Reply<u32>),
    /// Two linked processes, by the numbers of their pids.
    Pair(Reply<((u32, u64), (u32, u64))>),
    Alive(u32, u64, Reply<bool>),
}

impl Remote for Request {
    const NAME: &'static str = "tests.bad.Request";
}

fn server(mut mailbox: Mailbox<Request>) {
    register::<Request>();
    register_mailbox("server", &mailbox).expect("the name is free");
    loop {
        match mailbox.message() {
            Request::Double(number, reply) => reply.send(2 * number),
            Request::Pair(reply) => {
                let (tell, told) = mpsc::channel();
                engset_runtime::spawn(move |mut mailbox: Mailbox<u8>| {
                    let other = spawn_link(|mut mailbox: Mailbox<u8>| assert_eq!(mailbox.message(), 0));
                    tell.send((parts(self_pid()), parts(other.pid()))).expect("it waits");
                    mailbox.message();
                });
                let pair = loop {
                    match told.try_recv() {
                        Ok(pair) => break pair,
                        Err(_) => sleep(Duration::from_millis(1)),
                    }
                };
                reply.send(pair);
            }
            Request::Alive(index, serial, reply) => {
                let pid = engset_runtime::remote::pid(self_pid().node(), index, serial);
                reply.send(engset_runtime::is_alive(pid));
            }
        }
    }
}

/// A node with a server, and another one that talks with it.
struct Scene {
    victim: Node,
    address: SocketAddr,
    friend: Node,
    server: Address<Request>,
    counters: Distribution,
}

fn scene() -> Scene {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Log).expect("the first one"));
    let start = || Node::start(NodeConfig::new().workers(1).crash_reports_per_second(0_u32)).expect("a node");
    let free = "127.0.0.1:0".parse().expect("an address");
    let (victim, friend) = (start(), start());
    let (counters, address) =
        tcp::join(&victim, Config::new("victim", Secret::new(SECRET)), free).expect("it joins");
    victim.spawn(server).expect("a process");
    let config = Config::new("friend", Secret::new(SECRET)).address("victim", address.to_string());
    let (distribution, _) = tcp::join(&friend, config, free).expect("it joins");
    let (tell, told) = mpsc::channel();
    let body = move || loop {
        match distribution.lookup::<Request>("victim", "server") {
            Ok(server) => return tell.send(server).expect("the test waits"),
            Err(_) => sleep(Duration::from_millis(10)),
        }
    };
    friend.spawn(body).expect("a process");
    let server = told.recv_timeout(NET).expect("it is found");
    Scene { victim, address, friend, server, counters }
}

impl Scene {
    /// The friend notices nothing.
    #[track_caller]
    fn is_well(&self) {
        assert_eq!(self.server.call_timeout(|reply| Request::Double(21, reply), NET), Ok(42));
    }

    fn end(self) {
        self.is_well();
        assert!(self.friend.stop() & self.victim.stop());
    }
}

/// A connection on which the handshake was done by the rules: a node, but for what it sends next.
fn impostor(address: SocketAddr, name: &str) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(NET))?;
    let limits = Limits { max_packet: 1 << 20, window: 1 << 20, heartbeat: 1000 };
    let own = Identity { cluster: "engset".into(), name: name.into(), creation: 1, features: 0, limits };
    let mut machine = Handshake::dial(own, Secret::new(SECRET), [9; 32], None, Duration::ZERO);
    loop {
        socket.write_all(&machine.take_output())?;
        // One byte after the other: what follows the handshake stays in the socket.
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        let mut bytes = &byte[..];
        let mut step = machine.receive(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        loop {
            step = match step {
                Step::Read => break,
                Step::Confirm => {
                    machine.confirm(true).map_err(|error| io::Error::other(error.to_string()))?
                }
                Step::Done(_) => return Ok(socket),
                Step::Admit(_) => return Err(io::Error::other("who dials admits nobody")),
            };
        }
    }
}

/// Reads until the node closes.
#[track_caller]
fn closed(mut socket: TcpStream) {
    let mut rest = Vec::new();
    match socket.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
}

fn framed(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write(&mut bytes, kind, 0, 0, payload);
    bytes
}

fn batch(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut payload = Vec::new();
    packets.iter().for_each(|bytes| packet::write(&mut payload, bytes));
    framed(Kind::Batch, &payload)
}

fn numbers(out: &mut Vec<u8>, all: &[u64]) {
    all.iter().for_each(|number| packet::write_number(out, *number));
}

#[test]
fn bytes_that_are_no_frames_end_the_connection_by_name() {
    let scene = scene();
    let header = |len: u32, kind: u8| [&len.to_le_bytes()[..], &[kind, 0, 0, 0, 0, 0, 0, 0]].concat();
    let mut bad_check = framed(Kind::Batch, &[1, 0]);
    bad_check[12] ^= 1;
    let mut truncated_packet = Vec::new();
    packet::write_number(&mut truncated_packet, 100);
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("oversized", header(MAX_PAYLOAD as u32 + 1, 2), "is the most"),
        ("negative", header(u32::MAX, 2), "a frame of 4294967295 bytes"),
        ("empty", header(0, 2), "a frame of 0 bytes"),
        ("unknown", header(1, 77), "unknown kind 77"),
        ("check", bad_check, "its bytes have"),
        ("packet", framed(Kind::Batch, &truncated_packet), "goes beyond its frame"),
        ("control", framed(Kind::Control, &[2, 0xc1, 0xc1]), "in a control frame"),
        ("wire", batch(&[vec![0, 99, 0, 0, 0]]), "unknown kind 99"),
    ];
    for (name, bytes, error) in cases {
        let name = format!("frames-{name}");
        let mut socket = impostor(scene.address, &name).expect("it comes in");
        socket.write_all(&bytes).expect("it is sent");
        closed(socket);
        logged(&format!("node={name}"), error);
        scene.is_well();
    }
    // Half a frame, and then the end.
    let mut socket = impostor(scene.address, "frames-half").expect("it comes in");
    let whole = framed(Kind::Batch, &[7; 1000]);
    socket.write_all(&whole[..500]).expect("it is sent");
    socket.shutdown(Shutdown::Write).expect("it is open");
    closed(socket);
    logged("node=frames-half", "has closed the connection");
    scene.end();
}

#[test]
fn messages_that_cannot_be_decoded_are_dropped_by_name_and_many_end_the_connection() {
    let scene = scene();
    let lookup = |name: &str| {
        let mut socket = impostor(scene.address, name).expect("it comes in");
        // A type is announced by its name and what it looks like.
        let fingerprint = register::<Request>().fingerprint();
        let mut control = Vec::new();
        let announced = ("Type", (0_u32, Request::NAME, fingerprint));
        packet::encode(&mut control, &std::collections::BTreeMap::from([announced]));
        let mut payload = Vec::new();
        packet::write(&mut payload, &control);
        socket.write_all(&framed(Kind::Control, &payload)).expect("it is sent");
        socket
    };
    let (index, serial) = parts(scene.server.pid());
    let message = |type_id: u64, body: &[u8]| {
        // Plain, a message, no sender, its receiver, the type; no patience, no alias, no calls.
        let mut bytes = vec![0, 1, 0];
        numbers(&mut bytes, &[u64::from(index), serial, type_id, 0, 0, 0]);
        bytes.extend_from_slice(body);
        bytes
    };
    // Arrays in arrays.
    let mut deep = vec![0x91; 100_000];
    deep.push(0xc0);
    let mut socket = lookup("values-deep");
    let mut frames = batch(&[message(0, &deep[..60_000])]);
    frames.extend_from_slice(&batch(&[message(0, b"\xc1"), message(0, &[0xdd, 255, 255, 255, 255])]));
    socket.write_all(&frames).expect("it is sent");
    logged("node=values-deep", "nested deeper than 32");
    logged("node=values-deep", "not MessagePack");
    logged("node=values-deep", "claims 4294967295 elements");
    assert_eq!(scene.counters.counters("values-deep").refused, 3);
    // Nobody was hurt; after a hundred in a row nothing good is expected.
    scene.is_well();
    let many: Vec<Vec<u8>> = (0..100).map(|_| message(0, b"\xc1")).collect();
    socket.write_all(&batch(&many)).expect("it is sent");
    closed(socket);
    logged("node=values-deep", "in a row that cannot be decoded");
    // A type that was not announced is a breach of the protocol.
    let mut socket = lookup("values-type");
    socket.write_all(&batch(&[message(7, &[0])])).expect("it is sent");
    closed(socket);
    logged("node=values-type", "type 7 was not announced");
    // A request that there is not: refused, and the connection goes on.
    let mut socket = lookup("values-request");
    let mut request = vec![0, 12, 1, 1, 1, 0, 0, 5];
    packet::encode(&mut request, &"Format");
    socket.write_all(&batch(&[request])).expect("it is sent");
    let mut answer = [0; 16];
    socket.read_exact(&mut answer).expect("there is an answer");
    scene.end();
}

/// A process is known by its node, and that is the one at the other end: so nobody can speak for a process of a third node, or of ours.
#[test]
fn a_forged_sender_ends_nobody() {
    let scene = scene();
    let (one, other) = scene.server.call_timeout(Request::Pair, NET).expect("two processes");
    let mut socket = impostor(scene.address, "forger").expect("it comes in");
    // An exit signal by a link, with the numbers of the process that is linked.
    let mut exit = vec![0, 4, 1];
    numbers(&mut exit, &[u64::from(one.0), one.1, u64::from(other.0), other.1]);
    exit.push(1);
    packet::encode(&mut exit, &ExitReason::Kill);
    let mut down = vec![0, 10, 1];
    numbers(&mut down, &[u64::from(one.0), one.1, u64::from(other.0), other.1, 1]);
    packet::encode(&mut down, &engset_runtime::DownReason::NoProc);
    // Its own exit signal, which it may send, says when the others have been seen.
    let (own, _) = scene.server.call_timeout(Request::Pair, NET).expect("two processes");
    let mut kill = vec![0, 4, 1, 1, 1];
    numbers(&mut kill, &[u64::from(own.0), own.1]);
    kill.push(0);
    packet::encode(&mut kill, &ExitReason::Kill);
    socket.write_all(&batch(&[exit, down, kill])).expect("it is sent");
    let alive = |(index, serial)| {
        let asked = scene.server.call_timeout(|reply| Request::Alive(index, serial, reply), NET);
        asked.expect("an answer")
    };
    let end = Instant::now() + NET;
    while alive(own) {
        assert!(Instant::now() < end, "what it may send does not arrive");
    }
    assert!(alive(one) && alive(other));
    drop(socket);
    scene.end();
}

#[test]
fn one_that_sends_a_byte_now_and_then_is_closed() {
    let scene = scene();
    let mut socket = TcpStream::connect(scene.address).expect("it listens");
    let begin = Instant::now();
    // The least number of bytes: the handshake has a time for all of it.
    for byte in b"EGS\x01\xff\x03\x01".iter().cycle() {
        if socket.write_all(&[*byte]).is_err() {
            break;
        }
        assert!(begin.elapsed() < NET, "it is still open");
        std::thread::sleep(Duration::from_millis(200));
    }
    logged("a connection was refused", "");
    scene.is_well();
    scene.end();
}

#[test]
fn strangers_are_in_the_log_by_name() {
    let scene = scene();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"SSH-2.0-x\r\n"] {
        let mut socket = TcpStream::connect(scene.address).expect("it listens");
        socket.set_read_timeout(Some(NET)).expect("a timeout");
        // It may close meanwhile.
        let _ = socket.write_all(bytes);
        closed(socket);
    }
    logged("a connection was refused", "this is no node: it begins with \"GET ");
    logged("a connection was refused", "this is no node: it begins with \"\\x16\\x03");
    logged("a connection was refused", "this is no node: it begins with \"SSH-");
    scene.end();
}

/// Those beyond the bound are closed at once; who is connected does not notice; and when they have gone others come in again.
#[test]
fn ten_thousand_connections_that_say_nothing() {
    const MANY: usize = 10_000;
    let scene = scene();
    let mut open = Vec::new();
    for at in 0..MANY {
        match TcpStream::connect(scene.address) {
            Ok(socket) => open.push(socket),
            // No more descriptors: some of them have to go.
            Err(_) => drop(open.drain(..open.len() / 2)),
        }
        if at % 1000 == 0 {
            scene.is_well();
        }
        // Both ends are in this program, which may have a thousand descriptors.
        if open.len() == 400 {
            open.drain(..200);
        }
    }
    logged("too many connections without a handshake", "");
    scene.is_well();
    drop(open);
    let end = Instant::now() + NET;
    let late = loop {
        match impostor(scene.address, "late") {
            Ok(socket) => break socket,
            Err(error) => assert!(Instant::now() < end, "nobody comes in any more: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    drop(late);
    scene.end();
}
