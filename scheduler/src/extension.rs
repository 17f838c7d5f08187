//! What the crate above keeps with a task: one value, whose type this crate does not know.
//!
//! As a `Box<dyn Any + Send>`, but in a cell of the depot if it fits (`place.rs`).
//!
//! 1. `place` leads to a live value of the type that `table` was made for, and is its only owner.
//! 2. The value is `Send`, so this is.

use crate::place::Place;
use std::{any::TypeId, fmt, marker::PhantomData, ptr::NonNull};

struct Table {
    type_id: TypeId,
    /// Drops the value and frees its place.
    drop: unsafe fn(NonNull<u8>),
}

/// See the head of this file.
pub struct Extension {
    place: NonNull<u8>,
    table: &'static Table,
}

// SAFETY: rule 2.
unsafe impl Send for Extension {}

struct Of<T>(PhantomData<T>);

impl<T: Send + 'static> Of<T> {
    const TABLE: &'static Table = &Table { type_id: TypeId::of::<T>(), drop: Self::drop };

    unsafe fn drop(place: NonNull<u8>) {
        // SAFETY: rule 1, and nobody uses it after this.
        unsafe { Place::drop(place.cast::<T>()) };
    }
}

impl Extension {
    /// Takes a value in.
    #[inline]
    pub fn new<T: Send + 'static>(value: T) -> Self {
        Extension { place: Place::put(value).cast(), table: Of::<T>::TABLE }
    }

    /// The value, if it is a `T`.
    #[inline]
    pub fn get_mut<T: Send + 'static>(&mut self) -> Option<&mut T> {
        // SAFETY: rule 1; the borrow is exclusive.
        (self.table.type_id == TypeId::of::<T>()).then(|| unsafe { self.place.cast::<T>().as_mut() })
    }
}

impl Drop for Extension {
    fn drop(&mut self) {
        // SAFETY: rule 1; it is not used again.
        unsafe { (self.table.drop)(self.place) };
    }
}

impl fmt::Debug for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extension").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_value_is_found_by_its_type_and_dropped_once() {
        let count = Arc::new(());
        let mut extension = Extension::new(Arc::clone(&count));
        assert!(extension.get_mut::<Arc<u8>>().is_none());
        assert!(extension.get_mut::<Arc<()>>().is_some_and(|value| Arc::ptr_eq(value, &count)));
        drop(extension);
        assert_eq!(Arc::strong_count(&count), 1);
    }
}
