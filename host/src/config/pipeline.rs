//! One pipeline: inputs, handler, outputs and policies, each key with its default and unit.
//!
//! These types are the file's tables. Defaults stand in the `Default` impls and nowhere else; the JSON schema,
//! the documentation and its tests are made from them and from the comments.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::capabilities::{Allow, Metric};
use super::host::lossy;
use super::properties::{ClientProperties, PropertiesSchema, SecretsSchema, read_later};
use super::secrets::{self, Secrets};
use super::units::{Size, duration};

/// A handler with its inputs, outputs and policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pipeline {
    /// Name in metrics, logs and the API: 1 to 63 of `a-z`, `0-9`, `.`, `_`, `-`, first a letter or a digit.
    pub name: String,
    /// The handler's Wasm file. Relative: to the configuration file's folder.
    #[serde(serialize_with = "lossy")]
    pub handler: PathBuf,
    /// When the handler's file changes, its new content takes the place of what runs, while records flow.
    pub watch: bool,
    /// Topics to read; at least one.
    pub input: Vec<String>,
    /// Topics that the handler may write to, at most 255; it names them by their place in this list.
    pub outputs: Vec<String>,
    /// Consumer group. Without it: `sandmill-` and the pipeline's name.
    pub group: String,
    /// Which records wait for each other.
    pub ordering: Ordering,
    /// Where to begin in a partition for which the group never committed anything.
    pub start: Start,
    /// What to do when the committed offset no longer exists in the partition.
    pub on_offset_lost: OnOffsetLost,
    /// What to do when the completed records above a gap no longer fit into the commit's metadata.
    pub on_metadata_full: OnMetadataFull,
    /// Calls of the handler that may exist at once, and so its instances, over all workers.
    pub max_instances: u32,
    /// Its part of the workers in relation to the other pipelines that want them at the same time: one of weight 3 gets
    /// three times as much as one of weight 1.
    pub weight: u32,
    /// The handler may run again on a record without harm, also with what it does over HTTP. Without it a pipeline that
    /// may ask servers calls its handler with one record at a time.
    pub idempotent: bool,
    /// Time between two commits.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub commit_interval: Duration,
    /// Characters of metadata that one committed partition may carry: the broker's `offset.metadata.max.bytes`.
    pub metadata_limit: u32,
    /// Settings that the handler reads, as text. They are printed and shown: not for secrets.
    pub config: BTreeMap<String, String>,
    /// librdkafka properties of this pipeline's clients, laid over `[kafka]`. Loaded: both together.
    #[serde(deserialize_with = "read_later", skip_serializing_if = "ClientProperties::is_empty")]
    #[schemars(with = "PropertiesSchema")]
    pub kafka: ClientProperties,
    /// What the handler may take, for a record, an instance, or all of them.
    pub limits: Limits,
    /// How many records go into one call of the handler.
    pub batch: Batch,
    /// How much may be taken from the input and not be complete yet.
    pub in_flight: InFlight,
    /// What happens to a record that the handler fails on.
    pub on_failure: OnFailure,
    /// When the pipeline pauses itself because too much fails.
    pub circuit: Circuit,
    /// When a version that was just deployed is taken back.
    pub rollback: Rollback,
    /// What the handler may use of the host. Everything that is not named is denied.
    pub allow: Allow,
    /// Values for the handler that nobody else shall see: where each is kept.
    #[serde(deserialize_with = "secrets::read_later", skip_serializing_if = "Secrets::is_empty")]
    #[schemars(with = "SecretsSchema")]
    pub secrets: Secrets,
    /// Metrics of the handler's own, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, Metric>,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self {
            // These three have no default; empty is refused when the configuration is checked.
            name: String::new(),
            handler: PathBuf::new(),
            input: Vec::new(),
            outputs: Vec::new(),
            // Follows from the name: set when the configuration is loaded.
            group: String::new(),
            ordering: Ordering::default(),
            start: Start::default(),
            on_offset_lost: OnOffsetLost::default(),
            on_metadata_full: OnMetadataFull::default(),
            max_instances: 256,
            weight: 1,
            idempotent: false,
            watch: true,
            commit_interval: Duration::from_millis(500),
            metadata_limit: 4096,
            config: BTreeMap::new(),
            kafka: ClientProperties::default(),
            limits: Limits::default(),
            batch: Batch::default(),
            in_flight: InFlight::default(),
            on_failure: OnFailure::default(),
            circuit: Circuit::default(),
            rollback: Rollback::default(),
            allow: Allow::default(),
            secrets: Secrets::default(),
            metrics: BTreeMap::new(),
        }
    }
}

