//! Room in bounded mailboxes that a worker holds while a slice lasts, so that most messages need no atomic operation.
//!
//! One number for each mailbox: what the task that runs has claimed and not used yet, and what it has taken out of
//! its own and not given back. A send takes one from it, a receive puts one to it.
//!
//! 1. All is given back when the slice ends, and before the worker sleeps; and in the middle of a slice each time before what is held back
//!    leaves for other workers ([`Worker::flush`], also where it is asked for by a spawn or by a task that has arrived). So who hears of a
//!    message that was received, or of sends that will not come, finds the room. A rescuer that flushes calls no lenders: then
//!    room is held until the slice that it interrupts goes on and flushes, or ends.
//! 2. At most a *share* is held for a mailbox ([`Lender::share`]). What is above goes back at once.
//! 3. The first claim of a slice is for one message, and the next ones for twice as many each. So a slice that sends one
//!    message has nothing to give back.
//! 4. Lenders call the scheduler when room is given back (they wake senders), so that happens outside of [`Own::with`], and the
//!    lender is out of its place meanwhile.
//! 5. A place of the table stays when its task has ended, until another task needs it.

use super::Worker;
use crate::task::TaskId;
use std::{
    mem,
    sync::{Arc, atomic::Ordering},
};

/// Mailboxes at a time, 16 KiB; a power of 2. If a task uses two that share a place in turns, each message costs as much as without the table.
const PLACES: usize = 256;

/// The place of a task. Scattered: tasks that talk to each other are often at a round distance, for they were started in turns.
#[inline(always)]
fn place_of(task: TaskId) -> usize {
    (task.index().wrapping_mul(0x9E37_79B9) >> (u32::BITS - PLACES.trailing_zeros())) as usize
}

/// Gives and takes back room in the mailbox of one task (`room.rs`).
pub trait Lender: Send + Sync {
    /// Room for up to so many messages; for how many. It must not call the scheduler.
    fn claim(&self, wish: u32) -> u32;

    /// Room for so many comes back. `rest`: no more will for now. True: ask with `rest`, and be it with 0 messages, before the slice
    /// is over.
    fn give_back(&self, messages: u32, rest: bool) -> bool;

    /// For how many messages one worker may hold room. 0: none is held, and sends and receives do not ask here.
    fn share(&self) -> u32;
}

/// See the head of this file.
pub(crate) struct Rooms {
    /// Empty until it is first needed.
    places: Vec<Place>,
    /// Those that have something to give back.
    open: Vec<u8>,
}

/// A cache line.
#[repr(align(64))]
struct Place {
    task: TaskId,
    lender: Option<Arc<dyn Lender>>,
    /// For so many messages room is held; if for any, it is open.
    left: u32,
    share: u32,
    /// What the next claim of this slice is for.
    wish: u32,
    slice: u32,
    /// It is in the list.
    open: bool,
    /// The lender wants to be asked again; if so, it is open.
    owed: bool,
}

/// What is to be given back.
struct Due {
    at: usize,
    task: TaskId,
    lender: Arc<dyn Lender>,
    messages: u32,
}

impl Rooms {
    pub(super) fn new() -> Self {
        Rooms { places: Vec::new(), open: Vec::new() }
    }

    #[inline(always)]
    fn find(&mut self, task: TaskId) -> Option<(usize, &mut Place)> {
        let at = place_of(task);
        let place = self.places.get_mut(at)?;
        (place.task == task && place.share > 0).then_some((at, place))
    }

    /// Takes room that is held.
    #[inline(always)]
    fn take(&mut self, task: TaskId) -> bool {
        match self.find(task) {
            Some((_, place)) if place.left > 0 => {
                place.left -= 1;
                true
            }
            _ => false,
        }
    }

