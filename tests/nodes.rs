//! Several nodes in one OS process, and the way from `main` into one.

#![allow(
    clippy::disallowed_methods,
    reason = "tests and benchmarks look at the real clock and block real threads"
)]

mod support;

use engset::{
    Address, CallError, Config, DownReason, Event, ExitReason, Mailbox, MonitorRef, Node, Pid, Received,
    Reply, RunError, demonitor, exit, exit_self, is_alive, kill, link, monitor, process_info, run_with,
    send_after, sleep, spawn, trap_exits,
};
use std::{
    sync::mpsc::{self, Receiver},
    time::Duration,
};
use support::{boom, down_of, exit_of, in_child, wait_until_outside};

fn node() -> Node {
    Node::start(Config::new().workers(1)).expect("a node")
}

/// Runs `f` in a process of `node` and returns its value.
#[track_caller]
fn on<T: Send + 'static, M: Send + 'static>(
    node: &Node,
    f: impl FnOnce(Mailbox<M>) -> T + Send + 'static,
) -> T {
    let value = later(node, f);
    value.recv_timeout(support::DEADLINE / 2).expect("the process returns a value")
}

fn later<T: Send + 'static, M: Send + 'static>(
    node: &Node,
    f: impl FnOnce(Mailbox<M>) -> T + Send + 'static,
) -> Receiver<T> {
    let (tell, told) = mpsc::channel();
    let body = move |mailbox: Mailbox<M>| {
        // Whoever does not wait any more does not want it.
        let _ = tell.send(f(mailbox));
    };
    node.spawn(body).expect("a process");
    told
}

fn doubler(node: &Node) -> Address<(u32, Reply<u32>)> {
    let body = |mut mailbox: Mailbox<(u32, Reply<u32>)>| {
        loop {
            let (number, reply) = mailbox.message();
            reply.send(2 * number);
        }
    };
    node.spawn(body).expect("a process")
}

#[test]
fn messages_between_nodes_arrive_in_order() {
    let (one, two) = (node(), node());
    assert_ne!(one.id(), two.id());
    let receiver = later(&two, |mut mailbox: Mailbox<u32>| {
        engset::register_mailbox("receiver", &mailbox).expect("free");
        (0..1000).all(|number| mailbox.message() == number)
    });
    wait_until_outside(|| two.whereis("receiver").is_some());
    let address = two.lookup::<u32>("receiver").expect("it is there");
    on(&one, move |_: Mailbox<()>| (0..1000).for_each(|number| address.send(number)));
    assert_eq!(receiver.recv_timeout(support::DEADLINE), Ok(true));
    assert!(one.stop());
    assert!(two.stop());
}

#[test]
fn calls_work_between_nodes() {
    let (one, two) = (node(), node());
    let server = doubler(&two);
    let sum = on(&one, move |_: Mailbox<()>| -> u32 {
        (0..200).map(|number| server.call(|reply| (number, reply)).expect("an answer")).sum()
    });
    assert_eq!(sum, 2 * 199 * 100);
    assert!(one.stop() & two.stop());
}

#[test]
fn a_call_to_a_node_that_is_much_older_is_not_taken_for_expired() {
    let old = node();
    let server = doubler(&old);
    wait_until_outside(|| old.uptime() > Duration::from_millis(1500));
    let young = node();
    let result =
        on(&young, move |_: Mailbox<()>| server.call_timeout(|reply| (1, reply), Duration::from_secs(1)));
    assert_eq!(result, Ok(2), "each node counts time from its own start");
    assert!(old.stop() & young.stop());
}

#[test]
fn a_call_from_an_older_node_expires_all_the_same() {
    let old = node();
    wait_until_outside(|| old.uptime() > Duration::from_millis(1500));
    let young = node();
    let (begin, gate) = mpsc::channel::<()>();
    let server = young.spawn(move |mut mailbox: Mailbox<Reply<u32>>| {
        engset::blocking(move || gate.recv()).expect("the test begins");
        for count in 1.. {
            mailbox.message().send(count);
        }
    });
    let server = server.expect("a process");
    let short = Duration::from_millis(20);
    let result = on(&old, move |_: Mailbox<()>| server.call_timeout(|reply| reply, short));
    assert_eq!(result, Err(CallError::Timeout(short)));
    std::thread::sleep(2 * short);
    begin.send(()).expect("it waits");
    let result = on(&young, move |_: Mailbox<()>| server.call(|reply| reply));
    assert_eq!(result, Ok(1), "the first request had expired");
    assert!(old.stop() & young.stop());
}

