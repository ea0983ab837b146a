//! The host as a user runs it: the release binary with default settings and the workload's handler, in key
//! order, metrics and limits on, in a group that has committed nothing.
//!
//! The clock runs from the host's log line that it was assigned its partitions to the moment at which the
//! broker wrote the commit that completed the last partition. Looking up positions and the first fetch lie
//! within it, as does the wait for the last tick of commits: it is the longest clock that can be argued for.
//! All records were complete at some moment between the last commit but one and the last; how far these two
//! lie apart is reported, because a short run measures little else.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use sandmill_tests::guests::guest;
use sandmill_tests::host::Host;
use sandmill_tests::unique;
use sandmill_tests::wait::poll_for;
use serde::Serialize;
use serde_json::Value;

use super::{Bench, Run, STALLED};
use crate::commits::History;
use crate::system::{Meter, Usage};
use crate::workload::{PARTITIONS, Topic};

/// How often the broker is asked how far the group is.
const LOOK: Duration = Duration::from_millis(100);
/// For the host's snapshot to say what the broker says.
const SETTLE: Duration = Duration::from_secs(5);
/// No run is longer; one that stalls is ended long before.
const LONGEST: Duration = Duration::from_secs(3_600);

/// What only a run of a host has.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Details {
    /// From the last commit but one to the last. The records were complete within it, so the rate without the
    /// wait for a commit lies between `records / seconds` and `records / (seconds - last_tick_seconds)`.
    pub last_tick_seconds: f64,
    /// Calls of the handler.
    pub calls: u64,
    pub records_per_call: f64,
    /// What the sandbox counted: a handler that was skipped would have used none.
    pub fuel_per_record: f64,
    /// The batch size to which the host had adapted at the end.
    pub batch_bound: u64,
    /// Commits of single partitions.
    pub commits: u64,
    pub outputs: u64,
    /// From the start of the process to its assignment: not on the clock.
    pub joined_after_seconds: f64,
}

/// A host with what it reads and writes.
struct Job<'a> {
    bench: &'a Bench,
    topic: &'a Topic,
    group: String,
    output: Option<String>,
    host: Host,
}

/// Starts a host, waits until everything is committed, and checks what it says about it.
pub(super) fn run(bench: &Bench, topic: &Topic) -> Result<Run> {
    let meter = Meter::start()?;
    let spawned = SystemTime::now();
    let mut job = Job::start(bench, topic);
    job.await_commits()?;
    let status = job.settled()?;
    let usage = Usage::of(job.host.id())?;
    let cpu = meter.stop(&usage)?;
    let (assigned, outputs) = (job.logged("assigned")?, job.outputs()?);
    let commits = History::of(&bench.kafka, &job.group, &topic.name);
    let committed = commits.reached(&topic.ends).context("the broker holds no commit of the topic's end")?;
    let seconds = committed as f64 / 1e3 - seconds_of(assigned)?;
    // Without an earlier commit the records were complete at any time since the assignment.
    let before = commits.last_before(committed);
    let last_tick_seconds = before.map_or(seconds, |before| (committed - before) as f64 / 1e3);
    job.end()?;
    let calls = status["calls"]["executions"].as_u64().context("the status counts no calls")?;
    let fuel = status["calls"]["fuel"].as_u64().context("the status counts no fuel")?;
    ensure!(
        calls > 0 && fuel > topic.records,
        "{calls} calls with {fuel} fuel cannot have seen every record"
    );
    Ok(Run {
        records: topic.records,
        seconds,
        records_per_second: topic.records as f64 / seconds,
        cpu,
        peak_rss_bytes: usage.peak_rss_bytes,
        host: Some(Details {
            last_tick_seconds,
            calls,
            fuel_per_record: fuel as f64 / topic.records as f64,
            records_per_call: topic.records as f64 / calls as f64,
            batch_bound: status["batch_bound"].as_u64().unwrap_or_default(),
            commits: commits.len() as u64,
            outputs,
            joined_after_seconds: assigned.duration_since(spawned)?.as_secs_f64(),
        }),
    })
}

impl<'a> Job<'a> {
    fn start(bench: &'a Bench, topic: &'a Topic) -> Self {
        let output =
            (topic.workload.outputs() > 0).then(|| bench.kafka.new_topic("ladder-output", PARTITIONS));
        let group = unique("ladder");
        let mut arguments = arguments(bench, topic, &group);
        if let Some(output) = &output {
            arguments.extend(["--output".to_owned(), output.clone()]);
        }
        Self { bench, topic, group, output, host: bench.home.spawn(&arguments) }
    }

    /// Waits until the broker holds the end of every partition as the group's commit.
    fn await_commits(&mut self) -> Result<()> {
        let Self { bench, topic, group, host, .. } = self;
        let (mut looked, mut moved, mut last) = (Instant::now(), Instant::now(), 0);
        let done = host.await_some("everything was committed", LONGEST, |_| {
            if looked.elapsed() < LOOK {
                return None;
            }
            let committed = bench.kafka.committed_offsets(group, &topic.name);
            looked = Instant::now();
            let sum: i64 = committed.values().sum();
            if sum != last {
                (last, moved) = (sum, looked);
            }
            let done =
                topic.ends.iter().all(|(partition, end)| *end == 0 || committed.get(partition) == Some(end));
            (done || moved.elapsed() > STALLED).then_some(done)
        });
        if done { Ok(()) } else { Err(self.stalled(last)) }
    }

