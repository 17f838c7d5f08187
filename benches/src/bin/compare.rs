//! Engset and other runtimes on the same workloads, in turn: see `--help`.

#![allow(clippy::print_stdout, reason = "the table is the output")]

use engset_benches::compare::{self, Request};
use std::process::ExitCode;

fn main() -> ExitCode {
    let request = match Request::parse(std::env::args().skip(1)) {
        Ok(request) => request,
        Err(error) => {
            eprintln!("compare: {error}\ncompare --help shows the options.");
            return ExitCode::from(2);
        }
    };
    if let Some(text) = &request.text {
        println!("{text}");
        return ExitCode::SUCCESS;
    }
    match compare::compare(&request) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}
