//! The process of a supervisor.
//!
//! It is a server like any other, and traps exits: the end of a child comes as the exit event of their link.
//!
//! # Two states
//!
//! * *At rest*: each thing received is dealt with at once. Starting a child happens in the supervisor's own
//!   process, which waits for the child's `init`.
//! * *Stopping* children: a [`StopChildren`] waits for their ends, and [`After`] says what comes then. Questions
//!   are answered; everything else that comes is kept, and dealt with in order when they have ended. So nothing
//!   else changes meanwhile, as if it had waited; but it holds no stack.
//!
//! # Invariants
//!
//! 1. An exit event of a process that is no child that runs means nothing: the child was stopped, or restarted.
//! 2. A child that waits for a restart has a ticket, and only the retry with this ticket starts it. So a child
//!    that is stopped or deleted meanwhile is left alone.
//! 3. A restart is counted before it is tried; one that fails is tried again by a message to itself, counted
//!    again.
//! 4. When it has decided to end, nothing is started any more.
//! 5. A child with an inherited mailbox that has failed and waits is restarted like one that has ended, but its process
//!    is there (`Child::waiting`): to start it is to tell it so, and who stops children stops it too.

use crate::{
    AutoShutdown, ChildCount, ChildError, ChildInfo, ChildSpec, ChildState, Decision, Restart, StartError,
    Strategy, SupervisorBuilder,
    child_spec::Shutdown,
    children::{Child, Children, State},
    inherited_mailbox::Failed,
    restart_intensity::{RestartIntensity, Verdict},
    start::Ack,
    stop_children::{Fed, StopChildren},
    strategy::Fate,
    supervision_report as report,
    sys::Inspect,
};
use engset_runtime::{
    Address, Event, Exit, ExitReason, Flow, Pid, Received, Reply, Server, SystemRequest, now, reduce,
    send_after,
};
use std::{any::Any, collections::VecDeque, fmt, mem, ops::Range, sync::Arc, time::Duration};

/// What a supervisor takes. Nobody but [`Supervisor`](crate::Supervisor) makes one.
#[derive(Debug)]
pub(crate) enum Request {
    Which(Reply<Vec<ChildInfo>>),
    Count(Reply<ChildCount>),
    Start(Box<ChildSpec>, Reply<Result<Pid, ChildError>>),
    Terminate(Arc<str>, Reply<Result<(), ChildError>>),
    Restart(Arc<str>, Reply<Result<Pid, ChildError>>),
    Delete(Arc<str>, Reply<Result<(), ChildError>>),
    /// A child has failed, and lives, or tells what its end is to lead to. Comes by the system lane.
    Failed(Failed),
    /// To itself: invariant 2. `counted`: the restart has been counted already.
    Retry {
        id: Arc<str>,
        ticket: u64,
        counted: bool,
    },
}

/// What comes when the children that are being stopped have ended.
#[derive(Debug)]
enum After {
    /// Nothing: they are not being stopped.
    Nothing,
    /// One of these, which was to be restarted, is started again with the others of the range.
    Start { failed: usize, range: Range<usize> },
    /// A child was stopped on request.
    Terminated { place: usize, reply: Reply<Result<(), ChildError>> },
    /// The supervisor itself ends.
    End(ExitReason),
    /// Its own start has failed.
    StartFailed(Ack, StartError),
}

pub(crate) struct Supervising {
    strategy: Strategy,
    auto_shutdown: AutoShutdown,
    intensity: RestartIntensity,
    children: Children,
    stopping: StopChildren,
    after: After,
    kept: VecDeque<Received<Request>>,
    /// The parent wants it to end, or an invariant says so: as soon as it is at rest.
    ending: Option<ExitReason>,
    ended: Option<ExitReason>,
    tickets: u64,
    me: Option<Address<Request>>,
    parent: Option<Pid>,
    /// Until it has started.
    beginning: Option<(Ack, Vec<ChildSpec>)>,
}

impl Supervising {
    pub(crate) fn new(builder: SupervisorBuilder, ack: Ack) -> Self {
        Supervising {
            strategy: builder.strategy,
            auto_shutdown: builder.auto_shutdown,
            intensity: RestartIntensity::new(builder.most, builder.period),
            children: Children::default(),
            stopping: StopChildren::default(),
            after: After::Nothing,
            kept: VecDeque::new(),
            ending: None,
            ended: None,
            tickets: 0,
            me: None,
            parent: ack.parent(),
            beginning: Some((ack, builder.children)),
        }
    }

