//! What a process receives: messages, and the events that the runtime makes.

use crate::{
    node::NodeId,
    pid::Pid,
    reason::{DownReason, ExitReason},
};
use std::{fmt, sync::Arc};

/// Something received.
#[derive(Debug)]
pub enum Received<M> {
    /// A message.
    Message(M),
    /// Something that the runtime has to tell, in its place among the messages.
    Event(Event),
}

impl<M> Received<M> {
    /// The message, if it is one.
    #[must_use]
    pub fn message(self) -> Option<M> {
        match self {
            Received::Message(message) => Some(message),
            Received::Event(_) => None,
        }
    }

    /// The event, if it is one.
    #[must_use]
    pub fn event(self) -> Option<Event> {
        match self {
            Received::Message(_) => None,
            Received::Event(event) => Some(event),
        }
    }
}

/// The same, to look at in a selective receive.
#[derive(Debug)]
pub enum Item<'a, M> {
    /// A message.
    Message(&'a M),
    /// An event.
    Event(&'a Event),
}

/// Something that the runtime has to tell a process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A linked process has ended, or somebody called `exit` on this one; only if it traps exits.
    Exit(Exit),
    /// A monitored process is down.
    Down(Down),
    /// A node is connected; only for who asked the distribution for such events.
    NodeUp(NodeUp),
    /// A node is not connected any more; only for who asked.
    NodeDown(NodeDown),
    /// A timer that this process has set has fired.
    Timer(crate::timers::TimerRef),
}

/// See [`Event::Exit`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// Who.
    pub from: Pid,
    /// Why.
    pub reason: ExitReason,
}

/// See [`Event::NodeUp`]. It comes before anything that the new connection brings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeUp {
    /// Its name.
    pub name: Arc<str>,
    /// This incarnation of it.
    pub id: NodeId,
}

/// See [`Event::NodeDown`]. It comes after all that the connection has brought, and after what its end has done to links and
/// monitors.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeDown {
    /// Its name.
    pub name: Arc<str>,
    /// This incarnation of it.
    pub id: NodeId,
    /// What ended the connection.
    pub why: Arc<str>,
}

impl NodeUp {
    #[doc(hidden)]
    #[must_use]
    pub fn new(name: Arc<str>, id: NodeId) -> Self {
        NodeUp { name, id }
    }
}

impl NodeDown {
    #[doc(hidden)]
    #[must_use]
    pub fn new(name: Arc<str>, id: NodeId, why: Arc<str>) -> Self {
        NodeDown { name, id, why }
    }
}

/// See [`Event::Down`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Down {
    /// The monitor that has fired; it fires once.
    pub reference: MonitorRef,
    /// The process that it watched.
    pub pid: Pid,
    /// What is known.
    pub reason: DownReason,
}

/// One monitor. Each call of [`monitor`](crate::monitor) gives its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MonitorRef(pub(crate) u64);

impl fmt::Debug for MonitorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MonitorRef({:x})", self.0)
    }
}
