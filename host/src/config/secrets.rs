//! `[pipeline.secrets]`: values for the handler that nobody else shall see.
//!
//! They come from files and from the environment, never from the configuration file or a flag, and nothing prints them.

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::error::{Findings, Origin};
use super::properties::{Kept, Reference, Sources, kept};
use super::tree::{Node, Step, Value};

/// Bytes of one secret, at most.
const LARGEST: usize = 64 << 10;

/// Secrets by name. Everything that prints shows where they come from, never what they are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, Kept>);

impl Secrets {
    /// Names and values: for the handler only.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, kept)| (name.as_str(), kept.value.as_str()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, kept)| (name, &kept.from))).finish()
    }
}

impl Serialize for Secrets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, kept) in &self.0 {
            map.serialize_entry(name, &kept.from)?;
        }
        map.end()
    }
}

/// Stands in for the secrets while serde reads the tables around them; [`read`] comes after.
pub(super) fn read_later<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secrets, D::Error> {
    serde::Deserialize::deserialize(deserializer).map(|serde::de::IgnoredAny| Secrets::default())
}

/// Reads the table of secrets at `path`.
pub(super) fn read(tree: &Node, path: &[Step], sources: &Sources<'_>, findings: &mut Findings) -> Secrets {
    let mut secrets = BTreeMap::new();
    let Some(node) = tree.get(path) else { return Secrets::default() };
    let Some(table) = node.as_table() else {
        findings.add(node.at.clone(), format!("{}: expected a table", tree.key_name(path)));
        return Secrets::default();
    };
    for (name, node) in table {
        let place = tree.key_name(&[path, &[Step::from(name.as_str())]].concat());
        match one(node, sources) {
            Ok(kept) if kept.value.len() > LARGEST => findings.add(
                node.at.clone(),
                format!("{place}: {} bytes; a secret has at most {LARGEST}", kept.value.len()),
            ),
            Ok(kept) => drop(secrets.insert(name.clone(), kept)),
            Err(problem) => findings.add(node.at.clone(), format!("{place}: {problem}")),
        }
    }
    Secrets(secrets)
}

fn one(node: &Node, sources: &Sources<'_>) -> Result<Kept, String> {
    match (&node.value, &node.at) {
        (Value::Word(value), Origin::Environment(name)) => {
            Ok(Kept { value: value.clone(), from: Reference::Env(name.clone()) })
        }
        (Value::Table(table), _) => kept(table, node, sources),
        _ => Err("a secret does not stand here, where others read it; write { file = \"path\" } or \
                  { env = \"NAME\" }"
            .to_owned()),
    }
}
