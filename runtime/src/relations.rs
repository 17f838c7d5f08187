//! Links, monitors, exit signals and trapping, from the side of the process that asks for them.

use crate::{
    call::fresh_reference,
    event::{Event, MonitorRef},
    exit_rule::Origin,
    pid::Pid,
    process::self_pid,
    reason::{DownReason, ExitReason},
    reductions::price,
    related::Watch,
    send,
    signal::Signal,
    state,
};
use engset_scheduler::current::{self, Position};
use std::panic;

/// Links this process with another: when one ends, the other gets an exit signal, which ends it too unless
/// the reason is `Normal` or it traps exits. There is at most one link between two processes.
///
/// If the other is dead, an exit signal with reason `NoProc` comes (or `NoConnection`, if its node is
/// not there): never silence. A link to oneself does nothing.
///
/// # Panics
///
/// Outside of a process.
pub fn link(pid: impl Into<Pid>) {
    let (from, to) = (self_pid(), pid.into());
    if from != to && state::with(|state| state.relations.link(to)) == Some(true) {
        send::signal(to, Signal::Link { from, to });
    }
    current::reduce(price::OTHER);
}

/// Ends a link. When it returns, no exit signal of that link is delivered any more; an
/// [`Event::Exit`] that is in the mailbox already stays there.
///
/// # Panics
///
/// Outside of a process.
pub fn unlink(pid: impl Into<Pid>) {
    let (from, to) = (self_pid(), pid.into());
    let id = fresh_reference();
    if state::with(|state| state.relations.unlink(to, id)) == Some(true) {
        send::signal(to, Signal::Unlink { from, id });
    }
    current::reduce(price::OTHER);
}

/// Watches a process: when it is down, one [`Event::Down`] comes. If it is dead already, with
/// [`DownReason::NoProc`]. Each call gives a monitor of its own.
///
/// # Panics
///
/// Outside of a process.
pub fn monitor(pid: impl Into<Pid>) -> MonitorRef {
    let (watcher, target) = (self_pid(), pid.into());
    let reference = MonitorRef(fresh_reference());
    state::with(|state| state.relations.add_monitor(reference, Watch::new(target)));
    send::signal(target, Signal::Monitor { watcher, reference });
    current::reduce(price::OTHER);
    reference
}

/// Watches the process that has a name. The name is resolved now; if nobody has it, `Down` comes with
/// [`DownReason::NoProc`] and the pid of the caller itself stands for the unknown one.
///
/// # Panics
///
/// Outside of a process.
pub fn monitor_name(name: &str) -> MonitorRef {
    if let Some(pid) = crate::names::whereis(name) {
        return monitor(pid);
    }
    let watcher = self_pid();
    let reference = MonitorRef(fresh_reference());
    state::with(|state| state.relations.add_monitor(reference, Watch::new(watcher)));
    send::signal(watcher, Signal::Down { reference, reason: DownReason::NoProc });
    current::reduce(price::OTHER);
    reference
}

/// Ends a monitor. With `flush`, a `Down` of it that is in the mailbox already is taken out. True: it had
/// not fired yet.
///
/// # Panics
///
/// Outside of a process.
pub fn demonitor(reference: MonitorRef, flush: bool) -> bool {
    let watcher = self_pid();
    let watch = state::with_existing(|state| state.relations.remove_monitor(reference)).flatten();
    current::reduce(price::OTHER);
    match watch {
        Some(watch) => {
            send::signal(watch.target, Signal::Demonitor { watcher, reference });
            true
        }
        None => {
            if flush {
                let mut is_it = |envelope: &engset_scheduler::Envelope| matches!(envelope.get::<Event>(), Some(Event::Down(down)) if down.reference == reference);
                drop(current::search(&mut Position::default(), &mut is_it));
            }
            false
        }
    }
}

/// Sends an exit signal: see [`ExitReason`] for what the reasons do. [`ExitReason::Kill`] cannot be trapped.
/// To a dead process it does nothing. To oneself it acts before it returns.
pub fn exit(pid: impl Into<Pid>, reason: ExitReason) {
    let to = pid.into();
    let me = crate::try_self_pid();
    let origin = if me == Some(to) { Origin::SelfCall } else { Origin::Call };
    send::signal(to, Signal::exit(me.unwrap_or(to), reason, origin));
    if me == Some(to) {
        // The signal is in our own list: it has its turn at the next look.
        current::act_now();
    }
    current::reduce(price::OTHER);
}

/// Asks a process to end, untrappably. See [`exit`].
pub fn kill(pid: impl Into<Pid>) {
    exit(pid, ExitReason::Kill);
}

/// Ends this process with a reason, from anywhere in its call tree: the stack unwinds. (Returning from the
/// process function is the reason `Normal`; a panic is the reason `Panic`.) A `catch_unwind` on the way only
/// delays the end until the next wait.
///
/// # Panics
///
/// Outside of a process.
pub fn exit_self(reason: ExitReason) -> ! {
    self_pid();
    state::with(|state| state.doom(reason));
    current::doom_self();
    panic::resume_unwind(Box::new(engset_scheduler::Doomed))
}

/// Shall exit signals come as [`Event::Exit`] instead of ending this process? What counts is the moment at
/// which a signal acts. Returns what it was before.
///
/// # Panics
///
/// Outside of a process.
pub fn trap_exits(on: bool) -> bool {
    self_pid();
    // What has come before this call is judged by what was set before it.
    current::act_now();
    let before = state::with(|state| std::mem::replace(&mut state.traps, on)).unwrap_or(false);
    current::reduce(price::OTHER);
    before
}
