//! What happens when a process crashes, and who learns of it.
//!
//! A process that cannot go on crashes, by a panic, an `unwrap`, an index out of range. Only it ends; nothing that
//! others use is left half changed, for they share nothing with it. Somebody else sees it, and knows better what to
//! do now: start it again, give up a request, tell a person. There are two ways to see it.
//!
//! # Monitors: to be told
//!
//! A monitor sends one [`Down`](crate::Down) with the reason, and changes nothing else. If the process was dead
//! already, `Down` comes at once, with [`NoProc`](crate::DownReason::NoProc): never silence.
//!
//! ```
//! use engset::prelude::*;
//!
//! let reason = engset::run(|| {
//!     let parent = spawn(|mut mailbox: Mailbox<Reply<String>>| {
//!         let reply = mailbox.message();
//!         let (_, child) = spawn_monitor(|| {
//!             let empty: Vec<u32> = Vec::new();
//!             drop(empty[3]); // index out of bounds
//!         });
//!         match mailbox.receive() {
//!             Received::Event(Event::Down(down)) if down.reference == child => reply.send(down.reason.to_string()),
//!             other => panic!("{other:?}"),
//!         }
//!     });
//!     parent.call(|reply| reply).unwrap()
//! })?;
//! assert!(reason.contains("out of bounds"), "{reason}");
//! # Ok::<(), engset::RunError>(())
//! ```
//!
//! # Links: to end together
//!
//! A link is for processes that make no sense without each other. When one ends with a reason other than
//! [`Normal`](crate::ExitReason::Normal), the other ends with the same reason, and so on through their links.
//!
//! ```
//! use engset::prelude::*;
//!
//! let result = engset::run(|| {
//!     spawn_link(|| panic!("the child fails"));
//!     sleep(std::time::Duration::MAX); // and so this process ends
//! });
//! assert!(result.unwrap_err().to_string().contains("the child fails"));
//! ```
//!
//! A process that [traps exits](crate::trap_exits) gets an [`Exit`](crate::Exit) event instead. Supervisors do that.
//!
//! # The rule
//!
//! | exit signal | receiver does not trap | receiver traps |
//! |---|---|---|
//! | from a link, `Normal` | nothing | event |
//! | from a link, any other reason, also `Kill` | ends with that reason | event |
//! | [`exit(pid, Normal)`](crate::exit) | nothing; from itself: ends | event |
//! | `exit(pid, Kill)`, [`kill(pid)`](crate::kill) | ends with `Killed` | ends with `Killed` |
//! | `exit(pid, other)` | ends with that reason | event |
//!
//! # Races that there are not
//!
//! * [`spawn_link`](crate::spawn_link) and [`spawn_monitor`](crate::spawn_monitor) do both in one step: however soon
//!   the new process ends, its reason is told, not `NoProc`.
//! * After [`unlink`](crate::unlink) has returned, nothing of that link acts on this process any more. (An event that
//!   was in its mailbox already stays there.)
//! * After [`demonitor(reference, true)`](crate::demonitor) no `Down` of it is in the mailbox, nor will be.
//! * Who gets `Down` or `Exit` can take the name that the dead process had.
//!
//! # What a crash looks like from outside
//!
//! One line on standard error (or one `tracing` event with the target `engset`, if a subscriber is installed) with
//! pid, name, place and message; ten in a second at most, the others are counted
//! ([`crash_reports_per_second`](crate::Config::crash_reports_per_second)). `RUST_BACKTRACE=1` adds backtraces.
