//! From `main` to the first process and back.

use crate::{
    Config, Node,
    error::RunError,
    event::{Event, Received},
    mailbox::Mailbox,
    reason::{DownReason, ExitReason},
};
use engset_scheduler::current;
use std::sync::{Arc, Mutex, PoisonError};

/// Starts a node with the settings of the environment ([`Config::from_env`]), runs `main` in its first
/// process, and stops the node when that has ended: all other processes get killed.
///
/// ```
/// let sum = engset_runtime::run(|| {
///     let address = engset_runtime::spawn(|mut mailbox: engset_runtime::Mailbox<u32>| {
///         assert_eq!(mailbox.message(), 1);
///     });
///     address.send(1);
///     1 + 1
/// })?;
/// assert_eq!(sum, 2);
/// # Ok::<(), engset_runtime::RunError>(())
/// ```
///
/// # Errors
///
/// See [`RunError`]: the node does not start, or the first process crashes.
pub fn run<T: Send + 'static>(main: impl FnOnce() -> T + Send + 'static) -> Result<T, RunError> {
    run_with(Config::from_env()?, main)
}

/// The same with other settings. With a [`seed`](Config::seed) everything runs on the calling thread, in
/// systematic mode.
///
/// # Errors
///
/// As [`run`]; in systematic mode also [`RunError::Deadlock`].
pub fn run_with<T: Send + 'static>(
    config: Config,
    main: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RunError> {
    if current::on_worker() {
        return Err(RunError::Nested);
    }
    let node = Node::start(config)?;
    let result = first_process(&node, main);
    // What could not be stopped is left to itself; its threads end with the program.
    let _ = node.stop();
    result
}

/// How the first process has ended.
enum End<T> {
    Returned(T),
    Crashed(ExitReason),
}

fn first_process<T: Send + 'static>(
    node: &Node,
    main: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RunError> {
    let slot: Arc<Mutex<Option<End<T>>>> = Arc::new(Mutex::new(None));
    let wake = std::thread::current();
    let place = Arc::clone(&slot);
    // Two processes: one runs `main`, the other sees how it ends.
    let watcher = move |mut mailbox: Mailbox<T>| {
        let results = mailbox.address();
        let (_, reference) = crate::spawn_monitor(move || {
            let value = main();
            results.send(value);
        });
        let mut value = None;
        let end = loop {
            match mailbox.receive() {
                Received::Message(result) => value = Some(result),
                Received::Event(Event::Down(down)) if down.reference == reference => {
                    break match (value, down.reason) {
                        (Some(value), _) => End::Returned(value),
                        (None, DownReason::Exited(reason)) => End::Crashed(reason),
                        (None, other) => End::Crashed(other.as_exit()),
                    };
                }
                Received::Event(_) => {}
            }
        };
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        wake.unpark();
    };
    node.spawn(watcher).map_err(|error| RunError::Crashed(ExitReason::error(error.to_string())))?;
    let take = || slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let end = if node.config().get_seed().is_some() {
        let is_there = || slot.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        node.run_until(is_there)?;
        take()
    } else {
        loop {
            match take() {
                Some(end) => break Some(end),
                None => std::thread::park(),
            }
        }
    };
    match end {
        Some(End::Returned(value)) => Ok(value),
        Some(End::Crashed(reason)) => Err(RunError::Crashed(reason)),
        None => Err(RunError::Deadlock(Vec::new())),
    }
}
