//! A node: a scheduler with processes, names and settings; several can live in one OS process.
//!
//! Pids and addresses are `Copy`, and work from any thread; so there has to be a table from a node's
//! number to the node. It is the only process-wide state of the runtime, and it only finds nodes.

use crate::{
    bound::Bounds,
    config::{Changes, Config, ConfigError, ProcessSettings},
    dead_letters::DeadLetters,
    error::{RunError, StartError},
    extension::Extensions,
    future::Timekeeper,
    names::Names,
    node_local::NodeLocals,
    pid::Pid,
    report::Reports,
};
use engset_scheduler::{Envelope, Scheduler, current};
use hashbrown::HashMap;
use std::{
    any::Any,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

/// A node, by a number that this OS process has given to it. Never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// No node has it.
    pub(crate) const NONE: NodeId = NodeId(0);

    #[inline(always)]
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// Is it a node of this OS process?
    pub(crate) fn is_here(self) -> bool {
        with_entry(self, |_| ()).is_some()
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.0)
    }
}

/// What the processes of a node share.
pub(crate) struct Inner {
    pub(crate) id: NodeId,
    /// As it was when the node started.
    pub(crate) config: Config,
    /// As it is now: files and environment may have been read anew.
    live: RwLock<Arc<Config>>,
    /// Does the live one say something of processes? Asked with each named spawn.
    configures_processes: AtomicBool,
    pub(crate) extensions: Extensions,
    pub(crate) names: Names,
    pub(crate) bounds: Bounds,
    pub(crate) node_locals: NodeLocals,
    pub(crate) reports: Reports,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) expired: AtomicUsize,
    pub(crate) timekeeper: Timekeeper,
    waiters: Mutex<HashMap<u64, Answered>>,
}

impl Inner {
    /// What the configuration says of a process.
    pub(crate) fn process_settings(&self, name: &str) -> Option<ProcessSettings> {
        self.configures_processes.load(Ordering::Acquire).then(|| self.live().process(name))
    }

    fn live(&self) -> Arc<Config> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Entry {
    id: NodeId,
    inner: Arc<Inner>,
    scheduler: Scheduler,
}

struct Table {
    last: u32,
    nodes: Vec<Entry>,
}

static NODES: RwLock<Table> = RwLock::new(Table { last: 0, nodes: Vec::new() });

fn with_entry<R>(id: NodeId, f: impl FnOnce(&Entry) -> R) -> Option<R> {
    let table = NODES.read().unwrap_or_else(PoisonError::into_inner);
    table.nodes.iter().find(|entry| entry.id == id).map(f)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number for a node that is not in this OS process (`remote`).
pub(crate) fn fresh_id() -> NodeId {
    let mut table = NODES.write().unwrap_or_else(PoisonError::into_inner);
    table.last += 1;
    NodeId(table.last)
}

/// The scheduler of a node of this OS process.
pub(crate) fn scheduler_of(id: NodeId) -> Option<Scheduler> {
    with_entry(id, |entry| entry.scheduler.clone())
}

/// The node that this thread works for.
#[inline]
pub(crate) fn with_current<R>(f: impl FnOnce(&Inner) -> R) -> Option<R> {
    current::with_hooks(|hooks| {
        let hooks: &dyn Any = &**hooks;
        hooks.downcast_ref::<Inner>().map(f)
    })
    .flatten()
}

/// A node of this OS process.
pub(crate) fn with_node<R>(id: NodeId, f: impl FnOnce(&Inner) -> R) -> Option<R> {
    if current::tag() == Some(id.0) {
        return with_current(f);
    }
    let inner = with_entry(id, |entry| Arc::clone(&entry.inner))?;
    Some(f(&inner))
}

/// A number for a caller that is no process. Workers' numbers have a worker in their top bits; this one has
/// none.
pub(crate) fn unique_outside() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Where an answer goes whose caller is no process.
#[derive(Clone)]
enum Answered {
    Thread(mpsc::Sender<Envelope>),
    Future(Arc<Slot>),
}

/// Who waits for the answer to a call, and is no process. It is entered at its node until it is dropped.
pub(crate) struct Waiter {
    node: NodeId,
    reference: u64,
}

impl Waiter {
    fn enter(node: NodeId, answered: Answered) -> Option<Self> {
        let reference = unique_outside();
        with_node(node, |inner| lock(&inner.waiters).insert(reference, answered))?;
        Some(Waiter { node, reference })
    }

    /// A thread, which waits by [`wait_on_thread`].
    pub(crate) fn thread(node: NodeId) -> Option<(Self, mpsc::Receiver<Envelope>)> {
        let (sender, answer) = mpsc::channel();
        Some((Self::enter(node, Answered::Thread(sender))?, answer))
    }

    /// A future.
    pub(crate) fn future(node: NodeId) -> Option<(Self, Arc<Slot>)> {
        let slot = Arc::new(Slot::default());
        Some((Self::enter(node, Answered::Future(Arc::clone(&slot)))?, slot))
    }

    pub(crate) fn reference(&self) -> u64 {
        self.reference
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::outside(self.node, self.reference)
    }
}

pub(crate) fn wait_on_thread(
    answer: &mpsc::Receiver<Envelope>,
    timeout: Duration,
) -> Result<Envelope, mpsc::RecvTimeoutError> {
    if timeout == Duration::MAX {
        return answer.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected);
    }
    answer.recv_timeout(timeout)
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // What is removed may hold an answer, and so a value of the user's: dropped without the lock.
        let answered = with_node(self.node, |inner| lock(&inner.waiters).remove(&self.reference));
        drop(answered);
    }
}

