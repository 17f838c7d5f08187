//! What the scheduler calls when something happens to a process: signals act, and it dies in order.
//!
//! # Teardown, in steps
//!
//! 1. The reason is settled: the doom's, the panic's, or `Normal`.
//! 2. Names, resources, aliases and the mailbox' bound are released: who is told of the death can take the name.
//! 3. The mailbox closes: the pid names nobody from here on. Messages in it are dropped (their `Reply`s
//!    are noted), link and monitor requests in it are answered `noproc`.
//! 4. Callers that wait for a dropped `Reply` learn the reason. Linked processes get `Exit`, watchers `Down`,
//!    processes that this one watched `Demonitor`.
//! 5. A crash is reported, with what was gathered before step 3 (`crash.rs`).

use crate::{
    bound,
    call::{self, Broken},
    crash::{Crash, panic_reason},
    event::{Down, Event, Exit},
    exit_rule::{self, Origin, Verdict},
    info,
    node::{self, Inner},
    observe::Seen,
    pid::Pid,
    reason::{DownReason, ExitReason},
    related::Watch,
    resource, send,
    signal::Signal,
    state::{self, State},
    system,
};
use engset_scheduler::{Doomed, Envelope, Handled, Hooks, LabelBuf, LongSchedule, Outcome, TaskId, current};
use std::{fmt::Write, mem, sync::atomic::Ordering};

/// Nanoseconds of the unit in which deadlines travel, as a power of two: about a millisecond.
const EXPIRY_SHIFT: u32 = 20;

/// A deadline as it travels in an envelope; 0: none. It wraps after 52 days, half of which is the longest
/// that can be told apart; a longer one is none.
#[inline(always)]
pub(crate) fn expiry(now: u64, deadline: u64) -> u32 {
    if deadline - now.min(deadline) >= 1 << (EXPIRY_SHIFT + 30) {
        return 0;
    }
    // Rounded up, and never 0.
    ((deadline >> EXPIRY_SHIFT) as u32).wrapping_add(1).max(1)
}

/// Milliseconds, about, until the caller of this request gives up; `None`: never.
pub(crate) fn patience(envelope: &Envelope) -> Option<u32> {
    let now = (current::coarse_now() >> EXPIRY_SHIFT) as u32;
    (envelope.tag() != 0).then(|| (envelope.tag().wrapping_sub(now) as i32).max(0) as u32)
}

/// The deadline of a request whose caller gives up after so many of those milliseconds.
pub(crate) fn expiry_in(patience: u32) -> u32 {
    let now = (current::coarse_now() >> EXPIRY_SHIFT) as u32;
    now.wrapping_add(patience.min(i32::MAX as u32)).wrapping_add(1).max(1)
}

/// Has the caller of this request given up?
#[inline(always)]
pub(crate) fn is_expired(envelope: &Envelope) -> bool {
    let tag = envelope.tag();
    tag != 0 && (tag.wrapping_sub((current::coarse_now() >> EXPIRY_SHIFT) as u32) as i32) < 0
}

#[cold]
pub(crate) fn expired(_request: &Envelope) {
    node::with_current(|inner| inner.expired.fetch_add(1, Ordering::Relaxed));
}

/// Is the process that runs here unwinding or being torn down?
pub(crate) fn is_ending() -> bool {
    current::is_ending() || (std::thread::panicking() && current::task().is_some())
}

