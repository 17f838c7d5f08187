//! The command that repeats a failure, and the variables of the environment in it.
//!
//! | variable | meaning |
//! |---|---|
//! | `ENGSET_SEED` | begin with this seed; alone, run no other |
//! | `ENGSET_SEEDS` | so many seeds |
//! | `ENGSET_SCHEDULE` | of an exhaustive test, run this schedule only |
//!
//! With `ENGSET_SEED` alone, and with `ENGSET_SCHEDULE`, a failing run prints its trace.

use std::{env, panic::Location, path::Path, thread};

/// What repeats a run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replay {
    /// This seed.
    Seed(u64),
    /// These choices, as numbers of choices and what was taken there; all others take the first alternative.
    Schedule(Vec<(usize, u32)>),
    /// Nothing: it was a run with threads.
    Nothing,
}

impl Replay {
    /// As `NAME=value`.
    pub(super) fn variable(&self) -> Option<String> {
        match self {
            Replay::Seed(seed) => Some(format!("ENGSET_SEED={seed}")),
            Replay::Schedule(choices) if choices.is_empty() => Some("ENGSET_SCHEDULE=0:0".to_owned()),
            Replay::Schedule(choices) => {
                let choices: Vec<_> = choices.iter().map(|(at, taken)| format!("{at}:{taken}")).collect();
                Some(format!("ENGSET_SCHEDULE={}", choices.join(",")))
            }
            Replay::Nothing => None,
        }
    }
}

/// The choices of a schedule that are not the first alternative.
pub(super) fn abridged(plan: &[u32]) -> Vec<(usize, u32)> {
    plan.iter().copied().enumerate().filter(|(_, taken)| *taken != 0).collect()
}

/// The seeds to run: those of the environment, or else these.
pub(super) fn seeds(first: u64, count: u64) -> (std::ops::Range<u64>, bool) {
    range(number("ENGSET_SEED"), number("ENGSET_SEEDS"), first, count)
}

/// And whether it is a replay.
fn range(seed: Option<u64>, seeds: Option<u64>, first: u64, count: u64) -> (std::ops::Range<u64>, bool) {
    let start = seed.unwrap_or(first);
    let alone = seed.is_some() && seeds.is_none();
    let count = if alone { 1 } else { seeds.unwrap_or(count) };
    (start..start.saturating_add(count), alone)
}

fn number(name: &str) -> Option<u64> {
    let text = env::var_os(name)?.to_string_lossy().into_owned();
    match text.trim().parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name} is {text:?}, but must be a whole number"),
    }
}

/// The schedule of the environment.
pub(super) fn schedule() -> Option<Vec<u32>> {
    let text = env::var_os("ENGSET_SCHEDULE")?.to_string_lossy().into_owned();
    match parse(&text) {
        Some(plan) => Some(plan),
        None => panic!("ENGSET_SCHEDULE is {text:?}, but must be like 3:1,17:2 (choice:alternative)"),
    }
}

fn parse(text: &str) -> Option<Vec<u32>> {
    let mut plan: Vec<u32> = Vec::new();
    for part in text.split(',') {
        let (at, taken) = part.split_once(':')?;
        let at: usize = at.trim().parse().ok().filter(|at| *at < 10_000_000)?;
        plan.resize(plan.len().max(at + 1), 0);
        plan[at] = taken.trim().parse().ok()?;
    }
    Some(plan)
}

/// The command that runs the calling test, called from this place, with this variable.
pub(super) fn command(replay: &Replay, at: &Location<'_>) -> Option<String> {
    let variable = replay.variable()?;
    let package = env::var("CARGO_PKG_NAME").ok();
    let binary = env::current_exe().ok();
    let stem = binary.as_deref().and_then(Path::file_stem).map(|stem| stem.to_string_lossy().into_owned());
    let thread = thread::current();
    Some(compose(&variable, package.as_deref(), stem.as_deref(), at.file(), thread.name()))
}

