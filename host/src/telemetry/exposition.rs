//! The Prometheus text: snapshots in, families out. The only place that names `prometheus`.
//!
//! Nothing is registered and nothing lives on between scrapes, so the series of a revoked partition, or of a
//! pipeline that ended, are gone with the next snapshot.

use std::collections::BTreeMap;

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as Proto, LabelPair, Metric, MetricFamily, MetricType,
};
use prometheus::{Encoder, TextEncoder};

use super::executions::STATUSES;
use super::guest::USES;
use super::own::Own;
use super::registry::{ModuleEntry, PipelineState, Registry};
use super::requests::RESULTS;
use super::snapshot::PipelineSnapshot;
use super::{Histogram, snapshot};
use crate::machine::commit::REASONS;
use crate::outcome::Outcome;
use crate::wasm::Capabilities;

/// One family: its name, type and help. `docs/METRICS.md` lists the same, held by a test.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricType,
    /// What it tells.
    pub help: &'static str,
    /// Labels, in order.
    pub labels: &'static [&'static str],
}

macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(const $constant: Family = Family {
            name: $name, kind: MetricType::$kind, help: $help, labels: &[$($label),*],
        };)*
        /// All families, in the order in which they are written.
        pub const FAMILIES: &[Family] = &[$($constant),*];
    };
}

families! {
    BUILD = GAUGE "sandmill_build_info" ["version", "wasmtime"]
        "Always 1; the labels name the version of the host and of its Wasm engine.";
    UP = GAUGE "sandmill_pipeline_up" ["pipeline"]
        "1 while the pipeline runs or waits for its first assignment, 0 once it ended.";
    PROCESSED = COUNTER "consumer_processed_total" ["pipeline", "topic", "partition", "status"]
        "Records done for good: success, or failure for those dead-lettered or skipped. A retry is neither.";
    LATENCY = HISTOGRAM "consumer_processing_latency_seconds" ["pipeline", "topic", "partition"]
        "From a record's first dispatch to its completion, acknowledged outputs included, measured by the host.";
    IN_FLIGHT = GAUGE "consumer_in_flight_count" ["pipeline", "topic"]
        "Records polled and not complete.";
    QUEUE = GAUGE "consumer_internal_queue_depth" ["pipeline", "topic", "virtual_partition"]
        "Records that wait in one shard of a partition's keys for a worker or for their key.";
    LAG = GAUGE "consumer_parallel_lag" ["pipeline", "topic", "partition"]
        "True lag in offsets: high watermark minus safe offset, below which every record is complete.";
    GAPS = GAUGE "consumer_gap_count" ["pipeline", "topic", "partition"]
        "Ranges of incomplete records that lie below a completed one.";
    BACKPRESSURE = GAUGE "consumer_backpressure_active" ["pipeline", "topic"]
        "1 while records of the topic are held back because too many are in flight.";
    OLDEST = GAUGE "consumer_oldest_task_duration_seconds" ["pipeline", "topic", "partition"]
        "Time since the first dispatch of the oldest incomplete record; 0 without one.";
    METADATA = GAUGE "consumer_metadata_size_bytes" ["pipeline", "topic"]
        "Size of the last commit metadata written, the largest over the topic's partitions.";
    METADATA_FULL = GAUGE "sandmill_metadata_full" ["pipeline", "topic", "partition"]
        "1 while no new records are admitted, because the commit metadata has no room for what may come of them.";
    METADATA_TRUNCATED = GAUGE "sandmill_metadata_truncated_records" ["pipeline", "topic", "partition"]
        "Completed records that the last commit had no room to name; they run again after a crash.";
    COMMIT_FAILURES = COUNTER "consumer_commit_failures_total" ["pipeline", "topic", "partition", "reason"]
        "Commits that the broker did not take, by reason; each is taken again.";
    DLQ_FAILURES = COUNTER "consumer_dlq_publish_failures_total" ["pipeline"]
        "Dead letters that the broker refused for good; the pipeline halts.";
    CIRCUIT = GAUGE "sandmill_circuit_open" ["pipeline"]
        "1 while the pipeline has paused itself because too many records failed.";
    CIRCUIT_OPENINGS = COUNTER "sandmill_circuit_openings_total" ["pipeline"]
        "How often the pipeline paused itself because too many records failed.";
    EXECUTIONS = COUNTER "handler_executions_total" ["pipeline", "handler", "module_version"]
        "Calls of the handler, each with one record or a batch.";
    DURATION = HISTOGRAM "handler_execution_duration_seconds" ["pipeline", "handler", "module_version", "status"]
        "Length of calls, computing and waiting on the host, by how they ended.";
    COMPLETIONS = COUNTER "handler_completions_total" ["pipeline", "handler", "module_version", "status"]
        "Calls that came back with an answer: complete (no record failed), partial, or failed (all did).";
    ERRORS = COUNTER "handler_errors_total" ["pipeline", "handler", "module_version", "error_type"]
        "Failures: one for each attempt at a record that failed, and for each batch that ended without an answer.";
    ACTIVE = GAUGE "handler_active_count" ["pipeline", "handler", "module_version"]
        "Calls that run or wait on the host.";
    CAPABILITY_CALLS = COUNTER "handler_capability_calls_total" ["pipeline", "capability"]
        "Uses of what the handler is allowed: lines, keys of config, records of metrics, secrets, requests.";
    CAPABILITY_SECONDS = COUNTER "handler_capability_seconds_total" ["pipeline", "capability"]
        "Time that the host took for them; for http, until the answer was read.";
    LOG_LINES = COUNTER "handler_log_lines_total" ["pipeline", "fate"]
        "Lines that handlers wrote: written to the host's log, or dropped because a limit was reached.";
    REQUESTS = COUNTER "handler_http_requests_total" ["pipeline", "target", "result"]
        "Requests to the servers of allow.http, by how they ended.";
    REQUESTS_DENIED = COUNTER "handler_http_requests_denied_total" ["pipeline"]
        "Requests that were not made: allow.http names no such server or method, or the instance had too many.";
    REQUEST_SECONDS = HISTOGRAM "handler_http_request_duration_seconds" ["pipeline", "target"]
        "From a request to its answer's last byte, waiting for a turn included.";
    REQUESTS_OPEN = GAUGE "handler_http_requests_open" ["pipeline"]
        "Requests that wait for their turn or for their answer.";
}

