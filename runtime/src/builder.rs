//! Spawning with options.

use crate::{
    bound::{Bound, Limit},
    call::fresh_reference,
    error::SpawnError,
    event::MonitorRef,
    names::Message,
    node::{self, Node},
    observe::{self, Seen},
    pid::Pid,
    process::{Entry, Once, try_self_pid},
    reductions::price,
    related::Watch,
    server::{Server, Serving},
    state::{self, State, with},
};
use engset_scheduler::{Extension, OwnedBody, Priority, Settings, current};
use std::{fmt, sync::Arc};

/// Options of a new process.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::{Builder, Limit, Mailbox, Overflow, Priority};
///
/// let worker = Builder::new()
///     .name("worker")
///     .priority(Priority::Low)
///     .stack_size(64 * 1024)
///     .mailbox(Limit::messages(100).overflow(Overflow::DropNewest))
///     .spawn(|mut mailbox: Mailbox<u32>| assert_eq!(mailbox.message(), 7))?;
/// worker.send(7);
/// # Ok::<(), engset_runtime::BuildError>(())
/// # }).unwrap().unwrap();
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "it does nothing until it spawns"]
pub struct Builder {
    name: Option<Arc<str>>,
    priority: Priority,
    stack_size: Option<usize>,
    link: bool,
    limit: Option<Limit>,
    traps: bool,
    ancestry: bool,
    /// What is spawned is a server: it takes system requests.
    serves: bool,
    spread: bool,
    configured_as: Option<Arc<str>>,
}

/// Why a process with these options was not spawned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The scheduler refuses.
    Spawn(SpawnError),
    /// The name cannot be had.
    Name(crate::error::NameError),
    /// This option or function needs a process that calls it.
    OutsideOfProcess {
        /// Which.
        what: &'static str,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Spawn(error) => error.fmt(f),
            BuildError::Name(error) => error.fmt(f),
            BuildError::OutsideOfProcess { what } => {
                write!(f, "{what} was called outside of a process; there use run or Node::spawn")
            }
        }
    }
}

impl std::error::Error for BuildError {}

impl From<crate::error::NameError> for BuildError {
    fn from(error: crate::error::NameError) -> Self {
        BuildError::Name(error)
    }
}

impl From<SpawnError> for BuildError {
    fn from(error: SpawnError) -> Self {
        BuildError::Spawn(error)
    }
}

impl Builder {
    /// The defaults: no name, normal priority, the node's stack size, no link, an unbounded mailbox.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers it under a name before it runs.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// When it is chosen among those that can run.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Its stack in bytes of address space, rounded up to a power of two from 16 KiB to 64 MiB. Memory is
    /// committed as it is used.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Links it with the process that spawns it, in the same step.
    pub fn link(mut self) -> Self {
        self.link = true;
        self
    }

    /// Bounds its mailbox.
    pub fn mailbox(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// It starts on the next worker in turn, and not on the one of the process that spawns it. For processes that will
    /// live long and have little to do with their parent, as those that serve a connection: what has started
    /// stays on its worker.
    pub fn spread(mut self) -> Self {
        self.spread = true;
        self
    }

    /// If it has no name, the [configuration](crate::config::ProcessSettings) of this one counts. The behaviours give the id that
    /// a supervisor knows the process by.
    pub fn configured_as(mut self, name: impl Into<Arc<str>>) -> Self {
        self.configured_as = Some(name.into());
        self
    }

    /// Lays what the node's configuration says of it over what the program says.
    fn configure(&mut self, node: &node::Inner) {
        let name = self.name.as_ref().or(self.configured_as.as_ref());
        if let Some(settings) = name.and_then(|name| node.process_settings(name)) {
            self.priority = settings.priority().unwrap_or(self.priority);
            self.stack_size = settings.stack_size().or(self.stack_size);
            self.limit = settings.mailbox(self.limit.take());
        }
    }

    /// It traps exits from the start ([`trap_exits`](crate::trap_exits)).
    pub fn trap_exits(mut self) -> Self {
        self.traps = true;
        self
    }

    /// Records who starts it: in [`ProcessInfo::ancestors`](crate::ProcessInfo), and in the report if it crashes. The
    /// behaviours do so.
    pub fn ancestry(mut self) -> Self {
        self.ancestry = true;
        self
    }

    /// Spawns a process with these options on the node of the process that calls.
    ///
    /// # Errors
    ///
    /// The limit of processes is reached, the stack size is impossible, the name is taken or invalid, or this
    /// is no process.
    pub fn spawn<A: 'static, E: Entry<A>>(self, entry: E) -> Result<E::Handle, BuildError> {
        let pid = self.start(OwnedBody::new(Once::new(entry)), None, E::message(), "spawn")?;
        Ok(E::handle(pid))
    }

