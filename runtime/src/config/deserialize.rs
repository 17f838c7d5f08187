//! From settings to values of the user's types.
//!
//! A structure's keys are checked against its fields: a key that it does not have is an error, also without
//! `#[serde(deny_unknown_fields)]`. (Not in one with a flattened field, for serde does not say which it has.)
//! Each error is located at the innermost value that it concerns.

use super::{
    origin::{ConfigError, Origin, join},
    tree::{Leaf, Table, Tree, Value, parse_value},
};
use serde_core::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, MapAccess, SeqAccess, Unexpected,
    Visitor,
    value::{MapAccessDeserializer, StrDeserializer},
};
use std::{collections::btree_map, fmt, iter::Enumerate, slice, sync::Arc};

/// What is at `path` as a `T`. Nothing there counts as an empty table, or as `None`.
pub(super) fn deserialize<T: DeserializeOwned>(tree: Option<&Tree>, path: &str) -> Result<T, ConfigError> {
    let empty = Tree::Table(Table::new());
    let setting = match tree {
        Some(tree) => Setting { tree, path, absent: false },
        None => Setting { tree: &empty, path, absent: true },
    };
    T::deserialize(setting).map_err(|error| error.at(path, tree).into_config_error())
}

fn origin(tree: &Tree) -> Option<&Origin> {
    match tree {
        Tree::Leaf(leaf) => Some(&leaf.origin),
        Tree::Table(_) => None,
    }
}

/// An error that finds its place on the way up.
#[derive(Debug)]
struct Fault {
    kind: Kind,
    place: Option<Box<(String, Option<Origin>)>>,
    /// The value there, for an error that does not say it itself.
    value: Option<String>,
}

