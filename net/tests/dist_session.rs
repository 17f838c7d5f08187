//! Two sessions over a pipe that delays, cuts into pieces and breaks: order, at most once, conservation, bounds.

use engset_net::dist::{
    frame::{self, Kind, MAX_PAYLOAD},
    handshake::{Agreement, Identity, Limits, feature},
    packet::{self, PacketError},
    session::{
        Control, FRAGMENT, Input, Lane, Pressure, STREAMS, SenderKey, Session, SessionError, Settings,
        TooLarge, TypeRefusal, seal,
    },
};
use proptest::prelude::*;
use std::{collections::HashMap, time::Duration};

fn agreement(settings: &Settings) -> Agreement {
    let limits = Limits { max_packet: settings.max_packet, window: settings.window, heartbeat: 1000 };
    let peer = Identity { cluster: String::new(), name: "b".into(), creation: 1, features: 1, limits };
    Agreement { peer, version: 1, features: feature::LZ4 }
}

fn session(settings: &Settings) -> Session {
    Session::new(settings, &agreement(settings), Duration::ZERO)
}

fn small() -> Settings {
    Settings { max_packet: 1 << 20, window: 2 * MAX_PAYLOAD as u32, ..Settings::default() }
}

/// A packet that tells who sent it and which one it is.
fn packet(sender: u64, number: u32, size: usize, compress: bool) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&sender.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.resize(13 + size, number as u8);
    seal(bytes, compress)
}

fn key(sender: u64) -> SenderKey {
    (sender, 0)
}

#[derive(Default)]
struct Inbox {
    next: HashMap<u64, u32>,
    packets: usize,
    bytes: usize,
}

impl Inbox {
    fn take(&mut self, bytes: &[u8]) {
        let sender = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        let number = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
        assert!(bytes[12..].iter().all(|byte| *byte == number as u8), "the contents of {sender}.{number}");
        let next = self.next.entry(sender).or_default();
        assert_eq!(number, *next, "of sender {sender}: in order, once, without a gap");
        *next += 1;
        self.packets += 1;
        self.bytes += bytes.len();
    }
}

#[derive(Clone, Debug)]
enum Action {
    Push {
        sender: u64,
        size: usize,
    },
    /// So many bytes leave the sender.
    Produce(usize),
    /// So many bytes arrive, at the receiver or with its answers.
    Arrive(usize),
    Answer(usize),
}

fn action() -> impl Strategy<Value = Action> {
    let size = prop_oneof![6 => 0_usize..200, 2 => 2_000_usize..40_000, 1 => 60_000_usize..300_000];
    prop_oneof![
        4 => (0_u64..20, size).prop_map(|(sender, size)| Action::Push { sender, size }),
        2 => (1_usize..200_000).prop_map(Action::Produce),
        2 => (1_usize..150_000).prop_map(Action::Arrive),
        1 => (1_usize..100).prop_map(Action::Answer),
    ]
}

