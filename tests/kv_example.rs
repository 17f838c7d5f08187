//! The Redis-protocol example, driven by hand and by Redis' own programs.

#![allow(unreachable_pub, reason = "the modules are the example's")]
#![allow(clippy::disallowed_methods, reason = "clients are outside of the runtime")]

#[path = "../examples/kv/server/mod.rs"]
mod server;

use engset::{Config, Node};
use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    sync::mpsc,
    time::Duration,
};

/// A server for one test.
struct Running {
    node: Node,
    port: u16,
}

impl Running {
    fn start() -> Self {
        let node = Node::start(Config::new().workers(2)).expect("a node");
        let (tell, told) = mpsc::channel();
        let serve = move || {
            let listener = server::listen(0).expect("a port");
            tell.send(listener.local_addr().expect("an address").port()).expect("it is awaited");
            server::serve(&listener).expect("it serves for ever");
        };
        node.spawn(serve).expect("room");
        let port = told.recv_timeout(Duration::from_secs(20)).expect("it starts");
        Running { node, port }
    }

    fn talk(&self, input: &str, expected: &str) {
        let mut client = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        client.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
        client.write_all(input.as_bytes()).expect("connected");
        let mut got = vec![0; expected.len()];
        client.read_exact(&mut got).expect("an answer");
        assert_eq!(String::from_utf8_lossy(&got), expected, "after {input:?}");
    }

    fn stop(self) {
        assert!(self.node.stop(), "something is left");
        assert_eq!(self.node.crashes(), 0);
    }
}

#[test]
fn commands_are_answered_in_order_also_in_a_pipeline() {
    let kv = Running::start();
    kv.talk("PING\r\n", "+PONG\r\n");
    kv.talk(
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\nGET none\r\nDEL k none\r\nGET k\r\n",
        "+OK\r\n$5\r\nvalue\r\n$-1\r\n:1\r\n$-1\r\n",
    );
    kv.talk("INCR n\r\nINCRBY n 41\r\nDECR n\r\nGET n\r\n", ":1\r\n:42\r\n:41\r\n$2\r\n41\r\n");
    kv.talk(
        "SET t x\r\nTTL t\r\nEXPIRE t 100\r\nTTL t\r\nTTL none\r\n",
        "+OK\r\n:-1\r\n:1\r\n:100\r\n:-2\r\n",
    );
    kv.talk("EXPIRE t 0\r\nGET t\r\n", ":1\r\n$-1\r\n");
    kv.talk("EXISTS n n none\r\nDBSIZE\r\n", ":2\r\n:1\r\n");
    kv.stop();
}

#[test]
fn bad_input_is_answered_with_what_is_wrong_and_ends_only_its_own_connection() {
    let kv = Running::start();
    kv.talk("NONSENSE\r\nPING\r\n", "-ERR unknown command 'NONSENSE'\r\n+PONG\r\n");
    kv.talk("GET\r\n", "-ERR wrong number of arguments for 'get' command\r\n");
    kv.talk("SET n word\r\nINCR n\r\n", "+OK\r\n-ERR value is not an integer or out of range\r\n");
    kv.talk("SET n 1 EX 0\r\n", "-ERR invalid expire time in 'set' command\r\n");
    kv.talk("*1\r\n!4\r\n", "-ERR Protocol error: expected '$', got '!'\r\n");
    kv.talk("*x\r\n", "-ERR Protocol error: invalid multibulk length \"x\"\r\n");
    kv.talk(
        "*2\r\n$3\r\nGET\r\n$99999999999\r\n",
        "-ERR Protocol error: invalid bulk length \"99999999999\"\r\n",
    );
    kv.talk("PING\r\n", "+PONG\r\n");
    kv.stop();
}

/// Are Redis' programs there? `ENGSET_REQUIRE_REDIS` makes their absence a failure.
fn has_redis() -> bool {
    let found = Command::new("redis-benchmark").arg("--version").output().is_ok();
    assert!(found || std::env::var_os("ENGSET_REQUIRE_REDIS").is_none(), "redis-benchmark is missing");
    if !found {
        eprintln!(
            "redis-benchmark and redis-cli are not installed (Debian: redis-tools): this test has done nothing"
        );
    }
    found
}

#[test]
fn redis_own_programs_are_served() {
    if !has_redis() {
        return;
    }
    let kv = Running::start();
    let port = kv.port.to_string();
    let cli = |words: &[&str]| {
        let output =
            Command::new("redis-cli").args(["-p", &port]).args(words).output().expect("it is installed");
        assert!(output.status.success(), "redis-cli {words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(cli(&["SET", "greeting", "hello"]), "OK");
    assert_eq!(cli(&["GET", "greeting"]), "hello");
    assert!(cli(&["INFO"]).contains("engset kv example"));
    for pipeline in ["1", "16"] {
        let output = Command::new("redis-benchmark")
            .args(["-p", &port, "-t", "ping,set,get,incr", "-n", "5000", "-c", "50", "-P", pipeline, "-q"])
            .output()
            .expect("it is installed");
        let text = String::from_utf8_lossy(&output.stdout).replace('\r', "\n");
        assert!(output.status.success(), "{output:?}");
        for test in ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR"] {
            let is_done = |line: &str| line.starts_with(test) && line.contains("requests per second");
            assert!(text.lines().any(is_done), "{test} is missing in:\n{text}");
        }
        assert!(!text.contains("ERR"), "{text}");
    }
    // It may send some more than it was asked to.
    let counted: u64 = cli(&["GET", "counter:__rand_int__"]).parse().expect("a number");
    assert!((10_000..12_000).contains(&counted), "{counted}");
    kv.stop();
}
