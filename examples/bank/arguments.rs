//! The command line.

use std::fmt;

pub const HELP: &str = "\
Clients transfer money between the accounts of a bank while its processes are killed; no money is lost.

Usage: bank [OPTIONS]

  --accounts N       accounts, with 100 each [default: 10]
  --clients N        clients at a time [default: 4]
  --transfers N      transfers of each client [default: 250]
  --crashes N        processes that are killed meanwhile [default: 20]
  --seed N           systematic mode: one thread, virtual time, always the same run for this number
  -h, --help         this text

The settings of the runtime come from the environment: ENGSET_WORKERS=1, for example.
";

pub enum Command {
    Help,
    Run(Arguments),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    pub accounts: u64,
    pub clients: u64,
    pub transfers: u64,
    pub crashes: u64,
    pub seed: Option<u64>,
}

impl Default for Arguments {
    fn default() -> Self {
        Arguments { accounts: 10, clients: 4, transfers: 250, crashes: 20, seed: None }
    }
}

/// What is wrong with a command line.
#[derive(Debug, PartialEq, Eq)]
pub enum ArgumentError {
    Unknown(String),
    NoValue(String),
    NoNumber { option: String, value: String },
    TooFewAccounts(u64),
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArgumentError::Unknown(text) => write!(f, "there is no option {text} (--help lists them)"),
            ArgumentError::NoValue(option) => write!(f, "{option} needs a number"),
            ArgumentError::NoNumber { option, value } => write!(f, "{option} needs a number, not {value:?}"),
            ArgumentError::TooFewAccounts(number) => {
                write!(f, "--accounts is {number}, but a transfer needs two")
            }
        }
    }
}

impl std::error::Error for ArgumentError {}

pub fn parse(given: impl Iterator<Item = String>) -> Result<Command, ArgumentError> {
    let mut arguments = Arguments::default();
    let mut given = given;
    while let Some(argument) = given.next() {
        let (option, value) = match argument.split_once('=') {
            Some((option, value)) => (option.to_owned(), Some(value.to_owned())),
            None => (argument, None),
        };
        if !["-h", "--help", "--accounts", "--clients", "--transfers", "--crashes", "--seed"]
            .contains(&option.as_str())
        {
            return Err(ArgumentError::Unknown(option));
        }
        if option == "-h" || option == "--help" {
            return Ok(Command::Help);
        }
        let Some(value) = value.or_else(|| given.next()) else { return Err(ArgumentError::NoValue(option)) };
        let Ok(number) = value.parse() else { return Err(ArgumentError::NoNumber { option, value }) };
        match option.as_str() {
            "--accounts" => arguments.accounts = number,
            "--clients" => arguments.clients = number,
            "--transfers" => arguments.transfers = number,
            "--crashes" => arguments.crashes = number,
            _ => arguments.seed = Some(number),
        }
    }
    if arguments.accounts < 2 {
        return Err(ArgumentError::TooFewAccounts(arguments.accounts));
    }
    Ok(Command::Run(arguments))
}
