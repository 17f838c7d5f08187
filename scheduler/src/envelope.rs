//! The unit that travels between tasks: one cache line with a typed payload.
//!
//! ```text
//!  0        8          16       20     24                                             64
//!  ├────────┼──────────┼────────┼──────┼──────────────────────────────────────────────┤
//!  │ link   │ contents │ serial │ tag  │ payload, or where it lies if it is larger    │
//!  └────────┴──────────┴────────┴──────┴──────────────────────────────────────────────┘
//! ```
//!
//! 1. An [`Envelope`] owns its cell and the payload in it. While its cell is linked into a queue the
//!    queue owns both (`Envelope::into_link`, `Envelope::from_link`).
//! 2. `contents` describes the payload: its type, its size, how to drop it, whether it lies elsewhere (`place.rs`), and
//!    what kind of thing it is to the receiver. It is written once, with the payload.
//! 3. Payloads are `Send`, so an envelope is.

mod draft;

pub(crate) use draft::Draft;

use crate::{
    current,
    depot::{FreeCell, prefetch},
    place::Place,
    remote_queue::Link,
};
use std::{
    any::{Any, TypeId},
    fmt,
    mem::{self, ManuallyDrop, MaybeUninit},
    ptr::NonNull,
    sync::atomic::Ordering,
};

/// What an envelope is to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Something to receive; waits in the mailbox until asked for.
    Message = 0,
    /// Something to receive that the runtime made (an exit or down message, a timer).
    Event = 1,
    /// Acts at the receiver's next scheduling point, whether or not it receives.
    Signal = 2,
    /// The answer to a call; goes to the task that waits for its tag and to nobody else.
    Reply = 3,
}

const INLINE_SIZE: usize = 40;
const INLINE_ALIGN: usize = 8;

struct Contents {
    type_id: TypeId,
    type_name: fn() -> &'static str,
    kind: Kind,
    size: usize,
    /// Drops the payload where it lies.
    drop: unsafe fn(*mut u8),
    needs_drop: bool,
}

#[repr(C, align(64))]
struct Raw {
    link: Link,
    contents: &'static Contents,
    serial: u32,
    tag: u32,
    payload: MaybeUninit<[u64; INLINE_SIZE / 8]>,
}

const _: () = assert!(size_of::<Raw>() == size_of::<FreeCell>());

/// See the head of this file.
pub struct Envelope(NonNull<Raw>);

// SAFETY: rules 1 and 3: it owns a payload that is `Send`, and a cell that belongs to no thread.
unsafe impl Send for Envelope {}

struct Typed<T, const KIND: u8>(std::marker::PhantomData<T>);

impl<T: Send + 'static, const KIND: u8> Typed<T, KIND> {
    const INLINE: bool = size_of::<T>() <= INLINE_SIZE && align_of::<T>() <= INLINE_ALIGN;

    const CONTENTS: &'static Contents = &Contents {
        type_id: TypeId::of::<T>(),
        type_name: std::any::type_name::<T>,
        kind: match KIND {
            0 => Kind::Message,
            1 => Kind::Event,
            2 => Kind::Signal,
            _ => Kind::Reply,
        },
        size: size_of::<T>(),
        drop: Self::drop_payload,
        needs_drop: !Self::INLINE || mem::needs_drop::<T>(),
    };

    unsafe fn drop_payload(payload: *mut u8) {
        if Self::INLINE {
            // SAFETY: the caller passes a payload of this type (rule 2).
            unsafe { payload.cast::<T>().drop_in_place() };
        } else {
            // SAFETY: as above; it was put elsewhere.
            unsafe { Place::drop(payload.cast::<NonNull<T>>().read()) };
        }
    }
}

