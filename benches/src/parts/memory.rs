//! `memory`: what a record in flight and an instance take, by the difference of two hosts that differ in nothing
//! else. `flat`: whether a host stays as large as it is.
//!
//! A host's size while it works hard stands in every other part, as its peak; less the bound of its fetch queue
//! (64 MiB) it is what the targets speak of. Differences need no such subtraction: both hosts have the same queue
//! before them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sandmill::bench::Topic;
use sandmill::bench::zipf::SplitMix;
use sandmill_tests::host::Host;
use sandmill_tests::unique;
use serde_json::json;

use super::{Kind, Part, once, usual};
use crate::climb::{Passes, Sample, climb};
use crate::hosted::{Pipeline, counted};
use crate::open_loop::write_key;
use crate::pacer::{self, Schedule};
use crate::results::Row;
use crate::rung::{Contender, Filling, KEYS, Keys, Rung, Settings};
use crate::session::Session;
use crate::sizes::{Scale, Sizes};
use crate::spread::Spread;
use crate::topics::Topics;

/// For a host to take what it may.
const TAKE: Duration = Duration::from_secs(120);
/// What the steady host is offered: records a second.
const STEADY: f64 = 20_000.0;
/// Between two looks at a steady host's size.
const LOOK: Duration = Duration::from_secs(1);
/// A number that does not grow for so long has settled.
const STILL: Duration = Duration::from_millis(700);

pub(super) const PART: Part = Part {
    name: "memory",
    tells: "resident memory of a record in flight and of an instance, by difference",
    reference: "",
    passes: usual,
    kind: Kind::Own { seconds, bytes, run },
};

pub(super) const FLAT: Part = Part {
    name: "flat",
    tells: "growth of a host that gets 20,000 records a second",
    reference: "",
    passes: once,
    kind: Kind::Own { seconds: flat_seconds, bytes: flat_bytes, run: run_flat },
};

/// Two hosts: a small one and a large one.
#[derive(Clone, Copy)]
enum Kept {
    Records,
    Instances,
}

impl Kept {
    /// How many the hosts keep.
    fn counts(self, scale: Scale) -> [u64; 2] {
        match (self, scale) {
            (Self::Records, Scale::Full | Scale::Quick) => [1_000, 1_000_000],
            (Self::Records, Scale::Smoke) => [100, 10_000],
            (Self::Instances, Scale::Full | Scale::Quick) => [64, 1_024],
            (Self::Instances, Scale::Smoke) => [16, 32],
        }
    }
}

/// The topic: twice what the largest host takes, so that something is left to fetch in both.
fn topic(sizes: &Sizes) -> Filling {
    let records = if sizes.scale == Scale::Smoke { 20_000 } else { 2_000_000 };
    Filling::base(records).keys(Keys::Uniform)
}

fn seconds(sizes: &Sizes) -> f64 {
    topic(sizes).seconds() + 4.0 * 5.0 * sizes.runs() as f64
}

fn bytes(sizes: &Sizes) -> u64 {
    topic(sizes).bytes()
}

fn run(session: &Session, passes: Passes) -> Result<Vec<Row>> {
    let filling = topic(&session.sizes);
    // Only to say which topic is to be filled.
    let rung =
        Rung::new(Contender::Wasm(Settings::default()), filling.clone(), sandmill::bench::Work::Noop, 1.0);
    let topics = Topics::fill(session, &[rung])?;
    let Some(topic) = topics.get(&filling) else { return Ok(Vec::new()) };
    let kinds = [Kept::Records, Kept::Instances];
    let rows = ["a record in flight", "an instance"].map(|name| Row::new(name, &[])).into();
    Ok(climb("memory", passes, rows, |index| difference(session, topic, kinds[index])))
}

/// Resident bytes of one more.
fn difference(session: &Session, topic: &Topic, kept: Kept) -> Result<Sample> {
    let mut seen = Vec::new();
    for count in kept.counts(session.sizes.scale) {
        seen.push(holding(session, topic, kept, count)?);
    }
    let [(few, small), (many, large)] = seen[..] else { anyhow::bail!("two hosts, two sizes") };
    ensure!(many > few, "the host that should keep more keeps {many}, the other {few}");
    let each = (large as f64 - small as f64) / (many - few) as f64;
    Ok(Sample {
        numbers: vec![("bytes_each", each), ("rss_bytes", large as f64)],
        raw: json!({ "few": few, "few_rss_bytes": small, "many": many, "many_rss_bytes": large }),
    })
}

