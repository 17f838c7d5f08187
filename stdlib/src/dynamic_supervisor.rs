//! A supervisor of children that come and go, and do not know each other (semantics rows B2 and B4).
//!
//! Children have no order and are known by their pids. Each is restarted alone, and all restarts count together.
//! When the supervisor ends it stops them all at the same time. While it waits for one to stop, it goes on with
//! everything else.
//!
//! When not to use it: if the children are known when the program is written, write a tree
//! ([`Supervisor`](crate::Supervisor)).

use crate::{
    ChildCount, ChildError, ChildSpec, Decision, Kind, StartError,
    inherited_mailbox::Failed,
    restart_intensity::{RestartIntensity, Verdict},
    start::{self, Ack, Tie},
    stop_children::{Fed, StopChildren},
    strategy::Fate,
    supervision_report as report,
    sys::{Inspect, Observed},
};
use engset_runtime::{
    Address, Builder, CallError, Event, Exit, ExitReason, Flow, NameError, Pid, Received, Reply, Server,
    SystemRequest, lookup, now, send_after,
};
use hashbrown::HashMap;
use std::{any::Any, fmt, sync::Arc, time::Duration};

/// A dynamic supervisor that runs. See the [module](self).
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_stdlib::{ChildSpec, DynamicSupervisor};
/// use std::time::Duration;
///
/// let guests = DynamicSupervisor::builder().max_children(1000).start_link()?;
/// let guest = ChildSpec::function("guest", || engset_runtime::sleep(Duration::from_secs(60))).temporary();
/// let pid = guests.start_child(guest).unwrap();
/// assert_eq!(guests.children().unwrap(), [pid]);
/// guests.terminate_child(pid).unwrap();
/// # Ok::<(), engset_stdlib::StartError>(())
/// # }).unwrap().unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DynamicSupervisor {
    address: Address<Request>,
}

/// A dynamic supervisor that is to be started. Cheap to clone.
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it starts"]
pub struct DynamicSupervisorBuilder {
    most: usize,
    period: Duration,
    max_children: usize,
    options: Builder,
}

impl DynamicSupervisorBuilder {
    /// It restarts at most `most` times within `period`; one more, and it ends, with reason `Shutdown`. Default: once
    /// in 5 seconds.
    pub fn intensity(mut self, most: usize, period: Duration) -> Self {
        self.most = most;
        self.period = period;
        self
    }

    /// The most children that it has at a time, those included that wait for a restart. Default: no limit.
    pub fn max_children(mut self, most: usize) -> Self {
        self.max_children = most;
        self
    }

    /// Registers it under a name. [`DynamicSupervisor::named`] finds it.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.options = self.options.name(name);
        self
    }

    /// Starts it, linked with this process.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start_link(self) -> Result<DynamicSupervisor, StartError> {
        self.launch(Tie::Link)
    }

    /// Starts it without a link.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(self) -> Result<DynamicSupervisor, StartError> {
        self.launch(Tie::None)
    }

    /// As a child of a supervisor.
    pub fn child(self, id: impl Into<Arc<str>>) -> ChildSpec {
        ChildSpec::new(id, move || Ok(self.clone().start_link()?.address.pid())).as_supervisor()
    }

    fn launch(self, tie: Tie) -> Result<DynamicSupervisor, StartError> {
        let options = self.options.clone();
        let (address, _) =
            start::start(options, tie, Duration::MAX, |ack| Observed::new(Dynamic::new(self, ack)))?;
        Ok(DynamicSupervisor { address })
    }
}

impl DynamicSupervisor {
    /// The defaults.
    pub fn builder() -> DynamicSupervisorBuilder {
        DynamicSupervisorBuilder {
            most: 1,
            period: Duration::from_secs(5),
            max_children: usize::MAX,
            options: Builder::new().trap_exits(),
        }
    }

    /// The dynamic supervisor that has this name on the caller's node.
    ///
    /// # Errors
    ///
    /// Nobody has the name, or it is no dynamic supervisor.
    pub fn named(name: &str) -> Result<Self, NameError> {
        lookup(name).map(|address| DynamicSupervisor { address })
    }

    /// Its process.
    #[must_use]
    pub fn pid(self) -> Pid {
        self.address.pid()
    }

    /// Starts a child; returns when it has started. Ids may repeat here.
    ///
    /// # Errors
    ///
    /// There are as many as there may be, the child is significant (that means nothing here), or does not start.
    pub fn start_child(self, spec: ChildSpec) -> Result<Pid, ChildError> {
        self.address.call_timeout(|reply| Request::Start(Box::new(spec), reply), Duration::MAX)?
    }

