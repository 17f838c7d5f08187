//! Frames, packets and the look at nesting: what is written is read, whatever the pieces, and nothing else is.

use engset_net::dist::{
    frame::{self, Decoder, FIRST, Frame, FrameError, HEADER, Kind, LAST, MAX_PAYLOAD},
    nesting::{self, NestingError},
    packet::{self, PacketError},
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

type Owned = (Kind, u8, u16, Vec<u8>);

fn owned(frame: Frame<'_>) -> Owned {
    (frame.kind, frame.flags, frame.stream, frame.payload.to_vec())
}

fn frames() -> impl Strategy<Value = Owned> {
    let payload = || prop::collection::vec(any::<u8>(), 1..600);
    prop_oneof![
        payload().prop_map(|payload| (Kind::Control, 0, 0, payload)),
        payload().prop_map(|payload| (Kind::Batch, 0, 0, payload)),
        (0..=FIRST | LAST, any::<u16>(), payload()).prop_map(|(flags, stream, payload)| (
            Kind::Fragment,
            flags,
            stream,
            payload
        )),
    ]
}

fn written(frames: &[Owned]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, flags, stream, payload) in frames {
        frame::write(&mut bytes, *kind, *flags, *stream, payload);
    }
    bytes
}

fn read(bytes: &[u8], pieces: &[usize]) -> (Vec<Owned>, Option<FrameError>) {
    let (mut decoder, mut rest, mut frames) = (Decoder::new(), bytes, Vec::new());
    let mut pieces = pieces.iter().cycle();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((*pieces.next().unwrap()).min(rest.len()));
        decoder.push(piece);
        rest = after;
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(owned(frame)),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(decoder.held() < HEADER + MAX_PAYLOAD + piece.len());
    }
    (frames, None)
}

fn only_error(bytes: &[u8]) -> FrameError {
    let (frames, error) = read(bytes, &[usize::MAX]);
    assert!(frames.is_empty());
    error.expect("it is no frame")
}

proptest! {
    #[test]
    fn frames_are_read_as_they_were_written_whatever_the_pieces(
        sent in prop::collection::vec(frames(), 0..8),
        pieces in prop::collection::vec(1_usize..700, 1..6),
    ) {
        prop_assert_eq!(read(&written(&sent), &pieces), (sent, None));
    }

    #[test]
    fn a_frame_with_any_bit_turned_is_never_taken_for_another(
        sent in frames(), bit in any::<prop::sample::Index>(), pieces in prop::collection::vec(1_usize..700, 1..3),
    ) {
        let mut bytes = written(std::slice::from_ref(&sent));
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (frames, error) = read(&bytes, &pieces);
        // An error, or (if the length has grown) more bytes are awaited.
        prop_assert!(frames.is_empty(), "{:?}", frames);
        prop_assert!(error.is_some() || bit < 32);
    }

    #[test]
    fn any_bytes_give_frames_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&bytes, &[7]);
    }

    #[test]
    fn packets_are_read_as_they_were_written(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8)) {
        let mut bytes = Vec::new();
        packets.iter().for_each(|packet| packet::write(&mut bytes, packet));
        let (mut rest, mut found) = (&bytes[..], Vec::new());
        while let Some(packet) = packet::read(&mut rest).unwrap() {
            found.push(packet.to_vec());
        }
        prop_assert_eq!(found, packets);
    }

    #[test]
    fn numbers_have_one_form(number in any::<u64>(), bytes in prop::collection::vec(any::<u8>(), 0..12)) {
        let mut written = Vec::new();
        packet::write_number(&mut written, number);
        prop_assert_eq!(packet::read_number(&mut &written[..]), Ok(number));
        let mut rest = &bytes[..];
        if let Ok(number) = packet::read_number(&mut rest) {
            let mut again = Vec::new();
            packet::write_number(&mut again, number);
            prop_assert_eq!(&again[..], &bytes[..bytes.len() - rest.len()]);
        }
    }

    /// The decoder of the values is the judge: what it takes with its own limit is what the look lets pass, and what the look lets
    /// pass makes it neither recurse deeply nor reserve much.
    #[test]
    fn what_was_encoded_passes_the_look(value in tree()) {
        let mut bytes = Vec::new();
        packet::encode(&mut bytes, &value);
        prop_assert_eq!(packet::decode::<Tree>(&bytes), Ok(value));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let looked = nesting::check(&bytes, 8);
        let decoded = packet::decode::<Tree>(&bytes);
        if nesting::check(&bytes, nesting::DEFAULT_DEPTH).is_err() {
            prop_assert!(matches!(decoded, Err(PacketError::Nesting(_))));
        }
        prop_assert!(looked.is_err() || nesting::check(&bytes, 9).is_ok());
    }

    #[test]
    fn a_value_cut_short_or_with_something_behind_it_is_refused(value in tree(), cut in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        packet::encode(&mut bytes, &value);
        let cut = cut.index(bytes.len());
        prop_assert!(nesting::check(&bytes[..cut], 32).is_err());
        bytes.push(0);
        prop_assert_eq!(nesting::check(&bytes, 32), Err(NestingError::Trailing { bytes: 1 }));
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf(u64),
    Text(String),
    Pair { left: Box<Tree>, right: Box<Tree> },
    Many(Vec<Tree>),
    Perhaps(Option<Box<Tree>>),
    Signed(i64, f64),
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Tree::Leaf),
        ".{0,40}".prop_map(Tree::Text),
        (any::<i64>(), -1e9..1e9).prop_map(|(number, float)| Tree::Signed(number, float)),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone())
                .prop_map(|(left, right)| Tree::Pair { left: Box::new(left), right: Box::new(right) }),
            prop::collection::vec(inner.clone(), 0..20).prop_map(Tree::Many),
            prop::option::of(inner.prop_map(Box::new)).prop_map(Tree::Perhaps),
        ]
    })
}

