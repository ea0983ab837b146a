//! A result as data: what was measured, under which conditions, and what follows from it.

use serde::Serialize;

use super::Bench;
use crate::bench::{Conditions, Series, Spread, Topic, Work};
use crate::config::{Ordering, Pipeline};

/// With which level the others are compared.
const BASE: &str = "raw-poll";

/// One result of `sandmill bench`.
#[derive(Debug, Serialize)]
pub(super) struct BenchResult {
    pub conditions: Conditions,
    pub settings: Settings,
    pub topic: Topic,
    pub levels: Vec<Shown>,
}

/// What was asked for.
#[derive(Debug, Serialize)]
pub(super) struct Settings {
    pub brokers: String,
    /// The broker ran inside this process: the figures mean little.
    pub embedded_broker: bool,
    /// Brokers do not tell their clients.
    pub broker_version: Option<String>,
    pub workload: Work,
    pub module: Option<String>,
    pub ordering: Ordering,
    /// Records in one call at most, unless `set` says otherwise.
    pub batch: u32,
    pub outputs: bool,
    pub repetitions: u32,
    /// Keys of the configuration that were set.
    pub set: Vec<String>,
}

/// One level with what follows from its runs.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    pub series: Series,
    pub records_per_second: Option<Spread>,
    /// Of the rate of `raw-poll`, pass by pass; none where that did not run.
    pub of_raw_poll: Option<Spread>,
    /// Without what was used before the first record.
    pub cpu_seconds_per_million: Option<Spread>,
    pub peak_rss_bytes: Option<Spread>,
}

impl Settings {
    pub(super) fn new(bench: &Bench, workload: Work, brokers: String, embedded_broker: bool) -> Self {
        Settings {
            brokers,
            embedded_broker,
            broker_version: None,
            workload,
            module: bench.module.as_ref().map(|file| file.display().to_string()),
            ordering: bench.ordering,
            batch: Pipeline::default().batch.records,
            outputs: bench.output.is_some(),
            repetitions: bench.repetitions,
            set: bench.set.iter().map(|(key, value)| format!("{key}={value}")).collect(),
        }
    }
}

impl BenchResult {
    pub(super) fn new(conditions: Conditions, settings: Settings, topic: Topic, series: Vec<Series>) -> Self {
        let base = series.iter().find(|series| series.name == BASE).cloned();
        let levels = series
            .into_iter()
            .map(|series| Shown {
                records_per_second: series.rate(),
                of_raw_poll: base.as_ref().and_then(|base| series.rate_of(base)),
                cpu_seconds_per_million: series.cpu_seconds_per_million(),
                peak_rss_bytes: series.peak_rss_bytes(),
                series,
            })
            .collect();
        BenchResult { conditions, settings, topic, levels }
    }
}
