//! The bank: its tree of processes, and how one speaks with it.
//!
//! ```text
//! bank (one for one)
//! ├── ledger
//! └── accounts (one for one)
//!     ├── account 0
//!     └── …
//! ```
//!
//! The accounts have a supervisor of their own: an account that starts asks the ledger, and who starts
//! accounts must not be the one who would have to start the ledger again meanwhile.

use crate::{
    account::{Account, Care, Request as AccountRequest},
    ledger::{AccountId, Amount, Entry, Journal, Ledger, Refused, Request as LedgerRequest, Transfer},
};
use engset::{
    NameError, lookup,
    prelude::*,
    stdlib::{ChildSpec, GenServer, StartError, Supervisor},
};
use std::{fmt, time::Duration};

/// Between two attempts to reach a process that is being restarted.
const PAUSE: Duration = Duration::from_millis(1);
/// Attempts before a client gives up. Far more than restarts take.
const ATTEMPTS: u32 = 20_000;
/// Restarts in a second that are nothing but sabotage.
const RESTARTS: usize = 100_000;

/// Why a client has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferError {
    Refused(Refused),
    /// The bank does not come back.
    Unavailable(CallError),
    /// There is no such account, or never comes back.
    NoAccount(AccountId),
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransferError::Refused(why) => write!(f, "refused: {why}"),
            TransferError::Unavailable(error) => write!(f, "the bank does not answer: {error}"),
            TransferError::NoAccount(id) => write!(f, "no process of account {id} can be found"),
        }
    }
}

impl std::error::Error for TransferError {}

/// Opens a bank with so many accounts, and this much money in each. It is linked with this process.
pub fn open(accounts: u64, balance: Amount, care: Care) -> Result<(Supervisor, Journal), StartError> {
    let journal = Journal::default();
    for account in 0..accounts {
        journal.append(Entry::Opened { account, balance });
    }
    let file = journal.clone();
    let ledger = ChildSpec::server("ledger", move || Ledger::new(file.clone()).options().name("ledger"));
    let account =
        |id| ChildSpec::server(name_of(id), move || Account::new(id, care).options().name(name_of(id)));
    let second = Duration::from_secs(1);
    let accounts = Supervisor::one_for_one().intensity(RESTARTS, second).children((0..accounts).map(account));
    let bank = Supervisor::one_for_one()
        .intensity(RESTARTS, second)
        .child(ledger)
        .child(ChildSpec::supervisor("accounts", accounts))
        .start_link()?;
    Ok((bank, journal))
}

fn name_of(id: AccountId) -> String {
    format!("account {id}")
}

/// The process of an account, if there is one now.
pub fn account(id: AccountId) -> Result<Address<AccountRequest>, NameError> {
    lookup(&name_of(id))
}

/// Asks the ledger, again and again while it is being restarted. What is asked can be asked twice (`ledger.rs`, rule 3).
///
/// # Panics
///
/// If the ledger does not come back.
pub fn ask_ledger<T: Send + 'static>(make: impl Fn(Reply<T>) -> LedgerRequest) -> T {
    for _ in 0..ATTEMPTS {
        if let Ok(ledger) = lookup("ledger")
            && let Ok(answer) = Address::call(ledger, &make)
        {
            return answer;
        }
        sleep(PAUSE);
    }
    panic!("the ledger does not come back");
}

/// Makes a transfer; when it returns it has been made, or has been refused.
///
/// # Errors
///
/// See [`TransferError`].
pub fn transfer(transfer: Transfer) -> Result<(), TransferError> {
    ask_account(transfer.from, |reply| AccountRequest::Pay(transfer, reply))?.map_err(TransferError::Refused)
}

/// What an account says that it has.
///
/// # Errors
///
/// See [`TransferError`].
pub fn balance(id: AccountId) -> Result<i64, TransferError> {
    ask_account(id, AccountRequest::Balance)
}

fn ask_account<T: Send + 'static>(
    id: AccountId,
    make: impl Fn(Reply<T>) -> AccountRequest,
) -> Result<T, TransferError> {
    let mut error = TransferError::NoAccount(id);
    for _ in 0..ATTEMPTS {
        if let Ok(account) = account(id) {
            match account.call(&make) {
                Ok(answer) => return Ok(answer),
                // It has crashed, perhaps after the transfer was made: the same once more.
                Err(why) => error = TransferError::Unavailable(why),
            }
        }
        sleep(PAUSE);
    }
    Err(error)
}

/// What the journal says that all accounts have together.
pub fn total(journal: &Journal) -> Amount {
    let opened = |entry: &Entry| match entry {
        Entry::Opened { balance, .. } => Some(*balance),
        Entry::Moved(_) => None,
    };
    journal.entries().iter().filter_map(opened).sum()
}
