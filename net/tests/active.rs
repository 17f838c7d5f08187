//! Active mode: data as messages.

mod support;

use engset_net::{Active, Packet, TcpEvent, TcpStream, UnixStream};
use engset_runtime::{
    Builder, Flow, Limit, Mailbox, Overflow, Received, Reply, Server, kill, now, sleep, spawn,
};
use std::{
    io::{ErrorKind, Read, Write},
    time::Duration,
};
use support::{kind, listener, pair, process, wait_until};

#[derive(Debug)]
enum Message {
    Tcp(TcpEvent),
    Other(u32),
}

fn data(mailbox: &mut Mailbox<Message>) -> Vec<u8> {
    match mailbox.message() {
        Message::Tcp(TcpEvent::Data(data)) => data,
        other => panic!("no data: {other:?}"),
    }
}

#[test]
fn once_is_one_piece_and_then_the_socket_is_passive() {
    process::<Message>(|mailbox| {
        let (mut client, mut server) = pair();
        server.activate(mailbox.address(), Active::Once, Message::Tcp).expect("a process");
        client.write_all(b"first").expect("connected");
        assert_eq!(data(mailbox), b"first");
        client.write_all(b"second").expect("connected");
        assert!(mailbox.message_timeout(Duration::from_millis(20)).is_none(), "it is passive");
        let mut got = [0; 3];
        server.read_exact(&mut got).expect("passive sockets are read");
        assert_eq!(&got, b"sec");
        // The rest comes when it is asked for, though there is no new event.
        server.set_active(Active::Once).expect("there is a receiver");
        assert_eq!(data(mailbox), b"ond");
        mailbox.address().send(Message::Other(1));
        assert!(matches!(mailbox.message(), Message::Other(1)));
    });
}

#[test]
fn a_count_ends_with_a_word_about_it() {
    process::<Message>(|mailbox| {
        let (mut client, server) = pair();
        server.activate(mailbox.address(), Active::Count(2), Message::Tcp).expect("a process");
        for round in 0..2_u8 {
            client.write_all(&[round]).expect("connected");
            assert_eq!(data(mailbox), [round]);
        }
        assert!(matches!(mailbox.message(), Message::Tcp(TcpEvent::Passive)));
        client.write_all(b"more").expect("connected");
        assert!(mailbox.message_timeout(Duration::from_millis(20)).is_none(), "it is passive");
    });
}

#[test]
fn an_active_socket_is_not_read_and_passive_again_on_demand() {
    process::<Message>(|mailbox| {
        let (mut client, mut server) = pair();
        assert_eq!(kind(server.set_active(Active::Always)), ErrorKind::InvalidInput);
        server.activate(mailbox.address(), Active::Always, Message::Tcp).expect("a process");
        assert_eq!(kind(server.read(&mut [0])), ErrorKind::InvalidInput);
        server.set_active(Active::Passive).expect("there is a receiver");
        client.write_all(b"x").expect("connected");
        assert_eq!(server.read(&mut [0; 9]).expect("passive"), 1);
    });
}

#[test]
fn the_end_is_told_after_the_data_and_nothing_after_it() {
    process::<Message>(|mailbox| {
        let (mut client, server) = pair();
        client.write_all(b"last words").expect("connected");
        drop(client);
        server.activate(mailbox.address(), Active::Always, Message::Tcp).expect("a process");
        assert_eq!(data(mailbox), b"last words");
        assert!(matches!(mailbox.message(), Message::Tcp(TcpEvent::Closed)));
        assert!(mailbox.message_timeout(Duration::from_millis(10)).is_none());
        assert_eq!(kind(server.set_active(Active::Once)), ErrorKind::InvalidInput);
        // The other direction is open still.
        assert_eq!((&server).write(b"x").expect("half open"), 1);
    });
}

#[test]
fn a_reset_is_an_error_and_then_the_end() {
    process::<Message>(|mailbox| {
        let (client, server) = pair();
        server.activate(mailbox.address(), Active::Always, Message::Tcp).expect("a process");
        client.set_linger(Some(Duration::ZERO)).expect("connected");
        drop(client);
        match mailbox.message() {
            Message::Tcp(TcpEvent::Error(error)) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
            other => panic!("{other:?}"),
        }
        assert!(matches!(mailbox.message(), Message::Tcp(TcpEvent::Closed)));
    });
}

