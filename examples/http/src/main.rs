//! A web application of axum on processes of engset, and the same one on tokio.
//!
//! ```text
//! cargo run --release -p engset-example-http -- --port 8080
//! curl localhost:8080/users/7
//! wrk -t1 -c64 -d5s --latency http://localhost:8080/
//! ```
//!
//! | option | meaning |
//! |---|---|
//! | `--port N` | default 8080; 0: one that is free |
//! | `--workers N` | threads of the runtime; default 2 |
//! | `--tokio` | on tokio's multi-threaded runtime, by `axum::serve` |
//! | `--hogs N` | so many processes (tasks) that compute for ever |
//! | `--polite` | with `--tokio`: the hogs await `yield_now` after each millisecond; else they never give way |
//!
//! On engset each connection is a process, and so is the counter behind `/visits`. SIGTERM ends it in good order.

#![allow(clippy::print_stdout, reason = "the help is the output")]
#![allow(unreachable_pub, reason = "a program: what is `pub` here is for its other modules")]

mod app;
mod hogs;
mod on_engset;
mod on_tokio;

use lexopt::prelude::*;
use std::{error::Error, process::ExitCode};

/// What the command line says.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    port: u16,
    workers: usize,
    tokio: bool,
    hogs: usize,
    polite: bool,
}

const USAGE: &str = "\
Usage: http [--port N] [--workers N] [--hogs N] [--tokio [--polite]]

Serves a few routes of axum, one process of engset for each connection.

    --port N       on 127.0.0.1; 0: the system chooses one (default 8080)
    --workers N    threads (default 2)
    --hogs N       so many processes that compute all the time
    --tokio        the same routes on tokio instead
    --polite       with --tokio: the hogs yield each millisecond";

fn options() -> Result<Options, lexopt::Error> {
    let mut options = Options { port: 8080, workers: 2, tokio: false, hogs: 0, polite: false };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("port") => options.port = parser.value()?.parse()?,
            Long("workers") => options.workers = parser.value()?.parse()?,
            Long("hogs") => options.hogs = parser.value()?.parse()?,
            Long("tokio") => options.tokio = true,
            Long("polite") => options.polite = true,
            Long("help") | Short('h') => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("http: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let result: Result<(), Box<dyn Error + Send + Sync>> =
        if options.tokio { on_tokio::run(options) } else { on_engset::run(options) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("http: {error}");
            ExitCode::FAILURE
        }
    }
}
