//! A queue of mentions, in chunks: it grows and shrinks at its ends without copying.
//!
//! The wheel has hundreds of these, and with a million timers dozens have tens of thousands of mentions. A chunk that is used up serves
//! the next queue that needs one.

use super::TimerKey;
use std::collections::VecDeque;

/// Mentions of a chunk.
const CHUNK: usize = 64;
/// Chunks for which an empty list keeps places.
const FEW_CHUNKS: usize = 8;
/// Unused chunks that are kept.
const SPARE: usize = 32;

type Chunk = Box<[TimerKey; CHUNK]>;

/// Chunks for the queues of a wheel.
#[derive(Default)]
pub(super) struct Spare(Vec<Chunk>);

impl Spare {
    fn take(&mut self) -> Chunk {
        self.0.pop().unwrap_or_else(|| Box::new([TimerKey { index: 0, generation: 0 }; CHUNK]))
    }

    fn give(&mut self, chunk: Option<Chunk>) {
        if self.0.len() < SPARE {
            self.0.extend(chunk);
        }
    }
}

/// See the head of this file.
pub(super) struct Mentions {
    chunks: VecDeque<Chunk>,
    /// Where the first mention is in the first chunk.
    start: usize,
    /// Where the next one goes, counted from the start of the first chunk.
    end: usize,
}

impl Mentions {
    pub(super) const EMPTY: Mentions = Mentions { chunks: VecDeque::new(), start: 0, end: 0 };

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline]
    pub(super) fn push(&mut self, mention: TimerKey, spare: &mut Spare) {
        if self.end == self.chunks.len() * CHUNK {
            self.chunks.push_back(spare.take());
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk[self.end % CHUNK] = mention;
        }
        self.end += 1;
    }

    #[inline]
    pub(super) fn pop(&mut self, spare: &mut Spare) -> Option<TimerKey> {
        let mention = *self.chunks.front()?.get(self.start).filter(|_| self.start < self.end)?;
        self.start += 1;
        if self.start == CHUNK {
            spare.give(self.chunks.pop_front());
            self.start = 0;
            self.end -= CHUNK;
        }
        Some(mention)
    }

    pub(super) fn clear(&mut self, spare: &mut Spare) {
        // One stays: a list that is used now and then calls no allocator.
        while self.chunks.len() > 1 {
            spare.give(self.chunks.pop_back());
        }
        self.chunks.shrink_to(FEW_CHUNKS);
        (self.start, self.end) = (0, 0);
    }

    /// Removes those that `keep` refuses; the others stay in their order. `announce` gets each mention some time before `keep`.
    ///
    /// What `keep` looks at is seldom in the cache, and what it says cannot be predicted: so there is no branch on it, and the
    /// waiting times for many of them are one.
    pub(super) fn retain(
        &mut self,
        keep: impl Fn(TimerKey) -> bool,
        announce: impl Fn(TimerKey),
        spare: &mut Spare,
    ) {
        let mut kept = self.start;
        for number in 0..self.chunks.len() {
            let first = number * CHUNK;
            let places = self.start.max(first) - first..self.end.min(first + CHUNK) - first;
            self.chunks[number][places.clone()].iter().for_each(|&mention| announce(mention));
            for place in places {
                let mention = self.chunks[number][place];
                self.chunks[kept / CHUNK][kept % CHUNK] = mention;
                kept += usize::from(keep(mention));
            }
        }
        self.end = kept;
        while self.chunks.len() > self.end.div_ceil(CHUNK) {
            spare.give(self.chunks.pop_back());
        }
        if self.chunks.is_empty() {
            *self = Mentions::EMPTY;
        }
        self.chunks.shrink_to(2 * self.chunks.len());
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = TimerKey> {
        (self.start..self.end).map(|place| self.chunks[place / CHUNK][place % CHUNK])
    }
}
