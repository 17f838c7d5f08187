//! `hyper::rt::Read` and `Write` for the streams of this crate.

use crate::PollStream;
use hyper::rt::{Read, ReadBufCursor, Write};
use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Most that one read takes.
const PIECE: usize = 64 * 1024;

thread_local! {
    /// hyper's buffers are not initialised, and to write into them takes unsafe code: what is read goes by way of here. Used within
    /// one call that does not suspend.
    static PIECES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A stream as hyper wants it. It is polled within a process.
#[derive(Debug)]
pub struct HyperIo<S>(S);

impl<S> HyperIo<S> {
    /// Wraps a stream.
    pub fn new(stream: S) -> Self {
        HyperIo(stream)
    }

    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.0
    }

    /// The stream again.
    pub fn into_inner(self) -> S {
        self.0
    }
}

impl<S: PollStream + Unpin> Read for HyperIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        PIECES.with_borrow_mut(|pieces| {
            pieces.resize(PIECE, 0);
            let room = buffer.remaining().min(PIECE);
            let count = ready!(self.0.poll_read(context, &mut pieces[..room]))?;
            buffer.put_slice(&pieces[..count]);
            Poll::Ready(Ok(()))
        })
    }
}

impl<S: PollStream + Unpin> Write for HyperIo<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(context, data)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write_vectored(context, data)
    }
}
