//! The handshake: who knows the secret gets in, whatever the pieces; nobody else does, and each reason has a name.

use engset_net::dist::{
    handshake::{
        Admission, Agreement, Handshake, HandshakeError, Identity, Limits, MAGIC, MAX_MESSAGE, Refusal, Step,
        TIME, simultaneous,
    },
    secret::Secret,
};
use proptest::prelude::*;
use std::time::Duration;

const NOW: Duration = Duration::from_secs(100);

fn identity(name: &str) -> Identity {
    let limits = Limits { max_packet: 1 << 20, window: 1 << 20, heartbeat: 1000 };
    Identity { cluster: "test".into(), name: name.into(), creation: 7, features: 3, limits }
}

fn dial(name: &str, secret: &str) -> Handshake {
    Handshake::dial(identity(name), Secret::new(secret), [1; 32], None, NOW)
}

fn listen(name: &str, secret: &str) -> Handshake {
    Handshake::listen(identity(name), Secret::new(secret), [2; 32], NOW)
}

/// Gives all bytes, in pieces; the table answers `admission`, the dialler `go_on`.
fn feed(
    to: &mut Handshake,
    bytes: &[u8],
    piece: usize,
    admission: &Admission,
    go_on: bool,
) -> Result<Option<Agreement>, HandshakeError> {
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            let mut step = to.receive(&mut piece)?;
            loop {
                step = match step {
                    Step::Read => break,
                    Step::Admit(_) => to.admit(admission.clone())?,
                    Step::Confirm => to.confirm(go_on)?,
                    Step::Done(agreement) => {
                        assert!(piece.is_empty());
                        return Ok(Some(agreement));
                    }
                };
            }
        }
    }
    Ok(None)
}

type End = Result<Agreement, HandshakeError>;

/// Runs both sides until both have an end.
fn talk(mut a: Handshake, mut b: Handshake, piece: usize, admission: &Admission, go_on: bool) -> (End, End) {
    let (mut end_a, mut end_b) = (None, None);
    for _ in 0..10 {
        let give = |from: &mut Handshake, to: &mut Handshake, end: &mut Option<End>| {
            let bytes = from.take_output();
            if end.is_none() {
                *end = feed(to, &bytes, piece, admission, go_on).transpose();
            }
        };
        give(&mut a, &mut b, &mut end_b);
        give(&mut b, &mut a, &mut end_a);
    }
    let lost = || Err(HandshakeError::TooSlow);
    (end_a.unwrap_or_else(lost), end_b.unwrap_or_else(lost))
}

#[test]
fn who_knows_the_secret_gets_in() {
    for piece in [1, 2, 3, 50, 5000] {
        let (a, b) = talk(dial("a@x", "hush"), listen("b@x", "hush"), piece, &Admission::Welcome, true);
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!((a.peer, b.peer), (identity("b@x"), identity("a@x")));
        assert_eq!((a.version, a.features), (b.version, b.features));
    }
}

#[test]
fn who_does_not_know_the_secret_learns_nothing_and_gets_nowhere() {
    let (a, b) = talk(dial("a@x", "guess"), listen("b@x", "hush"), 99, &Admission::Welcome, true);
    assert_eq!(a, Err(HandshakeError::Refused(Refusal::NotAllowed)));
    assert_eq!(b, Err(HandshakeError::WrongSecret));
}

/// One that does not check who dials still has to prove itself.
#[test]
fn who_listens_has_to_prove_itself_too() {
    let (mut a, mut b) = (dial("a@x", "hush"), listen("b@x", "hush"));
    feed(&mut b, &a.take_output(), 99, &Admission::Welcome, true).unwrap();
    feed(&mut a, &b.take_output(), 99, &Admission::Welcome, true).unwrap();
    feed(&mut b, &a.take_output(), 99, &Admission::Welcome, true).unwrap();
    let mut welcome = b.take_output();
    *welcome.last_mut().unwrap() ^= 1;
    assert_eq!(feed(&mut a, &welcome, 99, &Admission::Welcome, true), Err(HandshakeError::WrongSecret));
}

