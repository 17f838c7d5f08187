//! Applies the attribute to real code and counts the units it charges.
// Loops that end in their first iteration are among what is tested.
#![allow(clippy::never_loop)]

use engset_macros::preemptible;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

mod rt {
    use std::cell::Cell;

    thread_local! {
        pub(crate) static CHARGED: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
    }

    pub(crate) fn reduce(units: u32) {
        CHARGED.set((CHARGED.get().0 + units, CHARGED.get().1 + 1));
    }
}

/// The result of `run`, and the units it was charged.
fn units<T>(run: impl FnOnce() -> T) -> (T, u32) {
    let (value, units, _) = charges(run);
    (value, units)
}

/// The result of `run`, the units it was charged, and in how many calls.
fn charges<T>(run: impl FnOnce() -> T) -> (T, u32, u32) {
    rt::CHARGED.set((0, 0));
    let value = run();
    let (units, calls) = rt::CHARGED.get();
    (value, units, calls)
}

#[preemptible(crate = crate::rt)]
fn for_loop(n: u32) -> u32 {
    let mut sum = 0;
    for i in 0..n {
        sum += i;
    }
    sum
}

#[preemptible(crate = crate::rt)]
fn while_loop(mut n: u32) -> u32 {
    while n > 3 {
        n -= 1;
    }
    n
}

#[preemptible(crate = crate::rt)]
fn while_let(mut stack: Vec<u32>) -> u32 {
    let mut sum = 0;
    while let Some(top) = stack.pop() {
        sum += top;
    }
    sum
}

#[preemptible(crate = crate::rt)]
fn break_value(limit: u32) -> u32 {
    let mut n = 0;
    let squared = loop {
        n += 1;
        if n == limit {
            break n * n;
        }
    };
    squared + 1
}

#[test]
fn plain_loops() {
    assert_eq!(units(|| for_loop(10)), (45, 11));
    assert_eq!(units(|| for_loop(0)), (0, 1));
    assert_eq!(units(|| while_loop(10)), (3, 8));
    assert_eq!(units(|| while_let(vec![1, 2, 3])), (6, 4));
    assert_eq!(units(|| break_value(5)), (26, 6));
}

#[preemptible(crate = crate::rt)]
fn labelled(rows: u32) -> (u32, u32) {
    'rows: for row in 0..rows {
        for column in 0..10 {
            if column > row {
                continue 'rows;
            }
            if row == 3 {
                break 'rows;
            }
        }
    }
    'found: loop {
        loop {
            break 'found (rows, 1);
        }
    }
}

#[preemptible(crate = crate::rt)]
fn skipping(n: u32) -> u32 {
    let mut odd = 0;
    for i in 0..n {
        if i % 2 == 0 {
            continue;
        }
        odd += 1;
    }
    odd
}

#[preemptible(crate = crate::rt)]
fn nested(n: u32, m: u32) -> u32 {
    let mut sum = 0;
    for _ in 0..n {
        for _ in 0..m {
            sum += 1;
        }
    }
    sum
}

#[preemptible(crate = crate::rt)]
fn early(n: u32) -> Option<u32> {
    for i in 0..n {
        if i == 2 {
            return Some(i);
        }
    }
    None?;
    Some(0)
}

#[test]
fn leaving_and_continuing() {
    // Rows 0, 1 and 2 look at 2, 3 and 4 columns, row 3 at one; then two loops of one iteration each.
    assert_eq!(units(|| labelled(8)), ((8, 1), 1 + 4 + (2 + 3 + 4 + 1) + 2));
    assert_eq!(units(|| skipping(10)), (5, 11));
    assert_eq!(units(|| nested(3, 4)), (12, 1 + 3 + 12));
    assert_eq!(units(|| early(10)), (Some(2), 1 + 3));
    assert_eq!(units(|| early(1)), (None, 1 + 1));
}

#[preemptible(crate = crate::rt)]
fn recursive(n: u32) -> u32 {
    if n < 2 { n } else { recursive(n - 1) + recursive(n - 2) }
}

