//! Questions to the brokers: each topic and partition gets its own answer, in the order asked.

use rdkafka::consumer::Consumer;
use sandmill_kafka_ffi::{
    Error, Isolation, RDKafkaErrorCode, Watermarks, cached_watermarks, committed, describe_topics,
    end_offsets, start_offsets,
};

use crate::harness::{Harness, PATIENCE, list, records};

#[test]
fn topics_have_ids_of_their_own_that_stay() {
    let harness = Harness::new(&[("a", 1), ("b", 3)], &[]);
    let client = harness.consumer.client();
    let first = describe_topics(client, &["b", "missing", "a"], PATIENCE).unwrap();
    let (b, a) = (first[0].unwrap(), first[2].unwrap());
    assert_eq!((b.partitions, a.partitions), (3, 1));
    assert!(a.id.is_some() && b.id.is_some() && a.id != b.id);
    assert_eq!(describe_topics(client, &["a"], PATIENCE).unwrap(), [Ok(a)]);
    assert_eq!(describe_topics(client, &[], PATIENCE).unwrap(), []);
    let twice = describe_topics(client, &["a", "a"], PATIENCE);
    assert!(matches!(twice, Err(Error::Refused { code: RDKafkaErrorCode::InvalidArgument, .. })));
}

#[test]
fn offsets_are_those_of_each_partition() {
    let mut harness = Harness::new(&[("t", 3)], &[]);
    harness.fill("t", 0, 5);
    harness.fill("t", 2, 2);
    let client = harness.consumer.client();
    let asked = [("t", 2), ("t", 0), ("t", 1), ("t", 9)];
    for isolation in [Isolation::ReadUncommitted, Isolation::ReadCommitted] {
        let found = end_offsets(client, &asked, isolation, PATIENCE).unwrap();
        assert_eq!(found[..3], [Ok(2), Ok(5), Ok(0)]);
        assert!(found[3].is_err());
    }
    assert_eq!(start_offsets(client, &asked[..3], PATIENCE).unwrap(), [Ok(0), Ok(0), Ok(0)]);

    assert_eq!(cached_watermarks(client, "t", 0).unwrap().high, None);
    harness.queue.assign(&list(&[("t", 0, 0)])).unwrap();
    harness.collect(records(5));
    let Watermarks { high, .. } = cached_watermarks(harness.consumer.client(), "t", 0).unwrap();
    assert_eq!(high, Some(5));
}

#[test]
fn an_unreachable_cluster_ends_each_question_in_time() {
    let harness = Harness::new(&[("t", 1)], &[]);
    harness.cluster.set_reachable(false).unwrap();
    let client = harness.consumer.client();
    let timeout = std::time::Duration::from_millis(300);
    let start = std::time::Instant::now();
    assert!(committed(client, &[("t", 0)], timeout).is_err());
    assert!(describe_topics(client, &["t"], timeout).is_err());
    let ends = end_offsets(client, &[("t", 0)], Isolation::ReadUncommitted, timeout);
    assert!(ends.is_err() || ends.is_ok_and(|ends| ends[0].is_err()));
    assert!(start.elapsed() < PATIENCE / 3);
}
