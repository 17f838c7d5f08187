//! The event manager: one process, and handlers in it that each see every event.
//!
//! A handler is a value of a type that implements [`EventHandler`], or a closure. Handlers are added and removed while the
//! manager runs. They share its process; so one that waits holds up the others, and what takes long belongs
//! into a process of its own, to which the handler sends.
//!
//! 1. The handlers get an event one after the other, in the order in which they were added; one event after the other.
//! 2. A handler that panics is removed and dropped, and the panic is reported ([`catch`](engset_runtime::catch)).
//!    The others go on undisturbed, with the same event. Its [`terminate`](EventHandler::terminate) does not run, for it is half
//!    done. A handler that calls [`exit_self`](engset_runtime::exit_self) ends the manager.
//! 3. Otherwise, whatever the way in which it is removed, `terminate` is called, with the reason: see [`Removed`].
//! 4. A *supervised* handler has an owner, a process. The owner and the manager are linked. When the owner ends the
//!    handler is removed; when the handler is removed, the owner is told, once, by a message of its own type. So
//!    an owner that adds its handler again when it hears of a crash is a supervisor for it. If the manager is killed
//!    no message tells it; the link does.
//! 5. The manager traps exits. When its parent ends, or asks it to, all handlers are removed.
//!
//! The same as OTP's `gen_event`, but: a handler has a reference with its type, so that requests and what
//! [`remove`](EventManager::remove_handler) gives back are typed, and the same type may be added many times;
//! the order of handlers is defined; the new handler of a swap is made from the old one, not from a term that the old one made.
//!
//! When not to use it: if every receiver is a process, publish to a [`Topic`](crate::Topic).

mod manager;

pub use manager::{Manager, ManagerRequest};

use crate::{GenServer, ServerBuilder, StartError};
use engset_runtime::{Address, CallError, Event, ExitReason, NameError, Pid, Reply};
use manager::{Owner, Request};
use std::{any::Any, fmt, marker::PhantomData};

/// Handles events of type `E` in the process of an [`EventManager`].
pub trait EventHandler<E>: Send + 'static {
    /// What it can be asked ([`EventManager::call`]): `()` if nothing.
    type Request: Send + 'static;

    /// Called first, in the manager.
    ///
    /// # Errors
    ///
    /// A reason not to be added.
    fn init(&mut self) -> Result<(), ExitReason> {
        Ok(())
    }

    /// Called for each event.
    fn handle(&mut self, event: &E) -> Handled;

    /// Called for each request.
    fn request(&mut self, request: Self::Request) -> Handled {
        drop(request);
        Handled::Keep
    }

    /// Called for each event that the runtime has for the manager: all handlers get all of them.
    fn event(&mut self, event: &Event) -> Handled {
        let _ = event;
        Handled::Keep
    }

    /// Called when it is removed, except after a panic.
    fn terminate(&mut self, why: &Removed) {
        let _ = why;
    }
}

/// A closure stays until it is removed.
impl<E, F: FnMut(&E) + Send + 'static> EventHandler<E> for F {
    type Request = ();

    fn handle(&mut self, event: &E) -> Handled {
        self(event);
        Handled::Keep
    }
}

/// How a handler goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Handled {
    /// With the next event.
    Keep,
    /// Not at all: it is removed.
    Remove,
}

/// Why a handler is not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Removed {
    /// Somebody removed it.
    Asked,
    /// It wanted to.
    Itself,
    /// Another has taken its place.
    Swapped {
        /// That one. It has the same owner, if the swap does not name another.
        by: HandlerId,
    },
    /// Its owner has ended, for this reason.
    OwnerEnded(ExitReason),
    /// It panicked.
    Crashed(ExitReason),
    /// The manager ends, for this reason.
    ManagerStops(ExitReason),
}

/// One handler of a manager.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HandlerId(u64);

impl fmt::Debug for HandlerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandlerId({})", self.0)
    }
}

/// The same, with its type.
pub struct HandlerRef<H> {
    id: HandlerId,
    handler: PhantomData<fn(H)>,
}

impl<H> HandlerRef<H> {
    fn new(id: HandlerId) -> Self {
        HandlerRef { id, handler: PhantomData }
    }

    /// Without its type.
    #[must_use]
    pub fn id(self) -> HandlerId {
        self.id
    }
}

impl<H> Clone for HandlerRef<H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H> Copy for HandlerRef<H> {}

impl<H> fmt::Debug for HandlerRef<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

