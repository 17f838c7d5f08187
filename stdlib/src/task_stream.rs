//! The same work on many items, so many at a time.
//!
//! The items are taken by the process that iterates, one when a task may start. A *hub*, a server, runs the tasks:
//! it is linked with each of them and traps exits, so a crash becomes the result of its item. It is linked with the
//! process that iterates: they end together.

use crate::TaskError;
use engset_runtime::{
    Address, Builder, CallError, Event, ExitReason, Flow, Pid, Received, Reply, Server, TimerRef, kill,
    self_pid, start_timer, try_self_pid,
};
use hashbrown::HashMap;
use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

/// A stream that is to be run. See the [module](self).
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_stdlib::TaskStream;
///
/// let lengths = TaskStream::new(["a", "bcd", "ef"], |word: &str| word.len()).max_concurrency(2).run();
/// assert_eq!(lengths.map(Result::unwrap).collect::<Vec<_>>(), [1, 3, 2]);
/// # }).unwrap();
/// ```
#[must_use = "it does nothing until it runs"]
pub struct TaskStream<I, F> {
    items: I,
    work: Arc<F>,
    most: usize,
    ordered: bool,
    timeout: Duration,
}

impl<I, T, F> TaskStream<I, F>
where
    I: Iterator,
    I::Item: Send + 'static,
    T: Send + 'static,
    F: Fn(I::Item) -> T + Send + Sync + 'static,
{
    /// `work` on each of `items`: 8 at a time, results in the order of the items, without a timeout.
    pub fn new(items: impl IntoIterator<IntoIter = I>, work: F) -> Self {
        TaskStream {
            items: items.into_iter(),
            work: Arc::new(work),
            most: 8,
            ordered: true,
            timeout: Duration::MAX,
        }
    }

    /// The most tasks at a time. In order, results that wait for one before them count too.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn max_concurrency(self, most: usize) -> Self {
        assert!(most > 0, "a stream of 0 tasks at a time");
        TaskStream { most, ..self }
    }

    /// Results come as they are done.
    pub fn unordered(self) -> Self {
        TaskStream { ordered: false, ..self }
    }

    /// A task that takes longer is killed; its result is [`TaskError::Timeout`].
    pub fn timeout(self, time: Duration) -> Self {
        TaskStream { timeout: time, ..self }
    }

    /// Starts. The iterator ends the tasks that still run when it is dropped.
    ///
    /// # Panics
    ///
    /// Outside of a process, and if the limit of processes is reached.
    #[track_caller]
    pub fn run(self) -> Running<I, T, F> {
        let hub = Hub {
            me: None,
            parent: try_self_pid(),
            timeout: self.timeout,
            ordered: self.ordered,
            workers: HashMap::new(),
            timers: HashMap::new(),
            results: VecDeque::new(),
            first: 0,
            asking: None,
        };
        let hub = Builder::new().link().trap_exits().serve(hub);
        let hub = hub.unwrap_or_else(|error| panic!("TaskStream::run: {error}"));
        Running { items: self.items, work: self.work, most: self.most, hub, under_way: 0, next: 0 }
    }
}

impl<I, F> fmt::Debug for TaskStream<I, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskStream")
            .field("most", &self.most)
            .field("ordered", &self.ordered)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The results of a stream.
pub struct Running<I, T: Send + 'static, F> {
    items: I,
    work: Arc<F>,
    most: usize,
    hub: Address<Message<T>>,
    under_way: usize,
    next: usize,
}

impl<I, T, F> Iterator for Running<I, T, F>
where
    I: Iterator,
    I::Item: Send + 'static,
    T: Send + 'static,
    F: Fn(I::Item) -> T + Send + Sync + 'static,
{
    type Item = Result<T, TaskError>;

    /// The next result; waits for it.
    ///
    /// # Signals
    ///
    /// If an exit signal ends the process, its stack unwinds from here, and all tasks end.
    fn next(&mut self) -> Option<Self::Item> {
        while self.under_way < self.most
            && let Some(item) = self.items.next()
        {
            let work = Arc::clone(&self.work);
            self.hub.send(Message(Kind::Run(self.next, Box::new(move || work(item)))));
            self.next += 1;
            self.under_way += 1;
        }
        if self.under_way == 0 {
            return None;
        }
        self.under_way -= 1;
        match self.hub.call_timeout(|reply| Message(Kind::Next(reply)), Duration::MAX) {
            Ok(result) => Some(result),
            Err(error @ CallError::Down(_)) => {
                // Somebody killed the hub: there is nothing to come.
                self.under_way = 0;
                Some(Err(error.into()))
            }
            Err(error) => Some(Err(error.into())),
        }
    }
}

