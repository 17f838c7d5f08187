//! Tables: shared by processes, released with their owner before anybody is told (S2).

mod support;

use engset_runtime::{
    Address, Builder, DownReason, Event, ExitReason, Mailbox, Pid, Received, kill, reduce, self_pid, sleep,
    spawn, spawn_monitor, yield_now,
};
use engset_stdlib::{Access, OrderedTable, Table, TableError};
use proptest::prelude::*;
use std::{collections::BTreeMap, time::Duration};
use support::{down_of, event, eventually, everywhere, threaded, wait_dead};

#[test]
fn operations_on_one_key() {
    everywhere::<()>(|_| {
        let table: Table<String, u32> = Table::new();
        assert_eq!(table.insert("a".into(), 1), Ok(None));
        assert_eq!(table.insert("a".into(), 2), Ok(Some(1)));
        assert_eq!(table.insert_new("a".into(), 3), Ok(false));
        assert_eq!(table.insert_new("b".into(), 3), Ok(true));
        assert_eq!(table.lookup("a"), Ok(Some(2)));
        assert_eq!(table.lookup("c"), Ok(None));
        assert_eq!(table.with("b", |value| value.map(|value| value * 2)), Ok(Some(6)));
        assert_eq!((table.contains("a"), table.contains("c")), (Ok(true), Ok(false)));
        assert_eq!(table.update("a", |value| std::mem::replace(value, 9)), Ok(Some(2)));
        assert_eq!(table.update("c", |value| *value), Ok(None));
        assert_eq!(table.update_or_insert("c".into(), || 5, |value| *value += 1), Ok(()));
        assert_eq!(table.take("c"), Ok(Some(("c".into(), 6))));
        assert_eq!((table.delete("b"), table.delete("b")), (Ok(true), Ok(false)));
        assert_eq!((table.len(), table.is_empty()), (Ok(1), Ok(false)));
        assert_eq!(table.clear(), Ok(()));
        assert_eq!(table.is_empty(), Ok(true));
    });
}

#[test]
fn counters_stay_in_range_and_are_typed() {
    everywhere::<()>(|_| {
        let table: Table<&str, u8> = Table::new();
        assert_eq!(table.update_counter("a", 1), Err(TableError::Missing));
        assert_eq!(table.update_counter_or("a", 5, 250), Ok(255));
        assert_eq!(table.update_counter("a", 1), Err(TableError::Overflow { by: 1 }));
        assert_eq!(table.update_counter("a", -256), Err(TableError::Overflow { by: -256 }));
        assert_eq!(table.update_counter("a", -255), Ok(0));
        let large: Table<(), u64> = Table::new();
        assert_eq!(large.update_counter_or((), i64::MIN, u64::MAX), Ok(u64::MAX >> 1));
    });
}

#[test]
fn an_ordered_table_goes_forward_and_back_in_order() {
    everywhere::<()>(|_| {
        let table = OrderedTable::new();
        for key in [5, 1, 9, 3, 7] {
            table.insert(key, key * 10).unwrap();
        }
        assert_eq!((table.first(), table.last()), (Ok(Some((1, 10))), Ok(Some((9, 90)))));
        assert_eq!(
            (table.next(&5), table.next(&6), table.next(&9)),
            (Ok(Some((7, 70))), Ok(Some((7, 70))), Ok(None))
        );
        assert_eq!(
            (table.prev(&5), table.prev(&4), table.prev(&1)),
            (Ok(Some((3, 30))), Ok(Some((3, 30))), Ok(None))
        );
        assert_eq!(table.range(3..=7), Ok(vec![(3, 30), (5, 50), (7, 70)]));
        assert_eq!(table.select(|key, _| (*key > 3).then_some(*key)), Ok(vec![5, 7, 9]));
        #[allow(clippy::reversed_empty_ranges, reason = "it is the question")]
        let reversed = table.range(7..3);
        assert_eq!(reversed, Ok(vec![]));
        assert_eq!(table.take_first(), Ok(Some((1, 10))));
        assert_eq!(table.fold(0, |sum, key, _| sum + key), Ok(24));
        assert_eq!(table.delete_where(|key, _| *key < 6), Ok(2));
        assert_eq!(table.select(|key, _| Some(*key)), Ok(vec![7, 9]));
    });
}

