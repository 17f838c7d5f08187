//! Tables with options.

use super::{
    Access, SharedTable, TableError,
    core::{Core, Heir, Names},
    store::Part,
};
use engset_runtime::{Address, Pid, node_local, uninterrupted};
use std::{fmt, marker::PhantomData, sync::Arc};

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
    pub(super) fn new() -> Self {
        TableBuilder { access: Access::default(), name: None, heir: None, kind: PhantomData }
    }

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

impl<K, V, P> fmt::Debug for TableBuilder<K, V, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableBuilder")
            .field("access", &self.access)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
