//! Encrypted streams: TLS 1.2 and 1.3, by rustls (feature `tls`).
//!
//! ```
//! # use engset_net::tls::{Identity, TlsAcceptor, TlsConnector, roots_from_pem};
//! # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
//! # let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
//! # engset_runtime::run(move || -> std::io::Result<()> {
//! use engset_net::{TcpListener, TcpStream};
//! use std::io::{Read, Write};
//!
//! let acceptor = TlsAcceptor::new(Identity::from_pem(chain.as_bytes(), key.as_bytes())?)?;
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! engset_runtime::spawn(move || {
//!     while let Ok((stream, _)) = listener.accept() {
//!         let acceptor = acceptor.clone();
//!         // The handshake belongs into the connection's process: a slow peer must not hold up the others.
//!         engset_runtime::spawn(move || {
//!             let mut stream = acceptor.accept(stream).expect("a client that speaks TLS");
//!             stream.write_all(b"hello").and_then(|()| stream.close()).expect("a client that listens");
//!         });
//!     }
//! });
//!
//! let connector = TlsConnector::new(roots_from_pem(chain.as_bytes())?)?;
//! let mut stream = connector.connect("localhost", TcpStream::connect(address)?)?;
//! let mut text = String::new();
//! stream.read_to_string(&mut text)?; // the end is a proper one: else this were an error
//! assert_eq!(text, "hello");
//! # Ok(())
//! # }).unwrap().unwrap();
//! ```
//!
//! # Rules
//!
//! * *What carries it* is any [`Carrier`]: TCP and Unix streams, or a stream of your own. One that does not block works as
//!   well: its [`WouldBlock`](std::io::ErrorKind::WouldBlock) comes out of each call here, which can then be repeated.
//! * *Timeouts.* A handshake has 10 s in all ([`TlsAcceptor::handshake_timeout`]), so a peer that says nothing
//!   does not keep a process. After it, the carrier's timeouts hold for each wait of its own.
//! * *The end.* A peer that closes in order says so (`close_notify`): reading then gives 0 bytes. If the connection ends
//!   without it, somebody may have cut it off: reading is an error of the kind
//!   [`UnexpectedEof`](std::io::ErrorKind::UnexpectedEof). [`TlsStream::close`] and [`TlsStream::shutdown`] say it; dropping
//!   does not. So a process that crashes never looks to its peer like one that has said everything.
//! * *Errors.* What TLS itself finds wrong is an error of the kind [`InvalidData`](std::io::ErrorKind::InvalidData) around a
//!   [`rustls::Error`]; the peer is told by an alert. With TLS 1.3 a client has finished before the server has seen its
//!   certificate: that it is refused comes with the first read.
//! * *No split.* Both directions share one state (an alert or a new key in one is answered in the other), so one process owns
//!   the stream. To wait for messages and data at once use active mode: the carrier is activated, and
//!   [`TlsStream::receive`] makes plain data of what comes.
//! * *Stack.* A handshake needs less than 32 KiB of stack in a release build; a process has 256 KiB by default.
//! * *Cryptography* is ring's where this crate makes the configuration: it runs on every processor, and needs the least stack and
//!   the shortest build of those that are well tried, but a C compiler to build; hence the feature. A configuration of
//!   your own ([`TlsAcceptor::from_config`]) may use any provider.
//! * Whether a certificate has expired is decided by the system's clock, and keys are drawn from the system's random numbers:
//!   sockets do not exist in systematic mode, and neither does this.

mod endpoint;
mod pem;
mod session;
mod stream;

pub use {
    endpoint::{TlsAcceptor, TlsConnector},
    pem::{Identity, roots_from_pem},
    rustls,
    stream::{Carrier, Plain, TlsStream},
};

use std::io;

/// An error of TLS, as one of input and output.
fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
