//! What the task that runs can do: the interface to the crate above.
//!
//! The only thread-locals of the workspace: which worker this thread is, and for which one it stands in. Reading them is sound on suspended
//! stacks because a stack never changes its thread (`carrier.rs`).
//!
//! Functions that need a task say what they do without one.

mod hooks;
mod messages;
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
    messages::{
        Got, Miss, Plain, Position, Unsent, next, queued, receive, search, send, send_message, send_quickly,
        wait_for_more,
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
    extension::Extension,
    overflow::LabelBuf,
    owner::Whose,
    scheduler::SpawnError,
    shared::Shared,
    slot::{POKED, Slot, State},
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
    static STANDS_IN_FOR: Cell<*const Worker> = const { Cell::new(ptr::null()) };
}

/// A rescuer hands out this worker's events: runs `f`. What that sends goes the worker's own way, behind what it has sent itself. To all other
/// code this thread is no worker.
pub(crate) fn stand_in_for<R>(worker: &Worker, f: impl FnOnce() -> R) -> R {
    struct Reset(*const Worker);
    impl Drop for Reset {
        fn drop(&mut self) {
            STANDS_IN_FOR.set(self.0);
        }
    }
    let _reset = Reset(STANDS_IN_FOR.replace(worker));
    f()
}

/// The worker of which this thread has custody while it hands out its events.
pub(crate) fn stands_in_for<'a>() -> Option<&'a Worker> {
    // SAFETY: set while `stand_in_for` runs, whose caller, a rescuer, has the worker and custody of it (`custody.rs`, rule 2) until after that. The
    // callers are code that it calls, and keep the reference no longer than their call.
    unsafe { STANDS_IN_FOR.get().as_ref() }
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
        None => depot::CELLS.take_one(),
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
        None => unsafe { depot::CELLS.give_one(cell) },
    }
}

/// One of two lines.
#[inline]
pub(crate) fn take_wide_cell() -> NonNull<FreeCell> {
    match worker() {
        Some(worker) => worker.wide_cells.take(),
        None => depot::WIDE.take_one(),
    }
}

/// # Safety
///
/// As `Cache::give`.
#[inline]
pub(crate) unsafe fn give_wide_cell(cell: NonNull<FreeCell>) {
    match worker() {
        // SAFETY: contract.
        Some(worker) => unsafe { worker.wide_cells.give(cell) },
        // SAFETY: contract.
        None => unsafe { depot::WIDE.give_one(cell) },
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
