//! The tasks of one worker that can run, by priority. Private to the worker.
//!
//! As in Erlang: while there is a `max` task, none below is chosen; the same for `high`. `normal` and
//! `low` are interleaved: after [`NORMAL_PER_LOW`] normal ones a low one has its turn, so it does not
//! starve.

use crate::clock::Random;
use std::collections::VecDeque;

/// Normal tasks that run between two low ones when both wait (Erlang's figure).
const NORMAL_PER_LOW: u8 = 8;
const LEVELS: usize = 4;
const NORMAL: usize = 2;
const LOW: usize = 3;

#[derive(Debug)]
pub(crate) struct RunQueue {
    levels: [VecDeque<u32>; LEVELS],
    len: usize,
    /// Tasks above normal.
    urgent: usize,
    normal_turns: u8,
}

impl RunQueue {
    pub(crate) fn new() -> Self {
        RunQueue { levels: Default::default(), len: 0, urgent: 0, normal_turns: 0 }
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, index: u32, priority: u8) {
        let level = priority as usize;
        self.levels[level].push_back(index);
        self.len += 1;
        if level < NORMAL {
            self.urgent += 1;
        }
    }

    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        self.len -= 1;
        if self.urgent == 0 && self.levels[LOW].is_empty() {
            return self.levels[NORMAL].pop_front();
        }
        self.pop_mixed()
    }

    #[cold]
    fn pop_mixed(&mut self) -> Option<u32> {
        for level in 0..NORMAL {
            if let Some(index) = self.levels[level].pop_front() {
                self.urgent -= 1;
                return Some(index);
            }
        }
        let low_turn = self.normal_turns >= NORMAL_PER_LOW && !self.levels[LOW].is_empty();
        if low_turn || self.levels[NORMAL].is_empty() {
            self.normal_turns = 0;
            return self.levels[LOW].pop_front();
        }
        self.normal_turns += 1;
        self.levels[NORMAL].pop_front()
    }

    /// For the systematic mode: any task that the priorities allow, by chance.
    pub(crate) fn pop_any(&mut self, random: &mut Random) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        self.len -= 1;
        for level in 0..NORMAL {
            if !self.levels[level].is_empty() {
                self.urgent -= 1;
                let at = random.below(self.levels[level].len() as u64) as usize;
                return self.levels[level].remove(at);
            }
        }
        let (normal, low) = (self.levels[NORMAL].len(), self.levels[LOW].len());
        let at = random.below((normal + low) as u64) as usize;
        if at < normal { self.levels[NORMAL].remove(at) } else { self.levels[LOW].remove(at - normal) }
    }

    /// Takes out tasks that `movable` picks, from the back (the youngest, least likely to be warm
    /// here), until `out` has `most` or `look` were looked at. Their order is kept.
    pub(crate) fn take_movable(
        &mut self,
        most: usize,
        look: usize,
        movable: &mut dyn FnMut(u32) -> bool,
        out: &mut Vec<u32>,
    ) {
        let before = out.len();
        let mut looked = 0;
        for level in 0..LEVELS {
            let queue = &mut self.levels[level];
            let mut kept = Vec::new();
            while out.len() - before < most && looked < look {
                let Some(index) = queue.pop_back() else { break };
                looked += 1;
                if movable(index) {
                    out.push(index);
                    self.len -= 1;
                    if level < NORMAL {
                        self.urgent -= 1;
                    }
                } else {
                    kept.push(index);
                }
            }
            queue.extend(kept.into_iter().rev());
        }
        out[before..].reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgent_first_and_low_is_not_starved() {
        let mut queue = RunQueue::new();
        for index in 0..20 {
            queue.push(index, 2);
        }
        queue.push(100, 3);
        queue.push(200, 1);
        queue.push(300, 0);
        assert_eq!(queue.pop(), Some(300));
        assert_eq!(queue.pop(), Some(200));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order.iter().position(|index| *index == 100), Some(NORMAL_PER_LOW as usize));
        assert_eq!(order.len(), 21);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn takes_movable_ones_from_the_back_in_order() {
        let mut queue = RunQueue::new();
        for index in 0..10 {
            queue.push(index, 2);
        }
        let mut out = Vec::new();
        queue.take_movable(3, 100, &mut |index| index % 2 == 0, &mut out);
        assert_eq!(out, [4, 6, 8]);
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(rest, [0, 1, 2, 3, 5, 7, 9]);
    }
}
