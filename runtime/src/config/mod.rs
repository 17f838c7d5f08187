//! Settings of a node and of what runs on it, in layers: from code, from a file, from the environment.
//!
//! # Node settings
//!
//! | key | in the environment | unit | default |
//! |---|---|---|---|
//! | `workers` | `ENGSET_WORKERS` | threads | one for each CPU |
//! | `max_processes` | `ENGSET_MAX_PROCESSES` | processes | 4194304 |
//! | `stack_size` | `ENGSET_STACK_SIZE` | bytes | 262144 |
//! | `slice` | `ENGSET_SLICE` | reductions | 4000 |
//! | `slice_time_us` | `ENGSET_SLICE_TIME_US` | microseconds | 1000 |
//! | `stuck_after_us` | `ENGSET_STUCK_AFTER_US` | microseconds | 10000 |
//! | `max_spares` | `ENGSET_MAX_SPARES` | threads | 64 |
//! | `spin_us` | `ENGSET_SPIN_US` | microseconds | 20 |
//! | `blocking_threads` | `ENGSET_BLOCKING_THREADS` | threads | 128 |
//! | `mailbox_alarm` | `ENGSET_MAILBOX_ALARM` | messages | 0: off |
//! | `shutdown_ms` | `ENGSET_SHUTDOWN_MS` | milliseconds | 5000 |
//! | `crash_reports_per_second` | `ENGSET_CRASH_REPORTS_PER_SECOND` | reports | 10 |
//! | `seed` | `ENGSET_SEED` | turns the systematic mode on | none |
//!
//! # Sections
//!
//! | key | |
//! |---|---|
//! | `app` | the program's own: read by [`Config::get`] into its types; `app.NAME` belongs to the application `NAME` |
//! | `process` | settings of processes by their names: [`ProcessSettings`] |
//! | `stop` | how a service stops (`engset::stdlib::shutdown`) |
//! | `extensions` | names of the extensions that are there from the start (`engset::stdlib::service`) |
//!
//! # Layers
//!
//! Each call lays its settings over those of the calls before: later wins. The usual order, and that of [`Config::load`], is
//! defaults, file, environment, code. Tables are merged key by key; values and arrays are replaced as a whole.
//! Defaults that are added later ([`Config::with_defaults`]) still lie below everything.
//!
//! In the environment two underscores separate the keys of a path, and keys are in lower case: `ENGSET_APP__POOL__SIZE=8` is
//! `app.pool.size`. A value
//! that begins with `{` is a table in TOML's notation. A variable `ENGSET_...` that means nothing here is left alone, for
//! others may read it; [`Config::ignored_variables`] lists them.
//!
//! A key that nobody knows is an error, with a suggestion. [`Config::explain`] says where a value comes from.

mod deserialize;
mod environment;
mod explain;
mod keys;
mod origin;
mod process_settings;
#[cfg(test)]
mod tests;
mod tree;

pub use {
    explain::{Changes, Explanation},
    origin::{ConfigError, Origin},
    process_settings::ProcessSettings,
};

#[doc(hidden)]
pub use origin::{join, similar};

pub(crate) use process_settings::ProcessTable;

use crate::observe::{Observer, Watcher};
use keys::KEYS;
use serde_core::{Serialize, de::DeserializeOwned};
use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tree::{Leaf, Read, Table, Tree, Value};

/// Settings. See the [module](self) for the list, and for the order of the layers.
///
/// ```
/// use engset_runtime::Config;
///
/// let config = Config::new().workers(2).toml("stack_size = 65536\n[app.pool]\nsize = 4")?;
/// assert_eq!(config.get::<u32>("app.pool.size")?, 4);
/// assert_eq!(config.explain("app.pool.size").unwrap().to_string(), "app.pool.size = 4 (settings text line 3)");
///
/// let error = Config::new().toml("werkers = 4").unwrap_err();
/// assert!(error.to_string().ends_with("did you mean workers?"));
/// # Ok::<(), engset_runtime::config::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    scheduler: engset_scheduler::Config,
    shutdown: Duration,
    reports: u32,
    observer: Option<Watcher>,
    layers: Vec<Layer>,
    processes: ProcessTable,
    ignored: Vec<String>,
}

