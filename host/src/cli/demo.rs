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
use crate::deploy::history::Mode;
use crate::deploy::story::{self, Asker, Progress, Step};
use crate::kafka::embedded::{Feeder, Reader};
use crate::pipeline::{Ask, HandlerSource};
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

    /// Keep feeding the log after the table, over and over, 1,000 lines a second: something to deploy to
    #[arg(long, conflicts_with_all = ["exit", "json"])]
    flow: bool,

    /// Print one JSON object on one line instead of the table, and end
    #[arg(long)]
    json: bool,

    /// Address of metrics, health and status; `off` opens no socket
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9095")]
    listen: Listen,
}

/// Named after its handler.
const PIPELINE: &str = "access-log";
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
    /// Of all of it, the swap included.
    seconds: f64,
    /// Before the swap, from start to last commit.
    records_per_second: f64,
    swap: Swap,
    latency_seconds: Latency,
    lag: i64,
    gaps: usize,
}

/// What happened half way.
#[derive(Debug, Serialize)]
struct Swap {
    /// The version that runs since.
    version: u64,
    /// Records that it handled.
    records: u64,
    /// From the request to the first call of the new version.
    milliseconds: f64,
    /// Of that, the part in which one takes the other's place.
    switch_milliseconds: f64,
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
        let feeder = Feeder::new(&brokers, INPUT).map_err(Failure::start)?;
        let (first, second) = records.split_at(records.len().div_ceil(2));
        feeder.feed(first.iter().copied()).map_err(Failure::start)?;
        let source = HandlerSource::Embedded { name: "access-log", bytes: ACCESS_LOG };
        let since = Instant::now();
        let started = Started::start(&config, Some(&source), Some(&broker))?;
        let bar = if self.json { ProgressBar::hidden() } else { progress_bar(records.len() as u64) };
        let run = || {
            wait(&started, first.len() as u64, &bar)?;
            let rate = first.len() as f64 / since.elapsed().as_secs_f64();
            let swap = swap(&started, &feeder, second, &bar)?;
            wait(&started, records.len() as u64, &bar)?;
            let seconds = since.elapsed().as_secs_f64();
            let (id, after) = swap;
            Ok((rate, story_of(&started, id, after)?, seconds))
        };
        let ran = run();
        bar.finish_and_clear();
        let (rate, swap, seconds) = match ran {
            Err(Stopped::Interrupted) => {
                started.stop();
                return started.wait();
            }
            Err(Stopped::Failed(failure)) => return Err(failure),
            Ok(ran) => ran,
        };
        let fed = records.len() as u64;
        let outcome = outcome(&started, &brokers, fed, seconds, rate, swap)?;
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
                let url = server.url();
                print(format_args!("\nmetrics  {url}/metrics\nstatus   {url}/api/v1/status"));
                if !self.exit {
                    print("stop with Ctrl-C");
                }
            }
        }
        if self.flow {
            flow(&started, &feeder, &records)?;
        }
        if self.exit || self.json || self.flow {
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
        // Others may look at it, and not more.
        set: match listen {
            Listen::At(address) if !address.ip().is_loopback() => vec![("http.admin".into(), "false".into())],
            _ => Vec::new(),
        },
        ..Overrides::default()
    };
    Config::load(Source::new(home).overrides(overrides)).map_err(Failure::usage)
}

fn progress_bar(records: u64) -> ProgressBar {
    let style = "{bar:40.green/dim} {percent:>3} %  {human_pos} of {human_len} records  {per_sec}";
    let style = ProgressStyle::with_template(style).expect("the template is right").progress_chars("██░");
    ProgressBar::new(records).with_style(style)
}

/// Why the demo ends early.
enum Stopped {
    /// A signal came.
    Interrupted,
    /// Something went wrong.
    Failed(Failure),
}

/// Records that go in at once while the handler is swapped.
const DROPS: usize = 25;

