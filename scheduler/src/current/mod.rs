//! What the task that runs can do: the interface to the crate above.
//!
//! The only thread-local of the workspace: which worker this thread is. Reading it is sound on suspended
//! stacks because a stack never changes its thread (`carrier.rs`).
//!
//! Functions that need a task say what they do without one.

mod hooks;
mod reductions;
mod reply;
mod rooms;
mod timers;

pub use crate::worker::Wake;
pub(crate) use reductions::used_up;
pub use {
    hooks::{
        Activity, activity, close_mailbox, drop_outside, outside, with_existing_extension, with_extension,
    },
    reductions::{is_used_up, pay, pay_one, reduce, reductions_left, uninterrupted, yield_now},
    reply::{await_reply, await_still, cancel_reply, wait_reply},
    rooms::{keep_room, put_room, settle_rooms, take_room},
    timers::{NotOwn, own_timer, run_at, send_at, send_every, send_message_after, send_message_at, timer},
};

use crate::{
    body::OwnedBody,
    config::Settings,
    depot::{self, FreeCell},
    envelope::{Envelope, Kind},
    extension::Extension,
    overflow::LabelBuf,
    owner::Whose,
    remote_queue::Link,
    scheduler::SpawnError,
    shared::Shared,
    slot::{First, POKED, Slot, State},
    task::{Hooks, TaskId},
    worker::{Seed, Worker},
};
use std::{
    cell::Cell,
    fmt::Write,
    ptr::{self, NonNull},
    sync::Arc,
};

thread_local! {
    static WORKER: Cell<*const Worker> = const { Cell::new(ptr::null()) };
}

/// Runs `f` on this thread as this worker.
pub(crate) fn run_as<R>(worker: &Worker, f: impl FnOnce() -> R) -> R {
    struct Reset(*const Worker);
    impl Drop for Reset {
        fn drop(&mut self) {
            WORKER.set(self.0);
        }
    }
    let before = WORKER.replace(worker);
    assert!(before.is_null() || ptr::eq(before, worker), "a worker's loop inside a worker's loop");
    let _reset = Reset(before);
    f()
}

/// This thread's worker. Only for code on a worker's thread.
#[inline(always)]
fn worker<'a>() -> Option<&'a Worker> {
    // SAFETY: set while the worker's loop runs on this thread, and so while anything that it calls does. The
    // callers are such code, and keep the reference no longer than their call.
    unsafe { WORKER.get().as_ref() }
}

pub(crate) fn with_worker<R>(f: impl FnOnce(&Worker) -> R) -> R {
    match worker() {
        Some(worker) => f(worker),
        None => unreachable!("only called on carriers"),
    }
}

/// Runs `f` with this thread's worker, in a section; `None`: it is none.
pub(crate) fn on_this_worker<R>(f: impl FnOnce(&Worker) -> R) -> Option<R> {
    let section = Section::enter()?;
    Some(f(section.worker))
}

pub(crate) fn with_shared<R>(f: impl FnOnce(&Shared) -> R) -> Option<R> {
    worker().map(|worker| f(&worker.shared))
}

/// A stay in a runtime section (`custody.rs`).
struct Section<'a> {
    worker: &'a Worker,
    entered: bool,
}

impl<'a> Section<'a> {
    #[inline(always)]
    fn enter() -> Option<Self> {
        let worker = worker()?;
        let entered = worker.custody.enter();
        Some(Section { worker, entered })
    }

    #[inline(always)]
    fn task(&self) -> Option<&'a Slot> {
        self.worker.current()
    }
}

impl Drop for Section<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // Unwinding out of a section happens on one path only, which has left it already.
        if self.entered && !self.worker.custody.in_user_code() {
            self.worker.custody.leave();
        }
    }
}

#[inline(always)]
pub(crate) fn take_cell() -> NonNull<FreeCell> {
    match worker() {
        Some(worker) => worker.cells.take(),
        None => depot::take_one(),
    }
}

/// # Safety
///
/// As `Cache::give`.
#[inline(always)]
pub(crate) unsafe fn give_cell(cell: NonNull<FreeCell>) {
    match worker() {
        // SAFETY: contract.
        Some(worker) => unsafe { worker.cells.give(cell) },
        // SAFETY: contract.
        None => unsafe { depot::give_one(cell) },
    }
}

