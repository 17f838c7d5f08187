//! Servers that keep their mailbox when they crash (semantics row B7).
//!
//! As a rule a crash ends the process, its mailbox with it, and the supervisor starts another process. A child with an
//! inherited mailbox is begun again *in its process*: when a callback panics, the panic is caught, the server is
//! dropped, and another one takes its place. Its address stays good, and what waited in the mailbox is dealt with.
//!
//! # What a failure leads to
//!
//! A failure is a panic in a callback. (`Next::stop_with` is no failure: the server wants to end, and its process ends.)
//! For each failure the decider is asked, in the child's process:
//!
//! | [`Decision`] | |
//! |---|---|
//! | `Resume` | the server goes on with the state that it has; nobody else is concerned |
//! | `Restart` (default) | the supervisor is asked; it counts the restart, lets back-off pass, does to the others what its strategy says, and then the next server begins with `init` |
//! | `Stop` | the process ends with the reason of the panic, and is not started again |
//! | `Escalate` | the process ends, and so does its supervisor, with the reason: it is the matter of *its* supervisor |
//!
//! Until the supervisor has answered, the child takes system requests only; all else waits in the mailbox.
//!
//! # What survives a restart
//!
//! The process does not die. So its address, names, links, monitors in both directions, aliases, timers and
//! process-local values stay, its mailbox's bound and its trap flag too; nobody gets a `Down` or an exit signal. A `Down` or a
//! timer of the former server's may come to the next one: compare references.
//!
//! * The message in hand is lost, and if somebody waits for its `Reply`, that call ends with `NoReply`. Or it is redelivered,
//!   once, to the next server ([`InheritedMailbox::redeliver`]).
//! * A restart that fails is a failed start: tried again, and counted. The mailbox stays.
//! * If the process ends in another way (an exit signal, `Stop`, a sibling's crash under `OneForAll`), its mailbox ends too, and
//!   the next start is a usual one.

use crate::{
    ChildSpec, GenServer, IntoServer, Next, StartError,
    gen_server::Running,
    sys::{Inspect, Observed},
};
use engset_runtime::{
    Address, CrashDetails, ExitReason, Flow, Pid, Received, Reply, Server, SystemRequest, caught,
    report_caught, self_pid, send_system,
};
use std::{
    any::Any,
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
};

/// A child with an inherited mailbox, before it is started. See the [module](self).
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_stdlib::{Decision, GenServer, InheritedMailbox, Next, Supervisor, from_fn};
///
/// let divider = || from_fn((), |(), by: u32, _| { assert!(100 / by > 0); Next::wait() }).options().name("divider");
/// let divider = InheritedMailbox::new(divider)
///     .decide(|failure| match failure.reason.panic() {
///         Some(panic) if panic.message.contains("divide by zero") => Decision::Resume,
///         _ => Decision::Restart,
///     })
///     .child("divider");
/// Supervisor::one_for_one().child(divider).start_link()?;
/// # Ok::<(), engset_stdlib::StartError>(())
/// # }).unwrap().unwrap();
/// ```
#[must_use = "it does nothing until a supervisor has it"]
pub struct InheritedMailbox<I: IntoServer> {
    plan: Plan<I>,
}

/// What the decider is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The panic.
    pub reason: ExitReason,
    /// Restarts of this process so far.
    pub restarts: u64,
}

/// What is to be done about a failure: the table of the [module](self).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Go on, with the state that there is.
    Resume,
    /// Begin again.
    #[default]
    Restart,
    /// End, and do not start again.
    Stop,
    /// End, and the supervisor too.
    Escalate,
}

/// From a child to its supervisor, in order with its exit signal.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) pid: Pid,
    pub(crate) reason: ExitReason,
    pub(crate) decision: Decision,
}

/// From the supervisor: begin again. The answer is that of a start.
pub(crate) struct Verdict(pub(crate) Reply<Result<(), StartError>>);

type Message<I> = <<I as IntoServer>::Server as GenServer>::Message;

/// Copies a message, to redeliver it.
type Copy<I> = fn(&Message<I>) -> Message<I>;

struct Plan<I: IntoServer> {
    make: Arc<dyn Fn() -> I + Send + Sync>,
    decide: Arc<dyn Fn(&Failure) -> Decision + Send + Sync>,
    copy: Option<Copy<I>>,
}

impl<I: IntoServer> Clone for Plan<I> {
    fn clone(&self) -> Self {
        Plan { make: Arc::clone(&self.make), decide: Arc::clone(&self.decide), copy: self.copy }
    }
}

