//! The ladder: what the bare Kafka client does, and how much of that is left behind a sandbox.
//!
//! One process starts one Apache Kafka, fills one topic for each workload once, and then climbs the same
//! levels again and again, so that what disturbs the machine disturbs all of them. Whatever is measured runs
//! in a process of its own: its CPU time and its memory are then its own too.
//!
//! - [`options`]: what is run, how often, how large.
//! - [`workload`]: topics and what stands in them; [`zipf`]: their keys.
//! - [`level`]: one way to read a topic to its end; [`level::raw`] and [`level::wasm`].
//! - [`commits`]: when the broker wrote which commit: the end of every clock.
//! - [`start`]: from nothing to the first record.
//! - [`system`]: CPU time and memory, as the kernel counts them.
//! - [`conditions`], [`results`]: what is written down; [`report`]: how people read it.
//!
//! `docs/BENCHMARKS.md` has the rules and says what each number means.

mod commits;
mod conditions;
mod level;
mod options;
mod report;
mod results;
mod start;
mod system;
mod workload;
mod zipf;

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result};
use sandmill_tests::host::Home;
use sandmill_tests::kafka::Kafka;

use conditions::Conditions;
use level::{Bench, Run};
use options::{Options, Task};
use results::{Results, Series};
use workload::Topic;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ladder: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    match Options::parse()? {
        Task::Help => print!("{}", options::HELP),
        Task::RawReader { brokers, topic } => level::raw::read(&brokers, &topic)?,
        Task::Climb(options) => climb(&options)?,
    }
    Ok(())
}

fn climb(options: &Options) -> Result<()> {
    let begun = SystemTime::now();
    let bench = Bench { kafka: Kafka::start(1), home: Home::new() };
    let topics: Vec<Topic> = options
        .workloads
        .iter()
        .map(|workload| {
            eprintln!("filling the topic of {}", workload.name());
            workload.fill(&bench.kafka, options)
        })
        .collect();

    let mut series = Series::planned(options);
    // Pass 0 warms the broker, the page cache and the cache of compiled code, and counts nothing.
    for pass in 0..=options.repetitions {
        for series in &mut series {
            let topic = topics
                .iter()
                .find(|topic| topic.workload == series.workload)
                .context("every workload of the plan has its topic")?;
            let what = format!("{} {}, pass {pass}", series.workload.name(), series.level.name());
            let run = bench.run(series.level, topic).with_context(|| format!("stopped in {what}"))?;
            eprintln!("{what}: {}", described(&run));
            if pass == 0 { series.warm_up = Some(run) } else { series.repetitions.push(run) }
        }
    }
    let starts = start::measure(&bench, options.starts)?;

    let conditions = Conditions::gather(&bench, begun)?;
    let results = Results::new(options, conditions, &topics, series, starts);
    let written = results.write(&options.name)?;
    eprintln!("written: {}", written.display());
    let table = report::markdown(&results);
    println!("{table}");
    if options.docs {
        report::put_into_docs(&table)?;
    }
    Ok(())
}

/// One run in one line, for whoever watches.
fn described(run: &Run) -> String {
    format!(
        "{:.0} records/s ({} records in {:.2} s, CPU {:.2} s, broker {:.2} s, elsewhere {:.2} s, peak {} MiB)",
        run.records_per_second,
        run.records,
        run.seconds,
        run.cpu.process_seconds,
        run.cpu.broker_seconds,
        run.cpu.elsewhere_seconds,
        run.peak_rss_bytes >> 20,
    )
}
