//! Records out: each arrives as it was given, and its number comes back exactly once.

use std::collections::BTreeMap;
use std::iter;
use std::time::Instant;

use rdkafka::ClientConfig;
use rdkafka::client::DefaultClientContext;
use sandmill_kafka_ffi::{Error, OutRecord, Producer, RDKafkaErrorCode};

use crate::harness::{Harness, PATIENCE, Record, list, records};

fn producer(harness: &Harness, settings: &[(&str, &str)], topics: &[&str]) -> Producer<DefaultClientContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", harness.cluster.bootstrap_servers());
    for &(key, value) in settings {
        config.set(key, value);
    }
    Producer::new(&config, DefaultClientContext, topics).unwrap()
}

fn record(opaque: usize) -> OutRecord<'static> {
    OutRecord { topic: 0, partition: Some(0), key: None, value: Some(b"v"), timestamp_ms: None, opaque }
}

/// What came back, by number, once `count` did.
fn acknowledged(
    producer: &Producer<DefaultClientContext>,
    count: usize,
) -> BTreeMap<usize, Result<(), RDKafkaErrorCode>> {
    let (mut back, deadline) = (BTreeMap::new(), Instant::now() + PATIENCE);
    while back.len() < count {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "{} of {count} came back", back.len());
        producer.serve(left, |opaque, outcome| {
            assert!(back.insert(opaque, outcome).is_none(), "{opaque} came back twice");
        });
    }
    back
}

#[test]
fn a_record_arrives_as_it_was_given() {
    let mut harness = Harness::new(&[("a", 1), ("t", 3)], &[]);
    let producer = producer(&harness, &[("linger.ms", "0")], &["a", "t"]);
    let timestamp = 1_700_000_000_123;
    let out = |opaque, key: Option<&'static [u8]>, value: Option<&'static [u8]>| OutRecord {
        topic: 1,
        partition: Some(2),
        key,
        value,
        timestamp_ms: Some(timestamp),
        opaque,
    };
    let headers: [(&[u8], Option<&[u8]>); 3] =
        [(b"name", Some(b"\x00\xff")), (b"", Some(b"")), (b"name", None)];
    producer.send(&out(usize::MAX, Some(b"key"), Some(b"value")), headers.into_iter()).unwrap();
    producer.send(&out(0, Some(b""), Some(b"")), iter::empty()).unwrap();
    producer.send(&out(7, None, None), iter::empty()).unwrap();
    let back = acknowledged(&producer, 3);
    assert_eq!(back, [(0, Ok(())), (7, Ok(())), (usize::MAX, Ok(()))].into());

    harness.queue.assign(&list(&[("t", 2, 0)])).unwrap();
    let seen = harness.collect(records(3));
    let written = |offset, key: Option<&[u8]>, payload: Option<&[u8]>| Record {
        topic: "t".to_owned(),
        partition: 2,
        offset,
        key: key.map(<[u8]>::to_vec),
        payload: payload.map(<[u8]>::to_vec),
        timestamp_ms: timestamp,
        headers: Vec::new(),
    };
    let owned = |(name, value): &(&[u8], Option<&[u8]>)| (name.to_vec(), value.map(<[u8]>::to_vec));
    let first =
        Record { headers: headers.iter().map(owned).collect(), ..written(0, Some(b"key"), Some(b"value")) };
    assert_eq!(seen, [first, written(1, Some(b""), Some(b"")), written(2, None, None)]);
}

#[test]
fn a_full_queue_and_a_record_that_is_too_large_are_told_at_once() {
    let harness = Harness::new(&[("t", 1)], &[]);
    let settings = [("queue.buffering.max.messages", "3"), ("linger.ms", "0"), ("message.max.bytes", "1000")];
    let producer = producer(&harness, &settings, &["t"]);
    let large = [0; 2_000];
    let too_large = OutRecord { value: Some(&large), ..record(9) };
    let sent = producer.send(&too_large, iter::once((&b"h"[..], None)));
    assert_eq!(sent, Err(RDKafkaErrorCode::MessageSizeTooLarge));
    harness.cluster.set_reachable(false).unwrap();
    for opaque in 0..3 {
        producer.send(&record(opaque), iter::empty()).unwrap();
    }
    assert_eq!(producer.send(&record(3), iter::empty()), Err(RDKafkaErrorCode::QueueFull));
    harness.cluster.set_reachable(true).unwrap();
    assert_eq!(acknowledged(&producer, 3), [(0, Ok(())), (1, Ok(())), (2, Ok(()))].into());
    producer.send(&record(3), iter::empty()).unwrap();
    assert_eq!(acknowledged(&producer, 1), [(3, Ok(()))].into());
}

#[test]
fn flushing_sends_what_lingers() {
    let harness = Harness::new(&[("t", 1)], &[]);
    // Longer than the patience of this test.
    let producer = producer(&harness, &[("linger.ms", "600000"), ("message.timeout.ms", "0")], &["t"]);
    producer.send(&record(1), iter::empty()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(acknowledged(&producer, 1), [(1, Ok(()))].into()));
        assert!(producer.flush(PATIENCE), "something is not acknowledged");
    });
}

#[test]
fn a_partition_that_does_not_exist_comes_back_as_an_error() {
    let harness = Harness::new(&[("t", 1)], &[]);
    let producer = producer(&harness, &[("linger.ms", "0")], &["t"]);
    producer.send(&record(1), iter::empty()).unwrap();
    acknowledged(&producer, 1);
    let nowhere = OutRecord { partition: Some(5), ..record(2) };
    assert_eq!(producer.send(&nowhere, iter::empty()), Err(RDKafkaErrorCode::UnknownPartition));
}

#[test]
fn a_topic_that_cannot_be_is_refused() {
    let harness = Harness::new(&[("t", 1)], &[]);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", harness.cluster.bootstrap_servers());
    let made = |topic| Producer::new(&config, DefaultClientContext, &["t", topic]).map(drop);
    assert!(matches!(made("a\0b"), Err(Error::TopicName { .. })));
    let long = "t".repeat(1_000);
    assert!(matches!(made(&long), Err(Error::Refused { code: RDKafkaErrorCode::InvalidArgument, .. })));
}

#[test]
fn a_producer_ends_while_records_wait() {
    let harness = Harness::new(&[("t", 1)], &[]);
    harness.cluster.set_reachable(false).unwrap();
    let producer = producer(&harness, &[("linger.ms", "0"), ("message.timeout.ms", "0")], &["t"]);
    for opaque in 0..100 {
        producer.send(&record(opaque), iter::empty()).unwrap();
    }
    let since = Instant::now();
    drop(producer);
    assert!(since.elapsed() < PATIENCE / 3, "it took {:?}", since.elapsed());
}
