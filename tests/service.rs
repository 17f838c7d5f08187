//! `examples/service` as a program of the system's: it gets real signals, and its output and exit code are looked at.

#![allow(clippy::disallowed_methods, reason = "tests look at the real clock and block real threads")]

#[path = "../examples/service/main.rs"]
mod example;

use std::{
    env, fs,
    io::{BufRead, BufReader, Lines, Read},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

/// The program. Not a test of its own: the others run it.
#[test]
fn the_program() {
    if env::var_os("ENGSET_CHILD").is_some() {
        std::process::exit(example::service().run_to_exit_code().into());
    }
}

struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env::current_exe().expect("the test binary"))
            .args(["the_program", "--exact", "--nocapture", "--test-threads=1", "--quiet"])
            .env("ENGSET_CHILD", "service")
            .env("ENGSET_WORKERS", "2")
            .env("ENGSET_APP__SHOP__PERIOD_MS", "1")
            .env("RUST_BACKTRACE", "0")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the test binary can be run");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Program { child, lines }
    }

    /// The next line of the program's own.
    fn line(&mut self) -> Option<String> {
        let is_own = |line: &String| !line.is_empty() && !line.starts_with("running ");
        self.lines.by_ref().map(|line| line.expect("text")).find(is_own)
    }

    #[track_caller]
    fn expect(&mut self, expected: &[&str]) {
        for expected in expected {
            let line = self.line().unwrap_or_else(|| panic!("the program has ended before {expected:?}"));
            assert!(line.starts_with(expected), "expected {expected:?}, got {line:?}");
        }
    }

    #[track_caller]
    fn opened(mut self) -> Self {
        self.expect(&["store: started", "shop: started", "open, process "]);
        self
    }

    /// Its pid is that of a child that has not been waited for: it is no other process'.
    fn kill(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("there is kill(1)").success());
    }

    /// Its exit code, the rest of its output, and its errors.
    fn end(mut self) -> (Option<i32>, Vec<String>, String) {
        let mut rest = Vec::new();
        while let Some(line) = self.line() {
            rest.push(line);
        }
        let mut errors = String::new();
        let mut stderr = self.child.stderr.take().expect("piped");
        stderr.read_to_string(&mut errors).expect("text");
        (self.child.wait().expect("it ends").code(), rest, errors)
    }
}

const IN_ORDER: [&str; 5] = [
    "the door is closed",
    "shop: about to stop",
    "shop: the last customer is served",
    "shop: stopped",
    // And "store: N tickets sold (shutdown)", "store: stopped".
    "store: ",
];

#[test]
fn sigterm_and_sigint_stop_it_in_order_with_code_0() {
    for signal in ["TERM", "INT"] {
        let mut program = Program::start(&[]).opened();
        program.kill(signal);
        program.expect(&IN_ORDER);
        let (code, rest, errors) = program.end();
        assert_eq!((code, rest), (Some(0), vec!["store: stopped".to_owned()]), "{errors}");
    }
}

