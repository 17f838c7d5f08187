//! Groups of processes, and the state machine that keeps them the same on many nodes.

mod support;

use engset_runtime::{
    Address, Mailbox, Pid, kill, self_pid, sleep, spawn, spawn_monitor, trap_exits, yield_now,
};
use engset_stdlib::{
    GroupChange, Groups, Routing,
    groups::{GroupsMessage, GroupsOutput, GroupsState, ScopeEnded},
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};
use support::{down_of, everywhere, nothing_more, wait_dead};

type Member = Address<u32>;

fn sleeper() -> Member {
    spawn(|_: Mailbox<u32>| sleep(Duration::MAX))
}

fn scope() -> Groups<&'static str, u32> {
    Groups::builder().start_link().unwrap()
}

#[test]
fn a_member_is_in_a_group_as_often_as_it_has_joined() {
    everywhere::<()>(|_| {
        let groups = scope();
        let (first, second) = (sleeper(), sleeper());
        groups.join("a", first).unwrap();
        groups.join_all("a", &[second, first]).unwrap();
        groups.join("b", second).unwrap();
        assert_eq!(groups.members(&"a"), [first, second, first]);
        assert_eq!(groups.local_members(&"a"), [first, second, first]);
        assert!(groups.leave(&"a", first));
        assert_eq!(groups.members(&"a"), [second, first]);
        assert!(groups.leave(&"a", first));
        assert!(!groups.leave(&"a", first));
        assert!(!groups.leave(&"c", second));
        let mut all = groups.which_groups();
        all.sort_unstable();
        assert_eq!(all, ["a", "b"]);
        assert!(groups.leave(&"a", second));
        assert_eq!((groups.which_groups(), groups.which_local_groups()), (vec!["b"], vec!["b"]));
        assert_eq!(scope().members(&"b"), [], "another scope");
    });
}

#[test]
fn who_ends_has_left_before_anybody_is_told() {
    everywhere::<()>(|mailbox| {
        let groups = scope();
        for _ in 0..10 {
            let inner = groups.clone();
            let (member, _) = spawn_monitor(move |own: Mailbox<u32>| {
                inner.join_all("a", &[own.address(), own.address()]).unwrap();
                inner.join("b", own.address()).unwrap();
            });
            down_of(mailbox, member.pid());
            assert_eq!((groups.members(&"a"), groups.which_groups().len()), (vec![], 0));
        }
        let dead = spawn(|_: Mailbox<u32>| ());
        wait_dead(dead.pid());
        groups.join("a", dead).unwrap();
        assert_eq!(groups.members(&"a"), [], "a dead one leaves at once");
    });
}

#[test]
fn a_monitor_sees_the_members_and_then_each_change() {
    everywhere::<GroupChange<&str, Member>>(|mailbox| {
        let groups = scope();
        let (first, second) = (sleeper(), sleeper());
        groups.join("a", first).unwrap();
        let (now, of_a) = groups.monitor(&"a", mailbox.address(), Clone::clone).unwrap();
        assert_eq!(now, [first]);
        groups.join("b", first).unwrap();
        groups.join_all("a", &[second, second]).unwrap();
        kill(second);
        let joined = GroupChange::Joined { group: "a", members: vec![second, second] };
        let left = GroupChange::Left { group: "a", members: vec![second] };
        assert_eq!([mailbox.message(), mailbox.message(), mailbox.message()], [joined, left.clone(), left]);
        let (now, of_all) = groups.monitor_scope(mailbox.address(), Clone::clone).unwrap();
        assert_eq!((now.len(), &now["a"], &now["b"]), (2, &vec![first], &vec![first]));
        assert!(groups.demonitor(of_a));
        assert!(!groups.demonitor(of_a));
        groups.leave(&"b", first);
        assert_eq!(mailbox.message(), GroupChange::Left { group: "b", members: vec![first] });
        assert!(groups.demonitor(of_all));
        groups.leave(&"a", first);
        nothing_more(mailbox);
    });
}

