//! Packets: a stream of bytes cut into messages, as Erlang's option `packet` does it.
//!
//! 1. A packet is what a header of 1, 2 or 4 bytes (big-endian, without itself) says, or a line with its end.
//! 2. The parts of a packet may come in any pieces; what has come of one waits here for the rest.
//! 3. A packet that is too large is an error before it has come: nobody can make us keep more than the limit.
//! 4. If the stream ends within a packet that is an error, except for a last line without an end.

use std::{
    fmt,
    io::{self, ErrorKind, IoSlice, Read, Write},
};

/// How a stream is cut into packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packet {
    /// Not at all: pieces as they come.
    #[default]
    Raw,
    /// A header of one byte.
    One,
    /// A header of two bytes.
    Two,
    /// A header of four bytes.
    Four,
    /// Lines; the end of line (`\n`) is a part of the packet.
    Line,
}

/// Most that a packet may hold, unless it is set: 16 MiB.
const LIMIT: usize = 16 << 20;
/// Room to read into: at first, and at most. A connection that waits should not hold much.
const ROOM: (usize, usize) = (1024, 64 * 1024);

impl Packet {
    fn header(self) -> usize {
        match self {
            Packet::Raw | Packet::Line => 0,
            Packet::One => 1,
            Packet::Two => 2,
            Packet::Four => 4,
        }
    }

    /// Writes `data` as one packet: with its header, in one call if the stream takes it. Raw data and lines are written as
    /// they are.
    ///
    /// # Errors
    ///
    /// The stream's; [`InvalidInput`](ErrorKind::InvalidInput): the data are longer than the header can say, and nothing
    /// has been written.
    pub fn write(self, to: &mut impl Write, data: &[u8]) -> io::Result<()> {
        let size = self.header();
        if size < 8 && size > 0 && data.len() as u64 >> (8 * size) != 0 {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                format!("{} bytes do not fit into a packet with a header of {size}", data.len()),
            ));
        }
        let length = (data.len() as u64).to_be_bytes();
        let mut parts = [IoSlice::new(&length[8 - size..]), IoSlice::new(data)];
        let mut parts = &mut parts[..];
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match to.write_vectored(parts) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut parts, count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What has come and is no whole packet yet, or has not been taken.
pub(crate) struct Framer {
    packet: Packet,
    limit: usize,
    buffer: Vec<u8>,
    /// What is before it has been taken.
    start: usize,
    /// Of a line: what is before it, from `start` on, holds no end of line.
    seen: usize,
    /// To be read next.
    room: usize,
}

impl Framer {
    pub(crate) fn new(packet: Packet) -> Self {
        Framer { packet, limit: LIMIT, buffer: Vec::new(), start: 0, seen: 0, room: ROOM.0 }
    }

    pub(crate) fn is_raw(&self) -> bool {
        self.packet == Packet::Raw
    }

