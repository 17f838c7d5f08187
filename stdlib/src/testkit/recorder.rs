//! What the kit sees of a run: the observer of its node.
//!
//! It is called in the middle of the runtime, so it only notes; what a test expects is compared in the test's own
//! process (`expect.rs`), or when the run has ended (`check.rs`).

use super::{explorer::Explorer, fault::Faults, trace};
use engset_runtime::{
    ExitReason, NodeId, Panic, Pid,
    observe::{self, Observer, Parcel, Seen},
};
use hashbrown::{HashMap, HashSet};
use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Records that are kept; older ones are forgotten.
const KEPT: usize = 20_000;

/// A process that has panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Crash {
    /// Who.
    pub pid: Pid,
    /// Its name, or the kit's name for it.
    pub name: Option<String>,
    /// What the panic said.
    pub message: String,
    /// Where: file, line and column.
    pub location: String,
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", trace::label(self.pid, self.name.as_deref()))?;
        match self.location.as_str() {
            "" => write!(f, " crashed: {}", self.message),
            location => write!(f, " crashed at {location}: {}", self.message),
        }
    }
}

/// What has happened, to be kept.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    Spawned { by: Option<Pid>, pid: Pid },
    Named { pid: Pid, name: String },
    Sent { by: Option<Pid>, to: Pid, what: Parcel },
    Acted { pid: Pid, what: Parcel },
    Received { pid: Pid, what: Parcel },
    DeadLetter { message: &'static str },
    Crashed(Crash),
    Ended { pid: Pid, reason: ExitReason },
    Noted { by: Option<Pid>, text: String },
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) at: Duration,
    pub(super) fact: Fact,
}

/// See the head of this file.
pub(super) struct Recorder {
    over: AtomicBool,
    notes: Mutex<Notes>,
    changed: Condvar,
    explorer: Option<Arc<Explorer>>,
}

pub(super) struct Notes {
    /// The process of the test itself.
    pub(super) first: Option<Pid>,
    pub(super) first_end: Option<ExitReason>,
    pub(super) records: VecDeque<Record>,
    pub(super) forgotten: u64,
    pub(super) names: HashMap<Pid, String>,
    /// Nodes that have names, if there are several.
    pub(super) nodes: HashMap<NodeId, String>,
    pub(super) alive: HashSet<Pid>,
    /// Processes that belong to the kit.
    pub(super) own: HashSet<Pid>,
    /// Crashes that nobody has expected, with their numbers.
    pub(super) crashes: Vec<(u64, Crash)>,
    pub(super) crash_count: u64,
    /// The same of messages to the dead: the types.
    pub(super) dead_letters: Vec<(u64, &'static str)>,
    pub(super) dead_letter_count: u64,
    pub(super) faults: Faults,
}

impl Recorder {
    /// The explorer is told, too.
    pub(super) fn new(seed: u64, explorer: Option<Arc<Explorer>>) -> Arc<Self> {
        let notes = Notes {
            first: None,
            first_end: None,
            records: VecDeque::new(),
            forgotten: 0,
            names: HashMap::new(),
            nodes: HashMap::new(),
            alive: HashSet::new(),
            own: HashSet::new(),
            crashes: Vec::new(),
            crash_count: 0,
            dead_letters: Vec::new(),
            dead_letter_count: 0,
            faults: Faults::new(seed),
        };
        Arc::new(Recorder {
            over: AtomicBool::new(false),
            notes: Mutex::new(notes),
            changed: Condvar::new(),
            explorer,
        })
    }

    /// The recorder of the run that the calling process is a part of.
    pub(super) fn current() -> Option<Arc<Self>> {
        let observer: Arc<dyn Any + Send + Sync> = observe::observer()?;
        observer.downcast().ok()
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process that calls is the test.
    pub(super) fn begin(&self, first: Pid) {
        let mut notes = self.notes();
        notes.first = Some(first);
        notes.names.insert(first, "test".to_owned());
    }

    /// A process of the kit's: no leak, and not listed.
    pub(super) fn own(&self, pid: Pid, name: String) {
        let mut notes = self.notes();
        notes.own.insert(pid);
        notes.names.insert(pid, name);
    }

    /// Has the test's process ended?
    pub(super) fn is_over(&self) -> bool {
        // Acquire: pairs with the release in `observe`; the reason is there.
        self.over.load(Ordering::Acquire)
    }

    /// Waits, on a thread, until it has; false: not in this time.
    pub(super) fn wait(&self, most: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.notes(), most, |notes| notes.first_end.is_none());
        let (notes, _) = waited.unwrap_or_else(PoisonError::into_inner);
        notes.first_end.is_some()
    }
}

impl Notes {
    fn keep(&mut self, at: Duration, fact: Fact) {
        if self.records.len() == KEPT {
            self.records.pop_front();
            self.forgotten += 1;
        }
        self.records.push_back(Record { at, fact });
    }

    fn crash(&mut self, pid: Pid, panic: &Panic) -> Crash {
        let name = self.names.get(&pid).cloned();
        let crash = Crash { pid, name, message: panic.message.clone(), location: panic.location.clone() };
        self.crash_count += 1;
        // The test's own crash is how the run ends.
        if self.first != Some(pid) {
            self.crashes.push((self.crash_count, crash.clone()));
        }
        crash
    }
}

impl Observer for Recorder {
    fn observe(&self, at: Duration, seen: Seen<'_>) {
        if let Some(explorer) = &self.explorer {
            explorer.observe(&seen);
        }
        let mut notes = self.notes();
        let fact = match seen {
            Seen::Spawned { by, pid } => {
                notes.alive.insert(pid);
                Fact::Spawned { by, pid }
            }
            Seen::Named { pid, name } => {
                notes.names.insert(pid, name.to_string());
                Fact::Named { pid, name: name.to_string() }
            }
            Seen::Sent { by, to, what } => Fact::Sent { by, to, what },
            Seen::Acted { pid, what } => Fact::Acted { pid, what },
            Seen::Received { pid, what } => Fact::Received { pid, what },
            Seen::DeadLetter { message } => {
                notes.dead_letter_count += 1;
                let number = notes.dead_letter_count;
                notes.dead_letters.push((number, message));
                Fact::DeadLetter { message }
            }
            Seen::Crashed { pid, panic } => Fact::Crashed(notes.crash(pid, panic)),
            Seen::Ended { pid, reason } => {
                notes.alive.remove(&pid);
                if notes.first == Some(pid) {
                    notes.first_end = Some(reason.clone());
                    // Release: pairs with the acquire in `is_over`.
                    self.over.store(true, Ordering::Release);
                    self.changed.notify_all();
                }
                Fact::Ended { pid, reason: reason.clone() }
            }
            Seen::Noted { by, text } => Fact::Noted { by, text: text.to_owned() },
            _ => return,
        };
        notes.keep(at, fact);
    }
}
