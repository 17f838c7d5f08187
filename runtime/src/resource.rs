//! What a process has outside of itself, and what must not outlive it: entries in shared tables, above all.
//!
//! 1. A resource is released once its process ends: in the teardown, with its names, before anybody is told of the
//!    death. So who gets `Down` finds the entries gone.
//! 2. A process touches only its own list. To give a resource to another process is a signal, in the order of all
//!    signals of the sender; a dead receiver answers by releasing it.
//! 3. Resources are released in the order in which they were made, on the worker of the process.

use crate::{call, pid::Pid, process, send, signal::Signal, state};
use engset_scheduler::current;
use std::{fmt, sync::Arc};

/// Something that is to be given back when its process has ended. See [`hold`].
pub trait Resource: Send + Sync + 'static {
    /// `owner` has ended. It runs as a part of the death: names are free already, nobody has been told yet.
    ///
    /// It can send, and cannot wait. A panic in it goes no further.
    fn release(&self, owner: Pid);
}

/// A resource in the hands of a process. See [`hold`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceRef {
    owner: Pid,
    id: u64,
}

impl ResourceRef {
    /// The process that has it.
    #[must_use]
    pub fn owner(self) -> Pid {
        self.owner
    }
}

impl fmt::Debug for ResourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResourceRef({:x} of {})", self.id, self.owner)
    }
}

/// A resource under way to its process.
pub(crate) struct Parcel {
    pub(crate) owner: Pid,
    pub(crate) id: u64,
    pub(crate) resource: Arc<dyn Resource>,
}

/// Gives a process something that is to be released when it ends: [`Resource::release`] is called then, before links
/// and monitors tell of the death.
///
/// For another process than the caller it is a signal: it holds from its arrival on. If the process is dead, the resource
/// is released at once. What waits for a process' death some time, and need not be ordered with its `Down`, is better
/// done by a [`monitor`](crate::monitor).
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::{Mailbox, Pid, Reply, Resource, hold, self_pid, spawn, spawn_monitor};
/// use std::sync::{Arc, Mutex};
///
/// struct Guests(Mutex<Vec<Pid>>);
///
/// impl Resource for Guests {
///     fn release(&self, owner: Pid) {
///         self.0.lock().unwrap().retain(|guest| *guest != owner);
///     }
/// }
///
/// let host = spawn(|mut mailbox: Mailbox<Reply<usize>>| {
///     let reply = mailbox.message();
///     let guests = Arc::new(Guests(Mutex::default()));
///     let book = guests.clone();
///     spawn_monitor(move || {
///         book.0.lock().unwrap().push(self_pid());
///         hold(self_pid(), book);
///     });
///     let _down = mailbox.receive();
///     reply.send(guests.0.lock().unwrap().len());
/// });
/// assert_eq!(host.call(|reply| reply), Ok(0));
/// # }).unwrap();
/// ```
pub fn hold(owner: impl Into<Pid>, resource: Arc<dyn Resource>) -> ResourceRef {
    let owner = owner.into();
    let id = call::fresh_reference();
    let parcel = Parcel { owner, id, resource };
    if process::try_self_pid() == Some(owner) {
        receive(parcel);
    } else {
        send::signal(owner, Signal::Hold(Box::new(parcel)));
    }
    ResourceRef { owner, id }
}

/// Takes a resource from a process again: it will not be released.
pub fn let_go(resource: ResourceRef) {
    if process::try_self_pid() == Some(resource.owner) {
        drop(forget(resource.id));
    } else {
        send::signal(resource.owner, Signal::LetGo { id: resource.id });
    }
}

/// For the process that runs or that a hook is called for.
pub(crate) fn receive(parcel: Parcel) {
    if current::is_ending() {
        // Its resources have been released already.
        return parcel.bounce();
    }
    let Parcel { id, resource, .. } = parcel;
    state::with(|state| state.rare().resources.insert(id, resource));
}

#[must_use]
pub(crate) fn forget(id: u64) -> Option<Arc<dyn Resource>> {
    state::with_existing(|state| state.rare.as_mut().and_then(|rare| rare.resources.remove(&id))).flatten()
}

impl Parcel {
    /// The process is dead.
    pub(crate) fn bounce(self) {
        release(self.owner, &[self.resource]);
    }
}

pub(crate) fn release<'a>(owner: Pid, resources: impl IntoIterator<Item = &'a Arc<dyn Resource>>) {
    for resource in resources {
        if let Err(payload) = current::outside(|| resource.release(owner)) {
            std::mem::forget(payload);
        }
    }
}
