//! The process of a state machine: the engine, with callbacks and a clock.
//!
//! A machine is a server; so everything that is true of servers, and everything that can be asked of them, is true
//! of it. All that it gets passes [`StateMachine::drive`], one event after the other, until nothing is queued.
//!
//! The engine knows deadlines, and the process has one timer, for the next of them. It is seldom cancelled: a
//! timer that fires early finds the later deadline and is set again. A deadline is served when the timer's event has
//! its turn in the mailbox, so messages that came before come before; and one at a time, for what it
//! causes may cancel the next.

use super::{
    GenStatem, Input,
    engine::{Engine, Upcoming},
    timeouts::TimeoutKind,
    transition::{Init, Step, Timings, Transition},
};
use crate::{
    Context, GenServer, Next,
    lazy_timer::{Fired, LazyTimer},
};
use engset_runtime::{Event, ExitReason, now, reduce};
use std::{any::Any, fmt};

/// A [`GenStatem`] as a [`GenServer`]: what [`GenStatem::options`] builds.
pub struct StateMachine<M: GenStatem> {
    data: M,
    /// From `init` on.
    engine: Option<EngineOf<M>>,
    /// Between `init` and the first enter call: what `init` wants to be done.
    starting: Option<Box<Transition<M, Init>>>,
    timer: LazyTimer,
}

type EngineOf<M> =
    Engine<<M as GenStatem>::State, Input<M>, <M as GenStatem>::Timer, <M as GenStatem>::Internal>;

impl<M: GenStatem> StateMachine<M> {
    pub(crate) fn new(data: M) -> Self {
        StateMachine { data, engine: None, starting: None, timer: LazyTimer::default() }
    }

    /// Handles one thing, and all that follows from it. The only way in.
    fn drive(&mut self, first: Input<M>, context: &mut Context<M::Message>) -> Next {
        let mut next = Some(first);
        while let Some(input) = next {
            if let Err(reason) = self.handle_one(input, context) {
                return Next::stop_with(reason);
            }
            next = self.upcoming();
        }
        self.wait()
    }

    fn upcoming(&mut self) -> Option<Input<M>> {
        let upcoming = self.engine.as_mut()?.next()?;
        // What comes from inside costs what comes from outside, or a machine could run for ever.
        reduce(1);
        Some(match upcoming {
            Upcoming::Event(input) => input,
            Upcoming::Timeout(kind, content) => timeout(kind, content),
        })
    }

    /// One callback and its transition. `Err`: the machine stops.
    fn handle_one(&mut self, input: Input<M>, context: &mut Context<M::Message>) -> Result<(), ExitReason> {
        let Some(engine) = &mut self.engine else { return Ok(()) };
        let Transition { step, postponed, inserted, mut timeouts, .. } =
            self.data.handle(engine.state(), input, context);
        let (next, repeated) = match step {
            Step::Keep => (None, false),
            Step::Repeat => (None, true),
            Step::To(state) => (Some(state), false),
            Step::Stop(reason) => return Err(reason),
        };
        let former = engine.settle(postponed, next, inserted.into_iter().map(Input::Internal));
        if former.is_some() || repeated {
            enter(&mut self.data, engine, former.as_ref(), &mut timeouts, context)?;
        }
        set(engine, timeouts);
        Ok(())
    }

    /// Nothing is queued.
    fn wait(&mut self) -> Next {
        match self.engine.as_ref().and_then(|engine| engine.timeouts.deadline()) {
            Some(deadline) => self.timer.set_at(deadline),
            None => self.timer.clear(),
        }
        Next::wait()
    }
}

/// Enter calls, as long as they are repeated. What they set comes after what is there.
fn enter<M: GenStatem>(
    data: &mut M,
    engine: &EngineOf<M>,
    former: Option<&M::State>,
    timeouts: &mut Timings<M>,
    context: &mut Context<M::Message>,
) -> Result<(), ExitReason> {
    let state = engine.state();
    let former = former.unwrap_or(state);
    loop {
        let entered = data.enter(former, state, context);
        timeouts.extend(entered.timeouts);
        match entered.step {
            Step::Stop(reason) => return Err(reason),
            Step::Repeat => reduce(1),
            Step::Keep | Step::To(_) => return Ok(()),
        }
    }
}

fn set<M: GenStatem>(engine: &mut EngineOf<M>, timeouts: Timings<M>) {
    if !timeouts.is_empty() {
        engine.timeouts.apply(timeouts, now());
    }
}

fn timeout<M: GenStatem>(kind: TimeoutKind<M::Timer>, content: M::Internal) -> Input<M> {
    match kind {
        TimeoutKind::State => Input::StateTimeout(content),
        TimeoutKind::Event => Input::EventTimeout(content),
        TimeoutKind::Named(name) => Input::Timeout(name, content),
    }
}

impl<M: GenStatem> GenServer for StateMachine<M> {
    type Message = M::Message;

    fn init(&mut self, context: &mut Context<M::Message>) -> Result<Next, ExitReason> {
        let mut starting = self.data.init(context)?;
        // `Transition::start` is the only way to make one.
        if let Step::To(state) = std::mem::replace(&mut starting.step, Step::Keep) {
            self.engine = Some(Engine::new(state));
        }
        self.starting = Some(Box::new(starting));
        Ok(Next::again())
    }

    /// The start after `init`, while the starter goes on: the first enter call, then what `init` wanted.
    fn again(&mut self, context: &mut Context<M::Message>) -> Next {
        let (Some(engine), Some(starting)) = (&mut self.engine, self.starting.take()) else {
            return Next::wait();
        };
        let mut timeouts = starting.timeouts;
        if let Err(reason) = enter(&mut self.data, engine, None, &mut timeouts, context) {
            return Next::stop_with(reason);
        }
        engine.settle(None, None, starting.inserted.into_iter().map(Input::Internal));
        set(engine, timeouts);
        match self.upcoming() {
            Some(input) => self.drive(input, context),
            None => self.wait(),
        }
    }

    #[inline]
    fn handle(&mut self, message: M::Message, context: &mut Context<M::Message>) -> Next {
        self.drive(Input::Message(message), context)
    }

    fn event(&mut self, event: Event, context: &mut Context<M::Message>) -> Next {
        let fired = match &event {
            Event::Timer(timer) => self.timer.fired(*timer),
            _ => Fired::Foreign,
        };
        match fired {
            Fired::Foreign => self.drive(Input::Event(event), context),
            Fired::Early => Next::wait(),
            Fired::Due => match self.engine.as_mut().and_then(|engine| engine.timeouts.pop_due(now())) {
                Some((kind, content)) => self.drive(timeout(kind, content), context),
                None => self.wait(),
            },
        }
    }

    fn terminate(&mut self, reason: &ExitReason, context: &mut Context<M::Message>) {
        if let Some(engine) = &self.engine {
            self.data.terminate(reason, engine.state(), context);
        }
    }

    fn format_state(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match &self.engine {
            Some(engine) => self.data.format_state(engine.state(), out),
            None => out.write_str(std::any::type_name::<M>()),
        }
    }

    fn format_message(message: &M::Message, out: &mut dyn fmt::Write) -> fmt::Result {
        M::format_message(message, out)
    }

    fn sys_state(&mut self) -> &mut dyn Any {
        &mut self.data
    }
}

impl<M: GenStatem> fmt::Debug for StateMachine<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateMachine")
            .field("machine", &std::any::type_name::<M>())
            .field("postponed", &self.engine.as_ref().map_or(0, Engine::postponed))
            .finish_non_exhaustive()
    }
}
