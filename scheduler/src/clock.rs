//! Time and chance as values. Nothing else in the workspace reads a clock or draws a random number.
//!
//! Times are nanoseconds since an origin. The real clock is monotonic; the virtual one,
//! of the systematic mode, only moves when the scheduler advances it.

use std::{
    sync::OnceLock,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

#[derive(Debug)]
pub(crate) enum Clock {
    /// Since when this OS process first asked: all its nodes have one time, so that a deadline can travel
    /// between them.
    Real(Instant),
    Virtual(AtomicU64),
}

impl Clock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub(crate) fn real() -> Self {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        Clock::Real(*ORIGIN.get_or_init(Instant::now))
    }

    pub(crate) fn simulated() -> Self {
        Clock::Virtual(AtomicU64::new(0))
    }

    /// Nanoseconds since the origin.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        match self {
            Clock::Real(start) => start.elapsed().as_nanos() as u64,
            // Relaxed: one thread runs in the systematic mode.
            Clock::Virtual(now) => now.load(Ordering::Relaxed),
        }
    }

    /// Moves the virtual clock forward; the real one moves by itself.
    pub(crate) fn advance_to(&self, time: u64) {
        if let Clock::Virtual(now) = self {
            now.fetch_max(time, Ordering::Relaxed);
        }
    }
}

/// Xoshiro256++ by D. Blackman and S. Vigna (2019), seeded by SplitMix64: small, fast, repeatable.
/// Not for secrets.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut z = seed;
        let mut next = || {
            z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut x = z;
            x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            x ^ (x >> 31)
        };
        Random { state: [next(), next(), next(), next()] }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number from 1 to `most`, small ones as likely as large ones: uniform in its number of digits.
    pub(crate) fn skewed(&mut self, most: u64) -> u64 {
        let digits = self.below(u64::from(most.ilog2()) + 1);
        let low = 1 << digits;
        (low + self.below(low)).min(most)
    }

    /// A number below `bound`, by multiplication (D. Lemire, 2019, without the rejection: the bias is
    /// below 2^-32 for the bounds used here).
    ///
    /// # Panics
    ///
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a random number below 0 was asked for");
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..8).map(|_| random.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(9).iter().all(|number| *number < 1000));
    }

    #[test]
    fn the_virtual_clock_moves_when_told() {
        let clock = Clock::simulated();
        assert_eq!(clock.now(), 0);
        clock.advance_to(5);
        clock.advance_to(3);
        assert_eq!(clock.now(), 5);
    }
}
