//! What a slice has left, and giving up the turn.

use super::{Section, worker};
use std::sync::atomic::Ordering;

/// Pays reductions without giving up the turn. False: the slice is used up.
#[inline(always)]
pub fn pay(units: i32) -> bool {
    let Some(worker) = worker() else { return true };
    // Relaxed, no read-modify-write: see the field. Not to the least number: see `Worker::pay_little`.
    let left = worker.reductions.load(Ordering::Relaxed).saturating_sub(units).max(i32::MIN / 2);
    worker.reductions.store(left, Ordering::Relaxed);
    left >= 0
}

/// Pays for something received. The same, but cheaper.
#[inline(always)]
pub fn pay_one() -> bool {
    worker().is_none_or(|worker| worker.pay_little(1))
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
            used_up();
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
    give_up_turn(true);
}

/// The slice is used up: others have their turn.
#[cold]
#[inline(never)]
pub(crate) fn used_up() {
    give_up_turn(false);
}

fn give_up_turn(voluntarily: bool) {
    let Some(section) = Section::enter() else { return };
    let worker = section.worker;
    let Some(slot) = section.task() else {
        // Nobody's: see `Worker::pay_little`.
        return worker.reductions.store(0, Ordering::Relaxed);
    };
    // A kill that came from elsewhere is seen at the latest now.
    worker.take_in(slot);
    worker.yield_current(voluntarily);
}

/// Runs `f` in one piece: the task does not give up its turn in it, is not unwound in it, and cannot wait.
/// Without a task it just runs.
#[inline]
pub fn uninterrupted<R>(f: impl FnOnce() -> R) -> R {
    struct Piece;
    impl Drop for Piece {
        fn drop(&mut self) {
            if let Some(section) = Section::enter() {
                let state = &section.worker.uninterrupted;
                let (left, owes) = state.get().leave();
                state.set(left);
                if owes {
                    // Or a task that does little else would never give up its turn.
                    section.worker.reductions.store(-1, Ordering::Relaxed);
                }
            }
        }
    }
    // In a section, for a rescuer may look at it.
    if let Some(section) = Section::enter() {
        let state = &section.worker.uninterrupted;
        state.set(state.get().enter());
    }
    let _piece = Piece;
    f()
}
