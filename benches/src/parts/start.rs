//! `start`: from nothing to the first record that is complete.
//!
//! A small topic, a group that committed nothing, the handler `echo`. The clock runs from spawning the process to
//! the broker's time stamp of the first output record, to the millisecond and rounded down; what the host's
//! producer lingers is in it. With a cold cache the module is compiled, with a warm one it is loaded.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use sandmill_tests::host::Home;
use sandmill_tests::producer::{Outgoing, Producer};
use sandmill_tests::unique;
use serde_json::{Value, json};

use super::{Kind, Part};
use crate::climb::{Passes, Sample, climb};
use crate::hosted::Pipeline;
use crate::latencies::STAMPED;
use crate::results::Row;
use crate::session::Session;
use crate::sizes::Sizes;

/// Records of the topic.
const RECORDS: usize = 1_000;
/// For a host to have written anything.
const LONGEST: Duration = Duration::from_secs(120);

pub(super) const PART: Part = Part {
    name: "start",
    tells: "from spawning the process to its first output in the broker's log",
    reference: "",
    passes: two_more,
    kind: Kind::Own { seconds: |sizes| 3.0 * 2.0 * (sizes.runs() + 2) as f64, bytes: |_| 1 << 20, run },
};

/// A start is short: two more than usual.
fn two_more(sizes: &Sizes) -> Passes {
    let passes = super::usual(sizes);
    Passes { counted: if passes.warm_up { passes.counted + 2 } else { passes.counted }, ..passes }
}

fn run(session: &Session, passes: Passes) -> Result<Vec<Row>> {
    let input = unique("start");
    session.kafka.create_topic(&input, 8, &[]);
    let records: Vec<Outgoing> =
        (0..RECORDS).map(|number| Outgoing::keyed(format!("key-{number}"), "value")).collect();
    Producer::new(&session.kafka).send(&input, &records);
    let rows = ["cold cache", "warm cache"].map(|name| Row::new(name, &[])).into();
    let warm = Home::new();
    // Fills the cache.
    once(session, &warm, &input)?;
    let rows = climb("start", passes, rows, |index| match index {
        0 => once(session, &Home::new(), &input),
        _ => once(session, &warm, &input),
    });
    session.cluster.delete_topic(&input)?;
    Ok(rows)
}

/// One start; milliseconds since the process was spawned.
fn once(session: &Session, home: &Home, input: &str) -> Result<Sample> {
    let output = unique("start-out");
    session.kafka.create_topic(&output, 1, &STAMPED);
    let pipeline = Pipeline::new(session, "echo", input).output(&output);
    let spawned = SystemTime::now();
    let mut host = pipeline.spawn(home);
    host.wait_until("all outputs were written", LONGEST, |_| {
        session.kafka.offsets_in(&output) >= RECORDS as i64
    });
    let log = host.log();
    let ended = host.terminate();
    ensure!(ended.code == 0, "the host ended with code {}:\n{}", ended.code, ended.stderr);
    let first = session.kafka.read_all(&output).iter().filter_map(|record| record.timestamp).min();
    session.cluster.delete_topic(&output)?;
    let first = first.context("the output topic holds nothing")? as f64;
    let spawned = spawned.duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64() * 1e3;
    let after = |message: &str| {
        let at = logged(&log, message).with_context(|| format!("the host never logged {message:?}"))?;
        anyhow::Ok(at.duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64() * 1e3 - spawned)
    };
    let numbers = vec![
        // The module is loaded, an instance was tried, the broker knows the topics.
        ("loaded_ms", after("starting")?),
        // The group gave it its partitions.
        ("assigned_ms", after("assigned")?),
        ("first_output_ms", first - spawned),
    ];
    let raw = json!(numbers.iter().copied().collect::<std::collections::BTreeMap<_, _>>());
    Ok(Sample { numbers, raw })
}

/// When a log of JSON lines has a message that begins so for the first time.
fn logged(log: &str, message: &str) -> Option<SystemTime> {
    log.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["message"].as_str()?.starts_with(message).then_some(())?;
        humantime::parse_rfc3339(line["timestamp"].as_str()?).ok()
    })
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
