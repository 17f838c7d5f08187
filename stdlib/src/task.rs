//! One computation in a process of its own, whose result somebody waits for.
//!
//! Two processes make a task: the *worker* runs the function, and the *keeper*, a server, holds what came of it
//! until it is asked. So the result, or the reason of a crash, is there whenever it is wanted, and cannot be missed;
//! and a worker that is done holds no stack.
//!
//! * [`Task::spawn`]: linked. If the task crashes, this process gets an exit signal with the reason, as from any
//!   linked process; if this process ends, the task ends too.
//! * [`Task::spawn_unlinked`] and [`TaskSupervisor::spawn`]: a crash is an error of [`Task::join`], nothing else.
//!
//! A task that is dropped runs on to its end, and its result is dropped.
//!
//! When not to use it: if nobody waits for the result, spawn the function.

use crate::{
    ChildError, ChildSpec, DynamicSupervisor, DynamicSupervisorBuilder, Shutdown, StartError,
    sys::{Inspect, Observed},
};
use engset_runtime::{
    Address, Builder, CallError, Event, ExitReason, Flow, NameError, Pid, Received, Reply, Server, exit, kill,
};
use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// A task that runs, or has run. See the [module](self).
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_stdlib::Task;
///
/// let squares: Vec<_> = (1..=3_u64).map(|number| Task::spawn(move || number * number)).collect();
/// let sum: u64 = squares.into_iter().map(|task| task.join().unwrap()).sum();
/// assert_eq!(sum, 14);
///
/// let fails = Task::spawn_unlinked(|| -> u32 { panic!("no result") });
/// assert!(fails.join().is_err());
/// # }).unwrap();
/// ```
#[must_use = "dropping it drops the result"]
pub struct Task<T: Send + 'static> {
    keeper: Address<Message<T>>,
    /// The keeper is to be told that nobody will ask.
    open: bool,
}

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskError {
    /// It ended, for this reason.
    Exited(ExitReason),
    /// It was not done in time, and has been killed.
    Timeout(Duration),
    /// The process that asked is ending.
    Ending,
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskError::Exited(reason) => write!(f, "the task ended: {reason}"),
            TaskError::Timeout(time) => write!(f, "the task was not done within {time:?}"),
            TaskError::Ending => f.write_str("a process that is ending cannot wait for a task"),
        }
    }
}

impl std::error::Error for TaskError {}

impl From<CallError> for TaskError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Timeout(time) => TaskError::Timeout(time),
            CallError::Down(reason) => TaskError::Exited(reason.as_exit()),
            CallError::Unwinding => TaskError::Ending,
            _ => TaskError::Exited(ExitReason::NoProc),
        }
    }
}

impl<T: Send + 'static> Task<T> {
    /// Runs `work` in a new process, linked with this one.
    ///
    /// # Panics
    ///
    /// Outside of a process, and if the limit of processes is reached.
    ///
    /// # Signals
    ///
    /// If the task crashes, an exit signal comes with its reason.
    #[track_caller]
    pub fn spawn(work: impl FnOnce() -> T + Send + 'static) -> Self {
        Self::launch(Builder::new().link(), Keeper::new(work, engset_runtime::try_self_pid(), true))
            .unwrap_or_else(|error| panic!("Task::spawn: {error}"))
    }

    /// Runs `work` in a new process; a crash is an error of [`Task::join`] only.
    ///
    /// # Panics
    ///
    /// As [`Task::spawn`].
    #[track_caller]
    pub fn spawn_unlinked(work: impl FnOnce() -> T + Send + 'static) -> Self {
        Self::launch(Builder::new(), Keeper::new(work, None, false))
            .unwrap_or_else(|error| panic!("Task::spawn_unlinked: {error}"))
    }

    fn launch(options: Builder, keeper: Keeper<T>) -> Result<Self, StartError> {
        Ok(Task { keeper: options.trap_exits().ancestry().serve(Observed::new(keeper))?, open: true })
    }

    /// The process that stands for the task: its exit signals come from it, and killing it ends the task.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.keeper.pid()
    }

    /// Waits for the result.
    ///
    /// # Errors
    ///
    /// The task crashed or was killed.
    ///
    /// # Signals
    ///
    /// If an exit signal ends this process, its stack unwinds from here, and a linked task ends.
    pub fn join(mut self) -> Result<T, TaskError> {
        self.open = false;
        self.keeper.call_timeout(Message::Take, Duration::MAX)?.map_err(TaskError::Exited)
    }

    /// Waits for the result, so long; then the task is killed.
    ///
    /// # Errors
    ///
    /// The task was not done in time, crashed or was killed.
    pub fn join_timeout(self, timeout: Duration) -> Result<T, TaskError> {
        match self.poll(timeout) {
            Ok(result) => result,
            Err(task) => task.cancel().unwrap_or(Err(TaskError::Timeout(timeout))),
        }
    }

    /// Waits for the result, so long.
    ///
    /// # Errors
    ///
    /// The task itself, if it was not done in time: it runs on.
    pub fn poll(mut self, timeout: Duration) -> Result<Result<T, TaskError>, Self> {
        // First asked whether it is done: so no result is lost in an answer that comes too late.
        match self.keeper.call_timeout(Message::Wait, timeout) {
            Err(CallError::Timeout(_)) => Err(self),
            Ok(()) => Ok(self.join()),
            Err(error) => {
                self.open = false;
                Ok(Err(error.into()))
            }
        }
    }

    /// Kills the task, unless it is done. `Some`: it was, and this came of it.
    pub fn cancel(mut self) -> Option<Result<T, TaskError>> {
        self.open = false;
        match self.keeper.call_timeout(Message::Cancel, Duration::MAX) {
            Ok(None) => None,
            Ok(Some(result)) => Some(result.map_err(TaskError::Exited)),
            Err(error) => Some(Err(error.into())),
        }
    }
}

