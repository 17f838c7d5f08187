//! A process that a process of another node has asked for: born with the link and the monitor of a parent elsewhere.

use crate::{
    BuildError,
    call::fresh_reference,
    event::MonitorRef,
    node,
    pid::Pid,
    process::{Entry, Once},
    send,
    signal::Signal,
    state::State,
};
use engset_scheduler::{Extension, OwnedBody, Settings, current};

/// What the parent has asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ancestry {
    /// A link with it.
    pub link: bool,
    /// A monitor of it.
    pub monitor: Option<u64>,
}

/// Spawns a process with relations to a parent elsewhere, on the node of the process that calls.
///
/// # Errors
///
/// The limit of processes is reached, or this is no process.
pub fn spawn_for<A: 'static, E: Entry<A>>(
    parent: Pid,
    ancestry: Ancestry,
    entry: E,
) -> Result<Pid, BuildError> {
    let mut state = State::default();
    if let Some(reference) = ancestry.monitor {
        state.relations.add_watcher(MonitorRef(reference), parent);
    }
    if ancestry.link {
        state.relations.linked(parent);
    }
    let spawned =
        current::spawn(OwnedBody::new(Once::new(entry)), Some(Extension::new(state)), Settings::default());
    let (Some(task), Some(id)) = (spawned, node::with_current(|node| node.id)) else {
        return Err(BuildError::OutsideOfProcess { what: "spawn_for" });
    };
    Ok(Pid::new(id, task?))
}

impl Ancestry {
    /// For a request by the process that runs.
    #[must_use]
    pub fn new(link: bool, monitor: bool) -> Self {
        Ancestry { link, monitor: monitor.then(fresh_reference) }
    }

    /// Its monitor, for who has asked.
    #[must_use]
    pub fn monitor_ref(&self) -> Option<MonitorRef> {
        self.monitor.map(MonitorRef)
    }

    /// The child lives: the parent's half of the relations. In the order of the caller's other signals, so before anything that
    /// tells of the child's end.
    pub fn adopt(self, parent: Pid, child: Pid) {
        if self.link || self.monitor.is_some() {
            send::signal(
                parent,
                Signal::Adopt { child, link: self.link, monitor: self.monitor.map(MonitorRef) },
            );
        }
    }
}
