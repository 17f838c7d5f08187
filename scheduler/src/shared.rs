//! What the workers of a scheduler share: its settings, the table of tasks, the workers themselves, and the ways to reach them.
//!
//! 1. A worker is never removed: who has found one by its number may keep the reference as long as this.
//! 2. Threads hold it by an [`Arc`]; workers, which are in it, by a [`SharedRef`].
//! 3. What goes to another worker goes through here: orders ([`Shared::order`]), tokens, mailbags, mail from outside.

use crate::{
    blocking::Pool,
    bundle::Bundle,
    clock::Clock,
    config::{Config, MAX_WORKERS},
    current,
    custody::barrier,
    envelope::Envelope,
    home::Home,
    inbox::Wake,
    mailbag::Mailbag,
    overflow,
    owner::WorkerId,
    remote_queue::{Link, Push},
    scheduler::{SpawnError, StartError},
    slab::Slab,
    slot::Slot,
    stack::{self, GuardMode, StackClass, StackError, StackRegion},
    stock::Stock,
    sync::{Mutex, lock},
    task::{Hooks, TaskId},
    watchdog::Watchdog,
    worker::{Control, IdleSet, Worker},
};
use std::{
    io,
    ptr::{self, NonNull},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

/// Stack of a worker thread itself, in bytes: the base loop needs little, hooks some.
const THREAD_STACK: usize = 1024 * 1024;

/// What the workers share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) systematic: bool,
    pub(crate) slab: Slab,
    pub(crate) stacks: Arc<StackRegion>,
    pub(crate) clock: Clock,
    /// When it started, by that clock.
    pub(crate) start: u64,
    /// It has been told to halt.
    pub(crate) stopped: AtomicBool,
    /// Systematic mode: time stands still ([`crate::Scheduler::run_ready`]).
    pub(crate) hold: AtomicBool,
    pub(crate) idle: IdleSet,
    pub(crate) hooks: Arc<dyn Hooks>,
    pub(crate) watchdog: Watchdog,
    pub(crate) pool: Arc<Pool>,
    pub(crate) default_class: StackClass,
    /// See [`Home::first`].
    pub(crate) first_home: usize,
    pub(crate) mailbags: Stock<Mailbag>,
    pub(crate) bundles: Stock<Bundle>,
    /// Worker `n` is at `n - 1`.
    workers: Box<[OnceLock<Box<Worker>>]>,
    count: AtomicUsize,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A worker's way back to the `Shared` that owns it.
#[derive(Clone, Copy)]
pub(crate) struct SharedRef(NonNull<Shared>);

// SAFETY: a reference to something that is `Sync`.
unsafe impl Send for SharedRef {}
// SAFETY: as above.
unsafe impl Sync for SharedRef {}

impl std::ops::Deref for SharedRef {
    type Target = Shared;

    #[inline(always)]
    fn deref(&self) -> &Shared {
        // SAFETY: only workers have one, and a worker is reached through its `Shared` only, by somebody who
        // keeps that alive: a `Scheduler`, or the worker's thread, which holds one.
        unsafe { self.0.as_ref() }
    }
}

impl Shared {
    /// Of settings that [`crate::Scheduler::start`] has looked at. It has no workers yet.
    pub(crate) fn new(config: Config, hooks: Arc<dyn Hooks>) -> Result<Arc<Self>, StartError> {
        let default_class = stack::class_for(config.stack_size).map_err(|_| StartError::Setting {
            name: "stack_size",
            value: config.stack_size,
            allowed: "more than 0 and at most 64 MiB",
        })?;
        barrier::init();
        overflow::install();
        overflow::set_describe(current::describe);
        let systematic = config.seed.is_some() || config.script.is_some();
        let stacks = |error: StackError| StartError::Stacks(error.to_string());
        let clock = if systematic { Clock::simulated() } else { Clock::real() };
        Ok(Arc::new(Shared {
            systematic,
            slab: Slab::new(config.max_tasks)?,
            stacks: StackRegion::new(config.max_tasks as usize, GuardMode::detect()).map_err(stacks)?,
            start: clock.now(),
            stopped: AtomicBool::new(false),
            hold: AtomicBool::new(false),
            clock,
            idle: IdleSet::default(),
            hooks,
            watchdog: Watchdog::default(),
            pool: Pool::new(config.blocking_threads, config.blocking_keep, config.name.clone()),
            default_class,
            first_home: Home::first(),
            mailbags: Stock::new(),
            bundles: Stock::new(),
            workers: (0..MAX_WORKERS).map(|_| OnceLock::new()).collect(),
            count: AtomicUsize::new(0),
            threads: Mutex::new(Vec::new()),
            config,
        }))
    }

    pub(crate) fn worker_count(&self) -> usize {
        // Acquire: pairs with the release in `new_worker`: the entry is there.
        self.count.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn worker(&self, id: WorkerId) -> Option<&Worker> {
        Some(self.workers.get((id as usize).checked_sub(1)?)?.get()?)
    }

    pub(crate) fn new_worker(self: &Arc<Self>) -> Option<WorkerId> {
        // The lock makes the creators take turns.
        let _turn = lock(&self.threads);
        let at = self.count.load(Ordering::Relaxed);
        let id = at as WorkerId + 1;
        let worker = Worker::new(id, SharedRef(NonNull::from(&**self)));
        self.workers.get(at)?.set(Box::new(worker)).ok()?;
        // Release: pairs with the acquire in `worker_count`.
        self.count.store(at + 1, Ordering::Release);
        Some(id)
    }

    pub(crate) fn start_worker(self: &Arc<Self>) -> io::Result<WorkerId> {
        let Some(id) = self.new_worker() else { return Err(io::Error::other("too many workers")) };
        let shared = Arc::clone(self);
        let name = format!("{}-worker-{id}", self.config.name);
        let handle = thread::Builder::new().name(name).stack_size(THREAD_STACK).spawn(move || {
            // Without one an overflow would be a plain crash; the program can live with that.
            let _alternate = overflow::AltStack::install();
            if let Some(worker) = shared.worker(id) {
                current::run_as(worker, || worker.run());
            }
        })?;
        lock(&self.threads).push(handle);
        Ok(id)
    }

    /// One more worker, in place of a stuck one.
    pub(crate) fn add_spare(self: &Arc<Self>) -> Option<WorkerId> {
        if self.worker_count() >= self.config.workers + self.config.max_spares {
            return None;
        }
        self.start_worker().ok()
    }

    /// Spreads spawns from outside.
    pub(crate) fn some_worker(&self) -> WorkerId {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        (NEXT.fetch_add(1, Ordering::Relaxed) % self.config.workers) as WorkerId + 1
    }

    /// The worker with the most free slots to give, by its own count of ends against spawns.
    pub(crate) fn richest_worker(&self, except: WorkerId) -> Option<WorkerId> {
        (1..=self.worker_count() as WorkerId)
            .filter(|id| *id != except)
            .filter_map(|id| {
                let worker = self.worker(id)?;
                let surplus = worker.metrics.ended.get().checked_sub(worker.metrics.spawned.get())?;
                Some((surplus, id))
            })
            .filter(|(surplus, _)| *surplus >= 4096)
            .max()
            .map(|(_, id)| id)
    }

    pub(crate) fn class_of(&self, stack_size: Option<usize>) -> Result<StackClass, SpawnError> {
        match stack_size {
            None => Ok(self.default_class),
            Some(asked) => stack::class_for(asked)
                .map_err(|error| SpawnError::Stack { asked, reason: error.to_string() }),
        }
    }

    /// Sends an order.
    pub(crate) fn order(&self, to: WorkerId, control: Control) {
        let Some(worker) = self.worker(to) else { return };
        let link = Envelope::signal(control).into_link().as_ptr();
        // SAFETY: a run of one, ours; the worker's control slot lives as long as the worker, which takes
        // all orders before it ends or drops them with its slot.
        if unsafe { worker.control.remote.push(link, link) } == Push::Notify {
            self.push_token(worker, worker.token_of_control());
        }
    }

    /// The push to a slot's remote queue has asked for it: tells the owner.
    pub(crate) fn notify(&self, slot: &Slot) {
        self.pass_token(slot, slot.owner.id());
    }

    /// Puts a slot's token, which the caller holds, into a worker's inbox.
    pub(crate) fn pass_token(&self, slot: &Slot, to: WorkerId) {
        if let Some(worker) = self.worker(to) {
            self.push_token(worker, slot.token());
        }
    }

    fn push_token(&self, worker: &Worker, token: *mut Link) {
        // SAFETY: the caller holds the token; slots stay mapped.
        if unsafe { worker.public.inbox.push(token) } == Wake::Unpark {
            worker.unpark();
        }
    }

    /// Puts a mailbag into a worker's inbox.
    pub(crate) fn push_mail(&self, marked: *mut Link, link: *mut Link, to: WorkerId) {
        let Some(worker) = self.worker(to) else { return };
        // SAFETY: `Mailbag::into_link` made them of a mailbag that is the inbox' now.
        if unsafe { worker.public.inbox.push_run(marked, link) } == Wake::Unpark {
            worker.unpark();
        }
    }

    /// Sends; the caller is no worker of this scheduler. A rescuer may be, in effect (`driver.rs`, rule 3).
    pub(crate) fn send_from_outside(&self, to: TaskId, mut envelope: Envelope) -> Result<(), Envelope> {
        if let Some(worker) = current::stands_in_for()
            && ptr::eq(&raw const *worker.shared, self)
        {
            return worker.send(to, envelope);
        }
        let Some(slot) = self.slab.get(to.index()) else { return Err(envelope) };
        if slot.serial() != to.serial() {
            return Err(envelope);
        }
        envelope.address(to.serial());
        let link = envelope.into_link().as_ptr();
        // SAFETY: a run of one, ours; slots stay mapped.
        if unsafe { slot.remote.push(link, link) } == Push::Notify {
            self.notify(slot);
        }
        Ok(())
    }
}
