//! Tables that many processes share, as ETS in Erlang: reading one takes no message and waits for no process.
//!
//! 1. A table belongs to the process that made it. It is gone when that process ends, *before* anybody is told of the
//!    end (semantics row S2); unless it has an heir, or was given away before.
//! 2. One operation on one key is atomic. Several are not a transaction; for that, a server owns the data.
//! 3. Operations are short pieces that nothing interrupts: no process is killed in one, and none waits for its turn
//!    with a lock in its hands. So the closures that run inside ([`SharedTable::update`], [`SharedTable::select`], ...) must be short, and must
//!    not come back to a table, a registry or groups (that is a panic). A closure that panics leaves the table usable.
//! 4. An iteration goes on while others write. It sees each entry that is there from its beginning to its end exactly
//!    once; of others, some.
//!
//! [`Table`] is a hash table, [`OrderedTable`] keeps its keys in order. Tables, unlike ETS, have types, and a lookup may borrow:
//! nothing is copied unless it is asked for.
//!
//! When not to use it: for a value that is read always and replaced seldom take [`ReadMostly`](crate::ReadMostly), for numbers
//! that everybody adds to [`Counters`](crate::Counters), for state with rules a server.

mod builder;
mod core;
mod entries;
mod ordered;
mod store;

pub use builder::TableBuilder;
pub use entries::Number;
pub use store::{HashPart, KeyedBy, Part, TreePart};

use self::core::{Core, Heir, Names};
use engset_runtime::{Address, Pid, is_alive, node_local, self_pid, uninterrupted};
use std::{fmt, sync::Arc};

/// A shared table: see the [module](self). Cheap to clone.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_stdlib::{Table, Task};
///
/// let stock: Table<String, i64> = Table::new();
/// stock.insert("apples".to_owned(), 5)?;
/// assert_eq!(stock.lookup("apples")?, Some(5));
///
/// let shop = stock.clone();
/// let left = Task::spawn(move || shop.update_counter("apples", -2)).join().unwrap()?;
/// assert_eq!((left, stock.lookup("apples")?), (3, Some(3)));
/// let few = stock.select(|name, count| (*count < 10).then(|| name.clone()))?;
/// assert_eq!(few, ["apples"]);
/// # Ok::<(), engset_stdlib::TableError>(())
/// # }).unwrap().unwrap();
/// ```
pub type Table<K, V> = SharedTable<K, V, HashPart<K, V>>;

/// A table whose keys are in order.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_stdlib::OrderedTable;
///
/// let bids = OrderedTable::new();
/// for (price, who) in [(30, "ann"), (10, "bob"), (20, "cas")] {
///     bids.insert(price, who)?;
/// }
/// assert_eq!(bids.last()?, Some((30, "ann")));
/// assert_eq!(bids.prev(&30)?, Some((20, "cas")));
/// assert_eq!(bids.range(..25)?, [(10, "bob"), (20, "cas")]);
/// # Ok::<(), engset_stdlib::TableError>(())
/// # }).unwrap().unwrap();
/// ```
pub type OrderedTable<K, V> = SharedTable<K, V, TreePart<K, V>>;

/// What [`Table`] and [`OrderedTable`] are: the operations of both. `P` is the kind.
pub struct SharedTable<K, V, P> {
    core: Arc<Core<K, V, P>>,
}

/// Who may use a table, besides its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Everybody reads and writes. The default. (That of ETS is `Protected`; here only who was given a handle, or knows
    /// a name, comes to the table at all.)
    #[default]
    Public,
    /// Others read.
    Protected,
    /// Nobody.
    Private,
}

/// Why a table did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableError {
    /// Its owner has ended, or it was deleted.
    Gone,
    /// The caller is not the owner, and the table does not let others.
    Denied {
        /// The owner.
        owner: Pid,
        /// What others may do.
        access: Access,
    },
    /// The process that is to get the table is dead.
    Dead(Pid),
    /// There is no entry under the key.
    Missing,
    /// A counter would leave the range of its type.
    Overflow {
        /// What was to be added.
        by: i64,
    },
    /// A table of this node has the name.
    NameTaken {
        /// The name.
        name: Arc<str>,
    },
    /// No table of this node has the name.
    NameUnknown {
        /// The name.
        name: String,
    },
    /// The table that has the name has keys or values of other types, or is of the other kind.
    WrongType {
        /// The name.
        name: String,
        /// What was asked for.
        asked: &'static str,
    },
    /// Tables are made, and found by name, by processes; here none runs.
    OutsideOfProcess,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableError::Gone => f.write_str("the table is gone"),
            TableError::Denied { owner, access } => {
                write!(f, "the table is {access:?}, and belongs to {owner}")
            }
            TableError::Dead(pid) => write!(f, "{pid}, which is to get the table, is dead"),
            TableError::Missing => f.write_str("there is no entry under the key"),
            TableError::Overflow { by } => {
                write!(f, "the counter leaves the range of its type by adding {by}")
            }
            TableError::NameTaken { name } => write!(f, "another table has the name {name:?}"),
            TableError::NameUnknown { name } => write!(f, "no table has the name {name:?}"),
            TableError::WrongType { name, asked } => write!(f, "the table {name:?} is no {asked}"),
            TableError::OutsideOfProcess => f.write_str("a table can only be made or found by a process"),
        }
    }
}

