//! A key-value server that speaks the Redis protocol: one process for each connection, keys spread over servers.
//!
//! ```text
//! cargo run --release --example kv -- 6380
//! redis-cli -p 6380 SET greeting hello
//! redis-benchmark -p 6380 -t get,set,incr -P 16 -q
//! ```
//!
//! | process | how many | what it does |
//! |---|---|---|
//! | the listener | 1 | accepts connections |
//! | connections | one for each | read commands, ask shards, write answers; a bad client ends its own only |
//! | shards | 8 | servers that hold a part of the keys each; without a stack while they wait |
//!
//! It knows PING, ECHO, GET, SET (with EX, PX), DEL, EXISTS, INCR, INCRBY, DECR, EXPIRE, TTL, DBSIZE, INFO, CONFIG GET,
//! COMMAND and QUIT.

#![allow(unreachable_pub, reason = "a program: what is `pub` here is for its other modules")]

mod server;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let port = match args.next().map(|text| text.parse::<u16>().map_err(|_| text)) {
        None => 6380,
        Some(Ok(port)) => port,
        Some(Err(text)) => {
            eprintln!("kv: {text:?} is no port\nUsage: kv [PORT]");
            return ExitCode::from(2);
        }
    };
    let run = engset::run(move || {
        let listener = server::listen(port)?;
        eprintln!("kv: listening on {}", listener.local_addr()?);
        server::serve(&listener)
    });
    match run {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("kv: port {port}: {error}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("kv: {error}");
            ExitCode::FAILURE
        }
    }
}
