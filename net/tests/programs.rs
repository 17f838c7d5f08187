//! Child programs: ends, pipes, kills, and that nothing is left of them.

#![allow(clippy::disallowed_methods, reason = "tests look at the real clock and block real threads")]

mod support;

use engset_net::{
    Active, TcpEvent,
    process::{Command, ExitStatus, Stdio},
};
use engset_runtime::{
    Config, DownReason, ExitReason, Mailbox, Node, kill, run_with, sleep, spawn, spawn_monitor,
};
use std::{
    collections::HashSet,
    fs,
    io::{self, ErrorKind, Read, Write},
    os::unix::process::ExitStatusExt,
    time::Duration,
};
use support::{down_of, process};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(60);

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// The state of a program, by /proc: `None` if there is none.
fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Waits until nothing is left of it, not even a zombie.
fn await_gone(pid: u32) {
    for _ in 0..20_000 {
        if state_of(pid).is_none() {
            return;
        }
        sleep(MS);
    }
    panic!("program {pid} is still there: {:?}", state_of(pid));
}

#[test]
fn output_and_status() {
    process(|_: &mut Mailbox<()>| {
        let output = sh("echo out; echo err >&2; exit 3").output().expect("it runs");
        assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(sh("kill -9 $$").status().expect("it runs").signal(), Some(9));
        let output = sh("cat; echo $WORD; pwd").env("WORD", "word").current_dir("/").input("in ").output();
        assert_eq!(output.expect("it runs").stdout, b"in word\n/\n");
        // Without input it reads nothing, and not ours.
        assert_eq!(sh("cat").output().expect("it runs").stdout, b"");
        assert!(sh("exit 0").status().expect("it runs").success());
    });
}

#[test]
fn a_command_can_be_used_again() {
    process(|_: &mut Mailbox<()>| {
        let mut command = sh("echo once");
        for _ in 0..3 {
            assert_eq!(command.output().expect("it runs").stdout, b"once\n");
        }
        let mut missing = Command::new("/no/such/program");
        for _ in 0..2 {
            let error = missing.spawn().expect_err("it is not there");
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(error.to_string().contains("/no/such/program"), "{error}");
        }
    });
}

#[test]
fn big_output_in_both_directions() {
    process(|_: &mut Mailbox<()>| {
        let input: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        // More than any pipe holds, on all three.
        let output = sh("tee /dev/stderr").input(input.clone()).output().expect("it runs");
        assert!(output.status.success());
        assert!(output.stdout == input && output.stderr == input, "something was lost");
        // It reads nothing of a large input.
        assert!(sh("exit 0").input(input).output().expect("it runs").status.success());
    });
}

#[test]
fn a_conversation_by_pipes() {
    process(|_: &mut Mailbox<()>| {
        let mut child = sh("while read line; do echo \"<$line>\"; done")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let (stdin, stdout) = (child.stdin.as_mut().expect("piped"), child.stdout.as_mut().expect("piped"));
        for word in ["one", "two", "three"] {
            writeln!(stdin, "{word}").expect("it reads");
            let mut answer = vec![0; word.len() + 3];
            stdout.read_exact(&mut answer).expect("it writes");
            assert_eq!(answer, format!("<{word}>\n").as_bytes());
        }
        stdout.set_read_timeout(Some(10 * MS)).expect("not zero");
        assert_eq!(stdout.read(&mut [0; 8]).expect_err("nothing").kind(), ErrorKind::TimedOut);
        // `wait` closes its input.
        assert!(child.wait().expect("it ends").success());
        assert!(child.wait().expect("and again").success());
        assert_eq!(child.try_wait().expect("known").expect("over").code(), Some(0));
        child.kill().expect("nothing happens");
    });
}

