//! The state of an encrypted connection, apart from what carries it.
//!
//! Everything here may be broken off by an error of the carrier (it would block, its timeout is over) and called again: what
//! has been taken from the user and not been sent is kept, and sent first the next time.

use super::invalid;
use engset_runtime::reduce;
use rustls::Connection;
use std::io::{self, Read, Write};

/// Reductions of a step of the handshake: some 0.1 ms of public-key cryptography.
const STEP: u32 = 500;
/// Bytes that are encrypted or decrypted in about the time of a reduction.
const BYTES: usize = 512;

/// See the head of this file.
pub(crate) struct Session {
    pub(super) tls: Connection,
    /// What TLS found wrong: nothing can be done after it.
    failed: Option<rustls::Error>,
    /// There may be decrypted data, or the end, that nobody has taken.
    holds: bool,
}

impl Session {
    pub(super) fn new(tls: Connection) -> Self {
        Session { tls, failed: None, holds: false }
    }

    /// Sends what is left.
    pub(super) fn flush(&mut self, io: &mut impl Write) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(io) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads some of what the peer sends, and looks at it. 0: it sends nothing more.
    fn fill(&mut self, io: &mut (impl Read + Write)) -> io::Result<usize> {
        let count = loop {
            match self.tls.read_tls(io) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        reduce(if self.tls.is_handshaking() { STEP } else { (count / BYTES) as u32 });
        match self.tls.process_new_packets() {
            Ok(state) => {
                self.holds = state.plaintext_bytes_to_read() > 0 || state.peer_has_closed();
                Ok(count)
            }
            Err(error) => {
                // The peer is told why, if it listens.
                let _ = self.flush(io);
                self.failed = Some(error.clone());
                Err(invalid(error))
            }
        }
    }

    fn check(&self) -> io::Result<()> {
        self.failed.clone().map_or(Ok(()), |error| Err(invalid(error)))
    }

    pub(super) fn handshake(&mut self, io: &mut (impl Read + Write)) -> io::Result<()> {
        self.check()?;
        loop {
            self.flush(io)?;
            if !self.tls.is_handshaking() {
                return Ok(());
            }
            if self.fill(io)? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the peer has closed the connection during the TLS handshake",
                ));
            }
        }
    }

    /// Plain data that are there already. `None`: more has to be read; `Some(0)`: the end.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.tls.reader().read(buffer) {
            Ok(count) => {
                self.holds &= count > 0;
                Ok(Some(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.holds = false;
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the connection has ended without a close_notify: data may be missing",
            )),
            Err(error) => Err(error),
        }
    }

    pub(super) fn read(&mut self, io: &mut (impl Read + Write), buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(count) = self.take(buffer)? {
                return Ok(count);
            }
            self.check()?;
            // An answer of TLS itself, or what an earlier write has left.
            match self.flush(io) {
                Err(error) if is_pause(&error) => {}
                // The peer may have closed one direction; what it has sent before can still be read.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                result => result?,
            }
            self.fill(io)?;
        }
    }

    pub(super) fn write(&mut self, io: &mut (impl Read + Write), data: &[u8]) -> io::Result<usize> {
        self.write_with(io, |tls| tls.writer().write(data))
    }

    /// Takes data by `f`, and sends them. What could not be sent yet goes first the next time.
    pub(super) fn write_with(
        &mut self,
        io: &mut (impl Read + Write),
        f: impl FnOnce(&mut Connection) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.check()?;
        // Nothing has been taken yet: every error may come out.
        self.flush(io)?;
        let count = f(&mut self.tls)?;
        reduce((count / BYTES) as u32);
        match self.flush(io) {
            Err(error) if !is_pause(&error) => Err(error),
            _ => Ok(count),
        }
    }

    /// Says that nothing more comes.
    pub(super) fn close(&mut self, io: &mut (impl Read + Write)) -> io::Result<()> {
        self.check()?;
        self.tls.send_close_notify();
        self.flush(io)
    }

    /// Decrypts what came as a message. False: nothing comes any more.
    pub(super) fn feed(
        &mut self,
        io: &mut impl Write,
        mut data: &[u8],
        plain: &mut Vec<u8>,
    ) -> io::Result<bool> {
        self.check()?;
        let mut open = true;
        loop {
            let mut piece = [0; 4096];
            loop {
                match self.take(&mut piece)? {
                    Some(0) => open = false,
                    Some(count) => {
                        plain.extend_from_slice(&piece[..count]);
                        continue;
                    }
                    None => {}
                }
                break;
            }
            if data.is_empty() || !open {
                break;
            }
            self.fill(&mut Fed(&mut data, io))?;
        }
        match self.flush(io) {
            Err(error) if !is_pause(&error) => Err(error),
            _ => Ok(open),
        }
    }

    /// Has it decrypted data that nobody has taken?
    pub(super) fn holds_data(&self) -> bool {
        self.holds
    }

    /// The carrier has come to its end.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.tls.read_tls(&mut io::empty())?;
        match self.take(&mut [0]) {
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Data from a message, and the carrier for answers.
struct Fed<'a, 'b, W>(&'a mut &'b [u8], &'a mut W);

impl<W> Read for Fed<'_, '_, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<W: Write> Write for Fed<'_, '_, W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.1.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.1.flush()
    }
}

/// The carrier can go on later.
fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
