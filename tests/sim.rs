//! `engset::sim`: clusters in one thread, what happens to them, and what a failure looks like.

use engset::{
    Address, Mailbox, Reply, register_mailbox,
    remote::{Remote, register},
    sim::{DiskError, Here, Simulation, When},
    sleep, spawn, testkit,
};
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);
const A: &str = "a@1";
const B: &str = "b@2";
const C: &str = "c@3";

#[derive(Serialize, Deserialize)]
enum Request {
    Append(u32, Reply<bool>),
    All(Reply<Vec<u32>>),
}

impl Remote for Request {
    const NAME: &'static str = "tests.sim.Request";
}

/// A log on disk: a number is acknowledged when it is safe.
fn log(here: &Here) {
    let disk = here.disk.clone();
    spawn(move |mut mailbox: Mailbox<Request>| {
        register_mailbox("log", &mailbox).expect("it is free");
        loop {
            match mailbox.message() {
                Request::Append(number, reply) => {
                    let written = disk.append("log", &number.to_le_bytes()).is_ok();
                    let safe = if testkit::fault("no sync") { true } else { disk.sync().is_ok() };
                    reply.send(written && safe);
                }
                Request::All(reply) => {
                    let bytes = disk.read("log").unwrap_or_default();
                    // What is torn at the end was never acknowledged.
                    let (whole, _) = bytes.as_chunks::<4>();
                    reply.send(whole.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect());
                }
            }
        }
    });
}

fn find(here: &Here, node: &str) -> Address<Request> {
    loop {
        match here.nodes.lookup(node, "log") {
            Ok(address) => return address,
            Err(_) => sleep(SECOND),
        }
    }
}

/// Numbers are appended from one node to the log of another while there is trouble; what was acknowledged must be there at the end.
fn appended_is_there(trouble: u32, faulty: bool) -> Result<(), Box<engset::sim::Failure>> {
    Simulation::new().seeds(10).try_run(move |cluster| {
        register::<Request>();
        cluster.program(log);
        [A, B, C].iter().for_each(|name| cluster.start(name));
        if faulty {
            cluster.arm("no sync", When::Chance(0.5));
        }
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&acknowledged);
        let finished = Arc::new(Mutex::new(false));
        let is_done = Arc::clone(&finished);
        cluster.start("client@4");
        cluster.spawn("client@4", move |here| {
            for number in 0..40 {
                let log = find(here, B);
                if log.call(|reply| Request::Append(number, reply)) == Ok(true) {
                    list.lock().unwrap().push(number);
                }
                sleep(SECOND / 5);
            }
            *is_done.lock().unwrap() = true;
        });
        for _ in 0..trouble {
            cluster.run_for(SECOND);
            // The client is where the oracle is: it must not be restarted.
            let (one, other) = if cluster.random(2) == 0 { (A, B) } else { (C, B) };
            match cluster.random(6) {
                0 => cluster.cut("client@4", B),
                1 => cluster.restart(B),
                2 => cluster.pause(B, SECOND),
                3 => cluster.reset("client@4", B),
                4 => cluster.swizzle(&[one, other], SECOND),
                _ => cluster.heal_all(),
            }
        }
        cluster.heal_all();
        assert!(
            cluster.run_until(600 * SECOND, || *finished.lock().unwrap()),
            "the client does not come to its end"
        );
        cluster.restart(B);
        let there = cluster.call(A, |here| find(here, B).call(Request::All).expect("it answers"));
        let lost: Vec<_> =
            acknowledged.lock().unwrap().iter().filter(|number| !there.contains(number)).copied().collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?} of {there:?}");
    })
}

#[test]
fn what_a_log_has_acknowledged_survives_trouble() {
    appended_is_there(8, false).unwrap();
}

#[test]
fn a_log_that_does_not_sync_is_found_out_with_a_seed_and_a_trace() {
    let failure = appended_is_there(8, true).unwrap_err();
    let text = failure.to_string();
    assert!(text.contains("acknowledged and lost"), "{text}");
    let command = failure.command.clone().expect("a command");
    assert!(command.starts_with("ENGSET_SEED=") && command.contains("--test sim"), "{command}");
    // Processes are shown with their nodes.
    assert!(failure.trace.contains("client@4<") && failure.trace.contains("b@2<"), "{}", failure.trace);
    assert!(failure.trace.contains("planted fault \"no sync\""), "{}", failure.trace);
}

