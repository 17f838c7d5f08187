//! Who is related to a process: links, watchers, and monitors that it has set.
//!
//! Nearly every process has one relation or none: its supervisor's link, or one watcher. That one lies in the state itself, which so
//! takes one cache line for a process; what is beyond is in tables, made when first needed. A table may be large (a process that
//! watches half a million), so what counts there is how many lines are touched: see [`hash`].
//!
//! Unlinking takes two steps, so that a link that is made anew meanwhile, or an exit signal that is
//! under way, cannot be mistaken (the protocol of Erlang/OTP 26): the side that unlinks marks its half
//! and sends `Unlink` with a fresh number; only the `UnlinkAck` with that number makes it forget. While
//! the mark is there, exit signals of the link and link requests of the peer are dropped.

use crate::{event::MonitorRef, pid::Pid};
use hashbrown::HashTable;
use smallvec::SmallVec;

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Relations {
    one: Option<Relation>,
    many: Option<Box<Many>>,
}

#[derive(Clone, Copy)]
enum Relation {
    Watcher(MonitorRef, Pid),
    /// With the number of an unlink under way, 0 if the link is active.
    Link(Pid, u64),
    /// A monitor that is no call's.
    Watch(MonitorRef, Pid),
}

#[derive(Default)]
struct Many {
    links: HashTable<(Pid, u64)>,
    watchers: HashTable<Watcher>,
    monitors: HashTable<(MonitorRef, Watch)>,
    /// The number of the next watcher.
    next: u64,
}

struct Watcher {
    reference: MonitorRef,
    pid: Pid,
    /// They are told in the order in which they have come.
    number: u64,
}

/// A monitor that this process has set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) target: Pid,
    /// The call that it belongs to, if it is not the user's; 0: none.
    call: u64,
}

impl Watch {
    /// Of the user's.
    pub(crate) fn new(target: Pid) -> Self {
        Watch { target, call: 0 }
    }

    /// Of this call.
    pub(crate) fn of_call(target: Pid, call: u64) -> Self {
        debug_assert_ne!(call, 0, "numbers of calls begin at 1");
        Watch { target, call }
    }

    pub(crate) fn call(self) -> Option<u64> {
        (self.call != 0).then_some(self.call)
    }
}

/// All relations of a process that has ended, in an order that is the same in each run.
pub(crate) struct Bereaved {
    /// Linked processes.
    pub(crate) links: SmallVec<[Pid; 1]>,
    pub(crate) watchers: SmallVec<[(MonitorRef, Pid); 1]>,
    /// Those that it has watched.
    pub(crate) monitors: SmallVec<[(MonitorRef, Pid); 1]>,
}

/// A hash that keeps neighbours together: within a run of numbers, blocks of 256 lie in blocks of 256 places. References are
/// given out one after the other and indices of processes are dense, so a program that goes through its processes in the order in
/// which it has made them goes through the table in its order too. It is a bijection on aligned runs of numbers, hence without collisions
/// there; the upper bits are folded in so that numbers with gaps of a power of two have at least an eighth of the places. `salt` tells apart what counts for
/// itself (workers, nodes).
fn hash(number: u64, salt: u64) -> u64 {
    /// 2^64 divided by the golden ratio.
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    /// The tables tell the members of a group apart by these bits, which therefore have to differ among neighbours.
    const TAG: u64 = 0x7F << 57;
    let place =
        (number ^ (number >> 8) ^ (number >> 14) ^ (number >> 23)).wrapping_add(salt.wrapping_mul(ODD));
    (place & !TAG) | ((number ^ salt).wrapping_mul(ODD) & TAG)
}

/// The worker's number is in the upper 16 bits of a reference.
const WORKER_SHIFT: u32 = 48;

fn hash_of_reference(reference: MonitorRef, node: u64) -> u64 {
    let number = reference.0 & ((1 << WORKER_SHIFT) - 1);
    hash(number, (reference.0 >> WORKER_SHIFT) | (node << (64 - WORKER_SHIFT)))
}

