//! The transport over TCP.
//!
//! * No thread of its own: sockets are watched by the workers' pollers, and events are dealt with on the worker that sees them.
//! * What waits in the kernel to be sent is bounded ([`UNSENT`]): a heartbeat or a small message is not behind megabytes of a large one.
//! * Who connects waits in its own process; who accepts is a process, too.

use super::{
    node::{Config, Distribution, JoinError},
    secret::Secret,
    transport::{Accept, Stream, Transport, Waker},
};
use crate::{TcpListener, TcpStream, io::Io, source::Direction};
use engset_runtime::{Builder, Mailbox, Node, Pid};
use std::{
    io::{self, IoSlice, Read, Write},
    net::{self, SocketAddr, ToSocketAddrs},
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

/// Bytes that wait in the kernel to be sent.
pub const UNSENT: u32 = 256 * 1024;
/// How long it takes at most until the other node's machine answers.
const CONNECT: Duration = Duration::from_secs(7);

/// Joins over TCP. The node listens on `listen`, or on the address in its name; port 0 is any free one.
///
/// # Errors
///
/// See [`JoinError`].
pub fn join(
    node: &Node,
    config: Config,
    listen: SocketAddr,
) -> Result<(Distribution, SocketAddr), JoinError> {
    join_through(node, config, listen, |tcp| tcp)
}

/// The same with a transport around it.
pub(crate) fn join_through(
    node: &Node,
    config: Config,
    listen: SocketAddr,
    around: impl FnOnce(Arc<dyn Transport>) -> Arc<dyn Transport>,
) -> Result<(Distribution, SocketAddr), JoinError> {
    config.get_secret().check(listen.ip()).map_err(JoinError::WeakSecret)?;
    let listener = TcpListener::bind(listen).map_err(JoinError::Transport)?;
    let address = listener.local_addr().map_err(JoinError::Transport)?;
    let config = config.listening(address)?;
    let tcp = Arc::new(Tcp {
        secret: config.get_secret().clone(),
        accept: OnceLock::new(),
        acceptor: Mutex::default(),
    });
    let distribution = Distribution::join_with(node, config, around(Arc::clone(&tcp) as _))?;
    if let Some(accept) = tcp.accept.get().cloned() {
        let acceptor = Builder::new()
            .spawn_on(node, move |_: Mailbox<()>| take_connections(&listener, &accept))
            .map_err(JoinError::Spawn)?;
        *lock(&tcp.acceptor) = Some(acceptor.pid());
    }
    Ok((distribution, address))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take_connections(listener: &TcpListener, accept: &Accept) {
    loop {
        match listener.accept() {
            Ok((socket, from)) => match SocketStream::new(socket) {
                Ok(stream) => accept(Box::new(stream)),
                Err(error) => {
                    tracing::warn!(target: "engset", %from, %error, "a connection was not taken");
                }
            },
            Err(error) => {
                tracing::error!(target: "engset", %error, "connections cannot be taken");
                engset_runtime::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// See the head of this file.
struct Tcp {
    secret: Secret,
    accept: OnceLock<Accept>,
    acceptor: Mutex<Option<Pid>>,
}

impl Transport for Tcp {
    fn dial(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        // A name has to be looked up, which may take long.
        let addresses: Vec<SocketAddr> = match address.parse() {
            Ok(address) => vec![address],
            Err(_) => {
                let address = address.to_owned();
                engset_runtime::blocking(move || address.to_socket_addrs().map(Iterator::collect))?
            }
        };
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, format!("\"{address}\" is no address"));
        for address in addresses {
            // Another machine: is the secret good enough to be tried there?
            if let Err(weak) = self.secret.check(address.ip()) {
                last = io::Error::new(io::ErrorKind::PermissionDenied, weak);
                continue;
            }
            match TcpStream::connect_timeout(address, CONNECT) {
                Ok(socket) => return Ok(Box::new(SocketStream::new(socket)?)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn listen(&self, accept: Accept) -> io::Result<()> {
        self.accept.set(accept).map_err(|_| io::ErrorKind::AlreadyExists.into())
    }

    fn entropy(&self, bytes: &mut [u8]) -> io::Result<()> {
        getrandom::fill(bytes).map_err(|error| io::Error::other(error.to_string()))
    }

    fn close(&self) {
        if let Some(acceptor) = lock(&self.acceptor).take() {
            engset_runtime::kill(acceptor);
        }
    }
}

struct SocketStream(Arc<Io<net::TcpStream>>);

impl SocketStream {
    fn new(socket: TcpStream) -> io::Result<Self> {
        let stream = SocketStream(socket.io);
        let options = socket2::SockRef::from(stream.0.get_ref());
        options.set_tcp_nodelay(true)?;
        #[cfg(target_os = "linux")]
        {
            options.set_tcp_user_timeout(Some(Duration::from_secs(10)))?;
            options.set_tcp_notsent_lowat(UNSENT)?;
        }
        Ok(stream)
    }

    fn attempt(
        &self,
        direction: Direction,
        all: impl Fn(usize) -> bool,
        f: impl FnOnce(&net::TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let Some(seen) = self.0.source().ready(direction) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let result = f(self.0.get_ref());
        match &result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.0.source().would_block(seen, direction);
            }
            Ok(count) if all(*count) => self.0.source().used_up(seen, direction),
            _ => {}
        }
        result
    }
}

impl Stream for SocketStream {
    fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let room = bytes.len();
        // Less than there is room for: that was all.
        let all = |count| count > 0 && count < room;
        self.attempt(Direction::Read, all, |mut socket| socket.read(bytes))
    }

    fn write(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.attempt(Direction::Write, |_| false, |mut socket| socket.write_vectored(bytes))
    }

    fn set_waker(&self, waker: Waker) {
        if let Err(error) = self.0.source().listen(self.0.as_fd(), Arc::clone(&waker)) {
            tracing::error!(target: "engset", %error, "a connection cannot be watched");
        }
        waker();
    }

    fn attach(&self) {
        if let Err(error) = self.0.source().attach(self.0.as_fd()) {
            tracing::error!(target: "engset", %error, "a connection cannot be watched");
        }
    }
}
