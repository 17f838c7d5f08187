//! Links and monitors that cross one connection, so that each of them ends when it does (N4).
//!
//! A process knows its own half of a link and its own monitors. When the connection is lost the other halves can say nothing any more; this
//! table says it in their place, once. It sees each parcel, in both directions, under the connection's lock.
//!
//! * It may know a link that is no more: the process then drops the exit signal, for its half is not active. It must not miss one. So the end of an
//!   unlink removes a link only if nobody has linked anew since the unlink passed here.
//! * Monitors have fresh references: no such doubt.

use engset_runtime::{
    DownReason, Pid,
    remote::{Op, Parcel},
};
use std::collections::HashMap;

#[derive(Debug, Default)]
struct Link {
    /// How often somebody has linked.
    made: u64,
    /// Unlinks under way, with the count of then.
    unlinks: Vec<(u64, u64)>,
}

impl Link {
    /// The acknowledgement passes. True: it was the end of the link.
    fn acknowledged(&mut self, id: u64) -> bool {
        let Some(at) = self.unlinks.iter().position(|(other, _)| *other == id) else { return false };
        self.unlinks.swap_remove(at).1 == self.made
    }
}

/// What crosses one connection.
#[derive(Debug, Default)]
pub(crate) struct Relations {
    /// By the local and the remote process.
    links: HashMap<(Pid, Pid), Link>,
    /// Monitors of local processes, by watcher and reference.
    watching: HashMap<(Pid, u64), Pid>,
    /// Monitors of remote processes, by watcher and reference.
    watched: HashMap<(Pid, u64), Pid>,
}

impl Relations {
    /// A parcel goes out. Returns the process whose order it has to keep.
    pub(crate) fn outgoing(&mut self, parcel: &Parcel) -> Option<Pid> {
        let (from, to) = (parcel.from, parcel.to);
        match &parcel.op {
            Op::Down { reference, .. } => {
                // It comes from the process that was watched.
                return self.watched.remove(&(to, *reference)).or(from);
            }
            // What the monitor of a thread that is no process says.
            Op::Broken { reference, .. } => return self.watched.remove(&(to, *reference)).or(from),
            Op::Monitor { reference } => {
                if let Some(from) = from {
                    self.watching.insert((from, *reference), to);
                }
            }
            Op::Demonitor { reference } => {
                if let Some(from) = from {
                    self.watching.remove(&(from, *reference));
                }
            }
            _ => {
                if let Some(from) = from {
                    self.link(from, to, &parcel.op);
                }
            }
        }
        from
    }

    /// A parcel comes in.
    pub(crate) fn incoming(&mut self, parcel: &Parcel) {
        let (from, to) = (parcel.from, parcel.to);
        match &parcel.op {
            Op::Down { reference, .. } | Op::Broken { reference, .. } => {
                self.watching.remove(&(to, *reference));
            }
            Op::Monitor { reference } => {
                if let Some(from) = from {
                    self.watched.insert((from, *reference), to);
                }
            }
            Op::Demonitor { reference } => {
                if let Some(from) = from {
                    self.watched.remove(&(from, *reference));
                }
            }
            _ => {
                if let Some(from) = from {
                    self.link(to, from, &parcel.op);
                }
            }
        }
    }

    /// A child that was spawned for the other side, or by it.
    pub(crate) fn spawned_for(&mut self, parent: Pid, child: Pid, link: bool, monitor: Option<u64>) {
        if link {
            self.link(child, parent, &Op::Link);
        }
        if let Some(reference) = monitor {
            self.watched.insert((parent, reference), child);
        }
    }

    /// A local process has spawned a child on the other side.
    pub(crate) fn spawned_by(&mut self, parent: Pid, child: Pid, link: bool, monitor: Option<u64>) {
        if link {
            self.link(parent, child, &Op::Link);
        }
        if let Some(reference) = monitor {
            self.watching.insert((parent, reference), child);
        }
    }

    fn link(&mut self, local: Pid, remote: Pid, op: &Op) {
        let pair = (local, remote);
        match op {
            Op::Link => self.links.entry(pair).or_default().made += 1,
            Op::Exit { link: true, .. } => {
                self.links.remove(&pair);
            }
            Op::Unlink { id } => {
                if let Some(link) = self.links.get_mut(&pair) {
                    link.unlinks.push((*id, link.made));
                }
            }
            Op::UnlinkAck { id } if self.links.get_mut(&pair).is_some_and(|link| link.acknowledged(*id)) => {
                self.links.remove(&pair);
            }
            _ => {}
        }
    }

