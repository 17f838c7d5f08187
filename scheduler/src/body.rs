//! A task's body, owned, and its type forgotten. Most bodies are small, a closure and what it has captured: they lie in cells
//! (`place.rs`).
//!
//! 1. `place` leads to a live value of the type that `table` was made for, and is its only owner.
//! 2. Bodies are `Send`, so this is.

use crate::{
    depot::prefetch,
    place::Place,
    task::{Body, Step},
};
use std::{fmt, marker::PhantomData, ptr::NonNull};

struct Table {
    step: unsafe fn(NonNull<u8>) -> Step,
    /// Drops the value and frees its place.
    drop: unsafe fn(NonNull<u8>),
}

/// See the head of this file.
pub struct OwnedBody {
    place: NonNull<u8>,
    table: &'static Table,
}

// SAFETY: rule 2.
unsafe impl Send for OwnedBody {}

struct Of<B>(PhantomData<B>);

impl<B: Body + 'static> Of<B> {
    const TABLE: &'static Table = &Table { step: Self::step, drop: Self::drop };

    unsafe fn step(place: NonNull<u8>) -> Step {
        // SAFETY: rule 1, and the caller has it exclusively.
        unsafe { place.cast::<B>().as_mut() }.step()
    }

    unsafe fn drop(place: NonNull<u8>) {
        // SAFETY: rule 1, and nobody uses it after this.
        unsafe { Place::drop(place.cast::<B>()) };
    }
}

impl OwnedBody {
    /// Takes a body in.
    #[inline]
    pub fn new<B: Body + 'static>(body: B) -> Self {
        OwnedBody { place: Place::put(body).cast(), table: Of::<B>::TABLE }
    }

    /// Asks for the first lines of it.
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        prefetch(self.place.as_ptr());
        prefetch(self.place.as_ptr().wrapping_add(64));
    }

    /// One step of it.
    #[inline(always)]
    pub(crate) fn step(&mut self) -> Step {
        // SAFETY: rule 1; the borrow is exclusive.
        unsafe { (self.table.step)(self.place) }
    }
}

impl Drop for OwnedBody {
    fn drop(&mut self) {
        // SAFETY: rule 1; it is not used again.
        unsafe { (self.table.drop)(self.place) };
    }
}

impl fmt::Debug for OwnedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedBody").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Counts<const N: usize>(Arc<()>, [u8; N]);

    impl<const N: usize> Body for Counts<N> {
        fn step(&mut self) -> Step {
            assert_eq!(Arc::strong_count(&self.0), 2);
            self.1[N - 1] += 1;
            if self.1[N - 1] < 3 { Step::Idle } else { Step::Done }
        }
    }

    fn runs_and_is_dropped_once<const N: usize>() {
        let count = Arc::new(());
        let mut body = OwnedBody::new(Counts::<N>(Arc::clone(&count), [0; N]));
        assert_eq!([body.step(), body.step(), body.step()], [Step::Idle, Step::Idle, Step::Done]);
        assert_eq!(Arc::strong_count(&count), 2);
        drop(body);
        assert_eq!(Arc::strong_count(&count), 1);
    }

    #[test]
    fn small_and_large_bodies_run_and_are_dropped_once() {
        runs_and_is_dropped_once::<1>();
        runs_and_is_dropped_once::<56>();
        runs_and_is_dropped_once::<57>();
        runs_and_is_dropped_once::<1000>();
    }

    #[test]
    fn a_destructor_that_panics_gives_the_cell_back_all_the_same() {
        struct Bomb;
        impl Body for Bomb {
            fn step(&mut self) -> Step {
                Step::Done
            }
        }
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("boom");
            }
        }
        let body = OwnedBody::new(Bomb);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(body))).is_err());
    }
}
