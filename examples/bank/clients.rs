//! A day at the bank: clients, and a saboteur.

use crate::{
    account::Care,
    arguments::Arguments,
    bank::{self, TransferError},
    ledger::{Amount, Entry, Transfer},
};
use engset::{Random, is_alive, now, prelude::*, stdlib::StartError, whereis};
use std::{fmt, time::Duration};

/// What each account has at first.
const START: Amount = 100;

/// The figures of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub made: u64,
    pub refused: u64,
    pub killed: u64,
    /// Entries of transfers in the journal.
    pub recorded: u64,
    pub before: Amount,
    pub after: i64,
    pub time: Duration,
}

impl Report {
    /// Nothing is lost or made, and what the clients were told is what is written.
    pub fn is_conserved(&self) -> bool {
        self.before.cast_signed() == self.after && self.made == self.recorded
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} transfers made, {} refused", self.made, self.refused)?;
        writeln!(f, "{} in the journal", self.recorded)?;
        writeln!(f, "{} processes killed", self.killed)?;
        writeln!(f, "{} before, {} after", self.before, self.after)?;
        writeln!(f, "{:.3} s", self.time.as_secs_f64())
    }
}

/// Why there is no report.
#[derive(Debug)]
pub enum SimulationError {
    Start(StartError),
    Transfer(TransferError),
    /// A client or the saboteur has crashed.
    Crashed(CallError),
}

impl fmt::Display for SimulationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SimulationError::Start(error) => write!(f, "the bank does not open: {error}"),
            SimulationError::Transfer(error) => write!(f, "{error}"),
            SimulationError::Crashed(error) => write!(f, "a client has not come back: {error}"),
        }
    }
}

impl std::error::Error for SimulationError {}

impl From<StartError> for SimulationError {
    fn from(error: StartError) -> Self {
        SimulationError::Start(error)
    }
}

impl From<TransferError> for SimulationError {
    fn from(error: TransferError) -> Self {
        SimulationError::Transfer(error)
    }
}

type Outcome = Result<(u64, u64), TransferError>;

/// Opens a bank, lets clients and saboteur loose, and counts the money.
pub fn simulate(arguments: &Arguments) -> Result<Report, SimulationError> {
    let start = now();
    let (_bank, journal) = bank::open(arguments.accounts, START, Care::Careful)?;
    let mut report = Report { before: bank::total(&journal), ..Report::default() };

    let arguments_of_all = arguments.clone();
    let seed = arguments.seed.unwrap_or(0);
    let clients: Vec<_> = (0..arguments.clients)
        .map(|number| {
            let arguments = arguments_of_all.clone();
            spawn(move |mut mailbox: Mailbox<Reply<Outcome>>| {
                let random = Random::new(seed.wrapping_mul(1000).wrapping_add(number));
                let outcome = client(number, &arguments, random);
                mailbox.message().send(outcome);
            })
        })
        .collect();
    let (crashes, accounts) = (arguments.crashes, arguments.accounts);
    let saboteur = spawn(move |mut mailbox: Mailbox<Reply<u64>>| {
        let killed = sabotage(crashes, accounts, Random::new(!seed));
        mailbox.message().send(killed);
    });

    for client in clients {
        let outcome = client.call_timeout(|reply| reply, Duration::MAX).map_err(SimulationError::Crashed)?;
        let (made, refused) = outcome?;
        report.made += made;
        report.refused += refused;
    }
    report.killed = saboteur.call_timeout(|reply| reply, Duration::MAX).map_err(SimulationError::Crashed)?;
    report.after = settled(arguments.accounts, report.before)?;
    let is_transfer = |entry: &&Entry| matches!(entry, Entry::Moved(_));
    report.recorded = journal.entries().iter().filter(is_transfer).count() as u64;
    report.time = now() - start;
    Ok(report)
}

/// A client: so many transfers between any two accounts. How many were made, and refused.
fn client(number: u64, arguments: &Arguments, mut random: Random) -> Outcome {
    let (mut made, mut refused) = (0, 0);
    for turn in 0..arguments.transfers {
        let from = random.below(arguments.accounts);
        let to = (from + 1 + random.below(arguments.accounts - 1)) % arguments.accounts;
        let order = Transfer { number: number << 32 | turn, from, to, amount: 1 + random.below(START) };
        match bank::transfer(order) {
            Ok(()) => made += 1,
            Err(TransferError::Refused(_)) => refused += 1,
            Err(error) => return Err(error),
        }
    }
    Ok((made, refused))
}

/// Kills so many processes of the bank, one every few milliseconds. How many were there to be killed.
fn sabotage(crashes: u64, accounts: u64, mut random: Random) -> u64 {
    let mut killed = 0;
    for _ in 0..crashes {
        sleep(Duration::from_micros(random.below(4000)));
        let victim = match random.below(accounts + 1) {
            0 => whereis("ledger"),
            account => bank::account(account - 1).ok().map(Into::into),
        };
        if let Some(victim) = victim
            && is_alive(victim)
        {
            kill(victim);
            killed += 1;
        }
    }
    killed
}

/// What all accounts have together, when the last credits have arrived.
fn settled(accounts: u64, expected: Amount) -> Result<i64, TransferError> {
    let mut sum = 0;
    // Credits may be on their way: a few looks. What is lost for good is still missing then.
    for _ in 0..200 {
        sum = (0..accounts).map(bank::balance).sum::<Result<i64, _>>()?;
        if sum == expected.cast_signed() {
            break;
        }
        sleep(Duration::from_millis(5));
    }
    Ok(sum)
}
