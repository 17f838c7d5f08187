//! Standard input and output: this test binary runs itself as a child program.

#![allow(clippy::disallowed_methods, reason = "tests look at the real clock and block real threads")]
#![allow(clippy::print_stdout, reason = "it is about standard output")]

mod support;

use engset_net::{
    process::{Child, Command, Stdio},
    stdio::{stdin, stdout},
};
use engset_runtime::{Config, Mailbox, run_with, sleep, spawn};
use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    time::Duration,
};
use support::process;

const MS: Duration = Duration::from_millis(1);

/// The child's side: what it does is said by a variable. Without it there is nothing to do.
#[test]
fn child() {
    let Ok(part) = std::env::var("ENGSET_STDIO") else { return };
    // What libtest has written ends without a line's end.
    println!();
    let run = run_with(Config::new().workers(1), move || match part.as_str() {
        "echo" => echo(),
        "readers" => readers(),
        "flood" => flood(),
        other => panic!("{other}"),
    });
    run.expect("it runs");
}

/// Says how it goes on, whatever other processes of the only worker wait for.
fn tick() {
    for number in 0.. {
        eprintln!("tick {number}");
        sleep(5 * MS);
    }
}

fn echo() {
    spawn(tick);
    let mut out = stdout();
    for line in stdin().lines() {
        writeln!(out, "> {}", line.expect("it is read")).expect("it is written");
    }
    out.write_all(b"> the end").expect("it is written");
}

fn readers() {
    let mut addresses = Vec::new();
    for reader in 0..4 {
        addresses.push(spawn(move |mut mailbox: Mailbox<engset_runtime::Reply<()>>| {
            let reply = mailbox.message();
            loop {
                let line = stdin().read_line().expect("it is read");
                if line.is_empty() {
                    break;
                }
                // In several pieces: they go out as one line.
                let mut out = stdout();
                for piece in [">", " ", line.trim_end(), " ", &reader.to_string(), "\n"] {
                    out.write_all(piece.as_bytes()).expect("it is written");
                }
            }
            reply.send(());
        }));
    }
    let calls = addresses.into_iter().map(|reader| reader.call_async_timeout(|reply| reply, Duration::MAX));
    for call in calls.collect::<Vec<_>>() {
        engset_runtime::block_on(call).expect("it ends");
    }
}

fn flood() {
    spawn(tick);
    let mut out = stdout();
    for number in 0..100_000 {
        writeln!(out, "> {number}").expect("it is written");
    }
}

fn start(part: &str) -> Child {
    Command::new(std::env::current_exe().expect("the test binary"))
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env("ENGSET_STDIO", part)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the test binary runs")
}

/// Waits until the child has ticked a few times more.
fn await_ticks(lines: &mut impl Iterator<Item = std::io::Result<String>>) {
    let ticks = lines.map(|line| line.expect("it is read")).filter(|line| line.starts_with("tick "));
    assert_eq!(ticks.take(5).count(), 5);
}

#[test]
fn a_process_that_waits_for_input_leaves_its_worker() {
    process(|_: &mut Mailbox<()>| {
        let mut child = start("echo");
        let mut input = child.stdin.take().expect("piped");
        let mut errors = BufReader::new(child.stderr.take().expect("piped")).lines();
        await_ticks(&mut errors);
        // A line in two parts, with a pause.
        input.write_all(b"one\ntw").expect("it reads");
        await_ticks(&mut errors);
        input.write_all(b"o\r\n\nno end").expect("it reads");
        drop(input);
        spawn(move || errors.for_each(drop));
        let mut text = String::new();
        child.stdout.take().expect("piped").read_to_string(&mut text).expect("it is text");
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with('>')).collect();
        assert_eq!(lines[..4], ["> one", "> two", "> ", "> no end"], "{text}");
        assert!(text.contains("> the end"), "{text}");
        assert!(child.wait().expect("it ends").success());
    });
}

#[test]
fn each_line_goes_to_one_of_several_readers() {
    process(|_: &mut Mailbox<()>| {
        let mut child = start("readers");
        let mut input = child.stdin.take().expect("piped");
        let output = child.stdout.take().expect("piped");
        spawn(move || {
            for number in 0..2000 {
                writeln!(input, "{number}").expect("it reads");
                if number % 100 == 0 {
                    sleep(MS);
                }
            }
        });
        let mut seen = Vec::new();
        for line in BufReader::new(output).lines() {
            let line = line.expect("it is text");
            if let Some(rest) = line.strip_prefix("> ") {
                let (number, reader) = rest.split_once(' ').expect("two words");
                assert!(reader.parse::<u32>().expect("a reader") < 4, "{line}");
                seen.push(number.parse::<u32>().expect("a number"));
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..2000).collect::<Vec<_>>());
        assert!(child.wait().expect("it ends").success());
    });
}

#[test]
fn a_process_that_waits_for_a_reader_leaves_its_worker() {
    process(|_: &mut Mailbox<()>| {
        let mut child = start("flood");
        let mut errors = BufReader::new(child.stderr.take().expect("piped")).lines();
        // Long after the pipe is full.
        for _ in 0..10 {
            await_ticks(&mut errors);
        }
        spawn(move || errors.for_each(drop));
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let lines = lines.map(|line| line.expect("it is text")).filter(|line| line.starts_with("> "));
        let mut next = 0;
        for line in lines {
            assert_eq!(line, format!("> {next}"));
            next += 1;
        }
        assert_eq!(next, 100_000);
        assert!(child.wait().expect("it ends").success());
    });
}

#[test]
fn systematic_mode_has_no_input() {
    let run = run_with(Config::new().seed(1), || {
        assert_eq!(stdin().read_line().expect_err("there is none").kind(), ErrorKind::Unsupported);
    });
    run.expect("it runs");
}
