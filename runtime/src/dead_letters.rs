//! Dead letters: messages to processes that were dead, or died before they received them.
//!
//! They are counted ([`Node::dead_letters`]), and a process may subscribe to them. What it gets says to whom and of
//! which type; the message itself has been dropped by then, so that it is dropped where it always is.
//!
//! * Rate: at most so many a second for each subscriber; the next one says how many were left out.
//! * A dead letter is no dead letter: what comes for a subscriber that has died ends its subscription.
//! * What is no dead letter: a message that came back to its sender (`try_send`, a call), one that a
//!   full mailbox refused, and one that was received.

use crate::{
    bound,
    node::{self, Node, lock},
    observe::Seen,
    pid::{Address, Pid},
    send,
};
use engset_scheduler::current;
use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// A message that nobody received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The process that it was for.
    pub to: Pid,
    /// The name of its type.
    pub message: &'static str,
    /// Dead letters that this subscriber has not been told of since the last one, because they were too many.
    pub suppressed: u64,
}

/// The dead letters of a node.
#[derive(Default)]
pub(crate) struct DeadLetters {
    count: AtomicUsize,
    /// There are subscribers: the usual case costs no lock.
    watched: AtomicBool,
    subscribers: Mutex<Vec<Subscriber>>,
}

struct Subscriber {
    address: Address<DeadLetter>,
    per_second: u32,
    second: u64,
    sent: u32,
    suppressed: u64,
}

impl Subscriber {
    /// May it be told of one more? Then, how many it has missed.
    fn permit(&mut self, second: u64) -> Option<u64> {
        if self.second != second {
            self.second = second;
            self.sent = 0;
        }
        if self.sent >= self.per_second {
            self.suppressed += 1;
            return None;
        }
        self.sent += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

impl DeadLetters {
    #[cold]
    pub(crate) fn arrived(&self, to: Pid, message: &'static str) {
        // Relaxed: a count, and a hint: who subscribes meanwhile may miss this one.
        self.count.fetch_add(1, Ordering::Relaxed);
        tracing::trace!(target: "engset", %to, message, "dead letter");
        if !self.watched.load(Ordering::Relaxed) {
            return;
        }
        let second = now_of(to) / 1_000_000_000;
        let mut due = Vec::new();
        for subscriber in
            lock(&self.subscribers).iter_mut().filter(|subscriber| subscriber.address.pid() != to)
        {
            if let Some(suppressed) = subscriber.permit(second) {
                due.push((subscriber.address, DeadLetter { to, message, suppressed }));
            }
        }
        // Not under the lock: a send may find more dead letters.
        for (address, letter) in due {
            if let Some(envelope) = bound::offer(address, letter)
                && send::envelope(address.pid(), envelope).is_err()
            {
                self.unsubscribe(address.pid());
            }
        }
    }

    fn subscribe(&self, address: Address<DeadLetter>, per_second: u32) {
        let mut subscribers = lock(&self.subscribers);
        subscribers.retain(|subscriber| subscriber.address != address);
        subscribers.push(Subscriber { address, per_second, second: u64::MAX, sent: 0, suppressed: 0 });
        self.watched.store(true, Ordering::Relaxed);
    }

    fn unsubscribe(&self, pid: Pid) -> bool {
        let mut subscribers = lock(&self.subscribers);
        let before = subscribers.len();
        subscribers.retain(|subscriber| subscriber.address.pid() != pid);
        self.watched.store(!subscribers.is_empty(), Ordering::Relaxed);
        subscribers.len() < before
    }
}

fn now_of(pid: Pid) -> u64 {
    if current::on_worker() {
        return current::coarse_now();
    }
    node::scheduler_of(pid.node()).map_or(0, |scheduler| scheduler.now())
}

/// A `send` has found the receiver dead.
#[cold]
pub(crate) fn sent_to_dead<M>(to: Pid, message: M) {
    drop(message);
    let message = std::any::type_name::<M>();
    node::with_node(to.node(), |node| {
        node.dead_letters.arrived(to, message);
        node.tell(Seen::DeadLetter { message });
    });
}

impl Node {
    /// Messages that came for processes that were dead.
    #[must_use]
    pub fn dead_letters(&self) -> usize {
        self.inner.dead_letters.count.load(Ordering::Relaxed)
    }

    /// From now on `to` gets this node's dead letters, at most so many a second. It ends with the process, or by
    /// [`Node::unsubscribe_dead_letters`]. A second subscription of the same process replaces the first.
    ///
    /// ```
    /// # engset_runtime::run(|| {
    /// use engset_runtime::{DeadLetter, Mailbox, Node, monitor, spawn};
    ///
    /// let node = Node::current().unwrap();
    /// let watcher = spawn(move |mut mailbox: Mailbox<DeadLetter>| {
    ///     node.subscribe_dead_letters(mailbox.address(), 100);
    ///     let gone = spawn(|_: Mailbox<String>| ());
    ///     monitor(gone);
    ///     mailbox.receive();
    ///     gone.send("hello?".to_owned());
    ///     let letter = mailbox.message();
    ///     assert_eq!((letter.to, letter.message), (gone.pid(), "alloc::string::String"));
    /// });
    /// # let mut mailbox: Mailbox<()>;
    /// # while engset_runtime::is_alive(watcher) { engset_runtime::yield_now(); }
    /// # assert_eq!(Node::current().unwrap().crashes(), 0);
    /// # }).unwrap();
    /// ```
    pub fn subscribe_dead_letters(&self, to: Address<DeadLetter>, per_second: u32) {
        self.inner.dead_letters.subscribe(to, per_second);
    }

    /// Ends a subscription. False: there was none.
    pub fn unsubscribe_dead_letters(&self, subscriber: impl Into<Pid>) -> bool {
        self.inner.dead_letters.unsubscribe(subscriber.into())
    }
}
