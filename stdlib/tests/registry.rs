//! Registries: keys of any type, cleaned when their processes end.

mod support;

use engset_runtime::{
    Address, CallError, DownReason, Mailbox, Pid, Received, Reply, kill, self_pid, sleep, spawn,
    spawn_monitor, trap_exits,
};
use engset_stdlib::{
    Destination, GenServer, Next, RegisterError, Registry, RegistryChange, StartError, from_fn,
};
use proptest::prelude::*;
use std::time::Duration;
use support::{down_of, eventually, everywhere, nothing_more};

fn sleeper() -> Pid {
    spawn(|| sleep(Duration::MAX))
}

#[test]
fn a_unique_key_has_one_process_at_most() {
    everywhere::<()>(|_| {
        let registry = Registry::unique().start_link().unwrap();
        let (first, second) = (sleeper(), sleeper());
        assert_eq!(registry.register_for(first, ("room", 1), 'a'), Ok(()));
        let taken = Err(RegisterError::Taken { by: first });
        assert_eq!(registry.register_for(second, ("room", 1), 'b'), taken);
        assert_eq!(registry.register_for(first, ("room", 1), 'c'), taken);
        assert_eq!(
            registry.register_for(first, ("room", 2), 'd'),
            Ok(()),
            "another key for the same process"
        );
        assert_eq!(registry.get(&("room", 1)), Some('a'));
        assert_eq!(registry.get(&("room", 3)), None);
        assert_eq!(registry.len(), 2);
    });
}

#[test]
fn a_duplicate_key_has_many_the_oldest_first() {
    everywhere::<()>(|_| {
        let registry = Registry::duplicate().start_link().unwrap();
        let (first, second) = (sleeper(), sleeper());
        for (pid, value) in [(first, 1), (second, 2), (first, 3)] {
            registry.register_for(pid, "topic", value).unwrap();
        }
        assert_eq!(registry.lookup(&"topic"), [(first, 1), (second, 2), (first, 3)]);
        kill(first);
        eventually("the dead one's entries go", || registry.lookup(&"topic") == [(second, 2)]);
    });
}

#[test]
fn the_key_of_a_dead_process_can_be_had_at_once() {
    everywhere::<()>(|_| {
        let registry = Registry::unique().start_link().unwrap();
        for round in 0..20 {
            let pid = sleeper();
            assert_eq!(registry.register_for(pid, "key", round), Ok(()));
            kill(pid);
            support::wait_dead(pid);
        }
        eventually("none is left", || registry.is_empty());
    });
}

#[test]
fn a_process_that_is_dead_already_is_cleaned_too() {
    everywhere::<()>(|_| {
        let registry = Registry::duplicate().start_link().unwrap();
        let dead = spawn(|| ());
        support::wait_dead(dead);
        registry.register_for(dead, 1, ()).unwrap();
        eventually("it goes", || registry.is_empty());
    });
}

#[test]
fn unregister_takes_the_callers_entries_under_the_key() {
    everywhere::<()>(|mailbox| {
        let registry = Registry::duplicate().start_link().unwrap();
        let other = sleeper();
        registry.register_for(other, 1, 'o').unwrap();
        registry.register(1, 'a').unwrap();
        registry.register(1, 'b').unwrap();
        registry.register(2, 'c').unwrap();
        assert_eq!(registry.unregister(&1), 2);
        assert_eq!(registry.unregister(&1), 0);
        assert_eq!(registry.lookup(&1), [(other, 'o')]);
        assert_eq!(registry.lookup(&2), [(self_pid(), 'c')]);
        assert_eq!(registry.unregister(&2), 1);
        assert_eq!(registry.keys(), [1]);
        nothing_more(mailbox);
    });
}

#[test]
fn a_broadcast_reaches_all_under_the_key() {
    everywhere(|mailbox: &mut Mailbox<u32>| {
        let registry: Registry<&str, Address<u32>> = Registry::duplicate().start_link().unwrap();
        registry.register("even", mailbox.address()).unwrap();
        registry.register("even", mailbox.address()).unwrap();
        assert_eq!(registry.broadcast(&"even", &4), 2);
        assert_eq!(registry.broadcast(&"odd", &3), 0);
        assert_eq!((mailbox.message(), mailbox.message()), (4, 4));
    });
}

#[test]
fn a_registry_that_is_dead_has_no_entries_and_takes_none() {
    everywhere::<()>(|_| {
        trap_exits(true);
        let registry = Registry::unique().start_link().unwrap();
        registry.register("key", 1).unwrap();
        kill(registry.pid());
        support::wait_dead(registry.pid());
        assert_eq!(registry.get(&"key"), None);
        let refused = registry.register("key", 2);
        assert_eq!(refused, Err(RegisterError::Registry(CallError::Down(DownReason::NoProc))));
    });
}

