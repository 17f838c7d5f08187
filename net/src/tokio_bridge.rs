//! A bridge to tokio: for libraries whose futures need a tokio runtime (database drivers, HTTP clients, gRPC).
//!
//! Feature `tokio`.
//!
//! A [`Bridge`] has a tokio runtime on threads of its own, beside the workers. A process gives it a future and waits for the result; its
//! worker does something else.
//!
//! * The process is killed while it waits: the task is aborted at its next `.await`.
//! * The task panics: the process gets an error with the text, and decides.
//! * The bridge is dropped (all clones of it): its runtime is shut down in the background; tasks that run are dropped.
//!
//! In the other direction, tokio tasks talk to processes by [`Address::call_async`](engset_runtime::Address::call_async),
//! [`Address::send`](engset_runtime::Address::send) and [`Inbox`](engset_runtime::Inbox).
//!
//! ```
//! # engset_runtime::run(|| {
//! use engset_net::tokio_bridge::Bridge;
//! use std::time::Duration;
//!
//! let bridge = Bridge::new().unwrap();
//! let answer = bridge.run(async {
//!     tokio::time::sleep(Duration::from_millis(1)).await;
//!     6 * 7
//! });
//! assert_eq!(answer.unwrap(), 42);
//! # }).unwrap();
//! ```

use engset_runtime::block_on;
use std::{
    any::Any,
    error::Error,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::{JoinError, JoinHandle},
};

/// A tokio runtime beside the workers. Cheap to clone: clones share the runtime.
#[derive(Clone, Debug)]
pub struct Bridge {
    handle: Handle,
    /// `None`: it is somebody else's.
    _own: Option<Arc<Own>>,
}

#[derive(Debug)]
struct Own(Option<Runtime>);

impl Drop for Own {
    fn drop(&mut self) {
        // In the background: a process must not wait for its threads in a destructor.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Bridge {
    /// A runtime with one thread: enough for tasks that wait for most of their time.
    ///
    /// # Errors
    ///
    /// The system refuses a thread or a descriptor.
    pub fn new() -> io::Result<Self> {
        Self::with_threads(1)
    }

    /// A runtime with that many threads; 0 counts as 1.
    ///
    /// # Errors
    ///
    /// As [`Bridge::new`].
    pub fn with_threads(threads: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("engset-tokio")
            .enable_all()
            .build()?;
        Ok(Bridge { handle: runtime.handle().clone(), _own: Some(Arc::new(Own(Some(runtime)))) })
    }

    /// A bridge to a runtime that is there already, and stays when the bridge is dropped.
    #[must_use]
    pub fn to(handle: Handle) -> Self {
        Bridge { handle, _own: None }
    }

    /// The runtime.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs a future there, and waits for its result.
    ///
    /// # Errors
    ///
    /// It has panicked, or the runtime has shut down.
    ///
    /// # Signals
    ///
    /// If an exit signal ends the process, its stack unwinds from here, and the task is aborted.
    pub fn run<F>(&self, future: F) -> Result<F::Output, BridgeError>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        block_on(self.spawn(future))
    }

    /// The same, but after `limit` the task is aborted.
    ///
    /// # Errors
    ///
    /// As [`Bridge::run`], and [`BridgeError::TimedOut`].
    ///
    /// # Signals
    ///
    /// As there.
    pub fn run_timeout<F>(&self, limit: Duration, future: F) -> Result<F::Output, BridgeError>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let limited = async move { tokio::time::timeout(limit, future).await };
        self.run(limited)?.map_err(|_| BridgeError::TimedOut(limit))
    }

    /// Starts a future there. What is returned is a future too, for [`block_on`] or any executor; if it is dropped the
    /// task is aborted.
    pub fn spawn<F>(&self, future: F) -> BridgeTask<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        BridgeTask(self.handle.spawn(future))
    }
}

/// A task on the other side. See [`Bridge::spawn`].
#[derive(Debug)]
#[must_use = "the task is aborted if this is dropped"]
pub struct BridgeTask<T>(JoinHandle<T>);

impl<T> Future for BridgeTask<T> {
    type Output = Result<T, BridgeError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(Pin::new(&mut self.get_mut().0).poll(context));
        Poll::Ready(result.map_err(BridgeError::from))
    }
}

impl<T> Drop for BridgeTask<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why a future has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BridgeError {
    /// It has panicked, with this text.
    Panicked(String),
    /// It was dropped: the runtime has shut down, or somebody has aborted it.
    Cancelled,
    /// It was not ready in time.
    TimedOut(Duration),
}

impl From<JoinError> for BridgeError {
    fn from(error: JoinError) -> Self {
        match error.try_into_panic() {
            Ok(payload) => BridgeError::Panicked(text(&*payload)),
            Err(_) => BridgeError::Cancelled,
        }
    }
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&'static str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

impl fmt::Display for BridgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BridgeError::Panicked(text) => write!(f, "the task has panicked: {text}"),
            BridgeError::Cancelled => f.write_str("the task was cancelled, or its runtime has shut down"),
            BridgeError::TimedOut(limit) => write!(f, "the task was not ready within {limit:?}"),
        }
    }
}

impl Error for BridgeError {}
