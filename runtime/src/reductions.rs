//! What costs how many reductions. A slice has 4000 ([`Config`](crate::Config)).
//!
//! | what | reductions |
//! |---|---|
//! | send | 1, and the square of the number of 64s of messages that wait at the receiver, rounded down to a power of 4; at most 4097 |
//! | send to another node | 20 more, and one for each 32 bytes, at most 4020; 400 more while the sender has much waiting there, and is not alone |
//! | send that finds a bounded mailbox full, and does not wait | 400 more |
//! | receive, timer, link, monitor, exit, name, inspection | 1 |
//! | spawn | 8 |
//! | a function or loop iteration under [`preemptible`](crate::preemptible) | 1, or its `cost` |
//! | [`reduce(n)`](reduce) | n |
//!
//! That senders to a long queue pay more is Erlang's rule: who floods a process has shorter slices, and the
//! receiver comes to its turn before the queue leaves the cache.

/// The price list.
pub(crate) mod price {
    pub(crate) const SEND: i32 = 1;
    /// A tenth of a slice.
    pub(crate) const FULL: i32 = 400;
    pub(crate) const RECEIVE: i32 = 1;
    pub(crate) const SPAWN: i32 = 8;
    pub(crate) const OTHER: i32 = 1;
    /// `current::receive`, `receive_quickly` and `pay_one` take it.
    const _: () = assert!(RECEIVE == 1);
}

/// Pays `units` reductions for work that the runtime does not see; if the slice is used up, other
/// processes have their turn. Outside of a process it does nothing.
///
/// Call it in long computations, or mark the function with [`preemptible`](crate::preemptible), which
/// inserts the calls.
///
/// # Signals
///
/// If the slice is used up and an exit signal has come, the process ends here: its stack unwinds.
///
/// ```
/// # engset_runtime::run(|| {
/// let mut sum = 0_u64;
/// for number in 0..100_000 {
///     sum = sum.wrapping_mul(31).wrapping_add(number);
///     engset_runtime::reduce(1);
/// }
/// # let _ = sum;
/// # }).unwrap();
/// ```
#[inline(always)]
pub fn reduce(units: u32) {
    engset_scheduler::current::reduce(units.min(i32::MAX as u32) as i32);
}

/// Lets other processes have their turn now. Outside of a process it does nothing.
///
/// # Signals
///
/// If an exit signal has come, the process ends here.
pub fn yield_now() {
    engset_scheduler::current::yield_now();
}

/// Reductions that are left of this slice; 0 outside of a process.
#[must_use]
pub fn reductions_left() -> u32 {
    engset_scheduler::current::reductions_left().max(0) as u32
}

/// Runs `f` in one piece: its reduction points do not let others have their turn, and no exit signal ends the
/// process in it. So a lock that is taken and released in `f` is never held by a process that waits for its turn, and
/// never left behind by one that was killed.
///
/// Keep it short: nothing else runs on this worker meanwhile. What would wait in `f` does not: a call is an error
/// ([`CallError::Unwinding`](crate::CallError)), a sleep returns at once, [`Mailbox::receive`](crate::Mailbox::receive) panics.
///
/// ```
/// # engset_runtime::run(|| {
/// use std::sync::Mutex;
///
/// let shared = Mutex::new(1);
/// let seen = engset_runtime::uninterrupted(|| {
///     let mut number = shared.lock().unwrap();
///     engset_runtime::reduce(1_000_000);
///     *number += 1;
///     *number
/// });
/// assert_eq!(seen, 2);
/// # }).unwrap();
/// ```
#[inline]
pub fn uninterrupted<R>(f: impl FnOnce() -> R) -> R {
    engset_scheduler::current::uninterrupted(f)
}
