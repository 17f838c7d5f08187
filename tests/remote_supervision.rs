//! Supervisors whose children run on other nodes, when connections and nodes go and come back.

#[path = "../net/tests/simulated/mod.rs"]
mod simulated;

use engset::{
    ExitReason, Pid,
    dist::{
        Config, Secret,
        discovery::Nodes,
        simulation::{Member, Simulation},
    },
    is_alive, kill, monitor, now, register, self_pid, sleep,
    stdlib::{
        ChildError, ChildInfo, ChildSpec, GenServer, Lost, Next, RemoteChild, StartError, Supervisor,
        SupervisorBuilder, from_fn, remote_child,
    },
};
use engset_runtime::{Event, Received};
use simulated::{SECOND, begin, run_in};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

const S: &str = "s@1";
const W: &str = "w@2";
const X: &str = "x@3";

/// What children have done, with the time, on which node.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Note>>>);

/// When, what, on which node.
type Note = (Duration, &'static str, String);

impl Log {
    fn note(&self, what: &'static str, node: &str) {
        self.0.lock().unwrap().push((now(), what, node.to_owned()));
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(_, what, node)| format!("{what} {node}")).collect()
    }

    /// When the last of these was noted.
    fn when(&self, line: &str) -> Duration {
        let all = self.0.lock().unwrap();
        let found = all.iter().rev().find(|(_, what, node)| format!("{what} {node}") == line);
        found.unwrap_or_else(|| panic!("{line:?} is not noted")).0
    }
}

struct Ended(Log, &'static str);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.note("end", self.1);
    }
}

struct Cluster {
    simulation: Simulation,
    log: Log,
    s: Member,
    w: Member,
    x: Member,
}

impl Cluster {
    fn new(seed: u64) -> Self {
        let mut simulation = Simulation::new(seed);
        let log = Log::default();
        let s = start(&mut simulation, S, &log);
        let w = start(&mut simulation, W, &log);
        let x = start(&mut simulation, X, &log);
        simulation.run_for(10 * SECOND);
        Cluster { simulation, log, s, w, x }
    }

    fn cut(&self, one: &str, other: &str) {
        self.simulation.cut(one, other);
        self.simulation.cut(other, one);
    }

    fn heal(&self, one: &str, other: &str) {
        self.simulation.heal(one, other);
        self.simulation.heal(other, one);
    }

    /// Starts a supervisor that stays.
    fn supervise(&mut self, child: ChildSpec) -> Supervisor {
        self.supervise_by(Supervisor::one_for_one().intensity(5, 60 * SECOND).child(child))
            .expect("it starts")
    }

    fn supervise_by(&mut self, builder: SupervisorBuilder) -> Result<Supervisor, StartError> {
        run_in(&mut self.simulation, &self.s, move |_, _| builder.name("supervisor").start())
    }

    fn child(&mut self) -> ChildInfo {
        run_in(&mut self.simulation, &self.s, |_, _| {
            let all =
                Supervisor::named("supervisor").expect("it lives").which_children().expect("it answers");
            all.into_iter().next().expect("one child")
        })
    }

    fn on<T: Send + 'static>(&mut self, node: &Member, f: impl FnOnce() -> T + Send + 'static) -> T {
        run_in(&mut self.simulation, node, move |_, _| f())
    }
}

fn start(simulation: &mut Simulation, name: &'static str, log: &Log) -> Member {
    let config =
        Config::new(name, Secret::new("simulation")).discover(Nodes::new([S, W, X])).look_every(2 * SECOND);
    let member = simulation.start_with(config, name).expect("a node");
    let (log, name_of_node) = (log.clone(), name);
    run_in(simulation, &member, move |_, _| {
        let describe = move |name: String| {
            let log = log.clone();
            ChildSpec::function("child", move || {
                register(name.clone()).expect("one at a time");
                log.note("start", name_of_node);
                let _ended = Ended(log.clone(), name_of_node);
                sleep(Duration::MAX);
            })
        };
        remote_child::export("sleeper", describe).expect("it has joined");
        let refuse = |code: u32| {
            ChildSpec::new("refuses", move || {
                Err(StartError::InitFailed(ExitReason::error(format!("code {code}"))))
            })
        };
        remote_child::export("refuses", refuse).expect("it has joined");
        let error = remote_child::export("refuses", refuse).expect_err("it is taken");
        assert!(error.to_string().contains("\"refuses\""), "{error}");
    });
    member
}

