//! What follows a failure: a dead letter, a skip, a halt. Which failures there are is the corpus's affair (`corpus`).

use std::time::Duration;

use sandmill_tests::guests::guest;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::over_keys;
use sandmill_tests::producer::{Outgoing, Producer};

#[test]
fn a_dead_letter_is_the_original_record_with_its_story_in_headers() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("flaky"), 1).dead_letters(2);
    let original = Outgoing {
        key: Some(vec![0, 0xff]),
        value: Some(b"reject".to_vec()),
        headers: vec![
            ("trace".to_owned(), Some(vec![1, 2, 3])),
            ("null".to_owned(), None),
            ("sandmill-group".to_owned(), Some(b"forged".to_vec())),
        ],
        timestamp: Some(1_431_857_103_000),
        partition: None,
    };
    let records = [Outgoing::keyed("a", "ok"), original.clone(), Outgoing::keyed("b", "retry:9")];
    Producer::new(kafka).send(&job.input, &records);
    let mut host = job.start();
    job.await_done(&mut host);
    let of_input = [("topic", job.input.as_str()), ("status", "failure")];
    assert_eq!(host.metric("consumer_processed_total", &of_input), 2.0);
    assert_eq!(host.terminate().code, 0);

    assert_eq!(job.outputs().len(), 1, "failed attempts emitted something, which must not be published");
    let dead = job.dead();
    assert_eq!(dead.len(), 2);
    let rejected = dead.iter().find(|letter| letter.key == original.key).expect("it keeps its key");
    assert_eq!(rejected.value, original.value);
    assert_eq!(rejected.timestamp, original.timestamp);
    assert_eq!(rejected.headers[..3], original.headers, "original headers come first, unchanged");
    for (name, expected) in [
        ("sandmill-origin-topic", job.input.as_str()),
        ("sandmill-origin-partition", "0"),
        ("sandmill-origin-offset", "1"),
        ("sandmill-group", &job.group),
        ("sandmill-attempts", "1"),
        ("sandmill-error-type", "rejected"),
        ("sandmill-error-code", "asked-for"),
        ("sandmill-error-message", "the value asks to be rejected"),
    ] {
        assert_eq!(rejected.header(name).as_deref(), Some(expected), "{name}");
    }
    for name in ["sandmill-handler", "sandmill-module-digest", "sandmill-failed-at"] {
        assert!(rejected.header(name).is_some_and(|text| !text.is_empty()), "{name} is missing");
    }
    let digest = rejected.header("sandmill-module-digest").unwrap_or_default();
    assert!(digest.starts_with("sha256:") && digest.len() == 7 + 64, "{digest}");

    let retried = dead.iter().find(|letter| letter.key == Some(b"b".to_vec())).expect("it keeps its key");
    assert_eq!(retried.header("sandmill-attempts").as_deref(), Some("3"), "one try and two retries");
}

#[test]
fn skip_passes_over_the_failing_and_counts_them() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("flaky"), 2).then("skip", 1);
    let values = |at: usize| if at % 10 == 3 { b"reject".to_vec() } else { b"ok".to_vec() };
    Producer::new(kafka).send(&job.input, &over_keys(200, 10, values));
    let mut host = job.start();
    job.await_done(&mut host);
    let count = |status| [("topic", job.input.as_str()), ("status", status)];
    assert_eq!(host.metric("consumer_processed_total", &count("failure")), 20.0);
    assert_eq!(host.metric("consumer_processed_total", &count("success")), 180.0);
    assert_eq!(host.terminate().code, 0);
    assert_eq!(job.outputs().len(), 180);
    assert!(job.dead().is_empty());
}

#[test]
fn halt_ends_with_everything_before_the_failing_record_committed() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("flaky"), 1).set("ordering", "\"partition\"").then("halt", 1);
    let values = |at: usize| if at == 137 { b"reject".to_vec() } else { b"ok".to_vec() };
    Producer::new(kafka).send(&job.input, &over_keys(300, 10, values));
    let ended = job.start().end(Duration::from_secs(60));
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert_eq!(kafka.committed_offsets(&job.group, &job.input)[&0], 137);
    assert_eq!(job.outputs().len(), 137, "what lies behind the failing record took no effect");
    for word in [&job.name, &job.input, "137", "rejected"] {
        assert!(ended.stderr.contains(word), "{word:?} is not in {}", ended.stderr);
    }

    // Once the cause is gone it goes on where it stopped.
    let job = job.then("skip", 0);
    let mut host = job.start();
    host.wait_until("the rest was done", DONE, |_| job.is_done());
    assert_eq!(host.terminate().code, 0);
    assert_eq!(job.outputs().len(), 299);
}
