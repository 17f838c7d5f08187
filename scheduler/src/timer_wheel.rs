//! The timers of one worker: a hierarchical timing wheel.
//!
//! Source: G. Varghese, A. Lauck, "Hashed and Hierarchical Timing Wheels: Data Structures for the
//! Efficient Implementation of a Timer Facility", SOSP 1987, scheme 7.
//!
//! The idea: write ticks as numbers of base 64. A deadline is filed by the highest digit in which it
//! differs from the current tick: that digit's place is its level, the digit itself its slot. So a
//! timer is set or cancelled by one list operation, whatever its distance, and when the current tick
//! reaches a slot of an upper level, the entries of that slot agree with it in one digit more and move
//! down ("cascade"), at most once per level in their life. No time is read here: what a tick lasts, and
//! which tick it is, the caller says. Bitmaps of the occupied slots let a turn go from one event to the
//! next, so that the length of an idle stretch does not matter.
//!
//! Most timers of a message-passing program are cancelled (the answer came) and never cascade; that is
//! why setting and cancelling are made cheap and the ordering is left for later. A list is an array of *mentions*: the
//! number of an entry, and which use of it. To cancel touches the entry alone, not its neighbours in the list, which are seldom in
//! the cache: its generation goes on, and the mention is stale.
//!
//! # Invariants
//!
//! Let `now` be the current tick, and `at = max(deadline, now at the time of filing)` of an entry.
//!
//! 1. `at >= now` for every entry, so that no entry is early and none is passed over.
//! 2. The list of an entry is a function of `at` and `now` (and `floor`, see 5) alone: level `l` is the
//!    place of the highest base 64 digit in which `at` and `now` differ (0 if they do not), the slot is
//!    digit `l` of `at`. Hence slots of level 0 hold one tick each; slots of a level are in order, none
//!    wraps; and all of a level is due before anything of the level above.
//! 3. By 2, slot 0 of an upper level would stay empty, as a digit that exceeds another is not 0. The one
//!    of the top level serves as the list of what differs from `now` above all levels ("far"). It
//!    is filed anew when the top level has turned once, at the next multiple of 64^6.
//! 4. By 2, entries of equal `at` are at any time in one list. As lists are appended to and cascade
//!    from the front, they stay in the order of insertion.
//! 5. `floor` is 0, or the level of a list that a turn began to cascade and left because of its limit:
//!    the list of digit `floor` of `now`. Until it is empty, nothing fires, and what would be filed below
//!    `floor` is appended to it, or it would overtake entries that were set before.
//! 6. A bit of `occupied` is set if and only if the list has a mention that is not stale; `live` counts those. "In a list",
//!    above and below, means mentioned by one that is not stale: each entry is in one list at most.
//! 7. An entry has a value if and only if it is in a list. Without one it is in the free list, unless its
//!    generations are used up; then it is in none and stays unused. No (index, generation) is ever given
//!    out twice, not even if the slab shrinks and grows again.
//! 8. A list without a live mention is empty; others have at most [`STALE`] stale mentions for a live one, and a few. So
//!    they take memory in proportion to the timers that are set, and to remove them costs a constant for each cancelling.

mod entry;
mod mentions;
#[cfg(test)]
mod tests;

use crate::blocks::Blocks;
use entry::{Entry, When};
use mentions::{Mentions, Store};
use std::fmt;

/// Bits of a digit.
const BITS: u32 = 6;
/// Slots of a level: as many as a word has bits.
const SLOTS: usize = 1 << BITS;
/// Levels of the wheel.
const LEVELS: usize = 6;
/// The list of the entries that are too far for any level (invariant 3).
const FAR: usize = (LEVELS - 1) * SLOTS;
/// "None" for indices of entries.
const NIL: u32 = u32::MAX;
/// The generation that is never given out: an entry that has reached it is not used any more.
const USED_UP: u32 = u32::MAX;
/// A slab of up to so many entries is kept, however empty.
const SHRINK_MIN: usize = 4096;
/// Timers that are not worth a [sweep](TimerWheel::is_crowded).
const SWEEP_MIN: usize = 1024;
/// Stale mentions for each live one that a list may have; and so many more.
const STALE: usize = 15;
const FEW: usize = 64;
/// Cascading moves allowed to a limited turn for each value it may yield. An entry moves at most 5
/// times, typically twice, so that it is seldom the moves that end a turn.
const MOVES_PER_VALUE: usize = 4;

