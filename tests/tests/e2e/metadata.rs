//! Commit metadata on a real broker, with the limit that a broker has by default.

use sandmill_tests::guests::guest;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::{Faults, Ledger, Order};
use sandmill_tests::producer::{Outgoing, Producer};

/// More than the metadata has room for, if every second one waits.
const RECORDS: usize = 30_000;
/// Characters that the broker takes: `offset.metadata.max.bytes`.
const LIMIT: usize = 4_096;

#[test]
fn intake_closes_before_the_broker_would_refuse_a_commit_for_its_size() {
    let kafka = Kafka::shared();
    let job = Job::judged(kafka, &guest("flaky"), 1)
        .dead_letters(1_000)
        .set_in("on_failure", "backoff", r#"{ first = "1h", max = "1h" }"#)
        .set_in("in_flight", "records", "100000");
    // The first record of the busy key waits, and all others of the key behind it.
    let records = (0..RECORDS).map(|at| match at {
        0 => Outgoing::keyed("busy", "retry:9:3600000"),
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
    assert_eq!(host.terminate().code, 0);

    // A host that does not try it again believes the full list, and goes on behind it.
    let job = job.dead_letters(0);
    let mut host = job.start();
    job.await_done(&mut host);
    assert_eq!(host.terminate().code, 0);
    assert_eq!(job.dead().len(), 1);
    ledger.judge(&job, Order::Key, &Faults::default()).assert_kept();
    assert_eq!(job.outputs().len(), RECORDS - 1, "nothing ran twice");
}
