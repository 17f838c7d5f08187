//! The program's standard input and output, for processes.
//!
//! 1. They are not made non-blocking, for others share them (the shell, other programs of a pipeline). The process waits until the
//!    system says that there is something, or room; then an operation does not block.
//! 2. There is one buffer for standard input in the program, shared by all processes: no line is lost between two readers, and each line goes to one
//!    of them. What std has read into its own buffer is not seen here.
//! 3. What is written goes out line by line, each in one piece as long as it is not longer than 4096 bytes: lines of several processes
//!    do not mix. There is no common buffer with std's `println!`.
//! 4. Output to a terminal or a file, which the system cannot wait for in this way, is written on a thread for blocking calls.
//! 5. In systematic mode both are errors of the kind [`Unsupported`](std::io::ErrorKind::Unsupported) to read, while output is written at once.

use crate::{
    io::Io,
    poller::{self, Happened, lock, refuse_systematic},
    source::{Direction, READ},
};
use engset_runtime::{blocking, future::detach, uninterrupted};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    fmt, fs,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileTypeExt,
    },
    sync::{Arc, Mutex, OnceLock},
};

/// What a pipe takes in one piece, or not at all (`PIPE_BUF`).
const ATOMIC: usize = 4096;
/// What is read in one go.
const PIECE: usize = 16 * 1024;
/// A line that is longer goes out in parts.
const LONGEST: usize = 64 * 1024;

/// Is it ready now?
fn is_ready(fd: BorrowedFd<'_>, flags: PollFlags) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&fd, flags)], Some(&at_once)).is_ok_and(|count| count > 0)
}

struct Input {
    io: Io<io::Stdin>,
    buffer: Mutex<Buffer>,
}

#[derive(Default)]
struct Buffer {
    data: Vec<u8>,
    /// Where what is left begins.
    at: usize,
    /// Nothing more will come.
    ended: bool,
}

/// The program's standard input. See [`stdin`].
#[derive(Clone)]
pub struct Stdin(Arc<Input>);

/// The program's standard input: lines, for processes that wait for them without a worker.
///
/// ```no_run
/// # engset_runtime::run(|| -> std::io::Result<()> {
/// use std::io::Write;
///
/// for line in engset_net::stdio::stdin().lines() {
///     writeln!(engset_net::stdio::stdout(), "you said {}", line?)?;
/// }
/// # Ok(())
/// # }).unwrap().unwrap();
/// ```
#[must_use]
pub fn stdin() -> Stdin {
    static INPUT: OnceLock<Arc<Input>> = OnceLock::new();
    let make = || Arc::new(Input { io: Io::new(io::stdin()), buffer: Mutex::default() });
    Stdin(Arc::clone(INPUT.get_or_init(make)))
}

impl Stdin {
    /// The next line, with its end; empty: there is nothing more.
    ///
    /// # Errors
    ///
    /// What the system says; the line is no UTF-8; systematic mode.
    ///
    /// # Signals
    ///
    /// If an exit signal ends the process, its stack unwinds from here. No input is lost.
    pub fn read_line(&self) -> io::Result<String> {
        let line = self.take_when(|buffer| {
            let rest = &buffer.data[buffer.at..];
            // Only what is new would have to be searched; lines are short.
            match rest.iter().position(|byte| *byte == b'\n') {
                Some(end) => Some(end + 1),
                None => buffer.ended.then_some(rest.len()),
            }
        })?;
        String::from_utf8(line).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("a line of standard input: {error}"))
        })
    }

    /// All lines to come, without their ends.
    pub fn lines(self) -> impl Iterator<Item = io::Result<String>> {
        std::iter::from_fn(move || match self.read_line() {
            Ok(line) if line.is_empty() => None,
            Ok(mut line) => {
                let length = line.trim_end_matches('\n').trim_end_matches('\r').len();
                line.truncate(length);
                Some(Ok(line))
            }
            Err(error) => Some(Err(error)),
        })
    }

    /// Takes so many bytes out of the buffer as `wanted` says; until it says so, more is read.
    fn take_when(&self, wanted: impl Fn(&Buffer) -> Option<usize>) -> io::Result<Vec<u8>> {
        refuse_systematic().map_err(|_| {
            io::Error::new(io::ErrorKind::Unsupported, "no standard input in systematic mode")
        })?;
        let mut more = false;
        let taken = self.0.io.run(Direction::Read, |stdin| {
            uninterrupted(|| {
                let mut buffer = lock(&self.0.buffer);
                loop {
                    if let Some(count) = wanted(&buffer) {
                        let from = buffer.at;
                        buffer.at += count;
                        more = buffer.at < buffer.data.len() || buffer.ended;
                        return Ok(buffer.data[from..from + count].to_vec());
                    }
                    if !is_ready(stdin.as_fd(), PollFlags::IN) {
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                    let Buffer { data, at, ended } = &mut *buffer;
                    data.drain(..std::mem::take(at));
                    let length = data.len();
                    data.resize(length + PIECE, 0);
                    let result = rustix::io::read(stdin, &mut data[length..]);
                    data.truncate(length + result.unwrap_or(0));
                    *ended |= result? == 0;
                }
            })
        });
        if more {
            // Others may wait for what is in the buffer now: the system will not tell them.
            self.0.io.source().happened(Happened { bits: READ });
        }
        taken
    }
}

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let data = self.take_when(|kept| {
            let left = kept.data.len() - kept.at;
            (left > 0 || kept.ended).then_some(left.min(buffer.len()))
        })?;
        buffer[..data.len()].copy_from_slice(&data);
        Ok(data.len())
    }
}

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stdin")
    }
}