fn hash_of_monitor(monitor: &(MonitorRef, Watch)) -> u64 {
    hash_of_reference(monitor.0, 0)
}

fn hash_of_watcher(watcher: &Watcher) -> u64 {
    // References are a node's own: another node's watcher may have the same one.
    hash_of_reference(watcher.reference, u64::from(watcher.pid.node().number()))
}

fn hash_of_link(link: &(Pid, u64)) -> u64 {
    let (index, _) = link.0.parts();
    hash(u64::from(index), u64::from(link.0.node().number()))
}

impl Relations {
    fn many(&mut self) -> &mut Many {
        self.many.get_or_insert_default()
    }

    fn link_mut(&mut self, peer: Pid) -> Option<&mut u64> {
        if let Some(Relation::Link(other, unlinking)) = &mut self.one
            && *other == peer
        {
            return Some(unlinking);
        }
        let link = (peer, 0);
        let found = self.many.as_mut()?.links.find_mut(hash_of_link(&link), |other| other.0 == peer)?;
        Some(&mut found.1)
    }

    fn add_link(&mut self, peer: Pid) {
        if self.one.is_none() {
            self.one = Some(Relation::Link(peer, 0));
            return;
        }
        let link = (peer, 0);
        self.many().links.insert_unique(hash_of_link(&link), link, hash_of_link);
    }

    fn remove_link(&mut self, peer: Pid) {
        if matches!(self.one, Some(Relation::Link(other, _)) if other == peer) {
            self.one = None;
        } else if let Some(many) = &mut self.many
            && let Ok(found) = many.links.find_entry(hash_of_link(&(peer, 0)), |other| other.0 == peer)
        {
            found.remove();
            give_back(&mut many.links);
        }
    }

    /// Sets a link up from this side. True: it is new, the peer must be told.
    pub(crate) fn link(&mut self, peer: Pid) -> bool {
        match self.link_mut(peer) {
            None => {
                self.add_link(peer);
                true
            }
            // With an unlink under way it is set up anew: the peer sees Unlink, then Link.
            Some(unlinking) => std::mem::replace(unlinking, 0) != 0,
        }
    }

    /// The peer has set it up.
    pub(crate) fn linked(&mut self, peer: Pid) {
        // With an unlink under way: the peer's request is older than our unlink in effect; dropped.
        if self.link_mut(peer).is_none() {
            self.add_link(peer);
        }
    }

    /// Begins to unlink. True: the link was active, send `Unlink` with this number.
    pub(crate) fn unlink(&mut self, peer: Pid, id: u64) -> bool {
        match self.link_mut(peer) {
            Some(unlinking @ 0) => {
                *unlinking = id;
                true
            }
            _ => false,
        }
    }

    /// The peer has unlinked.
    pub(crate) fn unlinked(&mut self, peer: Pid) {
        if self.link_mut(peer) == Some(&mut 0) {
            self.remove_link(peer);
        }
    }

    /// The peer has acknowledged our unlink.
    pub(crate) fn acknowledged(&mut self, peer: Pid, id: u64) {
        if self.link_mut(peer).is_some_and(|unlinking| *unlinking == id) {
            self.remove_link(peer);
        }
    }

    /// The peer has ended. True: the link was active.
    pub(crate) fn broke(&mut self, peer: Pid) -> bool {
        let active = self.link_mut(peer).map(|unlinking| *unlinking == 0);
        if active.is_some() {
            self.remove_link(peer);
        }
        active == Some(true)
    }

