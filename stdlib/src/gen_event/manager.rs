//! The process of an event manager.
//!
//! Whatever is called of a handler, its destructor too, is called under [`catch`]. A handler leaves in one place,
//! [`Manager::retire`]: there it is terminated, and its owner told and unlinked.

use super::{EventHandler, Handled, HandlerId, HandlerInfo, Removed};
use crate::{Context, GenServer, Next};
use engset_runtime::{Address, Event, ExitReason, Pid, Reply, catch, link, unlink};
use std::{any::Any, fmt, mem};

/// The server of an [`EventManager`](super::EventManager).
pub struct Manager<E> {
    /// In the order in which they were added.
    handlers: Vec<Entry<E>>,
    added: u64,
}

struct Entry<E> {
    id: HandlerId,
    handler: Box<dyn AnyHandler<E>>,
    owner: Option<Owner>,
}

/// A handler without its type.
pub(super) trait AnyHandler<E>: Send {
    fn init(&mut self) -> Result<(), ExitReason>;
    fn handle(&mut self, event: &E) -> Handled;
    fn request(&mut self, request: Box<dyn Any + Send>) -> Handled;
    fn event(&mut self, event: &Event) -> Handled;
    fn terminate(&mut self, why: &Removed);
    fn name(&self) -> &'static str;
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

impl<E, H: EventHandler<E>> AnyHandler<E> for H {
    fn init(&mut self) -> Result<(), ExitReason> {
        EventHandler::init(self)
    }

    fn handle(&mut self, event: &E) -> Handled {
        EventHandler::handle(self, event)
    }

    fn request(&mut self, request: Box<dyn Any + Send>) -> Handled {
        match request.downcast::<H::Request>() {
            Ok(request) => EventHandler::request(self, *request),
            // References have types: it does not happen.
            Err(_) => Handled::Keep,
        }
    }

    fn event(&mut self, event: &Event) -> Handled {
        EventHandler::event(self, event)
    }

    fn terminate(&mut self, why: &Removed) {
        EventHandler::terminate(self, why);
    }

    fn name(&self) -> &'static str {
        std::any::type_name::<H>()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// Who is told when a handler goes.
pub(super) struct Owner {
    pid: Pid,
    tell: Box<dyn Fn(HandlerId, Removed) + Send>,
}

impl Owner {
    pub(super) fn new<M: Send + 'static>(
        owner: Address<M>,
        tell: impl Fn(HandlerId, Removed) -> M + Send + 'static,
    ) -> Self {
        Owner { pid: owner.pid(), tell: Box::new(move |id, why| owner.send(tell(id, why))) }
    }
}

/// What an event manager takes. Nobody but [`EventManager`](super::EventManager) makes one.
pub struct ManagerRequest<E>(pub(super) Request<E>);

type Make<E> = Box<dyn FnOnce(Option<Box<dyn Any + Send>>) -> Box<dyn AnyHandler<E>> + Send>;

pub(super) enum Request<E> {
    Notify(E, Option<Reply<()>>),
    Ask { id: HandlerId, request: Box<dyn Any + Send> },
    Add { handler: Box<dyn AnyHandler<E>>, owner: Option<Owner>, reply: Reply<Result<HandlerId, ExitReason>> },
    Remove { id: HandlerId, reply: Reply<Option<Box<dyn Any + Send>>> },
    Swap { id: HandlerId, make: Make<E>, owner: Option<Owner>, reply: Reply<Result<HandlerId, ExitReason>> },
    Which(Reply<Vec<HandlerInfo>>),
}

impl<E: Send + 'static> Manager<E> {
    pub(super) fn new() -> Self {
        Manager { handlers: Vec::new(), added: 0 }
    }

    fn fresh(&mut self) -> HandlerId {
        self.added += 1;
        HandlerId(self.added)
    }

    fn place(&self, id: HandlerId) -> Option<usize> {
        // They are added with rising numbers, but a swap puts a new number into an old place.
        self.handlers.iter().position(|entry| entry.id == id)
    }

    /// Lets every handler do something, in their order.
    fn each(&mut self, parent: Option<Pid>, mut act: impl FnMut(&mut dyn AnyHandler<E>) -> Handled) {
        let mut at = 0;
        while at < self.handlers.len() {
            if self.one(at, parent, &mut act) {
                at += 1;
            }
        }
    }

    /// Lets one handler do something. Is it still there?
    fn one(
        &mut self,
        at: usize,
        parent: Option<Pid>,
        act: impl FnOnce(&mut dyn AnyHandler<E>) -> Handled,
    ) -> bool {
        let handler = &mut *self.handlers[at].handler;
        let why = match catch(|| act(handler)) {
            Ok(Handled::Keep) => return true,
            Ok(Handled::Remove) => Removed::Itself,
            Err(reason) => Removed::Crashed(reason),
        };
        let entry = self.handlers.remove(at);
        discard(self.retire(entry, why, parent));
        false
    }

    /// A handler, already out of the list, ends. What is left of it: nothing after a panic.
    fn retire(&self, entry: Entry<E>, why: Removed, parent: Option<Pid>) -> Option<Box<dyn AnyHandler<E>>> {
        let (handler, why) = terminate(entry.handler, why);
        if let Some(owner) = entry.owner {
            // Nothing that the owner's closure does can be of harm here.
            let _ = catch(|| (owner.tell)(entry.id, why));
            self.release(owner.pid, parent);
        }
        handler
    }

