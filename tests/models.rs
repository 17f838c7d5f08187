//! Links, monitors and bounded mailboxes against small models, by random programs in systematic mode.

use engset::{
    Address, Builder, Config, DownReason, Event, ExitReason, Limit, Mailbox, Overflow, Pid, Received, Reply,
    demonitor, exit, is_alive, kill, link, monitor, sleep, spawn, trap_exits, unlink,
};
use proptest::prelude::*;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

const PROCESSES: usize = 4;

/// What a process of the program does, or what is done to it.
#[derive(Clone, Debug)]
enum Op {
    Link(usize, usize),
    Unlink(usize, usize),
    Trap(usize, bool),
    Monitor(usize, usize),
    /// Its latest monitor, with flush.
    Demonitor(usize),
    /// By `exit` from outside.
    Exit(usize, ExitReason),
    /// By itself.
    End(usize, ExitReason),
}

fn op() -> impl Strategy<Value = Op> {
    let who = 0..PROCESSES;
    let reason = prop_oneof![
        Just(ExitReason::Normal),
        Just(ExitReason::Shutdown),
        Just(ExitReason::Kill),
        Just(ExitReason::error("boom"))
    ];
    prop_oneof![
        4 => (who.clone(), 0..PROCESSES).prop_map(|(a, b)| Op::Link(a, b)),
        2 => (who.clone(), 0..PROCESSES).prop_map(|(a, b)| Op::Unlink(a, b)),
        2 => (who.clone(), any::<bool>()).prop_map(|(a, on)| Op::Trap(a, on)),
        3 => (who.clone(), 0..PROCESSES).prop_map(|(a, b)| Op::Monitor(a, b)),
        1 => who.clone().prop_map(Op::Demonitor),
        1 => (who.clone(), reason.clone()).prop_map(|(a, reason)| Op::Exit(a, reason)),
        1 => (who, reason).prop_map(|(a, reason)| Op::End(a, reason)),
    ]
}

/// What should happen.
#[derive(Default)]
struct Model {
    dead: BTreeSet<usize>,
    traps: BTreeSet<usize>,
    links: BTreeSet<(usize, usize)>,
    /// Watcher and target, the latest last.
    monitors: Vec<(usize, usize)>,
    /// Downs of this step: watcher, who, why. A watcher that dies in the same step, over several links, may see them before.
    told: Vec<(usize, usize, ExitReason)>,
    /// Who has seen what.
    seen: Vec<String>,
    /// And who may have.
    maybe: Vec<String>,
}

impl Model {
    fn alive(&self, who: usize) -> bool {
        !self.dead.contains(&who)
    }

    fn pair(a: usize, b: usize) -> (usize, usize) {
        (a.min(b), a.max(b))
    }

    fn see(&mut self, who: usize, what: &str, of: &str, reason: &ExitReason) {
        self.seen.push(format!("{who}: {what} of {of}: {reason}"));
    }

    fn die(&mut self, who: usize, reason: &ExitReason) {
        if !self.dead.insert(who) {
            return;
        }
        let watchers: Vec<usize> =
            self.monitors.iter().filter(|(_, target)| *target == who).map(|(watcher, _)| *watcher).collect();
        self.monitors.retain(|(watcher, target)| *watcher != who && *target != who);
        self.told.extend(watchers.into_iter().map(|watcher| (watcher, who, reason.clone())));
        let peers: Vec<usize> =
            (0..PROCESSES).filter(|peer| self.links.contains(&Self::pair(who, *peer))).collect();
        self.links.retain(|(a, b)| *a != who && *b != who);
        for peer in peers {
            self.exit_of_link(peer, &who.to_string(), reason);
        }
    }

    fn exit_of_link(&mut self, who: usize, from: &str, reason: &ExitReason) {
        if !self.alive(who) {
        } else if self.traps.contains(&who) {
            self.see(who, "exit", from, reason);
        } else if !reason.is_normal() {
            self.die(who, reason);
        }
    }

    fn apply(&mut self, op: &Op) {
        self.act(op);
        for (watcher, who, reason) in std::mem::take(&mut self.told) {
            if self.alive(watcher) {
                self.see(watcher, "down", &who.to_string(), &reason);
            } else {
                self.maybe.push(format!("{watcher}: down of {who}: {reason}"));
            }
        }
    }

