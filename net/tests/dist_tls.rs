//! Nodes whose connections are encrypted, and who does not get in.

#![allow(clippy::disallowed_methods, reason = "tests look at the real clock and block real threads")]

use engset_net::dist::{Config, Distribution, Secret, certs::Authority, tcp, tls};
use engset_runtime::{
    Address, Config as NodeConfig, Mailbox, Node, Reply, register_mailbox,
    remote::{Remote, register},
    sleep,
};
use serde::{Deserialize, Serialize};
use std::{
    io::{Read, Write},
    net::SocketAddr,
    process::Command,
    sync::mpsc,
    time::Duration,
};

const NET: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
enum Request {
    Double(u32, Reply<u32>),
    Bytes(Vec<u8>, Reply<usize>),
}

impl Remote for Request {
    const NAME: &'static str = "tests.tls.Request";
}

fn server(mut mailbox: Mailbox<Request>) {
    register::<Request>();
    register_mailbox("server", &mailbox).expect("the name is free");
    loop {
        match mailbox.message() {
            Request::Double(number, reply) => reply.send(2 * number),
            Request::Bytes(bytes, reply) => reply.send(bytes.len()),
        }
    }
}

fn credentials(authority: &Authority, node: &str) -> tls::Credentials {
    let (certificate, made) =
        (authority.certificate().expect("it is signed"), authority.certify(node).expect("it is signed"));
    tls::Credentials::from_pem(certificate.as_bytes(), made.certificate.as_bytes(), made.key.as_bytes())
        .expect("they belong together")
}

fn config(name: &str) -> Config {
    Config::new(name, Secret::new("of this test"))
}

fn free() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// A node with a server, encrypted.
fn listen(authority: &Authority) -> (Node, SocketAddr) {
    let node = Node::start(NodeConfig::new().workers(1)).expect("a node");
    let (_, address) = tls::join(&node, config("b"), free(), credentials(authority, "b")).expect("it joins");
    node.spawn(server).expect("a process");
    (node, address)
}

/// Runs `f` in a process of `node`.
#[track_caller]
fn on<T: Send + 'static>(node: &Node, f: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    node.spawn(move || drop(tell.send(f()))).expect("a process");
    told.recv_timeout(NET).expect("the process returns a value")
}

fn find(distribution: &Distribution) -> Address<Request> {
    loop {
        match distribution.lookup("b", "server") {
            Ok(server) => return server,
            // It may not have its name yet.
            Err(_) => sleep(Duration::from_millis(10)),
        }
    }
}

#[test]
fn calls_and_large_messages_are_encrypted() {
    let authority = Authority::new("tests").expect("a key");
    let (two, address) = listen(&authority);
    let one = Node::start(NodeConfig::new().workers(1)).expect("a node");
    let config = config("a").address("b", address.to_string());
    let (a, _) = tls::join(&one, config, free(), credentials(&authority, "a")).expect("it joins");
    on(&one, move || {
        let server = find(&a);
        for number in 0..200 {
            assert_eq!(server.call(|reply| Request::Double(number, reply)), Ok(2 * number));
        }
        for size in [1000, 100_000, 5 << 20] {
            let sent = server.call_timeout(|reply| Request::Bytes(vec![1; size], reply), NET);
            assert_eq!(sent, Ok(size));
        }
    });
    assert!(one.stop() & two.stop());
}

#[test]
fn other_authorities_and_plain_nodes_do_not_come_in() {
    let authority = Authority::new("tests").expect("a key");
    let (two, address) = listen(&authority);
    let one = Node::start(NodeConfig::new().workers(1)).expect("a node");
    let other = Authority::new("tests").expect("a key");
    let to_b = |name| config(name).address("b", address.to_string());
    let (a, _) = tls::join(&one, to_b("a"), free(), credentials(&other, "a")).expect("it joins");
    on(&one, move || a.connect("b").expect_err("another authority"));
    assert!(one.stop());
    // The right secret alone.
    let one = Node::start(NodeConfig::new().workers(1)).expect("a node");
    let (a, _) = tcp::join(&one, to_b("a"), free()).expect("it joins");
    on(&one, move || a.connect("b").expect_err("no encryption"));
    assert!(one.stop());
    // And the other way round: nobody is talked to who does not show a certificate.
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = stranger.local_addr().expect("an address");
    let one = Node::start(NodeConfig::new().workers(1)).expect("a node");
    let to_it = config("a").address("b", address.to_string());
    let (a, _) = tls::join(&one, to_it, free(), credentials(&authority, "a")).expect("it joins");
    let thread = std::thread::spawn(move || {
        let (mut socket, _) = stranger.accept().expect("it is dialled");
        let mut first = [0; 5];
        socket.read_exact(&mut first).expect("it says hello");
        // It may have closed.
        let _ = socket.write_all(b"EGS\x01and then something");
        first
    });
    on(&one, move || a.connect("b").expect_err("no node"));
    // The record of a handshake, and nothing of ours.
    assert_eq!(thread.join().expect("it returns")[0], 0x16);
    assert!(one.stop() & two.stop());
}

#[test]
fn credentials_that_do_not_belong_together_are_refused() {
    let authority = Authority::new("tests").expect("a key");
    let (one, two) = (authority.certify("a").expect("signed"), authority.certify("b").expect("signed"));
    let certificate = authority.certificate().expect("signed");
    let check = |authority: &str, chain: &str, key: &str| {
        let made = tls::Credentials::from_pem(authority.as_bytes(), chain.as_bytes(), key.as_bytes());
        made.expect_err("they are no credentials").kind()
    };
    let invalid = std::io::ErrorKind::InvalidInput;
    assert_eq!(check(&certificate, &one.certificate, &two.key), invalid);
    assert_eq!(check("", &one.certificate, &one.key), invalid);
    assert_eq!(check(&certificate, "nothing", &one.key), invalid);
    assert_eq!(check(&certificate, &one.certificate, "nothing"), invalid);
}

#[test]
fn the_program_makes_certificates_that_work() {
    let folder = std::env::temp_dir().join(format!("engset-certs-{}", std::process::id()));
    let folder_text = folder.to_str().expect("a path");
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_engset-certs")).args(arguments).output().expect("it runs")
    };
    assert!(run(&["authority", "shop", folder_text]).status.success());
    assert!(run(&["node", "shop", folder_text, "a"]).status.success());
    let text = |name: &str| std::fs::read(folder.join(name)).expect("a file");
    tls::Credentials::from_pem(&text("authority.pem"), &text("a.pem"), &text("a.key")).expect("they work");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(folder.join("a.key")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Nothing is overwritten; mistakes are told.
    let again = run(&["authority", "shop", folder_text]);
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("authority.key"), "{again:?}");
    assert_eq!(run(&["authority"]).status.code(), Some(2));
    assert!(String::from_utf8_lossy(&run(&["--help"]).stdout).contains("engset-certs node"));
    std::fs::remove_dir_all(folder).expect("it is ours");
}
