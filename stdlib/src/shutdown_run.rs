//! The process that runs a coordinated shutdown, and what it reports.

use crate::shutdown::{CoordinatedShutdown, Phase, Progress, StopCause};
use engset_runtime::{
    Builder, DownReason, Event, ExitReason, Item, Mailbox, MonitorRef, Pid, Received, Reply, exit_self, kill,
    now, register,
};
use std::{fmt, sync::Arc, time::Duration};

/// What a shutdown has done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopReport {
    /// Why it ran.
    pub cause: StopCause,
    /// Its tasks in the order of their phases, and in a phase of their ends.
    pub tasks: Vec<TaskReport>,
    /// The phase whose failure has ended it before its time.
    pub aborted: Option<Arc<str>>,
}

/// What became of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskReport {
    /// Its phase.
    pub phase: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// How it ended.
    pub outcome: TaskOutcome,
}

/// How a task of a shutdown has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskOutcome {
    /// It is done.
    Done,
    /// It has returned an error, or crashed.
    Failed(ExitReason),
    /// The time of its phase was over; it has been killed.
    TimedOut(Duration),
}

impl StopReport {
    /// Is everything done that was to be done?
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.aborted.is_none() && self.failures().next().is_none()
    }

    /// The tasks that are not done.
    pub fn failures(&self) -> impl Iterator<Item = &TaskReport> {
        self.tasks.iter().filter(|task| task.outcome != TaskOutcome::Done)
    }
}

impl fmt::Display for StopReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped ({})", self.cause)?;
        for task in self.failures() {
            write!(f, "; in the phase {}, {:?} ", task.phase, task.name)?;
            match &task.outcome {
                TaskOutcome::Done => {}
                TaskOutcome::Failed(reason) => write!(f, "failed: {reason}")?,
                TaskOutcome::TimedOut(time) => write!(f, "was not done within {time:?}")?,
            }
        }
        match &self.aborted {
            Some(phase) => write!(f, "; aborted after the phase {phase}"),
            None => Ok(()),
        }
    }
}

const NAME: &str = "engset.shutdown";

/// The body of the process. It begins when somebody asks, and stays, to answer those who ask later.
pub(crate) fn run(mut mailbox: Mailbox<Reply<StopReport>>, shutdown: &CoordinatedShutdown, cause: StopCause) {
    let first = mailbox.message();
    // For those who look at the node's processes; it does not matter if somebody has the name.
    drop(register(NAME));
    let mut report = StopReport { cause, tasks: Vec::new(), aborted: None };
    for (phase, time) in shutdown.plan() {
        if !phase.enabled {
            continue;
        }
        let before = report.tasks.len();
        run_phase(&mut mailbox, shutdown, &phase, time, &mut report.tasks);
        let failed = report.tasks[before..].iter().any(|task| task.outcome != TaskOutcome::Done);
        if failed && !phase.recover {
            report.aborted = Some(Arc::clone(&phase.name));
            break;
        }
    }
    shutdown.report(Progress::default());
    first.send(report.clone());
    loop {
        if let Received::Message(reply) = mailbox.receive() {
            reply.send(report.clone());
        }
    }
}

struct Running {
    name: Arc<str>,
    pid: Pid,
    reference: MonitorRef,
}

fn run_phase(
    mailbox: &mut Mailbox<Reply<StopReport>>,
    shutdown: &CoordinatedShutdown,
    phase: &Phase,
    time: Duration,
    reports: &mut Vec<TaskReport>,
) {
    let mut told = |name: &Arc<str>, outcome: TaskOutcome| {
        if outcome != TaskOutcome::Done {
            tracing::warn!(target: "engset", phase = &*phase.name, task = &**name, ?outcome, "task of the shutdown");
        }
        reports.push(TaskReport { phase: Arc::clone(&phase.name), name: Arc::clone(name), outcome });
    };
    let deadline = now().saturating_add(time);
    let mut running = Vec::new();
    shutdown.report(Progress { phase: Some(Arc::clone(&phase.name)), tasks: Vec::new() });
    for task in shutdown.begin(&phase.name) {
        let (name, run) = (task.name, task.run);
        let body = move || {
            if let Err(error) = run() {
                exit_self(ExitReason::error(error.to_string()));
            }
        };
        match Builder::new().spawn_monitor(body) {
            Ok((pid, reference)) => running.push(Running { name, pid, reference }),
            Err(error) => told(&name, TaskOutcome::Failed(ExitReason::error(error.to_string()))),
        }
    }
    while !running.is_empty() {
        let tasks = running.iter().map(|task| (Arc::clone(&task.name), task.pid)).collect();
        shutdown.report(Progress { phase: Some(Arc::clone(&phase.name)), tasks });
        let left = deadline.saturating_sub(now());
        let is_down = |item: Item<'_, _>| matches!(item, Item::Event(Event::Down(_)));
        match mailbox.select_timeout(is_down, left) {
            Some(Received::Event(Event::Down(down))) => {
                let Some(at) = running.iter().position(|task| task.reference == down.reference) else {
                    continue;
                };
                let task = running.swap_remove(at);
                told(
                    &task.name,
                    match down.reason {
                        DownReason::Exited(ExitReason::Normal) => TaskOutcome::Done,
                        other => TaskOutcome::Failed(other.as_exit()),
                    },
                );
            }
            Some(_) => {}
            None => {
                for task in running.drain(..) {
                    kill(task.pid);
                    told(&task.name, TaskOutcome::TimedOut(time));
                }
            }
        }
    }
}