#[test]
fn the_same_seed_is_the_same_run() {
    let traces = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..2 {
        let traces = Arc::clone(&traces);
        Simulation::new().seeds(1).first_seed(7).run(move |cluster| {
            register::<Request>();
            cluster.program(log);
            [A, B, C].iter().for_each(|name| cluster.start(name));
            for _ in 0..10 {
                cluster.run_for(SECOND / 3);
                cluster.trouble();
            }
            cluster.heal_all();
            cluster.run_for(20 * SECOND);
            let answer = cluster.call(A, |here| find(here, B).call(|reply| Request::Append(1, reply)));
            assert_eq!(answer, Ok(true));
            traces.lock().unwrap().push(cluster.trace());
        });
    }
    let traces = traces.lock().unwrap();
    assert!(traces[0].lines().count() > 20, "{}", traces[0]);
    assert_eq!(traces[0], traces[1]);
}

#[test]
fn partitions_pauses_and_jumps_do_what_they_say() {
    Simulation::new().seeds(5).run(|cluster| {
        register::<Request>();
        cluster.program(log);
        [A, B, C].iter().for_each(|name| cluster.start(name));
        let asks = |from: &'static str, to: &'static str, cluster: &mut engset::sim::Cluster<'_>| {
            cluster.call(from, move |here| {
                here.nodes.lookup::<Request>(to, "log").is_ok_and(|log| log.call(Request::All).is_ok())
            })
        };
        assert!(asks(A, B, cluster) && asks(A, C, cluster));
        cluster.partition(&[&[A, C], &[B]]);
        cluster.run_for(20 * SECOND);
        assert!(!asks(A, B, cluster) && asks(A, C, cluster));
        cluster.heal_all();
        cluster.run_for(20 * SECOND);
        assert!(asks(A, B, cluster));
        // A pause that is shorter than the failure detector's patience is only a delay.
        cluster.pause(B, SECOND / 2);
        let before = cluster.now();
        assert!(asks(A, B, cluster));
        assert!(cluster.now() - before >= SECOND / 2);
        let clock = |cluster: &mut engset::sim::Cluster<'_>| cluster.call(C, |_| engset::now());
        let before = clock(cluster);
        cluster.jump(C, 3600 * SECOND);
        let after = clock(cluster);
        assert!(after - before >= 3600 * SECOND);
        assert!(cluster.now() < 3600 * SECOND);
    });
}

#[test]
fn disks_are_slow_full_and_forgetful() {
    Simulation::new().seeds(20).run(|cluster| {
        cluster.start(A);
        cluster.call(A, |here| {
            here.disk.append("file", b"safe").unwrap();
            here.disk.sync().unwrap();
            here.disk.append("file", b" lost?").unwrap();
            assert_eq!(here.disk.read("file").as_deref(), Some(&b"safe lost?"[..]));
        });
        cluster.restart(A);
        let bytes = cluster.call(A, |here| here.disk.read("file").unwrap_or_default());
        assert!(bytes.starts_with(b"safe") && b"safe lost?".starts_with(&bytes), "{bytes:?}");
        let disk = cluster.disk(A);
        disk.limit(bytes.len() + 2);
        disk.slow(SECOND);
        let result = cluster.call(A, |here| here.disk.append("file", b"too much"));
        assert_eq!(result, Err(DiskError::Full { wanted: bytes.len() + 8, limit: bytes.len() + 2 }));
        disk.fail(true);
        assert_eq!(cluster.call(A, |here| here.disk.sync()), Err(DiskError::Failed));
    });
}

#[test]
fn a_crash_of_a_process_fails_the_run_unless_it_may() {
    let crash = |cluster: &mut engset::sim::Cluster<'_>| {
        cluster.start(A);
        cluster.spawn(A, |_| panic!("as planned"));
        cluster.run_for(SECOND);
    };
    let failure = Simulation::new().seeds(3).try_run(crash).unwrap_err();
    assert!(failure.to_string().contains("as planned"), "{failure}");
    Simulation::new().seeds(3).allow_crashes().run(crash);
}
