//! The cluster's secret.
//!
//! Who knows it may join, and may then do what any process of the cluster may do. It is never sent; a node proves that it knows
//! it (`handshake.rs`). A weak one is refused where others could try it: off the loopback interface it has to have 32 bytes,
//! and not be a repetition.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::{fmt, net::IpAddr};

/// Bytes that a secret has to have off the loopback interface.
pub const STRONG: usize = 32;

/// Different bytes that it has to have there. 32 random bytes have fewer with a chance below 10^-12; a hexadecimal text has 16.
const DIFFERENT: usize = 10;

/// The cluster's secret. It is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    bytes: Vec<u8>,
}

/// Why a secret is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeakSecret {
    /// It has no bytes.
    Empty,
    /// Others can reach the address, and it is short.
    Short {
        /// Its bytes.
        len: usize,
    },
    /// Others can reach the address, and it has few different bytes.
    Repeats {
        /// How many.
        different: usize,
    },
}

impl fmt::Display for WeakSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WeakSecret::Empty => f.write_str("the secret is empty"),
            WeakSecret::Short { len } => {
                write!(
                    f,
                    "the secret has {len} bytes; an address that others can reach needs {STRONG} random ones"
                )
            }
            WeakSecret::Repeats { different } => write!(
                f,
                "the secret has {different} different bytes; an address that others can reach needs {STRONG} random ones"
            ),
        }
    }
}

impl std::error::Error for WeakSecret {}

impl Secret {
    /// These bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Secret { bytes: bytes.into() }
    }

    /// May it be used by a node that listens on this address, or that dials it?
    ///
    /// # Errors
    ///
    /// See [`WeakSecret`].
    pub fn check(&self, address: IpAddr) -> Result<(), WeakSecret> {
        if self.bytes.is_empty() {
            return Err(WeakSecret::Empty);
        }
        if address.is_loopback() {
            return Ok(());
        }
        if self.bytes.len() < STRONG {
            return Err(WeakSecret::Short { len: self.bytes.len() });
        }
        let mut seen = [false; 256];
        self.bytes.iter().for_each(|byte| seen[usize::from(*byte)] = true);
        let different = seen.iter().filter(|seen| **seen).count();
        if different < DIFFERENT {
            return Err(WeakSecret::Repeats { different });
        }
        Ok(())
    }

    fn mac(&self, role: &[u8], transcript: &[u8; 32]) -> Hmac<Sha256> {
        let keyed = |key: &[u8]| match Hmac::<Sha256>::new_from_slice(key) {
            Ok(mac) => mac,
            Err(_) => unreachable!("HMAC takes keys of any length"),
        };
        // A key of its own for this use of the secret.
        let mut derive = keyed(&self.bytes);
        derive.update(b"engset dist v1 auth");
        let mut mac = keyed(&derive.finalize().into_bytes());
        mac.update(role);
        mac.update(transcript);
        mac
    }

    /// The proof of one side for a conversation so far.
    pub(crate) fn prove(&self, role: &[u8], transcript: &[u8; 32]) -> [u8; 32] {
        self.mac(role, transcript).finalize().into_bytes().into()
    }

    /// Is it that proof? Takes the same time for all wrong ones.
    pub(crate) fn verify(&self, role: &[u8], transcript: &[u8; 32], proof: &[u8]) -> bool {
        self.mac(role, transcript).verify_slice(proof).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weak_secret_is_good_for_loopback_only() {
        let [loopback, other] = ["127.0.0.1", "10.0.0.1"].map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(Secret::new("").check(loopback), Err(WeakSecret::Empty));
        assert_eq!(Secret::new("abc").check(loopback), Ok(()));
        assert_eq!(Secret::new("abc").check(other), Err(WeakSecret::Short { len: 3 }));
        assert_eq!(Secret::new([7; 64]).check(other), Err(WeakSecret::Repeats { different: 1 }));
        let strong: Vec<u8> = (0..32).map(|at| at * 7).collect();
        assert_eq!(Secret::new(strong).check(other), Ok(()));
    }

    #[test]
    fn it_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::new("hush")), "Secret(4 bytes)");
    }
}
