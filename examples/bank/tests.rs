//! The bank under many interleavings, with planted crashes.

use crate::{
    account::Care,
    arguments::{self, ArgumentError, Arguments, Command},
    bank::{self, TransferError},
    clients,
    ledger::{Refused, Transfer},
};
use engset::{
    prelude::*,
    testkit::{self, Check, Probe, When},
};
use std::time::Duration;

const PLACES: [&str; 4] = [
    "ledger: before it is written",
    "ledger: after it is written",
    "account: before it debits itself",
    "account: before it tells the other",
];

fn order(number: u64, from: u64, to: u64, amount: u64) -> Transfer {
    Transfer { number, from, to, amount }
}

/// Two clients, each with transfers to and fro.
fn two_clients(care: Care) {
    let (_bank, journal) = bank::open(2, 100, care).unwrap();
    let mut probe = Probe::named("teller");
    let done = probe.address();
    for client in 0..2 {
        spawn(move || {
            for turn in 0..3 {
                let number = client * 10 + turn;
                bank::transfer(order(number, number % 2, 1 - number % 2, 10 + number)).unwrap();
            }
            done.send(());
        });
    }
    probe.receive_n(2);
    // The last credit is on its way.
    sleep(Duration::from_millis(1));
    let balances = [0, 1].map(|id| bank::balance(id).unwrap());
    assert_eq!(balances.iter().sum::<i64>(), bank::total(&journal).cast_signed(), "{balances:?}");
}

#[test]
fn money_is_conserved() {
    Check::new().seeds(100).systematic(|| two_clients(Care::Careful));
    Check::new().threaded(3, || two_clients(Care::Careful));
}

#[test]
fn money_is_conserved_if_a_process_crashes_at_any_of_its_places() {
    for place in PLACES {
        for time in 1..4 {
            Check::new().seeds(30).crashes(1).systematic(move || {
                testkit::arm(place, When::Nth(time));
                two_clients(Care::Careful);
            });
        }
    }
}

#[test]
fn money_is_conserved_if_everything_crashes_now_and_then() {
    Check::new().seeds(100).allow_crashes().systematic(|| {
        PLACES.into_iter().for_each(|place| testkit::arm(place, When::Chance(0.2)));
        two_clients(Care::Careful);
    });
}

#[test]
fn the_kit_finds_what_a_naive_account_does_wrong() {
    let failure = Check::new()
        .seeds(500)
        .allow_crashes()
        .try_systematic(|| {
            PLACES.into_iter().for_each(|place| testkit::arm(place, When::Chance(0.2)));
            two_clients(Care::Naive);
        })
        .unwrap_err();
    // A credit that the restarted account had learnt of from the ledger comes after that, and counts twice.
    assert!(failure.to_string().contains("assertion `left == right` failed"), "{failure}");
    assert!(failure.command.is_some());
}

#[test]
fn a_ledger_that_crashes_is_restarted_and_the_transfer_is_made_once() {
    testkit::systematic(50, || {
        let (_bank, _journal) = bank::open(2, 100, Care::Careful).unwrap();
        testkit::arm(PLACES[1], When::Nth(1));
        testkit::expect_crash("after it is written", || {
            bank::transfer(order(1, 0, 1, 30)).unwrap();
        });
        bank::transfer(order(1, 0, 1, 30)).unwrap();
        sleep(Duration::from_millis(1));
        assert_eq!([0, 1].map(|id| bank::balance(id).unwrap()), [70, 130]);
    });
}

#[test]
fn what_cannot_be_paid_is_refused() {
    testkit::systematic(20, || {
        let (_bank, _journal) = bank::open(2, 100, Care::Careful).unwrap();
        let refused = |transfer| match bank::transfer(transfer) {
            Err(TransferError::Refused(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(order(1, 0, 1, 101)), Refused::Insufficient { balance: 100, asked: 101 });
        assert_eq!(refused(order(2, 0, 7, 1)), Refused::UnknownAccount(7));
        assert_eq!(refused(order(3, 1, 1, 1)), Refused::ToItself(1));
        assert_eq!(bank::transfer(order(4, 9, 1, 1)), Err(TransferError::NoAccount(9)));
    });
}

#[test]
fn a_day_with_a_saboteur_ends_with_all_the_money() {
    for seed in 0..5 {
        let arguments = Arguments { transfers: 50, crashes: 20, seed: Some(seed), ..Arguments::default() };
        let run = |arguments: Arguments| {
            let config = engset::Config::new().seed(seed);
            engset::run_with(config, move || clients::simulate(&arguments)).unwrap().unwrap()
        };
        let report = run(arguments.clone());
        assert!(report.is_conserved() && report.made + report.refused == 200, "seed {seed}: {report}");
        assert_eq!(report, run(arguments), "seed {seed}");
    }
}

#[test]
fn command_lines() {
    let parse = |line: &str| arguments::parse(line.split_whitespace().map(str::to_owned));
    let error = |line| parse(line).map(|_| ()).unwrap_err();
    let Ok(Command::Run(arguments)) = parse("--accounts=3 --seed 7") else { panic!("it is right") };
    assert_eq!(arguments, Arguments { accounts: 3, seed: Some(7), ..Arguments::default() });
    assert!(matches!(parse("--clients 2 --help"), Ok(Command::Help)));
    assert_eq!(error("--accounts 1"), ArgumentError::TooFewAccounts(1));
    assert_eq!(error("--bogus"), ArgumentError::Unknown("--bogus".to_owned()));
    assert_eq!(error("--crashes"), ArgumentError::NoValue("--crashes".to_owned()));
    assert_eq!(error("--crashes x").to_string(), "--crashes needs a number, not \"x\"");
}
