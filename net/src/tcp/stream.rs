//! A connection.

use super::split::{ReadHalf, WriteHalf};
use crate::{
    active::{Active, Pieces, Taken},
    addr::{ToSocketAddrs, each},
    io::Io,
    packet::{Framer, Packet},
    poller::refuse_systematic,
    source::Direction,
};
use engset_runtime::Address;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::{
    cell::RefCell,
    fmt,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    net::{self, Shutdown, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Duration,
};

/// A TCP connection. It is closed when it is dropped, and so when the process that owns it ends.
///
/// [`Read`] and [`Write`] are implemented for `&TcpStream` too, as in std: a process can read while another
/// one writes, if they share it; see [`TcpStream::split`].
///
/// ```
/// # engset_runtime::run(|| -> std::io::Result<()> {
/// use engset_net::{Active, TcpEvent, TcpListener, TcpStream};
/// use engset_runtime::{Mailbox, spawn};
/// use std::io::Write;
///
/// enum Message { Tcp(TcpEvent), Other }
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut client = TcpStream::connect(listener.local_addr()?)?;
/// let (stream, _) = listener.accept()?;
/// let process = spawn(move |mut mailbox: Mailbox<Message>| {
///     // Data come as messages, one piece at a time.
///     stream.activate(mailbox.address(), Active::Once, Message::Tcp).unwrap();
///     loop {
///         match mailbox.message() {
///             Message::Tcp(TcpEvent::Data(data)) => {
///                 assert_eq!(data, b"hello");
///                 stream.set_active(Active::Once).unwrap();
///             }
///             Message::Tcp(_) => break,
///             Message::Other => {}
///         }
///     }
/// });
/// process.send(Message::Other);
/// client.write_all(b"hello")?;
/// # Ok(())
/// # }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct TcpStream {
    pub(crate) io: Arc<Io<net::TcpStream>>,
}

/// What comes as a message in active mode.
#[derive(Debug)]
pub enum TcpEvent {
    /// Data: as much as there was, at most 64 KiB; or a packet ([`TcpStream::activate_packets`]).
    Data(Vec<u8>),
    /// The allowance of [`Active::Count`] is used up: the socket is passive.
    Passive,
    /// It failed. [`TcpEvent::Closed`] follows.
    Error(io::Error),
    /// The peer sends no more (it may still read: [`TcpStream::shutdown`]). Nothing comes after it.
    Closed,
}

/// Most that comes as one message.
const PIECE: usize = 64 * 1024;