    /// Claims room, and takes some of it (rule 3).
    fn claim(&mut self, task: TaskId, slice: u32) -> bool {
        let Some((at, place)) = self.find(task) else { return false };
        let Some(lender) = &place.lender else { return false };
        if place.slice != slice {
            place.slice = slice;
            place.wish = 1;
        }
        let claimed = lender.claim(place.wish);
        if claimed == 0 {
            return false;
        }
        place.wish = (place.wish * 2).min(place.share);
        place.left = claimed - 1;
        if place.left > 0 {
            self.open(at);
        }
        true
    }

    /// Puts to what is held. `None`: it must be opened, or there is too much; or the task has no place here.
    #[inline(always)]
    fn put(&mut self, task: TaskId) -> Option<()> {
        let (_, place) = self.find(task)?;
        let fits = place.open && place.left + 1 < place.share;
        fits.then(|| place.left += 1)
    }

    /// The same in all cases. Outer `None`: the task has no place here.
    fn put_any(&mut self, task: TaskId) -> Option<Option<Due>> {
        let (at, place) = self.find(task)?;
        if place.left + 1 < place.share {
            place.left += 1;
            self.open(at);
            return Some(None);
        }
        let lender = place.lender.take()?;
        Some(Some(Due { at, task, lender, messages: mem::take(&mut place.left) + 1 }))
    }

    /// What is held in a place.
    fn held(&mut self, at: usize) -> Option<Due> {
        let place = &mut self.places[at];
        if place.left == 0 {
            return None;
        }
        let lender = place.lender.take()?;
        Some(Due { at, task: place.task, lender, messages: mem::take(&mut place.left) })
    }

    /// What is held in a place, or owed by it; it is not open any more.
    fn due(&mut self, at: usize) -> Option<Due> {
        let place = &mut self.places[at];
        place.open = false;
        if mem::take(&mut place.owed) && place.left == 0 {
            return place.lender.take().map(|lender| Due { at, task: place.task, lender, messages: 0 });
        }
        self.held(at)
    }

    fn next_due(&mut self) -> Option<Due> {
        while let Some(at) = self.open.pop() {
            if let Some(due) = self.due(usize::from(at)) {
                return Some(due);
            }
        }
        None
    }

    #[inline(always)]
    fn open(&mut self, at: usize) {
        let place = &mut self.places[at];
        if !place.open {
            place.open = true;
            self.open.push(at as u8);
        }
    }

    /// What is due of the task whose place this one needs.
    fn make_place(&mut self, at: usize, task: TaskId) -> Option<Due> {
        if self.places.is_empty() {
            self.places.resize_with(PLACES, Place::empty);
        }
        if self.places[at].task == task {
            return None;
        }
        self.open.retain(|&open| usize::from(open) != at);
        self.due(at)
    }

    /// The lender of a task comes into its place, or comes back. What was there is not needed any more.
    fn keep(
        &mut self,
        at: usize,
        task: TaskId,
        lender: Arc<dyn Lender>,
        owed: bool,
    ) -> Option<Arc<dyn Lender>> {
        let mut before = None;
        if self.places[at].task != task {
            let its = Place { task, share: lender.share(), ..Place::empty() };
            before = mem::replace(&mut self.places[at], its).lender;
        }
        let place = &mut self.places[at];
        let same = place.lender.replace(lender);
        if owed {
            place.owed = true;
            self.open(at);
        }
        same.or(before)
    }
}

impl Worker {
    /// Takes room for one message in the mailbox of this task of ours or of another worker. False: there is none, or it is
    /// not known here.
    #[inline(always)]
    pub(crate) fn take_room(&self, task: TaskId) -> bool {
        let entered = self.custody.enter();
        // SAFETY: `Worker` rule 1.
        let taken = unsafe { self.rooms.with(|rooms| rooms.take(task)) } || self.claim_room(task);
        if entered {
            self.custody.leave();
        }
        taken
    }

