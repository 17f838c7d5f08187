//! Why there is no connection.

use super::message::{Limits, MAX_MESSAGE, TIME, VERSIONS};
use crate::dist::packet::PacketError;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a node does not want the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refusal {
    /// No version is common to both.
    Incompatible {
        /// What it speaks.
        versions: (u16, u16),
    },
    /// It belongs to another cluster.
    WrongCluster,
    /// The proof is wrong: another secret.
    NotAllowed,
    /// The other has the same name.
    SameName,
    /// It is dialling too, and its own attempt wins.
    Simultaneous,
    /// It knows a later incarnation of the name.
    Stale,
    /// The other has a connection already, and meant to keep it.
    Kept,
    /// It is shutting down, or has as many connections as it may.
    Unavailable,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Incompatible { versions: (min, max) } => {
                write!(f, "it speaks versions {min} to {max} of the protocol")
            }
            Refusal::WrongCluster => f.write_str("it belongs to another cluster"),
            Refusal::NotAllowed => f.write_str("the secrets differ"),
            Refusal::SameName => f.write_str("both have the same name"),
            Refusal::Simultaneous => f.write_str("both dial, and its own attempt wins"),
            Refusal::Stale => f.write_str("it knows a later incarnation of this name"),
            Refusal::Kept => f.write_str("there is a connection already"),
            Refusal::Unavailable => f.write_str("it takes no connections now"),
        }
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The first bytes are of something else (a web browser, TLS, …).
    BadMagic {
        /// They.
        bytes: Vec<u8>,
    },
    /// A message is empty, or longer than [`MAX_MESSAGE`].
    BadLength {
        /// What it says.
        len: usize,
    },
    /// A message that does not belong here.
    Unexpected {
        /// Its kind, as a number.
        kind: u8,
    },
    /// A message that cannot be read.
    Malformed(PacketError),
    /// A name that no node may have.
    BadName {
        /// It.
        name: String,
    },
    /// Limits that nobody can work with.
    BadLimits {
        /// They.
        limits: Limits,
    },
    /// Another node than the one that was dialled.
    WrongNode {
        /// Who was meant.
        dialled: String,
        /// Who it is.
        found: String,
    },
    /// No version is common to both.
    Incompatible {
        /// What the other speaks.
        versions: (u16, u16),
    },
    /// The other belongs to this cluster.
    WrongCluster {
        /// Its name.
        cluster: String,
    },
    /// Both have the same name.
    SameName,
    /// The other does not know the secret.
    WrongSecret,
    /// The other has refused.
    Refused(Refusal),
    /// This side has refused.
    Declined(Refusal),
    /// It took longer than [`TIME`].
    TooSlow,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::BadMagic { bytes } => {
                write!(f, "this is no node: it begins with \"{}\"", bytes.escape_ascii())
            }
            HandshakeError::BadLength { len } => {
                write!(f, "a message of {len} bytes in the handshake, {MAX_MESSAGE} is the most")
            }
            HandshakeError::Unexpected { kind } => {
                write!(f, "an unexpected message of kind {kind} in the handshake")
            }
            HandshakeError::Malformed(error) => write!(f, "a malformed message in the handshake: {error}"),
            HandshakeError::BadName { name } => write!(f, "\"{name}\" is no name for a node"),
            HandshakeError::BadLimits { limits } => write!(f, "impossible limits: {limits:?}"),
            HandshakeError::WrongNode { dialled, found } => {
                write!(f, "{dialled} was dialled, and {found} answers")
            }
            HandshakeError::Incompatible { versions: (min, max) } => {
                write!(
                    f,
                    "the other speaks versions {min} to {max} of the protocol, this one {} to {}",
                    VERSIONS.0, VERSIONS.1
                )
            }
            HandshakeError::WrongCluster { cluster } => {
                write!(f, "the other belongs to the cluster \"{cluster}\"")
            }
            HandshakeError::SameName => f.write_str("the other has this node's own name"),
            HandshakeError::WrongSecret => f.write_str("the other does not know the secret"),
            HandshakeError::Refused(refusal) => write!(f, "the other has refused: {refusal}"),
            HandshakeError::Declined(refusal) => write!(f, "this node has refused: {refusal}"),
            HandshakeError::TooSlow => write!(f, "the handshake took longer than {TIME:?}"),
        }
    }
}

impl std::error::Error for HandshakeError {}
