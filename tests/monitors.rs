//! S5: monitors.

mod support;

use engset::{
    Config, DownReason, Event, ExitReason, Mailbox, Node, Received, demonitor, exit, exit_self, is_alive,
    kill, monitor, monitor_name, process_info, register, self_pid, sleep, spawn, spawn_monitor, unregister,
    yield_now,
};
use std::{collections::HashSet, time::Duration};
use support::{assert_silence, await_end, boom, both, both_with, down_of};

#[test]
fn a_monitor_of_a_dead_process_fires_with_noproc() {
    both(|mut mailbox: Mailbox<()>| {
        let (victim, reference) = spawn_monitor(|| exit_self(boom()));
        let down = down_of(&mut mailbox, reference);
        assert_eq!((down.pid, down.reason), (victim, DownReason::Exited(boom())));
        let late = monitor(victim);
        let down = down_of(&mut mailbox, late);
        assert_eq!((down.pid, down.reason), (victim, DownReason::NoProc));
        assert_silence(&mut mailbox);
    });
}

#[test]
fn each_monitor_has_its_own_reference_and_fires_exactly_once() {
    both(|mut mailbox: Mailbox<()>| {
        let victim = spawn(|| sleep(Duration::MAX));
        let references: HashSet<_> = (0..10).map(|_| monitor(victim)).collect();
        assert_eq!(references.len(), 10);
        exit(victim, boom());
        let mut fired = HashSet::new();
        for _ in 0..10 {
            match mailbox.receive() {
                Received::Event(Event::Down(down)) => assert!(fired.insert(down.reference), "fired twice"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(fired, references);
        assert_silence(&mut mailbox);
    });
}

#[test]
fn the_verdict_tells_how_the_process_really_ended_however_soon() {
    both_with(Config::new(), Some(1), |mut mailbox: Mailbox<()>| {
        let (_, normal) = spawn_monitor(|| ());
        let (_, shutdown) = spawn_monitor(|| exit_self(ExitReason::Shutdown));
        let (_, kill_chosen) = spawn_monitor(|| exit_self(ExitReason::Kill));
        let (killed_pid, killed) = spawn_monitor(|| sleep(Duration::MAX));
        kill(killed_pid);
        let (_, panicked) = spawn_monitor(|| panic!("ouch"));
        let mut reason = |reference| match down_of(&mut mailbox, reference).reason {
            DownReason::Exited(reason) => reason,
            other => panic!("{other}"),
        };
        assert_eq!(reason(normal), ExitReason::Normal);
        assert_eq!(reason(shutdown), ExitReason::Shutdown);
        assert_eq!(reason(kill_chosen), ExitReason::Kill);
        assert_eq!(reason(killed), ExitReason::Killed);
        assert_eq!(reason(panicked).panic().expect("a panic").message, "ouch");
    });
}

#[test]
fn a_monitor_of_a_process_on_a_node_that_is_gone_fires_with_noconnection() {
    let node = Node::start(Config::new().workers(1)).expect("a node");
    let far = node.spawn(|| sleep(Duration::MAX)).expect("a process");
    assert!(node.stop());
    both(move |mut mailbox: Mailbox<()>| {
        let reference = monitor(far);
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::NoConnection);
    });
}

#[test]
fn a_demonitor_before_the_end_leaves_no_down() {
    both(|mut mailbox: Mailbox<()>| {
        for work in 0..20_u32 {
            let (victim, reference) = spawn_monitor(move || {
                engset::reduce(work * 300);
            });
            if work % 2 == 0 {
                yield_now();
            }
            let had_not_fired = demonitor(reference, true);
            assert_silence(&mut mailbox);
            assert!(!demonitor(reference, true), "the second time there is nothing to end");
            await_end(&mut mailbox, victim);
            assert_silence(&mut mailbox);
            let _ = had_not_fired;
        }
    });
}

#[test]
fn a_demonitor_says_whether_the_monitor_had_fired() {
    both(|mut mailbox: Mailbox<()>| {
        let (victim, reference) = spawn_monitor(|| sleep(Duration::MAX));
        assert!(demonitor(reference, false));
        let reference = monitor(victim);
        kill(victim);
        await_end(&mut mailbox, victim);
        assert!(!demonitor(reference, false), "its Down is in the mailbox");
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
    });
}

#[test]
fn a_demonitor_with_flush_takes_out_its_own_down_only() {
    both(|mut mailbox: Mailbox<()>| {
        let victim = spawn(|| sleep(Duration::MAX));
        let first = monitor(victim);
        let second = monitor(victim);
        let third = monitor(victim);
        kill(victim);
        await_end(&mut mailbox, victim);
        assert!(!demonitor(second, true));
        assert!(matches!(mailbox.receive(), Received::Event(Event::Down(down)) if down.reference == first));
        assert!(matches!(mailbox.receive(), Received::Event(Event::Down(down)) if down.reference == third));
        assert_silence(&mut mailbox);
    });
}

#[test]
fn a_demonitor_ends_its_own_monitor_only() {
    both(|mut mailbox: Mailbox<()>| {
        let victim = spawn(|| sleep(Duration::MAX));
        let first = monitor(victim);
        let second = monitor(victim);
        assert!(demonitor(first, true));
        assert_eq!(process_info(victim).unwrap().watchers, [self_pid()]);
        kill(victim);
        assert_eq!(down_of(&mut mailbox, second).reason, DownReason::Exited(ExitReason::Killed));
        assert_silence(&mut mailbox);
    });
}

#[test]
fn a_watcher_that_dies_is_forgotten() {
    both(|mut mailbox: Mailbox<()>| {
        let target = spawn(|| sleep(Duration::MAX));
        let (_, reference) = spawn_monitor(move || {
            monitor(target);
        });
        down_of(&mut mailbox, reference);
        support::wait_until(|| process_info(target).is_some_and(|info| info.watchers.is_empty()));
        assert!(is_alive(target));
    });
}

#[test]
fn a_monitor_does_not_end_the_watcher() {
    both_with(Config::new(), Some(1), |mut mailbox: Mailbox<()>| {
        let (_, reference) = spawn_monitor(|| panic!("not your problem"));
        assert!(matches!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Panic(_))));
    });
}

