//! A worker: one thread, its tasks, and the loop that runs them.
//!
//! | file | idea |
//! |---|---|
//! | `mod.rs` | what a worker is, and what all the others here use |
//! | `run.rs` | the loop: find a task, run it, see what became of it |
//! | `deliver.rs` | an envelope's way into the private lists |
//! | `outbox.rs`, `arrivals.rs` | what is held back for tasks of other workers; what has come from them |
//! | `rooms.rs` | room in bounded mailboxes that is held while a slice lasts |
//! | `wait.rs` | what a running task does to wait, and how it comes back |
//! | `idle.rs` | nothing to run: spin, then sleep; in systematic mode, let time pass |
//! | `stacks.rs` | free carriers: taking, keeping, ending them |
//! | `timers.rs` | the worker's wheel |
//! | `balance.rs` | giving tasks to idle workers |
//! | `control.rs` | orders from outside |
//!
//! 1. Fields in [`Own`] and `Cell` are private: touched in a section of this worker's [`Custody`] by its
//!    thread, or by a rescuer with custody. All methods here are called so, unless they say otherwise.
//! 2. Code of users (steps, destructors) runs outside a section: [`Worker::outside`].
//! 3. The base loop ([`Worker::run`]) runs on the thread's own stack. It resumes carriers; a carrier runs
//!    tasks ([`Worker::carry`]) and comes back when a task keeps it, or when it has nothing to run
//!    that does without a stack of its own.
//! 4. `current` is the task whose slice it is. `subject` is set while the worker handles signals: hooks are
//!    called for it, and else for the current task.

mod arrivals;
mod balance;
mod control;
mod deliver;
mod idle;
mod outbox;
mod rooms;
mod run;
mod stacks;
mod timers;
mod wait;

pub(crate) use balance::IdleSet;
pub(crate) use control::{Control, Seed, TimerAnswer};
pub use rooms::Lender;
pub use timers::TimerHandle;
pub use wait::Wake;
pub(crate) use wait::{Uninterrupted, may_wait};

use crate::{
    carrier::{Carrier, CarrierBox},
    choice::Scripted,
    clock::Random,
    config::Config,
    custody::Custody,
    depot::{self, Cache},
    driver::Poller,
    envelope::Envelope,
    flushing::Flushing,
    home::Home,
    inbox::Inbox,
    metrics::Metrics,
    own::Own,
    owner::{Whose, WorkerId},
    parker::Parker,
    remote_queue::Link,
    run_queue::RunQueue,
    shared::SharedRef,
    slot::{CROWD, Private, Slot, State},
    stack::Stack,
    stopwatch::{self, Stopwatch},
    task::{Seen, TaskId},
    thread_clock::ThreadClock,
    timer_wheel::{TimerKey, TimerWheel},
};
use crossbeam_utils::CachePadded;
use std::{
    cell::Cell,
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::{self, NonNull},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering},
    },
};
use timers::Timed;

/// What others touch, on lines of their own.
#[derive(Debug)]
pub(crate) struct Public {
    pub(crate) inbox: Inbox,
    pub(crate) parker: Parker,
    /// The watchdog sets it each tick, so that the clock is looked at even if slices are few and long.
    pub(crate) tick: AtomicBool,
    /// Length of the run queue as of the last look: a hint to others (`balance.rs`).
    pub(crate) load: AtomicU32,
}

