//! What came out: medians with their spread, as a table and as JSON.

use super::{
    contender::{CONTENDERS, Ready},
    job::{Better, JOBS, Job},
};
use serde::{Deserialize, Serialize};
use std::{fmt, fs, io, path::Path};

/// The result of a comparison.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    pub(super) machine: String,
    pub(super) rounds: usize,
    pub(super) contenders: Vec<Version>,
    pub(super) rows: Vec<Row>,
    pub(super) missing: Vec<Missing>,
}

/// A contender that has taken part.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) name: String,
    pub(super) version: String,
}

/// The figure of one contender in one job.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) job: String,
    pub(super) contender: String,
    figure: String,
    unit: String,
    better: Better,
    pub(super) median: f64,
    min: f64,
    max: f64,
    runs: Vec<f64>,
}

/// What is not there, and why.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Missing {
    pub(super) contender: String,
    /// None: all of them.
    pub(super) job: Option<String>,
    pub(super) why: String,
}

impl Row {
    /// None if there were no runs.
    pub(super) fn new(job: &Job, contender: &str, unit: &str, runs: Vec<f64>) -> Option<Row> {
        let mut sorted = runs.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let median = f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        let (name, figure, contender) = (job.name.to_owned(), job.figure.to_owned(), contender.to_owned());
        let (better, unit) = (job.better, unit.to_owned());
        Some(Row { job: name, contender, figure, unit, better, median, min, max, runs })
    }

    /// How many times better this is than another.
    fn ahead_of(&self, other: &Row) -> f64 {
        match self.better {
            Better::Higher => self.median / other.median,
            Better::Lower => other.median / self.median,
        }
    }

    fn is_ours(&self) -> bool {
        self.contender.starts_with("engset")
    }
}

impl Report {
    pub(super) fn new(rounds: usize, ready: &[Ready]) -> Self {
        let contenders =
            ready.iter().map(|it| Version { name: it.name.to_owned(), version: it.version.clone() });
        let (contenders, rows, missing) = (contenders.collect(), Vec::new(), Vec::new());
        Report { machine: machine(), rounds, contenders, rows, missing }
    }

    pub(super) fn of<'a>(&'a self, job: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.job == job)
    }

    /// The jobs that have figures.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &'static Job> {
        JOBS.iter().filter(|job| self.of(job.name).next().is_some())
    }

    /// Adds what an earlier comparison has, and this one has not. Contenders keep their order.
    ///
    /// # Errors
    ///
    /// There is no such file, or it is not one that a comparison has written.
    pub(super) fn merge(mut self, file: &Path) -> io::Result<Self> {
        let earlier: Report = serde_json::from_str(&fs::read_to_string(file)?)?;
        let runs_again = |job: &str, name: &str| {
            self.rows.iter().any(|row| row.job == job && row.contender == name)
                || self.missing.iter().any(|it| it.job.as_deref() == Some(job) && it.contender == name)
        };
        let rows: Vec<_> =
            earlier.rows.into_iter().filter(|row| !runs_again(&row.job, &row.contender)).collect();
        let is_new = |it: &Missing| match &it.job {
            Some(job) => !runs_again(job, &it.contender),
            None => self.contenders.iter().all(|present| present.name != it.contender),
        };
        let missing: Vec<_> = earlier.missing.into_iter().filter(is_new).collect();
        self.rows.extend(rows);
        for it in missing {
            if !self.missing.iter().any(|present| present.contender == it.contender && present.job == it.job)
            {
                self.missing.push(it);
            }
        }
        for version in earlier.contenders {
            if self.contenders.iter().all(|present| present.name != version.name) {
                self.contenders.push(version);
            }
        }
        self.contenders.sort_by_key(|it| CONTENDERS.iter().position(|known| known.name == it.name));
        Ok(self)
    }

    pub(super) fn json(&self) -> io::Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }
}

/// The processor and the number of its cores.
fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": ")).map_or("unknown processor", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores")
}

