//! What the functions of [`sys`](super) send, and what comes back.

use super::{SysError, TraceEvent, watch::Statistics};
use engset_runtime::{Address, Ancestor, Pid, Reply};
use std::{any::Any, sync::Arc};

/// Code of the caller's that looks at the state.
pub(crate) type Look = Box<dyn FnOnce(&mut dyn Any) + Send>;

pub(crate) enum Request {
    State(Look),
    StateText(Reply<Result<String, SysError>>),
    Status(Reply<Box<Status>>),
    Suspend(Reply<()>),
    Resume(Reply<()>),
    Statistics(bool, Reply<()>),
    GetStatistics(Reply<Option<Statistics>>),
    Trace(Tracing, Reply<()>),
}

/// Where the events of a trace go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracing {
    Off,
    Log(bool),
    To(Address<TraceEvent>),
}

/// What a behaviour says of itself: [`get_status`](super::get_status).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// Its process.
    pub pid: Pid,
    /// Its name.
    pub name: Option<Arc<str>>,
    /// What it is: the user's type, or the behaviour's.
    pub behaviour: &'static str,
    /// The process whose end ends it, if there is one.
    pub parent: Option<Pid>,
    /// Who started it, who started that one, and so on.
    pub ancestors: Vec<Ancestor>,
    /// Is it suspended?
    pub suspended: bool,
    /// Has it failed, and waits for its supervisor's decision (a child with an inherited mailbox)?
    pub waiting: bool,
    /// Its state as a text.
    pub state: String,
    /// Messages in its mailbox.
    pub mailbox_len: u32,
    /// Its statistics, if they are on.
    pub statistics: Option<Statistics>,
    /// Is it traced?
    pub traced: bool,
}
