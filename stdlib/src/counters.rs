//! Numbers that everybody adds to.
//!
//! Each number is kept in stripes, one of which a thread uses: so workers that count the same thing do not fight for a
//! cache line. A read sums the stripes up: it sees all that was added before it began, and of what is added meanwhile,
//! some. When not to use it: for a number that decides something (a limit, an id), take one atomic integer.

use crossbeam_utils::CachePadded;
use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

/// Stripes. Workers of a usual machine; more share them.
const STRIPES: usize = 16;

/// An array of numbers, all 0 at first. Cheap to clone; belongs to nobody. See the [module](self).
///
/// ```
/// use engset_stdlib::Counters;
///
/// const REQUESTS: usize = 0;
/// const ERRORS: usize = 1;
/// let counters = Counters::new(2);
/// counters.add(REQUESTS, 1);
/// assert_eq!((counters.get(REQUESTS), counters.get(ERRORS)), (1, 0));
/// assert_eq!(counters.exchange(REQUESTS, 0), 1);
/// assert_eq!(counters.get(REQUESTS), 0);
/// ```
#[derive(Clone, Debug)]
pub struct Counters {
    size: usize,
    /// By stripe, then by number.
    stripes: Arc<[CachePadded<Box<[AtomicI64]>>]>,
}

fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    match STRIPE.get() {
        usize::MAX => {
            let own = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
            STRIPE.set(own);
            own
        }
        own => own,
    }
}

impl Counters {
    /// So many numbers.
    #[must_use]
    pub fn new(size: usize) -> Self {
        // In cache lines of their own also at the ends of a stripe's memory.
        let numbers = || (0..size.next_multiple_of(16)).map(|_| AtomicI64::new(0)).collect();
        let mut stripes: Vec<CachePadded<Box<[AtomicI64]>>> = Vec::with_capacity(STRIPES);
        stripes.extend((0..STRIPES).map(|_| CachePadded::new(numbers())));
        Counters { size, stripes: stripes.into() }
    }

    /// How many numbers there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    #[inline]
    #[track_caller]
    fn check(&self, number: usize) {
        assert!(number < self.size, "there is no counter {number}: there are {}", self.size);
    }

    /// Adds to a number; it wraps around.
    ///
    /// # Panics
    ///
    /// There is no such number.
    #[inline]
    #[track_caller]
    pub fn add(&self, number: usize, by: i64) {
        self.check(number);
        self.stripes[stripe()][number].fetch_add(by, Ordering::Relaxed);
    }

    /// A number.
    ///
    /// # Panics
    ///
    /// There is no such number.
    #[must_use]
    #[track_caller]
    pub fn get(&self, number: usize) -> i64 {
        self.check(number);
        self.stripes.iter().fold(0, |sum, part| sum.wrapping_add(part[number].load(Ordering::Acquire)))
    }

    /// Sets a number, and returns what it was. What others add meanwhile counts to the old value or to the new one:
    /// to one of them, never to both.
    ///
    /// # Panics
    ///
    /// There is no such number.
    #[track_caller]
    pub fn exchange(&self, number: usize, value: i64) -> i64 {
        self.check(number);
        let old = self
            .stripes
            .iter()
            .fold(0_i64, |sum, part| sum.wrapping_add(part[number].swap(0, Ordering::AcqRel)));
        self.add(number, value);
        old
    }
}
