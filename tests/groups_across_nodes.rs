//! Groups over nodes: what one node does to its members all nodes see, whatever happens to connections and nodes meanwhile.
//!
//! `ENGSET_SEEDS` says how many seeds (default 25), `ENGSET_SEED_ONLY` which one.

#[path = "../net/tests/simulated/mod.rs"]
mod simulated;

use engset::{
    Address, Mailbox, Pid, Random,
    dist::{
        Config, Secret,
        discovery::Nodes,
        simulation::{Member, Simulation},
    },
    kill, sleep, spawn,
    stdlib::{GroupChange, Groups},
};
use engset_runtime::remote;
use simulated::{SECOND, begin, run_in};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

const NAMES: [&str; 3] = ["a@1", "b@2", "c@3"];
const ROOMS: [&str; 3] = ["red", "green", "blue"];

type Scope = Groups<String, u32>;

/// A process as all nodes call it: node, incarnation, number.
type Who = (String, u64, u32, u64);
/// The members of all groups, sorted.
type View = BTreeMap<String, Vec<Who>>;

fn who(pid: Pid) -> Who {
    let (name, creation) = remote::identity(pid.node()).expect("a node that is known");
    let (index, serial) = remote::parts(pid);
    (name.to_string(), creation, index, serial)
}

fn sorted(members: &[Address<u32>]) -> Vec<Who> {
    let mut members: Vec<Who> = members.iter().map(|member| who(member.pid())).collect();
    members.sort();
    members
}

fn view(scope: &Scope, local: bool) -> View {
    let members = |room: &String| {
        let members = if local { scope.local_members(room) } else { scope.members(room) };
        (room.clone(), sorted(&members))
    };
    let rooms = if local { scope.which_local_groups() } else { scope.which_groups() };
    rooms.iter().map(members).collect()
}

/// What the changes that a monitor is told of make of what it was shown first.
#[derive(Clone, Default)]
struct Followed(Arc<Mutex<View>>);