fn sleeper() -> RemoteChild {
    RemoteChild::new("sleeper", "sleeper".to_owned()).on([W, X]).patience(30 * SECOND)
}

/// The process of the child on a node.
fn whereis(node: &Member) -> Option<Pid> {
    node.node.whereis("sleeper")
}

#[test]
fn a_child_elsewhere_is_started_restarted_and_stopped_like_any_other() {
    let mut cluster = Cluster::new(1);
    let supervisor = cluster.supervise(sleeper().child("child"));
    let first = whereis(&cluster.w).expect("it runs there when its start has returned");
    assert_eq!(cluster.child().restarts, 0);
    // It crashes: it is started again, there.
    let w = cluster.w.clone();
    cluster.on(&w, move || engset::exit(first, ExitReason::error("crash")));
    cluster.simulation.run_for(SECOND);
    let second = whereis(&cluster.w).expect("it runs again");
    assert_ne!(first, second);
    assert_eq!(cluster.child().restarts, 1);
    let s = cluster.s.clone();
    cluster.on(&s, move || {
        assert_eq!(supervisor.terminate_child("child"), Ok(()));
        assert!(supervisor.restart_child("child").is_ok());
    });
    assert_eq!(cluster.log.lines(), ["start w@2", "end w@2", "start w@2", "end w@2", "start w@2"]);
    // The supervisor is killed: nobody stops its children but links, and guards that watch.
    cluster.on(&s, move || kill(supervisor.pid()));
    cluster.simulation.run_for(SECOND);
    assert_eq!((whereis(&cluster.w), cluster.log.lines().len()), (None, 6));
}

#[test]
fn a_server_is_a_child_and_its_reason_decides_about_a_restart() {
    let mut cluster = Cluster::new(2);
    let w = cluster.w.clone();
    cluster.on(&w, || {
        remote_child::export("counter", |first: u32| {
            let make = move || {
                from_fn(first, |count: &mut u32, add: u32, _| {
                    *count += add;
                    if *count > 10 { Next::stop_with(ExitReason::Normal) } else { Next::wait() }
                })
                .options()
                .name("counter")
            };
            ChildSpec::server("counter", make)
        })
        .expect("it has joined");
    });
    let counter = RemoteChild::new("counter", 7_u32).on([W]).child("counter").transient();
    cluster.supervise(counter);
    let pid = w.node.whereis("counter").expect("it runs");
    cluster.on(&w, || engset::send_named("counter", 2_u32).expect("it takes numbers"));
    cluster.simulation.run_for(SECOND);
    assert_eq!(w.node.whereis("counter"), Some(pid));
    cluster.on(&w, || engset::send_named("counter", 2_u32).expect("it takes numbers"));
    cluster.simulation.run_for(SECOND);
    assert_eq!(w.node.whereis("counter"), None, "Normal, and transient");
    assert_eq!(cluster.child().pid(), None);
}