    /// How many there are: links, monitors of local processes, monitors of remote ones.
    #[cfg(test)]
    fn counts(&self) -> (usize, usize, usize) {
        (self.links.len(), self.watching.len(), self.watched.len())
    }

    /// The connection is lost: what the local processes have to be told, in an order that depends on nothing but the table.
    pub(crate) fn lost(self, reason: &DownReason) -> Vec<Parcel> {
        let mut links: Vec<(Pid, Pid)> = self.links.into_keys().collect();
        let mut watching: Vec<((Pid, u64), Pid)> = self.watching.into_iter().collect();
        let mut watched: Vec<((Pid, u64), Pid)> = self.watched.into_iter().collect();
        links.sort_unstable();
        watching.sort_unstable();
        watched.sort_unstable();
        let exits = links.into_iter().map(|(local, remote)| Parcel {
            from: Some(remote),
            to: local,
            op: Op::Exit { reason: reason.as_exit(), link: true },
        });
        let downs = watching.into_iter().map(|((watcher, reference), target)| Parcel {
            from: Some(target),
            to: watcher,
            op: Op::Down { reference, reason: reason.clone() },
        });
        let ends = watched.into_iter().map(|((watcher, reference), target)| Parcel {
            from: Some(watcher),
            to: target,
            op: Op::Demonitor { reference },
        });
        exits.chain(downs).chain(ends).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engset_runtime::{ExitReason, Node, remote};

    fn pids() -> (Pid, Pid) {
        let node = Node::start(engset_runtime::Config::new().seed(1_u64)).unwrap();
        (remote::pid(node.id(), 1, 1), remote::pid(node.id(), 2, 1))
    }

    fn parcel(from: Pid, to: Pid, op: Op) -> Parcel {
        Parcel { from: Some(from), to, op }
    }

    #[test]
    fn what_has_fired_or_was_taken_back_does_not_fire_again() {
        let (local, other) = pids();
        let mut table = Relations::default();
        for reference in 1..=3 {
            table.outgoing(&parcel(local, other, Op::Monitor { reference }));
            table.incoming(&parcel(other, local, Op::Monitor { reference }));
        }
        table.incoming(&parcel(other, local, Op::Down { reference: 1, reason: DownReason::NoProc }));
        table.outgoing(&parcel(local, other, Op::Demonitor { reference: 2 }));
        let from = table.outgoing(&Parcel {
            from: None,
            to: other,
            op: Op::Down { reference: 1, reason: DownReason::NoProc },
        });
        assert_eq!(from, Some(local), "a Down keeps the order of the process that has ended");
        table.incoming(&parcel(other, local, Op::Demonitor { reference: 2 }));
        assert_eq!(table.counts(), (0, 1, 1));
        let told = table.lost(&DownReason::NoConnection);
        assert!(matches!(told[0].op, Op::Down { reference: 3, reason: DownReason::NoConnection }));
        assert!(matches!(told[1].op, Op::Demonitor { reference: 3 }));
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn a_link_made_anew_while_an_unlink_is_under_way_stays() {
        let (local, other) = pids();
        let mut table = Relations::default();
        table.outgoing(&parcel(local, other, Op::Link));
        table.outgoing(&parcel(local, other, Op::Unlink { id: 1 }));
        table.outgoing(&parcel(local, other, Op::Link));
        table.incoming(&parcel(other, local, Op::UnlinkAck { id: 1 }));
        assert_eq!(table.counts(), (1, 0, 0));
        table.incoming(&parcel(other, local, Op::Unlink { id: 2 }));
        table.outgoing(&parcel(local, other, Op::UnlinkAck { id: 2 }));
        assert_eq!(table.counts(), (0, 0, 0));
        table.incoming(&parcel(other, local, Op::Link));
        table.outgoing(&parcel(local, other, Op::Exit { reason: ExitReason::Normal, link: true }));
        assert!(table.lost(&DownReason::NoConnection).is_empty());
    }
}
