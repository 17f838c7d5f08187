//! S3: what an exit signal does: the whole table.

mod support;

use engset::{
    Address, Builder, DownReason, Event, ExitReason, Mailbox, Pid, Received, exit, exit_self, kill, link,
    self_pid, sleep, spawn, spawn_link, spawn_monitor, trap_exits, unlink, yield_now,
};
use std::time::Duration;
use support::{assert_silence, boom, both, down_of, exit_of, signals_have_acted};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    /// A linked process ends.
    Link,
    /// Another process calls `exit`.
    Call,
    /// It calls `exit` on itself.
    Itself,
}

#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Dropped,
    Message(ExitReason),
    Ends(ExitReason),
}

fn dies_of(reason: ExitReason) {
    if !reason.is_normal() {
        exit_self(reason);
    }
}

/// Sends one process one exit signal.
fn outcome(mailbox: &mut Mailbox<Outcome>, origin: Origin, reason: &ExitReason, traps: bool) -> Outcome {
    let tester = mailbox.address();
    let why = reason.clone();
    let victim = move |mut mailbox: Mailbox<()>| {
        trap_exits(traps);
        match origin {
            Origin::Link => drop(spawn_link(move || dies_of(why))),
            Origin::Call => {
                let me = self_pid();
                spawn(move || exit(me, why));
            }
            Origin::Itself => exit(self_pid(), why),
        }
        tester.send(match mailbox.receive_timeout(Duration::from_millis(10)) {
            None => Outcome::Dropped,
            Some(Received::Event(Event::Exit(exit))) => Outcome::Message(exit.reason),
            Some(other) => panic!("{other:?}"),
        });
    };
    let (_, reference) = spawn_monitor(victim);
    match mailbox.receive() {
        Received::Message(outcome) => {
            assert_eq!(down_of(mailbox, reference).reason, DownReason::Exited(ExitReason::Normal));
            outcome
        }
        Received::Event(Event::Down(down)) => match down.reason {
            DownReason::Exited(reason) => Outcome::Ends(reason),
            other => panic!("{other}"),
        },
        other => panic!("{other:?}"),
    }
}

fn all_reasons() -> Vec<ExitReason> {
    use ExitReason::{Kill, Killed, NoConnection, NoProc, Normal, Shutdown};
    vec![Normal, Shutdown, ExitReason::shutdown_with("why"), Kill, Killed, NoProc, NoConnection, boom()]
}

/// Checks a part of the table: all reasons against `rule`.
fn check(origin: Origin, traps: bool, rule: fn(ExitReason) -> Outcome) {
    both(move |mut mailbox: Mailbox<Outcome>| {
        for reason in all_reasons() {
            let expected = rule(reason.clone());
            assert_eq!(
                outcome(&mut mailbox, origin, &reason, traps),
                expected,
                "{origin:?} {reason}, traps: {traps}"
            );
        }
    });
}

#[test]
fn from_a_link_normal_is_dropped_and_any_other_reason_also_kill_ends_with_that_reason() {
    check(Origin::Link, false, |reason| match reason {
        ExitReason::Normal => Outcome::Dropped,
        other => Outcome::Ends(other),
    });
}

#[test]
fn from_a_link_a_trapping_process_gets_a_message_whatever_the_reason() {
    check(Origin::Link, true, Outcome::Message);
}

#[test]
fn from_exit_normal_is_dropped_kill_becomes_killed_and_others_end_with_that_reason() {
    check(Origin::Call, false, |reason| match reason {
        ExitReason::Normal => Outcome::Dropped,
        ExitReason::Kill => Outcome::Ends(ExitReason::Killed),
        other => Outcome::Ends(other),
    });
}

#[test]
fn from_exit_a_trapping_process_gets_a_message_but_for_kill() {
    check(Origin::Call, true, |reason| match reason {
        ExitReason::Kill => Outcome::Ends(ExitReason::Killed),
        other => Outcome::Message(other),
    });
}

#[test]
fn exit_on_oneself_ends_also_with_normal() {
    check(Origin::Itself, false, |reason| match reason {
        ExitReason::Kill => Outcome::Ends(ExitReason::Killed),
        other => Outcome::Ends(other),
    });
}

#[test]
fn exit_on_oneself_is_a_message_to_a_trapping_process_but_for_kill() {
    check(Origin::Itself, true, |reason| match reason {
        ExitReason::Kill => Outcome::Ends(ExitReason::Killed),
        other => Outcome::Message(other),
    });
}

#[test]
fn a_chain_of_links_passes_the_reason_on_unchanged() {
    fn chain(depth: u32, tell: Address<Pid>) {
        if depth == 0 {
            tell.send(self_pid());
        } else {
            spawn_link(move || chain(depth - 1, tell));
        }
        sleep(Duration::MAX);
    }
    both(|mut mailbox: Mailbox<Pid>| {
        let tell = mailbox.address();
        for (sent, passed_on) in [(boom(), boom()), (ExitReason::Kill, ExitReason::Killed)] {
            let (_, reference) = spawn_monitor(move || chain(10, tell));
            let last = mailbox.message();
            exit(last, sent);
            assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(passed_on));
        }
    });
}

