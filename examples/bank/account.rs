//! Accounts: a server each, which knows its balance.
//!
//! 1. A transfer is ordered from the account that pays. It asks the ledger, then it debits itself and tells the account that is
//!    paid.
//! 2. What tells an account of a transfer can be lost with it, and can come after it was restarted and has asked the ledger, which
//!    knew of it. So each credit bears its place in the journal, and an account drops those that its balance contains.
//! 3. The ledger may let an account pay what it has been credited while it has not heard of that yet. So its own figure can be
//!    below zero for a moment.

use crate::{
    bank,
    ledger::{AccountId, Amount, Refused, Request as LedgerRequest, Transfer},
};
use engset::{
    prelude::*,
    stdlib::{Context, GenServer, Next},
    testkit,
};
use std::collections::HashSet;

/// What an account is asked for.
pub enum Request {
    /// Pay.
    Pay(Transfer, Reply<Result<(), Refused>>),
    /// A transfer to this account has been made.
    Credit { amount: Amount, place: u64 },
    /// What is there?
    Balance(Reply<i64>),
}

/// How carefully an account reads what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// Rule 2.
    Careful,
    /// It believes every credit. For a test, which shows what comes of it.
    #[cfg(test)]
    Naive,
}

pub struct Account {
    id: AccountId,
    care: Care,
    /// Rule 3.
    balance: i64,
    /// The length of the journal at which the balance was right; transfers after that have been applied one by one.
    known: u64,
    /// Places after `known` that have been applied.
    applied: HashSet<u64>,
}

impl Account {
    pub fn new(id: AccountId, care: Care) -> Self {
        Account { id, care, balance: 0, known: 0, applied: HashSet::new() }
    }

    fn is_news(&mut self, place: u64) -> bool {
        match self.care {
            Care::Careful => place > self.known && self.applied.insert(place),
            #[cfg(test)]
            Care::Naive => true,
        }
    }

    fn load(&mut self) -> Result<(), ExitReason> {
        match bank::ask_ledger(|reply| LedgerRequest::Balance(self.id, reply)) {
            Some((balance, known)) => {
                (self.balance, self.known) = (balance.cast_signed(), known);
                self.applied.clear();
                Ok(())
            }
            None => Err(ExitReason::error(Refused::UnknownAccount(self.id).to_string())),
        }
    }

    fn pay(&mut self, transfer: Transfer) -> Result<(), Refused> {
        let place = bank::ask_ledger(|reply| LedgerRequest::Record(transfer, reply))?;
        testkit::crash_point("account: before it debits itself");
        let Transfer { to, amount, .. } = transfer;
        if self.is_news(place) {
            self.balance -= amount.cast_signed();
        }
        testkit::crash_point("account: before it tells the other");
        // If the other one is being restarted now, it will learn of it from the ledger.
        if let Ok(address) = bank::account(to) {
            address.send(Request::Credit { amount, place });
        }
        Ok(())
    }
}

impl GenServer for Account {
    type Message = Request;

    /// The balance is fetched before the first request, but not while the supervisor waits: the ledger may be down, too.
    fn init(&mut self, _: &mut Context<Request>) -> Result<Next, ExitReason> {
        Ok(Next::again())
    }

    fn again(&mut self, _: &mut Context<Request>) -> Next {
        match self.load() {
            Ok(()) => Next::wait(),
            Err(reason) => Next::stop_with(reason),
        }
    }

    fn handle(&mut self, request: Request, _: &mut Context<Request>) -> Next {
        match request {
            Request::Pay(transfer, reply) => {
                let result = self.pay(transfer);
                reply.send(result);
            }
            Request::Credit { amount, place } => {
                if self.is_news(place) {
                    self.balance += amount.cast_signed();
                }
            }
            Request::Balance(reply) => reply.send(self.balance),
        }
        Next::wait()
    }
}
