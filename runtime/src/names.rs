//! Names of processes, local to a node.
//!
//! 1. A name belongs to one live process; it is released in the teardown, before anybody is told of the death.
//! 2. A process that is spawned with a name: the name is *reserved*, then the process is spawned, then the
//!    entry is *filled*. Nothing waits in between, so whoever finds a reservation spins for it.

use crate::{
    error::NameError,
    node,
    observe::{self, Seen},
    pid::{Address, Pid},
    process::self_pid,
    state,
};
use engset_scheduler::current;
use hashbrown::HashMap;
use std::{
    any::TypeId,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Bytes a name may have.
const MAX_NAME: usize = 255;

/// The type of messages that a process takes, for look-ups by name.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Message {
    id: TypeId,
    name: &'static str,
}

/// The message type of a process without a mailbox.
enum Never {}

impl Message {
    pub(crate) fn of<M: 'static>() -> Self {
        Message { id: TypeId::of::<M>(), name: std::any::type_name::<M>() }
    }

    pub(crate) fn none() -> Self {
        Message { name: "none", ..Self::of::<Never>() }
    }
}

#[derive(Clone, Copy)]
enum Entry {
    /// By the spawn with this number.
    Reserved(u64),
    Process(Pid, Option<Message>),
}

#[derive(Default)]
pub(crate) struct Names {
    table: RwLock<HashMap<Arc<str>, Entry>>,
}

impl Names {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Arc<str>, Entry>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Arc<str>, Entry>> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Option<(Pid, Option<Message>)> {
        loop {
            match self.read().get(name).copied() {
                None => return None,
                Some(Entry::Process(pid, message)) => return Some((pid, message)),
                // Rule 2.
                Some(Entry::Reserved(_)) => std::hint::spin_loop(),
            }
        }
    }

    /// Who has the name, and the type of its messages.
    pub(crate) fn find_type(&self, name: &str) -> Option<(Pid, Option<TypeId>)> {
        self.find(name).map(|(pid, message)| (pid, message.map(|message| message.id)))
    }

    fn insert(&self, name: &Arc<str>, entry: Entry) -> Result<(), NameError> {
        check(name)?;
        loop {
            let mut table = self.write();
            match table.get(name).copied() {
                None => {
                    table.insert(Arc::clone(name), entry);
                    return Ok(());
                }
                Some(Entry::Process(by, _)) => return Err(NameError::Taken { name: name.to_string(), by }),
                Some(Entry::Reserved(_)) => {
                    drop(table);
                    std::hint::spin_loop();
                }
            }
        }
    }

    /// Returns the reservation's number.
    pub(crate) fn reserve(&self, name: &Arc<str>) -> Result<u64, NameError> {
        let number = crate::call::fresh_reference();
        self.insert(name, Entry::Reserved(number))?;
        Ok(number)
    }

    pub(crate) fn unreserve(&self, name: &str, number: u64) {
        let mut table = self.write();
        if matches!(table.get(name), Some(Entry::Reserved(other)) if *other == number) {
            table.remove(name);
        }
    }

    /// The process may be dead already: then its teardown has taken the reservation away.
    pub(crate) fn fill(&self, name: &str, number: u64, pid: Pid, message: Message) {
        if let Some(entry) = self.write().get_mut(name)
            && matches!(entry, Entry::Reserved(other) if *other == number)
        {
            *entry = Entry::Process(pid, Some(message));
        }
    }

    /// Rule 1.
    pub(crate) fn release(&self, name: &str, of: Pid, reservation: u64) {
        let mut table = self.write();
        let is_its = match table.get(name) {
            Some(Entry::Reserved(number)) => *number == reservation,
            Some(Entry::Process(pid, _)) => *pid == of,
            None => false,
        };
        if is_its {
            table.remove(name);
        }
    }

    /// A name of the process.
    pub(crate) fn name_of(&self, of: Pid) -> Option<Arc<str>> {
        let table = self.read();
        table
            .iter()
            .find(|(_, entry)| matches!(entry, Entry::Process(pid, _) if *pid == of))
            .map(|(name, _)| Arc::clone(name))
    }

    /// The same for a signal handler: without waiting for the lock, and without allocation.
    pub(crate) fn try_name_of(&self, of: Pid) -> Option<Arc<str>> {
        let table = self.table.try_read().ok()?;
        table
            .iter()
            .find(|(_, entry)| matches!(entry, Entry::Process(pid, _) if *pid == of))
            .map(|(name, _)| Arc::clone(name))
    }

    fn all(&self) -> Vec<(Arc<str>, Pid)> {
        let table = self.read();
        let pid = |(name, entry): (&Arc<str>, &Entry)| match entry {
            Entry::Process(pid, _) => Some((Arc::clone(name), *pid)),
            Entry::Reserved(_) => None,
        };
        table.iter().filter_map(pid).collect()
    }
}

