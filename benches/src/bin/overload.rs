//! Overload: see `--help`, and `engset_benches::overload`.

#![allow(clippy::print_stdout, reason = "the figures are the output")]

use engset_benches::overload::{BOUND, POLICIES, SENDERS, run};
use lexopt::prelude::*;
use std::{process::ExitCode, time::Duration};

const HELP: &str =
    "overload: 64 fast senders and one slow receiver, with each policy, on one node and on two.

    --time MILLIS   how long calls are measured, idle and under load; default 2000
    --only WHICH    local or remote; default both
    --help

It fails if a mailbox has held more than its policy allows. The times are figures, and fail nothing.
";

fn parse() -> Result<Option<(Duration, Vec<bool>)>, lexopt::Error> {
    let (mut time, mut places) = (Duration::from_secs(2), vec![false, true]);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("time") => time = Duration::from_millis(parser.value()?.parse()?),
            Long("only") => match parser.value()?.string()?.as_str() {
                "local" => places = vec![false],
                "remote" => places = vec![true],
                other => return Err(format!("--only {other:?} is neither local nor remote").into()),
            },
            Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some((time, places)))
}

fn main() -> ExitCode {
    let (time, places) = match parse() {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("overload: {error}\noverload --help shows the options.");
            return ExitCode::from(2);
        }
    };
    let mut failed = false;
    for remote in places {
        for policy in POLICIES {
            let outcome = run(policy, remote, time);
            println!("{outcome}");
            // What is on its way counts, and who is let in at once may be as many as there are senders.
            let most = if policy.0 == "drop oldest" { 2 * BOUND } else { BOUND } + SENDERS;
            if outcome.longest as usize > most {
                println!("FAILED: {} messages in a mailbox for {BOUND}", outcome.longest);
                failed = true;
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