    fn act(&mut self, op: &Op) {
        match *op {
            Op::Link(a, b) if self.alive(a) && a != b => {
                if self.alive(b) {
                    self.links.insert(Self::pair(a, b));
                } else {
                    self.exit_of_link(a, &b.to_string(), &ExitReason::NoProc);
                }
            }
            Op::Unlink(a, b) if self.alive(a) => {
                self.links.remove(&Self::pair(a, b));
            }
            Op::Trap(a, on) if self.alive(a) => {
                if on {
                    self.traps.insert(a)
                } else {
                    self.traps.remove(&a)
                };
            }
            Op::Monitor(a, b) if self.alive(a) => {
                if self.alive(b) {
                    self.monitors.push((a, b));
                } else {
                    self.see(a, "down", &b.to_string(), &ExitReason::NoProc);
                }
            }
            Op::Demonitor(a) if self.alive(a) => {
                if let Some(at) = self.monitors.iter().rposition(|(watcher, _)| *watcher == a) {
                    self.monitors.remove(at);
                }
            }
            Op::Exit(a, ref reason) if self.alive(a) => match reason {
                ExitReason::Kill => self.die(a, &ExitReason::Killed),
                reason if self.traps.contains(&a) => self.see(a, "exit", "outside", reason),
                ExitReason::Normal => {}
                reason => self.die(a, reason),
            },
            Op::End(a, ref reason) if self.alive(a) => self.die(a, reason),
            _ => {}
        }
    }
}

type Log = Arc<Mutex<Vec<String>>>;
type Command = (Op, Vec<Pid>, Reply<()>);

/// A process of the program.
fn actor(mut mailbox: Mailbox<Command>, own: usize, log: &Log, known: &Arc<Mutex<Vec<Pid>>>) {
    let mut monitors = Vec::new();
    let who = |pid: Pid| {
        let known = known.lock().expect("nobody panics with it");
        known.iter().position(|other| *other == pid).map_or("outside".to_owned(), |at| at.to_string())
    };
    loop {
        let line = match mailbox.receive() {
            Received::Message((op, pids, reply)) => {
                reply.send(());
                match op {
                    Op::Link(_, b) => link(pids[b]),
                    Op::Unlink(_, b) => unlink(pids[b]),
                    Op::Trap(_, on) => drop(trap_exits(on)),
                    Op::Monitor(_, b) => {
                        // A monitor of itself never tells it anything.
                        monitors.push(monitor(pids[b]));
                    }
                    Op::Demonitor(_) => {
                        if let Some(reference) = monitors.pop() {
                            demonitor(reference, true);
                        }
                    }
                    Op::End(_, reason) => engset::exit_self(reason),
                    Op::Exit(..) => {}
                }
                continue;
            }
            Received::Event(Event::Exit(exit)) => {
                format!("{own}: exit of {}: {}", who(exit.from), exit.reason)
            }
            Received::Event(Event::Down(down)) => {
                monitors.retain(|reference| *reference != down.reference);
                let reason = match down.reason {
                    DownReason::Exited(reason) => reason,
                    _ => ExitReason::NoProc,
                };
                format!("{own}: down of {}: {reason}", who(down.pid))
            }
            Received::Event(other) => format!("{own}: {other:?}"),
        };
        log.lock().expect("nobody panics with it").push(line);
    }
}

/// Runs the program; after each step, what was seen and who is dead.
fn run(seed: u64, ops: Vec<Op>) -> Vec<(Vec<String>, BTreeSet<usize>)> {
    let config = Config::new().seed(seed).crash_reports_per_second(0_u32);
    let result = engset::run_with(config, move || {
        let (log, known) = (Log::default(), Arc::new(Mutex::new(Vec::new())));
        let actors: Vec<Address<Command>> = (0..PROCESSES)
            .map(|own| {
                let (log, known) = (Arc::clone(&log), Arc::clone(&known));
                spawn(move |mailbox: Mailbox<Command>| actor(mailbox, own, &log, &known))
            })
            .collect();
        let pids: Vec<Pid> = actors.iter().map(|actor| actor.pid()).collect();
        known.lock().expect("nobody panics with it").clone_from(&pids);
        let mut steps = Vec::new();
        for op in ops {
            match &op {
                Op::Exit(a, reason) => exit(pids[*a], reason.clone()),
                Op::Link(a, _)
                | Op::Unlink(a, _)
                | Op::Trap(a, _)
                | Op::Monitor(a, _)
                | Op::Demonitor(a)
                | Op::End(a, _) => {
                    // The dead do nothing.
                    let _ = actors[*a].call(|reply| (op.clone(), pids.clone(), reply));
                }
            }
            // Virtual time passes when all has been done.
            sleep(Duration::from_millis(100));
            let mut seen = std::mem::take(&mut *log.lock().expect("nobody panics with it"));
            seen.sort();
            let dead = (0..PROCESSES).filter(|who| !is_alive(pids[*who])).collect();
            steps.push((seen, dead));
        }
        steps
    });
    result.expect("the first process ends well")
}