/// Ticks are below this.
pub(crate) const TICKS: u64 = 1 << (u64::BITS - When::LIST_BITS);

/// Names one timer of one wheel. The key of a timer that fired or was cancelled matches nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct TimerKey {
    /// The entry in the slab.
    pub(crate) index: u32,
    /// Which use of that entry.
    pub(crate) generation: u32,
}

/// In the order of insertion.
struct List {
    mentions: Mentions,
    /// Those that are not stale.
    live: usize,
}

impl List {
    const EMPTY: List = List { mentions: Mentions::EMPTY, live: 0 };
}

/// A hierarchical timing wheel; see the head of this module.
pub(crate) struct TimerWheel<T> {
    now: u64,
    /// The level of the list left half cascaded, or 0 (invariant 5).
    floor: u32,
    free: u32,
    len: usize,
    /// When `len` has fallen to this, it is worth looking for memory to give back.
    shrink_at: usize,
    /// When `len` has come to this, some may be worth nothing any more.
    crowded_at: usize,
    occupied: [u64; LEVELS],
    lists: [List; LEVELS * SLOTS],
    store: Store,
    entries: Blocks<Entry<T>>,
    /// Generations of the entries given back, the one to come back first on top. Without it a key from
    /// before the shrinking could match an entry of the time after.
    given_back: Vec<u32>,
}

/// The digit of `tick` at place `level`.
#[inline(always)]
fn digit(tick: u64, level: u32) -> usize {
    (tick >> (BITS * level)) as usize % SLOTS
}

impl<T> TimerWheel<T> {
    /// An empty wheel that stands at tick `now`. Allocates nothing.
    pub(crate) fn new(now: u64) -> Self {
        TimerWheel {
            now,
            floor: 0,
            free: NIL,
            len: 0,
            shrink_at: 0,
            crowded_at: SWEEP_MIN,
            occupied: [0; LEVELS],
            lists: [List::EMPTY; LEVELS * SLOTS],
            store: Store::new(),
            entries: Blocks::new(),
            given_back: Vec::new(),
        }
    }

    /// How many timers are set.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is set.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Are there twice as many timers as the last [`retain`](Self::retain) has left (and not just a few)? Who calls it then keeps the
    /// number of those that it refuses below the number of the others, at a constant cost for each timer.
    #[inline(always)]
    pub(crate) fn is_crowded(&self) -> bool {
        self.len >= self.crowded_at
    }

    /// Sets a timer for tick `deadline`, which is below [`TICKS`]. One that the wheel has reached or passed already counts as set
    /// for the tick where the wheel stands, and fires at the next turn.
    #[inline(always)]
    pub(crate) fn insert(&mut self, deadline: u64, value: T) -> TimerKey {
        debug_assert!(deadline < TICKS, "tick {deadline}");
        let list = self.list_for(deadline);
        let when = When::new(deadline, list);
        let index = self.free;
        let key = if let Some(entry) = self.entries.get_mut(index as usize) {
            self.free = entry.next;
            entry.when = when;
            entry.value = Some(value);
            TimerKey { index, generation: entry.generation }
        } else {
            self.append(when, value)
        };
        self.len += 1;
        self.mention(key, list);
        key
    }