    #[inline(never)]
    fn claim_room(&self, task: TaskId) -> bool {
        // Relaxed: this thread is the only writer.
        let slice = self.slices.load(Ordering::Relaxed);
        self.rooms_open.set(true);
        // SAFETY: `Worker` rule 1. Lenders do not come back in `claim`.
        unsafe { self.rooms.with(|rooms| rooms.claim(task, slice)) }
    }

    /// The task that runs has taken a message out of its mailbox. False: its room is not known here.
    #[inline(always)]
    pub(crate) fn put_room(&self, task: TaskId) -> bool {
        let entered = self.custody.enter();
        // SAFETY: `Worker` rule 1.
        let put = unsafe { self.rooms.with(|rooms| rooms.put(task)) }.is_some() || self.put_any_room(task);
        if entered {
            self.custody.leave();
        }
        put
    }

    #[inline(never)]
    fn put_any_room(&self, task: TaskId) -> bool {
        self.rooms_open.set(true);
        // SAFETY: `Worker` rule 1.
        let put = unsafe { self.rooms.with(|rooms| rooms.put_any(task)) };
        let is_known = put.is_some();
        if let Some(Some(due)) = put {
            self.give_back(due, false);
        }
        is_known
    }

    /// From now on room in the mailbox of this task is held here; what was held in its place is given back. `owed`: the lender wants
    /// to be asked when the slice is over.
    pub(crate) fn keep_room(&self, task: TaskId, lender: Arc<dyn Lender>, owed: bool) {
        let at = place_of(task);
        // SAFETY: `Worker` rule 1.
        if let Some(due) = unsafe { self.rooms.with(|rooms| rooms.make_place(at, task)) } {
            self.give_back(due, true);
        }
        // SAFETY: `Worker` rule 1.
        let before = unsafe { self.rooms.with(|rooms| rooms.keep(at, task, lender, owed)) };
        self.rooms_open.set(true);
        self.drop_outside(before);
    }

    /// Gives back all that is held (rule 1): the slice is over.
    #[inline(always)]
    pub(crate) fn settle_rooms(&self) {
        if self.rooms_open.get() {
            self.settle_rooms_now();
        }
    }

    #[inline(never)]
    fn settle_rooms_now(&self) {
        // SAFETY: `Worker` rule 1.
        while let Some(due) = unsafe { self.rooms.with(Rooms::next_due) } {
            self.give_back(due, true);
        }
        self.rooms_open.set(false);
    }

    /// The same in the middle of a slice.
    #[inline(always)]
    pub(super) fn settle_rooms_early(&self) {
        // A rescuer calls no lenders.
        if self.rooms_open.get() && !self.rescued.get() {
            self.settle_rooms_early_now();
        }
    }

    #[inline(never)]
    fn settle_rooms_early_now(&self) {
        let mut number = 0;
        // SAFETY: `Worker` rule 1.
        while let Some(at) = unsafe { self.rooms.with(|rooms| rooms.open.get(number).copied()) } {
            number += 1;
            // SAFETY: `Worker` rule 1.
            if let Some(due) = unsafe { self.rooms.with(|rooms| rooms.held(usize::from(at))) } {
                self.give_back(due, false);
            }
        }
    }

    fn give_back(&self, due: Due, rest: bool) {
        let Due { at, task, lender, messages } = due;
        let owed = lender.give_back(messages, rest) && !rest;
        let put = |rooms: &mut Rooms| {
            // Another task may have the place by now.
            if rooms.places[at].task == task { rooms.keep(at, task, lender, owed) } else { Some(lender) }
        };
        // SAFETY: `Worker` rule 1.
        let spare = unsafe { self.rooms.with(put) };
        if spare.is_some() {
            self.drop_outside(spare);
        }
    }
}

impl Place {
    fn empty() -> Self {
        Place {
            task: TaskId::new(0, 0),
            lender: None,
            left: 0,
            share: 0,
            wish: 1,
            slice: 0,
            open: false,
            owed: false,
        }
    }
}