fn policy() -> impl Strategy<Value = Overflow> {
    prop_oneof![
        Just(Overflow::DropNewest),
        Just(Overflow::DropOldest),
        Just(Overflow::KillReceiver),
        Just(Overflow::Block)
    ]
}

/// What a receiver with this policy has, when numbers are sent and taken in turn.
fn expected(limit: usize, overflow: Overflow, rounds: &[(u32, u32)]) -> Vec<u32> {
    let (mut queue, mut taken, mut number, mut dead) = (VecDeque::new(), Vec::new(), 0, false);
    for (send, take) in rounds {
        for _ in 0..*send {
            number += 1;
            if dead || queue.len() < limit {
                queue.push_back(number);
            } else {
                match overflow {
                    Overflow::DropNewest => {}
                    // The receiver drops them when it looks; twice the limit is the most that is held.
                    Overflow::DropOldest if queue.len() < 2 * limit => queue.push_back(number),
                    Overflow::KillReceiver => dead = true,
                    // These tests do not send more than there is room for, or they would wait.
                    _ => {}
                }
            }
        }
        if dead {
            return taken;
        }
        if *take > 0 && overflow == Overflow::DropOldest {
            while queue.len() > limit {
                queue.pop_front();
            }
        }
        taken.extend((0..*take).map_while(|_| queue.pop_front()));
    }
    taken
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn links_and_monitors_do_what_a_small_model_does(seed in 0..1000_u64, ops in prop::collection::vec(op(), 1..25)) {
        // A process' monitor of itself dies with it: nobody sees it.
        let ops: Vec<Op> = ops.into_iter().filter(|op| !matches!(op, Op::Monitor(a, b) if a == b)).collect();
        let mut model = Model::default();
        for (at, (seen, dead)) in run(seed, ops.clone()).into_iter().enumerate() {
            model.apply(&ops[at]);
            let mut expected = std::mem::take(&mut model.seen);
            expected.sort();
            let maybe = std::mem::take(&mut model.maybe);
            let seen: Vec<_> = seen.into_iter().filter(|line| expected.contains(line) || !maybe.contains(line)).collect();
            prop_assert_eq!(&seen, &expected, "step {} of {:?}", at, ops);
            prop_assert_eq!(&dead, &model.dead, "step {} of {:?}", at, ops);
        }
    }

    #[test]
    fn a_bounded_mailbox_holds_what_its_policy_says(
        seed in 0..1000_u64,
        limit in 1..6_usize,
        overflow in policy(),
        rounds in prop::collection::vec((0..9_u32, 0..9_u32), 1..8),
    ) {
        let rounds: Vec<(u32, u32)> = rounds.into_iter().map(|(send, take)| match overflow {
            // All that is sent fits, and all of it is taken.
            Overflow::Block => { let few = send.min(limit as u32); (few, few) }
            _ => (send, take),
        }).collect();
        let wanted = expected(limit, overflow, &rounds);
        let config = Config::new().seed(seed).crash_reports_per_second(0_u32);
        let taken = engset::run_with(config, move || {
            let taken = Arc::new(Mutex::new(Vec::new()));
            let (place, turns) = (Arc::clone(&taken), Arc::new(Mutex::new(0_u32)));
            let allowed = Arc::clone(&turns);
            let limit = Limit::messages(limit).overflow(overflow);
            let receiver = Builder::new().mailbox(limit).spawn(move |mut mailbox: Mailbox<u32>| {
                loop {
                    let turns = std::mem::take(&mut *allowed.lock().expect("nobody panics with it"));
                    for _ in 0..turns {
                        match mailbox.try_receive() {
                            Some(Received::Message(number)) => place.lock().expect("nobody panics with it").push(number),
                            _ => break,
                        }
                    }
                    sleep(Duration::from_millis(1));
                }
            }).expect("a process");
            let mut number = 0;
            for (send, take) in rounds {
                for _ in 0..send {
                    number += 1;
                    receiver.send(number);
                }
                *turns.lock().expect("nobody panics with it") = take;
                sleep(Duration::from_millis(10));
            }
            kill(receiver);
            taken.lock().expect("nobody panics with it").clone()
        });
        prop_assert_eq!(taken.expect("the first process ends well"), wanted);
    }
}