#[preemptible(crate = crate::rt)]
fn largest<T, I>(values: I) -> Option<T>
where
    T: PartialOrd + Copy,
    I: IntoIterator<Item = T>,
{
    let mut best = None;
    for value in values {
        if best.is_none_or(|best| value > best) {
            best = Some(value);
        }
    }
    best
}

#[preemptible(crate = crate::rt)]
fn closures(n: u32) -> u32 {
    fn inner(n: u32) -> u32 {
        n + 1
    }
    let sum = |upto: u32| {
        let mut sum = 0;
        for i in 0..upto {
            sum += i;
        }
        sum
    };
    let free = |x: u32| x;
    sum(n) + sum(n) + free(1) + inner(0)
}

#[test]
fn calls() {
    assert_eq!(units(|| recursive(5)), (5, 15));
    assert_eq!(units(|| largest([3.0, 9.0, 4.0])), (Some(9.0), 4));
    assert_eq!(units(|| closures(4)), (14, 1 + 4 + 4 + 1));
}

struct Counter(u32);

trait Step {
    fn step(&mut self);

    #[preemptible(crate = crate::rt)]
    fn twice(&mut self) {
        for _ in 0..2 {
            self.step();
        }
    }
}

#[preemptible(crate = crate::rt)]
impl Counter {
    const START: u32 = {
        let mut n = 0;
        while n < 5 {
            n += 1;
        }
        n
    };

    const fn new() -> Self {
        Self(Self::START)
    }

    fn add(&mut self, n: u32) -> &mut Self {
        for _ in 0..n {
            self.0 += 1;
        }
        self
    }

    #[allow(clippy::boxed_local)] // a receiver with a type is what is tested
    fn into_inner(self: Box<Self>) -> u32 {
        self.0
    }

    #[preemptible(cost = 8, crate = crate::rt)]
    fn dear(&mut self) {
        for _ in 0..2 {
            self.0 += 1;
        }
    }
}

#[preemptible(crate = crate::rt)]
impl Step for Counter {
    fn step(&mut self) {
        self.0 += 1;
    }
}

impl Counter {
    #[preemptible(crate = crate::rt)]
    unsafe fn method(&self) -> u32 {
        let mut seen = 0;
        while seen < self.0 {
            seen += 1;
        }
        seen
    }
}

#[test]
fn methods() {
    let mut counter = Counter::new();
    assert_eq!(units(|| counter.add(3).0), (8, 4));
    assert_eq!(units(|| counter.twice()), ((), 1 + 2 + 2));
    assert_eq!(units(|| counter.dear()), ((), 8 + 16));
    assert_eq!(units(|| Box::new(counter).into_inner()), (12, 1));
    assert_eq!(units(Counter::new).1, 0);
}

#[test]
fn unsafe_methods_stay_unsafe() {
    let method: unsafe fn(&Counter) -> u32 = Counter::method;
    assert_eq!(size_of_val(&method), size_of::<usize>());
}

#[preemptible(crate = crate::rt)]
mod whole {
    pub(crate) mod deeper {
        pub(crate) fn f(n: u32) -> u32 {
            super::g(n)
        }
    }

    fn g(n: u32) -> u32 {
        const TABLE: [u32; {
            let mut n = 0;
            while n < 3 {
                n += 1;
            }
            n
        }] = [7; 3];
        let mut sum = 0;
        for i in &TABLE {
            sum += i * n;
        }
        sum
    }
}

#[test]
fn modules() {
    assert_eq!(units(|| whole::deeper::f(2)), (42, 1 + 1 + 3));
}

#[preemptible(cost = 8, crate = crate::rt)]
fn costly(n: u32) -> u32 {
    let mut sum = 0;
    for i in 0..n {
        sum += i;
    }
    sum
}

#[preemptible(stride = 256, crate = crate::rt)]
fn strided(n: u32) -> u32 {
    let mut sum = 0;
    for i in 0..n {
        sum += i & 1;
    }
    sum
}

