//! Runs the rungs of a part: their topics, their passes, what has to be seen to beside a run.

use anyhow::{Context, Result, ensure};
use sandmill::bench::{Job, Measurement, Topic, Work, measure};
use sandmill::config::Ordering;
use sandmill_tests::unique;
use serde_json::Value;

use crate::climb::{Passes, Sample, climb};
use crate::plan::Step;
use crate::results::{Row, number};
use crate::rung::{Contender, Rung, Settings, Values};
use crate::scraper::{self, Scraper};
use crate::session::Session;
use crate::topics::Topics;
use crate::{selfcheck, tasks};

/// What came of a part.
pub(crate) struct Climbed {
    pub rows: Vec<Row>,
    pub topics: Vec<Value>,
    pub disk_bytes: u64,
}

/// Fills the topics, runs all passes, deletes the topics.
pub(crate) fn run(session: &Session, step: &Step, passes: Passes) -> Result<Climbed> {
    let topics = Topics::fill(session, &step.rungs)?;
    let mut disk_bytes = session.disk_bytes();
    let rows = step.rungs.iter().map(row).collect();
    let mut first = vec![true; step.rungs.len()];
    let rows = climb(step.part.name, passes, rows, |index| {
        let rung = &step.rungs[index];
        if std::mem::take(&mut first[index]) && rung.work == Work::Parse {
            selfcheck::run(&session.programs, &rung.contender)?;
        }
        let sample = once(session, &topics, rung);
        disk_bytes = disk_bytes.max(session.disk_bytes());
        sample
    });
    Ok(Climbed { rows, topics: topics.described(), disk_bytes })
}

fn row(rung: &Rung) -> Row {
    let traits = rung.traits();
    let traits: Vec<(&str, &str)> = traits.iter().map(|(key, value)| (*key, value.as_str())).collect();
    Row::new(&rung.name, &traits)
}

fn once(session: &Session, topics: &Topics<'_>, rung: &Rung) -> Result<Sample> {
    if let (Contender::Tasks { count }, Work::Wait { millis }) = (&rung.contender, rung.work) {
        return tasks::measure(*count, millis, rung.topic.records);
    }
    let topic = topics.get(&rung.topic).context("every rung's topic is filled")?;
    let beside = Beside::start(session, rung, topic)?;
    let contender = session.contender(rung, beside.failures, &beside.arguments)?;
    let mut job = Job::new(session.kafka.bootstrap(), topic.clone(), rung.work);
    job.ordering = rung.ordering;
    job.output = beside.output.clone();
    job.broker_process = Some(session.kafka.process());
    let measured = measure(&contender, &job);
    beside.finish(measured.is_ok())?;
    let mut sample = sample(&measured?)?;
    if let (Work::Wait { millis }, Ordering::Key) = (rung.work, rung.ordering) {
        // One record of a key after the other: the busiest key sets the pace.
        sample.numbers.push((number::KEY_BOUND, 1e3 / millis / topic.busiest_key_share));
    }
    Ok(sample)
}

/// What a run needs beside its contender: an output, a topic for dead letters, somebody who reads metrics.
struct Beside<'a> {
    session: &'a Session,
    arguments: Vec<String>,
    output: Option<String>,
    dead_letters: Option<String>,
    /// Records that have to fail.
    failures: u64,
    scraper: Option<Scraper>,
}

impl<'a> Beside<'a> {
    fn start(session: &'a Session, rung: &Rung, topic: &Topic) -> Result<Self> {
        let mut beside = Self {
            session,
            arguments: Vec::new(),
            output: None,
            dead_letters: None,
            failures: 0,
            scraper: None,
        };
        let made = |role: &str| {
            let name = unique(role);
            session.cluster.create_topic(&name, topic.partitions, None).map(|()| name)
        };
        if rung.output {
            beside.output = Some(made("ladder-out")?);
        }
        if let Values::Orders { one_in_a_hundred } = rung.topic.values {
            let name = made("ladder-dead")?;
            beside.set("pipeline.on_failure.dead_letter_topic", &name);
            beside.dead_letters = Some(name);
            beside.failures = one_in_a_hundred.map_or(0, |_| topic.records / 100);
        }
        if let Contender::Wasm(Settings { scraped: true, .. }) = rung.contender {
            let address = scraper::free_address()?;
            beside.set("http.listen", &address);
            beside.scraper = Some(Scraper::start(&address)?);
        }
        Ok(beside)
    }

    fn set(&mut self, key: &str, value: &str) {
        self.arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
    }

    /// Checks what the run left, if it ended well, and removes it.
    fn finish(mut self, ended_well: bool) -> Result<()> {
        let scraped = self.scraper.take().map_or(Ok(0), Scraper::finish);
        if !ended_well {
            return Ok(());
        }
        scraped?;
        if let Some(topic) = &self.dead_letters {
            let written = self.session.cluster.ends(topic)?.values().sum::<i64>();
            ensure!(
                u64::try_from(written)? == self.failures,
                "the dead-letter topic holds {written} records instead of {}",
                self.failures
            );
        }
        Ok(())
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        for topic in self.output.iter().chain(&self.dead_letters) {
            if let Err(error) = self.session.cluster.delete_topic(topic) {
                eprintln!("{error}");
            }
        }
    }
}

/// The numbers that all contenders have.
fn sample(measured: &Measurement) -> Result<Sample> {
    let (cpu, records) = (&measured.cpu, measured.records as f64);
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let mut numbers = vec![
        (number::RATE, measured.records_per_second),
        // A JVM that starts, or a module that is compiled, says nothing about a record.
        (number::CPU, (cpu.process_seconds - cpu.start_seconds) / records * 1e9),
        (number::ELSEWHERE, cpu.elsewhere_seconds / cpu.window_seconds / cores),
        (number::PEAK_RSS, measured.peak_rss_bytes as f64),
    ];
    if let Some(seconds) = cpu.broker_seconds {
        numbers.push((number::BROKER_CPU, seconds / records * 1e9));
    }
    if let Some(warm) = measured.details.get(number::WARM_RATE).and_then(Value::as_f64) {
        numbers.push((number::WARM_RATE, warm));
    }
    Ok(Sample { numbers, raw: serde_json::to_value(measured)? })
}
