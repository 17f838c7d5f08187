//! A queue of plain values in one piece of memory that is used in turn.
//!
//! What `VecDeque` is, for values that are `Copy`, with fewer instructions for a push and a pop, which the run queue makes once a slice:
//!
//! 1. The length of the memory is 0 or a power of two, at most a quarter of the address space.
//! 2. `head` and `tail` count pops and pushes, without end; what counts is their difference, the length, which is at most that of the
//!    memory, and their low bits, the places. So it is not told apart whether the piece in use goes over the end of the memory.

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    items: Box<[T]>,
    head: usize,
    tail: usize,
}

/// The least memory, in values.
const LEAST: usize = 8;

impl<T: Copy> Ring<T> {
    pub(crate) fn new() -> Self {
        Ring { items: Box::new([]), head: 0, tail: 0 }
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head)
    }

    /// The place of the value with this count. The memory must not be empty.
    #[inline(always)]
    fn place(&self, count: usize) -> usize {
        debug_assert!(self.items.len().is_power_of_two());
        count & (self.items.len() - 1)
    }

    #[inline(always)]
    pub(crate) fn push_back(&mut self, value: T) {
        if !self.push_quickly(value) {
            self.grow(value);
            self.push_quickly(value);
        }
    }

    /// Pushes if that needs no more memory. False: it does.
    #[inline(always)]
    pub(crate) fn push_quickly(&mut self, value: T) -> bool {
        if self.len() == self.items.len() {
            return false;
        }
        let place = self.place(self.tail);
        // SAFETY: the memory is not empty, or it would be full; so by rule 1 what is masked by its length less one is below its length.
        *unsafe { self.items.get_unchecked_mut(place) } = value;
        self.tail = self.tail.wrapping_add(1);
        true
    }

    /// Twice the memory; `filler` is written where nothing is yet.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, filler: T) {
        let len = self.len();
        let size = (2 * self.items.len()).max(LEAST);
        let mut items = Vec::with_capacity(size);
        items.extend(self.iter());
        items.resize(size, filler);
        self.items = items.into_boxed_slice();
        (self.head, self.tail) = (0, len);
    }

    /// The value with this count, if that is not beyond the end.
    #[inline(always)]
    fn at(&self, count: usize) -> Option<T> {
        if count.wrapping_sub(self.head) >= self.len() {
            return None;
        }
        let place = self.place(count);
        // SAFETY: rules 1 and 2: where there is a value there is memory; as in `push_back`.
        Some(*unsafe { self.items.get_unchecked(place) })
    }

    #[inline(always)]
    pub(crate) fn front(&self) -> Option<T> {
        self.at(self.head)
    }

    /// The one behind the front; if there is none, one that has been there, or a filler. The ring must not be empty.
    #[inline(always)]
    pub(crate) fn around_second(&self) -> T {
        debug_assert!(self.len() > 0);
        let place = self.place(self.head.wrapping_add(1));
        self.items[place]
    }

    #[inline(always)]
    pub(crate) fn pop_front(&mut self) -> Option<T> {
        let front = self.front()?;
        self.head = self.head.wrapping_add(1);
        Some(front)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = T> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The value at this index, from the front.
    pub(crate) fn get(&self, index: usize) -> Option<T> {
        if index < self.len() { self.at(self.head.wrapping_add(index)) } else { None }
    }

    /// Takes out the value at this index; the others close up.
    pub(crate) fn remove(&mut self, index: usize) -> Option<T> {
        let found = self.get(index)?;
        let rest = self.split_off(index);
        rest.into_iter().skip(1).for_each(|value| self.push_back(value));
        Some(found)
    }

    /// Takes out all from this index on.
    pub(crate) fn split_off(&mut self, index: usize) -> Vec<T> {
        let tail = self.iter().skip(index).collect();
        self.tail = self.head.wrapping_add(index.min(self.len()));
        tail
    }
}

impl<T: Copy> Default for Ring<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Random;
    use std::collections::VecDeque;

    /// Beside a `VecDeque`, from counts that are about to overflow.
    #[test]
    fn it_is_what_a_deque_is() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let (mut ring, mut model) = (Ring::new(), VecDeque::new());
            (ring.head, ring.tail) = (usize::MAX - 20, usize::MAX - 20);
            for step in 0..2000_u32 {
                // In turns it rather grows and rather shrinks.
                match random.below(if step / 100 % 2 == 0 { 8 } else { 16 }) {
                    0..=4 => {
                        ring.push_back(step);
                        model.push_back(step);
                    }
                    5 => {
                        let index = random.below(model.len() as u64 + 2) as usize;
                        assert_eq!(ring.remove(index), model.remove(index), "seed {seed}, step {step}");
                    }
                    6 if random.below(10) == 0 => {
                        let index = random.below(model.len() as u64 + 1) as usize;
                        assert_eq!(ring.split_off(index), Vec::from(model.split_off(index)), "seed {seed}");
                    }
                    _ => assert_eq!(ring.pop_front(), model.pop_front(), "seed {seed}, step {step}"),
                }
                assert_eq!(ring.len(), model.len());
                assert_eq!(ring.front(), model.front().copied());
                if let Some(second) = model.get(1) {
                    assert_eq!(ring.around_second(), *second);
                }
            }
            assert!(ring.iter().eq(model.iter().copied()), "seed {seed}");
        }
    }

    #[test]
    fn it_grows_only_when_it_is_full() {
        let mut ring = Ring::new();
        assert!(!ring.push_quickly(0));
        for number in 0..LEAST {
            ring.push_back(number);
        }
        assert!(!ring.push_quickly(LEAST) && ring.items.len() == LEAST);
        ring.pop_front();
        ring.push_back(LEAST);
        assert_eq!(ring.items.len(), LEAST);
        ring.push_back(LEAST + 1);
        assert_eq!(ring.items.len(), 2 * LEAST);
        assert_eq!(ring.iter().collect::<Vec<_>>(), (1..LEAST + 2).collect::<Vec<_>>());
    }
}
