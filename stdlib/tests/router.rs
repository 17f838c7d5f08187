//! Routers and pools.

mod support;

use engset_runtime::{
    Address, CallError, Config, DownReason, Event, Exit, ExitReason, Mailbox, Pid, Reply, kill, run_with,
    self_pid, sleep, spawn, spawn_monitor, trap_exits,
};
use engset_stdlib::{
    ChildState, GenServer, Keyed, Next, Pool, Router, Routing, StartError, Supervisor, from_fn,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use support::{down_of, event, eventually, everywhere, wait_dead};

const SECOND: Duration = Duration::from_secs(1);

/// Answers its number, after a time.
fn echo(number: u32, after: Duration) -> Address<Reply<u32>> {
    spawn(move |mut mailbox: Mailbox<Reply<u32>>| {
        loop {
            let reply = mailbox.message();
            sleep(after);
            reply.send(number);
        }
    })
}

fn echoes(routing: Routing, count: u32) -> Router<Reply<u32>> {
    Router::new(routing, (0..count).map(|number| echo(number, Duration::ZERO)))
}

#[test]
fn round_robin_takes_turns_also_between_clones() {
    everywhere::<()>(|_| {
        let router = echoes(Routing::RoundRobin, 3);
        let other = router.clone();
        let answers: Vec<u32> = (0..3)
            .flat_map(|_| [router.call(|reply| reply).unwrap(), other.call(|reply| reply).unwrap()])
            .collect();
        assert_eq!(answers, [0, 1, 2, 0, 1, 2]);
    });
}

#[test]
fn random_and_two_choices_reach_all() {
    everywhere::<()>(|_| {
        for routing in [Routing::Random, Routing::TwoChoices] {
            let router = echoes(routing, 3);
            let reached: BTreeSet<u32> = (0..200).map(|_| router.call(|reply| reply).unwrap()).collect();
            assert_eq!(reached.len(), 3, "{routing:?}");
        }
    });
}

#[test]
fn least_loaded_leaves_out_who_has_a_queue() {
    everywhere::<()>(|_| {
        let busy = spawn(|_: Mailbox<Reply<u32>>| sleep(Duration::MAX));
        for _ in 0..3 {
            spawn(move || drop(busy.call_timeout::<u32>(|reply| reply, Duration::MAX)));
        }
        eventually("they are counted", || engset_runtime::mailbox_len(busy) == 3);
        let router =
            Router::new(Routing::LeastLoaded, [busy, echo(1, Duration::ZERO), echo(2, Duration::ZERO)]);
        let answers: BTreeSet<u32> = (0..20).map(|_| router.call(|reply| reply).unwrap()).collect();
        assert!(answers.is_subset(&BTreeSet::from([1, 2])));
    });
}

#[test]
fn a_message_goes_past_the_dead_and_comes_back_if_all_are() {
    everywhere::<u32>(|mailbox| {
        let dead = spawn(|_: Mailbox<u32>| ());
        wait_dead(dead.pid());
        let router = Router::new(Routing::RoundRobin, [dead, mailbox.address()]);
        for number in 0..4 {
            router.send(number).unwrap();
            assert_eq!(mailbox.message(), number);
        }
        let none = Router::new(Routing::RoundRobin, [dead, dead]);
        assert_eq!(none.send(5).map_err(|error| error.into_message()), Err(5));
        let empty: Router<u32> = Router::new(Routing::LeastLoaded, []);
        assert_eq!(empty.send(6).map_err(|error| error.into_message()), Err(6));
        assert_eq!(empty.send_keyed("key", 7).map_err(|error| error.into_message()), Err(7));
        let nobody: Router<Reply<u32>> = Router::new(Routing::Random, []);
        let down = Err(CallError::Down(DownReason::NoProc));
        assert_eq!(nobody.call(|reply| reply), down);
        assert_eq!(nobody.call_keyed(&1, |reply| reply), down);
        assert_eq!(nobody.call_first(|reply| reply, SECOND), down);
    });
}

#[test]
fn a_key_stays_where_it_is_and_moves_only_if_its_member_goes() {
    everywhere::<()>(|_| {
        let all: Vec<Address<Reply<u32>>> = (0..5).map(|number| echo(number, Duration::ZERO)).collect();
        let before = Router::new(Routing::RoundRobin, all.clone());
        let after = Router::new(Routing::RoundRobin, all[1..].iter().copied());
        let mut load = BTreeMap::new();
        for key in 0..1000_u32 {
            let own = before.pick_keyed(&key).unwrap();
            assert_eq!(before.pick_keyed(&key), Some(own));
            *load.entry(own.pid()).or_insert(0) += 1;
            if own != all[0] {
                assert_eq!(after.pick_keyed(&key), Some(own), "only the keys of the one that went move");
            }
        }
        assert!(load.values().all(|keys| (120..280).contains(keys)), "about evenly: {load:?}");
        assert_eq!(before.call_keyed("a", |reply| reply), before.call_keyed("a", |reply| reply));
    });
}

#[test]
fn a_sticky_key_stays_and_the_ones_not_used_are_forgotten() {
    everywhere::<()>(|_| {
        let router = echoes(Routing::RoundRobin, 4).keyed(Keyed::Sticky { keys: 8 });
        let own: Vec<_> = (0..8_u32).map(|key| router.pick_keyed(&key)).collect();
        let turns: BTreeSet<Pid> = own.iter().flatten().map(|address| address.pid()).collect();
        assert_eq!(turns.len(), 4, "the first time in turn");
        for _ in 0..3 {
            let again: Vec<_> = (0..8_u32).map(|key| router.pick_keyed(&key)).collect();
            assert_eq!(again, own);
        }
        // Others push them out, two generations later; then it is in turn again.
        assert!((100..200_u32).all(|key| router.pick_keyed(&key).is_some()));
        let next = router.pick();
        let new = router.pick_keyed(&0_u32);
        assert_ne!(new, next, "its turn came, and not what was remembered by chance");
    });
}

#[test]
fn a_broadcast_reaches_each() {
    everywhere::<u32>(|mailbox| {
        let router = Router::new(Routing::RoundRobin, [mailbox.address(), mailbox.address()]);
        assert_eq!(router.broadcast(&3), 2);
        assert_eq!((mailbox.message(), mailbox.message()), (3, 3));
    });
}

#[test]
fn the_first_answer_of_all_wins() {
    everywhere::<()>(|mailbox| {
        let deaf = || spawn(|_: Mailbox<Reply<u32>>| sleep(Duration::MAX));
        let drops = spawn(|mut own: Mailbox<Reply<u32>>| {
            loop {
                drop(own.message());
            }
        });
        let router = Router::new(Routing::RoundRobin, [deaf(), drops, echo(7, Duration::from_millis(5))]);
        assert_eq!(router.call_first(|reply| reply, 30 * SECOND), Ok(7));
        let none = Router::new(Routing::RoundRobin, [drops, drops]);
        assert_eq!(none.call_first(|reply| reply, 30 * SECOND), Err(CallError::NoReply));
        let silent = Router::new(Routing::RoundRobin, [deaf(), drops]);
        let time = Duration::from_millis(50);
        assert_eq!(silent.call_first(|reply| reply, time), Err(CallError::Timeout(time)));
        let (crashes, _) = spawn_monitor(|mut own: Mailbox<Reply<u32>>| {
            let _reply = own.message();
            panic!("in the call");
        });
        let one = Router::new(Routing::RoundRobin, [crashes]);
        let error = one.call_first(|reply| reply, 30 * SECOND).unwrap_err();
        assert!(error.to_string().contains("in the call"), "{error}");
        down_of(mailbox, crashes.pid());
    });
}

#[test]
fn a_chopped_call_asks_the_next_if_one_is_slow() {
    everywhere::<()>(|_| {
        let asked = Arc::new(AtomicU32::new(0));
        let member = |number: u32, after: Duration| {
            let asked = Arc::clone(&asked);
            spawn(move |mut own: Mailbox<Reply<u32>>| {
                loop {
                    let reply = own.message();
                    asked.fetch_add(1, Ordering::SeqCst);
                    sleep(after);
                    reply.send(number);
                }
            })
        };
        let slow = member(1, Duration::MAX);
        let router =
            Router::new(Routing::RoundRobin, [slow, member(2, Duration::ZERO), member(3, Duration::ZERO)]);
        // The turn is at the slow one.
        let interval = Duration::from_millis(200);
        assert_eq!(router.call_chopped(|reply| reply, interval, 60 * SECOND), Ok(2));
    });
}

/// A worker that says who it is, and crashes if it is asked to.
enum Ask {
    Who(Reply<Pid>),
    Crash,
    Work(Duration, Reply<()>),
}

fn worker() -> impl GenServer<Message = Ask> {
    from_fn((), |(), ask, _| {
        match ask {
            Ask::Who(reply) => reply.send(self_pid()),
            Ask::Crash => panic!("asked to crash"),
            Ask::Work(time, reply) => {
                sleep(time);
                reply.send(());
            }
        }
        Next::wait()
    })
}

#[test]
fn a_worker_that_crashes_is_replaced() {
    everywhere::<()>(|_| {
        let pool = Pool::builder(3, worker).intensity(100, SECOND).start_link().unwrap();
        let router = pool.router();
        let before: BTreeSet<Pid> = router.members().iter().map(|worker| worker.pid()).collect();
        assert_eq!(before.len(), 3);
        let key = router.call_keyed("key", Ask::Who).unwrap();
        router.send_keyed("key", Ask::Crash).unwrap();
        wait_dead(key);
        eventually("there are three again", || router.len() == 3);
        let after: BTreeSet<Pid> = router.members().iter().map(|worker| worker.pid()).collect();
        assert_eq!(before.intersection(&after).count(), 2);
        let new = router.call_keyed("key", Ask::Who).unwrap();
        assert!(!before.contains(&new), "the key is where it was, with the one that took over");
        assert_eq!(pool.info().unwrap().size, 3);
    });
}

#[test]
fn the_calls_of_a_worker_that_ends_get_down() {
    everywhere::<()>(|_| {
        let pool = Pool::builder(1, worker).intensity(100, SECOND).start_link().unwrap();
        let only = pool.router().pick().unwrap();
        let router = pool.router().clone();
        let caller = spawn(move |mut own: Mailbox<Reply<Result<(), CallError>>>| {
            let reply = own.message();
            reply.send(router.call_timeout(|reply| Ask::Work(Duration::MAX, reply), Duration::MAX));
        });
        let killer = spawn(move || {
            sleep(Duration::from_millis(20));
            kill(only);
        });
        let answer = caller.call_timeout(|reply| reply, Duration::MAX).unwrap();
        assert_eq!(answer, Err(CallError::Down(DownReason::Exited(ExitReason::Killed))));
        wait_dead(killer);
        eventually("it is replaced", || pool.router().call(Ask::Who).is_ok());
    });
}

#[test]
fn too_many_crashes_end_the_pool_and_its_workers() {
    everywhere::<()>(|mailbox| {
        trap_exits(true);
        let pool = Pool::builder(2, worker).start_link().unwrap();
        let workers = pool.router().members();
        for _ in 0..2 {
            let _ = pool.router().send(Ask::Crash);
        }
        let Event::Exit(Exit { from, reason, .. }) = event(mailbox) else { panic!("no exit") };
        assert_eq!((from, reason), (pool.pid(), ExitReason::Shutdown));
        workers.iter().for_each(|worker| assert!(!engset_runtime::is_alive(*worker)));
        assert!(pool.router().is_empty());
    });
}

#[test]
fn a_pool_in_a_tree_is_reached_by_the_same_router_after_a_restart() {
    everywhere::<()>(|_| {
        let builder = Pool::builder(2, worker);
        let router = builder.router();
        assert!(router.is_empty());
        let tree =
            Supervisor::one_for_one().intensity(5, SECOND).child(builder.child("pool")).start_link().unwrap();
        let before = router.members();
        assert_eq!(before.len(), 2);
        let pool = tree.which_children().unwrap().remove(0);
        let ChildState::Running(pid) = pool.state else { panic!("not running") };
        kill(pid);
        eventually("others are there", || router.len() == 2 && router.members() != before);
        assert!(router.call(Ask::Who).is_ok());
    });
}

#[test]
fn a_pool_whose_worker_does_not_start_does_not_start() {
    everywhere::<()>(|_| {
        struct Refuses;
        impl GenServer for Refuses {
            type Message = ();
            fn init(&mut self, _: &mut engset_stdlib::Context<()>) -> Result<Next, ExitReason> {
                Err(ExitReason::error("no"))
            }
            fn handle(&mut self, (): (), _: &mut engset_stdlib::Context<()>) -> Next {
                Next::wait()
            }
        }
        let refused = Pool::builder(2, || Refuses).start_link().map(|_| ());
        assert_eq!(refused, Err(StartError::InitFailed(ExitReason::error("no"))));
    });
}

#[test]
fn a_pool_grows_under_pressure_and_shrinks_when_idle_and_loses_nothing() {
    everywhere::<()>(|_| {
        let pool = Pool::builder(1, worker).resize(1, 4, 2, Duration::from_millis(500)).start_link().unwrap();
        let done = Arc::new(AtomicU32::new(0));
        for _ in 0..60 {
            let (router, done) = (pool.router().clone(), Arc::clone(&done));
            spawn(move || {
                let work = |reply| Ask::Work(Duration::from_millis(50), reply);
                router.call_timeout(work, Duration::MAX).unwrap();
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        eventually("it has grown", || pool.info().unwrap().size > 1);
        eventually("all is done", || done.load(Ordering::SeqCst) == 60);
        eventually("it has shrunk", || {
            let info = pool.info().unwrap();
            (info.size, info.retiring, pool.router().len()) == (1, 0, 1)
        });
        assert!(pool.router().call(Ask::Who).is_ok());
    });
}

#[test]
fn the_configuration_says_how_many_workers_a_pool_has() {
    let config = Config::new().workers(1).toml("[process.\"echoes\"]\npool_size = 5").expect("settings");
    let run = run_with(config, || {
        let make = || {
            from_fn((), |(), reply: Reply<u32>, _| {
                reply.send(1);
                Next::wait()
            })
        };
        let (named, other) = (Pool::builder(2, make).configured_as("echoes"), Pool::builder(2, make));
        assert_eq!(named.start_link().expect("it starts").info().expect("it is alive").size, 5);
        assert_eq!(other.start_link().expect("it starts").info().expect("it is alive").size, 2);
        // A child asks for its id.
        let child = Pool::builder(2, make);
        let router = child.router();
        Supervisor::one_for_one().child(child.child("echoes")).start_link().expect("it starts");
        assert_eq!(router.len(), 5);
    });
    run.expect("a run");
}
