//! Pools: workers that do the same, supervised, behind a router.
//!
//! 1. A worker that ends is started again, by a [`DynamicSupervisor`]. Its calls fail with `Down`; other messages in its mailbox
//!    are lost with it. While it is being started, the router leaves it out, and its keys go to others.
//! 2. The router is updated by the worker's own end (before anybody is told of it, semantics row S2) and start: no
//!    process stands between who sends and who works.
//! 3. A pool that [resizes](PoolBuilder::resize) looks at its workers' mailboxes now and then. It grows by a fifth while more messages
//!    wait than the pressure allows; it shrinks by one when nothing has waited for a while.
//! 4. A worker that is to go is taken out of the router first, and stopped when its mailbox is empty and it waits. (A sender
//!    that chose it before, and was interrupted since, may still come too late; a call then fails with `Down`.)
//! 5. More crashes than the [intensity](PoolBuilder::intensity) allows end the pool, and all its workers.

use crate::{
    ChildError, ChildSpec, Context, DynamicSupervisor, GenServer, IntoServer, Next, Router, Routing,
    StartError, router::Members, start,
};
use engset_runtime::{
    Activity, Address, CallError, Event, ExitReason, Node, Pid, Reply, exit, hold, mailbox_len, now,
    process_info, send_after,
};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How often a pool that resizes looks. Akka: every tenth message; here it is not the messages that count.
const PERIOD: Duration = Duration::from_millis(100);

/// A pool that runs. Cheap to clone. See the [module](self).
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::Reply;
/// use engset_stdlib::{Next, Pool, from_fn};
///
/// let squares = || from_fn((), |(), (number, reply): (u64, Reply<u64>), _| { reply.send(number * number); Next::wait() });
/// let pool = Pool::builder(4, squares).start_link()?;
/// assert_eq!(pool.router().call(|reply| (7, reply)), Ok(49));
/// assert_eq!(pool.router().len(), 4);
/// # Ok::<(), engset_stdlib::StartError>(())
/// # }).unwrap().unwrap();
/// ```
pub struct Pool<M> {
    server: Address<Request>,
    router: Router<M>,
}

type Make<M> = Arc<dyn Fn() -> Result<Address<M>, StartError> + Send + Sync>;

/// A pool that is to be started. Cheap to clone.
#[must_use = "it does nothing until it starts"]
pub struct PoolBuilder<M> {
    size: usize,
    configured_as: Option<Arc<str>>,
    make: Make<M>,
    resize: Option<Resize>,
    most: usize,
    period: Duration,
    router: Router<M>,
    workers: Arc<Workers<M>>,
}

#[derive(Clone, Copy, Debug)]
struct Resize {
    min: usize,
    max: usize,
    pressure: u32,
    idle: Duration,
}

/// What is known of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolInfo {
    /// Workers that there shall be.
    pub size: usize,
    /// Workers that were taken out of the router, and are not done yet.
    pub retiring: usize,
    /// Messages that wait at the workers, as last counted.
    pub waiting: u64,
}

/// What the workers' starts share with the pool's server.
struct Workers<M> {
    members: Arc<Members<M>>,
    /// The identities of those that there shall be.
    wanted: Mutex<BTreeSet<u64>>,
}

impl<M: Send + 'static> Workers<M> {
    fn wanted(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn started(&self, identity: u64, address: Address<M>) {
        // It may have been retired while it was down.
        if self.wanted().contains(&identity) {
            self.members.set(identity, address);
            // If it is dead already it is taken out at once.
            hold(address, Arc::clone(&self.members) as _);
        }
    }

    fn retire(&self) -> bool {
        let last = self.wanted().pop_last();
        if let Some(identity) = last {
            self.members.remove(identity);
        }
        last.is_some()
    }
}

