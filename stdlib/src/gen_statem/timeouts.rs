//! The timeouts of a state machine: one for the state, one for the next event, any number with names.
//!
//! Setting one that is set replaces it. They are kept in the order in which they come: those of zero first, in the
//! order in which they were set, then by deadline. A deadline is a time of the runtime's clock, which is only
//! told here, never read.

use hashbrown::HashMap;
use std::{collections::BTreeMap, hash::Hash, time::Duration};

/// Which timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeoutKind<N> {
    /// The one that a change of state cancels.
    State,
    /// The one that any event cancels.
    Event,
    /// One with a name: nothing cancels it but the machine.
    Named(N),
}

/// When one comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    /// As soon as no event is queued, before anything is received.
    Zero,
    /// At this time.
    At(Duration),
}

/// One thing to do about a timeout.
#[derive(Clone, Debug)]
pub(crate) enum Timing<N, C> {
    After(TimeoutKind<N>, Duration, C),
    At(TimeoutKind<N>, Duration, C),
    Update(TimeoutKind<N>, C),
    Cancel(TimeoutKind<N>),
}

impl<N, C> Timing<N, C> {
    fn kind(&self) -> &TimeoutKind<N> {
        match self {
            Timing::After(kind, ..)
            | Timing::At(kind, ..)
            | Timing::Update(kind, _)
            | Timing::Cancel(kind) => kind,
        }
    }
}

/// Its place in the order: when, and among equals the one that was set first.
type Place = (When, u64);

#[derive(Debug)]
struct Entry<C> {
    place: Place,
    content: C,
}

#[derive(Debug)]
pub(crate) struct Timeouts<N, C> {
    of_state: Option<Entry<C>>,
    of_event: Option<Entry<C>>,
    named: HashMap<N, Entry<C>>,
    order: BTreeMap<Place, TimeoutKind<N>>,
    set: u64,
}

impl<N, C> Default for Timeouts<N, C> {
    fn default() -> Self {
        Timeouts { of_state: None, of_event: None, named: HashMap::new(), order: BTreeMap::new(), set: 0 }
    }
}

impl<N: Hash + Eq + Clone, C> Timeouts<N, C> {
    /// Does all that one transition wants. Of several things about one timeout only the last counts: an update that
    /// follows a start in the same transition finds nothing that is set.
    pub(crate) fn apply(&mut self, timings: Vec<Timing<N, C>>, now: Duration) {
        let mut timings = timings.into_iter();
        while let Some(timing) = timings.next() {
            if timings.as_slice().iter().any(|later| later.kind() == timing.kind()) {
                continue;
            }
            match timing {
                Timing::After(kind, Duration::ZERO, content) => self.start(kind, When::Zero, content),
                Timing::After(kind, Duration::MAX, _) | Timing::Cancel(kind) => self.cancel(&kind),
                Timing::After(kind, after, content) => {
                    self.start(kind, When::At(now.saturating_add(after)), content);
                }
                Timing::At(kind, at, content) => self.start(kind, When::At(at), content),
                Timing::Update(kind, content) => self.update(kind, content),
            }
        }
    }

    /// Sets one, or sets it anew.
    fn start(&mut self, kind: TimeoutKind<N>, when: When, content: C) {
        self.set += 1;
        let entry = Entry { place: (when, self.set), content };
        self.order.insert(entry.place, kind.clone());
        let former = match kind {
            TimeoutKind::State => self.of_state.replace(entry),
            TimeoutKind::Event => self.of_event.replace(entry),
            TimeoutKind::Named(name) => self.named.insert(name, entry),
        };
        if let Some(former) = former {
            self.order.remove(&former.place);
        }
    }

    /// Gives one another content. One that is not set comes at once, as one of zero.
    fn update(&mut self, kind: TimeoutKind<N>, content: C) {
        let entry = match &kind {
            TimeoutKind::State => self.of_state.as_mut(),
            TimeoutKind::Event => self.of_event.as_mut(),
            TimeoutKind::Named(name) => self.named.get_mut(name),
        };
        match entry {
            Some(entry) => entry.content = content,
            None => self.start(kind, When::Zero, content),
        }
    }

    /// Cancels one, if it is set.
    pub(crate) fn cancel(&mut self, kind: &TimeoutKind<N>) {
        if let Some(entry) = self.take(kind) {
            self.order.remove(&entry.place);
        }
    }

    /// The first of those of zero.
    pub(crate) fn pop_zero(&mut self) -> Option<(TimeoutKind<N>, C)> {
        self.pop(|when| when == When::Zero)
    }

    /// The first whose deadline is reached.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<(TimeoutKind<N>, C)> {
        self.pop(|when| when <= When::At(now))
    }

    /// The first deadline of those that are not zero.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let beyond_zero = self.order.range((When::At(Duration::ZERO), 0)..);
        beyond_zero.map(|((when, _), _)| *when).next().and_then(|when| match when {
            When::At(at) => Some(at),
            When::Zero => None,
        })
    }

    fn pop(&mut self, comes: impl FnOnce(When) -> bool) -> Option<(TimeoutKind<N>, C)> {
        let first = self.order.first_entry().filter(|first| comes(first.key().0))?;
        let kind = first.remove();
        let entry = self.take(&kind)?;
        Some((kind, entry.content))
    }

    fn take(&mut self, kind: &TimeoutKind<N>) -> Option<Entry<C>> {
        match kind {
            TimeoutKind::State => self.of_state.take(),
            TimeoutKind::Event => self.of_event.take(),
            TimeoutKind::Named(name) => self.named.remove(name),
        }
    }
}
