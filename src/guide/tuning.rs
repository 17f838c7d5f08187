//! Settings, stack sizes, priorities, and what to look at.
//!
//! The defaults are meant to be left alone. [`config`](crate::config) lists all settings; they are set in code, by a
//! TOML text or file, or by the environment (`ENGSET_WORKERS=2`). [`run`](crate::run) reads the environment,
//! [`run_with`](crate::run_with) takes what it is given.
//!
//! ```
//! use engset::Config;
//!
//! let config = Config::new().toml("workers = 1")?.env()?;
//! let workers = engset::run_with(config, || engset::Node::current().map(|node| node.config().get_workers()))?;
//! # if std::env::var_os("ENGSET_WORKERS").is_none() {
//! assert_eq!(workers, Some(1));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Stacks
//!
//! A stack has 256 KiB of address space, of which the kernel gives memory page by page as it is used; a page that was
//! used stays with that stack. An overflow ends the whole program with a line that names the process and its stack's
//! size, for there is no sound way back from it. Deep recursion asks for more, a million waiting processes for less:
//!
//! ```
//! use engset::{Builder, prelude::*};
//!
//! engset::run(|| {
//!     let deep = Builder::new().stack_size(8 << 20).spawn(|| ()).unwrap();
//!     # let _ = deep;
//! })?;
//! # Ok::<(), engset::RunError>(())
//! ```
//!
//! Linux 6.13 and later has guard pages that cost no memory mapping. On older kernels about 24,500 stacks are possible at
//! the default `vm.max_map_count`; raise that setting, or use [servers](crate::Server), which own no stack while they wait.
//!
//! # Servers or plain processes
//!
//! Plain processes read better where a conversation has several steps. A server is smaller, and can move: work given by
//! other workers, and everything else when a worker is stuck.
//!
//! # Priorities
//!
//! While a `Max` process can run on a worker, none below it is chosen there; the same for `High`. `Normal` and `Low`
//! take turns, eight to one. Give `High` to what is short and must not be late, never to what computes. A process of
//! high priority that waits for one of low priority waits as long as that one does.
//!
//! # What to look at
//!
//! | question | where |
//! |---|---|
//! | what is that process doing? | [`process_info`](crate::process_info) |
//! | whose mailbox grows? | [`Node::processes`](crate::Node::processes), [`Node::mailbox_len`](crate::Node::mailbox_len) |
//! | how busy are the workers, how much moves? | [`Node::metrics`](crate::Node::metrics) |
//! | what crashed, what held its worker? | `tracing` events of the target `engset`, else standard error |
//! | what came too late? | [`Node::dead_letters`](crate::Node::dead_letters), [`Node::expired_requests`](crate::Node::expired_requests) |
//!
//! ```
//! let spawned: u64 = engset::run(|| {
//!     engset::spawn(|| ());
//!     let node = engset::Node::current().unwrap();
//!     node.metrics().iter().map(|worker| worker.spawned).sum()
//! })?;
//! assert!(spawned >= 2);
//! # Ok::<(), engset::RunError>(())
//! ```
