//! HTTP on processes: a hyper service, and a client of few lines.

#![cfg(feature = "hyper")]
#![allow(clippy::disallowed_methods, reason = "tests look at the real clock and block real threads")]

mod support;

use engset_net::{TcpListener, TcpStream, http};
use engset_runtime::{
    DownReason, ExitReason, Mailbox, future, kill, now, self_pid, sleep, spawn, spawn_monitor,
};
use hyper::{Request, Response, StatusCode, body::Incoming, service::service_fn};
use std::{
    convert::Infallible,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use support::{down_of, process};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(60);

/// Requests that have begun: each for one test.
static SLOW: AtomicUsize = AtomicUsize::new(0);
static FOR_EVER: AtomicUsize = AtomicUsize::new(0);

async fn answer(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    let text = match request.uri().path() {
        "/pid" => self_pid().to_string(),
        "/slow" => {
            future::sleep(50 * MS).await;
            "slow".to_owned()
        }
        "/slow-at-the-end" => {
            SLOW.fetch_add(1, Ordering::Release);
            future::sleep(50 * MS).await;
            "slow".to_owned()
        }
        "/for-ever" => {
            FOR_EVER.fetch_add(1, Ordering::Release);
            future::sleep(Duration::MAX).await;
            unreachable!()
        }
        "/blocks" => {
            // Like any process: its connection waits, and nobody else.
            sleep(5 * MS);
            "blocked".to_owned()
        }
        "/panic" => panic!("asked for"),
        "/big" => "x".repeat(1_000_000),
        path => {
            let mut response = Response::new(format!("no {path}"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            return Ok(response);
        }
    };
    Ok(Response::new(text))
}

fn start(server: http::Server) -> (http::Serving, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let serving = server.serve(listener, service_fn(answer)).expect("it starts");
    let address = serving.local_addr().expect("it listens");
    (serving, address)
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn new(address: SocketAddr) -> Self {
        Client(BufReader::new(TcpStream::connect(address).expect("it listens")))
    }

    fn ask(&mut self, path: &str) {
        // It may be closed already: then there is no answer.
        let _ = write!(self.0.get_mut(), "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
    }

    /// Status and body; `None`: the connection was closed.
    fn answer(&mut self) -> Option<(u16, String)> {
        let mut line = String::new();
        if self.0.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).ok()?;
            if line.trim().is_empty() {
                break;
            }
            if let Some(number) = line.strip_prefix("content-length: ") {
                length = number.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        Some((status, String::from_utf8(body).ok()?))
    }

    fn get(&mut self, path: &str) -> Option<(u16, String)> {
        self.ask(path);
        self.answer()
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    let start = now();
    while !condition() {
        assert!(now() - start < Duration::from_secs(20), "waited for too long");
        sleep(MS);
    }
}

#[test]
fn each_connection_is_a_process_of_its_own() {
    process(|_: &mut Mailbox<()>| {
        let (serving, address) = start(http::Server::new());
        let (mut one, mut other) = (Client::new(address), Client::new(address));
        let first = one.get("/pid").expect("an answer");
        assert_eq!(first.0, 200);
        assert_eq!(one.get("/pid").expect("kept alive"), first);
        assert_ne!(other.get("/pid").expect("an answer"), first);
        assert_eq!(one.get("/nowhere"), Some((404, "no /nowhere".to_owned())));
        assert_eq!(one.get("/big").expect("an answer").1.len(), 1_000_000);
        // Two requests at once.
        one.ask("/slow");
        one.ask("/blocks");
        assert_eq!(one.answer(), Some((200, "slow".to_owned())));
        assert_eq!(one.answer(), Some((200, "blocked".to_owned())));
        assert_eq!(serving.connections(), 2);
        drop((one, other));
        wait_until(|| serving.connections() == 0);
        assert!(serving.shutdown(LONG));
    });
}

#[test]
fn a_panic_closes_its_connection_only() {
    process(|_: &mut Mailbox<()>| {
        let (serving, address) = start(http::Server::new());
        let (mut one, mut other) = (Client::new(address), Client::new(address));
        assert!(other.get("/pid").is_some());
        assert_eq!(one.get("/panic"), None);
        assert!(other.get("/pid").is_some());
        let mut garbage = Client::new(address);
        write!(garbage.0.get_mut(), "this is no HTTP\r\n\r\n").expect("it reads");
        // It is told so, or closed.
        assert!(garbage.answer().is_none_or(|(status, _)| status == 400));
        assert!(other.get("/pid").is_some());
        drop(other);
        assert!(serving.shutdown(LONG));
    });
}

#[test]
fn an_end_in_good_order_answers_what_is_under_way() {
    process(|mailbox: &mut Mailbox<Option<(u16, String)>>| {
        let me = mailbox.address();
        let before = SLOW.load(Ordering::Acquire);
        let (serving, address) = start(http::Server::new());
        let mut idle = Client::new(address);
        assert!(idle.get("/pid").is_some());
        let mut busy = Client::new(address);
        spawn(move || {
            busy.ask("/slow-at-the-end");
            me.send(busy.answer());
            me.send(busy.get("/pid"));
        });
        wait_until(|| SLOW.load(Ordering::Acquire) > before);
        assert!(serving.shutdown(LONG));
        assert_eq!(mailbox.message(), Some((200, "slow".to_owned())));
        assert_eq!(mailbox.message(), None, "closed after that");
        assert_eq!(idle.answer(), None, "closed at once");
        assert!(TcpStream::connect(address).is_err(), "nobody listens");
        assert!(serving.shutdown(LONG), "and again");
    });
}

#[test]
fn what_does_not_end_is_killed() {
    process(|_: &mut Mailbox<()>| {
        let (serving, address) = start(http::Server::new());
        let mut client = Client::new(address);
        let before = FOR_EVER.load(Ordering::Acquire);
        client.ask("/for-ever");
        wait_until(|| FOR_EVER.load(Ordering::Acquire) > before);
        assert!(!serving.shutdown(20 * MS));
        assert_eq!(client.answer(), None);
        assert_eq!(serving.connections(), 0);
    });
}

#[test]
fn connections_die_with_the_process_that_serves() {
    process(|mailbox: &mut Mailbox<(http::Serving, SocketAddr)>| {
        let me = mailbox.address();
        let (owner, reference) = spawn_monitor(move || {
            me.send(start(http::Server::new()));
            sleep(Duration::MAX);
        });
        let (serving, address) = mailbox.message();
        let mut client = Client::new(address);
        assert!(client.get("/pid").is_some());
        kill(owner);
        assert_eq!(down_of(mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
        assert_eq!(client.answer(), None);
        wait_until(|| serving.connections() == 0);
    });
}

#[test]
fn more_connections_than_allowed_wait() {
    process(|_: &mut Mailbox<()>| {
        let (serving, address) = start(http::Server::new().max_connections(2));
        let (mut one, mut two, mut three) =
            (Client::new(address), Client::new(address), Client::new(address));
        assert!(one.get("/pid").is_some() && two.get("/pid").is_some());
        three.ask("/pid");
        sleep(20 * MS);
        assert_eq!(serving.connections(), 2);
        drop(one);
        assert!(three.answer().is_some(), "its turn has come");
        drop((two, three));
        assert!(serving.shutdown(LONG));
    });
}

#[test]
fn a_client_that_says_nothing_is_closed() {
    process(|_: &mut Mailbox<()>| {
        let (serving, address) = start(http::Server::new().header_read_timeout(Some(30 * MS)));
        let mut client = Client::new(address);
        assert!(client.get("/pid").is_some());
        // In the middle of a head: it is told so, or just closed.
        write!(client.0.get_mut(), "GET / HTTP/1.1\r\n").expect("it reads");
        let mut rest = Vec::new();
        let _ = client.0.read_to_end(&mut rest);
        wait_until(|| serving.connections() == 0);
        // A slow answer is no silence.
        let mut client = Client::new(address);
        assert_eq!(client.get("/slow"), Some((200, "slow".to_owned())));
        drop(client);
        assert!(serving.shutdown(LONG));
    });
}
