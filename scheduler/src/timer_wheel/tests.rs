//! Tests of the timer wheel: the edges one by one, then against a model.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// The last tick of all.
const LAST: u64 = TICKS - 1;

impl<T> TimerWheel<T> {
    /// Asserts the invariants of the head of the module.
    fn check(&self) {
        let pending = (self.floor > 0).then(|| self.floor as usize * SLOTS + digit(self.now, self.floor));
        let mut found = 0;
        for (number, list) in self.lists.iter().enumerate() {
            let bit = self.occupied[number / SLOTS] >> (number % SLOTS) & 1;
            let live: Vec<_> =
                list.mentions.iter(&self.store).filter(|&mention| self.is_live(mention)).collect();
            assert_eq!(
                (bit == 1, list.live),
                (!live.is_empty(), live.len()),
                "bit and number of list {number}"
            );
            assert!(
                list.mentions.len() <= (STALE + 1) * list.live + FEW,
                "too much is stale in list {number}"
            );
            assert!(list.live > 0 || list.mentions.len() == 0);
            for mention in live {
                let entry = &self.entries[mention.index as usize];
                assert!(entry.value.is_some() && entry.generation != USED_UP);
                assert_eq!(entry.when.list(), number);
                let at = entry.when.deadline().max(self.now);
                let place = ((at ^ self.now) | 1).ilog2() / BITS;
                if Some(number) == pending {
                    assert!(place < self.floor, "only what belongs below is pending");
                } else if number == FAR {
                    assert!(place >= LEVELS as u32);
                } else {
                    assert_eq!(number, place as usize * SLOTS + digit(at, place));
                }
                found += 1;
            }
        }
        assert_eq!(found, self.len);
        let mut index = self.free;
        while index != NIL {
            let entry = &self.entries[index as usize];
            assert!(entry.value.is_none() && entry.generation != USED_UP);
            found += 1;
            index = entry.next;
        }
        let used_up = self.entries.iter().filter(|e| e.generation == USED_UP).count();
        assert_eq!(found + used_up, self.entries.len());
    }

    /// Turns and returns what came out.
    fn turned(&mut self, now: u64) -> Vec<T> {
        let mut out = Vec::new();
        self.turn(now, &mut out);
        self.check();
        out
    }
}

/// Ticks at which something changes: slot, level and block edges, relative to 0.
fn edges() -> Vec<u64> {
    let mut all = vec![0, 1, 2];
    for level in 1..=7 {
        for times in [1, 2, 63] {
            let edge = times << (6 * level);
            all.extend([edge - 1, edge, edge + 1]);
        }
    }
    all
}

#[test]
fn fires_at_its_tick_and_not_before() {
    for start in edges() {
        for after in edges() {
            let mut wheel = TimerWheel::new(start);
            let deadline = start + after;
            wheel.insert(deadline, ());
            wheel.check();
            if after > 0 {
                assert!(wheel.turned(deadline - 1).is_empty(), "{start} + {after}: early");
            }
            assert_eq!(wheel.turned(deadline).len(), 1, "{start} + {after}");
            assert_eq!((wheel.len(), wheel.next_wakeup()), (0, None));
        }
    }
}

#[test]
fn sleeping_until_next_wakeup_meets_every_deadline() {
    for start in edges() {
        let mut wheel = TimerWheel::new(start);
        let mut deadlines: Vec<u64> = edges().iter().map(|after| start + after).collect();
        for &deadline in &deadlines {
            wheel.insert(deadline, deadline);
        }
        deadlines.sort_unstable();
        let (mut fired, mut wakes) = (Vec::new(), 0);
        while let Some(wakeup) = wheel.next_wakeup() {
            assert!(wakeup <= deadlines[fired.len()], "late");
            let out = wheel.turned(wakeup);
            assert!(out.iter().all(|&deadline| deadline == wakeup));
            fired.extend(out);
            wakes += 1;
        }
        assert_eq!(fired, deadlines);
        let blocks = (deadlines[deadlines.len() - 1] - start) >> 36;
        assert!(wakes <= 6 * deadlines.len() + blocks as usize + 1);
    }
}

#[test]
fn level_0_wakeup_is_exact_and_upper_ones_are_slot_starts() {
    let mut wheel = TimerWheel::new(100);
    wheel.insert(5000, ());
    assert_eq!(wheel.next_wakeup(), Some(4096));
    wheel.insert(200, ());
    assert_eq!(wheel.next_wakeup(), Some(192));
    wheel.insert(127, ());
    assert_eq!(wheel.next_wakeup(), Some(127));
    wheel.insert(7, ());
    assert_eq!(wheel.next_wakeup(), Some(100));
}