/// See the head of this file.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) shared: SharedRef,
    /// `config.tag`, at hand.
    pub(crate) tag: u32,
    /// There is something for `attend`: orders that were deferred, mail for dead tasks, a successor, or the systematic mode.
    attention: Cell<bool>,
    /// `config.queue_alarm`, at hand; the greatest number for never.
    alarm: u32,
    /// `config.slice`, at hand.
    slice: i32,
    /// `config.observed`, at hand.
    pub(crate) observed: bool,
    pub(crate) public: CachePadded<Public>,
    /// Not there: it would travel with each push to the inbox.
    pub(crate) flushing: CachePadded<Flushing>,
    /// Orders from outside come as envelopes to this slot, by token like all mail.
    pub(crate) control: Slot,
    /// What is left of the slice. The watchdog may write -1; the worker's own load, subtraction and
    /// store may then undo it, and the watchdog comes again.
    pub(crate) reductions: AtomicI32,
    /// Counts slices; the watchdog compares.
    pub(crate) slices: AtomicU32,
    pub(crate) custody: Custody,
    pub(crate) cells: Cache,
    pub(crate) wide_cells: Cache,
    pub(crate) metrics: Metrics,
    pub(crate) thread: ThreadClock,
    home: Home,
    /// When it was idle last, and how long it had been busy when it was.
    woke: Cell<u64>,
    busy_for: Cell<u64>,
    current: Cell<*const Slot>,
    subject: Cell<*const Slot>,
    carrier: Cell<*const Carrier>,
    /// The carrier's way to tell the base loop what it comes back with.
    parting: Cell<Parting>,
    queue: Own<RunQueue>,
    wheel: Own<TimerWheel<Timed>>,
    /// Repeated timers: the key that the user has, and the key in the wheel now.
    series: Own<HashMap<TimerKey, TimerKey>>,
    /// Timers that were swept; to be dropped outside of a section.
    trash: Own<Vec<Timed>>,
    /// Orders that a rescuer could not carry out.
    orders: Own<Vec<Control>>,
    free_slots: Own<Vec<u32>>,
    free_carriers: Own<VecDeque<CarrierBox>>,
    /// When some of them go back, though it is busy; the greatest number for never.
    trim_at: Cell<u64>,
    /// Stacks of the default class that were taken from the region in a batch and not used yet.
    stacks: Own<Vec<Stack>>,
    /// How many are taken next.
    stack_batch: Cell<usize>,
    outbox: Own<outbox::Outbox>,
    arrivals: Own<arrivals::Arrivals>,
    /// Since it was cleared last, tasks of others have become ours.
    adopted: Cell<bool>,
    /// Orders, and mail for dead tasks, wait (`arrivals.rs`, rule 2).
    only_mail: Cell<bool>,
    rooms: Own<rooms::Rooms>,
    /// There may be something in it to give back.
    rooms_open: Cell<bool>,
    /// Clock as last read, and how long ago that was.
    now: Cell<u64>,
    stopwatch: Stopwatch,
    turn: Cell<u32>,
    halt: Cell<bool>,
    /// A carrier goes back to the base loop: to halt, to look at the poller, or to give carriers back.
    pub(crate) base_wanted: Cell<bool>,
    /// A rescuer has custody.
    pub(crate) rescued: Cell<bool>,
    /// A spare that is not needed any more gives its tasks to this worker; 0: it is needed.
    pub(crate) retire_to: Cell<WorkerId>,
    stopping: Cell<bool>,
    balance: balance::Balance,
    /// Reductions of a slice, on average.
    usage: Cell<i32>,
    /// The last unique number given out.
    counter: Cell<u64>,
    slots_asked: Cell<bool>,
    /// Changed in sections only.
    pub(crate) uninterrupted: Cell<Uninterrupted>,
    /// What it waits in, from the first time that a task here waits for something outside (`driver.rs`).
    pub(crate) poller: OnceLock<Arc<dyn Poller>>,
    /// When a busy worker looks at it next.
    pub(crate) next_poll: Cell<u64>,
    /// In the base loop.
    pub(crate) poll_wanted: Cell<bool>,
    /// Events are being handed out.
    pub(crate) dispatching: Cell<bool>,
    /// The latest sleep was ended by it.
    fed_from_outside: Cell<bool>,
    pub(crate) random: Own<Random>,
    /// Chooses in the place of `random`.
    scripted: Own<Option<Scripted>>,
}