    /// Stops a child and forgets it; returns when it has ended.
    ///
    /// # Errors
    ///
    /// It has no such child.
    pub fn terminate_child(self, pid: impl Into<Pid>) -> Result<(), ChildError> {
        let pid = pid.into();
        self.address.call_timeout(|reply| Request::Terminate(pid, reply), Duration::MAX)?
    }

    /// The children that run, in no order.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub fn children(self) -> Result<Vec<Pid>, CallError> {
        self.address.call(Request::Children)
    }

    /// How many children it has.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub fn count_children(self) -> Result<ChildCount, CallError> {
        self.address.call(Request::Count)
    }
}

impl From<DynamicSupervisor> for Pid {
    fn from(supervisor: DynamicSupervisor) -> Pid {
        supervisor.pid()
    }
}

#[derive(Debug)]
pub(crate) enum Request {
    Start(Box<ChildSpec>, Reply<Result<Pid, ChildError>>),
    Terminate(Pid, Reply<Result<(), ChildError>>),
    Children(Reply<Vec<Pid>>),
    Count(Reply<ChildCount>),
    /// A child has failed, and lives, or tells what its end is to lead to. Comes by the system lane.
    Failed(Failed),
    /// To itself: the child with this ticket is started again.
    Retry {
        ticket: u64,
        counted: bool,
    },
}

struct Child {
    spec: Box<ChildSpec>,
    since: Duration,
    failures: u32,
    restarts: u64,
    /// Its process, if that waits to begin again (`inherited_mailbox.rs`).
    waiting: Option<Pid>,
    /// What it has decided about its own end, which comes next.
    decided: Option<Decision>,
}

struct Dynamic {
    intensity: RestartIntensity,
    max_children: usize,
    running: HashMap<Pid, Child>,
    /// Those that wait for a restart, by ticket.
    restarting: HashMap<u64, Child>,
    tickets: u64,
    stopping: StopChildren,
    /// Who waits for the end of a child that is being stopped.
    terminating: HashMap<Pid, Reply<Result<(), ChildError>>>,
    ending: Option<ExitReason>,
    /// What came while it was ending: its callers learn the reason of the end.
    unanswered: Vec<Request>,
    me: Option<Address<Request>>,
    parent: Option<Pid>,
    ack: Option<Ack>,
}

impl Dynamic {
    fn new(builder: DynamicSupervisorBuilder, ack: Ack) -> Self {
        Dynamic {
            intensity: RestartIntensity::new(builder.most, builder.period),
            max_children: builder.max_children,
            running: HashMap::new(),
            restarting: HashMap::new(),
            tickets: 0,
            stopping: StopChildren::default(),
            terminating: HashMap::new(),
            ending: None,
            unanswered: Vec::new(),
            me: None,
            parent: ack.parent(),
            ack: Some(ack),
        }
    }

    fn run(&mut self, mut child: Child) -> Result<Pid, (Child, StartError)> {
        match child.spec.start(&mut child.waiting) {
            Ok(pid) => {
                child.since = now();
                child.decided = None;
                report::started(&child.spec.id, pid, child.restarts);
                self.running.insert(pid, child);
                Ok(pid)
            }
            Err(error) => Err((child, error)),
        }
    }

    fn start_child(&mut self, spec: Box<ChildSpec>) -> Result<Pid, ChildError> {
        if self.running.len() + self.restarting.len() >= self.max_children {
            return Err(ChildError::Full { max_children: self.max_children });
        }
        spec.check(false).map_err(ChildError::Spec)?;
        let child =
            Child { spec, since: Duration::ZERO, failures: 0, restarts: 0, waiting: None, decided: None };
        self.run(child).map_err(|(_, error)| ChildError::Start(error))
    }

    fn on_exit(&mut self, exit: Exit) {
        if let Some(child) = self.running.remove(&exit.from) {
            report::terminated(&child.spec.id, exit.from, &exit.reason);
            match child.decided {
                Some(Decision::Stop) => {}
                Some(Decision::Escalate) => self.end(exit.reason),
                _ if child.spec.restart.fate(&exit.reason) == Fate::Restart => self.restart(child, false),
                _ => {}
            }
        } else if Some(exit.from) == self.parent {
            self.end(exit.reason);
        }
    }

    fn on_failed(&mut self, failed: &Failed) {
        if failed.decision != Decision::Restart {
            if let Some(child) = self.running.get_mut(&failed.pid) {
                child.decided = Some(failed.decision);
            }
        } else if let Some(mut child) = self.running.remove(&failed.pid) {
            child.waiting = Some(failed.pid);
            report::failed(&child.spec.id, failed.pid, &failed.reason);
            self.restart(child, false);
        }
    }

