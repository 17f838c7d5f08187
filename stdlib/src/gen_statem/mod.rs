//! The generic state machine: what a message does depends on the state (semantics row B9).
//!
//! A machine is a value of a type that implements [`GenStatem`]. The value itself is the *data*; the *state* is
//! apart, since it decides what an event means, and since a change of it has effects of its own. A state is any type that
//! compares: an enum, or an enum with values in it, or a tuple, where each value makes another state.
//!
//! What comes, [`Input`], is a message, an event of the runtime, something that the machine told itself, or
//! a timeout. For each there is one call of [`handle`](GenStatem::handle), and a [`Transition`] in return. It says where to
//! go, and may
//!
//! * **postpone** the event: it comes again after the next real change of state;
//! * **insert** events, which come before all others;
//! * set **timeouts**: of the state, of the next event, or with names;
//! * answer calls, at once or later, from another state.
//!
//! The rules stand in the documentation of [`Transition`] and are those of OTP's `gen_statem`. With respect to it:
//!
//! | OTP | here |
//! |---|---|
//! | `{call, From}`, `cast` | one [`Message`](GenStatem::Message) type; what asks has a [`Reply`](engset_runtime::Reply) in it |
//! | `info` | [`Input::Event`] |
//! | `handle_event_function`, `state_functions` | one `handle` with a `match`; the compiler sees that no case is missing |
//! | `state_enter` | a machine that wants enter calls has an [`enter`](GenStatem::enter) |
//! | the data is returned | `handle` gets `&mut self` |
//! | `{abs, true}` | [`start_timeout_at`](Transition::start_timeout_at) |
//! | `hibernate` | has no meaning: a machine that waits holds no stack |
//! | a zero timeout, `update`, `cancel` | the same |
//! | `terminate` after a crash | does not run, as in a [`GenServer`]: the data are half done |
//! | `change_callback_module`, `push_callback_module` | not there: an enum of machines does it |
//!
//! A machine is a [`GenServer`] inside ([`StateMachine`]). So start, options, names, order of calls,
//! `terminate` and the exit of the parent are described [there](crate::gen_server).
//!
//! When not to use it: if all messages are welcome at all times, take a [`GenServer`].

mod engine;
mod machine;
#[cfg(test)]
mod model_tests;
mod timeouts;
mod transition;

pub use {
    machine::StateMachine,
    timeouts::TimeoutKind,
    transition::{Enter, Entering, GoesOn, Handling, Init, Inserts, Starting, Transition},
};

use crate::{Context, GenServer, ServerBuilder, StartError};
use engset_runtime::{Address, Event, ExitReason, MonitorRef};
use std::{fmt, hash::Hash};