impl Envelope {
    /// A message.
    #[inline(always)]
    pub fn message<T: Send + 'static>(payload: T) -> Self {
        Self::new::<T, { Kind::Message as u8 }>(payload)
    }

    /// An event.
    pub fn event<T: Send + 'static>(payload: T) -> Self {
        Self::new::<T, { Kind::Event as u8 }>(payload)
    }

    /// A signal.
    pub fn signal<T: Send + 'static>(payload: T) -> Self {
        Self::new::<T, { Kind::Signal as u8 }>(payload)
    }

    /// The answer to the call with this tag.
    #[inline(always)]
    pub fn reply<T: Send + 'static>(tag: u32, payload: T) -> Self {
        let mut envelope = Self::new::<T, { Kind::Reply as u8 }>(payload);
        envelope.set_tag(tag);
        envelope
    }

    /// A message for the task with this serial number, in a cell that the caller has taken from a cache.
    #[inline(always)]
    pub(crate) fn message_in<T: Send + 'static>(cell: NonNull<FreeCell>, serial: u64, payload: T) -> Self {
        let mut envelope = Self::new_in::<T, { Kind::Message as u8 }>(cell, payload);
        envelope.address(serial);
        envelope
    }

    #[inline(always)]
    fn new<T: Send + 'static, const KIND: u8>(payload: T) -> Self {
        Self::new_in::<T, KIND>(current::take_cell(), payload)
    }

    #[inline(always)]
    fn new_in<T: Send + 'static, const KIND: u8>(cell: NonNull<FreeCell>, payload: T) -> Self {
        let cell = cell.cast::<Raw>();
        let raw = cell.as_ptr();
        // SAFETY: the cell is ours and uninitialised; every field is written before it is read.
        unsafe {
            (&raw mut (*raw).contents).write(Typed::<T, KIND>::CONTENTS);
            (&raw mut (*raw).tag).write(0);
            let place = (&raw mut (*raw).payload).cast::<u8>();
            if Typed::<T, KIND>::INLINE {
                place.cast::<T>().write(payload);
            } else {
                place.cast::<NonNull<T>>().write(Place::put(payload));
            }
        }
        Envelope(cell)
    }

    #[inline(always)]
    fn raw(&self) -> &Raw {
        // SAFETY: rule 1. (`serial` and `link` are initialised by `address` before they are read.)
        unsafe { self.0.as_ref() }
    }

    #[inline(always)]
    fn contents(&self) -> &'static Contents {
        // SAFETY: rule 2; read through the pointer, for the whole cell may not be initialised yet.
        unsafe { (*self.0.as_ptr()).contents }
    }

    fn payload(&self) -> *mut u8 {
        // SAFETY: rule 1; no reference is made.
        unsafe { (&raw mut (*self.0.as_ptr()).payload).cast() }
    }

    /// What it is to the receiver.
    #[inline(always)]
    pub fn kind(&self) -> Kind {
        self.contents().kind
    }

    /// Size of the payload in bytes, without what it points to.
    pub fn size(&self) -> usize {
        self.contents().size
    }

    /// The payload's type.
    #[must_use]
    pub fn type_id(&self) -> TypeId {
        self.contents().type_id
    }

    /// Name of the payload's type.
    pub fn type_name(&self) -> &'static str {
        (self.contents().type_name)()
    }

    /// The number that came with it: the call of a reply, the deadline of a message.
    #[inline(always)]
    pub fn tag(&self) -> u32 {
        // SAFETY: rule 1; the tag is initialised by `new`.
        unsafe { (*self.0.as_ptr()).tag }
    }

    /// Sets that number.
    #[inline(always)]
    pub fn set_tag(&mut self, tag: u32) {
        // SAFETY: rule 1.
        unsafe { (*self.0.as_ptr()).tag = tag };
    }

    /// Does the payload do anything when it is dropped?
    #[inline(always)]
    pub(crate) fn needs_drop(&self) -> bool {
        self.contents().needs_drop
    }

    /// Is the payload a `T`?
    #[inline(always)]
    pub fn is<T: Any>(&self) -> bool {
        self.contents().type_id == TypeId::of::<T>()
    }

    /// Is it a message, and a `T`?
    #[inline(always)]
    pub(crate) fn is_message<T: Send + 'static>(&self) -> bool {
        let contents = self.contents();
        // The descriptions of a type may have several addresses.
        std::ptr::eq(contents, Typed::<T, { Kind::Message as u8 }>::CONTENTS)
            || (contents.kind == Kind::Message && contents.type_id == TypeId::of::<T>())
    }

    /// Looks at the payload.
    #[inline]
    pub fn get<T: Send + 'static>(&self) -> Option<&T> {
        if !self.is::<T>() {
            return None;
        }
        let payload = self.payload();
        // SAFETY: the type is checked (rule 2), and where it lies depends on it alone.
        Some(unsafe {
            if Typed::<T, 0>::INLINE {
                &*payload.cast::<T>()
            } else {
                payload.cast::<NonNull<T>>().read().as_ref()
            }
        })
    }

    /// Looks at the payload, to change it.
    pub fn get_mut<T: Send + 'static>(&mut self) -> Option<&mut T> {
        if !self.is::<T>() {
            return None;
        }
        let payload = self.payload();
        // SAFETY: as in `get`, and the borrow is exclusive.
        Some(unsafe {
            if Typed::<T, 0>::INLINE {
                &mut *payload.cast::<T>()
            } else {
                payload.cast::<NonNull<T>>().read().as_mut()
            }
        })
    }

    /// Takes the payload out.
    ///
    /// # Errors
    ///
    /// The envelope itself, if the payload is of another type.
    #[inline(always)]
    pub fn take<T: Send + 'static>(self) -> Result<T, Envelope> {
        if !self.is::<T>() {
            return Err(self);
        }
        // SAFETY: just looked at.
        Ok(unsafe { self.take_unchecked() })
    }

    /// The same for who knows that it is one.
    ///
    /// # Safety
    ///
    /// The payload is a `T`.
    #[inline(always)]
    pub(crate) unsafe fn take_unchecked<T: Send + 'static>(self) -> T {
        // SAFETY: contract.
        let (value, cell) = unsafe { self.split() };
        // SAFETY: `split`.
        unsafe { current::give_cell(cell) };
        value
    }

    /// The payload, and the cell, to which nothing refers any more (rule 1).
    ///
    /// # Safety
    ///
    /// The payload is a `T`.
    #[inline(always)]
    unsafe fn split<T: Send + 'static>(self) -> (T, NonNull<FreeCell>) {
        let this = ManuallyDrop::new(self);
        let payload = this.payload();
        // SAFETY: contract; the payload is moved out once, for `this` is not dropped.
        let value = unsafe {
            if Typed::<T, 0>::INLINE {
                payload.cast::<T>().read()
            } else {
                Place::take(payload.cast::<NonNull<T>>().read())
            }
        };
        (value, this.0.cast())
    }

    /// Writes the receiver's serial number on it (low half; see `slot.rs`, rule 4).
    #[inline(always)]
    pub(crate) fn address(&mut self, serial: u64) {
        // SAFETY: rule 1.
        unsafe { (&raw mut (*self.0.as_ptr()).serial).write(serial as u32) };
    }

    /// Is it for the task with this serial number?
    #[inline(always)]
    pub(crate) fn is_for(&self, serial: u64) -> bool {
        self.raw().serial == serial as u32
    }

    /// The serial number that it bears, of which it has the low half: the latest one up to `now`.
    pub(crate) fn serial_before(&self, now: u64) -> u64 {
        let serial = (now & !u64::from(u32::MAX)) | u64::from(self.raw().serial);
        if serial > now { serial.wrapping_sub(1 << 32) } else { serial }
    }

    /// Into a queue (rule 1).
    #[inline(always)]
    pub(crate) fn into_link(self) -> NonNull<Link> {
        let this = ManuallyDrop::new(self);
        this.0.cast()
    }

    /// Out of a queue (rule 1).
    ///
    /// # Safety
    ///
    /// The link came from `into_link`, and nobody else takes it.
    #[inline(always)]
    pub(crate) unsafe fn from_link(link: NonNull<Link>) -> Self {
        Envelope(link.cast())
    }

    /// Looks at one that a queue owns.
    ///
    /// # Safety
    ///
    /// The link came from `into_link`, and the queue keeps it while the result is used.
    #[inline(always)]
    pub(crate) unsafe fn peek(link: NonNull<Link>) -> ManuallyDrop<Self> {
        ManuallyDrop::new(Envelope(link.cast()))
    }
}

