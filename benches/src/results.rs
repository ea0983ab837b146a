//! A result as data: every number that was measured, and the few that follow from them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::conditions::Conditions;
use crate::level::{Level, Run};
use crate::options::Options;
use crate::start::Start;
use crate::workload::{Topic, Workload};

/// The bound of the client's fetch queue under the host's default settings (`queued.max.messages.kbytes`).
pub(crate) const FETCH_BUFFER_BYTES: u64 = 64 << 20;

/// One run of the ladder.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub conditions: Conditions,
    pub settings: Settings,
    pub series: Vec<Series>,
    /// Each level above the first against `raw` on the same topic.
    pub ratios: Vec<Ratio>,
    pub starts: Vec<Start>,
    pub start_to_first_commit_ms: Option<Spread>,
}

/// What was read, and how.
#[derive(Debug, Serialize)]
pub(crate) struct Settings {
    pub ordering: &'static str,
    /// The host's bound of records in one call, by default; runs say to how many it adapted.
    pub batch: u32,
    pub fetch_buffer_bytes: u64,
    pub repetitions: usize,
    pub topics: Vec<serde_json::Value>,
}

/// All runs of one level on one topic.
#[derive(Debug, Serialize)]
pub(crate) struct Series {
    pub workload: Workload,
    pub level: Level,
    pub records_per_second: Option<Spread>,
    pub cpu_seconds_per_million: Option<Spread>,
    pub peak_rss_bytes: Option<Spread>,
    /// Not counted.
    pub warm_up: Option<Run>,
    /// In the order in which they ran.
    pub repetitions: Vec<Run>,
}

impl Series {
    /// One for each level of each workload, in the order of a pass.
    pub(crate) fn planned(options: &Options) -> Vec<Self> {
        let of = |workload| {
            options.levels.iter().map(move |level| Self {
                workload,
                level: *level,
                records_per_second: None,
                cpu_seconds_per_million: None,
                peak_rss_bytes: None,
                warm_up: None,
                repetitions: Vec::new(),
            })
        };
        options.workloads.iter().flat_map(|workload| of(*workload)).collect()
    }

    fn summarise(&mut self) {
        let spread = |number: fn(&Run) -> f64| Spread::of(self.repetitions.iter().map(number));
        self.records_per_second = spread(|run| run.records_per_second);
        self.cpu_seconds_per_million = spread(|run| run.cpu.process_seconds / run.records as f64 * 1e6);
        self.peak_rss_bytes = spread(|run| run.peak_rss_bytes as f64);
    }
}

/// A level's rate as a part of the raw rate of the same pass.
#[derive(Debug, Serialize)]
pub(crate) struct Ratio {
    pub workload: Workload,
    pub level: Level,
    #[serde(flatten)]
    pub spread: Spread,
}

/// Smallest, middle and largest of some numbers. Of an even number of them, the middle is the lower one:
/// a number that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    pub(crate) fn of(numbers: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.collect();
        sorted.sort_by(f64::total_cmp);
        let median = *sorted.get(sorted.len().checked_sub(1)? / 2)?;
        Some(Self { min: sorted[0], median, max: sorted[sorted.len() - 1] })
    }
}

impl Results {
    pub(crate) fn new(
        options: &Options,
        conditions: Conditions,
        topics: &[Topic],
        mut series: Vec<Series>,
        starts: Vec<Start>,
    ) -> Self {
        series.iter_mut().for_each(Series::summarise);
        let settings = Settings {
            ordering: "key",
            batch: 256,
            fetch_buffer_bytes: FETCH_BUFFER_BYTES,
            repetitions: options.repetitions,
            topics: topics.iter().filter_map(|topic| serde_json::to_value(topic).ok()).collect(),
        };
        let first = Spread::of(starts.iter().map(|start| start.first_commit_ms));
        Self {
            conditions,
            settings,
            ratios: ratios(&series),
            series,
            starts,
            start_to_first_commit_ms: first,
        }
    }

    /// Writes `benches/results/NAME.json` and gives its path.
    pub(crate) fn write(&self, name: &str) -> Result<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = folder.join(name).with_extension("json");
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}

/// Run by run: what disturbed a pass disturbed both sides of its ratio.
fn ratios(series: &[Series]) -> Vec<Ratio> {
    let raw_of = |workload| series.iter().find(|raw| raw.workload == workload && raw.level == Level::Raw);
    let above = series.iter().filter(|series| series.level != Level::Raw);
    above
        .filter_map(|series| {
            let pairs = series.repetitions.iter().zip(&raw_of(series.workload)?.repetitions);
            let spread = Spread::of(pairs.map(|(own, raw)| own.records_per_second / raw.records_per_second))?;
            Some(Ratio { workload: series.workload, level: series.level, spread })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::system::Cpu;

    pub(crate) fn run(rate: f64) -> Run {
        let cpu = Cpu {
            process_seconds: 2.0,
            broker_seconds: 0.5,
            elsewhere_seconds: 0.1,
            window_seconds: 3.0,
            threads: BTreeMap::new(),
        };
        Run {
            records: 1_000_000,
            seconds: 1e6 / rate,
            records_per_second: rate,
            cpu,
            peak_rss_bytes: 1,
            host: None,
        }
    }

    #[test]
    fn the_middle_is_a_number_that_was_measured() {
        let spread = |numbers: &[f64]| Spread::of(numbers.iter().copied());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0, 3.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 4.0 }));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_ratio_compares_runs_of_the_same_pass() {
        let mut series = Series::planned(&Options { workloads: vec![Workload::Noop], ..Options::default() });
        series[0].repetitions = vec![run(100.0), run(200.0), run(400.0)];
        series[1].repetitions = vec![run(50.0), run(120.0), run(160.0)];
        let ratios = ratios(&series);
        assert_eq!(ratios.len(), 1);
        assert_eq!(ratios[0].spread, Spread { min: 0.4, median: 0.5, max: 0.6 });
    }

    #[test]
    fn without_raw_there_is_no_ratio() {
        let mut series = Series::planned(&Options { levels: vec![Level::Wasm], ..Options::default() });
        series[0].repetitions = vec![run(1.0)];
        assert!(ratios(&series).is_empty());
    }
}