#[test]
fn a_start_that_fails_there_fails_here_with_its_reason() {
    let mut cluster = Cluster::new(3);
    let refused = |cluster: &mut Cluster, child: RemoteChild| {
        let error = cluster
            .supervise_by(Supervisor::one_for_one().child(child.child("child")))
            .expect_err("no start");
        error.to_string()
    };
    let error = refused(&mut cluster, RemoteChild::new("refuses", 7_u32).on([W]));
    assert!(error.contains("code 7"), "{error}");
    let error = refused(&mut cluster, RemoteChild::new("nothing", 7_u32).on([W]));
    assert!(error.contains("no entry point") && error.contains("remote_child::export"), "{error}");
    let error = refused(&mut cluster, RemoteChild::new("refuses", "no number".to_owned()).on([W]));
    assert!(error.contains("cannot be decoded"), "{error}");
    let error = refused(&mut cluster, RemoteChild::new("refuses", 7_u32).on(["nobody@9"]));
    assert!(error.contains("cannot be reached"), "{error}");
    let error = refused(&mut cluster, RemoteChild::new("refuses", 7_u32));
    assert!(error.contains("needs a node"), "{error}");
    // One that is not there is passed over.
    cluster.supervise(RemoteChild::new("sleeper", "sleeper".to_owned()).on(["nobody@9", X]).child("child"));
    assert_eq!(cluster.log.lines(), ["start x@3"]);
}

#[test]
fn a_lost_connection_that_comes_back_in_time_is_noticed_by_nobody() {
    for seed in 10..20 {
        let mut cluster = Cluster::new(seed);
        cluster.supervise(sleeper().outlive(25 * SECOND).child("child"));
        let (pid, stand_in) = (whereis(&cluster.w), cluster.child().pid());
        for _ in 0..3 {
            cluster.cut(S, W);
            cluster.simulation.run_for(10 * SECOND);
            assert_eq!(cluster.s.distribution.nodes().len(), 1, "the loss is noticed");
            cluster.heal(S, W);
            cluster.simulation.run_for(15 * SECOND);
        }
        assert_eq!((whereis(&cluster.w), cluster.child().pid()), (pid, stand_in), "seed {seed}");
        // And it is supervised still: what it does is noticed, what it is told it does.
        let (w, pid) = (cluster.w.clone(), pid.expect("it lives"));
        cluster.on(&w, move || kill(pid));
        cluster.simulation.run_for(SECOND);
        assert_eq!(cluster.child().restarts, 1, "seed {seed}");
        assert_eq!(cluster.log.lines(), ["start w@2", "end w@2", "start w@2"]);
    }
}

#[test]
fn a_lost_connection_that_stays_escalates_and_the_child_ends() {
    let mut cluster = Cluster::new(4);
    let supervisor = cluster.supervise(sleeper().child("child"));
    let s = cluster.s.clone();
    let reason = begin(&s, move |_, mut mailbox| {
        monitor(supervisor.pid());
        match mailbox.receive() {
            Received::Event(Event::Down(down)) => down.reason.as_exit(),
            other => panic!("{other:?}"),
        }
    });
    cluster.cut(S, W);
    let cut = cluster.simulation.now();
    assert!(cluster.simulation.run(60 * SECOND, || reason.lock().unwrap().is_some()));
    assert_eq!(reason.lock().unwrap().take(), Some(ExitReason::NoConnection));
    assert!(cluster.simulation.now() - cut >= 30 * SECOND);
    // It did not outlive half of the patience, and the time to notice.
    let ended = cluster.log.when("end w@2") - cut;
    assert!(ended >= 15 * SECOND && ended < 30 * SECOND, "{ended:?}");
}

#[test]
fn a_child_is_restarted_elsewhere_when_the_old_one_is_dead() {
    for seed in 20..30 {
        let mut cluster = Cluster::new(seed);
        cluster.supervise(sleeper().lost(Lost::Elsewhere).child("child"));
        assert_eq!(cluster.log.lines(), ["start w@2"]);
        cluster.cut(S, W);
        cluster.cut(X, W);
        cluster.simulation.run_for(60 * SECOND);
        assert_eq!(cluster.log.lines(), ["start w@2", "end w@2", "start x@3"], "seed {seed}: never two");
        assert!(cluster.log.when("end w@2") < cluster.log.when("start x@3"));
        assert_eq!(cluster.child().restarts, 1);
        cluster.heal(S, W);
        cluster.heal(X, W);
        cluster.simulation.run_for(60 * SECOND);
        assert_eq!(cluster.log.lines().len(), 3, "seed {seed}: nothing more happens");
        // And back, if that node is lost.
        cluster.simulation.crash(X, seed % 2 == 0);
        cluster.simulation.run_for(90 * SECOND);
        assert_eq!(cluster.log.lines()[3..], ["end x@3", "start w@2"], "seed {seed}");
    }
}

