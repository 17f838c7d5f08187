//! The process that knows the applications of a node, and the master process of each.
//!
//! The controller never waits: a master starts and stops its application, and tells the controller. So it answers
//! also while an application hangs. Masters are linked with it, and trap exits.

use crate::{
    StartError,
    application::{
        Application, ApplicationError, ApplicationInfo, ApplicationSpec, Environment, StartType, section,
    },
    child_spec::text_of,
};
use engset_runtime::{
    Address, BuildError, Builder, CallError, DownReason, Event, Exit, ExitReason, Flow, Item, Mailbox, Node,
    Pid, Received, Reply, Server, config::Changes, exit, exit_self, kill, link, lookup, self_pid, yield_now,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::Duration,
};

type Answer = Reply<Result<(), ApplicationError>>;

/// Called when an application ends whose end is the node's.
type Keeper = Box<dyn Fn(Arc<str>, ExitReason) + Send>;

pub(crate) enum Request {
    Start {
        application: Box<dyn Application>,
        spec: ApplicationSpec,
        start_type: StartType,
        reply: Answer,
    },
    Stop {
        name: Arc<str>,
        reply: Answer,
    },
    Which(Reply<Vec<ApplicationInfo>>),
    Keep(Keeper, Reply<()>),
    ConfigChanged(Arc<Changes>),
    /// Of a master: how its start went. The top process, if it did.
    Started {
        master: Pid,
        result: Result<Pid, ApplicationError>,
    },
    /// Of a master that ends: the panic of a callback.
    Stopped {
        master: Pid,
        panic: Option<String>,
    },
}

const NAME: &str = "engset.applications";

/// Asks the controller of the caller's node, which is started if it does not run.
pub(crate) fn ask<T: Send + 'static>(make: impl FnOnce(Reply<T>) -> Request) -> Result<T, CallError> {
    let controller = loop {
        let found = match lookup(NAME) {
            Ok(controller) => Ok(controller),
            Err(_) => Builder::new().name(NAME).trap_exits().serve(Controller::default()),
        };
        match found {
            // Somebody was faster: it is found in the next round.
            Err(BuildError::Name(_)) => yield_now(),
            Err(_) => return Err(CallError::Down(DownReason::NoProc)),
            Ok(controller) => break controller,
        }
    };
    controller.call_timeout(make, Duration::MAX)
}

/// Says what is done when an application ends whose end is the node's.
pub(crate) fn keep(keeper: impl Fn(Arc<str>, ExitReason) + Send + 'static) -> Result<(), CallError> {
    ask(|reply| Request::Keep(Box::new(keeper), reply))
}

/// Tells the controller, if it runs.
pub(crate) fn tell_changes(changes: Arc<Changes>) {
    drop(engset_runtime::send_named(NAME, Request::ConfigChanged(changes)));
}

enum State {
    Starting(Answer),
    Running(Pid),
    Stopping(Vec<Answer>),
}

struct Entry {
    name: Arc<str>,
    depends_on: Vec<Arc<str>>,
    start_type: StartType,
    master: Address<Order>,
    state: State,
    /// Why it did not start; told when its master has ended, so that it can be started again at once.
    failure: Option<ApplicationError>,
    /// The panic of a callback while it stopped.
    panic: Option<String>,
}

#[derive(Default)]
struct Controller {
    /// In the order of their start.
    entries: Vec<Entry>,
    keeper: Option<Keeper>,
    me: Option<Address<Request>>,
}