/// All families of all pipelines, in the Prometheus text format.
pub fn text(registry: &Registry, version: &str, wasmtime: &str) -> String {
    let mut page = Page::default();
    page.gauge(BUILD, &[version, wasmtime], 1.0);
    for entry in registry.pipelines() {
        let (snapshot, _) = entry.snapshot();
        let up = !matches!(entry.state(), PipelineState::Ended(_));
        page.gauge(UP, &[&entry.name], f64::from(u8::from(up)));
        page.pipeline(&entry.name, &snapshot);
        for module in entry.modules() {
            page.handler(&entry.name, &module);
        }
        page.guest(&entry.name, &entry.allowance.settings.capabilities);
    }
    page.encode()
}

/// Families that fill up.
#[derive(Default)]
struct Page {
    metrics: BTreeMap<&'static str, Vec<Metric>>,
    /// What handlers declare.
    own: Own,
}

impl Page {
    fn pipeline(&mut self, name: &str, snapshot: &PipelineSnapshot) {
        let mut topics: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for partition in &snapshot.partitions {
            self.partition(name, partition);
            let (in_flight, metadata) = topics.entry(&partition.topic).or_default();
            *in_flight += partition.in_flight;
            *metadata = partition.metadata_size.max(*metadata);
        }
        for (topic, (in_flight, metadata)) in topics {
            self.gauge(IN_FLIGHT, &[name, topic], in_flight as f64);
            self.gauge(METADATA, &[name, topic], metadata as f64);
            let held_back = snapshot.backpressure.iter().any(|held| held == topic);
            self.gauge(BACKPRESSURE, &[name, topic], f64::from(u8::from(held_back)));
        }
        for shard in &snapshot.shards {
            self.gauge(QUEUE, &[name, &shard.topic, &shard.shard.to_string()], shard.queued as f64);
        }
        self.gauge(CIRCUIT, &[name], f64::from(u8::from(snapshot.circuit.is_some())));
        self.counter(CIRCUIT_OPENINGS, &[name], snapshot.circuit_openings);
        self.counter(DLQ_FAILURES, &[name], snapshot.dead_letter_failures);
    }

    fn partition(&mut self, name: &str, partition: &snapshot::PartitionSnapshot) {
        let number = partition.partition.to_string();
        let labels = [name, &partition.topic, &number];
        let with = |last| [name, &partition.topic, &number, last];
        self.counter(PROCESSED, &with("success"), partition.succeeded);
        self.counter(PROCESSED, &with("failure"), partition.failed);
        self.histogram(LATENCY, &labels, &partition.latency);
        self.gauge(LAG, &labels, partition.lag as f64);
        self.gauge(GAPS, &labels, partition.gaps as f64);
        self.gauge(METADATA_FULL, &labels, f64::from(u8::from(partition.metadata_full)));
        self.gauge(METADATA_TRUNCATED, &labels, partition.metadata_truncated as f64);
        let oldest = partition.blocked_by.as_ref().and_then(|blocked| blocked.age_seconds);
        self.gauge(OLDEST, &labels, oldest.unwrap_or(0.0));
        for (reason, &count) in REASONS.iter().zip(&partition.commit_failures) {
            self.counter(COMMIT_FAILURES, &with(reason), count);
        }
    }

