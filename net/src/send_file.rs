//! Files into sockets, without a copy through the program (`sendfile`).

use crate::{TcpStream, UnixStream, io::Io, source::Direction};
use rustix::fs::{Advice, fadvise, sendfile};
use std::{fs::File, io, num::NonZeroU64, os::fd::AsFd};

/// Sent in one system call at most: the worker is in it for some 0.1 ms, if the file is in memory.
const CHUNK: usize = 256 * 1024;

/// Sends `count` bytes of the file from `offset` on. Less: the file is shorter.
fn send<S: AsFd>(io: &Io<S>, file: &File, offset: u64, count: u64) -> io::Result<u64> {
    let (mut at, end) = (offset, offset.saturating_add(count));
    while at < end {
        let chunk = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        // What is needed next is read from the disc meanwhile. A file system that knows no advice does without.
        let _ = fadvise(file, at, NonZeroU64::new(2 * chunk as u64), Advice::WillNeed);
        let sent = io.run(Direction::Write, |io| {
            let mut from = at;
            sendfile(io, file, Some(&mut from), chunk).map_err(io::Error::from)
        })?;
        if sent == 0 {
            break;
        }
        at += sent as u64;
    }
    Ok(at - offset)
}

macro_rules! senders {
    ($($kind:ty),*) => {$(
        impl $kind {
            /// Sends `count` bytes of a file, from `offset` on, without copying them through this program; returns how many it has
            /// sent: fewer if the file is shorter. The file's own position stays where it is.
            ///
            /// What is not in memory is read from the disc by the worker; the system is asked to do it beforehand.
            ///
            /// # Errors
            ///
            /// As writing; some of it may have been sent. What is no ordinary file cannot be sent.
            ///
            /// # Signals
            ///
            /// If an exit signal ends the process, its stack unwinds from here.
            pub fn send_file(&self, file: &File, offset: u64, count: u64) -> io::Result<u64> {
                send(&self.io, file, offset, count)
            }
        }
    )*};
}

senders!(TcpStream, UnixStream);