fn arrive(to: &mut Session, pipe: &mut Vec<u8>, count: usize, on: &mut dyn FnMut(Input<'_>)) {
    let bytes: Vec<u8> = pipe.drain(..count.min(pipe.len())).collect();
    to.receive(&bytes, Duration::ZERO, on).expect("an honest sender");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn packets_arrive_once_and_in_order_and_all_of_them_if_nothing_breaks(
        actions in prop::collection::vec(action(), 0..80), compress in any::<bool>(),
    ) {
        let settings = Settings { compress, ..small() };
        let (mut a, mut b, mut inbox) = (session(&settings), session(&settings), Inbox::default());
        let (mut there, mut back) = (Vec::new(), Vec::new());
        let (mut numbers, mut pushed) = (HashMap::<u64, u32>::new(), 0);
        let nothing = |_: Input<'_>| panic!("nothing is sent back");
        for action in actions {
            match action {
                Action::Push { sender, size } => {
                    let number = numbers.entry(sender).or_default();
                    let bytes = packet(sender, *number, size, a.outgoing.compresses());
                    *number += 1;
                    pushed += 1;
                    let _ = a.outgoing.push(key(sender), &bytes).unwrap();
                }
                Action::Produce(budget) => a.outgoing.produce(&mut there, budget),
                Action::Arrive(count) => arrive(&mut b, &mut there, count, &mut |input| match input {
                    Input::Packet(bytes) => inbox.take(bytes),
                    Input::Control(other) => panic!("{other:?}"),
                }),
                Action::Answer(count) => {
                    b.outgoing.produce(&mut back, 1);
                    arrive(&mut a, &mut back, count, &mut { nothing });
                }
            }
            prop_assert!(b.incoming.held() <= settings.window as usize + STREAMS * settings.max_packet as usize);
        }
        // All that is left gets its time.
        let mut rounds = 0;
        while a.outgoing.has_work() || !there.is_empty() || b.outgoing.has_work() || !back.is_empty() || a.outgoing.queued() > 0 {
            a.outgoing.produce(&mut there, 100_000);
            arrive(&mut b, &mut there, 70_000, &mut |input| match input {
                Input::Packet(bytes) => inbox.take(bytes),
                Input::Control(other) => panic!("{other:?}"),
            });
            b.outgoing.produce(&mut back, 1);
            arrive(&mut a, &mut back, 1000, &mut { nothing });
            rounds += 1;
            prop_assert!(rounds < 10_000, "it stands still");
        }
        prop_assert_eq!(inbox.packets, pushed);
        prop_assert_eq!(inbox.next, numbers);
        prop_assert_eq!(b.incoming.held(), 0);
    }

    #[test]
    fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut b = session(&small());
        drop(b.receive(&bytes, Duration::ZERO, &mut |_| {}));
        prop_assert!(b.incoming.held() <= 300);
    }

    /// Frames with a right check, but any contents.
    #[test]
    fn any_frames_are_taken_or_refused(
        frames in prop::collection::vec((0_usize..3, 0_u8..4, 0_u16..20, prop::collection::vec(any::<u8>(), 1..60)), 0..12)
    ) {
        let mut bytes = Vec::new();
        for (kind, flags, stream, payload) in frames {
            let kind = [Kind::Control, Kind::Batch, Kind::Fragment][kind];
            let (flags, stream) = if kind == Kind::Fragment { (flags, stream) } else { (0, 0) };
            frame::write(&mut bytes, kind, flags, stream, &payload);
        }
        let mut b = session(&small());
        drop(b.receive(&bytes, Duration::ZERO, &mut |_| {}));
    }

    #[test]
    fn a_changed_byte_ends_the_session_and_delivers_nothing_wrong(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let settings = small();
        let (mut a, mut b, mut inbox) = (session(&settings), session(&settings), Inbox::default());
        for number in 0..10 {
            let _ = a.outgoing.push(key(1), &packet(1, number, 30_000 * (number as usize % 3), false)).unwrap();
        }
        let mut bytes = Vec::new();
        a.outgoing.produce(&mut bytes, usize::MAX);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let result = b.receive(&bytes, Duration::ZERO, &mut |input| match input {
            Input::Packet(bytes) => inbox.take(bytes),
            Input::Control(other) => panic!("{other:?}"),
        });
        // Or the length of the last frame has grown, and more is awaited.
        prop_assert!(result.is_err() || inbox.packets < 10);
    }
}

#[test]
fn a_small_packet_waits_for_one_fragment_at_most() {
    let settings = Settings::default();
    let (mut a, mut b) = (session(&settings), session(&settings));
    let _ = a.outgoing.push(key(1), &packet(1, 0, 2 << 20, false)).unwrap();
    let mut bytes = Vec::new();
    a.outgoing.produce(&mut bytes, 1);
    let _ = a.outgoing.push(key(2), &packet(2, 0, 8, false)).unwrap();
    a.outgoing.control(&Control::Ping);
    let before = bytes.len();
    a.outgoing.produce(&mut bytes, before + FRAGMENT + 200);
    let mut seen = Vec::new();
    b.receive(&bytes, Duration::ZERO, &mut |input| match input {
        Input::Packet(bytes) => seen.push(bytes.len()),
        Input::Control(other) => panic!("{other:?}"),
    })
    .unwrap();
    assert_eq!(seen, [20], "the large one is still under way");
}

