//! `hyper::rt::Executor`: a process for each future.

use engset_runtime::{Builder, block_on};
use hyper::rt::Executor;
use std::future::Future;

/// Spawns a process for each future that hyper wants to run beside (the streams of HTTP/2, the connections of clients). It is linked with the
/// process that asks: if that ends abnormally, so do they.
#[derive(Clone, Copy, Debug, Default)]
pub struct EngsetExecutor;

impl<F: Future + Send + 'static> Executor<F> for EngsetExecutor {
    /// # Panics
    ///
    /// Outside of a process, and if there is no room for another.
    fn execute(&self, future: F) {
        let spawned = Builder::new().link().spawn(move || drop(block_on(future)));
        if let Err(error) = spawned {
            panic!("a future of hyper has no process: {error}");
        }
    }
}
