//! Names of processes: [`Pid`] for all of them, [`Address`] for those that take messages of a type.

use crate::node::NodeId;
use engset_scheduler::TaskId;
use std::{
    fmt,
    hash::{Hash, Hasher},
    marker::PhantomData,
};

/// A process: its node, its place in the node's table, and which life in that place. 16 bytes, `Copy`.
///
/// A pid is never used again: when the process has ended, it names nobody. Link, monitor, exit and
/// [`is_alive`](crate::is_alive) work on pids; to send a message one needs an [`Address`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid {
    serial: u64,
    index: u32,
    node: NodeId,
}

/// The index of callers that are no processes (`call.rs`); no task has it.
const OUTSIDE: u32 = u32::MAX;

impl Pid {
    pub(crate) fn new(node: NodeId, task: TaskId) -> Self {
        Pid { serial: task.serial(), index: task.index(), node }
    }

    /// A waiter that is no process.
    pub(crate) fn outside(node: NodeId, waiter: u64) -> Self {
        Pid { serial: waiter, index: OUTSIDE, node }
    }

    pub(crate) fn outside_waiter(self) -> Option<u64> {
        (self.index == OUTSIDE).then_some(self.serial)
    }

    #[inline(always)]
    /// Its place in the table of its node, and which life in that place: what the scheduler knows it by. For tools.
    #[must_use]
    pub fn task(self) -> TaskId {
        TaskId::new(self.index, self.serial)
    }

    pub(crate) fn parts(self) -> (u32, u64) {
        (self.index, self.serial)
    }

    /// The node it lives on.
    #[must_use]
    pub fn node(self) -> NodeId {
        self.node
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}.{}.{}>", self.node.number(), self.index, self.serial / 2)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A process that takes messages of type `M`. As small as a pid, and `Copy`.
///
/// Only the runtime makes addresses, with the type of the mailbox that they lead to.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::{Address, Mailbox, spawn};
///
/// let doubler: Address<(u32, Address<u32>)> = spawn(|mut mailbox: Mailbox<(u32, Address<u32>)>| {
///     let (number, answer_to) = mailbox.message();
///     answer_to.send(2 * number);
/// });
/// # let _ = doubler;
/// # }).unwrap();
/// ```
pub struct Address<M> {
    pid: Pid,
    /// It takes messages in; it holds none.
    takes: PhantomData<fn(M)>,
}

impl<M> Address<M> {
    pub(crate) fn new(pid: Pid) -> Self {
        Address { pid, takes: PhantomData }
    }

    /// The process.
    #[must_use]
    pub fn pid(self) -> Pid {
        self.pid
    }
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Address<M> {}

impl<M> PartialEq for Address<M> {
    fn eq(&self, other: &Self) -> bool {
        self.pid == other.pid
    }
}

impl<M> Eq for Address<M> {}

impl<M> Hash for Address<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pid.hash(state);
    }
}

impl<M> From<Address<M>> for Pid {
    fn from(address: Address<M>) -> Pid {
        address.pid
    }
}

impl<M> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address<{}>{}", std::any::type_name::<M>(), self.pid)
    }
}

const _: () = assert!(size_of::<Pid>() == 16 && size_of::<Address<String>>() == 16);
