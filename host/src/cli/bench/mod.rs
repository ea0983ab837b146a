//! `sandmill bench`: how fast this host is on the user's own brokers, with his own handler if he likes.
//!
//! It fills a topic of its own, or takes one that is there, and lets the levels of the ladder read it in
//! turns, each in a process of its own. What it made it removes again, also after Ctrl-C.

mod prepare;
mod result;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::contender::property;
use super::settings::{ordering, pair};
use super::{Failure, print};
use crate::bench::{self, Conditions, Contender, Error, Job, Level, Series, Work};
use crate::config::Ordering;
use crate::pipeline::forward_signals;
use prepare::Prepared;
use result::{BenchResult, Settings};

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// Kafka brokers, as host:port with commas between; without them a broker inside this process, whose
    /// figures mean little
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: Option<String>,

    /// A handler of your own; of the levels only raw-poll, raw-batch and wasm are left then
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,

    /// What is done with each record: nothing, or a line of a web server's log becomes JSON. Without it noop,
    /// or whatever the module does
    #[arg(long, value_parser = PossibleValuesParser::new(["noop", "parse"]).map(|name| workload(&name)))]
    workload: Option<Work>,

    /// Records to put into the topic [default: 1000000, or 20000 without --brokers]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "topic")]
    records: Option<u64>,

    /// Bytes of a value; workload parse has lines of a log instead
    #[arg(long, value_name = "BYTES", default_value = "100", conflicts_with = "topic")]
    size: usize,

    /// Different keys, by Zipf's law: few come often, many rarely
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "topic")]
    keys: u32,

    /// Every key as often as any other
    #[arg(long, conflicts_with = "topic")]
    uniform: bool,

    /// Partitions of the topic
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(i32).range(1..), conflicts_with = "topic")]
    partitions: i32,

    /// Copies of each partition of the topics that are made; without it as many as the broker makes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    copies: Option<i32>,

    /// Which records wait for each other
    #[arg(long, default_value = "key", value_parser = PossibleValuesParser::new(["key", "partition", "unordered"]).map(|text| ordering(&text)))]
    ordering: Ordering,

    /// Levels to run, of raw-poll, raw-batch, copy, native, wasm [default: all that can do the workload]
    #[arg(long, value_name = "LEVEL", value_delimiter = ',', value_parser = levels())]
    levels: Vec<Level>,

    /// Levels to leave out
    #[arg(long, value_name = "LEVEL", value_delimiter = ',', value_parser = levels())]
    skip: Vec<Level>,

    /// Passes that count, after one that warms up
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,

    /// Read this topic instead of making one; nothing may be written to it meanwhile
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,

    /// Write outputs, to this topic or else to new ones that are removed again; without it workload parse
    /// throws its JSON away, and a module must not write anything
    #[arg(long, value_name = "TOPIC", num_args = 0..=1, default_missing_value = "")]
    output: Option<String>,

    /// Leave the topic that was made
    #[arg(long, conflicts_with = "topic")]
    keep: bool,

    /// Print the result as JSON instead of a table
    #[arg(long)]
    json: bool,

    /// Write the result as JSON to a file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,

    /// A key of the configuration of native and wasm, as in `sandmill run`; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,

    /// A property of the Kafka client, for security above all; may be repeated. Others see it in the list of
    /// processes: passwords are better kept in SANDMILL_KAFKA_SASL_PASSWORD and the like
    #[arg(short = 'X', value_name = "NAME=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,

    /// A run that moves nothing for so long has stalled, and ends everything
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    stall: Duration,
}

