//! The application: see the head of the module.

use super::{Check, Soak};
use engset::{
    Address, Builder, CallError, DownReason, ExitReason, Limit, Mailbox, Overflow, Received, Reply, kill,
    reduce, sleep, spawn_monitor, start_timer,
    stdlib::{ChildSpec, Context, GenServer, Next, Supervisor, SupervisorBuilder},
    yield_now,
};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

const ACCOUNTS: usize = 8;
const CLIENTS: usize = 32;
/// Messages that the mailbox of the slow consumer holds.
const BOUND: usize = 1000;

/// What has happened.
#[derive(Debug, Default)]
pub(super) struct Counts {
    calls: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    /// Clients killed: each may take a call with it that has not ended.
    clients_killed: AtomicU64,
    kills: AtomicU64,
    restarts: AtomicU64,
    monitors: AtomicU64,
    downs: AtomicU64,
    wrong_downs: AtomicU64,
    timers: AtomicU64,
    timers_done: AtomicU64,
    timers_lost: AtomicU64,
    flood: AtomicU64,
    longest_mailbox: AtomicU64,
    pub(super) node_lives: AtomicU64,
    pub(super) remote_answered: AtomicU64,
    pub(super) remote_failed: AtomicU64,
    money: [AtomicI64; ACCOUNTS],
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} calls, {} failed, {} kills, {} monitors, {} timers, {} in the flood, {} lives of the other node, {} calls to it",
            self.calls.load(Relaxed),
            self.failed.load(Relaxed),
            self.kills.load(Relaxed),
            self.monitors.load(Relaxed),
            self.timers.load(Relaxed),
            self.flood.load(Relaxed),
            self.node_lives.load(Relaxed),
            self.remote_answered.load(Relaxed),
        )
    }
}

impl Counts {
    /// What must hold at the end.
    pub(super) fn checks(&self) -> Vec<Check> {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        let money: i64 = self.money.iter().map(|money| money.load(Relaxed)).sum();
        let (calls, ended) = (get(&self.calls), get(&self.answered) + get(&self.failed));
        // One call of each client may have been cut short by the end of the application.
        let cut_short = get(&self.clients_killed) + CLIENTS as u64;
        let (monitors, downs) = (get(&self.monitors), get(&self.downs));
        let (set, done) = (get(&self.timers), get(&self.timers_done));
        vec![
            Check {
                name: "money",
                holds: money == 0,
                figures: format!("the sum of all accounts is {money}"),
            },
            Check {
                name: "calls",
                holds: ended <= calls && calls <= ended + cut_short && get(&self.answered) > 0,
                figures: format!("{calls} begun, {ended} ended, at most {cut_short} cut short"),
            },
            Check {
                name: "monitors",
                holds: downs <= monitors
                    && monitors <= downs + 20
                    && get(&self.wrong_downs) == 0
                    && downs > 0,
                figures: format!("{monitors} set, {downs} fired, {} wrong", get(&self.wrong_downs)),
            },
            Check {
                name: "timers",
                holds: done <= set && set <= done + 20 && get(&self.timers_lost) == 0 && done > 0,
                figures: format!("{set} set, {done} fired or cancelled, {} lost", get(&self.timers_lost)),
            },
            Check {
                name: "overload",
                // What is dropped is dropped when the receiver looks: twice the bound is the most.
                holds: get(&self.longest_mailbox) <= 2 * BOUND as u64 && get(&self.flood) > 0,
                figures: format!(
                    "{} sent, at most {} in the mailbox",
                    get(&self.flood),
                    get(&self.longest_mailbox)
                ),
            },
            Check {
                name: "restarts",
                holds: get(&self.restarts) >= get(&self.kills) / 2 && get(&self.kills) > 0,
                figures: format!("{} kills, {} starts", get(&self.kills), get(&self.restarts)),
            },
            Check {
                name: "other node",
                holds: get(&self.node_lives) > 0 && get(&self.remote_answered) > 0,
                figures: format!(
                    "{} lives, {} calls answered, {} failed",
                    get(&self.node_lives),
                    get(&self.remote_answered),
                    get(&self.remote_failed)
                ),
            },
        ]
    }
}

enum Request {
    Transfer { to: usize, amount: i64, reply: Reply<i64> },
    Crash(Reply<i64>),
}

struct Account {
    number: usize,
    counts: Arc<Counts>,
}

impl GenServer for Account {
    type Message = Request;

    fn handle(&mut self, request: Request, _: &mut Context<Request>) -> Next {
        match request {
            Request::Transfer { to, amount, reply } => {
                // No reduction point in between: a kill comes before or after.
                self.counts.money[self.number].fetch_sub(amount, Relaxed);
                let there = self.counts.money[to].fetch_add(amount, Relaxed) + amount;
                reply.send(there);
                Next::wait()
            }
            Request::Crash(_reply) => panic!("as told"),
        }
    }
}

fn account_name(number: usize) -> String {
    format!("account {number}")
}

fn pause(most_micros: u64) {
    sleep(Duration::from_micros(engset::random() % most_micros.max(1)));
}

fn client(counts: &Counts) {
    add(&counts.restarts);
    loop {
        let choice = engset::random();
        let from = account_name(choice as usize % ACCOUNTS);
        let to = (choice >> 8) as usize % ACCOUNTS;
        if let Ok(account) = engset::lookup::<Request>(&from) {
            add(&counts.calls);
            let result = account.call(|reply| match choice >> 32 {
                number if number.is_multiple_of(500) => Request::Crash(reply),
                number => Request::Transfer { to, amount: (number % 100) as i64, reply },
            });
            let ended = match result {
                Ok(_) => &counts.answered,
                Err(CallError::Down(_) | CallError::NoReply | CallError::Timeout(_)) => &counts.failed,
                Err(other) => panic!("{other}"),
            };
            add(ended);
        }
        pause(2000);
    }
}

