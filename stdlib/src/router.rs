//! Routers: one handle for many processes that do the same.
//!
//! A router is no process: who sends through it chooses the receiver itself, from a list that it shares with who keeps it
//! up to date (nobody, a [group](crate::Groups::router), a [pool](crate::Pool)). So there is no further hop, no queue before
//! the queues, and nothing that crashes.
//!
//! * [`Router::send`], [`Router::call`]: to one, as [`Routing`] says.
//! * [`Router::send_keyed`], [`Router::call_keyed`]: to the one that has the key, as [`Keyed`] says.
//! * [`Router::broadcast`]: to all. [`Router::call_first`]: the first answer of all; [`Router::call_chopped`]: the next is asked if
//!   the last one takes too long.
//!
//! A message that finds its receiver dead goes to the next one that lives. A call fails as any call does if the process
//! ends before it answers: it may have done half of the work, so it is not repeated.
//!
//! Keys are given out by rendezvous hashing (Thaler and Ravishankar, IEEE/ACM Transactions on Networking 6, 1998): each member gets
//! a number from the key and itself, and the greatest wins. So when a member comes or goes only its own keys move, evenly to
//! all others, and nothing has to be kept. It looks at each member, which for some dozens costs less than a ring's search.

use crate::start;
use arc_swap::ArcSwap;
use engset_runtime::{
    Address, Builder, CallError, DEFAULT_CALL_TIMEOUT, DownReason, Pid, Reply, Resource, SendError,
    mailbox_len, now, random, sleep, uninterrupted,
};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::{
    fmt,
    hash::{BuildHasher, Hash},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// How a router chooses if there is no key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Routing {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Any, by the node's generator (in systematic mode, by the seed).
    Random,
    /// The one with the shortest mailbox, of equal ones the next in turn. It looks at each. Lengths are hints: what was sent to
    /// another worker a moment ago may not be counted yet.
    LeastLoaded,
    /// The shorter of two mailboxes chosen at random: nearly as even (Mitzenmacher, The Power of Two Choices in Randomized Load
    /// Balancing, 2001), at the same cost for any number of members.
    TwoChoices,
}

/// How a router chooses by a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keyed {
    /// By the hash of the key: everywhere the same, and nothing is kept. The default.
    #[default]
    Hash,
    /// The first time as without a key; then the same member as long as it is there. Evener than a hash if few keys make
    /// most of the work.
    Sticky {
        /// Keys that are remembered at least; the ones used longest ago go first.
        keys: usize,
    },
}

/// One of those that a router chooses from.
struct Member<M> {
    address: Address<M>,
    /// What its keys depend on. It outlives a restart in a pool.
    identity: u64,
}

impl<M> Clone for Member<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Member<M> {}

/// What routers share with who knows the members.
pub(crate) struct Members<M> {
    list: ArcSwap<Vec<Member<M>>>,
}

impl<M> Members<M> {
    pub(crate) fn of(addresses: &[Address<M>]) -> Self {
        Members { list: ArcSwap::from_pointee(Self::identified(addresses)) }
    }

    /// A process is its own identity.
    fn identified(addresses: &[Address<M>]) -> Vec<Member<M>> {
        let member = |address: &Address<M>| Member { address: *address, identity: hash_of(&address.pid()) };
        addresses.iter().map(member).collect()
    }

    pub(crate) fn replace(&self, addresses: &[Address<M>]) {
        self.list.store(Arc::new(Self::identified(addresses)));
    }

    /// The member with this identity, new or another one than before.
    pub(crate) fn set(&self, identity: u64, address: Address<M>) {
        self.list.rcu(|list| {
            let others = list.iter().filter(|member| member.identity != identity).copied();
            let mut new: Vec<_> = others.chain([Member { address, identity }]).collect();
            new.sort_by_key(|member| member.identity);
            new
        });
    }

    pub(crate) fn remove(&self, identity: u64) {
        self.retain(|member| member.identity != identity);
    }

