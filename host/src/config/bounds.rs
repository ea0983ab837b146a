//! The smallest and largest value of every number, size and duration, in one table: for the check, the JSON
//! schema and the documentation.

use std::fmt;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::units::Size;
use super::{Host, Pipeline};

/// A number with its unit.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) enum Amount {
    Count(u64),
    Bytes(Size),
    Time(Duration),
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            // A bare number would be read as a count.
            Self::Bytes(size) if !size.bytes().is_multiple_of(1024) => write!(f, "{size}B"),
            Self::Bytes(size) => size.fmt(f),
            Self::Time(time) => humantime::format_duration(*time).fmt(f),
        }
    }
}

/// How a bound finds its value; `None` where the key is not set.
enum Of {
    Host(fn(&Host) -> Option<Amount>),
    Pipeline(fn(&Pipeline) -> Option<Amount>),
}

pub(super) struct Bound {
    /// With dots; from the pipeline if it is in one.
    pub key: &'static str,
    of: Of,
    min: Amount,
    max: Amount,
}

impl Bound {
    const fn host(key: &'static str, of: fn(&Host) -> Option<Amount>, min: Amount, max: Amount) -> Self {
        Self { key, of: Of::Host(of), min, max }
    }

    const fn pipeline(
        key: &'static str,
        of: fn(&Pipeline) -> Option<Amount>,
        min: Amount,
        max: Amount,
    ) -> Self {
        Self { key, of: Of::Pipeline(of), min, max }
    }

    pub fn in_pipeline(&self) -> bool {
        matches!(self.of, Of::Pipeline(_))
    }

    /// What is wrong with this key of the host, if it is one and anything is.
    pub fn check_host(&self, host: &Host) -> Option<String> {
        match self.of {
            Of::Host(of) => self.check(of(host)?),
            Of::Pipeline(_) => None,
        }
    }

    /// What is wrong with this key of a pipeline, if it is one and anything is.
    pub fn check_pipeline(&self, pipeline: &Pipeline) -> Option<String> {
        match self.of {
            Of::Host(_) => None,
            Of::Pipeline(of) => self.check(of(pipeline)?),
        }
    }

    fn check(&self, value: Amount) -> Option<String> {
        let inside = self.min <= value && value <= self.max;
        (!inside).then(|| format!("{value} is out of range; choose from {self}"))
    }

    /// Adds the bound to the key's schema.
    pub fn describe(&self, schema: &mut Json) {
        if let (Amount::Count(min), Amount::Count(max)) = (self.min, self.max) {
            schema["minimum"] = json!(min);
            schema["maximum"] = json!(max);
        }
        let description = schema["description"].as_str().unwrap_or_default();
        schema["description"] = json!(format!("{description} From {self}."));
    }
}

/// `1ms to 1h`.
impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.min, self.max)
    }
}

const fn count(count: u64) -> Amount {
    Amount::Count(count)
}

const fn bytes(bytes: u64) -> Amount {
    Amount::Bytes(Size::from_bytes(bytes))
}

