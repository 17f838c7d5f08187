//! Groups of processes, as `pg` in Erlang: join, leave, and tell all.
//!
//! [`Groups`] is a scope: groups in it have nothing to do with those of another one. A group is there as long as it has members.
//!
//! 1. A member may join a group many times; it is in the list as often, and has to leave as often.
//! 2. A member that ends leaves all its groups before anybody is told of its end (semantics row S2).
//! 3. Joining and leaving is done by the process that calls, under a lock that nobody keeps while waiting; when it returns, all of
//!    this node see it, and all routers to the group too ([`Groups::router`]).
//! 4. Who [monitors](Groups::monitor) a group, or all of them, sees the members as they are, and each change after that, in
//!    order. These messages come from the scope's process.
//!
//! With [`GroupsBuilder::across_nodes`] scopes of one name on nodes that see each other are one: a member joins on its own node, and all see
//! it. [`GroupsState`] has the rules, `across.rs` the process that speaks with the others. So, as in `pg`:
//!
//! * Each node knows its own members for certain, and those of others as soon as it has been told. While nothing changes and nodes stay
//!   connected, all see the same.
//! * A node that is lost takes its members with it: they leave, one `Left` for each of their groups. When it is back they join again. During a
//!   partition each side sees its own; nothing is undone or decided afterwards, for nobody but a node itself writes its members.
//! * A process of another node cannot be joined from here: it leaves again at once.
//!
//! When not to use it: to find *one* process by a key, take a [`Registry`](crate::Registry).

mod across;
mod state;

use crate::{
    Router, Routing, StartError,
    feed::{Feed, SubscriptionRef},
    inside::inside,
    registry::Key,
    router::Members,
    start::{self, Ack, Tie},
};
use engset_runtime::{
    Address, Builder, CallError, DownReason, ExitReason, Flow, NameError, NodeId, Pid, Received, Reply,
    Resource, ResourceRef, Server, hold, let_go, lookup, reduce, remote::Remote,
};
use hashbrown::HashMap;
use std::{
    collections::VecDeque,
    fmt,
    marker::PhantomData,
    sync::{Arc, OnceLock, PoisonError, RwLock, Weak},
    time::Duration,
};

pub use state::{GroupChange, GroupsMessage, GroupsOutput, GroupsState};

/// A scope of groups whose members take `M`. Cheap to clone. See the [module](self).
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::{Mailbox, Reply, spawn};
/// use engset_stdlib::Groups;
///
/// let groups: Groups<&str, Reply<&'static str>> = Groups::builder().start_link()?;
/// for name in ["ann", "bob"] {
///     groups.join("guests", spawn(move |mut mailbox: Mailbox<Reply<&'static str>>| loop { mailbox.message().send(name) }))?;
/// }
/// let names: Vec<_> = groups.members(&"guests").iter().map(|guest| guest.call(|reply| reply).unwrap()).collect();
/// assert_eq!(names, ["ann", "bob"]);
/// # Ok::<(), engset_stdlib::StartError>(())
/// # }).unwrap().unwrap();
/// ```
pub struct Groups<G, M> {
    server: Address<Request<G, M>>,
    shared: Arc<Shared<G, M>>,
}

/// A scope that is to be started.
#[must_use = "it does nothing until it starts"]
pub struct GroupsBuilder<G, M> {
    options: Builder,
    name: Option<Arc<str>>,
    speak: Option<Speak<G, M>>,
    kind: PhantomData<fn(G, M)>,
}

/// Starts the process that speaks with other nodes, linked with the one that calls.
type Speak<G, M> = fn(&Arc<Shared<G, M>>, &str) -> Result<(), StartError>;

/// The scope has ended: it takes no members, and has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeEnded;

impl fmt::Display for ScopeEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the scope of groups has ended")
    }
}

impl std::error::Error for ScopeEnded {}

impl From<ScopeEnded> for StartError {
    fn from(_: ScopeEnded) -> Self {
        StartError::InitExited(engset_runtime::ExitReason::NoProc)
    }
}

impl From<ScopeEnded> for CallError {
    fn from(_: ScopeEnded) -> Self {
        CallError::Down(DownReason::NoProc)
    }
}

type State<G, M> = GroupsState<NodeId, G, Address<M>>;
type Change<G, M> = GroupChange<G, Address<M>>;

struct Table<G, M> {
    state: State<G, M>,
    /// Members of this node.
    local: HashMap<Pid, (Address<M>, Option<ResourceRef>)>,
    feed: Feed<Change<G, M>>,
    /// Who routes to a group.
    routers: HashMap<G, Vec<Weak<Members<M>>>>,
    /// What other nodes are to be told, in order.
    outbox: VecDeque<(NodeId, GroupsMessage<G, Address<M>>)>,
    closed: bool,
}

