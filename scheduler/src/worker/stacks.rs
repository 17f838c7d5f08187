//! A worker's free carriers and stacks.
//!
//! The latest that became free is used first: it is warm. Some are kept with their memory; what is beyond
//! goes back to the region, and its memory to the system, many at a time, for that costs a system call.
//!
//! Not at once: a page that comes fresh from the system is five times as dear as one that was kept for the next process, and to give it back
//! stops the other workers for a moment. It goes when there have been more than enough for a second, whether the worker is busy or not: if it went
//! whenever there is nothing else to do, a worker that waits for others in the midst of a burst would give back what it needs next.

use super::Worker;
use crate::{
    carrier::{Carrier, CarrierBox},
    stack::{StackClass, StackRegion},
};

/// Free carriers that a worker keeps, with the memory of their stacks: 4 to 8 MiB. If there are more than twice as many, the
/// memory of the others goes back to the system. Guess: a few times what a second-level cache holds.
const KEEP_CARRIERS: usize = 1024;
/// For how long a worker keeps more than that, in nanoseconds. Guess: bursts that come more often find them all.
const PATIENCE: u64 = 1_000_000_000;
/// Most that are given back in one go: a tenth of a millisecond, about.
const MOST_TRIMMED: usize = 256;
/// Stacks that a worker takes from the region at a time at first, and at most: it doubles. The region's lock and a system call
/// are paid once for them; and as they lie side by side, so is giving their memory back. All but the first batch get their first pages at
/// once, too: who has used up some stacks will use more.
const FIRST_BATCH: usize = 8;
const MOST_BATCH: usize = 128;

impl Worker {
    pub(super) fn take_carrier(&self, class: StackClass) -> Option<CarrierBox> {
        // SAFETY: rule 1.
        let found = unsafe {
            self.free_carriers.with(|free| {
                let at = free.iter().rposition(|carrier| carrier.class() == class.0)?;
                free.swap_remove_back(at)
            })
        };
        if found.is_some() {
            return found;
        }
        let stack = if class == self.shared.default_class {
            // SAFETY: rule 1; the region calls nobody.
            unsafe {
                self.stacks.with(|stacks| {
                    if stacks.is_empty() {
                        let batch = self.stack_batch.get().clamp(FIRST_BATCH, MOST_BATCH);
                        self.stack_batch.set(2 * batch);
                        self.shared.stacks.take_batch(class, batch, stacks).ok()?;
                        if batch > FIRST_BATCH {
                            StackRegion::back_tops(stacks);
                        }
                    }
                    stacks.pop()
                })
            }?
        } else {
            self.shared.stacks.take(class).ok()?
        };
        Some(Carrier::on(stack))
    }

    pub(super) fn give_carrier(&self, carrier: CarrierBox) {
        // SAFETY: rule 1.
        let count = unsafe {
            self.free_carriers.with(|free| {
                free.push_back(carrier);
                free.len()
            })
        };
        if count > 2 * KEEP_CARRIERS && self.trim_at.get() == u64::MAX {
            // Virtual time may stand still.
            let patience = if self.shared.systematic { 0 } else { PATIENCE };
            self.trim_at.set(self.now.get().saturating_add(patience));
        }
    }

    /// Have there been too many free carriers for too long?
    #[inline(always)]
    pub(super) fn wants_to_trim(&self) -> bool {
        self.now.get() >= self.trim_at.get()
    }

    /// For the base loop: carriers are ended there.
    #[inline(always)]
    pub(super) fn trim_if_due(&self) {
        if self.wants_to_trim() {
            self.trim();
        }
    }

    /// Gives some free carriers back, if there are too many: those that have not been used for longest. True: perhaps more are to be.
    #[inline(never)]
    pub(super) fn trim(&self) -> bool {
        if self.trim_at.get() == u64::MAX {
            return false;
        }
        // SAFETY: rule 1.
        let surplus: Vec<_> = unsafe {
            self.free_carriers.with(|free| {
                let count = free.len().saturating_sub(KEEP_CARRIERS).min(MOST_TRIMMED);
                free.drain(..count).collect()
            })
        };
        if surplus.len() < MOST_TRIMMED {
            self.trim_at.set(u64::MAX);
        }
        let any = !surplus.is_empty();
        self.end_carriers(surplus);
        any
    }

    /// Lets free carriers run to their end; their stacks go back to the region, their memory to the system.
    pub(super) fn end_carriers(&self, carriers: Vec<CarrierBox>) {
        debug_assert!(self.current.get().is_null());
        let mut stacks = Vec::with_capacity(carriers.len());
        for carrier in carriers {
            // With no current task its loop ends.
            let ended = carrier.resume();
            debug_assert!(ended);
            stacks.extend(carrier.into_inner().into_stack());
        }
        StackRegion::release_memory(&mut stacks);
        self.shared.stacks.give_all(stacks);
    }
}