impl std::error::Error for TableError {}

impl<K, V, P> SharedTable<K, V, P>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    P: Part<K, V>,
{
    /// A table without a name that everybody may use; it belongs to the process that calls.
    ///
    /// # Panics
    ///
    /// Outside of a process.
    #[must_use]
    #[track_caller]
    #[allow(clippy::new_without_default, reason = "a default that needs a process would surprise")]
    pub fn new() -> Self {
        self_pid();
        Self::builder().create().unwrap_or_else(|error| panic!("Table::new: {error}"))
    }

    /// A table with options.
    pub fn builder() -> TableBuilder<K, V, P> {
        TableBuilder::new()
    }

    /// The table of this node that has this name.
    ///
    /// # Errors
    ///
    /// None has it, or it is of other types.
    pub fn named(name: &str) -> Result<Self, TableError> {
        let names = node_local::<Names>().ok_or(TableError::OutsideOfProcess)?;
        let found = uninterrupted(|| names.find(name));
        let any = found.ok_or_else(|| TableError::NameUnknown { name: name.to_owned() })?;
        match any.downcast() {
            Ok(core) => Ok(SharedTable { core }),
            Err(_) => {
                Err(TableError::WrongType { name: name.to_owned(), asked: std::any::type_name::<Self>() })
            }
        }
    }

    fn of(core: Arc<Core<K, V, P>>) -> Self {
        SharedTable { core }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.core.name.as_deref()
    }

    /// The process that it belongs to; `None`: it is gone.
    #[must_use]
    pub fn owner(&self) -> Option<Pid> {
        self.core.owner()
    }

    /// Gives it to another process, which gets a message that `into` makes of the table. The message comes before anything
    /// that this process sends to it later. If that process ends before it gets hold of the table, it ends as with any owner.
    ///
    /// # Errors
    ///
    /// This process is not the owner, or the other one is dead.
    pub fn give_away<M: Send + 'static>(
        &self,
        to: Address<M>,
        into: impl FnOnce(Self) -> M,
    ) -> Result<(), TableError> {
        let me = self.core.check_owner()?;
        if to.pid() == me {
            to.send(into(self.clone()));
            return Ok(());
        }
        if !is_alive(to) {
            return Err(TableError::Dead(to.pid()));
        }
        self.core.give(to.pid());
        to.send(into(self.clone()));
        Ok(())
    }

    /// When the owner ends, this process shall get the table; it gets a message that `into` makes of the table and the old
    /// owner. The heir is used once: the new owner names the next.
    ///
    /// # Errors
    ///
    /// This process is not the owner.
    pub fn set_heir<M: Send + 'static>(
        &self,
        heir: Address<M>,
        into: impl FnOnce(Self, Pid) -> M + Send + 'static,
    ) -> Result<(), TableError> {
        self.core.check_owner()?;
        self.core.set_heir(Some(Heir::new(heir, into)));
        Ok(())
    }

    /// There shall be no heir.
    ///
    /// # Errors
    ///
    /// This process is not the owner.
    pub fn clear_heir(&self) -> Result<(), TableError> {
        self.core.check_owner()?;
        self.core.set_heir(None);
        Ok(())
    }

    /// Deletes the table, for all.
    ///
    /// # Errors
    ///
    /// This process must not write, or it is gone already.
    pub fn delete_table(&self) -> Result<(), TableError> {
        self.core.check(true)?;
        self.core.still_there()?;
        self.core.destroy();
        Ok(())
    }
}

impl<K, V, P> Clone for SharedTable<K, V, P> {
    fn clone(&self) -> Self {
        SharedTable { core: Arc::clone(&self.core) }
    }
}

impl<K, V, P> fmt::Debug for SharedTable<K, V, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table<{}, {}>", std::any::type_name::<K>(), std::any::type_name::<V>())?;
        self.core.name.as_ref().map_or(Ok(()), |name| write!(f, " {name:?}"))
    }
}
