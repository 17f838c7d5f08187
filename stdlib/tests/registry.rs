//! Registries: keys of any type, cleaned when their processes end.

mod support;

use engset_runtime::{
    Address, CallError, DownReason, Mailbox, Pid, kill, self_pid, sleep, spawn, trap_exits,
};
use engset_stdlib::{RegisterError, Registry};
use std::time::Duration;
use support::{eventually, everywhere, nothing_more};

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
        assert_eq!(registry.unregister(&1), Ok(2));
        assert_eq!(registry.unregister(&1), Ok(0));
        assert_eq!(registry.lookup(&1), [(other, 'o')]);
        assert_eq!(registry.lookup(&2), [(self_pid(), 'c')]);
        assert_eq!(registry.unregister(&2), Ok(1));
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
