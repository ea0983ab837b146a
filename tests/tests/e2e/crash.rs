//! A host that is killed loses nothing, and what it repeats is explained by what the broker had of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sandmill_tests::guests::guest;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::{Ledger, Order, below, over_keys};
use sandmill_tests::producer::Producer;
use sandmill_tests::reader::Record;

const RECORDS: usize = 60_000;
const IN_FLIGHT: usize = 2_000;
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);

/// What the broker had when a host was killed.
struct Kill {
    /// Committed offsets of the input.
    committed: BTreeMap<i32, i64>,
    /// Ends of the output: what lies beyond came from a later run.
    ends: BTreeMap<i32, i64>,
    /// Records that may run again: those in flight and those of one commit interval.
    bound: f64,
}

#[test]
fn a_killed_host_loses_nothing_and_repeats_only_what_was_not_committed() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("echo"), 8)
        .set("commit_interval", &format!("\"{}ms\"", COMMIT_INTERVAL.as_millis()))
        .set_in("in_flight", "records", &IN_FLIGHT.to_string())
        // Until then the broker takes the killed host for a member.
        .kafka("session.timeout.ms", "3000")
        .kafka("heartbeat.interval.ms", "500");
    let mut ledger = Ledger::default();
    ledger.produce(&Producer::new(kafka), &job.input, over_keys(RECORDS, 500, |at| vec![b'x'; at % 300]));

    let times = if sandmill_tests::full() { 8 } else { 1 };
    let kills: Vec<Kill> =
        (1..=times).map(|kill| run_and_kill(&job, &ledger, RECORDS * kill / (times + 1))).collect();
    let mut host = job.start();
    job.await_done(&mut host);
    let ended = host.terminate();
    assert_eq!(ended.code, 0, "{}", ended.stderr);

    let outputs = job.outputs();
    let report = ledger.compare(&[&outputs], Order::Key);
    report.assert_complete();
    let unexplained = unexplained(&ledger, &outputs, &kills);
    assert!(unexplained.is_empty(), "ran again though committed: {unexplained:?}");
    let (repeated, bound) = (report.repeated.len(), kills.iter().map(|kill| kill.bound).sum::<f64>());
    assert!((repeated as f64) <= bound, "{repeated} repeats; in flight and commit intervals explain {bound}");
}

/// Runs a host until the output holds `goal` records, and kills it.
fn run_and_kill(job: &Job<'_>, ledger: &Ledger, goal: usize) -> Kill {
    let kafka = job.kafka;
    let held = kafka.offsets_in(&job.output);
    let goal = i64::try_from(goal).expect("a small number").max(held + 1);
    let mut host = job.start();
    host.wait_until("the first outputs were there", DONE, |_| kafka.offsets_in(&job.output) > held);
    let started = Instant::now();
    host.wait_until("the outputs were there", DONE, |_| kafka.offsets_in(&job.output) >= goal);
    host.kill();
    let ran = started.elapsed().max(COMMIT_INTERVAL);

    let committed = kafka.committed_offsets(&job.group, &job.input);
    let before = job.outputs();
    assert!(before.len() < RECORDS, "the host was killed too late to show anything");
    assert_eq!(ledger.past_unfinished(&committed, &before), [], "commits passed unfinished records");
    let done = before.len() as f64 - held as f64;
    // The mean rate, doubled: it varies.
    let interval = 2.0 * done * COMMIT_INTERVAL.as_secs_f64() / ran.as_secs_f64();
    Kill { committed, ends: kafka.ends(&job.output), bound: IN_FLIGHT as f64 + interval }
}

/// Numbers of the records that ran again after a kill though the broker had them as committed.
fn unexplained(ledger: &Ledger, outputs: &[Record], kills: &[Kill]) -> Vec<usize> {
    let run_of = |record: &Record| {
        let later = |kill: &&Kill| kill.ends.get(&record.partition).is_none_or(|end| record.offset >= *end);
        kills.iter().filter(later).count()
    };
    let mut by_run: Vec<(usize, &Record)> = outputs.iter().map(|record| (run_of(record), record)).collect();
    by_run.sort_by_key(|(run, _)| *run);
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (run, record) in by_run {
        let (number, place) = ledger.place_of(record).expect("the ledger knows every output");
        let explained = run > 0 && !below(&kills[run - 1].committed, place);
        if !seen.insert(number) && !explained {
            found.push(number);
        }
    }
    found
}

#[test]
fn a_host_that_was_stopped_in_order_repeats_nothing() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("echo"), 4).set_in("in_flight", "records", &IN_FLIGHT.to_string());
    let mut ledger = Ledger::default();
    ledger.produce(&Producer::new(kafka), &job.input, over_keys(RECORDS, 500, |_| vec![b'x'; 100]));
    let third = i64::try_from(RECORDS / 3).expect("a small number");
    let mut stops = 0;
    while !job.is_done() {
        let mut host = job.start();
        let goal = kafka.offsets_in(&job.output) + third;
        host.wait_until("a third more was done", DONE, |_| {
            kafka.offsets_in(&job.output) >= goal || job.is_done()
        });
        let ended = host.terminate();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        stops += 1;
    }
    assert!(stops > 1, "one run did everything: nothing was shown");
    ledger.compare(&[&job.outputs()], Order::Key).assert_exact();
}
