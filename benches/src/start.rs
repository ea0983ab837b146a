//! From nothing to the first record: how long a host takes to be of use.
//!
//! A small topic, a fresh group, compiled code in the cache. Commits are taken every 10 ms, so that the
//! broker's time of the first commit is at most that, and the commit itself, later than the first completed
//! record: the number is an upper bound.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use sandmill_tests::unique;
use serde::Serialize;

use crate::commits::History;
use crate::level::{Bench, wasm};
use crate::options::Options;
use crate::workload::{Topic, Workload};

/// Records of the topic.
const RECORDS: usize = 1_000;
/// From one commit to the next.
const COMMITS: &str = "pipeline.commit_interval=10ms";
/// For a host to commit anything.
const LONGEST: Duration = Duration::from_secs(60);

/// One start; milliseconds since the process was spawned.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Start {
    /// Arguments and configuration are read, HTTP answers.
    pub listening_ms: f64,
    /// The module is loaded from the cache, an instance was tried, the broker knows the topics.
    pub loaded_ms: f64,
    /// The group gave it its partitions.
    pub assigned_ms: f64,
    /// The broker wrote the first commit.
    pub first_commit_ms: f64,
}

/// Times `count` starts, after one that fills the cache.
pub(crate) fn measure(bench: &Bench, count: usize) -> Result<Vec<Start>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let topic = Workload::Noop.fill(&bench.kafka, &Options { records: RECORDS, ..Options::default() });
    let mut starts = Vec::new();
    for pass in 0..=count {
        let start = once(bench, &topic).with_context(|| format!("stopped in start {pass}"))?;
        eprintln!("start {pass}: {start:.0?}");
        if pass > 0 {
            starts.push(start);
        }
    }
    Ok(starts)
}

fn once(bench: &Bench, topic: &Topic) -> Result<Start> {
    let group = unique("ladder-start");
    let mut arguments = wasm::arguments(bench, topic, &group);
    arguments.extend(["--set".to_owned(), COMMITS.to_owned()]);
    let spawned = SystemTime::now();
    let mut host = bench.home.spawn(&arguments);
    host.wait_until("the small topic was committed", LONGEST, |_| {
        let committed = bench.kafka.committed_offsets(&group, &topic.name);
        topic.ends.iter().all(|(partition, end)| *end == 0 || committed.get(partition) == Some(end))
    });
    let log = host.log();
    let ended = host.terminate();
    ensure!(ended.code == 0, "the host ended with code {}:\n{}", ended.code, ended.stderr);
    let after = |message: &str| {
        let logged =
            wasm::logged(&log, message).with_context(|| format!("the host never logged {message:?}"))?;
        anyhow::Ok(logged.duration_since(spawned)?.as_secs_f64() * 1e3)
    };
    let history = History::of(&bench.kafka, &group, &topic.name);
    let first = history.first().context("the broker holds no commit of the group")?;
    Ok(Start {
        listening_ms: after("listening on")?,
        loaded_ms: after("starting")?,
        assigned_ms: after("assigned")?,
        first_commit_ms: first as f64 - wasm::seconds_of(spawned)? * 1e3,
    })
}
