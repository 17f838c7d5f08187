//! Settings of processes by name: the table `process`.
//!
//! ```toml
//! [process."shop.*"]
//! mailbox = { messages = 1000, overflow = "drop_newest" }
//! priority = "high"
//!
//! [process."shop.index"]
//! stack_size = 1048576
//! ```
//!
//! 1. A process is found by its registered name; a child of a supervisor that has none, by its id.
//! 2. A pattern is a name with stars: `*` stands for anything without a dot, `**` for anything.
//! 3. If several patterns match, each setting is taken from the most exact one that has it: the one with the most letters
//!    that are no stars, and of equals, the last in alphabetical order.
//! 4. What is set here wins over the options that the program gives to the process: those are the defaults of who wrote
//!    it, these the wishes of who runs it.

use super::{
    deserialize::deserialize,
    origin::{ConfigError, Origin, join},
    tree::{Table, Tree},
};
use crate::bound::{Limit, Overflow};
use engset_scheduler::Priority;

const KEYS: [&str; 4] = ["mailbox", "priority", "stack_size", "pool_size"];
const MAILBOX_KEYS: [&str; 3] = ["messages", "bytes", "overflow"];
const OVERFLOWS: [(&str, Overflow); 4] = [
    ("block", Overflow::Block),
    ("drop_newest", Overflow::DropNewest),
    ("drop_oldest", Overflow::DropOldest),
    ("kill_receiver", Overflow::KillReceiver),
];
const PRIORITIES: [(&str, Priority); 4] =
    [("max", Priority::Max), ("high", Priority::High), ("normal", Priority::Normal), ("low", Priority::Low)];

/// What the configuration says of one process.
///
/// ```
/// use engset_runtime::{Config, Priority};
///
/// let config = Config::new().toml("
///     [process.'shop.*']
///     priority = 'low'
///     mailbox = { messages = 100, overflow = 'drop_oldest' }
///     [process.'shop.till']
///     priority = 'high'
/// ")?;
/// assert_eq!(config.process("shop.till").priority(), Some(Priority::High));
/// assert!(config.process("shop.till").bounds_mailbox());
/// assert_eq!(config.process("elsewhere").priority(), None);
/// # Ok::<(), engset_runtime::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessSettings {
    messages: Option<usize>,
    bytes: Option<usize>,
    overflow: Option<Overflow>,
    priority: Option<Priority>,
    stack_size: Option<usize>,
    pool_size: Option<usize>,
}

impl ProcessSettings {
    /// The bound of its mailbox, laid over that of its program's, if either says one.
    #[must_use]
    pub fn mailbox(&self, own: Option<Limit>) -> Option<Limit> {
        let limit = match (own, self.messages, self.bytes) {
            (Some(own), _, _) => own,
            (None, Some(messages), _) => Limit::messages(messages),
            (None, None, Some(bytes)) => Limit::bytes(bytes),
            (None, None, None) => return None,
        };
        Some(limit.replaced(self.messages, self.bytes, self.overflow))
    }

    /// Does it bound the mailbox?
    #[must_use]
    pub fn bounds_mailbox(&self) -> bool {
        self.messages.is_some() || self.bytes.is_some()
    }

    /// When it is chosen among those that can run.
    #[must_use]
    pub fn priority(&self) -> Option<Priority> {
        self.priority
    }

    /// Its stack, in bytes of address space.
    #[must_use]
    pub fn stack_size(&self) -> Option<usize> {
        self.stack_size
    }

    /// How many workers it has, if it is a pool that asks for this.
    #[must_use]
    pub fn pool_size(&self) -> Option<usize> {
        self.pool_size
    }

    fn over(self, below: Self) -> Self {
        ProcessSettings {
            messages: self.messages.or(below.messages),
            bytes: self.bytes.or(below.bytes),
            overflow: self.overflow.or(below.overflow),
            priority: self.priority.or(below.priority),
            stack_size: self.stack_size.or(below.stack_size),
            pool_size: self.pool_size.or(below.pool_size),
        }
    }
}

/// The table `process`, read and checked. The most exact pattern comes last.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessTable(Vec<(String, ProcessSettings)>);

