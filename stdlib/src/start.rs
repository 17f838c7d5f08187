//! Starting a behaviour and waiting for its `init` (semantics row B1): what all behaviours share.
//!
//! 1. The starter makes a call whose [`Reply`] the new process holds, as its [`Ack`]. The call's promises are
//!    the start's: an answer, or the reason of the process' end, or a timeout; nothing of it can come late.
//! 2. With a link, the link is there from the first moment: if the starter dies, so does the process.
//! 3. A failure is told once. Before an [`Ack`] says no, or is dropped by a process that ends, the process
//!    unlinks from its starter; so the starter gets an error value and no exit signal.
//! 4. After a timeout the process is unlinked, killed, and waited for (a little: nothing can stop a native
//!    loop), so that its name is free when the error is returned.
//!
//! The runtime's calls are made to an address. The call of rule 1 has none yet, so it goes to a process of
//! the node that takes such calls and does nothing: the [`Sink`]. The answer comes from elsewhere.

use crate::StartError;
use engset_runtime::{
    Address, BuildError, Builder, CallError, DownReason, ExitReason, Flow, Mailbox, MonitorRef, NodeId, Pid,
    Priority, Received, Reply, Server, demonitor, kill, lookup, monitor, try_self_pid, unlink, yield_now,
};
use std::{cell::Cell, time::Duration};

/// How long a start that has timed out waits for the death of what it killed. Guess: long for an unwinding.
const KILL_PATIENCE: Duration = Duration::from_millis(100);

/// The right and the duty to tell the starter how `init` went.
#[derive(Debug)]
pub(crate) struct Ack {
    reply: Option<Reply<Result<(), StartError>>>,
    /// The starter, if it is linked.
    parent: Option<Pid>,
}

impl Ack {
    /// The starter, if it is linked.
    pub(crate) fn parent(&self) -> Option<Pid> {
        self.parent
    }

    pub(crate) fn succeed(mut self) {
        if let Some(reply) = self.reply.take() {
            reply.send(Ok(()));
        }
    }

    pub(crate) fn fail(mut self, error: StartError) {
        if let Some(parent) = self.parent {
            unlink(parent);
        }
        if let Some(reply) = self.reply.take() {
            reply.send(Err(error));
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        // Rule 3. The reply, dropped after this, tells the reason.
        if self.reply.is_some()
            && let Some(parent) = self.parent
            && try_self_pid().is_some_and(|me| me != parent)
        {
            unlink(parent);
        }
    }
}

/// What is to be started, and how it is tied to the starter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tie {
    None,
    Link,
    Monitor,
}

/// A process that has started, with its monitor if one was asked for.
pub(crate) type Started<M> = (Address<M>, Option<MonitorRef>);

/// Starts the server that `make` builds around an [`Ack`], and waits until it has used it.
///
/// # Signals
///
/// If an exit signal ends the starter meanwhile, its stack unwinds from here; a linked server ends too.
pub(crate) fn start<S: Server>(
    options: Builder,
    tie: Tie,
    timeout: Duration,
    make: impl FnOnce(Ack) -> S,
) -> Result<Started<S::Message>, StartError> {
    let me = try_self_pid().ok_or(StartError::OutsideOfProcess)?;
    let sink = sink(me.node())?;
    let options = options.ancestry();
    let mut spawned = None;
    let answer = rendezvous(sink, timeout, |reply| {
        let ack = Ack { reply: Some(reply), parent: (tie == Tie::Link).then_some(me) };
        let server = make(ack);
        spawned = Some(match tie {
            Tie::None => options.serve(server).map(|address| (address, None)),
            Tie::Link => options.link().serve(server).map(|address| (address, None)),
            Tie::Monitor => options.serve_monitor(server).map(|(address, monitor)| (address, Some(monitor))),
        });
    });
    let Some(spawned) = spawned else { return Err(StartError::Ending) };
    let started: Started<S::Message> = spawned?;
    let error = match answer {
        Ok(Ok(())) => return Ok(started),
        Ok(Err(error)) => error,
        Err(CallError::Timeout(time)) => {
            let pid = started.0.pid();
            unlink(pid);
            kill(pid);
            wait_for_death(pid, KILL_PATIENCE);
            StartError::InitTimeout(time)
        }
        Err(CallError::Down(DownReason::Exited(reason))) => StartError::InitExited(reason),
        // Somebody has dropped the ack in a live process: not started, and of no use.
        Err(_) => StartError::InitExited(ExitReason::NoProc),
    };
    if let Some(monitor) = started.1 {
        wait_for_death(started.0.pid(), KILL_PATIENCE);
        demonitor(monitor, true);
    }
    Err(error)
}

/// Waits until a process is dead and has released what it had. False: it still lives after `patience`.
pub(crate) fn wait_for_death(pid: Pid, patience: Duration) -> bool {
    let Some(Ok(sink)) = try_self_pid().map(|me| sink(me.node())) else { return false };
    let watched = rendezvous(sink, patience, |reply: Reply<()>| {
        let watcher = move |mut mailbox: Mailbox<()>| {
            monitor(pid);
            if let Received::Event(_) = mailbox.receive() {
                reply.send(());
            }
        };
        // Without another process there is no waiting: the reply is dropped, which ends it.
        drop(Builder::new().spawn(watcher));
    });
    watched.is_ok()
}

/// What the sink takes.
pub(crate) enum Sink {
    Nothing,
}

const SINK: &str = "engset.start";

thread_local! {
    /// The sink of the node that this worker works for. Read and written between two waits, so that it does
    /// not matter that other processes run on this thread too.
    static CACHED: Cell<Option<(NodeId, Address<Sink>)>> = const { Cell::new(None) };
}

pub(crate) fn sink(node: NodeId) -> Result<Address<Sink>, BuildError> {
    if let Some((at, sink)) = CACHED.get()
        && at == node
    {
        return Ok(sink);
    }
    loop {
        let found = match lookup(SINK) {
            Ok(sink) => Ok(sink),
            Err(_) => Builder::new().name(SINK).priority(Priority::Max).serve(Sleeper),
        };
        match found {
            // Somebody was faster: it is found in the next round.
            Err(BuildError::Name(_)) => yield_now(),
            Err(error) => return Err(error),
            Ok(sink) => {
                CACHED.set(Some((node, sink)));
                return Ok(sink);
            }
        }
    }
}

struct Sleeper;

impl Server for Sleeper {
    type Message = Sink;

    fn handle(&mut self, _: Received<Sink>) -> Flow {
        Flow::Continue
    }
}

/// Gives a [`Reply`] away and waits until somebody uses it.
pub(crate) fn wait_for_answer<T: Send + 'static>(
    timeout: Duration,
    give: impl FnOnce(Reply<T>),
) -> Result<T, CallError> {
    let Some(me) = try_self_pid() else {
        return Err(CallError::Refused("only a process can wait for it".to_owned()));
    };
    let sink = sink(me.node()).map_err(|error| CallError::Refused(error.to_string()))?;
    rendezvous(sink, timeout, give)
}

pub(crate) fn rendezvous<T: Send + 'static>(
    sink: Address<Sink>,
    timeout: Duration,
    give: impl FnOnce(Reply<T>),
) -> Result<T, CallError> {
    sink.call_timeout(
        |reply| {
            give(reply);
            Sink::Nothing
        },
        timeout,
    )
}