#[test]
fn each_bad_header_has_a_name() {
    let header = |len: u32, kind: u8, flags: u8| {
        let mut bytes = len.to_le_bytes().to_vec();
        bytes.extend_from_slice(&[kind, flags, 0, 0, 0, 0, 0, 0]);
        bytes
    };
    let over = MAX_PAYLOAD as u32 + 1;
    assert_eq!(only_error(&header(over, 2, 0)), FrameError::Oversized { len: over });
    assert_eq!(only_error(&header(-1_i32 as u32, 2, 0)), FrameError::Oversized { len: u32::MAX });
    assert_eq!(only_error(&header(0, 2, 0)), FrameError::Empty);
    assert_eq!(only_error(&header(1, 9, 0)), FrameError::UnknownKind { kind: 9 });
    assert_eq!(
        only_error(&header(1, 2, FIRST)),
        FrameError::BadFlags { kind: Kind::Batch, flags: FIRST, stream: 0 }
    );
    assert_eq!(
        only_error(&header(1, 3, 0x80)),
        FrameError::BadFlags { kind: Kind::Fragment, flags: 0x80, stream: 0 }
    );
    let mut bytes = header(1, 2, 0);
    bytes.push(7);
    assert!(matches!(only_error(&bytes), FrameError::BadCheck { sent: 0, .. }));
    // A web browser.
    assert!(matches!(only_error(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), FrameError::Oversized { .. }));
}

#[test]
fn the_bytes_of_a_frame_do_not_change() {
    let bytes = written(&[(Kind::Fragment, LAST, 0x0102, b"engset".to_vec())]);
    assert_eq!(bytes, b"\x06\x00\x00\x00\x03\x02\x02\x01\x8c\xc9\x75\xc9engset", "{:x?}", bytes);
}

#[test]
fn deep_nesting_is_refused_in_every_disguise() {
    let deep = |level: &[u8], times: usize| {
        let mut bytes = level.repeat(times);
        bytes.push(0xc0);
        bytes
    };
    // Arrays of one, maps of one with a text as key (variants of enums), maps with a large count.
    for level in [&b"\x91"[..], b"\x81\xa1N", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01", b"\xde\x00\x01\xa1N"]
    {
        assert_eq!(nesting::check(&deep(level, 32), 32), Ok(()), "{level:x?}");
        assert_eq!(nesting::check(&deep(level, 33), 32), Err(NestingError::TooDeep { limit: 32 }));
        assert_eq!(nesting::check(&deep(level, 1_000_000), 128), Err(NestingError::TooDeep { limit: 128 }));
    }
}

#[test]
fn counts_beyond_the_bytes_are_refused() {
    for bytes in [
        &b"\xdd\xff\xff\xff\xff"[..],
        b"\xdf\xff\xff\xff\xff\x00",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x00",
        b"\xa5abc",
        b"\x93\x01\x02",
        b"\xcf\x00",
    ] {
        assert!(matches!(nesting::check(bytes, 32), Err(NestingError::Claims { .. })), "{bytes:x?}");
    }
    assert_eq!(nesting::check(b"", 32), Err(NestingError::Truncated));
    assert_eq!(nesting::check(b"\xdd\xff", 32), Err(NestingError::Truncated));
    assert_eq!(nesting::check(b"\xc1", 32), Err(NestingError::Reserved));
}
