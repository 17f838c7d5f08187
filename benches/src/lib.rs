//! The workloads that engset is measured with: the same jobs, under the same names and with the same output,
//! as the programs that measure other runtimes. `README.md` tells how to run them and what the figures are.
//!
//! Everything here is a user's code: it uses the public crate, with messages of ordinary types.

#![forbid(unsafe_code)]

pub mod measure;
pub mod options;
pub mod workloads;
