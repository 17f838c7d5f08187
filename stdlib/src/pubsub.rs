//! Publish and subscribe: typed topics, whose subscribers are processes.
//!
//! A [`PubSub`] holds topics by name; a [`Topic<T>`] takes values of one type. A subscriber says how such a value becomes a
//! message of its own type, and gets it like any other message. It is unsubscribed when it ends.
//!
//! What is promised:
//!
//! 1. After [`subscribe`](Topic::subscribe) has returned, the subscriber gets every value that anybody publishes; after
//!    [`unsubscribe`](Topic::unsubscribe) has returned, none that is published later.
//! 2. Values of one publisher reach a subscriber in the order in which they were published, among everything else
//!    that the publisher sends to it. Between different publishers there is no order, as between all signals.
//! 3. Each subscription counts for itself: a process that subscribes twice gets each value twice, perhaps in two forms.
//! 4. A topic that *retains* keeps the last value. Who subscribes gets it from `subscribe`, not as a message: so it cannot come
//!    after a newer one. Every value that was published after the one that `subscribe` gave comes as a message.
//! 5. Publishing is sending: it waits only where the policy of a subscriber's bounded mailbox says so.
//!
//! Each value is cloned for each subscriber, in the publisher. For large ones publish an [`Arc`]. So is the mapping into
//! messages called there; keep it trivial. One that panics costs its own process the life (the code is its
//! own), and not the publisher.
//!
//! One process, the keeper, changes the lists of members: it joins, leaves and watches processes, and knows
//! nothing of values. Publishers read the lists without asking it. To reach other nodes, the keepers would tell each other
//! their members, as process groups do; a value would go to each node once, and to the members from there, since
//! their mappings are there.
//!
//! When not to use it: to share a value that is only read, see [`Agent`](crate::Agent); to reach processes under keys
//! whose messages have one type, see [`Registry::broadcast`](crate::Registry::broadcast).

use crate::{Context, GenServer, Next, StartError};
use engset_runtime::{
    Address, CallError, Event, ExitReason, MonitorRef, Pid, Reply, catch, demonitor, exit, monitor,
};
use hashbrown::{HashMap, HashSet};
use std::{
    any::{Any, type_name},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// Topics by name. Cheap to clone. See the [module](self).
pub struct PubSub {
    keeper: Address<KeeperRequest>,
    topics: Arc<Mutex<HashMap<Arc<str>, Slot>>>,
}

/// A topic that retains is kept; another one lives as long as somebody has it, or subscribes to it.
struct Slot {
    table: Weak<dyn Any + Send + Sync>,
    kept: Option<Arc<dyn Any + Send + Sync>>,
    holds: &'static str,
    retains: bool,
}

/// A topic of values `T`. Cheap to clone.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::{Address, Mailbox, spawn};
/// use engset_stdlib::PubSub;
///
/// enum Message { Price(f64), Done }
///
/// let prices = PubSub::start_link()?.topic::<f64>("prices").unwrap();
/// let topic = prices.clone();
/// let reader = spawn(move |mut mailbox: Mailbox<Message>| {
///     topic.subscribe(mailbox.address(), Message::Price).unwrap();
///     while let Message::Price(price) = mailbox.message() {
///         assert!(price > 0.0);
///     }
/// });
/// while prices.publish(12.5) == 0 {
///     engset_runtime::yield_now();
/// }
/// reader.send(Message::Done);
/// # Ok::<(), engset_stdlib::StartError>(())
/// # }).unwrap().unwrap();
/// ```
pub struct Topic<T> {
    keeper: Address<KeeperRequest>,
    table: Arc<Table<T>>,
}

struct Table<T> {
    name: Arc<str>,
    retains: bool,
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    /// Publishers take a copy of the pointer, and send without the lock.
    members: Arc<Vec<Member<T>>>,
    /// Shared, so that no user's `clone` runs under the lock: it might be preempted there.
    latest: Option<Arc<T>>,
}

struct Member<T> {
    pid: Pid,
    id: u64,
    deliver: Arc<dyn Fn(T) + Send + Sync>,
}

impl<T> Clone for Member<T> {
    fn clone(&self) -> Self {
        Member { pid: self.pid, id: self.id, deliver: Arc::clone(&self.deliver) }
    }
}

/// One subscription of a process to a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subscription {
    pid: Pid,
    id: u64,
}

