//! Bytes, in pieces, into the decoder of frames; and as one value, into the look at nesting and the decoder behind it.
#![no_main]

use engset_net::dist::{frame, nesting, packet, session::Control};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&piece, data)) = data.split_first() else { return };
    let mut decoder = frame::Decoder::new();
    'pieces: for piece in data.chunks(usize::from(piece) + 1) {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => {
                    // What was read is written in the same way.
                    let mut again = Vec::new();
                    frame::write(&mut again, frame.kind, frame.flags, frame.stream, frame.payload);
                    assert!(data.windows(again.len()).any(|window| window == again));
                }
                Ok(None) => break,
                Err(_) => break 'pieces,
            }
        }
        assert!(decoder.held() < frame::HEADER + frame::MAX_PAYLOAD + 256);
    }
    let looked = nesting::check(data, nesting::DEFAULT_DEPTH);
    let decoded = packet::decode::<Control>(data);
    assert!(looked.is_ok() || decoded.is_err());
});