#[test]
fn monitors_links_and_exits_work_between_nodes() {
    let (one, two) = (node(), node());
    let far = two.spawn(|| sleep(Duration::MAX)).expect("a process");
    let reason = on(&one, move |mut mailbox: Mailbox<()>| {
        let reference = monitor(far);
        assert!(is_alive(far));
        exit(far, boom());
        down_of(&mut mailbox, reference).reason
    });
    assert_eq!(reason, DownReason::Exited(boom()));
    let reason = on(&one, move |mut mailbox: Mailbox<()>| {
        let reference = monitor(far);
        down_of(&mut mailbox, reference).reason
    });
    assert_eq!(reason, DownReason::NoProc);
    let far = two.spawn(|| sleep(Duration::MAX)).expect("a process");
    let reason = on(&one, move |mut mailbox: Mailbox<()>| {
        trap_exits(true);
        link(far);
        assert_eq!(process_info(far).expect("it lives").links, [engset::self_pid()]);
        kill(far);
        exit_of(&mut mailbox, far).reason
    });
    assert_eq!(reason, ExitReason::Killed);
    let far = two.spawn(|| sleep(Duration::MAX)).expect("a process");
    on(&one, move |_: Mailbox<()>| {
        link(far);
        engset::is_alive(far)
    });
    assert!(
        one.spawn(move || {
            link(far);
            exit_self(boom());
        })
        .is_ok()
    );
    wait_until_outside(|| !two.is_alive(far));
    assert!(one.stop() & two.stop());
}

#[test]
fn monitors_of_watchers_on_different_nodes_do_not_meet() {
    // The references of two nodes may be the same number.
    let (one, two, three) = (node(), node(), node());
    let target = three.spawn(|| sleep(Duration::MAX)).expect("a process");
    let watch = |node: &Node, forget: bool| {
        let (set, is_set) = mpsc::channel();
        let down = later(node, move |mut mailbox: Mailbox<()>| {
            let reference: MonitorRef = monitor(target);
            assert!(is_alive(target));
            if forget {
                assert!(demonitor(reference, true));
                assert!(is_alive(target));
            }
            set.send(()).expect("the test waits");
            if forget { DownReason::NoProc } else { down_of(&mut mailbox, reference).reason }
        });
        is_set.recv_timeout(support::DEADLINE).expect("it is set");
        down
    };
    let stays = watch(&one, false);
    let _goes = watch(&two, true);
    kill(target);
    let down = stays.recv_timeout(Duration::from_secs(10));
    assert_eq!(down, Ok(DownReason::Exited(ExitReason::Killed)), "another node's demonitor has ended it");
    assert!(one.stop() & two.stop() & three.stop());
}

#[test]
fn a_monitor_over_nodes_fires_when_the_other_node_stops() {
    let (one, two) = (node(), node());
    let far = two.spawn(|| sleep(Duration::MAX)).expect("a process");
    let (set, is_set) = mpsc::channel();
    let down = later(&one, move |mut mailbox: Mailbox<()>| {
        let reference = monitor(far);
        assert!(is_alive(far));
        set.send(()).expect("the test waits");
        down_of(&mut mailbox, reference).reason
    });
    is_set.recv_timeout(support::DEADLINE).expect("it is set");
    assert!(two.stop());
    let reason = down.recv_timeout(support::DEADLINE).expect("it fires");
    assert!(matches!(reason, DownReason::Exited(ExitReason::Killed) | DownReason::NoConnection), "{reason}");
    assert!(one.stop());
}

#[test]
fn a_call_over_nodes_ends_when_the_other_node_stops() {
    let (one, two) = (node(), node());
    let deaf = two.spawn(|_: Mailbox<Reply<()>>| sleep(Duration::MAX)).expect("a process");
    let result = later(&one, move |_: Mailbox<()>| deaf.call_timeout(|reply| reply, Duration::MAX));
    wait_until_outside(|| two.mailbox_len(deaf) == Some(1));
    assert!(two.stop());
    let result = result.recv_timeout(support::DEADLINE).expect("it ends");
    assert!(matches!(result, Err(CallError::Down(_))), "{result:?}");
    assert!(one.stop());
}

#[test]
fn names_and_processes_belong_to_one_node() {
    let (one, two) = (node(), node());
    on(&one, |_: Mailbox<()>| {
        spawn(|| {
            engset::register("here").expect("free");
            sleep(Duration::MAX);
        });
        support::wait_until(|| engset::whereis("here").is_some());
    });
    assert!(one.whereis("here").is_some());
    assert_eq!(two.whereis("here"), None);
    let pid = one.whereis("here").expect("it is there");
    assert!(one.is_alive(pid) && !two.is_alive(pid));
    assert_eq!(pid.node(), one.id());
    assert!(one.stop());
    assert!(!one.is_alive(pid));
    assert!(two.stop());
}