/// Is this a worker's thread?
#[must_use]
pub fn on_worker() -> bool {
    worker().is_some()
}

/// The tag of the scheduler that this thread works for.
#[inline(always)]
#[must_use]
pub fn tag() -> Option<u32> {
    worker().map(|worker| worker.tag)
}

/// The hooks of the scheduler that this thread works for.
#[inline]
pub fn with_hooks<R>(f: impl FnOnce(&Arc<dyn Hooks>) -> R) -> Option<R> {
    worker().map(|worker| f(&worker.shared.hooks))
}

/// The task that runs here.
#[inline]
#[must_use]
pub fn task() -> Option<TaskId> {
    let worker = worker()?;
    worker.current().map(|slot| worker.task_id(slot))
}

/// Is `task` the one that runs here?
#[inline(always)]
#[must_use]
pub fn is_task(task: TaskId) -> bool {
    let Some(worker) = worker() else { return false };
    let Some(slot) = worker.current() else { return false };
    slot.serial() == task.serial() && worker.shared.slab.index_of(slot) == task.index()
}

/// Can the caller wait? Only a task can, and not while it unwinds or ends.
#[must_use]
pub fn may_wait() -> bool {
    worker().is_some_and(crate::worker::may_wait)
}

/// Nanoseconds since the scheduler started, by its clock; 0 if this is no worker.
#[must_use]
pub fn now() -> u64 {
    worker().map_or(0, |worker| worker.shared.clock.now())
}

/// A time to count deadlines from: now or, because it is cheaper, up to 50 microseconds later; 0 if this is no
/// worker.
#[inline(always)]
#[must_use]
pub fn soon() -> u64 {
    worker().map_or(0, Worker::soon)
}

/// The time as of the last look of the loop: at most about a slice old, and free.
#[inline(always)]
#[must_use]
pub fn coarse_now() -> u64 {
    worker().map_or(0, Worker::coarse_now)
}

/// Spawns a task on this worker. `None`: this is no worker.
///
/// # Errors
///
/// See [`SpawnError`].
#[inline]
pub fn spawn(
    body: OwnedBody,
    extension: Option<Extension>,
    settings: Settings,
) -> Option<Result<TaskId, SpawnError>> {
    let section = Section::enter()?;
    let worker = section.worker;
    let class = match settings.stack_size {
        None => worker.shared.default_class,
        asked => match worker.shared.class_of(asked) {
            Ok(class) => class,
            Err(error) => return Some(Err(error)),
        },
    };
    let Settings { priority, marked, flagged, spread, .. } = settings;
    let seed = Seed { body, extension, priority, class, marked, flagged, spread };
    let spawned = worker.spawn(seed);
    if worker.queue_len().is_multiple_of(32) {
        worker.level();
        if worker.shared.idle.any() {
            worker.share_work();
        }
    }
    Some(spawned.map_err(|seed| {
        worker.drop_outside(seed);
        SpawnError::Limit { limit: worker.shared.slab.limit() }
    }))
}

/// A number that is never given out twice in this scheduler's life; `None`: this is no worker.
#[inline(always)]
#[must_use]
pub fn unique() -> Option<u64> {
    worker().map(Worker::unique)
}

/// Was the task marked when it was spawned ([`Settings::marked`])?
#[inline(always)]
#[must_use]
pub fn is_marked(task: TaskId) -> bool {
    let slot = worker().and_then(|worker| worker.shared.slab.get(task.index()));
    slot.is_some_and(|slot| slot.is_marked() && slot.serial() == task.serial())
}

/// Does the task belong to this worker, as far as can be seen?
#[must_use]
pub fn is_here(task: TaskId) -> bool {
    on_this_worker(|worker| {
        let slot = worker.shared.slab.get(task.index());
        slot.is_some_and(|slot| slot.owner.look(worker.id) == Whose::Mine)
    })
    .unwrap_or(false)
}

