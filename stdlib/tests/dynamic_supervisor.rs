//! Dynamic supervisors: children that come and go (semantics rows B2 and B4).

mod support;

use engset_runtime::{
    DownReason, ExitReason, Mailbox, Pid, exit, is_alive, kill, monitor, now, self_pid, sleep, spawn,
    trap_exits,
};
use engset_stdlib::{Backoff, ChildError, ChildSpec, DynamicSupervisor, SpecError, StartError, Supervisor};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use support::{down_of, eventually, everywhere, wait_dead};

const SECOND: Duration = Duration::from_secs(1);

/// A child that lives until it is stopped.
fn sleeper() -> ChildSpec {
    ChildSpec::function("sleeper", || sleep(Duration::MAX))
}

/// A child that tells its pid, then traps exits and does nothing.
fn deaf(log: &Mailbox<Pid>) -> ChildSpec {
    let log = log.address();
    ChildSpec::function("deaf", move || {
        trap_exits(true);
        log.send(self_pid());
        sleep(Duration::MAX);
    })
}

#[test]
fn children_come_and_go_and_are_known_by_their_pids() {
    everywhere::<()>(|_| {
        let supervisor = DynamicSupervisor::builder().start_link().unwrap();
        let first = supervisor.start_child(sleeper()).unwrap();
        let second = supervisor.start_child(sleeper()).unwrap();
        let mut children = supervisor.children().unwrap();
        children.sort();
        let mut expected = [first, second];
        expected.sort();
        assert_eq!(children, expected);
        assert_eq!(supervisor.terminate_child(first), Ok(()));
        assert!(!is_alive(first));
        assert_eq!(supervisor.terminate_child(first), Err(ChildError::Unknown));
        assert_eq!(supervisor.children(), Ok(vec![second]));
        let count = supervisor.count_children().unwrap();
        assert_eq!((count.specs, count.active, count.workers, count.supervisors), (1, 1, 1, 0));
    });
}

#[test]
fn a_child_that_crashes_is_restarted_alone() {
    everywhere::<()>(|_| {
        let supervisor = DynamicSupervisor::builder().intensity(5, SECOND).start_link().unwrap();
        let stays = supervisor.start_child(sleeper()).unwrap();
        let crashes = supervisor.start_child(sleeper()).unwrap();
        let temporary = supervisor.start_child(sleeper().temporary()).unwrap();
        let orderly = supervisor.start_child(sleeper().transient()).unwrap();
        kill(crashes);
        kill(temporary);
        exit(orderly, ExitReason::Shutdown);
        eventually("two are left, one of them new", || {
            let children = supervisor.children().unwrap();
            children.len() == 2 && !children.contains(&crashes) && children.contains(&stays)
        });
    });
}

#[test]
fn there_are_never_more_than_max_children() {
    everywhere::<()>(|_| {
        let supervisor = DynamicSupervisor::builder().max_children(2).start_link().unwrap();
        let first = supervisor.start_child(sleeper()).unwrap();
        supervisor.start_child(sleeper()).unwrap();
        assert_eq!(supervisor.start_child(sleeper()), Err(ChildError::Full { max_children: 2 }));
        supervisor.terminate_child(first).unwrap();
        supervisor.start_child(sleeper()).unwrap();
        let none = DynamicSupervisor::builder().max_children(0).start_link().unwrap();
        assert_eq!(none.start_child(sleeper()), Err(ChildError::Full { max_children: 0 }));
    });
}

#[test]
fn more_restarts_than_allowed_end_the_supervisor_and_all_children() {
    everywhere::<()>(|mailbox| {
        let supervisor = DynamicSupervisor::builder().start().unwrap();
        monitor(supervisor);
        let stays = supervisor.start_child(sleeper()).unwrap();
        let crashes = supervisor.start_child(sleeper()).unwrap();
        kill(crashes);
        let other =
            || supervisor.children().unwrap().into_iter().find(|child| ![stays, crashes].contains(child));
        eventually("it is restarted", || other().is_some());
        other().into_iter().for_each(kill);
        assert_eq!(down_of(mailbox, supervisor.pid()), DownReason::Exited(ExitReason::Shutdown));
        assert!(!is_alive(stays));
    });
}

