//! `sandmill bench-contender`: one level of our own, as a process that `bench` starts and watches.
//!
//! Hidden, because nobody but `bench` and the ladder has a use for it. Arguments and output are those of
//! `bench::protocol`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde_json::{Map, Value, json};

use super::Failure;
use super::logging::{self, LogFormat};
use super::run::Started;
use super::settings::{ordering, pair};
use crate::bench::contender::{Asked, Progress, Reporter, Standing};
use crate::bench::native::{AccessLog, Noop};
use crate::bench::protocol::Done;
use crate::bench::{Error, Level, Work};
use crate::config::{Config, Ordering, Overrides, Source, Start, client_property_names};
use crate::pipeline::{Ended, HandlerSource, HostEvent};
use crate::telemetry::PipelineEntry;
use crate::telemetry::snapshot::PipelineSnapshot;
use crate::worker::NativeHandler;

/// Arguments of `bench-contender`.
#[derive(Debug, Args)]
pub(super) struct Contender {
    /// What stands between a record and its handler
    #[arg(long, value_parser = PossibleValuesParser::new(Level::ALL.map(Level::name)).map(|name| level(&name)))]
    level: Level,

    /// Kafka brokers, as host:port with commas between
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: String,

    /// The topic that is read from its beginning to its end
    #[arg(long)]
    topic: String,

    /// A consumer group that has committed nothing
    #[arg(long)]
    group: String,

    /// Records in the topic
    #[arg(long)]
    records: u64,

    /// What is done with each record
    #[arg(long, value_parser = ["noop", "parse", "wait", "module"])]
    workload: String,

    /// How long workload wait waits
    #[arg(long, value_name = "MILLISECONDS", required_if_eq("workload", "wait"))]
    wait_ms: Option<f64>,

    /// Which records wait for each other
    #[arg(long, default_value = "key", value_parser = PossibleValuesParser::new(["key", "partition", "unordered"]).map(|text| ordering(&text)))]
    ordering: Ordering,

    /// Where outputs go; without it workload parse throws its JSON away
    #[arg(long, value_name = "TOPIC")]
    output: Option<String>,

    /// A module in place of the workload's built-in one
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,

    /// Records that have to fail for good
    #[arg(long, value_name = "N", default_value = "0")]
    failures: u64,

    /// A key of the configuration, as in `sandmill run`
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,

    /// Write down for a profiler where the module's functions lie: /tmp/perf-PID.map
    #[arg(long)]
    perf_map: bool,

    /// A property of the client
    #[arg(short = 'X', value_name = "NAME=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,
}

/// The host knows no end of a topic: what is complete waits for the next regular commit. At the default of
/// half a second that alone would decide how long a run of a few seconds lasts; other contenders commit at once
/// when they are through. What twenty commits a second cost is on the clock. `--set` wins.
const COMMIT_INTERVAL: &str = "50ms";
/// How often a host is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Modules of `examples-wasm/`, compiled by the host's build script.
const NOOP: &[u8] = include_bytes!(env!("SANDMILL_NOOP"));
pub(super) const ACCESS_LOG: &[u8] = include_bytes!(env!("SANDMILL_ACCESS_LOG"));

impl Contender {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let perf_map = self.perf_map;
        let asked = self.asked();
        asked.check().map_err(Failure::usage)?;
        logging::start(LogFormat::Text, "info");
        // Checked, with what the environment adds; the bare levels take only the client's properties from it.
        let mut config = config(&asked)?;
        config.host.perf_map = perf_map;
        let mut reporter = Reporter::start().map_err(Failure::start)?;
        if !asked.level.is_host() {
            let properties = config.kafka.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            let asked = Asked { properties: properties.collect(), ..asked };
            return asked.run_bare(reporter).map_err(Failure::pipeline);
        }
        let started = Started::start(&config, Some(&source(&asked)), None)?;
        let entry = started.registry.pipelines().remove(0);
        let snapshot = match watch(&started, &entry, &asked, &mut reporter) {
            Ok(snapshot) => snapshot,
            // Dropped, it stops what still runs.
            Err(error) => return Err(Failure::pipeline(error)),
        };
        reporter.done(done(&entry, &snapshot));
        started.stop();
        started.wait()
    }

    fn asked(self) -> Asked {
        let workload = match (self.workload.as_str(), self.wait_ms) {
            ("parse", _) => Work::Parse,
            ("wait", millis) => Work::Wait { millis: millis.unwrap_or_default() },
            ("module", _) => Work::Module,
            _ => Work::Noop,
        };
        Asked {
            level: self.level,
            brokers: self.brokers,
            properties: self.properties.into_iter().collect(),
            topic: self.topic,
            group: self.group,
            records: self.records,
            workload,
            ordering: self.ordering,
            output: self.output,
            module: self.module,
            failures: self.failures,
            set: self.set,
        }
    }
}

fn level(name: &str) -> Level {
    Level::named(name).expect("the argument is one of these names")
}