#[test]
fn a_table_is_gone_with_its_name_before_down_leaves() {
    everywhere::<Table<u32, u32>>(|mailbox| {
        let me = mailbox.address();
        let (owner, _) = spawn_monitor(move |mut own: Mailbox<()>| {
            let table = Table::builder().name("prices").create().unwrap();
            table.insert(1, 1).unwrap();
            me.send(table);
            own.message();
        });
        let table = mailbox.message();
        assert_eq!((table.owner(), table.lookup(&1)), (Some(owner.pid()), Ok(Some(1))));
        let taken = Table::<u32, u32>::builder().name("prices").create().unwrap_err();
        assert_eq!(taken, TableError::NameTaken { name: "prices".into() });
        kill(owner);
        down_of(mailbox, owner.pid());
        assert_eq!(table.lookup(&1), Err(TableError::Gone));
        assert_eq!(table.insert(1, 1), Err(TableError::Gone));
        assert_eq!((table.owner(), table.len()), (None, Err(TableError::Gone)));
        let again: Table<u32, u32> = Table::builder().name("prices").create().unwrap();
        assert_eq!(again.is_empty(), Ok(true));
    });
}

#[test]
fn a_named_table_is_found_with_its_types() {
    everywhere::<()>(|_| {
        let table: OrderedTable<u32, &str> = OrderedTable::builder().name("n").create().unwrap();
        table.insert(1, "one").unwrap();
        assert_eq!(OrderedTable::<u32, &str>::named("n").unwrap().lookup(&1), Ok(Some("one")));
        assert!(matches!(Table::<u32, &str>::named("n"), Err(TableError::WrongType { .. })));
        assert!(matches!(OrderedTable::<u32, u32>::named("n"), Err(TableError::WrongType { .. })));
        assert!(matches!(Table::<u32, u32>::named("m"), Err(TableError::NameUnknown { .. })));
        assert_eq!(table.delete_table(), Ok(()));
        assert_eq!(table.delete_table(), Err(TableError::Gone));
        assert!(matches!(OrderedTable::<u32, &str>::named("n"), Err(TableError::NameUnknown { .. })));
    });
}

#[test]
fn protected_and_private_tables_refuse_others() {
    everywhere::<()>(|mailbox| {
        let protected: Table<u32, u32> = Table::builder().access(Access::Protected).create().unwrap();
        let private: Table<u32, u32> = Table::builder().access(Access::Private).create().unwrap();
        protected.insert(1, 1).unwrap();
        private.insert(1, 1).unwrap();
        assert_eq!(private.lookup(&1), Ok(Some(1)));
        let owner = self_pid();
        let (other, _) = spawn_monitor(move || {
            let denied = |access| TableError::Denied { owner, access };
            assert_eq!(protected.lookup(&1), Ok(Some(1)));
            assert_eq!(protected.insert(1, 2), Err(denied(Access::Protected)));
            assert_eq!(protected.delete_table(), Err(denied(Access::Protected)));
            assert_eq!(private.lookup(&1), Err(denied(Access::Private)));
            assert_eq!(private.len(), Err(denied(Access::Private)));
            assert_eq!(protected.clear_heir(), Err(denied(Access::Protected)));
        });
        assert_eq!(down_of(mailbox, other), DownReason::Exited(ExitReason::Normal));
    });
}

#[derive(Debug)]
struct Inherited(Table<u32, u32>, Pid);

#[test]
fn the_heir_gets_the_table_before_it_hears_of_the_death() {
    everywhere::<Inherited>(|mailbox| {
        let heir = mailbox.address();
        let (owner, _) = spawn_monitor(move || {
            let table = Table::builder().heir(heir, Inherited).access(Access::Protected).create().unwrap();
            table.insert(1, 42).unwrap();
        });
        let Received::Message(Inherited(table, from)) = mailbox.receive() else { panic!("Down came first") };
        assert_eq!((from, table.owner()), (owner, Some(self_pid())));
        assert_eq!(table.lookup(&1), Ok(Some(42)));
        table.insert(1, 43).unwrap();
        assert_eq!(down_of(mailbox, owner), DownReason::Exited(ExitReason::Normal));
    });
}