#[test]
fn entries_are_gone_when_down_comes() {
    everywhere::<()>(|mailbox| {
        let registry = Registry::unique().start_link().unwrap();
        for round in 0..20 {
            let inner = registry.clone();
            let (pid, _) = spawn_monitor(move || inner.register("key", round).unwrap());
            down_of(mailbox, pid);
            assert_eq!((registry.get(&"key"), registry.keys_of(pid)), (None, vec![]));
            assert_eq!(registry.register("key", 0), Ok(()));
            assert_eq!(registry.unregister(&"key"), 1);
        }
    });
}

#[test]
fn values_are_updated_by_their_owner_only() {
    everywhere::<()>(|_| {
        let registry = Registry::unique().start_link().unwrap();
        registry.register("mine", 1).unwrap();
        registry.register_for(sleeper(), "other", 1).unwrap();
        assert_eq!(registry.update(&"mine", |value| value + 1), Some(1));
        assert_eq!(registry.update(&"other", |value| value + 1), None);
        assert_eq!(registry.update(&"none", |value| value + 1), None);
        assert_eq!((registry.get(&"mine"), registry.get(&"other")), (Some(2), Some(1)));
    });
}

#[test]
fn entries_are_selected_counted_and_dispatched() {
    everywhere::<()>(|_| {
        let registry = Registry::duplicate().start_link().unwrap();
        let other = sleeper();
        for (key, value) in [("a", 1), ("b", 2), ("a", 3)] {
            registry.register(key, value).unwrap();
        }
        registry.register_for(other, "a", 4).unwrap();
        assert_eq!(registry.keys_of(self_pid()), ["a", "b", "a"]);
        assert_eq!(registry.whereis(&"b"), Some(self_pid()));
        assert_eq!(registry.count(|_, pid, value| pid == self_pid() && *value > 1), 2);
        let mut of_a = registry.select(|key, _, value| (*key == "a").then_some(*value));
        of_a.sort_unstable();
        assert_eq!(of_a, [1, 3, 4]);
        let sum = |entries: &[(Pid, i32)]| entries.iter().map(|(_, value)| value).sum::<i32>();
        assert_eq!((registry.dispatch(&"a", sum), registry.dispatch(&"c", sum)), (Some(8), None));
        assert_eq!(registry.unregister_where(&"a", |value| *value > 1), 1);
        assert_eq!(registry.keys_of(self_pid()), ["a", "b"]);
    });
}

#[test]
fn a_subscriber_learns_each_change_in_order_and_nothing_else() {
    everywhere::<RegistryChange<u32, char>>(|mailbox| {
        let registry = Registry::unique().start_link().unwrap();
        let (me, other) = (self_pid(), sleeper());
        registry.register(1, 'a').unwrap();
        let only_small = |change: &RegistryChange<u32, char>| (*change.key() < 10).then(|| change.clone());
        let (now, subscription) = registry.subscribe(mailbox.address(), only_small).unwrap();
        assert_eq!(now, [(1, me, 'a')]);
        registry.register_for(other, 2, 'b').unwrap();
        registry.register(20, 'x').unwrap();
        registry.update(&1, |_| 'c');
        registry.unregister(&1);
        kill(other);
        let changes: Vec<_> = (0..4).map(|_| mailbox.message()).collect();
        assert_eq!(
            changes,
            [
                RegistryChange::Registered { key: 2, pid: other, value: 'b' },
                RegistryChange::Updated { key: 1, pid: me, value: 'c' },
                RegistryChange::Unregistered { key: 1, pid: me, value: 'c' },
                RegistryChange::Unregistered { key: 2, pid: other, value: 'b' },
            ]
        );
        assert!(registry.unsubscribe(subscription));
        assert!(!registry.unsubscribe(subscription));
        registry.register(3, 'd').unwrap();
        nothing_more(mailbox);
    });
}

