//! Lays environment and flags over the tree of the file.
//!
//! Precedence: flags, then environment, then file, then defaults. Names of variables are derived from the
//! schema's keys, so that every key has one and none can be forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use super::error::{Findings, Origin};
use super::librdkafka;
use super::properties::referenced_variables;
use super::schema::{Key, keys};
use super::source::Overrides;
use super::suggest::{alternatives, nearest};
use super::tree::{Node, Step, Value, in_pipeline};

/// What every variable of ours begins with.
const PREFIX: &str = "SANDMILL_";

/// Variables with our prefix that are no key of the file.
pub const OTHER_VARIABLES: [&str; 3] = ["SANDMILL_LOG", "SANDMILL_TOKEN", "SANDMILL_URL"];

/// Lays the environment over the tree.
pub(super) fn environment(tree: &mut Node, variables: &BTreeMap<String, String>, findings: &mut Findings) {
    let elsewhere = variables_for_secrets(tree);
    for (variable, value) in variables {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        let ours = !OTHER_VARIABLES.contains(&variable.as_str()) && !elsewhere.contains(variable);
        // An empty variable counts as not set: `SANDMILL_X= sandmill run` and compose files mean it so.
        if !ours || value.is_empty() {
            continue;
        }
        let at = Origin::Environment(variable.clone());
        let mut found = matches(tree, name);
        match (found.pop(), found.pop()) {
            (Some(path), None) => tree.set(&path, Node::word(at, value)),
            (Some(one), Some(other)) => findings.add(
                at,
                format!(
                    "means both {} and {}; use the file or --set instead",
                    tree.key_name(&one),
                    tree.key_name(&other)
                ),
            ),
            (None, _) if of_kubernetes(name, value) => {}
            (None, _) => findings.add(at, unknown_variable(tree, name)),
        }
    }
}

fn variables_for_secrets(tree: &Node) -> BTreeSet<String> {
    let of = |table: &[&str]| {
        referenced_variables(tree.get(&table.iter().map(|step| Step::from(*step)).collect::<Vec<_>>()))
    };
    let global = of(&["kafka"]).chain(of(&["http", "tokens"])).chain(of(&["modules", "registries"]));
    let pipelines = tree.pipelines().flat_map(|(n, _)| {
        let of = |table| referenced_variables(tree.get(&in_pipeline(n, table)));
        of("kafka").chain(of("secrets"))
    });
    global.chain(pipelines).map(str::to_owned).collect()
}

/// A name as it stands in a variable: upper case, and `_` for whatever is no letter and no digit.
fn in_variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// The keys that a variable may mean, by its name without the prefix. More than one only where names that the
/// user chose look alike.
fn matches(tree: &Node, name: &str) -> Vec<Vec<Step>> {
    let mut found = Vec::new();
    for key in keys().iter().filter(|key| !key.in_pipeline) {
        found.extend(match_key(tree, &[], key, name));
    }
    let Some(of_pipeline) = name.strip_prefix("PIPELINE_") else { return found };
    for (n, pipeline) in tree.pipelines() {
        let Some(rest) =
            pipeline.and_then(|name| of_pipeline.strip_prefix(&format!("{}_", in_variable(name))))
        else {
            continue;
        };
        for key in pipeline_keys() {
            found.extend(match_key(tree, &in_pipeline(n, ""), key, rest));
        }
    }
    found
}

/// The keys of a pipeline that a variable or `--set` may change: all but the name, which says whose they are.
fn pipeline_keys() -> impl Iterator<Item = &'static Key> {
    keys().iter().filter(|key| key.in_pipeline && key.path != ["name"])
}

fn match_key(tree: &Node, table: &[Step], key: &Key, name: &str) -> Vec<Vec<Step>> {
    let path: Vec<Step> =
        table.iter().cloned().chain(key.path.iter().map(|key| Step::from(key.as_str()))).collect();
    let variable = in_variable(&key.path.join("_"));
    if !key.open {
        return if variable == name { vec![path] } else { Vec::new() };
    }
    // What would stand there is a token or a password: it comes from the variable that the file names.
    if ["tokens", "registries"].contains(&key.path.last().map_or("", String::as_str)) {
        return Vec::new();
    }
    let Some(rest) = name.strip_prefix(&variable).and_then(|rest| rest.strip_prefix('_')) else {
        return Vec::new();
    };
    // Names of the user's choice: those that the file has, else the plain reading of the variable.
    let written =
        tree.get(&path).and_then(Node::as_table).into_iter().flatten().map(|(name, _)| name.as_str());
    let mut names: Vec<String> =
        written.filter(|name| in_variable(name) == rest).map(str::to_owned).collect();
    if names.is_empty() && !rest.is_empty() {
        names = match key.path.last().map(String::as_str) {
            Some("kafka") => librdkafka::names()
                .find(|name| in_variable(name) == rest)
                .map(str::to_owned)
                .into_iter()
                .collect(),
            _ => vec![rest.to_ascii_lowercase()],
        };
    }
    names.into_iter().map(|name| path.iter().cloned().chain([Step::Key(name)]).collect()).collect()
}