#[test]
fn a_process_may_monitor_itself_without_effect() {
    both(|mut mailbox: Mailbox<()>| {
        let (_, reference) = spawn_monitor(|| {
            let own = monitor(self_pid());
            assert!(demonitor(own, true));
            monitor(self_pid());
        });
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Normal));
        assert_silence(&mut mailbox);
    });
}

#[test]
fn a_name_is_resolved_when_the_monitor_is_set() {
    both(|mut mailbox: Mailbox<()>| {
        let me = mailbox.address();
        let holder = spawn(move |mut mailbox: Mailbox<()>| {
            register("watched").expect("free");
            me.send(());
            mailbox.message();
            unregister("watched").expect("ours");
            me.send(());
            mailbox.message();
        });
        mailbox.message();
        let reference = monitor_name("watched");
        holder.send(());
        mailbox.message();
        register("watched").expect("free again");
        assert_silence(&mut mailbox);
        kill(holder);
        let down = down_of(&mut mailbox, reference);
        assert_eq!((down.pid, down.reason), (holder.pid(), DownReason::Exited(ExitReason::Killed)));
    });
}

#[test]
fn a_monitor_of_a_name_that_nobody_has_fires_with_noproc() {
    both(|mut mailbox: Mailbox<()>| {
        let reference = monitor_name("nobody");
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::NoProc);
        assert_silence(&mut mailbox);
    });
}

#[test]
fn many_watchers_are_all_told() {
    both(|mut mailbox: Mailbox<bool>| {
        let victim = spawn(|| sleep(Duration::MAX));
        let me = mailbox.address();
        for _ in 0..50 {
            spawn(move |mut mailbox: Mailbox<()>| {
                let reference = monitor(victim);
                me.send(true);
                me.send(down_of(&mut mailbox, reference).reason == DownReason::Exited(boom()));
            });
        }
        for _ in 0..50 {
            let _ = mailbox.message();
        }
        exit(victim, boom());
        for _ in 0..50 {
            assert!(mailbox.message());
        }
    });
}

#[test]
fn monitors_that_race_with_the_end_fire_exactly_once() {
    both(|mut mailbox: Mailbox<()>| {
        for work in 0..30_u32 {
            let victim = spawn(move || engset::reduce(work * 100));
            let reference = monitor(victim);
            let down = down_of(&mut mailbox, reference);
            assert!(
                matches!(down.reason, DownReason::NoProc | DownReason::Exited(ExitReason::Normal)),
                "{}",
                down.reason
            );
        }
        assert_silence(&mut mailbox);
    });
}