    fn is_at_rest(&self) -> bool {
        matches!(self.after, After::Nothing)
    }

    fn begin(&mut self, ack: Ack, specs: Vec<ChildSpec>) {
        for spec in specs {
            let id = Arc::clone(&spec.id);
            let place = self.children.add(spec);
            if let Err(error) = self.start_place(place) {
                let error = StartError::Child { id, error: Box::new(error) };
                let range = self.children.places();
                return self.stop_range(range, After::StartFailed(ack, error));
            }
        }
        ack.succeed();
    }

    /// Starts the child in this place.
    fn start_place(&mut self, place: usize) -> Result<Pid, StartError> {
        let Some(child) = self.children.get_mut(place) else { return Err(StartError::Ending) };
        let pid = child.spec.start(&mut child.waiting)?;
        child.since = now();
        child.decided = None;
        report::started(&child.spec.id, pid, child.restarts);
        self.children.set(place, State::Running(pid));
        Ok(pid)
    }

    // --- the end of a child ---

    fn on_exit(&mut self, exit: Exit) {
        if let Some(place) = self.children.place_of_pid(exit.from) {
            return self.child_ended(place, &exit.reason);
        }
        if Some(exit.from) == self.parent {
            self.end(exit.reason);
        }
        // Invariant 1.
    }

    fn child_ended(&mut self, place: usize, reason: &ExitReason) {
        let Some(child) = self.children.get(place) else { return };
        let significant = child.spec.significant;
        if let Some(pid) = child.pid() {
            report::terminated(&child.spec.id, pid, reason);
        }
        let fate = match (child.decided, child.spec.restart.fate(reason)) {
            (Some(Decision::Escalate), _) => {
                self.children.set(place, State::Resting);
                return self.end(reason.clone());
            }
            (Some(Decision::Stop), Fate::Restart) => Fate::Rest,
            (_, fate) => fate,
        };
        match fate {
            Fate::Restart => return self.restart(place, false),
            Fate::Rest => self.children.set(place, State::Resting),
            Fate::Forget => drop(self.children.remove(place)),
        }
        if significant && self.auto_shutdown.ends(self.children.significant()) {
            self.end(ExitReason::Shutdown);
        }
    }

    /// Invariant 5.
    fn on_failed(&mut self, failed: &Failed) {
        let Some(place) = self.children.place_of_pid(failed.pid) else { return };
        let Some(child) = self.children.get_mut(place) else { return };
        if failed.decision != Decision::Restart {
            child.decided = Some(failed.decision);
            return;
        }
        child.waiting = Some(failed.pid);
        report::failed(&child.spec.id, failed.pid, &failed.reason);
        self.restart(place, false);
    }

    /// The child in this place has to be started again. Invariant 3.
    fn restart(&mut self, place: usize, counted: bool) {
        if !counted {
            if self.intensity.restart(now()) == Verdict::GiveUp {
                let (most, period) = self.intensity.limit();
                if let Some(child) = self.children.get(place) {
                    report::gave_up(&child.spec.id, most, period);
                }
                self.children.set(place, State::Resting);
                return self.end(ExitReason::Shutdown);
            }
            if let Some(wait) = self.backoff(place) {
                // The others of the strategy stop now, and start when it does.
                self.postpone(place, wait);
                if self.strategy != Strategy::OneForOne {
                    let range = self.strategy.affected(place, self.children.places().end);
                    self.stop_range(range, After::Start { failed: place, range: 0..0 });
                }
                return;
            }
        }
        if self.strategy == Strategy::OneForOne {
            return self.start_again(place, place..place + 1);
        }
        self.children.set(place, State::Resting);
        let range = self.strategy.affected(place, self.children.places().end);
        self.stop_range(range.clone(), After::Start { failed: place, range });
    }

    /// How long the child's restart has to wait, if it has a back-off and did not wait yet.
    fn backoff(&mut self, place: usize) -> Option<Duration> {
        let child = self.children.get_mut(place)?;
        let backoff = child.spec.backoff.clone()?;
        let now = now();
        child.failures = backoff.failures(child.failures, now.saturating_sub(child.since));
        let wait = backoff.wait(child.failures, now.as_nanos() as u64 ^ (place as u64) << 32);
        child.failures = child.failures.saturating_add(1);
        Some(wait)
    }

    /// The child gets a ticket for a restart after this time.
    fn postpone(&mut self, place: usize, wait: Duration) {
        self.tickets += 1;
        let ticket = self.tickets;
        self.children.set(place, State::Restarting(ticket));
        let (Some(me), Some(child)) = (self.me, self.children.get_mut(place)) else { return };
        // It has not run since: its next failure is one more in a row.
        child.since = now();
        let id = Arc::clone(&child.spec.id);
        send_after(wait, me, Request::Retry { id, ticket, counted: true });
    }

