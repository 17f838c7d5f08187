//! What processes ask of the distribution, whatever it is made of: other nodes, names there, processes there.
//!
//! All of it is about the node of the process that calls. If that has not joined others, there are none.

use super::{Ancestry, Relation, Remote, RemoteError, Router, entry_point, entry_point_with, read, register};
use crate::{
    Address, Mailbox,
    event::MonitorRef,
    node::{self, NodeId},
    pid::Pid,
    process::self_pid,
    relations::{link, monitor},
};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;

/// Names and numbers of nodes.
pub type Nodes = Vec<(Arc<str>, NodeId)>;

fn home() -> Option<NodeId> {
    node::with_current(|node| node.id)
}

pub(super) fn router_of(home: NodeId) -> Option<Arc<dyn Router>> {
    read(|table| table.homes.get(&home).map(|home| Arc::clone(&home.router))).flatten()
}

fn router() -> Result<Arc<dyn Router>, RemoteError> {
    home().and_then(router_of).ok_or(RemoteError::NotJoined)
}

/// The name that this node has for others, if it has joined them.
#[must_use]
pub fn own_name() -> Option<Arc<str>> {
    super::identity(home()?).map(|(name, _)| name)
}

/// The nodes that this one is connected with. (Not the hidden ones.)
#[must_use]
pub fn nodes() -> Nodes {
    router().map(|router| router.nodes()).unwrap_or_default()
}

/// From now on this process gets [`NodeUp`](crate::Event::NodeUp) and [`NodeDown`](crate::Event::NodeDown), or no more of
/// them. Returns the nodes that are up: the events tell of changes after that.
///
/// # Panics
///
/// Outside of a process.
pub fn monitor_nodes(on: bool) -> Nodes {
    let me = self_pid();
    router().map(|router| router.watch_nodes(me, on)).unwrap_or_default()
}

/// The process that has a name on another node, or on this one.
///
/// # Errors
///
/// See [`RemoteError`].
pub fn lookup_at<M: Remote>(node: &str, name: &str) -> Result<Address<M>, RemoteError> {
    let codec = register::<M>();
    Ok(super::address(router()?.lookup(node, name, codec)?))
}

/// Spawns a process on another node: what is exported there as `entry`, with this argument.
///
/// # Errors
///
/// See [`RemoteError`]. If the connection is lost meanwhile the process may have been spawned; if a link was asked for, it
/// then ends. (On this node itself the relations are set a moment later: one that ends at once may be seen as `NoProc`.)
pub fn spawn_at<A: Serialize>(
    node: &str,
    entry: &str,
    argument: &A,
    relation: Relation,
) -> Result<(Pid, Option<MonitorRef>), RemoteError> {
    let argument = rmp_serde::to_vec(argument).map_err(|error| RemoteError::Encode(error.to_string()))?;
    if own_name().as_deref() == Some(node) {
        let child = router()?.spawn(node, entry, argument, Ancestry::default())?;
        if relation.link {
            link(child);
        }
        return Ok((child, relation.monitor.then(|| monitor(child))));
    }
    let ancestry = Ancestry::new(relation.link, relation.monitor);
    let child = router()?.spawn(node, entry, argument, ancestry)?;
    Ok((child, ancestry.monitor_ref()))
}

/// Lets other nodes spawn processes that run `entry` with an argument of theirs. Nothing else can be spawned from elsewhere.
/// False: the name is taken.
///
/// # Errors
///
/// This node has not joined others.
pub fn export<A: DeserializeOwned + Send + 'static>(
    name: &str,
    entry: impl Fn(A) + Send + Sync + 'static,
) -> Result<bool, RemoteError> {
    Ok(router()?.export(name, entry_point(entry)))
}

/// The same for processes that have a mailbox.
///
/// # Errors
///
/// As [`export`].
pub fn export_with<A: DeserializeOwned + Send + 'static, M: Send + 'static>(
    name: &str,
    entry: impl Fn(A, Mailbox<M>) + Send + Sync + 'static,
) -> Result<bool, RemoteError> {
    Ok(router()?.export(name, entry_point_with(entry)))
}
