//! Soak and chaos: see `--help`, and `engset_benches::soak`.

#![allow(clippy::print_stdout, reason = "the verdict is the output")]

use engset_benches::soak::Soak;
use lexopt::prelude::*;
use std::{error::Error, process::ExitCode, time::Duration};

const HELP: &str = "soak: a supervised application under load while everything goes wrong, and a verdict.

    --time SECONDS        under load; default 600
    --kill-every MILLIS   how often somebody is killed, on average; default 50
    --node-life SECONDS   how long the second node lives before it is stopped and started anew; default 3
    --growth MIB          growth of memory that is allowed in the second half; default 8
    --quiet               no line each ten seconds
    --help

It ends with 0 if all checks hold, with 1 if one fails, with 2 if an option is wrong.
";

struct Options {
    soak: Soak,
    quiet: bool,
}

fn parse() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options { soak: Soak::default(), quiet: false };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("time") => options.soak.time = Duration::from_secs(parser.value()?.parse()?),
            Long("kill-every") => options.soak.kill_every = Duration::from_millis(parser.value()?.parse()?),
            Long("node-life") => options.soak.node_life = Duration::from_secs(parser.value()?.parse()?),
            Long("growth") => options.soak.growth = parser.value()?.parse::<u64>()? << 20,
            Long("quiet") => options.quiet = true,
            Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let mut seconds = 0;
    let checks = options.soak.run(|sample, counts| {
        seconds += 1;
        if !options.quiet && seconds % 10 == 0 {
            println!("{seconds:5} s  {sample}; {counts}");
        }
    })?;
    for check in &checks {
        println!("{check}");
    }
    let failed = checks.iter().filter(|check| !check.holds).count();
    let verdict = if failed == 0 { "all hold" } else { "FAILED" };
    println!("verdict: {verdict}, {} checks, {failed} failed", checks.len());
    Ok(failed == 0)
}

fn main() -> ExitCode {
    match parse() {
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Some(options)) => match run(&options) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("soak: {error}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("soak: {error}\nsoak --help shows the options.");
            ExitCode::from(2)
        }
    }
}
