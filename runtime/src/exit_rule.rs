//! What an exit signal does to its receiver, as a pure function (semantics row S3).
//!
//! | signal | receiver does not trap | receiver traps |
//! |---|---|---|
//! | from a link, `normal` | dropped | message |
//! | from a link, any other reason, also `kill` | ends with that reason | message |
//! | from `exit(pid, normal)` | dropped; from itself: ends | message; from itself: message |
//! | from `exit(pid, kill)` | ends with `killed` | the same |
//! | from `exit(pid, other)` | ends with that reason | message |

use crate::reason::ExitReason;

/// Where an exit signal comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The sender ended, and was linked.
    Link,
    /// Somebody called `exit(pid, reason)`.
    Call,
    /// The receiver called it on itself.
    SelfCall,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Drop,
    Message,
    End(ExitReason),
}

/// The rule.
pub(crate) fn decide(origin: Origin, reason: &ExitReason, traps: bool) -> Verdict {
    match (origin, reason) {
        (Origin::Call | Origin::SelfCall, ExitReason::Kill) => Verdict::End(ExitReason::Killed),
        _ if traps => Verdict::Message,
        (Origin::Link | Origin::Call, ExitReason::Normal) => Verdict::Drop,
        (_, reason) => Verdict::End(reason.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::{ExitReason::*, Origin::*, *};

    #[test]
    fn the_table_of_the_head() {
        let boom = || Error("boom".into());
        let rows = [
            (Link, Normal, Verdict::Drop, Verdict::Message),
            (Link, Kill, Verdict::End(Kill), Verdict::Message),
            (Link, Killed, Verdict::End(Killed), Verdict::Message),
            (Link, boom(), Verdict::End(boom()), Verdict::Message),
            (Call, Normal, Verdict::Drop, Verdict::Message),
            (Call, Kill, Verdict::End(Killed), Verdict::End(Killed)),
            (Call, boom(), Verdict::End(boom()), Verdict::Message),
            (SelfCall, Normal, Verdict::End(Normal), Verdict::Message),
            (SelfCall, Kill, Verdict::End(Killed), Verdict::End(Killed)),
        ];
        for (origin, reason, plain, trapping) in rows {
            assert_eq!(decide(origin, &reason, false), plain, "{origin:?} {reason}");
            assert_eq!(decide(origin, &reason, true), trapping, "{origin:?} {reason}, trapping");
        }
    }
}
