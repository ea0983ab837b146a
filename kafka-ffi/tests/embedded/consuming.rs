//! Records: complete, in order, never twice, never silent, and each arrival ends the sleep.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::Producer;
use sandmill_kafka_ffi::{BatchQueue, Error, Polled};

use crate::harness::{Asked, Harness, PATIENCE, Record, consumer, list, offsets, produce, records};

#[test]
fn a_record_arrives_with_every_byte_and_every_absence() {
    let mut harness = Harness::new(&[("t", 1)], &[]);
    let producer = harness.producer();
    let headers = OwnedHeaders::new()
        .insert(Header { key: "full", value: Some(&[0xffu8, 0][..]) })
        .insert(Header { key: "empty", value: Some(&b""[..]) })
        .insert(Header { key: "none", value: None::<&[u8]> })
        .insert(Header { key: "full", value: Some(&b"again"[..]) });
    produce(&producer, "t", 0, Some(&b"key\0\xfe"[..]), Some(&b"value"[..]), Some(headers));
    produce(&producer, "t", 0, None::<&[u8]>, Some(&b"no key"[..]), None);
    produce(&producer, "t", 0, Some(&b""[..]), Some(&b""[..]), None);
    produce(&producer, "t", 0, Some(&b"gone"[..]), None::<&[u8]>, None);
    producer.flush(PATIENCE).unwrap();

    harness.queue.assign(&list(&[("t", 0, 0)])).unwrap();
    let seen = harness.collect(records(4));

    let record = |offset, key: Option<&[u8]>, payload: Option<&[u8]>| Record {
        topic: "t".to_owned(),
        partition: 0,
        offset,
        key: key.map(<[u8]>::to_vec),
        payload: payload.map(<[u8]>::to_vec),
        timestamp_ms: 1_700_000_000_123,
        headers: Vec::new(),
    };
    let mut first = record(0, Some(b"key\0\xfe"), Some(b"value"));
    first.headers = vec![
        (b"full".to_vec(), Some(vec![0xff, 0])),
        (b"empty".to_vec(), Some(Vec::new())),
        (b"none".to_vec(), None),
        (b"full".to_vec(), Some(b"again".to_vec())),
    ];
    assert_eq!(
        seen,
        [
            first,
            record(1, None, Some(b"no key")),
            record(2, Some(b""), Some(b"")),
            record(3, Some(b"gone"), None),
        ]
    );
}

#[test]
fn an_arrival_ends_the_sleep_of_an_idle_consumer() {
    let mut harness = Harness::new(&[("t", 1)], &[]);
    harness.queue.assign(&list(&[("t", 0, 0)])).unwrap();
    let producer = harness.producer();
    for number in 0..20 {
        // The producer's own thread sends it, while this one finds nothing and goes to sleep on the
        // waker alone.
        produce(&producer, "t", 0, Some("k"), Some("v"), None);
        assert_eq!(offsets(&harness.collect(records(1)), 0), [number]);
    }
    producer.flush(PATIENCE).unwrap();
}

#[test]
fn nothing_slips_into_poll_between_assigning_and_forwarding() {
    for _ in 0..5 {
        let mut harness = Harness::new(&[("t", 8)], &[]);
        for partition in 0..8 {
            harness.fill("t", partition, 50);
        }
        // The client knows the leaders already, so it fetches as soon as it may.
        harness.consumer.fetch_metadata(Some("t"), PATIENCE).unwrap();
        let all: Vec<_> = (0..8).map(|partition| ("t", partition, 0)).collect();
        harness.queue.assign(&list(&all)).unwrap();
        // `serve_events` inside panics at a record.
        let seen = harness.collect(records(8 * 50));
        for partition in 0..8 {
            assert_eq!(offsets(&seen, partition), (0..50).collect::<Vec<_>>());
        }
    }
}

