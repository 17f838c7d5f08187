//! Bytes into both sides of the handshake. Nobody gets in.
#![no_main]

use engset_net::dist::{
    handshake::{Admission, Handshake, Identity, Limits, MAGIC, Step},
    secret::Secret,
};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

fuzz_target!(|data: &[u8]| {
    let limits = Limits { max_packet: 1 << 20, window: 1 << 20, heartbeat: 1000 };
    let own = Identity { cluster: "c".into(), name: "a".into(), creation: 1, features: 1, limits };
    let secret = Secret::new("secret");
    let sides = [
        Handshake::dial(own.clone(), secret.clone(), [1; 32], None, Duration::ZERO),
        Handshake::listen(own, secret, [2; 32], Duration::ZERO),
    ];
    for mut side in sides {
        let bytes = [&MAGIC, data].concat();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match side.receive(&mut rest) {
                Ok(Step::Read) => {}
                Ok(Step::Admit(_)) => drop(side.admit(Admission::Welcome)),
                Ok(other) => panic!("{other:?}"),
                Err(_) => break,
            }
        }
    }
});
