//! A value in a process of its own: who wants to see or change it sends a closure.

use crate::{Context, GenServer, Next, StartError};
use engset_runtime::{Address, CallError, Pid, Reply};
use std::{any::Any, fmt, sync::Arc};

/// See the [module](self).
///
/// The closures run in the agent's process: keep them short, and let a long computation run in the caller on
/// what it got. A closure that panics ends the agent.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_stdlib::Agent;
///
/// let words = Agent::start(Vec::new())?;
/// words.cast(|list| list.push("hello"));
/// words.update(|list| list.push("world")).unwrap();
/// assert_eq!(words.get(|list| list.join(" ")), Ok("hello world".to_owned()));
/// # Ok::<(), engset_stdlib::StartError>(())
/// # }).unwrap().unwrap();
/// ```
pub struct Agent<T> {
    address: Address<Job<T>>,
}

/// What an agent takes. Nobody but [`Agent`] makes one.
pub struct Job<T>(Box<dyn FnOnce(&mut T) + Send>);

struct Holder<T>(T);

impl<T: Send + 'static> GenServer for Holder<T> {
    type Message = Job<T>;

    fn handle(&mut self, job: Job<T>, _: &mut Context<Job<T>>) -> Next {
        (job.0)(&mut self.0);
        Next::wait()
    }

    fn format_state(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(std::any::type_name::<T>())
    }

    fn sys_state(&mut self) -> &mut dyn Any {
        &mut self.0
    }
}

impl<T: Send + 'static> Agent<T> {
    /// Starts an agent, without a tie to this process.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(value: T) -> Result<Self, StartError> {
        Holder(value).start().map(|address| Agent { address })
    }

    /// Starts an agent, linked with this process.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start_link(value: T) -> Result<Self, StartError> {
        Holder(value).start_link().map(|address| Agent { address })
    }

    /// Starts an agent with a name, linked with this process. [`Agent::named`] finds it.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start_link_named(value: T, name: impl Into<Arc<str>>) -> Result<Self, StartError> {
        Holder(value).options().name(name).start_link().map(|address| Agent { address })
    }

    /// The agent that has this name on the caller's node.
    ///
    /// # Errors
    ///
    /// Nobody has the name, or it is no agent of a `T`.
    pub fn named(name: &str) -> Result<Self, engset_runtime::NameError> {
        engset_runtime::lookup(name).map(|address| Agent { address })
    }

    /// What `look` makes of the value.
    ///
    /// # Errors
    ///
    /// The agent is dead, or not done within 5 seconds.
    pub fn get<R: Send + 'static>(self, look: impl FnOnce(&T) -> R + Send + 'static) -> Result<R, CallError> {
        self.update(|value| look(value))
    }

    /// Changes the value, and brings back what `change` returns.
    ///
    /// # Errors
    ///
    /// As [`Agent::get`].
    pub fn update<R: Send + 'static>(
        self,
        change: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, CallError> {
        self.address.call(|reply: Reply<R>| Job(Box::new(move |value| reply.send(change(value)))))
    }

    /// Changes the value, some time; nobody waits for it.
    pub fn cast(self, change: impl FnOnce(&mut T) + Send + 'static) {
        self.address.send(Job(Box::new(change)));
    }

    /// Its process.
    #[must_use]
    pub fn pid(self) -> Pid {
        self.address.pid()
    }
}

impl<T> Clone for Agent<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Agent<T> {}

impl<T> fmt::Debug for Agent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Agent{}", self.address.pid())
    }
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}
