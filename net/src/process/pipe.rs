//! The pipes to a program.

use crate::{
    PollStream, TcpEvent,
    active::Active,
    io::Io,
    packet::{Framer, Packet},
    poller::refuse_systematic,
    source::Direction,
};
use engset_runtime::Address;
use rustix::io::ioctl_fionbio;
use std::{
    fmt,
    fs::File,
    io::{self, IoSlice, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// What one read of a future takes.
const PIECE: usize = 64 * 1024;

fn wrap(fd: OwnedFd) -> io::Result<Io<File>> {
    refuse_systematic()?;
    ioctl_fionbio(&fd, true)?;
    Ok(Io::new(File::from(fd)))
}

/// The end of a pipe that reads.
pub struct PipeReader {
    io: Arc<Io<File>>,
}

impl PipeReader {
    /// Makes one of a descriptor: of a pipe, or of anything else that can be polled.
    ///
    /// # Errors
    ///
    /// It cannot be made non-blocking; systematic mode.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        Ok(PipeReader { io: Arc::new(wrap(fd)?) })
    }

    /// The longest time that one read may wait; `None`: for ever.
    ///
    /// # Errors
    ///
    /// It is zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.io.set_timeout(Direction::Read, timeout)
    }

    /// Data come as messages: see [`TcpStream::activate`](crate::TcpStream::activate), also for the events.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn activate<M: Send + 'static>(
        &self,
        to: Address<M>,
        mode: Active,
        wrap: impl Fn(TcpEvent) -> M + Send + 'static,
    ) -> io::Result<()> {
        self.io.activate(Framer::new(Packet::Raw), to, mode, wrap)
    }

    /// See [`TcpStream::set_active`](crate::TcpStream::set_active).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_active(&self, mode: Active) -> io::Result<()> {
        self.io.set_active(mode)
    }

    /// For futures: appends what is there; 0: the end.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn poll_read_more(
        &self,
        context: &mut Context<'_>,
        data: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        let length = data.len();
        data.resize(length + PIECE, 0);
        let result = self.poll_read(context, &mut data[length..]);
        let count = if let Poll::Ready(Ok(count)) = result { count } else { 0 };
        data.truncate(length + count);
        result
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io.read(buffer.len(), |mut io| io.read(buffer))
    }
}

impl PollStream for PipeReader {
    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.io.poll_read_paid(context, buffer.len(), |mut io| io.read(buffer))
    }

    fn poll_write(&self, _context: &mut Context<'_>, _data: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::Error::new(io::ErrorKind::Unsupported, "this end of the pipe reads")))
    }

    fn poll_shutdown(&self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The end of a pipe that writes. The reader sees the end of the data when it is dropped.
pub struct PipeWriter {
    io: Io<File>,
}

impl PipeWriter {
    /// As [`PipeReader::from_fd`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        Ok(PipeWriter { io: wrap(fd)? })
    }

    /// The longest time that one write may wait for room; `None`: for ever.
    ///
    /// # Errors
    ///
    /// It is zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.io.set_timeout(Direction::Write, timeout)
    }

    /// For futures: writes what there is room for.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn poll_write(&self, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.io.poll_paid(context, Direction::Write, |mut io| io.write(data))
    }
}

impl Write for PipeWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.io.run(Direction::Write, |mut io| io.write(data))
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.io.run(Direction::Write, |mut io| io.write_vectored(data))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

macro_rules! ends {
    ($($kind:ident),*) => {$(
        impl AsFd for $kind {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.io.as_fd()
            }
        }

        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($kind)).field(&self.as_fd()).finish()
            }
        }
    )*};
}

ends!(PipeReader, PipeWriter);
