//! UDP.

use crate::{
    active::{Active, Pieces, Taken},
    addr::{ToSocketAddrs, each},
    io::Io,
    poller::refuse_systematic,
    source::Direction,
};
use engset_runtime::Address;
use std::{
    cell::RefCell,
    fmt, io,
    net::{self, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Duration,
};

/// A UDP socket: datagrams, each on its own, in no promised order.
///
/// ```
/// # engset_runtime::run(|| -> std::io::Result<()> {
/// use engset_net::UdpSocket;
///
/// let (one, other) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
/// one.send_to(b"hello", other.local_addr()?)?;
/// let mut buffer = [0; 1500];
/// assert_eq!(other.recv_from(&mut buffer)?, (5, one.local_addr()?));
/// # Ok(())
/// # }).unwrap().unwrap();
/// ```
pub struct UdpSocket {
    io: Arc<Io<net::UdpSocket>>,
}

/// What comes as a message in active mode.
#[derive(Debug)]
pub enum UdpEvent {
    /// A datagram, and where it comes from.
    Datagram(Vec<u8>, SocketAddr),
    /// The allowance of [`Active::Count`] is used up: the socket is passive.
    Passive,
    /// What has become of something that was sent earlier (nobody listens there, say). The socket goes on.
    Error(io::Error),
}

/// Most that a datagram holds.
const LARGEST: usize = 65_536;

thread_local! {
    /// Where a datagram is read to before its size is known; used within one call.
    static DATAGRAM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Pieces are datagrams.
struct Datagrams;

impl Pieces<net::UdpSocket> for Datagrams {
    type Event = UdpEvent;

    fn waiting(&mut self) -> io::Result<Option<UdpEvent>> {
        Ok(None)
    }

    fn take(&mut self, io: &net::UdpSocket) -> io::Result<Option<Taken<UdpEvent>>> {
        DATAGRAM.with_borrow_mut(|buffer| {
            buffer.resize(LARGEST, 0);
            let (count, from) = io.recv_from(buffer)?;
            let event = UdpEvent::Datagram(buffer[..count].to_vec(), from);
            Ok(Some(Taken { event: Some(event), all: false }))
        })
    }

    fn last(&mut self) -> io::Result<Option<UdpEvent>> {
        Ok(None)
    }

    fn passive() -> UdpEvent {
        UdpEvent::Passive
    }

    fn failed(error: Option<io::Error>) -> (Option<UdpEvent>, Option<UdpEvent>) {
        (error.map(UdpEvent::Error), None)
    }

    fn survives(_error: &io::Error) -> bool {
        true
    }
}

impl UdpSocket {
    /// A socket at an address; with port 0 the system chooses one.
    ///
    /// # Errors
    ///
    /// The name is not known, the address is in use or not ours, or this is systematic mode.
    pub fn bind(addr: impl ToSocketAddrs) -> io::Result<Self> {
        each(&addr.to_addrs()?, |address| Self::from_std(net::UdpSocket::bind(address)?))
    }

    /// Makes one of a socket of the standard library.
    ///
    /// # Errors
    ///
    /// It cannot be made non-blocking; systematic mode.
    pub fn from_std(socket: net::UdpSocket) -> io::Result<Self> {
        refuse_systematic()?;
        socket.set_nonblocking(true)?;
        Ok(UdpSocket { io: Arc::new(Io::new(socket)) })
    }

    /// From now on datagrams come as messages to `to`, as much as `mode` says; see
    /// [`TcpStream::activate`](crate::TcpStream::activate).
    ///
    /// # Errors
    ///
    /// It cannot be watched; the caller is no process.
    pub fn activate<M: Send + 'static>(
        &self,
        to: Address<M>,
        mode: Active,
        wrap: impl Fn(UdpEvent) -> M + Send + 'static,
    ) -> io::Result<()> {
        self.io.activate(Datagrams, to, mode, wrap)
    }

    /// Changes the mode.
    ///
    /// # Errors
    ///
    /// There is no receiver (any more), or the caller is no process.
    pub fn set_active(&self, mode: Active) -> io::Result<()> {
        self.io.set_active(mode)
    }

    /// From now on it sends to and receives from this address only.
    ///
    /// # Errors
    ///
    /// The name is not known, or what the system says.
    pub fn connect(&self, addr: impl ToSocketAddrs) -> io::Result<()> {
        each(&addr.to_addrs()?, |address| self.io.get_ref().connect(address))
    }

    /// Sends a datagram; waits if the system has no room for it now. To the first address that the name has.
    ///
    /// # Errors
    ///
    /// The name is not known; the datagram is too long; what the system says of earlier ones.
    pub fn send_to(&self, data: &[u8], to: impl ToSocketAddrs) -> io::Result<usize> {
        each(&to.to_addrs()?[..], |address| self.io.run(Direction::Write, |io| io.send_to(data, address)))
    }

    /// Receives a datagram; waits for one. What does not fit into the buffer is lost.
    ///
    /// # Errors
    ///
    /// What the system says; the timeout.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.io.run(Direction::Read, |io| io.recv_from(buffer))
    }

    /// The same, and leaves it where it is.
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::recv_from`].
    pub fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.io.run(Direction::Read, |io| io.peek_from(buffer))
    }

    /// Sends a datagram to the address that it is connected with.
    ///
    /// # Errors
    ///
    /// It is not connected; nobody listens there (as an earlier datagram has shown).
    pub fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.io.run(Direction::Write, |io| io.send(data))
    }

    /// Receives a datagram from the address that it is connected with.
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::recv_from`] and [`UdpSocket::send`].
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io.run(Direction::Read, |io| io.recv(buffer))
    }

    /// The longest time that receiving may wait; `None`: for ever.
    ///
    /// # Errors
    ///
    /// It is zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.io.set_timeout(Direction::Read, timeout)
    }

    /// Where it is.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    /// The socket as the standard library has it, for its settings (broadcast, multicast, time to live). It is
    /// non-blocking.
    #[must_use]
    pub fn as_std(&self) -> &net::UdpSocket {
        self.io.get_ref()
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSocket").field("local", &self.local_addr().ok()).finish_non_exhaustive()
    }
}