/// Sends. On a worker of the task's scheduler only.
///
/// # Errors
///
/// The envelope comes back if the task is dead as far as can be seen.
#[inline(always)]
pub fn send(to: TaskId, envelope: Envelope) -> Result<(), Envelope> {
    match Section::enter() {
        Some(section) => section.worker.send(to, envelope),
        None => Err(envelope),
    }
}

/// Why [`send_message`] did not send. The message comes back.
#[derive(Debug)]
pub enum Unsent<M> {
    /// The task is dead as far as can be seen.
    Dead(M),
    /// The task is marked ([`Settings::marked`]), and no room in its mailbox is held here.
    Marked(M),
    /// This is no worker of the scheduler with that tag.
    Elsewhere(M),
}

/// [`send_message`] in the usual case: the task is alive and not marked, and there is a cell at hand.
///
/// All else is left to a function that the caller ends with, so that a send needs no frame.
///
/// # Errors
///
/// It is not that case; the message comes back.
///
/// # Signals
///
/// As [`reduce`].
#[inline(always)]
pub fn send_quickly<M: Send + 'static>(tag: u32, to: TaskId, message: M) -> Result<(), M> {
    let Some(worker) = worker() else { return Err(message) };
    if worker.tag != tag {
        return Err(message);
    }
    let Some(slot) = worker.shared.slab.get(to.index()) else { return Err(message) };
    if slot.serial() != to.serial() || slot.is_marked() {
        return Err(message);
    }
    let Some(cell) = worker.cells.take_at_hand() else { return Err(message) };
    worker.post(slot, to.serial(), Envelope::message_in(cell, to.serial(), message));
    Ok(())
}

/// Sends a message to a task of the scheduler with this tag, if this is one of its workers and the task is
/// not marked, or room in its mailbox is held here ([`keep_room`]). The sender pays a reduction, and more if many messages wait at the receiver (`Slot::price`); if its slice
/// is used up then, others have their turn.
///
/// # Errors
///
/// See [`Unsent`].
///
/// # Signals
///
/// As [`reduce`].
#[inline(always)]
pub fn send_message<M: Send + 'static>(tag: u32, to: TaskId, message: M) -> Result<(), Unsent<M>> {
    let Some(worker) = worker() else { return Err(Unsent::Elsewhere(message)) };
    if worker.tag != tag {
        return Err(Unsent::Elsewhere(message));
    }
    let Some(slot) = worker.shared.slab.get(to.index()) else { return Err(Unsent::Dead(message)) };
    if slot.serial() != to.serial() {
        return Err(Unsent::Dead(message));
    }
    if slot.is_marked() && !worker.take_room(to) {
        return Err(Unsent::Marked(message));
    }
    worker.post(slot, to.serial(), Envelope::message_in(worker.cells.take(), to.serial(), message));
    Ok(())
}

/// Why [`receive`] has nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// The deadline has passed.
    TimedOut,
    /// The task is unwinding or ending: nothing can come any more.
    Ending,
    /// The task that runs here is not the one that asks, or none.
    Stranger,
    /// The next thing is no message, and only one was asked for.
    Other,
}

/// Something received.
#[derive(Debug)]
pub enum Got<M> {
    /// A message of the type asked for. It came first, had no tag, no signal had to be looked at before it, and nobody looks on: the usual case.
    Message(M),
    /// Whatever it is.
    Envelope(Envelope),
}

