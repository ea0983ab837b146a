//! One run of one contender: started, watched, checked.
//!
//! The clock runs from the first record in the contender's hands, by its own word, to the last offset
//! committed: the later of its own word and the broker's time stamp of that commit, where that can be read
//! and the broker's clock is this machine's. Nothing is asked of contender or broker meanwhile.

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::child::Child;
use super::client::{Cluster, History, Place};
use super::protocol::{Done, Event, First, Progress, unix_us};
use super::system::{Cpu, Meter, Usage, cpu_seconds};
use super::{Contender, Error, Job, Work};
use crate::config::Ordering;

/// How often the watch looks up from its contender's lines.
const LOOK: Duration = Duration::from_millis(100);
/// For a contender to end once its input is closed.
const EXIT: Duration = Duration::from_secs(30);

/// The checked numbers of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Records that were read, all of the topic.
    pub records: u64,
    /// From the first record to the last commit; of a contender that commits nothing, to its last record.
    pub seconds: f64,
    /// Of these two.
    pub records_per_second: f64,
    /// Who used how much of the machine.
    pub cpu: Cpu,
    /// The most memory that the process had resident at once, the client's fetch buffers included.
    pub peak_rss_bytes: u64,
    /// What stopped the clock.
    pub clock_end: ClockEnd,
    /// What the contender said of itself, and what the broker's commits say: `commits` (of single
    /// partitions) and `last_tick_seconds` (from the last commit but one to the last: all records were
    /// complete at some moment within it).
    pub details: Map<String, Value>,
}

/// What stopped the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockEnd {
    /// The later of the contender's word and the time at which the broker wrote the last commit.
    Broker,
    /// The contender's word alone: commits may not be read there, or the broker's clock is another machine's.
    Contender,
    /// The contender's word: it commits nothing.
    LastRecord,
}

/// Runs a contender once.
///
/// # Errors
/// If it cannot be started, fails, stalls, or claims what is not so; if the broker cannot be asked; or if the
/// run was interrupted. Nothing of the contender is left running.
pub fn measure(contender: &Contender, job: &Job) -> Result<Measurement, Error> {
    let cluster = Cluster::connect(&job.brokers, &job.properties)?;
    let group = fresh_group();
    let place = Place::of(&cluster, &group)?;
    let before = job.output.as_ref().map(|output| cluster.ends(output)).transpose()?;
    let meter = Meter::start(job.broker_process)?;
    let mut child = Child::start(contender, &arguments(job, &group))?;
    let mut run = Run::new(contender, job, &cluster, &group);
    let done = run.until_done(&mut child)?;
    let usage = Usage::of(child.id())?;
    let cpu = meter.stop(&usage, run.state.start_seconds)?;
    run.finish(&mut child)?;
    run.check(&done)?;
    let (committed_us, mut details) = run.commits(&done, place.as_ref())?;
    if let (Some(output), Some(before)) = (&job.output, &before) {
        run.check_outputs(output, before)?;
    }
    if done.commits
        && let Err(error) = cluster.delete_group(&group)
    {
        // The broker forgets it by itself after some days.
        tracing::debug!(%error, "a group is left");
    }
    let first = run.state.first.ok_or_else(|| run.wrong("never said when its first record came"))?;
    let clock_end = match (done.commits, committed_us) {
        (false, _) => ClockEnd::LastRecord,
        (true, Some(_)) => ClockEnd::Broker,
        (true, None) => ClockEnd::Contender,
    };
    let micros = done.unix_us.max(committed_us.unwrap_or(0)).saturating_sub(first);
    if micros == 0 {
        return Err(run.wrong("took no time from its first record to its last"));
    }
    let seconds = micros as f64 / 1e6;
    details.extend(done.details);
    Ok(Measurement {
        records: done.records,
        seconds,
        records_per_second: done.records as f64 / seconds,
        cpu,
        peak_rss_bytes: usage.peak_rss_bytes,
        clock_end,
        details,
    })
}

/// A group that has committed nothing: no two runs have the same.
fn fresh_group() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (now, process) = (unix_us(SystemTime::now()), std::process::id());
    format!("sandmill-bench-{now}-{process}-{}", NEXT.fetch_add(1, Relaxed))
}

/// The protocol's arguments.
fn arguments(job: &Job, group: &str) -> Vec<String> {
    let records = job.topic.records.to_string();
    let ordering = match job.ordering {
        Ordering::Key => "key",
        Ordering::Partition => "partition",
        Ordering::Unordered => "unordered",
    };
    let mut arguments: Vec<String> = [
        ("--brokers", job.brokers.as_str()),
        ("--topic", &job.topic.name),
        ("--group", group),
        ("--records", &records),
        ("--workload", job.workload.name()),
        ("--ordering", ordering),
    ]
    .into_iter()
    .flat_map(|(option, value)| [option.to_owned(), value.to_owned()])
    .collect();
    if let Work::Wait { millis } = job.workload {
        arguments.extend(["--wait-ms".to_owned(), millis.to_string()]);
    }
    if let Some(output) = &job.output {
        arguments.extend(["--output".to_owned(), output.clone()]);
    }
    arguments
}