// SAFETY: the public fields are synchronised; the private ones follow rule 1.
unsafe impl Sync for Worker {}
// SAFETY: it is made on one thread and used by another; carriers come into being on the latter.
unsafe impl Send for Worker {}

/// Does somebody look at each message, or at the length of each queue? (At a multiple of [`CROWD`] that is done in passing.)
fn is_watched(config: &Config) -> bool {
    config.observed || !config.queue_alarm.is_multiple_of(CROWD)
}

/// Why a carrier comes back to the base loop.
#[derive(Clone, Copy, Debug)]
enum Parting {
    /// The task that ran keeps it.
    Kept,
    /// It is free; the task to go on with, if one was found (it needs another stack).
    Free(*const Slot),
}

impl Worker {
    pub(crate) fn new(id: WorkerId, shared: SharedRef) -> Self {
        let seed = shared.config.seed.unwrap_or(0x5EED).wrapping_add(u64::from(id));
        let now = shared.clock.now();
        Worker {
            id,
            public: CachePadded::new(Public {
                inbox: Inbox::new(),
                parker: Parker::new(),
                tick: AtomicBool::new(false),
                load: AtomicU32::new(0),
            }),
            flushing: CachePadded::new(Flushing::new()),
            tag: shared.config.tag,
            attention: Cell::new(shared.systematic),
            alarm: if shared.config.queue_alarm == 0 { u32::MAX } else { shared.config.queue_alarm },
            slice: shared.config.slice as i32,
            observed: shared.config.observed,
            control: Slot::new(id),
            reductions: AtomicI32::new(0),
            slices: AtomicU32::new(0),
            custody: Custody::new(is_watched(&shared.config)),
            cells: Cache::new(&depot::CELLS),
            wide_cells: Cache::new(&depot::WIDE),
            metrics: Metrics::default(),
            thread: ThreadClock::default(),
            woke: Cell::new(0),
            busy_for: Cell::new(0),
            home: Home::new(shared.first_home + usize::from(id) - 1, shared.config.workers),
            current: Cell::new(ptr::null()),
            subject: Cell::new(ptr::null()),
            carrier: Cell::new(ptr::null()),
            parting: Cell::new(Parting::Kept),
            queue: Own::new(RunQueue::new()),
            wheel: Own::new(TimerWheel::new(timers::ticks_passed(now))),
            series: Own::new(HashMap::new()),
            trash: Own::new(Vec::new()),
            orders: Own::new(Vec::new()),
            free_slots: Own::new(Vec::new()),
            free_carriers: Own::new(VecDeque::new()),
            trim_at: Cell::new(u64::MAX),
            stacks: Own::new(Vec::new()),
            stack_batch: Cell::new(0),
            outbox: Own::new(outbox::Outbox::new()),
            arrivals: Own::new(arrivals::Arrivals::new()),
            adopted: Cell::new(false),
            only_mail: Cell::new(false),
            rooms: Own::new(rooms::Rooms::new()),
            rooms_open: Cell::new(false),
            now: Cell::new(now),
            stopwatch: Stopwatch::new(!shared.systematic),
            turn: Cell::new(0),
            halt: Cell::new(false),
            base_wanted: Cell::new(false),
            rescued: Cell::new(false),
            retire_to: Cell::new(0),
            stopping: Cell::new(false),
            balance: balance::Balance::new(),
            usage: Cell::new(0),
            counter: Cell::new(u64::from(id) << 48),
            slots_asked: Cell::new(false),
            uninterrupted: Cell::new(Uninterrupted::default()),
            poller: OnceLock::new(),
            next_poll: Cell::new(0),
            poll_wanted: Cell::new(false),
            dispatching: Cell::new(false),
            fed_from_outside: Cell::new(false),
            random: Own::new(Random::new(seed)),
            scripted: Own::new(shared.config.script.clone().map(Scripted::new)),
            shared,
        }
    }

