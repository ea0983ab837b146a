//! Order is kept through retries, and whoever waits makes no one else wait.

use std::collections::BTreeSet;
use std::time::Duration;

use sandmill::ids::Offset;
use sandmill::progress;
use sandmill_tests::guests::guest;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::{Ledger, Order, over_keys};
use sandmill_tests::producer::{Outgoing, Producer};

#[test]
fn key_order_holds_through_retries() {
    nothing_is_overtaken("key", Order::Key);
}

#[test]
fn partition_order_holds_through_retries() {
    nothing_is_overtaken("partition", Order::Partition);
}

#[test]
fn unordered_records_all_arrive_once() {
    nothing_is_overtaken("unordered", Order::Unordered);
}

/// One record in ten fails once or twice before it succeeds.
fn nothing_is_overtaken(ordering: &str, order: Order) {
    let kafka = Kafka::shared();
    let mut job =
        Job::new(kafka, &guest("flaky"), 4).set("ordering", &format!("{ordering:?}")).then("halt", 5);
    // One partition shows the order of all outputs.
    job.output = kafka.new_topic("in-order", 1);
    let mut ledger = Ledger::default();
    let records = over_keys(3_000, 37, |at| match at % 20 {
        3 => b"retry:1".to_vec(),
        11 => b"retry:2".to_vec(),
        _ => b"ok".to_vec(),
    });
    ledger.produce(&Producer::new(kafka), &job.input, records);
    let mut host = job.start();
    job.await_done(&mut host);
    let retries = host.metric("handler_errors_total", &[("error_type", "rejected")]);
    assert!(retries >= 450.0, "450 attempts had to fail, {retries} did");
    assert_eq!(host.terminate().code, 0);
    ledger.compare(&[&job.outputs()], order).assert_exact();
}

#[test]
fn a_retried_key_delays_no_other() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("flaky"), 1).set_in(
        "on_failure",
        "backoff",
        r#"{ first = "30s", max = "30s" }"#,
    );
    let mut ledger = Ledger::default();
    let producer = Producer::new(kafka);
    // The first record asks for eight seconds before its next attempt; others of its key lie behind it.
    let mut records = vec![Outgoing::keyed("slow", "retry:1:8000"), Outgoing::keyed("slow", "ok")];
    records.extend(over_keys(500, 50, |_| b"ok".to_vec()));
    records.push(Outgoing::keyed("slow", "ok"));
    ledger.produce(&producer, &job.input, records);
    let mut host = job.start();
    host.wait_until("all other keys were done", DONE, |_| kafka.offsets_in(&job.output) >= 500);
    let keys: BTreeSet<_> = job.outputs().into_iter().filter_map(|record| record.key).collect();
    assert!(!keys.contains(b"slow".as_slice()), "the slow key was done before the others");
    assert_eq!(keys.len(), 50);
    let blocked = host.await_some("the status named what blocks", DONE, |host| {
        let blocked = host.status()["pipelines"][0]["partitions"][0]["blocked_by"].clone();
        (blocked["waits_for"] == "backoff").then_some(blocked)
    });
    assert_eq!((&blocked["offset"], &blocked["attempts"]), (&0.into(), &1.into()), "{blocked}");

    job.await_done(&mut host);
    assert_eq!(host.terminate().code, 0);
    ledger.compare(&[&job.outputs()], Order::Key).assert_exact();
}

#[test]
fn completed_records_above_a_gap_are_not_run_again_after_a_stop() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("flaky"), 1)
        .set_in("on_failure", "backoff", r#"{ first = "30s", max = "30s" }"#)
        .set_host("drain_timeout", "\"1s\"");
    let mut ledger = Ledger::default();
    let mut records = vec![Outgoing::keyed("slow", "retry:1:4000")];
    records.extend(over_keys(500, 50, |_| b"ok".to_vec()));
    ledger.produce(&Producer::new(kafka), &job.input, records);
    let mut host = job.start();
    host.wait_until("all other keys were done", DONE, |_| kafka.offsets_in(&job.output) >= 500);
    assert_eq!(host.terminate().code, 0);
    let commit = &kafka.committed(&job.group, &job.input)[&0];
    assert_eq!(commit.offset, 0, "the first record is not done");
    let told = progress::decode(commit.metadata.as_bytes(), Offset(0), 0).expect("the host wrote it");
    assert!(told.is_completed(Offset(500)), "the commit names the completed records above the gap");

    let mut host = job.start();
    host.wait_until("the slow key was done as well", Duration::from_secs(60), |_| job.is_done());
    assert_eq!(host.terminate().code, 0);
    ledger.compare(&[&job.outputs()], Order::Key).assert_exact();
}
