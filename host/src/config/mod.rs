//! File, environment and flags become one validated [`Config`].
//!
//! Called once, by the command line, before any thread starts; what it returns is never changed afterwards and
//! is handed to the parts of the host by reference or clone. Nothing here looks at the process: the environment
//! is an argument. The only input and output is reading the file and the files that secrets are kept in.
//!
//! ```text
//! file ──► tree ──► environment, flags laid over it ──► typed tables ──► client properties ──► checks ──► Config
//!          tree     layers                              reader           properties            check
//! ```
//!
//! A mistake is told with file, line and column (or the variable, or the flag), the key, what is wrong and what
//! to do; all that are independent are told at once. Types, keys, defaults and descriptions stand once, on the
//! types in `pipeline` and `host`; the JSON schema, the names of the variables and the tests of the
//! documentation are made from them.

mod admin;
mod bounds;
mod capabilities;
mod check;
mod error;
mod host;
mod layers;
mod librdkafka;
mod pipeline;
mod print;
mod properties;
mod reader;
mod schema;
mod secrets;
mod source;
mod suggest;
#[cfg(test)]
mod tests;
mod tree;
mod units;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

pub use admin::{Http, Modules, Reads, Registry, Role, Text};
pub use capabilities::{Allow, Metric, MetricKind, Number};
pub use error::{Error, Errors, Origin};
pub use host::{Host, Listen, ListenError};
pub use layers::OTHER_VARIABLES;
pub use librdkafka::{RESERVED, names as client_property_names};
pub use pipeline::{
    Backoff, Batch, Circuit, InFlight, Limits, OnFailure, OnMetadataFull, OnOffsetLost, Ordering, Pipeline,
    Rollback, Start, Then,
};
pub use properties::ClientProperties;
pub use schema::schema;
pub use secrets::Secrets;
pub use source::{Overrides, Source};
pub use units::{Size, SizeError};

use admin::HttpTable;
use error::{Findings, folder_of};
use properties::{PropertiesSchema, Sources, read_later};
use source::SourceFile;
use tree::{Node, in_pipeline};

/// The whole configuration, complete and checked. Displays as the file that would say the same, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// librdkafka properties of all clients. A pipeline's own are in its [`Pipeline::kafka`], these included.
    pub kafka: ClientProperties,
    /// The host itself.
    pub host: Host,
    /// The HTTP server; `None` opens no socket.
    pub http: Option<Http>,
    /// As it is written.
    written_http: HttpTable,
    /// Which modules may run, and where they are fetched from.
    pub modules: Modules,
    /// At least one, each with its own name.
    pub pipelines: Vec<Pipeline>,
}

/// Configuration of a Sandmill host.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct File {
    /// librdkafka properties of all clients: text, numbers, true or false, or where a secret is kept.
    #[serde(deserialize_with = "read_later")]
    #[schemars(with = "PropertiesSchema")]
    kafka: ClientProperties,
    /// The host itself: its folder, its memory, its threads.
    host: Host,
    /// The HTTP server: metrics, health, API, console.
    http: HttpTable,
    /// Which modules may run, and where they are fetched from.
    modules: Modules,
    /// The pipelines, one table each.
    pipeline: Vec<Pipeline>,
}

impl Config {
    /// Reads, lays over each other and checks everything that `source` names.
    ///
    /// # Errors
    /// Every independent mistake, each with its place and what to do. After mistakes of spelling and types the
    /// checks between keys are left out: they would report what follows from those.
    #[expect(clippy::needless_pass_by_value, reason = "holds passwords: better gone once it is used")]
    pub fn load(source: Source) -> Result<Self, Errors> {
        let mut findings = Findings::default();
        let mut tree = read_file(&source, &mut findings);
        findings.check()?;
        if source.file.is_none() {
            layers::pipeline_of_flags(&mut tree, &source.overrides, &mut findings);
        }
        layers::environment(&mut tree, &source.environment, &mut findings);
        layers::flags(&mut tree, &source.overrides, source.file.is_some(), &mut findings);

        let file = reader::read::<File>(tree.clone(), &mut findings);
        let folder = source.file_name().map(folder_of).unwrap_or_default();
        let sources = Sources { environment: &source.environment, folder: &folder };
        let mut kafka = properties::read(&tree, &["kafka".into()], &sources, &mut findings);
        // Java clients choose the same partitions; what a user sets wins.
        if kafka.get("partitioner").is_none() {
            kafka.set("partitioner", "murmur2_random");
        }
        let mut own = Vec::new();
        for (n, _) in tree.pipelines() {
            let properties = properties::read(&tree, &in_pipeline(n, "kafka"), &sources, &mut findings);
            let secrets = secrets::read(&tree, &in_pipeline(n, "secrets"), &sources, &mut findings);
            own.push((properties.over(&kafka), secrets));
        }
        findings.check()?;
        // Without findings there is a file.
        let File { host, http: mut written_http, mut modules, pipeline: pipelines, .. } =
            file.unwrap_or_default();
        let http = written_http.resolve(&tree, &sources, &mut findings);
        modules.resolve(&tree, &sources, &mut findings);
        let mut config = Self { kafka, host, http, written_http, modules, pipelines };
        config.complete(&tree, own, &source, &folder, &mut findings);
        check::check(&config, &tree, &mut findings);
        findings.check()?;
        Ok(config)
    }

