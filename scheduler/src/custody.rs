//! Who may touch a worker's private state: its own thread, or a rescuer while that thread is stuck.
//!
//! A worker's run queue, timer wheel, the private halves of its tasks and so on carry no locks and
//! no atomics. They are touched by the worker's thread only, and only *inside a runtime section*.
//! When a process has been computing natively for long, the watchdog must take the other work away
//! from its worker (DESIGN of the watchdog: `watchdog.rs`). The stuck thread is in user code then,
//! outside a section, but may enter one at any moment. So:
//!
//! 1. The thread enters a section by `status = RUNTIME`, then a light barrier, then it looks at
//!    `REVOKED` in `reasons`. If that is set, it leaves again and waits.
//! 2. A rescuer sets `REVOKED`, then a heavy barrier, then it looks at `status`. Only if that is
//!    `USER` it has custody, until it clears that. Otherwise it gives up and comes back later:
//!    a section is short, and a worker that enters sections is not stuck.
//! 3. One of the two sees the other (Dekker): they are never both inside. The barriers make the
//!    fast side free of a fence: the light one binds only the compiler, the heavy one is Linux'
//!    `membarrier(PRIVATE_EXPEDITED)`, some 8 µs, paid by the rescuer alone. Where the kernel lacks
//!    it, `SLOW` is set for good: whoever enters finds it, and looks again behind a sequentially consistent fence.
//! 4. Rescuers exclude each other by a lock of the caller.
//! 5. [`Custody::enter_quickly`] enters only if that takes a store and a look. A scheduler that wants the slow way of everything (because
//!    somebody looks on) sets `SLOW` too.
//!
//! Model (with fences for the barriers): `loom-tests/src/custody.rs`.

use crate::sync::{
    atomic::{AtomicU8, Ordering},
    hint,
};

const RUNTIME: u8 = 0;
const USER: u8 = 1;

/// `reasons`: a rescuer has custody, or tries to take it.
const REVOKED: u8 = 1;
/// `reasons`: see rules 3 and 5.
const SLOW: u8 = 1 << 1;

/// See the head of this file.
#[derive(Debug)]
pub struct Custody {
    status: AtomicU8,
    /// Not to enter at once.
    reasons: AtomicU8,
}

impl Custody {
    /// In the hands of the worker, inside a section. `slow`: rule 5.
    pub fn new(slow: bool) -> Self {
        let reasons = if slow || !barrier::is_asymmetric() { SLOW } else { 0 };
        Custody { status: AtomicU8::new(RUNTIME), reasons: AtomicU8::new(reasons) }
    }

    /// Enters a section (rule 1). True: it was outside, so the matching [`Custody::leave`] is the
    /// caller's; false: it was inside already.
    #[inline(always)]
    #[must_use]
    pub fn enter(&self) -> bool {
        // Relaxed: this thread is the only writer.
        if self.status.load(Ordering::Relaxed) == RUNTIME {
            return false;
        }
        if !self.try_enter() {
            self.enter_slowly();
        }
        true
    }

    /// Enters, if it was outside and nothing is in the way. False: it is where it was; the slow way, by [`Custody::enter`], is
    /// to be taken.
    #[inline(always)]
    #[must_use]
    pub fn enter_quickly(&self) -> bool {
        // Relaxed: as in `enter`.
        if self.status.load(Ordering::Relaxed) == RUNTIME {
            return false;
        }
        let entered = self.try_enter();
        if !entered {
            self.leave();
        }
        entered
    }

    /// Inside from here on; false: not before a look at the reasons.
    #[inline(always)]
    fn try_enter(&self) -> bool {
        // Relaxed: the light barrier orders it before the load of `reasons`.
        self.status.store(RUNTIME, Ordering::Relaxed);
        barrier::light();
        // Acquire: pairs with the release in `Rescue::drop`: what the rescuer did is seen.
        self.reasons.load(Ordering::Acquire) == 0
    }