impl<T: Send + 'static> Drop for Task<T> {
    fn drop(&mut self) {
        if self.open {
            self.keeper.send(Message::Forget);
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task{}", self.keeper.pid())
    }
}

type Outcome<T> = Result<T, ExitReason>;

/// What a keeper takes.
enum Message<T> {
    /// From the worker.
    Done(T),
    /// Answered when there is an outcome.
    Wait(Reply<()>),
    Take(Reply<Outcome<T>>),
    Cancel(Reply<Option<Outcome<T>>>),
    Forget,
}

struct Keeper<T> {
    work: Option<Box<dyn FnOnce() -> T + Send>>,
    worker: Option<Pid>,
    outcome: Option<Outcome<T>>,
    waiting: Option<Reply<()>>,
    taking: Option<Reply<Outcome<T>>>,
    forgotten: bool,
    /// Who started it, with a link: its end ends the task.
    parent: Option<Pid>,
    /// And a crash is told to it.
    tells: bool,
}

impl<T: Send + 'static> Keeper<T> {
    fn new(work: impl FnOnce() -> T + Send + 'static, parent: Option<Pid>, tells: bool) -> Self {
        Keeper {
            work: Some(Box::new(work)),
            worker: None,
            outcome: None,
            waiting: None,
            taking: None,
            forgotten: false,
            parent,
            tells,
        }
    }

    fn stop(&self, reason: ExitReason) -> Flow {
        if let Some(worker) = self.worker {
            kill(worker);
        }
        Flow::Stop(reason)
    }

    fn finish(&mut self, outcome: Outcome<T>) -> Flow {
        self.worker = None;
        if let (Err(reason), Some(parent), true) = (&outcome, self.parent, self.tells) {
            // As the link would have told it. A reason `Kill` would be a command, there it is not.
            let reason = if *reason == ExitReason::Kill { ExitReason::Killed } else { reason.clone() };
            exit(parent, reason);
        }
        if self.forgotten {
            return Flow::Stop(ExitReason::Normal);
        }
        if let Some(reply) = self.taking.take() {
            reply.send(outcome);
            return Flow::Stop(ExitReason::Normal);
        }
        self.outcome = Some(outcome);
        if let Some(reply) = self.waiting.take() {
            reply.send(());
        }
        Flow::Continue
    }
}

