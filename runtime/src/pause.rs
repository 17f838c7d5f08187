//! Waiting for what is not a process: the seam for the crates above (sockets, child programs).
//!
//! A process says somewhere that it waits, and [`pause`]s; who sees that it has come [`poke`]s the process. A poke
//! that comes first ends the next pause; several may become one; and a pause may end without one. So the
//! process looks again, in a loop.

use crate::{
    pid::{Address, Pid},
    process, send,
    signal::Signal,
};
use engset_scheduler::current::{self, Wake};
use std::time::Duration;

/// Why a [`pause`] has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Pause {
    /// Somebody has poked the process, or will not say why: look again.
    Poked,
    /// The time is over.
    TimedOut,
    /// The process is ending, or this is none: it cannot wait.
    Ending,
}

/// The process that runs waits until it is poked, or the [clock](crate::now) shows `deadline`. Messages that come leave it
/// asleep.
///
/// # Signals
///
/// If an exit signal ends the process, its stack unwinds from here.
pub fn pause(deadline: Option<Duration>) -> Pause {
    let deadline = deadline.map_or(u64::MAX, |time| process::add(0, time));
    match current::sleep(deadline) {
        Wake::Ready | Wake::Poked => Pause::Poked,
        Wake::TimedOut => Pause::TimedOut,
        Wake::Ending => Pause::Ending,
    }
}

/// Ends the process' [`pause`], or its next one. From any thread; nothing happens if it is dead.
pub fn poke(pid: Pid) {
    send::signal(pid, Signal::Poke);
}

/// Messages that wait in the process' mailbox, as last counted: a hint. 0 if it is dead, or belongs to another node
/// than this thread works for.
#[must_use]
pub fn mailbox_len<M>(address: Address<M>) -> u32 {
    let pid = address.pid();
    if current::tag() == Some(pid.node().number()) { current::queued(pid.task()) } else { 0 }
}