    /// The link with an owner goes with its last handler; but the parent stays linked.
    fn release(&self, owner: Pid, parent: Option<Pid>) {
        let more =
            self.handlers.iter().any(|entry| entry.owner.as_ref().is_some_and(|other| other.pid == owner));
        if !more && parent != Some(owner) {
            unlink(owner);
        }
    }

    fn add(
        &mut self,
        at: usize,
        mut handler: Box<dyn AnyHandler<E>>,
        owner: Option<Owner>,
    ) -> Result<HandlerId, ExitReason> {
        if let Err(reason) = catch(|| handler.init()).flatten() {
            discard(Some(handler));
            return Err(reason);
        }
        let id = self.fresh();
        if let Some(owner) = &owner {
            link(owner.pid);
        }
        self.handlers.insert(at, Entry { id, handler, owner });
        Ok(id)
    }

    fn swap(
        &mut self,
        id: HandlerId,
        make: Make<E>,
        owner: Option<Owner>,
        parent: Option<Pid>,
    ) -> Result<HandlerId, ExitReason> {
        let Some(at) = self.place(id) else {
            let handler = catch(|| make(None))?;
            return self.add(self.handlers.len(), handler, owner);
        };
        let Entry { handler, owner: former, .. } = self.handlers.remove(at);
        // The number that the new one gets, if it comes to be.
        let by = HandlerId(self.added + 1);
        let (old, why) = terminate(handler, Removed::Swapped { by });
        if let Some(former) = &former {
            let _ = catch(|| (former.tell)(id, why));
        }
        let former_pid = former.as_ref().map(|former| former.pid);
        let owner = owner.or(former);
        let added = match catch(|| make(old.map(AnyHandler::into_any))) {
            Ok(handler) => self.add(at, handler, owner),
            Err(reason) => Err(reason),
        };
        if let Some(former) = former_pid {
            self.release(former, parent);
        }
        added
    }
}

/// `terminate` of a handler, unless it has panicked; then, or if it panics now, nothing is left of it.
fn terminate<E>(
    mut handler: Box<dyn AnyHandler<E>>,
    mut why: Removed,
) -> (Option<Box<dyn AnyHandler<E>>>, Removed) {
    if !matches!(why, Removed::Crashed(_)) {
        match catch(|| handler.terminate(&why)) {
            Ok(()) => return (Some(handler), why),
            Err(reason) => why = Removed::Crashed(reason),
        }
    }
    discard(Some(handler));
    (None, why)
}

/// Drops a handler. If its destructor panics, that has been reported, and there is nobody else to tell.
fn discard<E>(handler: Option<Box<dyn AnyHandler<E>>>) {
    let _ = catch(|| drop(handler));
}

impl<E: Send + 'static> GenServer for Manager<E> {
    type Message = ManagerRequest<E>;

    fn handle(&mut self, message: ManagerRequest<E>, context: &mut Context<ManagerRequest<E>>) -> Next {
        let parent = context.parent();
        match message.0 {
            Request::Notify(event, reply) => {
                self.each(parent, |handler| handler.handle(&event));
                if let Some(reply) = reply {
                    reply.send(());
                }
            }
            Request::Ask { id, request } => {
                if let Some(at) = self.place(id) {
                    self.one(at, parent, |handler| handler.request(request));
                }
            }
            Request::Add { handler, owner, reply } => {
                reply.send(self.add(self.handlers.len(), handler, owner));
            }
            Request::Remove { id, reply } => {
                let entry = self.place(id).map(|at| self.handlers.remove(at));
                let left = entry.and_then(|entry| self.retire(entry, Removed::Asked, parent));
                reply.send(left.map(AnyHandler::into_any));
            }
            Request::Swap { id, make, owner, reply } => reply.send(self.swap(id, make, owner, parent)),
            Request::Which(reply) => {
                let info = |entry: &Entry<E>| HandlerInfo {
                    id: entry.id,
                    name: entry.handler.name(),
                    owner: entry.owner.as_ref().map(|owner| owner.pid),
                };
                reply.send(self.handlers.iter().map(info).collect());
            }
        }
        Next::wait()
    }

    fn event(&mut self, event: Event, context: &mut Context<ManagerRequest<E>>) -> Next {
        let parent = context.parent();
        if let Event::Exit(exit) = &event {
            let owned = |entry: &Entry<E>| entry.owner.as_ref().is_some_and(|owner| owner.pid == exit.from);
            if self.handlers.iter().any(owned) {
                while let Some(at) = self.handlers.iter().position(owned) {
                    let entry = self.handlers.remove(at);
                    discard(self.retire(entry, Removed::OwnerEnded(exit.reason.clone()), parent));
                }
                return Next::wait();
            }
        }
        self.each(parent, |handler| handler.event(&event));
        Next::wait()
    }

    fn terminate(&mut self, reason: &ExitReason, context: &mut Context<ManagerRequest<E>>) {
        for entry in mem::take(&mut self.handlers) {
            discard(self.retire(entry, Removed::ManagerStops(reason.clone()), context.parent()));
        }
    }
}

impl<E> fmt::Debug for Manager<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.handlers.iter().map(|entry| entry.id);
        f.debug_list().entries(ids).finish()
    }
}

impl<E> fmt::Debug for ManagerRequest<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ManagerRequest")
    }
}
