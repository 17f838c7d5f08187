//! The children of a supervisor, in start order, found by id and by pid.
//!
//! A child has a *place*, and the order of places is the start order. Removing a child leaves its place empty;
//! when more than half are, all move up. That happens only when a child is added, so places are good
//! for as long as none is.

use crate::{Decision, child_spec::ChildSpec, child_spec::Kind};
use engset_runtime::Pid;
use hashbrown::HashMap;
use std::{ops::Range, sync::Arc, time::Duration};

#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) spec: ChildSpec,
    state: State,
    /// When it was started.
    pub(crate) since: Duration,
    /// How often it was restarted.
    pub(crate) restarts: u64,
    /// Failures in a row, for its back-off.
    pub(crate) failures: u32,
    /// Its process, if that lives and waits to begin again (`inherited_mailbox.rs`). Then it does not count as running.
    pub(crate) waiting: Option<Pid>,
    /// What it has decided about its own end, which comes next.
    pub(crate) decided: Option<Decision>,
}

/// What a child does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Running(Pid),
    /// It waits for a restart: the one with this ticket.
    Restarting(u64),
    Resting,
}

#[derive(Debug, Default)]
pub(crate) struct Children {
    places: Vec<Option<Child>>,
    by_id: HashMap<Arc<str>, usize>,
    by_pid: HashMap<Pid, usize>,
    significant: usize,
}

impl Child {
    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn pid(&self) -> Option<Pid> {
        match self.state {
            State::Running(pid) => Some(pid),
            _ => None,
        }
    }

    /// Its process, whether it runs or waits to begin again.
    pub(crate) fn process(&self) -> Option<Pid> {
        self.pid().or(self.waiting)
    }
}

impl Children {
    /// A new child, last in order. Its place.
    pub(crate) fn add(&mut self, spec: ChildSpec) -> usize {
        if self.places.len() >= 64 && self.by_id.len() * 2 < self.places.len() {
            self.move_up();
        }
        let place = self.places.len();
        self.by_id.insert(Arc::clone(&spec.id), place);
        let child = Child {
            spec,
            state: State::Resting,
            since: Duration::ZERO,
            restarts: 0,
            failures: 0,
            waiting: None,
            decided: None,
        };
        self.places.push(Some(child));
        place
    }

    fn move_up(&mut self) {
        self.places.retain(Option::is_some);
        for (place, child) in self.places.iter().enumerate() {
            let Some(child) = child else { continue };
            self.by_id.insert(Arc::clone(&child.spec.id), place);
            if let State::Running(pid) = child.state {
                self.by_pid.insert(pid, place);
            }
        }
    }

    pub(crate) fn remove(&mut self, place: usize) -> Option<Child> {
        self.set(place, State::Resting);
        let child = self.places.get_mut(place)?.take()?;
        self.by_id.remove(&child.spec.id);
        Some(child)
    }

    /// The only way to change what a child does: keeps the indexes right.
    pub(crate) fn set(&mut self, place: usize, state: State) {
        let Some(Some(child)) = self.places.get_mut(place) else { return };
        if let State::Running(pid) = child.state {
            self.by_pid.remove(&pid);
        }
        if let State::Running(pid) = state {
            self.by_pid.insert(pid, place);
        }
        if child.spec.significant {
            self.significant += usize::from(state != State::Resting);
            self.significant -= usize::from(child.state != State::Resting);
        }
        child.state = state;
    }

    pub(crate) fn get(&self, place: usize) -> Option<&Child> {
        self.places.get(place)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut Child> {
        self.places.get_mut(place)?.as_mut()
    }

    pub(crate) fn place_of(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn place_of_pid(&self, pid: Pid) -> Option<usize> {
        self.by_pid.get(&pid).copied()
    }

    /// Places there are, empty ones included.
    pub(crate) fn places(&self) -> Range<usize> {
        0..self.places.len()
    }

    /// Significant children that run or wait for a restart.
    pub(crate) fn significant(&self) -> usize {
        self.significant
    }

    /// In start order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Child> {
        self.places.iter().flatten()
    }

    pub(crate) fn count(&self) -> ChildCount {
        let mut count = ChildCount { specs: self.by_id.len(), ..ChildCount::default() };
        for child in self.iter() {
            match child.spec.kind {
                Kind::Supervisor => count.supervisors += 1,
                Kind::Worker => count.workers += 1,
            }
            count.active += usize::from(child.pid().is_some());
        }
        count
    }
}

/// How many children a supervisor has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildCount {
    /// Descriptions, whether their children run or not.
    pub specs: usize,
    /// Children that run.
    pub active: usize,
    /// Descriptions of workers.
    pub workers: usize,
    /// Descriptions of supervisors.
    pub supervisors: usize,
}
