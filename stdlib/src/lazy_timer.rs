//! A deadline that is moved all the time and seldom comes.
//!
//! To set and cancel a timer at each move would leave the timers' work to do. Here a timer that is set stays:
//! what counts is `deadline`, and a timer that fires before it is set anew for the rest. A timer is only
//! added if it is sooner than those that are set; so as a rule there is one.

use engset_runtime::{TimerRef, now, start_timer};
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct LazyTimer {
    deadline: Option<Duration>,
    /// The timers that are set, and when they fire: the soonest last.
    timers: Vec<(TimerRef, Duration)>,
}

/// What a timer's event means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Fired {
    /// It is not one of these timers.
    Foreign,
    /// The deadline is not reached, or there is none.
    Early,
    /// The deadline is reached. There is none now.
    Due,
}

impl LazyTimer {
    /// The deadline is after this time. Replaces the old one.
    pub(crate) fn set(&mut self, time: Duration) {
        self.set_at(now().saturating_add(time));
    }

    /// The deadline is this time of the runtime's clock. Replaces the old one.
    pub(crate) fn set_at(&mut self, deadline: Duration) {
        self.deadline = Some(deadline);
        if deadline < Duration::MAX && self.timers.last().is_none_or(|(_, fires)| *fires > deadline) {
            self.timers.push((start_timer(deadline.saturating_sub(now())).1, deadline));
        }
    }

    /// There is no deadline.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.deadline = None;
    }

    pub(crate) fn fired(&mut self, fired: TimerRef) -> Fired {
        let Some(at) = self.timers.iter().rposition(|(timer, _)| *timer == fired) else {
            return Fired::Foreign;
        };
        self.timers.remove(at);
        let Some(deadline) = self.deadline else { return Fired::Early };
        let left = deadline.saturating_sub(now());
        if left.is_zero() {
            self.deadline = None;
            return Fired::Due;
        }
        self.set_at(deadline);
        Fired::Early
    }
}
