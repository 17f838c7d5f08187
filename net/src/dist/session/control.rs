//! What a connection says of itself.

use serde::{Deserialize, Serialize};

/// A packet of the control lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// A heartbeat.
    Ping,
    /// So many bytes of packets have been taken: as many more may come.
    Credit {
        /// How many.
        bytes: u64,
    },
    /// From now on this number stands for this type of messages.
    Type {
        /// The number, counted from 0.
        id: u32,
        /// The type's name.
        name: String,
        /// What it looks like.
        fingerprint: u64,
    },
    /// Messages of this type are dropped.
    TypeRefused {
        /// The number that the other has given.
        id: u32,
        /// Why.
        why: TypeRefusal,
    },
    /// The last packet.
    Goodbye {
        /// Why.
        why: String,
    },
}

/// Why messages of a type are not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TypeRefusal {
    /// No such name is known.
    Unknown,
    /// The name stands for something that looks different.
    Different {
        /// What it looks like here.
        fingerprint: u64,
    },
}
