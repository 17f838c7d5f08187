//! Names on other nodes, nodes that see each other, hidden ones, and types that are not the same on both sides.

mod simulated;

use engset_net::dist::{Config, Distribution, RemoteError, RequestError, Secret, simulation::Simulation};
use engset_runtime::{
    CallError, DownReason, Event, Mailbox, Received, Reply, Undecodable, is_alive, kill, monitor,
    process_info, register_mailbox,
    remote::{self, Remote, register},
    self_pid, sleep, spawn, trap_exits,
};
use serde::{Deserialize, Serialize};
use simulated::{SECOND, begin, run_in};
use std::time::Duration;

const A: &str = "a@one";
const B: &str = "b@two";
const C: &str = "c@three";

#[derive(Serialize, Deserialize)]
enum Request {
    Double(u32, Reply<u32>),
    Forget(Reply<u32>),
    Note(u32),
    Notes(Reply<Vec<u32>>),
}

impl Remote for Request {
    const NAME: &'static str = "tests.names.Request";
}

fn server(mut mailbox: Mailbox<Request>) {
    register_mailbox("server", &mailbox).expect("the name is free");
    let mut notes = Vec::new();
    loop {
        match mailbox.message() {
            Request::Double(number, reply) => reply.send(2 * number),
            Request::Forget(reply) => drop(reply),
            Request::Note(note) => notes.push(note),
            Request::Notes(reply) => reply.send(notes.clone()),
        }
    }
}

fn config(name: &str) -> Config {
    Config::new(name, Secret::new("simulation"))
}

fn names(distribution: &Distribution) -> Vec<String> {
    distribution.nodes().iter().map(|(name, _)| name.to_string()).collect()
}

#[test]
fn a_name_on_another_node_is_sent_to_and_called_without_a_lookup() {
    let mut simulation = Simulation::new(1);
    register::<Request>();
    let (a, b) = (simulation.start(A).expect("a node"), simulation.start(B).expect("a node"));
    b.node.spawn(server).expect("a process");
    run_in(&mut simulation, &a, |all, _| {
        let there = remote::named::<Request>(B, "server");
        for note in 0..100 {
            there.send(Request::Note(note));
        }
        assert_eq!(there.call(Request::Notes), Ok((0..100).collect()), "in order, before the call");
        // The order is that of the sender, whichever way it takes.
        let address = there.lookup().expect("it is there");
        for note in 100..200 {
            if note % 2 == 0 { address.send(Request::Note(note)) } else { there.send(Request::Note(note)) }
        }
        assert_eq!(address.call(Request::Notes), Ok((0..200).collect()));
        assert_eq!(there.call(Request::Forget), Err(CallError::NoReply));
        let nobody = all.named::<Request>(B, "nobody");
        nobody.send(Request::Note(1));
        assert_eq!(nobody.call(Request::Notes), Err(CallError::Down(DownReason::NoProc)));
        assert_eq!(nobody.lookup().map(|_| ()), Err(RemoteError::Refused(RequestError::UnknownName)));
        kill(address);
        // It acts when that process is next looked at.
        while is_alive(address) {}
        assert_eq!(there.call(Request::Notes), Err(CallError::Down(DownReason::NoProc)));
        let nowhere = all.named::<Request>("c@nowhere", "server");
        assert_eq!(nowhere.call(Request::Notes), Err(CallError::Down(DownReason::NoConnection)));
    });
}

