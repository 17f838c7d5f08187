//! A program that runs.

use super::{PipeReader, PipeWriter, reaper};
use crate::{
    active::{Active, Pieces, Taken},
    io::Io,
    poller::lock,
    source::Direction,
};
use engset_runtime::Address;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use std::{
    fmt,
    io::{self, ErrorKind},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::{self, ExitStatus},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

/// What was said when it was started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) keep: bool,
    pub(super) group: bool,
}

/// A program, not shared: what is dropped with it is the program itself.
pub(super) struct Program {
    /// `None`: it has been reaped, or handed to the reaper.
    child: Mutex<Option<process::Child>>,
    /// How it has ended.
    status: Mutex<Option<ExitStatus>>,
    end: Option<OwnedFd>,
    options: Options,
    pid: Pid,
}

/// Its ends of our pipes.
pub(super) struct Pipes(
    Option<process::ChildStdin>,
    Option<process::ChildStdout>,
    Option<process::ChildStderr>,
);

impl Program {
    pub(super) fn new(mut child: process::Child, options: Options) -> io::Result<(Self, Pipes)> {
        let pipes = Pipes(child.stdin.take(), child.stdout.take(), child.stderr.take());
        let pid = Pid::from_child(&child);
        let opened = pidfd_open(pid, PidfdFlags::empty());
        // It exists before anything can fail: its end is looked after.
        let mut program =
            Program { child: Mutex::new(Some(child)), status: Mutex::default(), end: None, options, pid };
        program.end = Some(opened?);
        Ok((program, pipes))
    }

    /// `WouldBlock`: it runs.
    fn try_wait(&self) -> io::Result<ExitStatus> {
        let mut child = lock(&self.child);
        let Some(running) = child.as_mut() else {
            return lock(&self.status).ok_or_else(|| io::Error::other("the program is not ours any more"));
        };
        let status = running.try_wait()?.ok_or(ErrorKind::WouldBlock)?;
        *lock(&self.status) = Some(status);
        *child = None;
        Ok(status)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        // With the lock: until it is reaped its number is its own.
        let child = lock(&self.child);
        if child.is_none() {
            return Ok(());
        }
        if self.options.group {
            match kill_process_group(self.pid, signal) {
                // All have ended: as well.
                Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
                Err(error) => Err(error.into()),
            }
        } else {
            Ok(kill_process(self.pid, signal)?)
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.try_wait().is_ok() {
            return;
        }
        if !self.options.keep {
            // It fails if there is nothing to be killed.
            let _ = self.signal(Signal::KILL);
        }
        if let Some(child) = lock(&self.child).take() {
            reaper::hand_over(child, self.end.take());
        }
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.end {
            Some(end) => end.as_fd(),
            None => unreachable!("only a program that is being made or dropped has none"),
        }
    }
}

/// The end of a program, as a message.
struct Ended(io::Result<ExitStatus>);

/// Makes one piece: how it has ended.
struct End;

impl Pieces<Program> for End {
    type Event = Ended;

    fn waiting(&mut self) -> io::Result<Option<Ended>> {
        Ok(None)
    }

    fn take(&mut self, program: &Program) -> io::Result<Option<Taken<Ended>>> {
        match program.try_wait() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(error),
            result => Ok(Some(Taken { event: Some(Ended(result)), all: false })),
        }
    }

    fn last(&mut self) -> io::Result<Option<Ended>> {
        Ok(None)
    }

    fn passive() -> Ended {
        Ended(Err(io::Error::other("never: the mode is Once")))
    }

    fn failed(error: Option<io::Error>) -> (Option<Ended>, Option<Ended>) {
        (error.map(|error| Ended(Err(error))), None)
    }

    fn survives(_error: &io::Error) -> bool {
        false
    }
}

/// A program that has been started. If it is dropped the program is killed, unless it was told otherwise: see the [module](super).
pub struct Child {
    io: Arc<Io<Program>>,
    /// What it reads, if that is a pipe.
    pub stdin: Option<PipeWriter>,
    /// What it writes, if that is a pipe.
    pub stdout: Option<PipeReader>,
    /// What it reports, if that is a pipe.
    pub stderr: Option<PipeReader>,
}

