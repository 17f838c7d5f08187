//! A process by its name and the name of its node: Erlang's `{Name, Node}`.
//!
//! The name is looked up where it is, for each message. So it leads to whoever has it then, in whatever incarnation of the node; and
//! nobody has to be asked before the first message is sent.

use super::{Op, Parcel, Remote, RemoteError, Router, codec, encode_message, nodes, pid, register};
use crate::{
    Address,
    call::{self, DEFAULT_CALL_TIMEOUT, Reply},
    error::CallError,
    hooks, node,
    node::NodeId,
    process,
    reason::DownReason,
};
use engset_scheduler::{Envelope, current};
use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

/// Leads to the process that has a name on a node. See the function [`named`].
pub struct Named<M> {
    home: NodeId,
    node: Arc<str>,
    name: Arc<str>,
    takes: PhantomData<fn(M)>,
}

/// The process that has a name on a node, which may be this one. Nothing is looked up yet.
///
/// # Panics
///
/// Outside of a process.
pub fn named<M: Remote>(node: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Named<M> {
    named_from(process::self_pid().node(), node, name)
}

/// The same, as `home` sees it.
pub fn named_from<M: Remote>(home: NodeId, node: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Named<M> {
    register::<M>();
    Named { home, node: node.into(), name: name.into(), takes: PhantomData }
}

enum Way<M> {
    Here(Option<Address<M>>),
    There(Arc<dyn Router>),
    Nowhere,
}

impl<M: Remote> Named<M> {
    fn way(&self) -> Way<M> {
        let own = super::identity(self.home).map(|(name, _)| name);
        let Some(router) = nodes::router_of(self.home) else { return Way::Nowhere };
        if own.as_deref() != Some(&*self.node) {
            return Way::There(router);
        }
        let found = node::with_node(self.home, |node| node.names.find_type(&self.name)).flatten();
        let is_it = |(pid, id): (crate::Pid, Option<std::any::TypeId>)| {
            (id == Some(std::any::TypeId::of::<M>())).then(|| Address::new(pid))
        };
        Way::Here(found.and_then(is_it))
    }

    /// Sends a message. As with an address, nothing tells whether it arrives: nobody may have the name, or take such messages.
    pub fn send(&self, message: M) {
        match self.way() {
            Way::Here(Some(address)) => address.send(message),
            Way::Here(None) | Way::Nowhere => drop(message),
            Way::There(router) => self.route(&*router, Envelope::message(message)),
        }
    }

    /// Sends a request and waits for the answer, 5 seconds at most.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; `Down(NoProc)`: nobody has the name.
    ///
    /// # Signals
    ///
    /// If an exit signal ends the caller, its stack unwinds from here.
    pub fn call<T: Send + 'static>(&self, make: impl FnOnce(Reply<T>) -> M) -> Result<T, CallError> {
        self.call_timeout(make, DEFAULT_CALL_TIMEOUT)
    }

    /// The same with another timeout; [`Duration::MAX`]: none.
    ///
    /// # Errors, Signals
    ///
    /// As [`Named::call`].
    pub fn call_timeout<T: Send + 'static>(
        &self,
        make: impl FnOnce(Reply<T>) -> M,
        timeout: Duration,
    ) -> Result<T, CallError> {
        match self.way() {
            Way::Here(Some(address)) => address.call_timeout(make, timeout),
            Way::Here(None) => Err(CallError::Down(DownReason::NoProc)),
            Way::Nowhere => Err(CallError::Down(DownReason::NoConnection)),
            Way::There(router) => {
                let start = current::now();
                let expiry = hooks::expiry(start, process::add(start, timeout));
                let ask = |reply| {
                    let mut envelope = Envelope::message(make(reply));
                    envelope.set_tag(expiry);
                    self.route(&*router, envelope);
                };
                call::wait_for_timeout(ask, timeout)
            }
        }
    }

    /// The address of who has the name now.
    ///
    /// # Errors
    ///
    /// See [`RemoteError`].
    pub fn lookup(&self) -> Result<Address<M>, RemoteError> {
        let router = nodes::router_of(self.home).ok_or(RemoteError::NotJoined)?;
        Ok(super::address(router.lookup(&self.node, &self.name, register::<M>())?))
    }

    fn route(&self, router: &dyn Router, envelope: Envelope) {
        let Some(Op::Message { codec, body, patience, calls, .. }) = encode_message(envelope, None) else {
            return;
        };
        let op = Op::Named { name: Arc::clone(&self.name), codec, body, patience, calls };
        // Nobody yet: the other node knows.
        let to = pid(NodeId::NONE, 0, 0);
        let may_wait = current::may_wait() || !current::on_worker();
        router.route_named(&self.node, Parcel { from: process::try_self_pid(), to, op }, may_wait);
    }

    /// The name of the node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The name of the process.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<M> Clone for Named<M> {
    fn clone(&self) -> Self {
        let (node, name) = (Arc::clone(&self.node), Arc::clone(&self.name));
        Named { home: self.home, node, name, takes: PhantomData }
    }
}

impl<M> fmt::Debug for Named<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Named({} at {})", self.name, self.node)
    }
}

/// Who has a name on a node of this program, if it takes messages of this codec's type.
///
/// # Errors
///
/// Nobody has it, or who has it takes others.
pub fn find_named(home: NodeId, name: &str, codec: &'static codec::Codec) -> Result<crate::Pid, NotNamed> {
    let found = node::with_node(home, |node| node.names.find_type(name)).flatten();
    let (pid, id) = found.ok_or(NotNamed::Nobody)?;
    if id == Some(codec.type_id()) { Ok(pid) } else { Err(NotNamed::TakesOthers) }
}

/// See [`find_named`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNamed {
    /// Nobody has the name.
    Nobody,
    /// Who has it takes messages of another type.
    TakesOthers,
}