impl<T: Send + 'static> Server for Keeper<T> {
    type Message = Message<T>;

    fn start(&mut self, me: Address<Message<T>>) -> Flow {
        let Some(work) = self.work.take() else { return Flow::Stop(ExitReason::Normal) };
        match Builder::new().link().ancestry().spawn(move || me.send(Message::Done(work()))) {
            Ok(worker) => {
                self.worker = Some(worker);
                Flow::Continue
            }
            Err(error) => self.finish(Err(ExitReason::error(error.to_string()))),
        }
    }

    fn handle(&mut self, received: Received<Message<T>>) -> Flow {
        match received {
            Received::Message(Message::Done(value)) => return self.finish(Ok(value)),
            Received::Message(Message::Wait(reply)) if self.outcome.is_some() => reply.send(()),
            Received::Message(Message::Wait(reply)) => self.waiting = Some(reply),
            Received::Message(Message::Take(reply)) => match self.outcome.take() {
                Some(outcome) => {
                    reply.send(outcome);
                    return Flow::Stop(ExitReason::Normal);
                }
                None => self.taking = Some(reply),
            },
            Received::Message(Message::Cancel(reply)) => {
                reply.send(self.outcome.take());
                return self.stop(ExitReason::Normal);
            }
            Received::Message(Message::Forget) if self.outcome.is_some() => {
                return Flow::Stop(ExitReason::Normal);
            }
            Received::Message(Message::Forget) => self.forgotten = true,
            Received::Event(Event::Exit(exit)) if Some(exit.from) == self.worker => {
                return self.finish(Err(exit.reason));
            }
            Received::Event(Event::Exit(exit)) if Some(exit.from) == self.parent => {
                return self.stop(exit.reason);
            }
            Received::Event(_) => {}
        }
        Flow::Continue
    }
}

impl<T: Send + 'static> Inspect for Keeper<T> {
    fn class(&self) -> &'static str {
        "Task"
    }

    fn parent(&self) -> Option<Pid> {
        self.parent
    }

    /// The result, if it is there.
    fn state(&mut self) -> &mut dyn Any {
        &mut self.outcome
    }

    fn format_state(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match (self.worker, &self.outcome) {
            (Some(worker), _) => write!(out, "running in {worker}"),
            (None, Some(Ok(_))) => out.write_str("done"),
            (None, Some(Err(reason))) => write!(out, "failed: {reason}"),
            (None, None) => out.write_str("not started"),
        }
    }
}

/// A supervisor of tasks: whoever starts one is not linked with it, and all end with the supervisor.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_stdlib::TaskSupervisor;
///
/// let tasks = TaskSupervisor::start_link(100)?;
/// assert_eq!(tasks.spawn(|| 6 * 7).unwrap().join(), Ok(42));
/// # Ok::<(), engset_stdlib::StartError>(())
/// # }).unwrap().unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskSupervisor(DynamicSupervisor);

impl TaskSupervisor {
    /// Starts one for so many tasks at a time, linked with this process.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start_link(max_tasks: usize) -> Result<Self, StartError> {
        DynamicSupervisor::builder().max_children(max_tasks).start_link().map(TaskSupervisor)
    }

    /// As a child of a supervisor, with a name: [`TaskSupervisor::named`] finds it.
    pub fn child(name: impl Into<Arc<str>>, max_tasks: usize) -> ChildSpec {
        let name = name.into();
        let builder: DynamicSupervisorBuilder = DynamicSupervisor::builder().max_children(max_tasks);
        builder.name(Arc::clone(&name)).child(name)
    }

    /// The one that has this name on the caller's node.
    ///
    /// # Errors
    ///
    /// Nobody has the name, or it is no such supervisor.
    pub fn named(name: &str) -> Result<Self, NameError> {
        DynamicSupervisor::named(name).map(TaskSupervisor)
    }

    /// Its process.
    #[must_use]
    pub fn pid(self) -> Pid {
        self.0.pid()
    }

    /// Runs `work` in a new process under the supervisor.
    ///
    /// # Errors
    ///
    /// There are as many tasks as there may be, or the supervisor does not answer.
    pub fn spawn<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Task<T>, ChildError> {
        // A start function may be called again, this one is not: the child is temporary.
        let slot = Arc::new(Mutex::new((Some(work), None)));
        let place = Arc::clone(&slot);
        let spec = ChildSpec::new("task", move || {
            let mut slot = place.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(work) = slot.0.take() else { return Err(StartError::Ending) };
            let keeper = Keeper::new(work, engset_runtime::try_self_pid(), false);
            let task = Task::launch(Builder::new().link(), keeper)?;
            let pid = task.pid();
            slot.1 = Some(task);
            Ok(pid)
        });
        self.0.start_child(spec.temporary().shutdown(Shutdown::BrutalKill))?;
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.1.take().ok_or(ChildError::Start(StartError::Ending))
    }
}