impl Controller {
    fn find(&mut self, name: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| &*entry.name == name)
    }

    fn of_master(&mut self, master: Pid) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.master.pid() == master)
    }

    fn start(
        &mut self,
        application: Box<dyn Application>,
        spec: ApplicationSpec,
        start_type: StartType,
        reply: Answer,
    ) {
        let name = Arc::clone(&spec.name);
        if self.find(&name).is_some() {
            return reply.send(Err(ApplicationError::AlreadyStarted { name }));
        }
        let runs = |wanted: &Arc<str>| {
            self.entries.iter().any(|entry| entry.name == *wanted && matches!(entry.state, State::Running(_)))
        };
        if let Some(dependency) = spec.depends_on.iter().find(|wanted| !runs(wanted)) {
            let dependency = Arc::clone(dependency);
            return reply.send(Err(ApplicationError::DependencyNotStarted { name, dependency }));
        }
        let (Some(me), Some(node), Some(environment)) =
            (self.me, Node::current(), Environment::of(Arc::clone(&name)))
        else {
            return;
        };
        for defaults in &spec.defaults {
            if let Err(error) = node.change_config(|config| defaults(config)) {
                return reply.send(Err(ApplicationError::Config(Arc::new(error))));
            }
        }
        let depends_on = spec.depends_on.clone();
        let options = Builder::new().name(format!("application.{name}")).link().trap_exits();
        let body = move |mailbox| {
            Master { application, environment, controller: me, panic: None }.run(mailbox, &spec)
        };
        match options.spawn(body) {
            Ok(master) => {
                let state = State::Starting(reply);
                self.entries.push(Entry {
                    name,
                    depends_on,
                    start_type,
                    master,
                    state,
                    failure: None,
                    panic: None,
                });
            }
            Err(error) => reply.send(Err(ApplicationError::Start { name, error: error.into() })),
        }
    }

    fn stop(&mut self, name: Arc<str>, reply: Answer) {
        let needed = self.entries.iter().find(|entry| entry.depends_on.contains(&name));
        if let Some(by) = needed.map(|entry| Arc::clone(&entry.name)) {
            return reply.send(Err(ApplicationError::Needed { name, by }));
        }
        let Some(entry) = self.find(&name) else {
            return reply.send(Err(ApplicationError::NotStarted { name }));
        };
        match std::mem::replace(&mut entry.state, State::Stopping(Vec::new())) {
            State::Starting(starter) => {
                // It is somewhere in its start, and does not listen; what it has started is linked with it.
                kill(entry.master);
                starter.send(Err(ApplicationError::Stopped { name }));
                entry.state = State::Stopping(vec![reply]);
            }
            State::Running(_) => {
                entry.master.send(Order::Stop);
                entry.state = State::Stopping(vec![reply]);
            }
            State::Stopping(mut replies) => {
                replies.push(reply);
                entry.state = State::Stopping(replies);
            }
        }
    }

    fn started(&mut self, master: Pid, result: Result<Pid, ApplicationError>) {
        let Some(entry) = self.of_master(master) else { return };
        match (result, &entry.state) {
            (Ok(top), State::Starting(_)) => {
                tracing::info!(target: "engset", application = &*entry.name, "application started");
                if let State::Starting(reply) = std::mem::replace(&mut entry.state, State::Running(top)) {
                    reply.send(Ok(()));
                }
            }
            (Err(error), _) => entry.failure = Some(error),
            // It is being stopped already.
            (Ok(_), _) => {}
        }
    }

    fn ended(&mut self, exit: Exit) {
        let Some(at) = self.entries.iter().position(|entry| entry.master.pid() == exit.from) else { return };
        let entry = self.entries.remove(at);
        let name = entry.name;
        match entry.state {
            State::Starting(reply) => {
                let crash = || ApplicationError::Start { name, error: StartError::InitExited(exit.reason) };
                reply.send(Err(entry.failure.unwrap_or_else(crash)));
            }
            State::Stopping(replies) => {
                tracing::info!(target: "engset", application = &*name, "application stopped");
                let result = match entry.panic {
                    None => Ok(()),
                    Some(message) => Err(ApplicationError::Stop { name, message }),
                };
                replies.into_iter().for_each(|reply| reply.send(result.clone()));
            }
            State::Running(_) => {
                let reason = exit.reason;
                tracing::warn!(target: "engset", application = &*name, %reason, "application ended");
                let is_fatal = match entry.start_type {
                    StartType::Permanent => true,
                    StartType::Transient => !reason.is_normal(),
                    StartType::Temporary => false,
                };
                if is_fatal && let Some(keeper) = &self.keeper {
                    keeper(name, reason);
                }
            }
        }
    }
}

impl Server for Controller {
    type Message = Request;

    fn start(&mut self, me: Address<Request>) -> Flow {
        self.me = Some(me);
        Flow::Continue
    }

