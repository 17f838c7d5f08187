//! Encrypted streams over carriers that do not block, and in active mode.

#[path = "support/authority.rs"]
mod authority;
mod support;

use authority::Authority;
use engset_net::{
    Active, TcpEvent, TcpStream, UnixStream,
    tls::{Carrier, Plain, TlsStream},
};
use engset_runtime::{Builder, Mailbox, Reply, sleep, spawn, spawn_monitor};
use proptest::prelude::*;
use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    sync::{Arc, Mutex},
    time::Duration,
};
use support::{down_of, kind, pair, process};

/// One direction of a connection in memory.
#[derive(Default)]
struct Pipe {
    data: VecDeque<u8>,
    closed: bool,
}

/// One end of it: it takes and gives few bytes at a time, and now and then none.
struct Fitful {
    from: Arc<Mutex<Pipe>>,
    to: Arc<Mutex<Pipe>>,
    /// Used in turn: the most bytes that go through; 0: it would block.
    portions: Vec<usize>,
    at: usize,
}

impl Fitful {
    fn portion(&mut self) -> io::Result<usize> {
        self.at += 1;
        match self.portions[self.at % self.portions.len()] {
            0 => Err(ErrorKind::WouldBlock.into()),
            portion => Ok(portion),
        }
    }
}

impl Read for Fitful {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let portion = self.portion()?.min(buffer.len());
        let mut pipe = self.from.lock().expect("not poisoned");
        if pipe.data.is_empty() && !pipe.closed {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = portion.min(pipe.data.len());
        for (place, byte) in buffer.iter_mut().zip(pipe.data.drain(..count)) {
            *place = byte;
        }
        Ok(count)
    }
}