/// Whether all of these addresses are this machine's own, so that the broker's clock is ours.
fn is_local(brokers: &str) -> bool {
    brokers.split(',').all(|address| {
        let host = address.trim().rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.rsplit_once("//").map_or(host, |(_, host)| host).trim_matches(['[', ']']);
        host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    })
}

/// What a contender has said so far.
#[derive(Debug, Default)]
struct State {
    /// Microseconds since 1970.
    first: Option<u64>,
    /// CPU seconds that it had used by then.
    start_seconds: f64,
    records: u64,
    note: Option<String>,
}

/// One run while it lasts.
pub(super) struct Run<'a> {
    contender: &'a Contender,
    job: &'a Job,
    cluster: &'a Cluster,
    group: &'a str,
    state: State,
}

impl<'a> Run<'a> {
    pub(super) fn new(contender: &'a Contender, job: &'a Job, cluster: &'a Cluster, group: &'a str) -> Self {
        Self { contender, job, cluster, group, state: State::default() }
    }

    /// Reads the contender's lines until it says that it is done.
    fn until_done(&mut self, child: &mut Child) -> Result<Done, Error> {
        let mut moved = Instant::now();
        loop {
            match child.line(LOOK) {
                Ok(line) => match self.event(&line)? {
                    Event::First(First { unix_us }) => {
                        self.state.first.get_or_insert(unix_us);
                        self.state.start_seconds = cpu_seconds(child.id())?;
                        moved = Instant::now();
                    }
                    Event::Progress(Progress { records, note }) => {
                        if records != self.state.records {
                            moved = Instant::now();
                        }
                        (self.state.records, self.state.note) = (records, note);
                    }
                    Event::Done(done) => return Ok(done),
                },
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended(child)),
            }
            if self.job.interrupt.load(Relaxed) {
                return Err(Error::Interrupted);
            }
            if moved.elapsed() > self.job.stall {
                return Err(self.stalled(child));
            }
        }
    }

    fn event(&self, line: &str) -> Result<Event, Error> {
        let name = self.contender.name.clone();
        Event::parse(line).map_err(|problem| Error::Protocol { name, problem, line: line.to_owned() })
    }

    /// Its output closed: it has ended, or is about to.
    fn ended(&self, child: &mut Child) -> Error {
        let status = child.ended(EXIT);
        if self.job.interrupt.load(Relaxed) {
            return Error::Interrupted;
        }
        Error::Ended {
            name: self.contender.name.clone(),
            status: told(status),
            records: self.state.records,
            of: self.job.topic.records,
            said: child.said(),
        }
    }

    fn stalled(&self, child: &mut Child) -> Error {
        // Killed first: a process that lives may still have something to say.
        child.kill();
        Error::Stalled {
            name: self.contender.name.clone(),
            stall: self.job.stall,
            records: self.state.records,
            of: self.job.topic.records,
            place: self.place(),
            said: child.said(),
        }
    }

    /// Where a run stands that moves no more: what was committed, and what it says that it waits for.
    fn place(&self) -> String {
        let mut place = String::new();
        if self.state.first.is_none() {
            place.push_str("; it never took a first record");
        }
        match self.cluster.committed(self.group, &self.job.topic.name) {
            Ok(committed) => {
                let short = missing(&self.job.topic.ends, &committed);
                place.push_str(&format!("; committed: {}", if short.is_empty() { "all" } else { &short }));
            }
            Err(error) => place.push_str(&format!("; {error}")),
        }
        if let Some(note) = &self.state.note {
            place.push_str(&format!("; it waits: {note}"));
        }
        place
    }

    /// Closes the contender's input, which is to end it.
    fn finish(&self, child: &mut Child) -> Result<(), Error> {
        match child.finish(EXIT) {
            Some(status) if status.success() => Ok(()),
            status => {
                Err(self.wrong(&format!("then ended with {}; it said:\n{}", told(status), child.said())))
            }
        }
    }

    fn wrong(&self, problem: &str) -> Error {
        Error::Wrong { name: self.contender.name.clone(), problem: problem.to_owned() }
    }

    /// Holds what it claims against what stands in the topic.
    fn check(&self, done: &Done) -> Result<(), Error> {
        let topic = &self.job.topic;
        if (done.records, done.bytes) != (topic.records, topic.bytes) {
            return Err(self.wrong(&format!(
                "it read {} records of {} bytes, and topic {:?} holds {} of {}",
                done.records, done.bytes, topic.name, topic.records, topic.bytes
            )));
        }
        let short = missing(&topic.ends, &done.positions);
        if !short.is_empty() {
            return Err(self.wrong(&format!("says that it stands before the end: {short}")));
        }
        Ok(())
    }

    /// Holds its commits against what the broker has. Gives the time of the one that completed them, in
    /// microseconds since 1970, where that can be known, and what else they tell.
    fn commits(
        &self,
        done: &Done,
        place: Option<&Place>,
    ) -> Result<(Option<u64>, Map<String, Value>), Error> {
        let mut details = Map::new();
        if !done.commits {
            return Ok((None, details));
        }
        let (job, name) = (self.job, &self.job.topic.name);
        let short = missing(&job.topic.ends, &self.cluster.committed(self.group, name)?);
        if !short.is_empty() {
            return Err(self.wrong(&format!("the broker has no commit of the end: {short}")));
        }
        if !is_local(&job.brokers) {
            return Ok((None, details));
        }
        let Ok(history) = History::read(self.cluster, place, self.group, name) else {
            return Ok((None, details));
        };
        let Some(reached) = history.reached(&job.topic.ends) else { return Ok((None, details)) };
        details.insert("commits".to_owned(), history.len().into());
        if let Some(before) = history.last_before(reached) {
            details.insert("last_tick_seconds".to_owned(), ((reached - before) as f64 / 1e3).into());
        }
        Ok((u64::try_from(reached).ok().map(|millis| millis * 1_000), details))
    }

    /// Holds its outputs against what had to be written: their number, and where the job knows them, what
    /// they are and in which order.
    pub(super) fn check_outputs(&self, output: &str, before: &BTreeMap<i32, i64>) -> Result<(), Error> {
        let (ordering, topic) = (self.job.ordering, &self.job.topic);
        let Some(expected) = topic.parsed.as_ref().filter(|_| self.job.workload == Work::Parse) else {
            return Ok(());
        };
        let after = self.cluster.ends(output)?;
        let start = |partition| before.get(partition).copied().unwrap_or(0);
        let ranges: BTreeMap<i32, (i64, i64)> =
            after.iter().map(|(partition, end)| (*partition, (start(partition), *end))).collect();
        let found = self.cluster.sums(output, &ranges)?;
        if found.records != expected.records {
            return Err(self.wrong(&format!(
                "topic {output:?} got {} records instead of {}",
                found.records, expected.records
            )));
        }
        if found.unordered != expected.unordered {
            return Err(self.wrong(&format!(
                "topic {output:?} got other records than it should: key, value or timestamp differs"
            )));
        }
        let same_partitions = after.len() == topic.ends.len();
        let in_order = match ordering {
            Ordering::Unordered => true,
            Ordering::Partition if same_partitions => found.by_partition == expected.by_partition,
            Ordering::Key | Ordering::Partition => found.by_key == expected.by_key,
        };
        if in_order {
            Ok(())
        } else {
            Err(self.wrong(&format!("topic {output:?} got its records in another order")))
        }
    }
}