/// How many a host keeps that was asked to keep `count`, and its size then. For records, every call waits for
/// longer than that takes. For instances a call has to end now and then: a host makes more calls at once when it
/// has seen that they wait.
fn holding(session: &Session, topic: &Topic, kept: Kept, count: u64) -> Result<(u64, u64)> {
    let millis = match kept {
        Kept::Records => 600_000,
        Kept::Instances => 1_000,
    };
    let pipeline = Pipeline::new(session, "wait", &topic.name)
        .set("pipeline.config.ms", millis)
        .set("pipeline.limits.deadline", "1h")
        .set("pipeline.in_flight.bytes", "1GiB")
        .set("pipeline.batch.records", 1);
    let pipeline = match kept {
        // Where commits must name all that is complete, a partition takes fewer records.
        Kept::Records => pipeline
            .set("pipeline.in_flight.records", count)
            .set("pipeline.max_instances", 16)
            .set("pipeline.on_metadata_full", "truncate"),
        Kept::Instances => pipeline.set("pipeline.max_instances", count),
    };
    let path = match kept {
        Kept::Records => "/totals/in_flight",
        Kept::Instances => "/calls/active",
    };
    let mut host = pipeline.start();
    // The bounds are not exact: records come by the array, and some calls are kept for what is quick.
    let number = |host: &mut Host| counted(&host.status(), path).unwrap_or_default();
    settled(&mut host, "it keeps about as many as it may", |host| {
        (number(host) >= count / 2).then(|| number(host))
    });
    let bytes = settled(&mut host, "it is as large as it gets", |host| Some(host.resident_bytes()));
    let number = number(&mut host);
    drop(host.kill());
    Ok((number, bytes))
}

/// Waits until a number does not grow any more, but for the little that comes and goes.
fn settled(host: &mut Host, what: &str, number: impl Fn(&mut Host) -> Option<u64>) -> u64 {
    let (mut most, mut since) = (0, Instant::now());
    host.await_some(what, TAKE, |host| {
        let now = number(host)?;
        if now > most + (most >> 9) {
            (most, since) = (now, Instant::now());
        }
        (since.elapsed() > STILL).then_some(now)
    })
}

fn flat_seconds(sizes: &Sizes) -> f64 {
    sizes.flat.as_secs_f64() + 5.0
}

fn flat_bytes(sizes: &Sizes) -> u64 {
    (STEADY * sizes.flat.as_secs_f64()) as u64 * 120
}

fn run_flat(session: &Session, passes: Passes) -> Result<Vec<Row>> {
    let name = format!("{} s", session.sizes.flat.as_secs());
    Ok(climb("flat", passes, vec![Row::new(name, &[])], |_| flat(session)))
}

/// Looks at a host's size while it works steadily.
fn flat(session: &Session) -> Result<Sample> {
    let input = unique("flat");
    session.kafka.create_topic(&input, 8, &[]);
    let pipeline = Pipeline::new(session, "noop", &input);
    let host = pipeline.start();
    let schedule = Schedule { rate: Some(STEADY), lasts: session.sizes.flat };
    let mut sizes = Vec::new();
    let mut look = Instant::now();
    let mut random = SplitMix(1);
    let paced = pacer::pace(&session.kafka.bootstrap(), &input, schedule, |due, key, value| {
        write_key((random.number() % KEYS as u64) as usize, key);
        pacer::value("0ms", due, value);
        if look.elapsed() >= LOOK {
            sizes.push(host.resident_bytes());
            look = Instant::now();
        }
    })?;
    pipeline.finish(host)?;
    session.cluster.delete_topic(&input)?;
    let growth = growth(&sizes);
    let most = sizes.iter().copied().max().unwrap_or_default();
    Ok(Sample {
        numbers: vec![("growth_bytes", growth), ("rss_bytes", most as f64)],
        raw: json!({ "sent": paced.records, "late_ms": paced.late_ms, "rss_bytes_each_second": sizes }),
    })
}

/// From the second quarter to the last, by their medians: the first is warm-up.
fn growth(sizes: &[u64]) -> f64 {
    let quarter = sizes.len() / 4;
    let median =
        |of: &[u64]| Spread::of(of.iter().map(|bytes| *bytes as f64)).map_or(0.0, |spread| spread.median);
    median(&sizes[sizes.len() - quarter..]) - median(&sizes[quarter..2 * quarter])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_goes_from_the_second_quarter_to_the_last() {
        let sizes = [1, 2, 50, 51, 90, 91, 60, 61];
        assert_eq!(growth(&sizes), 10.0);
        assert_eq!(growth(&[1, 2, 3]), 0.0);
        assert_eq!(growth(&[]), 0.0);
    }
}
