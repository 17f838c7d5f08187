//! Is a time that was read a moment ago still good enough?
//!
//! To read the clock costs some 25 ns, a quarter of a call. The processor's cycle counter costs a third of that, but
//! its rate is not known without measuring. It need not be: it has counted at least a thousand times in a
//! microsecond on all machines whose counter runs at a constant rate. So few cycles mean little time, and that is
//! all that is asked here.
//!
//! 1. [`Stopwatch::is_fresh`] may say no at any time. If it says yes, at most [`FRESH`] nanoseconds have passed
//!    since the last [`Stopwatch::restart`] on this thread.
//! 2. Where the processor has no such counter (or this is not x86-64), it always says no.

use std::cell::Cell;

/// Nanoseconds; a fifth of the tick of the timer wheels.
pub(crate) const FRESH: u64 = 50_000;
/// Cycles in which at most `FRESH` nanoseconds pass, at 1 GHz or more.
#[cfg(target_arch = "x86_64")]
const CYCLES: u64 = FRESH;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "rule 2"))]
    started: Cell<u64>,
    usable: bool,
}

impl Stopwatch {
    /// `false`: never fresh.
    pub(crate) fn new(wanted: bool) -> Self {
        Stopwatch { started: Cell::new(0), usable: wanted && counts_evenly() }
    }

    #[inline(always)]
    pub(crate) fn restart(&self) {
        #[cfg(target_arch = "x86_64")]
        if self.usable {
            self.started.set(cycles());
        }
    }

    /// Rule 1.
    #[inline(always)]
    pub(crate) fn is_fresh(&self) -> bool {
        #[cfg(target_arch = "x86_64")]
        if self.usable {
            // If the thread has moved to a processor whose counter lies behind: a huge number.
            return cycles().wrapping_sub(self.started.get()) < CYCLES;
        }
        false
    }

    /// Can it ever say yes?
    #[inline(always)]
    pub(crate) fn is_usable(&self) -> bool {
        self.usable
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn cycles() -> u64 {
    // SAFETY: the instruction is part of x86-64, and reads a register.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Is there a counter that runs at a constant rate, on all processors, also while they sleep? (Intel and AMD: leaf
/// 0x8000_0007, bit 8 of EDX, *invariant TSC*.)
#[cfg(target_arch = "x86_64")]
fn counts_evenly() -> bool {
    let highest = std::arch::x86_64::__cpuid(0x8000_0000).eax;
    highest >= 0x8000_0007 && std::arch::x86_64::__cpuid(0x8000_0007).edx & (1 << 8) != 0
}

#[cfg(not(target_arch = "x86_64"))]
fn counts_evenly() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn what_is_fresh_is_young() {
        let (clock, watch) = (Clock::real(), Stopwatch::new(true));
        for _ in 0..1000 {
            watch.restart();
            let start = clock.now();
            loop {
                let now = clock.now();
                if !watch.is_fresh() {
                    break;
                }
                assert!(now - start <= FRESH, "{} ns are not fresh", now - start);
            }
        }
        assert!(!Stopwatch::new(false).is_fresh());
    }
}