impl Drop for Envelope {
    fn drop(&mut self) {
        let contents = self.contents();
        if contents.needs_drop {
            // The cell is given back even if the payload's destructor panics.
            struct Back(NonNull<Raw>);
            impl Drop for Back {
                fn drop(&mut self) {
                    // SAFETY: the payload is dropped, nothing refers to the cell (rule 1).
                    unsafe { current::give_cell(self.0.cast()) };
                }
            }
            let _back = Back(self.0);
            // SAFETY: rule 2; the payload is dropped once.
            unsafe { (contents.drop)(self.payload()) };
        } else {
            // SAFETY: nothing refers to the cell (rule 1).
            unsafe { current::give_cell(self.0.cast()) };
        }
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("kind", &self.kind())
            .field("type", &self.type_name())
            .finish_non_exhaustive()
    }
}

/// A private first-in-first-out list of envelopes. Touched by one thread at a time.
pub(crate) struct List {
    head: Option<NonNull<Link>>,
    /// Meaningful if there is a head.
    tail: NonNull<Link>,
}

impl List {
    pub(crate) const fn new() -> Self {
        List { head: None, tail: NonNull::dangling() }
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Asks for the line of the first one.
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        if let Some(head) = self.head {
            prefetch(head.as_ptr());
        }
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, envelope: Envelope) {
        let link = envelope.into_link();
        // Relaxed, here and below: the list is private.
        // SAFETY: the list owns its links.
        unsafe { link.as_ref() }.next.store(std::ptr::null_mut(), Ordering::Relaxed);
        match self.head {
            None => self.head = Some(link),
            // SAFETY: as above; a list with a head has a tail.
            Some(_) => unsafe { self.tail.as_ref() }.next.store(link.as_ptr(), Ordering::Relaxed),
        }
        self.tail = link;
    }

    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<Envelope> {
        let link = self.head?;
        // SAFETY: the list owns its links.
        self.head = NonNull::new(unsafe { link.as_ref() }.next.load(Ordering::Relaxed));
        // SAFETY: it came from `push`, and is no longer in the list.
        Some(unsafe { Envelope::from_link(link) })
    }