#[test]
fn without_credit_only_control_goes() {
    let settings = small();
    let mut a = session(&settings);
    let _ = a.outgoing.push(key(1), &packet(1, 0, 900_000, false)).unwrap();
    let mut bytes = Vec::new();
    a.outgoing.produce(&mut bytes, usize::MAX);
    assert!(bytes.len() <= settings.window as usize + 10 * frame::HEADER);
    assert!(!a.outgoing.has_work());
    bytes.clear();
    a.outgoing.control(&Control::Ping);
    a.outgoing.produce(&mut bytes, usize::MAX);
    assert!((frame::HEADER..40).contains(&bytes.len()), "a heartbeat: {} bytes", bytes.len());
    a.outgoing.credit(u64::from(settings.window) - 60_000).unwrap();
    assert!(a.outgoing.has_work());
    assert_eq!(a.outgoing.credit(1 << 40), Err(SessionError::BadCredit { bytes: 1 << 40 }));
    assert_eq!(a.outgoing.credit(u64::MAX), Err(SessionError::BadCredit { bytes: u64::MAX }));
}

#[test]
fn a_full_queue_says_so_and_a_large_packet_is_refused() {
    let settings = Settings { queue: 1000, ..small() };
    let mut a = session(&settings);
    let mut packets = 0;
    while a.outgoing.push(key(1), &packet(1, packets, 87, false)).unwrap() == Pressure::Low {
        packets += 1;
    }
    assert_eq!(packets, 9);
    assert!(a.outgoing.is_full(Lane::Small) && !a.outgoing.has_room(Lane::Small));
    let size = settings.max_packet + 13;
    let refused = a.outgoing.push(key(1), &packet(1, 0, settings.max_packet as usize, false));
    assert_eq!(refused, Err(TooLarge { size, limit: settings.max_packet }));
    a.outgoing.produce(&mut Vec::new(), usize::MAX);
    assert_eq!(a.outgoing.queued(), 0);
    assert!(a.outgoing.has_room(Lane::Small));
}

#[test]
fn the_lanes_have_bounds_of_their_own() {
    let settings = Settings { queue: 1000, ..Settings::default() };
    let mut a = session(&settings);
    assert_eq!(a.outgoing.push(key(1), &packet(1, 0, 100_000, false)), Ok(Pressure::High));
    assert_eq!(a.outgoing.push(key(2), &packet(2, 0, 10, false)), Ok(Pressure::Low));
    // What follows the large one counts with it.
    assert_eq!((a.outgoing.lane(key(1), 10), a.outgoing.lane(key(2), 10)), (Lane::Bulk, Lane::Small));
    assert_eq!(a.outgoing.push(key(1), &packet(1, 1, 10, false)), Ok(Pressure::High));
    a.outgoing.produce(&mut Vec::new(), usize::MAX);
    assert!(a.outgoing.has_room(Lane::Bulk) && a.outgoing.lane(key(1), 10) == Lane::Small);
}

#[test]
fn control_packets_of_any_number_arrive() {
    let (mut a, mut b) = (session(&small()), session(&small()));
    let sent: Vec<Control> = (0..3000)
        .map(|id| Control::Type {
            id,
            name: format!("a type with a name of some length {id}"),
            fingerprint: 7,
        })
        .chain([Control::TypeRefused { id: 1, why: TypeRefusal::Different { fingerprint: 9 } }])
        .collect();
    sent.iter().for_each(|control| a.outgoing.control(control));
    let (mut bytes, mut seen) = (Vec::new(), Vec::new());
    a.outgoing.produce(&mut bytes, 1);
    b.receive(&bytes, Duration::ZERO, &mut |input| match input {
        Input::Control(control) => seen.push(control),
        Input::Packet(_) => panic!("no packet was sent"),
    })
    .unwrap();
    assert_eq!(seen, sent);
}

