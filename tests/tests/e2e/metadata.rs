//! Commit metadata on a real broker, with the limit that a broker has by default.

use sandmill_tests::guests::guest;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::{Ledger, Order};
use sandmill_tests::producer::{Outgoing, Producer};

/// More than the metadata has room for, if every second one waits.
const RECORDS: usize = 30_000;
/// Characters that the broker takes: `offset.metadata.max.bytes`.
const LIMIT: usize = 4_096;

#[test]
fn intake_closes_before_the_broker_would_refuse_a_commit_for_its_size() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("flaky"), 1)
        .set_in("on_failure", "backoff", r#"{ first = "30s", max = "30s" }"#)
        .set_in("in_flight", "records", "100000");
    // The first record of the busy key waits for 20 seconds, and all others of the key behind it.
    let records = (0..RECORDS).map(|at| match at {
        0 => Outgoing::keyed("busy", "retry:1:20000"),
        _ if at % 2 == 0 => Outgoing::keyed("busy", "ok"),
        _ => Outgoing::keyed(format!("key-{}", at % 101), "ok"),
    });
    let mut ledger = Ledger::default();
    ledger.produce(&Producer::new(kafka), &job.input, records.collect());
    let mut host = job.start();
    let closed = host.await_some("the metadata was full", DONE, |host| {
        let partition = host.status()["pipelines"][0]["partitions"][0].clone();
        let full = partition["metadata_size"].as_u64().is_some_and(|size| size as usize > LIMIT - 100);
        (full && partition["paused"] == true).then_some(partition)
    });
    let position = closed["position"].as_u64().unwrap_or_default() as usize;
    assert!((24_000..RECORDS).contains(&position), "{closed}");
    let failures = closed["commit_failures"].as_object().expect("one number for each reason");
    assert!(failures.values().all(|times| times == 0), "{closed}");
    let commit = &kafka.committed(&job.group, &job.input)[&0];
    assert_eq!(commit.offset, 0, "the busy key holds the gap open");
    assert!((LIMIT - 100..=LIMIT).contains(&commit.metadata.len()), "{}", commit.metadata.len());

    job.await_done(&mut host);
    assert_eq!(host.terminate().code, 0);
    ledger.compare(&[&job.outputs()], Order::Key).assert_exact();
}
