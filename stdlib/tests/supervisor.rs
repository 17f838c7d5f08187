//! Supervisors: strategies, restarts and their limit, stopping, requests (semantics rows B2 to B7).

mod support;

use engset_runtime::{
    Address, DownReason, Event, ExitReason, Mailbox, Pid, exit, is_alive, kill, link, monitor, now,
    process_info, send_after, sleep, spawn, trap_exits, whereis,
};
use engset_stdlib::{
    Agent, AutoShutdown, Backoff, ChildError, ChildSpec, ChildState, Context, GenServer, Kind, Next, Restart,
    Shutdown, SpecError, StartError, Supervisor, SupervisorBuilder,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use support::{down_of, event, eventually, everywhere, nothing_more, wait_dead};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// What children tell the test.
#[derive(Debug, PartialEq, Eq)]
enum Note {
    Started(&'static str, Pid),
    Stopped(&'static str, ExitReason),
}
use Note::{Started, Stopped};

/// A child that tells of its start, and of its end if that is orderly.
struct Worker {
    name: &'static str,
    log: Address<Note>,
}

enum Order {
    Crash,
    Finish,
    Shutdown,
}

impl GenServer for Worker {
    type Message = Order;

    fn init(&mut self, context: &mut Context<Order>) -> Result<Next, ExitReason> {
        self.log.send(Started(self.name, context.address().pid()));
        Ok(Next::wait())
    }

    fn handle(&mut self, order: Order, _: &mut Context<Order>) -> Next {
        match order {
            Order::Crash => Next::stop_with(ExitReason::error("crash")),
            Order::Finish => Next::stop(),
            Order::Shutdown => Next::stop_with(ExitReason::Shutdown),
        }
    }

    fn terminate(&mut self, reason: &ExitReason, _: &mut Context<Order>) {
        self.log.send(Stopped(self.name, reason.clone()));
    }
}

fn worker(log: &Mailbox<Note>, name: &'static str) -> ChildSpec {
    let log = log.address();
    ChildSpec::server(name, move || Worker { name, log }.options().name(name).trap_exits())
}

fn order(name: &str, order: Order) {
    engset_runtime::send_named(name, order).unwrap();
}

#[track_caller]
fn started(mailbox: &mut Mailbox<Note>) -> &'static str {
    match mailbox.message_timeout(10 * SECOND) {
        Some(Started(name, _)) => name,
        other => panic!("expected a start, got {other:?}"),
    }
}

#[track_caller]
fn stopped(mailbox: &mut Mailbox<Note>) -> (&'static str, ExitReason) {
    match mailbox.message_timeout(10 * SECOND) {
        Some(Stopped(name, reason)) => (name, reason),
        other => panic!("expected a stop, got {other:?}"),
    }
}

#[track_caller]
fn stopped_by_supervisor(mailbox: &mut Mailbox<Note>, names: &[&str]) {
    for name in names {
        assert_eq!(stopped(mailbox), (*name, ExitReason::Shutdown));
    }
}

#[track_caller]
fn all_started(mailbox: &mut Mailbox<Note>, names: &[&str]) {
    for name in names {
        assert_eq!(started(mailbox), *name);
    }
}

/// Workers a, b, c under a supervisor that lets a lot happen.
fn abc(mailbox: &mut Mailbox<Note>, builder: SupervisorBuilder) -> Supervisor {
    let supervisor = ["a", "b", "c"]
        .into_iter()
        .fold(builder.intensity(100, SECOND), |builder, name| builder.child(worker(mailbox, name)))
        .start_link()
        .unwrap();
    all_started(mailbox, &["a", "b", "c"]);
    supervisor
}

#[track_caller]
fn state_of(supervisor: Supervisor, id: &str) -> Option<ChildState> {
    let children = supervisor.which_children().unwrap();
    children.into_iter().find(|child| &*child.id == id).map(|child| child.state)
}

// --- strategies ---

#[test]
fn one_for_one_restarts_the_child_that_crashed_and_no_other() {
    everywhere(|mailbox| {
        let supervisor = abc(mailbox, Supervisor::one_for_one());
        let before: Vec<_> = supervisor.which_children().unwrap();
        order("b", Order::Crash);
        assert_eq!(stopped(mailbox).0, "b");
        assert_eq!(started(mailbox), "b");
        let after: Vec<_> = supervisor.which_children().unwrap();
        assert_eq!(after.iter().map(|child| &*child.id).collect::<Vec<_>>(), ["a", "b", "c"], "start order");
        assert_eq!(before[0], after[0]);
        assert_ne!(before[1].pid(), after[1].pid());
        assert_eq!(after[1].restarts, 1);
        assert_eq!(before[2], after[2]);
        nothing_more(mailbox);
    });
}

#[test]
fn one_for_all_stops_the_others_in_reverse_order_and_starts_all_in_order() {
    everywhere(|mailbox| {
        abc(mailbox, Supervisor::one_for_all());
        order("b", Order::Crash);
        assert_eq!(stopped(mailbox).0, "b");
        stopped_by_supervisor(mailbox, &["c", "a"]);
        all_started(mailbox, &["a", "b", "c"]);
        nothing_more(mailbox);
    });
}

#[test]
fn rest_for_one_stops_those_after_it_in_reverse_order_and_starts_them_in_order() {
    everywhere(|mailbox| {
        abc(mailbox, Supervisor::rest_for_one());
        order("a", Order::Crash);
        assert_eq!(stopped(mailbox).0, "a");
        stopped_by_supervisor(mailbox, &["c", "b"]);
        all_started(mailbox, &["a", "b", "c"]);
        order("c", Order::Crash);
        assert_eq!(stopped(mailbox).0, "c");
        all_started(mailbox, &["c"]);
        nothing_more(mailbox);
    });
}

#[test]
fn children_that_crash_at_the_same_time_are_all_restarted() {
    fn scenario(mailbox: &mut Mailbox<Note>, builder: SupervisorBuilder) {
        let supervisor = abc(mailbox, builder);
        // All looked up first: a look-up may let the supervisor run.
        let pids = ["a", "b", "c"].map(|name| whereis(name).unwrap());
        for pid in pids {
            kill(pid);
        }
        eventually("all run again", || {
            let children = supervisor.which_children().unwrap();
            children.iter().all(|child| child.restarts > 0 && child.pid().is_some_and(is_alive))
        });
        assert_eq!(supervisor.count_children().unwrap().active, 3);
    }
    everywhere(|mailbox| scenario(mailbox, Supervisor::one_for_one()));
    everywhere(|mailbox| scenario(mailbox, Supervisor::one_for_all()));
    everywhere(|mailbox| scenario(mailbox, Supervisor::rest_for_one()));
}

// --- who is restarted ---

#[test]
fn permanent_children_are_always_restarted() {
    everywhere(|mailbox| {
        abc(mailbox, Supervisor::one_for_one());
        for end in [Order::Crash, Order::Finish, Order::Shutdown] {
            order("a", end);
            assert_eq!(stopped(mailbox).0, "a");
            assert_eq!(started(mailbox), "a");
        }
    });
}

#[test]
fn transient_children_are_restarted_after_a_crash_only_and_then_rest() {
    everywhere(|mailbox| {
        let builder = Supervisor::one_for_one().intensity(9, SECOND);
        let supervisor = builder.child(worker(mailbox, "a").transient()).start_link().unwrap();
        assert_eq!(started(mailbox), "a");
        order("a", Order::Crash);
        assert_eq!(stopped(mailbox).0, "a");
        assert_eq!(started(mailbox), "a");
        for end in [Order::Finish, Order::Shutdown] {
            order("a", end);
            assert_eq!(stopped(mailbox).0, "a");
            eventually("it rests", || state_of(supervisor, "a") == Some(ChildState::Resting));
            supervisor.restart_child("a").unwrap();
            assert_eq!(started(mailbox), "a");
        }
    });
}

#[test]
fn temporary_children_are_never_restarted_and_are_forgotten() {
    everywhere(|mailbox| {
        let supervisor =
            Supervisor::one_for_one().child(worker(mailbox, "a").temporary()).start_link().unwrap();
        assert_eq!(started(mailbox), "a");
        order("a", Order::Crash);
        assert_eq!(stopped(mailbox).0, "a");
        eventually("it is forgotten", || state_of(supervisor, "a").is_none());
        assert_eq!(supervisor.restart_child("a"), Err(ChildError::Unknown));
    });
}

#[test]
fn a_temporary_child_that_a_siblings_crash_has_stopped_is_not_restarted() {
    everywhere(|mailbox| {
        let builder = Supervisor::one_for_all().child(worker(mailbox, "a").temporary());
        let supervisor = builder.child(worker(mailbox, "b")).start_link().unwrap();
        all_started(mailbox, &["a", "b"]);
        order("b", Order::Crash);
        assert_eq!(stopped(mailbox).0, "b");
        stopped_by_supervisor(mailbox, &["a"]);
        assert_eq!(started(mailbox), "b");
        assert_eq!(state_of(supervisor, "a"), None);
        nothing_more(mailbox);
    });
}

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

// --- stopping ---

#[test]
fn the_end_of_the_parent_stops_the_children_in_reverse_order() {
    everywhere(|mailbox| {
        let log = mailbox.address();
        let builder = ["a", "b", "c"]
            .into_iter()
            .fold(Supervisor::one_for_one(), |builder, name| builder.child(worker(mailbox, name)));
        let parent = spawn(move |mut inner: Mailbox<()>| {
            builder.start_link().unwrap();
            log.send(Started("parent", inner.address().pid()));
            inner.message();
            engset_runtime::exit_self(ExitReason::error("parent"));
        });
        all_started(mailbox, &["a", "b", "c", "parent"]);
        parent.send(());
        stopped_by_supervisor(mailbox, &["c", "b", "a"]);
        nothing_more(mailbox);
    });
}

#[test]
fn an_exit_signal_of_the_parent_stops_it_with_that_reason() {
    everywhere(|mailbox| {
        trap_exits(true);
        let supervisor = abc(mailbox, Supervisor::one_for_one());
        exit(supervisor, ExitReason::shutdown_with("update"));
        stopped_by_supervisor(mailbox, &["c", "b", "a"]);
        let Event::Exit(ended) = event(mailbox) else { panic!("another event") };
        assert_eq!((ended.from, ended.reason), (supervisor.pid(), ExitReason::shutdown_with("update")));
    });
}

#[test]
fn exit_signals_of_others_do_not_stop_a_supervisor() {
    everywhere(|mailbox| {
        let supervisor = abc(mailbox, Supervisor::one_for_one());
        spawn(move || exit(supervisor, ExitReason::Shutdown));
        let crashing = spawn(move || {
            link(supervisor);
            panic!("a stranger");
        });
        wait_dead(crashing);
        nothing_more(mailbox);
        assert_eq!(supervisor.count_children().unwrap().active, 3);
    });
}

/// A child that traps exits and ignores them.
fn stubborn(id: &'static str) -> ChildSpec {
    ChildSpec::function(id, move || {
        trap_exits(true);
        engset_runtime::register(id).unwrap();
        sleep(Duration::MAX);
    })
}

#[test]
fn a_child_that_ignores_shutdown_is_killed_when_its_time_is_over() {
    everywhere::<()>(|_| {
        let spec = stubborn("deaf").shutdown_after(SECOND / 20);
        let supervisor = Supervisor::one_for_one().child(spec).start_link().unwrap();
        eventually("it is deaf", || whereis("deaf").is_some());
        let (pid, before) = (whereis("deaf").unwrap(), now());
        assert_eq!(supervisor.terminate_child("deaf"), Ok(()));
        assert!(now() - before >= SECOND / 20, "it had its time");
        assert!(!is_alive(pid));
        assert_eq!(state_of(supervisor, "deaf"), Some(ChildState::Resting));
    });
}

#[test]
fn the_default_shutdown_of_a_worker_is_five_seconds() {
    support::systematic::<()>(|_| {
        let supervisor = Supervisor::one_for_one().child(stubborn("deaf")).start_link().unwrap();
        eventually("it is deaf", || whereis("deaf").is_some());
        let before = now();
        assert_eq!(supervisor.terminate_child("deaf"), Ok(()));
        let took = now() - before;
        assert!(took >= 5 * SECOND && took < 6 * SECOND, "{took:?}");
    });
}

#[test]
fn several_deaf_children_each_have_their_own_time() {
    support::systematic::<()>(|_| {
        let builder = Supervisor::one_for_one().child(stubborn("a").shutdown_after(SECOND));
        let builder = builder.child(stubborn("b").shutdown_after(3 * SECOND));
        let supervisor = builder.child(stubborn("c").shutdown_after(2 * SECOND)).start().unwrap();
        eventually("they are deaf", || ["a", "b", "c"].iter().all(|name| whereis(name).is_some()));
        let before = now();
        trap_exits(true);
        for (name, time) in [("c", 2), ("b", 3), ("a", 1)] {
            let (pid, start) = (whereis(name).unwrap(), now());
            assert_eq!(supervisor.terminate_child(name), Ok(()));
            assert!(!is_alive(pid));
            let took = now() - start;
            assert!(took >= time * SECOND && took < time * SECOND + SECOND / 10, "{name}: {took:?}");
        }
        assert!(now() - before >= 6 * SECOND);
    });
}

#[test]
fn a_brutal_kill_does_not_ask() {
    everywhere(|mailbox| {
        let spec = worker(mailbox, "a").shutdown(Shutdown::BrutalKill);
        let supervisor = Supervisor::one_for_one().child(spec).start_link().unwrap();
        assert_eq!(started(mailbox), "a");
        let pid = whereis("a").unwrap();
        monitor(pid);
        assert_eq!(supervisor.terminate_child("a"), Ok(()));
        assert_eq!(down_of(mailbox, pid), DownReason::Exited(ExitReason::Killed));
        nothing_more(mailbox);
    });
}

/// A child that takes its time to end.
struct Slow(Duration);

impl GenServer for Slow {
    type Message = ();

    fn handle(&mut self, (): (), _: &mut Context<()>) -> Next {
        Next::wait()
    }

    fn terminate(&mut self, _: &ExitReason, _: &mut Context<()>) {
        sleep(self.0);
    }
}

fn slow(id: &'static str, time: Duration) -> ChildSpec {
    ChildSpec::server(id, move || Slow(time).options().trap_exits())
}

#[test]
fn a_child_of_infinite_shutdown_may_take_as_long_as_it_likes() {
    support::systematic::<()>(|_| {
        let spec = slow("slow", 3600 * SECOND).shutdown(Shutdown::Infinity);
        let supervisor = Supervisor::one_for_one().child(spec).start_link().unwrap();
        let before = now();
        assert_eq!(supervisor.terminate_child("slow"), Ok(()));
        assert!(now() - before >= 3600 * SECOND);
    });
}

#[test]
fn a_supervisor_that_waits_for_a_child_answers_and_holds_no_stack_and_keeps_the_rest_for_later() {
    everywhere(|mailbox| {
        let builder = Supervisor::one_for_one().intensity(9, SECOND).child(worker(mailbox, "a"));
        let supervisor = builder.child(slow("slow", SECOND / 10)).start_link().unwrap();
        assert_eq!(started(mailbox), "a");
        let stopper = spawn(move || supervisor.terminate_child("slow").unwrap());
        let slow = supervisor.which_children().unwrap()[1].pid().unwrap();
        eventually("it stops", || process_info(slow).is_none_or(|info| info.has_stack));
        assert!(!process_info(supervisor).unwrap().has_stack);
        assert_eq!(supervisor.count_children().unwrap().specs, 2);
        order("a", Order::Crash);
        assert_eq!(stopped(mailbox).0, "a");
        assert_eq!(started(mailbox), "a");
        assert!(!is_alive(slow), "its restart comes after the stop");
        wait_dead(stopper);
    });
}

#[test]
fn a_parent_that_ends_during_a_restart_ends_the_supervisor_and_nothing_is_started() {
    everywhere(|mailbox| {
        trap_exits(true);
        let builder = Supervisor::one_for_all().intensity(9, SECOND).child(worker(mailbox, "a"));
        let supervisor = builder.child(slow("slow", SECOND / 10)).start_link().unwrap();
        assert_eq!(started(mailbox), "a");
        order("a", Order::Crash);
        assert_eq!(stopped(mailbox).0, "a");
        eventually("it stops slow", || state_of(supervisor, "a") == Some(ChildState::Resting));
        exit(supervisor, ExitReason::Shutdown);
        wait_dead(supervisor.pid());
        let Event::Exit(ended) = event(mailbox) else { panic!("another event") };
        assert_eq!(ended.reason, ExitReason::Shutdown);
        nothing_more(mailbox);
    });
}

#[test]
fn a_killed_supervisor_takes_its_children_with_it() {
    everywhere(|mailbox| {
        trap_exits(true);
        let supervisor = abc(mailbox, Supervisor::one_for_one());
        kill(supervisor);
        let mut names: Vec<_> = (0..3).map(|_| stopped(mailbox)).collect();
        names.sort_by_key(|(name, _)| *name);
        assert_eq!(names, ["a", "b", "c"].map(|name| (name, ExitReason::Killed)));
    });
}

#[test]
fn a_tree_of_supervisors_stops_depth_first_in_reverse_order() {
    everywhere(|mailbox| {
        trap_exits(true);
        let lower = Supervisor::one_for_one().child(worker(mailbox, "c")).child(worker(mailbox, "d"));
        let middle = Supervisor::one_for_one()
            .child(worker(mailbox, "b"))
            .child(ChildSpec::supervisor("lower", lower));
        let top = Supervisor::one_for_one()
            .child(worker(mailbox, "a"))
            .child(ChildSpec::supervisor("middle", middle))
            .child(worker(mailbox, "e"));
        let top = top.start_link().unwrap();
        all_started(mailbox, &["a", "b", "c", "d", "e"]);
        exit(top, ExitReason::Shutdown);
        stopped_by_supervisor(mailbox, &["e", "d", "c", "b", "a"]);
        nothing_more_but_exit(mailbox);
    });
}

fn nothing_more_but_exit(mailbox: &mut Mailbox<Note>) {
    assert!(matches!(event(mailbox), Event::Exit(_)));
    nothing_more(mailbox);
}

// --- significant children ---

#[test]
fn any_significant_child_that_ends_by_itself_ends_the_supervisor() {
    everywhere(|mailbox| {
        let builder = Supervisor::one_for_one().auto_shutdown(AutoShutdown::AnySignificant);
        let builder =
            builder.child(worker(mailbox, "a")).child(worker(mailbox, "s").transient().significant());
        let supervisor = builder.child(worker(mailbox, "t").temporary().significant()).start().unwrap();
        monitor(supervisor);
        all_started(mailbox, &["a", "s", "t"]);
        // A crash of a transient one is a restart, and stopping is not ending by itself.
        order("s", Order::Crash);
        assert_eq!(stopped(mailbox).0, "s");
        assert_eq!(started(mailbox), "s");
        assert_eq!(supervisor.terminate_child("t"), Ok(()));
        stopped_by_supervisor(mailbox, &["t"]);
        nothing_more(mailbox);
        order("s", Order::Finish);
        assert_eq!(stopped(mailbox), ("s", ExitReason::Normal));
        stopped_by_supervisor(mailbox, &["a"]);
        assert_eq!(down_of(mailbox, supervisor.pid()), DownReason::Exited(ExitReason::Shutdown));
    });
}

#[test]
fn all_significant_waits_for_the_last_one() {
    everywhere(|mailbox| {
        let builder = Supervisor::one_for_one().auto_shutdown(AutoShutdown::AllSignificant);
        let builder =
            builder.child(worker(mailbox, "a")).child(worker(mailbox, "s").transient().significant());
        let supervisor = builder.child(worker(mailbox, "t").temporary().significant()).start().unwrap();
        monitor(supervisor);
        all_started(mailbox, &["a", "s", "t"]);
        order("t", Order::Crash);
        assert_eq!(stopped(mailbox).0, "t");
        nothing_more(mailbox);
        order("s", Order::Shutdown);
        assert_eq!(stopped(mailbox).0, "s");
        stopped_by_supervisor(mailbox, &["a"]);
        assert_eq!(down_of(mailbox, supervisor.pid()), DownReason::Exited(ExitReason::Shutdown));
    });
}

// --- descriptions that are wrong ---

#[test]
fn wrong_descriptions_are_errors_before_anything_starts() {
    everywhere(|mailbox| {
        let twice = Supervisor::one_for_one().child(worker(mailbox, "a")).child(worker(mailbox, "a"));
        let duplicate = SpecError::DuplicateId { id: "a".into() };
        assert_eq!(twice.clone().start_link(), Err(StartError::Spec(duplicate.clone())));

        let any = || Supervisor::one_for_one().auto_shutdown(AutoShutdown::AnySignificant);
        let error = any().child(worker(mailbox, "a").significant()).start_link();
        assert_eq!(error, Err(StartError::Spec(SpecError::PermanentSignificant { id: "a".into() })));

        let error =
            Supervisor::one_for_one().child(worker(mailbox, "a").transient().significant()).start_link();
        assert_eq!(
            error,
            Err(StartError::Spec(SpecError::SignificantWithoutAutoShutdown { id: "a".into() }))
        );

        let nested =
            Supervisor::one_for_one().child(worker(mailbox, "b")).child(ChildSpec::supervisor("x", twice));
        let below = SpecError::Below { id: "x".into(), error: Box::new(duplicate) };
        assert_eq!(nested.check(), Err(below.clone()));
        assert_eq!(nested.start_link(), Err(StartError::Spec(below)));
        nothing_more(mailbox);
    });
}

// --- requests ---

#[test]
fn children_are_added_stopped_started_and_deleted_on_request() {
    everywhere(|mailbox| {
        let supervisor = Supervisor::one_for_one().start_link().unwrap();
        let pid = supervisor.start_child(worker(mailbox, "a")).unwrap();
        assert_eq!(started(mailbox), "a");
        assert_eq!(whereis("a"), Some(pid));
        assert_eq!(
            supervisor.start_child(worker(mailbox, "a")),
            Err(ChildError::Duplicate { pid: Some(pid) })
        );
        assert_eq!(supervisor.restart_child("a"), Err(ChildError::Running(pid)));
        assert_eq!(supervisor.delete_child("a"), Err(ChildError::Running(pid)));
        assert_eq!(supervisor.terminate_child("a"), Ok(()));
        assert!(!is_alive(pid));
        assert_eq!(supervisor.terminate_child("a"), Ok(()), "it rests: nothing to do");
        stopped_by_supervisor(mailbox, &["a"]);
        assert_eq!(supervisor.start_child(worker(mailbox, "a")), Err(ChildError::Duplicate { pid: None }));
        let again = supervisor.restart_child("a").unwrap();
        assert_eq!(started(mailbox), "a");
        assert_ne!(again, pid);
        assert_eq!(supervisor.terminate_child("a"), Ok(()));
        assert_eq!(supervisor.delete_child("a"), Ok(()));
        assert_eq!(supervisor.which_children(), Ok(Vec::new()));
        for error in [
            supervisor.terminate_child("a"),
            supervisor.delete_child("a"),
            supervisor.restart_child("a").map(drop),
        ] {
            assert_eq!(error, Err(ChildError::Unknown));
        }
        let wrong = supervisor.start_child(worker(mailbox, "w").significant());
        assert_eq!(wrong, Err(ChildError::Spec(SpecError::PermanentSignificant { id: "w".into() })));
        let fails = ChildSpec::new("f", || Err(StartError::InitFailed(ExitReason::error("no"))));
        let failed = ChildError::Start(StartError::InitFailed(ExitReason::error("no")));
        assert_eq!(supervisor.start_child(fails), Err(failed));
        assert_eq!(supervisor.count_children().unwrap().specs, 0);
    });
}

#[test]
fn many_children_that_come_and_go_keep_their_order() {
    everywhere::<()>(|_| {
        let supervisor = Supervisor::one_for_one().start_link().unwrap();
        let names: Vec<Arc<str>> = (0..300).map(|number| format!("{number}").into()).collect();
        for name in &names {
            supervisor.start_child(ChildSpec::function(name.clone(), || sleep(Duration::MAX))).unwrap();
        }
        let gone = |number: usize| !number.is_multiple_of(5);
        for name in names.iter().enumerate().filter(|(number, _)| gone(*number)).map(|(_, name)| name) {
            supervisor.terminate_child(name.clone()).unwrap();
            supervisor.delete_child(name.clone()).unwrap();
        }
        supervisor.start_child(ChildSpec::function("last", || sleep(Duration::MAX))).unwrap();
        let left: Vec<_> = supervisor.which_children().unwrap().into_iter().map(|child| child.id).collect();
        let mut expected: Vec<_> = names
            .iter()
            .enumerate()
            .filter(|(number, _)| !gone(*number))
            .map(|(_, name)| name.clone())
            .collect();
        expected.push("last".into());
        assert_eq!(left, expected);
        let count = supervisor.count_children().unwrap();
        assert_eq!((count.specs, count.active, count.workers, count.supervisors), (61, 61, 61, 0));
        kill(supervisor.which_children().unwrap()[60].pid().unwrap());
        eventually("the last is restarted", || supervisor.which_children().unwrap()[60].restarts == 1);
    });
}

#[test]
fn a_supervisor_is_found_by_its_name() {
    everywhere::<()>(|_| {
        let supervisor = Supervisor::one_for_one().name("top").start_link().unwrap();
        assert_eq!(Supervisor::named("top"), Ok(supervisor));
        Agent::start_link_named(0, "agent").unwrap();
        assert!(Supervisor::named("agent").is_err());
        assert!(Supervisor::named("nobody").is_err());
    });
}

#[test]
fn a_child_that_is_not_linked_is_linked_by_the_supervisor() {
    everywhere::<()>(|_| {
        let spec = ChildSpec::new("free", || Ok(Agent::start(0)?.pid()));
        let supervisor = Supervisor::one_for_one().child(spec).start_link().unwrap();
        kill(supervisor.which_children().unwrap()[0].pid().unwrap());
        eventually("it is restarted", || supervisor.which_children().unwrap()[0].restarts == 1);
    });
}

#[test]
fn an_idle_supervisor_holds_no_stack() {
    everywhere(|mailbox| {
        let supervisor = abc(mailbox, Supervisor::one_for_all());
        assert_eq!(supervisor.count_children().unwrap().active, 3);
        assert!(!process_info(supervisor).unwrap().has_stack);
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

// --- the user's code in between ---

#[test]
fn calls_to_a_child_work_across_its_restart_by_name() {
    everywhere::<()>(|_| {
        let spec = ChildSpec::new("counter", || Ok(Agent::start_link_named(7_u32, "counter")?.pid()));
        let _supervisor = Supervisor::one_for_one().child(spec).start_link().unwrap();
        let ask = || Agent::<u32>::named("counter").ok().and_then(|agent| agent.get(|number| *number).ok());
        assert_eq!(ask(), Some(7));
        Agent::<u32>::named("counter").unwrap().cast(|_| panic!("bad request"));
        eventually("it answers again", || ask() == Some(7));
    });
}

#[test]
fn a_starter_killed_meanwhile_leaves_nothing() {
    everywhere(|mailbox| {
        let hangs = ChildSpec::new("hangs", || {
            sleep(Duration::MAX);
            unreachable!("it hangs")
        });
        let builder = Supervisor::one_for_one().child(worker(mailbox, "a")).child(hangs).name("half");
        let starter = spawn(move || drop(builder.start_link()));
        assert_eq!(started(mailbox), "a");
        let child = whereis("a").unwrap();
        kill(starter);
        // The supervisor hangs in its child's start and cannot hear of it; who kills it kills all.
        kill(whereis("half").unwrap());
        wait_dead(child);
    });
}

#[test]
fn messages_of_a_timer_reach_children_by_address() {
    everywhere(|mailbox| {
        let supervisor = abc(mailbox, Supervisor::one_for_one());
        let address: Address<Order> = engset_runtime::lookup("a").unwrap();
        send_after(SECOND / 100, address, Order::Finish);
        assert_eq!(stopped(mailbox), ("a", ExitReason::Normal));
        assert_eq!(started(mailbox), "a");
        assert_eq!(supervisor.which_children().unwrap()[0].restart, Restart::Permanent);
    });
}