/// The settings of one source.
#[derive(Clone, Debug)]
struct Layer {
    source: Source,
    table: Table,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// Always the lowest.
    Default,
    File(PathBuf),
    Text,
    Environment,
    Code,
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

/// Top-level keys that are no node settings.
const SECTIONS: [&str; 4] = ["app", "process", "stop", "extensions"];

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident($field:ident: $type:ty) => $key:literal, $place:ident $(. $rest:ident)*;)*) => {
        $($(#[$doc])*
        #[must_use]
        #[track_caller]
        pub fn $name(mut self, $field: $type) -> Self {
            self.$place$(.$rest)* = $field.into();
            self.note($key, Origin::here());
            self
        })*
    };
}

impl Config {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Config {
            scheduler: engset_scheduler::Config::default(),
            shutdown: Duration::from_secs(5),
            reports: 10,
            observer: None,
            layers: Vec::new(),
            processes: ProcessTable::default(),
            ignored: Vec::new(),
        }
    }

    /// The defaults, overlaid with the environment.
    ///
    /// # Errors
    ///
    /// A variable that is set does not have a value of its setting's kind.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::new().env()
    }

    /// The defaults, overlaid with a file and the environment. The file is the one that the variable `ENGSET_CONFIG`
    /// names; if it is not set, `path`, and it does not matter if that does not exist.
    ///
    /// # Errors
    ///
    /// As [`Config::file`] and [`Config::env`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let config = match env::var_os(environment::FILE) {
            Some(named) => Self::new().file(PathBuf::from(named))?,
            None if path.as_ref().exists() => Self::new().file(path)?,
            None => Self::new(),
        };
        config.env()
    }

    setters! {
        /// Worker threads.
        workers(count: usize) => "workers", scheduler.workers;
        /// The most processes that may live at a time.
        max_processes(count: u32) => "max_processes", scheduler.max_tasks;
        /// Stack of a process that does not ask otherwise, in bytes of address space.
        stack_size(bytes: usize) => "stack_size", scheduler.stack_size;
        /// Reductions of a slice.
        slice(reductions: u32) => "slice", scheduler.slice;
        /// A slice that is longer ends at its next reduction point.
        slice_time(time: Duration) => "slice_time_us", scheduler.slice_time;
        /// A process without a reduction point for this long is reported, and its worker's work handed over.
        stuck_after(time: Duration) => "stuck_after_us", scheduler.stuck_after;
        /// Spare threads for stuck workers.
        max_spares(count: usize) => "max_spares", scheduler.max_spares;
        /// How long an idle worker looks for work before it sleeps.
        spin(time: Duration) => "spin_us", scheduler.spin;
        /// The most threads for [`blocking`](crate::blocking).
        blocking_threads(count: usize) => "blocking_threads", scheduler.blocking_threads;
        /// Messages in a mailbox at which it is reported; 0: never. With a multiple of 64 sends are as fast as without.
        mailbox_alarm(messages: u32) => "mailbox_alarm", scheduler.queue_alarm;
        /// How long a shutdown waits without a process ending.
        shutdown(time: Duration) => "shutdown_ms", shutdown;
        /// Crash reports that are written in a second; more are counted only.
        crash_reports_per_second(count: u32) => "crash_reports_per_second", reports;
        /// Systematic mode with this seed: one thread, virtual time.
        seed(seed: u64) => "seed", scheduler.seed;
    }

    /// Name of the threads.
    #[must_use]
    pub fn name(mut self, name: String) -> Self {
        self.scheduler.name = name;
        self
    }

    /// Systematic mode with this script: it decides in the place of the seed, which is for random numbers only.
    #[must_use]
    pub fn script(mut self, script: Arc<engset_scheduler::Script>) -> Self {
        self.scheduler.script = Some(script);
        self.scheduler.seed.get_or_insert(0);
        self
    }

    /// Everything that processes do is told to this one.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.scheduler.observed = true;
        self.observer = Some(Watcher(observer));
        self
    }

    pub(crate) fn get_observer(&self) -> Option<&Watcher> {
        self.observer.as_ref()
    }

    /// Overlays the settings of a TOML text.
    ///
    /// # Errors
    ///
    /// It is not TOML, has an unknown key, or a value that is not of its key's kind.
    pub fn toml(self, text: &str) -> Result<Self, ConfigError> {
        self.lay(Source::Text, tree::parse(text, Read::Text)?)
    }

    /// Overlays the settings of a TOML file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or as [`Config::toml`].
    pub fn file(self, path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        self.lay(Source::File(path.to_owned()), read_file(path)?)
    }

    /// Overlays the environment.
    ///
    /// # Errors
    ///
    /// As [`Config::from_env`].
    pub fn env(self) -> Result<Self, ConfigError> {
        self.variables(environment::variables())
    }

    fn variables(mut self, all: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let (table, ignored) = environment::read(all)?;
        self.ignored = ignored;
        self.lay(Source::Environment, table)
    }

    /// Overlays one value, or a table from a structure, at a key with its path.
    ///
    /// ```
    /// use engset_runtime::Config;
    ///
    /// let config = Config::new().set("app.pool.size", 8)?.set("workers", 2)?;
    /// assert_eq!((config.get::<u8>("app.pool.size")?, config.get_workers()), (8, 2));
    /// # Ok::<(), engset_runtime::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Config::toml`].
    #[track_caller]
    pub fn set(self, key: &str, value: impl Serialize) -> Result<Self, ConfigError> {
        let table = single(key, &value, &Origin::here())?;
        self.lay(Source::Code, table)
    }

    /// Lays values below all others, whenever it is called: the defaults of `whose`.
    ///
    /// # Errors
    ///
    /// As [`Config::toml`].
    pub fn with_defaults(
        mut self,
        whose: impl Into<Arc<str>>,
        key: &str,
        values: impl Serialize,
    ) -> Result<Self, ConfigError> {
        let table = single(key, &values, &Origin::Default(whose.into()))?;
        check(&table)?;
        match self.layers.first_mut() {
            Some(Layer { source: Source::Default, table: below }) => tree::overlay(below, &table),
            _ => self.layers.insert(0, Layer { source: Source::Default, table }),
        }
        self.replay()
    }

    /// What is at a key with its path, as a `T`. A structure takes a table; a key of the table that it does not have is an
    /// error. What is not there at all is an empty table for a structure, and `None` for an `Option`.
    ///
    /// ```
    /// use engset_runtime::Config;
    ///
    /// let config = Config::new().toml("[app.pool]\nsize = 'x'")?;
    /// let error = config.get::<u32>("app.pool.size").unwrap_err();
    /// assert_eq!(error.to_string(), "app.pool.size: expected u32, found string \"x\" (settings text line 2)");
    /// assert_eq!(config.get::<Option<u32>>("app.pool.patience")?, None);
    /// # Ok::<(), engset_runtime::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// It is not a `T`; or it is not there, and `T` cannot do without.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<T, ConfigError> {
        deserialize::deserialize(tree::find(&self.merged(), key), key)
    }

    /// What is set for the process of this name.
    #[must_use]
    pub fn process(&self, name: &str) -> ProcessSettings {
        self.processes.of(name)
    }

    /// Variables `ENGSET_...` of the environment that are no settings; perhaps somebody else reads them.
    #[must_use]
    pub fn ignored_variables(&self) -> &[String] {
        &self.ignored
    }

    /// The same settings with files and environment read anew.
    ///
    /// # Errors
    ///
    /// As [`Config::file`] and [`Config::env`].
    pub fn reread(&self) -> Result<Self, ConfigError> {
        let mut fresh = self.clone();
        for layer in &mut fresh.layers {
            match &layer.source {
                Source::File(path) => layer.table = read_file(path)?,
                Source::Environment => {
                    (layer.table, fresh.ignored) = environment::read(environment::variables())?;
                }
                Source::Default | Source::Text | Source::Code => {}
            }
        }
        fresh.replay()
    }

    fn merged(&self) -> Table {
        let mut merged = Table::new();
        self.layers.iter().for_each(|layer| tree::overlay(&mut merged, &layer.table));
        merged
    }

    fn lay(mut self, source: Source, table: Table) -> Result<Self, ConfigError> {
        check(&table)?;
        self.apply(&table)?;
        match self.layers.last_mut() {
            Some(Layer { source: Source::Code, table: below }) if source == Source::Code => {
                tree::overlay(below, &table);
            }
            _ => self.layers.push(Layer { source, table }),
        }
        self.processes = ProcessTable::read(self.merged().get("process"))?;
        Ok(self)
    }

    /// A setter was called.
    fn note(&mut self, key: &str, origin: Origin) {
        let value = KEYS.iter().find(|known| known.name == key).and_then(|known| (known.get)(self));
        let number = value.map_or(i64::MAX, |value| i64::try_from(value).unwrap_or(i64::MAX));
        let leaf = Tree::Leaf(Leaf { value: Value::Integer(number), origin });
        match self.layers.last_mut() {
            Some(Layer { source: Source::Code, table }) => drop(table.insert(key.to_owned(), leaf)),
            _ => {
                let table = Table::from([(key.to_owned(), leaf)]);
                self.layers.push(Layer { source: Source::Code, table });
            }
        }
    }

    /// All layers once more, from the defaults.
    fn replay(self) -> Result<Self, ConfigError> {
        let mut fresh = Self::new();
        fresh.scheduler.name.clone_from(&self.scheduler.name);
        fresh.ignored = self.ignored;
        for layer in self.layers {
            fresh = fresh.lay(layer.source, layer.table)?;
        }
        Ok(fresh)
    }

    /// Sets the node settings of a layer.
    fn apply(&mut self, table: &Table) -> Result<(), ConfigError> {
        for key in KEYS {
            let Some(tree) = table.get(key.name) else { continue };
            let number = match tree {
                Tree::Leaf(Leaf { value: Value::Integer(number), .. }) => u64::try_from(*number).ok(),
                Tree::Leaf(Leaf { value: Value::Raw(text), .. }) => text.trim().parse().ok(),
                _ => None,
            };
            if number.and_then(|number| (key.set)(self, number)).is_none() {
                let (found, origin) = match tree {
                    Tree::Leaf(leaf) => (leaf.value.describe(), Some(leaf.origin.clone())),
                    Tree::Table(_) => ("a table".to_owned(), None),
                };
                let (key, expected) = (key.name.to_owned(), "a whole number in range".to_owned());
                return Err(ConfigError::Value { key, expected, found, origin });
            }
        }
        Ok(())
    }

    pub(crate) fn scheduler(&self) -> engset_scheduler::Config {
        self.scheduler.clone()
    }

    pub(crate) fn processes(&self) -> &ProcessTable {
        &self.processes
    }

    /// How long each step of a shutdown may take.
    #[must_use]
    pub fn get_shutdown(&self) -> Duration {
        self.shutdown
    }

    /// The seed, if the mode is systematic.
    #[must_use]
    pub fn get_seed(&self) -> Option<u64> {
        self.scheduler.seed
    }

    /// The number of worker threads.
    #[must_use]
    pub fn get_workers(&self) -> usize {
        self.scheduler.workers
    }

    pub(crate) fn get_reports(&self) -> u32 {
        self.reports
    }
}

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let text = fs::read_to_string(path).map_err(|error| ConfigError::File(path.to_owned(), error))?;
    let table = tree::parse(&text, Read::File(&path.into()))?;
    check(&table)?;
    Ok(table)
}

fn is_known(key: &str) -> bool {
    SECTIONS.contains(&key) || KEYS.iter().any(|known| known.name == key)
}

/// A layer with one entry.
fn single(key: &str, value: &impl Serialize, origin: &Origin) -> Result<Table, ConfigError> {
    let value = tree::from_code(value, origin).map_err(|found| ConfigError::Value {
        key: key.to_owned(),
        expected: "something that TOML can express".to_owned(),
        found,
        origin: Some(origin.clone()),
    })?;
    let mut table = Table::new();
    tree::insert(&mut table, key, value);
    Ok(table)
}

/// Are all top-level keys known?
fn check(table: &Table) -> Result<(), ConfigError> {
    let Some((key, value)) = table.iter().find(|(key, _)| !is_known(key)) else { return Ok(()) };
    let origin = match value {
        Tree::Leaf(leaf) => Some(leaf.origin.clone()),
        Tree::Table(table) => tree::leaves(table).first().map(|(_, leaf)| leaf.origin.clone()),
    };
    let known = KEYS.iter().map(|known| known.name).chain(SECTIONS);
    Err(ConfigError::unknown("", key, origin, known))
}
