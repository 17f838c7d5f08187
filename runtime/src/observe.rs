//! Looking on: everything that processes do, as it happens, told to one observer of the node.
//!
//! For test tools. Without an observer it costs one comparison with a field that is at hand for each message.
//!
//! 1. The observer is called where it happens, on the worker's thread, in the middle of the runtime: it must not call the
//!    runtime, nor wait, nor panic.
//! 2. In systematic mode the order of its calls is the order of what happens. With threads only what one process does
//!    is told in order.

use crate::{
    event::Event,
    node::{self, Inner},
    pid::Pid,
    reason::{DownReason, ExitReason, Panic},
    signal::Signal,
};
use engset_scheduler::{Envelope, Kind, TaskId, current};
use std::{any::Any, fmt, sync::Arc, time::Duration};

/// Who looks on: see the head of this module's file, and [`Config::observer`](crate::Config::observer).
pub trait Observer: Any + Send + Sync {
    /// Something has happened, at this time of the node's clock.
    fn observe(&self, at: Duration, seen: Seen<'_>);
}

/// What has happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Seen<'a> {
    /// A process has been spawned.
    Spawned {
        /// By whom; `None`: by a thread that is no process.
        by: Option<Pid>,
        /// The new one.
        pid: Pid,
    },
    /// It has a name from now on.
    Named {
        /// Who.
        pid: Pid,
        /// The name.
        name: &'a Arc<str>,
    },
    /// Something is on its way.
    Sent {
        /// From whom; `None`: a timer.
        by: Option<Pid>,
        /// For whom.
        to: Pid,
        /// What.
        what: Parcel,
    },
    /// A signal that is no message acts.
    Acted {
        /// On whom.
        pid: Pid,
        /// What.
        what: Parcel,
    },
    /// Something has been taken out of the mailbox, or the answer to a call has been.
    Received {
        /// By whom.
        pid: Pid,
        /// What.
        what: Parcel,
    },
    /// A message has been dropped because its receiver is dead.
    DeadLetter {
        /// The type of the message.
        message: &'static str,
    },
    /// A process has panicked.
    Crashed {
        /// Who.
        pid: Pid,
        /// What is known.
        panic: &'a Panic,
    },
    /// A process has ended. Its crash, if it is one, was told before.
    Ended {
        /// Who.
        pid: Pid,
        /// Why.
        reason: &'a ExitReason,
    },
    /// See [`touch`].
    Touched {
        /// By whom; `None`: a thread that is no process.
        by: Option<Pid>,
        /// What.
        object: &'a str,
    },
    /// See [`note`].
    Noted {
        /// Who says it; `None`: a thread that is no process.
        by: Option<Pid>,
        /// What.
        text: &'a str,
    },
}

/// What travels.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Parcel {
    /// A message of this type.
    Message(&'static str),
    /// The answer to a call.
    Reply,
    /// The signal of an ended link, or of `exit`.
    Exit(ExitReason),
    /// What a monitor tells.
    Down(Pid, DownReason),
    /// A timer of the process' own.
    Timer,
    /// A node has come or gone.
    Node,
    /// A link is asked for.
    Link,
    /// A link is given up.
    Unlink,
    /// A monitor is set.
    Monitor,
    /// A monitor is taken away.
    Demonitor,
    /// A question about the process.
    Inspect,
    /// A request to the general part of the process (`sys`).
    System,
    /// What the runtime has to tell itself.
    Internal,
}

impl fmt::Display for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Parcel::Message(name) => f.write_str(name),
            Parcel::Reply => f.write_str("a reply"),
            Parcel::Exit(reason) => write!(f, "exit ({reason})"),
            Parcel::Down(pid, reason) => write!(f, "down of {pid}: {reason}"),
            Parcel::Timer => f.write_str("timer"),
            Parcel::Node => f.write_str("node up or down"),
            Parcel::Link => f.write_str("link"),
            Parcel::Unlink => f.write_str("unlink"),
            Parcel::Monitor => f.write_str("monitor"),
            Parcel::Demonitor => f.write_str("demonitor"),
            Parcel::Inspect => f.write_str("is it alive?"),
            Parcel::System => f.write_str("system request"),
            Parcel::Internal => f.write_str("internal"),
        }
    }
}