#[test]
fn a_replayed_conversation_is_refused() {
    let (mut a, mut b) = (dial("a@x", "hush"), listen("b@x", "hush"));
    let hello = a.take_output();
    feed(&mut b, &hello, 99, &Admission::Welcome, true).unwrap();
    feed(&mut a, &b.take_output(), 99, &Admission::Welcome, true).unwrap();
    let auth = a.take_output();
    assert!(feed(&mut b, &auth, 99, &Admission::Welcome, true).unwrap().is_some());
    // The listener draws a new nonce for each connection.
    let mut again = Handshake::listen(identity("b@x"), Secret::new("hush"), [3; 32], NOW);
    feed(&mut again, &hello, 99, &Admission::Welcome, true).unwrap();
    assert_eq!(feed(&mut again, &auth, 99, &Admission::Welcome, true), Err(HandshakeError::WrongSecret));
}

/// The attacker has no secret; it lets the victim dial it, and dials the victim, to have it answer its own challenge.
#[test]
fn a_reflected_conversation_is_refused() {
    // As it is: the victim hears itself.
    let (mut victim, mut twin) = (dial("a@x", "hush"), listen("a@x", "hush"));
    let hello = victim.take_output();
    assert_eq!(feed(&mut twin, &hello, 99, &Admission::Welcome, true), Err(HandshakeError::SameName));
    assert_eq!(
        feed(&mut victim, &hello, 99, &Admission::Welcome, true),
        Err(HandshakeError::Unexpected { kind: 1 })
    );
    // The proof of one role is none of the other, even for the same conversation.
    let (mut a, mut b) = (dial("a@x", "hush"), listen("b@x", "hush"));
    feed(&mut b, &a.take_output(), 99, &Admission::Welcome, true).unwrap();
    feed(&mut a, &b.take_output(), 99, &Admission::Welcome, true).unwrap();
    let mut auth = a.take_output();
    auth[2] = 6; // As a Welcome.
    assert_eq!(feed(&mut a, &auth, 99, &Admission::Welcome, true), Err(HandshakeError::WrongSecret));
}

#[test]
fn other_clusters_names_and_nodes_are_refused() {
    let mut other = identity("a@x");
    other.cluster = "other".into();
    let other = Handshake::dial(other, Secret::new("hush"), [1; 32], None, NOW);
    let (a, b) = talk(other, listen("b@x", "hush"), 99, &Admission::Welcome, true);
    assert_eq!(a, Err(HandshakeError::Refused(Refusal::WrongCluster)));
    assert_eq!(b, Err(HandshakeError::WrongCluster { cluster: "other".into() }));

    let (a, b) = talk(dial("a@x", "hush"), listen("a@x", "hush"), 99, &Admission::Welcome, true);
    assert_eq!(a, Err(HandshakeError::Refused(Refusal::SameName)));
    assert_eq!(b, Err(HandshakeError::SameName));

    let dialled = Some("c@x".to_owned());
    let wrong = Handshake::dial(identity("a@x"), Secret::new("hush"), [1; 32], dialled, NOW);
    let (a, _) = talk(wrong, listen("b@x", "hush"), 99, &Admission::Welcome, true);
    assert_eq!(a, Err(HandshakeError::WrongNode { dialled: "c@x".into(), found: "b@x".into() }));

    for name in ["", "a\n@x", &"x".repeat(256)] {
        let (_, b) = talk(dial(name, "hush"), listen("b@x", "hush"), 99, &Admission::Welcome, true);
        assert!(matches!(b, Err(HandshakeError::BadName { .. })), "{b:?}");
    }
}

#[test]
fn impossible_limits_are_refused() {
    for (max_packet, window, heartbeat) in [(0, 1 << 20, 1000), (1 << 20, 1000, 1000), (1 << 20, 1 << 20, 0)]
    {
        let mut own = identity("a@x");
        own.limits = Limits { max_packet, window, heartbeat };
        let own = Handshake::dial(own, Secret::new("hush"), [1; 32], None, NOW);
        let (_, b) = talk(own, listen("b@x", "hush"), 99, &Admission::Welcome, true);
        assert!(matches!(b, Err(HandshakeError::BadLimits { .. })), "{b:?}");
    }
}