    fn retain(&self, stays: impl Fn(&Member<M>) -> bool) {
        self.list.rcu(|list| list.iter().filter(|member| stays(member)).copied().collect::<Vec<_>>());
    }

    pub(crate) fn addresses(&self) -> Vec<Address<M>> {
        self.list.load().iter().map(|member| member.address).collect()
    }
}

impl<M: Send + 'static> Resource for Members<M> {
    fn release(&self, owner: Pid) {
        self.retain(|member| member.address.pid() != owner);
    }
}

/// Fixed: nodes are to agree.
fn hash_of(key: &(impl Hash + ?Sized)) -> u64 {
    FixedState::with_seed(0).hash_one(key)
}

/// Mixes a key and a member (the finalizer of SplitMix64).
fn score(key: u64, identity: u64) -> u64 {
    let mut mixed = key ^ identity.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Which key was given to which identity. Two generations: what was not used in the life of one is forgotten.
struct Sticky {
    keys: usize,
    young: HashMap<u64, u64>,
    old: HashMap<u64, u64>,
}

impl Sticky {
    fn get(&mut self, key: u64) -> Option<u64> {
        if let Some(identity) = self.young.get(&key) {
            return Some(*identity);
        }
        let identity = self.old.remove(&key)?;
        self.put(key, identity);
        Some(identity)
    }

    fn put(&mut self, key: u64, identity: u64) {
        if self.young.len() >= self.keys {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, identity);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A handle for many processes: see the [module](self). Cheap to clone; clones take turns together.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::{Mailbox, Reply, spawn};
/// use engset_stdlib::{Router, Routing};
///
/// let worker = |number: u32| spawn(move |mut mailbox: Mailbox<Reply<u32>>| loop { mailbox.message().send(number) });
/// let router = Router::new(Routing::RoundRobin, (0..3).map(worker));
/// let answers: Vec<u32> = (0..4).map(|_| router.call(|reply| reply).unwrap()).collect();
/// assert_eq!(answers, [0, 1, 2, 0]);
/// let one = router.call_keyed("ann", |reply| reply);
/// assert_eq!(router.call_keyed("ann", |reply| reply), one);
/// # }).unwrap();
/// ```
pub struct Router<M> {
    members: Arc<Members<M>>,
    routing: Routing,
    turn: Arc<AtomicUsize>,
    sticky: Option<Arc<Mutex<Sticky>>>,
}

impl<M: Send + 'static> Router<M> {
    /// A router to these processes. One that ends is left out.
    pub fn new(routing: Routing, members: impl IntoIterator<Item = Address<M>>) -> Self {
        let addresses: Vec<Address<M>> = members.into_iter().collect();
        Router::over(Arc::new(Members::of(&addresses)), routing)
    }

    pub(crate) fn over(members: Arc<Members<M>>, routing: Routing) -> Self {
        Router { members, routing, turn: Arc::default(), sticky: None }
    }

    /// The same members, chosen in another way if there is no key.
    #[must_use]
    pub fn routing(mut self, routing: Routing) -> Self {
        self.routing = routing;
        self
    }

    /// The same members, chosen in another way by a key. Clones of the result remember together.
    #[must_use]
    pub fn keyed(mut self, keyed: Keyed) -> Self {
        self.sticky = match keyed {
            Keyed::Hash => None,
            Keyed::Sticky { keys } => {
                let sticky = Sticky { keys: keys.max(1), young: HashMap::new(), old: HashMap::new() };
                Some(Arc::new(Mutex::new(sticky)))
            }
        };
        self
    }

    /// The members now.
    #[must_use]
    pub fn members(&self) -> Vec<Address<M>> {
        self.members.addresses()
    }

    /// How many members there are now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.list.load().len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The member whose turn it is; `None`: there is none.
    #[inline]
    #[must_use]
    pub fn pick(&self) -> Option<Address<M>> {
        let list = self.members.list.load();
        self.choose(&list).map(|member| member.address)
    }

    fn choose(&self, list: &[Member<M>]) -> Option<Member<M>> {
        if list.is_empty() {
            return None;
        }
        let turn = || self.turn.fetch_add(1, Ordering::Relaxed) % list.len();
        let any = || list[((u128::from(random()) * list.len() as u128) >> 64) as usize];
        let load = |member: &Member<M>| mailbox_len(member.address);
        Some(match self.routing {
            Routing::RoundRobin => list[turn()],
            Routing::Random => any(),
            Routing::LeastLoaded => {
                let (before, from) = list.split_at(turn());
                // Of equal ones the first.
                from.iter().chain(before).min_by_key(|member| load(member)).copied()?
            }
            Routing::TwoChoices => {
                let (first, second) = (any(), any());
                if load(&second) < load(&first) { second } else { first }
            }
        })
    }

    /// The member that has this key; `None`: there is none.
    #[must_use]
    pub fn pick_keyed(&self, key: &(impl Hash + ?Sized)) -> Option<Address<M>> {
        let key = hash_of(key);
        let list = self.members.list.load();
        let Some(sticky) = &self.sticky else {
            return list.iter().max_by_key(|member| score(key, member.identity)).map(|member| member.address);
        };
        uninterrupted(|| {
            let mut sticky = lock(sticky);
            let known = sticky.get(key);
            if let Some(member) = list.iter().find(|member| Some(member.identity) == known) {
                return Some(member.address);
            }
            let chosen = self.choose(&list)?;
            sticky.put(key, chosen.identity);
            Some(chosen.address)
        })
    }

    /// Sends to one. If it is dead already, to the next.
    ///
    /// # Errors
    ///
    /// None lives. The message comes back.
    ///
    /// # Signals
    ///
    /// As [`Address::send`].
    #[inline]
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        match self.pick() {
            Some(address) => post(address, message).or_else(|message| self.send_to_any(message)),
            None => Err(SendError::Dead(message)),
        }
    }

    #[cold]
    fn send_to_any(&self, mut message: M) -> Result<(), SendError<M>> {
        for address in self.members() {
            match post(address, message) {
                Ok(()) => return Ok(()),
                Err(back) => message = back,
            }
        }
        Err(SendError::Dead(message))
    }

    /// Sends to the one that has the key.
    ///
    /// # Errors
    ///
    /// It is dead, or there is none. The message comes back.
    pub fn send_keyed(&self, key: &(impl Hash + ?Sized), message: M) -> Result<(), SendError<M>> {
        match self.pick_keyed(key) {
            Some(address) => post(address, message).map_err(SendError::Dead),
            None => Err(SendError::Dead(message)),
        }
    }

    /// Calls one, with the default timeout.
    ///
    /// # Errors
    ///
    /// See [`Address::call`]; if there is none, `Down` with `NoProc`.
    pub fn call<T: Send + 'static>(&self, make: impl FnOnce(Reply<T>) -> M) -> Result<T, CallError> {
        self.call_timeout(make, DEFAULT_CALL_TIMEOUT)
    }

    /// The same with another timeout.
    ///
    /// # Errors
    ///
    /// As [`Router::call`].
    pub fn call_timeout<T: Send + 'static>(
        &self,
        make: impl FnOnce(Reply<T>) -> M,
        timeout: Duration,
    ) -> Result<T, CallError> {
        self.pick().ok_or(NOBODY)?.call_timeout(make, timeout)
    }

    /// Calls the one that has the key, with the default timeout.
    ///
    /// # Errors
    ///
    /// As [`Router::call`].
    pub fn call_keyed<T: Send + 'static>(
        &self,
        key: &(impl Hash + ?Sized),
        make: impl FnOnce(Reply<T>) -> M,
    ) -> Result<T, CallError> {
        self.pick_keyed(key).ok_or(NOBODY)?.call(make)
    }

    /// Sends to all; to how many.
    pub fn broadcast(&self, message: &M) -> usize
    where
        M: Clone,
    {
        let all = self.members();
        all.iter().for_each(|address| address.send(message.clone()));
        all.len()
    }

    /// Calls all at the same time, and returns the first answer. Each call is made by a process of its own.
    ///
    /// # Errors
    ///
    /// None answered: the last error. There is none: `Down` with `NoProc`.
    ///
    /// # Signals
    ///
    /// If an exit signal ends the caller, its stack unwinds from here; the calls go on to their end.
    pub fn call_first<T: Send + 'static>(
        &self,
        make: impl Fn(Reply<T>) -> M + Send + Sync + 'static,
        timeout: Duration,
    ) -> Result<T, CallError> {
        race(self.members(), make, Duration::ZERO, timeout)
    }

    /// Calls one; if there is no answer after `interval`, another one too, and so on in turn; returns the first answer. For
    /// calls that may be made twice, to cut the slowest off.
    ///
    /// # Errors, Signals
    ///
    /// As [`Router::call_first`].
    pub fn call_chopped<T: Send + 'static>(
        &self,
        make: impl Fn(Reply<T>) -> M + Send + Sync + 'static,
        interval: Duration,
        timeout: Duration,
    ) -> Result<T, CallError> {
        let mut all = self.members();
        if !all.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % all.len();
            all.rotate_left(turn);
        }
        race(all, make, interval, timeout)
    }
}

