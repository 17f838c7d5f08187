//! The command line.

use std::{fmt, path::PathBuf};

pub const HELP: &str = "\
Chat rooms on a terminal, for any number of users at one keyboard.

Usage: chat-room [OPTION]

  --demo             play a short conversation; its output is always the same
  --script FILE      play the lines of a file in the same way
  -h, --help         this text

A line is \"NAME: TEXT\". What TEXT may be, /help tells. ENGSET_SEED chooses another interleaving of a script.
";

#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Help,
    Run(Source),
}

/// Where the lines come from.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    Terminal,
    Demo,
    Script(PathBuf),
}

/// What is wrong with a command line.
#[derive(Debug, PartialEq, Eq)]
pub enum ArgumentError {
    Unknown(String),
    NoFile,
    TwoSources(String),
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArgumentError::Unknown(text) => write!(f, "there is no option {text} (--help lists them)"),
            ArgumentError::NoFile => f.write_str("--script needs a file"),
            ArgumentError::TwoSources(text) => write!(f, "{text}: only one of --demo and --script"),
        }
    }
}

impl std::error::Error for ArgumentError {}

pub fn parse(given: impl Iterator<Item = String>) -> Result<Command, ArgumentError> {
    let mut source = None;
    let mut given = given;
    while let Some(argument) = given.next() {
        let new = match argument.as_str() {
            "-h" | "--help" => return Ok(Command::Help),
            "--demo" => Source::Demo,
            "--script" => Source::Script(given.next().ok_or(ArgumentError::NoFile)?.into()),
            _ => return Err(ArgumentError::Unknown(argument)),
        };
        if source.replace(new).is_some() {
            return Err(ArgumentError::TwoSources(argument));
        }
    }
    Ok(Command::Run(source.unwrap_or(Source::Terminal)))
}
