//! Accepting connections for hyper.
//!
//! 1. One process accepts; it is linked with the one that has called. Each connection has a process of its own, on the next worker in turn.
//! 2. A connection that fails ends its process in good order: the peer is not trusted. A handler that panics crashes it, which
//!    is reported like every crash, and touches nobody else.
//! 3. More connections than allowed wait in the queue of the kernel.
//! 4. When the acceptor dies, by whatever exit signal, its connections are killed. In good order they drain ([`Serving::shutdown`]).

use super::{
    EngsetTimer, HyperIo,
    serving::{Closing, Guest, Serving, Shared},
};
use crate::{TcpListener, TcpStream, tcp::is_shortage};
use engset_runtime::{
    BuildError, Builder, ExitReason, block_on, exit_self, future, hold, self_pid, uninterrupted,
};
use http_body::Body;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::Service};
use std::{
    error::Error,
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

/// The pause of the acceptor while there are no file descriptors or processes.
const SHORTAGE: Duration = Duration::from_millis(50);

/// Serves HTTP/1 with the default settings: [`Server`] has others.
///
/// ```
/// # engset_runtime::run(|| -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use engset_net::{TcpListener, TcpStream, http};
/// use hyper::{Request, Response, body::Incoming, service::service_fn};
/// use std::{convert::Infallible, io::{Read, Write}, time::Duration};
///
/// async fn hello(_: Request<Incoming>) -> Result<Response<String>, Infallible> {
///     Ok(Response::new("hello".to_owned()))
/// }
///
/// let serving = http::serve(TcpListener::bind("127.0.0.1:0")?, service_fn(hello))?;
///
/// let mut client = TcpStream::connect(serving.local_addr().unwrap())?;
/// client.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert!(answer.ends_with("hello"));
/// assert!(serving.shutdown(Duration::from_secs(10)));
/// # Ok(())
/// # }).unwrap().unwrap();
/// ```
///
/// # Errors
///
/// There is no room for a process, or the caller is none.
pub fn serve<S, B>(listener: TcpListener, service: S) -> Result<Serving, BuildError>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    Server::new().serve(listener, service)
}

/// Settings of a server.
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it serves"]
pub struct Server {
    http: http1::Builder,
    most: usize,
    stack_size: Option<usize>,
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// The defaults: 10,000 connections at most, 30 seconds for the head of a request (which is the time that an idle
    /// connection is kept, too), stacks as the node's.
    pub fn new() -> Self {
        let mut http = http1::Builder::new();
        http.timer(EngsetTimer::new()).header_read_timeout(Duration::from_secs(30)).pipeline_flush(true);
        Server { http, most: 10_000, stack_size: None }
    }

    /// Changes what hyper has to say of HTTP/1.
    pub fn http1(mut self, change: impl FnOnce(&mut http1::Builder)) -> Self {
        change(&mut self.http);
        self
    }

    /// The most connections that are open at a time; others wait.
    pub fn max_connections(mut self, most: usize) -> Self {
        self.most = most.max(1);
        self
    }

    /// How long a connection waits for the head of a request, from the first byte or the last response on; `None`: for ever.
    pub fn header_read_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.http.header_read_timeout(timeout);
        self
    }

    /// The stack of each connection, as in [`Builder::stack_size`].
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Serves, by a process that is linked with the caller.
    ///
    /// # Errors
    ///
    /// There is no room for a process, or the caller is none.
    pub fn serve<S, B>(self, listener: TcpListener, service: S) -> Result<Serving, BuildError>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let shared = Arc::new(Shared::default());
        let address = listener.local_addr().ok();
        let acceptor = Arc::clone(&shared);
        let process = Builder::new().link().spawn(move || self.accept(&listener, &service, &acceptor))?;
        Ok(Serving { process, address, shared })
    }

    fn accept<S, B>(&self, listener: &TcpListener, service: &S, shared: &Arc<Shared>)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        hold(self_pid(), Arc::new(Closing(Arc::clone(shared))));
        let mut short = false;
        loop {
            let next = block_on(poll_fn(|context| {
                // It enters itself as waiting before it looks: a drain that comes after that wakes it.
                let room = shared.poll_room(self.most, context);
                if shared.is_draining() {
                    return Poll::Ready(None);
                }
                if !room {
                    return Poll::Pending;
                }
                listener.poll_accept(context).map(Some)
            }));
            let refused = match next {
                None => return,
                Some(Ok((stream, _))) => match self.connection(stream, service.clone(), shared) {
                    Ok(()) => {
                        short = false;
                        continue;
                    }
                    Err(error) => io::Error::other(error),
                },
                Some(Err(error)) if is_shortage(&error) => error,
                // Its owner, which is linked, decides.
                Some(Err(error)) => {
                    exit_self(ExitReason::error(format!("no connection can be accepted: {error}")))
                }
            };
            if !std::mem::replace(&mut short, true) {
                tracing::warn!(target: "engset", error = %refused, "no connection can be accepted now; it is tried again");
            }
            let mut pause = pin!(future::sleep(SHORTAGE));
            block_on(poll_fn(|context| {
                let _ = shared.poll_room(self.most, context);
                if shared.is_draining() { Poll::Ready(()) } else { pause.as_mut().poll(context) }
            }));
        }
    }

    fn connection<S, B>(&self, stream: TcpStream, service: S, shared: &Arc<Shared>) -> Result<(), BuildError>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        // Answers are written whole: to gather them would only make them late. It fails if the peer has gone.
        let _ = stream.set_nodelay(true);
        let mut http = self.http.clone();
        http.timer(EngsetTimer::new());
        let mut builder = Builder::new().spread();
        if let Some(bytes) = self.stack_size {
            builder = builder.stack_size(bytes);
        }
        // In one piece: the table knows all processes that there are when the acceptor is killed.
        uninterrupted(|| {
            let guest = shared.enter();
            let id = guest.id;
            let process = builder.spawn(move || talk(&http, stream, service, &guest))?;
            shared.set_process(id, process);
            Ok(())
        })
    }
}

/// The process of a connection.
fn talk<S, B>(http: &http1::Builder, stream: TcpStream, service: S, guest: &Guest)
where
    S: Service<Request<Incoming>, Response = Response<B>> + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let connection = http.serve_connection(HyperIo::new(stream), service).with_upgrades();
    let mut connection = pin!(connection);
    let (mut first, mut told) = (true, false);
    let result = block_on(poll_fn(|context| {
        // The waker of `block_on` stays the same.
        let draining = if std::mem::take(&mut first) {
            guest.shared.poll_draining(guest.id, context)
        } else {
            guest.shared.is_draining()
        };
        if draining && !std::mem::replace(&mut told, true) {
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(context)
    }));
    if let Err(error) = result {
        tracing::debug!(target: "engset", %error, "a connection has failed");
    }
}
