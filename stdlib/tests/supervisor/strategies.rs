//! Who is restarted with whom, and who is restarted at all.

use super::*;

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
