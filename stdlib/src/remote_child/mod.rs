//! Children on other nodes.
//!
//! A supervisor can have a child that runs elsewhere. What runs there is what that node lets others start: it
//! [exports](export) a child's description under a name, and who knows the name can supervise it.
//!
//! ```
//! use engset_stdlib::{ChildSpec, RemoteChild, Next, Supervisor, from_fn, remote_child};
//! use std::time::Duration;
//!
//! // On the nodes that are to run it; each of them has joined the others before.
//! fn worker() -> Result<(), remote_child::ExportError> {
//!     remote_child::export("counter", |start: u32| {
//!         ChildSpec::server("counter", move || from_fn(start, |count: &mut u32, add: u32, _| { *count += add; Next::wait() }))
//!     })
//! }
//!
//! // On the supervisor's.
//! fn tree() -> engset_stdlib::SupervisorBuilder {
//!     let counter = RemoteChild::new("counter", 7_u32)
//!         .on(["worker@10.0.0.1:7100", "worker@10.0.0.2:7100"])
//!         .patience(Duration::from_secs(30))
//!         .elsewhere()
//!         .child("counter");
//!     Supervisor::one_for_one().child(counter)
//! }
//! # let _ = (worker, tree);
//! ```
//!
//! # Two processes in between
//!
//! ```text
//! supervisor ── link ── stand-in   ~~ connection ~~   guard ── link ── child
//! ```
//!
//! The *stand-in* (`stand_in.rs`) is the child as the supervisor sees it: it ends when the child does, with its reason, and it passes on the order to
//! end. The *guard* (`guard.rs`) is the child's parent on the other node. They watch each other. So restarts, intensity, back-off and strategies are
//! those of any child, and a start returns when the child's `init` has.
//!
//! # When the connection is lost
//!
//! `noconnection` is not death: nobody knows. So at first nothing happens: the child goes on, and its supervisor waits.
//!
//! | after | | |
//! |---|---|---|
//! | a new connection within the [patience](RemoteChild::patience) | both meet again; nobody has noticed | |
//! | the node comes back as another incarnation | the child is dead: it is restarted as after a crash | |
//! | [`outlive`](RemoteChild::outlive) without a connection | the guard ends the child: it may not have a supervisor any more | default: half of the patience |
//! | the patience | [`Lost::Escalate`]: the supervisor ends, with its other children (default). [`Lost::Elsewhere`]: it is started on the next of its nodes | default: 20 s |
//!
//! # Two at a time
//!
//! With `Lost::Elsewhere` the old one should be dead when the new one starts: it ends half of the patience before, counted from when *its* node
//! has noticed. That is no proof: a node that is stopped (by a signal, by a virtual machine that moves) notices nothing until it goes on. It then ends
//! the child a moment later, or the supervisor's side does when they are connected again: the old one is told to end then, whatever its own patience. Who cannot
//! have two for that moment needs a lease with a token.
//!
//! Who wants the child to go on for longer than its supervisor waits sets `outlive`. Then there are two during a partition, and after it the
//! old one is told to end.
//!
//! What restarts elsewhere begins anew, and is found under another pid: by a name there, a group, or what it says in its `init`.

mod guard;
mod stand_in;

pub use guard::{ExportError, export};

use crate::{ChildSpec, StartError};
use engset_runtime::{
    Address, Builder, CallError, DownReason, ExitReason, MonitorRef, Pid, Reply, kill,
    remote::{self, Relation, Remote, RemoteError},
    self_pid, unlink,
};
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// What a supervisor does about a child whose node cannot be reached for longer than its patience.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// It ends, with its other children: it is the matter of *its* supervisor.
    #[default]
    Escalate,
    /// The child is restarted on the next of its nodes. It counts as a restart.
    Elsewhere,
}

/// A child on another node, before it is started. See the [module](self).
#[must_use = "it does nothing until a supervisor has it"]
pub struct RemoteChild {
    plan: Plan,
}

/// What stand-ins of one child share.
struct Plan {
    entry: String,
    nodes: Vec<String>,
    patience: Duration,
    outlive: Option<Duration>,
    lost: Lost,
    start_timeout: Duration,
    spawn: Spawn,
    /// The node whose turn it is.
    turn: AtomicUsize,
    /// Guards of children that were replaced, and may live.
    ghosts: Mutex<Vec<Pid>>,
}

/// Spawns the guard on a node, for a stand-in.
type Spawn = Box<
    dyn Fn(&Plan, &str, Address<ToStandIn>) -> Result<(Pid, Option<MonitorRef>), RemoteError> + Send + Sync,
>;

/// What the guard is given.
#[derive(Serialize, Deserialize)]
struct Given<A> {
    argument: A,
    stand_in: Address<ToStandIn>,
    /// Milliseconds.
    outlive: u64,
}

/// What a stand-in is told.
#[derive(Serialize, Deserialize)]
enum ToStandIn {
    /// The child runs.
    Started { guard: Address<ToGuard>, child: Pid },
}

