//! What can happen to a node and to the network between two, with real OS processes and real sockets: each link and each monitor
//! fires once, with the right verdict; then the node is down; and nothing comes back to life.

#![allow(clippy::disallowed_methods, reason = "tests look at the real clock and block real threads")]

#[path = "support/proxy.rs"]
mod proxy;

use engset_net::dist::{Config, Distribution, Secret, tcp};
use engset_runtime::{
    Address, CallError, Config as NodeConfig, DownReason, Event, ExitReason, Mailbox, Node, Received, Reply,
    link, monitor, register_mailbox,
    remote::{Remote, register},
    sleep, spawn, trap_exits,
};
use proxy::{Proxy, Way};
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// After this something hangs.
const NET: Duration = Duration::from_secs(40);
const CHILD: &str = "ENGSET_TEST_CHILD";
const CHILD_SECRET: &str = "ENGSET_TEST_SECRET";
const SECRET: &str = "of these tests";

#[derive(Serialize, Deserialize)]
enum Request {
    Double(u32, Reply<u32>),
    Keep(Reply<u32>),
    Bytes(Vec<u8>, Reply<usize>),
}

impl Remote for Request {
    const NAME: &'static str = "tests.faults.Request";
}

fn server(mut mailbox: Mailbox<Request>) {
    register::<Request>();
    register_mailbox("server", &mailbox).expect("the name is free");
    // It outlives who is linked with it.
    trap_exits(true);
    let mut kept = Vec::new();
    loop {
        match mailbox.receive() {
            Received::Message(Request::Double(number, reply)) => reply.send(2 * number),
            Received::Message(Request::Keep(reply)) => kept.push(reply),
            Received::Message(Request::Bytes(bytes, reply)) => reply.send(bytes.len()),
            Received::Event(_) => {}
        }
    }
}

fn node() -> Node {
    Node::start(NodeConfig::new().workers(1)).expect("a node")
}

/// What the other OS process does: this test binary, started with [`CHILD`] set, runs no other test.
#[test]
fn child() {
    let Ok(address) = std::env::var(CHILD) else { return };
    let address: SocketAddr = address.parse().expect("an address");
    let node = node();
    let secret = std::env::var(CHILD_SECRET).unwrap_or_else(|_| SECRET.to_owned());
    let joined = tcp::join(&node, Config::new("child", Secret::new(secret)), address);
    if let Err(error) = joined {
        panic!("{error}");
    }
    node.spawn(server).expect("a process");
    // Its parent kills it.
    std::thread::sleep(2 * NET);
}

/// The other OS process. It is killed at the end.
struct Other {
    child: Child,
    address: SocketAddr,
}

impl Other {
    fn start() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        Self::start_at(free.expect("a free port"))
    }

    fn start_at(address: SocketAddr) -> Self {
        let child = Command::new(std::env::current_exe().expect("the test binary"))
            .args(["child", "--exact", "--nocapture"])
            .env(CHILD, address.to_string())
            .stdout(Stdio::null())
            .spawn();
        Other { child: child.expect("a child"), address }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it has ended");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find(distribution: &Distribution) -> Address<Request> {
    loop {
        match distribution.lookup("child", "server") {
            Ok(server) => return server,
            // It is starting.
            Err(_) => sleep(Duration::from_millis(20)),
        }
    }
}

/// What a process sees that has a link, two monitors and a call with the other node.
#[derive(Debug)]
struct Seen {
    downs: Vec<DownReason>,
    exits: Vec<ExitReason>,
    call: Result<u32, CallError>,
    /// After the last of those.
    node_down_last: bool,
    /// From the fault to the end of the node.
    noticed: Duration,
    /// What came in the seconds after it.
    later: Vec<String>,
}

/// Waits, in a process, without blocking its worker.
fn awaited<T>(from: &mpsc::Receiver<T>) -> T {
    let end = Instant::now() + NET;
    loop {
        match from.try_recv() {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < end, "it does not come: {error}"),
        }
        sleep(Duration::from_millis(1));
    }
}

/// Connects with the child at `address`, calls `fault` when all relations are there, and returns what comes of it; then goes on with
/// `then`, which gets the address of before.
fn observe<T: Send + 'static>(
    address: SocketAddr,
    fault: impl FnOnce(),
    then: impl FnOnce(&Distribution, Address<Request>) -> T + Send + 'static,
) -> (Seen, T) {
    observe_with(SECRET, address, fault, then)
}