#[test]
fn a_jump_over_everything_keeps_the_order() {
    let mut wheel = TimerWheel::new(77);
    let mut expected: Vec<(u64, usize)> = edges().into_iter().rev().chain(edges()).zip(0..).collect();
    for &(after, n) in &expected {
        wheel.insert(77 + after, (after, n));
    }
    expected.sort_unstable();
    assert_eq!(wheel.turned(LAST), expected);
}

#[test]
fn the_end_of_time() {
    let mut wheel = TimerWheel::new(0);
    wheel.insert(LAST, 'a');
    wheel.insert(LAST - 1, 'b');
    assert_eq!(wheel.next_wakeup(), Some(1 << 36));
    assert!(wheel.turned(1 << 50).is_empty());
    assert!(wheel.turned(LAST - 2).is_empty());
    assert_eq!(wheel.turned(LAST - 1), ['b']);
    wheel.insert(LAST, 'c');
    assert_eq!(wheel.turned(LAST), ['a', 'c']);
    wheel.insert(3, 'd');
    assert_eq!(wheel.turned(LAST), ['d']);
}

#[test]
fn the_past_fires_at_the_next_turn_in_the_order_of_insertion() {
    let mut wheel = TimerWheel::new(1000);
    wheel.insert(1001, 'd');
    wheel.insert(1000, 'a');
    wheel.insert(3, 'b');
    let key = wheel.insert(0, 'c');
    assert_eq!(wheel.get(key), Some((0, &'c')));
    assert!(wheel.turned(999).is_empty(), "the clock of the caller went back");
    assert_eq!(wheel.turned(1000), ['a', 'b', 'c']);
    assert_eq!(wheel.turned(1001), ['d']);
}

#[test]
fn keys_match_once() {
    let mut wheel = TimerWheel::new(0);
    let key = wheel.insert(10, 'a');
    assert_eq!(wheel.cancel(key), Some((10, 'a')));
    assert_eq!(wheel.cancel(key), None);
    let other = wheel.insert(20, 'b');
    assert_eq!(other.index, key.index, "the entry is used again");
    assert_ne!(other, key);
    assert_eq!(wheel.get(key), None);
    assert_eq!(wheel.cancel(key), None);
    assert_eq!(wheel.turned(20), ['b']);
    assert_eq!(wheel.cancel(other), None);
    assert_eq!(wheel.cancel(TimerKey { index: 9, generation: 0 }), None);
    wheel.check();
}

#[test]
fn an_entry_whose_generations_are_used_up_is_left_alone() {
    let mut wheel = TimerWheel::new(0);
    let first = wheel.insert(1, ());
    wheel.cancel(first);
    wheel.entries[0].generation = USED_UP - 1;
    let last = wheel.insert(1, ());
    assert_eq!((last.index, last.generation), (0, USED_UP - 1));
    wheel.cancel(last);
    let next = wheel.insert(1, ());
    assert_eq!(next.index, 1);
    wheel.check();
    // It stays so through a shrinking.
    let keys: Vec<_> = (0..=SHRINK_MIN).map(|_| wheel.insert(5, ())).collect();
    wheel.turned(5);
    assert_eq!(wheel.entries.len(), 0);
    let again = wheel.insert(9, ());
    assert_eq!((again.index, again.generation), (1, 1));
    assert!(wheel.get(next).is_none() && keys.iter().all(|&key| wheel.get(key).is_none()));
    wheel.check();
}

#[test]
fn memory_is_given_back_and_old_keys_stay_dead() {
    let mut wheel = TimerWheel::new(0);
    let stays = wheel.insert(1 << 40, usize::MAX);
    for _ in 0..3 {
        let keys: Vec<_> = (0..100_000).map(|n| wheel.insert(n as u64, n)).collect();
        assert!(wheel.entries.len() >= 100_000);
        for &key in &keys {
            assert!(wheel.cancel(key).is_some());
        }
        wheel.check();
        assert!(wheel.entries.len() <= SHRINK_MIN);
        let new: Vec<_> = (0..100_000).map(|n| wheel.insert(n as u64, n)).collect();
        assert!(keys.iter().all(|&key| wheel.get(key).is_none()));
        assert!(new.iter().chain(&[stays]).all(|&key| wheel.get(key).is_some()));
        wheel.retain(|&n| n == usize::MAX, &mut Vec::new());
        wheel.check();
        assert_eq!((wheel.len(), wheel.entries[0].generation), (1, 0));
        assert!(wheel.entries.len() <= SHRINK_MIN);
    }
    assert_eq!(wheel.turned(1 << 40), [usize::MAX]);
    assert!(wheel.is_empty());
}

