//! Sockets for processes, and the distribution of processes over nodes.
//!
//! This crate is a part of the runtime. Programs use `engset`, which re-exports it as `engset::net`.
//!
//! A process that waits for a socket suspends itself, never its worker: reading and writing look like those of
//! `std::net`, and each connection has a process of its own.
//!
//! ```
//! # engset_runtime::run(|| -> std::io::Result<()> {
//! use engset_net::{TcpListener, TcpStream};
//! use std::io::{Read, Write};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! engset_runtime::spawn(move || {
//!     while let Ok((stream, _)) = listener.accept() {
//!         // One process for each connection, on the next worker in turn. If it dies, its socket is closed.
//!         let connection = move || {
//!             let (mut stream, mut buffer) = (stream, [0; 1024]);
//!             while let Ok(count @ 1..) = stream.read(&mut buffer) {
//!                 if stream.write_all(&buffer[..count]).is_err() {
//!                     break;
//!                 }
//!             }
//!         };
//!         let _ = engset_runtime::Builder::new().spread().spawn(connection);
//!     }
//! });
//!
//! let mut client = TcpStream::connect(address)?;
//! client.write_all(b"hello")?;
//! let mut answer = [0; 5];
//! client.read_exact(&mut answer)?;
//! assert_eq!(&answer, b"hello");
//! # Ok(())
//! # }).unwrap().unwrap();
//! ```
//!
//! # Rules
//!
//! * *Ownership.* A socket is a value: it is closed when it is dropped, and so when the process that owns it ends, for
//!   whatever reason, at once. To hand it over is to move it, in a message or into a closure. What Erlang calls
//!   the controlling process is the owner of the value.
//! * *Passive*, the default: the process asks for data, by [`Read`](std::io::Read). *Active*: they come as messages
//!   ([`TcpStream::activate`]), so that a process can wait for data and for other messages at once, and a
//!   server that waits holds no stack.
//! * *Timeouts* are errors of the kind [`TimedOut`](std::io::ErrorKind::TimedOut).
//! * A socket works from several processes at once, if they share it ([`TcpStream::split`], `Arc`): all methods
//!   take `&self`. Several may wait in the same direction; an event wakes all of them.
//! * Outside of a process the same calls block the thread.
//! * *Systematic mode* has no real sockets, since what happens outside cannot be repeated: making one is an error of the kind
//!   [`Unsupported`](std::io::ErrorKind::Unsupported).
//!
//! # The parts, in order of reading
//!
//! | module | idea |
//! |---|---|
//! | `poller` | a worker's epoll; implements the scheduler's seam |
//! | `source` | what is known of a socket's readiness, and who waits for it |
//! | `io` | an operation that is tried, and waits, and is tried again |
//! | `active` | data as messages |
//! | `packet` | a stream cut into messages |
//! | `addr` | names to addresses, on the blocking threads |
//! | `tcp`, `udp`, `unix` | the sockets |
//! | `send_file` | files into sockets |
//! | `tls` | encrypted streams (feature `tls`) |
//! | `poll_stream` | sockets for futures; with the feature `hyper` the module `http`: hyper and axum on processes |
//! | [`process`] | child programs: their ends and pipes are sources too |
//! | [`fs`], `lookup`, [`stdio`] | files, names, standard input and output |
//! | `tokio_bridge`, with the feature `tokio` | futures that need a tokio runtime |
//! | [`dist`] | the distribution: machines that do no input or output, read no clock and draw no random number; what moves bytes is a thin edge |

#![forbid(unsafe_code)]

mod active;
mod addr;
pub mod dist;
pub mod fs;
#[cfg(feature = "hyper")]
pub mod http;
mod io;
mod lookup;
mod packet;
mod poll_stream;
mod poller;
pub mod process;
mod send_file;
mod source;
pub mod stdio;
mod tcp;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "tokio")]
pub mod tokio_bridge;
mod udp;
mod unix;

pub use {
    active::Active,
    addr::{Names, ToSocketAddrs},
    lookup::lookup_host,
    packet::{Packet, Packets},
    poll_stream::PollStream,
    tcp::{Accepted, Incoming, ReadHalf, TcpEvent, TcpListener, TcpStream, WriteHalf},
    udp::{UdpEvent, UdpSocket},
    unix::{UnixDatagram, UnixListener, UnixStream},
};