/// What a manager tells about a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerInfo {
    /// Which.
    pub id: HandlerId,
    /// The name of its type.
    pub name: &'static str,
    /// Who is told when it goes.
    pub owner: Option<Pid>,
}

/// Why a handler was not added.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddHandlerError {
    /// Its `init` said so, or panicked; in a swap, so did what should make it.
    Refused(ExitReason),
    /// The manager did not answer.
    Manager(CallError),
}

impl fmt::Display for AddHandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddHandlerError::Refused(reason) => write!(f, "the handler did not start: {reason}"),
            AddHandlerError::Manager(error) => write!(f, "the event manager did not answer: {error}"),
        }
    }
}

impl std::error::Error for AddHandlerError {}

/// An event manager. See the [module](self).
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::Reply;
/// use engset_stdlib::{EventHandler, EventManager, Handled};
///
/// struct Count(u32);
///
/// impl EventHandler<String> for Count {
///     type Request = Reply<u32>;
///
///     fn handle(&mut self, _: &String) -> Handled {
///         self.0 += 1;
///         Handled::Keep
///     }
///
///     fn request(&mut self, reply: Reply<u32>) -> Handled {
///         reply.send(self.0);
///         Handled::Keep
///     }
/// }
///
/// let alarms: EventManager<String> = EventManager::start_link()?;
/// let count = alarms.add_handler(Count(0)).unwrap();
/// alarms.add_handler(|text: &String| println!("alarm: {text}")).unwrap();
/// alarms.notify("fire".to_owned());
/// alarms.sync_notify("flood".to_owned()).unwrap();
/// assert_eq!(alarms.call(count, |reply| reply), Ok(2));
/// assert_eq!(alarms.remove_handler(count).unwrap().unwrap().0, 2);
/// # Ok::<(), engset_stdlib::StartError>(())
/// # }).unwrap().unwrap();
/// ```
pub struct EventManager<E> {
    address: Address<ManagerRequest<E>>,
}