/// The place of an answer that a future waits for.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Answer>);

#[derive(Default)]
struct Answer {
    envelope: Option<Envelope>,
    /// The node has stopped.
    gone: bool,
    waker: Option<Waker>,
}

impl Slot {
    /// The first answer counts: behind it may come the end of the process that has given it.
    fn set(&self, envelope: Option<Envelope>) {
        let mut answer = lock(&self.0);
        let surplus = match envelope {
            None => {
                answer.gone = true;
                None
            }
            Some(envelope) if answer.envelope.is_none() => answer.envelope.replace(envelope),
            Some(envelope) => Some(envelope),
        };
        let waker = answer.waker.take();
        drop(answer);
        if let Some(envelope) = surplus {
            current::drop_outside(envelope);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The answer; `Err`: there will be none.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<Result<Envelope, ()>> {
        let mut answer = lock(&self.0);
        if let Some(envelope) = answer.envelope.take() {
            return Poll::Ready(Ok(envelope));
        }
        if answer.gone {
            return Poll::Ready(Err(()));
        }
        let former = answer.waker.replace(context.waker().clone());
        drop(answer);
        drop(former);
        Poll::Pending
    }
}

/// An answer for a caller that is no process.
pub(crate) fn answer_outside(caller: Pid, envelope: Envelope) {
    let Some(waiter) = caller.outside_waiter() else { return };
    let answered = with_node(caller.node(), |inner| lock(&inner.waiters).get(&waiter).cloned());
    match answered.flatten() {
        // The waiter may have gone meanwhile: as too late as if it had gone before.
        Some(Answered::Thread(sender)) => drop(sender.send(envelope)),
        Some(Answered::Future(slot)) => slot.set(Some(envelope)),
        None => current::drop_outside(envelope),
    }
}

/// A node of this OS process, by its number.
pub(crate) fn find(id: NodeId) -> Option<Node> {
    with_entry(id, |entry| Node { inner: Arc::clone(&entry.inner), scheduler: entry.scheduler.clone() })
}

/// A node that runs. Dropping the handle leaves it running; [`Node::stop`] ends it.
///
/// ```
/// use engset_runtime::{Config, Node};
///
/// let node = Node::start(Config::new().workers(1))?;
/// let process = node.spawn(|| engset_runtime::sleep(std::time::Duration::from_secs(60)))?;
/// assert!(node.is_alive(process));
/// assert!(node.stop());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
    pub(crate) scheduler: Scheduler,
}

impl Node {
    /// Starts a node with these settings.
    ///
    /// # Errors
    ///
    /// A setting is out of range, or the system refuses memory or threads.
    pub fn start(config: Config) -> Result<Node, StartError> {
        let mut table = NODES.write().unwrap_or_else(PoisonError::into_inner);
        let id = NodeId(table.last + 1);
        let mut settings = config.scheduler();
        settings.tag = id.0;
        let inner = Arc::new(Inner {
            id,
            names: Names::default(),
            bounds: Bounds::default(),
            node_locals: NodeLocals::default(),
            reports: Reports::new(&config),
            configures_processes: AtomicBool::new(!config.processes().is_empty()),
            live: RwLock::new(Arc::new(config.clone())),
            extensions: Extensions::default(),
            config,
            dead_letters: DeadLetters::default(),
            expired: AtomicUsize::new(0),
            timekeeper: Timekeeper::default(),
            waiters: Mutex::new(HashMap::new()),
        });
        crate::report::install_panic_hook();
        let scheduler = Scheduler::start(settings, Arc::clone(&inner) as _)?;
        table.last = id.0;
        table.nodes.push(Entry { id, inner: Arc::clone(&inner), scheduler: scheduler.clone() });
        Ok(Node { inner, scheduler })
    }

