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

mod core;
mod ordered;
mod store;

use self::core::{Core, Heir, Names};
use crate::inside::inside;
use engset_runtime::{Address, Pid, is_alive, node_local, reduce, self_pid, uninterrupted};
use std::{fmt, marker::PhantomData, sync::Arc};

pub use store::{HashPart, KeyedBy, Part, TreePart};

/// Entries that are visited for one reduction.
const PER_REDUCTION: usize = 16;

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

/// A table that is to be made.
#[must_use = "there is no table until it is created"]
pub struct TableBuilder<K, V, P> {
    access: Access,
    name: Option<Arc<str>>,
    heir: Option<Heir<K, V, P>>,
    kind: PhantomData<fn() -> P>,
}

impl<K, V, P> TableBuilder<K, V, P>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    P: Part<K, V>,
{
    /// Who may use it. Default: everybody.
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// A name, under which [`SharedTable::named`] finds it on this node.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Who gets it when its owner ends: see [`SharedTable::set_heir`].
    pub fn heir<M: Send + 'static>(
        mut self,
        heir: Address<M>,
        into: impl FnOnce(SharedTable<K, V, P>, Pid) -> M + Send + 'static,
    ) -> Self {
        self.heir = Some(Heir::new(heir, into));
        self
    }

    /// Makes it; it belongs to the process that calls.
    ///
    /// # Errors
    ///
    /// The name is taken, or no process runs here.
    pub fn create(self) -> Result<SharedTable<K, V, P>, TableError> {
        let owner = engset_runtime::try_self_pid().ok_or(TableError::OutsideOfProcess)?;
        let name = match self.name {
            Some(name) => Some((name, node_local::<Names>().ok_or(TableError::OutsideOfProcess)?)),
            None => None,
        };
        let core = uninterrupted(|| Core::new(owner, self.access, self.heir, name))?;
        Ok(SharedTable { core })
    }
}

