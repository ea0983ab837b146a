//! File, environment and flags as one tree of values, each of which knows where it came from.
//!
//! The tree is what the layers are laid over each other in, and what every error takes its place from. It is
//! built from the TOML file, changed by [`layers`](super::layers), read by [`reader`](super::reader), and
//! asked for origins by the checks that follow.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::error::{Findings, Origin};

/// One step of a path into the tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Key(String),
    Item(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(item: usize) -> Self {
        Self::Item(item)
    }
}

/// The path of a key below one pipeline, given with dots: `limits.fuel`.
pub(super) fn in_pipeline(pipeline: usize, key: &str) -> Vec<Step> {
    let start = [Step::from("pipeline"), Step::from(pipeline)];
    start.into_iter().chain(key.split('.').filter(|key| !key.is_empty()).map(Step::from)).collect()
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where its key is written; for an item of a list, the item.
    pub key_at: Origin,
    /// Where the value is written.
    pub at: Origin,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    /// Text of the environment or of a flag: the key that reads it decides its type.
    Word(String),
    Integer(i128),
    Float(f64),
    Bool(bool),
    Date,
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
    /// A mistake that was reported: read on as if it had not been written.
    Gone,
}

impl Node {
    pub fn word(at: Origin, text: impl Into<String>) -> Self {
        Self { key_at: at.clone(), at, value: Value::Word(text.into()) }
    }

    pub fn empty_table(at: Origin) -> Self {
        Self { key_at: at.clone(), at, value: Value::Table(BTreeMap::new()) }
    }

    /// Reads a TOML file. `name` is how errors call it.
    pub fn parse(name: &Path, text: &str, findings: &mut Findings) -> Self {
        let places = Places::new(name, text);
        match DeTable::parse(text) {
            Ok(table) => {
                Self { value: places.table(table.into_inner()), ..Self::empty_table(Origin::Nowhere) }
            }
            Err(error) => {
                let at = places.at(&error.span().unwrap_or(text.len()..text.len()));
                // The message may run over several lines; it never quotes the text itself.
                let message = error.message().lines().collect::<Vec<_>>().join(", ");
                findings.add(at, format!("not valid TOML: {message}"));
                Self::empty_table(Origin::Nowhere)
            }
        }
    }

