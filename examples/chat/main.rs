//! A chat over nodes: one program in each terminal, on one machine or on several.
//!
//! ```text
//! cargo run --release --example chat -- --name ann        # in one terminal
//! cargo run --release --example chat -- --name bob        # in another one
//! ```
//!
//! They find each other by the directory of the host's nodes; `--name ann@192.168.0.7:7101 --join bob@192.168.0.8:7101` and a secret reach
//! other machines. Close one, kill it with `kill -9`, start it again: the others say who has left, and who is back.
//!
//! | file | |
//! |---|---|
//! | `arguments.rs` | the command line |
//! | `person.rs` | the one process there is: it hears what is typed here and said elsewhere |
//!
//! All else is the library's: groups over nodes (who is in a room), discovery (which nodes there are), the failure detector.

mod arguments;
mod person;

use arguments::{Arguments, Command};
use engset::{
    Config, Node,
    dist::{self, HostNames, Secret, discovery::Nodes, tcp},
};
use std::{
    error::Error,
    io::{BufRead, stdin},
    process::ExitCode,
    sync::mpsc,
    thread,
};

#[allow(dead_code, reason = "a test includes this file, and calls `run`")]
fn main() -> ExitCode {
    run(std::env::args().skip(1))
}

pub(crate) fn run(words: impl Iterator<Item = String>) -> ExitCode {
    match arguments::parse(words) {
        Ok(Command::Help) => {
            say(arguments::HELP);
            ExitCode::SUCCESS
        }
        Ok(Command::Chat(arguments)) => match chat(arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("chat: {error}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("chat: {error}\n\n{}", arguments::HELP);
            ExitCode::from(2)
        }
    }
}

fn chat(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let Arguments { name, listen, room, join, secret } = arguments;
    let node = Node::start(Config::new())?;
    let config = dist::Config::new(&*name, Secret::new(secret)).cluster("chat").on_host(HostNames::new()?);
    let config = if join.is_empty() { config } else { config.discover(Nodes::new(join)) };
    let (_, address) = tcp::join(&node, config, listen)?;
    let (end, ended) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    node.spawn(move |mailbox| {
        // Sent, or dropped with the process: it is over.
        let _end = end;
        tell.send(engset::Mailbox::address(&mailbox)).ok();
        person::run(mailbox, &name, address, &room);
    })?;
    let person = told.recv()?;
    // A thread that is left behind when the chat is over: it waits for a line.
    thread::spawn(move || {
        stdin().lock().lines().map_while(Result::ok).for_each(|line| person.send(person::Heard::Typed(line)));
        person.send(person::Heard::End);
    });
    let _: Result<(), _> = ended.recv();
    if node.stop() { Ok(()) } else { Err("something did not end".into()) }
}

/// A line on standard output.
#[allow(clippy::print_stdout, reason = "a program that talks")]
fn say(line: &str) {
    println!("{line}");
}
