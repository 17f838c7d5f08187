//! The command line: `WORKLOAD [key=value ...]`, checked against the table of the workloads.

use crate::workloads::{WORKLOADS, Workload};
use engset::Config;
use std::{fmt, fmt::Write};

/// One key that a workload takes.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    name: &'static str,
    value: Value,
    about: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Value {
    Number {
        default: u64,
        least: u64,
    },
    /// The first one is the default.
    Word(&'static [&'static str]),
    /// As many as there are cores, or what the environment says.
    Threads,
}

impl Key {
    /// A number from 1.
    pub(crate) const fn number(name: &'static str, default: u64, about: &'static str) -> Self {
        Key { name, value: Value::Number { default, least: 1 }, about }
    }

    /// A number that is not used if it is 0, the default.
    pub(crate) const fn off(name: &'static str, about: &'static str) -> Self {
        Key { name, value: Value::Number { default: 0, least: 0 }, about }
    }

    /// One of these words; the first is the default.
    pub(crate) const fn word(
        name: &'static str,
        words: &'static [&'static str],
        about: &'static str,
    ) -> Self {
        Key { name, value: Value::Word(words), about }
    }
}

/// What each workload takes.
const THREADS: Key = Key { name: "threads", value: Value::Threads, about: "worker threads" };

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Value::Number { default, .. } => write!(f, "{}={default}", self.name),
            Value::Word(words) => write!(f, "{}={}", self.name, words.join("|")),
            Value::Threads => write!(f, "{}=CORES", self.name),
        }
    }
}

/// What the processes of a workload are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Functions, with a stack of their own.
    Plain,
    /// Servers, which hold no stack while they wait.
    Server,
}

/// The options of one run.
#[derive(Clone, Debug)]
pub struct Options {
    workload: &'static Workload,
    given: Vec<(&'static str, Given)>,
}

#[derive(Clone, Copy, Debug)]
enum Given {
    Number(u64),
    Word(&'static str),
}

/// A command line that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl Options {
    /// Reads what follows the name of the program.
    ///
    /// # Errors
    ///
    /// There is no such workload, it has no such key, or a value is not one that the key takes. The error
    /// names those that there are.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, UsageError> {
        let names = || WORKLOADS.iter().map(|workload| workload.name).collect::<Vec<_>>().join(", ");
        let Some(name) = args.next() else {
            return Err(UsageError(format!("a workload is missing; there are: {}", names())));
        };
        let Some(workload) = WORKLOADS.iter().find(|workload| workload.name == name) else {
            return Err(UsageError(format!("there is no workload {name:?}; there are: {}", names())));
        };
        let given = args.map(|arg| workload.read(&arg)).collect::<Result<_, _>>()?;
        Ok(Options { workload, given })
    }

    /// The workload to run.
    #[must_use]
    pub fn workload(&self) -> &'static Workload {
        self.workload
    }

    /// The node's settings: those of the environment, with what was given here.
    ///
    /// # Errors
    ///
    /// A variable of the environment is not a number in range.
    pub fn config(&self) -> Result<Config, engset::config::ConfigError> {
        let config = Config::from_env()?;
        Ok(match self.look("threads") {
            Some(Given::Number(threads)) => config.workers(threads as usize),
            _ => config,
        })
    }

    /// The worker threads of another runtime: one for each core, if nothing else was asked for.
    #[cfg_attr(not(feature = "peers"), allow(dead_code, reason = "for the peers"))]
    pub(crate) fn threads(&self) -> usize {
        match self.look("threads") {
            Some(Given::Number(threads)) => threads as usize,
            _ => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// The value of a key that takes numbers.
    pub(crate) fn number(&self, name: &str) -> u64 {
        match (self.look(name), self.workload.key(name)) {
            (Some(Given::Number(number)), _) => number,
            (None, Some(Key { value: Value::Number { default, .. }, .. })) => *default,
            _ => panic!("{} has no number {name}", self.workload.name),
        }
    }

    /// The value of a key that takes words.
    #[must_use]
    pub fn word(&self, name: &str) -> &'static str {
        match (self.look(name), self.workload.key(name)) {
            (Some(Given::Word(word)), _) => word,
            (None, Some(Key { value: Value::Word(words), .. })) => words[0],
            _ => panic!("{} has no word {name}", self.workload.name),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        if self.word("kind") == "server" { Kind::Server } else { Kind::Plain }
    }

    /// What was given last.
    fn look(&self, name: &str) -> Option<Given> {
        self.given.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

impl Workload {
    fn all_keys(&self) -> impl Iterator<Item = &'static Key> {
        self.keys.iter().chain([&THREADS])
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        self.all_keys().find(|key| key.name == name)
    }

    fn read(&self, arg: &str) -> Result<(&'static str, Given), UsageError> {
        let keys = || self.all_keys().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let Some((name, value)) = arg.split_once('=') else {
            return Err(UsageError(format!("{arg:?} is not key=value; {} has: {}", self.name, keys())));
        };
        let Some(key) = self.key(name) else {
            return Err(UsageError(format!("{} has no key {name:?}; it has: {}", self.name, keys())));
        };
        let given = match key.value {
            Value::Number { least, .. } => number(value, least).map(Given::Number),
            Value::Threads => number(value, 1).map(Given::Number),
            Value::Word(words) => words.iter().find(|word| **word == value).map(|word| Given::Word(word)),
        };
        match (given, key.value) {
            (Some(given), _) => Ok((key.name, given)),
            (None, Value::Word(words)) => {
                Err(UsageError(format!("{arg}: {name} takes one of: {}", words.join(", "))))
            }
            (None, Value::Number { least, .. }) => {
                Err(UsageError(format!("{arg}: {name} takes a whole number from {least}")))
            }
            (None, Value::Threads) => Err(UsageError(format!("{arg}: {name} takes a whole number from 1"))),
        }
    }
}

/// Underscores between the digits are allowed, as in Rust.
fn number(text: &str, least: u64) -> Option<u64> {
    text.replace('_', "").parse().ok().filter(|number| *number >= least)
}

/// What `--help` prints.
#[must_use]
pub fn help() -> String {
    let mut text = String::from(
        "Usage: workloads WORKLOAD [key=value ...]\n\n\
         Prints one line per figure: WORKLOAD FIGURE VALUE UNIT. Keys are shown with their defaults. Every\n\
         workload has threads= (default: one for each core); the variables ENGSET_... set the rest of the node.\n\
         WORKLOADS_METRICS=1 in the environment: the workers' counters, too, to standard error.\n",
    );
    for workload in WORKLOADS {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{:<10} {}\n", workload.name, workload.about);
        for key in workload.keys {
            let _ = writeln!(text, "    {:<28} {}", key.to_string(), key.about);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, UsageError> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        let options = parse("spawn n=1_000").unwrap();
        assert_eq!((options.number("n"), options.kind()), (1000, Kind::Plain));
        assert_eq!(parse("spawn kind=server").unwrap().kind(), Kind::Server);
        assert_eq!(parse("fanin").unwrap().number("bound"), 0);
    }

    #[test]
    fn errors_name_what_there_is() {
        let error = |line: &str| parse(line).unwrap_err().to_string();
        assert!(error("").contains("spawn, idle"));
        assert!(error("spwan").contains("\"spwan\"; there are: spawn, idle"));
        assert!(error("spawn m=1").contains("\"m\"; it has: n=1000000 work="));
        assert!(error("spawn n=0").contains("from 1"));
        assert!(error("spawn kind=green").contains("plain, server"));
    }
}
