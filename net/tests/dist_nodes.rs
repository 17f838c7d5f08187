//! Nodes in a simulated network: what works with a process here works with a process there, and what cannot work says so.

use engset_net::dist::{
    Distribution, Relation, RemoteError, RequestError,
    simulation::{Member, Simulation},
};
use engset_runtime::{
    Address, CallError, DownReason, Event, ExitReason, Mailbox, Pid, Received, Reply, demonitor, exit,
    is_alive, kill, link, monitor, process_info, reductions_left, register_mailbox,
    remote::{Local, Remote, register},
    self_pid, sleep, spawn, trap_exits, unlink, yield_now,
};
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);
const A: &str = "a@one";
const B: &str = "b@two";

#[derive(Serialize, Deserialize)]
enum Request {
    Double(u32, Reply<u32>),
    Forget(Reply<u32>),
    Keep(Reply<u32>),
    Bytes(Vec<u8>, Reply<usize>),
    Tell(Address<u32>, u32),
    Crash,
    Stuck(Local<u32>),
    Deep(Box<Nest>),
    Pid(Reply<Pid>),
    Huge(usize, Reply<Vec<u8>>),
}

#[derive(Serialize, Deserialize)]
struct Nest(u8, Option<Box<Nest>>);

impl Remote for Request {
    const NAME: &'static str = "tests.Request";
}

fn server(mut mailbox: Mailbox<Request>) {
    let mut kept = Vec::new();
    register_mailbox("server", &mailbox).expect("the name is free");
    loop {
        match mailbox.message() {
            Request::Double(number, reply) => reply.send(2 * number),
            Request::Forget(reply) => drop(reply),
            Request::Keep(reply) => kept.push(reply),
            Request::Bytes(bytes, reply) => reply.send(bytes.len()),
            Request::Tell(to, number) => to.send(number),
            Request::Crash => panic!("as asked"),
            Request::Stuck(_) | Request::Deep(_) => panic!("it does not come"),
            Request::Pid(reply) => reply.send(self_pid()),
            Request::Huge(size, reply) => reply.send(vec![0; size]),
        }
    }
}

/// Runs `main` in a process of the first of two nodes; the second has a server.
#[track_caller]
fn two_nodes<T: Send + 'static>(main: impl FnOnce(&Distribution, Mailbox<u32>) -> T + Send + 'static) -> T {
    let (mut simulation, a, _) = pair(7);
    run_in(&mut simulation, &a, main)
}

fn pair(seed: u64) -> (Simulation, Member, Member) {
    let mut simulation = Simulation::new(seed);
    register::<Request>();
    let a = simulation.start(A).expect("a node");
    let b = simulation.start(B).expect("a node");
    b.node.spawn(server).expect("a process");
    (simulation, a, b)
}

#[track_caller]
fn run_in<T: Send + 'static>(
    simulation: &mut Simulation,
    at: &Member,
    main: impl FnOnce(&Distribution, Mailbox<u32>) -> T + Send + 'static,
) -> T {
    let result = begin(at, main);
    assert!(simulation.run(600 * SECOND, || result.lock().unwrap().is_some()), "it does not end");
    let value = result.lock().unwrap().take();
    value.expect("it is there")
}

type Slot<T> = Arc<Mutex<Option<T>>>;

fn begin<T: Send + 'static>(
    at: &Member,
    main: impl FnOnce(&Distribution, Mailbox<u32>) -> T + Send + 'static,
) -> Slot<T> {
    let result = Arc::new(Mutex::new(None));
    let (slot, distribution) = (Arc::clone(&result), at.distribution.clone());
    let body = move |mailbox: Mailbox<u32>| {
        let value = main(&distribution, mailbox);
        *slot.lock().unwrap() = Some(value);
    };
    at.node.spawn(body).expect("a process");
    result
}

fn find(distribution: &Distribution) -> Address<Request> {
    distribution.lookup(B, "server").expect("it is there")
}