#[preemptible(stride = 10, cost = 3, crate = crate::rt)]
fn strided_nest(n: u32, m: u32) -> u32 {
    // A user's variable of the same name is another one.
    let mut __engset_n = 0;
    for _ in 0..n {
        for _ in 0..m {
            __engset_n += 1;
        }
    }
    __engset_n
}

#[preemptible(stride = 4, crate = crate::rt)]
fn strided_values(limit: u32) -> u32 {
    let mut n = 0;
    let found = 'search: loop {
        while n < limit {
            n += 1;
            if n % 2 == 0 {
                continue 'search;
            }
            if n > 8 {
                break 'search n;
            }
        }
        break 0;
    };
    let first = loop {
        break 1;
    };
    #[allow(clippy::never_loop)] // an attribute on a loop
    while let Some(n) = Some(found) {
        return n + first;
    }
    match n {
        0 => loop {
            break 5;
        },
        _ => 6,
    }
}

#[preemptible(stride = 4, crate = crate::rt)]
fn strided_forever(cell: &Cell<u32>) -> ! {
    loop {
        cell.set(cell.get() + 1);
        assert!(cell.get() < 10, "enough");
    }
}

#[preemptible(stride = 2, crate = crate::rt)]
fn strided_closures(n: u32) -> u32 {
    let mut total = 0;
    for _ in 0..n {
        let sum = |upto: u32| {
            let mut sum = 0;
            for i in 0..upto {
                sum += i;
            }
            sum
        };
        total += sum(3);
    }
    total
}

#[test]
fn cost() {
    assert_eq!(charges(|| costly(4)), (6, 8 + 4 * 8, 5));
}

#[test]
fn stride() {
    assert_eq!(charges(|| strided(255)), (127, 1, 1));
    assert_eq!(charges(|| strided(256)), (128, 1 + 256, 2));
    assert_eq!(charges(|| strided(1000)), (500, 1 + 3 * 256, 4));
    // 5 + 20 iterations in one nest: short inner loops do not escape.
    assert_eq!(charges(|| strided_nest(5, 4)), (20, 3 + 2 * 30, 3));
    // The closure counts its three iterations afresh each time, its surroundings count four.
    assert_eq!(charges(|| strided_closures(4)), (12, 1 + 4 * 2 + 2 * 2, 1 + 4 + 2));
}

#[test]
fn stride_keeps_labels_and_values() {
    // 5 rounds of `search` (n = 0, 2, 4, 6, 8) and 9 of the loop in it.
    assert_eq!(charges(|| strided_values(100)), (10, 1 + 3 * 4, 1 + 3));
    let cell = Cell::new(0);
    let (ended, charged) = units(|| catch_unwind(AssertUnwindSafe(|| strided_forever(&cell))).is_err());
    assert!(ended);
    assert_eq!(charged, 1 + 2 * 4);
}

#[preemptible(crate = crate::rt)]
async fn asynchronous(n: u32) -> u32 {
    let mut sum = 0;
    for i in 0..n {
        sum += std::future::ready(i).await;
    }
    sum + async {
        let mut n = 0;
        while n < 3 {
            n += 1;
        }
        n
    }
    .await
}

#[preemptible(stride = 2, crate = crate::rt)]
async fn strided_asynchronous(n: u32) -> u32 {
    let mut sum = 0;
    for i in 0..n {
        sum += std::future::ready(i).await;
    }
    sum
}

fn ready<T>(future: impl Future<Output = T> + Send) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("pending"),
    }
}

#[test]
fn async_functions() {
    assert_eq!(units(|| drop(asynchronous(4))), ((), 0));
    assert_eq!(units(|| ready(asynchronous(4))), (9, 1 + 4 + 3));
    assert_eq!(units(|| ready(strided_asynchronous(5))), (10, 1 + 4));
}

/// A macro is opaque: the loop in its argument is not charged.
#[preemptible(crate = crate::rt)]
fn in_macro() -> Vec<u32> {
    vec![
        loop {
            break 4;
        };
        2
    ]
}

#[test]
fn macros_are_not_seen() {
    assert_eq!(units(in_macro), (vec![4, 4], 1));
}
