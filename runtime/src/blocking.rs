//! Calls that block a thread, or compute for long without reduction points.

use crate::{
    call::{self, Reply},
    error::CallError,
    node,
    process::try_self_pid,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    thread,
};

/// Runs `f` on a thread for blocking calls; the process waits meanwhile, without a worker.
///
/// A panic of `f` goes on in the process. Outside of a process `f` is just called.
///
/// # Signals
///
/// If an exit signal ends the process while it waits, its stack unwinds from here; `f` runs on to its end,
/// for nothing can stop it, and its result is dropped.
///
/// # Panics
///
/// If `f` does, or in a process that is ending.
///
/// ```
/// # engset_runtime::run(|| {
/// let text = engset_runtime::blocking(|| std::fs::read_to_string("/proc/version"));
/// assert!(text.is_ok());
/// # }).unwrap();
/// ```
pub fn blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let Some(pid) = try_self_pid() else { return f() };
    let Some(scheduler) = node::scheduler_of(pid.node()) else { return f() };
    let answer = call::wait_for(|reply: Reply<thread::Result<T>>| {
        scheduler.run_blocking(Box::new(move || reply.send(catch_unwind(AssertUnwindSafe(f)))));
    });
    match answer {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(CallError::Unwinding) => panic!("blocking in a process that is ending"),
        Err(_) => panic!("blocking: the node is stopping"),
    }
}