fn refused(settings: &Settings, bytes: &[u8]) -> SessionError {
    let mut packets = 0;
    let error = session(settings).receive(bytes, Duration::ZERO, &mut |_| packets += 1).unwrap_err();
    assert_eq!(packets, 0);
    error
}

fn fragment(flags: u8, stream: u16, total: Option<u64>, bytes: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    if let Some(total) = total {
        packet::write_number(&mut payload, total);
    }
    payload.extend_from_slice(bytes);
    let mut out = Vec::new();
    frame::write(&mut out, Kind::Fragment, flags, stream, &payload);
    out
}

#[test]
fn each_bad_input_has_a_name() {
    use frame::{FIRST, LAST};
    let settings = small();
    let limit = settings.max_packet;
    let refused = |bytes: &[u8]| refused(&settings, bytes);
    assert_eq!(refused(&fragment(FIRST, 16, Some(5), b"abc")), SessionError::UnknownStream { stream: 16 });
    assert_eq!(refused(&fragment(LAST, 3, None, b"abc")), SessionError::OutOfOrder { stream: 3 });
    let twice = [fragment(FIRST, 3, Some(9), b"abc"), fragment(FIRST, 3, Some(9), b"abc")].concat();
    assert_eq!(refused(&twice), SessionError::OutOfOrder { stream: 3 });
    assert_eq!(
        refused(&fragment(FIRST, 3, Some(1 << 60), b"abc")),
        SessionError::PacketTooLarge { size: 1 << 60, limit }
    );
    assert_eq!(
        refused(&fragment(FIRST | LAST, 3, Some(9), b"abc")),
        SessionError::BadTotal { total: 9, bytes: 3 }
    );
    assert_eq!(refused(&fragment(FIRST, 3, Some(2), b"abc")), SessionError::BadTotal { total: 2, bytes: 3 });
    assert_eq!(refused(&fragment(FIRST, 3, Some(3), b"abc")), SessionError::BadTotal { total: 3, bytes: 3 });

    let framed = |kind: Kind, payload: &[u8]| {
        let mut out = Vec::new();
        frame::write(&mut out, kind, 0, 0, payload);
        out
    };
    let beyond = framed(Kind::Batch, b"\x09abc");
    assert_eq!(refused(&beyond), SessionError::Packet(PacketError::BadLength));
    assert_eq!(refused(&framed(Kind::Batch, b"\x00")), SessionError::Packet(PacketError::BadLength));
    assert_eq!(refused(&framed(Kind::Batch, b"\x02\x07a")), SessionError::Packet(PacketError::BadLength));
    assert!(matches!(refused(&framed(Kind::Control, b"\x01\x91")), SessionError::Control(_)));
    assert!(matches!(refused(&framed(Kind::Control, b"\x01\x07")), SessionError::Control(_)));
    let mut deep = vec![0x81; 60];
    deep.insert(0, 60);
    assert!(matches!(refused(&framed(Kind::Control, &deep)), SessionError::Control(PacketError::Nesting(_))));

    let flood: Vec<u8> = (0..3).flat_map(|_| framed(Kind::Batch, &[0; 60_000])).collect();
    let mut flood = flood;
    // Packets of one byte each.
    for frame in flood.chunks_mut(60_000 + frame::HEADER) {
        let payload: Vec<u8> = [1, 0].repeat(30_000);
        let mut right = Vec::new();
        frame::write(&mut right, Kind::Batch, 0, 0, &payload);
        frame.copy_from_slice(&right);
    }
    let mut b = session(&settings);
    let error = b.receive(&flood, Duration::ZERO, &mut |_| {}).unwrap_err();
    assert_eq!(error, SessionError::CreditOverrun { bytes: 180_000, window: u64::from(settings.window) });
}

