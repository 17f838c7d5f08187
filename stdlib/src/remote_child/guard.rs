//! The parent of a child whose supervisor is on another node.
//!
//! * It starts the child as its description says, and ends when the child does, with its reason.
//! * It is told to end by an exit signal: then it stops the child as its description says.
//! * If the stand-in of the supervisor ends, or its node does, the child is stopped. If only the connection is lost, it is stopped when that has
//!   lasted for too long.

use super::{Given, ToGuard, ToStandIn, entry_of};
use crate::{ChildSpec, Shutdown};
use engset_runtime::{
    DownReason, Event, ExitReason, Item, Mailbox, Pid, Received, demonitor, exit, exit_self, kill, monitor,
    now,
    remote::{self, RemoteError},
    trap_exits,
};
use serde::de::DeserializeOwned;
use std::{fmt, time::Duration};

/// Why a child's description was not exported.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportError {
    /// This node has not joined others.
    NotJoined,
    /// It exports another one of that name.
    Taken {
        /// The name.
        name: String,
    },
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExportError::NotJoined => f.write_str("this node has not joined others"),
            ExportError::Taken { name } => write!(f, "another child is exported under the name {name:?}"),
        }
    }
}

impl std::error::Error for ExportError {}

/// Supervisors of other nodes may start a child of this description here, with an argument of theirs. In a process of a node that
/// has joined others.
///
/// # Errors
///
/// See [`ExportError`].
pub fn export<A: DeserializeOwned + Send + 'static>(
    name: &str,
    describe: impl Fn(A) -> ChildSpec + Send + Sync + 'static,
) -> Result<(), ExportError> {
    let entry = move |Given { argument, stand_in, outlive }: Given<A>, mailbox| {
        let guarded = Guarded { stand_in: stand_in.pid(), outlive: Duration::from_millis(outlive) };
        trap_exits(true);
        let spec = describe(argument);
        let child = match spec.start(&mut None) {
            Ok(child) => child,
            Err(error) => exit_self(error.as_exit()),
        };
        stand_in.send(ToStandIn::Started { guard: Mailbox::address(&mailbox), child });
        guarded.run(mailbox, child, spec.shutdown);
    };
    match remote::export_with(&entry_of(name), entry) {
        Ok(true) => Ok(()),
        Ok(false) => Err(ExportError::Taken { name: name.to_owned() }),
        Err(RemoteError::NotJoined | _) => Err(ExportError::NotJoined),
    }
}

struct Guarded {
    stand_in: Pid,
    outlive: Duration,
}

impl Guarded {
    fn run(self, mut mailbox: Mailbox<ToGuard>, child: Pid, shutdown: Shutdown) {
        let mut watch = monitor(self.stand_in);
        let mut end: Option<Duration> = None;
        loop {
            let received = match end {
                Some(at) => mailbox.receive_timeout(at.saturating_sub(now())),
                None => Some(mailbox.receive()),
            };
            match received {
                Some(Received::Message(ToGuard::Meet(reply))) => {
                    demonitor(watch, true);
                    watch = monitor(self.stand_in);
                    end = None;
                    reply.send(());
                }
                Some(Received::Event(Event::Exit(signal))) if signal.from == child => {
                    exit_self(signal.reason)
                }
                Some(Received::Event(Event::Exit(signal))) => {
                    return stop(mailbox, child, shutdown, signal.reason);
                }
                Some(Received::Event(Event::Down(down))) if down.reference == watch => match down.reason {
                    DownReason::NoConnection => end = Some(now().saturating_add(self.outlive)),
                    _ => return stop(mailbox, child, shutdown, ExitReason::Shutdown),
                },
                Some(Received::Event(_)) => {}
                None if end.is_some_and(|at| now() >= at) => {
                    tracing::warn!(target: "engset", %child, "a child is stopped: the node of its supervisor cannot be reached");
                    return stop(mailbox, child, shutdown, ExitReason::NoConnection);
                }
                // A timeout is never early: the process is ending.
                None => return,
            }
        }
    }
}

/// Stops the child, and ends with this reason, or its own if it is another one than it was told.
fn stop(mut mailbox: Mailbox<ToGuard>, child: Pid, shutdown: Shutdown, reason: ExitReason) {
    let patience = match shutdown {
        Shutdown::After(time) => time,
        Shutdown::Infinity => Duration::MAX,
        Shutdown::BrutalKill => Duration::ZERO,
    };
    if shutdown != Shutdown::BrutalKill {
        exit(child, ExitReason::Shutdown);
    }
    let is_its =
        |item: Item<'_, ToGuard>| matches!(item, Item::Event(Event::Exit(signal)) if signal.from == child);
    if mailbox.select_timeout(is_its, patience).is_none() {
        kill(child);
        mailbox.select(is_its);
    }
    exit_self(reason);
}