/// Whoever sets one timer for each that is cancelled is not asked to look for worthless ones each time, whatever their number.
#[test]
fn a_wheel_is_crowded_when_it_has_doubled_since_the_last_sweep() {
    for count in [1000, 1023, 1024, 1025, 2047, 2048, 2049, 5000] {
        let mut wheel = TimerWheel::new(0);
        let (mut sweeps, mut refused) = (0, Vec::new());
        let mut set = |wheel: &mut TimerWheel<usize>, value| {
            if wheel.is_crowded() {
                sweeps += 1;
                wheel.retain(|_| true, &mut refused);
            }
            wheel.insert(5, value)
        };
        let keys: Vec<_> = (0..count).map(|n| set(&mut wheel, n)).collect();
        for key in keys {
            wheel.cancel(key);
            set(&mut wheel, 0);
        }
        assert!(sweeps <= 3, "{sweeps} sweeps for {count} timers");
        assert_eq!(sweeps > 0, count > SWEEP_MIN, "{count}");
        wheel.check();
        // After a burst, those that stay are few.
        wheel.retain(|_| false, &mut refused);
        assert!(refused.len() == count && !wheel.is_crowded());
        (0..SWEEP_MIN).for_each(|n| _ = wheel.insert(5, n));
        assert!(wheel.is_crowded());
    }
}

#[test]
fn a_limited_turn_is_limited_in_moves_too_and_keeps_the_order() {
    let mut wheel = TimerWheel::new(0);
    for n in 0..1000 {
        wheel.insert(70, n);
    }
    let mut out = Vec::new();
    assert!(wheel.turn_limited(80, 10, &mut out));
    assert_eq!((out.len(), wheel.floor), (0, 1), "all moves used, nothing fired");
    wheel.check();
    // These must not overtake the ones that have not moved yet.
    wheel.insert(70, 1000);
    wheel.insert(3, -1);
    assert_eq!(wheel.next_wakeup(), Some(64));
    wheel.check();
    let mut calls = 0;
    while wheel.turn_limited(80, 10, &mut out) {
        assert!(out.len() <= 10 * (calls + 1));
        wheel.check();
        calls += 1;
    }
    assert!(calls > 100);
    assert_eq!(out, [-1].into_iter().chain(0..=1000).collect::<Vec<_>>());
    assert!(!wheel.turn_limited(80, 0, &mut out));
    wheel.insert(80, 0);
    assert!(wheel.turn_limited(80, 0, &mut out));
}

#[test]
fn cancelling_the_rest_of_a_half_cascaded_list() {
    let mut wheel = TimerWheel::new(0);
    let keys: Vec<_> = (0..100).map(|n| wheel.insert(4100, n)).collect();
    let mut out = Vec::new();
    assert!(wheel.turn_limited(5000, 1, &mut out));
    for &key in &keys[4..] {
        wheel.cancel(key);
    }
    wheel.check();
    assert_eq!(wheel.next_wakeup(), Some(4100));
    assert_eq!(wheel.turned(4099), []);
    let late = wheel.insert(4100, 100);
    assert_eq!(wheel.get(late), Some((4100, &100)));
    assert_eq!((wheel.floor, wheel.next_wakeup()), (0, Some(4100)));
    assert_eq!(wheel.turned(4100), [0, 1, 2, 3, 100]);
}

#[test]
fn a_million_timers_most_of_them_cancelled() {
    const N: u64 = 1_000_000;
    let mut wheel = TimerWheel::new(5);
    let deadline = |n: u64| 6 + n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 239_995;
    let keys: Vec<_> = (0..N).map(|n| wheel.insert(deadline(n), n)).collect();
    for (n, &key) in (0..).zip(&keys) {
        if n % 10 != 3 {
            assert_eq!(wheel.cancel(key), Some((deadline(n), n)));
        }
    }
    assert_eq!(wheel.len() as u64, N / 10);
    let out = wheel.turned(240_000);
    assert_eq!(out.len() as u64, N / 10);
    assert!(out.is_sorted_by_key(|&n| (deadline(n), n)));
    assert_eq!(wheel.entries.len(), 0);
}