impl<I, T: Send + 'static, F> Drop for Running<I, T, F> {
    fn drop(&mut self) {
        self.hub.send(Message(Kind::Stop));
    }
}

impl<I, T: Send + 'static, F> fmt::Debug for Running<I, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("hub", &self.hub.pid())
            .field("under_way", &self.under_way)
            .finish_non_exhaustive()
    }
}

/// What a hub takes. Nobody but [`Running`] makes one.
pub struct Message<T>(Kind<T>);

enum Kind<T> {
    Run(usize, Box<dyn FnOnce() -> T + Send>),
    /// From the worker.
    Done(Pid, T),
    Next(Reply<Result<T, TaskError>>),
    Stop,
}

impl<T> fmt::Debug for Message<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Message")
    }
}

struct Hub<T> {
    me: Option<Address<Message<T>>>,
    parent: Option<Pid>,
    timeout: Duration,
    ordered: bool,
    /// The item of each task that has no result yet.
    workers: HashMap<Pid, usize>,
    timers: HashMap<TimerRef, Pid>,
    /// In order: the results from item `first` on, those that are not there yet as `None`. Else: as they came.
    results: VecDeque<Option<Result<T, TaskError>>>,
    first: usize,
    asking: Option<Reply<Result<T, TaskError>>>,
}

impl<T: Send + 'static> Hub<T> {
    fn run(&mut self, item: usize, work: Box<dyn FnOnce() -> T + Send>) {
        let Some(me) = self.me else { return };
        match Builder::new().link().spawn(move || me.send(Message(Kind::Done(self_pid(), work())))) {
            Ok(pid) => {
                self.workers.insert(pid, item);
                if self.timeout < Duration::MAX {
                    self.timers.insert(start_timer(self.timeout).1, pid);
                }
            }
            Err(error) => self.put(item, Err(TaskError::Exited(ExitReason::error(error.to_string())))),
        }
    }

    fn put(&mut self, item: usize, result: Result<T, TaskError>) {
        if !self.ordered {
            self.results.push_back(Some(result));
        } else if let Some(at) = item.checked_sub(self.first) {
            while self.results.len() <= at {
                self.results.push_back(None);
            }
            self.results[at] = Some(result);
        }
        self.answer();
    }

    fn answer(&mut self) {
        if self.asking.is_some()
            && let Some(result) = self.results.front_mut().and_then(Option::take)
            && let Some(reply) = self.asking.take()
        {
            self.results.pop_front();
            self.first += 1;
            reply.send(result);
        }
    }

    fn stop(&self) -> Flow {
        self.workers.keys().copied().for_each(kill);
        Flow::Stop(ExitReason::Normal)
    }

    fn on_event(&mut self, event: Event) -> Flow {
        match event {
            Event::Exit(exit) => match self.workers.remove(&exit.from) {
                // Done came before, if it was done: see there.
                Some(item) => self.put(item, Err(TaskError::Exited(exit.reason))),
                None if Some(exit.from) == self.parent => return self.stop(),
                // The end of a task that was done, or has timed out.
                None => {}
            },
            Event::Timer(timer) => {
                if let Some(pid) = self.timers.remove(&timer)
                    && let Some(item) = self.workers.remove(&pid)
                {
                    kill(pid);
                    self.put(item, Err(TaskError::Timeout(self.timeout)));
                }
            }
            _ => {}
        }
        Flow::Continue
    }
}

impl<T: Send + 'static> Server for Hub<T> {
    type Message = Message<T>;

    fn start(&mut self, me: Address<Message<T>>) -> Flow {
        self.me = Some(me);
        Flow::Continue
    }

    fn handle(&mut self, received: Received<Message<T>>) -> Flow {
        match received {
            Received::Message(Message(Kind::Run(item, work))) => self.run(item, work),
            Received::Message(Message(Kind::Done(worker, value))) => {
                // Not if it has timed out just before.
                if let Some(item) = self.workers.remove(&worker) {
                    self.put(item, Ok(value));
                }
            }
            Received::Message(Message(Kind::Next(reply))) => {
                self.asking = Some(reply);
                self.answer();
            }
            Received::Message(Message(Kind::Stop)) => return self.stop(),
            Received::Event(event) => return self.on_event(event),
        }
        Flow::Continue
    }
}
