//! Extensions: values of which a node has one of each type, made once, stopped with the node.
//!
//! 1. An extension is created when it is first asked for. It may ask for others in its `create`; those are then there
//!    before it, and are stopped after it.
//! 2. One creation at a time on a node: who asks meanwhile for one that is not there waits. So two that create each other's
//!    needs cannot wait for each other. One that needs itself, directly or by others, is an error that names the circle.
//! 3. They are stopped in the reverse order of their creation. From then on none is created. They are there until the node's
//!    processes have ended.
//! 4. A creation that fails, panics or is killed leaves nothing; the next who asks tries again.

use crate::{
    Node,
    call::{self, Reply},
    node::lock,
    pid::Pid,
    process::try_self_pid,
};
use hashbrown::HashMap;
use std::{
    any::{Any, TypeId, type_name},
    error::Error,
    fmt,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, ThreadId},
};

/// Something that a node has one of: a pool of connections, a metrics exporter, a table that all processes share.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::{Extension, Node, extension};
/// use std::{error::Error, sync::atomic::{AtomicU64, Ordering}};
///
/// #[derive(Default)]
/// struct Hits(AtomicU64);
///
/// impl Extension for Hits {
///     fn create(_: &Node) -> Result<Self, Box<dyn Error + Send + Sync>> {
///         Ok(Hits::default())
///     }
/// }
///
/// extension::<Hits>()?.0.fetch_add(1, Ordering::Relaxed);
/// assert_eq!(extension::<Hits>()?.0.load(Ordering::Relaxed), 1);
/// # Ok::<(), engset_runtime::ExtensionError>(())
/// # }).unwrap().unwrap();
/// ```
pub trait Extension: Send + Sync + Sized + 'static {
    /// Makes the only one of a node. It may wait, spawn processes and ask for other extensions, but not wait for a
    /// process that asks for one.
    ///
    /// # Errors
    ///
    /// It cannot be made. Whoever has asked for it gets the error.
    fn create(node: &Node) -> Result<Self, Box<dyn Error + Send + Sync>>;

    /// The node stops. Called once, when everything that was created later has been stopped. When a service stops, the node's
    /// processes still run, and it may talk to them; when it is [`Node::stop`] that calls it, better not.
    fn stop(&self, node: &Node) {
        let _ = node;
    }
}

/// Why there is no extension.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ExtensionError {
    /// It could not be made.
    Create {
        /// Its type.
        name: &'static str,
        /// Why.
        error: Arc<dyn Error + Send + Sync>,
    },
    /// It needs itself: each of these asks for the next, and the last for the first.
    Cycle(Vec<&'static str>),
    /// The node stops, or has stopped.
    Stopped,
    /// Asked for outside of a process; there is [`Node::extension`].
    OutsideOfProcess,
}

impl fmt::Display for ExtensionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExtensionError::Create { name, error } => {
                write!(f, "the extension {name} could not be made: {error}")
            }
            ExtensionError::Cycle(names) => {
                let first = names.first().copied().unwrap_or_default();
                write!(f, "extensions need each other: {} -> {first}", names.join(" -> "))
            }
            ExtensionError::Stopped => f.write_str("the node makes no extensions any more: it stops"),
            ExtensionError::OutsideOfProcess => {
                f.write_str("extension was called outside of a process; there use Node::extension")
            }
        }
    }
}

impl Error for ExtensionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ExtensionError::Create { error, .. } => Some(&**error),
            _ => None,
        }
    }
}

/// The extensions of a node.
#[derive(Default)]
pub(crate) struct Extensions {
    state: Mutex<State>,
    /// For threads that are no processes, with the lock of `state`.
    changed: Condvar,
}

type Stop = Box<dyn FnOnce(&Node) + Send>;