impl Hooks for Inner {
    fn signal(&self, task: TaskId, envelope: Envelope) -> Handled {
        self.tell_acted(task, &envelope);
        let Ok(signal) = envelope.take::<Signal>() else { return Handled::Done };
        let me = Pid::new(self.id, task);
        match signal {
            Signal::Exit(exit) => on_exit(exit.from, exit.reason, exit.origin),
            Signal::Link { from, .. } => {
                state::with(|state| state.relations.linked(from));
                Handled::Done
            }
            Signal::Unlink { from, id } => {
                state::with_existing(|state| state.relations.unlinked(from));
                // Before anything else goes out to the peer.
                send::signal(from, Signal::UnlinkAck { from: me, id });
                Handled::Done
            }
            Signal::UnlinkAck { from, id } => {
                state::with_existing(|state| state.relations.acknowledged(from, id));
                Handled::Done
            }
            Signal::Monitor { watcher, reference } => {
                state::with(|state| state.relations.add_watcher(reference, watcher));
                Handled::Done
            }
            Signal::Demonitor { watcher, reference } => {
                state::with_existing(|state| state.relations.remove_watcher(reference, watcher));
                Handled::Done
            }
            Signal::Down { reference, reason } => {
                let watch = state::with_existing(|state| state.relations.remove_monitor(reference)).flatten();
                match watch {
                    // Demonitored meanwhile.
                    None => Handled::Done,
                    Some(watch) => match watch.call() {
                        Some(call) => Handled::Answer(Broken::down(call, reason).seal()),
                        None => {
                            let down = Down { reference, pid: watch.target, reason };
                            Handled::Deliver(Envelope::event(Event::Down(down)))
                        }
                    },
                }
            }
            Signal::Aliased { alias, message } => {
                let active = state::with_existing(|state| state.rare().aliases.remove(&alias));
                if active == Some(true) {
                    Handled::Deliver(message)
                } else {
                    bound::dropped(&message);
                    current::drop_outside(message);
                    Handled::Done
                }
            }
            Signal::Inspect { caller, reference } => {
                info::answer(me, caller, reference);
                Handled::Done
            }
            Signal::System(system) => match system::arrived(*system) {
                Some(request) => Handled::Deliver(request),
                None => Handled::Done,
            },
            Signal::Hold(parcel) => {
                resource::receive(*parcel);
                Handled::Done
            }
            Signal::LetGo { id } => {
                current::drop_outside(resource::forget(id));
                Handled::Done
            }
            Signal::Adopt { child, link, monitor } => {
                state::with(|state| {
                    if link {
                        state.relations.linked(child);
                    }
                    if let Some(reference) = monitor {
                        state.relations.add_monitor(reference, Watch::new(child));
                    }
                });
                Handled::Done
            }
            Signal::Poke => {
                current::poke_self();
                Handled::Done
            }
            Signal::Survived => {
                let abandoned = state::with_existing(|state| mem::take(&mut state.rare().abandoned));
                for (caller, reference) in abandoned.unwrap_or_default() {
                    call::break_off(caller, Broken::no_reply(reference));
                }
                Handled::Done
            }
        }
    }

    fn ended(&self, task: TaskId, outcome: Outcome) {
        let me = Pid::new(self.id, task);
        if matches!(outcome, Outcome::Returned)
            && state::with_existing(|state| state.is_simple()) != Some(false)
        {
            // Most processes: nothing is to be released; but messages that nobody has received may leave callers to be
            // told.
            self.tell(Seen::Ended { pid: me, reason: &ExitReason::Normal });
            current::close_mailbox();
            if let Some(state) = state::with_existing(mem::take) {
                tell(me, &ExitReason::Normal, state);
            }
            return;
        }
        // Step 1.
        let doomed = state::with_existing(State::take_doom).flatten();
        let mut crashed = false;
        let reason = match outcome {
            Outcome::Returned => doomed.unwrap_or(ExitReason::Normal),
            Outcome::NotRunning => doomed.unwrap_or(ExitReason::Killed),
            Outcome::Unwound(payload) => {
                let reason = match doomed {
                    Some(reason) if payload.is::<Doomed>() => reason,
                    _ => {
                        crashed = true;
                        panic_reason(&*payload)
                    }
                };
                current::drop_outside(payload);
                reason
            }
        };
        // Step 2.
        let rare = state::with_existing(|state| {
            state.rare.as_mut().map(|rare| {
                let resources = mem::take(&mut rare.resources);
                (mem::take(&mut rare.names), mem::take(&mut rare.locals), rare.bound.take(), resources)
            })
        });
        let name = match rare.flatten() {
            None => None,
            Some((names, locals, bound, resources)) => {
                for (name, reservation) in &names {
                    self.names.release(name, me, *reservation);
                }
                if let Some(bound) = bound {
                    self.bounds.remove(me, &bound);
                }
                resource::release(me, resources.values());
                current::drop_outside((resources, locals));
                names.into_iter().next().map(|(name, _)| name)
            }
        };
        if crashed {
            self.reports.count_crash();
            if let Some(panic) = reason.panic() {
                self.tell(Seen::Crashed { pid: me, panic });
            }
        }
        let crash = Crash::gather(me, crashed);
        self.tell(Seen::Ended { pid: me, reason: &reason });
        // Step 3.
        current::close_mailbox();
        // Step 4.
        if let Some(state) = state::with_existing(mem::take) {
            tell(me, &reason, state);
        }
        // Step 5.
        if let Some(crash) = crash {
            self.reports.crashed(&crash, name.as_deref(), &reason);
        }
    }

