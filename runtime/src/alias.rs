//! One-shot addresses: a message sent to an alias arrives if the alias is active when it arrives, and the
//! first one that does ends it. So an answer that comes too late is dropped, not found later.

use crate::{
    bound,
    call::fresh_reference,
    pid::{Address, Pid},
    process::self_pid,
    reductions::price,
    send,
    signal::Signal,
    state,
};
use engset_scheduler::{Envelope, current};
use std::{fmt, marker::PhantomData};

/// A one-shot address: a message sent to it arrives if it is active then, and the first one ends it.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::{Alias, Mailbox, spawn};
///
/// spawn(|mut mailbox: Mailbox<u32>| {
///     let alias = Alias::new(&mailbox);
///     spawn(move || { alias.send(1); alias.send(2); });
///     assert_eq!(mailbox.message(), 1);
///     assert!(mailbox.message_timeout(std::time::Duration::from_millis(1)).is_none());
/// });
/// # }).unwrap();
/// ```
pub struct Alias<M> {
    pid: Pid,
    id: u64,
    takes: PhantomData<fn(M)>,
}

impl<M: Send + 'static> Alias<M> {
    /// A new alias of the process that runs.
    ///
    /// # Panics
    ///
    /// Outside of a process, or if the mailbox is another one's.
    #[must_use]
    pub fn new(mailbox: &crate::Mailbox<M>) -> Self {
        let pid = self_pid();
        assert_eq!(mailbox.address(), Address::new(pid), "an alias of another process");
        let id = fresh_reference();
        state::with(|state| state.rare().aliases.insert(id));
        Alias { pid, id, takes: PhantomData }
    }

    /// Sends. If the alias is not active any more when the message arrives, it is dropped.
    pub fn send(self, message: M) {
        let mut message = Envelope::message(message);
        if send::is_marked(self.pid) {
            match bound::make_room::<M>(self.pid, message, Some(u64::MAX)) {
                Ok(reserved) => message = reserved,
                // Dead, or its policy does not take it.
                Err(_) => return current::reduce(price::SEND),
            }
        }
        send::signal(self.pid, Signal::Aliased { alias: self.id, message });
        current::reduce(price::SEND);
    }

    /// Ends it; only its own process can. False: it was not active any more.
    pub fn deactivate(self) -> bool {
        crate::try_self_pid() == Some(self.pid)
            && state::with_existing(|state| state.rare().aliases.remove(&self.id)) == Some(true)
    }

    pub(crate) fn parts(&self) -> (Pid, u64) {
        (self.pid, self.id)
    }

    pub(crate) fn from_parts(pid: Pid, id: u64) -> Self {
        Alias { pid, id, takes: PhantomData }
    }

    /// Its process.
    #[must_use]
    pub fn pid(self) -> Pid {
        self.pid
    }
}

impl<M> Clone for Alias<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Alias<M> {}

impl<M> fmt::Debug for Alias<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Alias({} {:x})", self.pid, self.id)
    }
}
