//! What a callback of a state machine decides: where to go, and what to do on the way.
//!
//! Some callbacks may do less than others: `enter` may neither change the state nor postpone nor insert, `init` must name
//! a state and has no event to postpone. The second parameter of [`Transition`] tells them apart, so that
//! what is not allowed does not compile.

use super::{
    GenStatem, Input,
    timeouts::{TimeoutKind, Timing},
};
use engset_runtime::{ExitReason, Reply};
use std::{fmt, marker::PhantomData, time::Duration};

/// The decision of a callback of the machine `M`. Made by its functions only.
///
/// Actions may be added in any order; they are done in this one, which is OTP's:
///
/// 1. Answers ([`reply`](Transition::reply)) go out at once.
/// 2. The state changes, or not. If it does, or is repeated, [`enter`](GenStatem::enter) is called.
/// 3. The event is postponed. If the state has changed, all postponed events come back, the oldest first.
/// 4. Inserted events ([`next_event`](Transition::next_event)) go before all that are queued.
/// 5. Timeouts are set, in the order in which they were added; those of `enter` last. Of several actions that concern the
///    same timeout only the last counts.
///
/// OTP's `hibernate` is not among them: a machine that waits holds no stack, and has nothing to give back.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_stdlib::{Context, GenStatem, Input, Starting, Transition};
/// use engset_runtime::{ExitReason, Reply};
/// use std::time::Duration;
///
/// /// A printer takes jobs when it is warm.
/// struct Printer { printed: Vec<String> }
///
/// #[derive(PartialEq)]
/// enum State { Cold, Warm }
///
/// enum Job { Print(String), Printed(Reply<Vec<String>>) }
///
/// impl GenStatem for Printer {
///     type State = State;
///     type Message = Job;
///     type Internal = ();
///     type Timer = ();
///
///     fn init(&mut self, _: &mut Context<Job>) -> Result<Starting<Self>, ExitReason> {
///         Ok(Transition::start(State::Cold).state_timeout(Duration::from_millis(5), ()))
///     }
///
///     fn handle(&mut self, state: &State, input: Input<Self>, _: &mut Context<Job>) -> Transition<Self> {
///         match (state, input) {
///             (State::Cold, Input::StateTimeout(())) => Transition::next(State::Warm),
///             (State::Cold, job) => Transition::keep().postpone(job),
///             (State::Warm, Input::Message(Job::Print(text))) => {
///                 self.printed.push(text);
///                 Transition::keep()
///             }
///             (State::Warm, Input::Message(Job::Printed(reply))) => {
///                 Transition::keep().reply(reply, self.printed.clone())
///             }
///             (State::Warm, _) => Transition::keep(),
///         }
///     }
/// }
///
/// let printer = Printer { printed: Vec::new() }.start_link()?;
/// printer.send(Job::Print("a".to_owned()));
/// assert_eq!(printer.call(Job::Printed), Ok(vec!["a".to_owned()]));
/// # Ok::<(), engset_stdlib::StartError>(())
/// # }).unwrap().unwrap();
/// ```
#[must_use = "it tells how the machine goes on"]
pub struct Transition<M: GenStatem, P = Handling> {
    pub(crate) step: Step<M::State>,
    pub(crate) postponed: Vec<Input<M>>,
    pub(crate) inserted: Vec<M::Internal>,
    pub(crate) timeouts: Timings<M>,
    of: PhantomData<P>,
}

/// What [`GenStatem::init`] returns: made by [`Transition::start`].
pub type Starting<M> = Transition<M, Init>;

/// What [`GenStatem::enter`] returns.
pub type Entering<M> = Transition<M, Enter>;

/// Marks a [`Transition`] of [`GenStatem::handle`].
#[derive(Debug)]
pub enum Handling {}

/// Marks a [`Transition`] of [`GenStatem::enter`].
#[derive(Debug)]
pub enum Enter {}

/// Marks a [`Transition`] of [`GenStatem::init`].
#[derive(Debug)]
pub enum Init {}

/// Who may insert events: [`Handling`] and [`Init`].
pub trait Inserts: sealed::Sealed {}

/// Who goes on from a state that is there: [`Handling`] and [`Enter`].
pub trait GoesOn: sealed::Sealed {}

impl Inserts for Handling {}
impl Inserts for Init {}
impl GoesOn for Handling {}
impl GoesOn for Enter {}

mod sealed {
    #![allow(unreachable_pub, reason = "public, so that public traits can have it as their base")]

    pub trait Sealed {}
    impl Sealed for super::Handling {}
    impl Sealed for super::Enter {}
    impl Sealed for super::Init {}
}

#[derive(Debug)]
pub(crate) enum Step<S> {
    Keep,
    Repeat,
    To(S),
    Stop(ExitReason),
}

pub(crate) type Timings<M> = Vec<Timing<<M as GenStatem>::Timer, <M as GenStatem>::Internal>>;

impl<M: GenStatem> Transition<M, Init> {
    /// The machine starts in this state.
    pub fn start(state: M::State) -> Self {
        Self::new(Step::To(state))
    }
}