    /// The task whose slice it is.
    #[inline(always)]
    pub(crate) fn current(&self) -> Option<&Slot> {
        // SAFETY: set by `begin_slice` to a slot of our slab, which lives as long as `shared`.
        unsafe { self.current.get().as_ref() }
    }

    /// Is the task that runs here, in this slot, that one of the scheduler with this tag?
    #[inline(always)]
    pub(crate) fn is_current(&self, slot: &Slot, tag: u32, task: TaskId) -> bool {
        self.tag == tag && slot.serial() == task.serial() && self.shared.slab.index_of(slot) == task.index()
    }

    /// The task that hooks are called for.
    pub(crate) fn subject(&self) -> Option<&Slot> {
        // SAFETY: as above.
        unsafe { self.subject.get().as_ref() }.or_else(|| self.current())
    }

    pub(crate) fn set_subject(&self, subject: *const Slot) -> *const Slot {
        self.subject.replace(subject)
    }

    /// The private half of a slot that this worker owns (rule 1).
    #[inline(always)]
    pub(crate) fn private<'a>(&self, slot: &'a Slot) -> Private<'a> {
        debug_assert_eq!(slot.owner.id(), self.id, "a slot of another worker is touched");
        // SAFETY: rule 1, and the callers have looked at the owner.
        unsafe { slot.private() }
    }

    pub(crate) fn task_id(&self, slot: &Slot) -> TaskId {
        TaskId::new(self.shared.slab.index_of(slot), slot.serial())
    }

    /// Runs code of users (rule 2): outside a section if we are in one.
    pub(crate) fn outside<R>(&self, f: impl FnOnce() -> R) -> R {
        if self.rescued.get() {
            // The caller is a rescuer, not this worker's thread: the section is not its to leave, and for
            // the code that it calls it is a thread outside of the scheduler.
            return f();
        }
        struct Back<'a>(&'a Worker);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                let _ = self.0.custody.enter();
            }
        }
        self.custody.leave();
        let _back = Back(self);
        f()
    }

    /// Drops something of users; a panic in its destructor goes no further.
    pub(crate) fn drop_outside<T>(&self, value: T) {
        if std::mem::needs_drop::<T>() {
            let result = self.outside(|| catch_unwind(AssertUnwindSafe(|| drop(value))));
            if let Err(payload) = result {
                // A payload whose own destructor panics is leaked rather than followed for ever.
                std::mem::forget(payload);
            }
        }
    }

    /// Makes a task runnable.
    #[inline(always)]
    pub(crate) fn enqueue(&self, task: Private<'_>) {
        task.set_waited(task.state());
        task.set_state(State::Queued);
        self.push(task);
    }

    /// The same in the usual case ([`RunQueue::push_quickly`]). False: it is not.
    #[inline(always)]
    fn enqueue_quickly(&self, task: Private<'_>) -> bool {
        let (priority, fresh) = (task.priority(), task.carrier().is_null());
        // SAFETY: rule 1.
        let pushed = unsafe { self.queue.with(|queue| queue.push_quickly(task.slot(), priority, fresh)) };
        if pushed {
            task.set_waited(task.state());
            task.set_state(State::Queued);
        }
        pushed
    }

    /// Puts a task that is `Queued` into the run queue.
    #[inline(always)]
    fn push(&self, task: Private<'_>) {
        let (priority, fresh) = (task.priority(), task.carrier().is_null());
        // SAFETY: rule 1.
        unsafe { self.queue.with(|queue| queue.push(task.slot(), priority, fresh)) };
    }

    /// Tells who looks on, if somebody does (`config.observed`).
    #[cold]
    #[inline(never)]
    pub(crate) fn sent(&self, to: TaskId, what: &Envelope) {
        let by = self.subject().map(|slot| self.task_id(slot));
        self.shared.hooks.observed(Seen::Sent { by, to, what });
    }

    /// The same.
    #[cold]
    #[inline(never)]
    pub(crate) fn received(&self, slot: &Slot, what: &Envelope) {
        self.shared.hooks.observed(Seen::Received { task: self.task_id(slot), what });
    }

    pub(crate) fn look_at_clock(&self) {
        self.read_clock();
        if self.wants_to_trim() {
            self.base_wanted.set(true);
        }
        self.turn_wheel();
    }

    fn read_clock(&self) {
        self.now.set(self.shared.clock.now());
        self.stopwatch.restart();
    }

    /// A time that has passed, at most [`stopwatch::FRESH`] nanoseconds ago. Cheaper than the clock.
    #[inline(always)]
    pub(crate) fn just_now(&self) -> u64 {
        if !self.stopwatch.is_fresh() {
            self.read_clock();
        }
        self.now.get()
    }

    /// A time that has not passed yet, but will in [`stopwatch::FRESH`] nanoseconds: deadlines are counted from it, which
    /// may be late but never early. In systematic mode it is the time.
    #[inline(always)]
    pub(crate) fn soon(&self) -> u64 {
        self.just_now() + if self.stopwatch.is_usable() { stopwatch::FRESH } else { 0 }
    }

    /// Clock as last read by the loop: at most a slice old.
    pub(crate) fn coarse_now(&self) -> u64 {
        self.now.get()
    }

    /// Tasks spawned here, less those that ended here (wherever they were spawned).
    pub(crate) fn live(&self) -> u64 {
        self.metrics.spawned.get().wrapping_sub(self.metrics.ended.get())
    }

    /// Tasks in the run queue that have no stack.
    pub(crate) fn movable(&self) -> usize {
        // SAFETY: rule 1.
        unsafe { self.queue.with(|queue| queue.fresh()) }
    }

    pub(crate) fn queue_len(&self) -> usize {
        // SAFETY: rule 1.
        unsafe { self.queue.with(|queue| queue.len()) }
    }

    /// After the loop: what is left is ended or leaked.
    fn finish(&self) {
        self.flush();
        // SAFETY: rule 1.
        let free = unsafe { self.free_carriers.with(std::mem::take) };
        self.end_carriers(free.into());
        // SAFETY: rule 1.
        drop(unsafe { self.stacks.with(std::mem::take) });
        for index in 0..self.shared.slab.claimed() {
            let Some(slot) = self.shared.slab.get(index) else { break };
            // What was given to us and never settled has no stack.
            if slot.owner.look(self.id) != Whose::Mine {
                continue;
            }
            let task = self.private(slot);
            let carrier = task.carrier();
            if !carrier.is_null() {
                task.set_carrier(ptr::null(), 0);
                // SAFETY: made by `into_raw`; the task that keeps it never runs again.
                unsafe { CarrierBox::from_raw(carrier) }.into_inner().leak();
            }
        }
    }

    /// A number that no other call of any worker of this scheduler returns. Only its own thread calls it.
    #[inline(always)]
    pub(crate) fn unique(&self) -> u64 {
        let number = self.counter.get() + 1;
        self.counter.set(number);
        number
    }

    pub(crate) fn token_of_control(&self) -> *mut Link {
        self.control.token()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Its thread has ended its carriers in `finish`. If it never did (a systematic scheduler that was not
        // stopped), their stacks are leaked, not unwound on a thread that may be another one.
        // SAFETY: exclusive.
        for carrier in unsafe { self.free_carriers.with(std::mem::take) } {
            carrier.into_inner().leak();
        }
        self.discard_arrivals();
        while let Some(link) = NonNull::new(self.control.remote.take()) {
            let mut next = Some(link);
            while let Some(at) = next {
                // SAFETY: `take` made the run ours; orders are envelopes.
                next = NonNull::new(unsafe { at.as_ref() }.next.load(Ordering::Relaxed));
                // SAFETY: as above.
                drop(unsafe { Envelope::from_link(at) });
            }
        }
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("id", &self.id).finish_non_exhaustive()
    }
}
