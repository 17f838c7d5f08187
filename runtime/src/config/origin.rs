//! Where a setting comes from, and what is wrong with one.

use std::{fmt, io, panic::Location, path::Path, path::PathBuf, sync::Arc};

/// Where the value of a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody has set it: the runtime's default, or that of who is named.
    Default(Arc<str>),
    /// A line of a file.
    File {
        /// The file.
        path: Arc<Path>,
        /// The line, from 1.
        line: usize,
    },
    /// A line of a text given to [`Config::toml`](super::Config::toml).
    Text {
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Variable(Arc<str>),
    /// A line of the program.
    Code {
        /// The source file.
        file: &'static str,
        /// The line, from 1.
        line: u32,
    },
}

impl Origin {
    #[track_caller]
    pub(crate) fn here() -> Self {
        let here = Location::caller();
        Origin::Code { file: here.file(), line: here.line() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default(whose) if whose.is_empty() => f.write_str("default"),
            Origin::Default(whose) => write!(f, "default of {whose}"),
            Origin::File { path, line } => write!(f, "{} line {line}", path.display()),
            Origin::Text { line } => write!(f, "settings text line {line}"),
            Origin::Variable(name) => write!(f, "environment variable {name}"),
            Origin::Code { file, line } => write!(f, "code at {file}:{line}"),
        }
    }
}

/// A setting that cannot be read. Each names the key with its path, the offending value, and where that stands.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    File(PathBuf, io::Error),
    /// The text is not TOML.
    Syntax {
        /// What was read.
        origin: Origin,
        /// What the parser says.
        message: String,
    },
    /// There is no such key.
    UnknownKey {
        /// The key, with its path.
        key: String,
        /// Where it stands.
        origin: Option<Origin>,
        /// A key that is there and looks like it.
        suggestion: Option<String>,
        /// The keys there are.
        known: Vec<String>,
    },
    /// The value is not of the type of its key, or out of range.
    Value {
        /// The key, with its path.
        key: String,
        /// What it should be.
        expected: String,
        /// What was found.
        found: String,
        /// Where it stands.
        origin: Option<Origin>,
    },
    /// The type of the value refuses it, in its own words.
    Refused {
        /// The key, with its path.
        key: String,
        /// Why.
        message: String,
        /// The value.
        value: String,
        /// Where it stands.
        origin: Option<Origin>,
    },
    /// A value that has to be there is not.
    Missing {
        /// The key, with its path.
        key: String,
    },
}

impl ConfigError {
    /// The key with its path; empty if the trouble is not with a key.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            ConfigError::File(..) | ConfigError::Syntax { .. } => "",
            ConfigError::UnknownKey { key, .. }
            | ConfigError::Value { key, .. }
            | ConfigError::Refused { key, .. }
            | ConfigError::Missing { key } => key,
        }
    }

    pub(crate) fn unknown<'a>(
        path: &str,
        key: &str,
        origin: Option<Origin>,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let known: Vec<String> = known.into_iter().map(str::to_owned).collect();
        let suggestion = similar(key, known.iter().map(String::as_str)).map(str::to_owned);
        ConfigError::UnknownKey { key: join(path, key), origin, suggestion, known }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |f: &mut fmt::Formatter<'_>, origin: &Option<Origin>| match origin {
            Some(origin) => write!(f, " ({origin})"),
            None => Ok(()),
        };
        match self {
            ConfigError::File(path, error) => write!(f, "{}: {error}", path.display()),
            ConfigError::Syntax { origin, message } => write!(f, "not TOML: {message} ({origin})"),
            ConfigError::UnknownKey { key, origin, suggestion, known } => {
                write!(f, "{key}: there is no such setting")?;
                place(f, origin)?;
                match suggestion {
                    Some(suggestion) => write!(f, "; did you mean {suggestion}?"),
                    None if known.is_empty() => Ok(()),
                    None => write!(f, "; there are {}", known.join(", ")),
                }
            }
            ConfigError::Value { key, expected, found, origin } => {
                write!(f, "{key}: expected {expected}, found {found}")?;
                place(f, origin)
            }
            ConfigError::Refused { key, message, value, origin } => {
                write!(f, "{key} is {value}: {message}")?;
                place(f, origin)
            }
            ConfigError::Missing { key } => write!(f, "{key}: it is not set, and has no default"),
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

/// The one that looks like `name`, if one does.
#[must_use]
pub fn similar<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = |other: &&str| strsim::damerau_levenshtein(name, other) <= 1 + name.len() / 5;
    known.into_iter().filter(close).min_by_key(|other| strsim::damerau_levenshtein(name, other))
}

/// The path of a key in a table, as it would be written in TOML.
#[must_use]
pub fn join(path: &str, key: &str) -> String {
    let bare =
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    match (path.is_empty(), bare) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{key:?}"),
        (false, true) => format!("{path}.{key}"),
        (false, false) => format!("{path}.{key:?}"),
    }
}

/// The keys of a path: the reverse of [`join`].
pub(crate) fn split(path: &str) -> Vec<String> {
    let mut keys = vec![String::new()];
    let mut quoted = false;
    for letter in path.chars() {
        match letter {
            '"' => quoted = !quoted,
            '.' if !quoted => keys.push(String::new()),
            letter => {
                if let Some(key) = keys.last_mut() {
                    key.push(letter);
                }
            }
        }
    }
    if path.is_empty() { Vec::new() } else { keys }
}