    /// The same, with a monitor set in the same step.
    ///
    /// # Errors
    ///
    /// As [`Builder::spawn`].
    pub fn spawn_monitor<A: 'static, E: Entry<A>>(
        self,
        entry: E,
    ) -> Result<(E::Handle, MonitorRef), BuildError> {
        let reference = MonitorRef(fresh_reference());
        let pid =
            self.start(OwnedBody::new(Once::new(entry)), Some(reference), E::message(), "spawn_monitor")?;
        Ok((E::handle(pid), reference))
    }

    /// Spawns a server: a process that holds no stack while it waits ([`Server`]).
    ///
    /// # Errors
    ///
    /// As [`Builder::spawn`].
    pub fn serve<S: Server>(mut self, server: S) -> Result<crate::Address<S::Message>, BuildError> {
        self.serves = true;
        let pid =
            self.start(OwnedBody::new(Serving::new(server)), None, Message::of::<S::Message>(), "serve")?;
        Ok(crate::Address::new(pid))
    }

    /// The same, with a monitor set in the same step.
    ///
    /// # Errors
    ///
    /// As [`Builder::spawn`].
    pub fn serve_monitor<S: Server>(
        mut self,
        server: S,
    ) -> Result<(crate::Address<S::Message>, MonitorRef), BuildError> {
        self.serves = true;
        let reference = MonitorRef(fresh_reference());
        let pid = self.start(
            OwnedBody::new(Serving::new(server)),
            Some(reference),
            Message::of::<S::Message>(),
            "serve_monitor",
        )?;
        Ok((crate::Address::new(pid), reference))
    }

    /// Spawns on a node, from any thread.
    ///
    /// # Errors
    ///
    /// The limit of processes is reached, the name is taken or invalid, the node has stopped, or a link was
    /// asked for: that needs a process, and [`Builder::spawn`].
    pub fn spawn_on<A: 'static, E: Entry<A>>(
        mut self,
        node: &Node,
        entry: E,
    ) -> Result<E::Handle, BuildError> {
        if self.link {
            return Err(BuildError::OutsideOfProcess { what: "spawn_on with a link" });
        }
        self.configure(&node.inner);
        let reserved = match &self.name {
            Some(name) => node.inner.names.reserve(name)?,
            None => 0,
        };
        let mut state = State::new(self.traps);
        let bound = self.limit.clone().map(|limit| Arc::new(Bound::new(limit)));
        if let Some(bound) = &bound {
            state.rare().bound = Some(Arc::clone(bound));
        }
        if let Some(name) = &self.name {
            state.rare().names.push((Arc::clone(name), reserved));
        }
        let state = (!self.is_plain()).then(|| Extension::new(state));
        let spawned = node.scheduler.spawn(OwnedBody::new(Once::new(entry)), state, self.settings());
        let task = spawned.inspect_err(|_| {
            if let Some(name) = &self.name {
                node.inner.names.unreserve(name, reserved);
            }
        })?;
        let pid = Pid::new(node.id(), task);
        if let Some(bound) = bound {
            node.inner.bounds.insert(pid, bound);
        }
        if let Some(name) = &self.name {
            node.inner.names.fill(name, reserved, pid, E::message());
            node.inner.tell(Seen::Named { pid, name });
        }
        Ok(E::handle(pid))
    }

    fn settings(&self) -> Settings {
        Settings {
            priority: self.priority,
            stack_size: self.stack_size,
            marked: self.limit.is_some(),
            flagged: self.serves,
            spread: self.spread,
        }
    }

    fn is_plain(&self) -> bool {
        self.name.is_none()
            && self.configured_as.is_none()
            && !self.link
            && self.limit.is_none()
            && !self.traps
            && !self.ancestry
    }

    #[inline]
    fn start(
        self,
        body: OwnedBody,
        monitor: Option<MonitorRef>,
        message: Message,
        what: &'static str,
    ) -> Result<Pid, BuildError> {
        if self.is_plain() && monitor.is_none() {
            let settings = self.settings();
            let (Some(task), Some(id)) =
                (current::spawn(body, None, settings), node::with_current(|node| node.id))
            else {
                return Err(BuildError::OutsideOfProcess { what });
            };
            current::reduce(price::SPAWN);
            return Ok(Pid::new(id, task?));
        }
        self.start_related(body, monitor, message, what)
    }

    fn start_related(
        mut self,
        body: OwnedBody,
        monitor: Option<MonitorRef>,
        message: Message,
        what: &'static str,
    ) -> Result<Pid, BuildError> {
        let Some(parent) = try_self_pid() else { return Err(BuildError::OutsideOfProcess { what }) };
        if self.name.is_some() || self.configured_as.is_some() {
            node::with_current(|node| self.configure(node));
        }
        let reserved = match &self.name {
            Some(name) => {
                observe::touch(observe::NAMES);
                node::with_current(|node| node.names.reserve(name)).transpose()?.unwrap_or(0)
            }
            None => 0,
        };
        let settings = self.settings();
        let mut state = State::new(self.traps);
        if let Some(reference) = monitor {
            state.relations.add_watcher(reference, parent);
        }
        if self.link {
            state.relations.linked(parent);
        }
        if self.ancestry {
            state.ancestors = state::lineage(parent);
        }
        let bound = self.limit.map(|limit| Arc::new(Bound::new(limit)));
        if let Some(bound) = &bound {
            state.rare().bound = Some(Arc::clone(bound));
        }
        if let Some(name) = &self.name {
            state.rare().names.push((Arc::clone(name), reserved));
        }
        let spawned = match current::spawn(body, Some(Extension::new(state)), settings) {
            Some(spawned) => spawned.map_err(BuildError::Spawn),
            None => Err(BuildError::OutsideOfProcess { what }),
        };
        let task = match spawned {
            Ok(task) => task,
            Err(error) => {
                if let Some(name) = &self.name {
                    node::with_current(|node| node.names.unreserve(name, reserved));
                }
                return Err(error);
            }
        };
        // Nothing waits from here on, so this process hears of the new one's end only after what follows; and
        // who looks for the name waits for it (`names.rs`).
        let pid = Pid::new(parent.node(), task);
        node::with_current(|node| {
            if let Some(bound) = bound {
                node.bounds.insert(pid, bound);
            }
            if let Some(name) = &self.name {
                node.names.fill(name, reserved, pid, message);
                node.tell(Seen::Named { pid, name });
            }
        });
        if self.link {
            with(|state| state.relations.link(pid));
        }
        if let Some(reference) = monitor {
            with(|state| state.relations.add_monitor(reference, Watch::new(pid)));
        }
        current::reduce(price::SPAWN);
        Ok(pid)
    }
}
