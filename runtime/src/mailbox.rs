//! Receiving.
//!
//! A process' mailbox has an outer and an inner list (`scheduler`: `worker/deliver.rs`); what is left
//! to do here is to give what comes out of it its type.

use crate::{
    bound,
    event::{Event, Item, Received},
    hooks,
    pid::{Address, Pid},
    process,
    reductions::price,
};
use engset_scheduler::{
    Envelope, TaskId,
    current::{self, Got, Miss, Position, Wake},
};
use std::{fmt, marker::PhantomData, time::Duration};

/// The receiving end of the process that runs: messages of type `M`, and events.
///
/// A process function gets it as its argument; it cannot leave the process' thread, and it works in its own
/// process only.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::{Event, Mailbox, Received, monitor, spawn};
///
/// let watcher = spawn(|mut mailbox: Mailbox<&'static str>| {
///     let job = spawn(|| ());
///     monitor(job);
///     loop {
///         match mailbox.receive() {
///             Received::Message(text) => assert_eq!(text, "hello"),
///             Received::Event(Event::Down(down)) => return assert_eq!(down.pid, job),
///             Received::Event(_) => {}
///         }
///     }
/// });
/// watcher.send("hello");
/// # let mut mailbox: Mailbox<()>;
/// # }).unwrap();
/// ```
pub struct Mailbox<M> {
    owner: Pid,
    /// Its mailbox is bounded.
    bounded: bool,
    takes: PhantomData<fn() -> M>,
    /// A started process stays on its thread, and so does this.
    not_send: PhantomData<*mut ()>,
}