#[test]
fn a_broadcast_and_a_router_reach_the_members() {
    everywhere::<u32>(|mailbox| {
        let groups = scope();
        let router = groups.router("a", Routing::RoundRobin);
        assert!(router.send(1).is_err(), "there is nobody");
        groups.join_all("a", &[mailbox.address(), mailbox.address()]).unwrap();
        assert_eq!(groups.broadcast(&"a", &7), 2);
        assert_eq!((mailbox.message(), mailbox.message()), (7, 7));
        assert_eq!(router.len(), 2);
        router.send(8).unwrap();
        assert_eq!(mailbox.message(), 8);
        groups.leave(&"a", mailbox.address());
        groups.leave(&"a", mailbox.address());
        assert!(router.send(9).is_err());
        let inner = groups.clone();
        let (member, _) = spawn_monitor(move |own: Mailbox<u32>| inner.join("a", own.address()).unwrap());
        down_of(mailbox, member.pid());
        assert!(router.is_empty(), "its end is seen by routers too");
    });
}

#[test]
fn a_scope_that_has_ended_is_empty_and_takes_nobody() {
    everywhere::<u32>(|mailbox| {
        trap_exits(true);
        let groups: Groups<&str, u32> = Groups::builder().name("scope").start_link().unwrap();
        let same = Groups::<&str, u32>::named("scope").unwrap();
        same.join("a", mailbox.address()).unwrap();
        assert_eq!(groups.members(&"a"), [mailbox.address()]);
        let router = groups.router("a", Routing::Random);
        kill(groups.pid());
        wait_dead(groups.pid());
        assert_eq!(groups.members(&"a"), []);
        assert_eq!(groups.join("a", mailbox.address()), Err(ScopeEnded));
        assert!(groups.monitor(&"a", mailbox.address(), |_| 0).is_err());
        assert!(router.is_empty());
        assert!(Groups::<&str, u32>::named("scope").is_err());
    });
}

#[test]
fn processes_that_come_and_go_leave_nothing_behind() {
    everywhere::<()>(|mailbox| {
        let groups = scope();
        let all: Vec<Pid> = (0..20_usize)
            .map(|number| {
                let groups = groups.clone();
                let (pid, _) = spawn_monitor(move |own: Mailbox<u32>| {
                    for round in 0..5 {
                        let group = ["a", "b", "c"][(number + round) % 3];
                        groups.join(group, own.address()).unwrap();
                        yield_now();
                        if round % 2 == 0 {
                            assert!(groups.leave(&group, own.address()));
                        }
                        assert!(groups.local_members(&group).len() < 200);
                    }
                });
                pid.pid()
            })
            .collect();
        all.into_iter().for_each(|pid| drop(down_of(mailbox, pid)));
        assert_eq!(groups.which_groups(), Vec::<&str>::new());
        assert_ne!(self_pid(), groups.pid());
    });
}

/// Some nodes with links between them that keep order, and lose what is under way when they break.
#[derive(Default)]
struct Net {
    nodes: BTreeMap<u8, GroupsState<u8, u8, u32>>,
    links: BTreeMap<(u8, u8), VecDeque<GroupsMessage<u8, u32>>>,
    /// What the changes that each node told of add up to.
    told: BTreeMap<u8, HashMap<u8, Vec<u32>>>,
}

