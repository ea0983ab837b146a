//! What is asked of a run: who reads which topic, and does what with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Ordering;

/// A run that moves nothing for so long has stalled.
const STALL: Duration = Duration::from_secs(30);

/// A program that reads a topic and speaks the protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contender {
    /// What errors and results call it.
    pub name: String,
    /// What is started.
    pub program: PathBuf,
    /// Its own arguments; those of the protocol are added behind them.
    pub arguments: Vec<String>,
    /// Added to the environment of this process.
    pub environment: Vec<(String, String)>,
}

/// One run that is to be measured.
#[derive(Clone, Debug)]
pub struct Job {
    /// Addresses of the brokers, as `host:port` with commas between.
    pub brokers: String,
    /// Client properties that are needed to get in, by librdkafka's names. The parent's own look-ups use them;
    /// a contender gets them by its own arguments or environment.
    pub properties: BTreeMap<String, String>,
    /// What is read.
    pub topic: Topic,
    /// What is done with each record.
    pub workload: Work,
    /// Which records wait for each other; also how outputs are checked.
    pub ordering: Ordering,
    /// Where [`Work::Parse`] writes; without it the JSON is made and thrown away. Other workloads of a module
    /// write here whatever they write.
    pub output: Option<String>,
    /// The broker's process on this machine, for its CPU time.
    pub broker_process: Option<u32>,
    /// A run that moves nothing for so long has stalled, and is ended; 30 s unless set.
    pub stall: Duration,
    /// Ends the run when it is set, with [`Error::Interrupted`](super::Error::Interrupted).
    pub interrupt: Arc<AtomicBool>,
}

impl Job {
    /// Reads `topic` in key order, without outputs, from brokers that ask for no credentials.
    pub fn new(brokers: impl Into<String>, topic: Topic, workload: Work) -> Self {
        Job {
            brokers: brokers.into(),
            properties: BTreeMap::new(),
            topic,
            workload,
            ordering: Ordering::Key,
            output: None,
            broker_process: None,
            stall: STALL,
            interrupt: Arc::default(),
        }
    }
}

/// What is done with each record.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Its bytes are read, and nothing comes of it: the contender's own cost.
    Noop,
    /// A line of a web server's log becomes JSON: the usual transformation.
    Parse,
    /// A wait, as for a service that is asked.
    Wait {
        /// Of each record.
        millis: f64,
    },
    /// Whatever the module does that the contender's own arguments name.
    Module,
}

impl Work {
    /// As `--workload` says it.
    pub fn name(self) -> &'static str {
        match self {
            Work::Noop => "noop",
            Work::Parse => "parse",
            Work::Wait { .. } => "wait",
            Work::Module => "module",
        }
    }
}

/// What stands in a topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// Records in all partitions.
    pub records: u64,
    /// Lengths of all keys and values together: the check sum of what was read.
    pub bytes: u64,
    /// The offset behind the last record of each partition: what a reader must have committed.
    pub ends: BTreeMap<i32, i64>,
    /// Different keys that occur.
    pub keys: u64,
    /// Part of the records that have the most frequent key.
    pub busiest_key_share: f64,
    /// Mean length of a key, a missing one counting as none.
    pub mean_key_bytes: f64,
    /// Mean length of a value, a tombstone counting as none.
    pub mean_value_bytes: f64,
    /// What [`Work::Parse`] has to write; none where that was not asked for.
    pub parsed: Option<Sums>,
}

/// Check sums of records: equal for two topics that hold the same records in the same order. Compared within
/// one process only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// How many records.
    pub records: u64,
    /// Of key, value and timestamp of each record, in any order.
    pub unordered: u64,
    /// Of the records of each key, in their order.
    pub by_key: u64,
    /// Of the records of each partition, in their order.
    pub by_partition: BTreeMap<i32, u64>,
}