impl Parcel {
    fn of(envelope: &Envelope, to: Pid) -> Self {
        match envelope.kind() {
            Kind::Message => Parcel::Message(envelope.type_name()),
            Kind::Reply => Parcel::Reply,
            Kind::Event => match envelope.get::<Event>() {
                Some(Event::Exit(exit)) => Parcel::Exit(exit.reason.clone()),
                Some(Event::Down(down)) => Parcel::Down(down.pid, down.reason.clone()),
                Some(Event::Timer(_)) => Parcel::Timer,
                Some(Event::NodeUp(_) | Event::NodeDown(_)) => Parcel::Node,
                None => Parcel::Internal,
            },
            Kind::Signal => match envelope.get::<Signal>() {
                Some(Signal::Exit(exit)) => Parcel::Exit(exit.reason.clone()),
                // The receiver knows whom it watches; here it is who is being told.
                Some(Signal::Down { reason, .. }) => Parcel::Down(to, reason.clone()),
                Some(Signal::Link { .. }) => Parcel::Link,
                Some(Signal::Unlink { .. }) => Parcel::Unlink,
                Some(Signal::Monitor { .. }) => Parcel::Monitor,
                Some(Signal::Demonitor { .. }) => Parcel::Demonitor,
                Some(Signal::Inspect { .. }) => Parcel::Inspect,
                Some(Signal::System(_)) => Parcel::System,
                Some(Signal::Aliased { message, .. }) => Parcel::Message(message.type_name()),
                Some(
                    Signal::UnlinkAck { .. }
                    | Signal::Hold(_)
                    | Signal::LetGo { .. }
                    | Signal::Adopt { .. }
                    | Signal::Poke
                    | Signal::Survived,
                )
                | None => Parcel::Internal,
            },
        }
    }
}

/// The observer of a node, in its settings.
#[derive(Clone)]
pub(crate) struct Watcher(pub(crate) Arc<dyn Observer>);

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// The observer of the node that the caller lives on.
#[must_use]
pub fn observer() -> Option<Arc<dyn Observer>> {
    node::with_current(|node| node.config.get_observer().map(|watcher| Arc::clone(&watcher.0))).flatten()
}

/// A remark for the observer, if there is one. A process makes it about what only it can see.
pub fn note(text: &str) {
    let by = crate::try_self_pid();
    node::with_current(|node| node.tell(Seen::Noted { by, text }));
}

/// The object that stands for all names of a node.
pub(crate) const NAMES: &str = "engset.names";

/// The object of a look into the process' own mailbox that ended with nothing.
pub const MISSED: &str = "engset.mailbox";

/// Tells the observer, if there is one, that the calling process uses something that others use too, and that does not travel in signals: an
/// atomic, a lock, a table. Explorers of schedules must know (`testkit::interleavings`). Tables, registries, groups and names
/// of the library say it themselves.
pub fn touch(object: &str) {
    node::with_current(|node| {
        if node.config.get_observer().is_some() {
            node.tell(Seen::Touched { by: crate::try_self_pid(), object });
        }
    });
}

/// Did the node's observer ask to be told? Then a text for [`note`] is worth its making.
#[must_use]
pub fn is_observed() -> bool {
    node::with_current(|node| node.config.get_observer().is_some()).unwrap_or(false)
}

impl Inner {
    /// Tells the observer.
    #[inline]
    pub(crate) fn tell(&self, seen: Seen<'_>) {
        if let Some(Watcher(observer)) = self.config.get_observer() {
            observer.observe(Duration::from_nanos(current::now()), seen);
        }
    }

    /// A signal acts.
    pub(crate) fn tell_acted(&self, task: TaskId, signal: &Envelope) {
        if self.config.get_observer().is_some() {
            let pid = Pid::new(self.id, task);
            self.tell(Seen::Acted { pid, what: Parcel::of(signal, pid) });
        }
    }

    /// What the scheduler has seen.
    pub(crate) fn relay(&self, seen: engset_scheduler::Seen<'_>) {
        let pid = |task: TaskId| Pid::new(self.id, task);
        match seen {
            engset_scheduler::Seen::Spawned { by, task } => {
                self.tell(Seen::Spawned { by: by.map(pid), pid: pid(task) });
            }
            engset_scheduler::Seen::Sent { by, to, what } => {
                let what = Parcel::of(what, by.map_or(pid(to), pid));
                self.tell(Seen::Sent { by: by.map(pid), to: pid(to), what });
            }
            engset_scheduler::Seen::Received { task, what } => {
                self.tell(Seen::Received { pid: pid(task), what: Parcel::of(what, pid(task)) });
            }
        }
    }
}
