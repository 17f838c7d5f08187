//! A stack on which tasks run.
//!
//! A carrier is a coroutine whose body is the scheduler's own loop ([`crate::worker::Worker::carry`]):
//! it runs one task after the other by plain calls, as long as they end or go idle. Only when a task
//! has to wait in the middle does the carrier stay with it, and the worker goes on with another one.
//! So a task that never waits costs no switch, and a server between two messages owns no stack.
//!
//! # Soundness (why `spawn` is safe)
//!
//! A suspended stack may hold values that are not `Send`: an `Rc`, a guard, a reference into a
//! thread-local. So:
//!
//! 1. A carrier is created, resumed, suspended and dropped on one thread. It is neither `Send` nor
//!    `Sync`; debug builds compare thread numbers. Tasks that have a carrier are not movable
//!    (`slot.rs`, `Private::is_movable`), and a rescuer leaves them alone.
//! 2. A suspended stack is resumed until it has left its frames by return or unwinding, or it is
//!    leaked with everything on it (a shutdown that is out of patience). It is never just freed.
//! 3. Nothing is suspended while the thread is panicking: the count of panics is the thread's, not the
//!    stack's (`Worker::wait` asks).
//! 4. A carrier outlives its use: the worker owns all its carriers and drops them after its loop.
//! 5. It lies in the head of its own stack (`stack.rs`), so that who resumes it touches one page. The stack, which the coroutine owns, is given
//!    back only after the carrier has been moved out of it ([`CarrierBox::into_inner`]).

use crate::{depot::prefetch, stack::Stack, worker::Worker};
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::{
    cell::{Cell, UnsafeCell},
    fmt,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::{self, NonNull},
};

/// Aligned so that the low bits of its address are free ([`MOST_DEPTH`]).
#[repr(align(64))]
pub(crate) struct Carrier {
    /// `None` only before `on` is done.
    coroutine: UnsafeCell<Option<Coroutine<(), (), (), Stack>>>,
    /// Set when the coroutine first runs.
    yielder: Cell<*const Yielder<(), ()>>,
    class: u8,
    #[cfg(debug_assertions)]
    thread: std::thread::ThreadId,
}

/// A carrier, owned, at an address that stays: its coroutine knows it (rule 5).
pub(crate) struct CarrierBox(NonNull<Carrier>);

impl CarrierBox {
    /// Gives the ownership to a bare pointer.
    #[inline(always)]
    pub(crate) fn into_raw(self) -> *const Carrier {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// Takes it back.
    ///
    /// # Safety
    ///
    /// The pointer came from [`into_raw`](Self::into_raw), and this is done once.
    #[inline(always)]
    pub(crate) unsafe fn from_raw(carrier: *const Carrier) -> Self {
        // SAFETY: contract; what it owned is not null.
        CarrierBox(unsafe { NonNull::new_unchecked(carrier.cast_mut()) })
    }

    /// The carrier itself, whose coroutine must not run any more.
    pub(crate) fn into_inner(self) -> Carrier {
        // SAFETY: put there by `Carrier::on`, and nobody else has it. It is read once, while its stack is still in it (rule 5).
        unsafe { ManuallyDrop::new(self).0.read() }
    }
}

impl Deref for CarrierBox {
    type Target = Carrier;

    #[inline(always)]
    fn deref(&self) -> &Carrier {
        // SAFETY: put there by `Carrier::on`, and ours.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for CarrierBox {
    fn drop(&mut self) {
        // SAFETY: as in `into_inner`; nobody uses it after this.
        drop(unsafe { self.0.read() });
    }
}

/// How far below its carrier a suspended stack ends, in lines of 64 bytes; so much at most. For a slot, which has six bits for it.
pub(crate) const MOST_DEPTH: usize = 63;

const _: () = assert!(align_of::<Carrier>() > MOST_DEPTH);

impl Carrier {
    /// A carrier on this stack, for the calling thread.
    pub(crate) fn on(mut stack: Stack) -> CarrierBox {
        let class = stack.class().0;
        let place = stack.head::<Carrier>();
        let value = Carrier {
            coroutine: UnsafeCell::new(None),
            yielder: Cell::new(ptr::null()),
            class,
            #[cfg(debug_assertions)]
            thread: std::thread::current().id(),
        };
        // SAFETY: the head of a stack that we have (`stack.rs`, R4), large enough and aligned.
        unsafe { place.write(value) };
        let carrier = CarrierBox(place);
        let this: *const Carrier = place.as_ptr();
        let coroutine = Coroutine::with_stack(stack, move |yielder, ()| {
            // SAFETY: it is kept while its coroutine runs (rule 4).
            unsafe { &*this }.yielder.set(yielder);
            Worker::carry();
        });
        // SAFETY: nobody else has seen it yet.
        unsafe { *carrier.coroutine.get() = Some(coroutine) };
        carrier
    }

    pub(crate) fn class(&self) -> u8 {
        self.class
    }

    /// Runs it until it suspends. True: its loop has ended.
    #[inline(always)]
    pub(crate) fn resume(&self) -> bool {
        self.check_thread();
        // SAFETY: rule 1: one thread, and a carrier that runs is not resumed (it is not in the worker's
        // hands), so this is the only reference.
        let coroutine = unsafe { &mut *self.coroutine.get() };
        match coroutine.as_mut().map(|coroutine| coroutine.resume(())) {
            Some(CoroutineResult::Yield(())) => false,
            Some(CoroutineResult::Return(())) | None => true,
        }
    }

    /// Asks for the lines that are touched first when a carrier is resumed that is so deep. Does not touch it itself.
    #[inline(always)]
    pub(crate) fn prefetch(this: *const Carrier, depth: usize) {
        prefetch(this);
        let end = this.cast::<u8>().wrapping_sub(64 * depth);
        for line in -1..3 {
            prefetch(end.wrapping_offset(line * 64));
        }
    }

    /// How deep is the stack that runs, which is this one's?
    #[inline(always)]
    pub(crate) fn depth(this: *const Carrier) -> usize {
        let here = 0_u8;
        (this.addr().wrapping_sub((&raw const here).addr()) / 64).min(MOST_DEPTH)
    }

    /// Back to the worker's own stack, until it resumes this one. Called on the carrier itself.
    #[inline(always)]
    pub(crate) fn suspend(&self) {
        self.check_thread();
        // SAFETY: set when the coroutine began to run, and valid while it runs, which it does.
        unsafe { (*self.yielder.get()).suspend(()) };
    }

    /// The stack of one whose loop has ended.
    pub(crate) fn into_stack(self) -> Option<Stack> {
        let coroutine = self.coroutine.into_inner()?;
        if coroutine.done() { Some(coroutine.into_stack()) } else { None }
    }

    /// Gives it up without touching its frames (rule 2).
    pub(crate) fn leak(self) {
        // SAFETY: as in `resume`; it does not run.
        let coroutine = unsafe { (*self.coroutine.get()).take() };
        std::mem::forget(coroutine);
    }

    fn check_thread(&self) {
        #[cfg(debug_assertions)]
        assert_eq!(self.thread, std::thread::current().id(), "a started stack has changed its thread");
    }
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carrier").field("class", &self.class).finish_non_exhaustive()
    }
}
