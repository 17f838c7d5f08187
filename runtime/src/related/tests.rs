use super::*;
use crate::node::NodeId;
use engset_scheduler::TaskId;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};

fn pid(number: u32) -> Pid {
    Pid::new(NodeId::NONE, TaskId::new(number, u64::from(number) * 2 + 1))
}

/// What may happen to relations; the numbers are of peers, references and unlinks.
#[derive(Clone, Copy, Debug)]
enum Op {
    Link(u32),
    Linked(u32),
    Unlink(u32, u64),
    Unlinked(u32),
    Acknowledged(u32, u64),
    Broke(u32),
    AddWatcher(u64, u32),
    RemoveWatcher(u64, u32),
    AddMonitor(u64, u32, u64),
    RemoveMonitor(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let (peer, id) = (0_u32..4, 1_u64..4);
    // Two workers' references, so that some differ in the upper bits alone.
    let reference = (0_u64..2, 1_u64..4).prop_map(|(worker, number)| worker << 48 | number);
    prop_oneof![
        peer.clone().prop_map(Op::Link),
        peer.clone().prop_map(Op::Linked),
        (peer.clone(), id.clone()).prop_map(|(peer, id)| Op::Unlink(peer, id)),
        peer.clone().prop_map(Op::Unlinked),
        (peer.clone(), id).prop_map(|(peer, id)| Op::Acknowledged(peer, id)),
        peer.clone().prop_map(Op::Broke),
        (reference.clone(), peer.clone()).prop_map(|(reference, peer)| Op::AddWatcher(reference, peer)),
        (reference.clone(), peer.clone()).prop_map(|(reference, peer)| Op::RemoveWatcher(reference, peer)),
        (reference.clone(), peer, 0_u64..3)
            .prop_map(|(reference, peer, call)| Op::AddMonitor(reference, peer, call)),
        reference.prop_map(Op::RemoveMonitor),
    ]
}

/// The same with one collection for each kind, and nothing else.
#[derive(Default)]
struct Model {
    links: BTreeMap<Pid, u64>,
    watchers: Vec<(MonitorRef, Pid)>,
    monitors: BTreeMap<MonitorRef, Watch>,
}

/// Does it to both; what they say of it.
fn apply(op: Op, relations: &mut Relations, model: &mut Model) -> (String, String) {
    let text = |answer: &dyn std::fmt::Debug| format!("{answer:?}");
    match op {
        Op::Link(peer) => {
            (text(&relations.link(pid(peer))), text(&(model.links.insert(pid(peer), 0) != Some(0))))
        }
        Op::Linked(peer) => {
            relations.linked(pid(peer));
            model.links.entry(pid(peer)).or_insert(0);
            Default::default()
        }
        Op::Unlink(peer, id) => {
            let active = model.links.get(&pid(peer)) == Some(&0);
            if active {
                model.links.insert(pid(peer), id);
            }
            (text(&relations.unlink(pid(peer), id)), text(&active))
        }
        Op::Unlinked(peer) => {
            relations.unlinked(pid(peer));
            if model.links.get(&pid(peer)) == Some(&0) {
                model.links.remove(&pid(peer));
            }
            Default::default()
        }
        Op::Acknowledged(peer, id) => {
            relations.acknowledged(pid(peer), id);
            if model.links.get(&pid(peer)) == Some(&id) {
                model.links.remove(&pid(peer));
            }
            Default::default()
        }
        Op::Broke(peer) => {
            (text(&relations.broke(pid(peer))), text(&(model.links.remove(&pid(peer)) == Some(0))))
        }
        Op::AddWatcher(reference, peer) => {
            let watcher = (MonitorRef(reference), pid(peer));
            // A reference is given out once.
            if !model.watchers.contains(&watcher) {
                relations.add_watcher(watcher.0, watcher.1);
                model.watchers.push(watcher);
            }
            Default::default()
        }
        Op::RemoveWatcher(reference, peer) => {
            let watcher = (MonitorRef(reference), pid(peer));
            relations.remove_watcher(watcher.0, watcher.1);
            model.watchers.retain(|other| *other != watcher);
            Default::default()
        }
        Op::AddMonitor(reference, peer, call) => {
            let watch = if call == 0 { Watch::new(pid(peer)) } else { Watch::of_call(pid(peer), call) };
            if let std::collections::btree_map::Entry::Vacant(place) =
                model.monitors.entry(MonitorRef(reference))
            {
                place.insert(watch);
                relations.add_monitor(MonitorRef(reference), watch);
            }
            Default::default()
        }
        Op::RemoveMonitor(reference) => {
            let removed = model.monitors.remove(&MonitorRef(reference));
            (text(&relations.remove_monitor(MonitorRef(reference))), text(&removed))
        }
    }
}

proptest! {
    #[test]
    fn the_one_and_the_tables_are_one_collection(ops in prop::collection::vec(op(), 0..60)) {
        let (mut relations, mut model) = (Relations::default(), Model::default());
        for op in ops {
            let (answer, expected) = apply(op, &mut relations, &mut model);
            prop_assert_eq!(answer, expected, "{:?}", op);
            let all = relations.bereaved();
            let active = model.links.iter().filter(|(_, unlinking)| **unlinking == 0).map(|(peer, _)| *peer);
            prop_assert_eq!(all.links.to_vec(), active.collect::<Vec<_>>());
            prop_assert_eq!(all.watchers.to_vec(), model.watchers.clone());
            let targets = model.monitors.iter().map(|(reference, watch)| (*reference, watch.target));
            prop_assert_eq!(all.monitors.to_vec(), targets.collect::<Vec<_>>());
            let mut monitors: Vec<_> = relations.monitors().collect();
            monitors.sort_unstable_by_key(|(reference, _)| *reference);
            let expected: Vec<_> = model.monitors.iter().map(|(reference, watch)| (*reference, *watch)).collect();
            prop_assert_eq!(monitors, expected);
        }
    }
}

#[test]
fn one_relation_needs_no_table() {
    let mut relations = Relations::default();
    relations.linked(pid(1));
    assert!(relations.broke(pid(1)));
    relations.add_watcher(MonitorRef(1), pid(2));
    relations.remove_watcher(MonitorRef(1), pid(2));
    relations.add_monitor(MonitorRef(2), Watch::new(pid(3)));
    assert_eq!(relations.remove_monitor(MonitorRef(2)), Some(Watch::new(pid(3))));
    assert!(relations.many.is_none());
}

#[test]
fn tables_of_many_are_given_back() {
    let mut relations = Relations::default();
    let references = || (0..100_000_u32).map(|number| (MonitorRef(u64::from(number)), pid(number)));
    for (reference, pid) in references() {
        relations.add_monitor(reference, Watch::new(pid));
        relations.add_watcher(reference, pid);
        assert!(relations.link(pid));
    }
    assert_eq!(relations.watchers().to_vec(), references().collect::<Vec<_>>());
    for (reference, pid) in references() {
        assert_eq!(relations.remove_monitor(reference), Some(Watch::new(pid)));
        relations.remove_watcher(reference, pid);
        assert!(relations.broke(pid));
    }
    let many = relations.many.as_ref().expect("made for the second relation");
    assert_eq!([many.links.capacity(), many.watchers.capacity(), many.monitors.capacity()], [0; 3]);
}

/// Places that so many numbers have in a table of that many, numbers being `1 << gap` apart.
fn places(count: u64, gap: u32, salt: u64) -> usize {
    (0..count).map(|number| hash(number << gap, salt) & (count - 1)).collect::<HashSet<_>>().len()
}

#[test]
fn runs_of_numbers_have_places_of_their_own_and_numbers_with_gaps_are_spread() {
    let count = 1 << 14;
    for salt in [0, 1, 2, 77] {
        assert_eq!(places(count, 0, salt), count as usize, "salt {salt}");
        for gap in 1..24 {
            assert!(
                places(count, gap, salt) >= count as usize / 8,
                "{} of {count}, gap {gap}",
                places(count, gap, salt)
            );
        }
    }
}

#[test]
fn workers_and_nodes_have_runs_of_their_own() {
    let all: HashSet<_> = (0..8)
        .flat_map(|salt| (0..1000_u64).map(move |number| hash(number, salt) & ((1 << 20) - 1)))
        .collect();
    assert!(all.len() >= 7500, "{} places of 8000", all.len());
}
