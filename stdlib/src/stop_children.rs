//! Stopping children (semantics row B5), as a machine that is fed with events: so a supervisor that waits
//! for a child to end holds no stack, and still answers questions.
//!
//! For each child:
//!
//! 1. It is monitored, for its end must be seen even if it has unlinked; then unlinked, so that the end is seen once.
//! 2. It is asked to end by an exit signal `Shutdown`, or killed at once (`BrutalKill`).
//! 3. When its time is over it is killed.
//! 4. When its `Down` comes, it is the next one's turn (*one by one*, the last of the list first), or all are
//!    stopped at the same time (*together*).

use crate::{
    child_spec::Shutdown,
    lazy_timer::{Fired, LazyTimer},
};
use engset_runtime::{Event, ExitReason, MonitorRef, Pid, exit, kill, monitor, now, unlink};
use hashbrown::HashMap;
use std::time::Duration;

/// See the [module](self). When it stops nobody, it is idle.
#[derive(Debug, Default)]
pub(crate) struct StopChildren {
    queue: Vec<(Pid, Shutdown)>,
    /// Those whose `Down` is awaited, with the time at which they are killed.
    active: HashMap<MonitorRef, (Pid, Option<Duration>)>,
    /// The soonest of those times.
    timer: LazyTimer,
    ended: Option<Pid>,
}

/// What an event meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Fed {
    /// It has nothing to do with children that are stopped.
    Foreign,
    /// There is more to wait for.
    Waiting,
    /// All have ended.
    Done,
}

impl StopChildren {
    /// Stops them, the last one first, one by one. `Done`: there are none.
    pub(crate) fn one_by_one(&mut self, children: Vec<(Pid, Shutdown)>) -> Fed {
        debug_assert!(self.is_idle(), "one list at a time");
        self.queue = children;
        self.next()
    }

    /// Stops them all at the same time, with those that are being stopped already. `Done`: there are none.
    pub(crate) fn together(&mut self, children: impl IntoIterator<Item = (Pid, Shutdown)>) -> Fed {
        children.into_iter().for_each(|(pid, shutdown)| self.stop(pid, shutdown));
        self.set_timer();
        if self.is_idle() { Fed::Done } else { Fed::Waiting }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.active.is_empty()
    }

    /// The child whose end was the event that was fed last, if it was one.
    pub(crate) fn take_ended(&mut self) -> Option<Pid> {
        self.ended.take()
    }

    pub(crate) fn feed(&mut self, event: &Event) -> Fed {
        match event {
            Event::Down(down) if self.active.remove(&down.reference).is_some() => {
                self.ended = Some(down.pid);
                self.next()
            }
            Event::Timer(timer) => match self.timer.fired(*timer) {
                Fired::Foreign => Fed::Foreign,
                Fired::Early => Fed::Waiting,
                Fired::Due => {
                    self.kill_late();
                    Fed::Waiting
                }
            },
            _ => Fed::Foreign,
        }
    }

    fn next(&mut self) -> Fed {
        if !self.active.is_empty() {
            return Fed::Waiting;
        }
        match self.queue.pop() {
            Some((pid, shutdown)) => {
                self.stop(pid, shutdown);
                self.set_timer();
                Fed::Waiting
            }
            None => {
                self.timer.clear();
                Fed::Done
            }
        }
    }

    fn stop(&mut self, pid: Pid, shutdown: Shutdown) {
        let reference = monitor(pid);
        unlink(pid);
        let kill_at = match shutdown {
            Shutdown::BrutalKill => {
                kill(pid);
                None
            }
            Shutdown::Infinity => {
                exit(pid, ExitReason::Shutdown);
                None
            }
            Shutdown::After(time) => {
                exit(pid, ExitReason::Shutdown);
                Some(now().saturating_add(time))
            }
        };
        self.active.insert(reference, (pid, kill_at));
    }

    fn kill_late(&mut self) {
        let now = now();
        for (pid, kill_at) in self.active.values_mut() {
            if kill_at.is_some_and(|at| at <= now) {
                kill(*pid);
                *kill_at = None;
            }
        }
        self.set_timer();
    }

    fn set_timer(&mut self) {
        match self.active.values().filter_map(|(_, kill_at)| *kill_at).min() {
            Some(soonest) => self.timer.set(soonest.saturating_sub(now())),
            None => self.timer.clear(),
        }
    }
}