/// Deploys the same handler once more, under another digest, while records flow. The number of the deploy, and of records
/// that went in once it was done.
fn swap(
    started: &Started,
    feeder: &Feeder,
    records: &[(&[u8], &[u8])],
    bar: &ProgressBar,
) -> Result<(u64, u64), Stopped> {
    let failed = |error: &dyn std::fmt::Display| Stopped::Failed(Failure::pipeline(error));
    // A custom section: it changes what the module is called, and nothing that it does.
    let marked = [ACCESS_LOG, b"\0\x09\x08swapped."].concat();
    let source = HandlerSource::Sent { name: "access-log".to_owned(), bytes: marked.into(), signature: None };
    let ask = Ask::Deploy { source, mode: Mode::Full };
    let id = started.deploys.ask(PIPELINE, ask, Asker::own("demo")).map_err(|error| failed(&error))?;
    let mut rest = records;
    loop {
        let story = started.deploys.story(id).ok_or_else(|| failed(&"the deploy is forgotten"))?;
        match (story.state, story.refused) {
            (Progress::Working, _) => {}
            (Progress::Done, _) => break,
            (Progress::Refused, refused) => {
                let reason = refused.map_or_else(String::new, |refused| refused.reason);
                return Err(failed(&format!("the deploy was refused: {reason}")));
            }
        }
        let (some, later) = rest.split_at(DROPS.min(rest.len()));
        feeder.feed(some.iter().copied()).map_err(|error| failed(&error))?;
        rest = later;
        bar.set_position((bar.length().unwrap_or_default()).saturating_sub(rest.len() as u64));
        if started.interrupted(LOOK) {
            return Err(Stopped::Interrupted);
        }
    }
    let after = feeder.feed(rest.iter().copied()).map_err(|error| failed(&error))?;
    Ok((id, after))
}

/// Feeds the records over and over until a signal comes.
fn flow(started: &Started, feeder: &Feeder, records: &[(&[u8], &[u8])]) -> Result<(), Failure> {
    /// At each look: a thousand a second.
    const AT_ONCE: usize = 20;
    let mut next = records.iter().copied().cycle();
    while !started.interrupted(LOOK) {
        feeder.feed(next.by_ref().take(AT_ONCE)).map_err(Failure::pipeline)?;
    }
    Ok(())
}

/// What came of the swap: known once the new version was seen to have handled the `after` records that came after it.
fn story_of(started: &Started, id: u64, after: u64) -> Result<Swap, Stopped> {
    let since = Instant::now();
    loop {
        let story = started.deploys.story(id);
        let story = story.ok_or_else(|| Stopped::Failed(Failure::pipeline("the deploy is forgotten")))?;
        let records = story.watch.as_ref().map_or(0, |watch| watch.new.records);
        if records >= after || since.elapsed() > STALLED {
            let of_switch = |done: &&story::Done| done.step == Step::Switch;
            return Ok(Swap {
                version: story.version.unwrap_or_default(),
                records,
                milliseconds: story
                    .steps
                    .iter()
                    .filter(|done| done.step != Step::Drain)
                    .map(|done| done.ms)
                    .sum(),
                switch_milliseconds: story.steps.iter().find(of_switch).map_or(0.0, |done| done.ms),
            });
        }
        if started.interrupted(LOOK) {
            return Err(Stopped::Interrupted);
        }
    }
}

/// Waits until every record is done and committed, or until a signal comes.
fn wait(started: &Started, fed: u64, bar: &ProgressBar) -> Result<(), Stopped> {
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        let (snapshot, _) = started.registry.pipelines()[0].snapshot();
        let done: u64 = snapshot.partitions.iter().map(|p| p.succeeded + p.failed).sum();
        let committed = snapshot.partitions.iter().all(|p| p.committed_offset == Some(p.safe_offset));
        bar.set_position(done);
        if done >= fed && committed {
            return Ok(());
        }
        if done != last {
            (last, moved) = (done, Instant::now());
        } else if moved.elapsed() > STALLED {
            let blocked =
                snapshot.partitions.iter().find_map(|p| Some((p.partition, p.blocked_by.as_ref()?)));
            let by = blocked.map_or_else(String::new, |(partition, blocked)| {
                format!("; partition {partition} waits for offset {} ({})", blocked.offset, blocked.waits_for)
            });
            let text = format!("stalled at {done} of {fed} records{by}");
            return Err(Stopped::Failed(Failure::pipeline(text)));
        }
        if started.interrupted(LOOK) {
            return Err(Stopped::Interrupted);
        }
    }
}

fn outcome(
    started: &Started,
    brokers: &str,
    records: u64,
    seconds: f64,
    records_per_second: f64,
    swap: Swap,
) -> Result<Outcome, Failure> {
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
        records_per_second,
        swap,
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
        "{} records in, {} out, {} failed; the first half at {} records/s, from start to last commit\n\
         half way the handler was swapped while records flowed: version {} took over within {:.0} ms (the switch itself: \
         {:.1} ms) and did {} of them\n\
         latency p50 {}, p99 {} · lag {} · gaps {}",
        grouped(outcome.records as f64),
        grouped(outcome.outputs as f64),
        outcome.failed,
        grouped(outcome.records_per_second.trunc()),
        outcome.swap.version,
        outcome.swap.milliseconds,
        outcome.swap.switch_milliseconds,
        grouped(outcome.swap.records as f64),
        millis(outcome.latency_seconds.p50),
        millis(outcome.latency_seconds.p99),
        outcome.lag,
        outcome.gaps,
    ));
}
