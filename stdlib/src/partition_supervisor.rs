//! A supervisor of the same server several times: one process that everybody asks becomes as many as there are
//! workers, or keys' worth of work.
//!
//! Each *partition* is a child, restarted alone. A key belongs to one partition: its hash decides, by a function that
//! is the same in every run. So all messages about a key go to one process, in order, as long as it lives.
//!
//! The addresses are in a table that the handle shares with the children: to find a partition is to read it, no
//! message. While a partition is being restarted its old address is there, and leads to nobody: as with any process
//! that has crashed, a send is lost and a call says so. With an [inherited mailbox](crate::inherited_mailbox)
//! ([`PartitionSupervisorBuilder::inherit_mailbox`]) the address stays good.
//!
//! When not to use it: if partitions must know of each other, or their number changes while it runs.

use crate::{
    ChildSpec, GenServer, InheritedMailbox, IntoServer, Next, StartError, Strategy, Supervisor,
    SupervisorBuilder, from_fn,
};
use engset_runtime::{Address, CallError, NameError, Pid, Reply, lookup};
use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// Where the partitions are.
type Table<M> = Arc<[RwLock<Option<Address<M>>>]>;

/// The partitions of a server, under one supervisor. Cheap to clone. See the [module](self).
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::Reply;
/// use engset_stdlib::{Next, PartitionSupervisor, from_fn};
///
/// enum Request { Add(&'static str), Count(Reply<usize>) }
///
/// let words = PartitionSupervisor::servers(4, |_partition| {
///     from_fn(0, |count: &mut usize, request, _| {
///         match request {
///             Request::Add(_) => *count += 1,
///             Request::Count(reply) => reply.send(*count),
///         }
///         Next::wait()
///     })
/// })
/// .start_link()?;
/// for word in ["one", "two", "three", "two"] {
///     words.send(word, Request::Add(word));
/// }
/// let counts = words.partitions().map(|partition| partition.call(Request::Count).unwrap());
/// assert_eq!(counts.sum::<usize>(), 4);
/// # Ok::<(), engset_stdlib::StartError>(())
/// # }).unwrap().unwrap();
/// ```
pub struct PartitionSupervisor<M> {
    supervisor: Supervisor,
    table: Table<M>,
}

/// One that is to be started.
#[must_use = "it does nothing until it starts"]
pub struct PartitionSupervisorBuilder<I: IntoServer> {
    partitions: usize,
    make: Make<I>,
    supervisor: SupervisorBuilder,
    name: Option<Arc<str>>,
    start: Start<I>,
}

type Make<I> = Arc<dyn Fn(usize) -> I + Send + Sync>;

/// Starts a partition.
type Start<I> = fn(&Make<I>, usize) -> Result<Address<Message<I>>, StartError>;

type Message<I> = <<I as IntoServer>::Server as GenServer>::Message;

/// What the child takes that tells where the partitions are.
struct Where<M>(Reply<Table<M>>);

fn name_of_table(name: &str) -> String {
    format!("{name}.partitions")
}

impl<M: Send + 'static> PartitionSupervisor<M> {
    /// So many partitions (at least one) of the server that `make` makes, with or without
    /// [options](crate::GenServer::options). It gets the partition's number, from 0.
    pub fn servers<I>(
        partitions: usize,
        make: impl Fn(usize) -> I + Send + Sync + 'static,
    ) -> PartitionSupervisorBuilder<I>
    where
        I: IntoServer + 'static,
        I::Server: GenServer<Message = M>,
    {
        PartitionSupervisorBuilder {
            partitions: partitions.max(1),
            make: Arc::new(make),
            supervisor: SupervisorBuilder::new(Strategy::OneForOne),
            name: None,
            start: |make, number| make(number).into_builder().start_link(),
        }
    }

    /// The one that has this name on the caller's node.
    ///
    /// # Errors
    ///
    /// Nobody has the name, it is no such supervisor of this message type, or it does not answer.
    pub fn named(name: &str) -> Result<Self, NameError> {
        let supervisor = Supervisor::named(name)?;
        let holder: Address<Where<M>> = lookup(&name_of_table(name))?;
        let table = holder.call(Where).map_err(|_| NameError::Unknown { name: name.to_owned() })?;
        Ok(PartitionSupervisor { supervisor, table })
    }

    /// How many partitions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Never: there is at least one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The number of the partition that a key belongs to.
    #[must_use]
    pub fn partition_of<K: Hash + ?Sized>(&self, key: &K) -> usize {
        // Its keys are fixed: the same partition in every run, as systematic mode asks.
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        (hasher.finish() % self.table.len() as u64) as usize
    }

    /// The address of the partition that a key belongs to. It is good until that partition ends.
    #[must_use]
    pub fn of<K: Hash + ?Sized>(&self, key: &K) -> Address<M> {
        self.at(self.partition_of(key))
    }

    /// The address of a partition by its number, counted round: with `n` partitions, `n` is 0 again.
    #[must_use]
    pub fn at(&self, number: usize) -> Address<M> {
        let place = number % self.table.len();
        let address =
            self.table.get(place).and_then(|place| *place.read().unwrap_or_else(PoisonError::into_inner));
        match address {
            Some(address) => address,
            None => {
                unreachable!("the supervisor has started when there is a handle, so all children have once")
            }
        }
    }

    /// All partitions, by number.
    pub fn partitions(&self) -> impl Iterator<Item = Address<M>> + '_ {
        (0..self.len()).map(|number| self.at(number))
    }

    /// Sends a message to the partition of a key.
    pub fn send<K: Hash + ?Sized>(&self, key: &K, message: M) {
        self.of(key).send(message);
    }

    /// Calls the partition of a key.
    ///
    /// # Errors, Signals
    ///
    /// As [`Address::call`].
    pub fn call<K: Hash + ?Sized, T: Send + 'static>(
        &self,
        key: &K,
        make: impl FnOnce(Reply<T>) -> M,
    ) -> Result<T, CallError> {
        self.of(key).call(make)
    }

    /// The supervisor of the partitions. Their ids are their numbers.
    #[must_use]
    pub fn supervisor(&self) -> Supervisor {
        self.supervisor
    }

    /// The supervisor's process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.supervisor.pid()
    }
}

