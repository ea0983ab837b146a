//! Commits: each is answered once, and what was acknowledged can be read back.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use sandmill_kafka_ffi::{
    CommitEntry, CommitReply, Commits, Committed, Error, PartitionCommit, RDKafkaErrorCode, committed,
};

use crate::harness::{Harness, PATIENCE};

fn entry<'a>(partition: i32, offset: i64, metadata: Option<&'a str>) -> CommitEntry<'a> {
    CommitEntry { topic: "t", partition, offset, metadata }
}

fn stored(partition: i32, offset: Option<i64>, metadata: Option<&str>) -> Committed {
    Committed {
        topic: "t".to_owned(),
        partition,
        offset,
        metadata: metadata.map(|text| text.as_bytes().to_vec()),
        error: None,
    }
}

#[test]
fn an_acknowledged_commit_can_be_read_back_with_its_metadata() {
    let mut harness = Harness::new(&[("t", 3)], &[]);
    let mut commits = Commits::new(&harness.consumer, &harness.sleeper.waker());
    harness.join(&["t"]);

    commits.commit(&[entry(0, 7, Some("v1:aGFsbG8=")), entry(1, 0, None)]).unwrap();
    assert_eq!(commits.outstanding(), 1);
    let mut reply = harness.until(|_| commits.poll_reply());
    assert_eq!(commits.outstanding(), 0);
    reply.partitions.sort_by_key(|partition| partition.partition);
    let acknowledged =
        |partition, offset| PartitionCommit { topic: "t".to_owned(), partition, offset, result: Ok(()) };
    let expected = CommitReply { error: None, partitions: vec![acknowledged(0, 7), acknowledged(1, 0)] };
    assert_eq!(reply, expected);

    // On a helper thread, while this one polls on.
    let consumer = &harness.consumer;
    let read = std::thread::scope(|scope| {
        let helper =
            scope.spawn(|| committed(consumer.client(), &[("t", 2), ("t", 0), ("t", 1)], PATIENCE).unwrap());
        while !helper.is_finished() {
            harness.serve_events();
            std::thread::yield_now();
        }
        helper.join().unwrap()
    });
    assert_eq!(read[0], stored(2, None, None));
    assert_eq!(read[1], stored(0, Some(7), Some("v1:aGFsbG8=")));
    assert_eq!((read[2].offset, read[2].metadata.as_deref().unwrap_or_default()), (Some(0), &b""[..]));
}

#[test]
fn a_reply_ends_the_sleep_of_a_consumer_that_waits_for_it() {
    let mut harness = Harness::new(&[("t", 1)], &[]);
    let mut commits = Commits::new(&harness.consumer, &harness.sleeper.waker());
    harness.join(&["t"]);
    for offset in 0..20 {
        commits.commit(&[entry(0, offset, None)]).unwrap();
        let reply = harness.until(|_| commits.poll_reply());
        assert_eq!(reply.partitions[0].offset, offset);
    }
}

#[test]
fn every_commit_is_answered_in_order() {
    let mut harness = Harness::new(&[("t", 1)], &[]);
    let mut commits = Commits::new(&harness.consumer, &harness.sleeper.waker());
    harness.join(&["t"]);
    for offset in 0..50 {
        commits.commit(&[entry(0, offset, None)]).unwrap();
    }
    for offset in 0..50 {
        let reply = harness.until(|_| commits.poll_reply());
        assert_eq!(reply.partitions[0].offset, offset);
        assert_eq!(reply.partitions[0].result, Ok(()));
    }
    assert_eq!((commits.outstanding(), commits.poll_reply()), (0, None));
}

#[test]
fn a_commit_that_the_cluster_was_away_for_is_answered_once_it_is_back() {
    let mut harness = Harness::new(&[("t", 1)], &[]);
    let mut commits = Commits::new(&harness.consumer, &harness.sleeper.waker());
    harness.join(&["t"]);
    harness.cluster.set_reachable(false).unwrap();
    commits.commit(&[entry(0, 1, None)]).unwrap();
    // The broken connection is reported to `poll` as an error: the client has noticed.
    while harness.consumer.poll(Duration::ZERO).is_none() {
        assert!(commits.poll_reply().is_none_or(|reply| reply.error.is_some()));
        harness.sleeper.wait(Duration::from_millis(100));
    }
    harness.cluster.set_reachable(true).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while commits.outstanding() > 0 {
        while harness.queue.has_events() {
            drop(harness.consumer.poll(Duration::ZERO));
        }
        if let Some(reply) = commits.poll_reply() {
            // Taken or refused: which of them depends on whether the member is still known.
            assert_eq!(reply.partitions.len(), 1);
            assert_eq!(reply.partitions[0].result.err(), reply.error);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "no reply came within {PATIENCE:?}");
        harness.sleeper.wait(left.min(Duration::from_millis(100)));
    }
}

#[test]
fn a_list_that_could_not_be_told_apart_is_refused_before_it_is_sent() {
    let harness = Harness::new(&[("t", 1)], &[]);
    let mut commits = Commits::new(&harness.consumer, &harness.sleeper.waker());
    let twice = commits.commit(&[entry(0, 1, None), entry(0, 2, None)]);
    assert!(matches!(twice, Err(Error::DuplicatePartition { partition: 0, .. })));
    let negative = commits.commit(&[entry(0, -1, None)]);
    assert!(matches!(negative, Err(Error::NegativeOffset { offset: -1, .. })));
    assert_eq!(commits.outstanding(), 0);
}

#[test]
fn an_empty_commit_is_answered_that_there_was_nothing() {
    let mut harness = Harness::new(&[("t", 1)], &[]);
    let mut commits = Commits::new(&harness.consumer, &harness.sleeper.waker());
    commits.commit(&[]).unwrap();
    let reply = harness.until(|_| commits.poll_reply());
    assert_eq!(reply, CommitReply { error: Some(RDKafkaErrorCode::NoOffset), partitions: vec![] });
}