    /// Takes a timer out before it fires, with its deadline as it was given. `None` if it has fired or
    /// was cancelled.
    #[inline(always)]
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<(u64, T)> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        let value = entry.value.take()?;
        let when = entry.when;
        entry.free(key.index, &mut self.free);
        self.one_less();
        self.cancelled(when.list());
        Some((when.deadline(), value))
    }

    /// The deadline, as it was given, and the value of a timer that is set.
    #[inline]
    pub(crate) fn get(&self, key: TimerKey) -> Option<(u64, &T)> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        Some((entry.when.deadline(), entry.value.as_ref()?))
    }

    /// A tick such that no turn before it does anything, and one at it fires timers or at least
    /// brings the first ones nearer; `None` if no timer is set.
    ///
    /// It is the first deadline itself if that is in the 64 ticks' block where the wheel stands, else the
    /// start of the first occupied slot. Who sleeps until then and turns wakes at most 5 times for nothing
    /// per timer, and once per 64^6 ticks while one is farther off than the wheel reaches. If a timer is overdue or a limited turn was cut short amid a
    /// slot, it is a tick not after the one turned to.
    #[inline]
    pub(crate) fn next_wakeup(&self) -> Option<u64> {
        self.first().map(|(_, start)| start)
    }

    /// Goes on to tick `now` and appends to `out` the values of all timers with `deadline <= now`, in the
    /// order of deadlines, those of one tick in the order of insertion. (A timer set for a tick already
    /// passed ranks as if set for the tick at which the wheel stood.) A `now` before that of an
    /// earlier turn is no error; nothing comes out early for it.
    #[inline]
    #[cfg(test)]
    pub(crate) fn turn(&mut self, now: u64, out: &mut Vec<T>) {
        self.turn_limited(now, usize::MAX, out);
    }

    /// As [`turn`](Self::turn), but yields at most `max` values and cascades at most a fixed multiple of
    /// `max` entries (the once-in-64^6-ticks review of far deadlines excepted). True if it was stopped by
    /// that: the next call goes on where it stopped, in the same order. Then fewer than `max`
    /// values may have come out, even none, and the next call may find none due.
    pub(crate) fn turn_limited(&mut self, now: u64, max: usize, out: &mut Vec<T>) -> bool {
        // Cancelling may have emptied the half cascaded list.
        if self.occupied[self.floor as usize] >> digit(self.now, self.floor) & 1 == 0 {
            self.floor = 0;
        }
        let mut values = max;
        let mut moves = max.saturating_mul(MOVES_PER_VALUE);
        while let Some((list, start)) = self.first() {
            if start > now {
                break;
            }
            // Nothing is due before `start`, so the invariants hold with it as the current tick, but
            // for the list at hand, which is to be emptied.
            self.now = if list == FAR { self.far_block(now) } else { start };
            if list >= SLOTS {
                if !self.cascade(list, &mut moves) {
                    return true;
                }
                continue;
            }
            while self.lists[list].live > 0 {
                if values == 0 {
                    return true;
                }
                values -= 1;
                let index = self.pop(list);
                let entry = &mut self.entries[index as usize];
                out.extend(entry.value.take());
                entry.free(index, &mut self.free);
                self.one_less();
            }
        }
        self.now = self.now.max(now);
        false
    }

    /// Cancels every timer whose value `keep` refuses, and moves those values to `refused` (the caller
    /// decides where their destructors run). Takes time in proportion to the most timers that were set
    /// at once since memory was last given back.
    #[cold]
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool, refused: &mut Vec<T>) {
        let mut index = 0;
        // Not a range: the slab may shrink on the way.
        while let Some(entry) = self.entries.get(index as usize) {
            if entry.value.as_ref().is_some_and(|value| !keep(value)) {
                let key = TimerKey { index, generation: entry.generation };
                refused.extend(self.cancel(key).map(|(_, value)| value));
            }
            index += 1;
        }
        self.crowded_at = SWEEP_MIN.max(2 * self.len);
    }

    /// The key of the timer that is in this place of the slab now.
    pub(crate) fn key_at(&self, index: u32) -> TimerKey {
        let generation = self.entries.get(index as usize).map_or(0, |entry| entry.generation);
        TimerKey { index, generation }
    }

    /// The value of a timer, to change it.
    pub(crate) fn get_mut(&mut self, key: TimerKey) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        entry.value.as_mut()
    }

    /// The list to be dealt with first, and the tick at which it is due.
    #[inline]
    fn first(&self) -> Option<(usize, u64)> {
        let slot = digit(self.now, self.floor);
        if self.occupied[self.floor as usize] >> slot & 1 != 0 {
            return Some((self.floor as usize * SLOTS + slot, self.now));
        }
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let slots = self.occupied[level];
        // On the top level slot 0 means far and comes last, as if it were slot 64.
        let slot = if level == LEVELS - 1 {
            slots.rotate_right(1).trailing_zeros() + 1
        } else {
            slots.trailing_zeros()
        };
        let shift = BITS * level as u32;
        let block = self.now >> (shift + BITS) << (shift + BITS);
        // No overflow: in the last block of all nothing can be far.
        Some((level * SLOTS + slot as usize % SLOTS, block + (u64::from(slot) << shift)))
    }

    /// The start of the first block of 64^6 ticks that has a far deadline in it, but not after tick `end`.
    /// The far list is reviewed there and not in each block between, of which there may be 2^28.
    #[cold]
    fn far_block(&self, end: u64) -> u64 {
        let live = self.lists[FAR].mentions.iter(&self.store).filter(|&mention| self.is_live(mention));
        let nearest = live.map(|mention| self.entries[mention.index as usize].when.deadline()).min();
        let nearest = nearest.unwrap_or(end).min(end);
        let shift = BITS * LEVELS as u32;
        nearest >> shift << shift
    }

    /// Files the entries of an upper `list` anew, as the current tick has come to its start. False if
    /// `moves` were not enough.
    fn cascade(&mut self, list: usize, moves: &mut usize) -> bool {
        self.floor = 0;
        // What is still too far is appended to the very list that is being emptied; hence the number.
        for _ in 0..self.lists[list].live {
            // If the far list were left half done, one could not tell which half an entry is in.
            if list != FAR {
                if *moves == 0 {
                    self.floor = (list / SLOTS) as u32;
                    return false;
                }
                *moves -= 1;
            }
            let index = self.pop(list);
            self.file(index, self.entries[index as usize].when.deadline());
        }
        true
    }

    /// The list of a deadline by invariants 2, 3 and 5.
    #[inline(always)]
    fn list_for(&self, deadline: u64) -> usize {
        let at = deadline.max(self.now);
        let level = ((at ^ self.now) | 1).ilog2() / BITS;
        let level = level.max(self.floor);
        if level < LEVELS as u32 { level as usize * SLOTS + digit(at, level) } else { FAR }
    }

    /// Appends an entry that is in no list to the one where it belongs.
    #[inline]
    fn file(&mut self, index: u32, deadline: u64) {
        let list = self.list_for(deadline);
        let entry = &mut self.entries[index as usize];
        entry.when = When::new(deadline, list);
        let key = TimerKey { index, generation: entry.generation };
        self.mention(key, list);
    }

    /// Appends an entry to a list.
    #[inline(always)]
    fn mention(&mut self, key: TimerKey, list: usize) {
        let to = &mut self.lists[list];
        to.mentions.push(key, &mut self.store);
        to.live += 1;
        self.occupied[list / SLOTS] |= 1 << (list % SLOTS);
    }

    #[inline]
    fn is_live(&self, mention: TimerKey) -> bool {
        is_live(&self.entries, mention)
    }

    /// Takes the first entry of a list that is not empty out of it.
    #[inline]
    fn pop(&mut self, list: usize) -> u32 {
        loop {
            let mention = self.lists[list].mentions.pop(&mut self.store);
            let mention = mention.expect("a list has as many mentions as it counts");
            if self.is_live(mention) {
                self.count_out(list);
                return mention.index;
            }
        }
    }

    #[inline(always)]
    fn count_out(&mut self, list: usize) {
        let from = &mut self.lists[list];
        from.live -= 1;
        if from.live == 0 {
            from.mentions.clear(&mut self.store);
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
    }

    /// The entry that was in this list, and is not any more, is still mentioned there.
    #[inline(always)]
    fn cancelled(&mut self, list: usize) {
        self.count_out(list);
        let from = &self.lists[list];
        if from.mentions.len() > (STALE + 1) * from.live + FEW {
            self.sift(list);
        }
    }

    /// Removes the stale mentions of a list.
    #[cold]
    #[inline(never)]
    fn sift(&mut self, list: usize) {
        let mut mentions = std::mem::replace(&mut self.lists[list].mentions, Mentions::EMPTY);
        let entries = &self.entries;
        mentions.retain(
            |mention| is_live(entries, mention),
            |mention| entries.prefetch(mention.index as usize),
            &mut self.store,
        );
        self.lists[list].mentions = mentions;
    }

    #[inline(always)]
    fn one_less(&mut self) {
        self.len -= 1;
        if self.len <= self.shrink_at {
            self.shrink();
        }
    }

    /// Adds an entry to the slab, in use at once.
    #[inline(never)]
    fn append(&mut self, when: When, value: T) -> TimerKey {
        loop {
            let index = u32::try_from(self.entries.len()).ok().filter(|&index| index != NIL);
            let index = index.expect("timers of a worker are fewer than 2^32 - 1");
            let generation = self.given_back.pop().unwrap_or(0);
            self.shrink_at = self.entries.len() / 8;
            if generation != USED_UP {
                self.entries.push(Entry { when, next: NIL, generation, value: Some(value) });
                return TimerKey { index, generation };
            }
            self.entries.push(Entry { when: When(0), next: NIL, generation, value: None });
        }
    }

    #[cold]
    fn shrink(&mut self) {
        if self.entries.len() > SHRINK_MIN {
            self.give_back();
        }
    }

    /// Gives the free end of the slab back, if that is at least half of it. Only the end: a key says
    /// where its entry is. Of an entry given back, 4 bytes are kept.
    fn give_back(&mut self) {
        self.crowded_at = self.crowded_at.min(SWEEP_MIN.max(2 * self.len));
        // When it fails, or leaves much, the next attempt comes when half of the timers are gone, so
        // that the attempts are few.
        self.shrink_at = self.len / 2;
        let keep = self.entries.iter().rposition(|entry| entry.value.is_some()).map_or(0, |last| last + 1);
        if keep > self.entries.len() / 2 {
            return;
        }
        let given_back = &mut self.given_back;
        self.entries.truncate(keep, |entry| given_back.push(entry.generation));
        // What is left of the others takes an eighth of this memory.
        if self.store.is_large() {
            let old = std::mem::replace(&mut self.store, Store::new());
            for list in &mut self.lists {
                list.mentions.move_to(&mut self.store, &old, |mention| is_live(&self.entries, mention));
            }
        }
        self.free = NIL;
        for index in (0..keep).rev() {
            let entry = &mut self.entries[index];
            if entry.value.is_none() && entry.generation != USED_UP {
                entry.next = self.free;
                self.free = index as u32;
            }
        }
    }
}

/// Is the entry that is mentioned still in the use that is mentioned? One without a value has a generation that no mention has.
#[inline(always)]
fn is_live<T>(entries: &Blocks<Entry<T>>, mention: TimerKey) -> bool {
    entries.get(mention.index as usize).is_some_and(|entry| entry.generation == mention.generation)
}

impl<T> fmt::Debug for TimerWheel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("TimerWheel");
        out.field("now", &self.now).field("len", &self.len).field("next_wakeup", &self.next_wakeup());
        out.finish_non_exhaustive()
    }
}
