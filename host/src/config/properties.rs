//! librdkafka properties as the user wrote them: checked, complete with their secrets, and safe to print.
//!
//! They are read from the [tree](super::tree) here and not through serde, since a mistake in one concerns
//! aliases, secrets and the layers at once, and since no value may reach an error message.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, IgnoredAny};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::error::{Findings, Origin};
use super::librdkafka::{RESERVED, canonical, is_secret, names, reserved};
use super::suggest::nearest;
use super::tree::{Node, Step, Value};

/// Bytes of a file with a secret, at most: a bundle of certificates has a few hundred KiB.
const LARGEST_FILE: u64 = 1 << 20;
/// Shown in place of a secret.
const REDACTED: &str = "<redacted>";

/// Properties for the Kafka clients, by librdkafka's names, each under one name (aliases are resolved).
///
/// [`iter`](Self::iter) and [`get`](Self::get) give the true values, for the client. Everything that prints
/// (`Debug`, `Display`, serialization) hides passwords and whatever was read from a file or a variable.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClientProperties(BTreeMap<String, Property>);

#[derive(Clone, PartialEq, Eq)]
struct Property {
    value: String,
    from: Option<Reference>,
}

/// A value that is kept elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub value: String,
    pub from: Reference,
}

/// Where a secret was read from. That may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reference {
    File(#[serde(serialize_with = "super::host::lossy")] PathBuf),
    Env(String),
}

impl ClientProperties {
    /// The value of a property, under any of its names.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(canonical(name)).map(|property| property.value.as_str())
    }

    /// Sets a property, or replaces it.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(canonical(name).to_owned(), Property { value: value.into(), from: None });
    }

    /// Takes a property out.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(canonical(name));
    }

    /// Names and true values, secrets among them: for the client only.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, property)| (name.as_str(), property.value.as_str()))
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These properties laid over others.
    pub(super) fn over(mut self, below: &Self) -> Self {
        for (name, property) in &below.0 {
            self.0.entry(name.clone()).or_insert_with(|| property.clone());
        }
        self
    }

    /// What these properties say other than `below`.
    pub(super) fn without(mut self, below: &Self) -> Self {
        self.0.retain(|name, property| below.0.get(name) != Some(property));
        self
    }

    fn shown<'a>(name: &str, property: &'a Property) -> &'a str {
        if property.from.is_some() || is_secret(name) { REDACTED } else { &property.value }
    }
}

impl fmt::Debug for ClientProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, p)| (name, Self::shown(name, p)))).finish()
    }
}

impl fmt::Display for ClientProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (name, property)) in self.0.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            write!(f, "{comma}{name}={}", Self::shown(name, property))?;
        }
        Ok(())
    }
}

impl Serialize for ClientProperties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, property) in &self.0 {
            match &property.from {
                Some(reference) => map.serialize_entry(name, reference)?,
                None => map.serialize_entry(name, Self::shown(name, property))?,
            }
        }
        map.end()
    }
}

/// Stands in for the properties while serde reads the tables around them; [`read`] comes after.
pub(super) fn read_later<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ClientProperties, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| ClientProperties::default())
}

/// What secrets are read from.
pub(super) struct Sources<'a> {
    pub environment: &'a BTreeMap<String, String>,
    /// The configuration file's folder.
    pub folder: &'a Path,
}

/// Reads the table of properties at `path`.
pub(super) fn read(
    tree: &Node,
    path: &[Step],
    sources: &Sources<'_>,
    findings: &mut Findings,
) -> ClientProperties {
    let mut properties = BTreeMap::<String, (Property, &Node)>::new();
    let table = match tree.get(path).map(|node| (&node.value, node)) {
        None => return ClientProperties::default(),
        Some((Value::Table(table), _)) => table,
        Some((_, node)) => {
            findings.add(node.at.clone(), format!("{}: expected a table", tree.key_name(path)));
            return ClientProperties::default();
        }
    };
    for (written, node) in table {
        let place = tree.key_name(&[path, &[Step::from(written.as_str())]].concat());
        let name = canonical(written);
        if let Err(problem) = allowed(written, node, &place, &tree.table_name(path)) {
            findings.add(node.key_at.clone(), problem);
            continue;
        }
        let property = match value(node, sources) {
            Ok(property) => property,
            Err(problem) => {
                findings.add(node.at.clone(), format!("{place}: {problem}"));
                continue;
            }
        };
        match properties.get(name) {
            Some((_, other)) if other.at.rank() > node.at.rank() => continue,
            Some((_, other)) if other.at.rank() == node.at.rank() => findings.add(
                node.key_at.clone(),
                format!("{place}: the same property as {name:?} at {}; keep one of them", other.key_at),
            ),
            _ => {}
        }
        properties.insert(name.to_owned(), (property, node));
    }
    ClientProperties(properties.into_iter().map(|(name, (property, _))| (name, property)).collect())
}

/// Refuses what librdkafka does not know and what belongs to the host.
fn allowed(written: &str, node: &Node, place: &str, table: &str) -> Result<(), String> {
    let name = canonical(written);
    if let Some(reason) = reserved(name) {
        return Err(format!("{place} belongs to the host: {reason}"));
    }
    if names().any(|known| known == name) {
        return Ok(());
    }
    let settable = || names().filter(|known| reserved(canonical(known)).is_none());
    let hint = match (node.as_table(), nearest(written, settable())) {
        (Some(_), _) => format!("put the whole name in quotes: {:?}", unquoted(written, node)),
        (None, Some(known)) => format!("did you mean {known:?}?"),
        (None, None) => "librdkafka's CONFIGURATION.md lists them".to_owned(),
    };
    Err(format!("unknown client property {written:?} in {table}; {hint}"))
}

