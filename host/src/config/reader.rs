//! Reads typed values out of the [tree](super::tree) through serde, and finds all mistakes, not only the first.
//!
//! Serde stops at the first error. So the value that it stopped at is reported, struck out, and the rest read
//! again, until nothing is wrong: types, keys and their names are declared once, on the types themselves.

use std::collections::btree_map;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::error::{Findings, Origin};
use super::schema;
use super::suggest::{alternatives, nearest};
use super::tree::{Node, Step, Value};

/// Reads the whole tree. `None` after a mistake, with every mistake in `findings`.
pub(super) fn read<T: DeserializeOwned>(mut tree: Node, findings: &mut Findings) -> Option<T> {
    let mut clean = true;
    loop {
        let mut error = match T::deserialize(&tree) {
            Ok(value) => return clean.then_some(value),
            Err(error) => error,
        };
        clean = false;
        error.path.reverse();
        findings.add(error.at.clone().unwrap_or_else(|| tree.origin(&error.path)), error.message(&tree));
        match tree.get_mut(&error.path) {
            Some(node) if !matches!(node.value, Value::Gone) && !error.path.is_empty() => {
                node.value = Value::Gone;
            }
            // Nothing left to strike out: what follows would be the same error again.
            _ => return None,
        }
    }
}

#[derive(Debug)]
enum Problem {
    UnknownKey { known: &'static [&'static str] },
    UnknownChoice { found: String, known: &'static [&'static str] },
    Type { found: String, expected: String },
    Other(String),
}

/// What serde reports, with the path on which it came up, innermost step first.
#[derive(Debug)]
pub(super) struct Error {
    path: Vec<Step>,
    at: Option<Origin>,
    problem: Problem,
}

impl Error {
    fn new(problem: Problem) -> Self {
        Self { path: Vec::new(), at: None, problem }
    }

    fn within(mut self, step: Step, at: &Origin) -> Self {
        self.at.get_or_insert_with(|| at.clone());
        self.path.push(step);
        self
    }

    fn message(&self, tree: &Node) -> String {
        let key = tree.key_name(&self.path);
        match &self.problem {
            Problem::UnknownKey { known } => unknown_key(&self.path, tree, known),
            Problem::UnknownChoice { found, known } => {
                let hint = match nearest(found, known.iter().copied()) {
                    Some(word) => format!("did you mean {word:?}?"),
                    None => format!("write {}", alternatives(known.iter().copied())),
                };
                format!("{key}: {found:?} is not known here; {hint}")
            }
            Problem::Type { found, expected } => {
                let hint = match self.path.as_slice() {
                    [Step::Key(list)] if list == "pipeline" => "; write [[pipeline]] with two brackets",
                    _ => "",
                };
                format!("{key}: expected {expected}, found {found}{hint}")
            }
            Problem::Other(message) => format!("{key}: {message}"),
        }
    }
}

/// Says what to do about a key that its table does not have.
fn unknown_key(path: &[Step], tree: &Node, known: &[&str]) -> String {
    let [table @ .., Step::Key(key)] = path else { return tree.key_name(path) };
    let same_name = |other: &schema::Key| other.path.last() == Some(key);
    let hint = match nearest(key, known.iter().copied()) {
        Some(word) => format!("did you mean {word:?}?"),
        // TOML's classic: a key written below the header of the next table.
        None => {
            let tables: Vec<String> =
                schema::keys().iter().filter(|other| same_name(other)).map(schema::Key::table).collect();
            match tables.is_empty() {
                false => format!("it belongs in {}", tables.join(" or ")),
                true => format!("known here: {}", alternatives(known.iter().copied())),
            }
        }
    };
    format!("unknown key {key:?} in {}; {hint}", tree.table_name(table))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.problem)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Problem::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Str(text) => format!("the text {text:?}"),
            Unexpected::Unsigned(number) => format!("the number {number}"),
            Unexpected::Signed(number) => format!("the number {number}"),
            Unexpected::Bool(value) => value.to_string(),
            Unexpected::Float(_) => "a number with a fraction".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "a table".to_owned(),
            Unexpected::Other(what) => what.to_owned(),
            other => other.to_string(),
        };
        Self::new(Problem::Type { found, expected: expected.to_string() })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        // How serde calls a number that may not be zero.
        match expected.to_string().starts_with("a nonzero") {
            true => Self::invalid_type(found, &"a whole number from 1"),
            false => Self::invalid_type(found, expected),
        }
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownKey { known })
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownChoice { found: found.to_owned(), known })
    }
}

