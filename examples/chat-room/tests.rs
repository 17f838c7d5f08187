//! The chat under many interleavings.

use crate::{
    arguments::{self, ArgumentError, Source},
    chat::{self, Chat},
    command::{self, Command, Line, ParseError},
    lobby, room,
    user::{self, Notice},
};
use engset::{
    lookup,
    prelude::*,
    testkit::{self, Probe},
};
use std::time::Duration;

/// What a script shows.
fn shown(script: &str) -> Vec<String> {
    chat::play(script).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_demo_is_the_same_under_every_seed() {
    let expected = include_str!("expected.txt");
    testkit::systematic(100, move || {
        testkit::expect_crash("tore has pressed the button", || {
            assert_eq!(chat::play(crate::DEMO).unwrap(), expected);
        });
    });
}

#[test]
fn all_in_a_room_hear_what_is_said_in_the_same_order() {
    testkit::systematic(50, || {
        let chat = Chat::open().unwrap();
        ["a: /join x", "b: /join x"].iter().for_each(|line| chat.input(line));
        sleep(Duration::from_secs(1));
        chat.seen();
        let both = ["a", "b"].map(|name| {
            let chat = chat.clone();
            spawn(move || (0..3).for_each(|number| chat.input(&format!("{name}: {number}"))))
        });
        let mut probe: Probe<()> = Probe::new();
        both.into_iter().for_each(|process| drop(probe.expect_terminated(process)));
        sleep(Duration::from_secs(1));
        let seen = chat.seen();
        let by = |user: &str| -> Vec<String> {
            let prefix = format!("[{user}] ");
            seen.iter().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
        };
        assert_eq!(by("a").len(), 6, "{seen:?}");
        assert_eq!(by("a"), by("b"));
    });
}

#[test]
fn a_user_who_dies_has_left() {
    testkit::systematic(50, || {
        let _chat = Chat::open().unwrap();
        let mut probe: Probe<user::Request> = Probe::new();
        let open = |reply| lobby::Request::Open { room: "x".into(), by: "a".into(), reply };
        lobby::address().call(open).unwrap().unwrap();
        let room: Address<room::Request> = lookup(&lobby::registered("x")).unwrap();
        // The test plays user a, and a process that is killed plays user b.
        let victim = spawn(|_: Mailbox<user::Request>| sleep(Duration::MAX));
        for (name, user) in [("a", probe.address()), ("b", victim)] {
            room.call(|reply| room::Request::Join { name: name.into(), user, back: false, reply })
                .unwrap()
                .unwrap();
        }
        for who in ["a", "b"] {
            let notice = probe.expect_matching(|request| matches!(request, user::Request::Notice(_)));
            assert!(matches!(notice, user::Request::Notice(Notice::Joined { name, .. }) if name == who));
        }
        kill(victim);
        probe.expect_matching(
            |request| matches!(request, user::Request::Notice(Notice::Left { name, .. }) if name == "b"),
        );
        assert_eq!(room.call(room::Request::Who), Ok(vec!["a".to_owned()]));
        probe.expect_no(Duration::from_secs(60));
    });
}

#[test]
fn a_ban_outlives_a_crash() {
    testkit::systematic(50, || {
        testkit::expect_crash("a has pressed the button", || {
            let lines = shown(
                "a: /join x\nb: /join x\na: /ban b\na: /crash\nb: /join x\na: /unban b\nb: /join x\na: /who",
            );
            assert!(lines.contains(&"  [b] ! you are banned".to_owned()), "{lines:?}");
            assert_eq!(lines.last().unwrap(), "  [a] #x: a, b");
        });
    });
}

#[test]
fn a_room_that_crashes_again_and_again_is_there_again() {
    testkit::Check::new().seeds(20).crashes(5).systematic(|| {
        let lines = shown("a: /join x\na: /crash\na: /crash\na: /crash\na: /crash\na: /crash\na: /who");
        assert_eq!(lines.last().unwrap(), "  [a] #x: a");
    });
}

#[test]
fn lines_are_parsed_or_refused_with_a_reason() {
    let say = Command::Say("hello: you".to_owned());
    assert_eq!(command::parse("agner : hello: you"), Ok(Line { user: "agner".to_owned(), command: say }));
    assert_eq!(command::parse("a: /join x").unwrap().command, Command::Join("x".to_owned()));
    let error = |line| command::parse(line).unwrap_err();
    assert_eq!(error("nobody"), ParseError::NoName("nobody".to_owned()));
    assert_eq!(error("a b: c"), ParseError::BadName("a b".to_owned()));
    assert_eq!(error("a:  "), ParseError::NoText);
    assert_eq!(error("a: /dance"), ParseError::UnknownCommand("/dance".to_owned()));
    assert_eq!(error("a: /join"), ParseError::NeedsWord("/join".to_owned()));
    assert_eq!(error("a: /join #x"), ParseError::BadName("#x".to_owned()));
    assert_eq!(error("a: /who is there"), ParseError::TakesNone("/who".to_owned()));
}

#[test]
fn command_lines() {
    let parse = |line: &str| arguments::parse(line.split_whitespace().map(str::to_owned));
    assert_eq!(parse(""), Ok(arguments::Command::Run(Source::Terminal)));
    assert_eq!(parse("--script a.txt"), Ok(arguments::Command::Run(Source::Script("a.txt".into()))));
    assert_eq!(parse("--script"), Err(ArgumentError::NoFile));
    assert_eq!(parse("--demo --script x"), Err(ArgumentError::TwoSources("--script".to_owned())));
    assert_eq!(parse("--bogus"), Err(ArgumentError::Unknown("--bogus".to_owned())));
}