/// Which records wait for each other. A retried record holds back what waits for it, and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ordering {
    /// Records of one key in one partition take effect in offset order; records without a key in any order.
    #[default]
    Key,
    /// All records of a partition take effect in offset order.
    Partition,
    /// No record waits for another.
    Unordered,
}

/// Where to begin in a partition for which the group never committed anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// At the oldest record that the broker still has.
    #[default]
    Earliest,
    /// After the newest record; partitions that appear later begin at their oldest all the same.
    Latest,
}

/// What to do when the committed offset no longer exists in the partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnOffsetLost {
    /// Stop the pipeline and say so: records may have been lost, and someone should decide.
    #[default]
    Halt,
    /// Go on at the oldest record that the broker still has.
    Earliest,
    /// Go on after the newest record.
    Latest,
}

/// What to do when the completed records above a gap no longer fit into the commit's metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnMetadataFull {
    /// Take no new records of that partition until the gap closes.
    #[default]
    Pause,
    /// Remember completed records up to some offset only; what lies beyond may be repeated after a crash.
    Truncate,
}

/// What a handler may take. What goes beyond fails the record in question and throws the instance away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Fuel for one record: about one unit for each Wasm instruction. Beyond: `out_of_fuel`.
    pub fuel: u64,
    /// Time for one record: computing plus waiting for the host. Beyond: `deadline`.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub deadline: Duration,
    /// The same for starting an instance, `start` included. Beyond: `initialization_failed`.
    pub start_fuel: u64,
    /// Time for starting an instance, `start` included. Beyond: `initialization_failed`.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub start_deadline: Duration,
    /// Memory and tables of one instance, and the answer that was copied out of it. Growth beyond is denied; a trap
    /// after that, or an answer that is too large beside them, is `memory_limit`.
    pub memory: Size,
    /// Memory and tables of all instances of the pipeline. A call that finds it used up waits for room. Without it: an
    /// equal part of `host.guest_memory`, and `memory` at least.
    pub total_memory: Size,
    /// Core instances of which a handler may be made: Rust, C and TinyGo take 4, Python 16. Beyond: refused when it is
    /// loaded.
    pub core_instances: u32,
    /// Linear memories of a handler. Beyond: refused when it is loaded.
    pub memories: u32,
    /// Tables of a handler. Beyond: refused when it is loaded.
    pub tables: u32,
    /// How long an instance waits for its next call before it is given up.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub idle: Duration,
    /// Output records for one input record. Beyond: `invalid_output`.
    pub output_records: u32,
    /// Bytes of all output records for one input record. Beyond: `invalid_output`.
    pub output_bytes: Size,
    /// Calls from the handler into the host for one record. Beyond: `host_error`.
    pub host_calls: u32,
    /// Log text for one record. What is beyond is cut and counted.
    pub log_bytes_per_record: Size,
    /// Log text of the pipeline in one second. What is beyond is cut and counted.
    pub log_bytes_per_second: Size,
    /// Length of the message that a failed record carries. What is beyond is cut.
    pub failure_message: Size,
    /// Requests to servers that the pipeline has open at once. More wait for their turn.
    pub http_requests: u32,
    /// Body of one request. Beyond: the request fails.
    pub http_request_bytes: Size,
    /// Body of one answer. Beyond: the request fails.
    pub http_response_bytes: Size,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: 1_000_000_000,
            deadline: Duration::from_secs(5),
            start_fuel: 1_000_000_000,
            start_deadline: Duration::from_secs(5),
            memory: Size::from_mib(64),
            // That of an only pipeline; follows from other keys: set when the configuration is loaded.
            total_memory: Size::from_gib(4),
            core_instances: 16,
            memories: 2,
            tables: 16,
            idle: Duration::from_secs(60),
            output_records: 1_000,
            output_bytes: Size::from_mib(8),
            host_calls: 10_000,
            log_bytes_per_record: Size::from_kib(4),
            log_bytes_per_second: Size::from_kib(64),
            failure_message: Size::from_kib(1),
            http_requests: 256,
            http_request_bytes: Size::from_kib(64),
            http_response_bytes: Size::from_mib(1),
        }
    }
}

