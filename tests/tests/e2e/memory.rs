//! A host holds no more than it says at its start, whatever piles up.

use std::time::Duration;

use sandmill_tests::guests::guest;
use sandmill_tests::host::Host;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::over_keys;
use sandmill_tests::producer::{Outgoing, Producer};

const LARGE: usize = 900 << 10;
const LONG: Duration = Duration::from_secs(120);

/// Small limits, so that what is not bounded shows.
fn small<'a>(kafka: &'a Kafka, partitions: i32) -> Job<'a> {
    Job::new(kafka, &guest("flaky"), partitions)
        .set("max_instances", "4")
        .set("watch", "false")
        .set_in("limits", "memory", "\"16MiB\"")
        .set_in("in_flight", "bytes", "\"16MiB\"")
        .kafka("queued.max.messages.kbytes", "8192")
        .kafka("queued.min.messages", "10000")
        .kafka("fetch.max.bytes", "4194304")
        .kafka("queue.buffering.max.kbytes", "8192")
        .kafka("queue.buffering.max.messages", "10000")
        .then("halt", 1_000)
        // Modules that may be sent count as well.
        .set_host("module_size", "\"4MiB\"")
}

#[test]
fn large_records_behind_one_that_is_stuck_stay_at_the_broker() {
    let kafka = Kafka::shared();
    let job = small(kafka, 2).set("ordering", "\"partition\"");
    let producer = Producer::new(kafka);
    let stuck =
        |partition| Outgoing { partition: Some(partition), ..Outgoing::keyed("stuck", "retry:9:3600000") };
    producer.send(&job.input, &[stuck(0), stuck(1)]);
    let count: u64 = if sandmill_tests::full() { 1_200 } else { 900 };
    for _ in 0..count / 50 {
        producer
            .send(&job.input, &over_keys(50, 50, |at| [b"ok ", vec![b'x'; LARGE + at].as_slice()].concat()));
    }
    let mut host = job.start();
    let bound = said(&mut host);
    assert!(bound < count * LARGE as u64, "{bound} bytes are too many to show anything");
    host.wait_until("both partitions were paused", DONE, |host| {
        let status = host.status();
        let partitions = status["pipelines"][0]["partitions"].as_array().cloned().unwrap_or_default();
        partitions.len() == 2 && partitions.iter().all(|partition| partition["paused"] == true)
    });
    // What the client goes on fetching shows as growth.
    let (mut last, mut same) = (0, 0);
    host.wait_until("it held no more than before for twenty snapshots", DONE, |host| {
        host.await_snapshot(DONE);
        let held = host.peak_bytes();
        same = if held == last { same + 1 } else { 0 };
        last = held;
        same == 20
    });
    let held = host.peak_bytes();
    println!("{held} of at most {bound} bytes were held");
    assert!(held <= bound, "{held} bytes were held, {bound} were said");
    host.kill();
}

#[test]
fn records_that_wait_for_a_retry_are_bounded_as_well() {
    let kafka = Kafka::shared();
    let records: u32 = if sandmill_tests::full() { 1_000_000 } else { 100_000 };
    let job = small(kafka, 8)
        .set_in("in_flight", "records", &records.to_string())
        .set_in("in_flight", "bytes", "\"256MiB\"")
        .set("metadata_limit", "32767");
    let producer = Producer::new(kafka);
    for chunk in 0..records / 10_000 {
        // Each has a key of its own: records of one key wait for the first of them, not for a retry.
        let keys = chunk * 10_000..(chunk + 1) * 10_000;
        let all: Vec<_> = keys.map(|key| Outgoing::keyed(format!("key-{key}"), "retry:9:3600000")).collect();
        producer.send(&job.input, &all);
    }
    let mut host = job.start();
    let bound = said(&mut host);
    // Intake ends a little below the limit, so that whole fetches fit.
    let most = f64::from(records) * 0.95;
    host.wait_until("the records waited for their retry", LONG, |host| {
        host.metric("handler_errors_total", &[("error_type", "rejected")]) >= most
    });
    let held = host.peak_bytes();
    println!("{held} of at most {bound} bytes were held");
    assert!(held <= bound, "{held} bytes were held, {bound} were said");
    host.kill();
}

/// What the host said at its start.
fn said(host: &mut Host) -> u64 {
    host.wait_for_log("memory: at most ", LONG);
    let log = host.log();
    let (_, rest) = log.split_once("memory: at most ").expect("it was just there");
    let mib: u64 = rest.split("MiB").next().and_then(|digits| digits.parse().ok()).expect("a number of MiB");
    mib << 20
}