    fn compact(&mut self) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
    }

    pub(crate) fn push(&mut self, data: &[u8]) {
        self.compact();
        self.buffer.extend_from_slice(data);
    }

    fn read(&mut self, from: &mut impl Read) -> io::Result<usize> {
        self.compact();
        let before = self.buffer.len();
        self.buffer.resize(before + self.room, 0);
        let result = from.read(&mut self.buffer[before..]);
        let count = *result.as_ref().unwrap_or(&0);
        self.buffer.truncate(before + count);
        self.room = if count == self.room { (self.room * 2).min(ROOM.1) } else { ROOM.0 };
        result
    }

    fn left(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn take(&mut self, header: usize, length: usize) -> Vec<u8> {
        let from = self.start + header;
        let packet = self.buffer[from..from + length].to_vec();
        self.start = from + length;
        self.seen = 0;
        if self.start == self.buffer.len() {
            self.start = 0;
            self.buffer.clear();
            // A connection that waits keeps no memory of its largest packet.
            self.buffer.shrink_to(ROOM.0);
        }
        packet
    }

    /// The next packet, if all of it has come.
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let left = self.left();
        let (header, length) = match self.packet {
            Packet::Raw if left.is_empty() => return Ok(None),
            Packet::Raw => (0, left.len()),
            Packet::Line => match left[self.seen..].iter().position(|byte| *byte == b'\n') {
                Some(at) => (0, self.seen + at + 1),
                None => {
                    self.seen = left.len();
                    return self.check(self.seen).map(|()| None);
                }
            },
            _ => {
                let size = self.packet.header();
                let Some(header) = left.get(..size) else { return Ok(None) };
                (size, header.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
            }
        };
        if self.packet != Packet::Raw {
            self.check(length)?;
        }
        Ok((self.left().len() >= header + length).then(|| self.take(header, length)))
    }

    fn check(&self, length: usize) -> io::Result<()> {
        if length <= self.limit {
            return Ok(());
        }
        Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("a packet of {length} bytes, and the limit is {}", self.limit),
        ))
    }

    /// The stream has ended: a last line, if it has no end.
    pub(crate) fn end(&mut self) -> io::Result<Option<Vec<u8>>> {
        let length = self.left().len();
        match self.packet {
            _ if length == 0 => Ok(None),
            Packet::Raw | Packet::Line => Ok(Some(self.take(0, length))),
            _ => Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                format!("the stream has ended within a packet, {length} bytes after its beginning"),
            )),
        }
    }
}

/// A stream whose data come and go as packets. For one process; see [`TcpStream::activate_packets`](crate::TcpStream::activate_packets) for
/// packets as messages.
///
/// ```
/// # engset_runtime::run(|| -> std::io::Result<()> {
/// use engset_net::{Packet, Packets, UnixStream};
///
/// let (one, other) = UnixStream::pair()?;
/// let (mut one, mut other) = (Packets::new(one, Packet::Four), Packets::new(other, Packet::Four));
/// one.send(b"hello")?;
/// one.send(b"")?;
/// drop(one);
/// assert_eq!(other.receive()?.as_deref(), Some(&b"hello"[..]));
/// assert_eq!(other.receive()?.as_deref(), Some(&b""[..]));
/// assert_eq!(other.receive()?, None);
/// # Ok(())
/// # }).unwrap().unwrap();
/// ```
pub struct Packets<S> {
    stream: S,
    framer: Framer,
}

impl<S: Read> Packets<S> {
    /// Of any stream.
    pub fn new(stream: S, packet: Packet) -> Self {
        Packets { stream, framer: Framer::new(packet) }
    }

    /// The largest packet that is received, in bytes; 16 MiB by default. The peer decides what a header says.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.framer.limit = bytes;
        self
    }

    /// From now on packets are of another kind; what has come and was not taken counts as such.
    pub fn set_packet(&mut self, packet: Packet) {
        self.framer.packet = packet;
        self.framer.seen = 0;
    }

    /// The next packet, without its header; waits for it. `None`: the stream has ended.
    ///
    /// # Errors
    ///
    /// The stream's: after one that passes (a timeout) nothing is lost. [`UnexpectedEof`](ErrorKind::UnexpectedEof): the stream
    /// has ended within a packet. [`InvalidData`](ErrorKind::InvalidData): the packet is larger than the limit.
    pub fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(packet) = self.framer.next()? {
                return Ok(Some(packet));
            }
            match self.framer.read(&mut self.stream) {
                Ok(0) => return self.framer.end(),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream, and what has come of it and was not taken.
    pub fn into_inner(self) -> (S, Vec<u8>) {
        let left = self.framer.left().to_vec();
        (self.stream, left)
    }
}

impl<S: Write> Packets<S> {
    /// Sends a packet; see [`Packet::write`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send(&mut self, data: &[u8]) -> io::Result<()> {
        self.framer.packet.write(&mut self.stream, data)
    }
}

impl<S: fmt::Debug> fmt::Debug for Packets<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packets")
            .field("stream", &self.stream)
            .field("packet", &self.framer.packet)
            .field("waiting", &self.framer.left().len())
            .finish_non_exhaustive()
    }
}
