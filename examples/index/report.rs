//! The result, as a text.

use crate::index::Summary;
use engset::prelude::*;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
    time::Duration,
};

#[derive(Debug)]
pub struct Report {
    pub summary: Summary,
    pub failed: Vec<Failure>,
    /// Processes that the node has spawned.
    pub spawned: u64,
    pub time: Duration,
}

/// A reader that has crashed.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failure {
    path: PathBuf,
    why: String,
}

impl Failure {
    /// What the end of the reader of `path` says; `None`: it has ended well.
    pub fn of(path: PathBuf, reason: &DownReason) -> Option<Self> {
        let why = match reason {
            DownReason::Exited(ExitReason::Normal) => return None,
            DownReason::Exited(ExitReason::Panic(panic)) => panic.message.clone(),
            other => other.to_string(),
        };
        Some(Failure { path, why })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Report {
    /// The text; at most so many failures one by one.
    pub fn text(&self, failures: usize) -> String {
        let mut text = String::new();
        // Writing to a `String` cannot fail.
        let _ = self.write(&mut text, failures);
        text
    }

    fn write(&self, to: &mut impl Write, failures: usize) -> std::fmt::Result {
        let Summary { files, lines, words, bytes, top } = &self.summary;
        for (word, count) in top {
            writeln!(to, "{count:>10}  {word}")?;
        }
        if !top.is_empty() {
            writeln!(to)?;
        }
        writeln!(to, "{files} files, {lines} lines, {words} words, {bytes} bytes")?;
        writeln!(to, "{:.3} s, {} processes", self.time.as_secs_f64(), self.spawned)?;
        if !self.failed.is_empty() {
            writeln!(to, "\n{} could not be read:", self.failed.len())?;
            for failure in self.failed.iter().take(failures) {
                writeln!(to, "  {}: {}", failure.path().display(), failure.why)?;
            }
            let more = self.failed.len().saturating_sub(failures);
            if more > 0 {
                writeln!(to, "  and {more} more (--failures)")?;
            }
        }
        Ok(())
    }
}
