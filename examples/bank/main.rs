//! A bank whose money is conserved, whatever crashes.
//!
//! ```text
//! cargo run --release --example bank -- --crashes 50 --seed 7
//! ```
//!
//! | process | how many | what it does |
//! |---|---|---|
//! | the ledger | 1 | decides on transfers and writes them into the journal, the one truth |
//! | accounts | one each | know their balance, ask the ledger for transfers |
//! | clients | some | order transfers, again if an account crashes in the middle of one |
//! | the saboteur | 1 | kills the ledger and accounts at random |
//! | supervisors | 3 | start what has been killed again |
//!
//! Everything that can be lost is derived from the journal: a ledger that is restarted reads it, an account that is restarted asks
//! the ledger. Transfers have numbers, so that one whose outcome is unknown can be ordered again. With `--seed` the
//! whole program runs in systematic mode: the same seed, the same run.

#![allow(unreachable_pub, reason = "a program: what is `pub` here is for its other modules")]

mod account;
mod arguments;
mod bank;
mod clients;
mod ledger;
#[cfg(test)]
mod tests;

use arguments::Command;
use engset::Config;
use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

fn main() -> ExitCode {
    let arguments = match arguments::parse(env::args().skip(1)) {
        Ok(Command::Run(arguments)) => arguments,
        Ok(Command::Help) => return print(arguments::HELP),
        Err(error) => return fail(2, &error.to_string()),
    };
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(error) => return fail(2, &error.to_string()),
    };
    let config = match arguments.seed {
        Some(seed) => config.seed(seed),
        None => config,
    };
    match engset::run_with(config, move || clients::simulate(&arguments)) {
        Ok(Ok(report)) if report.is_conserved() => print(&report.to_string()),
        Ok(Ok(report)) => fail(1, &format!("money is lost or made:\n{report}")),
        Ok(Err(error)) => fail(1, &error.to_string()),
        Err(error) => fail(1, &error.to_string()),
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(1, &error.to_string()),
    }
}

fn fail(code: u8, error: &str) -> ExitCode {
    eprintln!("bank: {error}");
    ExitCode::from(code)
}
