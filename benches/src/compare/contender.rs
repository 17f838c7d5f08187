//! Who takes part: how a program is built, and how it is run.
//!
//! Programs are built into a folder of the target directory, next to the program that runs now. The Rust peers are built
//! by cargo as features of this crate, so that nobody else has to compile them.

use super::job::Job;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A row of the list of runtimes.
#[derive(Debug)]
pub(super) struct Contender {
    pub(super) name: &'static str,
    made_by: MadeBy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MadeBy {
    /// Engset's `workloads`, with this `kind`.
    Engset(&'static str),
    /// `workloads-peers` with the feature of this name.
    Peer,
    Erlang,
    Go,
}

/// All of them; the first is what the others are compared with.
pub(super) const CONTENDERS: &[Contender] = &[
    Contender { name: "engset", made_by: MadeBy::Engset("plain") },
    Contender { name: "engset-server", made_by: MadeBy::Engset("server") },
    Contender { name: "erlang", made_by: MadeBy::Erlang },
    Contender { name: "go", made_by: MadeBy::Go },
    Contender { name: "tokio", made_by: MadeBy::Peer },
    Contender { name: "ractor", made_by: MadeBy::Peer },
    Contender { name: "kameo", made_by: MadeBy::Peer },
    Contender { name: "actix", made_by: MadeBy::Peer },
    Contender { name: "may", made_by: MadeBy::Peer },
];

/// A contender whose program is there.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) name: &'static str,
    /// Of the other runtime.
    pub(super) version: String,
    made_by: MadeBy,
    program: PathBuf,
}

impl Ready {
    /// The command line of a job, or why there is none.
    pub(super) fn command(&self, job: &Job, quick: bool) -> Result<Command, String> {
        let mut command = Command::new(&self.program);
        match self.made_by {
            MadeBy::Engset("server") if !job.server => return Err("the same as engset".to_owned()),
            MadeBy::Engset(_) => {}
            MadeBy::Peer => {
                command.arg(self.name);
            }
            MadeBy::Erlang => {
                // skynet has 1.1 million processes; restart must not log.
                command.args(["-noinput", "+P", "2097152", "-kernel", "logger_level", "none", "-pa"]);
                command.arg(folder()).args(["-run", "workloads", "main", "-extra"]);
            }
            MadeBy::Go => {}
        }
        command.arg(job.workload).args(job.args(quick));
        if let (MadeBy::Engset(kind), true) = (self.made_by, job.server) {
            command.arg(format!("kind={kind}"));
        }
        // How a backtrace is printed is not measured.
        command.env("RUST_BACKTRACE", "0");
        Ok(command)
    }
}

/// Builds the programs of those that were asked for; who cannot take part, and why.
pub(super) fn prepare(names: &[&str]) -> (Vec<Ready>, Vec<(&'static str, String)>) {
    let wanted = || CONTENDERS.iter().filter(|contender| names.contains(&contender.name));
    let engset = wanted().any(|contender| matches!(contender.made_by, MadeBy::Engset(_)));
    let peers: Vec<_> =
        wanted().filter(|contender| contender.made_by == MadeBy::Peer).map(|peer| peer.name).collect();
    let built = if engset { cargo("workloads", &[]) } else { Ok(PathBuf::new()) };
    let peers = if peers.is_empty() { Ok(PathBuf::new()) } else { cargo("workloads-peers", &peers) };

    let (mut ready, mut missing) = (Vec::new(), Vec::new());
    for contender in wanted() {
        let program = match contender.made_by {
            MadeBy::Engset(_) => built.clone().map(|path| (path, env!("CARGO_PKG_VERSION").to_owned())),
            MadeBy::Peer => peers.clone().map(|path| (path, locked_version(contender.name))),
            MadeBy::Erlang => erlang(),
            MadeBy::Go => go(),
        };
        match program {
            Ok((program, version)) => {
                ready.push(Ready { name: contender.name, version, made_by: contender.made_by, program });
            }
            Err(why) => missing.push((contender.name, why)),
        }
    }
    (ready, missing)
}

/// This crate.
fn source() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo has put the program that runs now: `target/release`.
fn folder() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_else(|error| panic!("this program's path: {error}"));
    program.parent().unwrap_or_else(|| panic!("{} is in no folder", program.display())).to_owned()
}

/// Builds a program of this crate.
fn cargo(program: &str, features: &[&str]) -> Result<PathBuf, String> {
    let folder = folder();
    let target = folder.parent().ok_or("this program is not in a target directory of cargo")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--quiet", "-p", "engset-benches", "--bin", program]);
    command.args(["--features", &features.join(","), "--target-dir"]).arg(target).current_dir(source());
    run(&mut command)?;
    Ok(target.join("release").join(program))
}

fn erlang() -> Result<(PathBuf, String), String> {
    let file = source().join("peers/erlang/workloads.erl");
    run(Command::new("erlc").arg("-o").arg(folder()).arg(file))?;
    let release = "io:format(\"~s\", [erlang:system_info(otp_release)]), halt().";
    let version = run(Command::new("erl").args(["-noinput", "-eval", release]))?;
    Ok(("erl".into(), format!("OTP {version}")))
}

fn go() -> Result<(PathBuf, String), String> {
    let program = folder().join("workloads-go");
    run(Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(source().join("peers/go")))?;
    let version = run(Command::new("go").args(["env", "GOVERSION"]))?;
    Ok((program, version))
}

/// What a tool has printed, or why it has failed: the end of its messages.
fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let messages = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = messages.trim().lines().rev().take(3).collect();
    let end: Vec<_> = lines.into_iter().rev().map(str::trim).collect();
    Err(format!("{name} has failed: {}", end.join(" / ")))
}

/// The version of a crate in the lock file.
fn locked_version(name: &str) -> String {
    let lock = fs::read_to_string(source().join("../Cargo.lock")).unwrap_or_default();
    let entry = format!("name = \"{name}\"");
    let mut lines = lock.lines().skip_while(|line| *line != entry).skip(1);
    let version = lines.next().and_then(|line| line.strip_prefix("version = \""));
    version.map_or("of unknown version", |rest| rest.trim_end_matches('"')).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_says_so() {
        let why = run(&mut Command::new("no-such-tool-of-engset")).unwrap_err();
        assert!(why.starts_with("no-such-tool-of-engset cannot be run: "), "{why}");
    }

    #[test]
    fn versions_are_those_of_the_lock_file() {
        assert!(locked_version("tokio").starts_with('1'));
        assert_eq!(locked_version("no-such-crate"), "of unknown version");
    }
}