fn event(mailbox: &mut Mailbox<u32>) -> Event {
    match mailbox.receive_timeout(100 * SECOND) {
        Some(Received::Event(event)) => event,
        other => panic!("no event: {other:?}"),
    }
}

fn down(mailbox: &mut Mailbox<u32>) -> DownReason {
    match event(mailbox) {
        Event::Down(down) => down.reason,
        other => panic!("{other:?}"),
    }
}

fn exit_reason(mailbox: &mut Mailbox<u32>) -> ExitReason {
    match event(mailbox) {
        Event::Exit(exit) => exit.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_to_another_node_is_answered() {
    assert_eq!(two_nodes(|all, _| find(all).call(|reply| Request::Double(21, reply))), Ok(42));
}

#[test]
fn addresses_and_pids_travel_and_lead_back() {
    two_nodes(|all, mut mailbox| {
        let server = find(all);
        server.send(Request::Tell(mailbox.address(), 7));
        assert_eq!(mailbox.message(), 7);
        // To itself, over the other node: a pid that comes home is a local one.
        assert_eq!(server.call(Request::Pid), Ok(server.pid()));
        assert_ne!(server.pid().node(), self_pid().node());
    });
}

#[test]
fn a_forgotten_reply_and_a_crash_end_a_call_at_once() {
    two_nodes(|all, _| {
        let server = find(all);
        assert_eq!(server.call(Request::Forget), Err(CallError::NoReply));
        let before = engset_runtime::now();
        let waiting = spawn(move |mut mailbox: Mailbox<u32>| {
            let result = server.call(Request::Keep);
            assert!(
                matches!(result, Err(CallError::Down(DownReason::Exited(ExitReason::Panic(_))))),
                "{result:?}"
            );
            mailbox.message();
        });
        sleep(SECOND);
        server.send(Request::Crash);
        sleep(SECOND);
        assert!(is_alive(waiting), "its assertion holds");
        let result = server.call(|reply| Request::Double(1, reply));
        assert_eq!(result, Err(CallError::Down(DownReason::NoProc)));
        assert!(engset_runtime::now() - before < 3 * SECOND);
    });
}

#[test]
fn a_call_that_nobody_answers_times_out() {
    two_nodes(|all, _| {
        let server = find(all);
        assert_eq!(server.call_timeout(Request::Keep, SECOND), Err(CallError::Timeout(SECOND)));
        assert_eq!(server.call(|reply| Request::Double(1, reply)), Ok(2));
    });
}

#[test]
fn large_messages_arrive() {
    two_nodes(|all, _| {
        let server = find(all);
        for size in [0, 1000, 40_000, 100_000, 3 << 20] {
            assert_eq!(server.call(|reply| Request::Bytes(vec![7; size], reply)), Ok(size));
        }
    });
}

#[test]
fn what_is_too_large_for_the_other_node_is_refused_at_once() {
    use engset_net::dist::{Config, Secret, session::Settings};
    let mut simulation = Simulation::new(29);
    register::<Request>();
    let config = |name| {
        let settings = Settings { max_packet: 100_000, ..Settings::default() };
        Config::new(name, Secret::new("simulation")).settings(settings)
    };
    let a = simulation.start_with(config(A), A).expect("a node");
    let b = simulation.start_with(config(B), B).expect("a node");
    b.node.spawn(server).expect("a process");
    run_in(&mut simulation, &a, |all, _| {
        let server = find(all);
        let before = engset_runtime::now();
        assert!(server.call(|reply| Request::Bytes(vec![0; 100_000], reply)).is_err());
        assert_eq!(server.call(|reply| Request::Huge(100_000, reply)), Err(CallError::NoReply));
        assert!(engset_runtime::now() - before < SECOND);
        assert_eq!(server.call(|reply| Request::Huge(90_000, reply)), Ok(vec![0; 90_000]));
        assert_eq!(all.counters(B).dropped, 1);
    });
}

#[test]
fn monitors_tell_what_has_happened() {
    two_nodes(|all, mut mailbox| {
        let server = find(all);
        let reference = monitor(server);
        assert!(is_alive(server));
        assert!(demonitor(reference, true));
        monitor(server);
        server.send(Request::Crash);
        assert!(matches!(down(&mut mailbox), DownReason::Exited(ExitReason::Panic(_))));
        monitor(server);
        assert_eq!(down(&mut mailbox), DownReason::NoProc);
        assert!(mailbox.receive_timeout(20 * SECOND).is_none(), "each fires once");
    });
}

#[test]
fn links_work_in_both_directions() {
    two_nodes(|all, mut mailbox| {
        trap_exits(true);
        let server = find(all);
        link(server);
        unlink(server);
        link(server);
        assert_eq!(process_info(server).expect("it lives").links, [self_pid()]);
        exit(server, ExitReason::error("enough"));
        assert_eq!(exit_reason(&mut mailbox), ExitReason::error("enough"));
        link(server);
        assert_eq!(exit_reason(&mut mailbox), ExitReason::NoProc);
        assert!(mailbox.receive_timeout(20 * SECOND).is_none());
    });
    two_nodes(|all, mut mailbox| {
        let server = find(all);
        monitor(server);
        let linked = spawn(move || {
            link(server);
            sleep(SECOND);
            engset_runtime::exit_self(ExitReason::error("with it"));
        });
        assert_eq!(down(&mut mailbox), DownReason::Exited(ExitReason::error("with it")));
        assert!(!is_alive(linked));
    });
}

#[test]
fn a_process_is_killed_from_elsewhere() {
    two_nodes(|all, mut mailbox| {
        let server = find(all);
        monitor(server);
        kill(server);
        assert_eq!(down(&mut mailbox), DownReason::Exited(ExitReason::Killed));
        assert_eq!(process_info(server), None);
    });
}

#[test]
fn a_lookup_says_why_it_fails() {
    #[derive(Serialize, Deserialize)]
    struct Other;
    impl Remote for Other {
        const NAME: &'static str = "tests.Other";
    }
    two_nodes(|all, _| {
        let refused = |error| Err(RemoteError::Refused(error));
        assert_eq!(all.lookup::<Request>(B, "nobody"), refused(RequestError::UnknownName));
        find(all);
        let takes = Request::NAME.to_owned();
        let other = all.lookup::<Other>(B, "server").map(|other| other.pid());
        assert_eq!(other, Err(RemoteError::Refused(RequestError::WrongType { takes })));
        let error = all.lookup::<Request>("c@nowhere", "server").unwrap_err();
        assert_eq!(error, RemoteError::Call(CallError::Down(DownReason::NoConnection)));
    });
}

#[test]
fn entry_points_are_spawned_from_elsewhere() {
    let (mut simulation, a, b) = pair(3);
    b.distribution.export("fail", |why: String| {
        engset_runtime::exit_self(ExitReason::error(why));
    });
    b.distribution.export("wait", |seconds: u64| sleep(Duration::from_secs(seconds)));
    run_in(&mut simulation, &a, |all, mut mailbox| {
        trap_exits(true);
        let both = Relation { link: true, monitor: true };
        for round in 0..20 {
            // It may be dead before the answer is here.
            let (child, reference) =
                all.spawn(B, "fail", &format!("round {round}"), both).expect("a process");
            let reason = ExitReason::error(format!("round {round}"));
            let (mut exits, mut downs) = (0, 0);
            for _ in 0..2 {
                match event(&mut mailbox) {
                    Event::Exit(exit) if exit.from == child && exit.reason == reason => exits += 1,
                    Event::Down(down) if Some(down.reference) == reference && down.pid == child => {
                        assert_eq!(down.reason, DownReason::Exited(reason.clone()));
                        downs += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!((exits, downs), (1, 1));
        }
        let (child, none) = all.spawn(B, "wait", &1000_u64, Relation::default()).expect("a process");
        assert!(is_alive(child) && none.is_none());
        let refused = |error| Err(RemoteError::Refused(error));
        assert_eq!(all.spawn(B, "system", &"rm -rf /", both), refused(RequestError::UnknownEntry));
        let bad = all.spawn(B, "wait", &"not a number", both);
        assert!(matches!(bad, Err(RemoteError::Refused(RequestError::BadArgument(_)))), "{bad:?}");
        assert!(mailbox.receive_timeout(20 * SECOND).is_none());
    });
}

#[test]
fn what_cannot_travel_is_dropped_and_nothing_else() {
    let (mut simulation, a, _) = pair(5);
    run_in(&mut simulation, &a, |all, _| {
        let server = find(all);
        server.send(Request::Stuck(Local(1)));
        // Deeper than allowed: refused there, before it is decoded.
        let nest = (0..100).fold(Nest(0, None), |inner, _| Nest(0, Some(Box::new(inner))));
        server.send(Request::Deep(Box::new(nest)));
        assert_eq!(server.call(|reply| Request::Double(3, reply)), Ok(6));
    });
}

#[test]
fn an_abrupt_end_of_a_connection_ends_links_and_monitors_once_and_then_the_node_is_down() {
    for quietly in [false, true] {
        let (mut simulation, a, _) = pair(11);
        let ready = Arc::new(Mutex::new(false));
        let is_ready = Arc::clone(&ready);
        let result = begin(&a, move |all, mut mailbox| {
            trap_exits(true);
            all.monitor_nodes(true);
            let server = find(all);
            let Event::NodeUp(up) = event(&mut mailbox) else { panic!("no nodeup") };
            assert_eq!((&*up.name, up.id), (B, server.pid().node()));
            link(server);
            monitor(server);
            monitor(server);
            let calling = spawn(move |mut mailbox: Mailbox<u32>| {
                let lost = server.call_timeout(Request::Keep, Duration::MAX);
                assert_eq!(lost, Err(CallError::Down(DownReason::NoConnection)));
                mailbox.message();
            });
            assert!(is_alive(server));
            *is_ready.lock().unwrap() = true;
            let mut events: Vec<Event> = (0..4).map(|_| event(&mut mailbox)).collect();
            let Some(Event::NodeDown(down)) = events.pop() else {
                panic!("nodedown is not the last: {events:?}")
            };
            assert_eq!(down.id, server.pid().node());
            let exits = events.iter().filter(
                |event| matches!(event, Event::Exit(exit) if exit.reason == ExitReason::NoConnection),
            );
            assert_eq!(exits.count(), 1);
            let downs = events.iter().filter(
                |event| matches!(event, Event::Down(down) if down.reason == DownReason::NoConnection),
            );
            assert_eq!(downs.count(), 2);
            assert!(is_alive(calling), "its assertion holds");
            assert!(mailbox.receive_timeout(3 * SECOND).is_none());
            monitor(server);
            assert_eq!(self::down(&mut mailbox), DownReason::NoConnection);
        });
        assert!(simulation.run(100 * SECOND, || *ready.lock().unwrap()));
        let cut = simulation.now();
        simulation.cut(A, B);
        simulation.cut(B, A);
        if !quietly {
            simulation.reset(A, B);
        }
        assert!(simulation.run(100 * SECOND, || result.lock().unwrap().is_some()));
        assert!(simulation.now() - cut < 20 * SECOND);
    }
}

#[test]
fn a_node_that_was_restarted_is_another_one() {
    for quietly in [false, true] {
        let (mut simulation, a, _) = pair(13);
        let step: Slot<u32> = Arc::new(Mutex::new(Some(0)));
        let steps = Arc::clone(&step);
        let result = begin(&a, move |all, mut mailbox| {
            all.monitor_nodes(true);
            let old = find(all);
            assert!(matches!(event(&mut mailbox), Event::NodeUp(_)));
            monitor(old);
            assert!(is_alive(old));
            *steps.lock().unwrap() = Some(1);
            let reason = down(&mut mailbox);
            assert!(reason != DownReason::NoProc, "{reason}");
            assert!(matches!(event(&mut mailbox), Event::NodeDown(_)));
            let new = loop {
                match all.lookup::<Request>(B, "server") {
                    Ok(new) => break new,
                    Err(_) => sleep(SECOND),
                }
            };
            assert!(matches!(event(&mut mailbox), Event::NodeUp(_)));
            assert_ne!(old.pid().node(), new.pid().node());
            assert_eq!(
                old.call(|reply| Request::Double(1, reply)),
                Err(CallError::Down(DownReason::NodeRestarted))
            );
            monitor(old);
            assert_eq!(down(&mut mailbox), DownReason::NodeRestarted);
            assert!(!is_alive(old) && is_alive(new));
            assert_eq!(new.call(|reply| Request::Double(4, reply)), Ok(8));
        });
        assert!(simulation.run(100 * SECOND, || *step.lock().unwrap() == Some(1)));
        let b = simulation.restart(B, quietly).expect("a node");
        b.node.spawn(server).expect("a process");
        assert!(simulation.run(200 * SECOND, || result.lock().unwrap().is_some()));
    }
}

#[test]
fn a_sender_that_is_too_fast_waits_and_loses_nothing() {
    let (mut simulation, a, b) = pair(17);
    let count = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&count);
    b.node
        .spawn(move |mut mailbox: Mailbox<Vec<u8>>| {
            register_mailbox("sink", &mailbox).expect("free");
            for expected in 0.. {
                let bytes = mailbox.message();
                assert_eq!(bytes[..4], u32::to_le_bytes(expected), "in order");
                *counted.lock().unwrap() += 1;
            }
        })
        .expect("a process");
    let counters = run_in(&mut simulation, &a, |all, _| {
        register::<Vec<u8>>();
        let sink: Address<Vec<u8>> = all.lookup(B, "sink").expect("it is there");
        for number in 0..5000_u32 {
            let mut bytes = number.to_le_bytes().to_vec();
            bytes.resize(1000 * (1 + number as usize % 3), 0);
            sink.send(bytes);
        }
        all.counters(B)
    });
    assert!(counters.suspended > 0, "{counters:?}");
    assert_eq!((counters.sent, counters.dropped), (5000, 0));
    assert!(simulation.run(100 * SECOND, || *count.lock().unwrap() == 5000));
    assert_eq!(b.distribution.counters(A).received, 5000);
}

#[test]
fn both_may_dial_at_once() {
    for seed in 0..50 {
        let (mut simulation, a, b) = pair(seed);
        let from_a = begin(&a, |all, _| all.connect(B));
        let from_b = begin(&b, |all, _| all.connect(A));
        let done = || from_a.lock().unwrap().is_some() && from_b.lock().unwrap().is_some();
        assert!(simulation.run(30 * SECOND, done));
        assert_eq!(*from_a.lock().unwrap(), Some(Ok(())), "seed {seed}");
        assert_eq!(*from_b.lock().unwrap(), Some(Ok(())), "seed {seed}");
        simulation.run_for(30 * SECOND);
        assert_eq!((a.distribution.nodes().len(), b.distribution.nodes().len()), (1, 1), "seed {seed}");
    }
}

#[test]
fn an_idle_connection_stays() {
    let (mut simulation, a, _) = pair(19);
    run_in(&mut simulation, &a, |all, mut mailbox| {
        all.monitor_nodes(true);
        find(all);
        assert!(matches!(event(&mut mailbox), Event::NodeUp(_)));
        assert!(mailbox.receive_timeout(300 * SECOND).is_none());
        all.disconnect(B);
        let Event::NodeDown(down) = event(&mut mailbox) else { panic!("no nodedown") };
        assert_eq!(&*down.why, "disconnected");
    });
}

#[test]
fn a_message_to_another_node_costs_more_than_one_to_a_neighbour() {
    two_nodes(|all, mailbox| {
        let (server, me) = (find(all), mailbox.address());
        let price = |send: &dyn Fn()| {
            yield_now();
            let before = reductions_left();
            send();
            before - reductions_left()
        };
        assert_eq!(price(&|| me.send(1)), 1);
        let there = price(&|| server.send(Request::Tell(me, 7)));
        assert!((20..100).contains(&there), "{there}");
    });
}