    pub fn as_table(&self) -> Option<&BTreeMap<String, Node>> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Word(text) => Some(text),
            _ => None,
        }
    }

    fn child(&self, step: &Step) -> Option<&Node> {
        match (&self.value, step) {
            (Value::Table(table), Step::Key(key)) => table.get(key),
            (Value::List(items), Step::Item(item)) => items.get(*item),
            _ => None,
        }
    }

    fn child_mut(&mut self, step: &Step) -> Option<&mut Node> {
        match (&mut self.value, step) {
            (Value::Table(table), Step::Key(key)) => table.get_mut(key),
            (Value::List(items), Step::Item(item)) => items.get_mut(*item),
            _ => None,
        }
    }

    pub fn get(&self, path: &[Step]) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| node.child(step))
    }

    pub fn get_mut(&mut self, path: &[Step]) -> Option<&mut Node> {
        path.iter().try_fold(self, |node, step| node.child_mut(step))
    }

    /// Puts a node at a path, making the tables on the way. Where something other than a table stands in the
    /// way nothing is done: reading the tree reports that.
    pub fn set(&mut self, path: &[Step], node: Node) {
        let Some((last, way)) = path.split_last() else { return };
        let mut here = self;
        for step in way {
            if let (Value::Table(table), Step::Key(key)) = (&mut here.value, step) {
                table.entry(key.clone()).or_insert_with(|| Node::empty_table(node.at.clone()));
            }
            match here.child_mut(step) {
                Some(child) => here = child,
                None => return,
            }
        }
        if let (Value::Table(table), Step::Key(key)) = (&mut here.value, last) {
            table.insert(key.clone(), node);
        }
    }

    /// Where the value at `path` was written; where there is none, the nearest thing around it.
    pub fn origin(&self, path: &[Step]) -> Origin {
        let mut here = self;
        let mut at = &self.at;
        for step in path {
            match here.child(step) {
                Some(child) => here = child,
                None => break,
            }
            if here.at != Origin::Nowhere {
                at = &here.at;
            }
        }
        at.clone()
    }

    /// The pipelines that the tree describes: number in the list, and name if it has one.
    pub fn pipelines(&self) -> impl Iterator<Item = (usize, Option<&str>)> {
        let items = match self.get(&["pipeline".into()]).map(|node| &node.value) {
            Some(Value::List(items)) => items.as_slice(),
            _ => &[],
        };
        items.iter().enumerate().map(|(n, node)| (n, node.get(&["name".into()]).and_then(Node::as_text)))
    }

    /// The table at `path` as it is written in the file: `[http]`, `[pipeline.limits] of "access-log"`.
    pub fn table_name(&self, path: &[Step]) -> String {
        let keys: Vec<&str> = path
            .iter()
            .filter_map(|step| match step {
                Step::Key(key) => Some(key.as_str()),
                Step::Item(_) => None,
            })
            .collect();
        let item = path.iter().find_map(|step| match step {
            Step::Item(item) => Some(*item),
            Step::Key(_) => None,
        });
        let name = item.map(|item| match self.pipelines().nth(item) {
            Some((_, Some(name))) => format!("{name:?}"),
            _ => format!("number {}", item + 1),
        });
        match (keys.as_slice(), name) {
            ([], _) => "the file's top level".to_owned(),
            ([key], Some(name)) => format!("[[{key}]] {name}"),
            (keys, Some(name)) => format!("[{}] of {name}", keys.join(".")),
            (keys, None) => format!("[{}]", keys.join(".")),
        }
    }

    /// A key as errors name it: `"deadline" in [pipeline.limits] of "access-log"`.
    pub fn key_name(&self, path: &[Step]) -> String {
        match path {
            [table @ .., Step::Key(key)] => format!("{key:?} in {}", self.table_name(table)),
            // The pipelines themselves are the only items at this depth.
            [Step::Key(_), Step::Item(_)] | [] => self.table_name(path),
            [list @ .., Step::Item(item)] => format!("item {} of {}", item + 1, self.key_name(list)),
        }
    }
}

/// Turns byte positions of one file into lines and columns.
struct Places<'a> {
    name: Arc<Path>,
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(name: &Path, text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name: Arc::from(name), text, lines }
    }

    fn at(&self, span: &Range<usize>) -> Origin {
        let line = self.lines.partition_point(|start| *start <= span.start).max(1);
        let before = self.text.get(self.lines[line - 1]..span.start).unwrap_or_default();
        Origin::File { name: self.name.clone(), line, column: before.chars().count() + 1 }
    }

    fn table(&self, table: DeTable<'_>) -> Value {
        let entries = table.into_iter().map(|(key, value)| {
            // A table has no one place; the key that opened it has.
            let span = if value.get_ref().is_table() { key.span() } else { value.span() };
            let key_at = self.at(&key.span());
            let node = Node { key_at, ..self.node(span, value.into_inner()) };
            (key.into_inner().into_owned(), node)
        });
        Value::Table(entries.collect())
    }

    fn node(&self, span: Range<usize>, value: DeValue<'_>) -> Node {
        let at = self.at(&span);
        let value = match value {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => {
                let saturated = if number.as_str().starts_with('-') { i128::MIN } else { i128::MAX };
                Value::Integer(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(saturated))
            }
            // The parser has checked it.
            DeValue::Float(number) => {
                Value::Float(number.as_str().replace('_', "").parse().unwrap_or(f64::NAN))
            }
            DeValue::Boolean(value) => Value::Bool(value),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(items) => {
                let items = items.into_iter().map(|item| self.node(item.span(), item.into_inner()));
                Value::List(items.collect())
            }
            DeValue::Table(table) => self.table(table),
        };
        Node { key_at: at.clone(), at, value }
    }
}