pub(crate) fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(NameError::Invalid { name: name.to_owned() });
    }
    Ok(())
}

/// Gives this process a name on its node. It may have several.
///
/// # Errors
///
/// The name is taken (also by this process), empty, or longer than 255 bytes.
///
/// # Panics
///
/// Outside of a process.
pub fn register(name: impl Into<Arc<str>>) -> Result<(), NameError> {
    register_as(name.into(), None)
}

/// The same, for one that knows its mailbox: [`lookup`] then finds the address. (A process that is spawned
/// with a name by [`Builder::name`](crate::Builder::name) is found so anyway.)
///
/// # Errors, Panics
///
/// As [`register`].
pub fn register_mailbox<M: Send + 'static>(
    name: impl Into<Arc<str>>,
    _mailbox: &crate::Mailbox<M>,
) -> Result<(), NameError> {
    register_as(name.into(), Some(Message::of::<M>()))
}

fn register_as(name: Arc<str>, message: Option<Message>) -> Result<(), NameError> {
    let me = self_pid();
    // First: a loop of registrations that fail must end its slice, too; and a kill must not come between the table and what the process knows.
    current::reduce(crate::reductions::price::OTHER);
    if current::is_ending() {
        // Its names have been released already: nobody would release this one.
        return Err(NameError::Dead { name: name.to_string() });
    }
    observe::touch(observe::NAMES);
    let result = node::with_current(|node| node.names.insert(&name, Entry::Process(me, message)));
    if let Some(result) = result {
        result?;
        node::with_current(|node| node.tell(Seen::Named { pid: me, name: &name }));
        state::with(|state| state.rare().names.push((name, 0)));
    }
    Ok(())
}

/// Gives up a name of this process.
///
/// # Errors
///
/// It does not have that name.
///
/// # Panics
///
/// Outside of a process.
pub fn unregister(name: &str) -> Result<(), NameError> {
    let me = self_pid();
    current::reduce(crate::reductions::price::OTHER);
    let had = state::with(|state| {
        let names = &mut state.rare().names;
        let at = names.iter().position(|(own, _)| &**own == name)?;
        Some(names.swap_remove(at))
    });
    if had.flatten().is_none() {
        return Err(NameError::Unknown { name: name.to_owned() });
    }
    observe::touch(observe::NAMES);
    node::with_current(|node| node.names.release(name, me, 0));
    Ok(())
}

/// The process that has this name on the caller's node.
#[must_use]
pub fn whereis(name: &str) -> Option<Pid> {
    current::reduce(crate::reductions::price::OTHER);
    observe::touch(observe::NAMES);
    node::with_current(|node| node.names.find(name)).flatten().map(|(pid, _)| pid)
}

/// The address of the process that has this name on the caller's node.
///
/// # Errors
///
/// Nobody has the name, or who has it takes messages of another type (or did not say which).
pub fn lookup<M: Send + 'static>(name: &str) -> Result<Address<M>, NameError> {
    current::reduce(crate::reductions::price::OTHER);
    observe::touch(observe::NAMES);
    typed(name, node::with_current(|node| node.names.find(name)).flatten())
}

fn typed<M: Send + 'static>(
    name: &str,
    found: Option<(Pid, Option<Message>)>,
) -> Result<Address<M>, NameError> {
    let Some((pid, message)) = found else { return Err(NameError::Unknown { name: name.to_owned() }) };
    match message {
        Some(message) if message.id == TypeId::of::<M>() => Ok(Address::new(pid)),
        other => Err(NameError::WrongType {
            name: name.to_owned(),
            takes: other.map_or("unknown", |message| message.name),
            asked: std::any::type_name::<M>(),
        }),
    }
}

/// Sends to the process that has this name.
///
/// # Errors
///
/// As [`lookup`]; the message is dropped.
pub fn send_named<M: Send + 'static>(name: &str, message: M) -> Result<(), NameError> {
    lookup(name).map(|address: Address<M>| address.send(message))
}

/// All names on the caller's node.
#[must_use]
pub fn registered() -> Vec<(Arc<str>, Pid)> {
    observe::touch(observe::NAMES);
    node::with_current(|node| node.names.all()).unwrap_or_default()
}

impl crate::Node {
    /// The process that has this name. See [`whereis`].
    #[must_use]
    pub fn whereis(&self, name: &str) -> Option<Pid> {
        self.inner.names.find(name).map(|(pid, _)| pid)
    }

    /// A name of the process, if it has one.
    #[must_use]
    pub fn name_of(&self, pid: impl Into<Pid>) -> Option<Arc<str>> {
        self.inner.names.name_of(pid.into())
    }

    /// The address of the process that has this name. See [`lookup`].
    ///
    /// # Errors
    ///
    /// As [`lookup`].
    pub fn lookup<M: Send + 'static>(&self, name: &str) -> Result<Address<M>, NameError> {
        typed(name, self.inner.names.find(name))
    }
}