thread_local! {
    /// Where data are read to before their size is known; used within one call.
    static PIECES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Pieces of any stream of bytes: as they come, or packets.
impl<S> Pieces<S> for Framer
where
    for<'a> &'a S: Read,
{
    type Event = TcpEvent;

    fn waiting(&mut self) -> io::Result<Option<TcpEvent>> {
        Ok(self.next()?.map(TcpEvent::Data))
    }

    fn take(&mut self, mut io: &S) -> io::Result<Option<Taken<TcpEvent>>> {
        PIECES.with_borrow_mut(|buffer| {
            buffer.resize(PIECE, 0);
            let count = io.read(buffer)?;
            let event = if self.is_raw() {
                Some(TcpEvent::Data(buffer[..count].to_vec()))
            } else {
                // A whole packet is found when it is looked for what waits.
                self.push(&buffer[..count]);
                None
            };
            Ok((count > 0).then_some(Taken { event, all: count < PIECE }))
        })
    }

    fn last(&mut self) -> io::Result<Option<TcpEvent>> {
        Ok(self.end()?.map(TcpEvent::Data))
    }

    fn passive() -> TcpEvent {
        TcpEvent::Passive
    }

    fn failed(error: Option<io::Error>) -> (Option<TcpEvent>, Option<TcpEvent>) {
        (error.map(TcpEvent::Error), Some(TcpEvent::Closed))
    }

    fn survives(_error: &io::Error) -> bool {
        false
    }
}

impl TcpStream {
    /// Connects. Of several addresses that a name has, each is tried until one answers.
    ///
    /// # Errors
    ///
    /// The name is not known, nobody listens there, the system gives up; systematic mode.
    ///
    /// # Signals
    ///
    /// If an exit signal ends the process, its stack unwinds from here.
    pub fn connect(addr: impl ToSocketAddrs) -> io::Result<Self> {
        Self::connect_within(&addr.to_addrs()?, None)
    }

    /// The same, but it gives up after a while: for each address that it tries, without the time to look up a name.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::connect`], and [`TimedOut`](io::ErrorKind::TimedOut).
    ///
    /// # Signals
    ///
    /// As [`TcpStream::connect`].
    pub fn connect_timeout(addr: impl ToSocketAddrs, timeout: Duration) -> io::Result<Self> {
        Self::connect_within(&addr.to_addrs()?, Some(timeout))
    }

    fn connect_within(addresses: &[SocketAddr], timeout: Option<Duration>) -> io::Result<Self> {
        refuse_systematic()?;
        each(addresses, |address| {
            let socket =
                Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
            match socket.connect(&address.into()) {
                Ok(()) => return Ok(Self::from_nonblocking(socket.into())),
                Err(error) if is_under_way(&error) => {}
                Err(error) => return Err(error),
            }
            let stream = Self::from_nonblocking(socket.into());
            stream.io.finish_connect(timeout, |io| {
                if let Some(error) = io.take_error()? {
                    return Err(error);
                }
                io.peer_addr().map(drop)
            })?;
            Ok(stream)
        })
    }

    pub(crate) fn from_nonblocking(stream: net::TcpStream) -> Self {
        TcpStream { io: Arc::new(Io::new(stream)) }
    }

    /// Makes one of a connection of the standard library.
    ///
    /// # Errors
    ///
    /// It cannot be made non-blocking; systematic mode.
    pub fn from_std(stream: net::TcpStream) -> io::Result<Self> {
        refuse_systematic()?;
        stream.set_nonblocking(true)?;
        Ok(Self::from_nonblocking(stream))
    }

    /// Gives it to the standard library. It is still non-blocking.
    ///
    /// # Errors
    ///
    /// It is shared: it comes back.
    pub fn into_std(self) -> Result<net::TcpStream, Self> {
        Arc::try_unwrap(self.io).map(Io::into_inner).map_err(|io| TcpStream { io })
    }

    /// Two halves, for two processes. Dropping the writing half ends the stream for the peer.
    #[must_use]
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        super::split::split(self)
    }

    /// From now on data come as messages to `to`, as much as `mode` says. `wrap` makes a message of the receiver's
    /// type of them; it runs on whatever worker has read them, and must not wait.
    ///
    /// It replaces an earlier receiver, and is how a socket is handed over in active mode: move the value to
    /// the new owner, who calls this. What has been sent to the earlier one stays in its mailbox. While the
    /// socket is active, reading from it is an error.
    ///
    /// # Errors
    ///
    /// It cannot be watched; the caller is no process.
    pub fn activate<M: Send + 'static>(
        &self,
        to: Address<M>,
        mode: Active,
        wrap: impl Fn(TcpEvent) -> M + Send + 'static,
    ) -> io::Result<()> {
        self.activate_packets(Packet::Raw, to, mode, wrap)
    }

    /// The same, but each message is one packet, without its header; `mode` counts packets. (In Erlang: the option `packet`
    /// of a socket that is active.) The largest packet is 16 MiB. Packets are sent by [`Packet::write`].
    ///
    /// A packet that is too large, or that the stream ends in the middle of, is a [`TcpEvent::Error`]. What has come of a packet
    /// that is not whole is lost when the socket is activated anew, or read.
    ///
    /// ```
    /// # engset_runtime::run(|| -> std::io::Result<()> {
    /// use engset_net::{Active, Packet, TcpEvent, TcpListener, TcpStream};
    /// use engset_runtime::Mailbox;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let mut client = TcpStream::connect(listener.local_addr()?)?;
    /// let (stream, _) = listener.accept()?;
    /// let (process, reference) = engset_runtime::spawn_monitor(|mut mailbox: Mailbox<TcpEvent>| {
    ///     for expected in [&b"one"[..], b"two"] {
    ///         assert!(matches!(mailbox.message(), TcpEvent::Data(data) if data == expected));
    ///     }
    /// });
    /// stream.activate_packets(Packet::Two, process, Active::Always, |event| event)?;
    /// Packet::Two.write(&mut client, b"one")?;
    /// Packet::Two.write(&mut client, b"two")?;
    /// # Ok(())
    /// # }).unwrap().unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As [`TcpStream::activate`].
    pub fn activate_packets<M: Send + 'static>(
        &self,
        packet: Packet,
        to: Address<M>,
        mode: Active,
        wrap: impl Fn(TcpEvent) -> M + Send + 'static,
    ) -> io::Result<()> {
        self.io.activate(Framer::new(packet), to, mode, wrap)
    }

    /// Changes the mode. The receiver stays; it gets what is there already.
    ///
    /// # Errors
    ///
    /// There is no receiver (any more: it has got [`TcpEvent::Closed`], or it is dead), or the caller is no process.
    pub fn set_active(&self, mode: Active) -> io::Result<()> {
        self.io.set_active(mode)
    }

    /// Hands the socket over to another process: it becomes passive and is sent there as a message. Erlang calls it
    /// `controlling_process`.
    ///
    /// # Errors
    ///
    /// The process is dead, or its mailbox is full: the message comes back.
    pub fn hand_over<M: Send + 'static>(
        self,
        to: Address<M>,
        wrap: impl FnOnce(TcpStream) -> M,
    ) -> Result<(), engset_runtime::SendError<M>> {
        self.io.source().make_passive();
        to.try_send(wrap(self))
    }

    /// Reads if there is something; does not wait.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock): there is nothing now.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io.get_ref().read(buffer)
    }

    /// Writes what there is room for; does not wait.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock): there is no room now.
    pub fn try_write(&self, data: &[u8]) -> io::Result<usize> {
        self.io.get_ref().write(data)
    }

    /// Reads, and leaves what it has read where it is.
    ///
    /// # Errors
    ///
    /// As reading.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io.run(Direction::Read, |io| io.peek(buffer))
    }

    /// Ends one direction, or both. The peer sees the end of the stream.
    ///
    /// # Errors
    ///
    /// What the system says; it is not connected any more.
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

    /// Small writes are sent at once, and not gathered (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.io.get_ref().set_nodelay(on)
    }

    /// See [`TcpStream::set_nodelay`].
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.io.get_ref().nodelay()
    }

    /// What happens to data that have not been sent when the socket is closed (`SO_LINGER`): `None`, the default: the
    /// system goes on sending them; zero: they are thrown away, and the peer sees a reset.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_linger(&self, time: Option<Duration>) -> io::Result<()> {
        SockRef::from(self).set_linger(time)
    }

    /// This end.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    /// The other end.
    ///
    /// # Errors
    ///
    /// What the system says; it is not connected any more.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().peer_addr()
    }
}

/// Has begun, and will be known to have succeeded when it is writable.
pub(crate) fn is_under_way(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error())
}

impl Read for &TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io.read(buffer.len(), |mut io| io.read(buffer))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let room = buffers.iter().map(|buffer| buffer.len()).sum();
        self.io.read(room, |mut io| io.read_vectored(buffers))
    }
}

impl Write for &TcpStream {
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

crate::io::by_value!(TcpStream);

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpStream")
            .field("local", &self.local_addr().ok())
            .field("peer", &self.peer_addr().ok())
            .finish_non_exhaustive()
    }
}
