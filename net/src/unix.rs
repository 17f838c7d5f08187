//! Sockets of this machine, by paths.

use crate::{
    active::Active,
    io::Io,
    packet::{Framer, Packet},
    poller::refuse_systematic,
    source::Direction,
    tcp::TcpEvent,
};
use engset_runtime::{Address, sleep};
use std::{
    fmt,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::{self, SocketAddr},
    },
    path::Path,
    sync::Arc,
    time::Duration,
};

/// Pause before another try when the listener's queue is full, or there are no file descriptors.
const AGAIN: Duration = Duration::from_millis(2);

/// Accepts connections at a path. The path stays when it is dropped, as in std.
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("engset-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("socket");
/// # let _ = std::fs::remove_file(&path);
/// # engset_runtime::run(move || -> std::io::Result<()> {
/// use engset_net::{UnixListener, UnixStream};
/// use std::io::{Read, Write};
///
/// let listener = UnixListener::bind(&path)?;
/// let mut client = UnixStream::connect(&path)?;
/// let mut server = listener.accept()?;
/// client.write_all(b"hello")?;
/// let mut buffer = [0; 5];
/// server.read_exact(&mut buffer)?;
/// assert_eq!(&buffer, b"hello");
/// # std::fs::remove_dir_all(folder)
/// # }).unwrap().unwrap();
/// ```
pub struct UnixListener {
    pub(crate) io: Io<net::UnixListener>,
}

impl UnixListener {
    /// Listens at a path.
    ///
    /// # Errors
    ///
    /// There is something at the path already, or it cannot be made; systematic mode.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::from_std(net::UnixListener::bind(path)?)
    }

    /// Makes one of a listener of the standard library.
    ///
    /// # Errors
    ///
    /// It cannot be made non-blocking; systematic mode.
    pub fn from_std(listener: net::UnixListener) -> io::Result<Self> {
        refuse_systematic()?;
        listener.set_nonblocking(true)?;
        Ok(UnixListener { io: Io::new(listener) })
    }

    /// The next connection; waits for one, and for a file descriptor if there is none.
    ///
    /// # Errors
    ///
    /// What the system says.
    ///
    /// # Signals
    ///
    /// If an exit signal ends the process, its stack unwinds from here.
    pub fn accept(&self) -> io::Result<UnixStream> {
        let mut reported = false;
        loop {
            match self.io.run(Direction::Read, net::UnixListener::accept) {
                Ok((stream, _)) => return UnixStream::from_std(stream),
                Err(error) if crate::tcp::is_shortage(&error) => {
                    if !std::mem::replace(&mut reported, true) {
                        tracing::warn!(target: "engset", %error, "no connection can be accepted now; it is tried again");
                    }
                    sleep(AGAIN);
                }
                Err(error) => return Err(error),
            }
        }
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

/// A connection within this machine. As [`TcpStream`](crate::TcpStream) otherwise.
#[derive(Clone)]
pub struct UnixStream {
    pub(crate) io: Arc<Io<net::UnixStream>>,
}

impl UnixStream {
    /// Connects. If the listener's queue is full, it waits for room.
    ///
    /// # Errors
    ///
    /// Nobody listens there; systematic mode.
    pub fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        refuse_systematic()?;
        let path = path.as_ref();
        loop {
            let socket =
                socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM.nonblocking(), None)?;
            match socket.connect(&socket2::SockAddr::unix(path)?) {
                Ok(()) => return Self::from_std(socket.into()),
                // There is no event for it.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(AGAIN),
                Err(error) => return Err(error),
            }
        }
    }

    /// Two that are connected with each other.
    ///
    /// # Errors
    ///
    /// There are no file descriptors; systematic mode.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = net::UnixStream::pair()?;
        Ok((Self::from_std(one)?, Self::from_std(other)?))
    }

    /// Makes one of a connection of the standard library.
    ///
    /// # Errors
    ///
    /// It cannot be made non-blocking; systematic mode.
    pub fn from_std(stream: net::UnixStream) -> io::Result<Self> {
        refuse_systematic()?;
        stream.set_nonblocking(true)?;
        Ok(UnixStream { io: Arc::new(Io::new(stream)) })
    }

    /// Data come as messages: see [`TcpStream::activate`](crate::TcpStream::activate).
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
        self.activate_packets(Packet::Raw, to, mode, wrap)
    }

    /// Packets come as messages: see [`TcpStream::activate_packets`](crate::TcpStream::activate_packets).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn activate_packets<M: Send + 'static>(
        &self,
        packet: Packet,
        to: Address<M>,
        mode: Active,
        wrap: impl Fn(TcpEvent) -> M + Send + 'static,
    ) -> io::Result<()> {
        self.io.activate(Framer::new(packet), to, mode, wrap)
    }

    /// See [`TcpStream::set_active`](crate::TcpStream::set_active).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_active(&self, mode: Active) -> io::Result<()> {
        self.io.set_active(mode)
    }

    /// Ends one direction, or both.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.io.get_ref().shutdown(how)
    }

    /// The longest time that one read may wait; `None`: for ever.
    ///
    /// # Errors
    ///
    /// It is zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.io.set_timeout(Direction::Read, timeout)
    }

    /// The longest time that one write may wait for room; `None`: for ever.
    ///
    /// # Errors
    ///
    /// It is zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.io.set_timeout(Direction::Write, timeout)
    }

    /// The longest time that one read may wait.
    #[must_use]
    pub fn read_timeout(&self) -> Option<Duration> {
        self.io.timeout(Direction::Read)
    }

    /// The longest time that one write may wait.
    #[must_use]
    pub fn write_timeout(&self) -> Option<Duration> {
        self.io.timeout(Direction::Write)
    }
}

