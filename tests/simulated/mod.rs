//! Processes of simulated nodes whose results are awaited.

use engset::Mailbox;
use engset::dist::{
    Distribution,
    simulation::{Member, Simulation},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) type Slot<T> = Arc<Mutex<Option<T>>>;

/// Runs `main` in a process of a node until it returns.
#[track_caller]
pub(crate) fn run_in<T: Send + 'static>(
    simulation: &mut Simulation,
    at: &Member,
    main: impl FnOnce(&Distribution, Mailbox<u32>) -> T + Send + 'static,
) -> T {
    let result = begin(at, main);
    assert!(simulation.run(600 * SECOND, || result.lock().unwrap().is_some()), "it does not end");
    let value = result.lock().unwrap().take();
    value.expect("it is there")
}

/// Begins to.
pub(crate) fn begin<T: Send + 'static>(
    at: &Member,
    main: impl FnOnce(&Distribution, Mailbox<u32>) -> T + Send + 'static,
) -> Slot<T> {
    let result = Arc::new(Mutex::new(None));
    let (slot, distribution) = (Arc::clone(&result), at.distribution.clone());
    let body = move |mailbox: Mailbox<u32>| {
        let value = main(&distribution, mailbox);
        *slot.lock().unwrap() = Some(value);
    };
    at.node.spawn(body).expect("a process");
    result
}
