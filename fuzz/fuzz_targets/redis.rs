//! Bytes for the server of the key-value example. A command takes up a part of them, and does not depend on what follows.
#![no_main]

#[allow(dead_code)]
#[path = "../../examples/kv/server/protocol.rs"]
mod protocol;

use libfuzzer_sys::fuzz_target;
use protocol::{Parsed, parse};

fuzz_target!(|data: &[u8]| {
    if let Ok(Parsed::Command(arguments, used)) = parse(data) {
        assert!(used > 0 && used <= data.len());
        assert_eq!(parse(&data[..used]), Ok(Parsed::Command(arguments, used)));
        assert!(!matches!(parse(&data[..used - 1]), Ok(Parsed::Command(_, other)) if other >= used));
    }
});