#[test]
fn a_decompression_bomb_is_refused_before_it_grows() {
    let settings = Settings { max_packet: 1 << 30, ..small() };
    let compressed = lz4_flex::block::compress(&vec![0; 4 << 20]);
    let lie = |size: u64, bytes: &[u8]| {
        let mut packet = vec![1];
        packet::write_number(&mut packet, size);
        packet.extend_from_slice(bytes);
        fragment(frame::FIRST | frame::LAST, 0, Some(packet.len() as u64), &packet)
    };
    assert!(matches!(
        refused(&settings, &lie(4 << 20, &compressed)),
        SessionError::Bomb { size: 4_194_304, .. }
    ));
    assert!(matches!(
        refused(&settings, &lie(1000, &compressed)),
        SessionError::Decompress { size: 1000, .. }
    ));
    assert!(matches!(
        refused(&settings, &lie(600, b"nonsense and more of it")),
        SessionError::Decompress { .. }
    ));
    assert!(matches!(refused(&small(), &lie(1 << 40, &compressed)), SessionError::PacketTooLarge { .. }));
    // And if it was not agreed, not even a good one.
    let mut plain = agreement(&settings);
    plain.features = 0;
    let mut b = Session::new(&settings, &plain, Duration::ZERO);
    let good = lie(100, &lz4_flex::block::compress(&[7; 100]));
    assert_eq!(b.receive(&good, Duration::ZERO, &mut |_| {}), Err(SessionError::NotAgreed));
}

#[test]
fn what_would_be_taken_for_a_bomb_goes_uncompressed() {
    let zeros = seal(vec![0; 100_000], true);
    assert_eq!((zeros[0], zeros.len()), (0, 100_000));
    let text: Vec<u8> = (0..50_000_u32).flat_map(|number| (number / 10).to_le_bytes()).collect();
    let sealed = seal([vec![0], text].concat(), true);
    assert_eq!(sealed[0], 1);
    assert!(sealed.len() < 100_000);
}

#[test]
fn silence_ends_a_session_and_heartbeats_keep_it() {
    let settings = small();
    let (mut a, mut b) = (session(&settings), session(&settings));
    let mut now = Duration::ZERO;
    let mut step = |a: &mut Session, b: &mut Session, deaf: bool| {
        now += Duration::from_millis(250);
        a.tick(now).unwrap();
        let mut bytes = Vec::new();
        a.outgoing.produce(&mut bytes, 1);
        if !deaf && !bytes.is_empty() {
            b.receive(&bytes, now, &mut |_| {}).unwrap();
        }
        // The other way is not what is tested.
        a.pulse.heard(now);
        b.tick(now).map(|()| now)
    };
    for _ in 0..400 {
        step(&mut a, &mut b, false).unwrap();
    }
    let error = (0..24).find_map(|_| step(&mut a, &mut b, true).err());
    assert!(matches!(error, Some(SessionError::Silent { phi: 8.. })), "{error:?}");
}

#[test]
fn goodbye_is_the_last_word() {
    let settings = small();
    let (mut a, mut b) = (session(&settings), session(&settings));
    a.outgoing.control(&Control::Goodbye { why: "shutdown".into() });
    let mut bytes = Vec::new();
    a.outgoing.produce(&mut bytes, 1);
    let error = b.receive(&bytes, Duration::ZERO, &mut |_| {}).unwrap_err();
    assert_eq!(error, SessionError::Goodbye { why: "shutdown".into() });
}

/// The senders of the packets that `a` would send now, up to so many bytes.
fn next_senders(a: &mut Session, b: &mut Session, budget: usize) -> Vec<u64> {
    let (mut bytes, mut senders) = (Vec::new(), Vec::new());
    a.outgoing.produce(&mut bytes, budget);
    b.receive(&bytes, Duration::ZERO, &mut |input| match input {
        Input::Packet(bytes) => senders.push(u64::from_le_bytes(bytes[..8].try_into().unwrap())),
        Input::Control(other) => panic!("{other:?}"),
    })
    .unwrap();
    senders
}

