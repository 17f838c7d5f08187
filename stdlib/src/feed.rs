//! Events of a shared table for subscribers, in the order in which the table changed.
//!
//! Whoever changes the table notes the event under the table's lock; the table's server sends it on. So all events come
//! to a subscriber from one process, and in order; and what a subscriber is shown when it subscribes, together with
//! the events after that, is the whole story: each event has a number, and a subscriber gets those from its number on.

use engset_runtime::{Pid, ResourceRef};
use std::{collections::VecDeque, fmt, sync::Arc};

/// One subscription to the changes of a registry or of groups.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionRef(u64);

impl fmt::Debug for SubscriptionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubscriptionRef({})", self.0)
    }
}

type Deliver<E> = Arc<dyn Fn(&E) + Send + Sync>;

struct Subscriber<E> {
    reference: SubscriptionRef,
    pid: Pid,
    /// The number of the first event that it gets.
    from: u64,
    /// What ends the subscription with the process.
    held: Option<ResourceRef>,
    deliver: Deliver<E>,
}

/// Lives under the table's lock.
pub(crate) struct Feed<E> {
    next_event: u64,
    next_subscription: u64,
    queue: VecDeque<(u64, Arc<E>)>,
    subscribers: Vec<Subscriber<E>>,
}

/// What is to be done without the lock.
pub(crate) type Deliveries<E> = Vec<(Deliver<E>, Arc<E>)>;

impl<E> Default for Feed<E> {
    fn default() -> Self {
        Feed { next_event: 0, next_subscription: 1, queue: VecDeque::new(), subscribers: Vec::new() }
    }
}

impl<E> Feed<E> {
    /// Notes an event. True: somebody wants it, and the server is to be told.
    #[must_use]
    pub(crate) fn note(&mut self, event: impl FnOnce() -> E) -> bool {
        if self.subscribers.is_empty() {
            return false;
        }
        self.queue.push_back((self.next_event, Arc::new(event())));
        self.next_event += 1;
        self.queue.len() == 1
    }

    pub(crate) fn subscribe(&mut self, pid: Pid, deliver: Deliver<E>) -> SubscriptionRef {
        let reference = SubscriptionRef(self.next_subscription);
        self.next_subscription += 1;
        self.subscribers.push(Subscriber { reference, pid, from: self.next_event, held: None, deliver });
        reference
    }

    /// False: it has ended already.
    #[must_use]
    pub(crate) fn keep(&mut self, reference: SubscriptionRef, held: ResourceRef) -> bool {
        let found = self.subscribers.iter_mut().find(|subscriber| subscriber.reference == reference);
        found.map(|subscriber| subscriber.held = Some(held)).is_some()
    }

    pub(crate) fn unsubscribe(
        &mut self,
        reference: SubscriptionRef,
    ) -> Option<(Deliver<E>, Option<ResourceRef>)> {
        let at = self.subscribers.iter().position(|subscriber| subscriber.reference == reference)?;
        let Subscriber { deliver, held, .. } = self.subscribers.remove(at);
        Some((deliver, held))
    }

    /// A process has ended.
    pub(crate) fn forget(&mut self, pid: Pid) -> Vec<Deliver<E>> {
        self.subscribers.extract_if(.., |subscriber| subscriber.pid == pid).map(|it| it.deliver).collect()
    }

    /// What is to be delivered, in order.
    pub(crate) fn take(&mut self) -> Deliveries<E> {
        let mut all = Vec::new();
        for (number, event) in self.queue.drain(..) {
            let wanted = self.subscribers.iter().filter(|subscriber| subscriber.from <= number);
            all.extend(wanted.map(|subscriber| (Arc::clone(&subscriber.deliver), Arc::clone(&event))));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_gets_what_is_noted_after_it_came_and_before_it_went() {
        engset_runtime::run(|| {
            let me = engset_runtime::self_pid();
            let mut feed = Feed::default();
            assert!(!feed.note(|| unreachable!("nobody is there")));
            let nothing: Deliver<u32> = Arc::new(|_| ());
            let first = feed.subscribe(me, Arc::clone(&nothing));
            assert!(feed.note(|| 1));
            assert!(!feed.note(|| 2), "the server knows already");
            feed.subscribe(me, nothing);
            assert!(!feed.note(|| 3));
            let events =
                |feed: &mut Feed<u32>| feed.take().into_iter().map(|(_, event)| *event).collect::<Vec<_>>();
            assert_eq!(events(&mut feed), [1, 2, 3, 3]);
            assert!(feed.unsubscribe(first).is_some());
            assert!(feed.unsubscribe(first).is_none());
            assert!(feed.note(|| 4));
            assert_eq!(events(&mut feed), [4]);
            assert_eq!(feed.forget(me).len(), 1);
            assert!(!feed.note(|| 5));
        })
        .unwrap();
    }
}
