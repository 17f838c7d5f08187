//! An encrypted stream, and what carries it.

use super::{invalid, session::Session};
use crate::{Active, TcpEvent, TcpStream, UnixStream};
use engset_runtime::{Address, now};
use rustls::{CipherSuite, Connection, ProtocolVersion, pki_types::CertificateDer};
use std::{
    fmt,
    io::{self, IoSlice, Read, Write},
    net::Shutdown,
    time::Duration,
};

/// A stream of bytes that can carry an encrypted one. See the [module](super).
pub trait Carrier: Read + Write {
    /// The longest time that one read and one write may wait; `None`: for ever.
    fn timeouts(&self) -> [Option<Duration>; 2];

    /// Sets them. Called for the time of a handshake; a carrier that does not block may ignore it.
    ///
    /// # Errors
    ///
    /// They are out of range.
    fn set_timeouts(&self, timeouts: [Option<Duration>; 2]) -> io::Result<()>;

    /// Nothing more will be written: the peer is to see the end.
    ///
    /// # Errors
    ///
    /// It is not connected any more.
    fn finish(&self) -> io::Result<()>;

    /// It is about to be closed: throws away what has come and was not read, without waiting. Else the system closes by a
    /// reset, which may cost the peer what it has not read yet.
    fn discard(&self) {}
}

/// What is thrown away at most: a peer that sends without end is reset.
const DISCARDED: usize = 1 << 20;

macro_rules! carriers {
    ($($kind:ty),*) => {$(
        impl Carrier for $kind {
            fn timeouts(&self) -> [Option<Duration>; 2] {
                [self.read_timeout(), self.write_timeout()]
            }

            fn set_timeouts(&self, [read, write]: [Option<Duration>; 2]) -> io::Result<()> {
                self.set_read_timeout(read)?;
                self.set_write_timeout(write)
            }

            fn finish(&self) -> io::Result<()> {
                self.shutdown(Shutdown::Write)
            }

            fn discard(&self) {
                let (mut buffer, mut total) = ([0; 1024], 0);
                while let Ok(count @ 1..) = self.io.get_ref().read(&mut buffer) {
                    total += count;
                    if total > DISCARDED {
                        break;
                    }
                }
            }
        }

        impl TlsStream<$kind> {
            /// From now on what the peer sends comes as messages to `to`, still encrypted: the owner of this stream gives each to
            /// [`TlsStream::receive`]. What has been read already (with the handshake, say) is the first of them: it comes as
            /// [`TcpEvent::Data`] without data.
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
                let mode = if self.session.holds_data() && mode != Active::Passive {
                    // If the receiver is dead, activating says so.
                    to.send(wrap(TcpEvent::Data(Vec::new())));
                    if mode == Active::Count(1) {
                        to.send(wrap(TcpEvent::Passive));
                    }
                    mode.after_one()
                } else {
                    mode
                };
                self.carrier.activate(to, mode, wrap)
            }

            /// Changes the mode.
            ///
            /// # Errors
            ///
            /// There is no receiver (any more), or the caller is no process; there are data that were read in passive
            /// mode and have not been taken ([`TlsStream::activate`] hands them out).
            pub fn set_active(&self, mode: Active) -> io::Result<()> {
                if self.session.holds_data() && mode != Active::Passive {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "data that were read in passive mode are left: activate hands them out",
                    ));
                }
                self.carrier.set_active(mode)
            }
        }
    )*};
}

carriers!(TcpStream, UnixStream);

/// An encrypted stream. One process owns it; see the [module](super) for how it ends, and for its errors.
///
/// Writing takes up to 64 KiB, and waits until they have been sent. If the carrier's timeout ends that, what has been taken
/// is kept, and sent first by the next call, which fails in turn if it cannot be: so an error of a write means that
/// nothing of *its* data was taken. [`flush`](Write::flush) says whether all has been sent.
pub struct TlsStream<S = TcpStream> {
    session: Session,
    carrier: S,
}

/// A carrier with one deadline for all that is done.
struct Limited<'a, S> {
    carrier: &'a mut S,
    deadline: Duration,
}

impl<S: Carrier> Limited<'_, S> {
    fn limit(&self) -> io::Result<()> {
        let left = self.deadline.saturating_sub(now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake takes too long"));
        }
        self.carrier.set_timeouts([Some(left), Some(left)])
    }
}

impl<S: Carrier> Read for Limited<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.limit()?;
        self.carrier.read(buffer)
    }
}

impl<S: Carrier> Write for Limited<'_, S> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.limit()?;
        self.carrier.write(data)
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.limit()?;
        self.carrier.write_vectored(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.carrier.flush()
    }
}

impl<S: Carrier> TlsStream<S> {
    pub(super) fn new(session: Session, carrier: S) -> Self {
        TlsStream { session, carrier }
    }