#[test]
fn who_sends_little_comes_before_those_who_have_filled_the_queue() {
    let settings = Settings::default();
    let (mut a, mut b) = (session(&settings), session(&settings));
    for number in 0..200 {
        for sender in 1..=20 {
            let _ = a.outgoing.push(key(sender), &packet(sender, number, 87, false)).unwrap();
        }
    }
    // All of them have had their first turn.
    let mut seen = Vec::new();
    while (1..=20).any(|sender| !seen.contains(&sender)) {
        seen.extend(next_senders(&mut a, &mut b, 1));
    }
    let _ = a.outgoing.push(key(99), &packet(99, 0, 8, false)).unwrap();
    let next = [next_senders(&mut a, &mut b, 1), next_senders(&mut a, &mut b, 1)];
    assert!(next.contains(&vec![99]), "a frame of its own, after one at most of what has waited: {next:?}");
}

#[test]
fn those_who_flood_share_the_connection_in_equal_parts() {
    let settings = Settings { window: 64 << 20, ..Settings::default() };
    let (mut a, mut b) = (session(&settings), session(&settings));
    // One has ten times as much as the others.
    for sender in 1..=8 {
        let count = if sender == 1 { 2000 } else { 200 };
        for number in 0..count {
            let _ = a.outgoing.push(key(sender), &packet(sender, number, 987, false)).unwrap();
        }
    }
    let mut counts = HashMap::<u64, i32>::new();
    while counts.values().sum::<i32>() < 800 {
        let senders = next_senders(&mut a, &mut b, 1);
        assert!(!senders.is_empty() || a.outgoing.has_work(), "it goes on");
        senders.into_iter().for_each(|sender| *counts.entry(sender).or_default() += 1);
        // The other takes it in at once.
        let mut back = Vec::new();
        b.outgoing.produce(&mut back, 1);
        a.receive(&back, Duration::ZERO, &mut |_| {}).unwrap();
    }
    let others: Vec<i32> = (2..=8).map(|sender| counts[&sender]).collect();
    let (least, most) = (*others.iter().min().unwrap(), *others.iter().max().unwrap());
    assert!(most - least <= 8, "{counts:?}");
    // The first one made larger pieces as long as it was alone.
    assert!(counts[&1] <= most + 40, "{counts:?}");
}

#[test]
fn a_flood_waits_in_its_queue_and_not_on_the_way() {
    let settings = Settings::default();
    let mut a = session(&settings);
    for number in 0..1000 {
        let _ = a.outgoing.push(key(1), &packet(1, number, 987, false)).unwrap();
    }
    let mut bytes = Vec::new();
    a.outgoing.produce(&mut bytes, usize::MAX);
    assert!((100_000..200_000).contains(&bytes.len()), "{} bytes without an answer", bytes.len());
    assert!(!a.outgoing.has_work());
    let before = bytes.len();
    let _ = a.outgoing.push(key(2), &packet(2, 0, 8, false)).unwrap();
    assert!(a.outgoing.has_work(), "one that is fresh may go all the same");
    a.outgoing.produce(&mut bytes, usize::MAX);
    assert!((before + 1..before + 100).contains(&bytes.len()));
}

#[test]
fn each_sender_may_fill_its_share_and_a_new_one_need_not_wait() {
    let limit = 100_000;
    let mut a = session(&Settings { queue: limit, ..Settings::default() });
    let fill = |a: &mut Session, sender: u64| {
        let mut number = 0;
        while !a.outgoing.must_wait(key(sender), 1000, limit) {
            let _ = a.outgoing.push(key(sender), &packet(sender, number, 987, false)).unwrap();
            number += 1;
        }
        number
    };
    assert_eq!(fill(&mut a, 1), 100, "who is alone has all of it");
    assert_eq!(fill(&mut a, 2), 1, "who has nothing in it yet is let in");
    a.outgoing.produce(&mut Vec::new(), 60_000);
    assert!(a.outgoing.has_room(Lane::Small));
    let third = fill(&mut a, 3);
    assert!((20..60).contains(&third), "{third} of three");
    assert!(!a.outgoing.must_wait(key(4), 1000, limit));
    assert!(!a.outgoing.is_crowding(key(4)) && a.outgoing.is_crowding(key(3)));
}