impl Child {
    pub(super) fn new(program: Program, pipes: Pipes) -> io::Result<Self> {
        let Pipes(stdin, stdout, stderr) = pipes;
        Ok(Child {
            io: Arc::new(Io::new(program)),
            stdin: stdin.map(|pipe| PipeWriter::from_fd(pipe.into())).transpose()?,
            stdout: stdout.map(|pipe| PipeReader::from_fd(pipe.into())).transpose()?,
            stderr: stderr.map(|pipe| PipeReader::from_fd(pipe.into())).transpose()?,
        })
    }

    /// The number that the system has given to it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.io.get_ref().pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Waits for its end. Its standard input is closed first, as in std.
    ///
    /// # Errors
    ///
    /// What the system says.
    ///
    /// # Signals
    ///
    /// If an exit signal ends the process, its stack unwinds from here.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.stdin = None;
        self.wait_within(None)
    }

    /// The same, but it gives up after a while; the program goes on.
    ///
    /// # Errors
    ///
    /// As [`Child::wait`], and [`TimedOut`](ErrorKind::TimedOut).
    ///
    /// # Signals
    ///
    /// As there.
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<ExitStatus> {
        self.stdin = None;
        self.wait_within(Some(timeout))
    }

    fn wait_within(&self, timeout: Option<Duration>) -> io::Result<ExitStatus> {
        self.io.run_until(Direction::Read, timeout, Program::try_wait, |_| false).map_err(|error| {
            if error.kind() == ErrorKind::TimedOut {
                return io::Error::new(ErrorKind::TimedOut, format!("program {} still runs", self.id()));
            }
            error
        })
    }

    /// How it has ended; `None`: it runs.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        match self.io.get_ref().try_wait() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            result => result.map(Some),
        }
    }

    /// For futures: how it has ended.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn poll_wait(&self, context: &mut Context<'_>) -> Poll<io::Result<ExitStatus>> {
        self.io.poll_paid(context, Direction::Read, Program::try_wait)
    }

    /// Its end comes as a message to `to`, once. The program still belongs to this value: if it is dropped first, no message comes.
    ///
    /// ```
    /// # engset_runtime::run(|| {
    /// use engset_net::process::{Command, ExitStatus};
    /// use engset_runtime::{Mailbox, Reply, spawn};
    /// use std::io;
    ///
    /// enum Message { Ended(io::Result<ExitStatus>) }
    ///
    /// let owner = spawn(|mut mailbox: Mailbox<Message>| {
    ///     let child = Command::new("true").spawn().unwrap();
    ///     child.notify(mailbox.address(), Message::Ended).unwrap();
    ///     let Message::Ended(status) = mailbox.message();
    ///     assert!(status.unwrap().success());
    /// });
    /// # let monitor = engset_runtime::monitor(owner);
    /// # let _ = monitor;
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// It cannot be watched; the caller is no process.
    pub fn notify<M: Send + 'static>(
        &self,
        to: Address<M>,
        wrap: impl Fn(io::Result<ExitStatus>) -> M + Send + 'static,
    ) -> io::Result<()> {
        self.io.activate(End, to, Active::Once, move |Ended(status)| wrap(status))
    }

    /// Kills it (`SIGKILL`), or its group. Nothing happens if it has been waited for.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn kill(&self) -> io::Result<()> {
        self.io.get_ref().signal(Signal::KILL)
    }

    /// Asks it to end (`SIGTERM`).
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn terminate(&self) -> io::Result<()> {
        self.io.get_ref().signal(Signal::TERM)
    }

    /// Sends it a signal, by its number.
    ///
    /// # Errors
    ///
    /// There is no such signal; what the system says.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        let signal = Signal::from_named_raw(number)
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, format!("{number} is no signal")))?;
        self.io.get_ref().signal(signal)
    }

    /// Asks it to end, waits for `grace` at most, and kills it if it still runs then.
    ///
    /// # Errors
    ///
    /// What the system says.
    ///
    /// # Signals
    ///
    /// If an exit signal ends the process, its stack unwinds from here.
    pub fn stop(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        self.terminate()?;
        match self.wait_timeout(grace) {
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                self.kill()?;
                self.wait()
            }
            result => result,
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("id", &self.id()).finish_non_exhaustive()
    }
}
