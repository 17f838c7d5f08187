//! A server that runs: its connections, and its end.
//!
//! One lock guards the table of connections. It is held for a few instructions, in an uninterrupted piece where a process takes it.

use crate::poller::lock;
use engset_runtime::{Pid, Resource, future, kill, uninterrupted};
use std::{
    collections::HashMap,
    fmt,
    future::poll_fn,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

/// What the processes of a server share.
#[derive(Default)]
pub(super) struct Shared {
    /// No new connections; those that there are end after the request under way.
    draining: AtomicBool,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    connections: HashMap<u64, Connection>,
    last: u64,
    acceptor: Option<Waker>,
    /// The acceptor waits for room.
    full: bool,
    /// Callers of `shutdown`.
    waiting: Vec<Waker>,
    /// The acceptor has ended.
    closed: bool,
}

#[derive(Default)]
struct Connection {
    process: Option<Pid>,
    waker: Option<Waker>,
}

impl Shared {
    fn with<R>(&self, f: impl FnOnce(&mut Table) -> R) -> R {
        uninterrupted(|| f(&mut lock(&self.table)))
    }

    pub(super) fn is_draining(&self) -> bool {
        // Relaxed: who sets it wakes everybody after that, by way of the lock.
        self.draining.load(Ordering::Relaxed)
    }

    /// Ready when the server is to drain; else the connection is woken then.
    pub(super) fn poll_draining(&self, id: u64, context: &Context<'_>) -> bool {
        self.with(|table| {
            if let Some(connection) = table.connections.get_mut(&id) {
                connection.waker = Some(context.waker().clone());
            }
        });
        self.is_draining()
    }

    /// Is there room for another connection? In any case the acceptor is woken by a drain; if not, by the end of a connection.
    pub(super) fn poll_room(&self, most: usize, context: &Context<'_>) -> bool {
        self.with(|table| {
            table.full = table.connections.len() >= most;
            table.acceptor = Some(context.waker().clone());
            !table.full
        })
    }

    pub(super) fn enter(self: &Arc<Self>) -> Guest {
        let id = self.with(|table| {
            table.last += 1;
            table.connections.insert(table.last, Connection::default());
            table.last
        });
        Guest { shared: Arc::clone(self), id }
    }

    pub(super) fn set_process(&self, id: u64, process: Pid) {
        self.with(|table| {
            if let Some(connection) = table.connections.get_mut(&id) {
                connection.process = Some(process);
            }
        });
    }

    fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        let wakers = self.with(|table| {
            let connections = table.connections.values_mut().filter_map(|connection| connection.waker.take());
            connections.chain(table.acceptor.take()).collect::<Vec<_>>()
        });
        wakers.into_iter().for_each(Waker::wake);
    }

    fn poll_ended(&self, context: &Context<'_>) -> Poll<()> {
        self.with(|table| {
            if table.closed && table.connections.is_empty() {
                return Poll::Ready(());
            }
            if !table.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                table.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
    }

    fn kill_connections(&self) {
        let processes: Vec<_> =
            self.with(|table| table.connections.values().filter_map(|one| one.process).collect());
        processes.into_iter().for_each(kill);
    }

    fn tell(&self, change: impl FnOnce(&mut Table)) {
        let (acceptor, waiting) = self.with(|table| {
            change(table);
            let ended = table.closed && table.connections.is_empty();
            let waiting = if ended { std::mem::take(&mut table.waiting) } else { Vec::new() };
            (if table.full { table.acceptor.take() } else { None }, waiting)
        });
        acceptor.into_iter().chain(waiting).for_each(Waker::wake);
    }
}

/// A connection's place in the table.
pub(super) struct Guest {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u64,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.shared.tell(|table| drop(table.connections.remove(&self.id)));
    }
}

/// For the process that accepts: what happens when it has ended.
pub(super) struct Closing(pub(super) Arc<Shared>);

impl Resource for Closing {
    fn release(&self, _owner: Pid) {
        self.0.tell(|table| table.closed = true);
        // After a drain that was not waited for they end by themselves.
        if !self.0.is_draining() {
            self.0.kill_connections();
        }
    }
}

/// A server that runs. Dropping the handle leaves it running.
#[derive(Clone)]
pub struct Serving {
    pub(super) process: Pid,
    pub(super) address: Option<SocketAddr>,
    pub(super) shared: Arc<Shared>,
}

impl Serving {
    /// The process that accepts connections. If it is ended by an exit signal, all connections are.
    #[must_use]
    pub fn process(&self) -> Pid {
        self.process
    }

    /// Where it listens; `None`: the system does not say.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Connections that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.with(|table| table.connections.len())
    }

    /// Ends it in good order: no new connections; idle ones are closed; requests under way are answered, and
    /// their connections closed after that. What is left after `grace` is killed. True: nothing was.
    ///
    /// # Signals
    ///
    /// If an exit signal ends the caller, its stack unwinds from here; the server goes on draining, without the limit.
    ///
    /// # Panics
    ///
    /// Outside of a process.
    pub fn shutdown(&self, grace: Duration) -> bool {
        self.shared.drain();
        let ended = poll_fn(|context| self.shared.poll_ended(context));
        if engset_runtime::block_on(future::timeout(grace, ended)).is_ok() {
            return true;
        }
        self.shared.kill_connections();
        kill(self.process);
        engset_runtime::block_on(poll_fn(|context| self.shared.poll_ended(context)));
        false
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving")
            .field("process", &self.process)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