#[test]
fn what_a_subscriber_saw_and_heard_is_the_whole_story() {
    everywhere::<RegistryChange<u32, u32>>(|mailbox| {
        let registry = Registry::duplicate().start_link().unwrap();
        for worker in 0..6 {
            let registry = registry.clone();
            spawn_monitor(move || {
                for round in 0..5 {
                    registry.register((worker + round) % 4, worker * 10 + round).unwrap();
                    engset_runtime::yield_now();
                }
                registry.unregister(&1);
            });
        }
        engset_runtime::yield_now();
        let (now, _) = registry.subscribe(mailbox.address(), |change| Some(change.clone())).unwrap();
        let mut told: Vec<(u32, Pid, u32)> = now;
        let mut living = 6;
        // All workers end, so in the end there is nothing.
        loop {
            let there_is_more = living > 0 || !told.is_empty();
            let patience = Duration::from_millis(if there_is_more { 20_000 } else { 20 });
            let change = match mailbox.receive_timeout(patience) {
                None => break assert!(!there_is_more, "not told of: {told:?}"),
                Some(Received::Event(_)) => {
                    living -= 1;
                    continue;
                }
                Some(Received::Message(change)) => change,
            };
            match change {
                RegistryChange::Registered { key, pid, value } => told.push((key, pid, value)),
                RegistryChange::Unregistered { key, pid, value } => {
                    let at = told.iter().position(|it| *it == (key, pid, value)).expect("told before");
                    told.remove(at);
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(registry.is_empty());
    });
}

#[test]
fn a_server_started_via_a_key_is_called_by_it_after_a_restart_too() {
    everywhere::<()>(|_| {
        trap_exits(true);
        let registry: Registry<(&str, u32), Address<Reply<Pid>>> =
            Registry::unique().name("rooms").start_link().unwrap();
        let server = || {
            from_fn((), |(), reply: Reply<Pid>, _| {
                reply.send(self_pid());
                Next::wait()
            })
        };
        let same = Registry::<(&str, u32), Address<Reply<Pid>>>::named("rooms").unwrap();
        let via = same.via(("room", 1));
        assert_eq!(via.call_to(|reply| reply), Err(CallError::Down(DownReason::NoProc)));
        let first = server().options().via(&registry, ("room", 1)).start_link().unwrap();
        assert_eq!(via.call_to(|reply| reply), Ok(first.pid()));
        let taken = server().options().via(&registry, ("room", 1)).start_link();
        assert_eq!(taken, Err(StartError::Register(RegisterError::Taken { by: first.pid() })));
        kill(first);
        support::wait_dead(first.pid());
        let second = server().options().via(&registry, ("room", 1)).start_link().unwrap();
        assert_eq!(via.call_to(|reply| reply), Ok(second.pid()));
        assert!(Registry::<u32, u32>::named("rooms").is_err(), "of other types");
    });
}

#[derive(Clone, Debug)]
enum Op {
    Register(usize, u8),
    Unregister(usize, u8),
    Kill(usize),
}

/// `unique`, or as many as one likes; what a map of the entries says.
fn check(unique: bool, ops: &[Op]) {
    let builder = if unique { Registry::unique() } else { Registry::duplicate() };
    let registry = builder.start_link().unwrap();
    let unregisterer = registry.clone();
    let member = move || {
        let registry = unregisterer.clone();
        spawn(move |mut mailbox: Mailbox<(u8, Reply<usize>)>| {
            loop {
                let (key, reply) = mailbox.message();
                reply.send(registry.unregister(&key));
            }
        })
    };
    let mut members: Vec<Address<(u8, Reply<usize>)>> = (0..4).map(|_| member()).collect();
    let mut model: Vec<(u8, Pid, usize)> = Vec::new();
    for (number, op) in ops.iter().enumerate() {
        match *op {
            Op::Register(who, key) => {
                let pid = members[who].pid();
                let taken = model.iter().find(|entry| unique && entry.0 == key).map(|entry| entry.1);
                let expected = match taken {
                    Some(by) => Err(RegisterError::Taken { by }),
                    None => Ok(()),
                };
                assert_eq!(registry.register_for(pid, key, number), expected);
                if taken.is_none() {
                    model.push((key, pid, number));
                }
            }
            Op::Unregister(who, key) => {
                let pid = members[who].pid();
                let before = model.len();
                model.retain(|entry| (entry.0, entry.1) != (key, pid));
                assert_eq!(members[who].call(|reply| (key, reply)), Ok(before - model.len()));
            }
            Op::Kill(who) => {
                let pid = members[who].pid();
                kill(pid);
                support::wait_dead(pid);
                model.retain(|entry| entry.1 != pid);
                members[who] = member();
            }
        }
        for key in 0..4 {
            let expected: Vec<(Pid, usize)> =
                model.iter().filter(|entry| entry.0 == key).map(|entry| (entry.1, entry.2)).collect();
            assert_eq!(registry.lookup(&key), expected);
        }
        for member in &members {
            let keys: Vec<u8> =
                model.iter().filter(|entry| entry.1 == member.pid()).map(|entry| entry.0).collect();
            assert_eq!(registry.keys_of(*member), keys);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn a_registry_does_what_a_list_of_entries_does(
        unique: bool,
        ops in prop::collection::vec(
            prop_oneof![
                4 => (0..4_usize, 0..4_u8).prop_map(|(who, key)| Op::Register(who, key)),
                2 => (0..4_usize, 0..4_u8).prop_map(|(who, key)| Op::Unregister(who, key)),
                1 => (0..4_usize).prop_map(Op::Kill),
            ],
            0..60,
        ),
    ) {
        let config = engset_runtime::Config::new().seed(1).crash_reports_per_second(0);
        let run = engset_runtime::run_with(config, move || check(unique, &ops));
        prop_assert!(run.is_ok(), "{:?}", run.err());
    }
}

#[test]
fn a_closure_that_comes_back_panics_and_harms_nothing() {
    everywhere::<()>(|mailbox| {
        let registry = Registry::unique().start_link().unwrap();
        registry.register("key", 1).unwrap();
        let inner = registry.clone();
        let (back, _) = spawn_monitor(move || drop(inner.select(|_, _, _| inner.get(&"key"))));
        let reason = down_of(mailbox, back).to_string();
        assert!(reason.contains("come back"), "{reason}");
        assert_eq!(registry.register("other", 2), Ok(()));
    });
}