/// A table in Markdown. A cell is a median, its spread, and how many times better engset is (functions with a stack).
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| workload |")?;
        self.contenders.iter().try_for_each(|it| write!(f, " {} |", it.name))?;
        writeln!(f, " best of engset : best of others |")?;
        writeln!(f, "|---|{}---|", "---|".repeat(self.contenders.len()))?;
        for job in self.jobs() {
            let rows: Vec<_> = self.of(job.name).collect();
            let ours = rows.iter().find(|row| row.contender == "engset");
            let unit = rows.first().map_or("", |row| &row.unit);
            write!(f, "| `{}` {}, {unit} |", job.name, job.figure)?;
            for contender in &self.contenders {
                let Some(row) = rows.iter().find(|row| row.contender == contender.name) else {
                    write!(f, " – |")?;
                    continue;
                };
                write!(f, " {} ({}–{})", short(row.median), short(row.min), short(row.max))?;
                match ours {
                    Some(ours) if !row.is_ours() => write!(f, " **{:.1}×** |", ours.ahead_of(row))?,
                    _ => write!(f, " |")?,
                }
            }
            let best = |ours| {
                let mut rows = rows.iter().filter(|row| row.is_ours() == ours);
                let first = rows.next()?;
                Some(rows.fold(first, |best, row| if row.ahead_of(best) > 1.0 { row } else { best }))
            };
            match (best(true), best(false)) {
                (Some(ours), Some(theirs)) => {
                    writeln!(f, " {:.2}× ({}) |", ours.ahead_of(theirs), theirs.contender)?
                }
                _ => writeln!(f, " – |")?,
            }
        }
        let versions: Vec<_> =
            self.contenders.iter().map(|it| format!("{} {}", it.name, it.version)).collect();
        writeln!(
            f,
            "\nMedian (lowest–highest) of {} alternating runs; bold: how many times better engset is.",
            self.rounds
        )?;
        writeln!(f, "{}. {}.", self.machine, versions.join(", "))?;
        if !self.missing.is_empty() {
            writeln!(f, "\nMissing:")?;
        }
        for missing in &self.missing {
            writeln!(
                f,
                "- {}, {}: {}",
                missing.contender,
                missing.job.as_deref().unwrap_or("all workloads"),
                missing.why
            )?;
        }
        Ok(())
    }
}

/// Three digits and a unit of thousands.
pub(super) fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, " G"),
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(job: &Job, contender: &str, runs: &[f64]) -> Row {
        Row::new(job, contender, "unit", runs.to_vec()).expect("there are runs")
    }

    fn version(name: &str) -> Version {
        Version { name: name.to_owned(), version: "1".to_owned() }
    }

    fn missing(why: &str) -> Missing {
        Missing { contender: "go".to_owned(), job: Some("spawn".to_owned()), why: why.to_owned() }
    }

    fn job(name: &str) -> &'static Job {
        JOBS.iter().find(|job| job.name == name).expect("there is one")
    }

    #[test]
    fn a_row_is_the_median_with_its_spread() {
        let row = row(job("spawn"), "engset", &[3.0, 1.0, 2.0, 10.0]);
        assert_eq!((row.median, row.min, row.max), (2.5, 1.0, 10.0));
        assert!(Row::new(job("spawn"), "engset", "unit", Vec::new()).is_none());
    }

    #[test]
    fn ahead_is_faster_whatever_the_figure() {
        let rate = |contender, value| row(job("spawn"), contender, &[value]);
        assert_eq!(rate("engset", 4e6).ahead_of(&rate("go", 1e6)), 4.0);
        let time = |contender, value| row(job("call"), contender, &[value]);
        assert_eq!(time("engset", 100.0).ahead_of(&time("go", 400.0)), 4.0);
    }

    #[test]
    fn the_table_names_who_is_missing() {
        let mut report = Report::new(1, &[]);
        report.contenders.push(version("engset"));
        report.contenders.push(version("go"));
        report.rows.push(row(job("spawn"), "engset", &[4e6]));
        report.missing.push(missing("too slow"));
        let table = report.to_string();
        assert!(table.contains("| 4.00 M (4.00 M–4.00 M) | – | – |"), "{table}");
        assert!(table.contains("- go, spawn: too slow"), "{table}");
        assert!(report.json().expect("plain data").contains("\"better\": \"higher\""));
    }

    #[test]
    fn figures_of_an_earlier_run_are_kept_unless_they_are_made_again() {
        let file = std::env::temp_dir().join(format!("engset-merge-{}.json", std::process::id()));
        let mut earlier = Report::new(1, &[]);
        earlier.contenders.push(version("engset"));
        earlier.rows.extend([row(job("spawn"), "engset", &[1.0]), row(job("call"), "engset", &[2.0])]);
        earlier.missing.push(missing("too slow"));
        fs::write(&file, earlier.json().expect("plain data")).expect("a temporary file");
        let mut report = Report::new(1, &[]);
        report.contenders.extend([version("engset"), version("go")]);
        report.rows.extend([row(job("spawn"), "engset", &[3.0]), row(job("spawn"), "go", &[4.0])]);
        let report = report.merge(&file).expect("what was written");
        fs::remove_file(file).expect("it was there");
        let medians: Vec<_> = report.rows.iter().map(|row| row.median).collect();
        assert_eq!((medians, report.missing.len()), (vec![3.0, 4.0, 2.0], 0));
    }
}