    /// The peers of the links that are active.
    pub(crate) fn links(&self) -> impl Iterator<Item = Pid> + '_ {
        let one = match self.one {
            Some(Relation::Link(peer, unlinking)) => Some((peer, unlinking)),
            _ => None,
        };
        let more = self.many.iter().flat_map(|many| many.links.iter().copied());
        one.into_iter().chain(more).filter(|(_, unlinking)| *unlinking == 0).map(|(peer, _)| peer)
    }

    /// Somebody watches this process.
    pub(crate) fn add_watcher(&mut self, reference: MonitorRef, pid: Pid) {
        // The one comes first; so it must have come first.
        if self.one.is_none() && self.many.as_ref().is_none_or(|many| many.watchers.is_empty()) {
            self.one = Some(Relation::Watcher(reference, pid));
            return;
        }
        let many = self.many();
        let watcher = Watcher { reference, pid, number: many.next };
        many.next += 1;
        many.watchers.insert_unique(hash_of_watcher(&watcher), watcher, hash_of_watcher);
    }

    /// It does not any more.
    pub(crate) fn remove_watcher(&mut self, reference: MonitorRef, pid: Pid) {
        let is_it = |other: &Watcher| other.reference == reference && other.pid == pid;
        if matches!(self.one, Some(Relation::Watcher(other, by)) if other == reference && by == pid) {
            self.one = None;
        } else if let Some(many) = &mut self.many
            && let Ok(found) =
                many.watchers.find_entry(hash_of_watcher(&Watcher { reference, pid, number: 0 }), is_it)
        {
            found.remove();
            give_back(&mut many.watchers);
        }
    }

    /// Who watches this process, in the order in which they have come.
    pub(crate) fn watchers(&self) -> SmallVec<[(MonitorRef, Pid); 1]> {
        let mut watchers = SmallVec::new();
        if let Some(Relation::Watcher(reference, pid)) = self.one {
            watchers.push((reference, pid));
        }
        if let Some(many) = &self.many
            && !many.watchers.is_empty()
        {
            let mut more: Vec<_> = many.watchers.iter().collect();
            more.sort_unstable_by_key(|watcher| watcher.number);
            watchers.extend(more.into_iter().map(|watcher| (watcher.reference, watcher.pid)));
        }
        watchers
    }

    /// This process watches another.
    pub(crate) fn add_monitor(&mut self, reference: MonitorRef, watch: Watch) {
        if self.one.is_none() && watch.call == 0 {
            self.one = Some(Relation::Watch(reference, watch.target));
            return;
        }
        let monitor = (reference, watch);
        self.many().monitors.insert_unique(hash_of_monitor(&monitor), monitor, hash_of_monitor);
    }

    /// It does not any more. `None`: it did not.
    pub(crate) fn remove_monitor(&mut self, reference: MonitorRef) -> Option<Watch> {
        if let Some(Relation::Watch(other, target)) = self.one
            && other == reference
        {
            self.one = None;
            return Some(Watch::new(target));
        }
        let monitors = &mut self.many.as_mut()?.monitors;
        let found =
            monitors.find_entry(hash_of_reference(reference, 0), |other| other.0 == reference).ok()?;
        let ((_, watch), _) = found.remove();
        give_back(monitors);
        Some(watch)
    }

    /// Whom this process watches.
    pub(crate) fn monitors(&self) -> impl Iterator<Item = (MonitorRef, Watch)> + '_ {
        let one = match self.one {
            Some(Relation::Watch(reference, target)) => Some((reference, Watch::new(target))),
            _ => None,
        };
        one.into_iter().chain(self.many.iter().flat_map(|many| many.monitors.iter().copied()))
    }

    /// What is to be told when the process has ended.
    pub(crate) fn bereaved(&self) -> Bereaved {
        let mut links: SmallVec<[Pid; 1]> = self.links().collect();
        links.sort_unstable();
        let mut monitors: SmallVec<[_; 1]> =
            self.monitors().map(|(reference, watch)| (reference, watch.target)).collect();
        monitors.sort_unstable_by_key(|(reference, _)| *reference);
        Bereaved { links, watchers: self.watchers(), monitors }
    }
}

/// An empty table that has room for more than this is given back.
const KEEP: usize = 1024;

/// One that has watched many, or was watched by many, keeps no room for them.
fn give_back<T>(table: &mut HashTable<T>) {
    if table.is_empty() && table.capacity() > KEEP {
        *table = HashTable::new();
    }
}

#[cfg(test)]
mod tests;