impl ProcessTable {
    pub(super) fn read(tree: Option<&Tree>) -> Result<Self, ConfigError> {
        let patterns = match tree {
            None => return Ok(Self::default()),
            Some(Tree::Table(patterns)) => patterns,
            Some(Tree::Leaf(leaf)) => {
                return Err(not_a_table("process", &leaf.value.describe(), &leaf.origin));
            }
        };
        let mut all = Vec::with_capacity(patterns.len());
        for (pattern, tree) in patterns {
            all.push((pattern.clone(), settings(&join("process", pattern), tree)?));
        }
        all.sort_by(|(one, _), (other, _)| {
            exactness(one).cmp(&exactness(other)).then_with(|| one.cmp(other))
        });
        Ok(ProcessTable(all))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn of(&self, name: &str) -> ProcessSettings {
        let matching = self.0.iter().filter(|(pattern, _)| matches(pattern, name));
        matching.fold(ProcessSettings::default(), |below, (_, settings)| settings.clone().over(below))
    }
}

fn not_a_table(key: &str, found: &str, origin: &Origin) -> ConfigError {
    ConfigError::Value {
        key: key.to_owned(),
        expected: "a table".to_owned(),
        found: found.to_owned(),
        origin: Some(origin.clone()),
    }
}

/// The entries of a table that may have these keys only.
fn entries<'a>(path: &str, tree: &'a Tree, known: &[&str]) -> Result<&'a Table, ConfigError> {
    let table = match tree {
        Tree::Table(table) => table,
        Tree::Leaf(leaf) => return Err(not_a_table(path, &leaf.value.describe(), &leaf.origin)),
    };
    match table.iter().find(|(key, _)| !known.contains(&key.as_str())) {
        None => Ok(table),
        Some((key, value)) => {
            let origin = match value {
                Tree::Leaf(leaf) => Some(leaf.origin.clone()),
                Tree::Table(_) => None,
            };
            Err(ConfigError::unknown(path, key, origin, known.iter().copied()))
        }
    }
}

fn settings(path: &str, tree: &Tree) -> Result<ProcessSettings, ConfigError> {
    let table = entries(path, tree, &KEYS)?;
    let mut settings = ProcessSettings {
        priority: choice(table, path, "priority", &PRIORITIES)?,
        stack_size: count(table, path, "stack_size")?,
        pool_size: count(table, path, "pool_size")?,
        ..ProcessSettings::default()
    };
    if let Some(mailbox) = table.get("mailbox") {
        let path = join(path, "mailbox");
        let table = entries(&path, mailbox, &MAILBOX_KEYS)?;
        settings.messages = count(table, &path, "messages")?;
        settings.bytes = count(table, &path, "bytes")?;
        settings.overflow = choice(table, &path, "overflow", &OVERFLOWS)?;
    }
    Ok(settings)
}

/// A number that is not 0.
fn count(table: &Table, path: &str, key: &str) -> Result<Option<usize>, ConfigError> {
    let path = join(path, key);
    let tree = table.get(key);
    match deserialize::<Option<usize>>(tree, &path)? {
        Some(0) => Err(wrong(path, "at least 1", tree)),
        other => Ok(other),
    }
}

fn choice<T: Copy>(table: &Table, path: &str, key: &str, of: &[(&str, T)]) -> Result<Option<T>, ConfigError> {
    let path = join(path, key);
    let tree = table.get(key);
    let Some(name) = deserialize::<Option<String>>(tree, &path)? else { return Ok(None) };
    match of.iter().find(|(known, _)| *known == name) {
        Some((_, value)) => Ok(Some(*value)),
        None => {
            let names: Vec<_> = of.iter().map(|(name, _)| format!("{name:?}")).collect();
            Err(wrong(path, &names.join(" or "), tree))
        }
    }
}

fn wrong(key: String, expected: &str, tree: Option<&Tree>) -> ConfigError {
    let (found, origin) = match tree {
        Some(Tree::Leaf(leaf)) => (leaf.value.describe(), Some(leaf.origin.clone())),
        _ => ("a table".to_owned(), None),
    };
    ConfigError::Value { key, expected: expected.to_owned(), found, origin }
}

/// Rule 3.
fn exactness(pattern: &str) -> (bool, usize) {
    (!pattern.contains('*'), pattern.bytes().filter(|byte| *byte != b'*').count())
}

/// Rule 2.
fn matches(pattern: &str, name: &str) -> bool {
    let Some(star) = pattern.find('*') else { return pattern == name };
    let (head, rest) = pattern.split_at(star);
    let Some(tail) = name.strip_prefix(head) else { return false };
    let (rest, any) = match rest.strip_prefix("**") {
        Some(rest) => (rest, true),
        None => (&rest[1..], false),
    };
    let ends = tail.char_indices().map(|(at, letter)| (at, Some(letter))).chain([(tail.len(), None)]);
    for (at, letter) in ends {
        if matches(rest, &tail[at..]) {
            return true;
        }
        if letter == Some('.') && !any {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_without_a_dot() {
        for (pattern, name, expected) in [
            ("shop", "shop", true),
            ("shop", "shops", false),
            ("shop.*", "shop.till", true),
            ("shop.*", "shop.", true),
            ("shop.*", "shop.till.1", false),
            ("shop.**", "shop.till.1", true),
            ("*.till", "shop.till", true),
            ("*.till", "a.shop.till", false),
            ("**.till", "a.shop.till", true),
            ("sh*p.t*l", "shop.till", true),
            ("sh*p.t*x", "shop.till", false),
            ("*", "", true),
            ("**", "a.b", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
