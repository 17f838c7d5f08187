//! The workloads that engset is measured with: the same jobs, under the same names and with the same output,
//! as the programs that measure other runtimes. `README.md` tells how to run them and what the figures are.
//!
//! Everything in `workloads` is a user's code: it uses the public crate, with messages of ordinary types. `peers` has
//! other runtimes on the same jobs, `compare` runs them all in turn.

#![forbid(unsafe_code)]

pub mod compare;
pub mod measure;
pub mod options;
pub mod overload;
pub mod peers;
pub mod soak;
pub mod workloads;