    fn start_again(&mut self, failed: usize, range: Range<usize>) {
        for place in range {
            let Some(child) = self.children.get_mut(place) else { continue };
            if child.pid().is_some() && place != failed {
                continue;
            }
            let id = Arc::clone(&child.spec.id);
            child.restarts += 1;
            if let Err(error) = self.start_place(place) {
                if let Some(child) = self.children.get_mut(place) {
                    child.restarts -= 1;
                }
                report::start_error(&id, &error);
                return self.retry(place, id);
            }
        }
    }

    /// A start has failed: once more, through the mailbox, so that others have their turn.
    fn retry(&mut self, place: usize, id: Arc<str>) {
        self.tickets += 1;
        let ticket = self.tickets;
        self.children.set(place, State::Restarting(ticket));
        if let Some(me) = self.me {
            me.send(Request::Retry { id, ticket, counted: false });
        }
    }

    fn on_retry(&mut self, id: &str, ticket: u64, counted: bool) {
        let Some(place) = self.children.place_of(id) else { return };
        if self.children.get(place).is_some_and(|child| child.state() == State::Restarting(ticket)) {
            self.restart(place, counted);
        }
    }

    // --- stopping ---

    /// Stops the children of these places that run, the last first; then comes `after`.
    fn stop_range(&mut self, range: Range<usize>, after: After) {
        let children = &mut self.children;
        // The one that is to be started again waits for that (invariant 5).
        let spared = if let After::Start { failed, .. } = &after { Some(*failed) } else { None };
        let processes = range.filter(|place| Some(*place) != spared).filter_map(|place| {
            let child = children.get_mut(place)?;
            let process = child.process()?;
            child.waiting = None;
            Some((process, child.spec.shutdown))
        });
        let list: Vec<(Pid, Shutdown)> = processes.collect();
        self.after = after;
        if self.stopping.one_by_one(list) == Fed::Done {
            self.stopped();
        }
    }

    /// All that were to be stopped have ended.
    fn stopped(&mut self) {
        match mem::replace(&mut self.after, After::Nothing) {
            After::Nothing => {}
            After::Start { .. } if self.ending.is_some() => {}
            After::Start { failed, range } => {
                self.rest_all(self.strategy.affected(failed, self.children.places().end), failed);
                self.start_again(failed, range);
            }
            After::Terminated { place, reply } => {
                self.rest(place);
                reply.send(Ok(()));
            }
            After::End(reason) => self.ended = Some(reason),
            After::StartFailed(ack, error) => {
                ack.fail(error);
                self.ended = Some(ExitReason::Shutdown);
            }
        }
        if self.is_at_rest()
            && self.ended.is_none()
            && let Some(reason) = self.ending.take()
        {
            self.stop_range(self.children.places(), After::End(reason));
        }
    }

    /// A child was stopped by its supervisor: a temporary one is forgotten.
    fn rest(&mut self, place: usize) {
        match self.children.get(place).map(|child| child.spec.restart) {
            Some(Restart::Temporary) => drop(self.children.remove(place)),
            Some(_) => self.children.set(place, State::Resting),
            None => {}
        }
    }

    /// The same for those of a strategy, but the failed one, whose turn it is.
    fn rest_all(&mut self, range: Range<usize>, failed: usize) {
        for place in range.filter(|place| *place != failed) {
            reduce(1);
            if self.children.get(place).is_some_and(|child| child.pid().is_some()) {
                self.rest(place);
            }
        }
    }

    /// It is to end with this reason: invariant 4.
    fn end(&mut self, reason: ExitReason) {
        if self.is_at_rest() {
            self.stop_range(self.children.places(), After::End(reason));
        } else {
            self.ending.get_or_insert(reason);
        }
    }

