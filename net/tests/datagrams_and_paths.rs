//! UDP, and sockets with paths.

mod support;

use engset_net::{TcpListener, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use engset_runtime::{Config, Mailbox, kill, run_with, spawn, spawn_monitor};
use std::{
    io::{ErrorKind, Read, Write},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use support::{down_of, kind, process};

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("engset-net-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn datagrams_go_to_and_fro() {
    process::<()>(|mailbox| {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = server.local_addr().expect("an address");
        let (pid, reference) = spawn_monitor(move || {
            let mut buffer = [0; 2048];
            loop {
                let (count, from) = server.recv_from(&mut buffer).expect("a datagram");
                server.send_to(&buffer[..count], from).expect("room");
            }
        });
        let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
        client.connect(address).expect("an address");
        for size in [0, 1, 1000] {
            let data = vec![size as u8; size];
            assert_eq!(client.send(&data).expect("room"), size);
            let mut got = [0; 2048];
            assert_eq!(client.recv(&mut got).expect("an answer"), size);
            assert_eq!(got[..size], data);
        }
        client.set_read_timeout(Some(Duration::from_millis(5))).expect("not zero");
        assert_eq!(kind(client.recv(&mut [0])), ErrorKind::TimedOut);
        kill(pid);
        down_of(mailbox, reference);
        // Nobody is there any more: the system tells, with the next one at the latest.
        client.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
        let refused = client.send(b"x").and_then(|_| client.recv(&mut [0]));
        assert_eq!(kind(refused), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn connections_by_paths() {
    process::<()>(|mailbox| {
        let folder = Folder::new();
        let path = folder.0.join("socket");
        assert_eq!(kind(UnixStream::connect(&path)), ErrorKind::NotFound);
        let listener = UnixListener::bind(&path).expect("a path");
        assert_eq!(kind(UnixListener::bind(&path)), ErrorKind::AddrInUse);
        let (server, reference) = spawn_monitor(move || {
            loop {
                let mut stream = listener.accept().expect("a connection");
                spawn(move || {
                    let mut text = String::new();
                    stream.read_to_string(&mut text).expect("a text");
                    stream.write_all(text.to_uppercase().as_bytes()).expect("half open");
                });
            }
        });
        for _ in 0..50 {
            let mut client = UnixStream::connect(&path).expect("it listens");
            client.write_all(b"question").expect("connected");
            client.shutdown(std::net::Shutdown::Write).expect("connected");
            let mut got = String::new();
            client.read_to_string(&mut got).expect("connected");
            assert_eq!(got, "QUESTION");
        }
        kill(server);
        down_of(mailbox, reference);
        assert_eq!(kind(UnixStream::connect(&path)), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn datagrams_by_paths_wait_for_room() {
    process::<()>(|mailbox| {
        let folder = Folder::new();
        let path = folder.0.join("socket");
        let receiver = UnixDatagram::bind(&path).expect("a path");
        let to = path.clone();
        let (_, one) = spawn_monitor(move || {
            let socket = UnixDatagram::unbound().expect("a descriptor");
            for number in 0..500_u32 {
                socket.send_to(&number.to_le_bytes(), &to).expect("somebody is there");
            }
        });
        for number in 0..500_u32 {
            let mut got = [0; 8];
            assert_eq!(receiver.recv(&mut got).expect("a datagram"), 4);
            assert_eq!(got[..4], number.to_le_bytes());
        }
        down_of(mailbox, one);

        let (left, right) = UnixDatagram::pair().expect("descriptors");
        let (_, other) = spawn_monitor(move || {
            for number in 0..500_u32 {
                left.send(&number.to_le_bytes()).expect("connected");
            }
        });
        for number in 0..500_u32 {
            let mut got = [0; 8];
            assert_eq!(right.recv_from(&mut got).expect("a datagram").0, 4);
            assert_eq!(got[..4], number.to_le_bytes());
        }
        down_of(mailbox, other);
    });
}

#[test]
fn systematic_mode_has_no_real_sockets_and_says_so() {
    // A socket from outside cannot be waited for there either.
    let outside = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let run = run_with(Config::new().seed(1), move || {
        let refused = [
            kind(TcpListener::bind("127.0.0.1:0")),
            kind(engset_net::TcpStream::connect("127.0.0.1:1")),
            kind(UdpSocket::bind("127.0.0.1:0")),
            kind(UnixStream::pair()),
            kind(UnixDatagram::unbound()),
            kind(outside.recv(&mut [0])),
        ];
        assert_eq!(refused, [ErrorKind::Unsupported; 6]);
        let error = TcpListener::bind("127.0.0.1:0").expect_err("refused");
        assert!(error.to_string().contains("systematic mode"), "{error}");
        let waiting = spawn(|mut mailbox: Mailbox<()>| mailbox.message());
        waiting.send(());
    });
    run.expect("nothing else happens");
}
