//! `examples/chat` as programs of the system's: three of them talk, one is killed, and comes back.

#![allow(clippy::disallowed_methods, reason = "tests block real threads")]

#[path = "../examples/chat/main.rs"]
mod example;

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitCode, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

/// Only a net: nothing here depends on how fast it is.
const NET: Duration = Duration::from_secs(60);

/// The program. Not a test of its own: the others run it.
#[test]
fn the_program() {
    if let Some(words) = env::var_os("ENGSET_CHILD") {
        let words = words.into_string().expect("text");
        let code = example::run(words.split_whitespace().map(str::to_owned));
        std::process::exit(i32::from(code != ExitCode::SUCCESS));
    }
}

/// A directory of the host's nodes for one test.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        Directory(env::temp_dir().join(format!("engset-chat-{test}-{}", std::process::id())))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // It may not have been made.
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Program {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Lines that nobody has waited for yet.
    seen: Vec<String>,
}

impl Program {
    fn start(directory: &Path, words: &str) -> Self {
        let mut child = Command::new(env::current_exe().expect("the test binary"))
            .args(["the_program", "--exact", "--nocapture", "--test-threads=1", "--quiet"])
            .env("ENGSET_CHILD", words)
            .env("ENGSET_RUNTIME_DIR", directory)
            .env("ENGSET_WORKERS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the test binary can be run");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("piped"));
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Program { child, input, lines, seen: Vec::new() }
    }

    /// Waits for a line; what comes before it may be waited for later.
    #[track_caller]
    fn expect(&mut self, expected: &str) {
        loop {
            if let Some(at) = self.seen.iter().position(|line| line.starts_with(expected)) {
                self.seen.remove(at);
                return;
            }
            match self.lines.recv_timeout(NET) {
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("no {expected:?}, {error}; there was {:#?}", self.seen),
            }
        }
    }

    fn type_line(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it is open");
        writeln!(input, "{line}").expect("it reads");
    }

    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has ended");
    }

    fn end(mut self) -> Option<i32> {
        drop(self.input.take());
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended, but for a test that fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn three_talk_and_one_that_is_killed_is_missed_and_comes_back() {
    let directory = Directory::new("three");
    let start = |words: &str| {
        let mut program = Program::start(&directory.0, words);
        program.expect(&format!("* {} is in lobby", words.trim_start_matches("--name ")));
        program
    };
    let mut ann = start("--name ann");
    let mut bob = start("--name bob");
    let mut cid = start("--name cid");
    ann.expect("* bob has joined");
    ann.expect("* cid has joined");
    bob.expect("* ann has joined");
    bob.expect("* cid has joined");
    cid.expect("* ann has joined");
    cid.expect("* bob has joined");
    ann.type_line("hello");
    bob.expect("ann: hello");
    cid.expect("ann: hello");
    bob.kill();
    ann.expect("* bob has left");
    cid.expect("* bob has left");
    // Its file is there, and nobody has its lock: the name is free at once.
    let mut bob = start("--name bob");
    ann.expect("* bob has joined");
    cid.expect("* bob has joined");
    bob.expect("* ann has joined");
    bob.expect("* cid has joined");
    bob.type_line("I am back");
    ann.expect("bob: I am back");
    cid.expect("bob: I am back");
    assert_eq!(ann.end(), Some(0));
    bob.expect("* ann has left");
    cid.type_line("/who");
    cid.expect("* here: ");
    assert_eq!((bob.end(), cid.end()), (Some(0), Some(0)));
    let left = fs::read_dir(&directory.0).expect("it is there").count();
    assert_eq!(left, 0, "who ends in order takes its file away");
}

#[test]
fn a_name_is_had_by_one_at_a_time() {
    let directory = Directory::new("taken");
    let mut first = Program::start(&directory.0, "--name ann");
    first.expect("* ann is in lobby");
    assert_eq!(Program::start(&directory.0, "--name ann").end(), Some(1));
    assert_eq!(first.end(), Some(0));
    let mut second = Program::start(&directory.0, "--name ann");
    second.expect("* ann is in lobby");
    assert_eq!(second.end(), Some(0));
}

#[test]
fn a_fixed_port_and_a_node_to_join_do_without_the_directory() {
    let (one, other) = (Directory::new("one"), Directory::new("other"));
    // The port has to be known before: one that was free a moment ago.
    let free =
        || std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let (mut ann, address) = loop {
        let address = free();
        let mut ann = Program::start(&one.0, &format!("--name ann@{address} --room attic"));
        match ann.lines.recv_timeout(NET) {
            Ok(line) if line.is_empty() || line.starts_with("running") => {}
            Ok(line) => panic!("{line}"),
            // Somebody was faster.
            Err(_) => continue,
        }
        ann.expect("* ann is in attic");
        break (ann, address);
    };
    let mut bob = Program::start(&other.0, &format!("--name bob --room attic --join ann@{address}"));
    ann.expect("* bob has joined");
    bob.expect("* ann has joined");
    bob.type_line("hello");
    ann.expect("bob: hello");
    assert_eq!((ann.end(), bob.end()), (Some(0), Some(0)));
}

#[test]
fn help_and_mistakes() {
    let directory = Directory::new("help");
    let mut help = Program::start(&directory.0, "--help");
    help.expect("Usage: chat --name");
    assert_eq!(help.end(), Some(0));
    for wrong in ["--nonsense", "--name", "--name ann@nowhere", "--room attic"] {
        assert_eq!(Program::start(&directory.0, wrong).end(), Some(1), "{wrong}");
    }
}