    /// Where a host stands that moves no more.
    fn stalled(&mut self, committed: i64) -> anyhow::Error {
        let records = self.topic.records;
        let status = self.host.get("/api/v1/status").map(|(_, text)| text);
        let partitions = status.and_then(|text| {
            let status: Value = serde_json::from_str(&text).ok()?;
            let lines = status["pipelines"][0]["partitions"].as_array()?.iter().map(|partition| {
                let number = |key: &str| partition[key].as_i64().unwrap_or(-1);
                format!(
                    "partition {}: position {}, safe {}, committed {}, high watermark {}, in flight {}, blocked by {}",
                    number("partition"),
                    number("position"),
                    number("safe_offset"),
                    number("committed_offset"),
                    number("high_watermark"),
                    number("in_flight"),
                    partition["blocked_by"]
                )
            });
            Some(lines.collect::<Vec<_>>().join("\n"))
        });
        anyhow::anyhow!(
            "the host stalled: nothing was committed for {STALLED:?} after {committed} of {records} records\n{}\n\
             the host's log:\n{}",
            partitions.unwrap_or_else(|| "its status cannot be read".to_owned()),
            self.host.log()
        )
    }

    /// The pipeline's status once it agrees with the broker: all done, no lag, no gap, nothing in flight.
    fn settled(&mut self) -> Result<Value> {
        let records = self.topic.records;
        let mut seen = Value::Null;
        let settled = poll_for("the status settled", SETTLE, || {
            seen = self.host.status()["pipelines"][0].take();
            let totals = &seen["totals"];
            let is = |key: &str, expected: u64| totals[key].as_u64() == Some(expected);
            let nothing = ["failed", "in_flight", "lag", "gaps"].iter().all(|key| is(key, 0));
            (nothing && is("succeeded", records)).then_some(())
        });
        match settled {
            Ok(()) => Ok(seen),
            Err(_) => bail!(
                "everything is committed, but after {SETTLE:?} the host still says {} of {records} records",
                seen["totals"]
            ),
        }
    }

    /// When the host logged this message for the first time.
    fn logged(&self, message: &str) -> Result<SystemTime> {
        logged(&self.host.log(), message).with_context(|| format!("the host never logged {message:?}"))
    }

    /// Counts the output records; none may be missing or doubled.
    fn outputs(&self) -> Result<u64> {
        let Some(output) = &self.output else { return Ok(0) };
        let expected = self.topic.records * self.topic.workload.outputs();
        let written = u64::try_from(self.bench.kafka.offsets_in(output))?;
        ensure!(written == expected, "the output topic holds {written} records instead of {expected}");
        Ok(written)
    }

    /// Stops the host and removes what it wrote.
    fn end(self) -> Result<()> {
        let ended = self.host.terminate();
        ensure!(ended.code == 0, "the host ended with code {}:\n{}", ended.code, ended.stderr);
        if let Some(output) = &self.output {
            self.bench.kafka.delete_topic(output);
        }
        Ok(())
    }
}

/// Arguments of `sandmill` that run the workload's handler on the topic; everything else is as by default.
pub(crate) fn arguments(bench: &Bench, topic: &Topic, group: &str) -> Vec<String> {
    let handler = guest(topic.workload.handler()).display().to_string();
    let bootstrap = bench.kafka.bootstrap();
    [
        "run",
        &handler,
        "--brokers",
        &bootstrap,
        "--input",
        &topic.name,
        "--group",
        group,
        "--ordering",
        "key",
        "--listen",
        "127.0.0.1:0",
        "--log-format",
        "json",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// When a log of JSON lines has a message that begins so for the first time.
pub(crate) fn logged(log: &str, message: &str) -> Option<SystemTime> {
    log.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["message"].as_str()?.starts_with(message).then_some(())?;
        humantime::parse_rfc3339(line["timestamp"].as_str()?).ok()
    })
}

/// Seconds since 1970.
pub(crate) fn seconds_of(moment: SystemTime) -> Result<f64> {
    Ok(moment.duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_with_the_message_tells_when() {
        let log = "sandmill: not JSON\n\
                   {\"timestamp\":\"2026-01-02T03:04:05.000001Z\",\"level\":\"INFO\",\"message\":\"listening on http://x\"}\n\
                   {\"timestamp\":\"2026-01-02T03:04:06.250000Z\",\"level\":\"INFO\",\"message\":\"assigned\"}\n\
                   {\"timestamp\":\"2026-01-02T03:04:09.000000Z\",\"level\":\"INFO\",\"message\":\"assigned\"}\n";
        let (listening, assigned) = (logged(log, "listening on").unwrap(), logged(log, "assigned").unwrap());
        assert_eq!(assigned.duration_since(listening).unwrap(), Duration::from_micros(1_249_999));
        assert_eq!(logged(log, "revoked"), None);
    }
}