    /// The node that the calling process lives on.
    #[must_use]
    pub fn current() -> Option<Node> {
        find(with_current(|inner| inner.id)?)
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.inner.id
    }

    /// Its settings, as they were when it started.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Its settings, as they are now: with what [`Node::reload_config`] and [`Node::change_config`] have changed.
    #[must_use]
    pub fn live_config(&self) -> Arc<Config> {
        self.inner.live()
    }

    /// Reads files and environment anew. What has changed is seen by all who read [`Node::live_config`] from then on, and
    /// by processes that are started; node settings take effect with the next start only
    /// ([`Changes::need_restart`]).
    ///
    /// It blocks the thread; a process calls it by [`blocking`](crate::blocking).
    ///
    /// # Errors
    ///
    /// Something cannot be read. Then everything stays as it was.
    pub fn reload_config(&self) -> Result<Changes, ConfigError> {
        self.change_config(|config| config.reread())
    }

    /// Changes the settings of the running node, as [`Node::reload_config`] does. `change` may be called more than once, if
    /// several threads do this at the same time.
    ///
    /// # Errors
    ///
    /// Those of `change`. Then everything stays as it was.
    pub fn change_config(
        &self,
        change: impl Fn(Config) -> Result<Config, ConfigError>,
    ) -> Result<Changes, ConfigError> {
        loop {
            let before = self.inner.live();
            // Without the lock, for it is the caller's code; if somebody else was faster, once more.
            let changed = change(Config::clone(&before))?;
            let changes = changed.changes_since(&before);
            let processes = !changed.processes().is_empty();
            let changed = Arc::new(changed);
            let mut live = self.inner.live.write().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&live, &before) {
                self.inner.configures_processes.store(processes, Ordering::Release);
                *live = changed;
                return Ok(changes);
            }
        }
    }

