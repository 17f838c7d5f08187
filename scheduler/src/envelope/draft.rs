//! A small message that is not on its way yet: what an envelope is without its cell.
//!
//! For timers: most of them are cancelled, and so never need a cell.
//!
//! 1. A draft owns its payload, which `contents` describes as it does an envelope's (`envelope.rs`, rule 2); it never lies elsewhere.

use super::{Contents, Envelope, INLINE_SIZE, Kind, Raw, Typed};
use crate::current;
use std::mem::{ManuallyDrop, MaybeUninit};

/// Words of a draft's payload.
const WORDS: usize = 3;

/// See the head of this file.
pub(crate) struct Draft {
    contents: &'static Contents,
    payload: MaybeUninit<[u64; WORDS]>,
}

// SAFETY: its payload is `Send`.
unsafe impl Send for Draft {}

impl Draft {
    /// Is a message of this type small enough?
    #[inline(always)]
    pub(crate) const fn takes<T>() -> bool {
        size_of::<T>() <= 8 * WORDS && align_of::<T>() <= align_of::<u64>()
    }

    /// A message of a type that it [takes](Self::takes).
    #[inline(always)]
    pub(crate) fn new<T: Send + 'static>(message: T) -> Self {
        assert!(Self::takes::<T>());
        let contents = Typed::<T, { Kind::Message as u8 }>::CONTENTS;
        let mut draft = Draft { contents, payload: MaybeUninit::uninit() };
        // SAFETY: it is large enough, and aligned.
        unsafe { draft.payload.as_mut_ptr().cast::<T>().write(message) };
        draft
    }

    /// Is there anything to do to drop it?
    #[inline(always)]
    pub(crate) fn needs_drop(&self) -> bool {
        self.contents.needs_drop
    }

    /// The message, ready to be sent.
    pub(crate) fn seal(self) -> Envelope {
        let this = ManuallyDrop::new(self);
        let raw = current::take_cell().cast::<Raw>();
        // SAFETY: the cell is ours; as in `Envelope::new_in`, for what fits into a draft is inline in an envelope. The payload is moved
        // once, as `this` is not dropped.
        unsafe {
            let raw = raw.as_ptr();
            (&raw mut (*raw).contents).write(this.contents);
            (&raw mut (*raw).tag).write(0);
            (&raw mut (*raw).payload).cast::<MaybeUninit<[u64; WORDS]>>().write(this.payload);
        }
        Envelope(raw)
    }
}

impl Drop for Draft {
    #[inline]
    fn drop(&mut self) {
        if self.contents.needs_drop {
            // SAFETY: the payload is of the type that `contents` is of, and dropped once.
            unsafe { (self.contents.drop)(self.payload.as_mut_ptr().cast()) };
        }
    }
}

const _: () = assert!(8 * WORDS <= INLINE_SIZE);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn small_types_are_taken() {
        assert!(Draft::takes::<()>() && Draft::takes::<[u64; 3]>() && Draft::takes::<String>());
        assert!(!Draft::takes::<[u64; 4]>() && !Draft::takes::<u128>());
    }

    #[test]
    fn what_is_sealed_is_a_message_with_the_payload() {
        let draft = Draft::new((7_u64, 'x'));
        assert!(!draft.needs_drop());
        let envelope = draft.seal();
        assert_eq!((envelope.kind(), envelope.tag(), envelope.size()), (Kind::Message, 0, 16));
        assert_eq!(envelope.take::<(u64, char)>().ok(), Some((7, 'x')));
        assert!(Draft::new(()).seal().is::<()>());
    }

    #[test]
    fn the_payload_is_dropped_once_sealed_or_not() {
        let count = Arc::new(());
        let draft = Draft::new(Arc::clone(&count));
        assert!(draft.needs_drop());
        drop(draft);
        assert_eq!(Arc::strong_count(&count), 1);
        let envelope = Draft::new(Arc::clone(&count)).seal();
        assert_eq!(Arc::strong_count(&count), 2);
        drop(envelope);
        assert_eq!(Arc::strong_count(&count), 1);
    }
}
