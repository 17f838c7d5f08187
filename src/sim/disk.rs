//! A disk as a database sees it: files of bytes, which are safe only after a sync.
//!
//! 1. A write is in the cache: reads see it. [`Disk::sync`] makes it durable.
//! 2. A crash of the machine loses what was not synced; of writes since the last sync each survives or not by the seed, and the last of
//!    those may survive in part (a torn write).
//! 3. Every operation takes virtual time, drawn by the seed; [`Disk::slow`] makes it more. The process that asks waits, others go on.
//! 4. It can be full, and fail: [`Disk::limit`], [`Disk::fail`].

use engset_runtime::{Random, sleep, try_self_pid};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

struct State {
    random: Random,
    durable: BTreeMap<String, Vec<u8>>,
    /// Appends that are not synced, in order.
    cached: Vec<(String, Vec<u8>)>,
    latency: Duration,
    limit: usize,
    failing: bool,
}

/// Why a disk did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiskError {
    /// It would have more bytes than there is room for.
    Full {
        /// Bytes that there would be.
        wanted: usize,
        /// Room for so many.
        limit: usize,
    },
    /// It fails, as it was told to.
    Failed,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskError::Full { wanted, limit } => write!(f, "the disk is full: {wanted} bytes, of {limit}"),
            DiskError::Failed => f.write_str("the disk has failed"),
        }
    }
}

impl std::error::Error for DiskError {}

impl State {
    fn size(&self) -> usize {
        let durable: usize = self.durable.values().map(Vec::len).sum();
        durable + self.cached.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    }

    fn append(&mut self, name: &str, bytes: &[u8]) {
        self.durable.entry(name.to_owned()).or_default().extend_from_slice(bytes);
    }
}

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        let state = State {
            random: Random::new(seed ^ 0xD15C),
            durable: BTreeMap::new(),
            cached: Vec::new(),
            latency: Duration::from_micros(200),
            limit: usize::MAX,
            failing: false,
        };
        Disk { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rule 3. The scenario itself does not wait.
    fn take_time(&self) {
        let most = {
            let mut state = self.state();
            let most = state.latency.as_nanos() as u64;
            Duration::from_nanos(state.random.below(most + 1))
        };
        if try_self_pid().is_some() {
            sleep(most);
        }
    }

    /// Appends to a file; it comes to be if it is not there.
    ///
    /// # Errors
    ///
    /// [`DiskError`]; then nothing was written.
    pub fn append(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.take_time();
        let mut state = self.state();
        if state.failing {
            return Err(DiskError::Failed);
        }
        let wanted = state.size() + bytes.len();
        if wanted > state.limit {
            return Err(DiskError::Full { wanted, limit: state.limit });
        }
        state.cached.push((name.to_owned(), bytes.to_vec()));
        Ok(())
    }

    /// All that was appended so far is safe when this returns.
    ///
    /// # Errors
    ///
    /// [`DiskError::Failed`]: nobody knows what is safe.
    pub fn sync(&self) -> Result<(), DiskError> {
        self.take_time();
        let mut state = self.state();
        if state.failing {
            return Err(DiskError::Failed);
        }
        for (name, bytes) in std::mem::take(&mut state.cached) {
            state.append(&name, &bytes);
        }
        Ok(())
    }

    /// The contents of a file; `None`: there is none.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.take_time();
        let state = self.state();
        let mut bytes = state.durable.get(name).cloned();
        for (other, more) in &state.cached {
            if other == name {
                bytes.get_or_insert_default().extend_from_slice(more);
            }
        }
        bytes
    }

    /// Removes a file at once and durably.
    pub fn remove(&self, name: &str) {
        self.take_time();
        let mut state = self.state();
        state.durable.remove(name);
        state.cached.retain(|(other, _)| other != name);
    }

    /// The most time that an operation takes from now on. At first 0.2 ms.
    pub fn slow(&self, most: Duration) {
        self.state().latency = most;
    }

    /// Room for so many bytes.
    pub fn limit(&self, bytes: usize) {
        self.state().limit = bytes;
    }

    /// Does everything fail from now on?
    pub fn fail(&self, failing: bool) {
        self.state().failing = failing;
    }

    /// Rule 2.
    pub(super) fn crash(&self) {
        let mut state = self.state();
        let cached = std::mem::take(&mut state.cached);
        let survivors = state.random.below(cached.len() as u64 + 1) as usize;
        for (at, (name, bytes)) in cached.into_iter().enumerate() {
            if at + 1 < survivors {
                state.append(&name, &bytes);
            } else if at + 1 == survivors {
                let whole = state.random.below(bytes.len() as u64 + 1) as usize;
                state.append(&name, &bytes[..whole]);
            }
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("bytes", &self.state().size()).finish_non_exhaustive()
    }
}
