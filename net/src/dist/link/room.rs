//! Senders that find the queue of a link full: what they pay, and how they wait.

use super::{Link, State, add, key};
use crate::dist::session::Lane;
use engset_runtime::{Pid, remote};
use std::{
    sync::{MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

/// How long a sender waits for room in a full queue before its message is dropped.
const PATIENCE: Duration = Duration::from_secs(5);

/// So many times the bound is what senders that cannot wait may fill: then their messages are dropped.
const OVERFLOW: usize = 2;

/// Reductions that a message to another node costs, and so many bytes of it one more: it takes as long as so many sends to a neighbour.
const WORK: u32 = 20;
const WORK_BYTES: usize = 32;
/// What it costs more where much of its sender waits already: a tenth of a slice. Whoever fills the queue has short turns.
const CROWDING: u32 = 400;

impl Link {
    /// Is there room for a message? It waits for room, if it may.
    pub(super) fn admit<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        from: Option<Pid>,
        size: usize,
        may_wait: bool,
    ) -> Option<MutexGuard<'a, State>> {
        if !state.is_full(from, size, self.limit) {
            return Some(state);
        }
        // Who cannot wait has some more room.
        let admitted = if may_wait {
            add(&self.counts.suspended);
            self.wait_for_room(state, from, size)
        } else {
            Some(state).filter(|state| !state.is_full(from, size, self.limit.saturating_mul(OVERFLOW)))
        };
        if admitted.is_none() {
            add(&self.counts.dropped);
        }
        admitted
    }

    /// Waits until there is room. `None`: [`PATIENCE`] has ended before.
    fn wait_for_room<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        from: Option<Pid>,
        size: usize,
    ) -> Option<MutexGuard<'a, State>> {
        let limit = self.limit;
        let Some(me) = engset_runtime::try_self_pid() else {
            // A thread that is no process.
            let is_full = |state: &mut State| state.is_full(from, size, limit);
            self.short_of_room.fetch_add(1, Ordering::Relaxed);
            let waited = self.room.wait_timeout_while(state, PATIENCE, is_full);
            let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            self.short_of_room.fetch_sub(1, Ordering::Relaxed);
            return (!waited.timed_out()).then_some(state);
        };
        let end = engset_runtime::now() + PATIENCE;
        while state.is_full(from, size, limit) {
            let left = end.saturating_sub(engset_runtime::now());
            if left.is_zero() {
                return None;
            }
            let lane = state.lane(from, size);
            if !state.suspended.contains(&(me, lane)) {
                state.suspended.push((me, lane));
                self.short_of_room.fetch_add(1, Ordering::Relaxed);
            }
            drop(state);
            remote::park(left);
            state = self.lock();
        }
        Some(state)
    }

    /// Wakes senders that wait, where there is room.
    pub(crate) fn wake_senders(&self) {
        // Relaxed: it is changed under the lock, and whoever has made room has had the lock since: a sender that was
        // there before it is seen, and one that comes after it sees the room.
        if self.short_of_room.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut state = self.lock();
        let room = |lane| state.up.as_ref().is_none_or(|up| up.outgoing.has_room(lane));
        let room = [room(Lane::Small), room(Lane::Bulk)];
        let awake: Vec<(Pid, Lane)> =
            state.suspended.extract_if(.., |(_, lane)| room[*lane as usize]).collect();
        self.short_of_room.fetch_sub(awake.len(), Ordering::Relaxed);
        drop(state);
        // Threads look for themselves.
        self.room.notify_all();
        awake.into_iter().for_each(|(pid, _)| remote::poke(pid));
    }
}

impl State {
    /// What a message costs its sender, in reductions: for the work that it makes, and more where its sender fills the queue.
    pub(super) fn price(&self, from: Option<Pid>, size: usize) -> u32 {
        let work = WORK + (size / WORK_BYTES).min(4000) as u32;
        let crowds = self.up.as_ref().is_some_and(|up| up.outgoing.is_crowding(key(from)));
        if crowds { work + CROWDING } else { work }
    }

    fn lane(&self, from: Option<Pid>, size: usize) -> Lane {
        self.up.as_ref().map_or(Lane::Small, |up| up.outgoing.lane(key(from), size))
    }

    /// Has this message to wait for room in its lane, or in what waits for a connection?
    fn is_full(&self, from: Option<Pid>, size: usize, limit: usize) -> bool {
        match &self.up {
            Some(up) => up.outgoing.must_wait(key(from), size, limit),
            None => self.waiting_bytes >= limit,
        }
    }
}
