//! Room in a bounded mailbox: who takes it, who gives it back, and who is called when there is some again.
//!
//! `used` counts the messages that are in the mailbox or on their way to it, and the room that workers hold in advance
//! (`worker/rooms.rs`). So there are never more messages than `most`.
//!
//! 1. Room is claimed before a message goes on its way: several messages' at once if there is much, one message's if there is
//!    little ([`Room::claim`]). Nothing is claimed that is not there, not even for a moment.
//! 2. Who finds none stands in line, tries once more, and sleeps. Who gives room back looks whether somebody is `wanted` after
//!    that. One of the two sees the other (Dekker: a store, then a load of what the other one stores, all
//!    sequentially consistent).
//! 3. Only some of the line are called at a time: the others would find nothing. Who has been called tries. With
//!    room it leaves the line, and calls the next one if there is still room ([`Room::leave`]). Without, it stands in its old place again.
//!    It leaves the line also if it dies or gives up, so no call is lost. `wanted` is false while as many are
//!    called as may be: one of them sees the room.
//! 4. In the middle of a slice nobody is called before half of the room is free: each call shall move many messages. When no
//!    more will come for now, one free place is enough: a sender sleeps only while the mailbox is full, or its
//!    receiver is in the middle of a slice.
//! 5. When the receiver ends the room is closed: all are called, and nobody stands in line any more.
//!
//! Model: `loom-tests/src/room.rs`.

use crate::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    lock,
};
use std::collections::BTreeMap;

/// See the head of this file. `T`: who waits.
#[derive(Debug)]
pub struct Room<T> {
    used: AtomicUsize,
    most: usize,
    /// Somebody is in line, and may be called (rule 3).
    wanted: AtomicBool,
    closed: AtomicBool,
    /// How many are called at a time.
    calls: usize,
    line: Mutex<Line<T>>,
}

#[derive(Debug)]
struct Line<T> {
    /// By ticket.
    waiting: BTreeMap<u64, T>,
    called: usize,
    tickets: u64,
}

/// What is to be done after room was given back.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Back<T> {
    /// Nothing.
    Done,
    /// Somebody waits and was not called: come back soon, with less to ask for (rule 4).
    Owed,
    /// These are to be woken.
    Call(Vec<T>),
}

/// The order of rule 2 between a store and a later load. All of them are sequentially consistent, which is enough; loom takes them as
/// acquire and release only.
#[inline(always)]
fn in_order() {
    if cfg!(loom) {
        fence(Ordering::SeqCst);
    }
}

impl<T> Room<T> {
    /// For `most` messages. `calls`: how many of the line are called at a time.
    pub fn new(most: usize, calls: usize) -> Self {
        Room {
            used: AtomicUsize::new(0),
            most,
            wanted: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            calls,
            line: Mutex::new(Line { waiting: BTreeMap::new(), called: 0, tickets: 0 }),
        }
    }

    /// Messages that room is taken for.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    /// Is there room for none?
    pub fn is_full(&self) -> bool {
        self.used() >= self.most
    }

    /// Takes room for up to `wish` messages; for how many, at most an eighth of what is free, but at least 1 if there is any.
    pub fn claim(&self, wish: u32) -> u32 {
        let mut used = self.used();
        loop {
            let free = self.most.saturating_sub(used);
            if free == 0 {
                return 0;
            }
            let some = (wish as usize).min((free / 8).max(1));
            match self.used.compare_exchange_weak(used, used + some, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return some as u32,
                Err(now) => used = now,
            }
        }
    }

    /// Takes room for a message beyond the limit, but not beyond twice the limit.
    pub fn force(&self) -> bool {
        let most = self.most.saturating_mul(2);
        let more = |used: usize| (used < most).then_some(used + 1);
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// Gives room back. `enough`: is it worth a call, with so much used (rule 4)?
    pub fn give_back(&self, messages: u32, enough: impl FnOnce(usize) -> bool) -> Back<T> {
        let used = match messages as usize {
            0 => self.used(),
            messages => self.used.fetch_sub(messages, Ordering::SeqCst) - messages,
        };
        in_order();
        if !self.wanted.load(Ordering::SeqCst) {
            return Back::Done;
        }
        if !enough(used) {
            return Back::Owed;
        }
        Back::Call(self.call(&mut lock(&self.line)))
    }

    /// Stands in line: at its end, or in the old place if it has a ticket. False: the room is closed.
    pub fn stand(&self, ticket: &mut Option<u64>, who: impl FnOnce() -> T) -> bool {
        let mut line = lock(&self.line);
        if self.is_closed() {
            return false;
        }
        match *ticket {
            // Woken by something else.
            Some(ticket) if line.waiting.contains_key(&ticket) => {}
            Some(ticket) => {
                line.called -= 1;
                line.waiting.insert(ticket, who());
            }
            None => {
                line.tickets += 1;
                *ticket = Some(line.tickets);
                let last = line.tickets;
                line.waiting.insert(last, who());
            }
        }
        self.tell_wanted(&line);
        in_order();
        true
    }

    /// Leaves the line for good. These are to be woken.
    pub fn leave(&self, ticket: u64) -> Vec<T> {
        let mut line = lock(&self.line);
        if line.waiting.remove(&ticket).is_none() {
            line.called -= 1;
        }
        self.call(&mut line)
    }

    /// Nobody will give room back any more. These are to be woken.
    pub fn close(&self) -> Vec<T> {
        let mut line = lock(&self.line);
        // Relaxed, here and in `is_closed`: who stands in line has the lock; for others it is a hint.
        self.closed.store(true, Ordering::Relaxed);
        line.called += line.waiting.len();
        let all = std::mem::take(&mut line.waiting);
        self.tell_wanted(&line);
        all.into_values().collect()
    }

    /// Is it closed?
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Calls as many as may be called, if there is room.
    fn call(&self, line: &mut Line<T>) -> Vec<T> {
        let mut called = Vec::new();
        // Before the looks at what is free: who gives back after them sees it.
        self.tell_wanted(line);
        in_order();
        while line.called < self.calls
            && !line.waiting.is_empty()
            && !self.is_full()
            && let Some((_, who)) = line.waiting.pop_first()
        {
            line.called += 1;
            called.push(who);
        }
        self.tell_wanted(line);
        called
    }

    fn tell_wanted(&self, line: &Line<T>) {
        let wanted = !line.waiting.is_empty() && line.called < self.calls;
        // Relaxed: it is written with the lock only.
        if self.wanted.load(Ordering::Relaxed) != wanted {
            self.wanted.store(wanted, Ordering::SeqCst);
        }
    }
}
