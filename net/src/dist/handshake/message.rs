//! What the messages of a handshake hold, and the limits of it.

use super::HandshakeError;
use crate::dist::packet;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The first bytes of each direction.
pub const MAGIC: [u8; 4] = *b"EGS\x01";
/// Bytes that a message may have.
pub const MAX_MESSAGE: usize = 1024;
/// How long all of it may take.
pub const TIME: Duration = Duration::from_secs(5);
/// Versions of the protocol that this implementation speaks.
pub const VERSIONS: (u16, u16) = (1, 1);
/// Bytes that a name may have.
pub const MAX_NAME: usize = 255;

/// Features that both sides may have.
pub mod feature {
    /// Packets may be compressed (LZ4).
    pub const LZ4: u64 = 1;
    /// The node is a hidden one: its connections do not count when nodes tell each other whom they know. (One side suffices.)
    pub const HIDDEN: u64 = 2;
}

/// What a node says of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The largest packet that it takes, in bytes.
    pub max_packet: u64,
    /// Bytes of packets that may be under way to it without its word that they were taken.
    pub window: u32,
    /// How often it will send a heartbeat, in milliseconds.
    pub heartbeat: u32,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster that it belongs to.
    pub cluster: String,
    /// Its name, unique in the cluster.
    pub name: String,
    /// Its incarnation: greater than that of any node that had the name before.
    pub creation: u64,
    /// What it can do ([`feature`]).
    pub features: u64,
    /// See [`Limits`].
    pub limits: Limits,
}

impl Identity {
    pub(super) fn check(&self) -> Result<(), HandshakeError> {
        let name = &self.name;
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(HandshakeError::BadName { name: name.escape_debug().to_string() });
        }
        let Limits { max_packet, window, heartbeat } = self.limits;
        let least = 2 * crate::dist::frame::MAX_PAYLOAD as u32;
        if max_packet < 1024 || window < least || !(10..=60_000).contains(&heartbeat) {
            return Err(HandshakeError::BadLimits { limits: self.limits });
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) versions: (u16, u16),
    pub(super) identity: Identity,
    pub(super) nonce: [u8; 32],
}

#[derive(Serialize, Deserialize)]
pub(super) struct Challenge {
    pub(super) version: u16,
    pub(super) identity: Identity,
    pub(super) nonce: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum MessageKind {
    Hello = 1,
    Challenge = 2,
    Auth = 3,
    Alive = 4,
    Confirm = 5,
    Welcome = 6,
    Refused = 7,
}

pub(super) fn decode<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, HandshakeError> {
    packet::decode(body).map_err(HandshakeError::Malformed)
}