fn watcher(mut mailbox: Mailbox<()>, counts: &Counts) {
    loop {
        for _ in 0..10 {
            let (_, reference) = spawn_monitor(|| {
                for _ in 0..engset::random() % 3 {
                    yield_now();
                }
            });
            add(&counts.monitors);
            match mailbox.receive() {
                Received::Event(engset::Event::Down(down))
                    if down.reference == reference
                        && down.reason == DownReason::Exited(ExitReason::Normal) =>
                {
                    add(&counts.downs);
                }
                _ => add(&counts.wrong_downs),
            }
        }
        pause(3000);
    }
}

fn timers(mut mailbox: Mailbox<()>, counts: &Counts) {
    loop {
        let set: Vec<_> = (0..20).map(|number| start_timer(Duration::from_millis(1 + number))).collect();
        counts.timers.fetch_add(set.len() as u64, Relaxed);
        pause(15_000);
        let cancelled = set.iter().step_by(2).filter(|(timer, _)| timer.cancel().is_some()).count();
        let mut left = set.len() - cancelled;
        while left > 0 {
            // Far more than any of them takes.
            if mailbox.receive_timeout(Duration::from_secs(30)).is_none() {
                counts.timers_lost.fetch_add(left as u64, Relaxed);
                break;
            }
            left -= 1;
        }
        counts.timers_done.fetch_add(set.len() as u64, Relaxed);
    }
}

/// A slow consumer and its flood.
fn overload(counts: &Arc<Counts>) {
    let limit = Limit::messages(BOUND).overflow(Overflow::DropOldest);
    let sink = Builder::new().link().mailbox(limit).spawn(|mut mailbox: Mailbox<[u64; 4]>| {
        loop {
            let work = mailbox.message();
            reduce(200 + (work[0] % 100) as u32);
        }
    });
    let sink: Address<[u64; 4]> = match sink {
        Ok(sink) => sink,
        Err(error) => panic!("{error}"),
    };
    loop {
        for number in 0..5000 {
            sink.send([number; 4]);
        }
        counts.flood.fetch_add(5000, Relaxed);
        counts.longest_mailbox.fetch_max(u64::from(engset::mailbox_len(sink)), Relaxed);
        pause(40_000);
    }
}

fn chaos(soak: Soak, counts: &Counts) {
    loop {
        pause(2 * soak.kill_every.as_micros() as u64);
        let choice = engset::random() as usize;
        let name = if choice.is_multiple_of(2) {
            account_name((choice >> 8) % ACCOUNTS)
        } else {
            format!("client {}", (choice >> 8) % CLIENTS)
        };
        if let Some(victim) = engset::whereis(&name) {
            if name.starts_with("client") {
                add(&counts.clients_killed);
            }
            add(&counts.kills);
            kill(victim);
        }
    }
}

/// A child that runs a function under a name, with the counts.
fn function(
    name: impl Into<String>,
    counts: &Arc<Counts>,
    run: impl Fn(&Arc<Counts>) + Send + Sync + 'static,
) -> ChildSpec {
    let (name, counts) = (name.into(), Arc::clone(counts));
    let registered = name.clone();
    ChildSpec::function(name, move || {
        // The name of the one before may be taken for a moment only if it is the same child: it is dead, so it is free.
        if let Err(error) = engset::register(registered.as_str()) {
            panic!("{error}");
        }
        run(&counts);
    })
}

/// The whole tree.
pub(super) fn application(
    soak: Soak,
    counts: &Arc<Counts>,
    remote: impl Fn() + Send + Sync + 'static,
) -> SupervisorBuilder {
    let many = usize::MAX >> 8;
    let accounts = (0..ACCOUNTS).map(|number| {
        let counts = Arc::clone(counts);
        ChildSpec::server(account_name(number), move || {
            add(&counts.restarts);
            Account { number, counts: Arc::clone(&counts) }.options().name(account_name(number))
        })
    });
    let clients =
        (0..CLIENTS).map(|number| function(format!("client {number}"), counts, |counts| client(counts)));
    let with_mailbox = |name: &str, run: fn(Mailbox<()>, &Counts)| {
        let counts = Arc::clone(counts);
        ChildSpec::new(name.to_owned(), move || {
            let counts = Arc::clone(&counts);
            let child = Builder::new().link().spawn(move |mailbox: Mailbox<()>| run(mailbox, &counts))?;
            Ok(child.pid())
        })
    };
    let others = [
        with_mailbox("watcher", watcher),
        with_mailbox("timers", timers),
        function("overload", counts, overload),
        ChildSpec::function("remote", remote),
    ];
    // It goes first when all stop.
    let last = function("chaos", counts, move |counts| chaos(soak, counts));
    let period = Duration::from_secs(1);
    Supervisor::one_for_one()
        .child(ChildSpec::supervisor(
            "accounts",
            Supervisor::one_for_one().intensity(many, period).children(accounts),
        ))
        .child(ChildSpec::supervisor(
            "clients",
            Supervisor::one_for_one().intensity(many, period).children(clients),
        ))
        .child(ChildSpec::supervisor(
            "others",
            Supervisor::one_for_one().intensity(many, period).children(others),
        ))
        .child(last)
}