#[test]
fn entries_are_compact() {
    assert_eq!(size_of::<Entry<std::num::NonZeroU64>>(), 24);
    assert_eq!(size_of::<Entry<(std::num::NonZeroU64, u64)>>(), 32);
}

#[derive(Clone, Debug)]
enum Op {
    /// A timer for so many ticks from where the model's clock is.
    Insert(i64),
    /// The n-th key ever given out (modulo their number).
    Cancel(usize),
    Turn(u64),
    TurnLimited(u64, usize),
    /// To the tick that the wheel asks for.
    Wakeup,
    /// Cancels what has this remainder.
    Sweep(u64),
}

/// Distances of every magnitude, the small ones and the edges often.
fn distance() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..130u64,
        2 => 0..10_000u64,
        1 => (0..45u32, any::<u64>()).prop_map(|(bits, n)| n & ((1 << bits) - 1)),
        1 => (1..8u32, 0..3u64).prop_map(|(level, off)| (1 << (6 * level)) - 1 + off),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => distance().prop_map(|d| Op::Insert(d as i64)),
        1 => (0..200i64).prop_map(|d| Op::Insert(-d)),
        3 => any::<usize>().prop_map(Op::Cancel),
        1 => distance().prop_map(Op::Turn),
        3 => (distance(), 0..4usize).prop_map(|(d, max)| Op::TurnLimited(d, max)),
        1 => Just(Op::Wakeup),
        1 => (0..7u64).prop_map(Op::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_a_sorted_map(
        start in prop_oneof![0..5000u64, distance(), Just((1 << 36) - 70)],
        ops in vec(op(), 1..250),
    ) {
        let mut wheel = TimerWheel::new(start);
        let mut clock = start;
        // The model: (rank, number) -> deadline, where the number tells the order of insertion.
        let mut model: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        let mut keys: Vec<(TimerKey, (u64, u64))> = Vec::new();
        for op in ops {
            let (to, max) = match op {
                Op::Insert(after) => {
                    let deadline = clock.saturating_add_signed(after);
                    let number = keys.len() as u64;
                    let rank = (deadline.max(wheel.now), number);
                    keys.push((wheel.insert(deadline, number), rank));
                    model.insert(rank, deadline);
                    (None, 0)
                }
                Op::Cancel(n) => {
                    if !keys.is_empty() {
                        let (key, rank) = keys[n % keys.len()];
                        let expected = model.remove(&rank).map(|deadline| (deadline, rank.1));
                        prop_assert_eq!(wheel.get(key).map(|(d, &v)| (d, v)), expected);
                        prop_assert_eq!(wheel.cancel(key), expected);
                    }
                    (None, 0)
                }
                Op::Sweep(rest) => {
                    wheel.retain(|n| n % 7 != rest, &mut Vec::new());
                    model.retain(|rank, _| rank.1 % 7 != rest);
                    (None, 0)
                }
                Op::Turn(by) => (Some(clock + by), usize::MAX),
                Op::TurnLimited(by, max) => (Some(clock + by), max),
                Op::Wakeup => (wheel.next_wakeup(), usize::MAX),
            };
            if let Some(to) = to {
                clock = clock.max(to);
                let mut out = Vec::new();
                let more = wheel.turn_limited(to, max, &mut out);
                prop_assert!(out.len() <= max);
                for &number in &out {
                    let (rank, deadline) = model.pop_first().expect("the model has it too");
                    prop_assert_eq!(rank.1, number);
                    prop_assert!(deadline <= to && rank.0 <= to, "early");
                }
                if !more {
                    prop_assert!(model.first_key_value().is_none_or(|(rank, _)| rank.0 > to), "late");
                }
            }
            wheel.check();
            prop_assert_eq!((wheel.len(), wheel.is_empty()), (model.len(), model.is_empty()));
            let first = model.first_key_value().map(|(rank, _)| rank.0);
            let wakeup = wheel.next_wakeup();
            prop_assert_eq!(wakeup.is_none(), first.is_none());
            prop_assert!(wakeup <= first && wakeup.is_none_or(|tick| tick >= wheel.now));
        }
        let live: HashMap<_, _> = keys.iter().filter(|(key, _)| wheel.get(*key).is_some()).copied().collect();
        prop_assert_eq!(live.len(), model.len());
        prop_assert_eq!(keys.iter().map(|(key, _)| *key).collect::<HashSet<_>>().len(), keys.len());
        let mut out = Vec::new();
        while wheel.turn_limited(LAST, 3, &mut out) {}
        prop_assert_eq!(out, model.keys().map(|rank| rank.1).collect::<Vec<_>>());
    }
}
