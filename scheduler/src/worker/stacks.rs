//! A worker's free carriers and stacks.
//!
//! The latest that became free is used first: it is warm. Some are kept with their memory; what is beyond
//! goes back to the region, and its memory to the system, many at a time, for that costs a system call.

use super::Worker;
use crate::{
    carrier::{Carrier, CarrierBox},
    stack::{StackClass, StackRegion},
};

/// Free carriers that a worker keeps, with the memory of their stacks: 4 to 8 MiB. Of those beyond twice this
/// the memory goes back to the system. Guess: a few times what a second-level cache holds.
const KEEP_CARRIERS: usize = 1024;
/// Stacks that a worker takes from the region at a time at first, and at most: it doubles. The region's lock and a system call
/// are paid once for them; and as they lie side by side, so is giving their memory back.
const FIRST_BATCH: usize = 8;
const MOST_BATCH: usize = 128;

impl Worker {
    pub(super) fn take_carrier(&self, class: StackClass) -> Option<CarrierBox> {
        // SAFETY: rule 1.
        let found = unsafe {
            self.free_carriers.with(|free| {
                let at = free.iter().rposition(|carrier| carrier.class() == class.0)?;
                Some(free.swap_remove(at))
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
                    }
                    stacks.pop()
                })
            }?
        } else {
            self.shared.stacks.take(class).ok()?
        };
        Some(Carrier::new(stack))
    }

    pub(super) fn give_carrier(&self, carrier: CarrierBox) {
        // SAFETY: rule 1.
        let surplus = unsafe {
            self.free_carriers.with(|free| {
                free.push(carrier);
                (free.len() >= 2 * KEEP_CARRIERS).then(|| free.drain(..KEEP_CARRIERS).collect::<Vec<_>>())
            })
        };
        if let Some(surplus) = surplus {
            self.end_carriers(surplus);
        }
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
