//! The transport over TCP: sockets that do not block, and one thread that waits for all of a node's.
//!
//! * The thread only waits: processes read and write themselves. It tells them when there may be something to do, edge by edge.
//! * What waits in the kernel to be sent is bounded ([`UNSENT`]): a heartbeat or a small message is not behind megabytes of a large one.

use super::{
    node::{Config, Distribution, JoinError},
    transport::{Accept, Stream, Transport, Waker},
};
use engset_runtime::Node;
use mio::{Events, Interest, Poll, Registry, Token, net};
use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// Bytes that wait in the kernel to be sent.
pub const UNSENT: u32 = 256 * 1024;

const WAKE: Token = Token(0);
const LISTENER: Token = Token(1);
const FIRST_STREAM: usize = 2;

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
    config.get_secret().check(listen.ip()).map_err(JoinError::WeakSecret)?;
    let listener = net::TcpListener::bind(listen).map_err(JoinError::Transport)?;
    let address = listener.local_addr().map_err(JoinError::Transport)?;
    let config = config.listening(address)?;
    let tcp = Tcp::new(listener, config.get_secret().clone()).map_err(JoinError::Transport)?;
    Ok((Distribution::join_with(node, config, Arc::new(tcp))?, address))
}

type Wakers = Mutex<HashMap<Token, Waker>>;

struct Shared {
    registry: Registry,
    wakers: Wakers,
    waker: mio::Waker,
    next: AtomicUsize,
    closed: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the head of this file.
struct Tcp {
    shared: Arc<Shared>,
    /// Until it listens.
    start: Mutex<Option<(Poll, net::TcpListener)>>,
    secret: super::secret::Secret,
}

impl Tcp {
    fn new(listener: net::TcpListener, secret: super::secret::Secret) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = mio::Waker::new(&registry, WAKE)?;
        let shared = Arc::new(Shared {
            registry,
            wakers: Mutex::default(),
            waker,
            next: AtomicUsize::new(FIRST_STREAM),
            closed: AtomicBool::new(false),
        });
        Ok(Tcp { shared, start: Mutex::new(Some((poll, listener))), secret })
    }

    fn connect(&self, address: &str) -> io::Result<net::TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, format!("\"{address}\" is no address"));
        for address in address.to_socket_addrs()? {
            // Another machine: is the secret good enough to be tried there?
            if let Err(weak) = self.secret.check(address.ip()) {
                last = io::Error::new(io::ErrorKind::PermissionDenied, weak);
                continue;
            }
            match net::TcpStream::connect(address) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Shared {
    fn stream(self: &Arc<Self>, mut socket: net::TcpStream) -> io::Result<TcpStream> {
        let reference = socket2::SockRef::from(&socket);
        reference.set_tcp_nodelay(true)?;
        #[cfg(target_os = "linux")]
        {
            reference.set_tcp_user_timeout(Some(Duration::from_secs(10)))?;
            reference.set_tcp_notsent_lowat(UNSENT)?;
        }
        let token = Token(self.next.fetch_add(1, Ordering::Relaxed));
        self.registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(TcpStream { shared: Arc::clone(self), socket, token })
    }

    fn run(self: &Arc<Self>, mut poll: Poll, mut listener: net::TcpListener, accept: &Accept) {
        let mut events = Events::with_capacity(256);
        // Relaxed: the flag is set before the waker is called.
        while !self.closed.load(Ordering::Relaxed) {
            match poll.poll(&mut events, None) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return tracing::error!(target: "engset", %error, "the poller of a node has failed");
                }
            }
            for event in &events {
                match event.token() {
                    WAKE => {}
                    LISTENER => self.accept(&listener, accept),
                    token => {
                        let waker = lock(&self.wakers).get(&token).cloned();
                        if let Some(waker) = waker {
                            waker();
                        }
                    }
                }
            }
        }
        // It cannot fail: it was registered.
        let _ = self.registry.deregister(&mut listener);
    }

    fn accept(self: &Arc<Self>, listener: &net::TcpListener, accept: &Accept) {
        loop {
            match listener.accept() {
                Ok((socket, from)) => match self.stream(socket) {
                    Ok(stream) => accept(Box::new(stream)),
                    Err(error) => {
                        tracing::warn!(target: "engset", %from, %error, "a connection was not taken")
                    }
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // Too many open files, as a rule: others wait in the kernel's queue. No more edges come for them.
                    tracing::error!(target: "engset", %error, "connections cannot be taken");
                    #[allow(clippy::disallowed_methods, reason = "the poller's own thread")]
                    thread::sleep(Duration::from_millis(50));
                    if self.closed.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        }
    }
}

impl Transport for Tcp {
    fn dial(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        // A name has to be looked up, which may take long.
        let socket = match address.parse::<SocketAddr>() {
            Ok(_) => self.connect(address)?,
            Err(_) => {
                let (address, secret) = (address.to_owned(), self.secret.clone());
                let addresses = engset_runtime::blocking(move || {
                    let addresses = address.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
                    (addresses, secret)
                });
                let mut last = io::ErrorKind::NotFound.into();
                let mut found = None;
                for address in addresses.0? {
                    match self.connect(&address.to_string()) {
                        Ok(socket) => {
                            found = Some(socket);
                            break;
                        }
                        Err(error) => last = error,
                    }
                }
                found.ok_or(last)?
            }
        };
        Ok(Box::new(self.shared.stream(socket)?))
    }

    fn listen(&self, accept: Accept) -> io::Result<()> {
        let Some((poll, mut listener)) = lock(&self.start).take() else {
            return Err(io::ErrorKind::AlreadyExists.into());
        };
        self.shared.registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        let shared = Arc::clone(&self.shared);
        thread::Builder::new()
            .name("engset-poll".into())
            .spawn(move || shared.run(poll, listener, &accept))?;
        Ok(())
    }

    fn entropy(&self, bytes: &mut [u8]) -> io::Result<()> {
        getrandom::fill(bytes).map_err(|error| io::Error::other(error.to_string()))
    }

    fn close(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        // The thread is gone if it fails.
        let _ = self.shared.waker.wake();
    }
}

struct TcpStream {
    shared: Arc<Shared>,
    socket: net::TcpStream,
    token: Token,
}

impl Stream for TcpStream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.socket.read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            result => result,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            result => result,
        }
    }

    fn set_waker(&mut self, waker: Waker) {
        lock(&self.shared.wakers).insert(self.token, Arc::clone(&waker));
        waker();
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        lock(&self.shared.wakers).remove(&self.token);
        // It cannot fail: it was registered.
        let _ = self.shared.registry.deregister(&mut self.socket);
    }
}
