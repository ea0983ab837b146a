//! A host that is killed loses nothing, and what it repeats is explained by what the broker had of it.

use std::time::{Duration, Instant};

use sandmill_tests::guests::guest;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::{Faults, Ledger, Order, now, over_keys};
use sandmill_tests::producer::Producer;

const RECORDS: usize = 60_000;
const IN_FLIGHT: usize = 2_000;
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);

#[test]
fn a_killed_host_loses_nothing_and_repeats_only_what_was_not_committed() {
    let kafka = Kafka::shared();
    let job = Job::judged(kafka, &guest("echo"), 8)
        .set("commit_interval", &format!("\"{}ms\"", COMMIT_INTERVAL.as_millis()))
        .set_in("in_flight", "records", &IN_FLIGHT.to_string())
        // Until then the broker takes the killed host for a member.
        .kafka("session.timeout.ms", "3000")
        .kafka("heartbeat.interval.ms", "500");
    let mut ledger = Ledger::default();
    ledger.produce(&Producer::new(kafka), &job.input, over_keys(RECORDS, 500, |at| vec![b'x'; at % 300]));

    let times = if sandmill_tests::full() { 8 } else { 1 };
    let mut faults = Faults::default();
    let bounds = (1..=times).map(|kill| run_and_kill(&job, RECORDS * kill / (times + 1), &mut faults));
    let bound: f64 = bounds.sum();
    let mut host = job.start();
    job.await_done(&mut host);
    let ended = host.terminate();
    assert_eq!(ended.code, 0, "{}", ended.stderr);

    let verdict = ledger.judge(&job, Order::Key, &faults);
    verdict.assert_kept();
    let repeated = verdict.repeated;
    assert!((repeated as f64) <= bound, "{repeated} repeats; in flight and commit intervals explain {bound}");
}

/// Runs a host until the output holds `goal` records, and kills it. Gives how many records may run again: those in
/// flight and those of one commit interval.
fn run_and_kill(job: &Job<'_>, goal: usize, faults: &mut Faults) -> f64 {
    let kafka = job.kafka;
    let held = kafka.offsets_in(&job.output);
    let goal = i64::try_from(goal).expect("a small number").max(held + 1);
    let mut host = job.start();
    host.wait_until("the first outputs were there", DONE, |_| kafka.offsets_in(&job.output) > held);
    let started = Instant::now();
    host.wait_until("the outputs were there", DONE, |_| kafka.offsets_in(&job.output) >= goal);
    let from = now();
    host.kill();
    faults.killed("a killed host", from);
    let ran = started.elapsed().max(COMMIT_INTERVAL);

    let done = kafka.offsets_in(&job.output);
    assert!(usize::try_from(done).is_ok_and(|done| done < RECORDS), "killed too late to show anything");
    // The mean rate, doubled: it varies.
    let interval = 2.0 * (done - held) as f64 * COMMIT_INTERVAL.as_secs_f64() / ran.as_secs_f64();
    IN_FLIGHT as f64 + interval
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
