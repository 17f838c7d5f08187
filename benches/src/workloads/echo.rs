//! `echo`: a TCP server with a process for each connection, and what drives it from outside.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests and benchmarks look at the real clock and block real threads"
)]

use crate::{
    measure::{Failure, Figure, first_process, quantile, resident},
    options::Options,
};
use engset::{Address, Builder, ExitReason, Flow, Mailbox, Node, Received, Server};
use engset_net::{Active, TcpEvent, TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Most that a connection reads at a time.
const BUFFER: usize = 4096;
/// The same where memory is measured: the workload's request. A buffer on the stack costs its pages.
const REQUEST: usize = 64;

/// A process with a stack.
fn serve<const BUFFER: usize>(mut stream: TcpStream) {
    let mut buffer = [0; BUFFER];
    loop {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) if stream.write_all(&buffer[..count]).is_ok() => {}
            _ => return,
        }
    }
}

/// A process without one.
struct Connection(TcpStream);

impl Server for Connection {
    type Message = TcpEvent;

    fn start(&mut self, me: Address<TcpEvent>) -> Flow {
        match self.0.activate(me, Active::Once, |event| event) {
            Ok(()) => Flow::Continue,
            Err(error) => Flow::Stop(ExitReason::error(error.to_string())),
        }
    }

    fn handle(&mut self, received: Received<TcpEvent>) -> Flow {
        match received {
            Received::Message(TcpEvent::Data(data))
                if self.0.write_all(&data).is_ok() && self.0.set_active(Active::Once).is_ok() =>
            {
                Flow::Continue
            }
            _ => Flow::Stop(ExitReason::Normal),
        }
    }
}

fn accept<const BUFFER: usize>(listener: &TcpListener, servers: bool) -> io::Result<()> {
    let (stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let builder = Builder::new().spread();
    let spawned = if servers {
        builder.serve(Connection(stream)).map(drop)
    } else {
        builder.spawn(move || serve::<BUFFER>(stream)).map(drop)
    };
    spawned.map_err(io::Error::other)
}

/// Room for as many connections as the system lets us have.
fn raise_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If it cannot be raised, connections fail, and that is seen.
    let _ = setrlimit(Resource::Nofile, limit);
}

pub(super) fn echo(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    raise_limit();
    let (port, servers) = (options.number("port"), options.word("kind") == "server");
    first_process(node, move |_: Mailbox<()>| {
        let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap_or_else(|error| {
            panic!("port {port}: {error}");
        });
        if port == 0 {
            println!("echo port {} number", listener.local_addr().map_or(0, |address| address.port()));
        }
        loop {
            if let Err(error) = accept::<BUFFER>(&listener, servers) {
                eprintln!("echo: {error}");
            }
        }
    })
}

/// One connection of the load: a request, and the answer to it.
struct Client {
    stream: mio::net::TcpStream,
    sent: Instant,
    got: usize,
}

impl Client {
    fn ask(&mut self, request: &[u8]) {
        self.sent = Instant::now();
        self.got = 0;
        // The server has answered everything before: there is room.
        match self.stream.write(request) {
            Ok(count) if count == request.len() => {}
            other => panic!("a request was not written: {other:?}"),
        }
    }

    /// The time that the request has taken, if its answer is complete.
    fn look(&mut self, buffer: &mut [u8], size: usize) -> Option<Duration> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => panic!("the server has closed a connection"),
                Ok(count) => {
                    self.got += count;
                    if self.got == size {
                        return Some(self.sent.elapsed());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("a connection of the load: {error}"),
            }
        }
    }
}

pub(super) fn load(_: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    raise_limit();
    let address = SocketAddr::from(([127, 0, 0, 1], options.number("port") as u16));
    let size = options.number("size") as usize;
    let length = Duration::from_secs(options.number("seconds"));
    let connect = || {
        std::net::TcpStream::connect(address)
            .and_then(|stream| {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Ok(stream)
            })
            .unwrap_or_else(|error| panic!("{address}: {error}"))
    };
    let idle: Vec<_> = (0..options.number("idle")).map(|_| connect()).collect();
    let broken = |error: io::Error| -> ! { panic!("the load's poller: {error}") };
    let mut poll = Poll::new().unwrap_or_else(|error| broken(error));
    let mut clients: Vec<Client> = (0..options.number("conns"))
        .map(|at| {
            let mut stream = mio::net::TcpStream::from_std(connect());
            poll.registry()
                .register(&mut stream, Token(at as usize), Interest::READABLE)
                .unwrap_or_else(|error| broken(error));
            Client { stream, sent: Instant::now(), got: 0 }
        })
        .collect();
    let request = vec![b'x'; size];
    let mut buffer = vec![0; size];
    let mut events = Events::with_capacity(1024);
    let mut times = Vec::with_capacity(4_000_000);
    let start = Instant::now();
    for client in &mut clients {
        client.ask(&request);
    }
    let mut left = clients.len();
    while left > 0 {
        if let Err(error) = poll.poll(&mut events, None)
            && error.kind() != ErrorKind::Interrupted
        {
            broken(error);
        }
        for event in &events {
            let client = &mut clients[event.token().0];
            if let Some(time) = client.look(&mut buffer, size) {
                times.push(time);
                if start.elapsed() < length {
                    client.ask(&request);
                } else {
                    left -= 1;
                }
            }
        }
    }
    let time = start.elapsed();
    drop(idle);
    times.sort_unstable();
    let micros = |name, share| Figure::new(name, quantile(&times, share).as_nanos() as f64 / 1e3, "us");
    Ok(vec![
        Figure::rate("rate", times.len() as u64, time, "req/s"),
        micros("p50", 0.5),
        micros("p99", 0.99),
        micros("p999", 0.999),
    ])
}

/// Connects, and is served once each: what the server's end touches it has touched.
fn connect(address: SocketAddr, count: u64) -> io::Result<Vec<std::net::TcpStream>> {
    (0..count)
        .map(|_| {
            let mut client = std::net::TcpStream::connect(address)?;
            client.write_all(b"hello")?;
            client.read_exact(&mut [0; 5])?;
            Ok(client)
        })
        .collect()
}

pub(super) fn connections(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    raise_limit();
    let (count, servers) = (options.number("n"), options.word("kind") == "server");
    first_process(node, move |_: Mailbox<()>| {
        let failed = |error: io::Error| -> ! { panic!("{error}") };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| failed(error));
        let address = listener.local_addr().unwrap_or_else(|error| failed(error));
        engset::spawn(move || {
            loop {
                if let Err(error) = accept::<REQUEST>(&listener, servers) {
                    eprintln!("connections: {error}");
                }
            }
        });
        // The clients are the standard library's, on a thread: they keep nothing but the descriptor.
        let connect =
            |count| engset::blocking(move || connect(address, count)).unwrap_or_else(|error| failed(error));
        let first = connect(100);
        let (before, start) = (resident(), Instant::now());
        let clients = connect(count);
        let time = start.elapsed();
        let bytes = resident().saturating_sub(before) as f64 / count as f64;
        // Closing thousands of sockets takes a while.
        engset::blocking(move || drop((first, clients)));
        vec![Figure::new("bytes", bytes, "B/connection"), Figure::rate("rate", count, time, "connections/s")]
    })
}
