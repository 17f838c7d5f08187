//! How often and how soon: the limit of restarts, starts that fail, back-off.

use super::*;

// --- intensity ---

#[test]
fn one_restart_more_than_allowed_stops_the_children_in_reverse_order_and_the_supervisor() {
    everywhere(|mailbox| {
        let builder = ["a", "b", "c"]
            .into_iter()
            .fold(Supervisor::one_for_one(), |builder, name| builder.child(worker(mailbox, name)));
        let supervisor = builder.start().unwrap();
        monitor(supervisor);
        all_started(mailbox, &["a", "b", "c"]);
        order("b", Order::Crash);
        assert_eq!(stopped(mailbox).0, "b");
        assert_eq!(started(mailbox), "b");
        order("b", Order::Crash);
        assert_eq!(stopped(mailbox).0, "b");
        stopped_by_supervisor(mailbox, &["c", "a"]);
        assert_eq!(down_of(mailbox, supervisor.pid()), DownReason::Exited(ExitReason::Shutdown));
    });
}

#[test]
fn an_intensity_of_zero_gives_up_at_the_first_crash() {
    everywhere(|mailbox| {
        let builder = Supervisor::one_for_one().intensity(0, SECOND).child(worker(mailbox, "a"));
        let supervisor = builder.start().unwrap();
        monitor(supervisor);
        assert_eq!(started(mailbox), "a");
        order("a", Order::Crash);
        assert_eq!(down_of(mailbox, supervisor.pid()), DownReason::Exited(ExitReason::Shutdown));
    });
}

#[test]
fn the_window_slides() {
    support::systematic(|mailbox| {
        let supervisor = Supervisor::one_for_one().child(worker(mailbox, "a")).start_link().unwrap();
        assert_eq!(started(mailbox), "a");
        for _ in 0..5 {
            order("a", Order::Crash);
            assert_eq!(stopped(mailbox).0, "a");
            assert_eq!(started(mailbox), "a");
            sleep(5 * SECOND + MILLI);
        }
        assert!(is_alive(supervisor));
    });
}

#[test]
fn the_supervisor_above_restarts_one_that_has_given_up() {
    everywhere(|mailbox| {
        let below = Supervisor::one_for_one()
            .intensity(0, SECOND)
            .child(worker(mailbox, "a"))
            .child(worker(mailbox, "b"));
        let above =
            Supervisor::one_for_one().intensity(3, SECOND).child(ChildSpec::supervisor("below", below));
        let above = above.start_link().unwrap();
        all_started(mailbox, &["a", "b"]);
        order("a", Order::Crash);
        assert_eq!(stopped(mailbox).0, "a");
        stopped_by_supervisor(mailbox, &["b"]);
        all_started(mailbox, &["a", "b"]);
        assert_eq!(above.which_children().unwrap()[0].kind, Kind::Supervisor);
    });
}

// --- starts that fail ---

#[test]
fn a_child_that_does_not_start_fails_the_supervisor_and_stops_those_before_it() {
    everywhere(|mailbox| {
        let fails = ChildSpec::new("bad", || Err(StartError::InitFailed(ExitReason::error("no"))));
        let builder = Supervisor::one_for_one().child(worker(mailbox, "a")).child(worker(mailbox, "b"));
        let error = builder.child(fails).child(worker(mailbox, "c")).start_link().unwrap_err();
        let cause = Box::new(StartError::InitFailed(ExitReason::error("no")));
        assert_eq!(error, StartError::Child { id: "bad".into(), error: cause });
        all_started(mailbox, &["a", "b"]);
        stopped_by_supervisor(mailbox, &["b", "a"]);
        assert_eq!(whereis("a"), None);
        nothing_more(mailbox);
    });
}

#[test]
fn a_start_function_that_panics_is_a_failed_start() {
    everywhere::<()>(|_| {
        let bad = ChildSpec::new("bad", || panic!("in the start function"));
        let error = Supervisor::one_for_one().child(bad).start_link().unwrap_err();
        let cause = Box::new(StartError::Factory("in the start function".into()));
        assert_eq!(error, StartError::Child { id: "bad".into(), error: cause });
    });
}

/// A child whose starts succeed and fail as the digits say, and that is told to crash by its name.
fn flaky(log: &Mailbox<Note>, name: &'static str, plan: &'static [bool]) -> ChildSpec {
    let (log, starts) = (log.address(), Arc::new(AtomicUsize::new(0)));
    ChildSpec::new(name, move || {
        if !plan.get(starts.fetch_add(1, Ordering::Relaxed)).copied().unwrap_or(true) {
            return Err(StartError::InitFailed(ExitReason::error("flaky")));
        }
        Ok(Worker { name, log }.options().name(name).trap_exits().start_link()?.pid())
    })
}