/// What the handles and the server share. As a resource of a process: its memberships and subscriptions.
struct Shared<G, M> {
    me: Weak<Self>,
    table: RwLock<Table<G, M>>,
    server: OnceLock<Address<Request<G, M>>>,
    /// Tells the process that speaks with other nodes to look into the outbox.
    speaker: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// Whom to tell after a change.
#[derive(Clone, Copy, Default)]
struct Wake {
    server: bool,
    speaker: bool,
}

impl<G: Key, M: Send + 'static> Table<G, M> {
    fn apply(&mut self, outputs: Vec<GroupsOutput<NodeId, G, Address<M>>>) -> Wake {
        let mut wake = Wake::default();
        for output in outputs {
            let change = match output {
                GroupsOutput::Changed(change) => change,
                GroupsOutput::Send { to, message } => {
                    wake.speaker |= self.outbox.is_empty();
                    self.outbox.push_back((to, message));
                    continue;
                }
            };
            if let Some(routers) = self.routers.get_mut(change.group()) {
                routers.retain(|router| {
                    router.upgrade().is_some_and(|members| {
                        members.replace(self.state.members(change.group()));
                        true
                    })
                });
                if routers.is_empty() {
                    self.routers.remove(change.group());
                }
            }
            wake.server |= self.feed.note(|| change);
        }
        wake
    }
}

impl<G: Key, M: Send + 'static> Shared<G, M> {
    fn new() -> Arc<Self> {
        let table = Table {
            state: State::default(),
            local: HashMap::new(),
            feed: Feed::default(),
            routers: HashMap::new(),
            outbox: VecDeque::new(),
            closed: false,
        };
        Arc::new_cyclic(|me| Shared {
            me: me.clone(),
            table: RwLock::new(table),
            server: OnceLock::new(),
            speaker: OnceLock::new(),
        })
    }

    fn read<R>(&self, f: impl FnOnce(&Table<G, M>) -> R) -> R {
        inside(|| f(&self.table.read().unwrap_or_else(PoisonError::into_inner)))
    }

    fn write<R>(&self, f: impl FnOnce(&mut Table<G, M>) -> R) -> R {
        inside(|| f(&mut self.table.write().unwrap_or_else(PoisonError::into_inner)))
    }

    fn wake(&self, wake: Wake) {
        if wake.server
            && let Some(server) = self.server.get()
        {
            server.send(Request::Deliver);
        }
        if wake.speaker
            && let Some(speaker) = self.speaker.get()
        {
            speaker();
        }
    }

    /// Without the lock: if the process is dead, it leaves at once.
    fn hold_for(&self, pid: Pid) {
        let Some(me) = self.me.upgrade() else { return };
        let held = hold(pid, me);
        let superfluous = self.write(|table| match table.local.get_mut(&pid) {
            Some((_, place @ None)) => {
                *place = Some(held);
                false
            }
            _ => true,
        });
        if superfluous {
            let_go(held);
        }
    }

    fn forget(&self, pid: Pid) {
        let (gone, wake) = self.write(|table| {
            let gone = table.feed.forget(pid);
            let Some((address, _)) = table.local.remove(&pid) else { return (gone, Wake::default()) };
            let outputs = table.state.down(&address);
            (gone, table.apply(outputs))
        });
        drop(gone);
        self.wake(wake);
    }

    fn close(&self) {
        let (state, local, feed, routers) = self.write(|table| {
            table.closed = true;
            (
                std::mem::take(&mut table.state),
                std::mem::take(&mut table.local),
                std::mem::take(&mut table.feed),
                std::mem::take(&mut table.routers),
            )
        });
        local.into_values().filter_map(|(_, held)| held).for_each(let_go);
        routers
            .into_values()
            .flatten()
            .filter_map(|router| router.upgrade())
            .for_each(|router| router.replace(&[]));
        drop((state, feed));
    }
}

impl<G: Key, M: Send + 'static> Resource for Shared<G, M> {
    fn release(&self, owner: Pid) {
        if self.server.get().is_some_and(|server| server.pid() == owner) {
            self.close();
        }
        self.forget(owner);
    }
}