fn observe_with<T: Send + 'static>(
    secret: &str,
    address: SocketAddr,
    fault: impl FnOnce(),
    then: impl FnOnce(&Distribution, Address<Request>) -> T + Send + 'static,
) -> (Seen, T) {
    let node = node();
    let config = Config::new("watcher", Secret::new(secret)).address("child", address.to_string());
    let listen = "127.0.0.1:0".parse().expect("an address");
    let (distribution, _) = tcp::join(&node, config, listen).expect("it joins");
    let (ready, is_ready) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let (fault_at, faulted) = mpsc::channel::<Instant>();
    let body = move |mut mailbox: Mailbox<u32>| {
        trap_exits(true);
        distribution.monitor_nodes(true);
        let server = find(&distribution);
        let Received::Event(Event::NodeUp(_)) = mailbox.receive() else { panic!("no nodeup") };
        link(server);
        monitor(server);
        monitor(server);
        let (answer, answered) = mpsc::channel();
        spawn(move || answer.send(server.call_timeout(Request::Keep, Duration::MAX)).expect("it waits"));
        // All of it has arrived there when this is answered.
        sleep(Duration::from_millis(50));
        assert_eq!(server.call(|reply| Request::Double(21, reply)), Ok(42));
        ready.send(()).expect("the test waits");
        let mut seen = Seen {
            downs: Vec::new(),
            exits: Vec::new(),
            call: Ok(0),
            node_down_last: false,
            noticed: Duration::ZERO,
            later: Vec::new(),
        };
        loop {
            match mailbox.receive() {
                Received::Event(Event::Down(down)) => seen.downs.push(down.reason),
                Received::Event(Event::Exit(exit)) => seen.exits.push(exit.reason),
                Received::Event(Event::NodeDown(_)) => break,
                other => panic!("{other:?}"),
            }
        }
        seen.noticed = awaited(&faulted).elapsed();
        seen.node_down_last = seen.downs.len() == 2 && seen.exits.len() == 1;
        seen.call = awaited(&answered);
        let result = then(&distribution, server);
        let end = Instant::now() + Duration::from_secs(1);
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            match mailbox.receive_timeout(left) {
                None | Some(Received::Event(Event::NodeUp(_))) => {}
                Some(other) => seen.later.push(format!("{other:?}")),
            }
        }
        tell.send((seen, result)).expect("the test waits");
    };
    node.spawn(body).expect("a process");
    is_ready.recv_timeout(NET).expect("they are connected");
    let at = Instant::now();
    fault();
    fault_at.send(at).expect("it waits");
    let seen = told.recv_timeout(NET).expect("the end is seen");
    assert!(node.stop());
    seen
}

#[track_caller]
fn check(seen: &Seen, reason: &DownReason) {
    assert!(seen.node_down_last, "nodedown is not the last: {seen:?}");
    assert_eq!(seen.downs, [reason.clone(), reason.clone()]);
    assert_eq!(seen.exits, [reason.as_exit()]);
    assert_eq!(seen.call, Err(CallError::Down(reason.clone())));
    assert_eq!(seen.later, Vec::<String>::new(), "something came back");
}

#[test]
fn a_killed_node() {
    let mut other = Other::start();
    let address = other.address;
    let (seen, ()) = observe(
        address,
        || other.kill(),
        |_, server| {
            let call = server.call(|reply| Request::Double(1, reply));
            assert_eq!(call, Err(CallError::Down(DownReason::NoConnection)));
        },
    );
    check(&seen, &DownReason::NoConnection);
}

/// A stopped OS process keeps its sockets: only silence tells.
#[test]
fn a_stopped_node() {
    let other = Other::start();
    let (seen, ()) = observe(other.address, || other.signal("-STOP"), |_, _| ());
    other.signal("-CONT");
    check(&seen, &DownReason::NoConnection);
    // Not at once either: a stop of three seconds is nobody's death.
    assert!(seen.noticed > Duration::from_secs(3), "{seen:?}");
}

#[test]
fn a_restarted_node_is_another_one() {
    let mut other = Other::start();
    let address = other.address;
    let mut new = None;
    let (seen, ()) = observe(
        address,
        || {
            other.kill();
            new = Some(Other::start_at(address));
        },
        |distribution, old| {
            let new = find(distribution);
            assert_ne!(old.pid(), new.pid());
            assert_eq!(new.call(|reply| Request::Double(4, reply)), Ok(8));
            assert_eq!(
                old.call(|reply| Request::Double(4, reply)),
                Err(CallError::Down(DownReason::NodeRestarted))
            );
        },
    );
    assert!(new.is_some());
    check(&seen, &DownReason::NoConnection);
}

#[test]
fn a_black_hole() {
    let other = Other::start();
    let proxy = Proxy::new(other.address);
    let (seen, ()) = observe(proxy.address, || proxy.hold_all(), |_, _| ());
    check(&seen, &DownReason::NoConnection);
    assert!(seen.noticed > Duration::from_secs(3), "{seen:?}");
}

/// It hears us, we do not hear it.
#[test]
fn a_line_that_is_dead_in_one_direction() {
    let other = Other::start();
    let proxy = Proxy::new(other.address);
    let (seen, ()) = observe(proxy.address, || proxy.hold(Way::Back), |_, _| ());
    check(&seen, &DownReason::NoConnection);
}

#[test]
fn a_cut_line_and_a_new_connection() {
    let other = Other::start();
    let proxy = Proxy::new(other.address);
    let again = std::sync::Arc::new(proxy);
    let of_process = std::sync::Arc::clone(&again);
    let (seen, ()) = observe(
        again.address,
        || again.cut(),
        move |distribution, old| {
            assert_eq!(
                old.call(|reply| Request::Double(4, reply)),
                Err(CallError::Down(DownReason::NoConnection))
            );
            of_process.accept_again();
            // The same incarnation: the address is good again. The link and the monitors are not.
            assert_eq!(find(distribution).pid(), old.pid());
            assert_eq!(old.call(|reply| Request::Double(4, reply)), Ok(8));
        },
    );
    check(&seen, &DownReason::NoConnection);
}