#[test]
fn a_receiver_that_does_not_keep_up_makes_the_sender_wait() {
    process::<Message>(|mailbox| {
        let (client, server) = pair();
        server.activate(mailbox.address(), Active::Always, Message::Tcp).expect("a process");
        let writer = spawn(move || {
            for at in 0..100_000_u32 {
                (&client).write_all(&[at as u8; 1024]).expect("connected");
            }
        });
        // 100 MB; nothing is received for a while. What is held is bounded.
        sleep(Duration::from_millis(100));
        assert!(engset_runtime::is_alive(writer), "all was taken");
        let mut total = 0;
        let mut most = 0;
        while total < 100_000 * 1024 {
            total += data(mailbox).len();
            most = most.max(engset_runtime::pause::mailbox_len(mailbox.address()));
        }
        assert!(most <= 300, "{most} messages waited");
    });
}

#[test]
fn a_bounded_mailbox_that_is_full_loses_nothing() {
    process::<usize>(|mailbox| {
        let (mut client, server) = pair();
        let results = mailbox.address();
        let receive = move |mut mailbox: Mailbox<Message>| {
            server.activate(mailbox.address(), Active::Always, Message::Tcp).expect("a process");
            let mut expected = 0_u8;
            let mut total = 0;
            loop {
                match mailbox.message() {
                    Message::Tcp(TcpEvent::Data(data)) => {
                        for byte in data {
                            assert_eq!(byte, expected);
                            expected = expected.wrapping_add(1);
                            total += 1;
                        }
                        sleep(Duration::from_micros(500));
                    }
                    Message::Tcp(TcpEvent::Closed) => break,
                    other => panic!("{other:?}"),
                }
            }
            results.send(total);
        };
        Builder::new().mailbox(Limit::messages(2).overflow(Overflow::Block)).spawn(receive).expect("room");
        for at in 0..2000_usize {
            client.write_all(&[at as u8]).expect("connected");
            if at % 64 == 0 {
                sleep(Duration::from_micros(100));
            }
        }
        drop(client);
        assert_eq!(mailbox.message(), 2000);
    });
}

#[test]
fn the_receivers_death_makes_the_socket_passive() {
    process::<Message>(|mailbox| {
        let (mut client, server) = pair();
        let receiver = spawn(|mut mailbox: Mailbox<Message>| {
            let _ = mailbox.message();
        });
        server.activate(receiver, Active::Always, Message::Tcp).expect("a process");
        kill(receiver);
        wait_until(|| {
            client.write_all(b"x").expect("connected");
            server.set_active(Active::Always).is_err()
        });
        server.activate(mailbox.address(), Active::Once, Message::Tcp).expect("a process");
        client.write_all(b"y").expect("connected");
        assert_eq!(data(mailbox).last(), Some(&b'y'));
        assert!(!server.try_read(&mut [0]).is_ok_and(|count| count == 0));
    });
}

#[test]
fn a_wrapper_that_panics_ends_active_mode_and_nothing_else() {
    process::<Message>(|mailbox| {
        let (mut client, mut server) = pair();
        let wrap = |event| match event {
            TcpEvent::Data(data) if data == b"bad" => panic!("on purpose"),
            event => Message::Tcp(event),
        };
        server.activate(mailbox.address(), Active::Always, wrap).expect("a process");
        client.write_all(b"good").expect("connected");
        assert_eq!(data(mailbox), b"good");
        client.write_all(b"bad").expect("connected");
        // The worker goes on, and the socket is passive.
        wait_until(|| server.set_active(Active::Always).is_err());
        client.write_all(b"x").expect("connected");
        assert_eq!(server.read(&mut [0]).expect("passive"), 1);
    });
}

/// A connection as a server: it holds no stack while it waits.
struct Connection {
    stream: TcpStream,
    closed: Option<Reply<()>>,
}

enum Request {
    Tcp(TcpEvent),
    AwaitClose(Reply<()>),
}

impl Server for Connection {
    type Message = Request;

    fn start(&mut self, me: engset_runtime::Address<Request>) -> Flow {
        self.stream.activate(me, Active::Once, Request::Tcp).expect("a process");
        Flow::Continue
    }

