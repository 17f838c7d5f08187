//! What a process knows of its relations: links, monitors, names. Made when first needed.
//!
//! Touched by the process itself, and by the hooks that its owner calls for it (`hooks.rs`); nobody
//! else (signals do the rest).

use crate::{
    event::MonitorRef,
    pid::Pid,
    reason::{ExitReason, Panic},
};
use engset_scheduler::current;
use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;
use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
    fmt,
    sync::Arc,
};

/// The extension of a task that is a process.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) traps: bool,
    /// Why it must end; set with the doom.
    pub(crate) reason: Option<ExitReason>,
    /// Who watches this process. One is the usual number.
    pub(crate) watchers: SmallVec<[(MonitorRef, Pid); 1]>,
    pub(crate) links: Links,
    pub(crate) monitors: HashMap<MonitorRef, Watch>,
    pub(crate) rare: Option<Box<Rare>>,
    /// Who started it, who started that one, and so on; recorded if the builder was told to.
    pub(crate) ancestors: Option<Arc<[Ancestor]>>,
}

/// What few processes have.
#[derive(Default)]
pub(crate) struct Rare {
    /// With the reservation that each was spawned under, or 0.
    pub(crate) names: Vec<(Arc<str>, u64)>,
    pub(crate) aliases: HashSet<u64>,
    pub(crate) locals: HashMap<(TypeId, usize), Box<dyn Any + Send>>,
    /// The latest panic that the hook has seen in this process.
    pub(crate) panic: Option<Panic>,
    /// The one before: if a destructor panics while the stack unwinds, it is what the stack unwinds for.
    pub(crate) panic_before: Option<Panic>,
    /// Calls whose `Reply` was dropped by unwinding: they learn the reason when it is known.
    pub(crate) abandoned: Vec<(Pid, u64)>,
    pub(crate) bound: Option<Arc<crate::bound::Bound>>,
    /// By number, which is the order in which they are released.
    pub(crate) resources: BTreeMap<u64, Arc<dyn crate::Resource>>,
    /// Itself and its ancestors: what its children get. Made for the first child.
    pub(crate) lineage: Option<Arc<[Ancestor]>>,
    pub(crate) noted: Option<Box<crate::crash::Noted>>,
    /// What the futures of this process wait for in time.
    pub(crate) alarms: crate::future::Alarms,
}

/// The most ancestors that are recorded: the nearest ones. A chain of processes that each start the next must not
/// grow for ever.
const MOST_ANCESTORS: usize = 16;

/// A process that has started another, or has started one that has, and so on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Ancestor {
    /// Who.
    pub pid: Pid,
    /// Its name at the time when it first started a process.
    pub name: Option<Arc<str>>,
}

impl fmt::Display for Ancestor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name}{}", self.pid),
            None => self.pid.fmt(f),
        }
    }
}

/// What the children of the process that runs get as their ancestors. The list is shared by all of them.
pub(crate) fn lineage(me: Pid) -> Option<Arc<[Ancestor]>> {
    with(|state| {
        let above = state.ancestors.clone();
        let rare = state.rare();
        let name = rare.names.first().map(|(name, _)| Arc::clone(name));
        let lineage = rare.lineage.get_or_insert_with(|| {
            let above = above.iter().flat_map(|above| above.iter().cloned());
            std::iter::once(Ancestor { pid: me, name }).chain(above).take(MOST_ANCESTORS).collect()
        });
        Arc::clone(lineage)
    })
}

/// A monitor that this process has set.
pub(crate) struct Watch {
    pub(crate) target: Pid,
    /// The call that it belongs to, if it is not the user's.
    pub(crate) call: Option<u64>,
}

impl State {
    pub(crate) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

/// The state of the process that runs, or that a hook is called for; made if need be.
pub(crate) fn with<R>(f: impl FnOnce(&mut State) -> R) -> Option<R> {
    current::with_extension(State::default, f)
}

/// The same, if it exists.
pub(crate) fn with_existing<R>(f: impl FnOnce(&mut State) -> R) -> Option<R> {
    current::with_existing_extension(f)
}

/// A process' half of its links.
///
/// Unlinking takes two steps, so that a link that is made anew meanwhile, or an exit signal that is
/// under way, cannot be mistaken (the protocol of Erlang/OTP 26): the side that unlinks marks its half
/// and sends `Unlink` with a fresh number; only the `UnlinkAck` with that number makes it forget. While
/// the mark is there, exit signals of the link and link requests of the peer are dropped.
#[derive(Default)]
pub(crate) struct Links {
    /// The value is the number of an unlink under way, 0 if the link is active.
    peers: HashMap<Pid, u64>,
}

impl Links {
    /// Sets the link up from this side. True: it is new, the peer must be told.
    pub(crate) fn link(&mut self, peer: Pid) -> bool {
        // With an unlink under way it is set up anew: the peer sees Unlink, then Link.
        self.peers.insert(peer, 0) != Some(0)
    }

    /// The peer has set it up.
    pub(crate) fn linked(&mut self, peer: Pid) {
        // With an unlink under way: the peer's request is older than our unlink in effect; dropped.
        self.peers.entry(peer).or_insert(0);
    }

    /// Begins to unlink. True: the link was active, send `Unlink` with this number.
    pub(crate) fn unlink(&mut self, peer: Pid, id: u64) -> bool {
        match self.peers.get_mut(&peer) {
            Some(unlinking @ 0) => {
                *unlinking = id;
                true
            }
            _ => false,
        }
    }

    /// The peer has unlinked.
    pub(crate) fn unlinked(&mut self, peer: Pid) {
        if self.peers.get(&peer) == Some(&0) {
            self.peers.remove(&peer);
        }
    }

    /// The peer has acknowledged our unlink.
    pub(crate) fn acknowledged(&mut self, peer: Pid, id: u64) {
        if self.peers.get(&peer) == Some(&id) {
            self.peers.remove(&peer);
        }
    }

    /// The peer has ended. True: the link was active.
    pub(crate) fn broke(&mut self, peer: Pid) -> bool {
        self.peers.remove(&peer) == Some(0)
    }

    pub(crate) fn active(&self) -> impl Iterator<Item = Pid> + '_ {
        self.peers.iter().filter(|(_, unlinking)| **unlinking == 0).map(|(peer, _)| *peer)
    }
}