impl<I: IntoServer + 'static> InheritedMailbox<I> {
    /// A server that `make` makes, with or without [options](crate::GenServer::options), for the first start and for each
    /// restart. (The options count for a start only: a restart is in the same process.)
    pub fn new(make: impl Fn() -> I + Send + Sync + 'static) -> Self {
        let plan = Plan { make: Arc::new(make), decide: Arc::new(|_| Decision::default()), copy: None };
        InheritedMailbox { plan }
    }

    /// What is to be done about each failure. If `decide` itself panics, the process ends with that.
    pub fn decide(mut self, decide: impl Fn(&Failure) -> Decision + Send + Sync + 'static) -> Self {
        self.plan.decide = Arc::new(decide);
        self
    }

    /// After a restart the message at which the server has failed is dealt with once more, before all others. If that
    /// fails too, it is lost. Costs a clone of each message.
    pub fn redeliver(mut self) -> Self
    where
        Message<I>: Clone,
    {
        self.plan.copy = Some(Clone::clone);
        self
    }

    /// As a child of a supervisor.
    pub fn child(self, id: impl Into<Arc<str>>) -> ChildSpec {
        ChildSpec::new(id, move || Ok(self.start_link()?.pid()))
    }

    /// For a supervisor, in its process.
    pub(crate) fn start_link(&self) -> Result<Address<Message<I>>, StartError> {
        let plan = self.plan.clone();
        let first = (plan.make)().into_builder();
        first.launch_as(|running| Observed::new(Inheriting::new(plan, running)))
    }
}

impl<I: IntoServer> fmt::Debug for InheritedMailbox<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InheritedMailbox")
            .field("server", &std::any::type_name::<I::Server>())
            .field("redeliver", &self.plan.copy.is_some())
            .finish_non_exhaustive()
    }
}

/// What the process does.
enum Life<S: GenServer> {
    Running(Running<S>),
    /// It has failed, and what is left of its server is still there; or a restart has failed too.
    Waiting(Option<Running<S>>),
}

/// The process of such a child.
struct Inheriting<I: IntoServer> {
    plan: Plan<I>,
    life: Life<I::Server>,
    me: Option<Address<Message<I>>>,
    parent: Option<Pid>,
    /// A copy of the message that is being dealt with, and whether it has been so before.
    hand: Option<(Message<I>, bool)>,
    restarts: u64,
}

impl<I: IntoServer + 'static> Inheriting<I> {
    fn new(plan: Plan<I>, running: Running<I::Server>) -> Self {
        Inheriting { plan, life: Life::Running(running), me: None, parent: None, hand: None, restarts: 0 }
    }

    /// Runs a part of the server. What it returns, or what its failure leads to.
    fn attempt(&mut self, part: impl FnOnce(&mut Running<I::Server>) -> Flow) -> Flow {
        let Life::Running(running) = &mut self.life else { return Flow::Continue };
        match catch_unwind(AssertUnwindSafe(|| part(running))) {
            Ok(flow) => flow,
            Err(payload) => match caught(payload) {
                Ok(reason) => self.failed(reason),
                // An exit signal ends the process.
                Err(doom) => resume_unwind(doom),
            },
        }
    }

    #[cold]
    fn failed(&mut self, reason: ExitReason) -> Flow {
        let failure = Failure { reason, restarts: self.restarts };
        let decision = (self.plan.decide)(&failure);
        let reason = failure.reason;
        report_caught(&reason, |details| {
            details.behaviour = Some(self.class());
            details.last_message = Some(std::any::type_name::<Message<I>>().to_owned());
            details.state = Some(CrashDetails::text(|out| self.format_state(out)));
        });
        if decision == Decision::Resume {
            return Flow::Continue;
        }
        let Some(supervisor) = self.parent() else { return Flow::Stop(reason) };
        send_system(supervisor, Failed { pid: self_pid(), reason: reason.clone(), decision });
        if decision != Decision::Restart {
            return Flow::Stop(reason);
        }
        self.life = match mem::replace(&mut self.life, Life::Waiting(None)) {
            Life::Running(running) => Life::Waiting(Some(running)),
            waiting @ Life::Waiting(_) => waiting,
        };
        Flow::Continue
    }

    /// The supervisor wants it to begin again.
    fn begin_again(&mut self, reply: Reply<Result<(), StartError>>) -> Flow {
        let (Life::Waiting(old), Some(me)) = (&mut self.life, self.me) else {
            reply.send(Ok(()));
            return Flow::Continue;
        };
        let parent = self.parent;
        let old = old.take();
        let begin = || {
            // The old one first: what it holds the next one may need. A panic in its destructor goes no further.
            let _ = sheltered(|| drop(old));
            let (server, keeps) = sheltered(|| (self.plan.make)().into_builder().into_server())
                .map_err(|reason| StartError::Factory(text(&reason)))?;
            let mut next = Running::reborn(server, keeps, me, parent);
            match sheltered(|| next.init_again()) {
                Ok(Ok(step)) => Ok((next, step)),
                Ok(Err(reason)) => Err(StartError::InitFailed(reason)),
                Err(reason) => Err(StartError::InitExited(reason)),
            }
        };
        match begin() {
            Err(error) => {
                reply.send(Err(error));
                Flow::Continue
            }
            Ok((running, step)) => {
                self.life = Life::Running(running);
                self.restarts += 1;
                reply.send(Ok(()));
                self.go_on(step)
            }
        }
    }

    fn go_on(&mut self, step: Next) -> Flow {
        let flow = self.attempt(|running| running.go_on(step));
        if flow != Flow::Continue || self.is_waiting() {
            return flow;
        }
        match self.hand.take() {
            Some((message, false)) => self.deal_with(message, true),
            _ => Flow::Continue,
        }
    }

    fn deal_with(&mut self, message: Message<I>, again: bool) -> Flow {
        self.hand = self.plan.copy.map(|copy| (copy(&message), again));
        let flow = self.attempt(|running| running.handle(Received::Message(message)));
        if !self.is_waiting() {
            self.hand = None;
        }
        flow
    }
}

