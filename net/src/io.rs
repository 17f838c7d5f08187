//! An operation on a socket: try it; if it would block, wait, and try again.

use crate::{
    active::{Active, Pieces, Reading, Receiver},
    poller,
    source::{Direction, Seen, Source, Waiter},
};
use engset_runtime::{
    Address, Pid, now,
    pause::{Pause, pause},
    reduce, try_self_pid,
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

/// Reductions of a system call on a socket: a slice is some 200 of them, which is well below a millisecond.
pub(crate) const PRICE: i32 = 20;

/// A socket, and what is known of it.
pub(crate) struct Io<S> {
    /// Before `io`: it is told before the descriptor is closed, and so before its number is used again.
    closer: Closer,
    io: S,
    /// Nanoseconds; 0: none.
    timeouts: [AtomicU64; 2],
}

struct Closer(Arc<Source>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A process that has entered itself as waiting.
struct Waiting<'a>(&'a Source, Direction, Pid);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // After a timeout, or because the process unwinds. If an event has taken it out there is nothing to do.
        self.0.leave(self.1, &Waiter::Process(self.2));
    }
}

impl<S: AsFd> Io<S> {
    /// A socket that is not blocking.
    pub(crate) fn new(io: S) -> Self {
        Io { closer: Closer(Source::new()), io, timeouts: Default::default() }
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.io
    }

    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.closer.0
    }

    pub(crate) fn into_inner(self) -> S {
        let Io { closer, io, .. } = self;
        closer.0.release(io.as_fd());
        io
    }

    /// # Errors
    ///
    /// It is zero: as in std, that is no timeout but a mistake.
    pub(crate) fn set_timeout(&self, direction: Direction, timeout: Option<Duration>) -> io::Result<()> {
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a timeout of zero; None is no timeout, and try_read does not wait",
            ));
        }
        let nanos = timeout.map_or(0, |timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        // Relaxed: a setting.
        self.timeouts[direction as usize].store(nanos, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn timeout(&self, direction: Direction) -> Option<Duration> {
        // Relaxed: as above.
        match self.timeouts[direction as usize].load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// Runs an operation, with the timeout that is set.
    pub(crate) fn run<R>(&self, direction: Direction, f: impl FnMut(&S) -> io::Result<R>) -> io::Result<R> {
        self.run_until(direction, self.timeout(direction), f, |_| false)
    }

    /// The same for reading: what fills less than `room` is all that there is.
    pub(crate) fn read(&self, room: usize, f: impl FnMut(&S) -> io::Result<usize>) -> io::Result<usize> {
        if self.closer.0.is_active() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket is in active mode"));
        }
        let timeout = self.timeout(Direction::Read);
        self.run_until(Direction::Read, timeout, f, |count| *count < room && *count > 0)
    }

    pub(crate) fn run_until<R>(
        &self,
        direction: Direction,
        timeout: Option<Duration>,
        mut f: impl FnMut(&S) -> io::Result<R>,
        used_up: impl FnOnce(&R) -> bool,
    ) -> io::Result<R> {
        let mut deadline = None;
        loop {
            if let Some(seen) = self.closer.0.ready(direction)
                && let Some(result) = self.attempt(direction, seen, &mut f)
            {
                if let Ok(result) = &result
                    && used_up(result)
                {
                    self.closer.0.used_up(seen, direction);
                }
                reduce(PRICE as u32);
                return result;
            }
            self.wait(direction, timeout, &mut deadline)?;
        }
    }

    /// `None`: it would block.
    fn attempt<R>(
        &self,
        direction: Direction,
        seen: Seen,
        f: &mut impl FnMut(&S) -> io::Result<R>,
    ) -> Option<io::Result<R>> {
        loop {
            match f(&self.io) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.closer.0.would_block(seen, direction);
                    return None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Some(result),
            }
        }
    }

    /// Waits for a connection that has been begun; `check` looks what has become of it.
    pub(crate) fn finish_connect(
        &self,
        timeout: Option<Duration>,
        check: impl Fn(&S) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut deadline = None;
        // It is not ready until an event says so.
        if let Some(seen) = self.closer.0.ready(Direction::Write) {
            self.closer.0.would_block(seen, Direction::Write);
        }
        loop {
            self.wait(Direction::Write, timeout, &mut deadline)?;
            match check(&self.io) {
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                    if let Some(seen) = self.closer.0.ready(Direction::Write) {
                        self.closer.0.would_block(seen, Direction::Write);
                    }
                }
                result => return result,
            }
        }
    }

    /// Waits until it is worth a try. The deadline is set by the first wait, in the process' own time.
    fn wait(
        &self,
        direction: Direction,
        timeout: Option<Duration>,
        deadline: &mut Option<Duration>,
    ) -> io::Result<()> {
        let Some(me) = try_self_pid() else {
            let read = direction == Direction::Read;
            if poller::block_thread(self.io.as_fd(), read, timeout)? {
                self.closer.0.believe(direction);
                return Ok(());
            }
            return Err(timed_out());
        };
        if let Some(timeout) = timeout
            && deadline.is_none()
        {
            *deadline = Some(now().saturating_add(timeout));
        }
        if !self.closer.0.enter(self.io.as_fd(), direction, Waiter::Process(me))? {
            return Ok(());
        }
        let _waiting = Waiting(&self.closer.0, direction, me);
        loop {
            match pause(*deadline) {
                // An event takes out all who wait, and another one may have been faster: then it enters itself again.
                Pause::Poked => {
                    if !self.closer.0.enter(self.io.as_fd(), direction, Waiter::Process(me))? {
                        return Ok(());
                    }
                }
                Pause::TimedOut => return Err(timed_out()),
                Pause::Ending => return Err(io::Error::other("the process that waits is ending")),
            }
        }
    }

    /// For a future: runs an operation, or sees to it that the future is woken when it is worth a try.
    pub(crate) fn poll<R>(
        &self,
        context: &mut Context<'_>,
        direction: Direction,
        mut f: impl FnMut(&S) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        loop {
            if let Some(seen) = self.closer.0.ready(direction)
                && let Some(result) = self.attempt(direction, seen, &mut f)
            {
                return Poll::Ready(result);
            }
            ready!(self.poll_ready(context, direction))?;
        }
    }

    fn poll_ready(&self, context: &mut Context<'_>, direction: Direction) -> Poll<io::Result<()>> {
        let waiter = Waiter::Task(context.waker().clone());
        match self.closer.0.enter(self.io.as_fd(), direction, waiter) {
            Ok(true) => Poll::Pending,
            Ok(false) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<S: AsFd + Send + Sync + 'static> Io<S> {
    /// Active mode: see `active.rs`.
    pub(crate) fn activate<P: Pieces<S> + 'static, M: Send + 'static>(
        self: &Arc<Self>,
        pieces: P,
        to: Address<M>,
        mode: Active,
        wrap: impl Fn(P::Event) -> M + Send + 'static,
    ) -> io::Result<()> {
        let receiver = Receiver::new(Arc::downgrade(self), to, wrap);
        self.closer.0.set_pump(Box::new(Reading::new(receiver, pieces)));
        self.set_active(mode)
    }

    pub(crate) fn set_active(&self, mode: Active) -> io::Result<()> {
        self.closer.0.set_credit(self.io.as_fd(), mode)
    }
}

/// `Read` and `Write` of a value, by those of a reference to it.
macro_rules! by_value {
    ($kind:ty) => {
        impl std::io::Read for $kind {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                (&*self).read(buffer)
            }

            fn read_vectored(&mut self, buffers: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                (&*self).read_vectored(buffers)
            }
        }

        impl std::io::Write for $kind {
            fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
                (&*self).write(data)
            }

            fn write_vectored(&mut self, data: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                (&*self).write_vectored(data)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    };
}
pub(crate) use by_value;

impl<S: AsFd> AsFd for Io<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the socket's timeout is over")
}