/// How many records go into one call of the handler. A batch is sent when a worker is free; none waits to fill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    /// Most records in one call.
    pub records: u32,
    /// Most bytes of keys, values and headers in one call; a single larger record still goes alone.
    pub bytes: Size,
    /// How long one call should take: the number of records in it follows the handler's speed.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub time: Duration,
}

impl Default for Batch {
    fn default() -> Self {
        Self { records: 256, bytes: Size::from_mib(1), time: Duration::from_millis(2) }
    }
}

/// How much may be taken from the input and not be complete yet, over all partitions of one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InFlight {
    /// Most records; partitions pause at this number.
    pub records: u32,
    /// Most bytes of keys, values and headers; partitions pause at this size.
    pub bytes: Size,
}

impl Default for InFlight {
    fn default() -> Self {
        Self { records: 32_768, bytes: Size::from_mib(64) }
    }
}

/// What happens to a record that the handler fails on: retries first, then `then`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OnFailure {
    /// Further tries after the first; 0 for none.
    pub retries: u32,
    /// Pauses before the retries. Only records that must wait for this one wait with it.
    pub backoff: Backoff,
    /// No retry later than this after the first try, however many are left. Without it: only the number counts.
    #[serde(with = "duration::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "duration::Text")]
    pub retry_for: Option<Duration>,
    /// What follows the last try. Without it: `dead-letter` if `dead_letter_topic` is set, else `halt`.
    pub then: Then,
    /// Topic for the records that were given up, with the reason in their headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub dead_letter_topic: Option<String>,
}

impl Default for OnFailure {
    fn default() -> Self {
        Self {
            retries: 5,
            backoff: Backoff::default(),
            retry_for: None,
            then: Then::Halt,
            dead_letter_topic: None,
        }
    }
}

/// Pauses before retries: each is drawn between zero and a bound that doubles from `first` up to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Backoff {
    /// Longest pause before the first retry.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub first: Duration,
    /// Longest pause before any retry.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), max: Duration::from_secs(30) }
    }
}

/// What follows the last try of a failing record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// Publish the record to the dead letter topic, then it is complete.
    DeadLetter,
    /// Drop the record; it counts as complete.
    Skip,
    /// Stop the pipeline with everything before the record committed.
    Halt,
}

/// When a pipeline pauses itself because too much fails, in place of giving up record after record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Circuit {
    /// Pause by itself.
    pub enabled: bool,
    /// So many of a hundred of the last records have to fail; each attempt counts.
    pub percent: u32,
    /// How many are the last records.
    pub of: u32,
    /// How long it waits before it calls one record again.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub pause: Duration,
}

impl Default for Circuit {
    fn default() -> Self {
        Self { enabled: false, percent: 50, of: 100, pause: Duration::from_secs(30) }
    }
}

/// When a version that was just deployed is taken back: by what it does to records, against the version before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rollback {
    /// Take it back without being asked.
    pub automatic: bool,
    /// How long a new version is watched. A canary is watched until somebody promotes it or takes it back.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub watch: Duration,
    /// By how many of a hundred records more may fail, and by half of what failed before; surely more is too many.
    pub error_increase: u32,
    /// How long records may take, in hundredths of what they took: 200 is twice as long. Surely longer is too long.
    pub slowdown: u32,
}

impl Default for Rollback {
    fn default() -> Self {
        Self { automatic: true, watch: Duration::from_secs(300), error_increase: 1, slowdown: 200 }
    }
}