#[test]
fn limits_of_time() {
    process(|_: &mut Mailbox<()>| {
        let mut child = Command::new("sleep").arg("1000").spawn().expect("it runs");
        assert_eq!(child.wait_timeout(10 * MS).expect_err("it runs").kind(), ErrorKind::TimedOut);
        assert!(child.try_wait().expect("it can be asked").is_none());
        child.kill().expect("it runs");
        assert_eq!(child.wait_timeout(LONG).expect("it ends").signal(), Some(9));
        let error = sh("echo begun; sleep 1000").group(true).output_timeout(50 * MS).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_program_that_ignores_sigterm_is_killed_after_a_while() {
    process(|_: &mut Mailbox<()>| {
        let mut child = sh("trap '' TERM; echo ready; while :; do sleep 0.05; done")
            .stdout(Stdio::piped())
            .group(true)
            .spawn()
            .expect("it runs");
        child.stdout.as_mut().expect("piped").read_exact(&mut [0; 6]).expect("it is ready");
        assert_eq!(child.stop(100 * MS).expect("it ends").signal(), Some(9));
        let mut polite = sh("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done");
        let mut child = polite.stdout(Stdio::piped()).spawn().expect("it runs");
        child.stdout.as_mut().expect("piped").read_exact(&mut [0; 6]).expect("it is ready");
        assert_eq!(child.stop(LONG).expect("it ends").code(), Some(7));
        assert_eq!(child.signal(10_000).expect_err("none").kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_killed_owner_takes_its_program_along() {
    process(|mailbox: &mut Mailbox<u32>| {
        let me = mailbox.address();
        for waits in [true, false] {
            let (owner, reference) = spawn_monitor(move || {
                let mut child = Command::new("sleep").arg("1000").spawn().expect("it runs");
                me.send(child.id());
                if waits {
                    let _ = child.wait();
                } else {
                    sleep(Duration::MAX);
                }
            });
            let pid = mailbox.message();
            assert!(state_of(pid).is_some_and(|state| state != 'Z'));
            kill(owner);
            assert_eq!(down_of(mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
            await_gone(pid);
        }
        // And one that panics.
        let (_, reference) = spawn_monitor(move || {
            let child = Command::new("sleep").arg("1000").spawn().expect("it runs");
            me.send(child.id());
            panic!("without a thought for the program");
        });
        await_gone(mailbox.message());
        down_of(mailbox, reference);
    });
}

#[test]
fn a_kill_while_programs_start_leaves_none() {
    process(|mailbox: &mut Mailbox<()>| {
        let mark = format!("10{}", std::process::id());
        for round in 0..20 {
            let argument = mark.clone();
            let (owner, reference) = spawn_monitor(move || {
                let _children: Vec<_> =
                    (0..5).map(|_| Command::new("sleep").arg(&argument).spawn().expect("it runs")).collect();
                sleep(Duration::MAX);
            });
            sleep(Duration::from_micros(300 * round));
            kill(owner);
            down_of(mailbox, reference);
        }
        let mine = || {
            let folders = fs::read_dir("/proc").expect("it is there").flatten();
            let lines = folders.filter_map(|folder| fs::read(folder.path().join("cmdline")).ok());
            let wanted = format!("sleep\0{mark}\0").into_bytes();
            lines.filter(|line| *line == wanted).count()
        };
        for _ in 0..20_000 {
            if mine() == 0 {
                return;
            }
            sleep(MS);
        }
        panic!("{} programs are left", mine());
    });
}

#[test]
fn a_program_that_is_to_be_kept_is_kept_and_reaped() {
    process(|mailbox: &mut Mailbox<u32>| {
        let me = mailbox.address();
        spawn(move || {
            let mut command = sh("read line; exit 0");
            let mut child = command.stdin(Stdio::piped()).keep_on_drop(true).spawn().expect("it runs");
            me.send(child.id());
            // Its input is handed on: as long as that is open, it runs.
            let stdin = child.stdin.take().expect("piped");
            drop(child);
            me.send(0);
            sleep(20 * MS);
            drop(stdin);
        });
        let pid = mailbox.message();
        assert_eq!(mailbox.message(), 0);
        assert!(state_of(pid).is_some_and(|state| state != 'Z'), "it runs on");
        await_gone(pid);
    });
}

#[test]
fn a_shell_is_killed_with_its_group() {
    process(|_: &mut Mailbox<()>| {
        let mut command = sh("sleep 1000 & echo $!; wait");
        let mut child = command.stdout(Stdio::piped()).group(true).spawn().expect("it runs");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("piped");
        while !line.ends_with('\n') {
            let mut byte = [0];
            stdout.read_exact(&mut byte).expect("it writes");
            line.push(char::from(byte[0]));
        }
        let grandchild = line.trim().parse().expect("a number");
        drop(child);
        // It is not our child: whoever adopts it may leave it as a zombie.
        for _ in 0..20_000 {
            if state_of(grandchild).is_none_or(|state| state == 'Z') {
                return;
            }
            sleep(MS);
        }
        panic!("the grandchild lives");
    });
}

#[derive(Debug)]
enum Message {
    Ended(io::Result<ExitStatus>),
    Output(TcpEvent),
}

#[test]
fn output_and_end_as_messages() {
    process(|mailbox: &mut Mailbox<Message>| {
        let mut command = sh("echo one; exit 5");
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
        child.notify(mailbox.address(), Message::Ended).expect("it is watched");
        let stdout = child.stdout.take().expect("piped");
        stdout.activate(mailbox.address(), Active::Always, Message::Output).expect("it is watched");
        let (mut status, mut data, mut closed) = (None, Vec::new(), false);
        while status.is_none() || !closed {
            match mailbox.message() {
                Message::Ended(result) => status = result.expect("it is ours").code(),
                Message::Output(TcpEvent::Data(piece)) => data.extend(piece),
                Message::Output(TcpEvent::Closed) => closed = true,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((status, data.as_slice()), (Some(5), &b"one\n"[..]));
        // Also if it has ended before, and known already.
        let mut child = sh("exit 6").spawn().expect("it runs");
        child.wait().expect("it ends");
        child.notify(mailbox.address(), Message::Ended).expect("it is watched");
        let Message::Ended(Ok(status)) = mailbox.message() else { panic!("the end") };
        assert_eq!(status.code(), Some(6));
        // Dropped: no message.
        let child = Command::new("sleep").arg("1000").spawn().expect("it runs");
        child.notify(mailbox.address(), Message::Ended).expect("it is watched");
        drop(child);
        assert!(mailbox.receive_timeout(30 * MS).is_none());
    });
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("it is there").count()
}

#[test]
fn a_thousand_short_programs_leave_nothing() {
    // In one mode only, for the time. Other tests of this binary run beside, with descriptors and children of their own.
    let config = Config::new().workers(2).crash_reports_per_second(0_u32);
    let run = run_with(config, || {
        let begin = descriptors();
        let mut pids = HashSet::new();
        for _ in 0..250 {
            let children: Vec<_> = (0..4)
                .map(|_| Command::new("true").stdout(Stdio::piped()).spawn().expect("it runs"))
                .collect();
            for (number, mut child) in children.into_iter().enumerate() {
                pids.insert(child.id());
                // One of four is dropped while it runs, or after its end.
                if number > 0 {
                    assert!(child.wait().expect("it ends").success());
                }
            }
        }
        pids.into_iter().for_each(await_gone);
        // Three for each would be 3000.
        let end = descriptors();
        assert!(end < begin + 300, "{begin} descriptors before, {end} after");
    });
    run.expect("it runs");
}

#[test]
fn systematic_mode_has_no_programs() {
    let run = run_with(Config::new().seed(1), || {
        let error = Command::new("true").spawn().expect_err("there are none");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("child programs"), "{error}");
    });
    run.expect("it runs");
}

#[test]
fn threads_can_use_them_too() {
    let mut child = sh("exit 4").spawn().expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(4));
    let mut child = Command::new("sleep").arg("1000").spawn().expect("it runs");
    assert_eq!(child.wait_timeout(5 * MS).expect_err("it runs").kind(), ErrorKind::TimedOut);
    let pid = child.id();
    drop(child);
    await_gone(pid);
    let node = Node::start(Config::new().workers(1)).expect("a node");
    assert!(node.stop());
}
