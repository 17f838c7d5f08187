//! May a supervisor restart once more? A pure question about times.
//!
//! A supervisor may restart `most` times within `period`; one more, and it gives up. The window slides: what
//! counts is the `period` before each restart, its edge included. Times come from one monotonic clock.
//!
//! The restarts within the window are kept in a ring, the oldest in front; no more than `most` of them, for
//! with one more there is nothing to remember. Each restart goes in once and out once: constant time,
//! whatever `most` is. (OTP walks its list of restarts at each restart.)

use std::{collections::VecDeque, time::Duration};

/// The restarts of one supervisor. See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct RestartIntensity {
    most: usize,
    period: Duration,
    restarts: VecDeque<Duration>,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    Restart,
    GiveUp,
}

impl RestartIntensity {
    pub(crate) fn new(most: usize, period: Duration) -> Self {
        RestartIntensity { most, period, restarts: VecDeque::new() }
    }

    /// So many within this time.
    pub(crate) fn limit(&self) -> (usize, Duration) {
        (self.most, self.period)
    }

    /// Something has to be restarted now. Counts it.
    pub(crate) fn restart(&mut self, now: Duration) -> Verdict {
        while let Some(oldest) = self.restarts.front()
            && now.saturating_sub(*oldest) > self.period
        {
            self.restarts.pop_front();
        }
        if self.restarts.len() >= self.most {
            return Verdict::GiveUp;
        }
        self.restarts.push_back(now);
        Verdict::Restart
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_in_five_seconds_allows_one_and_the_edge_of_the_window_counts() {
        let mut intensity = RestartIntensity::new(1, seconds(5));
        assert_eq!(intensity.restart(seconds(10)), Verdict::Restart);
        assert_eq!(intensity.clone().restart(seconds(15)), Verdict::GiveUp);
        assert_eq!(intensity.restart(seconds(16)), Verdict::Restart);
    }

    #[test]
    fn zero_allows_none() {
        assert_eq!(RestartIntensity::new(0, seconds(5)).restart(seconds(1)), Verdict::GiveUp);
    }

    #[test]
    fn a_period_of_zero_counts_the_same_moment_only() {
        let mut intensity = RestartIntensity::new(1, Duration::ZERO);
        assert_eq!(intensity.restart(seconds(1)), Verdict::Restart);
        assert_eq!(intensity.clone().restart(seconds(1)), Verdict::GiveUp);
        assert_eq!(intensity.restart(seconds(1) + Duration::from_nanos(1)), Verdict::Restart);
    }

    proptest! {
        #[test]
        fn it_gives_up_exactly_when_the_window_before_a_restart_holds_too_many(
            most in 0_usize..6,
            period in 0_u64..20,
            steps in proptest::collection::vec(0_u64..10, 0..60),
        ) {
            let mut intensity = RestartIntensity::new(most, seconds(period));
            let mut now = 0;
            let mut history: Vec<u64> = Vec::new();
            for step in steps {
                now += step;
                history.push(now);
                let within = history.iter().filter(|at| now - **at <= period).count();
                let expected = if within > most { Verdict::GiveUp } else { Verdict::Restart };
                prop_assert_eq!(intensity.restart(seconds(now)), expected);
                prop_assert!(intensity.restarts.len() <= most);
                if expected == Verdict::GiveUp {
                    break; // So does the supervisor.
                }
            }
        }
    }
}
