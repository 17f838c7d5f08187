//! The seam: what makes a behaviour answer the functions of [`sys`](super).
//!
//! A behaviour is a [`Server`]. To be observed it says some things of itself ([`Inspect`]), and is wrapped in
//! [`Observed`] where it is started:
//!
//! ```text
//! start::start(options, tie, timeout, |ack| Observed::new(Machine::new(ack)))
//! ```
//!
//! # Rules
//!
//! 1. Nobody looks: a message costs the test of one pointer, and the store of what is being dealt with.
//! 2. Suspended, or waiting for a verdict ([`Inspect::is_waiting`]), it sits in [`receive_system`]: messages and events
//!    stay in the mailbox. The parent's exit event ends that: the behaviour gets it, and goes on from there.
//! 3. System requests that are not of this module go to the behaviour; while it is suspended they are held back and
//!    come first when it goes on, so that they are not overtaken by what was sent after them.
//! 4. Code of a caller that runs here (`with_state`) may panic: that is the caller's error.

use super::{
    SysError,
    request::{Request, Status},
    watch::{Traced, Watch},
};
use engset_runtime::{
    Address, CrashDetails, Event, ExitReason, Flow, Pid, Received, Server, System, SystemRequest, caught,
    name_of, process_info, receive_system, self_pid,
};
use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

/// What a behaviour says of itself.
pub(crate) trait Inspect: Server {
    /// What it is, for people: the user's type, or the behaviour's.
    fn class(&self) -> &'static str {
        std::any::type_name::<Self>()
    }

    /// The process whose exit ends it.
    fn parent(&self) -> Option<Pid>;

    /// The state that [`get_state`](super::get_state) and its like see.
    fn state(&mut self) -> &mut dyn Any;

    /// The state as a text.
    fn format_state(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(self.class())
    }

    /// A message as a text.
    fn format_message(_message: &Self::Message, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(std::any::type_name::<Self::Message>())
    }

    /// Shall each message be kept as a text, for a crash report?
    fn keeps_messages(&self) -> bool {
        false
    }

    /// It must not go on until a system request has told it to.
    #[inline(always)]
    fn is_waiting(&self) -> bool {
        false
    }
}

/// A behaviour that can be observed. See the [module](self).
pub(crate) struct Observed<B: Inspect> {
    behaviour: B,
    latest: Latest,
    suspended: bool,
    /// There is something to do with each message.
    watch: Option<Box<Watch>>,
    /// Rule 3.
    held: VecDeque<SystemRequest>,
}

/// What it has dealt with last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Latest {
    Nothing,
    Message,
    Event,
}

/// What a system request has led to.
enum Served {
    Yes,
    /// It is none of ours.
    Foreign(SystemRequest),
}

impl<B: Inspect> Observed<B> {
    pub(crate) fn new(behaviour: B) -> Self {
        let watch = behaviour.keeps_messages().then(|| Box::new(Watch::keeping_messages()));
        Observed { behaviour, latest: Latest::Nothing, suspended: false, watch, held: VecDeque::new() }
    }

    fn serve(&mut self, request: SystemRequest) -> Served {
        let request = match request.take::<Request>() {
            Ok(request) => request,
            Err(other) => return Served::Foreign(other),
        };
        match request {
            Request::State(look) => {
                // Rule 4: it catches the panics of its part.
                look(self.behaviour.state());
            }
            Request::StateText(reply) => {
                let format = || CrashDetails::text(|out| self.behaviour.format_state(out));
                reply.send(guarded(format));
            }
            Request::Status(reply) => reply.send(Box::new(self.status())),
            Request::Suspend(reply) => {
                self.suspended = true;
                self.note(|| Traced::Suspended);
                reply.send(());
            }
            Request::Resume(reply) => {
                self.suspended = false;
                self.note(|| Traced::Resumed);
                reply.send(());
            }
            Request::Statistics(on, reply) => {
                self.watch().count(on);
                reply.send(());
            }
            Request::GetStatistics(reply) => {
                reply.send(self.watch.as_ref().and_then(|watch| watch.statistics()));
            }
            Request::Trace(tracing, reply) => {
                self.watch().set_tracing(tracing);
                reply.send(());
            }
        }
        if self.watch.as_ref().is_some_and(|watch| watch.is_idle()) {
            self.watch = None;
        }
        Served::Yes
    }

    fn watch(&mut self) -> &mut Watch {
        self.watch.get_or_insert_default()
    }

    fn note(&self, what: impl FnOnce() -> Traced) {
        if let Some(watch) = &self.watch {
            watch.note(what);
        }
    }

