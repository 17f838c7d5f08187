//! Nodes that talk to each other.
//!
//! | module | idea |
//! |---|---|
//! | [`frame`], [`packet`], [`nesting`] | bytes: frames, packets in them, values that are safe to decode |
//! | [`secret`], [`handshake`] | who is there |
//! | [`phi`] | is it still there |
//! | [`session`] | lanes, fragments, credit: a connection as a machine without input and output |
//! | `wire`, `relations` | signals as packets; links and monitors that cross a connection |
//! | `link`, `peer`, `shake` | what a node knows of another; the processes that speak for it and with it |
//! | [`discovery`], `explore` | finding other nodes, and connecting with them |
//! | `channel`, `inbound` | a connection as its writers and its reader have it; what comes in, on its way to the processes |
//! | `endpoint`, `node` | a node among nodes; the interface |
//! | [`transport`], [`tcp`], [`simulation`] | what moves bytes: sockets, or a simulated network |
//!
//! With the feature `tls` there are nodes whose connections are encrypted (`tls`), with `certs` the certificates for them, and the program
//! `engset-certs` that makes them.
//!
//! `net/PROTOCOL.md` is the text for who wants to write another implementation.

#[cfg(feature = "certs")]
pub mod certs;
mod channel;
pub mod discovery;
mod endpoint;
mod explore;
pub mod frame;
pub mod handshake;
mod inbound;
mod link;
pub mod nesting;
mod node;
pub mod packet;
mod peer;
pub mod phi;
mod relations;
pub mod secret;
pub mod session;
mod shake;
pub mod simulation;
pub mod tcp;
#[cfg(feature = "tls")]
pub mod tls;
pub mod transport;
mod wire;

pub use {
    discovery::{Discovery, HostNames},
    engset_runtime::remote::{Named, Relation, RemoteError, RequestError},
    link::LinkCounters,
    node::{Config, Distribution, JoinError},
    secret::Secret,
};