/// Why there is no such topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicError {
    /// It holds values of another type.
    OtherType {
        /// The topic.
        topic: Arc<str>,
        /// The type that it holds.
        holds: &'static str,
        /// The type that was asked for.
        wanted: &'static str,
    },
    /// It retains and shall not, or the other way round.
    OtherKind {
        /// The topic.
        topic: Arc<str>,
        /// Does it retain?
        retains: bool,
    },
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopicError::OtherType { topic, holds, wanted } => {
                write!(f, "the topic {topic:?} holds {holds}, not {wanted}")
            }
            TopicError::OtherKind { topic, retains: true } => {
                write!(f, "the topic {topic:?} retains its last value: take retained_topic")
            }
            TopicError::OtherKind { topic, retains: false } => {
                write!(f, "the topic {topic:?} does not retain its last value: take topic")
            }
        }
    }
}

impl std::error::Error for TopicError {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PubSub {
    /// Starts one, without a tie to this process.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start() -> Result<Self, StartError> {
        Keeper::default().start().map(Self::of)
    }

    /// Starts one, linked with this process.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start_link() -> Result<Self, StartError> {
        Keeper::default().start_link().map(Self::of)
    }

    fn of(keeper: Address<KeeperRequest>) -> Self {
        PubSub { keeper, topics: Arc::default() }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.keeper.pid()
    }

    /// The topic of this name; it need not have been there.
    ///
    /// # Errors
    ///
    /// It is there, and of another type or kind.
    pub fn topic<T: Clone + Send + Sync + 'static>(
        &self,
        name: impl Into<Arc<str>>,
    ) -> Result<Topic<T>, TopicError> {
        self.find(name.into(), false)
    }

    /// The same of a topic that retains its last value. It is there as long as this `PubSub`.
    ///
    /// # Errors
    ///
    /// It is there, and of another type or kind.
    pub fn retained_topic<T: Clone + Send + Sync + 'static>(
        &self,
        name: impl Into<Arc<str>>,
    ) -> Result<Topic<T>, TopicError> {
        self.find(name.into(), true)
    }

    fn find<T: Clone + Send + Sync + 'static>(
        &self,
        name: Arc<str>,
        retains: bool,
    ) -> Result<Topic<T>, TopicError> {
        let mut topics = lock(&self.topics);
        if let Some(slot) = topics.get(&name)
            && let Some(table) = slot.table.upgrade()
        {
            let Ok(table) = table.downcast::<Table<T>>() else {
                let (holds, wanted) = (slot.holds, type_name::<T>());
                return Err(TopicError::OtherType { topic: name, holds, wanted });
            };
            if slot.retains != retains {
                return Err(TopicError::OtherKind { topic: name, retains: slot.retains });
            }
            return Ok(Topic { keeper: self.keeper, table });
        }
        // Before the map grows it forgets the topics that nobody has any more.
        if topics.len() == topics.capacity() {
            topics.retain(|_, slot| slot.table.strong_count() > 0);
        }
        let inner = Mutex::new(Inner { members: Arc::default(), latest: None });
        let table = Arc::new(Table::<T> { name: Arc::clone(&name), retains, inner });
        let any: Arc<dyn Any + Send + Sync> = table.clone();
        let slot = Slot {
            table: Arc::downgrade(&any),
            kept: retains.then_some(any),
            holds: type_name::<T>(),
            retains,
        };
        topics.insert(name, slot);
        Ok(Topic { keeper: self.keeper, table })
    }

    /// The names of the topics that somebody has, or subscribes to, and of all that retain; in no order.
    #[must_use]
    pub fn topics(&self) -> Vec<Arc<str>> {
        let topics = lock(&self.topics);
        let alive = topics.iter().filter(|(_, slot)| slot.kept.is_some() || slot.table.strong_count() > 0);
        alive.map(|(name, _)| Arc::clone(name)).collect()
    }
}

