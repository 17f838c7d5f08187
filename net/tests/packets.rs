//! Streams cut into packets, read or as messages; datagrams as messages.

mod support;

use engset_net::{Active, Packet, Packets, TcpEvent, UdpEvent, UdpSocket, UnixStream};
use engset_runtime::{Mailbox, sleep, spawn};
use proptest::prelude::*;
use std::{
    io::{self, ErrorKind, Read, Write},
    time::Duration,
};
use support::{kind, pair, process};

const KINDS: [Packet; 4] = [Packet::One, Packet::Two, Packet::Four, Packet::Line];

/// A stream that gives its data in these portions.
struct Portions {
    data: Vec<u8>,
    at: usize,
    portions: Vec<usize>,
}

impl Read for Portions {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let portion = self.portions.pop().unwrap_or(usize::MAX);
        if portion == 0 {
            return Err(ErrorKind::TimedOut.into());
        }
        let count = portion.min(buffer.len()).min(self.data.len() - self.at);
        buffer[..count].copy_from_slice(&self.data[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// What is written comes out, however it is cut.
fn through(packet: Packet, sent: &[Vec<u8>], portions: Vec<usize>) -> Vec<Vec<u8>> {
    let mut data = Vec::new();
    for one in sent {
        packet.write(&mut data, one).expect("they fit");
    }
    let mut packets = Packets::new(Portions { data, at: 0, portions }, packet);
    let mut got = Vec::new();
    loop {
        match packets.receive() {
            Ok(Some(one)) => got.push(one),
            Ok(None) => return got,
            Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut, "it goes on after it"),
        }
    }
}

proptest! {
    #[test]
    fn packets_come_out_as_they_went_in(
        sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..40),
        long in prop::collection::vec(any::<u8>(), 0..5000),
        portions in prop::collection::vec(0_usize..50, 0..400),
    ) {
        for packet in KINDS {
            let mut sent = sent.clone();
            if packet != Packet::One {
                sent.push(long.clone());
            }
            if packet == Packet::Line {
                for line in &mut sent {
                    line.retain(|byte| *byte != b'\n');
                    line.push(b'\n');
                }
            }
            prop_assert_eq!(&through(packet, &sent, portions.clone()), &sent, "{:?}", packet);
        }
    }
}

#[test]
fn the_wire_is_erlangs() {
    let written = |packet: Packet, data: &[u8]| {
        let mut out = Vec::new();
        packet.write(&mut out, data).map(|()| out)
    };
    assert_eq!(written(Packet::One, b"ab").expect("short"), b"\x02ab");
    assert_eq!(written(Packet::Two, b"ab").expect("short"), b"\0\x02ab");
    assert_eq!(written(Packet::Four, b"ab").expect("short"), b"\0\0\0\x02ab");
    assert_eq!(written(Packet::Four, b"").expect("short"), b"\0\0\0\0");
    assert_eq!(written(Packet::Raw, b"ab").expect("short"), b"ab");
    assert_eq!(written(Packet::Line, b"ab\n").expect("short"), b"ab\n");
    assert_eq!(written(Packet::One, &[0; 255]).expect("short").len(), 256);
    let error = written(Packet::One, &[0; 256]).expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("256"), "{error}");
    assert_eq!(kind(written(Packet::Two, &[0; 65_536])), ErrorKind::InvalidInput);
}

#[test]
fn an_end_within_a_packet_and_a_packet_over_the_limit_are_errors() {
    let of = |data: &[u8], packet| {
        Packets::new(Portions { data: data.to_vec(), at: 0, portions: Vec::new() }, packet)
    };
    assert_eq!(kind(of(b"\0\0\0\x05abc", Packet::Four).receive()), ErrorKind::UnexpectedEof);
    assert_eq!(kind(of(b"\0", Packet::Two).receive()), ErrorKind::UnexpectedEof);
    assert_eq!(of(b"no end", Packet::Line).receive().expect("a last line"), Some(b"no end".to_vec()));
    // The error comes with the header, not after four gigabytes.
    let error = of(b"\xFF\xFF\xFF\xFF", Packet::Four).receive().expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(error.to_string().contains("4294967295"), "{error}");
    assert_eq!(kind(of(&[b'x'; 100], Packet::Line).limit(99).receive()), ErrorKind::InvalidData);
    assert_eq!(of(b"\x03abc", Packet::One).limit(3).receive().expect("small"), Some(b"abc".to_vec()));
    // The kind can change on the way, and what has come counts.
    let mut both = of(b"head\n\x02okrest", Packet::Line);
    assert_eq!(both.receive().expect("a line"), Some(b"head\n".to_vec()));
    both.set_packet(Packet::One);
    assert_eq!(both.receive().expect("a packet"), Some(b"ok".to_vec()));
    assert_eq!(both.into_inner().1, b"rest");
}

fn data(mailbox: &mut Mailbox<TcpEvent>) -> Vec<u8> {
    match mailbox.message() {
        TcpEvent::Data(data) => data,
        other => panic!("no data: {other:?}"),
    }
}

