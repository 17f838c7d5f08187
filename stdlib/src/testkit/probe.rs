//! A process that the test plays.
//!
//! 1. A probe is a process of its own: it notes what it gets, for the test's process, which asks. So a test has as many as
//!    it needs, each with messages of another type.
//! 2. It runs with the highest priority, so that it has noted what was sent to it before anybody else goes on; and so
//!    it adds no interleavings to those of the program under test.
//! 3. What the test wants done *by* the probe, a monitor for example, is left in a list; an exit signal tells it to
//!    look. It traps exits, so that this is an event in its mailbox like others, in order with the messages.
//! 4. The test waits by a [`Reply`] that the probe uses when something has come.

use super::{PATIENCE, recorder::Recorder};
use crate::start;
use engset_runtime::{
    Address, Builder, CallError, DownReason, Event, ExitReason, Flow, Pid, Priority, Received, Reply, Server,
    exit, kill, monitor, now, observe, self_pid,
};
use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A process that the test plays: what is sent to its address is looked at by the expectations.
///
/// Each of them waits 3 seconds at most ([`Probe::timeout`] changes that; in systematic runs they are virtual), and panics
/// with what came instead. Messages are looked at in the order of their arrival.
///
/// ```
/// use engset_runtime::{Address, Reply, spawn};
/// use engset_stdlib::testkit::{self, Probe};
/// use std::time::Duration;
///
/// #[derive(Debug)]
/// enum Store { Get(&'static str, Reply<Option<u32>>), Put(&'static str, u32) }
///
/// // The code under test: doubles a value of a store.
/// fn double(key: &'static str, store: Address<Store>) {
///     let value = store.call(|reply| Store::Get(key, reply)).unwrap();
///     store.send(Store::Put(key, 2 * value.unwrap_or(0)));
/// }
///
/// testkit::systematic(20, || {
///     let mut store = Probe::new();
///     let address = store.address();
///     let doubler = spawn(move || double("apples", address));
///     // The test plays the store.
///     store.answer(
///         |request| match request {
///             Store::Get("apples", reply) => Some(reply),
///             _ => None,
///         },
///         Some(21),
///     );
///     store.expect_matching(|request| matches!(request, Store::Put("apples", 42)));
///     store.expect_terminated(doubler);
///     store.expect_no(Duration::from_secs(3600));
/// });
/// ```
///
/// It works in every process, also without a run of the kit. When it is dropped its process ends.
pub struct Probe<M> {
    shared: Arc<Shared<M>>,
    address: Address<M>,
    timeout: Duration,
    /// The end of the innermost [`within`](Probe::within).
    end: Option<Duration>,
}

struct Shared<M> {
    desk: Mutex<Desk<M>>,
}

/// What has come, and what is to be done.
struct Desk<M> {
    messages: VecDeque<M>,
    downs: Vec<(Pid, DownReason)>,
    exits: Vec<(Pid, ExitReason)>,
    jobs: Vec<Box<dyn FnOnce() + Send>>,
    watched: Vec<Pid>,
    waiter: Option<Reply<()>>,
}

impl<M> Shared<M> {
    fn desk(&self) -> MutexGuard<'_, Desk<M>> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text in the exit signal of rule 3.
const LOOK: &str = "engset.testkit.look";

/// The probe's process.
struct Clerk<M> {
    shared: Arc<Shared<M>>,
}

impl<M: fmt::Debug + Send + 'static> Server for Clerk<M> {
    type Message = M;

