//! Settings from variables.

use super::{
    is_known,
    origin::{ConfigError, Origin, join},
    tree::{self, Leaf, Table, Tree, Value},
};
use std::{env, ffi::OsStr, sync::Arc};

/// What the names of variables begin with.
const PREFIX: &str = "ENGSET_";

/// The variable that names the file of [`Config::load`](super::Config::load).
pub(super) const FILE: &str = "ENGSET_CONFIG";

/// The environment of the program.
pub(super) fn variables() -> impl Iterator<Item = (String, String)> {
    env::vars_os().map(|(name, value)| (lossy(&name), lossy(&value)))
}

/// The variables that are settings, and the names of those that are not.
pub(super) fn read(all: impl Iterator<Item = (String, String)>) -> Result<(Table, Vec<String>), ConfigError> {
    let mut table = Table::new();
    let mut ignored = Vec::new();
    let mut all: Vec<_> = all.filter(|(name, _)| name.starts_with(PREFIX) && name != FILE).collect();
    // `ENGSET_APP` comes before `ENGSET_APP__POOL`, which lies over it.
    all.sort();
    for (name, text) in all {
        let keys: Vec<_> = name[PREFIX.len()..].split("__").map(str::to_lowercase).collect();
        if !is_known(&keys[0]) {
            ignored.push(name);
            continue;
        }
        let name: Arc<str> = name.into();
        let value = if text.trim_start().starts_with('{') {
            let origin = Origin::Variable(Arc::clone(&name));
            let message = "a value that begins with { is a table, such as { size = 8 }".to_owned();
            tree::parse_value(&text, &name).ok_or(ConfigError::Syntax { origin, message })?
        } else {
            Tree::Leaf(Leaf { value: Value::Raw(text), origin: Origin::Variable(name) })
        };
        let path = keys.iter().fold(String::new(), |path, key| join(&path, key));
        tree::insert(&mut table, &path, value);
    }
    Ok((table, ignored))
}

fn lossy(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}
