//! Settings of a node: from code, from a file, from the environment.
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

use crate::observe::{Observer, Watcher};
use std::{env, fmt, fs, io, path::Path, path::PathBuf, sync::Arc, time::Duration};

/// Settings of a node. See the [module](self) for the list.
///
/// ```
/// use engset_runtime::Config;
///
/// let config = Config::new().workers(2).toml("stack_size = 65536")?;
/// let error = Config::new().toml("workers = 'many'").unwrap_err();
/// assert!(error.to_string().contains("workers"));
/// # let _ = config;
/// # Ok::<(), engset_runtime::config::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    scheduler: engset_scheduler::Config,
    shutdown: Duration,
    reports: u32,
    observer: Option<Watcher>,
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

/// A setting that cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    File(PathBuf, io::Error),
    /// The text is not TOML.
    Syntax(String),
    /// There is no such key.
    UnknownKey {
        /// The key.
        key: String,
    },
    /// The value is not a number in the range of its key.
    Value {
        /// The key, or the variable of the environment.
        key: String,
        /// What was given.
        value: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::File(path, error) => write!(f, "{}: {error}", path.display()),
            ConfigError::Syntax(error) => write!(f, "the settings are not TOML: {error}"),
            ConfigError::UnknownKey { key } => {
                write!(f, "there is no setting {key:?}; there are: ")?;
                KEYS.iter()
                    .enumerate()
                    .try_for_each(|(at, key)| write!(f, "{}{}", if at == 0 { "" } else { ", " }, key.0))
            }
            ConfigError::Value { key, value } => {
                write!(f, "the setting {key} is {value}, but must be a whole number in range")
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ConfigError::File(_, error) => Some(error),
            _ => None,
        }
    }
}

type Setter = fn(&mut Config, u64) -> Option<()>;