    fn handle(&mut self, received: Received<Request>) -> Flow {
        match received {
            Received::Message(Request::Tcp(TcpEvent::Data(data))) => {
                self.stream.write_all(&data).expect("connected");
                self.stream.set_active(Active::Once).expect("there is a receiver");
            }
            Received::Message(Request::Tcp(_)) => {
                if let Some(reply) = self.closed.take() {
                    reply.send(());
                }
                return Flow::Stop(engset_runtime::ExitReason::Normal);
            }
            Received::Message(Request::AwaitClose(reply)) => self.closed = Some(reply),
            Received::Event(_) => {}
        }
        Flow::Continue
    }
}

#[test]
fn servers_serve_connections_and_move_between_workers() {
    process::<()>(|_| {
        let (listener, address) = listener();
        let mut all = Vec::new();
        for _ in 0..100 {
            let mut client = TcpStream::connect(address).expect("it listens");
            let (stream, _) = listener.accept().expect("one has connected");
            let server = Builder::new().spread().serve(Connection { stream, closed: None }).expect("room");
            client.write_all(b"hello").expect("connected");
            all.push((client, server));
        }
        for round in 0..20_u32 {
            for (client, _) in &mut all {
                client.write_all(&round.to_le_bytes()).expect("connected");
            }
            for (client, _) in &mut all {
                let mut got = [0; 5];
                if round == 0 {
                    client.read_exact(&mut got).expect("connected");
                }
                client.read_exact(&mut got[..4]).expect("connected");
                assert_eq!(got[..4], round.to_le_bytes());
            }
        }
        for (client, server) in all {
            let waiting = spawn(move |mut mailbox: Mailbox<Reply<bool>>| {
                let closed = server.call(Request::AwaitClose);
                // It may have ended before it was asked.
                let told = closed.is_ok() || !engset_runtime::is_alive(server.pid());
                mailbox.message().send(told);
            });
            drop(client);
            assert_eq!(waiting.call(|reply| reply), Ok(true));
        }
    });
}

#[test]
fn data_keep_their_order_when_processes_of_several_workers_ask_for_them() {
    process::<Message>(|mailbox| {
        const COUNT: u32 = 20_000;
        let (mut client, server) = pair();
        let (me, once) = (mailbox.address(), Active::Count(1));
        server.activate_packets(Packet::One, me, once, Message::Tcp).expect("a process");
        let write = move || {
            for number in 0..COUNT {
                Packet::One.write(&mut client, &number.to_le_bytes()).expect("connected");
            }
        };
        Builder::new().spread().spawn(write).expect("room");
        for _ in 0..3 {
            let again = server.clone();
            let ask = move || {
                // Until the end.
                while again.set_active(Active::Count(2)).is_ok() {
                    engset_runtime::yield_now();
                }
            };
            Builder::new().spread().spawn(ask).expect("room");
        }
        let mut expected = 0;
        loop {
            match mailbox.message() {
                Message::Tcp(TcpEvent::Data(data)) => {
                    assert_eq!(data, u32::to_le_bytes(expected));
                    expected += 1;
                    // It may have come to its end.
                    let _ = server.set_active(once);
                }
                Message::Tcp(TcpEvent::Closed) => break,
                _ => {}
            }
        }
        assert_eq!(expected, COUNT);
    });
}

#[test]
fn a_killed_server_closes_its_socket() {
    process::<()>(|_| {
        let (mut client, stream) = pair();
        let server = engset_runtime::serve(Connection { stream, closed: None });
        client.write_all(b"x").expect("connected");
        assert_eq!(client.read(&mut [0; 9]).expect("connected"), 1);
        kill(server.pid());
        assert_eq!(client.read(&mut [0; 9]).expect("the end"), 0);
    });
}

#[test]
fn a_lone_message_and_a_lone_connection_both_end_the_same_wait() {
    process::<Message>(|mailbox| {
        let (mut client, server) = UnixStream::pair().expect("descriptors");
        server.activate(mailbox.address(), Active::Always, Message::Tcp).expect("a process");
        let me = mailbox.address();
        spawn(move || {
            for round in 0..50_u32 {
                sleep(Duration::from_micros(700));
                me.send(Message::Other(round));
                sleep(Duration::from_micros(700));
                client.write_all(&[round as u8]).expect("connected");
            }
        });
        let start = now();
        for round in 0..50_u32 {
            assert!(matches!(mailbox.message(), Message::Other(number) if number == round));
            assert_eq!(data(mailbox), [round as u8]);
        }
        assert!(now() - start >= Duration::from_millis(70), "timers are early");
    });
}
