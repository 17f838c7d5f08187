//! Looking up names, with a limit in time and in number.
//!
//! The system's resolver blocks a thread, for many seconds if a server does not answer. So a node makes [`MOST`] lookups at a time, and
//! others wait: names that hang do not take all threads for blocking calls. A lookup that nobody waits for any more
//! keeps its place until it ends.

use engset_runtime::{
    block_on,
    future::{self, offload},
    node_local, try_self_pid, uninterrupted,
};
use std::{
    future::poll_fn,
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

/// Lookups of a node at a time.
const MOST: usize = 32;

/// The lookups of a node.
#[derive(Default)]
struct Lookups(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    running: usize,
    waiting: Vec<Waker>,
}

impl Lookups {
    fn poll_permit(self: &Arc<Self>, context: &Context<'_>) -> Poll<Permit> {
        uninterrupted(|| {
            let mut queue = crate::poller::lock(&self.0);
            if queue.running < MOST {
                queue.running += 1;
                return Poll::Ready(Permit(Arc::clone(self)));
            }
            if !queue.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                queue.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
    }
}

struct Permit(Arc<Lookups>);

impl Drop for Permit {
    fn drop(&mut self) {
        let waiting = {
            let mut queue = crate::poller::lock(&self.0.0);
            queue.running -= 1;
            std::mem::take(&mut queue.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// The addresses of a host, as the system's resolver knows them (`/etc/hosts`, DNS), within a time. The process waits meanwhile,
/// without a worker.
///
/// ```
/// # engset_runtime::run(|| {
/// use std::time::Duration;
///
/// let found = engset_net::lookup_host("localhost", 80, Duration::from_secs(10)).unwrap();
/// assert!(found.iter().all(|address| address.ip().is_loopback()));
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound): it has no address. [`TimedOut`](io::ErrorKind::TimedOut). What the resolver says.
///
/// # Signals
///
/// If an exit signal ends the process, its stack unwinds from here.
pub fn lookup_host(host: &str, port: u16, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    let name = host.to_owned();
    let ask = move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
    let found = match node_local::<Lookups>() {
        // A thread that is no process, which has no timers.
        None => ask(),
        Some(_) if try_self_pid().is_none() => ask(),
        Some(lookups) => {
            let lookup = async {
                let permit = poll_fn(|context| lookups.poll_permit(context)).await;
                offload(move || {
                    let _permit = permit;
                    ask()
                })
                .await
            };
            block_on(future::timeout(limit, lookup)).map_err(|_| {
                io::Error::new(io::ErrorKind::TimedOut, format!("{host}: no address within {limit:?}"))
            })?
        }
    }
    .map_err(|error| io::Error::new(error.kind(), format!("{host}: {error}")))?;
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address")));
    }
    Ok(found)
}
