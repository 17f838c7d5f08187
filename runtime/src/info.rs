//! What is known of a process. Asking is a signal like any other: the answer is true at its place in the
//! order of the asker's signals.

use crate::{
    call::{self, Reply},
    node,
    pid::Pid,
    process::self_pid,
    reductions::price,
    send,
    signal::Signal,
    state::{self, Ancestor},
};
use engset_scheduler::{
    Priority,
    current::{self, Activity},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is known of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// Who.
    pub pid: Pid,
    /// Its names.
    pub names: Vec<Arc<str>>,
    /// When it is chosen.
    #[serde(with = "PriorityName")]
    pub priority: Priority,
    /// What it is doing.
    #[serde(with = "activity")]
    pub activity: Activity,
    /// Has it a stack now?
    pub has_stack: bool,
    /// Messages in its mailbox.
    pub mailbox_len: u32,
    /// Processes that it is linked with.
    pub links: Vec<Pid>,
    /// Processes that it watches.
    pub monitors: Vec<Pid>,
    /// Processes that watch it.
    pub watchers: Vec<Pid>,
    /// Does it trap exits?
    pub traps_exits: bool,
    /// Who started it, who started that one, and so on, if that was recorded
    /// ([`Builder::ancestry`](crate::Builder::ancestry)); at most 16.
    pub ancestors: Vec<Ancestor>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Priority")]
enum PriorityName {
    Max,
    High,
    Normal,
    Low,
}

/// As a number: there may be more of them in the next version.
mod activity {
    use super::Activity;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    const ALL: [Activity; 4] = [Activity::Waiting, Activity::Idle, Activity::Runnable, Activity::Running];

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
    pub(super) fn serialize<S: Serializer>(activity: &Activity, serializer: S) -> Result<S::Ok, S::Error> {
        ALL.iter().position(|other| other == activity).unwrap_or(0).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Activity, D::Error> {
        let number = usize::deserialize(deserializer)?;
        Ok(ALL.get(number).copied().unwrap_or(Activity::Waiting))
    }
}

/// What is known of a process; `None`: it is dead.
///
/// # Signals
///
/// It waits for the answer: if an exit signal ends this process, its stack unwinds from here.
///
/// # Panics
///
/// Outside of a process.
#[must_use]
pub fn process_info(pid: impl Into<Pid>) -> Option<ProcessInfo> {
    let pid = pid.into();
    let me = self_pid();
    current::reduce(price::OTHER);
    if pid == me {
        return collect(me);
    }
    let ask = |reply: Reply<Box<ProcessInfo>>| {
        let (caller, reference) = reply.into_parts();
        send::signal(pid, Signal::Inspect { caller, reference });
    };
    match call::wait_for(ask) {
        Ok(info) => Some(*info),
        Err(_) => None,
    }
}

/// Is the process alive? The answer is ordered with this process' signals: after `exit(pid, Kill)` it is
/// false.
///
/// # Signals
///
/// It waits for the answer, as [`process_info`].
///
/// # Panics
///
/// Outside of a process.
#[must_use]
pub fn is_alive(pid: impl Into<Pid>) -> bool {
    let pid = pid.into();
    pid == self_pid() || process_info(pid).is_some()
}

/// All processes of this node that live now, roughly: others come and go meanwhile.
#[must_use]
pub fn processes() -> Vec<Pid> {
    crate::Node::current().map(|node| node.processes()).unwrap_or_default()
}

/// The `Inspect` signal acts.
pub(crate) fn answer(me: Pid, caller: Pid, reference: u64) {
    if let Some(info) = collect(me) {
        call::answer(caller, reference, Box::new(info));
    }
}

fn collect(me: Pid) -> Option<ProcessInfo> {
    let (activity, has_stack) = current::activity()?;
    let mut info = ProcessInfo {
        pid: me,
        names: Vec::new(),
        priority: current::priority()?,
        activity,
        has_stack,
        mailbox_len: current::queued(me.task()),
        links: Vec::new(),
        monitors: Vec::new(),
        watchers: Vec::new(),
        traps_exits: false,
        ancestors: Vec::new(),
    };
    state::with_existing(|state| {
        info.names = state
            .rare
            .as_ref()
            .map(|rare| rare.names.iter().map(|(name, _)| Arc::clone(name)).collect())
            .unwrap_or_default();
        info.links = state.relations.links().collect();
        let monitors = state.relations.monitors().filter(|(_, watch)| watch.call().is_none());
        info.monitors = monitors.map(|(_, watch)| watch.target).collect();
        let watchers = state.relations.watchers().into_iter().map(|(_, pid)| pid);
        info.watchers = watchers.filter(|pid| pid.outside_waiter().is_none()).collect();
        info.traps_exits = state.traps;
        info.ancestors = state.ancestors.as_deref().map(|ancestors| ancestors.to_vec()).unwrap_or_default();
    });
    Some(info)
}

/// The name of a process, for reports.
#[must_use]
pub fn name_of(pid: Pid) -> Option<Arc<str>> {
    node::with_node(pid.node(), |node| node.names.name_of(pid)).flatten()
}

/// Messages in a process' mailbox, as its worker last counted; 0 if it is dead. A hint, without a signal: what has not
/// arrived yet is not in it. [`process_info`] has the ordered answer.
#[must_use]
pub fn mailbox_len(pid: impl Into<Pid>) -> u32 {
    let pid = pid.into();
    if current::tag() == Some(pid.node().number()) {
        return current::queued(pid.task());
    }
    node::scheduler_of(pid.node()).and_then(|scheduler| scheduler.queued(pid.task())).unwrap_or(0)
}
