//! Every way to end that the crate's documentation calls good does end.

use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;

use rdkafka::consumer::Consumer;
use sandmill_kafka_ffi::{CommitEntry, Commits};

use crate::harness::{Asked, Harness, PATIENCE, list, records};

/// Runs `end` on a thread of its own and fails if it does not return.
fn ends_in_time(end: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let thread = thread::spawn(move || {
        end();
        done.send(()).unwrap();
    });
    wait.recv_timeout(PATIENCE).expect("the end is reached");
    thread.join().unwrap();
}

#[test]
fn unsubscribed_and_unassigned_the_consumer_drops() {
    let mut harness = Harness::new(&[("t", 2)], &[]);
    harness.closes = false;
    harness.fill("t", 0, 10);
    harness.join(&["t"]);
    harness.collect(records(10));
    harness.consumer.unsubscribe();
    assert!(matches!(harness.asked(), Asked::Revoke(partitions) if partitions.len() == 2));
    harness.consumer.unassign().unwrap();
    ends_in_time(move || drop(harness));
}

#[test]
fn with_a_closing_flag_the_consumer_drops_with_its_assignment() {
    let mut harness = Harness::new(&[("t", 2)], &[]);
    harness.closes = false;
    harness.fill("t", 0, 10);
    harness.join(&["t"]);
    harness.collect(records(10));
    harness.consumer.context().closing.store(true, Ordering::Release);
    ends_in_time(move || drop(harness));
}

#[test]
fn with_a_closing_flag_a_cooperative_consumer_drops_with_its_assignment() {
    let mut harness = Harness::new(&[("t", 2)], &[("partition.assignment.strategy", "cooperative-sticky")]);
    harness.closes = false;
    harness.fill("t", 0, 10);
    harness.consumer.subscribe(&["t"]).unwrap();
    assert!(matches!(harness.asked(), Asked::Assign(partitions) if partitions.len() == 2));
    harness.queue.incremental_assign(&list(&[("t", 0, 0), ("t", 1, 0)])).unwrap();
    harness.collect(records(10));
    harness.consumer.context().closing.store(true, Ordering::Release);
    ends_in_time(move || drop(harness));
}

#[test]
fn with_a_closing_flag_a_request_that_was_stored_and_not_answered_hinders_nothing() {
    let mut harness = Harness::new(&[("t", 2)], &[]);
    harness.closes = false;
    harness.consumer.subscribe(&["t"]).unwrap();
    assert!(matches!(harness.asked(), Asked::Assign(_)));
    // The loop died before it assigned. The client waits for that call before it ends.
    harness.consumer.context().closing.store(true, Ordering::Release);
    harness.consumer.unassign().unwrap();
    ends_in_time(move || drop(harness));
}

#[test]
fn partitions_that_were_assigned_without_a_group_drop_as_they_are() {
    let mut harness = Harness::new(&[("t", 1)], &[]);
    harness.closes = false;
    harness.fill("t", 0, 1_000);
    harness.queue.assign(&list(&[("t", 0, 0)])).unwrap();
    // Some records taken, the rest still in the queue.
    harness.until(|harness| (!harness.queue.consume(10).is_empty()).then_some(()));
    ends_in_time(move || drop(harness));
}

#[test]
fn a_commit_that_nobody_reads_the_reply_of_hinders_nothing() {
    let mut harness = Harness::new(&[("t", 1)], &[]);
    harness.closes = false;
    let mut commits = Commits::new(&harness.consumer, &harness.sleeper.waker());
    harness.join(&["t"]);
    commits.commit(&[CommitEntry { topic: "t", partition: 0, offset: 1, metadata: None }]).unwrap();
    harness.consumer.context().closing.store(true, Ordering::Release);
    ends_in_time(move || {
        drop(commits);
        drop(harness);
    });
}