#[test]
fn a_reply_is_answered_on_a_third_node() {
    #[derive(Serialize, Deserialize)]
    struct Pass(u32, Reply<u32>);
    impl Remote for Pass {
        const NAME: &'static str = "tests.names.Pass";
    }
    for nobody in [false, true] {
        let mut simulation = Simulation::new(12);
        register::<Request>();
        register::<Pass>();
        let (a, b, c) = (
            simulation.start(A).expect("a node"),
            simulation.start(B).expect("a node"),
            simulation.start(C).expect("a node"),
        );
        b.node
            .spawn(|mut mailbox: Mailbox<Pass>| {
                register_mailbox("passes", &mailbox).expect("the name is free");
                loop {
                    let Pass(number, reply) = mailbox.message();
                    remote::named(C, "server").send(Request::Double(number, reply));
                }
            })
            .expect("a process");
        if !nobody {
            c.node.spawn(server).expect("a process");
        }
        run_in(&mut simulation, &a, move |all, _| {
            let passes = all.named::<Pass>(B, "passes");
            let result = passes.call(|reply| Pass(21, reply));
            // Nobody has the name there: the third node drops the reply, and who has asked first is told that at once.
            let expected = if nobody { Err(CallError::NoReply) } else { Ok(42) };
            assert_eq!(result, expected);
        });
    }
}