impl<T: Clone + Send + Sync + 'static> Topic<T> {
    /// Subscribes a process: for each value it gets what `map` makes of it. Rule 4 of the [module](self) says what the
    /// second value is: the last one that was published, if the topic retains and there is one.
    ///
    /// # Errors
    ///
    /// The keeper does not answer.
    pub fn subscribe<M: Send + 'static>(
        &self,
        process: Address<M>,
        map: impl Fn(T) -> M + Send + Sync + 'static,
    ) -> Result<(Subscription, Option<T>), CallError> {
        let pid = process.pid();
        let deliver = Arc::new(move |value| process.send(map(value)));
        let table = Arc::clone(&self.table);
        let members: Arc<dyn Members> = Arc::clone(&self.table) as Arc<dyn Members>;
        self.keeper.call(|reply: Reply<(Subscription, Option<T>)>| {
            let join = move |id| {
                let latest = table.join(Member { pid, id, deliver });
                reply.send((Subscription { pid, id }, latest.map(Arc::unwrap_or_clone)));
            };
            KeeperRequest(Request::Join { pid, members, join: Box::new(join) })
        })
    }

    /// Ends a subscription. False: it had ended already, or is one of another topic.
    ///
    /// # Errors
    ///
    /// The keeper does not answer.
    pub fn unsubscribe(&self, subscription: Subscription) -> Result<bool, CallError> {
        let members: Arc<dyn Members> = Arc::clone(&self.table) as Arc<dyn Members>;
        self.keeper.call(|reply| KeeperRequest(Request::Leave { subscription, members, reply }))
    }

    /// Sends a value to all subscribers; to how many subscriptions. One that has ended a moment ago may still count.
    pub fn publish(&self, value: T) -> usize {
        let members = self.table.publish(&value);
        let Some((last, others)) = members.split_last() else { return 0 };
        let mut reached = 0;
        for member in others {
            reached += usize::from(member.give(value.clone()));
        }
        reached + usize::from(last.give(value))
    }

    /// The last value that was published, if the topic retains.
    #[must_use]
    pub fn latest(&self) -> Option<T> {
        let latest = lock(&self.table.inner).latest.clone();
        latest.map(Arc::unwrap_or_clone)
    }

    /// Forgets the last value; it is brought back.
    pub fn clear_latest(&self) -> Option<T> {
        let latest = lock(&self.table.inner).latest.take();
        latest.map(Arc::unwrap_or_clone)
    }

    /// The processes that subscribe, one for each subscription, the oldest first.
    #[must_use]
    pub fn subscribers(&self) -> Vec<Pid> {
        lock(&self.table.inner).members.iter().map(|member| member.pid).collect()
    }
}

impl<T> Topic<T> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.table.name
    }
}

impl<T> Member<T> {
    /// False: its mapping panicked. That is a crash of the process which the mapping is of.
    fn give(&self, value: T) -> bool {
        // A thread that is no process has nobody to report to, and no stack that is to be saved.
        if engset_runtime::try_self_pid().is_none() {
            (self.deliver)(value);
            return true;
        }
        match catch(|| (self.deliver)(value)) {
            Ok(()) => true,
            Err(reason) => {
                exit(
                    self.pid,
                    ExitReason::error(format!("the mapping of its subscription failed: {reason}")),
                );
                false
            }
        }
    }
}

impl<T: Clone> Table<T> {
    fn join(&self, member: Member<T>) -> Option<Arc<T>> {
        let mut inner = lock(&self.inner);
        Arc::make_mut(&mut inner.members).push(member);
        inner.latest.clone()
    }

    /// Who gets a value. It is the latest from now on: in the same step, or rule 4 would not hold.
    fn publish(&self, value: &T) -> Arc<Vec<Member<T>>> {
        let latest = self.retains.then(|| Arc::new(value.clone()));
        let mut inner = lock(&self.inner);
        let former = latest.and_then(|latest| inner.latest.replace(latest));
        let members = Arc::clone(&inner.members);
        drop(inner);
        // Its destructor is the user's.
        drop(former);
        members
    }
}