impl<M: GenStatem> Transition<M> {
    /// To this state. If it equals the present one, this is [`keep`](Transition::keep).
    pub fn next(state: M::State) -> Self {
        Self::new(Step::To(state))
    }

    /// The event waits until the state has changed: give back what [`handle`](GenStatem::handle) was given.
    ///
    /// A request that is postponed may outlive the patience of its caller; then the answer goes nowhere. Postponed events
    /// do not count in a bounded mailbox.
    pub fn postpone(mut self, event: Input<M>) -> Self {
        self.postponed.push(event);
        self
    }
}

impl<M: GenStatem, P: GoesOn> Transition<M, P> {
    /// The state stays. Postponed events stay where they are.
    pub fn keep() -> Self {
        Self::new(Step::Keep)
    }

    /// The state stays, and [`enter`](GenStatem::enter) is called as if it had changed. That is all: no timeout
    /// ends, and no postponed event comes back.
    pub fn repeat() -> Self {
        Self::new(Step::Repeat)
    }

    /// The machine ends, with reason `Normal`. Of the actions only [`reply`](Transition::reply) counts.
    pub fn stop() -> Self {
        Self::stop_with(ExitReason::Normal)
    }

    /// The machine ends, with this reason.
    pub fn stop_with(reason: ExitReason) -> Self {
        Self::new(Step::Stop(reason))
    }
}

impl<M: GenStatem, P: Inserts> Transition<M, P> {
    /// The machine tells itself something: it gets [`Input::Internal`] before any event that is queued or comes. Several
    /// come in the order in which they were added.
    pub fn next_event(mut self, content: M::Internal) -> Self {
        self.inserted.push(content);
        self
    }
}

impl<M: GenStatem, P> Transition<M, P> {
    fn new(step: Step<M::State>) -> Self {
        let (postponed, inserted, timeouts) = (Vec::new(), Vec::new(), Vec::new());
        Transition { step, postponed, inserted, timeouts, of: PhantomData }
    }

    /// Answers a call, at once: the same as [`Reply::send`], where a chain of actions reads better.
    pub fn reply<T: Send + 'static>(self, reply: Reply<T>, value: T) -> Self {
        reply.send(value);
        self
    }

    /// Sets the state timeout: [`Input::StateTimeout`], unless the state changes before. One that is set together with
    /// a change belongs to the new state.
    pub fn state_timeout(self, after: Duration, content: M::Internal) -> Self {
        self.start_timeout(TimeoutKind::State, after, content)
    }

    /// Sets the event timeout: [`Input::EventTimeout`], unless any event comes before.
    pub fn event_timeout(self, after: Duration, content: M::Internal) -> Self {
        self.start_timeout(TimeoutKind::Event, after, content)
    }

    /// Sets the timeout of this name: [`Input::Timeout`].
    pub fn timeout(self, name: M::Timer, after: Duration, content: M::Internal) -> Self {
        self.start_timeout(TimeoutKind::Named(name), after, content)
    }

    /// Sets any timeout. One of the same kind that is set is replaced.
    ///
    /// The time counts from the end of the transition. With a time of zero it comes when all queued events are handled, before anything is received: what is set
    /// first comes first. With [`Duration::MAX`] it never comes, which is [`cancel_timeout`](Self::cancel_timeout).
    pub fn start_timeout(self, kind: TimeoutKind<M::Timer>, after: Duration, content: M::Internal) -> Self {
        self.timing(Timing::After(kind, after, content))
    }

    /// The same at a time of [`now`](engset_runtime::now)'s clock. A time that is past comes as soon as the mailbox has its turn, not
    /// before it as a time of zero does.
    pub fn start_timeout_at(self, kind: TimeoutKind<M::Timer>, at: Duration, content: M::Internal) -> Self {
        self.timing(Timing::At(kind, at, content))
    }

    /// Gives a timeout that is set another content; its time stays. One that is not set comes as one of zero.
    pub fn update_timeout(self, kind: TimeoutKind<M::Timer>, content: M::Internal) -> Self {
        self.timing(Timing::Update(kind, content))
    }

    /// Cancels a timeout. After this it does not come.
    pub fn cancel_timeout(self, kind: TimeoutKind<M::Timer>) -> Self {
        self.timing(Timing::Cancel(kind))
    }

    fn timing(mut self, timing: Timing<M::Timer, M::Internal>) -> Self {
        self.timeouts.push(timing);
        self
    }
}

impl<M: GenStatem, P> fmt::Debug for Transition<M, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match &self.step {
            Step::Keep => "keep".to_owned(),
            Step::Repeat => "repeat".to_owned(),
            Step::To(_) => "to a state".to_owned(),
            Step::Stop(reason) => format!("stop ({reason})"),
        };
        f.debug_struct("Transition")
            .field("step", &step)
            .field("postponed", &self.postponed.len())
            .field("inserted", &self.inserted.len())
            .field("timeouts", &self.timeouts.len())
            .finish()
    }
}
