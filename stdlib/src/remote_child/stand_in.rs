//! The child as its supervisor sees it.
//!
//! * It ends with the reason with which the guard does, which is the child's.
//! * An exit signal goes on to the guard, which stops the child in its own way; then this process ends.
//! * When the connection is lost it asks the guard again and again whether it is there ([`RETRY`]). The answer is one of: it is, and they
//!   watch each other anew; it is dead; nobody answers, until the patience ends.
//! * A child that was given up is not forgotten: its guard is told to end as soon as it can be reached, by whichever stand-in lives then.

use super::{Lost, Plan, ToGuard, ToStandIn};
use crate::{
    StartError,
    inherited_mailbox::{Decision, Failed},
};
use engset_runtime::{
    Address, CallError, DownReason, Event, ExitReason, Item, Mailbox, MonitorRef, Pid, Received, Reply,
    demonitor, exit, exit_self, monitor, now,
    remote::{RemoteError, RequestError},
    self_pid, send_system, trap_exits, unlink,
};
use std::{sync::Arc, time::Duration};

/// How long the guard has to answer, and how long is waited before it is asked again.
const RETRY: Duration = Duration::from_secs(2);
/// How often guards that were given up are looked for.
const HUNT: Duration = Duration::from_secs(5);
/// Of so many. (More have been left by a supervisor that gives up very often.)
const GHOSTS: usize = 64;

pub(super) fn run(
    mut mailbox: Mailbox<ToStandIn>,
    plan: Arc<Plan>,
    supervisor: Pid,
    reply: Reply<Result<(), StartError>>,
) {
    trap_exits(true);
    let started = start(&mut mailbox, &plan);
    match started {
        Ok((guard, watch)) => {
            reply.send(Ok(()));
            StandIn { mailbox, plan, supervisor, guard, watch, hunted: Vec::new(), hunt: now() }.run();
        }
        Err(error) => {
            // The failure is told once.
            unlink(supervisor);
            reply.send(Err(error));
        }
    }
}

fn start(
    mailbox: &mut Mailbox<ToStandIn>,
    plan: &Plan,
) -> Result<(Address<ToGuard>, MonitorRef), StartError> {
    end_ghosts(mailbox, plan);
    let mut last = StartError::InitFailed(ExitReason::error("a remote child needs a node"));
    for (at, node) in plan.in_turn() {
        let (_, watch) = match (plan.spawn)(plan, node, mailbox.address()) {
            Ok((guard, Some(watch))) => (guard, watch),
            Ok((_, None)) => continue,
            Err(RemoteError::Call(error)) => {
                last = failed(node, &RemoteError::Call(error));
                continue;
            }
            Err(error) => return Err(failed(node, &error)),
        };
        plan.set_turn(at);
        loop {
            match mailbox.receive() {
                Received::Message(ToStandIn::Started { guard, child }) => {
                    tracing::debug!(target: "engset", node, %child, "a remote child has started");
                    return Ok((guard, watch));
                }
                Received::Event(Event::Down(down)) if down.reference == watch => match down.reason {
                    DownReason::Exited(reason) => return Err(StartError::InitExited(reason)),
                    reason => {
                        last = StartError::InitExited(reason.as_exit());
                        break;
                    }
                },
                // The supervisor ends: so does this process, and the guard with it.
                Received::Event(Event::Exit(exit)) => exit_self(exit.reason),
                Received::Event(_) => {}
            }
        }
    }
    Err(last)
}

/// Those that were given up, and can be reached, end before a new one starts: it may want their name.
fn end_ghosts(mailbox: &mut Mailbox<ToStandIn>, plan: &Plan) {
    let ghosts = plan.ghosts().clone();
    let mut hunted: Vec<(MonitorRef, Pid)> = ghosts.into_iter().map(hunt).collect();
    let end = now() + RETRY;
    while !hunted.is_empty() {
        let is_ones = |item: Item<'_, ToStandIn>| match item {
            Item::Event(Event::Down(down)) => {
                hunted.iter().any(|(reference, _)| *reference == down.reference)
            }
            _ => false,
        };
        let left = end.saturating_sub(now());
        let Some(Received::Event(Event::Down(down))) = mailbox.select_timeout(is_ones, left) else { break };
        hunted.retain(|(reference, _)| *reference != down.reference);
        if down.reason != DownReason::NoConnection {
            plan.ghosts().retain(|ghost| *ghost != down.pid);
        }
    }
    for (reference, _) in hunted {
        demonitor(reference, true);
    }
}

/// Tells a guard to end, and watches it.
fn hunt(ghost: Pid) -> (MonitorRef, Pid) {
    exit(ghost, ExitReason::shutdown_with("another one is started in its place"));
    (monitor(ghost), ghost)
}