impl Net {
    fn apply(&mut self, node: u8, outputs: Vec<GroupsOutput<u8, u8, u32>>) {
        for output in outputs {
            match output {
                GroupsOutput::Send { to, message } => {
                    if let Some(link) = self.links.get_mut(&(node, to)) {
                        link.push_back(message);
                    }
                }
                GroupsOutput::Changed(GroupChange::Joined { group, members }) => {
                    self.told.entry(node).or_default().entry(group).or_default().extend(members);
                }
                GroupsOutput::Changed(GroupChange::Left { group, members }) => {
                    let known = self.told.entry(node).or_default().entry(group).or_default();
                    for member in members {
                        let at = known.iter().position(|other| *other == member).expect("told of before");
                        known.remove(at);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn on(
        &mut self,
        node: u8,
        f: impl FnOnce(&mut GroupsState<u8, u8, u32>) -> Vec<GroupsOutput<u8, u8, u32>>,
    ) {
        let outputs = f(self.nodes.entry(node).or_default());
        self.apply(node, outputs);
    }

    fn connect(&mut self, a: u8, b: u8) {
        if a == b || self.links.contains_key(&(a, b)) {
            return;
        }
        for (from, to) in [(a, b), (b, a)] {
            self.links.insert((from, to), VecDeque::new());
        }
        self.on(a, |state| state.peer_up(b));
        self.on(b, |state| state.peer_up(a));
    }

    fn disconnect(&mut self, a: u8, b: u8) {
        if self.links.remove(&(a, b)).is_some() {
            self.links.remove(&(b, a));
            self.on(a, |state| state.peer_down(&b));
            self.on(b, |state| state.peer_down(&a));
        }
    }

    fn deliver(&mut self, which: usize) -> bool {
        let busy: Vec<(u8, u8)> =
            self.links.iter().filter(|(_, link)| !link.is_empty()).map(|(ends, _)| *ends).collect();
        if busy.is_empty() {
            return false;
        }
        let (from, to) = busy[which % busy.len()];
        if let Some(message) = self.links.get_mut(&(from, to)).and_then(VecDeque::pop_front) {
            self.on(to, |state| state.received(from, message));
        }
        true
    }
}

#[derive(Clone, Debug)]
enum Op {
    Join(u8, u8, Vec<u32>),
    Leave(u8, u8, u32),
    Down(u8, u32),
    Connect(u8, u8),
    Disconnect(u8, u8),
    Deliver(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let (node, group, member) = (0..3_u8, 0..3_u8, 0..3_u32);
    prop_oneof![
        4 => (node.clone(), group.clone(), prop::collection::vec(member.clone(), 1..3))
            .prop_map(|(node, group, members)| Op::Join(node, group, members)),
        3 => (node.clone(), group, member.clone()).prop_map(|(node, group, member)| Op::Leave(node, group, member)),
        1 => (node.clone(), member).prop_map(|(node, member)| Op::Down(node, member)),
        2 => (node.clone(), node.clone()).prop_map(|(a, b)| Op::Connect(a, b)),
        1 => (node.clone(), node).prop_map(|(a, b)| Op::Disconnect(a, b)),
        8 => any::<usize>().prop_map(Op::Deliver),
    ]
}

/// A member of a node: no other node has the same.
fn own(node: u8, member: u32) -> u32 {
    u32::from(node) * 10 + member
}

fn sorted(mut members: Vec<u32>) -> Vec<u32> {
    members.sort_unstable();
    members
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn connected_nodes_come_to_the_same_view(ops in prop::collection::vec(op(), 0..80)) {
        let mut net = Net::default();
        (0..3).for_each(|node| net.on(node, |_| Vec::new()));
        // What each node has done itself.
        let mut model: BTreeMap<(u8, u8), Vec<u32>> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Join(node, group, members) => {
                    let members: Vec<u32> = members.into_iter().map(|member| own(node, member)).collect();
                    model.entry((node, group)).or_default().extend(&members);
                    net.on(node, |state| state.join(group, &members));
                }
                Op::Leave(node, group, member) => {
                    let member = own(node, member);
                    let joined = model.entry((node, group)).or_default();
                    let at = joined.iter().position(|other| *other == member);
                    let mut left = false;
                    net.on(node, |state| {
                        let outputs = state.leave(&group, &member);
                        left = outputs.is_some();
                        outputs.unwrap_or_default()
                    });
                    prop_assert_eq!(left, at.is_some());
                    at.map(|at| joined.remove(at));
                }
                Op::Down(node, member) => {
                    let member = own(node, member);
                    model.iter_mut().filter(|((at, _), _)| *at == node).for_each(|(_, joined)| joined.retain(|it| *it != member));
                    net.on(node, |state| state.down(&member));
                    prop_assert!(!net.nodes[&node].is_local(&member));
                }
                Op::Connect(a, b) => net.connect(a, b),
                Op::Disconnect(a, b) => net.disconnect(a, b),
                Op::Deliver(which) => drop(net.deliver(which)),
            }
            for (node, state) in &net.nodes {
                for group in 0..3 {
                    let expected = model.get(&(*node, group)).cloned().unwrap_or_default();
                    prop_assert_eq!(state.local_members(&group), expected);
                }
            }
        }
        while net.deliver(0) {}
        for (node, state) in &net.nodes {
            for group in 0..3 {
                let seen = (0..3).filter(|other| other == node || net.links.contains_key(&(*node, *other)));
                let expected = seen.flat_map(|other| model.get(&(other, group)).cloned().unwrap_or_default()).collect();
                let expected = sorted(expected);
                prop_assert_eq!(sorted(state.members(&group).to_vec()), expected.clone());
                let told = net.told.get(node).and_then(|told| told.get(&group)).cloned().unwrap_or_default();
                prop_assert_eq!(sorted(told), expected);
            }
            let known: Vec<u8> = state.groups().copied().collect();
            prop_assert!(known.iter().all(|group| !state.members(group).is_empty()));
        }
    }
}