    #[cold]
    #[inline(never)]
    fn enter_slowly(&self) {
        barrier::full();
        // Acquire: as in `try_enter`.
        while self.reasons.load(Ordering::Acquire) & REVOKED != 0 {
            // Release: as in `leave`.
            self.status.store(USER, Ordering::Release);
            let mut spins = 0_u32;
            // Acquire: as in `try_enter`.
            while self.reasons.load(Ordering::Acquire) & REVOKED != 0 {
                spins += 1;
                if spins.is_multiple_of(64) {
                    crate::sync::thread::yield_now();
                } else {
                    hint::spin_loop();
                }
            }
            // As in `try_enter`.
            self.status.store(RUNTIME, Ordering::Relaxed);
            barrier::full();
        }
    }

    /// Leaves the section.
    #[inline(always)]
    pub fn leave(&self) {
        debug_assert_eq!(self.status.load(Ordering::Relaxed), RUNTIME);
        // Release: pairs with the acquire in `try_seize`: what was done inside is seen.
        self.status.store(USER, Ordering::Release);
    }

    /// Is the thread outside a section? A hint for the watchdog.
    pub fn in_user_code(&self) -> bool {
        self.status.load(Ordering::Relaxed) == USER
    }

    /// Tries to take custody (rule 2). The caller holds the rescuers' lock (rule 4).
    #[must_use]
    pub fn try_seize(&self) -> Option<Rescue<'_>> {
        // Relaxed: the heavy barrier orders it before the load of `status`.
        self.reasons.fetch_or(REVOKED, Ordering::Relaxed);
        barrier::heavy();
        let rescue = Rescue { custody: self };
        // Acquire: pairs with the release in `leave`.
        if self.status.load(Ordering::Acquire) == USER { Some(rescue) } else { None }
    }
}

/// Custody of another thread's private state; ends when dropped.
#[derive(Debug)]
pub struct Rescue<'a> {
    custody: &'a Custody,
}

impl Drop for Rescue<'_> {
    fn drop(&mut self) {
        // Release: pairs with the acquires in `try_enter` and `enter_slowly`.
        self.custody.reasons.fetch_and(!REVOKED, Ordering::Release);
    }
}

/// The two barriers of rule 3.
pub mod barrier {
    #[cfg(not(loom))]
    mod imp {
        use std::sync::atomic::{AtomicBool, Ordering, compiler_fence, fence};

        /// Written once by `init`, before the first worker exists.
        static ASYMMETRIC: AtomicBool = AtomicBool::new(false);

        const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;
        const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;

        fn membarrier(command: libc::c_int) -> bool {
            // SAFETY: the call takes three integers and touches no memory of ours.
            unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
        }

        /// Registers the process with the kernel. Call it before any worker starts.
        pub fn init() {
            // Relaxed: threads started later see it by their creation.
            ASYMMETRIC.store(membarrier(REGISTER_PRIVATE_EXPEDITED), Ordering::Relaxed);
        }

        /// Can the light barrier be light (rule 3)?
        pub(in super::super) fn is_asymmetric() -> bool {
            ASYMMETRIC.load(Ordering::Relaxed)
        }

        #[inline(always)]
        pub(in super::super) fn light() {
            compiler_fence(Ordering::SeqCst);
        }

        /// For the side of the light one, if that is not enough.
        pub(in super::super) fn full() {
            fence(Ordering::SeqCst);
        }

        pub(in super::super) fn heavy() {
            fence(Ordering::SeqCst);
            if ASYMMETRIC.load(Ordering::Relaxed) {
                // Cannot fail after a successful registration.
                assert!(membarrier(PRIVATE_EXPEDITED), "membarrier failed after registration");
            }
        }
    }

    #[cfg(loom)]
    mod imp {
        use loom::sync::atomic::{Ordering, fence};

        pub(in super::super) fn is_asymmetric() -> bool {
            true
        }

        pub(in super::super) fn light() {
            fence(Ordering::SeqCst);
        }

        pub(in super::super) fn full() {
            fence(Ordering::SeqCst);
        }

        pub(in super::super) fn heavy() {
            fence(Ordering::SeqCst);
        }
    }

    #[cfg(not(loom))]
    pub use imp::init;
    pub(super) use imp::{full, heavy, is_asymmetric, light};
}