#[test]
fn a_restart_that_fails_is_tried_again_and_counted_each_time() {
    everywhere(|mailbox| {
        // The crash and two failures: three restarts.
        let plan = &[true, false, false, true];
        let patient = Supervisor::one_for_one().intensity(3, SECOND).child(flaky(mailbox, "f", plan));
        let patient = patient.start().unwrap();
        assert_eq!(started(mailbox), "f");
        order("f", Order::Crash);
        assert_eq!(stopped(mailbox).0, "f");
        assert_eq!(started(mailbox), "f");
        exit(patient, ExitReason::Kill);
        assert_eq!(stopped(mailbox), ("f", ExitReason::Killed));
        eventually("the name is free", || whereis("f").is_none());

        let strict = Supervisor::one_for_one().intensity(2, SECOND).child(flaky(mailbox, "f", plan));
        let strict = strict.start().unwrap();
        monitor(strict);
        assert_eq!(started(mailbox), "f");
        order("f", Order::Crash);
        assert_eq!(stopped(mailbox).0, "f");
        assert_eq!(down_of(mailbox, strict.pid()), DownReason::Exited(ExitReason::Shutdown));
        nothing_more(mailbox);
    });
}

#[test]
fn a_supervisor_whose_child_does_not_start_keeps_answering() {
    everywhere(|mailbox| {
        let builder = Supervisor::one_for_one().intensity(1_000_000, SECOND);
        let starts = Arc::new(AtomicUsize::new(0));
        let log = mailbox.address();
        let spec = ChildSpec::new("f", move || match starts.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(Worker { name: "f", log }.options().name("f").start_link()?.pid()),
            _ => Err(StartError::InitFailed(ExitReason::error("never again"))),
        });
        let supervisor = builder.child(spec).start_link().unwrap();
        assert_eq!(started(mailbox), "f");
        order("f", Order::Crash);
        assert_eq!(stopped(mailbox).0, "f");
        eventually("it tries", || state_of(supervisor, "f") == Some(ChildState::Restarting));
        assert_eq!(supervisor.delete_child("f"), Err(ChildError::Restarting));
        assert_eq!(supervisor.restart_child("f"), Err(ChildError::Restarting));
        assert_eq!(supervisor.terminate_child("f"), Ok(()));
        assert_eq!(state_of(supervisor, "f"), Some(ChildState::Resting));
        assert_eq!(supervisor.delete_child("f"), Ok(()));
    });
}

#[test]
fn a_failed_restart_of_one_for_all_starts_all_in_the_end() {
    everywhere(|mailbox| {
        let builder = Supervisor::one_for_all().intensity(5, SECOND).child(worker(mailbox, "a"));
        let builder = builder.child(flaky(mailbox, "f", &[true, false, true])).child(worker(mailbox, "z"));
        builder.start_link().unwrap();
        all_started(mailbox, &["a", "f", "z"]);
        order("z", Order::Crash);
        assert_eq!(stopped(mailbox).0, "z");
        stopped_by_supervisor(mailbox, &["f", "a"]);
        // `f` fails: once more, all of them.
        assert_eq!(started(mailbox), "a");
        stopped_by_supervisor(mailbox, &["a"]);
        all_started(mailbox, &["a", "f", "z"]);
        nothing_more(mailbox);
    });
}

// --- back-off ---

#[test]
fn a_backoff_restart_waits_longer_each_time() {
    support::systematic(|mailbox| {
        let backoff = Backoff::new(SECOND, 10 * SECOND).random_factor(0.0);
        let builder = Supervisor::one_for_one().intensity(10, SECOND);
        let supervisor = builder.child(worker(mailbox, "a").backoff(backoff)).start_link().unwrap();
        assert_eq!(started(mailbox), "a");
        for wait in [1, 2, 4, 8, 10, 10] {
            order("a", Order::Crash);
            assert_eq!(stopped(mailbox).0, "a");
            let before = now();
            sleep(SECOND / 2);
            assert_eq!(state_of(supervisor, "a"), Some(ChildState::Restarting));
            assert_eq!(started_within(mailbox), "a");
            let took = now() - before;
            assert!(took >= wait * SECOND - MILLI && took < wait * SECOND + SECOND / 5, "{wait}: {took:?}");
        }
        sleep(11 * SECOND);
        order("a", Order::Crash);
        assert_eq!(stopped(mailbox).0, "a");
        let before = now();
        assert_eq!(started(mailbox), "a");
        assert!(now() - before < 2 * SECOND, "a long run resets it");
    });
}

fn started_within(mailbox: &mut Mailbox<Note>) -> &'static str {
    match mailbox.message_timeout(60 * SECOND) {
        Some(Started(name, _)) => name,
        other => panic!("expected a start, got {other:?}"),
    }
}

#[test]
fn a_backoff_under_one_for_all_keeps_all_down_until_it_is_over() {
    support::systematic(|mailbox| {
        let backoff = Backoff::new(SECOND, 10 * SECOND);
        let builder = Supervisor::one_for_all().child(worker(mailbox, "a"));
        let supervisor = builder.child(worker(mailbox, "b").backoff(backoff)).start_link().unwrap();
        all_started(mailbox, &["a", "b"]);
        order("b", Order::Crash);
        assert_eq!(stopped(mailbox).0, "b");
        stopped_by_supervisor(mailbox, &["a"]);
        nothing_more(mailbox);
        assert_eq!(state_of(supervisor, "a"), Some(ChildState::Resting));
        all_started(mailbox, &["a", "b"]);
    });
}
