//! What a process knows of its relations: links, monitors, names. Made when first needed.
//!
//! It takes one cell of the scheduler's (`related.rs` says how): half a million supervised processes are half a million of it.
//!
//! Touched by the process itself, and by the hooks that its owner calls for it (`hooks.rs`); nobody
//! else (signals do the rest).

use crate::{
    pid::Pid,
    reason::{ExitReason, Panic},
    related::Relations,
};
use engset_scheduler::current;
use hashbrown::{HashMap, HashSet};
use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
    fmt,
    sync::Arc,
};

/// The extension of a task that is a process.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) relations: Relations,
    pub(crate) rare: Option<Box<Rare>>,
    /// Who started it, who started that one, and so on; recorded if the builder was told to.
    pub(crate) ancestors: Option<Arc<Lineage>>,
    pub(crate) traps: bool,
    doom: Doom,
}

const _: () = assert!(size_of::<State>() <= 64, "it fits into a cell");

/// A process' ancestors, the nearest first.
pub(crate) type Lineage = Box<[Ancestor]>;

/// Why it must end; set with the doom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Doom {
    #[default]
    None,
    Normal,
    Shutdown,
    Kill,
    Killed,
    NoProc,
    NoConnection,
    /// See [`Rare::reason`].
    Detailed,
}

/// What few processes have.
#[derive(Default)]
pub(crate) struct Rare {
    /// Why it must end, if that takes more than a word.
    reason: Option<ExitReason>,
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
    pub(crate) lineage: Option<Arc<Lineage>>,
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
pub(crate) fn lineage(me: Pid) -> Option<Arc<Lineage>> {
    with(|state| {
        let above = state.ancestors.clone();
        let rare = state.rare();
        let name = rare.names.first().map(|(name, _)| Arc::clone(name));
        let lineage = rare.lineage.get_or_insert_with(|| {
            let above = above.iter().flat_map(|above| above.iter().cloned());
            Arc::new(std::iter::once(Ancestor { pid: me, name }).chain(above).take(MOST_ANCESTORS).collect())
        });
        Arc::clone(lineage)
    })
}

impl State {
    pub(crate) fn new(traps: bool) -> Self {
        State { traps, ..State::default() }
    }

    pub(crate) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// From now on there is a reason for its end; one that was there before stays.
    pub(crate) fn doom(&mut self, reason: ExitReason) {
        if self.doom != Doom::None {
            return;
        }
        self.doom = match reason {
            ExitReason::Normal => Doom::Normal,
            ExitReason::Shutdown => Doom::Shutdown,
            ExitReason::Kill => Doom::Kill,
            ExitReason::Killed => Doom::Killed,
            ExitReason::NoProc => Doom::NoProc,
            ExitReason::NoConnection => Doom::NoConnection,
            ExitReason::ShutdownWith(_) | ExitReason::Panic(_) | ExitReason::Error(_) => {
                self.rare().reason = Some(reason);
                Doom::Detailed
            }
        };
    }

    /// Is there a reason for its end?
    pub(crate) fn is_doomed(&self) -> bool {
        self.doom != Doom::None
    }

    /// The reason for its end.
    pub(crate) fn take_doom(&mut self) -> Option<ExitReason> {
        match std::mem::take(&mut self.doom) {
            Doom::None => None,
            Doom::Normal => Some(ExitReason::Normal),
            Doom::Shutdown => Some(ExitReason::Shutdown),
            Doom::Kill => Some(ExitReason::Kill),
            Doom::Killed => Some(ExitReason::Killed),
            Doom::NoProc => Some(ExitReason::NoProc),
            Doom::NoConnection => Some(ExitReason::NoConnection),
            Doom::Detailed => self.rare.as_mut()?.reason.take(),
        }
    }

    /// Has it nothing to be released when it ends, and no reason of its own to end?
    pub(crate) fn is_simple(&self) -> bool {
        self.rare.is_none() && !self.is_doomed()
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
