//! What moves bytes, below the protocol: sockets, or a simulated network.
//!
//! Streams do not block. When one may be read or written again it calls its *waker*; a call too many does no harm.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

/// Is called when a stream may be read or written again. On any thread; it does not wait.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// A connection. One reads and one writes at a time, but both may do so at once.
pub trait Stream: Send + Sync {
    /// Reads what is there; 0: the other has closed.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`]: the waker will be called. Others: the connection is broken.
    fn read(&self, bytes: &mut [u8]) -> io::Result<usize>;

    /// Writes as much as there is room for.
    ///
    /// # Errors
    ///
    /// As [`Stream::read`].
    fn write(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize>;

    /// From now on this is called; and once at once, in case something has come before. If a worker calls this, the waker is
    /// called there, if that is possible.
    fn set_waker(&self, waker: Waker);

    /// From now on the waker is called on the worker that calls this, if that is possible.
    fn attach(&self) {}
}

/// Takes connections that others have opened.
pub type Accept = Arc<dyn Fn(Box<dyn Stream>) + Send + Sync>;

/// A way to reach other nodes.
pub trait Transport: Send + Sync {
    /// Connects. Called by a process; it may wait. What fails later is an error of the stream.
    ///
    /// # Errors
    ///
    /// The address is none, or cannot be reached.
    fn dial(&self, address: &str) -> io::Result<Box<dyn Stream>>;

    /// Gives connections of others to `accept` from now on, until the transport is closed.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on.
    fn listen(&self, accept: Accept) -> io::Result<()>;

    /// Numbers that nobody can guess (in a simulation: that the seed decides).
    ///
    /// # Errors
    ///
    /// The system has none.
    fn entropy(&self, bytes: &mut [u8]) -> io::Result<()>;

    /// Takes no more connections. Streams live on.
    fn close(&self);
}
