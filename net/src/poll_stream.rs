//! Sockets for futures.
//!
//! A future that is polled within a process waits for a socket as the process itself does: the poller of its worker wakes it, without
//! another thread. It pays reductions like any operation on a socket, but never gives up its turn in the middle of a
//! poll, for what polls it may hold a lock: when the slice is used up it says "not ready" and wakes itself, and the
//! process has its pause when the future is not ready.

use crate::{
    TcpListener, TcpStream, UnixListener, UnixStream,
    io::{Io, PRICE},
    source::Direction,
};
use engset_scheduler::current;
use std::{
    io::{self, IoSlice, Read, Write},
    net::{Shutdown, SocketAddr},
    os::fd::AsFd,
    task::{Context, Poll, ready},
};

/// A stream of bytes for futures that are polled within a process. The timeouts of the socket do not count here.
///
/// ```
/// # engset_runtime::run(|| -> std::io::Result<()> {
/// use engset_net::{PollStream, UnixStream};
/// use engset_runtime::block_on;
/// use std::{future::poll_fn, io::Write};
///
/// let (mut here, there) = UnixStream::pair()?;
/// here.write_all(b"hello")?;
/// let mut buffer = [0; 8];
/// let count = block_on(poll_fn(|context| there.poll_read(context, &mut buffer)))?;
/// assert_eq!(&buffer[..count], b"hello");
/// # Ok(())
/// # }).unwrap().unwrap();
/// ```
pub trait PollStream {
    /// Reads what is there; 0: the end.
    ///
    /// # Errors
    ///
    /// What the system says. The same for all.
    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes what there is room for.
    ///
    /// # Errors
    ///
    /// As [`PollStream::poll_read`].
    fn poll_write(&self, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>>;

    /// Writes several pieces by one call of the system.
    ///
    /// # Errors
    ///
    /// As [`PollStream::poll_read`].
    fn poll_write_vectored(
        &self,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = data.iter().find(|piece| !piece.is_empty());
        self.poll_write(context, first.map_or(&[], |piece| piece))
    }

    /// Is `poll_write_vectored` better than joining the pieces?
    fn is_write_vectored(&self) -> bool {
        false
    }

    /// Sends what is held back.
    ///
    /// # Errors
    ///
    /// As [`PollStream::poll_read`].
    fn poll_flush(&self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends the writing direction.
    ///
    /// # Errors
    ///
    /// As [`PollStream::poll_read`].
    fn poll_shutdown(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl<S: AsFd> Io<S> {
    /// An operation for a future.
    pub(crate) fn poll_paid<R>(
        &self,
        context: &mut Context<'_>,
        direction: Direction,
        f: impl FnMut(&S) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        if current::is_used_up() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let result = ready!(self.poll(context, direction, f));
        current::pay(PRICE);
        Poll::Ready(result)
    }

    /// The same for reading: what fills less than `room` is all that there is.
    pub(crate) fn poll_read_paid(
        &self,
        context: &mut Context<'_>,
        room: usize,
        mut f: impl FnMut(&S) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let source = self.source();
        let mut before = source.ready(Direction::Read);
        let result = ready!(self.poll_paid(context, Direction::Read, |io| {
            before = source.ready(Direction::Read);
            f(io)
        }));
        if let (Ok(count), Some(seen)) = (&result, before)
            && *count < room
            && *count > 0
        {
            source.used_up(seen, Direction::Read);
        }
        Poll::Ready(result)
    }
}

macro_rules! streams {
    ($($kind:ty),*) => {$(
        impl PollStream for $kind {
            fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
                self.io.poll_read_paid(context, buffer.len(), |mut io| io.read(buffer))
            }

            fn poll_write(&self, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
                self.io.poll_paid(context, Direction::Write, |mut io| io.write(data))
            }

            fn poll_write_vectored(
                &self,
                context: &mut Context<'_>,
                data: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.io.poll_paid(context, Direction::Write, |mut io| io.write_vectored(data))
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_shutdown(&self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(self.shutdown(Shutdown::Write))
            }
        }
    )*};
}

streams!(TcpStream, UnixStream);

impl TcpListener {
    /// The next connection, for futures. Unlike [`TcpListener::accept`] it does not wait for file descriptors.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        loop {
            match ready!(self.io.poll_paid(context, Direction::Read, |listener| listener.accept())) {
                Ok((stream, address)) => {
                    return Poll::Ready(Ok((TcpStream::from_nonblocking(stream.into()), address)));
                }
                Err(error) if crate::tcp::passes(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl UnixListener {
    /// As [`TcpListener::poll_accept`].
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        let (stream, _) = ready!(self.io.poll_paid(context, Direction::Read, |listener| listener.accept()))?;
        Poll::Ready(UnixStream::from_std(stream))
    }
}