#[test]
fn of_two_after_a_partition_the_old_one_ends() {
    for seed in 30..40 {
        let mut cluster = Cluster::new(seed);
        let outlives = sleeper().lost(Lost::Elsewhere).outlive(Duration::from_secs(100_000));
        cluster.supervise(outlives.child("child"));
        cluster.cut(S, W);
        cluster.cut(X, W);
        cluster.simulation.run_for(60 * SECOND);
        assert_eq!(cluster.log.lines(), ["start w@2", "start x@3"], "seed {seed}: two, as it was asked for");
        cluster.heal(S, W);
        cluster.heal(X, W);
        cluster.simulation.run_for(30 * SECOND);
        assert_eq!(cluster.log.lines()[2..], ["end w@2"], "seed {seed}: the old one");
        assert_eq!((whereis(&cluster.w), whereis(&cluster.x).is_some()), (None, true));
        assert_eq!(cluster.child().restarts, 1);
    }
}

#[test]
fn a_supervisor_that_was_started_again_after_a_partition_ends_what_its_predecessor_left() {
    for seed in 40..45 {
        let mut cluster = Cluster::new(seed);
        let left = RemoteChild::new("sleeper", "sleeper".to_owned())
            .on([W])
            .patience(20 * SECOND)
            .outlive(Duration::from_secs(100_000));
        let inner = Supervisor::one_for_one().child(left.child("child"));
        let outer = Supervisor::one_for_one()
            .intensity(1000, 60 * SECOND)
            .child(ChildSpec::supervisor("inner", inner));
        cluster.supervise_by(outer).expect("it starts");
        cluster.cut(S, W);
        cluster.simulation.run_for(60 * SECOND);
        assert_eq!(cluster.log.lines(), ["start w@2"]);
        cluster.heal(S, W);
        cluster.simulation.run_for(60 * SECOND);
        // It has the name of the old one: so that has ended before.
        assert_eq!(cluster.log.lines(), ["start w@2", "end w@2", "start w@2"], "seed {seed}");
    }
}

#[test]
fn a_node_that_has_been_restarted_gets_its_child_again() {
    for quietly in [false, true] {
        let mut cluster = Cluster::new(5);
        cluster.supervise(sleeper().child("child"));
        cluster.simulation.crash(W, quietly);
        cluster.simulation.run_for(SECOND);
        cluster.w = start(&mut cluster.simulation, W, &cluster.log.clone());
        cluster.simulation.run_for(25 * SECOND);
        assert_eq!(cluster.log.lines(), ["start w@2", "end w@2", "start w@2"], "quietly: {quietly}");
        assert_eq!(cluster.child().restarts, 1);
        assert!(whereis(&cluster.w).is_some());
    }
}

