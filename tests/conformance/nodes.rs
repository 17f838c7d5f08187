//! Two nodes in a simulated network: the world of partners elsewhere, and the rows N1 to N6.

use crate::stage::{Note, Partner, Stage, World, name, show};
use engset::{
    Address, CallError, DownReason, Event, Mailbox, Received,
    dist::{
        Config, Distribution, Secret,
        simulation::{Member, Simulation},
    },
    link, monitor, now, register_mailbox,
    remote::register,
    sleep, spawn, trap_exits,
};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

const A: &str = "a@one";
const B: &str = "b@two";
const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(3600);

/// Partners that wait for their process.
type Queue = Arc<Mutex<VecDeque<Partner>>>;

struct There {
    all: Distribution,
    queue: Queue,
}

impl World for There {
    fn spawn(&self, tester: Address<Note>, partner: Partner) -> Address<Note> {
        self.queue.lock().expect("nobody panics with it").push_back(partner);
        let maker: Address<Note> = self.all.lookup(B, "maker").expect("it is there");
        maker.call(|reply| Note::Make(tester, reply)).expect("it answers")
    }
}

/// Spawns partners for the tester on the other node; answers questions with 1.
fn maker(mut mailbox: Mailbox<Note>, queue: &Queue) {
    register_mailbox("maker", &mailbox).expect("it is free");
    loop {
        match mailbox.message() {
            Note::Make(tester, reply) => {
                let partner = queue.lock().expect("nobody panics with it").pop_front().expect("it waits");
                reply.send(spawn(move |mailbox: Mailbox<Note>| partner(mailbox, tester)));
            }
            Note::Ask(reply) => reply.send(1),
            _ => {}
        }
    }
}

struct Pair {
    simulation: Simulation,
    a: Member,
    queue: Queue,
}

fn pair(seed: u64) -> Pair {
    register::<Note>();
    let mut simulation = Simulation::new(seed);
    let a = simulation.start(A).expect("a node");
    let b = simulation.start(B).expect("a node");
    let queue = Queue::default();
    inhabit(&b, &queue);
    Pair { simulation, a, queue }
}

fn inhabit(member: &Member, queue: &Queue) {
    let queue = Arc::clone(queue);
    member.node.spawn(move |mailbox: Mailbox<Note>| maker(mailbox, &queue)).expect("a process");
}

type Slot<T> = Arc<Mutex<Option<T>>>;

fn filled<T>(slot: &Slot<T>) -> bool {
    slot.lock().expect("nobody panics with it").is_some()
}

/// Starts a tester on a node.
fn begin(
    member: &Member,
    queue: &Queue,
    run: impl FnOnce(&mut Stage, &Distribution) + Send + 'static,
) -> Slot<Vec<String>> {
    let slot = Slot::default();
    let (result, all, queue) = (Arc::clone(&slot), member.distribution.clone(), Arc::clone(queue));
    let tester = move |mailbox: Mailbox<Note>| {
        let mut stage = Stage::new(mailbox, Arc::new(There { all: all.clone(), queue }));
        run(&mut stage, &all);
        *result.lock().expect("nobody panics with it") = Some(stage.lines());
    };
    member.node.spawn(tester).expect("a process");
    slot
}

fn finish(simulation: &mut Simulation, slot: &Slot<Vec<String>>) -> Vec<String> {
    if !simulation.run(LIMIT, || filled(slot)) {
        return vec!["the tester does not come to its end".to_owned()];
    }
    slot.lock().expect("nobody panics with it").take().unwrap_or_default()
}

/// A scenario with its partners on the other node.
pub(crate) fn play(seed: u64, run: fn(&mut Stage)) -> Vec<String> {
    let Pair { mut simulation, a, queue } = pair(seed);
    let slot = begin(&a, &queue, move |stage, _| run(stage));
    finish(&mut simulation, &slot)
}

fn find(all: &Distribution) -> Address<Note> {
    loop {
        match all.lookup(B, "maker") {
            Ok(maker) => return maker,
            Err(_) => sleep(SECOND),
        }
    }
}

fn verdict(reason: &DownReason) -> String {
    match reason {
        DownReason::NodeRestarted => "down of a restarted node".to_owned(),
        other => format!("down {}", name(&other.as_exit())),
    }
}

/// A mark that the tester sets, and the one who moves the nodes waits for.
#[derive(Clone, Default)]
struct Mark(Arc<AtomicBool>);

impl Mark {
    fn set(&self) {
        self.0.store(true, SeqCst);
    }

    fn wait(&self, simulation: &mut Simulation) {
        assert!(simulation.run(LIMIT, || self.0.load(SeqCst)), "the tester does not get there");
    }
}

pub(crate) fn n1(seed: u64) -> Vec<String> {
    let Pair { mut simulation, a, queue } = pair(seed);
    let (known, again) = (Mark::default(), Mark::default());
    let (set, restarted) = (known.clone(), again.clone());
    let slot = begin(&a, &queue, move |stage, all| {
        let old = find(all);
        assert_eq!(old.call(Note::Ask), Ok(1));
        set.set();
        while !restarted.0.load(SeqCst) {
            sleep(SECOND);
        }
        let new = find(all);
        monitor(old);
        if let Some(Received::Event(Event::Down(down))) = stage.mailbox.receive_timeout(LIMIT) {
            stage.line(format!("the old: {}", verdict(&down.reason)));
        }
        if let Err(CallError::Down(reason)) = old.call(Note::Ask) {
            stage.line(format!("a call: {}", verdict(&reason)));
        }
        stage.line(format!("the new: {:?}", new.call(Note::Ask)));
    });
    known.wait(&mut simulation);
    let b = simulation.restart(B, seed.is_multiple_of(2)).expect("a node");
    inhabit(&b, &queue);
    again.set();
    finish(&mut simulation, &slot)
}