impl<K, V, P> Heir<K, V, P> {
    fn new<M: Send + 'static>(
        heir: Address<M>,
        into: impl FnOnce(SharedTable<K, V, P>, Pid) -> M + Send + 'static,
    ) -> Self {
        Heir { pid: heir.pid(), tell: Box::new(move |table, from| heir.send(into(table, from))) }
    }
}

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
        TableBuilder { access: Access::default(), name: None, heir: None, kind: PhantomData }
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

    fn reading<R>(&self, part: usize, f: impl FnOnce(&P) -> R) -> Result<R, TableError> {
        self.core.check(false)?;
        inside(|| {
            let part = self.core.store.read(part);
            self.core.still_there()?;
            Ok(f(&part))
        })
    }

    fn writing<R>(&self, part: usize, f: impl FnOnce(&mut P) -> R) -> Result<R, TableError> {
        self.core.check(true)?;
        inside(|| {
            let mut part = self.core.store.write(part);
            self.core.still_there()?;
            Ok(f(&mut part))
        })
    }

    /// How many entries there are. Others may write meanwhile.
    ///
    /// # Errors
    ///
    /// It is gone, or private.
    pub fn len(&self) -> Result<usize, TableError> {
        reduce(1);
        (0..self.core.store.count()).map(|part| self.reading(part, P::size)).sum()
    }

    /// Is there none?
    ///
    /// # Errors
    ///
    /// As [`SharedTable::len`].
    pub fn is_empty(&self) -> Result<bool, TableError> {
        Ok(self.len()? == 0)
    }

    /// Deletes all entries.
    ///
    /// # Errors
    ///
    /// It is gone, or this process must not write.
    pub fn clear(&self) -> Result<(), TableError> {
        reduce(1);
        for part in 0..self.core.store.count() {
            drop(self.writing(part, P::empty)?);
        }
        Ok(())
    }

    /// Calls `see` with each entry, a page at a time (rules 3 and 4 of the [module](self)).
    ///
    /// # Errors
    ///
    /// It is gone (also if that happens meanwhile), or private.
    pub fn for_each(&self, mut see: impl FnMut(&K, &V)) -> Result<(), TableError> {
        for part in 0..self.core.store.count() {
            let mut cursor = None;
            loop {
                let mut seen = 0_usize;
                self.reading(part, |part| {
                    part.visit(&mut cursor, &mut |key, value| {
                        seen += 1;
                        see(key, value);
                    });
                })?;
                reduce(1 + u32::try_from(seen / PER_REDUCTION).unwrap_or(u32::MAX));
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Accumulates over all entries.
    ///
    /// # Errors
    ///
    /// As [`SharedTable::for_each`].
    pub fn fold<A>(&self, first: A, mut f: impl FnMut(A, &K, &V) -> A) -> Result<A, TableError> {
        let mut sum = Some(first);
        self.for_each(|key, value| sum = sum.take().map(|sum| f(sum, key, value)))?;
        // It is empty only if `f` has panicked, and then nobody comes here.
        sum.ok_or(TableError::Gone)
    }

    /// What `f` makes of the entries, of those for which it makes something. Of an [`OrderedTable`], in order.
    ///
    /// # Errors
    ///
    /// As [`SharedTable::for_each`].
    pub fn select<R>(&self, mut f: impl FnMut(&K, &V) -> Option<R>) -> Result<Vec<R>, TableError> {
        let mut all = Vec::new();
        self.for_each(|key, value| all.extend(f(key, value)))?;
        Ok(all)
    }

    /// How many entries there are for which `holds` does.
    ///
    /// # Errors
    ///
    /// As [`SharedTable::for_each`].
    pub fn count(&self, mut holds: impl FnMut(&K, &V) -> bool) -> Result<usize, TableError> {
        self.fold(0, |sum, key, value| sum + usize::from(holds(key, value)))
    }

    /// Deletes the entries for which `holds` does; how many.
    ///
    /// # Errors
    ///
    /// It is gone, or this process must not write.
    pub fn delete_where(&self, mut holds: impl FnMut(&K, &V) -> bool) -> Result<usize, TableError> {
        let mut deleted = 0;
        for part in 0..self.core.store.count() {
            let taken = self.writing(part, |part| part.extract(&mut |key, value| holds(key, value)))?;
            deleted += taken.len();
            reduce(1);
        }
        Ok(deleted)
    }

    /// Puts an entry in; returns what was under the key.
    ///
    /// # Errors
    ///
    /// It is gone, or this process must not write.
    pub fn insert(&self, key: K, value: V) -> Result<Option<V>, TableError>
    where
        P: KeyedBy<K, K, V>,
    {
        reduce(1);
        self.writing(self.core.store.index_of(&key), |part| part.put(key, value))
    }

    /// Puts an entry in if there is none under the key. True: it was put in.
    ///
    /// # Errors
    ///
    /// It is gone, or this process must not write.
    pub fn insert_new(&self, key: K, value: V) -> Result<bool, TableError>
    where
        P: KeyedBy<K, K, V>,
    {
        reduce(1);
        let mut value = Some(value);
        self.writing(self.core.store.index_of(&key), |part| {
            if part.find(&key).is_none()
                && let Some(value) = value.take()
            {
                part.put(key, value);
            }
        })?;
        Ok(value.is_none())
    }

    /// A copy of the value under a key.
    ///
    /// # Errors
    ///
    /// It is gone, or private.
    #[inline]
    pub fn lookup<Q: ?Sized>(&self, key: &Q) -> Result<Option<V>, TableError>
    where
        P: KeyedBy<Q, K, V>,
        V: Clone,
    {
        self.with(key, |value| value.cloned())
    }

    /// What `look` makes of the value under a key: without a copy. `look` runs inside (rule 3 of the [module](self)).
    ///
    /// # Errors
    ///
    /// It is gone, or private.
    #[inline]
    pub fn with<Q: ?Sized, R>(&self, key: &Q, look: impl FnOnce(Option<&V>) -> R) -> Result<R, TableError>
    where
        P: KeyedBy<Q, K, V>,
    {
        reduce(1);
        self.reading(self.core.store.index_of(key), |part| look(part.find(key)))
    }

    /// Is there an entry under the key?
    ///
    /// # Errors
    ///
    /// It is gone, or private.
    pub fn contains<Q: ?Sized>(&self, key: &Q) -> Result<bool, TableError>
    where
        P: KeyedBy<Q, K, V>,
    {
        self.with(key, |value| value.is_some())
    }

    /// Deletes an entry, and returns it.
    ///
    /// # Errors
    ///
    /// It is gone, or this process must not write.
    pub fn take<Q: ?Sized>(&self, key: &Q) -> Result<Option<(K, V)>, TableError>
    where
        P: KeyedBy<Q, K, V>,
    {
        reduce(1);
        self.writing(self.core.store.index_of(key), |part| part.take(key))
    }

    /// Deletes an entry. True: there was one.
    ///
    /// # Errors
    ///
    /// It is gone, or this process must not write.
    pub fn delete<Q: ?Sized>(&self, key: &Q) -> Result<bool, TableError>
    where
        P: KeyedBy<Q, K, V>,
    {
        self.take(key).map(|taken| taken.is_some())
    }

    /// Changes the value under a key in its place; `None`: there is none. `change` runs inside (rule 3 of the [module](self)).
    ///
    /// # Errors
    ///
    /// It is gone, or this process must not write.
    pub fn update<Q: ?Sized, R>(
        &self,
        key: &Q,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<Option<R>, TableError>
    where
        P: KeyedBy<Q, K, V>,
    {
        reduce(1);
        self.writing(self.core.store.index_of(key), |part| part.find_mut(key).map(change))
    }

    /// Changes the value under a key in its place; if there is none, `make` makes it first. Both run inside.
    ///
    /// # Errors
    ///
    /// It is gone, or this process must not write.
    pub fn update_or_insert<R>(
        &self,
        key: K,
        make: impl FnOnce() -> V,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<R, TableError>
    where
        P: KeyedBy<K, K, V>,
    {
        reduce(1);
        self.writing(self.core.store.index_of(&key), |part| change(part.entry(key, make)))
    }

    /// Adds to a number; what it is then.
    ///
    /// # Errors
    ///
    /// There is none under the key; the sum is out of range (then nothing changes); it is gone, or this process must not
    /// write.
    pub fn update_counter<Q: ?Sized>(&self, key: &Q, by: i64) -> Result<V, TableError>
    where
        P: KeyedBy<Q, K, V>,
        V: Number,
    {
        self.update(key, |value| add(value, by))?.ok_or(TableError::Missing)?
    }

    /// The same; if there is none under the key, `first` is put there before.
    ///
    /// # Errors
    ///
    /// As [`SharedTable::update_counter`].
    pub fn update_counter_or(&self, key: K, by: i64, first: V) -> Result<V, TableError>
    where
        P: KeyedBy<K, K, V>,
        V: Number,
    {
        self.update_or_insert(key, || first, |value| add(value, by))?
    }
}

fn add<V: Number>(value: &mut V, by: i64) -> Result<V, TableError> {
    *value = value.plus(by).ok_or(TableError::Overflow { by })?;
    Ok(*value)
}

/// A number that [`SharedTable::update_counter`] can add to: the integers of up to 64 bits.
pub trait Number: Copy {
    /// The sum, if it is in range.
    #[must_use]
    fn plus(self, by: i64) -> Option<Self>;
}

macro_rules! numbers {
    ($($type:ty),*) => {
        $(impl Number for $type {
            fn plus(self, by: i64) -> Option<Self> {
                <$type>::try_from(i128::try_from(self).ok()? + i128::from(by)).ok()
            }
        })*
    };
}

numbers!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize);

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

impl<K, V, P> fmt::Debug for TableBuilder<K, V, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableBuilder")
            .field("access", &self.access)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