impl<M: Send + 'static> Mailbox<M> {
    pub(crate) fn of_current(owner: Pid) -> Self {
        Mailbox { owner, bounded: current::is_current_marked(), takes: PhantomData, not_send: PhantomData }
    }

    /// The address that others send to.
    #[must_use]
    pub fn address(&self) -> Address<M> {
        Address::new(self.owner)
    }

    /// The process, if its mailbox is bounded.
    #[inline(always)]
    fn bounded(&self) -> Option<TaskId> {
        if self.bounded { Some(self.owner.task()) } else { None }
    }

    /// The next thing in the mailbox; waits until there is one.
    ///
    /// # Signals
    ///
    /// If an exit signal ends the process, its stack unwinds from here.
    ///
    /// # Panics
    ///
    /// If it is called in another process than the mailbox's, or outside of any; or by a destructor while the
    /// process is already ending, for then nothing can come any more.
    #[inline(always)]
    pub fn receive(&mut self) -> Received<M> {
        loop {
            match self.receive_any(u64::MAX, false) {
                Ok(Got::Message(message)) => return Received::Message(message.take()),
                Ok(Got::Envelope(envelope)) => {
                    if let Some(received) = open(envelope, self.bounded()) {
                        return received;
                    }
                }
                Err(miss) => self.nothing(miss),
            }
        }
    }

    /// The next thing in the mailbox; `None` after `timeout`. With a timeout of zero it does not wait.
    ///
    /// # Signals, Panics
    ///
    /// As [`Mailbox::receive`]; in a process that is ending it returns `None`.
    pub fn receive_timeout(&mut self, timeout: Duration) -> Option<Received<M>> {
        self.receive_until(process::deadline(timeout))
    }

    /// The next thing in the mailbox, if there is one.
    ///
    /// # Signals, Panics
    ///
    /// As [`Mailbox::receive_timeout`].
    pub fn try_receive(&mut self) -> Option<Received<M>> {
        self.receive_until(0)
    }

    fn receive_until(&mut self, deadline: u64) -> Option<Received<M>> {
        loop {
            match self.receive_any(deadline, false) {
                Ok(Got::Message(message)) => return Some(Received::Message(message.take())),
                Ok(Got::Envelope(envelope)) => {
                    if let Some(received) = open(envelope, self.bounded()) {
                        return Some(received);
                    }
                }
                Err(Miss::TimedOut | Miss::Ending | Miss::Other) => return missed(),
                Err(Miss::Stranger) => wrong_process(self.owner),
            }
        }
    }

    #[inline(always)]
    fn receive_any(&self, deadline: u64, messages: bool) -> Result<Got<M>, Miss> {
        // With a limit the room of each message is to be given back.
        current::receive(self.owner.node().number(), self.owner.task(), deadline, messages, !self.bounded)
    }

    /// The next message; waits until there is one. Events stay in the mailbox.
    ///
    /// # Signals, Panics
    ///
    /// As [`Mailbox::receive`].
    #[inline(always)]
    pub fn message(&mut self) -> M {
        loop {
            match self.receive_any(u64::MAX, true) {
                Ok(Got::Message(message)) => return message.take(),
                Ok(Got::Envelope(envelope)) => {
                    if let Some(Received::Message(message)) = open(envelope, self.bounded()) {
                        return message;
                    }
                }
                Err(Miss::Other) => {
                    return self.search_message(u64::MAX).unwrap_or_else(|| self.nothing(Miss::Ending));
                }
                Err(miss) => self.nothing(miss),
            }
        }
    }

    /// The next message; `None` after `timeout`. Events stay in the mailbox.
    ///
    /// # Signals, Panics
    ///
    /// As [`Mailbox::receive_timeout`].
    pub fn message_timeout(&mut self, timeout: Duration) -> Option<M> {
        let deadline = process::deadline(timeout);
        loop {
            match self.receive_any(deadline, true) {
                Ok(Got::Message(message)) => return Some(message.take()),
                Ok(Got::Envelope(envelope)) => {
                    if let Some(Received::Message(message)) = open(envelope, self.bounded()) {
                        return Some(message);
                    }
                }
                // An event is before it: it stays, so it takes a search.
                Err(Miss::Other) => return self.search_message(deadline),
                Err(Miss::TimedOut | Miss::Ending) => return missed(),
                Err(Miss::Stranger) => wrong_process(self.owner),
            }
        }
    }

    /// There was nothing, though it would have waited for ever.
    #[cold]
    fn nothing(&self, miss: Miss) -> ! {
        if miss == Miss::Stranger {
            wrong_process(self.owner);
        }
        missed::<()>();
        panic!("receive in a process that is ending")
    }

    #[cold]
    fn search_message(&mut self, deadline: u64) -> Option<M> {
        self.select_until(|item| matches!(item, Item::Message(_)), deadline).and_then(Received::message)
    }

    /// The first thing in the mailbox that `wanted` picks, in the order of arrival; waits until there is
    /// one. Everything else stays in its place. What has been looked at is not looked at again in this call.
    ///
    /// Costs time in proportion to what lies before it. (A [`call`](Address::call) does not search: its
    /// answer does not go through the mailbox.)
    ///
    /// # Signals
    ///
    /// As [`Mailbox::receive`].
    ///
    /// # Panics
    ///
    /// As [`Mailbox::receive`], and if `wanted` panics; then nothing is taken out. `wanted` must not receive.
    pub fn select(&mut self, wanted: impl FnMut(Item<'_, M>) -> bool) -> Received<M> {
        match self.select_until(wanted, u64::MAX) {
            Some(received) => received,
            None => panic!("receive in a process that is ending"),
        }
    }

    /// The same; `None` after `timeout`. With a timeout of zero it does not wait.
    ///
    /// # Signals, Panics
    ///
    /// As [`Mailbox::select`]; in a process that is ending it returns `None`.
    pub fn select_timeout(
        &mut self,
        wanted: impl FnMut(Item<'_, M>) -> bool,
        timeout: Duration,
    ) -> Option<Received<M>> {
        self.select_until(wanted, process::deadline(timeout))
    }

    fn select_until(
        &mut self,
        mut wanted: impl FnMut(Item<'_, M>) -> bool,
        deadline: u64,
    ) -> Option<Received<M>> {
        self.check();
        current::reduce(price::RECEIVE);
        let mut position = Position::default();
        let mut pick = |envelope: &Envelope| {
            if let Some(message) = envelope.get::<M>()
                && envelope.kind() == engset_scheduler::Kind::Message
            {
                return hooks::is_expired(envelope) || wanted(Item::Message(message));
            }
            envelope.get::<Event>().is_some_and(|event| wanted(Item::Event(event)))
        };
        let mut timed_out = false;
        loop {
            if self.bounded && bound::is_over() {
                bound::drop_surplus();
                position = Position::default();
            }
            while let Some(envelope) = current::search(&mut position, &mut pick) {
                if let Some(received) = open(envelope, self.bounded()) {
                    return Some(received);
                }
            }
            if timed_out {
                return missed();
            }
            match current::wait_for_more(&position, deadline) {
                Wake::Ready | Wake::Poked => {}
                Wake::TimedOut => timed_out = true,
                Wake::Ending => return None,
            }
        }
    }

    #[inline(always)]
    fn check(&self) {
        if !(current::tag() == Some(self.owner.node().number()) && current::is_task(self.owner.task())) {
            wrong_process(self.owner);
        }
    }
}

/// Nothing was there: who explores schedules must know.
#[cold]
fn missed<T>() -> Option<T> {
    crate::observe::touch(crate::observe::MISSED);
    None
}

/// Gives an envelope its type. `bounded`: the process that runs, if its mailbox is bounded. `None`: it was a request whose caller
/// has given up, or there was no room for it.
#[inline(always)]
pub(crate) fn open<M: Send + 'static>(envelope: Envelope, bounded: Option<TaskId>) -> Option<Received<M>> {
    let mut drops = false;
    if envelope.tag() != 0 && hooks::is_expired(&envelope) {
        hooks::expired(&envelope);
        drops = true;
    }
    if let Some(owner) = bounded
        && envelope.kind() == engset_scheduler::Kind::Message
    {
        drops |= bound::received(owner, &envelope);
    }
    if drops {
        return None;
    }
    match envelope.take::<M>() {
        Ok(message) => Some(Received::Message(message)),
        // Only addresses send messages, and they have the mailbox's type; so it is an event.
        Err(envelope) => envelope.take::<Event>().ok().map(Received::Event),
    }
}

#[cold]
fn wrong_process(owner: Pid) -> ! {
    match crate::try_self_pid() {
        Some(pid) => panic!("process {pid} receives from the mailbox of {owner}"),
        None => panic!("receive outside of a process, from the mailbox of {owner}"),
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox<{}>{}", std::any::type_name::<M>(), self.owner)
    }
}