impl<G: Key, M: Send + 'static> GroupsBuilder<G, M> {
    /// Registers the scope's process under a name: [`Groups::named`] finds it.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        let name = name.into();
        self.name = Some(Arc::clone(&name));
        self.options = self.options.name(name);
        self
    }

    /// The scope goes over all nodes that see each other and have one of the same name and types. It needs a [name](Self::name),
    /// and a node that has joined others before.
    pub fn across_nodes(mut self) -> Self
    where
        G: Remote,
        M: Remote,
    {
        self.speak = Some(across::start::<G, M>);
        self
    }

    /// Starts it, linked with this process.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start_link(self) -> Result<Groups<G, M>, StartError> {
        self.launch(Tie::Link)
    }

    /// Starts it without a link.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(self) -> Result<Groups<G, M>, StartError> {
        self.launch(Tie::None)
    }

    fn launch(self, tie: Tie) -> Result<Groups<G, M>, StartError> {
        let shared = Shared::new();
        let (speak, name) = (self.speak, self.name);
        if speak.is_some() && name.is_none() {
            return Err(StartError::InitFailed(ExitReason::error("a scope over nodes needs a name")));
        }
        let make = |ack| Keeper { shared: Arc::clone(&shared), speak: speak.zip(name), ack: Some(ack) };
        let (server, _) = start::start(self.options, tie, Duration::MAX, make)?;
        Ok(Groups { server, shared })
    }
}

impl<G: Key, M: Send + 'static> Groups<G, M> {
    /// A scope.
    pub fn builder() -> GroupsBuilder<G, M> {
        GroupsBuilder { options: Builder::new(), name: None, speak: None, kind: PhantomData }
    }

    /// The scope whose process has this name on the caller's node.
    ///
    /// # Errors
    ///
    /// Nobody has the name, or it is no scope of these types, or it has just ended.
    pub fn named(name: &str) -> Result<Self, NameError> {
        let server: Address<Request<G, M>> = lookup(name)?;
        server.call(Request::Handle).map_err(|_| NameError::Dead { name: name.to_owned() })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.server.pid()
    }

    /// A process joins a group. (One that is dead leaves it again at once.)
    ///
    /// # Errors
    ///
    /// The scope has ended.
    pub fn join(&self, group: G, member: Address<M>) -> Result<(), ScopeEnded> {
        self.join_all(group, &[member])
    }

    /// Processes join a group in one step, each as often as it is in the list.
    ///
    /// # Errors
    ///
    /// The scope has ended.
    pub fn join_all(&self, group: G, members: &[Address<M>]) -> Result<(), ScopeEnded> {
        reduce(1);
        let (new, wake) = self.shared.write(|table| {
            if table.closed {
                return Err(ScopeEnded);
            }
            let mut new = Vec::new();
            for member in members {
                table.local.entry(member.pid()).or_insert_with(|| {
                    new.push(member.pid());
                    (*member, None)
                });
            }
            let outputs = table.state.join(group, members);
            Ok((new, table.apply(outputs)))
        })?;
        new.into_iter().for_each(|pid| self.shared.hold_for(pid));
        self.shared.wake(wake);
        Ok(())
    }

    /// A process leaves a group, once. False: it was not in it.
    pub fn leave(&self, group: &G, member: Address<M>) -> bool {
        reduce(1);
        let left = self.shared.write(|table| {
            let outputs = table.state.leave(group, &member)?;
            let held = if table.state.is_local(&member) { None } else { table.local.remove(&member.pid()) };
            Some((held.and_then(|(_, held)| held), table.apply(outputs)))
        });
        let Some((held, wake)) = left else { return false };
        if let Some(held) = held {
            let_go(held);
        }
        self.shared.wake(wake);
        true
    }

    /// The members of a group, in the order of joining.
    #[must_use]
    pub fn members(&self, group: &G) -> Vec<Address<M>> {
        reduce(1);
        self.shared.read(|table| table.state.members(group).to_vec())
    }

    /// Those that live on this node.
    #[must_use]
    pub fn local_members(&self, group: &G) -> Vec<Address<M>> {
        reduce(1);
        self.shared.read(|table| table.state.local_members(group).to_vec())
    }

    /// The groups that have members, in no order.
    #[must_use]
    pub fn which_groups(&self) -> Vec<G> {
        reduce(1);
        self.shared.read(|table| table.state.groups().cloned().collect())
    }

    /// The groups that have members on this node, in no order.
    #[must_use]
    pub fn which_local_groups(&self) -> Vec<G> {
        reduce(1);
        self.shared.read(|table| table.state.local_groups().cloned().collect())
    }

    /// Sends a message to the members of a group, to each as often as it has joined; how many were sent.
    pub fn broadcast(&self, group: &G, message: &M) -> usize
    where
        M: Clone,
    {
        let members = self.members(group);
        members.iter().for_each(|member| member.send(message.clone()));
        members.len()
    }

    /// A router to the members of a group, whoever they are at the time of each message.
    #[must_use]
    pub fn router(&self, group: G, routing: Routing) -> Router<M> {
        let members = self.shared.write(|table| {
            let members = Arc::new(Members::of(table.state.members(&group)));
            if !table.closed {
                table.routers.entry(group).or_default().push(Arc::downgrade(&members));
            }
            members
        });
        Router::over(members, routing)
    }

    /// The members of a group now, and each change from now on, as a message that `into` makes of it. It ends with the
    /// process that gets them, or by [`Groups::demonitor`].
    ///
    /// `into` runs in the scope's process: a panic in it ends the scope.
    ///
    /// # Errors
    ///
    /// The scope has ended.
    pub fn monitor<T: Send + 'static>(
        &self,
        group: &G,
        to: Address<T>,
        into: impl Fn(&GroupChange<G, Address<M>>) -> T + Send + Sync + 'static,
    ) -> Result<(Vec<Address<M>>, SubscriptionRef), ScopeEnded> {
        let wanted = group.clone();
        let deliver = move |change: &Change<G, M>| {
            if *change.group() == wanted {
                to.send(into(change));
            }
        };
        self.subscribe(to.pid(), deliver, |state| state.members(group).to_vec())
    }

    /// The same for all groups of the scope.
    ///
    /// # Errors
    ///
    /// The scope has ended.
    #[allow(clippy::type_complexity, reason = "it is what there is: groups with members, and the reference")]
    pub fn monitor_scope<T: Send + 'static>(
        &self,
        to: Address<T>,
        into: impl Fn(&GroupChange<G, Address<M>>) -> T + Send + Sync + 'static,
    ) -> Result<(HashMap<G, Vec<Address<M>>>, SubscriptionRef), ScopeEnded> {
        let deliver = move |change: &Change<G, M>| to.send(into(change));
        self.subscribe(to.pid(), deliver, |state| {
            state.groups().map(|group| (group.clone(), state.members(group).to_vec())).collect()
        })
    }

    fn subscribe<R>(
        &self,
        pid: Pid,
        deliver: impl Fn(&Change<G, M>) + Send + Sync + 'static,
        now: impl FnOnce(&State<G, M>) -> R,
    ) -> Result<(R, SubscriptionRef), ScopeEnded> {
        reduce(1);
        let subscribed = self.shared.write(|table| {
            let open = !table.closed;
            open.then(|| (now(&table.state), table.feed.subscribe(pid, Arc::new(deliver))))
        });
        let subscribed = subscribed.ok_or(ScopeEnded)?;
        let (held, reference) = (hold(pid, Arc::clone(&self.shared) as _), subscribed.1);
        if !self.shared.write(|table| table.feed.keep(reference, held)) {
            let_go(held);
        }
        Ok(subscribed)
    }

    /// Ends a monitor. What is under way may still come. False: there is none such.
    pub fn demonitor(&self, monitor: SubscriptionRef) -> bool {
        match self.shared.write(|table| table.feed.unsubscribe(monitor)) {
            None => false,
            Some((_, held)) => {
                if let Some(held) = held {
                    let_go(held);
                }
                true
            }
        }
    }
}

