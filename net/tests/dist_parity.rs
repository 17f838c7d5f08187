//! What works with a process of this node works with one of another: the same program over the simulated network and over TCP.

#![allow(clippy::disallowed_methods, reason = "tests look at the real clock and block real threads")]

mod simulated;

use engset_net::dist::{
    Config, Distribution, Relation, RemoteError, RequestError, Secret, simulation::Simulation, tcp,
};
use engset_runtime::{
    Address, Alias, CallError, DownReason, Event, ExitReason, Mailbox, Node, Pid, Received, Reply, demonitor,
    exit, exit_self, is_alive, kill, link, mailbox_len, monitor, process_info, register_mailbox,
    remote::{self, Remote, register},
    self_pid, sleep, spawn, trap_exits, unlink,
};
use serde::{Deserialize, Serialize};
use simulated::{SECOND, run_in};
use std::{sync::mpsc, time::Duration};

#[derive(Serialize, Deserialize)]
enum Request {
    Double(u32, Reply<u32>),
    /// Somebody else answers.
    Pass(Address<Request>, u32, Reply<u32>),
    Keep(Reply<u32>),
    Say(Alias<u32>, u32),
    Tell(Address<u32>, u32),
    Link(Pid),
    Exit(Pid),
    Linked(Reply<Vec<Pid>>),
    End,
}

impl Remote for Request {
    const NAME: &'static str = "tests.parity.Request";
}

fn serve(mut mailbox: Mailbox<Request>) {
    trap_exits(true);
    let mut kept = Vec::new();
    loop {
        match mailbox.receive() {
            Received::Message(Request::Double(number, reply)) => reply.send(2 * number),
            Received::Message(Request::Pass(to, number, reply)) => to.send(Request::Double(number, reply)),
            Received::Message(Request::Keep(reply)) => kept.push(reply),
            Received::Message(Request::Say(alias, number)) => alias.send(number),
            Received::Message(Request::Tell(to, number)) => to.send(number),
            Received::Message(Request::Link(pid)) => link(pid),
            Received::Message(Request::Exit(pid)) => exit(pid, ExitReason::error("from there")),
            Received::Message(Request::Linked(reply)) => {
                reply.send(process_info(self_pid()).map(|info| info.links).unwrap_or_default());
            }
            Received::Message(Request::End) => return,
            // Of all exit signals this one ends it.
            Received::Event(Event::Exit(signal)) if signal.reason == ExitReason::error("stop") => {
                exit_self(signal.reason);
            }
            Received::Event(_) => {}
        }
    }
}

fn inhabit(distribution: &Distribution) {
    register::<Request>();
    distribution.export("crash", |why: String| exit_self(ExitReason::error(why)));
    distribution.export("sleep", |()| sleep(Duration::MAX));
}

fn named_server(mailbox: Mailbox<Request>) {
    register_mailbox("server", &mailbox).expect("the name is free");
    serve(mailbox);
}

fn down(mailbox: &mut Mailbox<u32>) -> (Pid, DownReason) {
    match mailbox.receive_timeout(60 * SECOND) {
        Some(Received::Event(Event::Down(down))) => (down.pid, down.reason),
        other => panic!("no Down: {other:?}"),
    }
}

fn exited(mailbox: &mut Mailbox<u32>) -> (Pid, ExitReason) {
    match mailbox.receive_timeout(60 * SECOND) {
        Some(Received::Event(Event::Exit(exit))) => (exit.from, exit.reason),
        other => panic!("no Exit: {other:?}"),
    }
}

/// Nothing is in the mailbox when all that was sent before has been seen there and here.
fn nothing_more(mailbox: &mut Mailbox<u32>, server: Address<Request>) {
    assert_eq!(server.call(|reply| Request::Double(1, reply)), Ok(2));
    assert!(mailbox.receive_timeout(Duration::ZERO).is_none());
}

