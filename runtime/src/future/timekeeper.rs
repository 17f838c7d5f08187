//! Deadlines of futures that no process polls: those of callers outside.
//!
//! A node has one table of them, under a lock that is held for a few instructions. A process of the node,
//! the timekeeper, sleeps until the first deadline and wakes who is due. It is there only while the table is not empty; it
//! is poked only for a deadline that is earlier than all others. So a call that is answered in time, as they nearly all are,
//! costs an insertion and a removal.

use crate::{
    Builder,
    node::{self, NodeId},
    pause::{Pause, pause, poke},
    pid::Pid,
    reductions::uninterrupted,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    task::Waker,
    time::Duration,
};

/// The table of a node.
#[derive(Default)]
pub(crate) struct Timekeeper(Mutex<Table>);

#[derive(Default)]
struct Table {
    deadlines: BTreeMap<(u64, u64), Waker>,
    last: u64,
    process: Option<Pid>,
}

/// A deadline in the table; dropping it takes it out.
pub(crate) struct Kept {
    node: NodeId,
    key: (u64, u64),
}

impl Kept {
    /// Who is to be woken from now on.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        let former = node::with_node(self.node, |inner| {
            let mut table = node::lock(&inner.timekeeper.0);
            let place = table.deadlines.get_mut(&self.key)?;
            (!place.will_wake(waker)).then(|| std::mem::replace(place, waker.clone()))
        });
        drop(former);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let waker =
            node::with_node(self.node, |inner| node::lock(&inner.timekeeper.0).deadlines.remove(&self.key));
        drop(waker);
    }
}

/// Wakes `waker` at `deadline`, on the node's clock. `None`: the node has stopped, or takes no process any more.
pub(crate) fn keep(id: NodeId, deadline: u64, waker: &Waker) -> Option<Kept> {
    let node = node::find(id)?;
    let mut table = node::lock(&node.inner.timekeeper.0);
    table.last += 1;
    let key = (deadline, table.last);
    let earliest = table.deadlines.first_key_value().is_none_or(|(first, _)| key < *first);
    table.deadlines.insert(key, waker.clone());
    let kept = Kept { node: id, key };
    match table.process.filter(|process| node.is_alive(*process)) {
        Some(process) if earliest => {
            drop(table);
            poke(process);
        }
        Some(_) => {}
        None => {
            let inner = Arc::clone(&node.inner);
            let spawned = Builder::new().spawn_on(&node, move || run(&inner.timekeeper));
            table.process = spawned.as_ref().ok().copied();
            drop(table);
            if spawned.is_err() {
                // Without the lock: it takes the entry out.
                drop(kept);
                return None;
            }
        }
    }
    Some(kept)
}

/// The process.
fn run(keeper: &Timekeeper) {
    loop {
        let now = engset_scheduler::current::now();
        let (due, next) = uninterrupted(|| {
            let mut table = node::lock(&keeper.0);
            let mut due = Vec::new();
            while let Some(entry) = table.deadlines.first_entry()
                && entry.key().0 <= now
            {
                due.push(entry.remove());
            }
            let next = table.deadlines.first_key_value().map(|((deadline, _), _)| *deadline);
            if next.is_none() {
                table.process = None;
            }
            (due, next)
        });
        due.into_iter().for_each(Waker::wake);
        let Some(next) = next else { return };
        if pause(Some(Duration::from_nanos(next))) == Pause::Ending {
            return;
        }
    }
}