const NOBODY: CallError = CallError::Down(DownReason::NoProc);

/// Sends, and gives the message back if the process is dead. Waits for room, if the mailbox says so.
#[inline]
fn post<M: Send + 'static>(address: Address<M>, message: M) -> Result<(), M> {
    match address.try_send(message) {
        Ok(()) => Ok(()),
        Err(SendError::Dead(message)) => Err(message),
        Err(other) => {
            address.send(other.into_message());
            Ok(())
        }
    }
}

struct Race<T> {
    reply: Mutex<Option<Reply<Result<T, CallError>>>>,
    running: AtomicUsize,
}

impl<T: Send + 'static> Race<T> {
    /// The first answer wins; an error only if nobody else can answer any more.
    fn done(&self, result: Result<T, CallError>) {
        let last = self.running.fetch_sub(1, Ordering::AcqRel) == 1;
        if result.is_ok() || last {
            let reply = lock(&self.reply).take();
            if let Some(reply) = reply {
                reply.send(result);
            }
        }
    }

    fn is_over(&self) -> bool {
        lock(&self.reply).is_none()
    }
}

fn race<M: Send + 'static, T: Send + 'static>(
    all: Vec<Address<M>>,
    make: impl Fn(Reply<T>) -> M + Send + Sync + 'static,
    interval: Duration,
    timeout: Duration,
) -> Result<T, CallError> {
    if all.is_empty() {
        return Err(NOBODY);
    }
    let make = Arc::new(make);
    let start = now();
    start::wait_for_answer(timeout, |reply| {
        let race = Arc::new(Race { reply: Mutex::new(Some(reply)), running: AtomicUsize::new(all.len()) });
        for (place, address) in (0_u32..).zip(all) {
            let (runner, make) = (Arc::clone(&race), Arc::clone(&make));
            let run = move || {
                let wait = interval.saturating_mul(place);
                if !wait.is_zero() {
                    sleep(wait.min(timeout));
                }
                let left = timeout.saturating_sub(now().saturating_sub(start));
                if runner.is_over() || left.is_zero() {
                    return runner.done(Err(CallError::Timeout(timeout)));
                }
                let answer = address.call_timeout(|reply| make(reply), left);
                runner.done(answer.map_err(|error| match error {
                    // Of the whole, not of what was left of it.
                    CallError::Timeout(_) => CallError::Timeout(timeout),
                    other => other,
                }));
            };
            if let Err(error) = Builder::new().spawn(run) {
                race.done(Err(CallError::Refused(error.to_string())));
            }
        }
    })?
}

impl<M> Clone for Router<M> {
    fn clone(&self) -> Self {
        Router {
            members: Arc::clone(&self.members),
            routing: self.routing,
            turn: Arc::clone(&self.turn),
            sticky: self.sticky.clone(),
        }
    }
}

impl<M> fmt::Debug for Router<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("routing", &self.routing)
            .field("members", &self.members.list.load().len())
            .finish_non_exhaustive()
    }
}
