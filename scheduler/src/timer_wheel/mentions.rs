//! Queues of mentions, in chunks that all queues of a wheel share: they grow and shrink at their ends without copying.
//!
//! The wheel has hundreds of these, and with a million timers dozens have tens of thousands of mentions. Chunks come from blocks
//! and not from the system's allocator, to which the arena of a thread grows by 4 KB with a system call each.
//!
//! 1. A chunk is in one queue, or in the free list of its store.
//! 2. The mentions of a queue lie from place `start` of the chunk `first` to below place `end` of the chunk `last`, `len` of them. A
//!    chunk but for the last is full behind `start`. A queue that has ever had a mention keeps one chunk; before, it has none, and
//!    `end` is as if a chunk were full.

use super::TimerKey;
use crate::blocks::Blocks;

/// Mentions of a chunk.
const PLACES: usize = 63;
/// No chunk.
const NONE: u32 = u32::MAX;
/// A store with no more chunks than this is not worth the work to make a smaller one: 64 KiB.
const FEW_CHUNKS: usize = 128;

struct Chunk {
    places: [TimerKey; PLACES],
    /// The chunk that follows, in a queue or in the free list; of the last one in a queue: anything.
    next: u32,
}

const _: () = assert!(size_of::<Chunk>() <= 512);

impl Chunk {
    const UNUSED: Chunk = Chunk { places: [TimerKey { index: 0, generation: 0 }; PLACES], next: NONE };
}

/// The chunks of all queues of a wheel.
pub(super) struct Store {
    chunks: Blocks<Chunk>,
    free: u32,
}

impl Store {
    pub(super) fn new() -> Self {
        Store { chunks: Blocks::new(), free: NONE }
    }

    /// Could there be much memory that is not used?
    pub(super) fn is_large(&self) -> bool {
        self.chunks.len() > FEW_CHUNKS
    }

    #[inline(always)]
    fn chunk(&mut self, number: u32) -> &mut Chunk {
        &mut self.chunks[number as usize]
    }

    fn take(&mut self) -> u32 {
        let taken = self.free;
        if taken == NONE {
            let number = u32::try_from(self.chunks.len()).ok().filter(|&number| number != NONE);
            self.chunks.push(Chunk::UNUSED);
            return number.expect("a chunk has dozens of timers, of which there are fewer than 2^32");
        }
        self.free = self.chunk(taken).next;
        taken
    }

    /// Chunks from `first` to `last`, linked, are free.
    fn give(&mut self, first: u32, last: u32) {
        self.chunk(last).next = self.free;
        self.free = first;
    }
}

/// See the head of this file.
pub(super) struct Mentions {
    first: u32,
    last: u32,
    start: u32,
    end: u32,
    len: usize,
}

impl Mentions {
    pub(super) const EMPTY: Mentions =
        Mentions { first: NONE, last: NONE, start: 0, end: PLACES as u32, len: 0 };

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub(super) fn push(&mut self, mention: TimerKey, store: &mut Store) {
        if self.end as usize == PLACES {
            self.grow(store);
        }
        store.chunk(self.last).places[self.end as usize] = mention;
        self.end += 1;
        self.len += 1;
    }

    #[inline(never)]
    fn grow(&mut self, store: &mut Store) {
        let chunk = store.take();
        if self.last == NONE {
            self.first = chunk;
        } else {
            store.chunk(self.last).next = chunk;
        }
        self.last = chunk;
        self.end = 0;
    }

    #[inline]
    pub(super) fn pop(&mut self, store: &mut Store) -> Option<TimerKey> {
        self.len = self.len.checked_sub(1)?;
        let chunk = store.chunk(self.first);
        let (mention, next) = (chunk.places[self.start as usize], chunk.next);
        self.start += 1;
        if self.len == 0 {
            (self.start, self.end) = (0, 0);
        } else if self.start as usize == PLACES {
            store.give(self.first, self.first);
            (self.first, self.start) = (next, 0);
        }
        Some(mention)
    }

    #[inline(always)]
    pub(super) fn clear(&mut self, store: &mut Store) {
        if self.first != self.last {
            self.cut(self.first, store);
        }
        if self.first != NONE {
            (self.start, self.end, self.len) = (0, 0, 0);
        }
    }

    /// Ends the queue with this chunk of it. Those behind it are free.
    fn cut(&mut self, last: u32, store: &mut Store) {
        if last != self.last {
            let next = store.chunk(last).next;
            store.give(next, self.last);
            self.last = last;
        }
    }

