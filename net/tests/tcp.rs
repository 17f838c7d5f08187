//! Connections: reading, writing, waiting.

#![allow(clippy::disallowed_methods, reason = "peers that are threads of the standard library")]

mod support;

use engset_net::{TcpListener, TcpStream};
use engset_runtime::{Builder, Mailbox, Reply, kill, monitor, now, sleep, spawn, spawn_monitor};
use std::{
    io::{ErrorKind, IoSlice, IoSliceMut, Read, Write},
    net::Shutdown,
    sync::Arc,
    time::Duration,
};
use support::{down_of, kind, listener, pair, process, wait_until};

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
}

#[test]
fn many_connections_are_served_by_a_process_each() {
    process::<u64>(|mailbox| {
        let (listener, address) = listener();
        let server = spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                Builder::new().spread().spawn(move || echo(stream)).expect("room");
            }
        });
        let results = mailbox.address();
        for client in 0..64_u64 {
            let job = move || {
                let mut stream = TcpStream::connect(address).expect("it listens");
                stream.set_nodelay(true).expect("connected");
                for round in 0..50 {
                    let sent = (client << 32 | round).to_le_bytes();
                    stream.write_all(&sent).expect("connected");
                    let mut got = [0; 8];
                    stream.read_exact(&mut got).expect("connected");
                    assert_eq!(got, sent);
                }
                results.send(client);
            };
            Builder::new().spread().spawn(job).expect("room");
        }
        let sum: u64 = (0..64).map(|_| mailbox.message()).sum();
        assert_eq!(sum, 63 * 64 / 2);
        kill(server);
    });
}

#[test]
fn a_large_transfer_goes_through_in_order_both_ways_at_once() {
    process::<()>(|mailbox| {
        const SIZE: usize = 4 << 20;
        let (client, server) = pair();
        let job = move |stream: TcpStream, seed: u8| {
            let (mut reading, mut writing) = stream.split();
            let (_, writer) = spawn_monitor(move || {
                let data: Vec<u8> = (0..SIZE).map(|at| (at as u8).wrapping_mul(seed)).collect();
                writing.write_all(&data).expect("connected");
            });
            let mut got = Vec::new();
            reading.read_to_end(&mut got).expect("connected");
            assert_eq!(got.len(), SIZE);
            (got, writer)
        };
        let (_, other) = spawn_monitor(move |mut mailbox: Mailbox<()>| {
            let (got, writer) = job(server, 3);
            assert!(got.iter().enumerate().all(|(at, byte)| *byte == (at as u8).wrapping_mul(7)));
            down_of(&mut mailbox, writer);
        });
        let (got, writer) = job(client, 7);
        assert!(got.iter().enumerate().all(|(at, byte)| *byte == (at as u8).wrapping_mul(3)));
        down_of(mailbox, writer);
        assert!(down_of(mailbox, other).reason.to_string().contains("normal"));
    });
}

#[test]
fn a_process_that_waits_for_a_socket_does_not_hold_its_worker() {
    process::<u8>(|mailbox| {
        let (client, mut server) = pair();
        let me = mailbox.address();
        spawn(move || {
            let mut byte = [0];
            server.read_exact(&mut byte).expect("one comes");
            me.send(byte[0]);
        });
        // On one worker this can only go on if the reader has left it.
        for _ in 0..100 {
            engset_runtime::yield_now();
        }
        (&client).write_all(&[7]).expect("connected");
        assert_eq!(mailbox.message(), 7);
    });
}