const fn millis(millis: u64) -> Amount {
    Amount::Time(Duration::from_millis(millis))
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR: u64 = 3_600_000;

/// A duration is bounded so that adding it to a moment cannot overflow, a count so that what is allocated for
/// it stays sane; sizes follow from Wasm (pages of 64 KiB, 32-bit memories) and from what one call may lift.
pub(super) const BOUNDS: &[Bound] = &[
    Bound::host("host.guest_memory", |h| Some(Amount::Bytes(h.guest_memory)), bytes(MIB), bytes(1 << 44)),
    Bound::host("host.stack", |h| Some(Amount::Bytes(h.stack)), bytes(64 * KIB), bytes(64 * MIB)),
    Bound::host("host.workers", |h| h.workers.map(|n| count(n.get() as u64)), count(1), count(1024)),
    Bound::host("host.compile_time", |h| Some(Amount::Time(h.compile_time)), millis(100), millis(HOUR)),
    Bound::host(
        "host.compile_memory",
        |h| Some(Amount::Bytes(h.compile_memory)),
        bytes(256 * MIB),
        bytes(64 * GIB),
    ),
    Bound::host("host.module_size", |h| Some(Amount::Bytes(h.module_size)), bytes(KIB), bytes(256 * MIB)),
    Bound::host(
        "host.module_functions",
        |h| Some(count(h.module_functions.into())),
        count(1),
        count(10_000_000),
    ),
    Bound::host("host.drain_timeout", |h| Some(Amount::Time(h.drain_timeout)), millis(1), millis(HOUR)),
    Bound::pipeline("weight", |p| Some(count(p.weight.into())), count(1), count(100)),
    Bound::pipeline("max_instances", |p| Some(count(p.max_instances.into())), count(1), count(100_000)),
    Bound::pipeline("commit_interval", |p| Some(Amount::Time(p.commit_interval)), millis(1), millis(HOUR)),
    Bound::pipeline("metadata_limit", |p| Some(count(p.metadata_limit.into())), count(256), count(32_767)),
    Bound::pipeline("limits.fuel", |p| Some(count(p.limits.fuel)), count(1), count(1_000_000_000_000_000)),
    Bound::pipeline("limits.deadline", |p| Some(Amount::Time(p.limits.deadline)), millis(1), millis(HOUR)),
    Bound::pipeline(
        "limits.memory",
        |p| Some(Amount::Bytes(p.limits.memory)),
        bytes(64 * KIB),
        bytes(4 * GIB),
    ),
    Bound::pipeline(
        "limits.start_fuel",
        |p| Some(count(p.limits.start_fuel)),
        count(1),
        count(1_000_000_000_000_000),
    ),
    Bound::pipeline(
        "limits.start_deadline",
        |p| Some(Amount::Time(p.limits.start_deadline)),
        millis(1),
        millis(HOUR),
    ),
    Bound::pipeline(
        "limits.total_memory",
        |p| Some(Amount::Bytes(p.limits.total_memory)),
        bytes(64 * KIB),
        bytes(1 << 44),
    ),
    Bound::pipeline(
        "limits.core_instances",
        |p| Some(count(p.limits.core_instances.into())),
        count(1),
        count(1_000),
    ),
    Bound::pipeline("limits.memories", |p| Some(count(p.limits.memories.into())), count(1), count(100)),
    Bound::pipeline("limits.tables", |p| Some(count(p.limits.tables.into())), count(1), count(1_000)),
    Bound::pipeline("limits.idle", |p| Some(Amount::Time(p.limits.idle)), millis(1_000), millis(24 * HOUR)),
    Bound::pipeline(
        "limits.output_records",
        |p| Some(count(p.limits.output_records.into())),
        count(1),
        count(1_000_000),
    ),
    Bound::pipeline(
        "limits.output_bytes",
        |p| Some(Amount::Bytes(p.limits.output_bytes)),
        bytes(1),
        bytes(GIB),
    ),
    Bound::pipeline(
        "limits.host_calls",
        |p| Some(count(p.limits.host_calls.into())),
        count(1),
        count(1_000_000_000),
    ),
    Bound::pipeline(
        "limits.log_bytes_per_record",
        |p| Some(Amount::Bytes(p.limits.log_bytes_per_record)),
        bytes(1),
        bytes(MIB),
    ),
    Bound::pipeline(
        "limits.log_bytes_per_second",
        |p| Some(Amount::Bytes(p.limits.log_bytes_per_second)),
        bytes(1),
        bytes(64 * MIB),
    ),
    Bound::pipeline(
        "limits.failure_message",
        |p| Some(Amount::Bytes(p.limits.failure_message)),
        bytes(1),
        bytes(64 * KIB),
    ),
    Bound::pipeline(
        "limits.http_requests",
        |p| Some(count(p.limits.http_requests.into())),
        count(1),
        count(10_000),
    ),
    Bound::pipeline(
        "limits.http_request_bytes",
        |p| Some(Amount::Bytes(p.limits.http_request_bytes)),
        bytes(1),
        bytes(16 * MIB),
    ),
    Bound::pipeline(
        "limits.http_response_bytes",
        |p| Some(Amount::Bytes(p.limits.http_response_bytes)),
        bytes(1),
        bytes(16 * MIB),
    ),
    Bound::pipeline("batch.records", |p| Some(count(p.batch.records.into())), count(1), count(65_535)),
    Bound::pipeline("batch.bytes", |p| Some(Amount::Bytes(p.batch.bytes)), bytes(1), bytes(GIB)),
    Bound::pipeline(
        "batch.time",
        |p| Some(Amount::Time(p.batch.time)),
        Amount::Time(Duration::from_micros(10)),
        millis(60_000),
    ),
    Bound::pipeline(
        "in_flight.records",
        |p| Some(count(p.in_flight.records.into())),
        count(1),
        count(1_000_000),
    ),
    Bound::pipeline("in_flight.bytes", |p| Some(Amount::Bytes(p.in_flight.bytes)), bytes(1), bytes(1 << 40)),
    Bound::pipeline(
        "on_failure.retries",
        |p| Some(count(p.on_failure.retries.into())),
        count(0),
        count(1_000_000),
    ),
    Bound::pipeline(
        "on_failure.backoff.first",
        |p| Some(Amount::Time(p.on_failure.backoff.first)),
        millis(1),
        millis(24 * HOUR),
    ),
    Bound::pipeline(
        "on_failure.backoff.max",
        |p| Some(Amount::Time(p.on_failure.backoff.max)),
        millis(1),
        millis(24 * HOUR),
    ),
    Bound::pipeline(
        "on_failure.retry_for",
        |p| p.on_failure.retry_for.map(Amount::Time),
        millis(1),
        millis(30 * 24 * HOUR),
    ),
    Bound::pipeline("circuit.percent", |p| Some(count(p.circuit.percent.into())), count(1), count(100)),
    Bound::pipeline("circuit.of", |p| Some(count(p.circuit.of.into())), count(1), count(100_000)),
    Bound::pipeline("circuit.pause", |p| Some(Amount::Time(p.circuit.pause)), millis(1), millis(24 * HOUR)),
    Bound::pipeline(
        "rollback.watch",
        |p| Some(Amount::Time(p.rollback.watch)),
        millis(1_000),
        millis(24 * HOUR),
    ),
    Bound::pipeline(
        "rollback.error_increase",
        |p| Some(count(p.rollback.error_increase.into())),
        count(1),
        count(100),
    ),
    Bound::pipeline(
        "rollback.slowdown",
        |p| Some(count(p.rollback.slowdown.into())),
        count(110),
        count(10_000),
    ),
];
