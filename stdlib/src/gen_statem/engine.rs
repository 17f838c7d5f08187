//! What a state machine does next: a pure core, without processes and clocks.
//!
//! It holds the state, the events that are not done, and the timeouts. It is told what a callback has decided and says
//! which event comes next. The rules are those of OTP's `gen_statem`:
//!
//! 1. A postponed event waits. When the state changes to one that compares unequal, all postponed events are handled
//!    again, the oldest first, before what has been queued after them. Nothing else brings them back.
//! 2. Inserted events come before all others that are queued, also before those that rule 1 brings back, in the
//!    order in which they were inserted.
//! 3. Each event that is handled cancels the event timeout, a change of state cancels the state timeout. Both
//!    happen before the timeouts of the same transition are set.
//! 4. When nothing is queued, the timeouts of zero come, the one that was set first first; then the machine waits.
//!
//! `queue` is empty while the machine waits: then only one event at a time comes from outside.

use super::timeouts::{TimeoutKind, Timeouts};
use std::{collections::VecDeque, hash::Hash, mem};

#[derive(Debug)]
pub(crate) struct Engine<S, E, N, C> {
    state: S,
    /// Accepted, not handled; the next one first.
    queue: VecDeque<E>,
    /// Handled and given back; the oldest first.
    postponed: VecDeque<E>,
    pub(crate) timeouts: Timeouts<N, C>,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Upcoming<E, N, C> {
    Event(E),
    Timeout(TimeoutKind<N>, C),
}

impl<S: PartialEq, E, N: Hash + Eq + Clone, C> Engine<S, E, N, C> {
    pub(crate) fn new(state: S) -> Self {
        Engine { state, queue: VecDeque::new(), postponed: VecDeque::new(), timeouts: Timeouts::default() }
    }

    pub(crate) fn state(&self) -> &S {
        &self.state
    }

    /// How many events wait for another state.
    pub(crate) fn postponed(&self) -> usize {
        self.postponed.len()
    }

    /// The next event without waiting, by rules 1, 2 and 4.
    pub(crate) fn next(&mut self) -> Option<Upcoming<E, N, C>> {
        match self.queue.pop_front() {
            Some(event) => Some(Upcoming::Event(event)),
            None => self.timeouts.pop_zero().map(|(kind, content)| Upcoming::Timeout(kind, content)),
        }
    }

    /// An event has been handled, except for its timeouts: what was given back, the next state if one was named, what
    /// was inserted. The former state, if it has changed.
    pub(crate) fn settle(
        &mut self,
        given_back: impl IntoIterator<Item = E>,
        next: Option<S>,
        inserted: impl IntoIterator<Item = E, IntoIter: DoubleEndedIterator>,
    ) -> Option<S> {
        self.postponed.extend(given_back);
        self.timeouts.cancel(&TimeoutKind::Event);
        let changed = next.filter(|next| *next != self.state);
        let former = changed.map(|next| mem::replace(&mut self.state, next));
        if former.is_some() {
            self.timeouts.cancel(&TimeoutKind::State);
            // What has been postponed is older than what is queued.
            self.postponed.append(&mut self.queue);
            mem::swap(&mut self.postponed, &mut self.queue);
        }
        for event in inserted.into_iter().rev() {
            self.queue.push_front(event);
        }
        former
    }
}