impl Remote for ToStandIn {
    const NAME: &'static str = "engset.remote_child.ToStandIn";
}

/// What a guard is asked.
#[derive(Serialize, Deserialize)]
enum ToGuard {
    /// There is a connection again: it watches the stand-in anew.
    Meet(Reply<()>),
}

impl Remote for ToGuard {
    const NAME: &'static str = "engset.remote_child.ToGuard";
}

/// The name under which a child's description is exported.
fn entry_of(name: &str) -> String {
    format!("engset.child.{name}")
}

impl RemoteChild {
    /// What other nodes [export] as `entry`, with this argument.
    pub fn new<A: Serialize + Send + Sync + 'static>(entry: impl Into<String>, argument: A) -> Self {
        let spawn = move |plan: &Plan, node: &str, stand_in| {
            let outlive = plan.outlive.unwrap_or(plan.patience / 2);
            let outlive = u64::try_from(outlive.as_millis()).unwrap_or(u64::MAX);
            let given = Given { argument: &argument, stand_in, outlive };
            remote::spawn_at(node, &entry_of(&plan.entry), &given, Relation { link: false, monitor: true })
        };
        RemoteChild {
            plan: Plan {
                entry: entry.into(),
                nodes: Vec::new(),
                patience: Duration::from_secs(20),
                outlive: None,
                lost: Lost::default(),
                start_timeout: Duration::from_secs(30),
                spawn: Box::new(spawn),
                turn: AtomicUsize::new(0),
                ghosts: Mutex::default(),
            },
        }
    }

    /// The nodes that it may run on, the first choice first. When it is started, one that cannot be reached is passed over.
    pub fn on(mut self, nodes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.plan.nodes.extend(nodes.into_iter().map(Into::into));
        self
    }

    /// How long a lost connection is waited for. Default: 20 s.
    pub fn patience(mut self, time: Duration) -> Self {
        self.plan.patience = time;
        self
    }

    /// How long the child goes on without a connection to its supervisor. Default: half of the patience.
    pub fn outlive(mut self, time: Duration) -> Self {
        self.plan.outlive = Some(time);
        self
    }

    /// What comes after that.
    pub fn lost(mut self, lost: Lost) -> Self {
        self.plan.lost = lost;
        self
    }

    /// Short for [`Lost::Elsewhere`].
    pub fn elsewhere(self) -> Self {
        self.lost(Lost::Elsewhere)
    }

    /// How long a start may take: to connect, and the child's `init`. The supervisor waits for it. Default: 30 s.
    pub fn start_timeout(mut self, time: Duration) -> Self {
        self.plan.start_timeout = time;
        self
    }

    /// As a child of a supervisor. Its restart, shutdown and back-off are set as those of others; how the child itself is stopped, its own
    /// description says.
    pub fn child(self, id: impl Into<Arc<str>>) -> ChildSpec {
        let plan = Arc::new(self.plan);
        // Longer than what the child itself has by default.
        ChildSpec::new(id, move || start(&plan)).shutdown_after(Duration::from_secs(10))
    }
}

impl std::fmt::Debug for RemoteChild {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteChild")
            .field("entry", &self.plan.entry)
            .field("nodes", &self.plan.nodes)
            .finish_non_exhaustive()
    }
}

impl Plan {
    /// The nodes in the order in which they are tried now.
    fn in_turn(&self) -> impl Iterator<Item = (usize, &String)> {
        // Relaxed: one stand-in at a time.
        let (count, first) = (self.nodes.len(), self.turn.load(Ordering::Relaxed));
        (0..count).map(move |at| (first + at) % count).map(|at| (at, &self.nodes[at]))
    }

    fn set_turn(&self, turn: usize) {
        self.turn.store(turn % self.nodes.len().max(1), Ordering::Relaxed);
    }

    fn ghosts(&self) -> std::sync::MutexGuard<'_, Vec<Pid>> {
        self.ghosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a stand-in, in the supervisor's process; returns when the child has started.
fn start(plan: &Arc<Plan>) -> Result<Pid, StartError> {
    let (supervisor, mut spawned) = (self_pid(), None);
    let answer = crate::start::wait_for_answer(plan.start_timeout, |reply: Reply<Result<(), StartError>>| {
        let plan = Arc::clone(plan);
        let body = move |mailbox| stand_in::run(mailbox, plan, supervisor, reply);
        spawned = Some(Builder::new().link().ancestry().spawn(body));
    });
    let Some(spawned) = spawned else { return Err(StartError::Ending) };
    let stand_in = spawned?.pid();
    match answer {
        Ok(Ok(())) => Ok(stand_in),
        Ok(Err(error)) => Err(error),
        Err(CallError::Timeout(time)) => {
            unlink(stand_in);
            // Its guard, if there is one already, ends with it.
            kill(stand_in);
            Err(StartError::InitTimeout(time))
        }
        Err(CallError::Down(DownReason::Exited(reason))) => Err(StartError::InitExited(reason)),
        Err(_) => Err(StartError::InitExited(ExitReason::NoProc)),
    }
}