/// Variables that Kubernetes sets for a service whose name begins with ours; nobody wrote them by mistake.
fn of_kubernetes(name: &str, value: &str) -> bool {
    let name = format!("_{name}");
    let address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let after = |what: &str| name.split_once(what).map(|(_, rest)| rest);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let port = |rest: &str| {
        let mut parts = rest.split('_');
        let known = [
            parts.next().is_some_and(digits),
            parts.next().is_some_and(|protocol| ["TCP", "UDP", "SCTP"].contains(&protocol)),
            parts.next().is_none_or(|part| ["PROTO", "PORT", "ADDR"].contains(&part)),
            parts.next().is_none(),
        ];
        known == [true; 4]
    };
    name.ends_with("_SERVICE_HOST")
        || (name.ends_with("_PORT") && address)
        || name.ends_with("_SERVICE_PORT")
        || after("_SERVICE_PORT_").is_some()
        || after("_PORT_").is_some_and(port)
}

fn unknown_variable(tree: &Node, name: &str) -> String {
    let names: Vec<&str> = tree.pipelines().filter_map(|(_, name)| name).collect();
    let global = keys().iter().filter(|key| !key.in_pipeline && !key.open).map(|key| key.path.join("_"));
    let properties = librdkafka::names().map(|name| format!("kafka_{name}"));
    let of_pipelines = names.iter().flat_map(|name| {
        pipeline_keys()
            .filter(|key| !key.open)
            .map(move |key| format!("pipeline_{name}_{}", key.path.join("_")))
    });
    let known: Vec<String> = global
        .chain(properties)
        .chain(of_pipelines)
        .map(|name| format!("{PREFIX}{}", in_variable(&name)))
        .chain(OTHER_VARIABLES.map(str::to_owned))
        .collect();
    let of_no_pipeline = name.strip_prefix("PIPELINE_").is_some_and(|rest| {
        !names.is_empty() && !names.iter().any(|name| rest.starts_with(&format!("{}_", in_variable(name))))
    });
    let hint = match nearest(&format!("{PREFIX}{name}"), known.iter().map(String::as_str)) {
        Some(known) => format!("did you mean {known}?"),
        None if of_no_pipeline => format!("the pipelines are {}", alternatives(names)),
        None => "docs/CONFIGURATION.md says how variables are named".to_owned(),
    };
    format!("no key of the configuration has this name; {hint}")
}

/// Describes the one pipeline of a start without a file: its name and handler, which the environment may not
/// change. The other flags follow in [`flags`].
pub(super) fn pipeline_of_flags(tree: &mut Node, flags: &Overrides, findings: &mut Findings) {
    let Some(handler) = &flags.handler else { return };
    let at = Origin::Flag("HANDLER".to_owned());
    let Some(path) = handler.to_str() else {
        return findings.add(at, "the path is not valid Unicode; rename the file");
    };
    let name = match &flags.name {
        Some(name) => Node::word(Origin::Flag("--name".to_owned()), name),
        None => Node::word(at.clone(), name_of(handler)),
    };
    let table =
        BTreeMap::from([("name".to_owned(), name), ("handler".to_owned(), Node::word(at.clone(), path))]);
    let pipeline = Node { value: Value::Table(table), ..Node::empty_table(at.clone()) };
    tree.set(&["pipeline".into()], Node { value: Value::List(vec![pipeline]), ..Node::empty_table(at) });
}

/// A pipeline's name made from its handler's file name.
fn name_of(handler: &Path) -> String {
    let stem = handler.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let name: String = stem.chars().map(|c| if legal(c) { c } else { '-' }).take(63).collect();
    match name.trim_start_matches(['.', '_', '-']) {
        "" => "handler".to_owned(),
        name => name.to_owned(),
    }
}

