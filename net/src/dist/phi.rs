//! Is the other node still there? A suspicion that grows with the silence (N. Hayashibara, X. Défago, R. Yared, T. Katayama: The φ
//! accrual failure detector, 2004).
//!
//! φ = -log10 of the chance that a heartbeat comes this late, by the intervals seen so far; the normal distribution is
//! approximated by a logistic function, as Akka does it. At φ = 8 a wrong suspicion has a chance of 10^-8 under the
//! model. [`PAUSE`] is added to what is expected: a stop of that length (a page fault, a busy machine) is nobody's death.
//!
//! A pure value: times are arguments.

use std::time::Duration;

/// Suspicion at which a node is given up.
pub const THRESHOLD: f64 = 8.0;
/// Silence that is always excused.
pub const PAUSE: Duration = Duration::from_secs(3);
/// The least deviation that is assumed.
const MIN_DEVIATION: f64 = 0.1;
/// Intervals that are remembered.
const SAMPLES: usize = 100;

/// A detector for one node.
#[derive(Clone, Debug)]
pub struct Phi {
    /// Seconds; a ring.
    intervals: Vec<f64>,
    next: usize,
    last_beat: Duration,
    last_heard: Duration,
    longest: Duration,
}

impl Phi {
    /// One that expects a heartbeat each `interval` until it knows better, and that has heard something `now`.
    #[must_use]
    pub fn new(interval: Duration, now: Duration) -> Self {
        let mean = interval.as_secs_f64();
        // Two samples with a deviation of a quarter.
        Phi {
            intervals: vec![mean * 0.75, mean * 1.25],
            next: 0,
            last_beat: now,
            last_heard: now,
            longest: Duration::ZERO,
        }
    }

    /// A heartbeat has come.
    pub fn beat(&mut self, now: Duration) {
        let gap = now.saturating_sub(self.last_beat);
        self.longest = self.longest.max(gap);
        let interval = gap.as_secs_f64();
        self.last_beat = now;
        self.heard(now);
        if self.intervals.len() < SAMPLES {
            self.intervals.push(interval);
        } else {
            self.intervals[self.next] = interval;
            self.next = (self.next + 1) % SAMPLES;
        }
    }

    /// The longest time between two heartbeats.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        self.longest
    }

    /// Anything has come.
    pub fn heard(&mut self, now: Duration) {
        self.last_heard = self.last_heard.max(now);
    }

    /// This node itself has stood still for so long: that is not the other's silence.
    pub fn excuse(&mut self, stall: Duration, now: Duration) {
        self.last_heard = (self.last_heard + stall).min(now);
        self.last_beat = (self.last_beat + stall).min(now);
    }

    /// The suspicion; never falls while nothing is heard.
    #[must_use]
    pub fn phi(&self, now: Duration) -> f64 {
        let count = self.intervals.len() as f64;
        let mean = self.intervals.iter().sum::<f64>() / count;
        let variance = self.intervals.iter().map(|interval| (interval - mean).powi(2)).sum::<f64>() / count;
        let deviation = variance.sqrt().max(MIN_DEVIATION);
        let silence = now.saturating_sub(self.last_heard).as_secs_f64();
        let y = (silence - (mean + PAUSE.as_secs_f64())) / deviation;
        let e = (-y * (1.5976 + 0.070_566 * y * y)).exp();
        // For a silence longer than expected, in a form that does not round to 1.
        if y > 0.0 { -(e / (1.0 + e)).log10() } else { -(1.0 - 1.0 / (1.0 + e)).log10() }
    }

    /// Is it given up?
    #[must_use]
    pub fn is_down(&self, now: Duration) -> bool {
        self.phi(now) >= THRESHOLD
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_black_hole_is_noticed_within_six_seconds() {
        let mut phi = Phi::new(SECOND, Duration::ZERO);
        (1..=60).for_each(|beat| phi.beat(beat * SECOND));
        let noticed =
            (0..).map(|tenth| Duration::from_millis(60_000 + 100 * tenth)).find(|now| phi.is_down(*now));
        let after = noticed.unwrap() - 60 * SECOND;
        assert!(after > PAUSE && after < 6 * SECOND, "{after:?}");
    }

    #[test]
    fn one_that_never_beats_is_noticed_too() {
        let phi = Phi::new(SECOND, Duration::ZERO);
        assert!(!phi.is_down(3 * SECOND));
        assert!(phi.is_down(7 * SECOND));
    }

    #[test]
    fn own_stalls_are_excused() {
        let mut phi = Phi::new(SECOND, Duration::ZERO);
        phi.beat(SECOND);
        phi.excuse(30 * SECOND, 31 * SECOND);
        assert!(!phi.is_down(31 * SECOND));
        assert!(phi.is_down(40 * SECOND));
    }

    proptest! {
        #[test]
        fn suspicion_grows_with_silence(beats in prop::collection::vec(1_u64..5000, 0..150), ask in prop::collection::vec(0_u64..20_000, 2..20)) {
            let mut phi = Phi::new(SECOND, Duration::ZERO);
            let mut now = Duration::ZERO;
            for beat in beats {
                now += Duration::from_millis(beat);
                phi.beat(now);
            }
            let mut ask = ask;
            ask.sort_unstable();
            let values: Vec<f64> = ask.iter().map(|millis| phi.phi(now + Duration::from_millis(*millis))).collect();
            prop_assert!(values.iter().all(|value| !value.is_nan() && *value >= 0.0), "{values:?}");
            prop_assert!(values.windows(2).all(|pair| pair[0] <= pair[1] + 1e-9), "{values:?}");
            prop_assert!(!phi.is_down(now));
        }
    }
}