impl Write for Fitful {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.portion()?.min(data.len());
        self.to.lock().expect("not poisoned").data.extend(&data[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Carrier for Fitful {
    fn timeouts(&self) -> [Option<Duration>; 2] {
        [None; 2]
    }

    fn set_timeouts(&self, _: [Option<Duration>; 2]) -> io::Result<()> {
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        self.to.lock().expect("not poisoned").closed = true;
        Ok(())
    }
}

fn ready<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        result => Some(result.expect("no other error")),
    }
}

/// Sends `data` from one end to the other, each step as far as it goes.
fn through(from: &mut TlsStream<Fitful>, to: &mut TlsStream<Fitful>, data: &[u8]) -> Vec<u8> {
    let (mut sent, mut got) = (0, Vec::new());
    let mut buffer = [0; 777];
    while got.len() < data.len() {
        if sent < data.len() {
            sent += ready(from.write(&data[sent..])).unwrap_or(0);
        } else {
            let _ = ready(from.flush());
        }
        if let Some(count) = ready(to.read(&mut buffer)) {
            assert_ne!(count, 0, "an end too early");
            got.extend_from_slice(&buffer[..count]);
        }
    }
    got
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn carriers_that_do_not_block_and_give_little_change_nothing(
        portions in prop::collection::vec(prop_oneof![Just(0_usize), 1_usize..9, 100_usize..5000], 1..12)
            .prop_filter("something must go through", |all| all.iter().any(|portion| *portion > 0)),
        data in prop::collection::vec(any::<u8>(), 1..40_000),
    ) {
        let authority = Authority::new();
        let (one, other) = (Arc::<Mutex<Pipe>>::default(), Arc::<Mutex<Pipe>>::default());
        let end = |from: &Arc<Mutex<Pipe>>, to: &Arc<Mutex<Pipe>>, at| {
            // A pause and a portion of the same remainder would never meet: one more portion.
            let portions = portions.iter().copied().chain([17]).collect();
            Fitful { from: Arc::clone(from), to: Arc::clone(to), portions, at }
        };
        let mut client =
            authority.connector().begin("localhost", end(&one, &other, 0)).expect("a name");
        let mut server = authority.acceptor().begin(end(&other, &one, 3)).expect("a server");
        let (mut shaken, mut steps) = ([false; 2], 0);
        while shaken != [true; 2] {
            shaken = [ready(client.handshake()).is_some(), ready(server.handshake()).is_some()];
            steps += 1;
            prop_assert!(steps < 100_000, "it does not end");
        }
        prop_assert_eq!(&through(&mut client, &mut server, &data), &data);
        prop_assert_eq!(&through(&mut server, &mut client, &data), &data);
        while ready(client.shutdown()).is_none() {}
        let end = loop {
            if let Some(count) = ready(server.read(&mut [0; 9])) {
                break count;
            }
        };
        prop_assert_eq!(end, 0);
    }
}

fn tls_pair() -> (TlsStream, TlsStream) {
    let authority = Authority::new();
    let (client, server) = pair();
    let acceptor = authority.acceptor();
    let serving = spawn(move |mut mailbox: Mailbox<Reply<TlsStream>>| {
        let stream = acceptor.accept(server).expect("a handshake");
        mailbox.message().send(stream);
    });
    let client = authority.connector().connect("localhost", client).expect("a handshake");
    (client, serving.call_timeout(|reply| reply, support::NET).expect("a handshake"))
}

/// What the next message brings, until it is something.
fn next(mailbox: &mut Mailbox<TcpEvent>, stream: &mut TlsStream) -> Plain {
    loop {
        let event = mailbox.message();
        let plain = stream.receive(event).expect("no error");
        if !plain.closed {
            stream.set_active(Active::Once).expect("active");
        }
        if plain != Plain::default() {
            return plain;
        }
    }
}

#[test]
fn in_active_mode_data_come_as_messages() {
    process::<TcpEvent>(|mailbox| {
        let (mut client, mut server) = tls_pair();
        server.activate(mailbox.address(), Active::Once, |event| event).expect("a process");
        for round in 0..20_u8 {
            client.write_all(&[round; 100]).expect("connected");
            let mut got = Vec::new();
            while got.len() < 100 {
                got.extend(next(mailbox, &mut server).data);
            }
            assert_eq!(got, [round; 100]);
            // It answers from the same process.
            server.write_all(&[round]).expect("connected");
            let mut byte = [0];
            client.read_exact(&mut byte).expect("connected");
            assert_eq!(byte, [round]);
        }
        client.write_all(b"last").expect("connected");
        client.close().expect("connected");
        let mut got = Vec::new();
        let mut closed = false;
        while !closed {
            let plain = next(mailbox, &mut server);
            got.extend(plain.data);
            closed = plain.closed;
        }
        assert_eq!(got, b"last");
    });
}

#[test]
fn in_active_mode_what_was_read_before_comes_first_and_a_cut_is_an_error() {
    process::<TcpEvent>(|mailbox| {
        let authority = Authority::new();
        let (client, server) = pair();
        let connector = authority.connector();
        let (_, reference) = spawn_monitor(move || {
            let mut stream = connector.connect("localhost", client).expect("a handshake");
            // It has read all that has come, so that its end is no reset; but it does not say that it is the end.
            stream.read_exact(&mut [0]).expect("connected");
            stream.write_all(b"early").expect("connected");
        });
        let mut server = authority.acceptor().accept(server).expect("a handshake");
        server.write_all(b"k").expect("connected");
        // One byte is read, so the rest is inside.
        let mut byte = [0];
        server.read_exact(&mut byte).expect("connected");
        down_of(mailbox, reference);
        assert_eq!(kind(server.set_active(Active::Once)), ErrorKind::InvalidInput);
        server.activate(mailbox.address(), Active::Count(1), |event| event).expect("a process");
        let first = mailbox.message();
        let got = server.receive(first).expect("no error");
        assert!(got.data == b"arly" && !got.closed, "{got:?}");
        assert!(matches!(mailbox.message(), TcpEvent::Passive));
        server.set_active(Active::Always).expect("active");
        let last = mailbox.message();
        assert_eq!(kind(server.receive(last)), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn many_encrypted_connections_at_once() {
    process::<u32>(|mailbox| {
        let authority = Authority::new();
        let (acceptor, connector) = (authority.acceptor(), authority.connector());
        for client in 0..40_u32 {
            let (near, far) = UnixStream::pair().expect("descriptors");
            let (acceptor, connector, results) = (acceptor.clone(), connector.clone(), mailbox.address());
            let serve = move || {
                let mut stream = acceptor.accept(far).expect("a handshake");
                let mut buffer = [0; 64];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    stream.write_all(&buffer[..count]).expect("connected");
                }
                stream.close().expect("connected");
            };
            Builder::new().spread().spawn(serve).expect("room");
            let ask = move || {
                let mut stream = connector.connect("localhost", near).expect("a handshake");
                for round in 0..10_u32 {
                    let sent = (client << 16 | round).to_le_bytes();
                    stream.write_all(&sent).expect("connected");
                    let mut got = [0; 4];
                    stream.read_exact(&mut got).expect("connected");
                    assert_eq!(got, sent);
                    sleep(Duration::from_micros(200));
                }
                stream.shutdown().expect("connected");
                assert_eq!(stream.read(&mut [0]).expect("a proper end"), 0);
                results.send(client);
            };
            Builder::new().spread().spawn(ask).expect("room");
        }
        let sum: u32 = (0..40).map(|_| mailbox.message()).sum();
        assert_eq!(sum, 39 * 40 / 2);
    });
}

/// `TcpStream` is what an encrypted stream is carried by if nothing is said.
#[test]
fn a_stream_can_move_to_another_process() {
    process::<()>(|mailbox| {
        let (mut client, server): (TlsStream<TcpStream>, TlsStream) = tls_pair();
        let (_, reference) = spawn_monitor(move || {
            let mut server = server;
            server.write_all(b"from there").expect("connected");
            server.close().expect("connected");
        });
        let mut text = String::new();
        client.read_to_string(&mut text).expect("a proper end");
        assert_eq!(text, "from there");
        assert_eq!(down_of(mailbox, reference).reason.to_string(), "exited (normal)");
    });
}