    fn handle(&mut self, received: Received<Request>) -> Flow {
        match received {
            Received::Message(Request::Start { application, spec, start_type, reply }) => {
                self.start(application, spec, start_type, reply);
            }
            Received::Message(Request::Stop { name, reply }) => self.stop(name, reply),
            Received::Message(Request::Which(reply)) => {
                let info = |entry: &Entry| ApplicationInfo {
                    name: Arc::clone(&entry.name),
                    start_type: entry.start_type,
                    top: match entry.state {
                        State::Running(top) => Some(top),
                        _ => None,
                    },
                };
                reply.send(self.entries.iter().map(info).collect());
            }
            Received::Message(Request::Keep(keeper, reply)) => {
                self.keeper = Some(keeper);
                reply.send(());
            }
            Received::Message(Request::ConfigChanged(changes)) => {
                for entry in &self.entries {
                    if changes.concern(&section(&entry.name)) {
                        entry.master.send(Order::ConfigChanged(Arc::clone(&changes)));
                    }
                }
            }
            Received::Message(Request::Started { master, result }) => self.started(master, result),
            Received::Message(Request::Stopped { master, panic }) => {
                if let Some(entry) = self.of_master(master) {
                    entry.panic = panic;
                }
            }
            Received::Event(Event::Exit(exit)) => self.ended(exit),
            Received::Event(_) => {}
        }
        Flow::Continue
    }
}

/// What a master is told.
enum Order {
    Stop,
    ConfigChanged(Arc<Changes>),
}

struct Master {
    application: Box<dyn Application>,
    environment: Environment,
    controller: Address<Request>,
    panic: Option<String>,
}

impl Master {
    fn run(mut self, mut mailbox: Mailbox<Order>, spec: &ApplicationSpec) {
        let started = self.start(&mut mailbox, spec);
        let top = started.as_ref().ok().copied();
        self.controller.send(Request::Started { master: self_pid(), result: started });
        let Some(top) = top else { return };
        let end = loop {
            match mailbox.receive() {
                Received::Message(Order::ConfigChanged(changes)) => {
                    self.guarded(|application, environment| {
                        application.config_changed(&changes, environment)
                    });
                }
                Received::Message(Order::Stop) => break None,
                Received::Event(Event::Exit(exit)) if exit.from == top => break Some(exit.reason),
                // There is no node without its controller.
                Received::Event(Event::Exit(exit)) if exit.from == self.controller.pid() => break None,
                Received::Event(_) => {}
            }
        };
        // Only panics of the stop are told with it.
        self.panic = None;
        if end.is_none() {
            self.guarded(|application, environment| application.prep_stop(environment));
            end_of(&mut mailbox, top);
        }
        self.guarded(|application, environment| application.stop(environment));
        self.controller.send(Request::Stopped { master: self_pid(), panic: self.panic });
        exit_self(end.unwrap_or(ExitReason::Normal));
    }

    fn start(
        &mut self,
        mailbox: &mut Mailbox<Order>,
        spec: &ApplicationSpec,
    ) -> Result<Pid, ApplicationError> {
        let name = || Arc::clone(&spec.name);
        let started = self.application.start(&self.environment);
        let top = started.map_err(|error| ApplicationError::Start { name: name(), error })?;
        link(top);
        for phase in &spec.start_phases {
            if let Err(reason) = self.application.start_phase(phase, &self.environment) {
                end_of(mailbox, top);
                self.guarded(|application, environment| application.stop(environment));
                return Err(ApplicationError::StartPhase { name: name(), phase: Arc::clone(phase), reason });
            }
        }
        Ok(top)
    }

    /// Calls a callback whose panic is not the end.
    fn guarded(&mut self, call: impl FnOnce(&mut dyn Application, &Environment)) {
        let (application, environment) = (&mut *self.application, &self.environment);
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| call(application, environment))) {
            match text_of(&*payload) {
                Some(message) => {
                    let name = self.environment.name();
                    tracing::error!(target: "engset", application = name, message, "a callback panicked");
                    self.panic.get_or_insert(message);
                }
                // Not a panic of the callback's: somebody kills the master.
                None => resume_unwind(payload),
            }
        }
    }
}

/// Asks the top process to end, and waits until it has. Both are linked.
fn end_of(mailbox: &mut Mailbox<Order>, top: Pid) {
    exit(top, ExitReason::Shutdown);
    mailbox.select(|item| matches!(item, Item::Event(Event::Exit(exit)) if exit.from == top));
}