/// Our end is closed, the other one does not know: it learns it when we come again.
#[test]
fn a_connection_that_is_open_at_one_end_only() {
    let other = Other::start();
    let proxy = Proxy::new(other.address);
    let shared = std::sync::Arc::new(proxy);
    let of_process = std::sync::Arc::clone(&shared);
    let (seen, ()) = observe(
        shared.address,
        || shared.half_open(),
        move |distribution, old| {
            of_process.heal();
            assert_eq!(find(distribution).pid(), old.pid());
            assert_eq!(old.call(|reply| Request::Double(4, reply)), Ok(8));
        },
    );
    check(&seen, &DownReason::NoConnection);
}

#[test]
fn a_byte_that_is_lost_and_a_bit_that_is_turned() {
    for lost in [true, false] {
        let other = Other::start();
        let proxy = Proxy::new(other.address);
        let fault = || if lost { proxy.lose_a_byte() } else { proxy.turn_a_bit() };
        let (seen, ()) = observe(proxy.address, fault, |_, _| ());
        check(&seen, &DownReason::NoConnection);
    }
}

/// Slow and in small pieces is not broken.
#[test]
fn a_slow_line() {
    let other = Other::start();
    let proxy = Proxy::new(other.address);
    proxy.delay(Duration::from_millis(1));
    proxy.pieces(100);
    let (seen, ()) = observe(
        proxy.address,
        || {
            proxy.pieces(0);
            proxy.cut();
        },
        |_, _| (),
    );
    check(&seen, &DownReason::NoConnection);

    let proxy = Proxy::new(other.address);
    proxy.delay(Duration::from_millis(2));
    proxy.pieces(1000);
    let node = node();
    let config = Config::new("sender", Secret::new(SECRET)).address("child", proxy.address.to_string());
    let (distribution, _) =
        tcp::join(&node, config, "127.0.0.1:0".parse().expect("an address")).expect("it joins");
    let (tell, told) = mpsc::channel();
    let body = move || {
        let server = find(&distribution);
        let sent = server.call_timeout(|reply| Request::Bytes(vec![1; 300_000], reply), NET);
        let small = server.call_timeout(|reply| Request::Double(2, reply), NET);
        tell.send((sent, small)).expect("the test waits");
    };
    node.spawn(body).expect("a process");
    assert_eq!(told.recv_timeout(NET), Ok((Ok(300_000), Ok(4))));
    assert!(node.stop());
}

/// The other node in a network namespace of its own, whose link goes down. Where that is not permitted it says so: the black hole of the
/// proxy is the same fault as seen from here.
#[cfg(target_os = "linux")]
#[test]
fn a_network_that_is_cut() {
    let id = std::process::id() % 10_000;
    let (space, here, there) = (format!("egs{id}"), format!("egsa{id}"), format!("egsb{id}"));
    let net = format!("10.{}.{}", 200 + id % 50, id / 50 % 250);
    let ip = |text: &str| {
        let output = Command::new("ip").args(text.split_whitespace()).output();
        output.is_ok_and(|output| output.status.success())
    };
    struct Space<'a>(&'a str);
    impl Drop for Space<'_> {
        fn drop(&mut self) {
            // The link goes with it.
            let _ = Command::new("ip").args(["netns", "del", self.0]).status();
        }
    }
    if !ip(&format!("netns add {space}")) {
        eprintln!("SKIPPED: no network namespace can be made here (it needs root and iproute2)");
        return;
    }
    let _space = Space(&space);
    let steps = [
        format!("link add {here} type veth peer name {there} netns {space}"),
        format!("addr add {net}.1/24 dev {here}"),
        format!("link set {here} up"),
        format!("-n {space} addr add {net}.2/24 dev {there}"),
        format!("-n {space} link set {there} up"),
        format!("-n {space} link set lo up"),
    ];
    for step in &steps {
        if !ip(step) {
            eprintln!("SKIPPED: no pair of virtual interfaces can be made here (ip {step})");
            return;
        }
    }
    let address: SocketAddr = format!("{net}.2:7100").parse().expect("an address");
    // Not loopback: a strong secret.
    let secret: String = (b'a'..=b'z').chain(b'0'..=b'9').map(char::from).collect();
    let child = Command::new("ip")
        .args(["netns", "exec", &space])
        .arg(std::env::current_exe().expect("the test binary"))
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD, address.to_string())
        .env(CHILD_SECRET, &secret)
        .stdout(Stdio::null())
        .spawn();
    let other = Other { child: child.expect("a child"), address };
    let cut = || assert!(ip(&format!("link set {here} down")), "the link goes down");
    let (seen, ()) = observe_with(&secret, other.address, cut, |_, _| ());
    check(&seen, &DownReason::NoConnection);
}