#[test]
fn a_clerk_that_crashes_is_started_again_meanwhile() {
    // Slow enough for the supervisor's intensity.
    let crashing = [("ENGSET_APP__SHOP__CRASH_EVERY", "3"), ("ENGSET_APP__SHOP__PERIOD_MS", "100")];
    let mut program = Program::start(&crashing).opened();
    let mut stderr = BufReader::new(program.child.stderr.take().expect("piped"));
    for _ in 0..2 {
        let mut line = String::new();
        stderr.read_line(&mut line).expect("text");
        assert!(line.contains("clerk crashed") && line.contains("fell down"), "{line}");
    }
    program.kill("TERM");
    program.expect(&IN_ORDER);
    assert_eq!(program.child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn one_that_hangs_is_forced_after_the_deadline_and_named() {
    for (hang, process) in [("asleep", "process clerk"), ("busy", "process clerk")] {
        let variables = [("ENGSET_APP__SHOP__HANG", hang), ("ENGSET_STOP__DEADLINE_MS", "300")];
        let mut program = Program::start(&variables).opened();
        program.kill("TERM");
        program.expect(&IN_ORDER[..2]);
        let (code, rest, errors) = program.end();
        assert_eq!((code, rest.len()), (Some(124), 0), "{hang}: {rest:?} {errors}");
        assert!(errors.contains("forced to stop: the deadline has passed in the phase stop"), "{errors}");
        assert!(errors.contains("task \"applications\""), "{errors}");
        assert!(errors.contains(process) && errors.contains("process application.shop"), "{errors}");
    }
}

#[test]
fn it_is_forced_also_when_no_worker_is_left() {
    let variables = [
        ("ENGSET_APP__SHOP__HANG", "busy"),
        ("ENGSET_STOP__DEADLINE_MS", "100"),
        ("ENGSET_WORKERS", "1"),
        ("ENGSET_MAX_SPARES", "0"),
    ];
    let mut program = Program::start(&variables).opened();
    program.kill("TERM");
    program.expect(&IN_ORDER[..2]);
    let (code, _, errors) = program.end();
    assert_eq!(code, Some(124), "{errors}");
    assert!(errors.contains("process clerk"), "{errors}");
}

#[test]
fn the_second_signal_forces_it_at_once() {
    let mut program = Program::start(&[("ENGSET_APP__SHOP__HANG", "asleep")]).opened();
    program.kill("TERM");
    program.expect(&IN_ORDER[..2]);
    program.kill("INT");
    let (code, _, errors) = program.end();
    assert_eq!(code, Some(128 + 2), "{errors}");
    assert!(errors.contains("forced to stop: a second signal, SIGINT in the phase stop"), "{errors}");
    assert!(errors.contains("process clerk"), "{errors}");
}

#[test]
fn a_wrong_configuration_is_told_and_nothing_starts() {
    for (name, value, expected) in [
        (
            "ENGSET_APP__SHOP__PERIOD_MS",
            "soon",
            "app.shop.period_ms: expected u64, found string \"soon\" (environment variable ENGSET_APP__SHOP__PERIOD_MS)",
        ),
        ("ENGSET_APP__SHOP__PERIOD", "5", "app.shop.period: there is no such setting"),
        ("ENGSET_STOP__DEADLINE_MS", "-1", "stop.deadline_ms: expected u64, found integer -1"),
        ("ENGSET_STOP__PHASES__UNBIND__DEPENDS_ON", "['stop']", "a circle of dependencies"),
    ] {
        let (code, rest, errors) = Program::start(&[(name, value)]).end();
        assert_ne!(code, Some(0), "{errors}");
        assert!(rest.iter().all(|line| line.starts_with("store: ")), "{rest:?}");
        assert!(errors.contains(expected), "{errors}");
    }
    let (code, _, _) = Program::start(&[("ENGSET_WORKERS", "many")]).end();
    assert_eq!(code, Some(78));
}

/// A file of its own for each that asks.
fn temporary(text: &str) -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("engset-service-{}-{}.toml", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = env::temp_dir().join(name);
    fs::write(&path, text).expect("a temporary file can be written");
    path
}

#[test]
fn sighup_reads_the_configuration_anew() {
    let file = temporary("[app.shop]\nhang = \"asleep\"\n");
    let mut program = Program::start(&[
        ("ENGSET_CONFIG", file.to_str().expect("text")),
        ("ENGSET_STOP__DEADLINE_MS", "60000"),
    ])
    .opened();
    fs::write(&file, "[app.shop]\ncrash_every = 1\n").expect("it can be written");
    program.kill("HUP");
    // The clerk that runs goes on with what it has read; the shop is told.
    program.expect(&["shop: changed: app.shop.crash_every, app.shop.hang"]);
    // The store is asked to stop only after the shop: a clerk that hangs would hold it up.
    program.kill("TERM");
    program.expect(&IN_ORDER[..2]);
    program.kill("TERM");
    let (code, _, errors) = program.end();
    assert_eq!(code, Some(128 + 15), "{errors}");
    fs::remove_file(file).expect("it is there");
}
