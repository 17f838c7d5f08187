//! One function for every signal and message: to this node, to another one, to the dead.

use crate::{
    bound,
    call::{self, Broken},
    dead_letters, hooks, node,
    pid::{Address, Pid},
    reason::{DownReason, ExitReason},
    remote,
    signal::Signal,
};
use crate::{error::SendError, exit_rule::Origin};
use engset_scheduler::{
    Envelope,
    current::{self, Unsent},
};

/// Reductions of a send. (The price list is `reductions.rs`.)
use crate::reductions::price;

/// The way of every envelope. It comes back if the process is dead as far as can be seen from here.
#[inline(always)]
pub(crate) fn envelope(to: Pid, envelope: Envelope) -> Result<(), Envelope> {
    if current::tag() == Some(to.node().number()) {
        current::send(to.task(), envelope)
    } else {
        elsewhere(to, envelope)
    }
}

#[cold]
fn elsewhere(to: Pid, envelope: Envelope) -> Result<(), Envelope> {
    match node::scheduler_of(to.node()) {
        Some(scheduler) => scheduler.send(to.task(), envelope),
        None => remote::send(to, envelope),
    }
}

/// Sends a signal; the dead answer too.
pub(crate) fn signal(to: Pid, signal: Signal) {
    if let Err(envelope) = envelope(to, Envelope::signal(signal)) {
        let gone = match verdict_of_dead(to) {
            DownReason::NoProc => None,
            other => Some(other),
        };
        undeliverable(envelope, gone);
    }
}

/// What a dead process answers. `gone`: it is its node that cannot be reached, for this reason.
pub(crate) fn undeliverable(envelope: Envelope, gone: Option<DownReason>) {
    let Ok(signal) = envelope.take::<Signal>() else { return };
    match signal {
        Signal::Link { from, to } => {
            let reason = gone.map_or(ExitReason::NoProc, |gone| gone.as_exit());
            self::signal(from, Signal::exit(to, reason, Origin::Link));
        }
        Signal::Monitor { watcher, reference } => {
            let reason = gone.unwrap_or(DownReason::NoProc);
            match watcher.outside_waiter() {
                None => self::signal(watcher, Signal::Down { reference, reason }),
                Some(call) => call::break_off(watcher, Broken::down(call, reason)),
            }
        }
        Signal::Inspect { caller, reference } => {
            call::break_off(caller, Broken::down(reference, gone.unwrap_or(DownReason::NoProc)))
        }
        Signal::System(system) => {
            // In a mailbox that closes the reply itself tells the reason, when it is dropped (`call.rs`).
            if let Some((caller, reference)) = system.call
                && !hooks::is_ending()
            {
                let reason = gone.unwrap_or(DownReason::NoProc);
                call::break_off(caller, Broken::down(reference, reason));
            }
            current::drop_outside(system);
        }
        Signal::Aliased { message, .. } => current::drop_outside(message),
        Signal::Hold(parcel) => parcel.bounce(),
        Signal::Exit(_)
        | Signal::Unlink { .. }
        | Signal::UnlinkAck { .. }
        | Signal::Demonitor { .. }
        | Signal::Down { .. }
        | Signal::LetGo { .. }
        | Signal::Adopt { .. }
        | Signal::Poke
        | Signal::Survived => {}
    }
}

impl<M: Send + 'static> Address<M> {
    /// Sends a message. Never fails because the receiver is dead, and never waits for it, unless its
    /// mailbox is bounded with the policy that makes senders wait.
    ///
    /// Messages of one sender to one receiver arrive in order.
    ///
    /// # Signals
    ///
    /// An exit signal for the sender acts when its slice is used up, or while it waits for room.
    #[inline(always)]
    pub fn send(self, message: M) {
        let to = self.pid();
        if let Err(message) = current::send_quickly(to.node().number(), to.task(), message) {
            self.send_slowly(message);
        }
    }

    #[inline(never)]
    fn send_slowly(self, message: M) {
        // What comes back is dropped: the receiver is dead, or its policy drops it.
        if let Err(SendError::Dead(message)) = self.deliver(message) {
            dead_letters::sent_to_dead(self.pid(), message);
        }
    }

    /// Sends a message, and tells if it certainly did not arrive. `Ok` is no promise that it does.
    ///
    /// # Errors
    ///
    /// The process is dead; or its mailbox is bounded, and full (it does not wait), or the message is too
    /// large for it. The message comes back.
    pub fn try_send(self, message: M) -> Result<(), SendError<M>> {
        if is_marked(self.pid()) {
            return bound::try_send(self, message);
        }
        let mut sent = Envelope::message(message);
        sent.set_tag(0);
        let result = envelope(self.pid(), sent).map_err(|envelope| dead(envelope));
        current::reduce(price::SEND);
        result
    }

    #[inline(always)]
    fn deliver(self, message: M) -> Result<(), SendError<M>> {
        let to = self.pid();
        match current::send_message(to.node().number(), to.task(), message) {
            Ok(()) => Ok(()),
            Err(Unsent::Dead(message)) => Err(found_dead(message)),
            Err(Unsent::Marked(message) | Unsent::Elsewhere(message)) => self.deliver_slowly(message),
        }
    }

    #[cold]
    fn deliver_slowly(self, message: M) -> Result<(), SendError<M>> {
        if remote::is_usual(self.pid().node()) {
            let result =
                remote::send(self.pid(), Envelope::message(message)).map_err(|envelope| dead(envelope));
            current::reduce(price::SEND);
            return result;
        }
        if is_marked(self.pid()) {
            return bound::send(self, message);
        }
        let result = envelope(self.pid(), Envelope::message(message)).map_err(|envelope| dead(envelope));
        current::reduce(price::SEND);
        result
    }
}

/// The receiver is dead. That costs as much as a send: a loop of sends to the dead must end its slice like any other.
#[cold]
fn found_dead<M>(message: M) -> SendError<M> {
    current::reduce(price::SEND);
    SendError::Dead(message)
}

/// What is known of a process that a send has found dead.
#[cold]
pub(crate) fn verdict_of_dead(to: Pid) -> DownReason {
    let here = current::tag() == Some(to.node().number());
    if here || node::scheduler_of(to.node()).is_some() {
        DownReason::NoProc
    } else {
        remote::verdict(to.node()).unwrap_or(DownReason::NoConnection)
    }
}

pub(crate) fn is_marked(to: Pid) -> bool {
    if current::tag() == Some(to.node().number()) {
        current::is_marked(to.task())
    } else {
        node::scheduler_of(to.node()).is_some_and(|scheduler| scheduler.is_marked(to.task()))
    }
}

pub(crate) fn dead<M: Send + 'static>(envelope: Envelope) -> SendError<M> {
    match envelope.take::<M>() {
        Ok(message) => SendError::Dead(message),
        Err(_) => unreachable!("the envelope that was just sealed"),
    }
}