#[derive(Debug)]
enum Kind {
    Value { expected: String, found: String },
    Refused { message: String },
    Missing { field: &'static str },
    Absent,
    Unknown { field: String, known: Vec<&'static str> },
}

impl Fault {
    fn new(kind: Kind) -> Self {
        Fault { kind, place: None, value: None }
    }

    fn at(mut self, path: &str, tree: Option<&Tree>) -> Self {
        if self.place.is_none() {
            self.place = Some(Box::new((path.to_owned(), tree.and_then(origin).cloned())));
            self.value = tree.map(ToString::to_string);
        }
        self
    }

    fn into_config_error(self) -> ConfigError {
        let (key, origin) = *self.place.unwrap_or_default();
        match self.kind {
            Kind::Value { expected, found } => ConfigError::Value { key, expected, found, origin },
            Kind::Refused { message } => {
                ConfigError::Refused { key, message, value: self.value.unwrap_or_default(), origin }
            }
            Kind::Missing { field } => ConfigError::Missing { key: join(&key, field) },
            Kind::Absent => ConfigError::Missing { key },
            Kind::Unknown { field, known } => ConfigError::unknown(&key, &field, origin, known),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl std::error::Error for Fault {}

/// As a user knows it: without the grammar of Rust's types.
fn found(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Str(text) => format!("string {text:?}"),
        Unexpected::Signed(number) => format!("integer {number}"),
        Unexpected::Unsigned(number) => format!("integer {number}"),
        Unexpected::Float(number) => format!("number {number}"),
        Unexpected::Bool(boolean) => format!("boolean {boolean}"),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        // A type that checks its own values: its words are all there is, beside the value.
        Fault::new(Kind::Refused { message: message.to_string() })
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Fault::new(Kind::Value { expected: expected.to_string(), found: found(unexpected) })
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let expected = expected.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(" or ");
        Fault::new(Kind::Value { expected, found: format!("string {variant:?}") })
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Fault::new(Kind::Unknown { field: field.to_owned(), known: expected.to_vec() })
    }

    fn missing_field(field: &'static str) -> Self {
        Fault::new(Kind::Missing { field })
    }
}

#[derive(Clone, Copy)]
struct Setting<'a> {
    tree: &'a Tree,
    path: &'a str,
    /// Nothing is there; `tree` is an empty table.
    absent: bool,
}

impl<'a> Setting<'a> {
    /// A text of the environment, with the variable.
    fn raw(&self) -> Option<(&'a str, &'a Arc<str>)> {
        match self.tree {
            Tree::Leaf(Leaf { value: Value::Raw(text), origin: Origin::Variable(name) }) => {
                Some((text, name))
            }
            _ => None,
        }
    }

    /// What a text of the environment says in TOML's notation, if it says something.
    fn reread(&self) -> Option<Tree> {
        self.raw().and_then(|(text, name)| parse_value(text, name))
    }

    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.absent {
            return Err(Fault::new(Kind::Absent));
        }
        match self.tree {
            Tree::Table(table) => visitor.visit_map(Keys::new(table, self.path)),
            Tree::Leaf(leaf) => match &leaf.value {
                Value::Raw(text) | Value::Text(text) | Value::Moment(text) => visitor.visit_str(text),
                Value::Integer(number) => visitor.visit_i64(*number),
                Value::Float(number) => visitor.visit_f64(*number),
                Value::Boolean(boolean) => visitor.visit_bool(*boolean),
                Value::Array(values) => {
                    visitor.visit_seq(Items { items: values.iter().enumerate(), path: self.path })
                }
            },
        }
    }

    fn visit_number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Some((text, _)) = self.raw() else { return self.visit(visitor) };
        let text = text.trim();
        if let Ok(number) = text.parse() {
            visitor.visit_i64(number)
        } else if let Ok(number) = text.parse() {
            visitor.visit_u64(number)
        } else if let Ok(number) = text.parse() {
            visitor.visit_f64(number)
        } else {
            visitor.visit_str(text)
        }
    }

    /// A table or an array, which a variable gives in TOML's notation.
    fn visit_compound<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.reread() {
            Some(tree) => Setting { tree: &tree, ..self }.visit(visitor),
            None => self.visit(visitor),
        }
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.visit_number(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Setting<'_> {
    type Error = Fault;

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        // Whoever takes anything gets what the text looks like.
        if self.absent {
            return visitor.visit_map(Keys::new(&Table::new(), self.path));
        }
        self.visit_compound(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.raw().map(|(text, _)| text.trim().parse()) {
            Some(Ok(boolean)) => visitor.visit_bool(boolean),
            _ => self.visit(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.absent { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit_compound(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.visit_compound(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.visit_compound(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        Setting { absent: false, ..self }.visit_compound(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let reread = self.reread();
        let tree = reread.as_ref().unwrap_or(self.tree);
        if let Tree::Table(table) = tree
            && let Some((key, value)) = table.iter().find(|(key, _)| !fields.contains(&key.as_str()))
        {
            let kind = Kind::Unknown { field: key.clone(), known: fields.to_vec() };
            return Err(Fault::new(kind).at(self.path, Some(value)));
        }
        Setting { tree, path: self.path, absent: false }.visit(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let reread = self.reread().filter(|tree| matches!(tree, Tree::Table(_)));
        match reread.as_ref().unwrap_or(self.tree) {
            Tree::Leaf(Leaf { value: Value::Raw(text) | Value::Text(text), .. }) => {
                visitor.visit_enum(StrDeserializer::new(text))
            }
            Tree::Table(table) if !self.absent => {
                visitor.visit_enum(MapAccessDeserializer::new(Keys::new(table, self.path)))
            }
            _ => self.visit(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    serde_core::forward_to_deserialize_any! {
        bytes byte_buf unit unit_struct identifier
    }
}

/// The entries of a table.
struct Keys<'a> {
    entries: btree_map::Iter<'a, String, Tree>,
    next: Option<(&'a str, &'a Tree)>,
    path: &'a str,
}

impl<'a> Keys<'a> {
    fn new(table: &'a Table, path: &'a str) -> Self {
        Keys { entries: table.iter(), next: None, path }
    }
}

impl<'de> MapAccess<'de> for Keys<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.next = Some((key, value));
        // A key that cannot be read (of an enum, or a map with numbers) is located at itself.
        let read = seed.deserialize(StrDeserializer::<Fault>::new(key));
        read.map(Some).map_err(|error| error.at(&join(self.path, key), Some(value)))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, tree)) = self.next.take() else { return Err(Fault::new(Kind::Absent)) };
        let path = join(self.path, key);
        let setting = Setting { tree, path: &path, absent: false };
        seed.deserialize(setting).map_err(|error| error.at(&path, Some(tree)))
    }
}

/// The items of an array.
struct Items<'a> {
    items: Enumerate<slice::Iter<'a, Tree>>,
    path: &'a str,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some((at, tree)) = self.items.next() else { return Ok(None) };
        let path = format!("{}[{at}]", self.path);
        let setting = Setting { tree, path: &path, absent: false };
        seed.deserialize(setting).map(Some).map_err(|error| error.at(&path, Some(tree)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}