#[test]
fn timeouts_are_errors_and_the_connection_goes_on() {
    process::<()>(|_| {
        let (mut client, mut server) = pair();
        assert_eq!(kind(client.set_read_timeout(Some(Duration::ZERO))), ErrorKind::InvalidInput);
        client.set_read_timeout(Some(Duration::from_millis(20))).expect("not zero");
        assert_eq!(client.read_timeout(), Some(Duration::from_millis(20)));
        let start = now();
        assert_eq!(kind(client.read(&mut [0])), ErrorKind::TimedOut);
        assert!(now() - start >= Duration::from_millis(20), "early");
        server.write_all(b"x").expect("connected");
        let mut byte = [0];
        client.read_exact(&mut byte).expect("it has come");
        assert_eq!(&byte, b"x");

        // Nobody reads: the buffers fill, then a write has to wait.
        client.set_write_timeout(Some(Duration::from_millis(20))).expect("not zero");
        let error = loop {
            if let Err(error) = client.write_all(&[0; 65536]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let (listener, _) = listener();
        assert_eq!(kind(listener.accept_timeout(Duration::from_millis(5))), ErrorKind::TimedOut);
    });
}

#[test]
fn a_slow_reader_makes_the_writer_wait() {
    process::<usize>(|mailbox| {
        let (client, mut server) = pair();
        let me = mailbox.address();
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let writer = spawn(move || {
            for _ in 0..1000 {
                (&client).write_all(&[1; 65536]).expect("connected");
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            me.send(0);
        });
        let reference = monitor(writer);
        sleep(Duration::from_millis(50));
        let held = count.load(std::sync::atomic::Ordering::Relaxed);
        assert!(held < 1000, "64 MiB were taken without being read");
        let mut left = 1000 * 65536;
        let mut buffer = vec![0; 1 << 20];
        while left > 0 {
            left -= server.read(&mut buffer).expect("connected");
        }
        assert_eq!(mailbox.message(), 0);
        down_of(mailbox, reference);
    });
}

#[test]
fn a_killed_process_closes_its_socket_at_once() {
    process::<()>(|mailbox| {
        let (mut client, mut server) = pair();
        let (pid, reference) = spawn_monitor(move || {
            let _ = server.read(&mut [0]);
            unreachable!("nothing is sent");
        });
        sleep(Duration::from_millis(2));
        kill(pid);
        assert_eq!(client.read(&mut [0]).expect("an end, not an error"), 0);
        assert!(down_of(mailbox, reference).reason.to_string().contains("kill"));
    });
}

#[test]
fn a_process_that_panics_closes_its_socket() {
    process::<()>(|_| {
        let (mut client, server) = pair();
        spawn(move || {
            let _server = server;
            panic!("on purpose");
        });
        assert_eq!(client.read(&mut [0]).expect("an end, not an error"), 0);
    });
}

#[test]
fn a_peer_that_resets_the_connection_is_an_error() {
    process::<()>(|_| {
        let (mut client, server) = pair();
        server.set_linger(Some(Duration::ZERO)).expect("connected");
        client.write_all(b"unread").expect("connected");
        drop(server);
        assert_eq!(kind(client.read(&mut [0; 16])), ErrorKind::ConnectionReset);
        // From then on there is no connection.
        wait_until(|| client.write(b"x").is_err());
    });
}

#[test]
fn a_half_closed_connection_still_carries_the_other_way() {
    process::<()>(|_| {
        let (mut client, mut server) = pair();
        client.write_all(b"question").expect("connected");
        client.shutdown(Shutdown::Write).expect("connected");
        let mut got = String::new();
        server.read_to_string(&mut got).expect("connected");
        assert_eq!(got, "question");
        // At the end, reading goes on to say so.
        assert_eq!(server.read(&mut [0]).expect("the end"), 0);
        server.write_all(b"answer").expect("half open");
        drop(server);
        let mut got = String::new();
        client.read_to_string(&mut got).expect("half open");
        assert_eq!(got, "answer");
    });
}

#[test]
fn the_end_that_comes_together_with_data_is_not_missed() {
    process::<()>(|_| {
        for round in 0..200 {
            let (mut client, mut server) = pair();
            let reader = spawn(move |mut mailbox: Mailbox<Reply<usize>>| {
                let mut total = 0;
                let mut buffer = [0; 64];
                loop {
                    match server.read(&mut buffer).expect("connected") {
                        0 => break,
                        count => total += count,
                    }
                }
                mailbox.message().send(total);
            });
            if round % 2 == 0 {
                engset_runtime::yield_now();
            }
            client.write_all(b"some data").expect("connected");
            if round % 3 == 0 {
                engset_runtime::yield_now();
            }
            drop(client);
            assert_eq!(reader.call(|reply| reply), Ok(9));
        }
    });
}

#[test]
fn files_are_sent_as_far_as_they_go() {
    process::<()>(|mailbox| {
        let data: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 253) as u8).collect();
        let file = rustix::fs::memfd_create("a file of a test", rustix::fs::MemfdFlags::CLOEXEC);
        let file = std::fs::File::from(file.expect("a file in memory"));
        (&file).write_all(&data).expect("there is memory");
        let (client, server) = pair();
        let sent = data.clone();
        let (_, reference) = spawn_monitor(move || {
            let mut client = client;
            assert_eq!(client.send_file(&file, 10, 100).expect("connected"), 100);
            // More than the kernel keeps, and more than there is.
            assert_eq!(client.send_file(&file, 0, u64::MAX).expect("connected"), 3_000_000);
            assert_eq!(client.send_file(&file, 3_000_000, 9).expect("connected"), 0);
            client.write_all(b"after").expect("connected");
            client.set_write_timeout(Some(Duration::from_millis(10))).expect("not zero");
            let error = loop {
                if let Err(error) = client.send_file(&file, 0, 3_000_000) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::TimedOut, "nobody reads it");
        });
        let mut server = server;
        let mut got = vec![0; 3_000_105];
        server.read_exact(&mut got).expect("connected");
        assert!(got[..100] == sent[10..110] && got[100..3_000_100] == sent && &got[3_000_100..] == b"after");
        assert!(down_of(mailbox, reference).reason.to_string().contains("normal"));
    });
}

#[test]
fn peek_leaves_data_and_vectors_are_filled_in_order() {
    process::<()>(|_| {
        let (mut client, mut server) = pair();
        let written =
            client.write_vectored(&[IoSlice::new(b"one "), IoSlice::new(b"two")]).expect("connected");
        assert_eq!(written, 7);
        let mut buffer = [0; 16];
        let mut seen = 0;
        wait_until(|| {
            seen = server.peek(&mut buffer).expect("connected");
            seen == 7
        });
        let (mut first, mut second) = ([0; 4], [0; 3]);
        let got = server
            .read_vectored(&mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)])
            .expect("connected");
        assert_eq!((got, &first, &second), (7, b"one ", b"two"));
        assert_eq!(kind(server.try_read(&mut buffer)), ErrorKind::WouldBlock);
        assert!(client.try_write(b"x").is_ok());
    });
}

