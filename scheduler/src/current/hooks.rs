//! For the hooks of the crate above: the extension of a task, what it does, and code of users.

use super::{Section, worker};
use crate::{extension::Extension, slot::State};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The extension of the task that runs or that a hook is called for; it is made by `make` if need be.
/// `f` must not come here again.
pub fn with_extension<T: Send + 'static, R>(
    make: impl FnOnce() -> T,
    f: impl FnOnce(&mut T) -> R,
) -> Option<R> {
    let section = Section::enter()?;
    let task = section.worker.private(section.worker.subject()?);
    let mut extension = match task.take_extension() {
        Some(extension) => extension,
        None => Extension::new(make()),
    };
    let result = extension.get_mut::<T>().map(f);
    task.put_extension(extension);
    result
}

/// The extension, if there is one.
#[inline]
pub fn with_existing_extension<T: Send + 'static, R>(f: impl FnOnce(&mut T) -> R) -> Option<R> {
    let section = Section::enter()?;
    let task = section.worker.private(section.worker.subject()?);
    let mut extension = task.take_extension()?;
    let result = extension.get_mut::<T>().map(f);
    task.put_extension(extension);
    result
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

/// For [`ended`](crate::Hooks::ended): the task's mailbox closes. From here on sends find it dead; what is in the
/// mailbox goes to [`undeliverable`](crate::Hooks::undeliverable) and [`dead_letter`](crate::Hooks::dead_letter).
pub fn close_mailbox() {
    if let Some(section) = Section::enter()
        && let Some(slot) = section.worker.subject()
    {
        section.worker.close_mailbox(section.worker.private(slot));
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
