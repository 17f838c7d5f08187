//! `boxes`: messages that own memory, as programs send them: a transfer between two accounts carries a text and a list.
//!
//! The runtime's own objects do not come from the allocator; what these messages own does, and is often freed on another
//! thread than the one that has made it.

use crate::{
    measure::{Failure, Figure, first_process, resident, timed},
    options::{Kind, Options},
};
use engset::{Address, Flow, Mailbox, Node, Random, Received, Server, serve, spawn};
use std::sync::Arc;

/// To the first process: an account has had all its receipts.
struct Finished;

/// What one account pays to another.
struct Transfer {
    amount: u64,
    purpose: String,
    /// The entries of the journal that go with it.
    entries: Vec<u64>,
}

enum Message {
    Start(Arc<[Address<Message>]>),
    Pay { from: Address<Message>, transfer: Box<Transfer> },
    Receipt(Box<Transfer>),
}

struct Account {
    place: usize,
    accounts: Arc<[Address<Message>]>,
    random: Random,
    begun: u64,
    missing: u64,
    n: u64,
    balance: u64,
    main: Address<Finished>,
}

impl Account {
    fn take(&mut self, message: Message, window: u64) {
        match message {
            Message::Start(accounts) => {
                self.accounts = accounts;
                (0..window).for_each(|_| self.pay());
            }
            Message::Pay { from, mut transfer } => {
                self.balance += transfer.amount;
                transfer.entries.push(self.balance);
                from.send(Message::Receipt(transfer));
            }
            Message::Receipt(transfer) => {
                assert_eq!(transfer.entries.len(), 1 + transfer.purpose.len() % 8, "an entry of each side");
                self.missing -= 1;
                if self.missing == 0 { self.main.send(Finished) } else { self.pay() }
            }
        }
    }

    fn pay(&mut self) {
        if self.begun == self.n {
            return;
        }
        self.begun += 1;
        let amount = 1 + self.random.below(1000);
        let purpose = format!("transfer {} of account {}", self.begun, self.place);
        let entries = (0..purpose.len() as u64 % 8).collect();
        let to = self.accounts[self.random.below(self.accounts.len() as u64) as usize];
        let transfer = Box::new(Transfer { amount, purpose, entries });
        to.send(Message::Pay { from: self.accounts[self.place], transfer });
    }
}

/// The same as a server.
struct AccountServer(Account, u64);

impl Server for AccountServer {
    type Message = Message;

    fn handle(&mut self, received: Received<Message>) -> Flow {
        if let Received::Message(message) = received {
            self.0.take(message, self.1);
        }
        Flow::Continue
    }
}

pub(super) fn boxes(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (count, n, kind) = (options.number("accounts"), options.number("n"), options.kind());
    let window = options.number("window");
    let time = first_process(node, move |mut mailbox: Mailbox<Finished>| {
        let main = mailbox.address();
        let accounts: Arc<[_]> = (0..count as usize)
            .map(|place| {
                let (accounts, random) = (Arc::default(), Random::new(place as u64));
                let mut account =
                    Account { place, accounts, random, begun: 0, missing: n, n, balance: 0, main };
                match kind {
                    Kind::Plain => spawn(move |mut mailbox: Mailbox<Message>| {
                        loop {
                            account.take(mailbox.message(), window);
                        }
                    }),
                    Kind::Server => serve(AccountServer(account, window)),
                }
            })
            .collect();
        let (time, ()) = timed(|| {
            accounts.iter().for_each(|account| account.send(Message::Start(Arc::clone(&accounts))));
            for _ in 0..count {
                mailbox.message();
            }
        });
        time
    })?;
    Ok(vec![
        Figure::rate("rate", count * n, time, "transfers/s"),
        Figure::new("rss", resident() as f64 / 1e6, "MB"),
    ])
}