impl<E: Send + 'static> EventManager<E> {
    /// Its options before the start: a name, a priority. (This is also what a
    /// [`ChildSpec`](crate::ChildSpec::server) takes.) What starts is an address: see [`EventManager::from`].
    pub fn options() -> ServerBuilder<Manager<E>> {
        Manager::new().options().trap_exits()
    }

    /// Starts one, without a tie to this process.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start() -> Result<Self, StartError> {
        Self::options().start().map(Self::from)
    }

    /// Starts one, linked with this process.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start_link() -> Result<Self, StartError> {
        Self::options().start_link().map(Self::from)
    }

    /// The manager that has this name on the caller's node.
    ///
    /// # Errors
    ///
    /// Nobody has the name, or it is no manager of events `E`.
    pub fn named(name: &str) -> Result<Self, NameError> {
        engset_runtime::lookup(name).map(Self::from)
    }

    /// Its process.
    #[must_use]
    pub fn pid(self) -> Pid {
        self.address.pid()
    }

    /// Gives all handlers an event, some time.
    pub fn notify(self, event: E) {
        self.address.send(ManagerRequest(Request::Notify(event, None)));
    }

    /// Gives all handlers an event, and waits until they have handled it.
    ///
    /// # Errors
    ///
    /// The manager is dead, or not done within 5 seconds.
    pub fn sync_notify(self, event: E) -> Result<(), CallError> {
        self.address.call(|reply| ManagerRequest(Request::Notify(event, Some(reply))))
    }

    /// Adds a handler, after those that are there.
    ///
    /// # Errors
    ///
    /// It refuses, or the manager does not answer.
    pub fn add_handler<H: EventHandler<E>>(self, handler: H) -> Result<HandlerRef<H>, AddHandlerError> {
        self.add(handler, None)
    }

    /// The same, with an owner: rule 4 of the [module](self). `tell` makes the message for it, in the manager.
    ///
    /// # Errors
    ///
    /// As [`EventManager::add_handler`].
    pub fn add_sup_handler<H: EventHandler<E>, M: Send + 'static>(
        self,
        handler: H,
        owner: Address<M>,
        tell: impl Fn(HandlerId, Removed) -> M + Send + 'static,
    ) -> Result<HandlerRef<H>, AddHandlerError> {
        self.add(handler, Some(Owner::new(owner, tell)))
    }

    fn add<H: EventHandler<E>>(
        self,
        handler: H,
        owner: Option<Owner>,
    ) -> Result<HandlerRef<H>, AddHandlerError> {
        let handler = Box::new(handler);
        let added = self.address.call(|reply| ManagerRequest(Request::Add { handler, owner, reply }));
        added_as(added)
    }

    /// Takes a handler away and brings it back; `None`: it was not there any more.
    ///
    /// # Errors
    ///
    /// The manager does not answer.
    pub fn remove_handler<H: EventHandler<E>>(self, handler: HandlerRef<H>) -> Result<Option<H>, CallError> {
        let id = handler.id;
        let removed = self.address.call(|reply| ManagerRequest(Request::Remove { id, reply }))?;
        Ok(removed.and_then(|handler| handler.downcast().ok()).map(|handler| *handler))
    }

    /// Puts another handler in the place of one. `make` makes it, in the manager, from the old one, which may be gone.
    /// No event comes in between. The new one has the old one's owner.
    ///
    /// # Errors
    ///
    /// `make` panics, or the new one refuses, or the manager does not answer. The old one is gone all the same.
    pub fn swap_handler<H: EventHandler<E>, H2: EventHandler<E>>(
        self,
        old: HandlerRef<H>,
        make: impl FnOnce(Option<H>) -> H2 + Send + 'static,
    ) -> Result<HandlerRef<H2>, AddHandlerError> {
        self.swap(old, make, None)
    }

    /// The same with a new owner.
    ///
    /// # Errors
    ///
    /// As [`EventManager::swap_handler`].
    pub fn swap_sup_handler<H: EventHandler<E>, H2: EventHandler<E>, M: Send + 'static>(
        self,
        old: HandlerRef<H>,
        make: impl FnOnce(Option<H>) -> H2 + Send + 'static,
        owner: Address<M>,
        tell: impl Fn(HandlerId, Removed) -> M + Send + 'static,
    ) -> Result<HandlerRef<H2>, AddHandlerError> {
        self.swap(old, make, Some(Owner::new(owner, tell)))
    }

    fn swap<H: EventHandler<E>, H2: EventHandler<E>>(
        self,
        old: HandlerRef<H>,
        make: impl FnOnce(Option<H>) -> H2 + Send + 'static,
        owner: Option<Owner>,
    ) -> Result<HandlerRef<H2>, AddHandlerError> {
        let id = old.id;
        let make = move |old: Option<Box<dyn Any + Send>>| {
            let old = old.and_then(|old| old.downcast().ok()).map(|old| *old);
            Box::new(make(old)) as Box<dyn manager::AnyHandler<E>>
        };
        let make = Box::new(make);
        let added = self.address.call(|reply| ManagerRequest(Request::Swap { id, make, owner, reply }));
        added_as(added)
    }

    /// Asks one handler.
    ///
    /// # Errors
    ///
    /// The handler is not there or does not answer (`NoReply`), or the manager does not answer.
    pub fn call<H: EventHandler<E>, T: Send + 'static>(
        self,
        handler: HandlerRef<H>,
        make: impl FnOnce(Reply<T>) -> H::Request,
    ) -> Result<T, CallError> {
        let id = handler.id;
        self.address.call(|reply| ManagerRequest(Request::Ask { id, request: Box::new(make(reply)) }))
    }

    /// Sends one handler a request, and does not wait.
    pub fn send<H: EventHandler<E>>(self, handler: HandlerRef<H>, request: H::Request) {
        let id = handler.id;
        self.address.send(ManagerRequest(Request::Ask { id, request: Box::new(request) }));
    }

    /// The handlers, in their order.
    ///
    /// # Errors
    ///
    /// The manager does not answer.
    pub fn which_handlers(self) -> Result<Vec<HandlerInfo>, CallError> {
        self.address.call(|reply| ManagerRequest(Request::Which(reply)))
    }
}

fn added_as<H>(
    added: Result<Result<HandlerId, ExitReason>, CallError>,
) -> Result<HandlerRef<H>, AddHandlerError> {
    match added {
        Ok(Ok(id)) => Ok(HandlerRef::new(id)),
        Ok(Err(reason)) => Err(AddHandlerError::Refused(reason)),
        Err(error) => Err(AddHandlerError::Manager(error)),
    }
}

/// The manager that has this address.
impl<E> From<Address<ManagerRequest<E>>> for EventManager<E> {
    fn from(address: Address<ManagerRequest<E>>) -> Self {
        EventManager { address }
    }
}

impl<E> Clone for EventManager<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for EventManager<E> {}

impl<E> fmt::Debug for EventManager<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventManager{}", self.address.pid())
    }
}