    fn handle(&mut self, received: Received<M>) -> Flow {
        let mut desk = self.shared.desk();
        match received {
            Received::Message(message) => {
                if observe::is_observed() {
                    observe::note(&format!("got {message:?}"));
                }
                desk.messages.push_back(message);
            }
            Received::Event(Event::Down(down)) => desk.downs.push((down.pid, down.reason)),
            Received::Event(Event::Exit(exit)) if exit.reason == ExitReason::error(LOOK) => {
                let jobs = std::mem::take(&mut desk.jobs);
                drop(desk);
                jobs.into_iter().for_each(|job| job());
                desk = self.shared.desk();
            }
            Received::Event(Event::Exit(exit)) => desk.exits.push((exit.from, exit.reason)),
            Received::Event(_) => {}
        }
        let waiter = desk.waiter.take();
        drop(desk);
        if let Some(waiter) = waiter {
            waiter.send(());
        }
        Flow::Continue
    }
}

impl<M: fmt::Debug + Send + 'static> Default for Probe<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: fmt::Debug + Send + 'static> Probe<M> {
    /// A probe.
    ///
    /// # Panics
    ///
    /// Outside of a process, and if no process can be spawned.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        Self::named("probe")
    }

    /// The same with a name for the trace. (It is not registered under it.)
    ///
    /// # Panics
    ///
    /// As [`Probe::new`].
    #[must_use]
    #[track_caller]
    pub fn named(name: &str) -> Self {
        let desk = Desk {
            messages: VecDeque::new(),
            downs: Vec::new(),
            exits: Vec::new(),
            jobs: Vec::new(),
            watched: Vec::new(),
            waiter: None,
        };
        let shared = Arc::new(Shared { desk: Mutex::new(desk) });
        let clerk = Clerk { shared: Arc::clone(&shared) };
        let address = match Builder::new().priority(Priority::Max).trap_exits().serve(clerk) {
            Ok(address) => address,
            Err(error) => panic!("a probe: {error}"),
        };
        if let Some(recorder) = Recorder::current() {
            recorder.own(address.pid(), name.to_owned());
        }
        Probe { shared, address, timeout: PATIENCE, end: None }
    }

    /// Where others send to.
    #[must_use]
    pub fn address(&self) -> Address<M> {
        self.address
    }

    /// The probe's process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.address.pid()
    }

    /// How long each expectation waits from now on.
    pub fn timeout(&mut self, time: Duration) -> &mut Self {
        self.timeout = time;
        self
    }

    /// Lets the probe's process do something, and waits until it has: link, monitor, or spawn as the probe. What it returns
    /// comes back. It must not wait.
    ///
    /// # Panics
    ///
    /// If the probe's process is dead, or dies of it.
    #[track_caller]
    pub fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        let result = Arc::new(Mutex::new(None));
        let place = Arc::clone(&result);
        let job = Box::new(move || {
            let value = job();
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        });
        self.shared.desk().jobs.push(job);
        exit(self.pid(), ExitReason::error(LOOK));
        let take = || result.lock().unwrap_or_else(PoisonError::into_inner).take();
        match self.wait(now() + PATIENCE, |_| take()) {
            Some(value) => value,
            None => panic!("the probe's process does not do what it is asked to do: it is dead, or waits"),
        }
    }

    /// The next message, which must be this one.
    ///
    /// # Panics
    ///
    /// If it is another one, or none comes.
    #[track_caller]
    pub fn expect(&mut self, wanted: M) -> M
    where
        M: PartialEq,
    {
        match self.next() {
            Some(message) if message == wanted => message,
            Some(other) => panic!("expected {wanted:?}, but got {other:?}{}", self.rest()),
            None => panic!("expected {wanted:?}, but nothing came within {:?}", self.patience()),
        }
    }

    /// The next message, which must be one that `pattern` says yes to.
    ///
    /// # Panics
    ///
    /// If it is not, or none comes.
    #[track_caller]
    pub fn expect_matching(&mut self, pattern: impl FnOnce(&M) -> bool) -> M {
        match self.next() {
            Some(message) if pattern(&message) => message,
            Some(other) => panic!("this message is not the one expected: {other:?}{}", self.rest()),
            None => panic!("a message was expected, but nothing came within {:?}", self.patience()),
        }
    }

    /// What `pick` takes out of the next message; `None` says that it is not the expected one.
    ///
    /// # Panics
    ///
    /// If it says so, or no message comes.
    #[track_caller]
    pub fn expect_map<T>(&mut self, pick: impl FnOnce(M) -> Option<T>) -> T {
        match self.next() {
            Some(message) => {
                let text = format!("{message:?}");
                match pick(message) {
                    Some(value) => value,
                    None => panic!("this message is not the one expected: {text}{}", self.rest()),
                }
            }
            None => panic!("a message was expected, but nothing came within {:?}", self.patience()),
        }
    }

    /// The next message, which must be a request, as which `pick` takes its [`Reply`] out; answers it.
    ///
    /// # Panics
    ///
    /// As [`Probe::expect_map`].
    #[track_caller]
    pub fn answer<T: Send + 'static>(&mut self, pick: impl FnOnce(M) -> Option<Reply<T>>, value: T) {
        self.expect_map(pick).send(value);
    }

    /// The next message, whichever it is.
    ///
    /// # Panics
    ///
    /// If none comes.
    #[track_caller]
    pub fn receive(&mut self) -> M {
        self.expect_matching(|_| true)
    }

    /// The next so many messages. They must all come in the time of one expectation.
    ///
    /// # Panics
    ///
    /// If fewer come, with those.
    #[track_caller]
    pub fn receive_n(&mut self, count: usize) -> Vec<M> {
        let end = self.end_of_patience();
        let mut messages = Vec::with_capacity(count);
        while messages.len() < count {
            match self.wait(end, |desk| desk.messages.pop_front()) {
                Some(message) => messages.push(message),
                None => panic!(
                    "{count} messages were expected, but {} came within {:?}: {messages:?}",
                    messages.len(),
                    self.patience()
                ),
            }
        }
        messages
    }

    /// No message comes in this time (or until the end of [`within`](Probe::within), if that is sooner).
    ///
    /// # Panics
    ///
    /// If one comes.
    #[track_caller]
    pub fn expect_no(&mut self, time: Duration) {
        let end = now().saturating_add(time);
        let end = self.end.map_or(end, |outer| outer.min(end));
        if let Some(message) = self.wait(end, |desk| desk.messages.pop_front()) {
            panic!("no message was expected for {time:?}, but got {message:?}{}", self.rest());
        }
    }

    /// The first message that `wanted` says yes to. Those before it are dropped.
    ///
    /// # Panics
    ///
    /// If none comes in the time of one expectation, with those that were dropped.
    #[track_caller]
    pub fn fish(&mut self, mut wanted: impl FnMut(&M) -> bool) -> M {
        let end = self.end_of_patience();
        let mut others = Vec::new();
        loop {
            match self.wait(end, |desk| desk.messages.pop_front()) {
                Some(message) if wanted(&message) => return message,
                Some(message) => others.push(message),
                None => panic!(
                    "the message that was wanted did not come within {:?}; these did: {others:?}",
                    self.patience()
                ),
            }
        }
    }

    /// All expectations in `body` together must be met in this time; in one `within` another one can only be shorter.
    ///
    /// # Panics
    ///
    /// If `body` takes longer.
    #[track_caller]
    pub fn within<R>(&mut self, time: Duration, body: impl FnOnce(&mut Self) -> R) -> R {
        let start = now();
        let outer = self.end;
        let end = start.saturating_add(time);
        self.end = Some(outer.map_or(end, |outer| outer.min(end)));
        let result = body(self);
        let limit = std::mem::replace(&mut self.end, outer).unwrap_or(end);
        assert!(
            // A timer fires up to a tick late.
            now() <= limit + Duration::from_millis(1),
            "it took {:?}, and should have taken {:?} at most",
            now() - start,
            limit.saturating_sub(start)
        );
        result
    }

    /// The probe watches a process from now on, so that [`expect_terminated`](Probe::expect_terminated) tells how it really ended.
    ///
    /// # Panics
    ///
    /// If the probe's process is dead.
    #[track_caller]
    pub fn watch(&self, pid: impl Into<Pid>) {
        let pid = pid.into();
        self.shared.desk().watched.push(pid);
        self.run(move || monitor(pid));
    }

    /// The process ends, or has ended. How: `NoProc` if it had ended before the probe [watched](Probe::watch) it.
    /// Messages that came before from that process are there then.
    ///
    /// # Panics
    ///
    /// If it lives on.
    #[track_caller]
    pub fn expect_terminated(&mut self, pid: impl Into<Pid>) -> DownReason {
        let pid = pid.into();
        let is_watched = self.shared.desk().watched.contains(&pid);
        if !is_watched {
            self.watch(pid);
        }
        let take = |desk: &mut Desk<M>| {
            let at = desk.downs.iter().position(|(down, _)| *down == pid)?;
            desk.watched.retain(|watched| *watched != pid);
            Some(desk.downs.remove(at).1)
        };
        match self.wait(self.end_of_patience(), take) {
            Some(reason) => reason,
            None => panic!("process {pid} should have ended within {:?}, and lives", self.patience()),
        }
    }

    /// An exit signal comes from this process: one to which the probe is linked (by [`Probe::run`]) has ended, or it has called
    /// [`exit`](engset_runtime::exit).
    ///
    /// # Panics
    ///
    /// If none comes.
    #[track_caller]
    pub fn expect_exit(&mut self, from: impl Into<Pid>) -> ExitReason {
        let from = from.into();
        let take = |desk: &mut Desk<M>| {
            let at = desk.exits.iter().position(|(other, _)| *other == from)?;
            Some(desk.exits.remove(at).1)
        };
        match self.wait(self.end_of_patience(), take) {
            Some(reason) => reason,
            None => panic!("no exit signal came from {from} within {:?}", self.patience()),
        }
    }

    fn next(&self) -> Option<M> {
        self.wait(self.end_of_patience(), |desk| desk.messages.pop_front())
    }

    /// How long an expectation waits now.
    fn patience(&self) -> Duration {
        self.end.map_or(self.timeout, |end| end.saturating_sub(now()).min(self.timeout))
    }

    fn end_of_patience(&self) -> Duration {
        let end = now().saturating_add(self.timeout);
        self.end.map_or(end, |outer| outer.min(end))
    }

    /// What else is there, for a message of failure.
    fn rest(&self) -> String {
        let desk = self.shared.desk();
        if desk.messages.is_empty() { String::new() } else { format!("; then {:?}", desk.messages) }
    }

    /// Waits until `take` finds something, at most until `end`.
    fn wait<T>(&self, end: Duration, mut take: impl FnMut(&mut Desk<M>) -> Option<T>) -> Option<T> {
        let node = self_pid().node();
        loop {
            if let Some(found) = take(&mut self.shared.desk()) {
                return Some(found);
            }
            let left = end.saturating_sub(now());
            if left.is_zero() {
                // The probe may not have had its turn since the last message was sent.
                engset_runtime::yield_now();
                return take(&mut self.shared.desk());
            }
            let mut found = None;
            let sink = match start::sink(node) {
                Ok(sink) => sink,
                Err(error) => panic!("a probe cannot wait: {error}"),
            };
            let woken = start::rendezvous(sink, left, |reply| {
                let mut desk = self.shared.desk();
                // Once more under the lock: something may have come since.
                found = take(&mut desk);
                let former = if found.is_none() { desk.waiter.replace(reply) } else { Some(reply) };
                drop(desk);
                if let Some(former) = former {
                    former.send(());
                }
            });
            if found.is_some() {
                return found;
            }
            if let Err(CallError::Unwinding) = woken {
                return None;
            }
        }
    }
}

impl<M> Drop for Probe<M> {
    fn drop(&mut self) {
        kill(self.address.pid());
    }
}

impl<M> fmt::Debug for Probe<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Probe{}", self.address.pid())
    }
}