    // --- requests ---

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Which(reply) => reply.send(self.children.iter().map(info).collect()),
            Request::Count(reply) => reply.send(self.children.count()),
            Request::Start(spec, reply) => reply.send(self.start_child(*spec)),
            Request::Restart(id, reply) => reply.send(self.restart_child(&id)),
            Request::Delete(id, reply) => reply.send(self.delete_child(&id)),
            Request::Terminate(id, reply) => match self.children.place_of(&id) {
                None => reply.send(Err(ChildError::Unknown)),
                Some(place) => self.stop_range(place..place + 1, After::Terminated { place, reply }),
            },
            Request::Failed(failed) => self.on_failed(&failed),
            Request::Retry { id, ticket, counted } => self.on_retry(&id, ticket, counted),
        }
    }

    fn start_child(&mut self, spec: ChildSpec) -> Result<Pid, ChildError> {
        spec.check(self.auto_shutdown != AutoShutdown::Never).map_err(ChildError::Spec)?;
        if let Some(child) = self.children.place_of(&spec.id).and_then(|place| self.children.get(place)) {
            return Err(ChildError::Duplicate { pid: child.pid() });
        }
        let place = self.children.add(spec);
        self.start_place(place).map_err(|error| {
            self.children.remove(place);
            ChildError::Start(error)
        })
    }

    fn resting(&self, id: &str) -> Result<usize, ChildError> {
        let place = self.children.place_of(id).ok_or(ChildError::Unknown)?;
        match self.children.get(place).map(Child::state) {
            None => Err(ChildError::Unknown),
            Some(State::Running(pid)) => Err(ChildError::Running(pid)),
            Some(State::Restarting(_)) => Err(ChildError::Restarting),
            Some(State::Resting) => Ok(place),
        }
    }

    fn restart_child(&mut self, id: &str) -> Result<Pid, ChildError> {
        let place = self.resting(id)?;
        self.start_place(place).map_err(ChildError::Start)
    }

    fn delete_child(&mut self, id: &str) -> Result<(), ChildError> {
        let place = self.resting(id)?;
        self.children.remove(place);
        Ok(())
    }

    // --- what comes ---

    fn at_rest(&mut self, received: Received<Request>) {
        match received {
            Received::Message(request) => self.on_request(request),
            Received::Event(Event::Exit(exit)) => self.on_exit(exit),
            // A timer or monitor of a stop that is over.
            Received::Event(event) => drop(self.stopping.feed(&event)),
        }
    }

    fn while_stopping(&mut self, received: Received<Request>) {
        match received {
            Received::Message(question @ (Request::Which(_) | Request::Count(_))) => {
                self.on_request(question)
            }
            Received::Event(Event::Exit(exit)) if Some(exit.from) == self.parent => self.end(exit.reason),
            Received::Event(event) => match self.stopping.feed(&event) {
                Fed::Done => self.stopped(),
                Fed::Waiting => {}
                Fed::Foreign => self.kept.push_back(Received::Event(event)),
            },
            message @ Received::Message(_) => self.kept.push_back(message),
        }
    }

    fn flow(&mut self) -> Flow {
        while self.ended.is_none()
            && self.is_at_rest()
            && let Some(received) = self.kept.pop_front()
        {
            reduce(1);
            self.at_rest(received);
        }
        match self.ended.take() {
            Some(reason) => Flow::Stop(reason),
            None => Flow::Continue,
        }
    }
}

impl Server for Supervising {
    type Message = Request;

    fn start(&mut self, me: Address<Request>) -> Flow {
        self.me = Some(me);
        if let Some((ack, specs)) = self.beginning.take() {
            self.begin(ack, specs);
        }
        self.flow()
    }

    fn handle(&mut self, received: Received<Request>) -> Flow {
        if self.is_at_rest() {
            self.at_rest(received);
        } else {
            self.while_stopping(received);
        }
        self.flow()
    }

    fn system(&mut self, request: SystemRequest) -> Flow {
        match request.take() {
            Ok(failed) => self.handle(Received::Message(Request::Failed(failed))),
            Err(_) => Flow::Continue,
        }
    }
}

impl Inspect for Supervising {
    fn class(&self) -> &'static str {
        "Supervisor"
    }

    fn parent(&self) -> Option<Pid> {
        self.parent
    }

    fn state(&mut self) -> &mut dyn Any {
        &mut self.children
    }

    fn format_state(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let ChildCount { specs, active, .. } = self.children.count();
        write!(out, "{:?}, {active} of {specs} children run:", self.strategy)?;
        self.children.iter().try_for_each(|child| write!(out, " {:?} {:?}", child.spec.id, child.state()))
    }

    fn format_message(message: &Request, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{message:?}")
    }
}

fn info(child: &Child) -> ChildInfo {
    ChildInfo {
        id: Arc::clone(&child.spec.id),
        state: match child.state() {
            State::Running(pid) => ChildState::Running(pid),
            State::Restarting(_) => ChildState::Restarting,
            State::Resting => ChildState::Resting,
        },
        kind: child.spec.kind,
        restart: child.spec.restart,
        restarts: child.restarts,
    }
}
