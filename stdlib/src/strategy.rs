//! Which children stop and start when one ends: a pure function of the strategy, the child's kind and the
//! reason of its end.
//!
//! | restart | ended orderly | crashed |
//! |---|---|---|
//! | `Permanent` | again | again |
//! | `Transient` | rests, its spec stays | again |
//! | `Temporary` | is forgotten | is forgotten |
//!
//! If it starts again:
//!
//! | strategy | stop, last started first | then start, in start order |
//! |---|---|---|
//! | `OneForOne` | nobody | it |
//! | `RestForOne` | those started after it | it and those |
//! | `OneForAll` | all others | all |
//!
//! Temporary children that are stopped so are forgotten too; all other specs start, also those whose
//! children rested or were stopped by hand (as in OTP).

use engset_runtime::ExitReason;
use std::ops::Range;

/// What a supervisor does with the others when a child is restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// Nothing.
    #[default]
    OneForOne,
    /// All others are stopped, in reverse start order, and started again, in start order.
    OneForAll,
    /// The same with those that were started after it.
    RestForOne,
}

/// When a child is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// If it crashed: its reason was not `Normal`, `Shutdown` or `ShutdownWith`.
    Transient,
    /// Never, also not when a sibling's crash has stopped it.
    Temporary,
}

/// When a supervisor ends because its significant children have ended by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AutoShutdown {
    /// Never; then no child may be significant.
    #[default]
    Never,
    /// When one of them has.
    AnySignificant,
    /// When the last of them has.
    AllSignificant,
}

/// What becomes of a child that has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Restart,
    Rest,
    Forget,
}

impl Restart {
    /// The first table of the head.
    pub(crate) fn fate(self, reason: &ExitReason) -> Fate {
        match self {
            Restart::Permanent => Fate::Restart,
            Restart::Transient if reason.is_orderly() => Fate::Rest,
            Restart::Transient => Fate::Restart,
            Restart::Temporary => Fate::Forget,
        }
    }
}

impl Strategy {
    /// The second table, for children in start order: the places that stop (but the one that has ended) and
    /// then start.
    pub(crate) fn affected(self, ended: usize, children: usize) -> Range<usize> {
        match self {
            Strategy::OneForOne => ended..ended + 1,
            Strategy::OneForAll => 0..children,
            Strategy::RestForOne => ended..children,
        }
    }
}

impl AutoShutdown {
    /// A significant child has ended by itself and is not restarted; so many significant ones still run.
    pub(crate) fn ends(self, others_running: usize) -> bool {
        match self {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => others_running == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert_eq, proptest};

    #[test]
    fn the_first_table_of_the_head() {
        let orderly = [ExitReason::Normal, ExitReason::Shutdown, ExitReason::shutdown_with("update")];
        let crashes = [ExitReason::error("x"), ExitReason::Killed, ExitReason::Kill, ExitReason::NoProc];
        for reason in &orderly {
            assert_eq!(Restart::Permanent.fate(reason), Fate::Restart);
            assert_eq!(Restart::Transient.fate(reason), Fate::Rest);
            assert_eq!(Restart::Temporary.fate(reason), Fate::Forget);
        }
        for reason in &crashes {
            assert_eq!(Restart::Permanent.fate(reason), Fate::Restart);
            assert_eq!(Restart::Transient.fate(reason), Fate::Restart);
            assert_eq!(Restart::Temporary.fate(reason), Fate::Forget);
        }
    }

    proptest! {
        #[test]
        fn the_second_table_of_the_head(children in 1_usize..50, at in 0_usize..50) {
            let ended = at % children;
            let places = |strategy: Strategy| strategy.affected(ended, children).collect::<Vec<_>>();
            prop_assert_eq!(places(Strategy::OneForOne), vec![ended]);
            prop_assert_eq!(places(Strategy::OneForAll), (0..children).collect::<Vec<_>>());
            let rest: Vec<_> = (0..children).filter(|place| *place >= ended).collect();
            prop_assert_eq!(places(Strategy::RestForOne), rest);
        }
    }

    #[test]
    fn all_significant_waits_for_the_last_one() {
        assert!(AutoShutdown::AnySignificant.ends(3));
        assert!(!AutoShutdown::AllSignificant.ends(1));
        assert!(AutoShutdown::AllSignificant.ends(0));
        assert!(!AutoShutdown::Never.ends(0));
    }
}
