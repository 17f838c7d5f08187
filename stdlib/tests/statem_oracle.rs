//! State machines here and in Erlang/OTP, compared line by line: the machines of OTP's design principles, and some hundred
//! that follow scripts made up by chance.
//!
//! `oracle/statem.expected` holds what Erlang/OTP 25 says in the scenarios, so that they are compared everywhere. Where
//! `erl` is missing, the scripts are not compared, which the test says; with `CI=true` or `ENGSET_REQUIRE_ERL=1` it fails then.

mod oracle;
mod support;

use engset_runtime::{Address, Config, Mailbox, run_with, spawn_link};
use oracle::{Said, Tester, machines, script::Script};

/// So many scripts.
const SCRIPTS: u64 = 300;

fn scripts() -> Vec<Script> {
    (0..SCRIPTS).map(Script::by_chance).collect()
}

#[test]
fn the_machines_of_the_design_principles_do_what_erlangs_do() {
    support::everywhere(|mailbox: &mut Mailbox<Said>| {
        let mut tester = Tester::new(mailbox);
        machines::all(&mut tester);
        compare("the scenarios", &expected(), &tester.lines);
    });
}

/// What Erlang/OTP 25 says.
fn expected() -> Vec<String> {
    include_str!("oracle/statem.expected").lines().map(ToOwned::to_owned).collect()
}

#[test]
fn machines_that_follow_scripts_do_the_same_in_erlang() {
    let scripts = scripts();
    let Some(erlang) = erlang(&scripts) else { return };
    assert!(erlang.len() > 100 * 60, "Erlang has not played all scripts: {} lines", erlang.len());
    let modes = [("on two workers", Config::new().workers(2)), ("seed 1", Config::new().seed(1_u64))];
    for (mode, config) in modes {
        compare(mode, &erlang, &engset(config));
    }
}

#[track_caller]
fn compare(mode: &str, erlang: &[String], engset: &[String]) {
    for at in 0..erlang.len().max(engset.len()) {
        let (expected, found) = (erlang.get(at), engset.get(at));
        if expected != found {
            let before = &erlang[at.saturating_sub(15).min(erlang.len())..at.min(erlang.len())];
            panic!("{mode}, line {at}: Erlang: {expected:?}, engset: {found:?}; before it {before:#?}");
        }
    }
}

fn engset(config: Config) -> Vec<String> {
    let run = run_with(config, || {
        let player = spawn_link(|mut mailbox: Mailbox<engset_runtime::Reply<Vec<String>>>| {
            let reply = mailbox.message();
            spawn_link(move |mut mailbox: Mailbox<Said>| {
                let mut tester = Tester::new(&mut mailbox);
                machines::all(&mut tester);
                for (number, script) in scripts().iter().enumerate() {
                    script.play(number, &mut tester);
                }
                reply.send(tester.lines);
            });
            drop(mailbox.message());
        });
        let player: Address<_> = player;
        player.call_timeout(|reply| reply, std::time::Duration::MAX)
    });
    match run {
        Ok(Ok(lines)) => lines,
        Ok(Err(error)) => panic!("{error}"),
        Err(error) => panic!("{error}"),
    }
}

/// The lines of Erlang; `None`: it is not installed.
fn erlang(scripts: &[Script]) -> Option<Vec<String>> {
    let place = support::erlang::place("statem_oracle");
    let terms: Vec<_> = scripts.iter().map(Script::term).collect();
    let file = place.join("scripts.config");
    std::fs::write(&file, terms.join("\n")).expect("a file for the scripts");
    support::erlang::lines(
        "statem",
        &format!("statem:main({file:?})"),
        &place,
        "the scripts of state machines",
    )
}