impl Followed {
    fn follow(&self, change: &GroupChange<String, Address<u32>>) {
        let mut view = self.0.lock().unwrap();
        match change {
            GroupChange::Joined { group, members } => {
                let entry = view.entry(group.clone()).or_default();
                entry.extend(members.iter().map(|member| who(member.pid())));
                entry.sort();
            }
            GroupChange::Left { group, members } => {
                let entry = view.get_mut(group).expect("nobody leaves a group that has no members");
                for member in members {
                    let member = who(member.pid());
                    let at = entry.iter().position(|other| *other == member).expect("who leaves has joined");
                    entry.remove(at);
                }
                if entry.is_empty() {
                    view.remove(group);
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

struct Inhabited {
    member: Member,
    followed: Followed,
    /// The processes that a step has made, and their groups.
    processes: Arc<Mutex<Vec<Address<u32>>>>,
}

fn inhabit(simulation: &mut Simulation, name: &'static str) -> Inhabited {
    let config =
        Config::new(name, Secret::new("simulation")).discover(Nodes::new(NAMES)).look_every(2 * SECOND);
    let member = simulation.start_with(config, name).expect("a node");
    let followed = Followed::default();
    let following = followed.clone();
    // The scope lives as long as the process that supervises it, as it were.
    run_in(simulation, &member, move |_, _| {
        let scope = Scope::builder().name("rooms").across_nodes().start().expect("it starts");
        spawn(move |mut mailbox: Mailbox<GroupChange<String, Address<u32>>>| {
            let (now, _) = scope.monitor_scope(mailbox.address(), Clone::clone).expect("it lives");
            *following.0.lock().unwrap() =
                now.iter().map(|(room, all)| (room.clone(), sorted(all))).collect();
            loop {
                following.follow(&mailbox.message());
            }
        });
    });
    Inhabited { member, followed, processes: Arc::default() }
}

fn scope() -> Scope {
    Scope::named("rooms").expect("it runs")
}

/// Something happens on a node.
fn step(simulation: &mut Simulation, at: &Inhabited, random: &mut Random) {
    let room = ROOMS[random.below(3) as usize].to_owned();
    let (what, which) = (random.below(8), random.next_u64() as usize);
    let processes = Arc::clone(&at.processes);
    run_in(simulation, &at.member, move |_, _| {
        let scope = scope();
        let known = processes.lock().unwrap().clone();
        let some = (!known.is_empty()).then(|| known[which % known.len()]);
        match (what, some) {
            (0..=2, _) | (_, None) => {
                let member = spawn(|_: Mailbox<u32>| sleep(Duration::MAX));
                scope.join(room, member).expect("it runs");
                processes.lock().unwrap().push(member);
            }
            (3, Some(member)) => scope.join_all(room, &[member, member]).expect("it runs"),
            (4 | 5, Some(member)) => drop(scope.leave(&room, member)),
            (_, Some(member)) => {
                kill(member);
                processes.lock().unwrap().retain(|other| *other != member);
            }
        }
    });
}

fn equal_in_the_end(simulation: &mut Simulation, all: &BTreeMap<&'static str, Inhabited>, seed: u64) {
    simulation.run_for(40 * SECOND);
    let mut expected = View::new();
    let mut views = Vec::new();
    for (name, one) in all {
        let (local, whole) =
            run_in(simulation, &one.member, |_, _| (view(&scope(), true), view(&scope(), false)));
        for (room, members) in local {
            assert!(members.iter().all(|(node, ..)| node == name), "seed {seed}: a local member lives here");
            expected.entry(room).or_default().extend(members);
        }
        views.push((name, whole, one.followed.0.lock().unwrap().clone()));
    }
    expected.values_mut().for_each(|members| members.sort());
    for (name, whole, followed) in views {
        assert_eq!(whole, expected, "seed {seed}: what {name} sees is not what there is");
        assert_eq!(followed, expected, "seed {seed}: what a monitor on {name} was told is not what there is");
    }
}

fn whole_run(seed: u64) {
    let mut simulation = Simulation::new(seed);
    let mut random = Random::new(seed ^ 0x6709);
    let mut all = BTreeMap::new();
    for name in NAMES {
        let one = inhabit(&mut simulation, name);
        all.insert(name, one);
    }
    for _ in 0..30 {
        let (one, other) = (NAMES[random.below(3) as usize], NAMES[random.below(3) as usize]);
        match random.below(12) {
            0 => {
                simulation.cut(one, other);
                simulation.cut(other, one);
            }
            1 => simulation.cut(one, other),
            2 => {
                simulation.heal(one, other);
                simulation.heal(other, one);
            }
            3 => simulation.reset(one, other),
            4 if random.below(3) == 0 => {
                simulation.crash(one, random.below(2) == 0);
                let again = inhabit(&mut simulation, one);
                all.insert(one, again);
            }
            5 => simulation.run_for(Duration::from_millis(random.below(8000))),
            _ => step(&mut simulation, &all[one], &mut random),
        }
        simulation.run_for(Duration::from_millis(random.below(300)));
    }
    for one in NAMES {
        for other in NAMES {
            simulation.heal(one, other);
        }
    }
    equal_in_the_end(&mut simulation, &all, seed);
}

#[test]
fn whatever_breaks_in_the_end_all_nodes_see_the_same() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("ENGSET_SEED_ONLY") {
        Some(seed) => whole_run(seed),
        None => (0..number("ENGSET_SEEDS").unwrap_or(25)).for_each(whole_run),
    }
}

#[test]
fn who_joins_on_one_node_is_found_sent_to_and_missed_on_the_other() {
    let mut simulation = Simulation::new(3);
    let (a, b) = (inhabit(&mut simulation, NAMES[0]), inhabit(&mut simulation, NAMES[1]));
    let got = begin(&a.member, |_, mut mailbox| {
        scope().join("red".into(), mailbox.address()).expect("it runs");
        (mailbox.message(), mailbox.message())
    });
    simulation.run_for(10 * SECOND);
    run_in(&mut simulation, &b.member, |_, mailbox| {
        let red = "red".to_owned();
        let members = scope().members(&red);
        assert_eq!((members.len(), scope().local_members(&red)), (1, vec![]));
        assert_eq!(scope().which_local_groups(), Vec::<String>::new());
        // A process joins on its own node only.
        scope().join(red.clone(), members[0]).expect("it runs");
        sleep(SECOND);
        assert_eq!(scope().members(&red), members);
        assert!(!scope().leave(&red, members[0]));
        scope().join("blue".into(), mailbox.address()).expect("it runs");
        assert_eq!(scope().broadcast(&red, &7), 1);
        let router = scope().router(red, engset::stdlib::Routing::RoundRobin);
        assert_eq!(router.send(8), Ok(()));
    });
    simulation.run_for(SECOND);
    assert_eq!(got.lock().unwrap().take(), Some((7, 8)));
    // Both have ended with that, and so left.
    equal_in_the_end(&mut simulation, &BTreeMap::from([(NAMES[0], a), (NAMES[1], b)]), 3);
}

#[test]
fn a_partition_parts_the_views_and_its_end_joins_them() {
    let mut simulation = Simulation::new(4);
    let (a, b) = (inhabit(&mut simulation, NAMES[0]), inhabit(&mut simulation, NAMES[1]));
    for one in [&a, &b] {
        begin(&one.member, |_, mailbox| {
            scope().join("red".into(), mailbox.address()).expect("it runs");
            sleep(Duration::MAX);
        });
    }
    let count = |simulation: &mut Simulation, one: &Inhabited| {
        run_in(simulation, &one.member, |_, _| scope().members(&"red".to_owned()).len())
    };
    simulation.run_for(10 * SECOND);
    assert_eq!((count(&mut simulation, &a), count(&mut simulation, &b)), (2, 2));
    simulation.cut(NAMES[0], NAMES[1]);
    simulation.cut(NAMES[1], NAMES[0]);
    simulation.run_for(30 * SECOND);
    assert_eq!((count(&mut simulation, &a), count(&mut simulation, &b)), (1, 1));
    simulation.heal(NAMES[0], NAMES[1]);
    simulation.heal(NAMES[1], NAMES[0]);
    simulation.run_for(30 * SECOND);
    assert_eq!((count(&mut simulation, &a), count(&mut simulation, &b)), (2, 2));
}

#[test]
fn what_a_full_connection_has_dropped_is_told_again() {
    use engset::dist::session::Settings;
    let mut simulation = Simulation::new(6);
    let settings = Settings { window: 200_000, queue: 20_000, ..Settings::default() };
    let start = |simulation: &mut Simulation, name: &'static str| {
        let config =
            Config::new(name, Secret::new("simulation")).discover(Nodes::new(NAMES)).settings(settings);
        let member = simulation.start_with(config, name).expect("a node");
        run_in(simulation, &member, |_, _| {
            drop(Scope::builder().name("rooms").across_nodes().start().expect("it starts"));
        });
        member
    };
    let (a, b) = (start(&mut simulation, NAMES[0]), start(&mut simulation, NAMES[1]));
    simulation.run_for(10 * SECOND);
    // Slow, and alive.
    simulation.delay(3 * SECOND, 3 * SECOND);
    let rooms = 20;
    run_in(&mut simulation, &a, move |_, _| {
        let member = spawn(|_: Mailbox<u32>| sleep(Duration::MAX));
        for number in 0..rooms {
            scope().join(format!("{number}{}", "x".repeat(400_000)), member).expect("it runs");
        }
    });
    simulation.run_for(100 * SECOND);
    assert!(a.distribution.counters(NAMES[1]).dropped > 0, "or the test shows nothing");
    assert_eq!(a.distribution.nodes().len(), 1, "the connection has held");
    simulation.delay(Duration::from_millis(1), Duration::from_millis(5));
    simulation.run_for(100 * SECOND);
    let seen = run_in(&mut simulation, &b, |_, _| scope().which_groups().len());
    assert_eq!(seen, rooms);
}

#[test]
fn a_scope_that_is_started_anew_on_a_node_takes_the_place_of_the_old_one() {
    let mut simulation = Simulation::new(5);
    let (a, b) = (inhabit(&mut simulation, NAMES[0]), inhabit(&mut simulation, NAMES[1]));
    simulation.run_for(10 * SECOND);
    run_in(&mut simulation, &a.member, |_, mailbox| {
        let old = scope();
        old.join("red".into(), mailbox.address()).expect("it runs");
        sleep(SECOND);
        kill(old.pid());
        sleep(SECOND);
        let new = Scope::builder().name("rooms").across_nodes().start().expect("the names are free");
        let member = spawn(|_: Mailbox<u32>| sleep(Duration::MAX));
        new.join("blue".into(), member).expect("it runs");
    });
    simulation.run_for(10 * SECOND);
    let rooms = run_in(&mut simulation, &b.member, |_, _| scope().which_groups());
    assert_eq!(rooms, ["blue"]);
}

#[test]
fn a_scope_over_nodes_needs_a_name() {
    engset::run(|| {
        let error = Scope::builder().across_nodes().start().expect_err("no name");
        assert!(error.to_string().contains("needs a name"), "{error}");
    })
    .expect("it runs");
}