    fn handler(&mut self, pipeline: &str, module: &ModuleEntry) {
        let counts = module.executions.read();
        let labels = [pipeline, &module.handler, module.version()];
        let with = |last| [labels[0], labels[1], labels[2], last];
        self.counter(EXECUTIONS, &labels, counts.executions());
        self.gauge(ACTIVE, &labels, counts.active as f64);
        for (index, (status, durations)) in STATUSES.iter().zip(&counts.ended).enumerate() {
            self.histogram(DURATION, &with(status), durations);
            // The last status is a call without an answer: no completion.
            if index + 1 < STATUSES.len() {
                self.counter(COMPLETIONS, &with(status), durations.count());
            }
        }
        for (outcome, &count) in Outcome::ERRORS.iter().zip(&counts.errors) {
            self.counter(ERRORS, &with(outcome.as_str()), count);
        }
    }

    fn guest(&mut self, name: &str, guest: &Capabilities) {
        for (capability, (calls, seconds)) in USES.iter().zip(guest.uses.read()) {
            self.counter(CAPABILITY_CALLS, &[name, capability], calls);
            self.fraction(CAPABILITY_SECONDS, &[name, capability], seconds);
        }
        let (written, dropped) = guest.uses.lines();
        self.counter(LOG_LINES, &[name, "written"], written);
        self.counter(LOG_LINES, &[name, "dropped"], dropped);
        let (mut calls, mut seconds) = (0, 0.0);
        if let Some(requests) = guest.http.as_ref().map(|outgoing| outgoing.requests()) {
            requests.read(|target, results, took| {
                for (result, &count) in RESULTS.iter().zip(&results) {
                    self.counter(REQUESTS, &[name, target, result], count);
                }
                self.histogram(REQUEST_SECONDS, &[name, target], took);
                calls += took.count();
                seconds += took.sum();
            });
            calls += requests.denied_count();
            self.counter(REQUESTS_DENIED, &[name], requests.denied_count());
            self.gauge(REQUESTS_OPEN, &[name], requests.open() as f64);
        }
        self.counter(CAPABILITY_CALLS, &[name, "http"], calls);
        self.fraction(CAPABILITY_SECONDS, &[name, "http"], seconds);
        self.own.add(name, &guest.metrics);
    }

    fn fraction(&mut self, family: Family, labels: &[&str], value: f64) {
        let mut counter = Counter::default();
        counter.set_value(value);
        self.add(family, labels, |metric| metric.set_counter(counter));
    }

    fn gauge(&mut self, family: Family, labels: &[&str], value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        self.add(family, labels, |metric| metric.set_gauge(gauge));
    }

    fn counter(&mut self, family: Family, labels: &[&str], value: u64) {
        let mut counter = Counter::default();
        counter.set_value(value as f64);
        self.add(family, labels, |metric| metric.set_counter(counter));
    }

    fn histogram(&mut self, family: Family, labels: &[&str], histogram: &Histogram) {
        let proto = proto(histogram.count(), histogram.sum(), histogram.cumulative());
        self.add(family, labels, |metric| metric.set_histogram(proto));
    }

    fn add(&mut self, family: Family, labels: &[&str], set: impl FnOnce(&mut Metric)) {
        debug_assert_eq!(family.labels.len(), labels.len(), "labels of {}", family.name);
        let mut metric = Metric::default();
        metric.set_label(family.labels.iter().zip(labels).map(|(name, value)| label(name, value)).collect());
        set(&mut metric);
        self.metrics.entry(family.name).or_default().push(metric);
    }

    fn encode(mut self) -> String {
        let own = std::mem::take(&mut self.own);
        let families: Vec<MetricFamily> = FAMILIES
            .iter()
            .filter_map(|family| {
                let metrics = self.metrics.remove(family.name)?;
                let mut proto = MetricFamily::default();
                proto.set_name(family.name.to_owned());
                proto.set_help(family.help.to_owned());
                proto.set_field_type(family.kind);
                proto.set_metric(metrics);
                Some(proto)
            })
            .chain(own.families())
            .collect();
        let mut page = Vec::new();
        TextEncoder::new()
            .encode(&families, &mut page)
            .expect("families have names and metrics, a vector takes all");
        String::from_utf8(page).expect("names, labels and numbers are text")
    }
}

pub(super) fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

/// A histogram from how many values lie at or below each bound.
pub(super) fn proto(count: u64, sum: f64, cumulative: impl Iterator<Item = (f64, u64)>) -> Proto {
    let mut proto = Proto::default();
    proto.set_sample_count(count);
    proto.set_sample_sum(sum);
    let buckets = cumulative.map(|(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    });
    proto.set_bucket(buckets.collect());
    proto
}
