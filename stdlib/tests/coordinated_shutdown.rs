//! Phases, their tasks, their times, and what a failure does.

#![allow(clippy::unit_arg, reason = "tasks of one line")]

mod support;

use engset_runtime::{Address, Config, ExitReason, Mailbox, RunError, now, run_with, self_pid, sleep, spawn};
use engset_stdlib::{
    CoordinatedShutdown, DependencyError, Phase, ShutdownError, StopCause, TaskOutcome,
    shutdown::{BEFORE_LEAVE, BEFORE_UNBIND, LEAVE, NODE_STOP, REQUESTS_DONE, STOP, UNBIND},
};
use std::{sync::Arc, time::Duration};
use support::{everywhere, nothing_more, systematic, wait_dead};

const SECOND: Duration = Duration::from_secs(1);

fn cause() -> StopCause {
    StopCause::Requested("a test".into())
}

fn shutdown() -> Arc<CoordinatedShutdown> {
    CoordinatedShutdown::current().unwrap()
}

fn add(shutdown: &CoordinatedShutdown, log: Address<&'static str>, phase: &str, note: &'static str) {
    shutdown.add_task(phase, note, move || Ok(log.send(note))).unwrap();
}

#[track_caller]
fn expect(mailbox: &mut Mailbox<&'static str>, notes: &[&'static str]) {
    for note in notes {
        assert_eq!(mailbox.message_timeout(10 * SECOND), Some(*note));
    }
}

#[test]
fn phases_run_in_the_order_of_their_dependencies() {
    everywhere(|mailbox: &mut Mailbox<&'static str>| {
        let shutdown = shutdown();
        let log = mailbox.address();
        shutdown.add_phase(Phase::new("drain").after(UNBIND).before(STOP)).unwrap();
        shutdown.add_phase(Phase::new("last").after(NODE_STOP)).unwrap();
        shutdown.add_phase(Phase::new("flush").before("drain")).unwrap();
        add(&shutdown, log, "last", "last");
        add(&shutdown, log, STOP, "stop");
        add(&shutdown, log, "drain", "drain");
        add(&shutdown, log, "flush", "flush");
        add(&shutdown, log, BEFORE_UNBIND, "before-unbind");
        add(&shutdown, log, UNBIND, "unbind");
        let report = shutdown.run(cause()).unwrap();
        assert!(report.is_clean() && report.tasks.len() == 6, "{report}");
        let mut notes: Vec<_> = (0..6).map(|_| mailbox.message()).collect();
        let place = |note| notes.iter().position(|other| *other == note).unwrap();
        assert!(place("flush") < place("drain"));
        notes.retain(|note| *note != "flush");
        assert_eq!(notes, ["before-unbind", "unbind", "drain", "stop", "last"]);
        nothing_more(mailbox);
    });
}

