//! Every test runs on two workers, and in systematic mode under several seeds.

#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod erlang;

use engset_runtime::{
    Config, DownReason, Event, ExitReason, Mailbox, Pid, Received, Reply, RunError, exit_self, is_alive,
    run_with, spawn, spawn_monitor,
};
use std::{ops::Range, time::Duration};

/// Seeds of the systematic runs.
const SEEDS: Range<u64> = 0..40;

/// What a test is: the body of a process that takes `M`.
pub(crate) type Test<M> = fn(&mut Mailbox<M>);

/// Runs the test as a process of a node, again and again.
#[track_caller]
pub(crate) fn everywhere<M: Send + 'static>(test: Test<M>) {
    threaded(test);
    systematic(test);
}

#[track_caller]
pub(crate) fn threaded<M: Send + 'static>(test: Test<M>) {
    if let Err(error) = run_with(Config::new().workers(2).crash_reports_per_second(0), move || scene(test)) {
        panic!("on two workers: {error}");
    }
}

/// Time is virtual here: nothing takes long.
#[track_caller]
pub(crate) fn systematic<M: Send + 'static>(test: Test<M>) {
    for seed in SEEDS {
        let run = run_with(Config::new().seed(seed).crash_reports_per_second(0), move || scene(test));
        if let Err(error @ (RunError::Crashed(_) | RunError::Deadlock(_))) = run {
            panic!("seed {seed}: {error}");
        }
    }
}

/// Runs a test in a process with a mailbox; its failure is the failure of the process that calls.
fn scene<M: Send + 'static>(test: Test<M>) {
    let watcher = spawn(move |mut mailbox: Mailbox<Reply<()>>| {
        let reply = mailbox.message();
        spawn_monitor(move |mut inner: Mailbox<M>| test(&mut inner));
        match mailbox.receive() {
            Received::Event(Event::Down(down)) if down.reason == DownReason::Exited(ExitReason::Normal) => {
                reply.send(())
            }
            Received::Event(Event::Down(down)) => exit_self(down.reason.as_exit()),
            _ => unreachable!("nobody sends to it"),
        }
    });
    if let Err(error) = watcher.call_timeout(|reply| reply, Duration::MAX) {
        panic!("{error}");
    }
}

/// The next event of a test's process.
#[track_caller]
pub(crate) fn event<M: Send + 'static>(mailbox: &mut Mailbox<M>) -> Event {
    match mailbox.select(|item| matches!(item, engset_runtime::Item::Event(_))) {
        Received::Event(event) => event,
        Received::Message(_) => unreachable!("events only"),
    }
}

/// Waits for the `Down` of this process, and tells why.
#[track_caller]
pub(crate) fn down_of<M: Send + 'static>(mailbox: &mut Mailbox<M>, pid: Pid) -> DownReason {
    let wanted = |item: engset_runtime::Item<'_, M>| matches!(item, engset_runtime::Item::Event(Event::Down(down)) if down.pid == pid);
    match mailbox.select(wanted) {
        Received::Event(Event::Down(down)) => down.reason,
        _ => unreachable!("selected"),
    }
}

/// Is there nothing in the mailbox, after what is under way has arrived?
#[track_caller]
pub(crate) fn nothing_more<M: Send + std::fmt::Debug + 'static>(mailbox: &mut Mailbox<M>) {
    if let Some(more) = mailbox.receive_timeout(Duration::from_millis(20)) {
        panic!("there is more: {more:?}");
    }
}

/// Waits until a process is dead.
#[track_caller]
pub(crate) fn wait_dead(pid: Pid) {
    eventually("it dies", || !is_alive(pid));
}

/// Waits until something holds that another process does on its own.
#[track_caller]
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if holds() {
            return;
        }
        engset_runtime::sleep(Duration::from_millis(1));
    }
    panic!("never: {what}");
}