impl<M: Send + 'static> PoolBuilder<M> {
    /// It has `min` to `max` workers. It grows while more than `pressure` messages wait for each worker, on average; it shrinks when
    /// no message has waited for `idle`. The size that it was made with is the first one, if it is in the range.
    pub fn resize(mut self, min: usize, max: usize, pressure: u32, idle: Duration) -> Self {
        let max = max.max(1);
        self.resize = Some(Resize { min: min.clamp(1, max), max, pressure, idle });
        self
    }

    /// Workers are restarted at most `most` times within `period`; one more, and the pool ends, with reason `Shutdown`.
    /// Default: once in 5 seconds, as any supervisor.
    pub fn intensity(mut self, most: usize, period: Duration) -> Self {
        self.most = most;
        self.period = period;
        self
    }

    /// How the pool's router chooses. Default: in turn.
    pub fn routing(mut self, routing: Routing) -> Self {
        self.router = self.router.routing(routing);
        self
    }

    /// If the node's configuration gives the process of this name a `pool_size`, the pool starts with so many workers.
    /// As a [`child`](PoolBuilder::child) it asks for its id, unless this says otherwise.
    pub fn configured_as(mut self, name: impl Into<Arc<str>>) -> Self {
        self.configured_as = Some(name.into());
        self
    }

    /// The pool's router. It is there before the pool, and leads to whatever workers there are: also when a supervisor
    /// has started the pool again.
    #[must_use]
    pub fn router(&self) -> Router<M> {
        self.router.clone()
    }

    /// As a child of a supervisor.
    pub fn child(self, id: impl Into<Arc<str>>) -> ChildSpec {
        let id = id.into();
        let mut pool = self;
        pool.configured_as.get_or_insert_with(|| Arc::clone(&id));
        ChildSpec::new(id, move || Ok(pool.clone().start_link()?.pid())).as_supervisor()
    }

    /// Starts it with its workers, linked with this process.
    ///
    /// # Errors
    ///
    /// A worker does not start; or see [`StartError`].
    pub fn start_link(self) -> Result<Pool<M>, StartError> {
        let router = self.router.clone();
        let keeper = Keeper { builder: self, supervisor: None, next: 0, idle_since: Duration::ZERO };
        let server = keeper.options().trap_exits().start_link()?;
        Ok(Pool { server, router })
    }
}

impl<M: Send + 'static> Pool<M> {
    /// A pool of `size` workers (at least one), each a server that `make` makes.
    pub fn builder<S>(size: usize, make: impl Fn() -> S + Send + Sync + 'static) -> PoolBuilder<M>
    where
        S: IntoServer,
        S::Server: GenServer<Message = M>,
    {
        let members = Arc::new(Members::of(&[]));
        PoolBuilder {
            size: size.max(1),
            configured_as: None,
            make: Arc::new(move || make().into_builder().start_link()),
            resize: None,
            most: 1,
            period: Duration::from_secs(5),
            router: Router::over(Arc::clone(&members), Routing::default()),
            workers: Arc::new(Workers { members, wanted: Mutex::default() }),
        }
    }

    /// The way to its workers.
    #[must_use]
    pub fn router(&self) -> &Router<M> {
        &self.router
    }

    /// Its process: a supervisor of its workers.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.server.pid()
    }

    /// How large it is.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub fn info(&self) -> Result<PoolInfo, CallError> {
        self.server.call(Request::Info)
    }
}

enum Request {
    Look,
    Info(Reply<PoolInfo>),
}

/// The pool's server.
struct Keeper<M> {
    builder: PoolBuilder<M>,
    supervisor: Option<DynamicSupervisor>,
    /// The identity of the next worker.
    next: u64,
    idle_since: Duration,
}

impl<M: Send + 'static> Keeper<M> {
    fn add(&mut self, supervisor: DynamicSupervisor) -> Result<(), ChildError> {
        let identity = self.next;
        self.next += 1;
        let (workers, make) = (Arc::clone(&self.builder.workers), Arc::clone(&self.builder.make));
        workers.wanted().insert(identity);
        let start = move || {
            let address = make()?;
            workers.started(identity, address);
            Ok(address.pid())
        };
        let started = supervisor.start_child(ChildSpec::new(format!("worker {identity}"), start));
        if started.is_err() {
            self.builder.workers.wanted().remove(&identity);
        }
        started.map(drop)
    }

    fn size(&self) -> usize {
        self.builder.workers.wanted().len()
    }

    fn waiting(&self) -> u64 {
        self.builder.workers.members.addresses().iter().map(|worker| u64::from(mailbox_len(*worker))).sum()
    }

    /// Those that run, and are in no router any more.
    fn retiring(&self) -> Vec<Pid> {
        let Some(Ok(children)) = self.supervisor.map(DynamicSupervisor::children) else { return Vec::new() };
        let wanted: Vec<Pid> = self.builder.workers.members.addresses().iter().map(|it| it.pid()).collect();
        children.into_iter().filter(|child| !wanted.contains(child)).collect()
    }

    /// Rules 3 and 4.
    fn look(&mut self, supervisor: DynamicSupervisor, resize: Resize) {
        for pid in self.retiring() {
            let is_done = |pid| {
                process_info(pid).is_some_and(|info| info.activity == Activity::Idle && info.mailbox_len == 0)
            };
            if is_done(pid) {
                // It may have ended meanwhile.
                let _ = supervisor.terminate_child(pid);
            }
        }
        let (size, waiting) = (self.size(), self.waiting());
        if waiting > u64::from(resize.pressure) * size as u64 {
            let more = (size / 5).max(1).min(resize.max.saturating_sub(size));
            for _ in 0..more {
                // One that does not start is tried again the next time.
                if self.add(supervisor).is_err() {
                    break;
                }
            }
        }
        if waiting > 0 {
            self.idle_since = now();
        } else if now().saturating_sub(self.idle_since) >= resize.idle && size > resize.min {
            self.builder.workers.retire();
            self.idle_since = now();
        }
    }
}