#[test]
fn wrong_phases_are_refused_and_leave_no_trace() {
    everywhere(|_: &mut Mailbox<()>| {
        let shutdown = shutdown();
        let before = shutdown.phases();
        match shutdown.add_phase(Phase::new("x").after(STOP).before(UNBIND)) {
            Err(ShutdownError::Dependencies(DependencyError::Cycle(names))) => {
                assert!(
                    names.contains(&"x".to_owned()) && names.contains(&REQUESTS_DONE.to_owned()),
                    "{names:?}"
                );
            }
            other => panic!("{other:?}"),
        }
        for (phase, text) in [
            (
                Phase::new("x").after("unbnd"),
                r#"phases of the shutdown: "x" depends on "unbnd", which is not there; did you mean "unbind"?"#,
            ),
            (
                Phase::new("x").before("stopp"),
                r#"phases of the shutdown: "x" depends on "stopp", which is not there; did you mean "stop"?"#,
            ),
            (Phase::new(STOP), r#"phases of the shutdown: "stop" is there twice"#),
        ] {
            assert_eq!(shutdown.add_phase(phase).unwrap_err().to_string(), text);
        }
        assert_eq!(
            shutdown.add_task("leav", "x", || Ok(())).unwrap_err().to_string(),
            r#"there is no phase "leav"; did you mean "leave"?"#
        );
        assert_eq!(shutdown.phases(), before);
        assert!(shutdown.run(cause()).unwrap().is_clean());
    });
}

#[test]
fn tasks_of_a_phase_run_at_the_same_time() {
    everywhere(|_: &mut Mailbox<()>| {
        let shutdown = shutdown();
        // Each waits for the other.
        let first = spawn(|mut mailbox: Mailbox<()>| mailbox.message());
        shutdown.add_task(STOP, "waits", move || Ok(wait_dead(first.pid()))).unwrap();
        shutdown.add_task(STOP, "lets go", move || Ok(first.send(()))).unwrap();
        assert!(shutdown.run(cause()).unwrap().is_clean());
    });
}

#[test]
fn a_failure_is_reported_and_the_next_phase_comes() {
    everywhere(|mailbox: &mut Mailbox<&'static str>| {
        let shutdown = shutdown();
        shutdown.add_task(UNBIND, "error", || Err("no".into())).unwrap();
        shutdown.add_task(STOP, "panic", || panic!("oh")).unwrap();
        add(&shutdown, mailbox.address(), LEAVE, "leave");
        let report = shutdown.run(cause()).unwrap();
        expect(mailbox, &["leave"]);
        assert_eq!(report.aborted, None);
        let failures: Vec<_> = report.failures().collect();
        assert_eq!((failures.len(), report.tasks.len()), (2, 3));
        assert_eq!(failures[0].outcome, TaskOutcome::Failed(ExitReason::error("no")));
        assert!(
            matches!(&failures[1].outcome, TaskOutcome::Failed(ExitReason::Panic(panic)) if panic.message == "oh")
        );
    });
}

#[test]
fn a_phase_that_does_not_recover_aborts() {
    everywhere(|mailbox: &mut Mailbox<&'static str>| {
        let shutdown = shutdown();
        shutdown
            .add_phase(Phase::new("strict").after(UNBIND).before(REQUESTS_DONE).abort_on_failure())
            .unwrap();
        shutdown.add_task("strict", "bad", || Err("no".into())).unwrap();
        add(&shutdown, mailbox.address(), UNBIND, "unbind");
        add(&shutdown, mailbox.address(), STOP, "stop");
        let report = shutdown.run(cause()).unwrap();
        assert_eq!(report.aborted.as_deref(), Some("strict"));
        expect(mailbox, &["unbind"]);
        nothing_more(mailbox);
    });
}

#[test]
fn what_is_not_done_in_time_is_killed() {
    systematic(|mailbox: &mut Mailbox<&'static str>| {
        let shutdown = shutdown();
        let log = mailbox.address();
        shutdown.add_phase(Phase::new("short").after(UNBIND).before(STOP).timeout(2 * SECOND)).unwrap();
        let task = spawn(|mut mailbox: Mailbox<engset_runtime::Pid>| {
            let pid = mailbox.message();
            wait_dead(pid);
        });
        shutdown
            .add_task("short", "hangs", move || {
                task.send(self_pid());
                sleep(Duration::MAX);
                Ok(())
            })
            .unwrap();
        add(&shutdown, log, "short", "short");
        add(&shutdown, log, STOP, "stop");
        let begin = now();
        let report = shutdown.run(cause()).unwrap();
        // The other task does not make the time begin anew.
        assert_eq!((now() - begin).as_secs(), 2);
        let failures: Vec<_> = report.failures().map(|task| (&*task.name, task.outcome.clone())).collect();
        assert_eq!(failures, [("hangs", TaskOutcome::TimedOut(2 * SECOND))]);
        expect(mailbox, &["short", "stop"]);
        wait_dead(task.pid());
    });
}

#[test]
fn it_runs_once_and_all_who_ask_get_the_report() {
    everywhere(|mailbox: &mut Mailbox<&'static str>| {
        let shutdown = shutdown();
        let log = mailbox.address();
        add(&shutdown, log, STOP, "stop");
        for _ in 0..3 {
            spawn(move || {
                let report = CoordinatedShutdown::current().unwrap().run(cause()).unwrap();
                assert_eq!(report.tasks.len(), 1);
                log.send("told");
            });
        }
        let other = StopCause::Requested("another".into());
        shutdown.run(other.clone()).unwrap();
        let report = shutdown.run(other).unwrap();
        assert_eq!((Some(report.cause), report.tasks.len()), (shutdown.cause(), 1));
        expect(mailbox, &["stop", "told", "told", "told"]);
        nothing_more(mailbox);
    });
}