fn compose(
    variable: &str,
    package: Option<&str>,
    binary: Option<&str>,
    file: &str,
    thread: Option<&str>,
) -> String {
    let mut command = format!("{variable} cargo test");
    if let Some(package) = package {
        command += &format!(" -p {package}");
    }
    // A test binary is called NAME-HASH.
    if let Some((name, _)) = binary.and_then(|binary| binary.rsplit_once('-')) {
        let is_in = |folder| Path::new(file).components().any(|part| part.as_os_str() == folder);
        let is_library = package.is_some_and(|package| package.replace('-', "_") == name);
        command += &match () {
            () if is_in("tests") => format!(" --test {}", target(file, "tests", name)),
            () if is_in("examples") => format!(" --example {}", target(file, "examples", name)),
            () if is_in("src") && is_library => " --lib".to_owned(),
            () if is_in("src") => format!(" --bin {name}"),
            () => String::new(),
        };
    }
    // The test harness calls a test's thread by its name. With --test-threads=1 it runs it on its own.
    match thread {
        Some(name) if name != "main" => command + &format!(" {name} -- --exact --nocapture"),
        _ => command + " -- --nocapture",
    }
}

/// The name of a target, of which the binary's name has underscores only: `examples/chat-room/main.rs`, `chat_room`.
fn target<'a>(file: &'a str, folder: &str, binary: &'a str) -> &'a str {
    let mut parts = Path::new(file).iter().skip_while(|part| *part != folder).skip(1);
    let name = parts.next().and_then(|part| Path::new(part).file_stem()).and_then(|name| name.to_str());
    // In a module that several tests share it is the module's name: not this one.
    name.filter(|name| name.replace('-', "_") == binary).unwrap_or(binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_package_file_and_test() {
        let command =
            |file, thread| compose("ENGSET_SEED=7", Some("my-bank"), Some("transfers-0a1b"), file, thread);
        assert_eq!(
            command("tests/transfers.rs", Some("money::stays")),
            "ENGSET_SEED=7 cargo test -p my-bank --test transfers money::stays -- --exact --nocapture"
        );
        assert_eq!(command("x.rs", Some("main")), "ENGSET_SEED=7 cargo test -p my-bank -- --nocapture");
        let library = compose("V=1", Some("my-bank"), Some("my_bank-0a1b"), "src/lib.rs", Some("a"));
        assert_eq!(library, "V=1 cargo test -p my-bank --lib a -- --exact --nocapture");
        let example = |file| compose("V=1", Some("a"), Some("chat_room-0a1b"), file, None);
        assert_eq!(
            example("/b/examples/chat-room/tests.rs"),
            "V=1 cargo test -p a --example chat-room -- --nocapture"
        );
        assert_eq!(
            example("examples/shared/mod.rs"),
            "V=1 cargo test -p a --example chat_room -- --nocapture"
        );
        assert_eq!(compose("V=1", None, None, "a.rs", None), "V=1 cargo test -- --nocapture");
    }

    #[test]
    fn a_schedule_survives_its_text() {
        for plan in [vec![], vec![0, 0, 3], vec![1, 0, 2]] {
            let variable = Replay::Schedule(abridged(&plan)).variable().unwrap();
            let parsed = parse(variable.strip_prefix("ENGSET_SCHEDULE=").unwrap()).unwrap();
            assert_eq!(abridged(&parsed), abridged(&plan));
        }
        for bad in ["", "3", "1:", "a:b", "1:1,,", "99999999999:1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_seed_alone_is_a_replay() {
        assert_eq!(range(None, None, 5, 10), (5..15, false));
        assert_eq!(range(Some(7), None, 5, 10), (7..8, true));
        assert_eq!(range(Some(7), Some(3), 5, 10), (7..10, false));
        assert_eq!(range(None, Some(3), 5, 10), (5..8, false));
    }
}