/// The next thing to receive by the task `owner` of the scheduler with this tag, which must be the one that
/// runs here. It pays a reduction, and waits until the deadline (nanoseconds; `u64::MAX`: none; 0: it does
/// not wait). With `messages` it takes only a message, and says [`Miss::Other`] if something else comes first. With `opened` it may give
/// [`Got::Message`].
///
/// # Errors
///
/// See [`Miss`].
///
/// # Signals
///
/// As [`wait`].
///
/// Inlined (`worker/run.rs`, `enter`, says why).
#[inline(always)]
pub fn receive<M: Send + 'static>(
    tag: u32,
    owner: TaskId,
    deadline: u64,
    messages: bool,
    opened: bool,
) -> Result<Got<M>, Miss> {
    let Some(worker) = worker() else { return Err(Miss::Stranger) };
    let Some(slot) = worker.current() else { return Err(Miss::Stranger) };
    if !worker.is_current(slot, tag, owner) {
        return Err(Miss::Stranger);
    }
    if !worker.pay_little(1) {
        used_up();
    }
    let task = worker.private(slot);
    let quick = opened && worker.custody.enter_quickly();
    if quick && let First::Plain(envelope) = task.pop_plain::<M>() {
        worker.custody.leave();
        // SAFETY: `pop_plain` has looked.
        return Ok(Got::Message(unsafe { envelope.take_unchecked(worker) }));
    }
    let entered = quick || worker.custody.enter();
    let result = loop {
        if messages && !task.inner_is_empty() && !task.inner_starts_with_message() {
            break Err(Miss::Other);
        }
        if let Some(envelope) = worker.next(task) {
            if messages && envelope.kind() != Kind::Message {
                // It came in with the signals that have just acted: back to where it was.
                task.unpop_inner(envelope);
                break Err(Miss::Other);
            }
            if worker.observed {
                worker.received(slot, &envelope);
            }
            break Ok(Got::Envelope(envelope));
        }
        // An exit signal among what was looked at ends the task in `wait`.
        match worker.wait(State::Waiting, deadline) {
            Wake::Ready | Wake::Poked => {}
            Wake::TimedOut if worker.has_input(task) => {}
            Wake::TimedOut => break Err(Miss::TimedOut),
            Wake::Ending => break Err(Miss::Ending),
        }
        if quick && let First::Plain(envelope) = task.pop_plain::<M>() {
            worker.custody.leave();
            // SAFETY: as above.
            return Ok(Got::Message(unsafe { envelope.take_unchecked(worker) }));
        }
    };
    if entered {
        worker.custody.leave();
    }
    result
}

/// Messages that wait in a task's mailbox, as its owner last counted; 0 if it is dead.
#[inline(always)]
#[must_use]
pub fn queued(task: TaskId) -> u32 {
    let slot = worker().and_then(|worker| worker.shared.slab.get(task.index()));
    slot.map_or(0, |slot| if slot.serial() == task.serial() { slot.queued() } else { 0 })
}

/// The next thing to receive by the task that runs, if there is one. Signals that came before it have acted; if one of them
/// dooms the task, its stack unwinds from here. `opened`: as for [`receive`]; then `None` may come though there is something in this worker's
/// inbox.
#[inline(always)]
#[must_use]
pub fn next<M: Send + 'static>(opened: bool) -> Option<Got<M>> {
    let worker = worker()?;
    let slot = worker.current()?;
    let entered = if opened && worker.custody.enter_quickly() {
        let first = worker.private(slot).pop_plain::<M>();
        if let First::Plain(envelope) = first {
            worker.custody.leave();
            // SAFETY: `pop_plain` has looked.
            return Some(Got::Message(unsafe { envelope.take_unchecked(worker) }));
        }
        if let First::Nothing = first {
            // What has come from other workers wakes it again.
            worker.custody.leave();
            return None;
        }
        true
    } else {
        worker.custody.enter()
    };
    let envelope = worker.next(worker.private(slot));
    match &envelope {
        // If it unwinds it has left the section.
        None => worker.die_if_doomed(slot),
        Some(envelope) if worker.observed => worker.received(slot, envelope),
        Some(_) => {}
    }
    if entered {
        worker.custody.leave();
    }
    envelope.map(Got::Envelope)
}

/// Where a search in the mailbox has come to. It holds as long as nothing else is received meanwhile.
#[derive(Debug, Default)]
pub struct Position(Option<NonNull<Link>>);

/// Searches the mailbox from `position`: the first thing that `wanted` picks. What has been looked at
/// is not looked at again. `wanted` must not receive.
pub fn search(position: &mut Position, wanted: &mut dyn FnMut(&Envelope) -> bool) -> Option<Envelope> {
    let section = Section::enter()?;
    let slot = section.task()?;
    let found = section.worker.search(section.worker.private(slot), &mut position.0, wanted);
    match &found {
        None => section.worker.die_if_doomed(slot),
        Some(envelope) if section.worker.observed => section.worker.received(slot, envelope),
        Some(_) => {}
    }
    found
}