    /// The same for those that have nothing to do with the HTTP server.
    #[must_use]
    pub fn without_tokens(&self) -> Self {
        Config { http: None, ..self.clone() }
    }

    /// Sets the brokers' address of all clients, as for an embedded broker that has just started.
    pub fn set_brokers(&mut self, servers: &str) {
        self.kafka.set("bootstrap.servers", servers);
        for pipeline in &mut self.pipelines {
            pipeline.kafka.set("bootstrap.servers", servers);
        }
    }

    /// Fills in what depends on other keys or on the environment.
    fn complete(
        &mut self,
        tree: &Node,
        read: Vec<(ClientProperties, Secrets)>,
        source: &Source,
        folder: &Path,
        findings: &mut Findings,
    ) {
        let data_dir = ["host".into(), "data_dir".into()];
        if !self.host.data_dir.as_os_str().is_empty() {
            self.host.data_dir = resolve(&self.host.data_dir, &tree.origin(&data_dir), folder);
        } else if let Some(cache) = cache_folder(&source.environment) {
            self.host.data_dir = cache.join("sandmill");
        } else {
            let missing = "missing key \"data_dir\" in [host]: neither XDG_CACHE_HOME nor HOME says where a default \
                           could be; add data_dir = \"/var/lib/sandmill\"";
            findings.add(tree.origin(&data_dir), missing);
        }
        let part = part_of(self.host.guest_memory, self.pipelines.len());
        for (n, (pipeline, (kafka, secrets))) in self.pipelines.iter_mut().zip(read).enumerate() {
            let written = |key: &str| tree.get(&in_pipeline(n, key)).is_some();
            pipeline.kafka = kafka;
            pipeline.secrets = secrets;
            if source.overrides.embedded_broker {
                pipeline.kafka.remove("bootstrap.servers");
            } else if pipeline.kafka.get("bootstrap.servers").is_none_or(str::is_empty) {
                let name = tree.table_name(&in_pipeline(n, ""));
                let missing = format!(
                    "no brokers for {name}; add \"bootstrap.servers\" = \"host:9092\" to [kafka], or give --brokers"
                );
                findings.add(tree.origin(&["kafka".into()]), missing);
            }
            if !pipeline.handler.as_os_str().is_empty() {
                let at = tree.origin(&in_pipeline(n, "handler"));
                pipeline.handler = resolve(&pipeline.handler, &at, folder);
            }
            if !written("group") {
                pipeline.group = format!("sandmill-{}", pipeline.name);
            }
            if !written("limits.total_memory") {
                pipeline.limits.total_memory = part.max(pipeline.limits.memory);
            }
            if !written("on_failure.then") && pipeline.on_failure.dead_letter_topic.is_some() {
                pipeline.on_failure.then = Then::DeadLetter;
            }
        }
        if source.overrides.embedded_broker {
            self.kafka.remove("bootstrap.servers");
        }
    }
}

/// What each of `pipelines` gets of `memory`: in whole MiB, if it is so much.
fn part_of(memory: Size, pipelines: usize) -> Size {
    /// As it is shown.
    const STEP: u64 = 1 << 20;
    let part = memory.bytes() / (pipelines as u64).max(1);
    Size::from_bytes(if part > STEP { part - part % STEP } else { part })
}

/// The tree of the file, or an empty one where there is none.
fn read_file(source: &Source, findings: &mut Findings) -> Node {
    let nothing = Node::empty_table(Origin::Nowhere);
    match &source.file {
        Some(SourceFile::Text { name, text }) => Node::parse(name, text, findings),
        Some(SourceFile::Path(path)) => match fs::read_to_string(path) {
            Ok(text) => Node::parse(path, &text, findings),
            Err(error) => {
                findings.add(Origin::Nowhere, format!("cannot read {}: {error}", path.display()));
                nothing
            }
        },
        None if source.overrides.handler.is_none() => {
            findings.add(Origin::Nowhere, "nothing to run; give HANDLER.wasm with --input, or --config FILE");
            nothing
        }
        None => nothing,
    }
}

/// A path in the file starts from the file's folder, any other from the working directory.
fn resolve(path: &Path, at: &Origin, folder: &Path) -> PathBuf {
    match at {
        Origin::File { .. } => folder.join(path),
        _ => path.to_path_buf(),
    }
}

/// The user's folder for what can be made again, after the XDG base directory specification (relative paths are
/// to be ignored).
fn cache_folder(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let absolute = |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
}
