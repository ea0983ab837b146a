//! Workloads: a topic, filled once, and the handler that reads it.

use std::collections::BTreeMap;

use sandmill_tests::access_log;
use sandmill_tests::kafka::Kafka;
use sandmill_tests::producer::{Outgoing, Producer};
use serde::Serialize;

use crate::options::Options;
use crate::zipf::{SplitMix, Zipf};

/// Partitions of every topic.
pub(crate) const PARTITIONS: i32 = 8;
/// Bytes of a value of `noop`.
const VALUE: usize = 100;
/// Keys of `noop`.
const KEYS: usize = 10_000;
/// Keys and values of `noop` follow from it.
const SEED: u64 = 0x005a_4d11;
/// Records produced between two flushes: what the filling holds in memory.
const PORTION: usize = 50_000;

/// What is read, and by which handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// The handler counts bytes and writes nothing: the host's own cost.
    Noop,
    /// A line of a web server's log becomes JSON on an output topic: the usual transformation.
    AccessLog,
}

/// A workload's topic, filled.
#[derive(Debug, Serialize)]
pub(crate) struct Topic {
    pub workload: Workload,
    #[serde(skip)]
    pub name: String,
    pub partitions: i32,
    pub records: u64,
    /// Different keys that occur.
    pub keys: usize,
    /// Part of the records that have the most frequent key.
    pub busiest_key_share: f64,
    pub mean_key_bytes: f64,
    pub mean_value_bytes: f64,
    /// The end of each partition: what a reader must have committed.
    pub ends: BTreeMap<i32, i64>,
}

impl Workload {
    pub(crate) const ALL: [Self; 2] = [Self::Noop, Self::AccessLog];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Noop => "noop",
            Self::AccessLog => "access-log",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| workload.name() == name)
    }

    /// The handler's name among the compiled ones.
    pub(crate) fn handler(self) -> &'static str {
        match self {
            Self::Noop => "noop",
            Self::AccessLog => "access_log",
        }
    }

    /// Output records for each record.
    pub(crate) fn outputs(self) -> u64 {
        match self {
            Self::Noop => 0,
            Self::AccessLog => 1,
        }
    }

    /// Creates the workload's topic and produces its records.
    pub(crate) fn fill(self, kafka: &Kafka, options: &Options) -> Topic {
        match self {
            Self::Noop => fill(self, kafka, noop_records(options.records)),
            Self::AccessLog => {
                let log = access_log::records();
                let times = (options.lines / log.len()).max(1);
                let records = log.len() * times;
                fill(self, kafka, log.into_iter().cycle().take(records))
            }
        }
    }
}

/// The first `count` records of `noop`; the same ones at every call.
pub(crate) fn noop_records(count: usize) -> impl Iterator<Item = Outgoing> {
    let mut random = SplitMix(SEED);
    Zipf::new(KEYS, SEED).take(count).map(move |key| {
        let mut value = Vec::with_capacity(VALUE + 8);
        while value.len() < VALUE {
            value.extend_from_slice(&random.next().to_le_bytes());
        }
        value.truncate(VALUE);
        Outgoing::keyed(format!("key-{key:04}"), value)
    })
}

fn fill(workload: Workload, kafka: &Kafka, mut records: impl Iterator<Item = Outgoing>) -> Topic {
    let name = kafka.new_topic(workload.name(), PARTITIONS);
    let producer = Producer::new(kafka);
    let mut counts: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    let (mut total, mut key_bytes, mut value_bytes) = (0_u64, 0_usize, 0_usize);
    loop {
        let portion: Vec<Outgoing> = records.by_ref().take(PORTION).collect();
        if portion.is_empty() {
            break;
        }
        producer.send(&name, &portion);
        total += portion.len() as u64;
        for Outgoing { key, value, .. } in portion {
            let key = key.unwrap_or_default();
            key_bytes += key.len();
            value_bytes += value.map_or(0, |value| value.len());
            *counts.entry(key).or_default() += 1;
        }
    }
    let busiest = counts.values().max().copied().unwrap_or_default();
    let mean = |sum: usize| sum as f64 / total as f64;
    Topic {
        workload,
        partitions: PARTITIONS,
        records: total,
        keys: counts.len(),
        busiest_key_share: busiest as f64 / total as f64,
        mean_key_bytes: mean(key_bytes),
        mean_value_bytes: mean(value_bytes),
        ends: kafka.ends(&name),
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_of_noop_is_the_same_in_every_run() {
        let records: Vec<_> = noop_records(1_000).collect();
        assert_eq!(records, noop_records(1_000).collect::<Vec<_>>());
        assert!(records.iter().all(|record| record.value.as_ref().is_some_and(|value| value.len() == VALUE)));
        let first = records.iter().filter(|record| record.key.as_deref() == Some(b"key-0000")).count();
        // 1/H(10,000) = 0.1022
        assert!((80..125).contains(&first), "{first}");
    }

    #[test]
    fn every_workload_is_found_by_its_name() {
        for workload in Workload::ALL {
            assert_eq!(Workload::named(workload.name()), Some(workload));
        }
    }
}