impl Node {
    fn unexpected(&self) -> Unexpected<'_> {
        match &self.value {
            Value::Text(text) | Value::Word(text) => Unexpected::Str(text),
            Value::Integer(number) => match (u64::try_from(*number), i64::try_from(*number)) {
                (Ok(number), _) => Unexpected::Unsigned(number),
                (_, Ok(number)) => Unexpected::Signed(number),
                _ => Unexpected::Other("a number of more than 64 bits"),
            },
            Value::Float(number) => Unexpected::Float(*number),
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::Date => Unexpected::Other("a date"),
            Value::List(_) => Unexpected::Seq,
            Value::Table(_) => Unexpected::Map,
            Value::Gone => Unexpected::Unit,
        }
    }

    fn expected<T>(&self, what: &str) -> Result<T, Error> {
        Err(de::Error::invalid_type(self.unexpected(), &what))
    }

    fn integer(&self) -> Option<i128> {
        match &self.value {
            Value::Integer(number) => Some(*number),
            Value::Word(word) => word.replace('_', "").parse().ok(),
            _ => None,
        }
    }
}

/// Whole numbers: read at full width, then held to the type's own range, so that the error can name it.
macro_rules! whole_numbers {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.integer().map(<$type>::try_from) {
                Some(Ok(number)) => visitor.$visit(number),
                _ => self.expected(&format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX)),
            }
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &'de Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Text(text) | Value::Word(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => match (u64::try_from(*number), i64::try_from(*number)) {
                (Ok(number), _) => visitor.visit_u64(number),
                (_, Ok(number)) => visitor.visit_i64(number),
                _ => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
            },
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::List(items) => visitor.visit_seq(Items { items, next: 0 }),
            Value::Table(table) => visitor.visit_map(Entries { entries: table.iter(), value: None }),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Date | Value::Gone => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
        }
    }

    whole_numbers!(
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64
    );

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Integer(number) => visitor.visit_f64(*number as f64),
            Value::Word(word) => match word.parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => self.expected("a number"),
            },
            _ => self.expected("a number"),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Word(word) if word == "true" => visitor.visit_bool(true),
            Value::Word(word) if word == "false" => visitor.visit_bool(false),
            _ => self.expected("true or false"),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Text(text) | Value::Word(text) => visitor.visit_borrowed_str(text),
            _ => self.expected("text in quotes"),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::List(items) => visitor.visit_seq(Items { items, next: 0 }),
            Value::Word(words) => {
                let items = words.split(',').map(str::trim).filter(|word| !word.is_empty());
                visitor.visit_seq(de::value::SeqDeserializer::new(items))
            }
            _ => self.expected("a list"),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Table(table) => visitor.visit_map(Entries { entries: table.iter(), value: None }),
            _ => self.expected("a table"),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.value {
            Value::Text(text) | Value::Word(text) => {
                visitor.visit_enum(IntoDeserializer::<Error>::into_deserializer(text.as_str()))
            }
            _ => self.expected(&alternatives(known.iter().copied())),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 f32 char bytes byte_buf unit unit_struct newtype_struct tuple
        tuple_struct identifier
    }
}

struct Items<'de> {
    items: &'de [Node],
    next: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        while let Some(node) = self.items.get(self.next) {
            let item = self.next;
            self.next += 1;
            if !matches!(node.value, Value::Gone) {
                return seed.deserialize(node).map(Some).map_err(|e| e.within(Step::Item(item), &node.at));
            }
        }
        Ok(None)
    }
}

struct Entries<'de> {
    entries: btree_map::Iter<'de, String, Node>,
    value: Option<(&'de String, &'de Node)>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, node)) = self.entries.find(|(_, node)| !matches!(node.value, Value::Gone)) else {
            return Ok(None);
        };
        self.value = Some((key, node));
        let name = StrDeserializer::<Error>::new(key);
        seed.deserialize(name).map(Some).map_err(|e| e.within(Step::Key(key.clone()), &node.key_at))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (key, node) = self.value.take().expect("serde asks for a value only after its key");
        seed.deserialize(node).map_err(|e| e.within(Step::Key(key.clone()), &node.at))
    }
}