#[derive(Default)]
struct State {
    ready: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    /// How to stop those that are there, in the order of their creation.
    stops: Vec<Stop>,
    /// Who creates now, and what: the outermost first.
    creating: Option<(Creator, Vec<(TypeId, &'static str)>)>,
    /// Processes that wait for the end of the creation.
    waiting: Vec<Reply<()>>,
    stopped: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Creator {
    Process(Pid),
    Thread(ThreadId),
}

fn creator() -> Creator {
    try_self_pid().map_or_else(|| Creator::Thread(thread::current().id()), Creator::Process)
}

/// What is to be done, as the state says.
enum Turn {
    Ready(Arc<dyn Any + Send + Sync>),
    Create,
    Wait,
}

impl Extensions {
    /// `Turn::Create`: the caller is the creator from here on.
    fn turn<T: 'static>(&self) -> Result<Turn, ExtensionError> {
        let (id, me) = (TypeId::of::<T>(), creator());
        let mut state = lock(&self.state);
        if let Some(value) = state.ready.get(&id) {
            return Ok(Turn::Ready(Arc::clone(value)));
        }
        if state.stopped {
            return Err(ExtensionError::Stopped);
        }
        match &mut state.creating {
            Some((by, chain)) if *by == me => {
                if let Some(at) = chain.iter().position(|(other, _)| *other == id) {
                    return Err(ExtensionError::Cycle(chain[at..].iter().map(|(_, name)| *name).collect()));
                }
                chain.push((id, type_name::<T>()));
                Ok(Turn::Create)
            }
            Some(_) => Ok(Turn::Wait),
            None => {
                state.creating = Some((me, vec![(id, type_name::<T>())]));
                Ok(Turn::Create)
            }
        }
    }

    /// Waits for the end of the creation that goes on.
    fn wait(&self) {
        if try_self_pid().is_some() {
            // A process that is ending gets an error here, and one again when it looks for a way to wait.
            let _ = call::wait_for(|reply| {
                let mut state = lock(&self.state);
                // Dropped otherwise, which ends the waiting.
                if state.creating.is_some() {
                    state.waiting.push(reply);
                }
            });
        } else {
            let state = lock(&self.state);
            if state.creating.is_some() {
                drop(self.changed.wait(state).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }
}

/// The end of a creation, also by a panic.
struct Creation<'a>(&'a Extensions);

impl Drop for Creation<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        let Some((_, chain)) = &mut state.creating else { return };
        chain.pop();
        if !chain.is_empty() {
            return;
        }
        state.creating = None;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.0.changed.notify_all();
        waiting.into_iter().for_each(|reply| reply.send(()));
    }
}

impl Node {
    /// The node's only `T`, which is created if it is not there.
    ///
    /// # Errors
    ///
    /// It cannot be created, it needs itself, or the node stops.
    ///
    /// # Signals
    ///
    /// A process waits while another creates one; an exit signal unwinds its stack from there.
    pub fn extension<T: Extension>(&self) -> Result<Arc<T>, ExtensionError> {
        let extensions = &self.inner.extensions;
        loop {
            match extensions.turn::<T>()? {
                Turn::Ready(value) => {
                    return Ok(value.downcast().unwrap_or_else(|_| unreachable!("found by its type")));
                }
                Turn::Wait if crate::hooks::is_ending() => return Err(ExtensionError::Stopped),
                Turn::Wait => extensions.wait(),
                Turn::Create => {
                    let creation = Creation(extensions);
                    let made = T::create(self).map_err(|error| ExtensionError::Create {
                        name: type_name::<T>(),
                        error: error.into(),
                    })?;
                    let value = Arc::new(made);
                    let stopping = Arc::clone(&value);
                    let mut state = lock(&extensions.state);
                    if state.stopped {
                        drop(state);
                        value.stop(self);
                        return Err(ExtensionError::Stopped);
                    }
                    state.ready.insert(TypeId::of::<T>(), Arc::clone(&value) as _);
                    state.stops.push(Box::new(move |node| stopping.stop(node)));
                    drop(state);
                    drop(creation);
                    return Ok(value);
                }
            }
        }
    }

    /// The node's `T`, if it is there.
    #[must_use]
    pub fn find_extension<T: Extension>(&self) -> Option<Arc<T>> {
        let found = lock(&self.inner.extensions.state).ready.get(&TypeId::of::<T>()).cloned();
        found.and_then(|value| value.downcast().ok())
    }

    /// Stops the extensions, the latest first; from here on none is created. [`Node::stop`] does this too. A panic in the
    /// stop of one does not keep the others from being stopped.
    pub fn stop_extensions(&self) {
        lock(&self.inner.extensions.state).stopped = true;
        loop {
            let Some(stop) = lock(&self.inner.extensions.state).stops.pop() else { return };
            // An exit signal for the process that does this shows as a panic too: it is raised again at its next wait.
            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stop(self))));
        }
    }
}

impl Node {
    /// The node has stopped. What an extension holds may hold the node.
    pub(crate) fn drop_extensions(&self) {
        let ready = std::mem::take(&mut lock(&self.inner.extensions.state).ready);
        drop(ready);
    }
}

/// The only `T` of the node that the calling process lives on: [`Node::extension`].
///
/// # Errors
///
/// As there; or this is no process.
pub fn extension<T: Extension>() -> Result<Arc<T>, ExtensionError> {
    Node::current().ok_or(ExtensionError::OutsideOfProcess)?.extension()
}
