//! Accepting connections.

use super::TcpStream;
use crate::{
    addr::{ToSocketAddrs, each},
    io::Io,
    poller::refuse_systematic,
    source::Direction,
};
use engset_runtime::sleep;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    fmt, io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

/// Connections that the kernel keeps for us until they are accepted; it may have a lower limit of its own.
const BACKLOG: i32 = 4096;
/// Pauses while there are no file descriptors: the first, and the longest.
const SHORTAGE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// A TCP socket that accepts connections. Several processes may accept from one (in an `Arc`).
///
/// The [crate](crate) shows how it is used.
pub struct TcpListener {
    pub(crate) io: Io<mio::net::TcpListener>,
}

/// A connection, and who is at the other end.
pub type Accepted = (TcpStream, SocketAddr);

impl TcpListener {
    /// Listens at an address; with port 0 the system chooses one ([`TcpListener::local_addr`]). The address may still be
    /// in use by closed connections of an earlier listener (`SO_REUSEADDR`).
    ///
    /// # Errors
    ///
    /// The name is not known, the address is in use or not ours, or this is systematic mode.
    pub fn bind(addr: impl ToSocketAddrs) -> io::Result<Self> {
        refuse_systematic()?;
        each(&addr.to_addrs()?, |address| {
            let socket =
                Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            Self::from_std(socket.into())
        })
    }

    /// Makes one of a listener of the standard library (which may have been inherited, or set up by `socket2`).
    ///
    /// # Errors
    ///
    /// It cannot be made non-blocking; systematic mode.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        refuse_systematic()?;
        listener.set_nonblocking(true)?;
        Ok(TcpListener { io: Io::new(mio::net::TcpListener::from_std(listener)) })
    }

    /// The next connection; waits for one.
    ///
    /// When the program or the system has no file descriptor left, that is reported once, and it waits until
    /// there is one. A connection that has broken off before it was accepted is passed over.
    ///
    /// # Errors
    ///
    /// What the system says. (Of those that do not pass, none is usual.)
    ///
    /// # Signals
    ///
    /// If an exit signal ends the process, its stack unwinds from here.
    pub fn accept(&self) -> io::Result<Accepted> {
        self.accept_within(None)
    }

    /// The same, but it gives up after a while.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::accept`], and [`TimedOut`](io::ErrorKind::TimedOut).
    ///
    /// # Signals
    ///
    /// As [`TcpListener::accept`].
    pub fn accept_timeout(&self, timeout: Duration) -> io::Result<Accepted> {
        self.accept_within(Some(timeout))
    }

    fn accept_within(&self, timeout: Option<Duration>) -> io::Result<Accepted> {
        let mut pause = SHORTAGE.0;
        loop {
            match self.io.run_until(Direction::Read, timeout, |listener| listener.accept(), |_| false) {
                Ok((stream, address)) => {
                    if pause != SHORTAGE.0 {
                        tracing::info!(target: "engset", "there are file descriptors again: connections are accepted");
                    }
                    return Ok((TcpStream::from_nonblocking(stream.into()), address));
                }
                Err(error) if passes(&error) => {}
                Err(error) if is_shortage(&error) => {
                    if pause == SHORTAGE.0 {
                        tracing::warn!(target: "engset", %error, "no connection can be accepted now; it is tried again");
                    }
                    if timeout.is_some_and(|timeout| timeout < pause) {
                        return Err(error);
                    }
                    sleep(pause);
                    pause = (pause * 2).min(SHORTAGE.1);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// All connections, one after the other; it never ends.
    #[must_use]
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming(self)
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }
}

/// See [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a>(&'a TcpListener);

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.accept().map(|(stream, _)| stream))
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpListener").field("local", &self.local_addr().ok()).finish_non_exhaustive()
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

/// The connection is at fault, not the listener (`accept(2)`, "Error handling").
pub(crate) fn passes(error: &io::Error) -> bool {
    let Some(errno) = errno(error) else { return false };
    matches!(
        errno,
        Errno::CONNABORTED
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
    )
}

/// Too little of something that comes back.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    matches!(errno(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}
