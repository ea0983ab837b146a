//! Levels: ways to read a topic to its end, each run as a process of its own.
//!
//! A run ends with checked numbers or with an error that says where it stood; there is no third way.

pub(crate) mod raw;
pub(crate) mod wasm;

use std::time::Duration;

use anyhow::Result;
use sandmill_tests::host::Home;
use sandmill_tests::kafka::Kafka;
use serde::Serialize;

use crate::system::Cpu;
use crate::workload::Topic;

/// A run that moves nothing for so long has stalled.
pub(crate) const STALLED: Duration = Duration::from_secs(30);

/// One way to read a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Level {
    /// The bare client reads and touches every byte: the ceiling.
    Raw,
    /// The host with the workload's handler as a module, as a user runs it.
    Wasm,
}

impl Level {
    pub(crate) const ALL: [Self; 2] = [Self::Raw, Self::Wasm];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Wasm => "wasm",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// What all runs share.
pub(crate) struct Bench {
    pub kafka: Kafka,
    /// Home of every host: it keeps compiled code from run to run.
    pub home: Home,
}

impl Bench {
    /// Reads the topic to its end, once.
    pub(crate) fn run(&self, level: Level, topic: &Topic) -> Result<Run> {
        match level {
            Level::Raw => raw::run(self, topic),
            Level::Wasm => wasm::run(self, topic),
        }
    }
}

/// The numbers of one run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    pub records: u64,
    /// On the clock; each level says from when to when.
    pub seconds: f64,
    pub records_per_second: f64,
    pub cpu: Cpu,
    /// The most memory that the process had resident at once, the client's fetch buffers included.
    pub peak_rss_bytes: u64,
    /// What only a host has.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub host: Option<wasm::Details>,
}
