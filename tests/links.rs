//! S4: links.

mod support;

use engset::{
    Builder, Config, DownReason, Event, ExitReason, Item, Mailbox, Node, Pid, Received, exit, exit_self,
    kill, link, process_info, reduce, self_pid, sleep, spawn, spawn_link, spawn_monitor, trap_exits, unlink,
    yield_now,
};
use std::time::Duration;
use support::{assert_silence, boom, both, down_of, exit_of, signals_have_acted};

fn dead(mailbox: &mut Mailbox<()>) -> Pid {
    let (pid, reference) = spawn_monitor(|| ());
    down_of(mailbox, reference);
    pid
}

#[test]
fn linking_twice_gives_one_exit() {
    both(|mut mailbox: Mailbox<()>| {
        trap_exits(true);
        let peer = spawn_link(|| sleep(Duration::MAX));
        link(peer);
        link(peer);
        assert_eq!(process_info(peer).unwrap().links, [self_pid()]);
        exit(peer, boom());
        assert_eq!(exit_of(&mut mailbox, peer).reason, boom());
        assert_silence(&mut mailbox);
    });
}

#[test]
fn both_sides_may_set_the_link_up_at_once_and_it_is_one_link() {
    both(|mut mailbox: Mailbox<()>| {
        trap_exits(true);
        let me = self_pid();
        for _ in 0..5 {
            let peer = spawn(move || {
                trap_exits(true);
                link(me);
                sleep(Duration::from_millis(1));
                exit_self(boom());
            });
            link(peer);
            assert_eq!(exit_of(&mut mailbox, peer).reason, boom());
            assert_silence(&mut mailbox);
        }
    });
}

#[test]
fn one_unlink_ends_a_link_that_was_made_several_times() {
    both(|mut mailbox: Mailbox<()>| {
        trap_exits(true);
        let peer = spawn_link(|| sleep(Duration::MAX));
        link(peer);
        link(peer);
        unlink(peer);
        assert_eq!(process_info(peer).unwrap().links, []);
        kill(peer);
        signals_have_acted(peer);
        assert_silence(&mut mailbox);
    });
}

#[test]
fn a_link_to_a_dead_process_is_an_exit_signal_noproc_to_one_that_traps() {
    both(|mut mailbox: Mailbox<()>| {
        trap_exits(true);
        let gone = dead(&mut mailbox);
        link(gone);
        assert_eq!(exit_of(&mut mailbox, gone).reason, ExitReason::NoProc);
        link(gone);
        assert_eq!(exit_of(&mut mailbox, gone).reason, ExitReason::NoProc, "each attempt is answered");
        assert_silence(&mut mailbox);
    });
}

#[test]
fn a_link_to_a_dead_process_ends_one_that_does_not_trap() {
    both(|mut mailbox: Mailbox<()>| {
        let gone = dead(&mut mailbox);
        let (_, reference) = spawn_monitor(move || {
            link(gone);
            sleep(Duration::MAX);
        });
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::NoProc));
    });
}

#[test]
fn a_link_to_a_process_of_a_node_that_is_gone_is_an_exit_noconnection() {
    let node = Node::start(Config::new().workers(1)).expect("a node");
    let far = node.spawn(|| sleep(Duration::MAX)).expect("a process");
    assert!(node.stop());
    both(move |mut mailbox: Mailbox<()>| {
        trap_exits(true);
        link(far);
        assert_eq!(exit_of(&mut mailbox, far).reason, ExitReason::NoConnection);
    });
}

#[test]
fn a_link_to_oneself_does_nothing() {
    both(|mut mailbox: Mailbox<()>| {
        let (_, reference) = spawn_monitor(|| {
            link(self_pid());
            assert_eq!(process_info(self_pid()).unwrap().links, []);
            unlink(self_pid());
        });
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Normal));
    });
}

#[test]
fn after_unlink_returns_no_exit_of_that_link_is_delivered() {
    both(|mut mailbox: Mailbox<()>| {
        trap_exits(true);
        for work in 0..20 {
            let peer = spawn_link(move || {
                reduce(work * 200);
                exit_self(boom());
            });
            if work % 3 == 0 {
                yield_now();
            }
            unlink(peer);
            // What lies in the mailbox already may stay there.
            let before = mailbox.select_timeout(|_| true, Duration::ZERO);
            if let Some(received) = &before {
                assert!(matches!(received, Received::Event(Event::Exit(_))), "{received:?}");
            }
            assert_silence(&mut mailbox);
        }
    });
}