#[test]
fn a_child_whose_supervisor_is_gone_ends() {
    for quietly in [false, true] {
        let mut cluster = Cluster::new(6);
        cluster.supervise(sleeper().child("child"));
        let pid = whereis(&cluster.w).expect("it runs");
        let crash = cluster.simulation.now();
        cluster.simulation.crash(S, quietly);
        cluster.simulation.run_for(40 * SECOND);
        let w = cluster.w.clone();
        assert!(!cluster.on(&w, move || is_alive(pid)));
        assert!(cluster.log.when("end w@2") - crash < 30 * SECOND);
    }
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "it waits on a thread of the system's, for nodes with real sockets"
)]
fn over_tcp_it_is_the_same() {
    use engset::{
        Node,
        dist::{HostNames, tcp},
    };
    let directory = std::env::temp_dir().join(format!("engset-supervision-{}", std::process::id()));
    let log = Log::default();
    let start = |name: &'static str| {
        let node = Node::start(engset::Config::new().workers(1_usize)).expect("a node");
        let host = HostNames::at(&directory).expect("a directory");
        let config = Config::new(name, Secret::new("of this test")).on_host(host);
        tcp::join(&node, config, ([127, 0, 0, 1], 0).into()).expect("it joins");
        let (log, (tell, told)) = (log.clone(), std::sync::mpsc::channel());
        let export = move || {
            let describe = move |()| {
                let log = log.clone();
                ChildSpec::function("child", move || {
                    register("sleeper").expect("one at a time");
                    log.note("start", name);
                    sleep(Duration::MAX);
                })
            };
            tell.send(remote_child::export("sleeper", describe)).expect("it is awaited");
        };
        node.spawn(export).expect("a process");
        assert_eq!(told.recv(), Ok(Ok(())));
        node
    };
    let (s, w, x) = (start("s"), start("w"), start("x"));
    let (tell, told) = std::sync::mpsc::channel();
    s.spawn(move || {
        let child =
            RemoteChild::new("sleeper", ()).on(["w", "x"]).elsewhere().patience(SECOND).child("child");
        let started = Supervisor::one_for_one().intensity(10, 60 * SECOND).child(child).start();
        tell.send(started.map(drop)).expect("it is awaited");
    })
    .expect("a process");
    assert_eq!(told.recv(), Ok(Ok(())));
    let wait_for = |lines: &[&str]| {
        for _ in 0..12_000 {
            if log.lines() == lines {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{:?} and not {lines:?}", log.lines());
    };
    wait_for(&["start w"]);
    let first = w.whereis("sleeper").expect("it runs there");
    w.spawn(move || kill(first)).expect("a process");
    wait_for(&["start w", "start w"]);
    assert!(w.stop());
    wait_for(&["start w", "start w", "start x"]);
    assert!(s.stop() & x.stop());
    std::fs::remove_dir_all(&directory).expect("it is there");
}

#[test]
fn a_supervisor_may_have_children_of_both_kinds_and_on_its_own_node() {
    let mut cluster = Cluster::new(7);
    let log = cluster.log.clone();
    let local = ChildSpec::function("local", move || {
        log.note("local", S);
        register("local").expect("one at a time");
        sleep(Duration::MAX);
    });
    let builder = Supervisor::rest_for_one()
        .intensity(3, 60 * SECOND)
        .child(RemoteChild::new("sleeper", "one".to_owned()).on([S]).child("here"))
        .child(local)
        .child(RemoteChild::new("sleeper", "two".to_owned()).on([W]).child("there"));
    cluster.supervise_by(builder).expect("it starts");
    let (s, w) = (cluster.s.clone(), cluster.w.clone());
    let before = (s.node.whereis("one"), w.node.whereis("two"));
    assert!(before.0.is_some() && before.1.is_some());
    let local = s.node.whereis("local").expect("it runs");
    cluster.on(&s, move || kill(local));
    cluster.simulation.run_for(5 * SECOND);
    assert_eq!(s.node.whereis("one"), before.0, "it was started before");
    assert!(w.node.whereis("two").is_some() && w.node.whereis("two") != before.1);
    // A child that is not described right is refused as any other.
    let duplicate = cluster.on(&s, || {
        assert_eq!(self_pid().node(), Supervisor::named("supervisor").expect("it lives").pid().node());
        Supervisor::named("supervisor").expect("it lives").start_child(sleeper().child("there"))
    });
    assert!(matches!(duplicate, Err(ChildError::Duplicate { .. })), "{duplicate:?}");
}
