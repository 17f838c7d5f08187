//! Settings as they were read: a tree of values, each with its origin.
//!
//! A later layer replaces values and arrays as a whole; tables are merged key by key. What stands in a variable of
//! the environment is a text, and becomes what its reader asks for: `5` is a number for one and a text for
//! another.

use super::origin::{ConfigError, Origin, join, split};
use serde_core::Serialize;
use std::{collections::BTreeMap, fmt, ops::Range, path::Path, sync::Arc};
use toml::de::{DeTable, DeValue};

/// A table.
pub(super) type Table = BTreeMap<String, Tree>;

#[derive(Clone, Debug)]
pub(super) enum Tree {
    Table(Table),
    Leaf(Leaf),
}

#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Of the environment: its reader says what it is.
    Raw(String),
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// A date or a time, as it was written.
    Moment(String),
    Array(Vec<Tree>),
}

impl PartialEq for Tree {
    /// Equal values, wherever they come from.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Tree::Table(one), Tree::Table(other)) => one == other,
            (Tree::Leaf(one), Tree::Leaf(other)) => one.value == other.value,
            _ => false,
        }
    }
}

/// What a layer of settings was read from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read<'a> {
    File(&'a Arc<Path>),
    Text,
    Variable(&'a Arc<str>),
}

impl Read<'_> {
    fn origin(self, text: &str, span: Range<usize>) -> Origin {
        let line =
            text.as_bytes()[..span.start.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1;
        match self {
            Read::File(path) => Origin::File { path: Arc::clone(path), line },
            Read::Text => Origin::Text { line },
            Read::Variable(name) => Origin::Variable(Arc::clone(name)),
        }
    }
}

/// The settings of a TOML text.
pub(super) fn parse(text: &str, read: Read<'_>) -> Result<Table, ConfigError> {
    let parsed = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        origin: read.origin(text, error.span().unwrap_or(0..0)),
        message: error.message().to_owned(),
    })?;
    table(text, parsed.into_inner(), read, "")
}

/// A value in TOML's notation, as it may stand in a variable.
pub(super) fn parse_value(text: &str, name: &Arc<str>) -> Option<Tree> {
    let read = Read::Variable(name);
    let parsed = DeValue::parse(text.trim()).ok()?;
    let span = parsed.span();
    tree(text, parsed.into_inner(), span, read, "").ok()
}

fn table(text: &str, parsed: DeTable<'_>, read: Read<'_>, path: &str) -> Result<Table, ConfigError> {
    parsed
        .into_iter()
        .map(|(key, value)| {
            let key = key.into_inner().into_owned();
            let span = value.span();
            let value = tree(text, value.into_inner(), span, read, &join(path, &key))?;
            Ok((key, value))
        })
        .collect()
}

fn tree(
    text: &str,
    value: DeValue<'_>,
    span: Range<usize>,
    read: Read<'_>,
    path: &str,
) -> Result<Tree, ConfigError> {
    let origin = read.origin(text, span);
    let out_of_range = |expected: &str, found: &str| ConfigError::Value {
        key: path.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
        origin: Some(origin.clone()),
    };
    let value = match value {
        DeValue::Table(parsed) => return Ok(Tree::Table(table(text, parsed, read, path)?)),
        DeValue::String(string) => Value::Text(string.into_owned()),
        DeValue::Integer(integer) => Value::Integer(
            i64::from_str_radix(integer.as_str(), integer.radix())
                .map_err(|_| out_of_range("an integer of 64 bits", integer.as_str()))?,
        ),
        DeValue::Float(float) => {
            Value::Float(float.as_str().parse().map_err(|_| out_of_range("a number", float.as_str()))?)
        }
        DeValue::Boolean(boolean) => Value::Boolean(boolean),
        DeValue::Datetime(moment) => Value::Moment(moment.to_string()),
        DeValue::Array(array) => Value::Array(
            array
                .into_iter()
                .enumerate()
                .map(|(at, value)| {
                    let span = value.span();
                    tree(text, value.into_inner(), span, read, &format!("{path}[{at}]"))
                })
                .collect::<Result<_, _>>()?,
        ),
    };
    Ok(Tree::Leaf(Leaf { value, origin }))
}