#[test]
fn a_name_on_the_own_node_and_a_lookup_of_it_take_the_same_way() {
    let mut simulation = Simulation::new(2);
    let a = simulation.start(A).expect("a node");
    a.node.spawn(server).expect("a process");
    a.distribution.export("note", |_: u32| ());
    run_in(&mut simulation, &a, |all, mut mailbox| {
        assert_eq!(remote::own_name().as_deref(), Some(A));
        let here = remote::named::<Request>(A, "server");
        assert_eq!(here.call(|reply| Request::Double(4, reply)), Ok(8));
        assert_eq!(
            all.lookup::<Request>(A, "server").map(|server| server.pid().node()),
            Ok(self_pid().node())
        );
        let nobody = remote::named::<Request>(A, "nobody");
        assert_eq!(nobody.call(Request::Notes), Err(CallError::Down(DownReason::NoProc)));
        let relation = remote::Relation { link: false, monitor: true };
        let (child, reference) = remote::spawn_at(A, "note", &1_u32, relation).expect("it is exported");
        match mailbox.receive() {
            Received::Event(Event::Down(down)) => {
                assert_eq!((down.pid, Some(down.reference)), (child, reference))
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(remote::export("note", |_: u32| ()), Ok(false), "the name is taken");
        assert!(names(all).is_empty());
    });
}

#[test]
fn a_node_that_has_not_joined_says_so() {
    engset_runtime::run(|| {
        assert_eq!(remote::own_name(), None);
        assert_eq!(remote::monitor_nodes(true), []);
        assert_eq!(remote::lookup_at::<Request>(B, "server").map(|_| ()), Err(RemoteError::NotJoined));
        let relation = remote::Relation::default();
        assert_eq!(remote::spawn_at(B, "entry", &1, relation), Err(RemoteError::NotJoined));
        let there = remote::named::<Request>(B, "server");
        assert_eq!(there.call(Request::Notes), Err(CallError::Down(DownReason::NoConnection)));
    })
    .expect("it runs");
}

#[test]
fn a_call_to_a_name_times_out_and_ends_with_the_connection() {
    let mut simulation = Simulation::new(3);
    register::<Request>();
    let (a, b) = (simulation.start(A).expect("a node"), simulation.start(B).expect("a node"));
    b.node
        .spawn(|mut mailbox: Mailbox<Request>| {
            register_mailbox("server", &mailbox).expect("the name is free");
            let mut kept = Vec::new();
            loop {
                kept.push(mailbox.message());
            }
        })
        .expect("a process");
    let result = begin(&a, |_, _| {
        let there = remote::named::<Request>(B, "server");
        let second = there.call_timeout(|reply| Request::Double(1, reply), SECOND);
        assert_eq!(second, Err(CallError::Timeout(SECOND)));
        there.call_timeout(|reply| Request::Double(1, reply), Duration::MAX)
    });
    simulation.run_for(5 * SECOND);
    simulation.crash(B, false);
    assert!(simulation.run(60 * SECOND, || result.lock().unwrap().is_some()));
    assert_eq!(result.lock().unwrap().take(), Some(Err(CallError::Down(DownReason::NoConnection))));
}

#[test]
fn nodes_that_connect_see_all_that_the_others_see() {
    let mut simulation = Simulation::new(4);
    let all: Vec<_> = ["a@1", "b@2", "c@3", "d@4", "e@5"]
        .into_iter()
        .map(|name| simulation.start(name).expect("a node"))
        .collect();
    // A chain: each connects with the next only.
    for at in 0..4 {
        let next = all[at + 1].distribution.name().to_owned();
        run_in(&mut simulation, &all[at], move |own, _| own.connect(&next).expect("a connection"));
    }
    let whole = || all.iter().all(|member| member.distribution.nodes().len() == 4);
    assert!(simulation.run(60 * SECOND, whole));
}

#[test]
fn who_does_not_want_to_see_all_sees_whom_it_has_asked_for() {
    let mut simulation = Simulation::new(5);
    let alone = |name| config(name).connect_all(false);
    let (a, b, c) = (
        simulation.start_with(alone(A), A).expect("a node"),
        simulation.start_with(alone(B), B).expect("a node"),
        simulation.start_with(alone(C), C).expect("a node"),
    );
    run_in(&mut simulation, &a, |own, _| own.connect(B).expect("a connection"));
    run_in(&mut simulation, &c, |own, _| own.connect(B).expect("a connection"));
    simulation.run_for(60 * SECOND);
    assert_eq!((names(&a.distribution), names(&c.distribution)), (vec![B.to_owned()], vec![B.to_owned()]));
    assert_eq!(names(&b.distribution), [A, C]);
    a.distribution.disconnect(B);
    simulation.run_for(SECOND);
    assert_eq!((names(&a.distribution), names(&b.distribution)), (vec![], vec![C.to_owned()]));
}

#[test]
fn a_hidden_node_works_and_is_not_seen() {
    let mut simulation = Simulation::new(6);
    register::<Request>();
    let (a, b) = (simulation.start(A).expect("a node"), simulation.start(B).expect("a node"));
    let c = simulation.start_with(config(C).hidden(), C).expect("a node");
    b.node.spawn(server).expect("a process");
    run_in(&mut simulation, &a, |own, _| own.connect(B).expect("a connection"));
    let watching = begin(&b, |own, mut mailbox| {
        assert_eq!(own.monitor_nodes(true).len(), 1);
        spawn({
            let own = own.clone();
            move |mut mailbox: Mailbox<u32>| {
                own.monitor_all_nodes(true);
                match mailbox.receive() {
                    Received::Event(Event::NodeUp(up)) => assert_eq!(&*up.name, C),
                    other => panic!("{other:?}"),
                }
                register_mailbox("it has seen", &mailbox).expect("the name is free");
                sleep(Duration::MAX);
            }
        });
        mailbox.receive_timeout(100 * SECOND).is_none()
    });
    run_in(&mut simulation, &c, |own, _| {
        assert_eq!(own.named::<Request>(B, "server").call(|reply| Request::Double(1, reply)), Ok(2));
        assert!(names(own).is_empty(), "all are hidden to one that is");
        assert_eq!(own.hidden_nodes().len(), 1, "and it is connected only with whom it has used");
    });
    assert!(simulation.run(200 * SECOND, || watching.lock().unwrap().is_some()));
    assert_eq!(watching.lock().unwrap().take(), Some(true), "no NodeUp of a hidden node");
    assert!(b.node.whereis("it has seen").is_some(), "but for who wants to know");
    assert_eq!((names(&a.distribution), names(&b.distribution)), (vec![B.to_owned()], vec![A.to_owned()]));
    assert_eq!((a.distribution.hidden_nodes().len(), b.distribution.hidden_nodes().len()), (0, 1));
}

#[test]
fn who_asks_for_nodes_misses_none_of_them() {
    for seed in 0..20 {
        let mut simulation = Simulation::new(seed);
        let (a, _b) = (simulation.start(A).expect("a node"), simulation.start(B).expect("a node"));
        let connecting = begin(&a, |own, _| own.connect(B));
        // At any moment of it.
        simulation.run_for(Duration::from_micros(700 * seed));
        let seen = begin(&a, |own, mut mailbox| {
            let before = own.monitor_nodes(true).len();
            let after = mailbox.receive_timeout(20 * SECOND).is_some();
            (before, after)
        });
        let done = || seen.lock().unwrap().is_some() && connecting.lock().unwrap().is_some();
        assert!(simulation.run(100 * SECOND, done));
        let seen = seen.lock().unwrap().take();
        assert!(seen == Some((1, false)) || seen == Some((0, true)), "seed {seed}: {seen:?}");
        assert_eq!(connecting.lock().unwrap().take(), Some(Ok(())));
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Unread(u8, Vec<u8>, Reply<u32>);

impl Remote for Unread {
    const NAME: &'static str = "tests.names.Unread";
}

#[test]
fn who_has_a_name_and_takes_other_messages_is_not_given_these() {
    let mut simulation = Simulation::new(8);
    register::<Request>();
    let (a, b) = (simulation.start(A).expect("a node"), simulation.start(B).expect("a node"));
    b.node.spawn(server).expect("a process");
    run_in(&mut simulation, &a, |all, _| {
        let wrong = all.named::<Unread>(B, "server").call(|reply| Unread(1, vec![], reply));
        let name = Unread::NAME.to_owned();
        assert_eq!(wrong, Err(CallError::Undecodable(Undecodable::TakesOthers { name })));
        assert_eq!(all.named::<Request>(B, "server").call(Request::Notes), Ok(vec![]));
        assert_eq!(all.counters(B).refused, 0);
    });
    assert_eq!(b.distribution.counters(A).refused, 1);
}

#[derive(Debug, Serialize, Deserialize)]
struct Deep(Option<Box<Deep>>, Option<Reply<u32>>);

impl Remote for Deep {
    const NAME: &'static str = "tests.names.Deep";
}

/// An answer that is nested deeper than the caller takes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nest(u8, Option<Box<Nest>>);

#[derive(Serialize, Deserialize)]
struct Ask(u32, Reply<Nest>);

impl Remote for Ask {
    const NAME: &'static str = "tests.names.Ask";
}

#[test]
fn a_request_and_an_answer_that_cannot_be_read_say_so_to_the_caller() {
    let mut simulation = Simulation::new(9);
    register::<Deep>();
    register::<Ask>();
    let (a, b) = (simulation.start(A).expect("a node"), simulation.start(B).expect("a node"));
    b.node
        .spawn(|mut mailbox: Mailbox<Deep>| {
            register_mailbox("deep", &mailbox).expect("the name is free");
            loop {
                mailbox.message();
            }
        })
        .expect("a process");
    b.node
        .spawn(|mut mailbox: Mailbox<Ask>| {
            register_mailbox("ask", &mailbox).expect("the name is free");
            loop {
                let Ask(depth, reply) = mailbox.message();
                reply.send((0..depth).fold(Nest(0, None), |inner, _| Nest(0, Some(Box::new(inner)))));
            }
        })
        .expect("a process");
    run_in(&mut simulation, &a, |all, mut mailbox| {
        trap_exits(true);
        let malformed = |error: CallError| {
            assert!(matches!(&error, CallError::Undecodable(Undecodable::Malformed { .. })), "{error}");
            assert!(error.to_string().contains("nested deeper than 32"), "{error}");
        };
        let deep = all.lookup::<Deep>(B, "deep").expect("it is there");
        let message =
            |reply| (0..60).fold(Deep(None, Some(reply)), |inner, _| Deep(Some(Box::new(inner)), None));
        malformed(deep.call(message).expect_err("too deep"));
        let ask = all.lookup::<Ask>(B, "ask").expect("it is there");
        malformed(ask.call(|reply| Ask(60, reply)).expect_err("too deep"));
        assert_eq!(ask.call(|reply| Ask(1, reply)), Ok(Nest(0, Some(Box::new(Nest(0, None))))));
        // The processes have seen nothing of it, and the connection holds.
        assert!(is_alive(deep) && is_alive(ask));
        monitor(deep);
        assert!(mailbox.receive_timeout(10 * SECOND).is_none());
        assert_eq!(process_info(deep).expect("it lives").mailbox_len, 0);
    });
}
