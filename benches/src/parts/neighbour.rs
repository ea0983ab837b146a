//! `neighbour`: what a pipeline gets beside another one in the same host, while both have more to do than the workers can.
//!
//! The reference is an equal: the same handler on as many records. In its place come handlers that misbehave as well as
//! they can. Each run is a host of its own; it is watched in a window in which neither pipeline runs out of records.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use sandmill_tests::guests::guest;
use sandmill_tests::host::Host;
use sandmill_tests::metrics::Scrape;
use sandmill_tests::producer::{Outgoing, Producer};
use sandmill_tests::unique;
use serde_json::json;

use super::{Kind, Part, cold};
use crate::climb::{Passes, Sample, climb};
use crate::results::{Row, number};
use crate::session::Session;
use crate::sizes::{Scale, Sizes};

/// Computes for each record, and emits nothing: nothing but the workers is shared.
const HANDLER: (&str, &str) = ("cpu", "config = { us = \"50\" }");
/// What misbehaves, by the name of its row: a handler, and what is set.
const OTHERS: [(&str, (&str, &str)); 8] = [
    ("an equal", HANDLER),
    ("spins", ("hostile_spin", "config = { how = \"compute\" }\nallow = { log = true }")),
    (
        "spins in host calls",
        (
            "hostile_spin",
            "config = { how = \"clock\" }\nallow = { log = true }\nlimits = { host_calls = 1_000_000_000 }",
        ),
    ),
    (
        "floods the log",
        (
            "hostile_spin",
            "config = { how = \"log\" }\nallow = { log = true }\nlimits = { host_calls = 1_000_000_000 }",
        ),
    ),
    ("takes memory page by page", ("hostile_memory", "config = { how = \"pages\" }")),
    ("traps on every record", ("hostile_trap", "config = { when = \"always\", how = \"abort\" }")),
    ("panics with a MiB of text", ("hostile_trap", "config = { when = \"always\", how = \"long-panic\" }")),
    ("waits past its deadline", ("wait", "config = { ms = \"200\" }\nlimits = { deadline = \"50ms\" }")),
];

/// Partitions of each input.
const PARTITIONS: i32 = 8;
/// More than a core does in a second: so many records an input has for each core and second of the window.
const A_CORE: f64 = 25_000.0;
/// Until the window begins, at most, in seconds.
const BEFORE: f64 = 3.0;
/// For the host to get its partitions and to fill its queues.
const START: Duration = Duration::from_secs(60);

pub(super) const PART: Part = Part {
    name: "neighbour",
    tells: "50 µs of computing for each record, beside another pipeline in the same host: an equal, or one that misbehaves",
    reference: "an equal",
    passes: two_passes,
    kind: Kind::Own { seconds, bytes, run },
};

fn rows(sizes: &Sizes) -> &'static [(&'static str, (&'static str, &'static str))] {
    if sizes.scale == Scale::Smoke { &OTHERS[..2] } else { &OTHERS }
}

/// Before it is measured, and in which it is: a rate of thousands needs no more.
fn windows(sizes: &Sizes) -> [Duration; 2] {
    [sizes.loop_warm_up / 2, sizes.open_loop * 3 / 10]
}

/// Two at most: there are many rows, and each says the same of one handler.
fn two_passes(sizes: &Sizes) -> Passes {
    Passes { counted: sizes.passes.min(2), ..cold(sizes) }
}

fn seconds(sizes: &Sizes) -> f64 {
    let run = windows(sizes).iter().sum::<Duration>().as_secs_f64() + 3.0;
    run * (rows(sizes).len() * two_passes(sizes).counted) as f64 + 10.0
}

fn bytes(sizes: &Sizes) -> u64 {
    2 * records(sizes) * 60
}

