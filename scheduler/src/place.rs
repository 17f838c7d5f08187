//! A value in a cell of the depot, of one line or two, if it fits, else in a box.
//!
//! What comes and goes with each task or message is small as a rule. The system's allocator would be called for nothing
//! else; and what is made on one worker and dropped on another makes its arenas wait for each other.
//!
//! Where a value lies depends on its type alone, so a bare pointer is enough to find it again.

use crate::{
    current,
    depot::{CELL_SIZE, FreeCell, WIDE_SIZE},
};
use std::{marker::PhantomData, ptr::NonNull};

/// See the head of this file.
pub(crate) struct Place<T>(PhantomData<T>);

/// Gives the cell back even if the destructor of what was in it panics.
struct Back<T>(NonNull<T>);

impl<T> Drop for Back<T> {
    #[inline]
    fn drop(&mut self) {
        let cell: NonNull<FreeCell> = self.0.cast();
        // SAFETY: taken in `Place::put`, as one of that size; the value in it is gone.
        unsafe { if Place::<T>::IN_LINE { current::give_cell(cell) } else { current::give_wide_cell(cell) } };
    }
}

impl<T> Place<T> {
    const IN_LINE: bool = size_of::<T>() <= CELL_SIZE && align_of::<T>() <= CELL_SIZE;
    const IN_CELL: bool = size_of::<T>() <= WIDE_SIZE && align_of::<T>() <= WIDE_SIZE;

    /// Puts a value away.
    #[inline]
    pub(crate) fn put(value: T) -> NonNull<T> {
        if !Self::IN_CELL {
            return NonNull::from(Box::leak(Box::new(value)));
        }
        let cell = if Self::IN_LINE { current::take_cell() } else { current::take_wide_cell() }.cast::<T>();
        // SAFETY: the cell is ours, large enough, and aligned to its size.
        unsafe { cell.write(value) };
        cell
    }

    /// Takes it out again.
    ///
    /// # Safety
    ///
    /// It came from [`put`](Self::put), and nobody uses it after this.
    #[inline]
    pub(crate) unsafe fn take(place: NonNull<T>) -> T {
        if !Self::IN_CELL {
            // SAFETY: contract; it came from a box.
            return *unsafe { Box::from_raw(place.as_ptr()) };
        }
        let _back = Back(place);
        // SAFETY: contract; it is read once.
        unsafe { place.read() }
    }

    /// Drops it.
    ///
    /// # Safety
    ///
    /// As [`take`](Self::take).
    #[inline]
    pub(crate) unsafe fn drop(place: NonNull<T>) {
        if !Self::IN_CELL {
            // SAFETY: contract; it came from a box.
            return drop(unsafe { Box::from_raw(place.as_ptr()) });
        }
        let _back = Back(place);
        // SAFETY: contract; it is dropped once.
        unsafe { place.drop_in_place() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn comes_out_and_is_dropped_once<const N: usize>() {
        let count = Arc::new(());
        let place = Place::put((Arc::clone(&count), [7_u8; N]));
        // SAFETY: put there just now.
        let (arc, bytes) = unsafe { Place::take(place) };
        assert_eq!((Arc::strong_count(&count), bytes), (2, [7; N]));
        let place = Place::put((arc, bytes));
        // SAFETY: as above.
        unsafe { Place::drop(place) };
        assert_eq!(Arc::strong_count(&count), 1);
    }

    #[test]
    fn small_and_large_values_come_out_and_are_dropped_once() {
        comes_out_and_is_dropped_once::<0>();
        comes_out_and_is_dropped_once::<56>();
        comes_out_and_is_dropped_once::<57>();
        comes_out_and_is_dropped_once::<120>();
        comes_out_and_is_dropped_once::<121>();
        comes_out_and_is_dropped_once::<1000>();
    }

    #[test]
    fn a_greater_alignment_than_a_cells_is_heeded() {
        #[repr(align(256))]
        struct Wide(u8);
        let place = Place::put(Wide(3));
        assert_eq!(place.as_ptr().addr() % 256, 0);
        // SAFETY: put there just now.
        assert_eq!(unsafe { Place::take(place) }.0, 3);
    }

    #[test]
    fn a_destructor_that_panics_gives_the_cell_back_all_the_same() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("boom");
            }
        }
        let place = Place::put(Bomb);
        // SAFETY: put there just now.
        let dropped = std::panic::catch_unwind(|| unsafe { Place::drop(place) });
        assert!(dropped.is_err());
    }
}
