//! Where values come from, and what is different between two configurations.

use super::{
    Config,
    keys::KEYS,
    origin::Origin,
    tree::{self, Tree},
};
use std::fmt;

impl Config {
    /// Where the value of a key comes from, and what it has overridden; `None`: it is not set.
    #[must_use]
    pub fn explain(&self, key: &str) -> Option<Explanation> {
        let mut found: Vec<_> = self
            .layers
            .iter()
            .rev()
            .filter_map(|layer| match tree::find(&layer.table, key)? {
                Tree::Leaf(leaf) => Some((leaf.value.to_string(), leaf.origin.clone())),
                Tree::Table(_) => None,
            })
            .collect();
        if found.is_empty() {
            let number = KEYS.iter().find(|known| known.name == key).and_then(|known| (known.get)(self))?;
            found.push((number.to_string(), Origin::Default("".into())));
        }
        let (value, origin) = found.remove(0);
        Some(Explanation { key: key.to_owned(), value, origin, overridden: found })
    }

    /// The same for all keys that have a value, in alphabetical order.
    #[must_use]
    pub fn explain_all(&self) -> Vec<Explanation> {
        let merged = self.merged();
        let mut keys: Vec<_> = tree::leaves(&merged).into_iter().map(|(key, _)| key).collect();
        keys.extend(KEYS.iter().map(|key| key.name.to_owned()));
        keys.sort();
        keys.dedup();
        keys.iter().filter_map(|key| self.explain(key)).collect()
    }

    /// What is different from `old`.
    #[must_use]
    pub fn changes_since(&self, old: &Config) -> Changes {
        let (new, old) = (self.merged(), old.merged());
        let (of_new, of_old) = (tree::leaves(&new), tree::leaves(&old));
        let differs = |key: &str| tree::find(&new, key) != tree::find(&old, key);
        let mut keys: Vec<_> =
            of_new.iter().chain(&of_old).map(|(key, _)| key.clone()).filter(|key| differs(key)).collect();
        keys.sort();
        keys.dedup();
        Changes { keys }
    }
}

/// Where a value comes from. See [`Config::explain`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The key, with its path.
    pub key: String,
    /// Its value, in TOML's notation.
    pub value: String,
    /// Where that stands.
    pub origin: Origin,
    /// Values of lower layers, the highest first.
    pub overridden: Vec<(String, Origin)>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.key, self.value, self.origin)?;
        self.overridden.iter().try_for_each(|(value, origin)| write!(f, ", over {value} ({origin})"))
    }
}

/// What is different between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// The keys, with their paths, in alphabetical order.
    pub keys: Vec<String>,
}

impl Changes {
    /// Is there a change at this key or below?
    #[must_use]
    pub fn concern(&self, key: &str) -> bool {
        self.keys.iter().any(|changed| {
            changed.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// Keys of node settings: they take effect with the next start only.
    pub fn need_restart(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(String::as_str).filter(|key| KEYS.iter().any(|known| known.name == *key))
    }
}
