//! What the semantic tests share: a scenario runs with threads, and in systematic mode under many seeds.
//!
//! | variable | meaning |
//! |---|---|
//! | `ENGSET_SEEDS` | how many seeds; default 50 |
//! | `ENGSET_SEED_ONLY` | this seed only, and no run with threads: to replay a failure |

#![allow(
    clippy::disallowed_methods,
    reason = "tests and benchmarks look at the real clock and block real threads"
)]
#![allow(dead_code, reason = "each test file uses a part of it")]

use engset::{
    Config, Down, DownReason, Event, Exit, ExitReason, Item, Mailbox, MonitorRef, Node, Pid, Received,
    RunError, is_alive, monitor, now, sleep, spawn_monitor,
};
use std::{
    panic::Location,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

/// After this something hangs. Far longer than anything here takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Runs with threads.
const REPEAT: u32 = 3;

/// How a scenario has ended; `None`: normally.
type Verdict = Result<(), String>;

/// Runs `scenario` in a process with a mailbox: a few times on two workers, then in systematic mode under
/// many seeds. No process may crash.
#[track_caller]
pub(crate) fn both<M: Send + 'static>(scenario: impl Fn(Mailbox<M>) + Send + Sync + 'static) {
    in_modes(Location::caller(), Config::new(), Some(0), scenario);
}

/// The same with settings; `crashes`: how many processes must have crashed, if it is known.
#[track_caller]
pub(crate) fn both_with<M: Send + 'static>(
    config: Config,
    crashes: Option<u64>,
    scenario: impl Fn(Mailbox<M>) + Send + Sync + 'static,
) {
    in_modes(Location::caller(), config, crashes, scenario);
}

/// In systematic mode only.
#[track_caller]
pub(crate) fn systematic<M: Send + 'static>(scenario: impl Fn(Mailbox<M>) + Send + Sync + 'static) {
    under_seeds(Location::caller(), &Config::new(), Some(0), &Arc::new(scenario));
}

/// With threads only.
#[track_caller]
pub(crate) fn threaded<M: Send + 'static>(
    config: Config,
    scenario: impl Fn(Mailbox<M>) + Send + Sync + 'static,
) {
    if let Err(why) = drive(config, Some(0), &Arc::new(scenario)) {
        panic!("with threads: {why}");
    }
}

fn in_modes<M: Send + 'static>(
    at: &Location<'_>,
    config: Config,
    crashes: Option<u64>,
    scenario: impl Fn(Mailbox<M>) + Send + Sync + 'static,
) {
    let scenario = Arc::new(scenario);
    if std::env::var_os("ENGSET_SEED_ONLY").is_none() {
        for round in 0..REPEAT {
            if let Err(why) = drive(config.clone().workers(2), crashes, &scenario) {
                panic!("with threads, round {round}: {why}");
            }
        }
    }
    under_seeds(at, &config, crashes, &scenario);
}

fn under_seeds<M: Send + 'static, S: Fn(Mailbox<M>) + Send + Sync + 'static>(
    at: &Location<'_>,
    config: &Config,
    crashes: Option<u64>,
    scenario: &Arc<S>,
) {
    for seed in seeds() {
        if let Err(why) = drive(config.clone().seed(seed), crashes, scenario) {
            let file = at.file().rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            panic!(
                "seed {seed}: {why}\n  replay: ENGSET_SEED_ONLY={seed} cargo test -p engset --test {file} {name}"
            );
        }
    }
}

/// The seeds of the environment.
pub(crate) fn seeds() -> std::ops::Range<u64> {
    let number =
        |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number of seeds, or a seed"));
    match number("ENGSET_SEED_ONLY") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ENGSET_SEEDS").unwrap_or(50),
    }
}

/// One run of a scenario, watched from a thread that gives up after [`DEADLINE`].
pub(crate) fn drive<M: Send + 'static, S: Fn(Mailbox<M>) + Send + Sync + 'static>(
    config: Config,
    crashes: Option<u64>,
    scenario: &Arc<S>,
) -> Verdict {
    let (done, verdict) = mpsc::channel();
    let scenario = Arc::clone(scenario);
    let thread = std::thread::spawn(move || {
        // Whoever has given up does not listen any more.
        let _ = done.send(run_node(config, crashes, scenario));
    });
    match verdict.recv_timeout(DEADLINE) {
        Ok(verdict) => {
            thread.join().map_err(|_| "the run panicked".to_owned())?;
            verdict
        }
        Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("it hangs: nothing after {DEADLINE:?}")),
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => Err(format!("the run panicked: {}", text_of(&*panic))),
            Ok(()) => Err("the run has no verdict".to_owned()),
        },
    }
}

