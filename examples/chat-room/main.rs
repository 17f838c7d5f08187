//! Chat rooms: rooms, users, moderation, and a button that crashes a room.
//!
//! ```text
//! cargo run --example chat-room                 # type "agner: /join erlang", then "agner: hello"
//! cargo run --example chat-room -- --demo       # a conversation that is always the same
//! ```
//!
//! | process | how many | what it does |
//! |---|---|---|
//! | the lobby | 1 | knows the rooms, their moderators and who is banned |
//! | rooms | one each | pass on what is said in them |
//! | users | one each | carry out a user's commands, come back into a room that has crashed |
//! | the screen | 1 | collects what the users see |
//! | supervisors | 2 | start the lobby and the rooms again |
//!
//! A room that crashes forgets who is in it. Its users learn of it, because they monitor it, and enter again when its
//! supervisor has started it again; bans hold, because the lobby keeps them.

#![allow(unreachable_pub, reason = "a program: what is `pub` here is for its other modules")]

mod arguments;
mod chat;
mod command;
mod lobby;
mod room;
mod screen;
#[cfg(test)]
mod tests;
mod user;

use arguments::{Command, Source};
use engset::{Config, RunError, prelude::*};
use std::{
    env, fs,
    io::{self, Write},
    process::ExitCode,
};

/// What `--demo` plays.
const DEMO: &str = include_str!("demo.txt");

fn main() -> ExitCode {
    let source = match arguments::parse(env::args().skip(1)) {
        Ok(Command::Run(source)) => source,
        Ok(Command::Help) => return print(arguments::HELP),
        Err(error) => return fail(2, &error.to_string()),
    };
    let config = match Config::from_env() {
        // The users tell of a crash.
        Ok(config) => config.crash_reports_per_second(0_u32),
        Err(error) => return fail(2, &error.to_string()),
    };
    let played = match source {
        Source::Terminal => terminal(config),
        Source::Demo => play(config, DEMO.to_owned()),
        Source::Script(path) => match fs::read_to_string(&path) {
            Ok(text) => play(config, text),
            Err(error) => return fail(2, &format!("{}: {error}", path.display())),
        },
    };
    match played {
        Ok(Ok(output)) => print(&output),
        Ok(Err(error)) => fail(1, &error.to_string()),
        Err(error) => fail(1, &error.to_string()),
    }
}

type Played = Result<Result<String, engset::stdlib::StartError>, RunError>;

/// A script, in systematic mode: with the same seed the output is always the same.
fn play(config: Config, text: String) -> Played {
    let seed = config.get_seed().unwrap_or(1);
    engset::run_with(config.seed(seed), move || chat::play(&text))
}

/// Lines from standard input; what users see is printed as it comes.
fn terminal(config: Config) -> Played {
    engset::run_with(config, || {
        let chat = chat::Chat::open()?;
        print(
            "Lines are \"NAME: TEXT\". TEXT may be a command: /help lists them. The end of the input ends it.\n",
        );
        let shown = chat.clone();
        spawn_link(move || {
            loop {
                for line in shown.seen() {
                    print(&format!("{line}\n"));
                }
                sleep(std::time::Duration::from_millis(20));
            }
        });
        loop {
            let mut line = String::new();
            let (read, line) = blocking(move || (io::stdin().read_line(&mut line), line));
            if !read.is_ok_and(|bytes| bytes > 0) {
                // What the last lines have led to is still under way.
                sleep(std::time::Duration::from_millis(100));
                return Ok(chat.seen().into_iter().map(|line| line + "\n").collect());
            }
            chat.input(&line);
        }
    })
}

fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(1, &error.to_string()),
    }
}

fn fail(code: u8, error: &str) -> ExitCode {
    eprintln!("chat-room: {error}");
    ExitCode::from(code)
}
