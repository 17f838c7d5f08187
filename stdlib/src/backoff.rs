//! Back-off restarts (semantics row B7): a child that crashes again and again is started again later and later.

use std::time::Duration;

/// How long each restart waits: the shortest time first, then twice as long each time, up to the longest;
/// each time a random part more, so that those who failed together do not come back together.
///
/// ```
/// use engset_stdlib::Backoff;
/// use std::time::Duration;
///
/// let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30))
///     .random_factor(0.1)
///     .reset_after(Duration::from_secs(60));
/// # let _ = backoff;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    shortest: Duration,
    longest: Duration,
    random: f64,
    reset: Duration,
}

impl Backoff {
    /// From `shortest` to `longest`, at most a fifth of it more by chance. A child that has run for `longest`
    /// begins with the shortest again.
    #[must_use]
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        Backoff { shortest, longest: longest.max(shortest), random: 0.2, reset: longest.max(shortest) }
    }

    /// How much is added by chance at most, as a part of the wait: from 0 to 1.
    #[must_use]
    pub fn random_factor(self, factor: f64) -> Self {
        Backoff { random: factor.clamp(0.0, 1.0), ..self }
    }

    /// A child that has run for so long begins with the shortest wait again.
    #[must_use]
    pub fn reset_after(self, time: Duration) -> Self {
        Backoff { reset: time, ..self }
    }

    /// The failures to count before this one, for a child that ran for this time.
    pub(crate) fn failures(&self, before: u32, ran: Duration) -> u32 {
        if ran >= self.reset { 0 } else { before }
    }

    /// How long to wait after so many failures before. `seed` is all the chance there is.
    pub(crate) fn wait(&self, failures: u32, seed: u64) -> Duration {
        let doubled = self.shortest.saturating_mul(2_u32.saturating_pow(failures)).min(self.longest);
        // The high bits of one step of splitmix64: spreads neighbouring seeds.
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let chance = (mixed >> 40) as f64 / (1_u64 << 24) as f64;
        let more = doubled.as_secs_f64() * self.random * chance;
        doubled.saturating_add(Duration::try_from_secs_f64(more).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_wait_doubles_up_to_the_longest_and_the_random_part_stays_within_its_factor(
            shortest in 0_u64..10_000, longest in 0_u64..100_000, failures in 0_u32..100, seed: u64
        ) {
            let backoff = Backoff::new(Duration::from_millis(shortest), Duration::from_millis(longest));
            let wait = backoff.wait(failures, seed).as_secs_f64() * 1000.0;
            let exact = (shortest as f64 * 2_f64.powi(failures as i32)).min(longest.max(shortest) as f64);
            prop_assert!(wait >= exact - 0.001 && wait <= exact * 1.2 + 0.001, "{} {}", wait, exact);
        }
    }

    #[test]
    fn a_long_run_forgets_the_failures() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        assert_eq!(backoff.failures(5, Duration::from_secs(7)), 5);
        assert_eq!(backoff.failures(5, Duration::from_secs(8)), 0);
    }
}