    /// Takes the first one, if it is like that. `None`: the list is empty.
    #[inline(always)]
    pub(crate) fn pop_if(&mut self, wanted: impl FnOnce(&Envelope) -> bool) -> Option<Result<Envelope, ()>> {
        let link = self.head?;
        // SAFETY: the list owns its links, and keeps the envelope meanwhile.
        if !wanted(&*unsafe { Envelope::peek(link) }) {
            return Some(Err(()));
        }
        self.pop().map(Ok)
    }

    /// What the first one is.
    pub(crate) fn first_kind(&self) -> Option<Kind> {
        // SAFETY: the list owns its links, and keeps the envelope meanwhile.
        self.head.map(|link| unsafe { Envelope::peek(link) }.kind())
    }

    /// Moves all of `other` behind the own ones.
    pub(crate) fn append(&mut self, other: &mut List) {
        let Some(first) = other.head.take() else { return };
        match self.head {
            None => self.head = Some(first),
            // SAFETY: a list with a head has a tail, and owns its links.
            Some(_) => unsafe { self.tail.as_ref() }.next.store(first.as_ptr(), Ordering::Relaxed),
        }
        self.tail = other.tail;
    }

    /// Is there one behind `after`, which is in the list (or at all)?
    pub(crate) fn has_behind(&self, after: Option<NonNull<Link>>) -> bool {
        match after {
            None => self.head.is_some(),
            // SAFETY: it is in the list.
            Some(link) => !unsafe { link.as_ref() }.next.load(Ordering::Relaxed).is_null(),
        }
    }

    /// Takes out the first one behind `after` (or from the start) that `wanted` picks, and says where
    /// it stopped: a search can go on from there when more have come, as long as nothing else takes
    /// out of the list.
    pub(crate) fn remove_after(
        &mut self,
        after: &mut Option<NonNull<Link>>,
        wanted: &mut dyn FnMut(&Envelope) -> bool,
    ) -> Option<Envelope> {
        loop {
            let next = match *after {
                None => self.head,
                // SAFETY: `after` is in the list.
                Some(link) => NonNull::new(unsafe { link.as_ref() }.next.load(Ordering::Relaxed)),
            };
            let link = next?;
            // SAFETY: the list keeps it meanwhile.
            let envelope = unsafe { Envelope::peek(link) };
            if !wanted(&envelope) {
                *after = Some(link);
                continue;
            }
            // SAFETY: the list owns its links.
            let behind = unsafe { link.as_ref() }.next.load(Ordering::Relaxed);
            match *after {
                None => self.head = NonNull::new(behind),
                // SAFETY: as above.
                Some(before) => unsafe { before.as_ref() }.next.store(behind, Ordering::Relaxed),
            }
            if behind.is_null() {
                self.tail = after.unwrap_or(NonNull::dangling());
            }
            // SAFETY: it is no longer in the list.
            return Some(unsafe { Envelope::from_link(link) });
        }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        while let Some(envelope) = self.pop() {
            drop(envelope);
        }
    }
}