pub(crate) fn n2(seed: u64) -> Vec<String> {
    let Pair { mut simulation, a, queue } = pair(seed);
    let known = Mark::default();
    let set = known.clone();
    let slot = begin(&a, &queue, move |stage, all| {
        let before = all.nodes().len();
        let maker = find(all);
        stage.line(format!("before: {before} nodes, after a lookup: {}", all.nodes().len()));
        set.set();
        sleep(SECOND / 10);
        for _ in 0..60 {
            maker.send(Note::Bytes(vec![0; 100_000]));
        }
        sleep(30 * SECOND);
        let counted = if all.counters(B).dropped > 0 { "dropped and counted" } else { "taken" };
        stage.line(format!("to a peer that takes nothing: {counted}"));
    });
    known.wait(&mut simulation);
    simulation.cut(A, B);
    simulation.cut(B, A);
    finish(&mut simulation, &slot)
}

/// One line of all that comes until something like `last` has.
fn until(stage: &mut Stage, last: &str, seen: &mut Vec<String>) {
    while let Some(received) = stage.mailbox.receive_timeout(LIMIT) {
        seen.push(match received {
            Received::Message(_) => "message".to_owned(),
            ref event @ Received::Event(_) => show(event),
        });
        if seen.last().is_some_and(|it| it == last) {
            break;
        }
    }
}

pub(crate) fn n3(seed: u64) -> Vec<String> {
    let Pair { mut simulation, a, queue } = pair(seed);
    let known = Mark::default();
    let set = known.clone();
    let slot = begin(&a, &queue, move |stage, all| {
        all.monitor_nodes(true);
        let mut seen = Vec::new();
        let greeter = |mut mailbox: Mailbox<Note>, tester: Address<Note>| {
            tester.send(Note::Text("hello".to_owned()));
            mailbox.message();
        };
        let first = stage.partner(greeter);
        until(stage, "message", &mut seen);
        monitor(first);
        let _ = engset::is_alive(first);
        set.set();
        until(stage, "nodedown", &mut seen);
        sleep(10 * SECOND);
        stage.partner(greeter);
        until(stage, "message", &mut seen);
        stage.line(seen.join(", "));
    });
    known.wait(&mut simulation);
    simulation.reset(A, B);
    finish(&mut simulation, &slot)
}

pub(crate) fn n4(seed: u64) -> Vec<String> {
    let Pair { mut simulation, a, queue } = pair(seed);
    let known = Mark::default();
    let set = known.clone();
    let slot = begin(&a, &queue, move |stage, all| {
        trap_exits(true);
        let partner = stage.sleeper();
        link(partner);
        monitor(partner);
        monitor(partner);
        let _ = engset::is_alive(partner);
        all.monitor_nodes(true);
        stage.mailbox.receive_timeout(SECOND);
        set.set();
        let mut seen = Vec::new();
        until(stage, "nodedown", &mut seen);
        // Of links and monitors the order is not promised.
        let at = seen.len() - 1;
        seen[..at].sort_by_key(|text| !text.starts_with("exit"));
        seen.push(stage.drain());
        stage.line(seen.join(", "));
    });
    known.wait(&mut simulation);
    simulation.cut(A, B);
    simulation.cut(B, A);
    if seed.is_multiple_of(2) {
        simulation.reset(A, B);
    }
    finish(&mut simulation, &slot)
}

pub(crate) fn n5(seed: u64) -> Vec<String> {
    let Pair { mut simulation, a, queue } = pair(seed);
    let slot = begin(&a, &queue, |stage, all| {
        const SIZE: usize = 6 << 20;
        let maker = find(all);
        let sink = stage.partner(|mut mailbox, tester| {
            if let Note::Bytes(bytes) = mailbox.message() {
                let whole = bytes.len() == SIZE && bytes.iter().all(|byte| *byte == 7);
                tester.send(Note::Text(if whole { "whole" } else { "damaged" }.to_owned()));
            }
        });
        spawn(move || sink.send(Note::Bytes(vec![7; SIZE])));
        engset::yield_now();
        let start = now();
        let answered = (0..3).all(|_| maker.call(Note::Ask) == Ok(1));
        let before = now() - start < SECOND / 4 && stage.mailbox.try_receive().is_none();
        stage.line(format!("answered while a large message was on its way: {}", answered && before));
        let whole = stage.next();
        stage.line(format!("the large message: {whole}"));
    });
    finish(&mut simulation, &slot)
}

pub(crate) fn n6(seed: u64) -> Vec<String> {
    let Pair { mut simulation, a, queue } = pair(seed);
    let config = Config::new("c@three", Secret::new("another one"));
    let stranger = simulation.start_with(config, "c@three").expect("a node");
    let refused = begin(&stranger, &queue, |stage, all| {
        let found = all.lookup::<Note>(B, "maker");
        stage.line(format!("the stranger: {}", if found.is_err() { "refused" } else { "let in" }));
    });
    let mut lines = finish(&mut simulation, &refused);
    let others = begin(&a, &queue, |stage, all| {
        let answer = find(all).call(Note::Ask);
        stage.line(format!("the others: {answer:?}"));
    });
    lines.extend(finish(&mut simulation, &others));
    lines
}