    /// Counted before it is tried; a start that fails is tried again by a message to itself.
    fn restart(&mut self, mut child: Child, counted: bool) {
        if !counted {
            if self.intensity.restart(now()) == Verdict::GiveUp {
                let (most, period) = self.intensity.limit();
                report::gave_up(&child.spec.id, most, period);
                // It may have a process, which is to be stopped.
                self.tickets += 1;
                self.restarting.insert(self.tickets, child);
                return self.end(ExitReason::Shutdown);
            }
            if let Some(backoff) = child.spec.backoff.clone() {
                let now = now();
                child.failures = backoff.failures(child.failures, now.saturating_sub(child.since));
                let wait = backoff.wait(child.failures, now.as_nanos() as u64 ^ self.tickets << 32);
                child.failures = child.failures.saturating_add(1);
                child.since = now;
                return self.postpone(child, Some(wait));
            }
        }
        child.restarts += 1;
        if let Err((mut child, error)) = self.run(child) {
            child.restarts -= 1;
            report::start_error(&child.spec.id, &error);
            self.postpone(child, None);
        }
    }

    /// With a wait, the restart has been counted.
    fn postpone(&mut self, child: Child, wait: Option<Duration>) {
        self.tickets += 1;
        self.restarting.insert(self.tickets, child);
        let retry = Request::Retry { ticket: self.tickets, counted: wait.is_some() };
        match (self.me, wait) {
            (Some(me), Some(wait)) => drop(send_after(wait, me, retry)),
            (Some(me), None) => me.send(retry),
            (None, _) => {}
        }
    }

    fn end(&mut self, reason: ExitReason) {
        if self.ending.is_none() {
            self.ending = Some(reason);
            let waiting =
                self.restarting.drain().filter_map(|(_, child)| Some((child.waiting?, child.spec.shutdown)));
            let all = self.running.drain().map(|(pid, child)| (pid, child.spec.shutdown)).chain(waiting);
            // Whether there are any is seen when this callback is over.
            let _ = self.stopping.together(all);
        }
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Children(reply) => reply.send(self.running.keys().copied().collect()),
            Request::Count(reply) => reply.send(self.count()),
            request if self.ending.is_some() => self.unanswered.push(request),
            Request::Start(spec, reply) => reply.send(self.start_child(spec)),
            Request::Terminate(pid, reply) => match self.running.remove(&pid) {
                None => reply.send(Err(ChildError::Unknown)),
                Some(child) => {
                    self.terminating.insert(pid, reply);
                    let _ = self.stopping.together([(pid, child.spec.shutdown)]);
                }
            },
            Request::Failed(failed) => self.on_failed(&failed),
            Request::Retry { ticket, counted } => {
                if let Some(child) = self.restarting.remove(&ticket) {
                    self.restart(child, counted);
                }
            }
        }
    }

    fn count(&self) -> ChildCount {
        let all = || self.running.values().chain(self.restarting.values());
        let supervisors = all().filter(|child| child.spec.kind == Kind::Supervisor).count();
        let specs = self.running.len() + self.restarting.len();
        ChildCount { specs, active: self.running.len(), workers: specs - supervisors, supervisors }
    }

    fn on_event(&mut self, event: Event) {
        if let Event::Exit(exit) = event {
            return self.on_exit(exit);
        }
        if self.stopping.feed(&event) != Fed::Foreign
            && let Some(pid) = self.stopping.take_ended()
            && let Some(reply) = self.terminating.remove(&pid)
        {
            reply.send(Ok(()));
        }
    }
}

impl Server for Dynamic {
    type Message = Request;

    fn start(&mut self, me: Address<Request>) -> Flow {
        self.me = Some(me);
        if let Some(ack) = self.ack.take() {
            ack.succeed();
        }
        Flow::Continue
    }

    fn system(&mut self, request: SystemRequest) -> Flow {
        match request.take() {
            Ok(failed) => self.handle(Received::Message(Request::Failed(failed))),
            Err(_) => Flow::Continue,
        }
    }

    fn handle(&mut self, received: Received<Request>) -> Flow {
        match received {
            Received::Message(request) => self.on_request(request),
            Received::Event(event) => self.on_event(event),
        }
        match &self.ending {
            Some(reason) if self.stopping.is_idle() => Flow::Stop(reason.clone()),
            _ => Flow::Continue,
        }
    }
}

impl Inspect for Dynamic {
    fn class(&self) -> &'static str {
        "DynamicSupervisor"
    }

    fn parent(&self) -> Option<Pid> {
        self.parent
    }

    fn state(&mut self) -> &mut dyn Any {
        &mut self.running
    }

    fn format_state(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let (running, restarting) = (self.running.len(), self.restarting.len());
        write!(out, "{running} children run, {restarting} are to be restarted")
    }

    fn format_message(message: &Request, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{message:?}")
    }
}
