//! The bar on the terminal: a process of its own, for a terminal may be slow, or stopped.

use engset::prelude::*;
use std::io::{self, Write};

/// What the bar is told.
pub enum Bar {
    Show(Progress),
    /// Take it away, and answer when it is gone.
    Clear(Reply<()>),
}

/// How far it has come, in directories and files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    pub found: usize,
    pub done: usize,
    pub failed: usize,
}

/// Characters of the bar.
const WIDTH: usize = 30;

/// The process.
pub fn draw(mut mailbox: Mailbox<Bar>) {
    loop {
        match mailbox.message() {
            Bar::Show(progress) => write(line(progress)),
            Bar::Clear(reply) => {
                write(String::new());
                return reply.send(());
            }
        }
    }
}

fn line(progress: Progress) -> String {
    let Progress { found, done, failed } = progress;
    let full = WIDTH * done / found.max(1);
    format!("[{:.<WIDTH$}] {done} of {found}, {failed} failed", "#".repeat(full))
}

fn write(line: String) {
    // Back to the first column, the line, and nothing behind it. A terminal that has gone away is no reason to
    // stop.
    blocking(move || drop(write!(io::stderr().lock(), "\r{line}\x1b[K")));
}