/// A state machine: see the [module](self).
///
/// A lock with a code. It takes digits while it is locked, and locks itself again after ten seconds.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_stdlib::{Context, GenStatem, Input, Starting, Transition};
/// use engset_runtime::{ExitReason, Reply};
/// use std::time::Duration;
///
/// struct CodeLock { code: Vec<u8>, typed: Vec<u8> }
///
/// #[derive(PartialEq)]
/// enum State { Locked, Open }
///
/// enum Request { Button(u8), IsOpen(Reply<bool>) }
///
/// impl GenStatem for CodeLock {
///     type State = State;
///     type Message = Request;
///     type Internal = ();
///     type Timer = ();
///
///     fn init(&mut self, _: &mut Context<Request>) -> Result<Starting<Self>, ExitReason> {
///         Ok(Transition::start(State::Locked))
///     }
///
///     fn handle(&mut self, state: &State, input: Input<Self>, _: &mut Context<Request>) -> Transition<Self> {
///         match (state, input) {
///             (state, Input::Message(Request::IsOpen(reply))) => {
///                 Transition::keep().reply(reply, *state == State::Open)
///             }
///             (State::Locked, Input::Message(Request::Button(digit))) => {
///                 self.typed.push(digit);
///                 if self.typed.ends_with(&self.code) {
///                     self.typed.clear();
///                     Transition::next(State::Open).state_timeout(Duration::from_secs(10), ())
///                 } else {
///                     Transition::keep()
///                 }
///             }
///             (State::Open, Input::StateTimeout(())) => Transition::next(State::Locked),
///             (State::Open, button) => Transition::keep().postpone(button),
///             (State::Locked, _) => Transition::keep(),
///         }
///     }
/// }
///
/// let lock = CodeLock { code: vec![1, 2, 3], typed: Vec::new() }.start_link()?;
/// for digit in [1, 2, 3] {
///     lock.send(Request::Button(digit));
/// }
/// assert_eq!(lock.call(Request::IsOpen), Ok(true));
/// # Ok::<(), engset_stdlib::StartError>(())
/// # }).unwrap().unwrap();
/// ```
pub trait GenStatem: Send + Sized + 'static {
    /// The state. Two states are the same if they compare equal.
    type State: PartialEq + Send + 'static;

    /// What it takes from others.
    type Message: Send + 'static;

    /// What it tells itself: the content of inserted events and of timeouts. `()` if there is nothing to tell.
    type Internal: Send + 'static;

    /// Names of timeouts. `()` if one with a name is enough.
    type Timer: Hash + Eq + Clone + Send + 'static;

    /// Called first, in the new process; the starter waits for it.
    ///
    /// # Errors
    ///
    /// A reason not to start. The starter gets [`StartError::InitFailed`], and the process ends with the reason.
    fn init(&mut self, context: &mut Context<Self::Message>) -> Result<Starting<Self>, ExitReason>;

    /// Called for each thing that comes.
    fn handle(
        &mut self,
        state: &Self::State,
        input: Input<Self>,
        context: &mut Context<Self::Message>,
    ) -> Transition<Self>;

    /// Called when a state is entered: at the start, where `former` is the state itself and the starter does
    /// not wait any more; when the state has changed; and when it is [repeated](Transition::repeat).
    ///
    /// It may set timeouts, stop, and be repeated; it cannot go elsewhere, postpone or insert.
    fn enter(
        &mut self,
        former: &Self::State,
        state: &Self::State,
        context: &mut Context<Self::Message>,
    ) -> Entering<Self> {
        let _ = (former, state, context);
        Transition::keep()
    }

    /// Writes state and data for people: crash reports, [`sys::state_text`](crate::sys::state_text). Default: the names of
    /// their types. ([`sys::get_state`](crate::sys::get_state) and its like see the data.)
    ///
    /// # Errors
    ///
    /// Those of `out`, which cuts off what is too long.
    fn format_state(&self, state: &Self::State, out: &mut dyn fmt::Write) -> fmt::Result {
        let _ = state;
        write!(out, "{}, {}", std::any::type_name::<Self::State>(), std::any::type_name::<Self>())
    }

    /// Writes a message for people: traces, crash reports. Default: the name of the type.
    ///
    /// # Errors
    ///
    /// As [`GenStatem::format_state`].
    fn format_message(message: &Self::Message, out: &mut dyn fmt::Write) -> fmt::Result {
        let _ = message;
        out.write_str(std::any::type_name::<Self::Message>())
    }

    /// Called last, in an orderly end: [`GenServer::terminate`] tells when. Events that are postponed or queued
    /// are dropped afterwards; who waits for an answer to one learns of the end.
    fn terminate(&mut self, reason: &ExitReason, state: &Self::State, context: &mut Context<Self::Message>) {
        let _ = (reason, state, context);
    }

    /// Options before the start. (This is also what a [`ChildSpec`](crate::ChildSpec::server) takes.)
    fn options(self) -> ServerBuilder<StateMachine<Self>> {
        GenServer::options(StateMachine::new(self))
    }

    /// Starts it, without a tie to this process.
    ///
    /// # Errors, Signals
    ///
    /// As [`GenServer::start`].
    fn start(self) -> Result<Address<Self::Message>, StartError> {
        self.options().start()
    }

    /// Starts it, linked with this process.
    ///
    /// # Errors, Signals
    ///
    /// As [`GenServer::start_link`].
    fn start_link(self) -> Result<Address<Self::Message>, StartError> {
        self.options().start_link()
    }

    /// Starts it, with a monitor.
    ///
    /// # Errors, Signals
    ///
    /// As [`GenServer::start_monitor`].
    fn start_monitor(self) -> Result<(Address<Self::Message>, MonitorRef), StartError> {
        self.options().start_monitor()
    }
}

/// What a machine gets.
pub enum Input<M: GenStatem> {
    /// A message: a request if there is a [`Reply`](engset_runtime::Reply) in it.
    Message(M::Message),
    /// What the runtime has to tell: a process is down, an own timer has fired, an exit signal was trapped (not the
    /// parent's: that ends the machine).
    Event(Event),
    /// What the machine has told itself by [`next_event`](Transition::next_event). Nobody else can.
    Internal(M::Internal),
    /// The state has lasted so long.
    StateTimeout(M::Internal),
    /// For so long nothing came.
    EventTimeout(M::Internal),
    /// The timeout with this name.
    Timeout(M::Timer, M::Internal),
}

impl<M: GenStatem> fmt::Debug for Input<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without what is in it: that need not be printable.
        f.write_str(match self {
            Input::Message(_) => "Message",
            Input::Event(event) => return f.debug_tuple("Event").field(event).finish(),
            Input::Internal(_) => "Internal",
            Input::StateTimeout(_) => "StateTimeout",
            Input::EventTimeout(_) => "EventTimeout",
            Input::Timeout(..) => "Timeout",
        })
    }
}