impl<G, M> Clone for Groups<G, M> {
    fn clone(&self) -> Self {
        Groups { server: self.server, shared: Arc::clone(&self.shared) }
    }
}

impl<G, M> fmt::Debug for Groups<G, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Groups{}", self.server.pid())
    }
}

impl<G, M> fmt::Debug for GroupsBuilder<G, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupsBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

enum Request<G, M> {
    /// There are events.
    Deliver,
    Handle(Reply<Groups<G, M>>),
}

/// The server.
struct Keeper<G, M> {
    shared: Arc<Shared<G, M>>,
    speak: Option<(Speak<G, M>, Arc<str>)>,
    ack: Option<Ack>,
}

impl<G: Key, M: Send + 'static> Server for Keeper<G, M> {
    type Message = Request<G, M>;

    fn start(&mut self, me: Address<Request<G, M>>) -> Flow {
        // Nobody else has the table yet.
        let _ = self.shared.server.set(me);
        hold(me, Arc::clone(&self.shared) as _);
        let spoken = self.speak.take().map_or(Ok(()), |(speak, name)| speak(&self.shared, &name));
        match (self.ack.take(), spoken) {
            (Some(ack), Ok(())) => ack.succeed(),
            (Some(ack), Err(error)) => {
                ack.fail(error);
                return Flow::Stop(ExitReason::Shutdown);
            }
            (None, _) => {}
        }
        Flow::Continue
    }

    fn handle(&mut self, received: Received<Request<G, M>>) -> Flow {
        match received {
            Received::Message(Request::Deliver) => {
                let all = self.shared.write(|table| table.feed.take());
                all.iter().for_each(|(deliver, change)| deliver(change));
            }
            Received::Message(Request::Handle(reply)) => {
                if let Some(server) = self.shared.server.get() {
                    reply.send(Groups { server: *server, shared: Arc::clone(&self.shared) });
                }
            }
            Received::Event(_) => {}
        }
        Flow::Continue
    }
}
