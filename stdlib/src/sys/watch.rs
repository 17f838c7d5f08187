//! What is done with each message of a behaviour that is being watched: counted, traced, kept.

use super::request::Tracing;
use engset_runtime::{Address, Pid, now, self_pid};
use std::time::Duration;

/// What a behaviour has done since its statistics were switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// For how long they have been on.
    pub time: Duration,
    /// Messages it has dealt with.
    pub messages: u64,
    /// Events it has dealt with.
    pub events: u64,
    /// Time it has spent in its callbacks, waiting included.
    pub busy: Duration,
}

/// Something that a traced behaviour has done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceEvent {
    /// Who.
    pub pid: Pid,
    /// When, on the node's clock.
    pub time: Duration,
    /// What.
    pub what: Traced,
}

/// See [`TraceEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Traced {
    /// It has received this message, and will deal with it now.
    Message(String),
    /// It has received this event.
    Event(String),
    /// It is suspended.
    Suspended,
    /// It goes on.
    Resumed,
}

#[derive(Debug, Default)]
pub(crate) struct Watch {
    keeps: bool,
    kept: Option<String>,
    /// Since when.
    counting: Option<(Duration, Statistics)>,
    log: bool,
    to: Option<Address<TraceEvent>>,
}

impl Watch {
    pub(crate) fn keeping_messages() -> Self {
        Watch { keeps: true, ..Self::default() }
    }

    pub(crate) fn is_idle(&self) -> bool {
        !self.keeps && self.counting.is_none() && !self.traces()
    }

    pub(crate) fn traces(&self) -> bool {
        self.log || self.to.is_some()
    }

    pub(crate) fn kept_message(&self) -> Option<&str> {
        self.kept.as_deref()
    }

    pub(crate) fn count(&mut self, on: bool) {
        self.counting = on.then(|| (now(), Statistics::default()));
    }

    pub(crate) fn statistics(&self) -> Option<Statistics> {
        let (since, statistics) = self.counting?;
        Some(Statistics { time: now().saturating_sub(since), ..statistics })
    }

    pub(crate) fn set_tracing(&mut self, tracing: Tracing) {
        match tracing {
            Tracing::Off => (self.log, self.to) = (false, None),
            Tracing::Log(on) => self.log = on,
            Tracing::To(address) => self.to = Some(address),
        }
    }

    /// A message is about to be dealt with. Returns when.
    pub(crate) fn message(&mut self, text: impl FnOnce() -> String) -> Duration {
        if let Some((_, statistics)) = &mut self.counting {
            statistics.messages += 1;
        }
        self.kept = None;
        if self.keeps || self.traces() {
            let text = text();
            self.note(|| Traced::Message(text.clone()));
            self.kept = self.keeps.then_some(text);
        }
        now()
    }

    /// The same for an event.
    pub(crate) fn event(&mut self, text: impl FnOnce() -> String) -> Duration {
        if let Some((_, statistics)) = &mut self.counting {
            statistics.events += 1;
        }
        self.note(|| Traced::Event(text()));
        now()
    }

    pub(crate) fn done(&mut self, start: Duration) {
        if let Some((_, statistics)) = &mut self.counting {
            statistics.busy += now().saturating_sub(start);
        }
    }

    pub(crate) fn note(&self, what: impl FnOnce() -> Traced) {
        if !self.traces() {
            return;
        }
        let event = TraceEvent { pid: self_pid(), time: now(), what: what() };
        if self.log {
            let TraceEvent { pid, what, .. } = &event;
            tracing::info!(target: "engset::trace", %pid, "{what:?}");
        }
        if let Some(to) = self.to {
            to.send(event);
        }
    }
}
