//! What a host may hold at most, from its configuration alone: said at the start, and held by a test.
//!
//! One broker and uncompressed records are reckoned with: the client has one fetch out to each broker, and bounds it by
//! the bytes on the wire.
//!
//! Nothing here limits anything. Each part is the limit of some other place, so the sum is true as long as each
//! of them keeps to its own.

use std::collections::BTreeMap;
use std::fmt;

use super::{options, workers};
use crate::config::{Config, Metric, Pipeline, Size};
use crate::kafka::properties::{self, ClientMemory};
use crate::telemetry::guest::LABEL_VALUE;
use crate::wasm::stack_bytes;

/// The program, its threads, what Wasm modules compile to, and what allocators keep back. Measured: a host of
/// two pipelines of small handlers holds 40 MiB before its first record.
const PROGRAM: u64 = 96 << 20;
/// What a pipeline keeps for use without allocation: batches (16 MiB) and lists of offsets (32 MiB).
const SPARE: u64 = 48 << 20;
/// What is taken from the client at once, at most, beyond what may be in flight.
const CHUNK: u64 = 4 << 20;
/// What the client keeps for a record beside its bytes, generously: an operation when it was fetched, a message
/// when it is to be sent.
const RECORD_OF_CLIENT: u64 = 384;
/// What a record in flight takes beside what it counts, at most: that of one which waits for a retry in a queue
/// of its key, with its timer. Measured (`memory` in docs/BENCHMARKS.md): 909 bytes, of which 156 count.
const RECORD_IN_FLIGHT: u64 = 1_024;
/// What each partition may hold, however many there are.
const LEAST_OF_PARTITION: u64 = 1 << 20;
/// A series of a handler's own metrics beside its labels: its cell, its place in the table, and allocators' overhead.
const SERIES: u64 = 512;
/// The same as an instance has it pending.
const PENDING: u64 = 128;
/// What a module compiles to, as far as known: CPython has 60 MiB.
const CODE: u64 = 64 << 20;
/// Modules that are sent at once, or wait for their turn.
const SENT: u64 = (super::deploys::WAITING + MODULES_READ) as u64;
/// Modules that are read at once.
const MODULES_READ: usize = crate::http::MODULES;
/// The same as most have it: what a few tens of thousands of functions become.
const SMALL_CODE: u64 = 16 << 20;
/// Heads of a request and its answer, and the connection's buffers.
const HEADS: u64 = 192 << 10;
/// Partitions for which that is within `in_flight.bytes`, or more are reckoned with.
const PARTITIONS: u64 = 64;

/// The bound, by what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryBound {
    parts: Vec<(String, u64)>,
}

impl MemoryBound {
    /// Of a host with this configuration, for at most 64 partitions of each pipeline; each one more may add 1 MiB.
    pub fn of(config: &Config) -> Self {
        let mut parts = vec![
            ("the program".to_owned(), PROGRAM),
            ("instances (host.guest_memory)".to_owned(), guests(config)),
            ("their stacks (host.stack)".to_owned(), stacks(config)),
            ("what workers copy out of them at once".to_owned(), copied(config)),
        ];
        parts.push(("deploys".to_owned(), deploys(config)));
        let workers = workers(&config.host);
        for pipeline in &config.pipelines {
            let user: BTreeMap<String, String> =
                pipeline.kafka.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            parts.push((
                format!("pipeline {:?}", pipeline.name),
                of_pipeline(
                    pipeline,
                    options::instances(pipeline, workers) as u64,
                    properties::memory(&user),
                ),
            ));
        }
        MemoryBound { parts }
    }

    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|(_, bytes)| bytes).sum()
    }
}

impl fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| Size::from_mib(bytes.div_ceil(1 << 20));
        write!(f, "at most {}", mib(self.bytes()))?;
        for (index, (what, bytes)) in self.parts.iter().enumerate() {
            write!(f, "{} {what} {}", if index == 0 { ":" } else { "," }, mib(*bytes))?;
        }
        Ok(())
    }
}

/// Instances share budgets; a pipeline cannot use more of the host's than its own has, or all of its instances could.
fn guests(config: &Config) -> u64 {
    let workers = workers(&config.host);
    let all = config.pipelines.iter().map(|pipeline| {
        let instances = options::instances(pipeline, workers) as u64;
        instances.saturating_mul(pipeline.limits.memory.bytes()).min(pipeline.limits.total_memory.bytes())
    });
    config.host.guest_memory.bytes().min(all.fold(0, u64::saturating_add))
}

/// An answer, or the arguments of a host function, before they are counted or gone: one for each worker.
fn copied(config: &Config) -> u64 {
    let largest = config.pipelines.iter().map(|pipeline| pipeline.limits.memory.bytes()).max();
    (workers(&config.host) as u64).saturating_mul(largest.unwrap_or(0))
}