#[test]
fn in_active_mode_each_message_is_a_packet() {
    process::<TcpEvent>(|mailbox| {
        for packet in KINDS {
            let (mut client, server) = pair();
            server
                .activate_packets(packet, mailbox.address(), Active::Always, |event| event)
                .expect("a process");
            spawn(move || {
                for at in 0..300_usize {
                    let mut one = vec![b'a' + (at % 26) as u8; at % 200];
                    if packet == Packet::Line {
                        one.push(b'\n');
                    }
                    packet.write(&mut client, &one).expect("connected");
                    if at % 50 == 0 {
                        sleep(Duration::from_micros(300));
                    }
                }
            });
            for at in 0..300_usize {
                let mut expected = vec![b'a' + (at % 26) as u8; at % 200];
                if packet == Packet::Line {
                    expected.push(b'\n');
                }
                assert_eq!(data(mailbox), expected, "{packet:?} {at}");
            }
            assert!(matches!(mailbox.message(), TcpEvent::Closed));
        }
    });
}

#[test]
fn once_and_a_count_count_packets_though_more_have_come() {
    process::<TcpEvent>(|mailbox| {
        let (mut client, server) = UnixStream::pair().expect("descriptors");
        client.write_all(b"one\ntwo\nthree\nfour\nrest").expect("connected");
        drop(client);
        server
            .activate_packets(Packet::Line, mailbox.address(), Active::Once, |event| event)
            .expect("a process");
        assert_eq!(data(mailbox), b"one\n");
        assert!(mailbox.message_timeout(Duration::from_millis(20)).is_none(), "once");
        server.set_active(Active::Count(2)).expect("there is a receiver");
        assert_eq!(data(mailbox), b"two\n");
        assert_eq!(data(mailbox), b"three\n");
        assert!(matches!(mailbox.message(), TcpEvent::Passive));
        assert!(mailbox.message_timeout(Duration::from_millis(20)).is_none(), "passive");
        server.set_active(Active::Count(2)).expect("there is a receiver");
        assert_eq!(data(mailbox), b"four\n");
        assert_eq!(data(mailbox), b"rest");
        assert!(matches!(mailbox.message(), TcpEvent::Passive));
        server.set_active(Active::Once).expect("there is a receiver");
        assert!(matches!(mailbox.message(), TcpEvent::Closed));
    });
}

#[test]
fn in_active_mode_a_cut_packet_and_one_that_is_too_large_are_errors() {
    process::<TcpEvent>(|mailbox| {
        for (bytes, expected) in
            [(&b"\0\0\0\x09cut"[..], ErrorKind::UnexpectedEof), (b"\x7F\0\0\0", ErrorKind::InvalidData)]
        {
            let (mut client, server) = pair();
            client.write_all(bytes).expect("connected");
            drop(client);
            server
                .activate_packets(Packet::Four, mailbox.address(), Active::Always, |event| event)
                .expect("a process");
            match mailbox.message() {
                TcpEvent::Error(error) => assert_eq!(error.kind(), expected),
                other => panic!("{other:?}"),
            }
            assert!(matches!(mailbox.message(), TcpEvent::Closed));
        }
    });
}

#[test]
fn packets_are_sent_and_received_by_processes() {
    process::<()>(|_| {
        let (client, server) = pair();
        spawn(move || {
            let mut packets = Packets::new(server, Packet::Two);
            while let Ok(Some(mut packet)) = packets.receive() {
                packet.reverse();
                packets.send(&packet).expect("connected");
            }
        });
        let mut packets = Packets::new(client, Packet::Two);
        for length in [0, 1, 1000, 65_535] {
            let sent: Vec<u8> = (0..length).map(|at| at as u8).collect();
            packets.send(&sent).expect("connected");
            let mut got = packets.receive().expect("connected").expect("no end");
            got.reverse();
            assert!(got == sent, "{length}");
        }
        // A timeout in the middle of a packet loses nothing.
        packets.get_ref().set_read_timeout(Some(Duration::from_millis(5))).expect("not zero");
        assert_eq!(kind(packets.receive()), ErrorKind::TimedOut);
    });
}

#[test]
fn datagrams_come_as_messages_and_errors_do_not_end_it() {
    process::<UdpEvent>(|mailbox| {
        let one = UdpSocket::bind("127.0.0.1:0").expect("a port");
        // An address that nobody else uses: its port is free again when it is closed.
        let other = UdpSocket::bind("127.9.9.9:0").expect("a port");
        let (near, far) = (one.local_addr().expect("bound"), other.local_addr().expect("bound"));
        one.activate(mailbox.address(), Active::Count(2), |event| event).expect("a process");
        for text in ["first", "", "third"] {
            other.send_to(text.as_bytes(), near).expect("bound");
        }
        for text in ["first", ""] {
            match mailbox.message() {
                UdpEvent::Datagram(data, from) => assert_eq!((&data[..], from), (text.as_bytes(), far)),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(mailbox.message(), UdpEvent::Passive));
        let mut buffer = [0; 9];
        assert_eq!(one.recv_from(&mut buffer).expect("passive"), (5, far));

        // Nobody listens there any more: the system says so later.
        one.connect(far).expect("an address");
        drop(other);
        one.send_to(b"x", far).expect("it is sent");
        one.set_active(Active::Always).expect("there is a receiver");
        match mailbox.message() {
            UdpEvent::Error(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
            other => panic!("{other:?}"),
        }
        let again = UdpSocket::bind(far).expect("the port is free");
        again.send_to(b"back", near).expect("bound");
        assert!(matches!(mailbox.message(), UdpEvent::Datagram(data, _) if data == b"back"));
    });
}
