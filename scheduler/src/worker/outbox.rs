//! What a worker holds back for tasks of other workers.
//!
//! A run of envelopes for one task is gathered, and the runs for some tasks; each goes with one exchange (a long one
//! as a bundle, `bundle.rs`). If that finds that the owner does not know yet, the task's token goes to the owner's inbox. Tokens for
//! one worker are gathered too: all workers push into its inbox, so an exchange there is dear. The slot of a task
//! that is owned elsewhere is in another core's cache: when all goes, all slots are asked for before the first is written. (Not when
//! the first envelope is held back: its owner would take the line back meanwhile.)
//!
//! 1. The outbox is flushed at the end of a slice that was long (by reductions, and by the clock), after [`OLD`] others, when there is nothing to
//!    run, before tasks are given away or settled, and by a rescuer. So what a task has sent is under way
//!    before the task can move, and it waits for some short slices at most.
//! 2. Runs go in the order in which they were begun, so envelopes of one sender for one task keep theirs.

use super::Worker;
use crate::{
    bundle::{BUNDLE, Bundle},
    depot::prefetch_to_write,
    envelope::{Envelope, Kind},
    owner::WorkerId,
    remote_queue::{Link, Push},
    slot::Slot,
    token_bundle::{TOKENS, TokenBundle},
};
use std::{
    mem,
    ptr::{self, NonNull},
    sync::atomic::Ordering,
};

/// Fewer envelopes, or tokens, go as links. Guess: a bundle costs the receiver two more cache misses, and saves it one each.
const SHORT: usize = 4;
/// Runs that are held back at most. Guess: the lines of their slots are in the nearest cache still.
const RUNS: usize = 32;
/// Empty bundles that a worker keeps, of each kind: 66 KiB in all.
pub(super) const KEEP_BUNDLES: usize = 64;
/// Short slices after which all goes. Guess: a microsecond.
const OLD: u32 = 16;

/// What is held back (rule 1): runs of envelopes for one task each, and tokens for one worker.
pub(crate) struct Outbox {
    /// The task of the run that is being gathered.
    to: *const Slot,
    envelopes: Box<Bundle>,
    /// The runs before it.
    runs: Vec<(*const Slot, Run)>,
    worker: WorkerId,
    tokens: Box<TokenBundle>,
    /// Empty ones.
    #[expect(clippy::vec_box, reason = "they come and go as boxes")]
    pub(super) bundles: Vec<Box<Bundle>>,
    #[expect(clippy::vec_box, reason = "they come and go as boxes")]
    pub(super) token_bundles: Vec<Box<TokenBundle>>,
    /// Slices that have ended since the first one of all this was held back.
    slices: u32,
}

/// Links, newest first.
#[derive(Clone, Copy)]
struct Run {
    newest: *mut Link,
    oldest: *mut Link,
}

impl Run {
    const EMPTY: Run = Run { newest: ptr::null_mut(), oldest: ptr::null_mut() };

    /// The link must be the caller's.
    #[inline(always)]
    fn push(&mut self, link: NonNull<Link>) {
        if self.newest.is_null() {
            self.oldest = link.as_ptr();
        } else {
            // SAFETY: the link is ours until the run is pushed. Relaxed: published by that.
            unsafe { link.as_ref() }.next.store(self.newest, Ordering::Relaxed);
        }
        self.newest = link.as_ptr();
    }
}

impl Outbox {
    pub(super) fn new() -> Self {
        Outbox {
            to: ptr::null(),
            envelopes: Bundle::new(),
            runs: Vec::with_capacity(RUNS),
            worker: 0,
            tokens: TokenBundle::new(),
            bundles: Vec::new(),
            token_bundles: Vec::new(),
            slices: 0,
        }
    }

    #[inline(always)]
    fn is_empty(&self) -> bool {
        // A run is closed when another one is begun; tokens are left by a flush only for its own end.
        self.envelopes.len() == 0
    }