/// One module is loaded at a time: its bytes, twice, what it is compiled to, twice, and an instance on trial beside one of
/// what runs. Others wait, or are on their way, if they may come over HTTP. Each pipeline keeps the module that ran before,
/// and may try one, as a shadow with a copied batch and its answer for each worker.
fn deploys(config: &Config) -> u64 {
    let module = config.host.module_size.bytes();
    let largest = config.pipelines.iter().map(|pipeline| pipeline.limits.memory.bytes()).max();
    let sent = if config.http.as_ref().is_some_and(|http| http.admin) { SENT * module } else { 0 };
    let of_pipeline = |pipeline: &Pipeline| {
        let shadow = pipeline.batch.bytes.bytes() + pipeline.limits.memory.bytes();
        2 * SMALL_CODE + workers(&config.host) as u64 * shadow
    };
    2 * module
        + 2 * CODE
        + 2 * largest.unwrap_or(0)
        + sent
        + config.pipelines.iter().map(of_pipeline).sum::<u64>()
}

/// Each instance that lives may have its stack, and keeps it while it is warm.
fn stacks(config: &Config) -> u64 {
    let workers = workers(&config.host);
    let instances = config.pipelines.iter().map(|pipeline| options::instances(pipeline, workers) as u64);
    instances.sum::<u64>().saturating_mul(stack_bytes(config.host.stack.bytes() as usize) as u64)
}

fn of_pipeline(pipeline: &Pipeline, instances: u64, client: ClientMemory) -> u64 {
    let in_flight = pipeline.in_flight.bytes.bytes().max(PARTITIONS * LEAST_OF_PARTITION) + CHUNK;
    let waiting = u64::from(pipeline.in_flight.records) * RECORD_IN_FLIGHT;
    let fetched = client.fetched + client.one_fetch + client.fetched_records * RECORD_OF_CLIENT;
    let outputs = client.outputs + client.outputs_records * RECORD_OF_CLIENT;
    in_flight + waiting + fetched + outputs + asked(pipeline) + counted(pipeline, instances) + SPARE
}

/// Series of the handler's own metrics, one more of each metric for all others, and what instances have pending of them.
fn counted(pipeline: &Pipeline, instances: u64) -> u64 {
    let of_metric = |metric: &Metric| {
        let (labels, buckets) = (metric.labels.len() as u64, metric.buckets.len() as u64 + 1);
        // Labels are found by their values, and shown by them: they are there twice.
        let label = 2 * (LABEL_VALUE + size_of::<String>()) as u64;
        let cell = SERIES + labels * label + buckets * size_of::<u64>() as u64;
        let pending = PENDING + buckets * size_of::<u32>() as u64;
        (u64::from(metric.series) + 1) * (cell + instances * pending)
    };
    pipeline.metrics.values().map(of_metric).sum()
}

/// Requests to servers, each with its body and its answer's. An answer that the handler holds keeps its place.
fn asked(pipeline: &Pipeline) -> u64 {
    let limits = &pipeline.limits;
    let each = limits.http_request_bytes.bytes() + limits.http_response_bytes.bytes() + HEADS;
    if pipeline.allow.http.is_empty() { 0 } else { u64::from(limits.http_requests) * each }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    fn config(text: &str) -> Config {
        let pipelines = [("a", text), ("b", "")].map(|(name, more)| {
            format!("[[pipeline]]\nname = {name:?}\nhandler = \"h.wasm\"\ninput = [\"in-{name}\"]\n{more}\n")
        });
        let text = format!("[kafka]\n\"bootstrap.servers\" = \"b:9092\"\n{}", pipelines.concat());
        let home = ("HOME".to_owned(), "/home/mill".to_owned());
        Config::load(Source::new([home]).text("sandmill.toml", text)).expect("it is valid")
    }

    #[test]
    fn each_limit_that_is_raised_raises_the_bound_by_as_much() {
        let default = MemoryBound::of(&config("")).bytes();
        let grown = |text: &str| MemoryBound::of(&config(text)).bytes() - default;
        assert_eq!(grown("[pipeline.in_flight]\nbytes = \"164MiB\""), 100 << 20);
        assert_eq!(grown("[pipeline.kafka]\n\"queued.max.messages.kbytes\" = 75536"), 10_000 << 10);
        assert_eq!(grown("[pipeline.kafka]\n\"queue.buffering.max.kbytes\" = 75536"), 10_000 << 10);
        let asks = grown("[pipeline.allow]\nhttp = [\"https://a.b\"]");
        assert_eq!(asks, 256 * ((1 << 20) + (64 << 10) + HEADS));
        let metric = |series| grown(&format!("[pipeline.metrics.seen]\nlabels = [\"a\"]\nseries = {series}"));
        let instances = options::instances(&config("").pipelines[0], workers(&config("").host)) as u64;
        let each = metric(2) - metric(1);
        assert!((128..4096).contains(&(each - instances * PENDING)), "{each} bytes for each series");
    }

    #[test]
    fn few_small_instances_need_less_than_the_host_would_give() {
        let mut config = config("");
        let (default, before) = (MemoryBound::of(&config).bytes(), stacks(&config));
        for pipeline in &mut config.pipelines {
            pipeline.max_instances = 2;
        }
        let instances = 2 * options::instances(&config.pipelines[0], workers(&config.host)) as u64;
        let less = (4 << 30) - instances * (64 << 20) + before - stacks(&config);
        assert_eq!(default - MemoryBound::of(&config).bytes(), less);
    }

    #[test]
    fn it_says_what_is_for_what() {
        let text = MemoryBound::of(&config("")).to_string();
        assert!(text.starts_with("at most ") && text.contains("pipeline \"b\""), "{text}");
    }
}
