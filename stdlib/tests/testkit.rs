//! The test kit, used as its users do: what passes. (What fails is in `testkit_failures.rs`.)

use engset_runtime::{
    Address, Builder, DownReason, Event, ExitReason, Mailbox, Received, Reply, exit, exit_self, kill, link,
    now, send_after, send_interval, sleep, spawn, spawn_monitor, yield_now,
};
use engset_stdlib::{
    ChildSpec, GenServer, Next, Supervisor, from_fn,
    testkit::{self, Check, Probe, Replay, When},
};
use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tracing::Level;

const HOUR: Duration = Duration::from_secs(3600);

/// Both modes.
#[track_caller]
fn everywhere(test: impl Fn() + Clone + Send + Sync + 'static) {
    Check::new().seeds(30).systematic(test.clone());
    Check::new().threaded(3, test);
}

#[test]
fn each_seed_is_a_fresh_node_with_an_interleaving_of_its_own() {
    let orders: Arc<Mutex<HashSet<Vec<u32>>>> = Arc::default();
    let seen = Arc::clone(&orders);
    testkit::systematic(200, move || {
        let mut probe = Probe::new();
        let to = probe.address();
        for number in 0..3 {
            spawn(move || to.send(number));
        }
        seen.lock().unwrap().insert(probe.receive_n(3));
    });
    if std::env::var_os("ENGSET_SEED").is_none() && std::env::var_os("ENGSET_SEEDS").is_none() {
        assert_eq!(orders.lock().unwrap().len(), 6);
    }
}

#[test]
fn a_timeout_of_an_hour_takes_no_time() {
    #[allow(clippy::disallowed_methods, reason = "the real clock is what is compared with")]
    let start = std::time::Instant::now();
    testkit::systematic(20, || {
        // A session ends an hour after its last request.
        struct Session;
        impl GenServer for Session {
            type Message = ();
            fn handle(&mut self, (): (), _: &mut engset_stdlib::Context<()>) -> Next {
                Next::wait_for(HOUR)
            }
            fn timeout(&mut self, _: &mut engset_stdlib::Context<()>) -> Next {
                Next::stop()
            }
        }
        let session = Session.start().unwrap();
        let mut probe: Probe<()> = Probe::new();
        probe.watch(session);
        session.send(());
        sleep(HOUR - Duration::from_secs(1));
        session.send(());
        sleep(HOUR - Duration::from_secs(1));
        assert!(engset_runtime::is_alive(session), "the second request has begun the hour again");
        assert_eq!(probe.expect_terminated(session), DownReason::Exited(ExitReason::Normal));
        assert!(now() >= 2 * HOUR - Duration::from_secs(1));
    });
    // Forty hours: so far from the limit that it is no matter of speed.
    assert!(start.elapsed() < HOUR);
}

#[test]
fn a_probe_gets_what_is_sent_in_order() {
    everywhere(|| {
        let mut probe = Probe::new();
        let to = probe.address();
        spawn(move || (0..10).for_each(|number| to.send(number)));
        assert_eq!(probe.expect(0), 0);
        assert_eq!(probe.expect_matching(|number| *number == 1), 1);
        assert_eq!(probe.expect_map(|number| (number == 2).then_some("two")), "two");
        assert_eq!(probe.receive_n(3), [3, 4, 5]);
        assert_eq!(probe.fish(|number| *number == 8), 8);
        assert_eq!(probe.receive(), 9);
        probe.expect_no(Duration::from_millis(10));
    });
}

#[test]
fn a_probe_sees_no_message_that_has_not_come_yet() {
    everywhere(|| {
        let mut probe = Probe::new();
        send_after(Duration::from_millis(60), probe.address(), "late");
        probe.expect_no(Duration::from_millis(20));
        probe.expect("late");
    });
}

#[derive(Debug)]
enum Request {
    Get(Reply<u32>),
    Put(u32),
}

#[test]
fn a_probe_answers_requests() {
    everywhere(|| {
        let mut store = Probe::named("store");
        let address: Address<Request> = store.address();
        let client = spawn(move || {
            let value = address.call(Request::Get).unwrap();
            address.send(Request::Put(value + 1));
        });
        let pick = |request| match request {
            Request::Get(reply) => Some(reply),
            Request::Put(_) => None,
        };
        store.answer(pick, 41);
        store.expect_matching(|request| matches!(request, Request::Put(42)));
        store.expect_terminated(client);
    });
}

