//! HTTP on processes: hyper, and all that stands on it (axum, tower), with one process for each connection.
//!
//! Feature `hyper`.
//!
//! * [`serve`] and [`Server`] accept connections and spawn a process for each, which runs hyper's state machine and your
//!   handlers. A handler may be asynchronous; it may as well make calls, receive, read files or compute for long: it
//!   suspends, or occupies, its own connection only. A handler that panics ends its connection only.
//! * [`HyperIo`], [`EngsetTimer`] and [`EngsetExecutor`] implement the traits of `hyper::rt`, for whoever drives hyper alone
//!   (clients, HTTP/2).
//! * [`tower`] makes a hyper service of a tower service, as axum's `Router` is one.
//!
//! A future that waits for a socket here waits as the process does, by the poller of its own worker; no other thread
//! takes part. What needs a tokio runtime (tokio's sockets, timers, `tokio::spawn`) needs one: `tokio_bridge`.

mod executor;
mod io;
mod serve;
mod serving;
mod timer;
mod tower;

pub use {
    executor::EngsetExecutor,
    io::HyperIo,
    serve::{Server, serve},
    serving::Serving,
    timer::EngsetTimer,
    tower::{TowerFuture, TowerService, tower},
};
