//! Counts the words of all files below a directory: one process for each file, some hundreds at a time.
//!
//! ```text
//! cargo run --release --example index -- DIR
//! ```
//!
//! | process | how many | what it does |
//! |---|---|---|
//! | the overseer | 1 | starts the readers, watches them, notes which of them crash |
//! | readers | one for each directory and file | list it, or count its words; crash if they cannot |
//! | the index | 1 | a server that adds up what the readers have counted |
//! | the bar | 1, on a terminal | draws the progress |
//!
//! A file that cannot be read, or is no text, is no case that the code of a reader treats: the reader crashes,
//! and nobody else is disturbed. The overseer learns the reason, because it monitors all readers.

#![allow(unreachable_pub, reason = "a program: what is `pub` here is for its other modules")]

mod arguments;
mod bar;
mod index;
mod reader;
mod report;

use arguments::{Arguments, Command};
use bar::{Bar, Progress};
use engset::{Builder, Config, Node, now, prelude::*, start_timer};
use index::Index;
use reader::Job;
use report::{Failure, Report};
use std::{
    collections::{HashMap, VecDeque},
    env,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

/// What the overseer is told. (That a reader has ended, or a timer has fired, is no message but an event.)
enum Note {
    /// Do it, and answer with the result.
    Run(Reply<Report>),
    /// A directory has been listed.
    Found(Vec<Job>),
}

/// Time between two drawings of the bar.
const TICK: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let arguments = match arguments::parse(env::args_os().skip(1)) {
        Ok(Command::Index(arguments)) => arguments,
        Ok(Command::Help) => return print(arguments::HELP),
        Err(error) => return fail(2, &error),
    };
    let config = match Config::from_env() {
        // The overseer tells of the crashes; reports of the runtime's would only say the same again.
        Ok(config) => config.crash_reports_per_second(0),
        Err(error) => return fail(2, &error.to_string()),
    };
    let failures = arguments.failures;
    let result = engset::run_with(config, move || {
        let overseer = spawn(move |mailbox: Mailbox<Note>| oversee(mailbox, arguments));
        overseer.call_timeout(Note::Run, Duration::MAX)
    });
    match result {
        Ok(Ok(report)) => print(&report.text(failures)),
        Ok(Err(error)) => fail(1, &error.to_string()),
        Err(error) => fail(1, &error.to_string()),
    }
}

/// The overseer.
fn oversee(mut mailbox: Mailbox<Note>, arguments: Arguments) {
    let me = mailbox.address();
    // Linked: if the index crashes there is nothing left to do, and this process ends too.
    let index = Builder::new().name("index").link().serve(Index::default()).expect("the name is free");
    let bar = io::stderr().is_terminal().then(|| {
        start_timer(TICK);
        spawn_link(bar::draw)
    });

    let mut reply = None;
    // Directories come first: then it is soon known how many files there are.
    let mut directories = vec![Job::Directory(arguments.directory)];
    let mut files = VecDeque::new();
    let mut running = HashMap::new();
    let mut progress = Progress { found: 1, ..Progress::default() };
    let mut failed = Vec::new();
    loop {
        while running.len() < arguments.at_a_time
            && let Some(job) = directories.pop().or_else(|| files.pop_front())
        {
            let path = job.path().to_owned();
            let (_, reader) = spawn_monitor(move || reader::read(job, me, index));
            running.insert(reader, path);
        }
        if running.is_empty() {
            break;
        }
        match mailbox.receive() {
            Received::Message(Note::Run(caller)) => reply = Some(caller),
            // It was sent before the reader ended, so it comes before its `Down`: there is no moment at which
            // no reader runs and yet something is missing.
            Received::Message(Note::Found(jobs)) => {
                progress.found += jobs.len();
                for job in jobs {
                    match job {
                        Job::Directory(_) => directories.push(job),
                        Job::File(_) => files.push_back(job),
                    }
                }
            }
            Received::Event(Event::Down(down)) => {
                if let Some(path) = running.remove(&down.reference) {
                    progress.done += 1;
                    if let Some(failure) = Failure::of(path, &down.reason) {
                        progress.failed += 1;
                        failed.push(failure);
                    }
                }
            }
            Received::Event(Event::Timer(_)) => {
                if let Some(bar) = bar {
                    bar.send(Bar::Show(progress));
                    start_timer(TICK);
                }
            }
            Received::Event(_) => {}
        }
    }

    if let Some(bar) = bar {
        bar.call(Bar::Clear).expect("the bar answers");
    }
    let summary =
        index.call(|reply| index::Request::Summary(arguments.top, reply)).expect("the index answers");
    let spawned = Node::current().map_or(0, |node| node.metrics().iter().map(|worker| worker.spawned).sum());
    failed.sort();
    let report = Report { summary, failed, spawned, time: now() };
    reply.unwrap_or_else(|| run_request(&mut mailbox)).send(report);
}

/// The request, if there was nothing to wait for before it came.
fn run_request(mailbox: &mut Mailbox<Note>) -> Reply<Report> {
    loop {
        if let Note::Run(reply) = mailbox.message() {
            return reply;
        }
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // `index | head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(1, &error.to_string()),
    }
}

fn fail(code: u8, error: &str) -> ExitCode {
    eprintln!("index: {error}");
    ExitCode::from(code)
}