/// A value of the program's; `None`: it holds nothing that TOML can express.
pub(super) fn from_code(value: &impl Serialize, origin: &Origin) -> Result<Tree, String> {
    toml::Value::try_from(value).map(|value| of_toml(value, origin)).map_err(|error| error.to_string())
}

fn of_toml(value: toml::Value, origin: &Origin) -> Tree {
    let value = match value {
        toml::Value::Table(table) => {
            return Tree::Table(
                table.into_iter().map(|(key, value)| (key, of_toml(value, origin))).collect(),
            );
        }
        toml::Value::String(text) => Value::Text(text),
        toml::Value::Integer(number) => Value::Integer(number),
        toml::Value::Float(number) => Value::Float(number),
        toml::Value::Boolean(boolean) => Value::Boolean(boolean),
        toml::Value::Datetime(moment) => Value::Moment(moment.to_string()),
        toml::Value::Array(array) => {
            Value::Array(array.into_iter().map(|value| of_toml(value, origin)).collect())
        }
    };
    Tree::Leaf(Leaf { value, origin: origin.clone() })
}

/// Lays `above` over `below`.
pub(super) fn overlay(below: &mut Table, above: &Table) {
    for (key, value) in above {
        match (below.get_mut(key), value) {
            (Some(Tree::Table(below)), Tree::Table(above)) => overlay(below, above),
            _ => drop(below.insert(key.clone(), value.clone())),
        }
    }
}

/// Sets a value at a path, making the tables on the way.
pub(super) fn insert(table: &mut Table, path: &str, value: Tree) {
    let mut keys = split(path);
    let Some(last) = keys.pop() else { return };
    let mut place = table;
    for key in keys {
        let next = place.entry(key).or_insert_with(|| Tree::Table(Table::new()));
        if let Tree::Leaf(_) = next {
            *next = Tree::Table(Table::new());
        }
        let Tree::Table(next) = next else { return };
        place = next;
    }
    match (place.get_mut(&last), value) {
        (Some(Tree::Table(below)), Tree::Table(above)) => overlay(below, &above),
        (_, value) => drop(place.insert(last, value)),
    }
}

/// What is at a path.
pub(super) fn find<'a>(table: &'a Table, path: &str) -> Option<&'a Tree> {
    let mut keys = split(path).into_iter();
    let mut found = table.get(&keys.next()?)?;
    for key in keys {
        let Tree::Table(table) = found else { return None };
        found = table.get(&key)?;
    }
    Some(found)
}

/// All values below, with their paths.
pub(super) fn leaves(table: &Table) -> Vec<(String, &Leaf)> {
    fn walk<'a>(table: &'a Table, path: &str, found: &mut Vec<(String, &'a Leaf)>) {
        for (key, value) in table {
            let path = join(path, key);
            match value {
                Tree::Table(table) => walk(table, &path, found),
                Tree::Leaf(leaf) => found.push((path, leaf)),
            }
        }
    }
    let mut found = Vec::new();
    walk(table, "", &mut found);
    found
}

impl Value {
    /// As an error tells of it.
    pub(super) fn describe(&self) -> String {
        match self {
            Value::Raw(text) | Value::Text(text) => format!("string {text:?}"),
            Value::Integer(number) => format!("integer {number}"),
            Value::Float(number) => format!("number {number}"),
            Value::Boolean(boolean) => format!("boolean {boolean}"),
            Value::Moment(moment) => format!("date or time {moment}"),
            Value::Array(_) => "an array".to_owned(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Raw(text) | Value::Moment(text) => f.write_str(text.trim()),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number}"),
            Value::Boolean(boolean) => write!(f, "{boolean}"),
            Value::Array(values) => {
                f.write_str("[")?;
                for (at, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tree::Leaf(leaf) => leaf.value.fmt(f),
            Tree::Table(table) => {
                f.write_str("{")?;
                for (at, (key, value)) in table.iter().enumerate() {
                    write!(f, "{}{} = {value}", if at == 0 { " " } else { ", " }, join("", key))?;
                }
                f.write_str(" }")
            }
        }
    }
}
