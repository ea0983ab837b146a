//! A result as data: one file a run, rewritten after each finished part, so that a run that was interrupted can
//! go on with what is missing.
//!
//! Whatever a part measures has one form: rows, and in each row named numbers, one a pass. So the report, the
//! charts and the targets need not know which part they look at, and a ratio can always be taken pass by pass.
//! What was measured beyond these numbers is kept raw beside them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::conditions::Conditions;
use crate::sizes::Scale;
use crate::spread::Spread;

/// Names of the numbers that several parts share; each carries its unit.
pub(crate) mod number {
    /// From the first record taken to the last offset committed.
    pub(crate) const RATE: &str = "records_per_second";
    /// Of the second half of the records, by the program's own clock: a JVM that is warm.
    pub(crate) const WARM_RATE: &str = "second_half_records_per_second";
    /// The most that key order allows a handler that waits: 1/(w·p), w the wait, p the busiest key's share.
    pub(crate) const KEY_BOUND: &str = "key_bound_per_second";
    /// CPU time of the process from its first record on.
    pub(crate) const CPU: &str = "cpu_ns_per_record";
    /// CPU time of the broker meanwhile.
    pub(crate) const BROKER_CPU: &str = "broker_cpu_ns_per_record";
    /// Part of the machine that neither the process nor the broker used.
    pub(crate) const ELSEWHERE: &str = "elsewhere_share";
    pub(crate) const PEAK_RSS: &str = "peak_rss_bytes";
    pub(crate) const P50: &str = "p50_ms";
    pub(crate) const P99: &str = "p99_ms";
    pub(crate) const P999: &str = "p99.9_ms";
}

/// One run of the ladder, in one or more sessions.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub scale: Scale,
    /// One for each time the ladder was started for this run.
    pub sessions: Vec<Conditions>,
    pub parts: Vec<Part>,
    /// What was not measured, and why.
    pub left_out: BTreeMap<String, String>,
}

/// What one part measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Part {
    pub name: String,
    /// Index of its session.
    pub session: usize,
    pub took_seconds: f64,
    /// The most that the temporary folder grew while it ran, topics included.
    pub disk_bytes: u64,
    /// What stood in the topics.
    pub topics: Vec<Value>,
    pub rows: Vec<Row>,
}

/// What was measured of one contender, or at one point of a sweep.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Row {
    pub name: String,
    /// What it is, for whoever looks for it: level, ordering, keys, ….
    pub traits: BTreeMap<String, String>,
    /// One number for each counted pass, in the order of the passes.
    pub numbers: BTreeMap<String, Vec<f64>>,
    /// As measured, for each counted pass.
    pub raw: Vec<Value>,
    /// As measured; not counted.
    pub warm_up: Option<Value>,
    /// Why it ended early. The passes before count.
    pub failed: Option<String>,
    /// It has no part in the pass that warms up.
    #[serde(skip)]
    pub cold: bool,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, traits: &[(&str, &str)]) -> Self {
        let traits = traits.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self { name: name.into(), traits, ..Self::default() }
    }

    /// Adds one pass.
    pub(crate) fn push(&mut self, numbers: &[(&str, f64)], raw: Value) {
        for (name, value) in numbers {
            self.numbers.entry((*name).to_owned()).or_default().push(*value);
        }
        self.raw.push(raw);
    }

    pub(crate) fn has(&self, key: &str, value: &str) -> bool {
        self.traits.get(key).is_some_and(|own| own == value)
    }

    /// One value a pass; empty if there is none.
    pub(crate) fn number(&self, name: &str) -> &[f64] {
        self.numbers.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn spread(&self, name: &str) -> Option<Spread> {
        Spread::of(self.number(name).iter().copied())
    }
}

impl Part {
    pub(crate) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// Rows that failed, with their reasons.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rows.iter().filter_map(|row| Some((row.name.as_str(), row.failed.as_deref()?)))
    }
}

impl Results {
    pub(crate) fn new(scale: Scale) -> Self {
        Self { scale, sessions: Vec::new(), parts: Vec::new(), left_out: BTreeMap::new() }
    }

    pub(crate) fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.name == name)
    }

    /// Puts a part in, in the place of an earlier attempt if there is one.
    pub(crate) fn put(&mut self, part: Part) {
        match self.parts.iter_mut().find(|own| own.name == part.name) {
            Some(own) => *own = part,
            None => self.parts.push(part),
        }
    }

    /// Parts that need not run again: they are there, and nothing in them failed.
    pub(crate) fn finished(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter(|part| part.failures().next().is_none()).map(|part| part.name.as_str())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If there is none, or it is no result.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no result of this ladder", file.display()))
    }

    /// Reads an earlier session's file to go on with it.
    ///
    /// # Errors
    /// If it was measured at another scale, or of another binary: one run's numbers must belong together.
    pub(crate) fn resume(file: &Path, scale: Scale, now: &Conditions) -> Result<Self> {
        let results = Self::read(file).context("there is no run to go on with")?;
        ensure!(
            results.scale == scale,
            "{} was measured at scale {:?}, this is {scale:?}: choose another --name",
            file.display(),
            results.scale
        );
        for session in &results.sessions {
            ensure!(
                session.host_sha256 == now.host_sha256,
                "{} was measured with another host binary (sha256 {}…, now {}…): leave out --resume, or choose \
                 another --name",
                file.display(),
                session.host_sha256,
                now.host_sha256
            );
        }
        Ok(results)
    }

    /// Writes the file; a reader sees the old one or the new one, never half of it.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        let partial = file.with_extension("json.partial");
        fs::write(&partial, text).with_context(|| format!("cannot write {}", partial.display()))?;
        fs::rename(&partial, file).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// `benches/results/NAME.json`; makes the folder.
pub(crate) fn file(name: &str) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.join(name).with_extension("json"))
}
