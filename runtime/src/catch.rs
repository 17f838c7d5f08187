//! Taking a panic as a value.

use crate::{ExitReason, crash, process::self_pid};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Calls a function; if it panics, the reason for which the process would have ended.
///
/// For a process that runs code of others, and is to outlive it: the panic is reported like a crash, with place and
/// rate limit, and the process goes on. What the function had in its hands is half done; drop it. A call whose
/// [`Reply`](crate::Reply) is dropped on the way ends with `NoReply`.
///
/// An exit signal is no panic: if one ends the process meanwhile, or the function calls
/// [`exit_self`](crate::exit_self), the stack unwinds from here.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::catch;
///
/// assert_eq!(catch(|| 6 * 7), Ok(42));
/// let reason = catch(|| panic!("bad plugin")).unwrap_err();
/// assert_eq!(reason.panic().unwrap().message, "bad plugin");
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// The panic, as [`ExitReason::Panic`].
///
/// # Panics
///
/// Outside of a process.
pub fn catch<T>(f: impl FnOnce() -> T) -> Result<T, ExitReason> {
    self_pid();
    // What the function has left half done is the caller's to drop.
    let payload = match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => return Ok(value),
        Err(payload) => payload,
    };
    match crash::caught(payload) {
        Ok(reason) => {
            crash::report_caught(&reason, |_| ());
            Err(reason)
        }
        Err(payload) => resume_unwind(payload),
    }
}