    /// The run that is being gathered is complete.
    fn close_run(&mut self) {
        let mut run = Run::EMPTY;
        if self.envelopes.len() < SHORT {
            self.envelopes.drain().for_each(|envelope| run.push(envelope.into_link()));
        } else {
            let empty = self.bundles.pop().unwrap_or_else(Bundle::new);
            run.push(Envelope::event(mem::replace(&mut self.envelopes, empty)).into_link());
        }
        self.runs.push((self.to, run));
        self.to = ptr::null();
    }
}

impl Worker {
    /// Into the outbox.
    pub(super) fn hold_back(&self, slot: &Slot, serial: u64, envelope: Envelope) {
        self.metrics.remote.add(1);
        let urgent = envelope.kind() != Kind::Message || self.shared.idle.contains(slot.owner.id());
        // SAFETY: `Worker` rule 1.
        let full = unsafe {
            self.outbox.with(|outbox| {
                if outbox.is_empty() {
                    outbox.slices = 0;
                }
                if !ptr::eq(outbox.to, slot) {
                    if !outbox.is_empty() {
                        outbox.close_run();
                    }
                    outbox.to = slot;
                }
                outbox.envelopes.push(envelope, serial);
                outbox.envelopes.len() >= BUNDLE || outbox.runs.len() >= RUNS
            })
        };
        if full || urgent {
            // `rooms.rs`, rule 1.
            self.settle_rooms_early();
            self.flush();
        }
    }

    /// Pushes what is held back (rule 1).
    #[inline(always)]
    pub(crate) fn flush(&self) {
        // SAFETY: `Worker` rule 1.
        if unsafe { self.outbox.with(|outbox| !outbox.is_empty()) } {
            self.flush_now();
        }
    }

    /// A short slice has ended (rule 1).
    #[inline(always)]
    pub(super) fn flush_if_old(&self) {
        // SAFETY: `Worker` rule 1.
        let old = unsafe {
            self.outbox.with(|outbox| {
                outbox.slices += 1;
                outbox.slices >= OLD && !outbox.is_empty()
            })
        };
        if old {
            self.flush_now();
        }
    }

    #[inline(never)]
    fn flush_now(&self) {
        // SAFETY: `Worker` rule 1.
        unsafe {
            self.outbox.with(|outbox| {
                outbox.close_run();
                let mut runs = mem::take(&mut outbox.runs);
                for (to, _) in &runs {
                    prefetch_to_write(*to);
                }
                for (to, run) in runs.drain(..) {
                    self.push_run(outbox, to, run);
                }
                outbox.runs = runs;
                self.push_tokens(outbox);
            });
        }
    }

    /// Pushes a run; its receiver's token, if it is ours then, is held back.
    fn push_run(&self, outbox: &mut Outbox, to: *const Slot, run: Run) {
        // SAFETY: slots live as long as `shared`.
        let slot = unsafe { &*to };
        // SAFETY: the run is ours, linked from newest to oldest; slots stay mapped.
        if unsafe { slot.remote.push(run.newest, run.oldest) } == Push::Quiet {
            return;
        }
        let owner = slot.owner.id();
        if outbox.worker != owner || outbox.tokens.len() == TOKENS {
            self.push_tokens(outbox);
            outbox.worker = owner;
        }
        outbox.tokens.push(slot);
    }

    fn push_tokens(&self, outbox: &mut Outbox) {
        let len = outbox.tokens.len();
        if len >= SHORT {
            let empty = outbox.token_bundles.pop().unwrap_or_else(TokenBundle::new);
            let (marked, link) = mem::replace(&mut outbox.tokens, empty).into_link();
            self.shared.pass_tokens(marked, link, outbox.worker);
        } else if len > 0 {
            let mut run = Run::EMPTY;
            for &slot in outbox.tokens.take() {
                // SAFETY: slots live as long as `shared`; a link in one is not null.
                run.push(unsafe { NonNull::new_unchecked((*slot).token()) });
            }
            self.shared.pass_tokens(run.newest, run.oldest, outbox.worker);
        }
    }
}