#[test]
fn a_dead_heir_inherits_nothing() {
    everywhere::<Inherited>(|mailbox| {
        let heir = spawn(|_: Mailbox<Inherited>| ());
        wait_dead(heir.pid());
        let (report, _) = spawn_monitor(move |mut own: Mailbox<Address<Inherited>>| {
            let to = own.message();
            let table = Table::builder().heir(heir, Inherited).create().unwrap();
            to.send(Inherited(table, self_pid()));
        });
        report.send(mailbox.address());
        let Received::Message(Inherited(table, owner)) = mailbox.receive() else { panic!("no table") };
        down_of(mailbox, owner);
        assert_eq!(table.lookup(&1), Err(TableError::Gone));
    });
}

#[test]
fn a_table_that_was_given_away_lives_and_dies_with_its_new_owner() {
    everywhere::<Inherited>(|mailbox| {
        let me = mailbox.address();
        let (old, _) = spawn_monitor(move || {
            let table = Table::new();
            table.insert(1, 1).unwrap();
            table.give_away(me, |table| Inherited(table, self_pid())).unwrap();
            assert!(matches!(
                table.give_away(me, |table| Inherited(table, self_pid())),
                Err(TableError::Denied { .. })
            ));
        });
        assert_eq!(down_of(mailbox, old), DownReason::Exited(ExitReason::Normal));
        let Inherited(table, _) = mailbox.message();
        assert_eq!((table.owner(), table.lookup(&1)), (Some(self_pid()), Ok(Some(1))));
        let (next, _) = spawn_monitor(|mut own: Mailbox<Inherited>| {
            own.message();
        });
        table.give_away(next, |table| Inherited(table, self_pid())).unwrap();
        down_of(mailbox, next.pid());
        assert_eq!(table.lookup(&1), Err(TableError::Gone));
        let mine: Table<u32, u32> = Table::new();
        assert_eq!(
            mine.give_away(next, |table| Inherited(table, self_pid())),
            Err(TableError::Dead(next.pid()))
        );
        assert_eq!(mine.owner(), Some(self_pid()));
    });
}

#[test]
fn what_is_killed_in_a_closure_leaves_no_lock_behind() {
    everywhere::<()>(|_| {
        let table: Table<u32, u64> = Table::new();
        (0..8).for_each(|key| drop(table.insert(key, 0)));
        for _ in 0..10 {
            let writers: Vec<Pid> = (0..4)
                .map(|_| {
                    let table = table.clone();
                    spawn(move || {
                        loop {
                            for key in 0..8 {
                                // Reduction points within the closure: where it would be interrupted or killed.
                                let twice = |value: &mut u64| {
                                    *value += 1;
                                    (0..3).for_each(|_| reduce(3000));
                                    *value += 1;
                                };
                                table.update(&key, twice).unwrap();
                            }
                        }
                    })
                })
                .collect();
            (0..5).for_each(|_| yield_now());
            writers.iter().for_each(|pid| kill(*pid));
            writers.iter().for_each(|pid| wait_dead(*pid));
            let all = table.select(|_, value| Some(*value)).unwrap();
            assert!(all.iter().all(|value| value % 2 == 0), "interrupted within: {all:?}");
        }
        table.clear().unwrap();
    });
}

#[test]
fn a_closure_that_panics_or_comes_back_leaves_the_table_usable() {
    everywhere::<()>(|mailbox| {
        let table: Table<u32, u32> = Table::new();
        table.insert(1, 1).unwrap();
        let inner = table.clone();
        let (panics, _) = spawn_monitor(move || drop(inner.update(&1, |_| panic!("in a closure"))));
        assert!(matches!(down_of(mailbox, panics), DownReason::Exited(ExitReason::Panic(_))));
        let inner = table.clone();
        let (nested, _) = spawn_monitor(move || drop(inner.update(&1, |_| drop(inner.lookup(&1)))));
        let DownReason::Exited(ExitReason::Panic(panic)) = down_of(mailbox, nested) else {
            panic!("no panic")
        };
        assert!(panic.message.contains("come back to a table"), "{}", panic.message);
        assert_eq!(table.insert(1, 2), Ok(Some(1)));
        assert_eq!(table.select(|_, value| Some(*value)), Ok(vec![2]));
    });
}