/// The property that was meant where a name without quotes became tables in tables.
fn unquoted(written: &str, node: &Node) -> String {
    let mut name = written.to_owned();
    let mut here = node;
    while let Some((key, inner)) = here.as_table().and_then(BTreeMap::first_key_value) {
        if names().any(|known| known == name) {
            break;
        }
        name = format!("{name}.{key}");
        here = inner;
    }
    name
}

fn value(node: &Node, sources: &Sources<'_>) -> Result<Property, String> {
    let plain = |value: String| Ok(Property { value, from: None });
    match &node.value {
        Value::Text(text) | Value::Word(text) => plain(text.clone()),
        Value::Integer(number) => plain(number.to_string()),
        Value::Bool(value) => plain(value.to_string()),
        Value::Table(table) => {
            let Kept { value, from } = kept(table, node, sources)?;
            Ok(Property { value, from: Some(from) })
        }
        Value::Float(_) | Value::Date | Value::List(_) | Value::Gone => {
            Err("expected text, a whole number, true or false, { file = \"path\" } or { env = \"NAME\" }"
                .to_owned())
        }
    }
}

/// Reads what `{ file = "path" }` or `{ env = "NAME" }` names.
pub(super) fn kept(
    table: &BTreeMap<String, Node>,
    node: &Node,
    sources: &Sources<'_>,
) -> Result<Kept, String> {
    let mut entries = table.iter().map(|(key, node)| (key.as_str(), node.as_text()));
    match (entries.next(), entries.next()) {
        (Some(("file", Some(file))), None) => from_file(file, node, sources.folder),
        (Some(("env", Some(name))), None) => from_environment(name, sources.environment),
        _ => Err("a table here is { file = \"path\" } or { env = \"NAME\" }".to_owned()),
    }
}

/// Reads what stands in a file or in a variable, as the table at `path` says; none if it names neither.
pub(super) fn of_file_or_variable(
    tree: &Node,
    path: &[Step],
    file: Option<&Path>,
    variable: Option<&str>,
    sources: &Sources<'_>,
) -> Result<Option<String>, String> {
    let nowhere = Node::empty_table(Origin::Nowhere);
    let key = [path, &["file".into()]].concat();
    let node = tree.get(&key).unwrap_or(&nowhere);
    match (file, variable) {
        (Some(file), None) => from_file(&file.to_string_lossy(), node, sources.folder),
        (None, Some(variable)) => from_environment(variable, sources.environment),
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => Err("says both `file` and `env`; choose one".to_owned()),
    }
    .map(|kept| Some(kept.value))
}

fn from_file(file: &str, node: &Node, folder: &Path) -> Result<Kept, String> {
    let path = match node.at {
        Origin::File { .. } => folder.join(file),
        _ => PathBuf::from(file),
    };
    let text = read_text(&path).map_err(|error| format!("cannot read {path:?}: {error}"))?;
    // Editors and `echo` end a file with a line break that is no part of the secret.
    let value = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    match value {
        "" => Err(format!("{path:?} is empty")),
        value => Ok(Kept { value: value.to_owned(), from: Reference::File(path) }),
    }
}

/// A file's text, if it is no larger than a secret may be: a device has no end.
fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(LARGEST_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(io::Error::other(format!("it has more than {} KiB", LARGEST_FILE >> 10)));
    }
    Ok(text)
}

fn from_environment(name: &str, environment: &BTreeMap<String, String>) -> Result<Kept, String> {
    match environment.get(name) {
        Some(value) if !value.is_empty() => {
            Ok(Kept { value: value.clone(), from: Reference::Env(name.to_owned()) })
        }
        _ => Err(format!("the environment variable {name:?} is not set")),
    }
}

/// The environment variables that properties are read from by name, so that none of them is taken for a mistake.
pub(super) fn referenced_variables(table: Option<&Node>) -> impl Iterator<Item = &str> {
    table
        .and_then(Node::as_table)
        .into_iter()
        .flatten()
        .filter_map(|(_, node)| node.get(&["env".into()]).and_then(Node::as_text))
}

/// The JSON schema of [`ClientProperties`].
pub(super) struct PropertiesSchema;

impl JsonSchema for PropertiesSchema {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ClientProperties".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let refused: serde_json::Map<_, _> = RESERVED
            .iter()
            .map(|(name, reason)| {
                ((*name).to_owned(), serde_json::json!({ "not": {}, "description": reason }))
            })
            .collect();
        json_schema!({
            "type": "object",
            "properties": refused,
            "additionalProperties": {
                "anyOf": [{ "type": ["string", "integer", "boolean"] }, reference("file"), reference("env")]
            },
        })
    }
}

/// The JSON schema of `{ key = "…" }`.
fn reference(key: &str) -> serde_json::Value {
    serde_json::json!({
        "type": "object",
        "properties": { key: { "type": "string" } },
        "required": [key],
        "additionalProperties": false,
    })
}

/// The JSON schema of [`Secrets`](super::Secrets).
pub(super) struct SecretsSchema;

impl JsonSchema for SecretsSchema {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secrets".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "anyOf": [reference("file"), reference("env")] },
        })
    }
}
