//! `sandmill demo`: a real web log through a sandboxed handler, on a broker inside this process.
//!
//! Nothing is simulated but the broker: the records go over the Kafka protocol, the handler is the module of
//! `examples-wasm/access-log`, and what came out is counted by a consumer of the output topic that knows
//! nothing of the host.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::contender::ACCESS_LOG;
use super::logging::{self, LogFormat};
use super::run::{Started, embedded_broker};
use super::{Failure, print};
use crate::bench::content::LOG;
use crate::bench::grouped;
use crate::config::{Config, Listen, Overrides, Source};
use crate::kafka::embedded::{self, Reader};
use crate::pipeline::HandlerSource;
use crate::telemetry::Histogram;

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Another web log, in the combined format; `.gz` is unpacked
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// End after the table
    #[arg(long)]
    exit: bool,

    /// Print one JSON object on one line instead of the table, and end
    #[arg(long)]
    json: bool,

    /// Address of metrics, health and status; `off` opens no socket
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9095")]
    listen: Listen,
}

const INPUT: &str = "access";
const OUTPUT: &str = "access-json";
const DEAD_LETTERS: &str = "access-dlq";
/// The output topic has no more once it brings nothing for so long.
const QUIET: Duration = Duration::from_millis(200);
/// How often the demo looks at the host.
const LOOK: Duration = Duration::from_millis(20);
/// A run that brings nothing for so long has stalled.
const STALLED: Duration = Duration::from_secs(30);

/// What came out.
#[derive(Debug, Serialize)]
struct Outcome {
    records: u64,
    outputs: u64,
    /// How many output records have each status, counted on the output topic.
    statuses: BTreeMap<String, u64>,
    failed: u64,
    seconds: f64,
    records_per_second: f64,
    latency_seconds: Latency,
    lag: i64,
    gaps: usize,
}

/// Upper estimates, from the buckets of a histogram.
#[derive(Debug, Serialize)]
struct Latency {
    p50: Option<f64>,
    p99: Option<f64>,
}

impl Demo {
    pub(super) fn execute(self) -> Result<(), Failure> {
        logging::start(LogFormat::Text, "error");
        let lines = match &self.input {
            Some(path) => {
                let read = std::fs::read(path)
                    .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
                if path.extension().is_some_and(|ending| ending == "gz") { unpack(&read)? } else { read }
            }
            None => unpack(LOG)?,
        };
        let records: Vec<(&[u8], &[u8])> = lines
            .split(|&byte| byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .filter(|line| !line.is_empty())
            .map(|line| (line.split(|&byte| byte == b' ').next().unwrap_or_default(), line))
            .collect();
        if records.is_empty() {
            return Err(Failure::usage("the log is empty: there is nothing to show"));
        }
        let mut config = config(self.listen)?;
        let broker = embedded_broker(&mut config)?;
        let brokers = broker.bootstrap_servers();
        let say = |text: String| {
            if !self.json {
                print(text);
            }
        };
        say(format!(
            "embedded broker at {brokers}; {} lines go into topic {INPUT:?}",
            grouped(records.len() as f64)
        ));
        let fed = embedded::feed(&brokers, INPUT, records.iter().copied()).map_err(Failure::start)?;
        let source = HandlerSource::Embedded { name: "access-log", bytes: ACCESS_LOG };
        let since = Instant::now();
        let started = Started::start(&config, Some(&source), Some(&broker))?;
        let bar = if self.json { ProgressBar::hidden() } else { progress_bar(fed) };
        let done = wait(&started, fed, &bar);
        let seconds = since.elapsed().as_secs_f64();
        bar.finish_and_clear();
        if done? == Waited::Interrupted {
            started.stop();
            return started.wait();
        }
        let outcome = outcome(&started, &brokers, fed, seconds)?;
        if self.json {
            print(serde_json::to_string(&outcome).map_err(Failure::pipeline)?);
        } else {
            show(&outcome);
            if outcome.failed > 0 {
                print(format_args!(
                    "failed lines are in topic {DEAD_LETTERS:?}, each with its reason in headers"
                ));
            }
            if let Some(server) = &started.server {
                let address = server.address();
                print(format_args!(
                    "\nmetrics  http://{address}/metrics\nstatus   http://{address}/api/v1/status"
                ));
                if !self.exit {
                    print("stop with Ctrl-C");
                }
            }
        }
        if self.exit || self.json {
            started.stop();
        }
        started.wait()?;
        if outcome.outputs + outcome.failed == outcome.records {
            return Ok(());
        }
        Err(Failure::pipeline(format!(
            "{} records went in, but {} came out and {} failed: please report this",
            outcome.records, outcome.outputs, outcome.failed
        )))
    }
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut lines = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .read_to_end(&mut lines)
        .map_err(|error| Failure::usage(format!("the log cannot be unpacked: {error}")))?;
    Ok(lines)
}

fn config(listen: Listen) -> Result<Config, Failure> {
    let home = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    // The demo is the same everywhere: only where files go is taken from the environment.
    let home =
        home.filter(|(key, _)| ["HOME", "XDG_CACHE_HOME", "SANDMILL_HOST_DATA_DIR"].contains(&key.as_str()));
    let overrides = Overrides {
        embedded_broker: true,
        listen: Some(listen),
        handler: Some("access-log.wasm".into()),
        input: vec![INPUT.into()],
        outputs: vec![OUTPUT.into()],
        dead_letter_topic: Some(DEAD_LETTERS.into()),
        ..Overrides::default()
    };
    Config::load(Source::new(home).overrides(overrides)).map_err(Failure::usage)
}

fn progress_bar(records: u64) -> ProgressBar {
    let style = "{bar:40.green/dim} {percent:>3} %  {human_pos} of {human_len} records  {per_sec}";
    let style = ProgressStyle::with_template(style).expect("the template is right").progress_chars("██░");
    ProgressBar::new(records).with_style(style)
}

/// How the wait for the last record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    /// Every record is done and committed.
    Done,
    /// A signal came first.
    Interrupted,
}