fn failed(node: &str, error: &RemoteError) -> StartError {
    let hint = match error {
        RemoteError::Refused(RequestError::UnknownEntry) => " (is it exported by remote_child::export?)",
        _ => "",
    };
    StartError::InitFailed(ExitReason::error(format!("{node}: {error}{hint}")))
}

struct StandIn {
    mailbox: Mailbox<ToStandIn>,
    plan: Arc<Plan>,
    supervisor: Pid,
    guard: Address<ToGuard>,
    watch: MonitorRef,
    /// Guards that were told to end, and are watched.
    hunted: Vec<(MonitorRef, Pid)>,
    /// When they are to be looked for.
    hunt: Duration,
}

impl StandIn {
    fn run(mut self) {
        loop {
            let received = if self.plan.ghosts().is_empty() {
                Some(self.mailbox.receive())
            } else {
                self.mailbox.receive_timeout(self.hunt.saturating_sub(now()))
            };
            match received {
                Some(Received::Event(Event::Exit(exit))) => self.stop(&exit.reason),
                Some(Received::Event(Event::Down(down))) if down.reference == self.watch => match down.reason
                {
                    DownReason::NoConnection => self.lost(),
                    reason => exit_self(reason.as_exit()),
                },
                Some(Received::Event(Event::Down(down))) => self.caught(down.reference, &down.reason),
                Some(_) => {}
                None if now() >= self.hunt => self.look_for_ghosts(),
                // A timeout is never early: the process is ending.
                None => return,
            }
        }
    }

    /// Passes an exit signal on, and ends when the child has.
    fn stop(&mut self, reason: &ExitReason) {
        exit(self.guard, reason.clone());
        loop {
            if let Received::Event(Event::Down(down)) = self.mailbox.receive()
                && down.reference == self.watch
            {
                match down.reason {
                    DownReason::Exited(reason) => exit_self(reason),
                    // Without a connection the guard will end by itself.
                    _ => exit_self(reason.clone()),
                }
            }
        }
    }

    fn lost(&mut self) {
        tracing::warn!(target: "engset", entry = self.plan.entry, guard = %self.guard.pid(), "the node of a remote child cannot be reached");
        let end = now().saturating_add(self.plan.patience);
        loop {
            let left = end.saturating_sub(now());
            if left.is_zero() {
                return self.give_up();
            }
            match self.guard.call_timeout(ToGuard::Meet, left.min(RETRY)) {
                Ok(()) => {
                    tracing::info!(target: "engset", entry = self.plan.entry, "the node of a remote child is back, and the child lives");
                    self.watch = monitor(self.guard);
                    return;
                }
                Err(
                    CallError::Down(DownReason::NoConnection) | CallError::Timeout(_) | CallError::NoReply,
                ) => {}
                Err(CallError::Down(reason)) => exit_self(reason.as_exit()),
                Err(_) => {}
            }
            let pause = end.saturating_sub(now()).min(RETRY);
            match self.mailbox.receive_timeout(pause) {
                Some(Received::Event(Event::Exit(signal))) => {
                    // Should it be there after all.
                    exit(self.guard, signal.reason.clone());
                    exit_self(signal.reason);
                }
                Some(Received::Event(Event::Down(down))) => self.caught(down.reference, &down.reason),
                _ => {}
            }
        }
    }

    fn give_up(&mut self) {
        let mut ghosts = self.plan.ghosts();
        if ghosts.len() == GHOSTS {
            ghosts.remove(0);
        }
        ghosts.push(self.guard.pid());
        drop(ghosts);
        let reason = ExitReason::NoConnection;
        match self.plan.lost {
            Lost::Escalate => {
                let (pid, reason) = (self_pid(), reason.clone());
                send_system(self.supervisor, Failed { pid, reason, decision: Decision::Escalate });
            }
            Lost::Elsewhere => {
                let next = self.plan.in_turn().next().map_or(0, |(at, _)| at + 1);
                self.plan.set_turn(next);
            }
        }
        exit_self(reason);
    }

    /// Tells those that were given up to end, if they can be reached.
    fn look_for_ghosts(&mut self) {
        self.hunt = now() + HUNT;
        let ghosts = self.plan.ghosts().clone();
        for ghost in ghosts {
            if !self.hunted.iter().any(|(_, hunted)| *hunted == ghost) {
                self.hunted.push(hunt(ghost));
            }
        }
    }

    /// A monitor of one of those has fired.
    fn caught(&mut self, reference: MonitorRef, reason: &DownReason) {
        let Some(at) = self.hunted.iter().position(|(hunted, _)| *hunted == reference) else { return };
        let (_, ghost) = self.hunted.swap_remove(at);
        if *reason != DownReason::NoConnection {
            tracing::info!(target: "engset", entry = self.plan.entry, guard = %ghost, "a remote child that was given up has ended");
            self.plan.ghosts().retain(|other| *other != ghost);
        }
    }
}
