//! The main job: records in, through a sandboxed handler, records out, and nothing left uncommitted.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use sandmill_tests::access_log;
use sandmill_tests::guests::{core_guest, guest};
use sandmill_tests::host::Home;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::{Ledger, Order};
use sandmill_tests::producer::{Outgoing, Producer};
use sandmill_tests::unique;

#[test]
fn ten_thousand_lines_of_a_real_log_come_out_counted_right_and_in_order() {
    let kafka = Kafka::shared();
    let (input, output) = (kafka.new_topic("access", 8), kafka.new_topic("access-json", 8));
    let group = unique("access-group");
    let mut ledger = Ledger::default();
    ledger.produce(&Producer::new(kafka), &input, access_log::records());

    let mut host = Home::new().spawn(&[
        "run",
        guest("access_log").to_str().expect("the path is text"),
        "--brokers",
        &kafka.bootstrap(),
        "--input",
        &input,
        "--output",
        &output,
        "--group",
        &group,
        "--ordering",
        "key",
        "--listen",
        "127.0.0.1:0",
    ]);
    host.wait_ready();
    let of_input = [("topic", input.as_str())];
    host.wait_until("every record was processed", DONE, |host| {
        host.metric("consumer_processed_total", &of_input) >= 10_000.0
    });
    host.wait_until("the lag was 0", Duration::from_secs(20), |host| {
        host.metrics().sum("consumer_parallel_lag", &of_input) == Some(0.0)
    });
    let metrics = host.metrics();
    let processed =
        |status| metrics.sum("consumer_processed_total", &[("topic", &input), ("status", status)]);
    assert_eq!((processed("success"), processed("failure")), (Some(10_000.0), Some(0.0)));

    let ended = host.terminate();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(kafka.committed_offsets(&group, &input), kafka.ends(&input));

    let outputs = kafka.read_all(&output);
    ledger.compare(&[&outputs], Order::Key).assert_exact();
    let mut statuses: BTreeMap<u64, usize> = BTreeMap::new();
    for record in &outputs {
        let line: serde_json::Value = serde_json::from_str(&record.text()).expect("outputs are JSON");
        assert_eq!(line["client"].as_str().map(str::as_bytes), record.key.as_deref());
        *statuses.entry(line["status"].as_u64().expect("a status is a number")).or_default() += 1;
    }
    let expected: BTreeMap<u64, usize> =
        access_log::STATUSES.iter().map(|(status, count)| (u64::from(*status), *count)).collect();
    assert_eq!(statuses, expected);
}

#[test]
fn every_shape_of_record_passes_unchanged_to_the_last_bit() {
    every_shape_passes(&guest("echo"));
}

#[test]
fn a_core_module_of_wasip1_does_the_same_as_a_component() {
    every_shape_passes(&core_guest("echo"));
}

fn every_shape_passes(handler: &std::path::Path) {
    let kafka = Kafka::shared();
    let mut job = Job::new(kafka, handler, 1);
    (job.input, job.output) = (unique("shapes"), unique("shapes-out"));
    for topic in [&job.input, &job.output] {
        // The broker's defaults: 1 MiB with headers and all, and at most an hour in the future.
        let configs =
            [("max.message.bytes", "4194304"), ("message.timestamp.after.max.ms", "9000000000000000")];
        kafka.create_topic(topic, 1, &configs);
    }

    let binary: Vec<u8> = (0..=255).collect();
    let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
    let records = [
        Outgoing::keyed("plain", "value"),
        Outgoing { value: Some(b"no key".to_vec()), ..Outgoing::default() },
        Outgoing { key: Some(Vec::new()), value: Some(b"empty key".to_vec()), ..Outgoing::default() },
        Outgoing { key: Some(b"tombstone".to_vec()), ..Outgoing::default() },
        Outgoing::default(),
        Outgoing::keyed("empty value", ""),
        Outgoing::keyed(binary.clone(), binary.clone()),
        Outgoing::keyed([0xff, 0xfe], [0xc3, 0x28]),
        Outgoing {
            headers: vec![
                header("twice", Some(b"1")),
                header("twice", Some(b"2")),
                header("null", None),
                header("empty", Some(b"")),
                header("binary", Some(&binary)),
                header("", Some(b"no name")),
            ],
            ..Outgoing::keyed("headers", "value")
        },
        Outgoing { timestamp: Some(0), ..Outgoing::keyed("epoch", "value") },
        Outgoing { timestamp: Some(1_431_857_103_000), ..Outgoing::keyed("past", "value") },
        Outgoing { timestamp: Some(4_102_444_800_000), ..Outgoing::keyed("future", "value") },
        Outgoing::keyed("large", vec![b'x'; 1024 * 1024]),
        Outgoing::keyed("after", "value"),
    ];
    Producer::new(kafka).send(&job.input, &records);
    let sent = kafka.read_all(&job.input);

    let mut host = job.start();
    job.await_done(&mut host);
    assert_eq!(host.terminate().code, 0);

    let mut received = job.outputs();
    assert_eq!(received.len(), sent.len());
    for record in &sent {
        // Places differ: without a key, or of different keys, records may overtake each other.
        let at = received
            .iter()
            .position(|other| (&other.key, &other.value) == (&record.key, &record.value))
            .unwrap_or_else(|| panic!("no output with key and value of input {}", record.offset));
        let other = received.swap_remove(at);
        assert_eq!(other.headers, record.headers, "headers of input {}", record.offset);
        assert_eq!(other.timestamp, record.timestamp, "timestamp of input {}", record.offset);
    }
}

/// A transaction ends with a marker, which takes an offset and is no record; an aborted one leaves records that
/// a reader of committed ones never sees.
#[test]
fn lag_reaches_zero_past_transaction_markers_and_aborted_records() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("echo"), 1).kafka("isolation.level", "read_committed");
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("transactional.id", unique("markers"))
        .create()
        .expect("a transactional producer");
    producer.init_transactions(DONE).expect("transactions");
    for (value, commits) in [("kept", true), ("aborted", false), ("kept", true), ("aborted", false)] {
        producer.begin_transaction().expect("a transaction");
        for _ in 0..5 {
            let record = BaseRecord::to(&job.input).key("k").payload(value);
            assert!(producer.send(record).is_ok(), "the queue has room");
        }
        if commits {
            producer.commit_transaction(DONE).expect("committed");
        } else {
            producer.flush(DONE).expect("sent");
            producer.abort_transaction(DONE).expect("aborted");
        }
    }
    let mut host = job.start();
    let of_input = [("topic", job.input.as_str())];
    host.wait_until("the lag was 0", DONE, |host| {
        let metrics = host.metrics();
        metrics.sum("consumer_processed_total", &of_input) == Some(10.0)
            && metrics.sum("consumer_parallel_lag", &of_input) == Some(0.0)
    });
    let ended = host.terminate();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(kafka.committed_offsets(&job.group, &job.input), kafka.ends(&job.input));
    assert!(kafka.read_all(&job.output).iter().all(|record| record.text() == "kept"));
}

#[test]
fn a_handler_may_bring_its_own_allocator() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("own_allocator"), 4).config("key", "\"value\"");
    Producer::new(kafka).send(&job.input, &access_log::records());
    let mut host = job.start();
    job.await_done(&mut host);
    assert_eq!(host.terminate().code, 0);
    assert_eq!(job.outputs().len(), 10_000);
}