/// So many that nobody runs out of them within the window.
fn records(sizes: &Sizes) -> u64 {
    if sizes.scale == Scale::Smoke {
        return 1_000;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    (cores * A_CORE * (windows(sizes).iter().sum::<Duration>().as_secs_f64() + BEFORE)) as u64
}

fn run(session: &Session, passes: Passes) -> Result<Vec<Row>> {
    let topics = Topics::fill(session);
    let rows = rows(&session.sizes);
    let own = rows.iter().map(|&(name, (handler, _))| Row::new(name, &[("handler", handler)])).collect();
    Ok(climb("neighbour", passes, own, |index| beside(session, &topics, rows[index].1)))
}

/// One host, and what its first pipeline completes.
fn beside(session: &Session, topics: &Topics<'_>, other: (&str, &str)) -> Result<Sample> {
    let file =
        [pipeline("neighbour", HANDLER, &topics.quiet), pipeline("other", other, &topics.marked)].concat();
    let file = session.home.file("neighbour.toml", format!("[http]\nlisten = \"127.0.0.1:0\"\n\n{file}"));
    let path = file.display().to_string();
    let mut host = session.home.spawn_with(
        &["run", "--config", &path],
        &[("SANDMILL_KAFKA_BOOTSTRAP_SERVERS", &session.kafka.bootstrap())],
    );
    host.wait_until("both pipelines called their handlers", START, |host| {
        let metrics = host.metrics();
        ["neighbour", "other"].iter().all(|name| {
            metrics.sum("handler_executions_total", &[("pipeline", name)]).is_some_and(|calls| calls > 0.0)
        })
    });
    let sizes = &session.sizes;
    let mut marks = Vec::new();
    for wait in windows(sizes) {
        let until = Instant::now() + wait;
        host.wait_until("the window was over", START, |_| Instant::now() >= until);
        marks.push(Mark::of(&mut host));
    }
    let left = marks[1].left;
    drop(host.kill());
    ensure!(sizes.scale == Scale::Smoke || left > 0.0, "a pipeline ran out of records within the window");
    let seconds = (marks[1].at - marks[0].at).as_secs_f64();
    let rate = (marks[1].completed - marks[0].completed) / seconds;
    let p99 = 1e3 * quantile(&marks[0].latencies, &marks[1].latencies, 0.99)?;
    Ok(Sample {
        numbers: vec![(number::RATE, rate), (number::P99, p99)],
        raw: json!({ "per_second": rate, "p99_ms": p99, "seconds": seconds }),
    })
}

/// A table of the configuration file.
fn pipeline(name: &str, (handler, more): (&str, &str), input: &str) -> String {
    format!(
        "[[pipeline]]\nname = {name:?}\nhandler = {:?}\ninput = [{input:?}]\ngroup = {:?}\n{more}\n\
         on_failure = {{ retries = 0, then = \"skip\" }}\n\n",
        guest(handler).display().to_string(),
        unique("ladder")
    )
}

/// What the metrics say at one moment.
struct Mark {
    at: Instant,
    completed: f64,
    /// The smaller lag of the two.
    left: f64,
    /// Upper bounds in seconds and how many records stayed below, ascending.
    latencies: Vec<(f64, f64)>,
}

impl Mark {
    fn of(host: &mut Host) -> Self {
        let metrics = host.metrics();
        let of = [("pipeline", "neighbour")];
        let lag = |name| metrics.sum("consumer_parallel_lag", &[("pipeline", name)]).unwrap_or_default();
        Mark {
            at: Instant::now(),
            completed: metrics.sum("consumer_processed_total", &of).unwrap_or_default(),
            left: lag("neighbour").min(lag("other")),
            latencies: buckets(&metrics),
        }
    }
}

/// The buckets of the first pipeline's latency, all partitions together.
fn buckets(metrics: &Scrape) -> Vec<(f64, f64)> {
    let mut sums: Vec<(f64, f64)> = Vec::new();
    for series in metrics.matching("consumer_processing_latency_seconds_bucket", &[("pipeline", "neighbour")])
    {
        let (bound, count) = (series.labels.get("le"), series.value);
        let bound = bound.and_then(|bound| bound.parse().ok()).unwrap_or(f64::INFINITY);
        match sums.iter_mut().find(|(known, _)| *known == bound) {
            Some((_, sum)) => *sum += count,
            None => sums.push((bound, count)),
        }
    }
    sums.sort_by(|one, other| one.0.total_cmp(&other.0));
    sums
}

/// Where this part of what came between two marks lies, as if it were spread evenly within its bucket.
fn quantile(before: &[(f64, f64)], after: &[(f64, f64)], part: f64) -> Result<f64> {
    let came = |bound: f64, count: f64| {
        let earlier = before.iter().find(|(known, _)| *known == bound).map_or(0.0, |(_, count)| *count);
        count - earlier
    };
    let wanted = part * after.last().map_or(0.0, |&(bound, count)| came(bound, count));
    let (mut below, mut from) = (0.0, 0.0);
    for &(bound, count) in after {
        let count = came(bound, count);
        if count >= wanted && count > below {
            ensure!(bound.is_finite(), "the latency lies beyond the last bucket, {from} s");
            return Ok(from + (bound - from) * (wanted - below) / (count - below));
        }
        (below, from) = (count, bound);
    }
    bail!("nothing was completed within the window")
}

/// Inputs of all runs. Dropped: deleted.
struct Topics<'a> {
    session: &'a Session,
    quiet: String,
    /// The same records with a mark, on which handlers misbehave.
    marked: String,
}

impl<'a> Topics<'a> {
    fn fill(session: &'a Session) -> Self {
        let topics = Topics { session, quiet: unique("quiet"), marked: unique("marked") };
        let producer = Producer::new(&session.kafka);
        let records = records(&session.sizes);
        for (topic, value) in
            [(&topics.quiet, "a record of forty bytes, or nearly so"), (&topics.marked, "!")]
        {
            session.kafka.create_topic(topic, PARTITIONS, &[]);
            let record = |at: u64| Outgoing::keyed(format!("key-{:05}", at % 10_000), value);
            producer.send(topic, &(0..records).map(record).collect::<Vec<_>>());
        }
        topics
    }
}

impl Drop for Topics<'_> {
    fn drop(&mut self) {
        for topic in [&self.quiet, &self.marked] {
            if let Err(error) = self.session.cluster.delete_topic(topic) {
                eprintln!("{error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_of_what_came_in_between() {
        let before = [(0.001, 100.0), (0.01, 100.0), (f64::INFINITY, 100.0)];
        let after = [(0.001, 150.0), (0.01, 199.0), (f64::INFINITY, 200.0)];
        let of = |part| quantile(&before, &after, part);
        assert_eq!(of(0.5).ok(), Some(0.001));
        assert_eq!(of(0.25).ok(), Some(0.0005));
        assert!(of(0.99).is_ok_and(|p99| (p99 - 0.01).abs() < 1e-9));
        assert!(
            of(0.995).is_err() && quantile(&after, &after, 0.5).is_err() && quantile(&[], &[], 0.5).is_err()
        );
    }
}