impl<M: Send + 'static> GenServer for Keeper<M> {
    type Message = Request;

    fn init(&mut self, context: &mut Context<Request>) -> Result<Next, ExitReason> {
        // After a restart of the pool.
        self.builder.workers.wanted().clear();
        let builder = DynamicSupervisor::builder().intensity(self.builder.most, self.builder.period);
        let supervisor = builder.start_link().map_err(|error| error.as_exit())?;
        self.supervisor = Some(supervisor);
        let size = match self.builder.resize {
            Some(resize) => self.builder.first_size().clamp(resize.min, resize.max),
            None => self.builder.first_size(),
        };
        for _ in 0..size {
            if let Err(error) = self.add(supervisor) {
                self.terminate(&ExitReason::Shutdown, context);
                return Err(match error {
                    ChildError::Start(error) => error.as_exit(),
                    other => ExitReason::error(other.to_string()),
                });
            }
        }
        self.idle_since = now();
        if self.builder.resize.is_some() {
            send_after(PERIOD, context.address(), Request::Look);
        }
        Ok(Next::wait())
    }

    fn handle(&mut self, request: Request, context: &mut Context<Request>) -> Next {
        match request {
            Request::Info(reply) => reply.send(PoolInfo {
                size: self.size(),
                retiring: self.retiring().len(),
                waiting: self.waiting(),
            }),
            Request::Look => {
                if let (Some(supervisor), Some(resize)) = (self.supervisor, self.builder.resize) {
                    self.look(supervisor, resize);
                }
                send_after(PERIOD, context.address(), Request::Look);
            }
        }
        Next::wait()
    }

    fn event(&mut self, event: Event, _: &mut Context<Request>) -> Next {
        match event {
            // Rule 5.
            Event::Exit(exit) if Some(exit.from) == self.supervisor.map(DynamicSupervisor::pid) => {
                Next::stop_with(exit.reason)
            }
            _ => Next::wait(),
        }
    }

    fn terminate(&mut self, _: &ExitReason, _: &mut Context<Request>) {
        if let Some(supervisor) = self.supervisor.take() {
            exit(supervisor, ExitReason::Shutdown);
            // It ends: its workers are killed if they take too long.
            start::wait_for_death(supervisor.pid(), Duration::MAX);
        }
    }
}

impl<M> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Pool { server: self.server, router: self.router.clone() }
    }
}

impl<M> PoolBuilder<M> {
    /// Of the configuration, or of the program.
    fn first_size(&self) -> usize {
        let configured = self
            .configured_as
            .as_deref()
            .and_then(|name| Node::current().and_then(|node| node.live_config().process(name).pool_size()));
        configured.unwrap_or(self.size).max(1)
    }
}

impl<M> Clone for PoolBuilder<M> {
    fn clone(&self) -> Self {
        PoolBuilder {
            size: self.size,
            configured_as: self.configured_as.clone(),
            make: Arc::clone(&self.make),
            resize: self.resize,
            most: self.most,
            period: self.period,
            router: self.router.clone(),
            workers: Arc::clone(&self.workers),
        }
    }
}

impl<M> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool{}", self.server.pid())
    }
}

impl<M> fmt::Debug for PoolBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("size", &self.size)
            .field("resize", &self.resize)
            .finish_non_exhaustive()
    }
}
