//! Distribution of engset over nodes.
//!
//! This crate is a part of the runtime. Programs use `engset`, which re-exports it.
//!
//! # Invariants
//!
//! * It knows sockets, and no supervisors.
//! * The protocol ([`dist`]) is in machines that do no input or output, read no clock and draw no random number; what moves
//!   bytes is a thin edge.

#![forbid(unsafe_code)]

pub mod dist;