impl Read for &UnixStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io.read(buffer.len(), |mut io| io.read(buffer))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let room = buffers.iter().map(|buffer| buffer.len()).sum();
        self.io.read(room, |mut io| io.read_vectored(buffers))
    }
}

impl Write for &UnixStream {
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

crate::io::by_value!(UnixStream);

/// Datagrams within this machine: none is lost, and they keep their order.
pub struct UnixDatagram {
    io: Io<net::UnixDatagram>,
}

impl UnixDatagram {
    /// A socket at a path.
    ///
    /// # Errors
    ///
    /// There is something at the path already, or it cannot be made; systematic mode.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::from_std(net::UnixDatagram::bind(path)?)
    }

    /// A socket without a path: it can send, and receive what is sent over a connection.
    ///
    /// # Errors
    ///
    /// There are no file descriptors; systematic mode.
    pub fn unbound() -> io::Result<Self> {
        Self::from_std(net::UnixDatagram::unbound()?)
    }

    /// Two that are connected with each other.
    ///
    /// # Errors
    ///
    /// As [`UnixDatagram::unbound`].
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = net::UnixDatagram::pair()?;
        Ok((Self::from_std(one)?, Self::from_std(other)?))
    }

    /// Makes one of a socket of the standard library.
    ///
    /// # Errors
    ///
    /// It cannot be made non-blocking; systematic mode.
    pub fn from_std(socket: net::UnixDatagram) -> io::Result<Self> {
        refuse_systematic()?;
        socket.set_nonblocking(true)?;
        Ok(UnixDatagram { io: Io::new(socket) })
    }

    /// From now on it sends to and receives from this path only.
    ///
    /// # Errors
    ///
    /// There is nothing at the path.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.io.get_ref().connect(path)
    }

    /// Sends a datagram to the path that it is connected with; waits until the receiver has room.
    ///
    /// # Errors
    ///
    /// It is not connected; the receiver has gone; the datagram is too long.
    pub fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.io.run(Direction::Write, |io| io.send(data))
    }

    /// Sends a datagram to a path; waits until the receiver has room, which it looks for every few milliseconds.
    ///
    /// # Errors
    ///
    /// There is nothing at the path; the datagram is too long.
    pub fn send_to(&self, data: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        let path = path.as_ref();
        loop {
            // The room that is missing is another socket's: there is no event for it here.
            match self.io.get_ref().send_to(data, path) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(AGAIN),
                result => return result,
            }
        }
    }

    /// Receives a datagram; waits for one. What does not fit into the buffer is lost.
    ///
    /// # Errors
    ///
    /// What the system says; the timeout.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io.run(Direction::Read, |io| io.recv(buffer))
    }

    /// The same, with where it comes from.
    ///
    /// # Errors
    ///
    /// As [`UnixDatagram::recv`].
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.io.run(Direction::Read, |io| io.recv_from(buffer))
    }

    /// The longest time that receiving may wait; `None`: for ever.
    ///
    /// # Errors
    ///
    /// It is zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.io.set_timeout(Direction::Read, timeout)
    }
}

macro_rules! shown {
    ($($kind:ident),*) => {$(
        impl AsFd for $kind {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.io.as_fd()
            }
        }

        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let address = self.io.get_ref().local_addr().ok();
                f.debug_struct(stringify!($kind)).field("local", &address).finish_non_exhaustive()
            }
        }
    )*};
}

shown!(UnixListener, UnixStream, UnixDatagram);