#[test]
fn an_iteration_sees_what_stays_exactly_once_while_others_write() {
    fn check(table: &Table<u32, u32>, ordered: &OrderedTable<u32, u32>, mailbox: &mut Mailbox<()>) {
        for key in 0..600 {
            table.insert(key * 2, key).unwrap();
            ordered.insert(key * 2, key).unwrap();
        }
        let (hash, tree) = (table.clone(), ordered.clone());
        let (writer, _) = Builder::new()
            .spawn_monitor(move || {
                for round in 0..40 {
                    for key in (round..300).step_by(7) {
                        hash.insert(key * 2 + 1, 0).unwrap();
                        tree.insert(key * 2 + 1, 0).unwrap();
                        hash.delete(&(key * 2 + 1)).unwrap();
                        tree.delete(&(key * 2 + 1)).unwrap();
                    }
                }
            })
            .unwrap();
        for _ in 0..10 {
            let even = |key: &u32, _: &u32| key.is_multiple_of(2).then_some(*key);
            let expected: Vec<u32> = (0..600).map(|key| key * 2).collect();
            assert_eq!(ordered.select(even).unwrap(), expected);
            let mut seen = table.select(even).unwrap();
            seen.sort_unstable();
            assert_eq!(seen, expected);
            yield_now();
        }
        kill(writer);
        let Event::Down(_) = event(mailbox) else { panic!("no Down") };
    }
    everywhere::<()>(|mailbox| check(&Table::new(), &OrderedTable::new(), mailbox));
}

#[test]
fn many_processes_add_and_nothing_is_lost() {
    threaded::<()>(|mailbox| {
        let (table, ordered) = (Table::new(), OrderedTable::new());
        let workers: Vec<Pid> = (0..8)
            .map(|_| {
                let (table, ordered) = (table.clone(), ordered.clone());
                spawn_monitor(move || {
                    for round in 0..2000_u32 {
                        table.update_counter_or(round % 10, 1, 0_u64).unwrap();
                        ordered.update_counter_or(round % 10, 1, 0_u64).unwrap();
                    }
                })
                .0
            })
            .collect();
        for pid in workers {
            assert_eq!(down_of(mailbox, pid), DownReason::Exited(ExitReason::Normal));
        }
        assert_eq!(table.fold(0, |sum, _, value| sum + value), Ok(16_000));
        assert_eq!(ordered.select(|_, value| Some(*value)), Ok(vec![1600; 10]));
    });
}

#[test]
fn a_write_that_races_with_the_owners_death_leaves_nothing() {
    everywhere::<Table<u32, std::sync::Arc<()>>>(|mailbox| {
        let value = std::sync::Arc::new(());
        let me = mailbox.address();
        let (owner, _) = spawn_monitor(move || {
            me.send(Table::new());
            reduce(10);
        });
        let table = mailbox.message();
        for key in 0..1000 {
            if table.insert(key, std::sync::Arc::clone(&value)) == Err(TableError::Gone) {
                break;
            }
            yield_now();
        }
        down_of(mailbox, owner);
        eventually("all values are dropped", || std::sync::Arc::strong_count(&value) == 1);
    });
}