#[test]
fn a_timer_for_a_process_of_another_node_works() {
    let (one, two) = (node(), node());
    let told = later(&two, |mut mailbox: Mailbox<u32>| {
        engset::register_mailbox("target", &mailbox).expect("free");
        mailbox.message()
    });
    wait_until_outside(|| two.whereis("target").is_some());
    let target = two.lookup::<u32>("target").expect("it is there");
    on(&one, move |_: Mailbox<()>| {
        let cancelled = send_after(Duration::from_secs(60), target, 1);
        assert!(cancelled.cancel().is_some());
        send_after(Duration::from_millis(2), target, 7);
        sleep(Duration::from_millis(10));
    });
    assert_eq!(told.recv_timeout(support::DEADLINE), Ok(7));
    assert!(one.stop() & two.stop());
}

#[test]
fn a_shutdown_kills_all_and_says_so() {
    let node = Node::start(Config::new().workers(2)).expect("a node");
    let pids: Vec<Pid> = (0..500).map(|_| node.spawn(|| sleep(Duration::MAX)).expect("a process")).collect();
    assert_eq!(node.processes().len(), 500);
    assert!(node.stop());
    assert!(pids.iter().all(|pid| !node.is_alive(*pid)));
    assert!(node.processes().is_empty());
}

#[test]
fn processes_that_spawn_others_for_ever_do_not_keep_a_node_alive() {
    fn breed() {
        spawn(breed);
        spawn(|| sleep(Duration::from_micros(50)));
    }
    let node = Node::start(Config::new().workers(2)).expect("a node");
    for _ in 0..5 {
        node.spawn(breed).expect("a process");
    }
    std::thread::sleep(Duration::from_millis(20));
    assert!(node.stop());
}

#[test]
fn nodes_can_come_and_go_many_times() {
    for round in 0..100 {
        let node = node();
        let server = doubler(&node);
        assert_eq!(server.call(|reply| (round, reply)), Ok(2 * round));
        assert!(node.stop());
    }
}

#[test]
fn run_returns_the_value_of_the_first_process() {
    assert_eq!(run_with(Config::new().workers(2), || 6 * 7).expect("it runs"), 42);
    assert_eq!(run_with(Config::new().seed(1_u64), || 6 * 7).expect("it runs"), 42);
}

#[test]
fn a_first_process_that_crashes_is_an_error_with_its_reason() {
    for config in [Config::new().workers(2), Config::new().seed(1_u64)] {
        match run_with(config.clone(), || panic!("first and last")) {
            Err(RunError::Crashed(reason)) => {
                assert_eq!(reason.panic().expect("a panic").message, "first and last")
            }
            other => panic!("{other:?}"),
        }
        match run_with(config, || exit_self(boom())) {
            Err(RunError::Crashed(reason)) => assert_eq!(reason, boom()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn when_the_first_process_has_ended_the_others_are_killed() {
    let drops = support::counter();
    let count = std::sync::Arc::clone(&drops);
    let result = run_with(Config::new().workers(2), move || {
        for _ in 0..20 {
            let count = std::sync::Arc::clone(&count);
            let guard = support::OnDrop(move || {
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            });
            spawn(move || {
                let _guard = guard;
                sleep(Duration::MAX);
            });
        }
    });
    assert!(result.is_ok());
    assert_eq!(drops.load(std::sync::atomic::Ordering::SeqCst), 20);
}

#[test]
fn a_setting_of_the_environment_that_cannot_be_read_is_an_error_of_run() {
    if support::child_part().is_some() {
        let error = engset::run(|| ()).unwrap_err();
        assert!(matches!(error, RunError::Config(_)), "{error}");
        assert!(
            error.to_string().contains("found string \"many\" (environment variable ENGSET_WORKERS)"),
            "{error}"
        );
        return;
    }
    let name = "a_setting_of_the_environment_that_cannot_be_read_is_an_error_of_run";
    let binary = std::env::current_exe().expect("the test binary");
    let mut command = std::process::Command::new(binary);
    command.args([name, "--exact"]).env("ENGSET_CHILD", "run").env("ENGSET_WORKERS", "many");
    assert!(command.status().expect("it runs").success());
    // And without it the child fails, so the test does look.
    let (status, _) = in_child(name, "run");
    assert!(!status.success());
}

#[test]
fn events_of_one_node_do_not_come_to_another() {
    let (one, two) = (node(), node());
    let silent =
        later(&one, |mut mailbox: Mailbox<()>| mailbox.receive_timeout(Duration::from_millis(50)).is_none());
    let own = on(&two, |mut mailbox: Mailbox<()>| {
        let (pid, reference) = engset::spawn_monitor(|| ());
        matches!(mailbox.receive(), Received::Event(Event::Down(down)) if down.reference == reference && down.pid == pid)
    });
    assert!(own);
    assert_eq!(silent.recv_timeout(support::DEADLINE), Ok(true));
    assert!(one.stop() & two.stop());
}