#[test]
fn partitions_assigned_again_and_again_are_never_silent() {
    let mut harness = Harness::new(&[("t", 4)], &[]);
    for partition in 0..4 {
        harness.fill("t", partition, 10);
    }
    for round in 0..40 {
        let start = round % 10;
        let all: Vec<_> = (0..4).map(|partition| ("t", partition, start)).collect();
        // Odd rounds replace one assignment by another that overlaps, which stops and starts inside
        // one call; even rounds give everything up first.
        if round % 2 == 0 {
            harness.consumer.unassign().unwrap();
        }
        harness.queue.assign(&list(&all)).unwrap();
        let seen = harness.collect(records(4 * (10 - start as usize)));
        for partition in 0..4 {
            assert_eq!(offsets(&seen, partition), (start..10).collect::<Vec<_>>(), "round {round}");
        }
    }
}

#[test]
fn partitions_added_and_taken_away_one_by_one_are_never_silent() {
    let mut harness = Harness::new(&[("t", 4)], &[]);
    for partition in 0..4 {
        harness.fill("t", partition, 10);
    }
    for round in 0..20 {
        let (partition, start) = (round % 4, i64::from(round % 10));
        harness.queue.incremental_assign(&list(&[("t", partition, start)])).unwrap();
        let seen = harness.collect(records(10 - start as usize));
        assert_eq!(offsets(&seen, partition), (start..10).collect::<Vec<_>>(), "round {round}");
        harness.consumer.incremental_unassign(&list(&[("t", partition, 0)])).unwrap();
    }
}

#[test]
fn nothing_of_an_assignment_given_up_comes_later() {
    let mut harness = Harness::new(&[("t", 1)], &[]);
    harness.fill("t", 0, 1_000);
    harness.queue.assign(&list(&[("t", 0, 0)])).unwrap();
    // Some of it was taken, the rest waits in the queue.
    harness.until(|harness| (!harness.queue.consume(10).is_empty()).then_some(()));
    harness.consumer.unassign().unwrap();
    assert!(harness.queue.consume(1_000).is_empty());
    harness.queue.assign(&list(&[("t", 0, 995)])).unwrap();
    assert_eq!(offsets(&harness.collect(records(5)), 0), [995, 996, 997, 998, 999]);
}

#[test]
fn a_handle_tells_topics_apart_within_a_chunk() {
    let mut harness = Harness::new(&[("a", 1), ("b", 1)], &[]);
    harness.fill("a", 0, 3);
    harness.fill("b", 0, 3);
    harness.queue.assign(&list(&[("a", 0, 0), ("b", 0, 0)])).unwrap();
    // Wait until everything is in the queue, so that one chunk holds both topics.
    let mut records = 0;
    harness.until(|harness| {
        let chunk = harness.queue.consume(100);
        let all: Vec<_> = chunk
            .iter()
            .filter_map(|polled| match polled {
                Polled::Record(record) => Some(record),
                _ => None,
            })
            .collect();
        for a in &all {
            for b in &all {
                assert_eq!(a.topic_handle() == b.topic_handle(), a.topic() == b.topic());
            }
        }
        records += all.len();
        (records == 6).then_some(())
    });
}

#[test]
fn a_chunk_that_was_forgotten_gives_its_memory_back_with_the_next() {
    let mut harness = Harness::new(&[("t", 1)], &[]);
    harness.fill("t", 0, 20);
    harness.queue.assign(&list(&[("t", 0, 0)])).unwrap();
    let mut taken = 0;
    while taken < 20 {
        let chunk = harness.queue.consume(5);
        taken += chunk.iter().filter(|polled| matches!(polled, Polled::Record(_))).count();
        std::mem::forget(chunk);
        harness.serve_events();
    }
    // A message that was never destroyed would keep the consumer's drop waiting for ever.
    drop(harness);
}