#[test]
fn connecting_where_nobody_listens_is_refused_and_names_are_looked_up() {
    process::<()>(|_| {
        let (listener, address) = listener();
        drop(listener);
        assert_eq!(kind(TcpStream::connect(address)), ErrorKind::ConnectionRefused);
        let timeout = Duration::from_secs(20);
        assert_eq!(kind(TcpStream::connect_timeout(address, timeout)), ErrorKind::ConnectionRefused);
        let (_listener, address) = support::listener();
        TcpStream::connect(("localhost", address.port())).expect("it listens");
        TcpStream::connect(format!("localhost:{}", address.port())).expect("it listens");
        for bad in ["nonsense", "host:port", ":80", "host:99999"] {
            let error = TcpStream::connect(bad).expect_err("no address");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(bad), "{error}");
        }
    });
}

#[test]
fn a_connection_attempt_without_an_answer_times_out() {
    process::<()>(|_| {
        // A listener whose queue is full drops further attempts.
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&any.into()).expect("a port");
        socket.listen(0).expect("it listens");
        let address = socket.local_addr().expect("an address").as_socket().expect("an address");
        let mut held = Vec::new();
        let error = loop {
            match TcpStream::connect_timeout(address, Duration::from_millis(100)) {
                Ok(stream) => held.push(stream),
                Err(error) => break error,
            }
            assert!(held.len() < 100, "the queue is never full");
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn halves_are_put_together_again_and_a_stream_can_be_given_to_std() {
    process::<()>(|_| {
        let (client, mut server) = pair();
        let (reading, writing) = client.split();
        let (_other, stranger) = pair().0.split();
        let (reading, stranger) = reading.unsplit(stranger).expect_err("of two connections");
        drop(stranger);
        let client = reading.unsplit(writing).expect("of one connection");
        // It has been watched; std's must work without us.
        client.set_read_timeout(Some(Duration::from_millis(1))).expect("not zero");
        assert_eq!(kind((&client).read(&mut [0])), ErrorKind::TimedOut);
        let mut client = client.into_std().expect("not shared");
        client.set_nonblocking(false).expect("a socket");
        client.write_all(b"from std").expect("connected");
        let mut got = [0; 8];
        server.read_exact(&mut got).expect("connected");
        assert_eq!(&got, b"from std");
        server.write_all(b"k").expect("connected");
        assert_eq!(client.read(&mut got).expect("connected"), 1);
        let client = TcpStream::from_std(client).expect("a socket");
        drop(server);
        assert_eq!((&client).read(&mut [0]).expect("the end"), 0);
    });
}

#[test]
fn several_processes_accept_from_one_listener() {
    process::<usize>(|mailbox| {
        let (listener, address) = listener();
        let listener = Arc::new(listener);
        let results = mailbox.address();
        let acceptors: Vec<_> = (0..4_usize)
            .map(|which| {
                let listener = Arc::clone(&listener);
                let accept = move || {
                    for stream in listener.incoming() {
                        let mut stream = stream.expect("no error passes");
                        stream.write_all(b"hello").expect("connected");
                        results.send(which);
                    }
                };
                Builder::new().spread().spawn(accept).expect("room")
            })
            .collect();
        for _ in 0..200 {
            let mut stream = TcpStream::connect(address).expect("it listens");
            let mut got = Vec::new();
            stream.read_to_end(&mut got).expect("connected");
            assert_eq!(got, b"hello");
        }
        for _ in 0..200 {
            assert!(mailbox.message() < 4);
        }
        acceptors.into_iter().for_each(kill);
    });
}

#[test]
fn a_socket_follows_its_owner_to_another_process_and_worker() {
    process::<TcpStream>(|mailbox| {
        let (client, server) = pair();
        let me = mailbox.address();
        // It is read here, there, and here again; each waits before the data come.
        for round in 0..20_u8 {
            let (client, server) = (client.clone(), server.clone());
            let job = move || {
                let mut byte = [0];
                (&server).read_exact(&mut byte).expect("connected");
                assert_eq!(byte[0], round);
                server.hand_over(me, |stream| stream).expect("it is alive");
            };
            Builder::new().spread().spawn(job).expect("room");
            sleep(Duration::from_micros(300));
            (&client).write_all(&[round]).expect("connected");
            drop(mailbox.message());
        }
    });
}

#[test]
fn outside_of_a_process_the_same_calls_block_the_thread() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || echo(listener.accept().expect("one comes").0));
    let mut client = TcpStream::connect(address).expect("it listens");
    client.set_read_timeout(Some(Duration::from_millis(10))).expect("not zero");
    assert_eq!(kind(client.read(&mut [0])), ErrorKind::TimedOut);
    client.set_read_timeout(None).expect("none");
    client.write_all(b"hello").expect("connected");
    let mut got = [0; 5];
    client.read_exact(&mut got).expect("connected");
    assert_eq!(&got, b"hello");
    drop(client);
    server.join().expect("it ends with the connection");
}

#[test]
fn peers_of_the_standard_library_talk_to_processes() {
    process::<()>(|_| {
        let (listener, address) = listener();
        let client = std::thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(address).expect("it listens");
            for size in [1_usize, 100, 10_000, 1_000_000] {
                let data = vec![size as u8; size];
                let mut writer = stream.try_clone().expect("a descriptor");
                let sent = data.clone();
                let writing = std::thread::spawn(move || writer.write_all(&sent).expect("connected"));
                let mut got = vec![0; size];
                stream.read_exact(&mut got).expect("connected");
                writing.join().expect("written");
                assert!(got == data);
            }
        });
        echo(listener.accept().expect("one comes").0);
        client.join().expect("all was right");
    });
}

#[test]
fn none_of_several_acceptors_is_forgotten() {
    process(|mailbox: &mut Mailbox<u32>| {
        let listener = std::sync::Arc::new(TcpListener::bind("127.0.0.1:0").expect("a port"));
        let address = listener.local_addr().expect("it listens");
        let me = mailbox.address();
        // Each takes a few connections only: all of them are needed.
        for number in 0..4 {
            let listener = std::sync::Arc::clone(&listener);
            engset_runtime::spawn(move || {
                for _ in 0..5 {
                    drop(listener.accept().expect("a connection"));
                    me.send(number);
                }
            });
        }
        for _ in 0..20 {
            drop(TcpStream::connect(address).expect("it listens"));
            let _ = mailbox.message();
        }
    });
}
