//! The process of a server: what it gets becomes callbacks, and what they return the way on.

use super::{Context, GenServer, Next, Step, builder::Via};
use crate::{
    StartError,
    lazy_timer::{Fired, LazyTimer},
    start::Ack,
    sys::Inspect,
};
use engset_runtime::{Address, Event, ExitReason, Flow, Pid, Received, Server};
use std::{any::Any, fmt};

/// The process of a server.
pub(crate) struct Running<S: GenServer> {
    server: S,
    keeps_messages: bool,
    ack: Option<Ack>,
    via: Option<Via<S::Message>>,
    context: Option<Context<S::Message>>,
    /// The timeout of [`Next::wait_for`]: set with each message, perhaps, and nearly always cancelled.
    idle: LazyTimer,
}

impl<S: GenServer> Running<S> {
    pub(super) fn new(server: S, ack: Ack, keeps_messages: bool, via: Option<Via<S::Message>>) -> Self {
        Running { server, keeps_messages, ack: Some(ack), via, context: None, idle: LazyTimer::default() }
    }

    /// Another life in the same process: `server` takes the place of one that has failed. The `Next` is what
    /// [`Running::go_on`] has to do when everybody knows that it has started.
    pub(crate) fn reborn(
        server: S,
        keeps_messages: bool,
        me: Address<S::Message>,
        parent: Option<Pid>,
    ) -> Self {
        let context = Some(Context { me, parent });
        Running { server, keeps_messages, ack: None, via: None, context, idle: LazyTimer::default() }
    }

    /// The `init` of one that is [`reborn`](Running::reborn).
    pub(crate) fn init_again(&mut self) -> Result<Next, ExitReason> {
        let Some(context) = &mut self.context else { return Err(ExitReason::NoProc) };
        match self.server.init(context)? {
            Next(Step::Stop(reason)) => Err(reason),
            next => Ok(next),
        }
    }

    pub(crate) fn go_on(&mut self, next: Next) -> Flow {
        let Some(context) = &mut self.context else { return Flow::Continue };
        let mut next = next;
        loop {
            match next.0 {
                Step::Wait => return Flow::Continue,
                Step::WaitFor(time) => {
                    self.idle.set(time);
                    return Flow::Continue;
                }
                Step::Again => {
                    engset_runtime::reduce(1);
                    next = self.server.again(context);
                }
                Step::Stop(reason) => {
                    self.server.terminate(&reason, context);
                    return Flow::Stop(reason);
                }
            }
        }
    }
}

impl<S: GenServer> Server for Running<S> {
    type Message = S::Message;

    fn start(&mut self, me: Address<S::Message>) -> Flow {
        // Held here and not in `self`, so that it is dropped in the unwinding if `init` panics.
        let Some(ack) = self.ack.take() else { return Flow::Stop(ExitReason::NoProc) };
        if let Some(via) = self.via.take()
            && let Err(error) = via(me)
        {
            let error = StartError::Register(error);
            let reason = error.as_exit();
            ack.fail(error);
            return Flow::Stop(reason);
        }
        let context = self.context.insert(Context { me, parent: ack.parent() });
        match self.server.init(context) {
            Ok(Next(Step::Stop(reason))) | Err(reason) => {
                ack.fail(StartError::InitFailed(reason.clone()));
                Flow::Stop(reason)
            }
            Ok(next) => {
                ack.succeed();
                self.go_on(next)
            }
        }
    }

    #[inline]
    fn handle(&mut self, received: Received<S::Message>) -> Flow {
        let Some(context) = &mut self.context else { return Flow::Continue };
        let next = match received {
            Received::Message(message) => {
                self.idle.clear();
                self.server.handle(message, context)
            }
            Received::Event(Event::Timer(timer)) => match self.idle.fired(timer) {
                Fired::Early => Next::wait(),
                Fired::Due => self.server.timeout(context),
                Fired::Foreign => {
                    self.idle.clear();
                    self.server.event(Event::Timer(timer), context)
                }
            },
            Received::Event(Event::Exit(exit)) if Some(exit.from) == context.parent => {
                Next::stop_with(exit.reason)
            }
            Received::Event(event) => {
                self.idle.clear();
                self.server.event(event, context)
            }
        };
        self.go_on(next)
    }
}

impl<S: GenServer> Inspect for Running<S> {
    fn class(&self) -> &'static str {
        std::any::type_name::<S>()
    }

    fn parent(&self) -> Option<Pid> {
        self.context.as_ref().and_then(Context::parent)
    }

    fn state(&mut self) -> &mut dyn Any {
        self.server.sys_state()
    }

    fn format_state(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.server.format_state(out)
    }

    fn format_message(message: &S::Message, out: &mut dyn fmt::Write) -> fmt::Result {
        S::format_message(message, out)
    }

    fn keeps_messages(&self) -> bool {
        self.keeps_messages
    }
}
