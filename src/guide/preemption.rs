//! Reductions, long computations, and what cannot be interrupted.
//!
//! Workers are few, processes are many, so a process that computes for long has to be interrupted. Every operation of
//! the runtime costs *reductions*; a slice has 4000 of them. When they are used up, or when the slice has lasted for a
//! millisecond, the process is suspended at that operation, and the next one has its turn.
//!
//! | what | reductions |
//! |---|---|
//! | send | 1, and the square of the number of 64s of messages that wait at the receiver (rounded down to a power of 4); 4097 at most: a slice |
//! | send that finds a bounded mailbox full, and does not wait | 400 more |
//! | receive, timer, link, monitor, exit, name, question | 1 |
//! | spawn | 8 |
//! | a function entry or an iteration under [`#[preemptible]`](macro@crate::preemptible) | 1, or its `cost` |
//! | [`reduce(n)`](crate::reduce) | n |
//!
//! # Computations of your own
//!
//! Mark functions with loops as preemptible. It costs about a nanosecond for each iteration; `stride` makes it less.
//!
//! ```
//! use engset::{preemptible, prelude::*};
//!
//! #[preemptible]
//! fn primes_below(limit: u64) -> usize {
//!     let mut found = 0;
//!     for number in 2..limit {
//!         let mut divisor = 2;
//!         while divisor * divisor <= number && number % divisor != 0 {
//!             divisor += 1;
//!         }
//!         found += usize::from(divisor * divisor > number);
//!     }
//!     found
//! }
//!
//! assert_eq!(engset::run(|| primes_below(1000))?, 168);
//! assert_eq!(primes_below(1000), 168); // outside of processes too
//! # Ok::<(), engset::RunError>(())
//! ```
//!
//! [`reduce`](crate::reduce) does the same by hand, and [`yield_now`](crate::yield_now) gives up the rest of the slice.
//!
//! # What cannot be interrupted
//!
//! Native code without reduction points: a sort of a large vector, a regular expression, foreign code. There is no
//! sound way to stop it in the middle. Therefore:
//!
//! * It holds its own worker only. After 10 ms ([`stuck_after`](crate::Config::stuck_after)) a watchdog takes over what
//!   can move (processes that have not started, servers between two messages, timers) and gives it to a spare thread.
//! * Processes with a stack on that worker wait until it comes back. They cannot move
//!   ([why](crate::guide::processes#why-spawn-is-safe)).
//! * After three times that long a line on standard error, or a `tracing` event, names the process.
//! * [`blocking`](crate::blocking()) is the place for such code, if it is known to be long.
//! * A kill acts when it comes back to a reduction point; never, if it never does.
//!
//! # Where a process may be suspended
//!
//! At every operation of the runtime and every reduction point, so also between two sends. That matters for locks and
//! for borrows of thread-locals only: hold none across such a place. Within Rust's own rules nothing else can be
//! observed by others, for processes share nothing that is not shared openly.