#[test]
fn a_panic_passes_through_links_with_its_message() {
    support::both_with(engset::Config::new(), Some(1), |mut mailbox: Mailbox<()>| {
        let (_, reference) = spawn_monitor(|| {
            spawn_link(|| panic!("out of cheese"));
            sleep(Duration::MAX);
        });
        match down_of(&mut mailbox, reference).reason {
            DownReason::Exited(reason) => {
                assert_eq!(reason.panic().expect("a panic").message, "out of cheese");
            }
            other => panic!("{other}"),
        }
    });
}

#[test]
fn the_trap_flag_counts_when_the_signal_acts_and_not_when_it_was_sent() {
    both(|mut mailbox: Mailbox<()>| {
        // It traps when the signal is sent, and does not trap any more when it looks.
        let me = mailbox.address();
        let (victim, reference) = spawn_monitor(move |mut mailbox: Mailbox<()>| {
            trap_exits(true);
            me.send(());
            mailbox.message();
            trap_exits(false);
            me.send(());
            sleep(Duration::MAX);
        });
        mailbox.message();
        victim.send(());
        mailbox.message();
        exit(victim, boom());
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(boom()));
    });
}

#[test]
fn what_came_before_trapping_was_turned_on_is_judged_without_it() {
    both(|mut mailbox: Mailbox<()>| {
        let (_, reference) = spawn_monitor(move |mut own: Mailbox<()>| {
            let me = self_pid();
            spawn(move || exit(me, boom()));
            // A call of the runtime may let others run: the signal may also come while it traps.
            loop {
                trap_exits(true);
                trap_exits(false);
                match own.try_receive() {
                    Some(Received::Event(Event::Exit(exit))) => exit_self(exit.reason),
                    Some(other) => panic!("nothing else was sent: {other:?}"),
                    None => yield_now(),
                }
            }
        });
        let reason = down_of(&mut mailbox, reference).reason;
        // Whichever way it was judged, it did not stay alive untrapped.
        assert_eq!(reason, DownReason::Exited(boom()));
    });
}

#[test]
fn trap_exits_returns_what_it_was_before() {
    both(|_mailbox: Mailbox<()>| {
        assert!(!trap_exits(true));
        assert!(trap_exits(true));
        assert!(trap_exits(false));
        assert!(!trap_exits(false));
    });
}

#[test]
fn a_process_can_trap_from_its_first_moment() {
    both(|mut mailbox: Mailbox<ExitReason>| {
        let me = mailbox.address();
        let victim =
            Builder::new().trap_exits().spawn(move |mut mailbox: Mailbox<()>| match mailbox.receive() {
                Received::Event(Event::Exit(exit)) => me.send(exit.reason),
                other => panic!("{other:?}"),
            });
        exit(victim.expect("it can be spawned"), boom());
        assert_eq!(mailbox.message(), boom());
    });
}

#[test]
fn an_exit_over_a_link_that_was_ended_is_dropped() {
    both(|mut mailbox: Mailbox<()>| {
        trap_exits(true);
        let peer = spawn_link(|| sleep(Duration::MAX));
        unlink(peer);
        exit(peer, boom());
        signals_have_acted(peer);
        assert_silence(&mut mailbox);
    });
}

#[test]
fn exit_to_a_dead_process_does_nothing() {
    both(|mut mailbox: Mailbox<()>| {
        let (victim, reference) = spawn_monitor(|| ());
        down_of(&mut mailbox, reference);
        exit(victim, boom());
        kill(victim);
        assert_silence(&mut mailbox);
    });
}

#[test]
fn the_exit_event_names_who_called_exit() {
    both(|mut mailbox: Mailbox<()>| {
        trap_exits(true);
        let me = self_pid();
        let caller = spawn(move || exit(me, boom()));
        assert_eq!(exit_of(&mut mailbox, caller).reason, boom());
        exit(me, boom());
        assert_eq!(exit_of(&mut mailbox, me).reason, boom());
    });
}

#[test]
fn a_trapping_process_that_ends_itself_does_end() {
    both(|mut mailbox: Mailbox<()>| {
        for reason in all_reasons() {
            let why = reason.clone();
            let (_, reference) = spawn_monitor(move || {
                trap_exits(true);
                exit_self(why)
            });
            assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(reason));
        }
    });
}

#[test]
fn two_linked_processes_that_both_end_say_each_their_own_reason() {
    both(|mut mailbox: Mailbox<()>| {
        let (one, first) = spawn_monitor(|| sleep(Duration::MAX));
        let (_, second) = spawn_monitor(move || {
            link(one);
            signals_have_acted(one);
            exit_self(ExitReason::Shutdown);
        });
        assert_eq!(down_of(&mut mailbox, second).reason, DownReason::Exited(ExitReason::Shutdown));
        assert_eq!(down_of(&mut mailbox, first).reason, DownReason::Exited(ExitReason::Shutdown));
    });
}

#[test]
fn the_first_reason_to_end_wins() {
    both(|mut mailbox: Mailbox<()>| {
        let (victim, reference) = spawn_monitor(|| sleep(Duration::MAX));
        exit(victim, boom());
        kill(victim);
        exit(victim, ExitReason::Shutdown);
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(boom()));
    });
}