    /// Spawns a process from any thread. See [`spawn`](crate::spawn) and [`Builder`](crate::Builder).
    ///
    /// # Errors
    ///
    /// The limit of processes is reached, or the node has stopped.
    pub fn spawn<A: 'static, E: crate::Entry<A>>(&self, entry: E) -> Result<E::Handle, crate::BuildError> {
        crate::Builder::new().spawn_on(self, entry)
    }

    /// Does the process live, as far as can be seen from outside? (An exit signal may be on its way; a
    /// process that asks by [`is_alive`](crate::is_alive) gets the ordered answer.)
    #[must_use]
    pub fn is_alive(&self, pid: impl Into<Pid>) -> bool {
        let pid = pid.into();
        pid.node() == self.inner.id && self.scheduler.is_alive(pid.task())
    }

    /// All processes that live now, roughly: others come and go meanwhile.
    #[must_use]
    pub fn processes(&self) -> Vec<Pid> {
        self.scheduler.tasks().into_iter().map(|task| Pid::new(self.inner.id, task)).collect()
    }

    /// Counters of each worker.
    #[must_use]
    pub fn metrics(&self) -> Vec<engset_scheduler::WorkerMetrics> {
        self.scheduler.metrics()
    }

    /// Requests that were not received because their callers had given up.
    #[must_use]
    pub fn expired_requests(&self) -> usize {
        self.inner.expired.load(Ordering::Relaxed)
    }

    /// Messages in a process' mailbox, as last counted; `None`: it is dead.
    #[must_use]
    pub fn mailbox_len(&self, pid: impl Into<Pid>) -> Option<u32> {
        self.scheduler.queued(pid.into().task())
    }

    /// Time since the node started; virtual in systematic mode.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        Duration::from_nanos(self.scheduler.uptime())
    }

    /// Stops the node: its [extensions](crate::Extension) are stopped, the latest first; all processes get killed
    /// (their destructors run); then the threads end. Waits for that as long as processes end; it gives up when none
    /// has for the settings' `shutdown`. True: nothing was left behind. A process in a native loop cannot be stopped; its
    /// thread is left to itself.
    ///
    /// # Panics
    ///
    /// If it is called by one of the node's own processes.
    #[must_use = "something may be left behind"]
    pub fn stop(&self) -> bool {
        assert!(!self.scheduler.is_here(), "Node::stop was called by a process of the node");
        self.stop_extensions();
        let patience = self.inner.config.get_shutdown();
        let ended = if self.inner.config.get_seed().is_some() {
            self.scheduler.stop_systematic();
            true
        } else {
            let tasks = self.scheduler.stop_tasks(patience);
            self.scheduler.halt(patience) && tasks
        };
        let mut table = NODES.write().unwrap_or_else(PoisonError::into_inner);
        table.nodes.retain(|entry| entry.id != self.inner.id);
        drop(table);
        let waiters = std::mem::take(&mut *lock(&self.inner.waiters));
        for answered in waiters.into_values() {
            if let Answered::Future(slot) = answered {
                slot.set(None);
            }
        }
        self.drop_extensions();
        ended
    }

    /// Systematic mode: runs the node on this thread until `done`, or nothing can happen any more.
    ///
    /// # Errors
    ///
    /// [`RunError::Deadlock`]: the latter.
    ///
    /// # Panics
    ///
    /// If the node is not in systematic mode.
    pub fn run_until(&self, done: impl Fn() -> bool) -> Result<(), RunError> {
        if self.scheduler.run_systematic(&done) {
            return Ok(());
        }
        Err(RunError::Deadlock(self.processes().into_iter().map(|pid| self.describe(pid)).collect()))
    }

    /// Systematic mode, for several nodes with one time: runs until nothing can happen without time passing.
    ///
    /// # Panics
    ///
    /// If the node is not in systematic mode.
    pub fn run_ready(&self) {
        self.scheduler.run_ready();
    }

    /// Systematic mode: when the next timer may fire, on the node's clock.
    #[must_use]
    pub fn next_timer(&self) -> Option<Duration> {
        self.scheduler.next_timer().map(Duration::from_nanos)
    }

    /// Systematic mode: lets the node's clock go on to this time.
    pub fn advance_to(&self, time: Duration) {
        self.scheduler.advance_to(crate::process::add(0, time));
    }

    fn describe(&self, pid: Pid) -> String {
        match self.inner.names.name_of(pid) {
            Some(name) => format!("{pid} {name}, {} messages", self.mailbox_len(pid).unwrap_or(0)),
            None => format!("{pid}, {} messages", self.mailbox_len(pid).unwrap_or(0)),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.inner.id.0)
    }
}
