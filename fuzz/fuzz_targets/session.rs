//! Frames with any contents, and any bytes, into a session: never a panic, never more memory than agreed.
#![no_main]

use engset_net::dist::{
    frame::{self, Kind},
    handshake::{Agreement, Identity, Limits, feature},
    session::{STREAMS, Session, Settings},
};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

fuzz_target!(|data: &[u8]| {
    let settings = Settings { max_packet: 1 << 16, window: 1 << 18, ..Settings::default() };
    let limits = Limits { max_packet: 1 << 16, window: 1 << 18, heartbeat: 1000 };
    let peer = Identity { cluster: "c".into(), name: "a".into(), creation: 1, features: 1, limits };
    let agreement = Agreement { peer, version: 1, features: feature::LZ4 };
    let mut session = Session::new(&settings, &agreement, Duration::ZERO);
    let mut rest = data;
    // Frames with a right check: kind, flags, stream, length, contents.
    while let [kind, flags, stream, len, after @ ..] = rest {
        let (payload, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        let mut bytes = Vec::new();
        let kind = match kind % 4 {
            0 => Kind::Control,
            1 => Kind::Batch,
            2 => Kind::Fragment,
            _ => {
                drop(session.receive(payload, Duration::ZERO, &mut |_| {}));
                return;
            }
        };
        if payload.is_empty() {
            continue;
        }
        let (flags, stream) = if kind == Kind::Fragment { (flags % 4, u16::from(*stream)) } else { (0, 0) };
        frame::write(&mut bytes, kind, flags, stream, payload);
        if session.receive(&bytes, Duration::ZERO, &mut |_| {}).is_err() {
            return;
        }
        assert!(session.incoming.held() <= STREAMS * (1 << 16));
    }
});
