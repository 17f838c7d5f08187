//! The end: of children, of the supervisor, in which order, and whose end ends all.

use super::*;

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