#[test]
fn a_pause_at_the_end_of_a_partition_skips_nothing() {
    let mut harness = Harness::new(&[("t", 1)], &[]);
    let producer = harness.producer();
    harness.queue.assign(&list(&[("t", 0, 0)])).unwrap();
    for number in 0..5 {
        harness.consumer.pause(&list(&[("t", 0, 0)])).unwrap();
        produce(&producer, "t", 0, Some("k"), Some("v"), None);
        producer.flush(PATIENCE).unwrap();
        harness.consumer.resume(&list(&[("t", 0, 0)])).unwrap();
        assert_eq!(offsets(&harness.collect(records(1)), 0), [number]);
    }
}

#[test]
fn resumed_partitions_go_on_exactly_at_the_positions_given() {
    let mut harness = Harness::new(&[("t", 2)], &[]);
    harness.fill("t", 0, 500);
    harness.fill("t", 1, 500);
    harness.queue.assign(&list(&[("t", 0, 0), ("t", 1, 0)])).unwrap();
    for position in [0, 499, 17, 250] {
        // Some of it taken, the rest waits in the queue and must not come any more.
        harness.until(|harness| (!harness.queue.consume(10).is_empty()).then_some(()));
        harness.consumer.pause(&list(&[("t", 0, 0), ("t", 1, 0)])).unwrap();
        harness.queue.resume_at(&list(&[("t", 0, position), ("t", 1, position)])).unwrap();
        let seen = harness.collect(records(2 * (500 - position as usize)));
        for partition in 0..2 {
            assert_eq!(offsets(&seen, partition), (position..500).collect::<Vec<_>>());
        }
        harness.queue.resume_at(&list(&[("t", 0, 400), ("t", 1, 400)])).unwrap();
    }
}

#[test]
fn end_of_partition_events_are_refused_because_they_would_lose_records() {
    let harness = Harness::new(&[("t", 1)], &[]);
    let consumer = Arc::new(consumer(&harness.cluster, &[("enable.partition.eof", "true")]));
    let refused = BatchQueue::new(&consumer, &harness.sleeper.waker());
    assert!(matches!(refused, Err(Error::PartitionEof)));
}

#[test]
fn a_position_is_behind_what_was_handed_out_and_never_that_of_before_a_seek() {
    let mut harness = Harness::new(&[("t", 2)], &[]);
    harness.fill("t", 0, 10);
    let both = [("t", 1), ("t", 0)];
    harness.queue.assign(&list(&[("t", 0, 4), ("t", 1, 0)])).unwrap();
    assert_eq!(harness.queue.positions(&both).unwrap(), [None, None]);
    harness.collect(records(6));
    assert_eq!(harness.queue.positions(&both).unwrap(), [None, Some(10)]);
    for start in 0..9 {
        harness.consumer.seek("t", 0, Offset::Offset(start), Duration::ZERO).unwrap();
        assert_eq!(harness.queue.positions(&both).unwrap(), [None, None]);
        let seen = harness.collect(records(10 - start as usize));
        assert_eq!(offsets(&seen, 0), (start..10).collect::<Vec<_>>());
        assert_eq!(harness.queue.positions(&both).unwrap(), [None, Some(10)]);
    }
}

#[test]
fn taking_records_counts_as_polling() {
    let mut harness =
        Harness::new(&[("t", 1)], &[("max.poll.interval.ms", "1200"), ("session.timeout.ms", "1200")]);
    harness.join(&["t"]);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2_500) {
        // Events are left alone on purpose: nothing but `consume` polls.
        drop(harness.queue.consume(10));
        harness.sleeper.wait(Duration::from_millis(50));
    }
    while harness.queue.has_events() {
        if let Some(Err(error)) = harness.consumer.poll(Duration::ZERO) {
            panic!("{error}");
        }
    }
    assert_eq!(harness.consumer.assignment().unwrap().count(), 1);

    // The counter-check: without it the client gives the assignment up, and says so.
    while !harness.queue.has_events() {
        assert!(harness.sleeper.wait(PATIENCE), "nobody called");
    }
    let error = harness.consumer.poll(Duration::ZERO);
    assert!(
        matches!(error, Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::PollExceeded)))),
        "{error:?}"
    );
    assert!(matches!(harness.asked(), Asked::Revoke(_)));
}