    /// The handshake, in time.
    pub(super) fn finish_within(mut self, timeout: Option<Duration>) -> io::Result<Self> {
        let Some(timeout) = timeout else { return self.handshake().map(|()| self) };
        let before = self.carrier.timeouts();
        let mut limited = Limited { carrier: &mut self.carrier, deadline: now().saturating_add(timeout) };
        self.session.handshake(&mut limited)?;
        self.carrier.set_timeouts(before)?;
        Ok(self)
    }

    /// Goes on with a handshake that [`TlsAcceptor::begin`](super::TlsAcceptor::begin) or
    /// [`TlsConnector::begin`](super::TlsConnector::begin) has begun, until it is done. With a carrier that does not block:
    /// as far as it goes now.
    ///
    /// # Errors
    ///
    /// As [`TlsAcceptor::accept`](super::TlsAcceptor::accept), and the carrier's [`WouldBlock`](io::ErrorKind::WouldBlock).
    pub fn handshake(&mut self) -> io::Result<()> {
        self.session.handshake(&mut self.carrier)
    }

    /// Says to the peer that nothing more comes (`close_notify`), and ends the writing direction. Reading goes on.
    ///
    /// # Errors
    ///
    /// The carrier's.
    pub fn shutdown(&mut self) -> io::Result<()> {
        self.session.close(&mut self.carrier)?;
        self.carrier.finish()
    }

    /// The same, and closes the connection. What the peer still sends is lost.
    ///
    /// # Errors
    ///
    /// The carrier's.
    pub fn close(mut self) -> io::Result<()> {
        self.shutdown()?;
        self.carrier.discard();
        Ok(())
    }

    /// What carries it: for its timeouts and addresses. What is read from it or written to it is missing here.
    pub fn get_ref(&self) -> &S {
        &self.carrier
    }

    /// The same.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.carrier
    }

    /// In active mode: what a message is without encryption.
    ///
    /// # Errors
    ///
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof): the connection has ended without a `close_notify`;
    /// [`InvalidData`](io::ErrorKind::InvalidData): what came is not TLS' or has been changed; the event's own error.
    pub fn receive(&mut self, event: TcpEvent) -> io::Result<Plain> {
        let mut plain = Plain::default();
        match event {
            TcpEvent::Data(data) => {
                plain.data.reserve_exact(data.len());
                plain.closed = !self.session.feed(&mut self.carrier, &data, &mut plain.data)?;
            }
            TcpEvent::Closed => {
                self.session.end()?;
                plain.closed = true;
            }
            TcpEvent::Error(error) => return Err(error),
            TcpEvent::Passive => {}
        }
        Ok(plain)
    }
}

/// What a message of active mode is without encryption.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plain {
    /// The data; none if only TLS itself had something to say, or the event was [`TcpEvent::Passive`].
    pub data: Vec<u8>,
    /// After them the peer has ended the stream in order.
    pub closed: bool,
}

impl<S> TlsStream<S> {
    /// The protocol above that both speak (ALPN), if they have agreed on one.
    #[must_use]
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.session.tls.alpn_protocol()
    }

    /// The certificates that the peer has shown and that were verified, its own first.
    #[must_use]
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.session.tls.peer_certificates()
    }

    /// The host's name that the client has asked for (SNI); `None` on its own side.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        match &self.session.tls {
            Connection::Server(server) => server.server_name(),
            Connection::Client(_) => None,
        }
    }

    /// TLS 1.2 or 1.3.
    #[must_use]
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.session.tls.protocol_version()
    }

    /// How it is encrypted.
    #[must_use]
    pub fn cipher_suite(&self) -> Option<CipherSuite> {
        self.session.tls.negotiated_cipher_suite().map(|suite| suite.suite())
    }

    /// A secret of `N` bytes that both ends of this connection have, and nobody else (RFC 5705): a proof of identity above can be bound to it,
    /// so that it cannot be relayed.
    ///
    /// # Errors
    ///
    /// `N` is zero or very long.
    pub fn export_secret<const N: usize>(&self, label: &[u8]) -> io::Result<[u8; N]> {
        self.session.tls.export_keying_material([0; N], label, None).map_err(invalid)
    }

    /// Is there something to be sent, that the carrier has not taken yet?
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.session.tls.wants_write()
    }
}

impl<S: Carrier> Read for TlsStream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.session.read(&mut self.carrier, buffer)
    }
}

impl<S: Carrier> Write for TlsStream<S> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.session.write(&mut self.carrier, data)
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.session.write_with(&mut self.carrier, |tls| tls.writer().write_vectored(data))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.session.flush(&mut self.carrier)
    }
}

impl<S: fmt::Debug> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("carrier", &self.carrier)
            .field("version", &self.protocol_version())
            .finish_non_exhaustive()
    }
}