struct Output {
    io: Io<io::Stdout>,
    /// It can be waited for.
    is_pipe: bool,
}

/// The program's standard output, with a buffer of this value's own for the line that is being written. See [`stdout`].
pub struct Stdout {
    output: Arc<Output>,
    line: Vec<u8>,
}

/// The program's standard output, for processes: whoever writes to a pipe that nobody reads waits without a worker.
/// A line goes out when it is complete, or with [`flush`](Write::flush), or when the value is dropped.
#[must_use]
pub fn stdout() -> Stdout {
    static OUTPUT: OnceLock<Arc<Output>> = OnceLock::new();
    let make = || {
        let io = Io::new(io::stdout());
        let kind = io.as_fd().try_clone_to_owned().and_then(|fd| fs::File::from(fd).metadata());
        Arc::new(Output { io, is_pipe: kind.is_ok_and(|kind| kind.file_type().is_fifo()) })
    };
    Stdout { output: Arc::clone(OUTPUT.get_or_init(make)), line: Vec::new() }
}

impl Stdout {
    fn send(&mut self, count: usize) -> io::Result<()> {
        let data: Vec<u8> = self.line.drain(..count).collect();
        let output = &self.output;
        if !output.is_pipe || poller::refuse_systematic().is_err() {
            let output = Arc::clone(output);
            return blocking(move || write_all(&output, &data));
        }
        // Each piece ends with a line if it can.
        let mut rest = data.as_slice();
        while !rest.is_empty() {
            let most = &rest[..rest.len().min(ATOMIC)];
            let end =
                if most.len() == rest.len() { None } else { most.iter().rposition(|byte| *byte == b'\n') };
            let piece = &most[..end.map_or(most.len(), |end| end + 1)];
            let written = output.io.run(Direction::Write, |stdout| {
                if is_ready(stdout.as_fd(), PollFlags::OUT) {
                    Ok(rustix::io::write(stdout, piece)?)
                } else {
                    Err(io::ErrorKind::WouldBlock.into())
                }
            })?;
            rest = &rest[written..];
        }
        Ok(())
    }
}

fn write_all(output: &Output, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match rustix::io::write(output.io.get_ref(), data) {
            Ok(written) => data = &data[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Write for Stdout {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(data);
        let complete = self.line.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let due = if self.line.len() > LONGEST { self.line.len() } else { complete };
        if due > 0 {
            self.send(due)?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send(self.line.len())
    }
}

impl Drop for Stdout {
    fn drop(&mut self) {
        if self.line.is_empty() {
            return;
        }
        if engset_scheduler::current::may_wait() || !engset_scheduler::current::on_worker() {
            // Nobody would see the error.
            let _ = self.flush();
        } else {
            let (output, line) = (Arc::clone(&self.output), std::mem::take(&mut self.line));
            detach(move || drop(write_all(&output, &line)));
        }
    }
}

impl fmt::Debug for Stdout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stdout")
    }
}
