//! Supervisors: strategies, restarts and their limit, stopping, requests (semantics rows B2 to B7).

mod requests;
mod restarts;
mod stopping;
mod strategies;
#[path = "../support/mod.rs"]
mod support;

use engset_runtime::{
    Address, DownReason, Event, ExitReason, Mailbox, Pid, exit, is_alive, kill, link, monitor, now,
    process_info, send_after, sleep, spawn, trap_exits, whereis,
};
use engset_stdlib::{
    Agent, AutoShutdown, Backoff, ChildError, ChildSpec, ChildState, Context, GenServer, Kind, Next, Restart,
    Shutdown, SpecError, StartError, Supervisor, SupervisorBuilder,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use support::{down_of, event, eventually, everywhere, nothing_more, wait_dead};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// What children tell the test.
#[derive(Debug, PartialEq, Eq)]
enum Note {
    Started(&'static str, Pid),
    Stopped(&'static str, ExitReason),
}
use Note::{Started, Stopped};

/// A child that tells of its start, and of its end if that is orderly.
struct Worker {
    name: &'static str,
    log: Address<Note>,
}

enum Order {
    Crash,
    Finish,
    Shutdown,
}

impl GenServer for Worker {
    type Message = Order;

    fn init(&mut self, context: &mut Context<Order>) -> Result<Next, ExitReason> {
        self.log.send(Started(self.name, context.address().pid()));
        Ok(Next::wait())
    }

    fn handle(&mut self, order: Order, _: &mut Context<Order>) -> Next {
        match order {
            Order::Crash => Next::stop_with(ExitReason::error("crash")),
            Order::Finish => Next::stop(),
            Order::Shutdown => Next::stop_with(ExitReason::Shutdown),
        }
    }

    fn terminate(&mut self, reason: &ExitReason, _: &mut Context<Order>) {
        self.log.send(Stopped(self.name, reason.clone()));
    }
}

fn worker(log: &Mailbox<Note>, name: &'static str) -> ChildSpec {
    let log = log.address();
    ChildSpec::server(name, move || Worker { name, log }.options().name(name).trap_exits())
}

fn order(name: &str, order: Order) {
    engset_runtime::send_named(name, order).unwrap();
}

#[track_caller]
fn started(mailbox: &mut Mailbox<Note>) -> &'static str {
    match mailbox.message_timeout(10 * SECOND) {
        Some(Started(name, _)) => name,
        other => panic!("expected a start, got {other:?}"),
    }
}

#[track_caller]
fn stopped(mailbox: &mut Mailbox<Note>) -> (&'static str, ExitReason) {
    match mailbox.message_timeout(10 * SECOND) {
        Some(Stopped(name, reason)) => (name, reason),
        other => panic!("expected a stop, got {other:?}"),
    }
}

#[track_caller]
fn stopped_by_supervisor(mailbox: &mut Mailbox<Note>, names: &[&str]) {
    for name in names {
        assert_eq!(stopped(mailbox), (*name, ExitReason::Shutdown));
    }
}

#[track_caller]
fn all_started(mailbox: &mut Mailbox<Note>, names: &[&str]) {
    for name in names {
        assert_eq!(started(mailbox), *name);
    }
}

/// Workers a, b, c under a supervisor that lets a lot happen.
fn abc(mailbox: &mut Mailbox<Note>, builder: SupervisorBuilder) -> Supervisor {
    let supervisor = ["a", "b", "c"]
        .into_iter()
        .fold(builder.intensity(100, SECOND), |builder, name| builder.child(worker(mailbox, name)))
        .start_link()
        .unwrap();
    all_started(mailbox, &["a", "b", "c"]);
    supervisor
}

#[track_caller]
fn state_of(supervisor: Supervisor, id: &str) -> Option<ChildState> {
    let children = supervisor.which_children().unwrap();
    children.into_iter().find(|child| &*child.id == id).map(|child| child.state)
}
