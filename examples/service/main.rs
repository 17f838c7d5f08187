//! A small service: it sells tickets until it is told to stop, and then stops in order.
//!
//! ```text
//! cargo run --release --example service
//! kill -TERM PID      # stops it in order (as does control-C; a second one at once)
//! kill -HUP PID       # reads the configuration anew
//! ```
//!
//! | application | what it does |
//! |---|---|
//! | `store` | keeps the tickets: a server under a supervisor |
//! | `shop` | sells them: a clerk under a supervisor; depends on `store` |
//!
//! The clerk crashes now and then (`app.shop.crash_every`), and is started again; the store does not notice. What the service
//! reads from `service.toml`, or the file that `ENGSET_CONFIG` names, and from the environment
//! (`ENGSET_APP__SHOP__PERIOD_MS=10`), is in [`Settings`].

mod shop;
mod store;

use engset::{
    Config,
    stdlib::{Service, shutdown},
};
use std::process::ExitCode;

/// The section `app.shop`.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
struct Settings {
    /// Time between two sales.
    period_ms: u64,
    /// The clerk crashes with each sale that this divides; 0: never.
    crash_every: u64,
    /// To see what happens then: the clerk does not end when it is asked to, but sleeps (`"asleep"`) or computes
    /// without a reduction point (`"busy"`).
    hang: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { period_ms: 200, crash_every: 0, hang: None }
    }
}

#[allow(dead_code, reason = "a test includes this file, and calls `service`")]
fn main() -> ExitCode {
    service().main()
}

/// The order in the text does not matter: `shop` says that it needs `store`.
pub(crate) fn service() -> Service {
    Service::new(Config::load("service.toml")).application(shop::Shop).application(store::Store).started(
        || {
            let shutdown = shutdown::CoordinatedShutdown::current().expect("the node runs");
            let close = || {
                say("the door is closed");
                Ok(())
            };
            shutdown.add_task(shutdown::UNBIND, "close the door", close).expect("the phase has not begun");
            say(&format!("open, process {}", std::process::id()));
        },
    )
}

/// A line on standard output.
#[allow(clippy::print_stdout, reason = "a program that talks")]
fn say(line: &str) {
    println!("{line}");
}