#[test]
fn an_unlink_that_crosses_a_new_link_of_the_peer_leaves_both_sides_agreed() {
    both(|_mailbox: Mailbox<()>| {
        trap_exits(true);
        let me = self_pid();
        for round in 0..10 {
            let peer = spawn(move |mut mailbox: Mailbox<()>| {
                trap_exits(true);
                for turn in 0..10 {
                    if (turn + round) % 2 == 0 {
                        link(me)
                    } else {
                        unlink(me)
                    }
                    yield_now();
                }
                mailbox.message();
            });
            for turn in 0..10 {
                if (turn * round) % 3 == 0 {
                    unlink(peer)
                } else {
                    link(peer)
                }
                yield_now();
            }
            // Two questions each way: everything that was under way has acted, answers to it included.
            for _ in 0..10 {
                sleep(Duration::from_millis(1));
                signals_have_acted(peer);
            }
            let theirs = process_info(peer).unwrap().links.contains(&me);
            let mine = process_info(me).unwrap().links.contains(&peer.pid());
            assert_eq!(theirs, mine, "round {round}: one side believes in a link");
            unlink(peer);
            kill(peer);
        }
    });
}

#[test]
fn both_sides_may_unlink_at_once() {
    both(|mut mailbox: Mailbox<()>| {
        trap_exits(true);
        let me = self_pid();
        for _ in 0..5 {
            let peer = spawn_link(move || {
                unlink(me);
                sleep(Duration::from_millis(2));
                exit_self(boom());
            });
            unlink(peer);
            support::await_end(&mut mailbox, peer);
            assert_silence(&mut mailbox);
            assert_eq!(process_info(me).unwrap().links, []);
        }
    });
}

#[test]
fn an_unlink_right_after_a_link_to_a_dead_process_is_silent() {
    both(|mut mailbox: Mailbox<()>| {
        trap_exits(true);
        let gone = dead(&mut mailbox);
        link(gone);
        unlink(gone);
        let queued = mailbox.try_receive();
        // It may have come before the unlink; if not, it never comes.
        assert!(queued.is_none() || matches!(&queued, Some(Received::Event(Event::Exit(_)))), "{queued:?}");
        assert_silence(&mut mailbox);
        assert_eq!(process_info(self_pid()).unwrap().links, []);
    });
}

#[test]
fn unlinking_a_process_that_was_never_linked_does_nothing() {
    both(|mut mailbox: Mailbox<()>| {
        let peer = spawn(|| sleep(Duration::MAX));
        unlink(peer);
        unlink(dead(&mut mailbox));
        assert_silence(&mut mailbox);
    });
}

#[test]
fn a_spawned_link_is_there_before_the_first_instruction() {
    both(|mut mailbox: Mailbox<()>| {
        trap_exits(true);
        for _ in 0..20 {
            let child = spawn_link(|| exit_self(boom()));
            assert_eq!(exit_of(&mut mailbox, child).reason, boom());
        }
        let parent = self_pid();
        let child = spawn_link(move || assert_eq!(process_info(self_pid()).unwrap().links, [parent]));
        assert_eq!(exit_of(&mut mailbox, child).reason, ExitReason::Normal);
    });
}

#[test]
fn a_parent_that_dies_takes_a_child_that_was_spawned_linked_with_it() {
    both(|mut mailbox: Mailbox<Pid>| {
        let me = mailbox.address();
        spawn(move || {
            me.send(spawn_link(|| sleep(Duration::MAX)));
            exit_self(boom());
        });
        let child = mailbox.message();
        let reason = support::await_end(&mut mailbox, child);
        assert!(matches!(reason, DownReason::NoProc) || reason == DownReason::Exited(boom()), "{reason}");
    });
}

#[test]
fn one_process_that_dies_ends_all_whom_it_is_linked_with() {
    both(|mut mailbox: Mailbox<()>| {
        let hub = spawn(|| sleep(Duration::MAX));
        let references: Vec<_> = (0..50)
            .map(|_| {
                let me = mailbox.address();
                let (_, reference) = spawn_monitor(move || {
                    link(hub);
                    me.send(());
                    sleep(Duration::MAX);
                });
                reference
            })
            .collect();
        (0..50).for_each(|_| mailbox.message());
        exit(hub, boom());
        for reference in references {
            assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(boom()));
        }
    });
}

#[test]
fn an_exit_event_that_is_in_the_mailbox_survives_the_unlink() {
    both(|mut mailbox: Mailbox<()>| {
        trap_exits(true);
        let peer = spawn_link(|| exit_self(boom()));
        support::await_end(&mut mailbox, peer);
        unlink(peer);
        assert_eq!(exit_of(&mut mailbox, peer).reason, boom());
    });
}

#[test]
fn a_builder_that_links_and_names_does_both_or_nothing() {
    both(|mut mailbox: Mailbox<()>| {
        trap_exits(true);
        let first = Builder::new().name("single").link().spawn(|| sleep(Duration::MAX)).expect("free");
        assert!(Builder::new().name("single").link().spawn(|| sleep(Duration::MAX)).is_err());
        assert_eq!(process_info(self_pid()).unwrap().links, [first]);
        assert!(mailbox.select_timeout(|item| matches!(item, Item::Event(_)), Duration::ZERO).is_none());
    });
}
