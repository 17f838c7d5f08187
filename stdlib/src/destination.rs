//! Where a message goes: to an address, to a name, here or on another node, or to who is under a key of a registry.
//!
//! A name and a key are looked up for each send and each call: so they find the process that took over from one that has
//! ended. What is not there is answered as the dead answer.

use crate::{Registry, registry::Key};
use engset_runtime::{
    Address, CallError, DEFAULT_CALL_TIMEOUT, DownReason, Reply, SendError, lookup,
    remote::{Named, Remote},
};
use std::{fmt, sync::Arc, time::Duration};

/// Something that leads to a process that takes `M`.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::{Address, Reply};
/// use engset_stdlib::{Destination, GenServer, Next, Registry, from_fn};
///
/// fn ask(whom: &impl Destination<Reply<u32>>) -> u32 {
///     whom.call_to(|reply| reply).unwrap()
/// }
///
/// let counters: Registry<(&str, u32), Address<Reply<u32>>> = Registry::unique().start_link()?;
/// let counter = from_fn(0, |count: &mut u32, reply: Reply<u32>, _| { *count += 1; reply.send(*count); Next::wait() });
/// let address = counter.options().name("first").via(&counters, ("counter", 1)).start_link()?;
///
/// assert_eq!(ask(&address), 1);
/// assert_eq!(ask(&"first"), 2);
/// assert_eq!(ask(&counters.via(("counter", 1))), 3);
/// # Ok::<(), engset_stdlib::StartError>(())
/// # }).unwrap().unwrap();
/// ```
pub trait Destination<M: Send + 'static> {
    /// The process that is there now.
    fn find(&self) -> Option<Address<M>>;

    /// Sends; see [`Address::send`].
    ///
    /// # Errors
    ///
    /// Nobody is there. The message comes back.
    fn send_to(&self, message: M) -> Result<(), SendError<M>> {
        match self.find() {
            Some(address) => {
                address.send(message);
                Ok(())
            }
            None => Err(SendError::Dead(message)),
        }
    }

    /// Calls, with the default timeout; see [`Address::call`].
    ///
    /// # Errors
    ///
    /// See [`CallError`]; if nobody is there, `Down` with `NoProc`.
    fn call_to<T: Send + 'static>(&self, make: impl FnOnce(Reply<T>) -> M) -> Result<T, CallError>
    where
        Self: Sized,
    {
        self.call_to_timeout(make, DEFAULT_CALL_TIMEOUT)
    }

    /// The same with another timeout.
    ///
    /// # Errors
    ///
    /// As [`Destination::call_to`].
    fn call_to_timeout<T: Send + 'static>(
        &self,
        make: impl FnOnce(Reply<T>) -> M,
        timeout: Duration,
    ) -> Result<T, CallError>
    where
        Self: Sized,
    {
        let address = self.find().ok_or(CallError::Down(DownReason::NoProc))?;
        address.call_timeout(make, timeout)
    }
}

impl<M: Send + 'static> Destination<M> for Address<M> {
    fn find(&self) -> Option<Address<M>> {
        Some(*self)
    }
}

impl<M: Send + 'static> Destination<M> for &str {
    fn find(&self) -> Option<Address<M>> {
        lookup(self).ok()
    }
}

impl<M: Send + 'static> Destination<M> for String {
    fn find(&self) -> Option<Address<M>> {
        lookup(self).ok()
    }
}

impl<M: Send + 'static> Destination<M> for Arc<str> {
    fn find(&self) -> Option<Address<M>> {
        lookup(self).ok()
    }
}

/// A name on a node, which may be another one. To find who has it is a question to that node; to send and to call need none.
impl<M: Remote> Destination<M> for Named<M> {
    fn find(&self) -> Option<Address<M>> {
        self.lookup().ok()
    }

    fn send_to(&self, message: M) -> Result<(), SendError<M>> {
        self.send(message);
        Ok(())
    }

    fn call_to_timeout<T: Send + 'static>(
        &self,
        make: impl FnOnce(Reply<T>) -> M,
        timeout: Duration,
    ) -> Result<T, CallError> {
        self.call_timeout(make, timeout)
    }
}

/// The process under a key of a registry, whoever it is at the time. Made by [`Registry::via`].
#[derive(Clone)]
pub struct Via<K, M> {
    registry: Registry<K, Address<M>>,
    key: K,
}

impl<K, M> Via<K, M> {
    pub(crate) fn new(registry: Registry<K, Address<M>>, key: K) -> Self {
        Via { registry, key }
    }
}

impl<K: Key, M: Send + 'static> Destination<M> for Via<K, M> {
    fn find(&self) -> Option<Address<M>> {
        self.registry.get(&self.key)
    }
}

impl<K: fmt::Debug, M> fmt::Debug for Via<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Via({:?}, {:?})", self.registry, self.key)
    }
}