/// Waits until every record is done and committed, or until a signal comes.
fn wait(started: &Started, fed: u64, bar: &ProgressBar) -> Result<Waited, Failure> {
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        let (snapshot, _) = started.registry.pipelines()[0].snapshot();
        let done: u64 = snapshot.partitions.iter().map(|p| p.succeeded + p.failed).sum();
        let committed = snapshot.partitions.iter().all(|p| p.committed_offset == Some(p.safe_offset));
        bar.set_position(done);
        if done >= fed && committed {
            return Ok(Waited::Done);
        }
        if done != last {
            (last, moved) = (done, Instant::now());
        } else if moved.elapsed() > STALLED {
            let blocked =
                snapshot.partitions.iter().find_map(|p| Some((p.partition, p.blocked_by.as_ref()?)));
            let by = blocked.map_or_else(String::new, |(partition, blocked)| {
                format!("; partition {partition} waits for offset {} ({})", blocked.offset, blocked.waits_for)
            });
            return Err(Failure::pipeline(format!("stalled at {done} of {fed} records{by}")));
        }
        if started.interrupted(LOOK) {
            return Ok(Waited::Interrupted);
        }
    }
}

fn outcome(started: &Started, brokers: &str, records: u64, seconds: f64) -> Result<Outcome, Failure> {
    let (snapshot, _) = started.registry.pipelines()[0].snapshot();
    let failed = snapshot.partitions.iter().map(|p| p.failed).sum::<u64>();
    let mut latency = Histogram::default();
    for partition in &snapshot.partitions {
        latency.merge(&partition.latency);
    }
    let partitions = i32::try_from(snapshot.partitions.len()).unwrap_or(i32::MAX);
    let reader = Reader::start(brokers, OUTPUT, partitions).map_err(Failure::start)?;
    let mut statuses: BTreeMap<String, u64> = BTreeMap::new();
    let (mut outputs, mut last) = (0, Instant::now());
    // To the end of the topic and a little further: what is there too often shall show as well.
    while outputs + failed < records && last.elapsed() < STALLED || last.elapsed() < QUIET {
        let status = |value: &[u8]| {
            let line: serde_json::Value = serde_json::from_slice(value).unwrap_or_default();
            let status = line.get("status").map_or_else(|| "none".to_owned(), ToString::to_string);
            *statuses.entry(status).or_default() += 1;
        };
        if reader.next(QUIET, status) {
            outputs += 1;
            last = Instant::now();
        }
    }
    Ok(Outcome {
        records,
        outputs,
        statuses,
        failed,
        seconds,
        records_per_second: records as f64 / seconds,
        latency_seconds: Latency { p50: latency.quantile(0.5), p99: latency.quantile(0.99) },
        lag: snapshot.partitions.iter().map(|p| p.lag).sum(),
        gaps: snapshot.partitions.iter().map(|p| p.gaps).sum(),
    })
}

fn show(outcome: &Outcome) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(["status", "records"]);
    let mut statuses: Vec<_> = outcome.statuses.iter().collect();
    statuses.sort_by_key(|(status, count)| (std::cmp::Reverse(**count), *status));
    for (status, count) in statuses {
        table.add_row([status.clone(), grouped(*count as f64)]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    print(table);
    let millis =
        |seconds: Option<f64>| seconds.map_or_else(|| "none".to_owned(), |s| format!("≤ {} ms", s * 1e3));
    print(format_args!(
        "{} records in, {} out, {} failed, in {:.2} s: {} records/s from start to last commit\n\
         latency p50 {}, p99 {} · lag {} · gaps {}",
        grouped(outcome.records as f64),
        grouped(outcome.outputs as f64),
        outcome.failed,
        outcome.seconds,
        grouped(outcome.records_per_second.trunc()),
        millis(outcome.latency_seconds.p50),
        millis(outcome.latency_seconds.p99),
        outcome.lag,
        outcome.gaps,
    ));
}
