//! Engset beside other runtimes: the same jobs, in turn, on one machine, in one session.
//!
//! 1. `contender`: who takes part, how their programs are built, and who is missing, and why.
//! 2. `job`: the workloads with the sizes of a comparison, and the one figure of each that is compared.
//! 3. `session`: the runs. In each round every contender runs once, and each round begins with another one, so that what
//!    changes slowly on the machine (clock rate, memory, neighbours) meets all of them. Each run is an OS process of its own.
//! 4. `report`, `chart`: medians and spread, as a table, as JSON, as a picture.
//!
//! Nobody is left out in silence: a runtime that is not installed, a workload that a runtime has no means for, a run that
//! failed or took too long are all listed below the table.

mod chart;
mod cli;
mod contender;
mod job;
mod report;
mod session;

pub use cli::{HELP, Request, UsageError};
use report::Report;
use std::io;

/// Runs the comparison, prints the table, and writes the files that were asked for.
///
/// # Errors
///
/// Engset's own program cannot be built, or a file cannot be written.
pub fn compare(request: &Request) -> io::Result<Report> {
    let report = session::run(request)?;
    if let Some(path) = &request.out {
        std::fs::write(path, chart::svg(&report))?;
    }
    if let Some(path) = &request.json {
        std::fs::write(path, report.json()? + "\n")?;
    }
    Ok(report)
}