#[test]
fn a_restart_that_fails_is_tried_again_and_counted() {
    everywhere::<()>(|mailbox| {
        let supervisor = DynamicSupervisor::builder().intensity(3, SECOND).start().unwrap();
        monitor(supervisor);
        let starts = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&starts);
        let spec = ChildSpec::new("once", move || match count.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(spawn(|| sleep(Duration::MAX))),
            _ => Err(StartError::InitFailed(ExitReason::error("no"))),
        });
        kill(supervisor.start_child(spec).unwrap());
        assert_eq!(down_of(mailbox, supervisor.pid()), DownReason::Exited(ExitReason::Shutdown));
        assert_eq!(starts.load(Ordering::Relaxed), 4);
    });
}

#[test]
fn a_start_that_fails_or_a_wrong_description_is_an_error() {
    everywhere::<()>(|_| {
        let supervisor = DynamicSupervisor::builder().start_link().unwrap();
        let fails = ChildSpec::new("f", || Err(StartError::InitFailed(ExitReason::error("no"))));
        let failed = ChildError::Start(StartError::InitFailed(ExitReason::error("no")));
        assert_eq!(supervisor.start_child(fails), Err(failed));
        let wrong = supervisor.start_child(sleeper().transient().significant());
        let error = SpecError::SignificantWithoutAutoShutdown { id: "sleeper".into() };
        assert_eq!(wrong, Err(ChildError::Spec(error)));
        assert_eq!(supervisor.count_children().unwrap().specs, 0);
    });
}

#[test]
fn children_are_stopped_at_the_same_time() {
    support::systematic::<Pid>(|mailbox| {
        let supervisor = DynamicSupervisor::builder().start().unwrap();
        for seconds in [3, 1, 2] {
            supervisor.start_child(deaf(mailbox).shutdown_after(seconds * SECOND)).unwrap();
        }
        let children: Vec<_> = (0..3).map(|_| mailbox.message()).collect();
        let before = now();
        // Its parent is nobody: only giving up ends it in order.
        let crash = supervisor.start_child(sleeper()).unwrap();
        kill(crash);
        eventually("it is restarted", || supervisor.children().unwrap().iter().all(|child| *child != crash));
        monitor(supervisor);
        supervisor.children().unwrap().into_iter().filter(|child| !children.contains(child)).for_each(kill);
        assert_eq!(down_of(mailbox, supervisor.pid()), DownReason::Exited(ExitReason::Shutdown));
        let took = now() - before;
        assert!(took >= 3 * SECOND && took < 4 * SECOND, "{took:?}");
        children.into_iter().for_each(|child| assert!(!is_alive(child)));
    });
}

#[test]
fn it_goes_on_while_a_child_is_being_stopped() {
    support::systematic::<Pid>(|mailbox| {
        let supervisor = DynamicSupervisor::builder().start_link().unwrap();
        let slow = supervisor.start_child(deaf(mailbox).shutdown_after(10 * SECOND)).unwrap();
        assert_eq!(mailbox.message(), slow);
        let before = now();
        let stopper = spawn(move || supervisor.terminate_child(slow).unwrap());
        sleep(SECOND);
        let other = supervisor.start_child(sleeper()).unwrap();
        assert_eq!(supervisor.terminate_child(other), Ok(()));
        assert!(now() - before < 2 * SECOND);
        wait_dead(stopper);
        assert!(!is_alive(slow));
        assert!(now() - before >= 10 * SECOND);
    });
}

#[test]
fn as_a_child_it_stops_with_its_supervisor() {
    everywhere::<()>(|_| {
        trap_exits(true);
        let guests = DynamicSupervisor::builder().name("guests").child("guests");
        let top = Supervisor::one_for_one().child(guests).start_link().unwrap();
        let child = DynamicSupervisor::named("guests").unwrap().start_child(sleeper()).unwrap();
        assert_eq!(top.count_children().unwrap().supervisors, 1);
        exit(top, ExitReason::Shutdown);
        wait_dead(top.pid());
        assert!(!is_alive(child));
        assert!(DynamicSupervisor::named("guests").is_err());
    });
}

#[test]
fn a_backoff_delays_the_restart_and_counts_as_a_child() {
    support::systematic::<()>(|_| {
        let supervisor = DynamicSupervisor::builder().max_children(1).start_link().unwrap();
        let pid = supervisor.start_child(sleeper().backoff(Backoff::new(SECOND, SECOND))).unwrap();
        kill(pid);
        sleep(SECOND / 2);
        assert_eq!(supervisor.children(), Ok(vec![]));
        assert_eq!(supervisor.start_child(sleeper()), Err(ChildError::Full { max_children: 1 }));
        sleep(SECOND);
        assert_eq!(supervisor.children().unwrap().len(), 1);
    });
}