    /// Removes those that `keep` refuses; the others stay in their order. `announce` gets each mention some time before `keep`.
    ///
    /// What `keep` looks at is seldom in the cache, and what it says cannot be predicted: so there is no branch on it, and the
    /// waiting times for many of them are one.
    pub(super) fn retain(
        &mut self,
        keep: impl Fn(TimerKey) -> bool,
        announce: impl Fn(TimerKey),
        store: &mut Store,
    ) {
        if self.len == 0 {
            return;
        }
        let (mut left, mut number, mut place) = (self.len, self.first, self.start as usize);
        // Where the next one that stays goes: never beyond what has been copied out.
        let (mut kept, mut before, mut to, mut end) = (0, NONE, self.first, place);
        while left > 0 {
            let chunk = store.chunk(number);
            let (places, next) = (chunk.places, chunk.next);
            let here = &places[place..PLACES.min(place + left)];
            here.iter().for_each(|&mention| announce(mention));
            let mut out = store.chunk(to);
            for &mention in here {
                if end == PLACES {
                    (before, to, end) = (to, out.next, 0);
                    out = store.chunk(to);
                }
                out.places[end] = mention;
                let stays = usize::from(keep(mention));
                end += stays;
                kept += stays;
            }
            left -= here.len();
            (number, place) = (next, 0);
        }
        if end == 0 && before != NONE {
            // What went there does not stay.
            (to, end) = (before, PLACES);
        }
        self.cut(to, store);
        (self.end, self.len) = (end as u32, kept);
        if kept == 0 {
            self.clear(store);
        }
    }

    /// Moves those that `keep` wants to another store, in their order. The old one is not used after this.
    pub(super) fn move_to(&mut self, store: &mut Store, old: &Store, keep: impl Fn(TimerKey) -> bool) {
        let moved = std::mem::replace(self, Mentions::EMPTY);
        moved.iter(old).filter(|&mention| keep(mention)).for_each(|mention| self.push(mention, store));
    }

    pub(super) fn iter<'a>(&self, store: &'a Store) -> impl Iterator<Item = TimerKey> + use<'a> {
        let (mut number, mut place) = (self.first, self.start as usize);
        (0..self.len).map(move |_| {
            let chunk = &store.chunks[number as usize];
            let mention = chunk.places[place];
            place += 1;
            if place == PLACES {
                (number, place) = (chunk.next, 0);
            }
            mention
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn mention(number: u32) -> TimerKey {
        TimerKey { index: number, generation: !number }
    }

    impl Store {
        /// Numbers of the free chunks.
        fn free(&self) -> Vec<u32> {
            let chunk = |number: u32| Some(number).filter(|&number| number != NONE);
            std::iter::successors(chunk(self.free), |&number| chunk(self.chunks[number as usize].next))
                .collect()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn two_queues_of_one_store_are_two_queues(
            ops in proptest::collection::vec((0..7_u32, 0..2_usize, 1..200_u32), 1..60),
        ) {
            let mut store = Store::new();
            let mut queues = [Mentions::EMPTY, Mentions::EMPTY];
            let mut model = [VecDeque::new(), VecDeque::new()];
            let mut next = 0;
            for (op, which, count) in ops {
                let (queue, model) = (&mut queues[which], &mut model[which]);
                match op {
                    0..=2 => for _ in 0..count {
                        queue.push(mention(next), &mut store);
                        model.push_back(mention(next));
                        next += 1;
                    },
                    3 | 4 => for _ in 0..count {
                        prop_assert_eq!(queue.pop(&mut store), model.pop_front());
                    },
                    5 => {
                        let announced = std::cell::Cell::new(0);
                        let keep = |mention: TimerKey| mention.index.is_multiple_of(1 + count % 5);
                        queue.retain(keep, |_| announced.set(announced.get() + 1), &mut store);
                        prop_assert_eq!(announced.get(), model.len());
                        model.retain(|&mention| keep(mention));
                    }
                    _ => {
                        queue.clear(&mut store);
                        model.clear();
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
            }
            let mut used = store.free().len();
            for (queue, model) in queues.iter_mut().zip(&model) {
                prop_assert!(queue.iter(&store).eq(model.iter().copied()));
                used += if queue.first == NONE { 0 } else { 1 + (queue.start as usize + queue.len).saturating_sub(1) / PLACES };
            }
            prop_assert_eq!(used, store.chunks.len(), "each chunk is in one place");
            let mut other = Store::new();
            for (queue, model) in queues.iter_mut().zip(&model) {
                queue.move_to(&mut other, &store, |mention| mention.index.is_multiple_of(2));
                let even = model.iter().copied().filter(|mention| mention.index.is_multiple_of(2));
                prop_assert!(queue.iter(&other).eq(even));
            }
        }
    }
}
