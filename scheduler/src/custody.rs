//! Who may touch a worker's private state: its own thread, or a rescuer while that thread is stuck.
//!
//! A worker's run queue, timer wheel, the private halves of its tasks and so on carry no locks and
//! no atomics. They are touched by the worker's thread only, and only *inside a runtime section*.
//! When a process has been computing natively for long, the watchdog must take the other work away
//! from its worker (DESIGN of the watchdog: `watchdog.rs`). The stuck thread is in user code then,
//! outside a section, but may enter one at any moment. So:
//!
//! 1. The thread enters a section by `status = RUNTIME`, then a light barrier, then it looks at
//!    `revoked`. If that is set, it leaves again and waits.
//! 2. A rescuer sets `revoked`, then a heavy barrier, then it looks at `status`. Only if that is
//!    `USER` it has custody, until it clears `revoked`. Otherwise it gives up and comes back later:
//!    a section is short, and a worker that enters sections is not stuck.
//! 3. One of the two sees the other (Dekker): they are never both inside. The barriers make the
//!    fast side free of a fence: the light one binds only the compiler, the heavy one is Linux'
//!    `membarrier(PRIVATE_EXPEDITED)`, some 8 µs, paid by the rescuer alone. Where the kernel lacks
//!    it, both are sequentially consistent fences, and a section costs some nanoseconds more.
//! 4. Rescuers exclude each other by a lock of the caller.
//!
//! Model (with fences for the barriers): `loom-tests/src/custody.rs`.

use crate::sync::{
    atomic::{AtomicU8, Ordering},
    hint,
};

const RUNTIME: u8 = 0;
const USER: u8 = 1;

/// See the head of this file.
#[derive(Debug)]
pub struct Custody {
    status: AtomicU8,
    revoked: AtomicU8,
}

impl Custody {
    /// In the hands of the worker, inside a section.
    pub fn new() -> Self {
        Custody { status: AtomicU8::new(RUNTIME), revoked: AtomicU8::new(0) }
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
        // Relaxed: the light barrier orders it before the load of `revoked`.
        self.status.store(RUNTIME, Ordering::Relaxed);
        barrier::light();
        // Acquire: pairs with the release in `Rescue::drop`: what the rescuer did is seen.
        if self.revoked.load(Ordering::Acquire) != 0 {
            self.wait();
        }
        true
    }

    /// Leaves the section.
    #[inline(always)]
    pub fn leave(&self) {
        debug_assert_eq!(self.status.load(Ordering::Relaxed), RUNTIME);
        // Release: pairs with the acquire in `try_seize`: what was done inside is seen.
        self.status.store(USER, Ordering::Release);
    }

    #[cold]
    fn wait(&self) {
        loop {
            // Release: as in `leave`.
            self.status.store(USER, Ordering::Release);
            let mut spins = 0_u32;
            // Acquire: pairs with the release in `Rescue::drop`.
            while self.revoked.load(Ordering::Acquire) != 0 {
                spins += 1;
                if spins.is_multiple_of(64) {
                    crate::sync::thread::yield_now();
                } else {
                    hint::spin_loop();
                }
            }
            // As in `enter`.
            self.status.store(RUNTIME, Ordering::Relaxed);
            barrier::light();
            if self.revoked.load(Ordering::Acquire) == 0 {
                return;
            }
        }
    }

    /// Is the thread outside a section? A hint for the watchdog.
    pub fn in_user_code(&self) -> bool {
        self.status.load(Ordering::Relaxed) == USER
    }

    /// Tries to take custody (rule 2). The caller holds the rescuers' lock (rule 4).
    #[must_use]
    pub fn try_seize(&self) -> Option<Rescue<'_>> {
        // Relaxed: the heavy barrier orders it before the load of `status`.
        self.revoked.store(1, Ordering::Relaxed);
        barrier::heavy();
        let rescue = Rescue { custody: self };
        // Acquire: pairs with the release in `leave`.
        if self.status.load(Ordering::Acquire) == USER { Some(rescue) } else { None }
    }
}

impl Default for Custody {
    fn default() -> Self {
        Self::new()
    }
}

/// Custody of another thread's private state; ends when dropped.
#[derive(Debug)]
pub struct Rescue<'a> {
    custody: &'a Custody,
}

impl Drop for Rescue<'_> {
    fn drop(&mut self) {
        // Release: pairs with the acquires in `enter` and `wait`.
        self.custody.revoked.store(0, Ordering::Release);
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

        #[inline(always)]
        pub(in super::super) fn light() {
            // A static that is never written again: its line stays shared, the branch predicted.
            if ASYMMETRIC.load(Ordering::Relaxed) {
                compiler_fence(Ordering::SeqCst);
            } else {
                fence(Ordering::SeqCst);
            }
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

        pub(in super::super) fn light() {
            fence(Ordering::SeqCst);
        }

        pub(in super::super) fn heavy() {
            fence(Ordering::SeqCst);
        }
    }

    #[cfg(not(loom))]
    pub use imp::init;
    pub(super) use imp::{heavy, light};
}
