//! What a supervisor is asked to do, what descriptions it refuses, and the user's code in between.

use super::*;

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
