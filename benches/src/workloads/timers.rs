//! `timers`: many are set, most of them cancelled before they fire.

use crate::{
    measure::{Failure, Figure, first_process, timed},
    options::Options,
};
use engset::{Mailbox, Node, Random, Received, Timer, send_after};
use std::time::Duration;

/// What a timer sends.
struct Fired(u64);

/// Of ten timers, the last one is left alone.
const ONE_IS_LEFT_OF: usize = 10;

pub(super) fn timers(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let n = options.number("n");
    let (setting, cancelling, asked) = first_process(node, move |mut mailbox: Mailbox<Fired>| {
        let me = mailbox.address();
        let mut random = Random::new(1);
        let times: Vec<_> = (0..n).map(|_| Duration::from_millis(1 + random.below(60_000))).collect();
        let mut timers: Vec<Timer> = Vec::with_capacity(times.len());

        let (setting, ()) = timed(|| {
            for (number, time) in times.iter().enumerate() {
                timers.push(send_after(*time, me, Fired(number as u64)));
            }
        });
        let (mut asked, mut too_late) = (0, Vec::new());
        let (cancelling, ()) = timed(|| {
            for (number, timer) in timers.iter().enumerate() {
                if number % ONE_IS_LEFT_OF == ONE_IS_LEFT_OF - 1 {
                    continue;
                }
                asked += 1;
                if timer.cancel().is_none() {
                    too_late.push(number as u64);
                }
            }
        });
        check(&mut mailbox, &too_late);
        (setting, cancelling, asked)
    })?;
    Ok(vec![
        Figure::rate("set", n, setting, "timers/s"),
        Figure::rate("cancel", asked, cancelling, "timers/s"),
    ])
}

/// Each timer that was asked for too late has sent its message, and none that was cancelled.
fn check(mailbox: &mut Mailbox<Fired>, too_late: &[u64]) {
    let mut fired = Vec::new();
    while let Some(Received::Message(Fired(number))) = mailbox.receive_timeout(Duration::from_millis(1)) {
        fired.push(number);
    }
    fired.sort_unstable();
    for number in too_late {
        assert!(fired.binary_search(number).is_ok(), "timer {number} was not set, and has not fired");
    }
    fired.retain(|number| *number as usize % ONE_IS_LEFT_OF != ONE_IS_LEFT_OF - 1);
    assert_eq!(fired, too_late, "those that have fired are those that could not be cancelled");
}