    fn undeliverable(&self, signal: Envelope) {
        send::undeliverable(signal, None);
    }

    fn dead_letter(&self, to: TaskId, message: &Envelope) {
        self.dead_letters.arrived(Pid::new(self.id, to), message.type_name());
        self.tell(Seen::DeadLetter { message: message.type_name() });
    }

    fn stop(&self, _task: TaskId) {
        state::with(|state| state.doom(ExitReason::Killed));
    }

    fn describe(&self, task: TaskId, label: &mut LabelBuf) {
        let pid = Pid::new(self.id, task);
        // The names' lock may be held by the very thread that has been interrupted: only try.
        match self.names.try_name_of(pid) {
            // The buffer cuts off what does not fit.
            Some(name) => drop(write!(label, "{pid} {name:?}")),
            None => drop(write!(label, "{pid}")),
        }
    }

    fn long_queue(&self, task: TaskId, messages: u32) {
        let pid = Pid::new(self.id, task);
        self.reports.long_queue(pid, self.names.name_of(pid).as_deref(), messages);
    }

    fn observed(&self, seen: engset_scheduler::Seen<'_>) {
        self.relay(seen);
    }

    fn long_schedule(&self, report: LongSchedule) {
        let pid = Pid::new(self.id, report.task);
        self.reports.long_schedule(pid, self.names.name_of(pid).as_deref(), &report);
    }
}

fn on_exit(from: Pid, reason: ExitReason, origin: Origin) -> Handled {
    let traps = state::with_existing(|state| {
        if origin == Origin::Link && !state.relations.broke(from) {
            return None;
        }
        Some(state.traps)
    });
    let traps = match traps {
        // The link is not active any more.
        Some(None) => return Handled::Done,
        Some(Some(traps)) => traps,
        // Never linked, never trapped.
        None if origin == Origin::Link => return Handled::Done,
        None => false,
    };
    match exit_rule::decide(origin, &reason, traps) {
        Verdict::Drop => Handled::Done,
        Verdict::Message => Handled::Deliver(Envelope::event(Event::Exit(Exit { from, reason }))),
        Verdict::End(reason) => {
            state::with(|state| state.doom(reason));
            Handled::Doom
        }
    }
}

/// Step 4.
fn tell(me: Pid, reason: &ExitReason, mut state: State) {
    if let Some(rare) = state.rare.take() {
        for (caller, reference) in rare.abandoned {
            call::break_off(caller, Broken::down(reference, DownReason::Exited(reason.clone())));
        }
    }
    let bereaved = state.relations.bereaved();
    for peer in bereaved.links {
        send::signal(peer, Signal::exit(me, reason.clone(), Origin::Link));
    }
    for (reference, watcher) in bereaved.watchers {
        let reason = DownReason::Exited(reason.clone());
        match watcher.outside_waiter() {
            None => send::signal(watcher, Signal::Down { reference, reason }),
            Some(call) => call::break_off(watcher, Broken::down(call, reason)),
        }
    }
    for (reference, target) in bereaved.monitors {
        send::signal(target, Signal::Demonitor { watcher: me, reference });
    }
}