/// `NAME=VALUE` of a client's property.
pub(super) fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The configuration of the one pipeline, as `sandmill run` would make it. A measurement is the same
/// everywhere: of the environment only counts where files go, and what the client needs to get in.
fn config(asked: &Asked) -> Result<Config, Failure> {
    let mut set: Vec<(String, String)> =
        asked.properties.iter().map(|(name, value)| (format!("kafka.{name}"), value.clone())).collect();
    set.push(("pipeline.commit_interval".to_owned(), COMMIT_INTERVAL.to_owned()));
    match asked.workload {
        Work::Parse if asked.output.is_none() && asked.module.is_none() => {
            set.push(("pipeline.config.dry_run".to_owned(), "true".to_owned()));
        }
        Work::Wait { millis } => {
            set.push(("pipeline.config.us".to_owned(), ((millis * 1e3).round() as u64).to_string()));
        }
        _ => {}
    }
    set.extend(asked.set.iter().cloned());
    let built_in = format!("{}.wasm", source_name(asked.workload));
    let overrides = Overrides {
        brokers: Some(asked.brokers.clone()),
        listen: Some("127.0.0.1:0".parse().map_err(Failure::usage)?),
        handler: Some(asked.module.clone().unwrap_or_else(|| built_in.into())),
        input: vec![asked.topic.clone()],
        outputs: asked.output.iter().cloned().collect(),
        group: Some(asked.group.clone()),
        ordering: Some(asked.ordering),
        start: Some(Start::Earliest),
        set,
        ..Overrides::default()
    };
    let mut config = Config::load(Source::new(environment()).overrides(overrides)).map_err(Failure::usage)?;
    // What is measured is one module.
    config.pipelines.iter_mut().for_each(|pipeline| pipeline.watch = false);
    Ok(config)
}

/// The variables that count.
pub(super) fn environment() -> BTreeMap<String, String> {
    let of_client: Vec<String> = client_property_names().map(variable).collect();
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| {
            ["HOME", "XDG_CACHE_HOME", "SANDMILL_HOST_DATA_DIR"].contains(&name.as_str())
                || of_client.contains(name)
        })
        .collect()
}

fn variable(property: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("SANDMILL_KAFKA_{}", property.chars().map(upper).collect::<String>())
}

fn source_name(workload: Work) -> &'static str {
    if workload == Work::Parse { "access-log" } else { "noop" }
}

/// The handler that is called.
fn source(asked: &Asked) -> HandlerSource {
    let name = source_name(asked.workload);
    let parses = asked.workload == Work::Parse;
    match (asked.level, &asked.module) {
        (Level::Native, _) => {
            let handler: Arc<dyn NativeHandler> =
                if parses { Arc::new(AccessLog { dry_run: asked.output.is_none() }) } else { Arc::new(Noop) };
            HandlerSource::Native { name, handler }
        }
        (_, Some(file)) => HandlerSource::File(file.clone()),
        (_, None) => HandlerSource::Embedded { name, bytes: if parses { ACCESS_LOG } else { NOOP } },
    }
}

/// Waits until everything is complete and committed, and gives the snapshot that says so.
fn watch(
    started: &Started,
    entry: &PipelineEntry,
    asked: &Asked,
    reporter: &mut Reporter,
) -> Result<Arc<PipelineSnapshot>, Error> {
    let progress = Progress { records: asked.records, failures: asked.failures };
    let wrong = |problem| Error::Wrong { name: asked.level.name().to_owned(), problem };
    let mut begun = false;
    loop {
        match started.next_event_within(LOOK) {
            Some(HostEvent::Signal) => return Err(Error::Interrupted),
            Some(HostEvent::Ended(Ended { failure, .. })) => {
                return Err(wrong(failure.unwrap_or_else(|| "the pipeline stopped".to_owned())));
            }
            None => {}
        }
        let (snapshot, _) = entry.snapshot();
        if !begun && let Some(first) = snapshot.taken.first_unix_us {
            begun = true;
            reporter.first_at(first);
        }
        match progress.standing(&snapshot) {
            Standing::Done => return Ok(snapshot),
            Standing::Running(records) => reporter.progress(records, || Progress::note(&snapshot))?,
            Standing::Wrong(problem) => return Err(wrong(problem)),
        }
    }
}

/// What the host says of a run that is over.
fn done(entry: &PipelineEntry, snapshot: &PipelineSnapshot) -> Done {
    let counts = entry.module().executions.read();
    let records: u64 = snapshot.partitions.iter().map(|p| p.succeeded + p.failed).sum();
    let of = |total: u64, count: u64| if count == 0 { 0.0 } else { total as f64 / count as f64 };
    let details: Map<String, Value> = [
        ("calls", json!(counts.executions())),
        ("records_per_call", json!(of(records, counts.executions()))),
        ("fuel_per_record", json!(of(counts.fuel, records))),
        ("batch_bound", json!(snapshot.batch_bound)),
        ("handler", json!(entry.module().handler)),
        ("handler_version", json!(entry.module().version())),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    Done {
        unix_us: snapshot.last_commit_unix_us.unwrap_or_default(),
        records,
        bytes: snapshot.taken.bytes,
        positions: snapshot.partitions.iter().map(|p| (p.partition, p.safe_offset)).collect(),
        commits: true,
        details,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_modules_are_components() {
        for module in [NOOP, ACCESS_LOG] {
            assert!(module.starts_with(b"\0asm"));
        }
    }

    #[test]
    fn a_property_is_found_in_the_environment_by_its_name() {
        assert_eq!(variable("sasl.password"), "SANDMILL_KAFKA_SASL_PASSWORD");
        assert_eq!(property("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(property("a").is_err());
    }
}
