//! Seeds, virtual time, deadlocks that are found.
//!
//! With a seed a node runs in *systematic mode*: one thread; the seed decides which of the processes that can run is next,
//! and after how many reductions it is interrupted; time is virtual and jumps to the next timer when nobody can run. The
//! code is the same. Equal seeds give equal runs, so a failure can be repeated, and other seeds are other interleavings.
//!
//! ```
//! use engset::{Config, prelude::*};
//!
//! // Two processes add to a number that a third one keeps; each reads it and writes it back: a lost update.
//! enum Cell {
//!     Get(Reply<u32>),
//!     Set(u32),
//! }
//!
//! fn two_increments() -> u32 {
//!     let cell = serve_with(0, |value, received| {
//!         match received {
//!             Received::Message(Cell::Get(reply)) => reply.send(*value),
//!             Received::Message(Cell::Set(new)) => *value = new,
//!             Received::Event(_) => {}
//!         }
//!         Flow::Continue
//!     });
//!     let increment = move || {
//!         let value = cell.call(Cell::Get).unwrap();
//!         yield_now();
//!         cell.send(Cell::Set(value + 1));
//!     };
//!     let both = [spawn(increment), spawn(increment)];
//!     while both.iter().any(|process| engset::is_alive(*process)) {
//!         yield_now();
//!     }
//!     cell.call(Cell::Get).unwrap()
//! }
//!
//! let run = |seed| engset::run_with(Config::new().seed(seed), two_increments).unwrap();
//! let results: Vec<u32> = (0..100).map(run).collect();
//! assert!(results.contains(&1), "some seed finds the lost update");
//! assert!(results.contains(&2), "and some do not");
//! // The seed repeats it:
//! let seed = results.iter().position(|result| *result == 1).unwrap() as u64;
//! assert_eq!(run(seed), 1);
//! ```
//!
//! # The test kit
//!
//! [`testkit`](crate::testkit) does that for tests: it runs them under many seeds, fails if a process crashes or nothing can
//! happen any more, and prints one command that repeats the failure with a trace of who did what. A
//! [`Probe`](crate::testkit::Probe) is a process that the test plays.
//!
//! ```
//! use engset::{prelude::*, testkit::{self, Probe}};
//! use std::time::Duration;
//!
//! /// The code under test: asks again every ten minutes until there is an answer.
//! fn insistent(to: Address<Reply<&'static str>>, tell: Address<&'static str>) {
//!     loop {
//!         if let Ok(answer) = to.call_timeout(|reply| reply, Duration::from_secs(600)) {
//!             return tell.send(answer);
//!         }
//!     }
//! }
//!
//! testkit::systematic(50, || {
//!     let mut asked = Probe::named("asked");
//!     let mut told = Probe::named("told");
//!     let (to, tell) = (asked.address(), told.address());
//!     let process = spawn(move || insistent(to, tell));
//!     let _too_late = asked.receive();
//!     asked.timeout(Duration::from_secs(3600)); // of virtual time
//!     asked.answer(Some, "yes");
//!     told.expect("yes");
//!     told.expect_terminated(process);
//! });
//! ```
//!
//! For tiny programs [`interleavings`](crate::testkit::interleavings()) tries all interleavings that matter, and
//! [`exhaustive`](crate::testkit::exhaustive) all schedules up to a bound. Clusters with everything that happens to them: [`sim`](crate::sim). Crashes, dead letters and log
//! events that belong to a test are expected; faults are planted at places with a name.
//!
//! # Virtual time
//!
//! An hour takes no time, if nothing happens in it. [`now`](crate::now) is the clock; `Instant::now` is not.
//!
//! ```
//! use engset::{Config, prelude::*};
//! use std::time::Duration;
//!
//! let hour = Duration::from_secs(3600);
//! let passed = engset::run_with(Config::new().seed(7), move || {
//!     let start = engset::now();
//!     sleep(hour);
//!     engset::now() - start
//! })?;
//! assert!(passed >= hour);
//! # Ok::<(), engset::RunError>(())
//! ```
//!
//! # Deadlocks
//!
//! If the first process waits and nothing can ever happen any more, the run ends with an error that lists who waits.
//!
//! ```
//! use engset::{Config, RunError, prelude::*};
//!
//! let stuck = engset::run_with(Config::new().seed(7), || {
//!     let silent = spawn(|mut mailbox: Mailbox<Reply<()>>| {
//!         let _kept = mailbox.message();
//!         mailbox.message().send(()); // the second request never comes
//!     });
//!     silent.call_timeout(|reply| reply, std::time::Duration::MAX)
//! });
//! assert!(matches!(stuck, Err(RunError::Deadlock(_))));
//! ```
//!
//! # What breaks it
//!
//! What the program gets behind the runtime's back is not repeated: `Instant::now`, `SystemTime::now`, random numbers of
//! other sources, the order in which a `HashMap` of the standard library iterates, addresses of memory, threads, files.
//! [`Random`](crate::Random) gives repeatable numbers; [`blocking`](crate::blocking()) runs at once, on the one thread.
//!
//! `ENGSET_SEED=7` in the environment turns the mode on for a program that uses [`run`](crate::run).
