//! Where other nodes are to be found.
//!
//! | source | finds | for |
//! |---|---|---|
//! | [`Nodes`] | those of a list | a cluster that is always the same |
//! | [`NodesFile`] | those of a file, which is read again at each look | configuration by others |
//! | [`Dns`] | one for each address of a host's name | headless services of Kubernetes, and the like |
//! | [`HostNames`] | those of this host | several nodes on one machine, without fixed ports |
//!
//! A source says who *should* be there, and where. Who *is* there the connections say: a node that a source does not name any more is
//! not disconnected, and one that does not answer is tried again at the next look.
//!
//! Whatever a source brings is bounded: at most [`MOST`] nodes, and names that nodes may have.

mod dns;
mod file;
mod host;

pub(crate) use host::HostEntry;
pub use {dns::Dns, file::NodesFile, host::HostError, host::HostNames};

use super::handshake::MAX_NAME;
use std::{fmt, io, sync::Arc, time::Duration};

/// Nodes that one source may bring.
pub const MOST: usize = 4096;

/// A node that should be there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Where it is dialled, if that does not follow the `@` in its name.
    pub address: Option<String>,
}

impl Found {
    /// A node whose name says where it is, as `shop@10.0.0.7:7100`.
    pub fn named(name: impl Into<String>) -> Self {
        Found { name: name.into(), address: None }
    }

    /// One that is somewhere else than its name says.
    pub fn at(name: impl Into<String>, address: impl Into<String>) -> Self {
        Found { name: name.into(), address: Some(address.into()) }
    }
}

/// Finds nodes. Its methods may take their time: they are called on a thread that may wait.
pub trait Discovery: Send + Sync {
    /// The nodes that should be there. This node may be among them.
    ///
    /// # Errors
    ///
    /// The source cannot be asked now. What it said before stays good.
    fn nodes(&self) -> Result<Vec<Found>, DiscoveryError>;

    /// Where the node of this name is dialled, if the source knows. By default one of [`Discovery::nodes`].
    fn find(&self, name: &str) -> Option<String> {
        let found = self.nodes().ok()?.into_iter().find(|found| found.name == name)?;
        found.address
    }
}

/// Why a source has brought no nodes.
#[derive(Debug)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// It cannot be read.
    Io {
        /// What was asked: a file, a host.
        what: String,
        /// The trouble.
        error: io::Error,
    },
    /// A line that names no node.
    BadLine {
        /// The file.
        file: String,
        /// Its number, from 1.
        line: usize,
        /// The beginning of it.
        text: String,
    },
    /// More than [`MOST`] nodes, or more bytes than they could need.
    TooMany {
        /// What was asked.
        what: String,
    },
    /// For sources of others.
    Other(String),
}

impl fmt::Display for DiscoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiscoveryError::Io { what, error } => write!(f, "{what}: {error}"),
            DiscoveryError::BadLine { file, line, text } => {
                write!(f, "{file}, line {line}: {text:?} is not a node's name, or a name and an address")
            }
            DiscoveryError::TooMany { what } => write!(f, "{what} names more than {MOST} nodes"),
            DiscoveryError::Other(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for DiscoveryError {}

/// May a node have this name?
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control)
}

/// A list that does not change.
///
/// ```
/// use engset_net::dist::{Config, Secret, discovery::Nodes};
///
/// let config = Config::new("a@10.0.0.1:7100", Secret::new(vec![7; 32]))
///     .discover(Nodes::new(["a@10.0.0.1:7100", "b@10.0.0.2:7100"]));
/// # drop(config);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    nodes: Vec<Found>,
}

impl Nodes {
    /// Nodes whose names say where they are.
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Nodes { nodes: names.into_iter().map(Found::named).collect() }
    }

    /// One more, that is somewhere else than its name says.
    #[must_use]
    pub fn and(mut self, node: Found) -> Self {
        self.nodes.push(node);
        self
    }
}

impl Discovery for Nodes {
    fn nodes(&self) -> Result<Vec<Found>, DiscoveryError> {
        Ok(self.nodes.clone())
    }
}

/// All sources of a node.
#[derive(Clone)]
pub(crate) struct Sources {
    all: Vec<Arc<dyn Discovery>>,
    /// The node's own place among those of the host.
    entry: Option<Arc<HostEntry>>,
    every: Duration,
}

impl Sources {
    pub(crate) fn new(
        mut all: Vec<Arc<dyn Discovery>>,
        entry: Option<Arc<HostEntry>>,
        every: Duration,
    ) -> Self {
        all.extend(entry.clone().map(|entry| entry as _));
        Sources { all, entry, every }
    }

    /// The node leaves.
    pub(crate) fn leave(&self) {
        if let Some(entry) = &self.entry {
            entry.give_up();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How often they are asked.
    pub(crate) fn every(&self) -> Duration {
        self.every
    }

    /// Where a node is, if one knows. In a process: it waits.
    pub(crate) fn find(&self, name: &str) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let (all, name) = (self.all.clone(), name.to_owned());
        engset_runtime::blocking(move || all.iter().find_map(|source| source.find(&name)))
    }

    /// All nodes that should be there, and what went wrong. In a process: it waits.
    pub(crate) fn look(&self) -> (Vec<Found>, Vec<DiscoveryError>) {
        let all = self.all.clone();
        engset_runtime::blocking(move || {
            let (mut found, mut errors) = (Vec::new(), Vec::new());
            for source in &all {
                match source.nodes() {
                    Ok(nodes) => {
                        found.extend(nodes.into_iter().filter(|node| is_name(&node.name)).take(MOST))
                    }
                    Err(error) => errors.push(error),
                }
            }
            found.sort_unstable();
            found.dedup_by(|one, other| one.name == other.name);
            (found, errors)
        })
    }
}