#[test]
fn tasks_can_be_cancelled_and_added_until_their_phase_begins() {
    everywhere(|mailbox: &mut Mailbox<&'static str>| {
        let shutdown = shutdown();
        let log = mailbox.address();
        let cancelled = shutdown.add_task(UNBIND, "never", || panic!("cancelled")).unwrap();
        assert!(shutdown.cancel_task(cancelled));
        assert!(!shutdown.cancel_task(cancelled));
        let later = Arc::clone(&shutdown);
        shutdown
            .add_task(STOP, "adds", move || {
                let progress = later.progress();
                assert_eq!(progress.phase.as_deref(), Some(STOP));
                add(&later, log, BEFORE_LEAVE, "added");
                let late = later.add_task(STOP, "late", || Ok(()));
                assert!(matches!(late, Err(ShutdownError::TooLate { phase }) if phase == STOP));
                assert!(matches!(later.add_phase(Phase::new("late")), Err(ShutdownError::TooLate { .. })));
                Ok(())
            })
            .unwrap();
        let report = shutdown.run(cause()).unwrap();
        assert!(report.is_clean(), "{report}");
        expect(mailbox, &["added"]);
        assert_eq!(shutdown.progress(), engset_stdlib::shutdown::Progress::default());
    });
}

#[test]
fn a_process_is_stopped_by_a_task_that_waits_for_it() {
    everywhere(|mailbox: &mut Mailbox<&'static str>| {
        let shutdown = shutdown();
        let log = mailbox.address();
        let process = engset_runtime::Builder::new()
            .trap_exits()
            .spawn(move |mut mailbox: Mailbox<()>| {
                mailbox.receive();
                sleep(SECOND / 100);
                log.send("process");
            })
            .unwrap();
        shutdown.add_stop(UNBIND, "process", process).unwrap();
        let dead = spawn(|| {});
        wait_dead(dead);
        shutdown.add_stop(UNBIND, "dead already", dead).unwrap();
        add(&shutdown, log, STOP, "stop");
        assert!(shutdown.run(cause()).unwrap().is_clean());
        expect(mailbox, &["process", "stop"]);
    });
}

fn with(toml: &str) -> Result<(Vec<Arc<str>>, bool), ShutdownError> {
    let config = Config::new().seed(1).toml(toml).unwrap();
    let result = run_with(config, || {
        let shutdown = CoordinatedShutdown::current()?;
        shutdown.add_task(UNBIND, "fails", || Err("no".into()))?;
        let report = shutdown.run(cause())?;
        Ok((shutdown.phases(), report.is_clean()))
    });
    result.unwrap_or_else(|error: RunError| panic!("{error}"))
}

#[test]
fn the_configuration_changes_phases() {
    let (phases, _) =
        with("[stop.phases.drain]\ndepends_on = ['unbind']\n[stop.phases.stop]\ndepends_on = ['drain']")
            .unwrap();
    let place = |name: &str| phases.iter().position(|phase| &**phase == name).unwrap();
    assert!(place("unbind") < place("drain") && place("drain") < place("stop"), "{phases:?}");
    // A phase that is switched off has no tasks that fail.
    assert!(with("[stop.phases.unbind]\nenabled = false").unwrap().1);
    let text = |toml| with(toml).unwrap_err().to_string();
    assert!(
        text("[stop.phases.unbind]\ndepends_on = ['stop']").contains("a circle of dependencies"),
        "{}",
        text("[stop.phases.unbind]\ndepends_on = ['stop']")
    );
    assert!(
        text("[stop.phases.unbind]\ntimeout = 5")
            .contains("stop.phases.unbind.timeout: there is no such setting")
    );
    assert!(text("stop.deadline_ms = 'x'").contains("stop.deadline_ms: expected u64, found string \"x\""));
}