/// The program. The other node has a server.
fn program(all: &Distribution, mut mailbox: Mailbox<u32>, there: &str) {
    trap_exits(true);
    let server = loop {
        match all.lookup::<Request>(there, "server") {
            Ok(server) => break server,
            Err(RemoteError::Refused(RequestError::UnknownName)) => sleep(Duration::from_millis(10)),
            Err(error) => panic!("{error}"),
        }
    };
    let me = mailbox.address();

    // Messages and calls; an address, an alias, a reply that travel.
    assert_eq!(server.call(|reply| Request::Double(21, reply)), Ok(42));
    assert_eq!(server.call_timeout(Request::Keep, SECOND / 10), Err(CallError::Timeout(SECOND / 10)));
    server.send(Request::Tell(me, 7));
    assert_eq!(mailbox.message(), 7);
    let helper = spawn(serve);
    assert_eq!(
        server.call(|reply| Request::Pass(helper, 4, reply)),
        Ok(8),
        "answered here, for one asked there"
    );
    assert_eq!(
        helper.call(|reply| Request::Pass(server, 5, reply)),
        Ok(10),
        "answered there, for one asked here"
    );
    let alias = Alias::new(&mailbox);
    server.send(Request::Say(alias, 1));
    assert_eq!(mailbox.message(), 1);
    // The first message has ended it.
    server.send(Request::Say(alias, 2));
    let ended = Alias::new(&mailbox);
    assert!(ended.deactivate());
    server.send(Request::Say(ended, 3));
    nothing_more(&mut mailbox, server);

    // Questions.
    let info = process_info(server).expect("it lives");
    assert!(info.links.is_empty());
    assert!(is_alive(server));
    assert_eq!(mailbox_len(server), mailbox_len(server));

    // Links, from both sides; unlinking; exits.
    link(server);
    assert_eq!(server.call(Request::Linked), Ok(vec![self_pid()]));
    unlink(server);
    assert_eq!(server.call(Request::Linked), Ok(vec![]));
    let own = self_pid();
    server.send(Request::Link(own));
    assert_eq!(server.call(Request::Linked), Ok(vec![own]));
    assert!(process_info(self_pid()).expect("it lives").links.contains(&server.pid()));
    unlink(server);
    nothing_more(&mut mailbox, server);
    server.send(Request::Exit(own));
    assert_eq!(exited(&mut mailbox), (server.pid(), ExitReason::error("from there")));
    let victim = spawn(|| sleep(Duration::MAX));
    monitor(victim);
    server.send(Request::Exit(victim));
    assert_eq!(down(&mut mailbox), (victim, DownReason::Exited(ExitReason::error("from there"))));

    // Monitors.
    let reference = monitor(server);
    assert!(demonitor(reference, true));
    let silent = monitor(server);
    let watched = monitor(server);
    assert!(demonitor(silent, true));
    link(server);
    exit(server, ExitReason::error("stop"));
    let stop = ExitReason::error("stop");
    let mut seen = 0;
    for _ in 0..2 {
        match mailbox.receive_timeout(60 * SECOND) {
            Some(Received::Event(Event::Down(down))) => {
                assert_eq!((down.reference, down.reason), (watched, DownReason::Exited(stop.clone())));
                seen += 1;
            }
            Some(Received::Event(Event::Exit(exit))) => {
                assert_eq!((exit.from, exit.reason), (server.pid(), stop.clone()));
                seen += 10;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, 11, "one Down, one Exit");
    monitor(server);
    assert_eq!(down(&mut mailbox), (server.pid(), DownReason::NoProc));
    link(server);
    assert_eq!(exited(&mut mailbox), (server.pid(), ExitReason::NoProc));
    assert_eq!(process_info(server), None);
    let dead = server.call(|reply| Request::Double(1, reply));
    assert_eq!(dead, Err(CallError::Down(DownReason::NoProc)));

    // Spawning, with relations from the first moment.
    let both = Relation { link: true, monitor: true };
    let (child, reference) = all.spawn(there, "sleep", &(), both).expect("it is exported");
    assert_eq!(process_info(child).expect("it lives").links, [self_pid()]);
    kill(child);
    let mut reasons = vec![];
    for _ in 0..2 {
        match mailbox.receive_timeout(60 * SECOND) {
            Some(Received::Event(Event::Down(down))) => {
                assert_eq!(Some(down.reference), reference);
                reasons.push(down.reason.as_exit());
            }
            Some(Received::Event(Event::Exit(exit))) => reasons.push(exit.reason),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(reasons, [ExitReason::Killed, ExitReason::Killed]);
    for round in 0..20 {
        // It is dead before the answer is here, as a rule; nothing is lost.
        let only = Relation { monitor: true, link: false };
        let (child, _) = all.spawn(there, "crash", &format!("{round}"), only).expect("it is exported");
        assert_eq!(down(&mut mailbox), (child, DownReason::Exited(ExitReason::error(format!("{round}")))));
    }
    // A child that is linked ends with its parent.
    let (tell, told) = (mailbox.address(), all.clone());
    let node = there.to_owned();
    let parent = spawn(move || {
        let only = Relation { link: true, monitor: false };
        let (child, _) = told.spawn(&node, "sleep", &(), only).expect("it is exported");
        assert_ne!(child.node(), self_pid().node());
        tell.send(1);
        sleep(Duration::MAX);
    });
    assert_eq!(mailbox.message(), 1);
    let child = process_info(parent).expect("it lives").links[0];
    monitor(child);
    exit(parent, ExitReason::error("no more"));
    assert_eq!(down(&mut mailbox), (child, DownReason::Exited(ExitReason::error("no more"))));
    let refused = all.spawn(there, "nothing", &(), both);
    assert_eq!(refused, Err(RemoteError::Refused(RequestError::UnknownEntry)));
    assert!(mailbox.receive_timeout(Duration::ZERO).is_none());
}

#[test]
fn the_program_runs_over_the_simulated_network() {
    for seed in 0..5 {
        let mut simulation = Simulation::new(seed);
        let (a, b) = (simulation.start("a@1").expect("a node"), simulation.start("b@2").expect("a node"));
        inhabit(&b.distribution);
        b.node.spawn(named_server).expect("a process");
        run_in(&mut simulation, &a, |all, mailbox| program(all, mailbox, "b@2"));
    }
}

#[test]
fn the_program_runs_over_tcp_also_compressed() {
    for compress in [false, true] {
        let start = |name: &str, peer: Option<String>| {
            let node = Node::start(engset_runtime::Config::new().workers(2_usize)).expect("a node");
            let settings = engset_net::dist::session::Settings { compress, ..Default::default() };
            let mut config = Config::new(name, Secret::new("of this test")).settings(settings);
            if let Some(address) = peer {
                config = config.address("b", address);
            }
            let (distribution, address) =
                tcp::join(&node, config, ([127, 0, 0, 1], 0).into()).expect("it joins");
            (node, distribution, address)
        };
        let (b, of_b, address) = start("b", None);
        inhabit(&of_b);
        b.spawn(named_server).expect("a process");
        let (a, of_a, _) = start("a", Some(address.to_string()));
        let (tell, told) = mpsc::channel();
        a.spawn(move |mailbox: Mailbox<u32>| {
            program(&of_a, mailbox, "b");
            tell.send(remote::nodes().len()).expect("the test waits");
        })
        .expect("a process");
        assert_eq!(told.recv_timeout(60 * SECOND), Ok(1), "compressed: {compress}");
        assert!(a.stop() & b.stop());
    }
}
