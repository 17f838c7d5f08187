//! Nothing to run: the worker looks for work for a short while, then it sleeps.
//!
//! 1. It is in the set of idle workers meanwhile, so that busy ones give it some (`balance.rs`).
//! 2. It spins for `config.spin` at most: about what it costs to wake a sleeping CPU. Not if what ended its latest sleep
//!    was no mail but an event from outside: the next one comes when it comes, and whoever brings it may need the CPU.
//! 3. When it has not needed them for a while, it gives back the memory of free stacks (`stacks.rs`).
//! 4. It sleeps by the inbox' word (`inbox.rs`), until mail, its next timer or rule 3. Nobody wakes it for anything else; if it
//!    has a poller (`driver.rs`) it sleeps there, and so until something happens outside.

use super::{Worker, timers};
use std::{sync::atomic::Ordering, time::Duration};

/// Nanoseconds of work since it was idle last from which on its sleep is at home (`home.rs`). One that only passes a message on is better off on the
/// CPU of who has woken it: another one would have to be woken first.
const BUSY: u64 = 20_000;

impl Worker {
    /// Nothing to run. False: stop (systematic mode only: nothing will ever happen any more).
    pub(super) fn idle(&self) -> bool {
        self.flush();
        self.look_at_clock();
        self.poll();
        if self.public.inbox.has_tokens() || self.queue_len() > 0 {
            return true;
        }
        if self.shared.systematic {
            return self.idle_systematic();
        }
        self.metrics.idle.add(1);
        self.busy_for.set(self.now.get().saturating_sub(self.woke.get()));
        if self.retire_to.get() != 0 {
            self.sleep();
            return true;
        }
        self.shared.idle.insert(self.id);
        let spin_until = self.now.get() + self.shared.config.spin.as_nanos() as u64;
        let mut found = false;
        while !self.fed_from_outside.get() && self.shared.clock.now() < spin_until {
            for _ in 0..16 {
                std::hint::spin_loop();
            }
            self.poll();
            if self.public.inbox.has_tokens() || self.queue_len() > 0 {
                found = true;
                break;
            }
        }
        while !found && self.wants_to_trim() && self.trim() {
            found = self.public.inbox.has_tokens();
        }
        if !found {
            self.sleep();
        }
        self.shared.idle.remove(self.id);
        self.woke.set(self.shared.clock.now());
        true
    }

    fn sleep(&self) {
        // What destructors that ran between two slices hold (`rooms.rs`, rule 1).
        self.settle_rooms();
        if self.queue_len() > 0 {
            return;
        }
        // SAFETY: rule 1.
        let wakeup = unsafe { self.wheel.with(|wheel| wheel.next_wakeup()) };
        // One that retires gives nothing back here.
        let trim_at = if self.retire_to.get() == 0 { self.trim_at.get() } else { u64::MAX };
        let timeout = match wakeup.map_or(u64::MAX, timers::tick_start).min(trim_at) {
            u64::MAX => None,
            time => match time.checked_sub(self.shared.clock.now()) {
                None | Some(0) => return self.look_at_clock(),
                Some(nanos) => Some(Duration::from_nanos(nanos)),
            },
        };
        if self.public.inbox.try_sleep() {
            self.metrics.parked.add(1);
            if self.busy_for.get() >= BUSY {
                self.home.sleep_in(|| self.park(timeout));
            } else {
                self.park(timeout);
            }
            self.public.inbox.awake();
            self.shared.watchdog.wake();
            self.fed_from_outside.set(self.poller.get().is_some() && !self.public.inbox.has_tokens());
            self.after_park();
        }
        self.look_at_clock();
    }

    /// When the next timer may fire.
    pub(crate) fn next_timer(&self) -> Option<u64> {
        // SAFETY: rule 1.
        unsafe { self.wheel.with(|wheel| wheel.next_wakeup()) }.map(timers::tick_start)
    }

    /// Virtual time stands still while anything can run; then it jumps to the next timer.
    fn idle_systematic(&self) -> bool {
        // Relaxed: one thread.
        if self.shared.hold.load(Ordering::Relaxed) {
            return false;
        }
        // SAFETY: rule 1.
        match unsafe { self.wheel.with(|wheel| wheel.next_wakeup()) } {
            Some(tick) => {
                self.shared.clock.advance_to(timers::tick_start(tick));
                self.look_at_clock();
                true
            }
            None => false,
        }
    }
}
