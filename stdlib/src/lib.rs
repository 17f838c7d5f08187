//! The behaviours of engset: processes whose general part is written once, here.
//!
//! This crate is a part of the runtime. Programs use `engset`, which re-exports it.
//!
//! # Which one when
//!
//! | for | take |
//! |---|---|
//! | a state that takes requests | [`GenServer`], for a tiny one [`from_fn`] |
//! | a value to see and to change | [`Agent`] |
//!
//! And none at all for a process that just does one thing: [`spawn`](engset_runtime::spawn) it.

#![forbid(unsafe_code)]

pub mod agent;
mod error;
pub mod gen_server;
mod start;

pub use {
    agent::Agent,
    error::StartError,
    gen_server::{Context, FnServer, GenServer, Next, ServerBuilder, from_fn},
};
