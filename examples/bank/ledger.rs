//! The ledger: decides on transfers, one after the other, and writes them down.
//!
//! 1. The journal is the truth. It stands for a file: it survives every process, and an entry is there or it is not.
//! 2. What the ledger knows besides is derived from it, when the ledger starts.
//! 3. A transfer has a number of its client's. The same number again is the same transfer: it is not made twice, and has the
//!    same answer. So who does not know whether a transfer was made orders it again.

use engset::{
    prelude::*,
    stdlib::{Context, GenServer, Next},
    testkit,
};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// Money, in the smallest coin.
pub type Amount = u64;

/// The number of an account.
pub type AccountId = u64;

/// A transfer, which a client has given a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub number: u64,
    pub from: AccountId,
    pub to: AccountId,
    pub amount: Amount,
}

/// Why a transfer was not made. It will not be made later either, unless it is ordered again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    Insufficient { balance: Amount, asked: Amount },
    UnknownAccount(AccountId),
    ToItself(AccountId),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Insufficient { balance, asked } => {
                write!(f, "{asked} were asked for, and the balance is {balance}")
            }
            Refused::UnknownAccount(id) => write!(f, "there is no account {id}"),
            Refused::ToItself(id) => write!(f, "account {id} cannot transfer to itself"),
        }
    }
}

impl std::error::Error for Refused {}

/// A line of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    Opened { account: AccountId, balance: Amount },
    Moved(Transfer),
}

/// Rule 1.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Vec<Entry>>>);

impl Journal {
    fn with<R>(&self, f: impl FnOnce(&mut Vec<Entry>) -> R) -> R {
        // An entry is pushed whole: what a writer that panics leaves behind is right.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Appends, and tells how many entries there are then.
    pub fn append(&self, entry: Entry) -> u64 {
        self.with(|entries| {
            entries.push(entry);
            entries.len() as u64
        })
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.with(|entries| entries.clone())
    }
}

/// What the ledger is asked for.
pub enum Request {
    /// Make this transfer. The answer is its place in the journal.
    Record(Transfer, Reply<Result<u64, Refused>>),
    /// The balance of an account, and the length of the journal at which it is right.
    Balance(AccountId, Reply<Option<(Amount, u64)>>),
}

pub struct Ledger {
    journal: Journal,
    balances: HashMap<AccountId, Amount>,
    /// Places of the transfers, by their numbers.
    made: HashMap<u64, u64>,
    length: u64,
}

impl Ledger {
    pub fn new(journal: Journal) -> Self {
        Ledger { journal, balances: HashMap::new(), made: HashMap::new(), length: 0 }
    }

    fn apply(&mut self, entry: Entry) {
        self.length += 1;
        match entry {
            Entry::Opened { account, balance } => {
                self.balances.insert(account, balance);
            }
            Entry::Moved(Transfer { number, from, to, amount }) => {
                // Checked when it was written: both are there, and the money too.
                self.balances.entry(from).and_modify(|balance| *balance -= amount);
                self.balances.entry(to).and_modify(|balance| *balance += amount);
                self.made.insert(number, self.length);
            }
        }
    }

    fn record(&mut self, transfer: Transfer) -> Result<u64, Refused> {
        if let Some(place) = self.made.get(&transfer.number) {
            return Ok(*place);
        }
        let balance = |id| self.balances.get(&id).copied().ok_or(Refused::UnknownAccount(id));
        let (there_is, _) = (balance(transfer.from)?, balance(transfer.to)?);
        if transfer.from == transfer.to {
            return Err(Refused::ToItself(transfer.from));
        }
        if there_is < transfer.amount {
            return Err(Refused::Insufficient { balance: there_is, asked: transfer.amount });
        }
        testkit::crash_point("ledger: before it is written");
        self.journal.append(Entry::Moved(transfer));
        testkit::crash_point("ledger: after it is written");
        self.apply(Entry::Moved(transfer));
        Ok(self.length)
    }
}

impl GenServer for Ledger {
    type Message = Request;

    /// Rule 2.
    fn init(&mut self, _: &mut Context<Request>) -> Result<Next, ExitReason> {
        self.journal.entries().into_iter().for_each(|entry| self.apply(entry));
        Ok(Next::wait())
    }

    fn handle(&mut self, request: Request, _: &mut Context<Request>) -> Next {
        match request {
            Request::Record(transfer, reply) => reply.send(self.record(transfer)),
            Request::Balance(account, reply) => {
                reply.send(self.balances.get(&account).map(|balance| (*balance, self.length)));
            }
        }
        Next::wait()
    }
}
