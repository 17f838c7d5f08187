//! The two directions of a connection as two values.

use super::TcpStream;
use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    net::Shutdown,
};

/// The half that reads. The connection is closed when both halves are dropped.
#[derive(Debug)]
pub struct ReadHalf(TcpStream);

/// The half that writes. When it is dropped the peer sees the end of the stream.
#[derive(Debug)]
pub struct WriteHalf(Option<TcpStream>);

pub(super) fn split(stream: TcpStream) -> (ReadHalf, WriteHalf) {
    (ReadHalf(stream.clone()), WriteHalf(Some(stream)))
}

impl ReadHalf {
    /// Both halves, whole again.
    ///
    /// # Errors
    ///
    /// They are of different connections: they come back.
    pub fn unsplit(self, mut other: WriteHalf) -> Result<TcpStream, (ReadHalf, WriteHalf)> {
        match &other.0 {
            Some(writing) if std::sync::Arc::ptr_eq(&writing.io, &self.0.io) => {
                other.0 = None;
                Ok(self.0)
            }
            _ => Err((self, other)),
        }
    }

    /// The connection, for its settings.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.0
    }
}

impl WriteHalf {
    /// The connection, for its settings.
    ///
    /// # Panics
    ///
    /// Never: it has one until it is dropped.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        match &self.0 {
            Some(stream) => stream,
            None => unreachable!("taken by `unsplit`, which drops it"),
        }
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        if let Some(stream) = &self.0 {
            // It may be closed by the peer already.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }
}

impl Read for ReadHalf {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&self.0).read_vectored(buffers)
    }
}

impl Write for WriteHalf {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.stream().write(data)
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream().write_vectored(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