const KEYS: &[(&str, Setter)] = &[
    ("workers", |config, value| {
        config.scheduler.workers = usize::try_from(value).ok()?;
        Some(())
    }),
    ("max_processes", |config, value| {
        config.scheduler.max_tasks = u32::try_from(value).ok()?;
        Some(())
    }),
    ("stack_size", |config, value| {
        config.scheduler.stack_size = usize::try_from(value).ok()?;
        Some(())
    }),
    ("slice", |config, value| {
        config.scheduler.slice = u32::try_from(value).ok()?;
        Some(())
    }),
    ("slice_time_us", |config, value| {
        config.scheduler.slice_time = Duration::from_micros(value);
        Some(())
    }),
    ("stuck_after_us", |config, value| {
        config.scheduler.stuck_after = Duration::from_micros(value);
        Some(())
    }),
    ("max_spares", |config, value| {
        config.scheduler.max_spares = usize::try_from(value).ok()?;
        Some(())
    }),
    ("spin_us", |config, value| {
        config.scheduler.spin = Duration::from_micros(value);
        Some(())
    }),
    ("blocking_threads", |config, value| {
        config.scheduler.blocking_threads = usize::try_from(value).ok()?;
        Some(())
    }),
    ("mailbox_alarm", |config, value| {
        config.scheduler.queue_alarm = u32::try_from(value).ok()?;
        Some(())
    }),
    ("shutdown_ms", |config, value| {
        config.shutdown = Duration::from_millis(value);
        Some(())
    }),
    ("crash_reports_per_second", |config, value| {
        config.reports = u32::try_from(value).ok()?;
        Some(())
    }),
    ("seed", |config, value| {
        config.scheduler.seed = Some(value);
        Some(())
    }),
];

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident($field:ident: $type:ty) => $place:ident $(. $rest:ident)*;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $field: $type) -> Self {
            self.$place$(.$rest)* = $field.into();
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
        }
    }

    /// The defaults, overlaid with the environment.
    ///
    /// # Errors
    ///
    /// A variable that is set is not a number in range.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::new().env()
    }

    setters! {
        /// Worker threads.
        workers(count: usize) => scheduler.workers;
        /// The most processes that may live at a time.
        max_processes(count: u32) => scheduler.max_tasks;
        /// Stack of a process that does not ask otherwise, in bytes of address space.
        stack_size(bytes: usize) => scheduler.stack_size;
        /// Reductions of a slice.
        slice(reductions: u32) => scheduler.slice;
        /// A slice that is longer ends at its next reduction point.
        slice_time(time: Duration) => scheduler.slice_time;
        /// A process without a reduction point for this long is reported, and its worker's work handed over.
        stuck_after(time: Duration) => scheduler.stuck_after;
        /// Spare threads for stuck workers.
        max_spares(count: usize) => scheduler.max_spares;
        /// How long an idle worker looks for work before it sleeps.
        spin(time: Duration) => scheduler.spin;
        /// The most threads for [`blocking`](crate::blocking).
        blocking_threads(count: usize) => scheduler.blocking_threads;
        /// Messages in a mailbox at which it is reported; 0: never.
        mailbox_alarm(messages: u32) => scheduler.queue_alarm;
        /// How long a shutdown waits without a process ending.
        shutdown(time: Duration) => shutdown;
        /// Crash reports that are written in a second; more are counted only.
        crash_reports_per_second(count: u32) => reports;
        /// Systematic mode with this seed: one thread, virtual time.
        seed(seed: u64) => scheduler.seed;
        /// Name of the threads.
        name(name: String) => scheduler.name;
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
    /// It is not TOML, has an unknown key, or a value that is not a number in range.
    pub fn toml(mut self, text: &str) -> Result<Self, ConfigError> {
        let table: toml::Table =
            text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax(error.to_string()))?;
        for (key, value) in table {
            let Some((_, set)) = KEYS.iter().find(|(name, _)| *name == key) else {
                return Err(ConfigError::UnknownKey { key });
            };
            let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
            if number.and_then(|number| set(&mut self, number)).is_none() {
                return Err(ConfigError::Value { key, value: shown(&value) });
            }
        }
        Ok(self)
    }

    /// Overlays the settings of a TOML file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or as [`Config::toml`].
    pub fn file(self, path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(|error| ConfigError::File(path.to_owned(), error))?;
        self.toml(&text)
    }

    /// Overlays the environment.
    ///
    /// # Errors
    ///
    /// As [`Config::from_env`].
    pub fn env(self) -> Result<Self, ConfigError> {
        self.overlay(|variable| env::var_os(variable).map(|value| value.to_string_lossy().into_owned()))
    }

    fn overlay(mut self, look: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        for (name, set) in KEYS {
            let variable = format!("ENGSET_{}", name.to_uppercase());
            let Some(value) = look(&variable) else { continue };
            if value.trim().parse().ok().and_then(|number| set(&mut self, number)).is_none() {
                return Err(ConfigError::Value { key: variable, value });
            }
        }
        Ok(self)
    }

    pub(crate) fn scheduler(&self) -> engset_scheduler::Config {
        self.scheduler.clone()
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

fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::String(text) => format!("{text:?}"),
        other => format!("a {}", other.type_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_layers_win() {
        let config = Config::new().workers(3).toml("workers = 4\nslice = 100").unwrap();
        assert_eq!((config.scheduler.workers, config.scheduler.slice), (4, 100));
        let config = config.overlay(|name| (name == "ENGSET_WORKERS").then(|| " 5 ".into())).unwrap();
        assert_eq!((config.scheduler.workers, config.scheduler.slice), (5, 100));
    }

    #[test]
    fn errors_name_the_key_and_the_value() {
        let text = |error: ConfigError| error.to_string();
        assert!(text(Config::new().toml("workers = -1").unwrap_err()).contains("workers is -1"));
        assert!(text(Config::new().toml("max_processes = 99999999999").unwrap_err()).contains("99999999999"));
        assert!(text(Config::new().toml("werkers = 1").unwrap_err()).contains("no setting \"werkers\""));
        assert!(text(Config::new().toml("workers =").unwrap_err()).contains("not TOML"));
        let error = Config::new().overlay(|name| (name == "ENGSET_SLICE").then(|| "lots".into()));
        assert!(text(error.unwrap_err()).contains("ENGSET_SLICE is lots"));
    }
}