/// Partitions in which a position lies before its end, as text.
fn missing(ends: &BTreeMap<i32, i64>, positions: &BTreeMap<i32, i64>) -> String {
    let short = ends.iter().filter_map(|(partition, end)| {
        let position = positions.get(partition).copied();
        if *end == 0 || position.is_some_and(|position| position >= *end) {
            return None;
        }
        let at = position.map_or_else(|| "nowhere".to_owned(), |position| position.to_string());
        Some(format!("partition {partition} at {at} of {end}"))
    });
    short.collect::<Vec<_>>().join(", ")
}

fn told(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "no end: it was killed".to_owned(), |status| status.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_brokers_of_this_machine_share_its_clock() {
        for local in ["localhost:9092", "127.0.0.1:1,127.0.0.2:2", "[::1]:9092", "PLAINTEXT://127.0.0.1:9092"]
        {
            assert!(is_local(local), "{local}");
        }
        for other in ["kafka:9092", "127.0.0.1:1,10.0.0.1:2", "localhost.example:9092", ""] {
            assert!(!is_local(other), "{other}");
        }
    }

    #[test]
    fn a_position_before_its_end_is_named() {
        let ends = BTreeMap::from([(0, 5), (1, 0), (2, 7)]);
        assert_eq!(missing(&ends, &BTreeMap::from([(0, 6), (2, 7)])), "");
        assert_eq!(
            missing(&ends, &BTreeMap::from([(0, 4)])),
            "partition 0 at 4 of 5, partition 2 at nowhere of 7"
        );
    }

    #[test]
    fn a_contender_gets_the_arguments_of_the_protocol() {
        let topic = super::super::Topic { name: "t".to_owned(), records: 9, ..Default::default() };
        let mut job = Job::new("b:1", topic, Work::Wait { millis: 0.5 });
        let wait =
            "--brokers b:1 --topic t --group g --records 9 --workload wait --ordering key --wait-ms 0.5";
        assert_eq!(arguments(&job, "g").join(" "), wait);
        (job.workload, job.ordering, job.output) = (Work::Parse, Ordering::Unordered, Some("o".to_owned()));
        let parse =
            "--brokers b:1 --topic t --group g --records 9 --workload parse --ordering unordered --output o";
        assert_eq!(arguments(&job, "g").join(" "), parse);
    }

    #[test]
    fn no_two_runs_share_a_group() {
        assert_ne!(fresh_group(), fresh_group());
    }
}
