//! The command line of `compare`.

use super::{
    contender::CONTENDERS,
    job::{JOBS, Job},
};
use std::{fmt, path::PathBuf};

/// What `--help` prints.
pub const HELP: &str = "\
Usage: compare [OPTION]...

Runs engset and other runtimes on the same workloads, in turn, and prints a table of medians.

  --workloads A,B    only these jobs (default: all)
  --peers A,B        only these runtimes beside engset (default: all)
  --rounds N         runs of each (default: 3)
  --quick            small sizes: shows that everything runs, and nothing else
  --out FILE         writes a chart there (SVG)
  --json FILE        writes all figures there
  --merge FILE       adds to the figures of such a file, instead of those that run again: a long
                     comparison may be made job by job
  --list             names jobs and runtimes
  --help

The Rust peers are compiled first, as cargo features of this crate (network, a minute). Erlang (erl, erlc) and Go (go)
take part where they are installed. Who is missing, and why, is said below the table.";

/// What was asked for.
#[derive(Debug)]
pub struct Request {
    pub(super) jobs: Vec<&'static Job>,
    pub(super) peers: Vec<&'static str>,
    pub(super) rounds: usize,
    pub(super) quick: bool,
    pub(super) out: Option<PathBuf>,
    pub(super) json: Option<PathBuf>,
    pub(super) merge: Option<PathBuf>,
    /// `--help`, `--list`: what to print instead.
    pub text: Option<String>,
}

/// A command line that cannot be understood.
#[derive(Debug)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        UsageError(error.to_string())
    }
}

impl Request {
    /// Reads the command line, without the name of the program.
    ///
    /// # Errors
    ///
    /// There is no such option, job or runtime, or a value is missing or no number.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, UsageError> {
        use lexopt::{Arg, ValueExt};
        let mut request = Request {
            jobs: JOBS.iter().collect(),
            peers: CONTENDERS.iter().map(|it| it.name).collect(),
            rounds: 3,
            quick: false,
            out: None,
            json: None,
            merge: None,
            text: None,
        };
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("workloads") => {
                    let known = JOBS.iter().map(|job| (job.name, job));
                    request.jobs = chosen("workload", &parser.value()?.string()?, known)?;
                }
                Arg::Long("peers") => {
                    let known = CONTENDERS.iter().map(|it| (it.name, it.name));
                    let peers = chosen("runtime", &parser.value()?.string()?, known)?;
                    request.peers.retain(|name| name.starts_with("engset") || peers.contains(name));
                }
                Arg::Long("rounds") => {
                    request.rounds = parser.value()?.parse()?;
                    if request.rounds == 0 {
                        return Err(UsageError("--rounds must be 1 at least".to_owned()));
                    }
                }
                Arg::Long("quick") => request.quick = true,
                Arg::Long("out") => request.out = Some(parser.value()?.into()),
                Arg::Long("json") => request.json = Some(parser.value()?.into()),
                Arg::Long("merge") => request.merge = Some(parser.value()?.into()),
                Arg::Long("help") | Arg::Short('h') => request.text = Some(HELP.to_owned()),
                Arg::Long("list") => {
                    let jobs: Vec<_> = JOBS.iter().map(|job| job.name).collect();
                    let names = request.peers.join(" ");
                    request.text = Some(format!("workloads: {}\nruntimes: {names}", jobs.join(" ")));
                }
                _ => return Err(arg.unexpected().into()),
            }
        }
        Ok(request)
    }
}

/// Those of a list with commas.
fn chosen<T: Clone>(
    what: &str,
    list: &str,
    known: impl Iterator<Item = (&'static str, T)> + Clone,
) -> Result<Vec<T>, UsageError> {
    let one = |name: &str| {
        let found = known.clone().find(|(known, _)| *known == name);
        found.map(|(_, value)| value).ok_or_else(|| {
            let names: Vec<_> = known.clone().map(|(name, _)| name).collect();
            UsageError(format!("there is no {what} {name:?}; there are: {}", names.join(", ")))
        })
    };
    list.split(',').filter(|name| !name.is_empty()).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request, UsageError> {
        Request::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn engset_is_always_there() {
        let request = parse("--peers go,tokio --workloads=spawn,call --rounds 5 --quick").unwrap();
        assert_eq!(request.peers, ["engset", "engset-server", "go", "tokio"]);
        assert_eq!(request.jobs.iter().map(|job| job.name).collect::<Vec<_>>(), ["spawn", "call"]);
        assert_eq!((request.rounds, request.quick), (5, true));
    }

    #[test]
    fn errors_name_the_value() {
        let error = |line: &str| parse(line).unwrap_err().to_string();
        assert!(error("--workloads spwan").contains("\"spwan\"; there are: spawn, idle"));
        assert!(error("--peers java").contains("\"java\"; there are: engset"));
        assert!(error("--rounds many").contains("many"));
        assert!(error("--rounds 0").contains("1 at least"));
        assert!(error("--bogus").contains("--bogus"));
        assert!(error("stray").contains("stray"));
    }
}