impl Bench {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let (work, levels) = (self.work(), self.checked_levels()?);
        let interrupt = on_signal()?;
        let prepared = Prepared::new(&self, work, &interrupt)?;
        let mut conditions = Conditions::gather().map_err(Failure::start)?;
        let begun = Instant::now();
        let mut series: Vec<Series> = levels.iter().map(|level| Series::new(level.name())).collect();
        for pass in 0..=self.repetitions as usize {
            for (level, series) in levels.iter().zip(&mut series) {
                let run = self.run(*level, work, &prepared, &interrupt).map_err(failure)?;
                tell(format_args!(
                    "{}: {}: {} records/s",
                    if pass == 0 {
                        "to warm up".to_owned()
                    } else {
                        format!("pass {pass} of {}", self.repetitions)
                    },
                    level.name(),
                    bench::grouped(run.records_per_second)
                ));
                series.push(pass, run);
            }
        }
        conditions.ended(begun);
        let settings = Settings::new(&self, work, prepared.brokers.clone(), prepared.is_embedded());
        let result = BenchResult::new(conditions, settings, prepared.topic.clone(), series);
        let text = serde_json::to_string_pretty(&result).map_err(Failure::pipeline)?;
        if let Some(file) = &self.save {
            std::fs::write(file, format!("{text}\n"))
                .map_err(|error| Failure::pipeline(format!("cannot write {}: {error}", file.display())))?;
        }
        if self.json {
            print(text);
        } else {
            print(table::shown(&result));
        }
        Ok(())
    }

    /// What native and wasm do.
    fn work(&self) -> Work {
        self.workload.unwrap_or(if self.module.is_some() { Work::Module } else { Work::Noop })
    }

    /// The levels to run: those that were asked for, or all that can do the work.
    fn checked_levels(&self) -> Result<Vec<Level>, Failure> {
        let (parses, writes) = (self.work() == Work::Parse, self.output.is_some());
        if writes && self.work() == Work::Noop {
            return Err(Failure::usage(
                "workload noop writes nothing: leave --output away, or use --workload parse",
            ));
        }
        let can = |level: Level| match level {
            Level::RawPoll | Level::RawBatch | Level::Wasm => Ok(()),
            Level::Copy if parses && writes && self.module.is_none() => Ok(()),
            Level::Copy => Err("it parses and writes: give --workload parse and --output"),
            Level::Native if self.module.is_none() => Ok(()),
            Level::Native => Err("a module cannot be compiled into this program: leave --module away"),
        };
        let asked: Vec<Level> = if self.levels.is_empty() {
            Level::ALL.into_iter().filter(|level| can(*level).is_ok()).collect()
        } else {
            for level in &self.levels {
                can(*level)
                    .map_err(|why| Failure::usage(format!("level {} cannot run: {why}", level.name())))?;
            }
            self.levels.clone()
        };
        let levels: Vec<Level> = asked.into_iter().filter(|level| !self.skip.contains(level)).collect();
        if levels.is_empty() {
            return Err(Failure::usage("no level is left to run: give --levels, or less to --skip"));
        }
        if let Some(file) = &self.module
            && let Err(error) = std::fs::metadata(file)
        {
            return Err(Failure::usage(format!("cannot read {}: {error}", file.display())));
        }
        Ok(levels)
    }

    /// One run of one level.
    fn run(
        &self,
        level: Level,
        work: Work,
        prepared: &Prepared,
        interrupt: &Arc<AtomicBool>,
    ) -> Result<bench::Measurement, Error> {
        let reads_only = !level.commits();
        let output = prepared.output(self, reads_only)?;
        let mut job =
            Job::new(&prepared.brokers, prepared.topic.clone(), if reads_only { Work::Noop } else { work });
        job.properties = prepared.properties.clone();
        job.ordering = self.ordering;
        job.output = output.as_ref().map(|output| output.name().to_owned());
        job.stall = self.stall;
        job.interrupt = interrupt.clone();
        let result = bench::measure(&self.contender(level)?, &job);
        // A topic that grows explains whatever else is wrong.
        if result.is_err() && self.topic.is_some() {
            prepared.check_unchanged()?;
        }
        result
    }

    fn contender(&self, level: Level) -> Result<Contender, Error> {
        let mut options = Vec::new();
        let mut add = |option: &str, value: String| options.extend([option.to_owned(), value]);
        for (name, value) in &self.properties {
            add("-X", format!("{name}={value}"));
        }
        if level.is_host() {
            for (key, value) in &self.set {
                add("--set", format!("{key}={value}"));
            }
            if let Some(file) = &self.module {
                add("--module", file.display().to_string());
            }
        }
        level.of_this_program(options)
    }
}

fn workload(name: &str) -> Work {
    if name == "parse" { Work::Parse } else { Work::Noop }
}

fn levels() -> impl clap::builder::TypedValueParser<Value = Level> {
    PossibleValuesParser::new(Level::ALL.map(Level::name))
        .map(|name| Level::named(&name).expect("the argument is one of these names"))
}

/// A flag that SIGTERM and SIGINT set.
fn on_signal() -> Result<Arc<AtomicBool>, Failure> {
    let interrupt = Arc::new(AtomicBool::new(false));
    let set = interrupt.clone();
    forward_signals(move || {
        set.store(true, Relaxed);
        true
    })
    .map_err(Failure::start)?;
    Ok(interrupt)
}

/// Tells whoever watches; the result alone goes to standard output.
fn tell(text: impl std::fmt::Display) {
    use std::io::Write as _;
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Why there is no result, as an exit code.
fn failure(error: Error) -> Failure {
    match error {
        Error::Interrupted => Failure::pipeline("interrupted: there is no result"),
        error => Failure::pipeline(error),
    }
}