    fn status(&self) -> Status {
        let me = self_pid();
        let info = process_info(me);
        let state = guarded(|| CrashDetails::text(|out| self.behaviour.format_state(out)));
        Status {
            pid: me,
            name: name_of(me),
            behaviour: self.behaviour.class(),
            parent: self.behaviour.parent(),
            ancestors: info.as_ref().map(|info| info.ancestors.clone()).unwrap_or_default(),
            suspended: self.suspended,
            waiting: self.behaviour.is_waiting(),
            state: state.unwrap_or_else(|error| error.to_string()),
            mailbox_len: info.map_or(0, |info| info.mailbox_len),
            statistics: self.watch.as_ref().and_then(|watch| watch.statistics()),
            traced: self.watch.as_ref().is_some_and(|watch| watch.traces()),
        }
    }

    /// Rule 2, after a callback.
    #[inline(always)]
    fn after(&mut self, flow: Flow) -> Flow {
        if (self.suspended || self.behaviour.is_waiting()) && flow == Flow::Continue {
            return self.wait();
        }
        flow
    }

    #[cold]
    #[inline(never)]
    fn wait(&mut self) -> Flow {
        loop {
            if !self.suspended && !self.behaviour.is_waiting() {
                match self.held.pop_front() {
                    None => return Flow::Continue,
                    Some(request) => match self.behaviour.system(request) {
                        Flow::Continue => continue,
                        stop @ Flow::Stop(_) => return stop,
                    },
                }
            }
            match receive_system(self.behaviour.parent(), Duration::MAX) {
                // It is ending.
                None => return Flow::Continue,
                Some(System::Exit(exit)) => {
                    self.suspended = false;
                    if let stop @ Flow::Stop(_) = self.behaviour.handle(Received::Event(Event::Exit(exit))) {
                        return stop;
                    }
                }
                Some(System::Request(request)) => match self.serve(request) {
                    Served::Yes => {}
                    Served::Foreign(request) if self.behaviour.is_waiting() => {
                        if let stop @ Flow::Stop(_) = self.behaviour.system(request) {
                            return stop;
                        }
                    }
                    Served::Foreign(request) => self.held.push_back(request),
                },
                Some(_) => {}
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn handle_watched(&mut self, received: Received<B::Message>) -> Flow {
        let Some(watch) = &mut self.watch else { return self.behaviour.handle(received) };
        let start = match &received {
            Received::Message(message) => {
                watch.message(|| CrashDetails::text(|out| B::format_message(message, out)))
            }
            Received::Event(event) => watch.event(|| format!("{event:?}")),
        };
        let flow = self.behaviour.handle(received);
        if let Some(watch) = &mut self.watch {
            watch.done(start);
        }
        flow
    }
}

/// Runs code of the behaviour's user for somebody else: its panic is an error, and goes no further.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, SysError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| match caught(payload) {
        Ok(ExitReason::Panic(panic)) => SysError::Panicked(panic.message.clone()),
        Ok(other) => SysError::Panicked(other.to_string()),
        Err(doom) => resume_unwind(doom),
    })
}

impl<B: Inspect> Server for Observed<B> {
    type Message = B::Message;

    fn start(&mut self, me: Address<B::Message>) -> Flow {
        let flow = self.behaviour.start(me);
        self.after(flow)
    }

    // No frame of its own: a panic would unwind through it.
    #[inline(always)]
    fn handle(&mut self, received: Received<B::Message>) -> Flow {
        self.latest = match &received {
            Received::Message(_) => Latest::Message,
            Received::Event(_) => Latest::Event,
        };
        let flow = match &self.watch {
            None => self.behaviour.handle(received),
            Some(_) => self.handle_watched(received),
        };
        self.after(flow)
    }

    fn system(&mut self, request: SystemRequest) -> Flow {
        let flow = match self.serve(request) {
            Served::Yes => Flow::Continue,
            Served::Foreign(request) => self.behaviour.system(request),
        };
        self.after(flow)
    }

    fn describe(&self, details: &mut CrashDetails) {
        details.behaviour = Some(self.behaviour.class());
        details.last_message = match self.latest {
            Latest::Nothing => None,
            Latest::Event => Some("an event".to_owned()),
            Latest::Message => match self.watch.as_ref().and_then(|watch| watch.kept_message()) {
                Some(kept) => Some(kept.to_owned()),
                None => Some(std::any::type_name::<B::Message>().to_owned()),
            },
        };
        details.state = Some(CrashDetails::text(|out| self.behaviour.format_state(out)));
    }
}