impl<I> PartitionSupervisorBuilder<I>
where
    I: IntoServer + 'static,
    Message<I>: Send,
{
    /// As [`SupervisorBuilder::intensity`], for all partitions together.
    pub fn intensity(mut self, most: usize, period: Duration) -> Self {
        self.supervisor = self.supervisor.intensity(most, period);
        self
    }

    /// [`PartitionSupervisor::named`] finds it.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        let name = name.into();
        self.supervisor = self.supervisor.name(Arc::clone(&name));
        self.name = Some(name);
        self
    }

    /// A partition that crashes keeps its address and its mailbox.
    pub fn inherit_mailbox(mut self) -> Self {
        self.start = |make, number| {
            let make = Arc::clone(make);
            InheritedMailbox::new(move || make(number)).start_link()
        };
        self
    }

    /// Starts it, linked with this process.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start_link(self) -> Result<PartitionSupervisor<Message<I>>, StartError> {
        let (builder, table) = self.plan();
        Ok(PartitionSupervisor { supervisor: builder.start_link()?, table })
    }

    /// Starts it without a link.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(self) -> Result<PartitionSupervisor<Message<I>>, StartError> {
        let (builder, table) = self.plan();
        Ok(PartitionSupervisor { supervisor: builder.start()?, table })
    }

    /// As a child of a supervisor. Give it a [name](Self::name) to find it.
    pub fn child(self, id: impl Into<Arc<str>>) -> ChildSpec {
        ChildSpec::supervisor(id, self.plan().0)
    }

    fn plan(self) -> (SupervisorBuilder, Table<Message<I>>) {
        let table: Table<Message<I>> = (0..self.partitions).map(|_| RwLock::new(None)).collect();
        let mut supervisor = self.supervisor;
        for number in 0..self.partitions {
            let (make, table, start) = (Arc::clone(&self.make), Arc::clone(&table), self.start);
            supervisor = supervisor.child(ChildSpec::new(number.to_string(), move || {
                let address = start(&make, number)?;
                if let Some(place) = table.get(number) {
                    *place.write().unwrap_or_else(PoisonError::into_inner) = Some(address);
                }
                Ok(address.pid())
            }));
        }
        if let Some(name) = self.name {
            let (name, table) = (name_of_table(&name), Arc::clone(&table));
            supervisor = supervisor.child(ChildSpec::server("partitions", move || {
                from_fn(Arc::clone(&table), |table, Where(reply), _| {
                    reply.send(Arc::clone(table));
                    Next::wait()
                })
                .options()
                .name(name.clone())
            }));
        }
        (supervisor, table)
    }
}

impl<M> Clone for PartitionSupervisor<M> {
    fn clone(&self) -> Self {
        PartitionSupervisor { supervisor: self.supervisor, table: Arc::clone(&self.table) }
    }
}

impl<M> fmt::Debug for PartitionSupervisor<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartitionSupervisor{} of {}", self.supervisor.pid(), self.table.len())
    }
}

impl<I: IntoServer> fmt::Debug for PartitionSupervisorBuilder<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionSupervisorBuilder")
            .field("partitions", &self.partitions)
            .field("server", &std::any::type_name::<I::Server>())
            .field("supervisor", &self.supervisor)
            .finish_non_exhaustive()
    }
}