#[test]
fn the_table_may_refuse() {
    let (a, b) =
        talk(dial("a@x", "hush"), listen("b@x", "hush"), 99, &Admission::Refuse(Refusal::Stale), true);
    assert_eq!(a, Err(HandshakeError::Refused(Refusal::Stale)));
    assert_eq!(b, Err(HandshakeError::Declined(Refusal::Stale)));
}

#[test]
fn who_has_a_connection_asks_which_one_counts() {
    let (a, b) = talk(dial("a@x", "hush"), listen("b@x", "hush"), 99, &Admission::Alive, true);
    assert!(a.is_ok() && b.is_ok());
    let (a, b) = talk(dial("a@x", "hush"), listen("b@x", "hush"), 99, &Admission::Alive, false);
    assert_eq!(a, Err(HandshakeError::Declined(Refusal::Kept)));
    assert_eq!(b, Err(HandshakeError::Declined(Refusal::Kept)));
}

#[test]
fn of_two_attempts_one_wins_on_both_sides() {
    for (own, other) in [("a@x", "b@x"), ("b@x", "a@x"), ("a", "ab")] {
        assert_ne!(simultaneous(own, other), simultaneous(other, own));
    }
}

#[test]
fn what_is_no_node_is_recognised_by_its_first_bytes() {
    for (bytes, seen) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], &b"GET "[..]),
        (b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x01\x02"),
        (b"\n", b"\n"),
    ] {
        let mut b = listen("b@x", "hush");
        let error = feed(&mut b, bytes, 99, &Admission::Welcome, true).unwrap_err();
        assert_eq!(error, HandshakeError::BadMagic { bytes: seen.to_vec() });
        assert!(b.take_output().is_empty(), "no answer");
    }
}

#[test]
fn a_long_message_is_refused_before_it_is_stored() {
    let mut b = listen("b@x", "hush");
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&(MAX_MESSAGE as u16 + 1).to_le_bytes());
    let error = feed(&mut b, &bytes, 99, &Admission::Welcome, true).unwrap_err();
    assert_eq!(error, HandshakeError::BadLength { len: MAX_MESSAGE + 1 });
}

#[test]
fn one_that_sends_a_byte_a_second_is_given_up() {
    let mut b = listen("b@x", "hush");
    let bytes = dial("a@x", "hush").take_output();
    for (second, byte) in bytes.iter().enumerate() {
        let now = NOW + Duration::from_secs(second as u64);
        if now >= NOW + TIME {
            assert_eq!(b.tick(now), Err(HandshakeError::TooSlow));
            return;
        }
        assert_eq!(b.tick(now), Ok(()));
        feed(&mut b, &[*byte], 1, &Admission::Welcome, true).unwrap();
    }
    panic!("the message is too short for the test");
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_awaited(magic in any::<bool>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut all = if magic { MAGIC.to_vec() } else { Vec::new() };
        all.extend_from_slice(&bytes);
        for mut to in [listen("b@x", "hush"), dial("a@x", "hush")] {
            let result = feed(&mut to, &all, 17, &Admission::Welcome, true);
            prop_assert!(!matches!(result, Ok(Some(_))));
        }
    }

    /// Whatever is changed in whatever message, both sides agree or there is no connection.
    #[test]
    fn a_changed_conversation_never_ends_in_a_disagreement(message in 0_usize..4, bit in any::<prop::sample::Index>()) {
        let (mut a, mut b) = (dial("a@x", "hush"), listen("b@x", "hush"));
        let (mut end_a, mut end_b) = (None, None);
        for number in 0..4 {
            let (from, to, end) = if number % 2 == 0 { (&mut a, &mut b, &mut end_b) } else { (&mut b, &mut a, &mut end_a) };
            let mut bytes = from.take_output();
            if bytes.is_empty() {
                break;
            }
            if number == message {
                let bit = bit.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            match feed(to, &bytes, 4096, &Admission::Welcome, true) {
                Ok(done) => *end = done,
                Err(_) => break,
            }
        }
        prop_assert!(end_a.is_none(), "the changed message went unnoticed");
        if message < 3 {
            prop_assert!(end_b.is_none(), "the changed message went unnoticed");
        }
    }
}