/// Runs what must not end the process. `Err`: it panicked.
fn sheltered<T>(work: impl FnOnce() -> T) -> Result<T, ExitReason> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| match caught(payload) {
        Ok(reason) => reason,
        Err(doom) => resume_unwind(doom),
    })
}

fn text(reason: &ExitReason) -> String {
    reason.panic().map_or_else(|| reason.to_string(), |panic| panic.message.clone())
}

impl<I: IntoServer + 'static> Server for Inheriting<I> {
    type Message = Message<I>;

    fn start(&mut self, me: Address<Self::Message>) -> Flow {
        self.me = Some(me);
        // A failure of the first start is a usual one.
        match &mut self.life {
            Life::Running(running) => {
                let flow = running.start(me);
                self.parent = running.parent();
                flow
            }
            Life::Waiting(_) => Flow::Continue,
        }
    }

    fn handle(&mut self, received: Received<Self::Message>) -> Flow {
        match (received, &self.life) {
            // The parent's: nothing else comes while it waits.
            (Received::Event(engset_runtime::Event::Exit(exit)), Life::Waiting(_)) => Flow::Stop(exit.reason),
            (_, Life::Waiting(_)) => Flow::Continue,
            (Received::Message(message), Life::Running(_)) => self.deal_with(message, false),
            (event @ Received::Event(_), Life::Running(_)) => self.attempt(|running| running.handle(event)),
        }
    }

    fn system(&mut self, request: SystemRequest) -> Flow {
        match request.take::<Verdict>() {
            Ok(Verdict(reply)) => self.begin_again(reply),
            Err(_) => Flow::Continue,
        }
    }
}

impl<I: IntoServer + 'static> Inspect for Inheriting<I> {
    fn class(&self) -> &'static str {
        std::any::type_name::<I::Server>()
    }

    fn parent(&self) -> Option<Pid> {
        self.parent
    }

    fn state(&mut self) -> &mut dyn Any {
        match &mut self.life {
            Life::Running(running) | Life::Waiting(Some(running)) => running.state(),
            Life::Waiting(gone @ None) => gone,
        }
    }

    fn format_state(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match &self.life {
            Life::Running(running) | Life::Waiting(Some(running)) => running.format_state(out),
            Life::Waiting(None) => out.write_str("none"),
        }
    }

    fn format_message(message: &Self::Message, out: &mut dyn fmt::Write) -> fmt::Result {
        I::Server::format_message(message, out)
    }

    fn keeps_messages(&self) -> bool {
        matches!(&self.life, Life::Running(running) if running.keeps_messages())
    }

    #[inline(always)]
    fn is_waiting(&self) -> bool {
        matches!(self.life, Life::Waiting(_))
    }
}