#[test]
fn a_probe_learns_how_a_watched_process_ended_after_its_messages() {
    everywhere(|| {
        let mut probe = Probe::new();
        let to = probe.address();
        let worker = spawn(move |mut mailbox: Mailbox<()>| {
            mailbox.message();
            to.send("done");
            exit_self(ExitReason::error("tired"));
        });
        probe.watch(worker);
        worker.send(());
        assert_eq!(probe.expect_terminated(worker), DownReason::Exited(ExitReason::error("tired")));
        // It was sent before the end, so it is there without any waiting.
        probe.within(Duration::ZERO, |probe| probe.expect("done"));
        assert_eq!(probe.expect_terminated(worker), DownReason::NoProc);
    });
}

#[test]
fn a_probe_can_link_and_be_told_to_end() {
    everywhere(|| {
        let mut probe: Probe<()> = Probe::new();
        let worker = probe.run(|| engset_runtime::spawn_link(|| sleep(Duration::MAX)));
        kill(worker);
        assert_eq!(probe.expect_exit(worker), ExitReason::Killed);
        let other = spawn(|| sleep(Duration::MAX));
        probe.run(move || link(other));
        exit(other, ExitReason::Shutdown);
        assert_eq!(probe.expect_exit(other), ExitReason::Shutdown);
        let address = probe.pid();
        drop(probe);
        let mut second: Probe<()> = Probe::new();
        second.expect_terminated(address);
    });
}

#[test]
fn deadlines_can_be_nested() {
    testkit::systematic(20, || {
        let mut probe = Probe::new();
        let to = probe.address();
        send_after(Duration::from_secs(50), to, 1);
        send_after(Duration::from_secs(100), to, 2);
        probe.timeout(Duration::MAX);
        let sum = probe.within(Duration::from_secs(200), |probe| {
            let first = probe.within(Duration::from_secs(60), Probe::receive);
            first + probe.receive()
        });
        assert_eq!(sum, 3);
        // The outer one holds in the inner one.
        probe.within(Duration::from_secs(1), |probe| {
            probe.within(HOUR, |probe| probe.expect_no(HOUR));
        });
        assert!(now() < Duration::from_secs(110));
    });
}

#[test]
fn a_probe_works_without_the_kit() {
    engset_runtime::run(|| {
        let mut probe = Probe::new();
        let to = probe.address();
        spawn(move || to.send(7));
        probe.expect(7);
    })
    .unwrap();
}

#[test]
fn expected_crashes_are_no_failures() {
    everywhere(|| {
        let crash = testkit::expect_crash("boom 1", || {
            spawn(|| panic!("boom 1"));
        });
        assert!(crash.location.contains("testkit.rs"), "{}", crash.location);
        testkit::expect_crash(
            |crash: &testkit::Crash| crash.name.as_deref() == Some("ledger"),
            || {
                Builder::new().name("ledger").spawn(|| panic!("boom 2")).unwrap();
            },
        );
        // Whichever order they crash in.
        testkit::expect_crash("a", || {
            testkit::expect_crash("b", || {
                spawn(|| panic!("a"));
                spawn(|| panic!("b"));
            });
        });
    });
    Check::new().seeds(20).crashes(2).systematic(|| {
        for _ in 0..2 {
            let (_, _) = spawn_monitor(|| panic!("boom"));
        }
        sleep(Duration::from_millis(1));
    });
    Check::new().seeds(20).allow_crashes().systematic(|| {
        spawn(|| panic!("boom"));
        sleep(Duration::from_millis(1));
    });
}

#[test]
fn a_supervised_crash_is_expected_and_the_child_is_there_again() {
    everywhere(|| {
        let child = || {
            from_fn((), |(), number: Option<u32>, _| {
                assert!(number.is_some(), "no number");
                Next::wait()
            })
            .options()
            .name("child")
        };
        let supervisor =
            Supervisor::one_for_one().child(ChildSpec::server("child", child)).start_link().unwrap();
        let first: Address<Option<u32>> = engset_runtime::lookup("child").unwrap();
        testkit::expect_crash("no number", || first.send(None));
        let restarted = || engset_runtime::lookup::<Option<u32>>("child").is_ok_and(|now| now != first);
        while !restarted() {
            sleep(Duration::from_millis(1));
        }
        assert_eq!(supervisor.count_children().unwrap().active, 1);
    });
}

#[test]
fn dead_letters_are_counted_by_type() {
    everywhere(|| {
        let gone = spawn(|_: Mailbox<u32>| ());
        let mut probe: Probe<()> = Probe::new();
        probe.expect_terminated(gone);
        testkit::expect_dead_letters::<u32, _>(3, || (0..3).for_each(|number| gone.send(number)));
    });
    Check::new().seeds(20).no_dead_letters().systematic(|| {
        // Those that die in a mailbox count as well.
        let stuck = spawn(|_: Mailbox<&'static str>| sleep(Duration::MAX));
        testkit::expect_dead_letters::<&'static str, _>(1, || {
            stuck.send("letter");
            kill(stuck);
        });
    });
}

