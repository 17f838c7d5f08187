//! A mailbox for callers outside: messages as a stream of futures, or for a thread.
//!
//! Behind it is a process, the *porter*, which takes its messages and puts them into a queue that the [`Inbox`] reads. So
//! whoever sends to it, links or monitors it, deals with a process like any other.
//!
//! 1. Order: that of the porter's mailbox.
//! 2. The queue is short ([`AHEAD`]): a porter that is so far ahead waits. What comes meanwhile is in its mailbox, to which
//!    a [`Limit`] can be given; then senders feel it.
//! 3. The inbox is dropped: the porter is killed. The porter is killed, or the node stops: the stream ends after
//!    what is in the queue.

use crate::{
    BuildError, Builder, Limit, Mailbox, Node,
    node::{self, lock},
    pause::{Pause, pause, poke},
    pid::Address,
    process::self_pid,
    reductions::uninterrupted,
    relations,
};
use futures_core::Stream;
use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

/// Messages that the porter may be ahead of the reader.
const AHEAD: usize = 64;

/// A mailbox whose messages are read outside of processes: as a [`Stream`], by any executor, or by a thread
/// ([`Inbox::recv`]).
///
/// ```
/// use engset_runtime::{Config, Inbox, Node};
///
/// let node = Node::start(Config::new().workers(1))?;
/// let mut inbox = Inbox::new(&node)?;
/// let address = inbox.address();
/// node.spawn(move || address.send("hello from a process".to_owned()))?;
/// assert_eq!(inbox.recv().as_deref(), Some("hello from a process"));
/// assert!(node.stop());
/// assert_eq!(inbox.recv(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Inbox<M: Send + 'static> {
    address: Address<M>,
    shared: Arc<Shared<M>>,
}

struct Shared<M>(Mutex<Queue<M>>);

struct Queue<M> {
    messages: VecDeque<M>,
    closed: bool,
    /// The porter waits for room.
    full: bool,
    waker: Option<Waker>,
}

impl<M: Send + 'static> Inbox<M> {
    /// A mailbox on this node, without a bound.
    ///
    /// # Errors
    ///
    /// The node has stopped, or has no room for a process.
    pub fn new(node: &Node) -> Result<Self, BuildError> {
        Self::start(node, Builder::new())
    }

    /// The same, with a bound: what senders do when it is full is said by the limit. Some 64 messages come on top of it.
    ///
    /// # Errors
    ///
    /// As [`Inbox::new`].
    pub fn with_limit(node: &Node, limit: Limit) -> Result<Self, BuildError> {
        Self::start(node, Builder::new().mailbox(limit))
    }

    fn start(node: &Node, builder: Builder) -> Result<Self, BuildError> {
        let queue = Queue { messages: VecDeque::new(), closed: false, full: false, waker: None };
        let shared = Arc::new(Shared(Mutex::new(queue)));
        // Made here: if the process never begins, the stream ends too.
        let end = End(Arc::clone(&shared));
        let address = builder.spawn_on(node, move |mailbox: Mailbox<M>| carry(mailbox, &end))?;
        Ok(Inbox { address, shared })
    }

    /// Where to send to. Links and monitors work with it too.
    #[must_use]
    pub fn address(&self) -> Address<M> {
        self.address
    }

    /// The next message; `None`: there will be none, for the node has stopped or the process behind this was killed. It
    /// blocks the thread; within a process, it suspends that.
    pub fn recv(&mut self) -> Option<M> {
        crate::block_on(std::future::poll_fn(|context| self.poll_recv(context)))
    }

    /// The next message, if there is one now.
    pub fn try_recv(&mut self) -> Option<M> {
        self.take(lock_of(&self.shared))
    }

    /// The next message, for futures that are written by hand.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<M>> {
        let mut queue = lock_of(&self.shared);
        if queue.messages.is_empty() {
            if queue.closed {
                return Poll::Ready(None);
            }
            let former = queue.waker.replace(context.waker().clone());
            drop(queue);
            drop(former);
            return Poll::Pending;
        }
        Poll::Ready(self.take(queue))
    }

    fn take(&self, mut queue: std::sync::MutexGuard<'_, Queue<M>>) -> Option<M> {
        let message = queue.messages.pop_front();
        let wakes = queue.full && queue.messages.len() <= AHEAD / 2;
        queue.full &= !wakes;
        drop(queue);
        if wakes {
            poke(self.address.pid());
        }
        message
    }
}

fn lock_of<M>(shared: &Shared<M>) -> std::sync::MutexGuard<'_, Queue<M>> {
    node::lock(&shared.0)
}

/// The porter.
fn carry<M: Send + 'static>(mut mailbox: Mailbox<M>, end: &End<M>) {
    debug_assert_eq!(self_pid(), mailbox.address().pid());
    loop {
        let message = mailbox.message();
        let (waker, mut full) = uninterrupted(|| {
            let mut queue = lock(&end.0.0);
            queue.messages.push_back(message);
            queue.full = queue.messages.len() >= AHEAD;
            (queue.waker.take(), queue.full)
        });
        if let Some(waker) = waker {
            waker.wake();
        }
        while full {
            if pause(None) == Pause::Ending {
                return;
            }
            full = uninterrupted(|| lock(&end.0.0).full);
        }
    }
}

/// The porter has ended.
struct End<M>(Arc<Shared<M>>);

impl<M> Drop for End<M> {
    fn drop(&mut self) {
        let waker = {
            let mut queue = lock(&self.0.0);
            queue.closed = true;
            queue.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<M: Send + 'static> Stream for Inbox<M> {
    type Item = M;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<M>> {
        self.get_mut().poll_recv(context)
    }
}

impl<M: Send + 'static> Drop for Inbox<M> {
    fn drop(&mut self) {
        relations::kill(self.address.pid());
    }
}

impl<M: Send + 'static> fmt::Debug for Inbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox({:?})", self.address)
    }
}