fn text_of(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&'static str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn run_node<M: Send + 'static, S: Fn(Mailbox<M>) + Send + Sync + 'static>(
    config: Config,
    crashes: Option<u64>,
    scenario: Arc<S>,
) -> Verdict {
    let systematic = config.get_seed().is_some();
    let node = Node::start(config.crash_reports_per_second(3_u32)).map_err(|error| error.to_string())?;
    let end: Arc<Mutex<Option<DownReason>>> = Arc::default();
    let (tell, told) = mpsc::channel();
    let place = Arc::clone(&end);
    let watcher = move |mut mailbox: Mailbox<()>| {
        let (_, reference) = spawn_monitor(move |mailbox: Mailbox<M>| scenario(mailbox));
        let down = down_of(&mut mailbox, reference);
        *place.lock().expect("nobody panics with it") = Some(down.reason);
        let _ = tell.send(());
    };
    node.spawn(watcher).map_err(|error| error.to_string())?;
    let finished = if systematic {
        let is_there = || end.lock().expect("nobody panics with it").is_some();
        node.run_until(is_there).map_err(|error| match error {
            RunError::Deadlock(waiting) => format!("deadlock: {waiting:?}"),
            other => other.to_string(),
        })
    } else {
        told.recv_timeout(DEADLINE / 2).map_err(|_| format!("it hangs; alive: {:?}", node.processes()))
    };
    let stopped = node.stop();
    // Now all have been counted.
    let crashed = node.crashes();
    finished?;
    let reason = end.lock().expect("nobody panics with it").take();
    match reason {
        Some(DownReason::Exited(ExitReason::Normal)) => {}
        Some(other) => return Err(format!("the scenario: {other}")),
        None => return Err("the scenario has not ended".to_owned()),
    }
    if let Some(expected) = crashes
        && expected != crashed
    {
        return Err(format!("{crashed} processes crashed, and not {expected}: see standard error"));
    }
    if stopped { Ok(()) } else { Err("the node could not be stopped".to_owned()) }
}

/// Waits, in a process, until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let start = now();
    while !condition() {
        assert!(now() - start < Duration::from_secs(20), "waited for too long");
        sleep(Duration::from_millis(1));
    }
}

/// The same for a thread that is no process.
#[track_caller]
pub(crate) fn wait_until_outside(mut condition: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("waited for too long");
}

/// The `Down` of this monitor; everything else stays in the mailbox.
pub(crate) fn down_of<M: Send + 'static>(mailbox: &mut Mailbox<M>, reference: MonitorRef) -> Down {
    let is_it =
        |item: Item<'_, M>| matches!(item, Item::Event(Event::Down(down)) if down.reference == reference);
    match mailbox.select(is_it) {
        Received::Event(Event::Down(down)) => down,
        _ => unreachable!("selected"),
    }
}

/// The exit event of this process; everything else stays in the mailbox.
pub(crate) fn exit_of<M: Send + 'static>(mailbox: &mut Mailbox<M>, from: impl Into<Pid>) -> Exit {
    let from = from.into();
    let is_it = |item: Item<'_, M>| matches!(item, Item::Event(Event::Exit(exit)) if exit.from == from);
    match mailbox.select(is_it) {
        Received::Event(Event::Exit(exit)) => exit,
        _ => unreachable!("selected"),
    }
}

/// Waits until the process is dead, and everything that it had to tell is under way.
pub(crate) fn await_end<M: Send + 'static>(mailbox: &mut Mailbox<M>, pid: impl Into<Pid>) -> DownReason {
    let reference = monitor(pid.into());
    down_of(mailbox, reference).reason
}

/// Nothing comes for a while.
#[track_caller]
pub(crate) fn assert_silence<M: Send + std::fmt::Debug + 'static>(mailbox: &mut Mailbox<M>) {
    if let Some(received) = mailbox.receive_timeout(Duration::from_millis(15)) {
        panic!("something came: {received:?}");
    }
}

/// Everything that was sent to this process before has acted when this returns.
pub(crate) fn signals_have_acted(pid: impl Into<Pid>) {
    // The question travels behind what this process has sent.
    let _ = is_alive(pid);
}

/// A reason of the user's.
pub(crate) fn boom() -> ExitReason {
    ExitReason::error("boom")
}

/// A value that tells when it is dropped.
#[derive(Debug)]
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A fresh counter, shared.
pub(crate) fn counter() -> Arc<std::sync::atomic::AtomicUsize> {
    Arc::default()
}

/// Runs the named test of this test binary in another OS process, with `ENGSET_CHILD` set to `part`; returns
/// whether it ended well, and what it wrote to standard error.
pub(crate) fn in_child(test: &str, part: &str) -> (std::process::ExitStatus, String) {
    let binary = std::env::current_exe().expect("the test binary");
    let output = std::process::Command::new(binary)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env("ENGSET_CHILD", part)
        .env_remove("ENGSET_SEED_ONLY")
        .output()
        .expect("the test binary can be run");
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Is this the child of [`in_child`], and which?
pub(crate) fn child_part() -> Option<String> {
    std::env::var("ENGSET_CHILD").ok()
}

/// For a result that nobody wants.
pub(crate) fn ignore<T>(_value: T) {}