/// Waits until there is something to receive, or the deadline (nanoseconds; `u64::MAX`: none).
///
/// # Signals
///
/// If the task is doomed, its stack unwinds from here.
pub fn wait(deadline: u64) -> Wake {
    match Section::enter() {
        Some(section) => section.worker.wait(State::Waiting, deadline),
        None => Wake::Ending,
    }
}

/// Waits until something comes to receive that a search which has come to `position` has not seen.
///
/// # Signals
///
/// As [`wait`].
pub fn wait_for_more(position: &Position, deadline: u64) -> Wake {
    let Some(section) = Section::enter() else { return Wake::Ending };
    let Some(slot) = section.task() else { return Wake::Ending };
    section.worker.wait_behind(slot, position.0, deadline)
}

/// Signals that have come act now. Unwinds the task if one of them dooms it.
///
/// # Signals
///
/// As [`wait`].
pub fn act_now() {
    if let Some(section) = Section::enter()
        && let Some(slot) = section.task()
    {
        section.worker.take_in(slot);
        section.worker.die_if_doomed(slot);
    }
}

/// The task that runs must end; it goes on until it next waits, or unwinds by itself.
pub fn doom_self() {
    if let Some(section) = Section::enter()
        && let Some(slot) = section.task()
    {
        section.worker.private(slot).set(crate::slot::DOOMED);
    }
}

/// Is the task that runs marked ([`Settings::marked`])?
#[inline(always)]
#[must_use]
pub fn is_current_marked() -> bool {
    worker().and_then(Worker::current).is_some_and(Slot::is_marked)
}

/// Is the task that runs, or that a hook is called for, marked?
#[must_use]
pub fn is_subject_marked() -> bool {
    worker().and_then(Worker::subject).is_some_and(Slot::is_marked)
}

/// Is the task that a hook is called for, or that runs, flagged ([`Settings::flagged`])?
#[must_use]
pub fn is_subject_flagged() -> bool {
    let Some(section) = Section::enter() else { return false };
    section.worker.subject().is_some_and(|slot| section.worker.private(slot).has(crate::slot::FLAGGED))
}

/// Is the task that runs, or that a hook is called for, ending?
#[must_use]
pub fn is_ending() -> bool {
    let subject = worker().and_then(Worker::subject);
    subject.is_some_and(|slot| worker().is_some_and(|worker| worker.is_ending(slot)))
}

/// Waits for attention or the deadline only: what comes to receive leaves it asleep.
///
/// # Signals
///
/// As [`wait`].
pub fn sleep(deadline: u64) -> Wake {
    match Section::enter() {
        Some(section) => section.worker.wait(State::Asleep, deadline),
        None => Wake::Ending,
    }
}

/// Ends the wait of a task of this worker, or its next one, with [`Wake::Poked`].
pub fn poke_self() {
    if let Some(section) = Section::enter()
        && let Some(slot) = section.worker.subject()
    {
        section.worker.private(slot).set(POKED);
    }
}

/// Changes the priority of the task that runs, from its next turn on.
pub fn set_priority(priority: crate::Priority) {
    if let Some(section) = Section::enter()
        && let Some(slot) = section.task()
    {
        section.worker.private(slot).set_priority(priority as u8);
    }
}

/// The priority of the task that runs or that a hook is called for.
#[must_use]
pub fn priority() -> Option<crate::Priority> {
    use crate::Priority::{High, Low, Max, Normal};
    let section = Section::enter()?;
    let level = section.worker.private(section.worker.subject()?).priority();
    [Max, High, Normal, Low].get(level as usize).copied()
}

/// A number from the worker's generator; in systematic mode it follows from the seed.
#[must_use]
pub fn random() -> Option<u64> {
    let section = Section::enter()?;
    // SAFETY: in a section of this worker.
    Some(unsafe { section.worker.random.with(crate::Random::next_u64) })
}

/// For the handler of stack overflows.
pub(crate) fn describe(label: &mut LabelBuf) {
    let Some(worker) = worker() else {
        let _ = write!(label, "outside of any process");
        return;
    };
    match worker.current() {
        Some(slot) => worker.shared.hooks.describe(worker.task_id(slot), label),
        None => {
            let _ = write!(label, "none (worker {})", worker.id);
        }
    }
}
