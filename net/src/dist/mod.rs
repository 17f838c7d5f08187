//! Nodes that talk to each other.
//!
//! | module | idea |
//! |---|---|
//! | [`frame`], [`packet`], [`nesting`] | bytes: frames, packets in them, values that are safe to decode |
//! | [`secret`], [`handshake`] | who is there |
//! | [`phi`] | is it still there |
//! | [`session`] | lanes, fragments, credit: a connection as a machine without input and output |
//!
//! `net/PROTOCOL.md` is the text for who wants to write another implementation.

pub mod frame;
pub mod handshake;
pub mod nesting;
pub mod packet;
pub mod phi;
pub mod secret;
pub mod session;