#[test]
fn log_events_are_expected_by_level_and_text() {
    testkit::systematic(20, || {
        let value = testkit::expect_log(Level::WARN, "attempt=3", || {
            spawn(|| {
                tracing::info!(attempt = 3, "retrying");
                sleep(Duration::from_secs(1));
                tracing::warn!(attempt = 3, what = "disk", "giving up");
            });
            7
        });
        assert_eq!(value, 7);
        testkit::expect_log(Level::WARN, "giving up attempt=4 what=disk", || {
            tracing::warn!(attempt = 4, what = "disk", "giving up");
        });
    });
}

#[test]
fn planted_faults_go_wrong_when_they_are_told_to() {
    fn save() -> Result<(), &'static str> {
        if testkit::fault("save") { Err("the disk is full") } else { Ok(()) }
    }
    assert!(save().is_ok(), "outside of the kit nothing goes wrong");
    let failures = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&failures);
    testkit::systematic(20, move || {
        assert!(save().is_ok());
        testkit::arm("save", When::Nth(testkit::reached("save") + 2));
        assert!(save().is_ok());
        assert!(save().is_err());
        assert!(save().is_ok());
        testkit::arm("save", When::Always);
        assert!(save().is_err());
        testkit::disarm("save");
        assert!(save().is_ok());
        testkit::arm("save", When::Chance(0.5));
        count.fetch_add((0..10).filter(|_| save().is_err()).count() as u64, SeqCst);
        testkit::arm("crash", When::Always);
        testkit::expect_crash("planted fault: crash", || {
            spawn(|| testkit::crash_point("crash"));
        });
    });
    let failures = failures.load(SeqCst);
    assert!(failures > 0, "{failures}");
}

#[test]
fn processes_that_end_in_time_are_no_leaks() {
    let test = || {
        let mut probe = Probe::new();
        let to = probe.address();
        spawn(move || {
            to.send(());
            sleep(Duration::from_millis(20));
        });
        probe.expect(());
    };
    Check::new().seeds(20).no_leaks(Duration::from_secs(1)).systematic(test);
    Check::new().no_leaks(Duration::from_secs(10)).threaded(3, test);
}

#[test]
fn a_failure_is_a_value_for_who_wants_it() {
    let failure = Check::new()
        .seeds(50)
        .try_systematic(|| {
            let mut probe = Probe::new();
            let to = probe.address();
            for number in [1, 2] {
                spawn(move || to.send(number));
            }
            probe.expect(1);
        })
        .unwrap_err();
    let Replay::Seed(seed) = failure.replay else { panic!("{:?}", failure.replay) };
    let text = failure.to_string();
    assert!(text.starts_with(&format!("seed {seed}: expected 1, but got 2")), "{text}");
    assert!(text.contains("tests/testkit.rs"), "{text}");
    let command = failure.command.clone().unwrap();
    assert!(command.starts_with(&format!("ENGSET_SEED={seed} cargo test")), "{command}");
    assert!(command.contains("--test testkit"), "{command}");
    for wanted in ["test spawns <", "sends i32 to <", "probe notes: got 2", "crashed at"] {
        assert!(failure.trace.contains(wanted), "no {wanted:?} in\n{}", failure.trace);
    }
}

#[test]
fn equal_seeds_give_equal_traces() {
    let trace = |seed| {
        let failure = Check::new().first_seed(seed).seeds(1).allow_crashes().try_systematic(|| {
            let mut probe: Probe<u32> = Probe::new();
            let to = probe.address();
            // More links than a map keeps in order by chance.
            let center = spawn(|mut mailbox: Mailbox<()>| mailbox.message());
            for number in 0..30 {
                spawn(move |mut mailbox: Mailbox<()>| {
                    engset_runtime::trap_exits(true);
                    link(center);
                    if let Received::Event(Event::Exit(_)) = mailbox.receive() {
                        to.send(number);
                    }
                });
            }
            sleep(Duration::from_millis(1));
            center.send(());
            probe.receive_n(30);
            send_interval(Duration::from_secs(1), to, 0);
            panic!("the end");
        });
        failure.unwrap_err().trace.clone()
    };
    for seed in 0..10 {
        let first = trace(seed);
        assert!(first.lines().count() > 100, "{first}");
        assert_eq!(first, trace(seed), "seed {seed}");
    }
}

#[test]
fn a_server_that_never_rests_does_not_keep_the_run_from_ending() {
    testkit::systematic(20, || {
        // A server, which holds no stack, sends to itself for ever.
        let back = engset_runtime::serve_with((), |(), received: Received<Ball>| {
            if let Received::Message(Ball(from)) = received {
                from.send(Ball(from));
            }
            engset_runtime::Flow::Continue
        });
        back.send(Ball(back));
        (0..3).for_each(|_| yield_now());
    });
}

struct Ball(Address<Ball>);
