//! What is to be started.

use super::{
    Child, Output, Stdio,
    child::{Options, Program},
};
use crate::poller::refuse_systematic;
use engset_runtime::{block_on, blocking, future};
use std::{
    ffi::OsStr,
    future::poll_fn,
    io::{self, ErrorKind},
    mem,
    os::unix::process::CommandExt,
    path::Path,
    process::{self, ExitStatus},
    task::{Context, Poll},
    time::Duration,
};

/// A program to be started: as [`std::process::Command`].
#[derive(Debug)]
pub struct Command {
    command: process::Command,
    options: Options,
    input: Option<Vec<u8>>,
    /// Which of stdin, stdout and stderr have been set.
    set: [bool; 3],
}

impl Command {
    /// A program, which is looked for in `PATH`; without arguments; standard streams are inherited.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let options = Options { keep: false, group: false };
        Command { command: process::Command::new(program), options, input: None, set: [false; 3] }
    }

    /// Adds an argument.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.command.env(name, value);
        self
    }

    /// Takes a variable out of its environment.
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.command.env_remove(name);
        self
    }

    /// It inherits no variables.
    pub fn env_clear(&mut self) -> &mut Self {
        self.command.env_clear();
        self
    }

    /// The folder that it runs in.
    pub fn current_dir(&mut self, folder: impl AsRef<Path>) -> &mut Self {
        self.command.current_dir(folder);
        self
    }

    /// Where it reads from.
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Self {
        self.command.stdin(stdin);
        self.set[0] = true;
        self
    }

    /// Where it writes to.
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Self {
        self.command.stdout(stdout);
        self.set[1] = true;
        self
    }

    /// Where it reports to.
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Self {
        self.command.stderr(stderr);
        self.set[2] = true;
        self
    }

    /// What [`Command::output`] gives it to read.
    pub fn input(&mut self, data: impl Into<Vec<u8>>) -> &mut Self {
        self.input = Some(data.into());
        self
    }

    /// The program goes on when its [`Child`] is dropped; it is reaped when it ends.
    pub fn keep_on_drop(&mut self, keep: bool) -> &mut Self {
        self.options.keep = keep;
        self
    }

    /// It leads a process group of its own, and signals go to all of the group: so a shell is killed with what it has
    /// started.
    pub fn group(&mut self, group: bool) -> &mut Self {
        self.options.group = group;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// There is no such program, it cannot be started, or this is systematic mode.
    ///
    /// # Signals
    ///
    /// If an exit signal ends the process, its stack unwinds from here, and the program is killed if it has started.
    pub fn spawn(&mut self) -> io::Result<Child> {
        refuse_systematic().map_err(|_| {
            io::Error::new(ErrorKind::Unsupported, "there are no child programs in systematic mode")
        })?;
        if self.options.group {
            self.command.process_group(0);
        }
        let mut command = mem::replace(&mut self.command, process::Command::new(""));
        let options = self.options;
        // Made into a value that kills over there: if this process is killed meanwhile, so is the program.
        let (command, started) = blocking(move || {
            let started = command.spawn().and_then(|child| Program::new(child, options));
            (command, started)
        });
        self.command = command;
        let (program, pipes) = started.map_err(|error| {
            let name = self.command.get_program().display();
            io::Error::new(error.kind(), format!("{name} cannot be started: {error}"))
        })?;
        Child::new(program, pipes)
    }

    /// Starts it and waits for its end.
    ///
    /// # Errors
    ///
    /// As [`Command::spawn`].
    ///
    /// # Signals
    ///
    /// As there.
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Starts it, gives it its [input](Command::input), and waits for its end and for all that it writes. Standard streams that nothing was said
    /// of: no input; output and errors are collected.
    ///
    /// # Errors
    ///
    /// As [`Command::spawn`]; outside of a process.
    ///
    /// # Signals
    ///
    /// As there.
    pub fn output(&mut self) -> io::Result<Output> {
        self.output_within(Duration::MAX)
    }

    /// The same, but if it takes longer the program is killed.
    ///
    /// # Errors
    ///
    /// As [`Command::output`], and [`TimedOut`](ErrorKind::TimedOut).
    ///
    /// # Signals
    ///
    /// As there.
    pub fn output_timeout(&mut self, limit: Duration) -> io::Result<Output> {
        self.output_within(limit)
    }

    fn output_within(&mut self, limit: Duration) -> io::Result<Output> {
        if self.input.is_some() {
            self.stdin(Stdio::piped());
        } else if !self.set[0] {
            self.command.stdin(Stdio::null());
        }
        if !self.set[1] {
            self.command.stdout(Stdio::piped());
        }
        if !self.set[2] {
            self.command.stderr(Stdio::piped());
        }
        let mut child = self.spawn()?;
        let mut talk = Talk {
            input: self.input.clone().unwrap_or_default(),
            written: 0,
            output: Output { status: ExitStatus::default(), stdout: Vec::new(), stderr: Vec::new() },
        };
        let all = poll_fn(|context| talk.poll(&mut child, context));
        talk.output.status = block_on(future::timeout(limit, all))??;
        Ok(talk.output)
    }
}

/// Giving a program its input and taking its output, all at once: whoever did one after the other might wait for ever.
struct Talk {
    input: Vec<u8>,
    written: usize,
    output: Output,
}

impl Talk {
    fn poll(&mut self, child: &mut Child, context: &mut Context<'_>) -> Poll<io::Result<ExitStatus>> {
        while let Some(stdin) = &child.stdin {
            if self.written == self.input.len() {
                child.stdin = None;
                break;
            }
            match stdin.poll_write(context, &self.input[self.written..]) {
                Poll::Ready(Ok(count)) => self.written += count,
                // It wants no more.
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::BrokenPipe => child.stdin = None,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        for (pipe, data) in
            [(&mut child.stdout, &mut self.output.stdout), (&mut child.stderr, &mut self.output.stderr)]
        {
            while let Some(reader) = pipe {
                match reader.poll_read_more(context, data) {
                    Poll::Ready(Ok(0)) => *pipe = None,
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break,
                }
            }
        }
        if child.stdout.is_some() || child.stderr.is_some() {
            return Poll::Pending;
        }
        child.poll_wait(context)
    }
}