/// The members of a topic, without its type.
trait Members: Send + Sync {
    /// Takes away those members that are not to stay; were there any?
    fn retain(&self, stays: &mut dyn FnMut(Pid, u64) -> bool) -> bool;
}

impl<T: Send + Sync + 'static> Members for Table<T> {
    fn retain(&self, stays: &mut dyn FnMut(Pid, u64) -> bool) -> bool {
        let mut inner = lock(&self.inner);
        let before = inner.members.len();
        let mut gone = Vec::new();
        Arc::make_mut(&mut inner.members).retain(|member| {
            let stays = stays(member.pid, member.id);
            if !stays {
                gone.push(member.clone());
            }
            stays
        });
        let left = inner.members.len() < before;
        drop(inner);
        // What the mappings hold is the users'.
        drop(gone);
        left
    }
}

/// What the keeper takes. Nobody but a [`Topic`] makes one.
struct KeeperRequest(Request);

enum Request {
    Join { pid: Pid, members: Arc<dyn Members>, join: Box<dyn FnOnce(u64) + Send> },
    Leave { subscription: Subscription, members: Arc<dyn Members>, reply: Reply<bool> },
}

/// The process that changes the lists of members.
#[derive(Default)]
struct Keeper {
    joined: HashMap<Pid, Joined>,
    /// How many there have been.
    subscriptions: u64,
}

/// A process that subscribes.
struct Joined {
    monitor: MonitorRef,
    /// Its subscriptions, and what they are in.
    to: Vec<(u64, Arc<dyn Members>)>,
}

impl Keeper {
    fn leave(&mut self, subscription: Subscription, members: &Arc<dyn Members>) -> bool {
        let Subscription { pid, id } = subscription;
        let Some(joined) = self.joined.get_mut(&pid) else { return false };
        let Some(at) = joined.to.iter().position(|(other, of)| *other == id && Arc::ptr_eq(of, members))
        else {
            return false;
        };
        joined.to.swap_remove(at);
        if joined.to.is_empty() {
            demonitor(joined.monitor, true);
            self.joined.remove(&pid);
        }
        members.retain(&mut |_, other| other != id)
    }
}

impl GenServer for Keeper {
    type Message = KeeperRequest;

    fn handle(&mut self, message: KeeperRequest, _: &mut Context<KeeperRequest>) -> Next {
        match message.0 {
            Request::Join { pid, members, join } => {
                self.subscriptions += 1;
                let id = self.subscriptions;
                let joined = self
                    .joined
                    .entry(pid)
                    .or_insert_with(|| Joined { monitor: monitor(pid), to: Vec::new() });
                joined.to.push((id, members));
                join(id);
            }
            Request::Leave { subscription, members, reply } => reply.send(self.leave(subscription, &members)),
        }
        Next::wait()
    }

    fn event(&mut self, event: Event, _: &mut Context<KeeperRequest>) -> Next {
        if let Event::Down(down) = event
            && let Some(joined) = self.joined.remove(&down.pid)
        {
            let mut seen = HashSet::new();
            for (_, members) in &joined.to {
                // A process that has many subscriptions to one topic leaves it once.
                if seen.insert(Arc::as_ptr(members).cast::<()>()) {
                    members.retain(&mut |pid, _| pid != down.pid);
                }
            }
        }
        Next::wait()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Nobody watches the subscribers any more.
        for joined in self.joined.values() {
            for (_, members) in &joined.to {
                members.retain(&mut |_, _| false);
            }
        }
    }
}

impl Clone for PubSub {
    fn clone(&self) -> Self {
        PubSub { keeper: self.keeper, topics: Arc::clone(&self.topics) }
    }
}

impl<T> Clone for Topic<T> {
    fn clone(&self) -> Self {
        Topic { keeper: self.keeper, table: Arc::clone(&self.table) }
    }
}

impl fmt::Debug for PubSub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PubSub{}", self.keeper.pid())
    }
}

impl<T> fmt::Debug for Topic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic<{}>({:?})", type_name::<T>(), self.table.name)
    }
}
