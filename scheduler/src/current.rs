//! What the task that runs can do: the interface to the crate above.
//!
//! The only thread-local of the workspace: which worker this thread is. Reading it is sound on suspended
//! stacks because a stack never changes its thread (`carrier.rs`).
//!
//! Functions that need a task say what they do without one.

pub use crate::worker::Wake;

use crate::{
    TimerHandle,
    config::Settings,
    depot::{self, FreeCell},
    envelope::{Envelope, Kind},
    overflow::LabelBuf,
    remote_queue::Link,
    scheduler::{Shared, SpawnError},
    slot::{POKED, Slot, State},
    task::{Body, Hooks, TaskId},
    worker::{Control, Seed, TimerAnswer, Worker},
};
use std::{
    any::Any,
    cell::Cell,
    fmt::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::{self, NonNull},
    sync::{Arc, atomic::Ordering},
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

/// The same as of the last look of the loop: at most about a slice old, and free.
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
    body: Box<dyn Body>,
    extension: Option<Box<dyn Any + Send>>,
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
    let seed = Seed { body, extension, priority: settings.priority, class, marked: settings.marked };
    let spawned = worker.spawn(seed);
    if worker.queue_len().is_multiple_of(32) {
        worker.level();
    }
    if worker.shared.idle.any() {
        worker.share_work();
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
    /// The task is marked ([`Settings::marked`]).
    Marked(M),
    /// This is no worker of the scheduler with that tag.
    Elsewhere(M),
}

/// Sends a message to a task of the scheduler with this tag, if this is one of its workers and the task is
/// not marked. The sender pays a reduction, and one more for each 64 messages that wait at the receiver (at
/// most 64); if its slice is used up then, others have their turn.
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
    if slot.is_marked() {
        return Err(Unsent::Marked(message));
    }
    worker.post(slot, to.serial(), Envelope::message_in(worker.cells.take(), message));
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

/// The next thing to receive by the task `owner` of the scheduler with this tag, which must be the one that
/// runs here. It pays a reduction, and waits until the deadline (nanoseconds; `u64::MAX`: none; 0: it does
/// not wait). With `messages` it takes only a message, and says [`Miss::Other`] if something else comes first.
///
/// # Errors
///
/// See [`Miss`].
///
/// # Signals
///
/// As [`wait`].
#[inline(never)]
pub fn receive(tag: u32, owner: TaskId, deadline: u64, messages: bool) -> Result<Envelope, Miss> {
    let Some(worker) = worker() else { return Err(Miss::Stranger) };
    let Some(slot) = worker.current() else { return Err(Miss::Stranger) };
    if worker.tag != tag
        || slot.serial() != owner.serial()
        || worker.shared.slab.get(owner.index()).is_none_or(|own| !ptr::eq(own, slot))
    {
        return Err(Miss::Stranger);
    }
    reduce(1);
    let entered = worker.custody.enter();
    let task = worker.private(slot);
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
            break Ok(envelope);
        }
        // An exit signal among what was looked at ends the task in `wait`.
        match worker.wait(State::Waiting, deadline) {
            Wake::Ready | Wake::Poked => {}
            Wake::TimedOut if worker.has_input(task) => {}
            Wake::TimedOut => break Err(Miss::TimedOut),
            Wake::Ending => break Err(Miss::Ending),
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

/// The next thing to receive, if there is one. Signals that came before it have acted; if one of them
/// dooms the task, its stack unwinds from here.
#[inline(always)]
#[must_use]
pub fn next() -> Option<Envelope> {
    let section = Section::enter()?;
    let slot = section.task()?;
    let envelope = section.worker.next(section.worker.private(slot));
    if envelope.is_none() {
        section.worker.die_if_doomed(slot);
    }
    envelope
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
    if found.is_none() {
        section.worker.die_if_doomed(slot);
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

/// From now on the reply with this tag is awaited, and no other.
#[inline(always)]
pub fn await_reply(tag: u32) {
    if let Some(section) = Section::enter()
        && let Some(slot) = section.task()
    {
        drop(section.worker.private(slot).take_answer());
        section.worker.private(slot).await_reply(tag);
    }
}

/// The reply with this tag is awaited, as before: if a reply has come meanwhile it stays.
#[inline(always)]
pub fn await_still(tag: u32) {
    if let Some(section) = Section::enter()
        && let Some(slot) = section.task()
        && !section.worker.private(slot).has_answer()
    {
        section.worker.private(slot).await_still(tag);
    }
}

/// Waits for the awaited reply. What comes to receive meanwhile waits in the mailbox. `Err`: why there
/// is none; it is still awaited.
///
/// # Errors
///
/// The deadline has passed, or the task cannot wait, or it was poked.
///
/// # Signals
///
/// As [`wait`].
#[inline]
pub fn wait_reply(deadline: u64) -> Result<Envelope, Wake> {
    let Some(section) = Section::enter() else { return Err(Wake::Ending) };
    let Some(slot) = section.task() else { return Err(Wake::Ending) };
    let task = section.worker.private(slot);
    loop {
        if task.has_answer()
            && let Some(reply) = task.take_answer()
        {
            return Ok(reply);
        }
        match section.worker.wait(State::Asleep, deadline) {
            Wake::Ready => {}
            Wake::TimedOut if task.has_answer() => {}
            other => return Err(other),
        }
    }
}

/// No reply is awaited any more; one that has come is dropped.
#[inline]
pub fn cancel_reply() {
    if let Some(section) = Section::enter()
        && let Some(slot) = section.task()
        && let Some(reply) = section.worker.private(slot).take_answer()
    {
        section.worker.drop_outside(reply);
    }
}

/// Pays reductions without giving up the turn.
#[inline(always)]
pub fn pay(units: i32) {
    if let Some(worker) = worker() {
        // Relaxed, no read-modify-write: see the field.
        let left = worker.reductions.load(Ordering::Relaxed).saturating_sub(units);
        worker.reductions.store(left, Ordering::Relaxed);
    }
}

/// Pays reductions; if the slice is used up, others have their turn. Without a task: nothing.
///
/// # Signals
///
/// If the slice is used up and the task is doomed, its stack unwinds from here.
#[inline(always)]
pub fn reduce(units: i32) {
    if let Some(worker) = worker() {
        // Relaxed, no read-modify-write: see the field.
        let left = worker.reductions.load(Ordering::Relaxed).saturating_sub(units);
        worker.reductions.store(left, Ordering::Relaxed);
        if left < 0 {
            yield_now();
        }
    }
}

/// Is the slice used up?
#[inline(always)]
#[must_use]
pub fn is_used_up() -> bool {
    worker().is_some_and(|worker| worker.reductions.load(Ordering::Relaxed) < 0)
}

/// Reductions that the slice has left.
#[must_use]
pub fn reductions_left() -> i32 {
    worker().map_or(0, |worker| worker.reductions.load(Ordering::Relaxed))
}

/// Others have their turn. Without a task: nothing.
///
/// # Signals
///
/// If the task is doomed, its stack unwinds from here.
#[cold]
#[inline(never)]
pub fn yield_now() {
    if let Some(section) = Section::enter()
        && let Some(slot) = section.task()
    {
        let worker = section.worker;
        // A kill that came from elsewhere is seen at the latest now.
        worker.take_in(slot);
        worker.yield_current();
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

/// The extension of the task that runs or that a hook is called for; it is made by `make` if need be.
/// `f` must not come here again.
pub fn with_extension<T: Any + Send, R>(make: impl FnOnce() -> T, f: impl FnOnce(&mut T) -> R) -> Option<R> {
    let section = Section::enter()?;
    let task = section.worker.private(section.worker.subject()?);
    let mut extension = match task.take_extension() {
        Some(extension) => extension,
        None => Box::new(make()),
    };
    let result = extension.downcast_mut::<T>().map(f);
    task.put_extension(extension);
    result
}

/// The extension, if there is one.
#[inline]
pub fn with_existing_extension<T: Any + Send, R>(f: impl FnOnce(&mut T) -> R) -> Option<R> {
    let section = Section::enter()?;
    let task = section.worker.private(section.worker.subject()?);
    let mut extension = task.take_extension()?;
    let result = extension.downcast_mut::<T>().map(f);
    task.put_extension(extension);
    result
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

/// What a task does, for observers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// It runs.
    Running,
    /// It could run, and waits for its turn.
    Runnable,
    /// It waits, without a stack, for something to receive.
    Idle,
    /// It waits, in the middle of something.
    Waiting,
}

/// What the task that a hook is called for does, and whether it has a stack.
#[must_use]
pub fn activity() -> Option<(Activity, bool)> {
    let section = Section::enter()?;
    let task = section.worker.private(section.worker.subject()?);
    let state = match task.state() {
        // It is being asked in its turn: what counts is what it waited for before.
        State::Queued => task.waited(),
        state => state,
    };
    let activity = match state {
        State::Idle => Activity::Idle,
        State::Waiting | State::Asleep => Activity::Waiting,
        State::Running if section.worker.current().is_some() => Activity::Running,
        State::Free | State::Queued | State::Running => Activity::Runnable,
    };
    Some((activity, !task.carrier().is_null() || activity == Activity::Running))
}

/// For [`Hooks::ended`]: the task's mailbox closes. From here on sends find it dead; what is in the
/// mailbox goes to [`Hooks::undeliverable`] and [`Hooks::dead_letter`].
pub fn close_mailbox() {
    if let Some(section) = Section::enter()
        && let Some(slot) = section.worker.subject()
    {
        section.worker.close_mailbox(section.worker.private(slot));
    }
}

/// Sends the envelope at a time (nanoseconds). Nothing is sent if this is no worker.
pub fn send_at(deadline: u64, to: TaskId, envelope: Envelope) -> Option<TimerHandle> {
    let section = Section::enter()?;
    Some(section.worker.send_at(deadline, to, envelope))
}

/// Sends an envelope of `make` (if it makes one) at a time, and again each `period` nanoseconds, as long as the task lives.
pub fn send_every(
    first: u64,
    period: u64,
    to: TaskId,
    make: Box<dyn FnMut() -> Option<Envelope> + Send>,
) -> Option<TimerHandle> {
    let section = Section::enter()?;
    Some(section.worker.send_every(first, period, to, make))
}

/// Runs a short job at a time, between two slices of this worker.
pub fn run_at(deadline: u64, job: Box<dyn FnOnce() + Send>) -> Option<TimerHandle> {
    let section = Section::enter()?;
    Some(section.worker.run_at(deadline, job))
}

/// Cancels or reads a timer: the nanoseconds that were left, `None` if it is not set any more. Waits
/// if the timer is another worker's. `tag` must be fresh, as for a call.
pub fn timer(handle: TimerHandle, cancel: bool, tag: u32) -> Option<u64> {
    let section = Section::enter()?;
    let worker = section.worker;
    if handle.worker == worker.id {
        return worker.timer_order(handle, cancel);
    }
    let to = task()?;
    await_reply(tag);
    worker.shared.order(handle.worker, Control::Timer { handle, cancel, to, tag });
    drop(section);
    loop {
        match wait_reply(u64::MAX) {
            Ok(reply) => return reply.take::<TimerAnswer>().ok()?.0,
            Err(Wake::Poked) => poke_self(),
            Err(_) => return None,
        }
    }
}

/// Runs code of users from a hook: outside of the runtime section, its panic caught.
pub fn outside<R>(f: impl FnOnce() -> R) -> std::thread::Result<R> {
    match worker() {
        Some(worker) if !worker.custody.in_user_code() => {
            worker.outside(|| catch_unwind(AssertUnwindSafe(f)))
        }
        _ => catch_unwind(AssertUnwindSafe(f)),
    }
}

/// Drops something of users from a hook: outside of the section, a panic goes no further.
pub fn drop_outside<T>(value: T) {
    if let Err(payload) = outside(|| drop(value)) {
        std::mem::forget(payload);
    }
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