/// Lays the flags over the tree.
pub(super) fn flags(tree: &mut Node, flags: &Overrides, has_file: bool, findings: &mut Findings) {
    let mut put = |flag: &str, path: Vec<Step>, node: Option<Value>| {
        let at = Origin::Flag(flag.to_owned());
        if let Some(value) = node {
            if has_file && path.first() == Some(&"pipeline".into()) {
                findings
                    .add(at, "describes a pipeline without a file; with one use the file's keys or --set");
            } else {
                tree.set(&path, Node { value, ..Node::empty_table(at) });
            }
        }
    };
    let pipeline = |key: &str| in_pipeline(0, key);
    put("--listen", vec!["http".into(), "listen".into()], flags.listen.map(|l| Value::Word(l.to_string())));
    // Again, though the pipeline is made of them: the environment came in between.
    let handler = flags.handler.as_deref().and_then(Path::to_str);
    put("HANDLER", pipeline("handler"), handler.map(|path| Value::Word(path.to_owned())));
    put("--name", pipeline("name"), flags.name.clone().map(Value::Word));
    put("--group", pipeline("group"), flags.group.clone().map(Value::Word));
    put("--ordering", pipeline("ordering"), flags.ordering.map(written));
    put("--start", pipeline("start"), flags.start.map(written));
    put("--input", pipeline("input"), list("--input", &flags.input));
    put("--output", pipeline("outputs"), list("--output", &flags.outputs));
    let topic = flags.dead_letter_topic.clone().map(Value::Word);
    put("--dead-letter-topic", pipeline("on_failure.dead_letter_topic"), topic);
    for (key, value) in &flags.set {
        let at = Origin::Flag(format!("--set {key}"));
        match path_of(tree, key) {
            Ok(path) => tree.set(&path, Node::word(at, value)),
            Err(problem) => findings.add(at, problem),
        }
    }
    if let Some(brokers) = &flags.brokers {
        let at = Origin::Flag("--brokers".to_owned());
        tree.set(&["kafka".into(), "bootstrap.servers".into()], Node::word(at, brokers));
    }
}

fn list(flag: &str, items: &[String]) -> Option<Value> {
    let nodes = items.iter().map(|item| Node::word(Origin::Flag(flag.to_owned()), item));
    (!items.is_empty()).then(|| Value::List(nodes.collect()))
}

/// A choice as the file writes it.
fn written<T: Serialize>(choice: T) -> Value {
    let text = serde_json::to_value(choice).ok().and_then(|json| json.as_str().map(str::to_owned));
    Value::Word(text.expect("choices are enums without fields, which serialize as their names"))
}

/// The path that `--set` names.
fn path_of(tree: &Node, name: &str) -> Result<Vec<Step>, String> {
    let Some(rest) = name.strip_prefix("pipeline.") else {
        let global = keys().iter().filter(|key| !key.in_pipeline);
        return path_among(&[], global, name);
    };
    let pipelines: Vec<(usize, &str)> = tree.pipelines().filter_map(|(n, name)| Some((n, name?))).collect();
    // The longest name first: a name may hold dots and begin with another name.
    let named = pipelines
        .iter()
        .filter_map(|(n, name)| Some((*n, *name, rest.strip_prefix(name)?.strip_prefix('.')?)))
        .max_by_key(|(_, name, _)| name.len());
    match (named, pipelines.as_slice()) {
        (Some((n, _, key)), _) => path_among(&in_pipeline(n, ""), pipeline_keys(), key),
        (None, [(n, _)]) => path_among(&in_pipeline(*n, ""), pipeline_keys(), rest),
        (None, several) => Err(format!(
            "no such pipeline; write pipeline.NAME.KEY with the name {}",
            alternatives(several.iter().map(|(_, name)| *name))
        )),
    }
}

fn path_among<'a>(
    table: &[Step],
    keys: impl Iterator<Item = &'a Key>,
    name: &str,
) -> Result<Vec<Step>, String> {
    let mut known = Vec::new();
    for key in keys {
        let dotted = key.path.join(".");
        let steps = table.iter().cloned().chain(key.path.iter().map(|step| Step::from(step.as_str())));
        if !key.open && dotted == name {
            return Ok(steps.collect());
        }
        match name.strip_prefix(&dotted).and_then(|rest| rest.strip_prefix('.')) {
            Some(chosen) if key.open && !chosen.is_empty() => {
                return Ok(steps.chain([Step::from(chosen)]).collect());
            }
            _ => known.push(dotted),
        }
    }
    let hint = match nearest(name, known.iter().map(String::as_str)) {
        Some(known) => format!("did you mean {known:?}?"),
        None => "docs/CONFIGURATION.md lists all keys".to_owned(),
    };
    Err(format!("unknown key {name:?}; {hint}"))
}