#[test]
fn outside_of_a_process_there_is_no_table() {
    let made = Table::<u32, u32>::builder().create();
    assert_eq!(made.err(), Some(TableError::OutsideOfProcess));
    let found = Table::<u32, u32>::named("x");
    assert_eq!(found.err(), Some(TableError::OutsideOfProcess));
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u8, u32),
    InsertNew(u8, u32),
    Take(u8),
    Add(u8, i64),
    DeleteBelow(u32),
    Next(u8),
    Prev(u8),
    Range(u8, u8),
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (any::<u8>(), any::<u32>()).prop_map(|(key, value)| Op::Insert(key, value)),
        4 => (any::<u8>(), any::<u32>()).prop_map(|(key, value)| Op::InsertNew(key, value)),
        4 => any::<u8>().prop_map(Op::Take),
        4 => (any::<u8>(), any::<i64>()).prop_map(|(key, by)| Op::Add(key, by >> 33)),
        1 => any::<u32>().prop_map(Op::DeleteBelow),
        2 => any::<u8>().prop_map(Op::Next),
        2 => any::<u8>().prop_map(Op::Prev),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(from, to)| Op::Range(from, to)),
        1 => Just(Op::Clear),
    ]
}

fn check(ops: &[Op]) {
    let (hash, tree): (Table<u8, u32>, OrderedTable<u8, u32>) = (Table::new(), OrderedTable::new());
    let mut model = BTreeMap::new();
    for op in ops {
        match *op {
            Op::Insert(key, value) => {
                let old = model.insert(key, value);
                assert_eq!((hash.insert(key, value), tree.insert(key, value)), (Ok(old), Ok(old)));
            }
            Op::InsertNew(key, value) => {
                let new = !model.contains_key(&key);
                model.entry(key).or_insert(value);
                assert_eq!((hash.insert_new(key, value), tree.insert_new(key, value)), (Ok(new), Ok(new)));
            }
            Op::Take(key) => {
                let old = model.remove(&key).map(|value| (key, value));
                assert_eq!((hash.take(&key), tree.take(&key)), (Ok(old), Ok(old)));
            }
            Op::Add(key, by) => {
                let expected = match model.get_mut(&key) {
                    None => Err(TableError::Missing),
                    Some(value) => match u32::try_from(i64::from(*value) + by) {
                        Ok(sum) => {
                            *value = sum;
                            Ok(sum)
                        }
                        Err(_) => Err(TableError::Overflow { by }),
                    },
                };
                assert_eq!(hash.update_counter(&key, by), expected);
                assert_eq!(tree.update_counter(&key, by), expected);
            }
            Op::DeleteBelow(limit) => {
                let before = model.len();
                model.retain(|_, value| *value >= limit);
                let deleted = Ok(before - model.len());
                assert_eq!(hash.delete_where(|_, value| *value < limit), deleted);
                assert_eq!(tree.delete_where(|_, value| *value < limit), deleted);
            }
            Op::Next(key) => {
                let next =
                    model.range(key..).find(|(other, _)| **other > key).map(|(key, value)| (*key, *value));
                assert_eq!(tree.next(&key), Ok(next));
            }
            Op::Prev(key) => {
                let prev = model.range(..key).next_back().map(|(key, value)| (*key, *value));
                assert_eq!(tree.prev(&key), Ok(prev));
            }
            Op::Range(from, to) => {
                let in_range = |key: &u8| (from..to).contains(key);
                let all: Vec<(u8, u32)> = model
                    .iter()
                    .filter(|(key, _)| in_range(key))
                    .map(|(key, value)| (*key, *value))
                    .collect();
                assert_eq!(tree.range(from..to), Ok(all));
            }
            Op::Clear => {
                model.clear();
                assert_eq!((hash.clear(), tree.clear()), (Ok(()), Ok(())));
            }
        }
    }
    let all: Vec<(u8, u32)> = model.into_iter().collect();
    assert_eq!(tree.select(|key, value| Some((*key, *value))).unwrap(), all);
    let mut unordered = hash.select(|key, value| Some((*key, *value))).unwrap();
    unordered.sort_unstable();
    assert_eq!(unordered, all);
    assert_eq!((hash.len(), tree.len()), (Ok(all.len()), Ok(all.len())));
    sleep(Duration::from_millis(1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn tables_do_what_a_map_does(ops in prop::collection::vec(op(), 0..300)) {
        let config = engset_runtime::Config::new().seed(1).crash_reports_per_second(0);
        let run = engset_runtime::run_with(config, move || check(&ops));
        prop_assert!(run.is_ok(), "{:?}", run.err());
    }
}
