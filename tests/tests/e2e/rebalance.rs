//! Two hosts in one group: partitions move in order, nothing is lost, nothing runs twice.

use std::collections::BTreeSet;
use std::time::Duration;

use sandmill_tests::guests::guest;
use sandmill_tests::host::{Home, Host};
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::{Ledger, Order, over_keys};
use sandmill_tests::producer::Producer;

const PARTITIONS: i32 = 8;
const MOVE: Duration = Duration::from_secs(60);

#[test]
fn partitions_move_to_a_second_host_and_back_without_loss_or_repeat() {
    moves_lose_and_repeat_nothing("cooperative-sticky");
}

#[test]
fn with_the_eager_protocol_as_well() {
    moves_lose_and_repeat_nothing("range");
}

fn moves_lose_and_repeat_nothing(strategy: &str) {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("echo"), PARTITIONS)
        .kafka("partition.assignment.strategy", strategy)
        .kafka("session.timeout.ms", "6000")
        .kafka("heartbeat.interval.ms", "300");
    let producer = Producer::new(kafka);
    let mut ledger = Ledger::default();
    // Records flow as long as partitions move: some at each look.
    let mut flow = || {
        ledger.produce(&producer, &job.input, over_keys(200, 100, |_| b"value".to_vec()));
    };
    let mut first = job.start();
    first.wait_until("the first host had all partitions", MOVE, |host| {
        flow();
        partitions(host, &job).len() == 8
    });

    let home = Home::new();
    let mut second = job.start_in(&home);
    second.wait_until("the second host had half of the partitions", MOVE, |host| {
        flow();
        partitions(host, &job).len() == 4
    });
    first.wait_until("the series of what moved were gone from the first", MOVE, |host| {
        flow();
        let (own, others) = (partitions(host, &job), partitions(&mut second, &job));
        own.len() == 4 && others.len() == 4 && own.is_disjoint(&others)
    });

    let ended = second.terminate();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    first.wait_until("the first host had all partitions again", MOVE, |host| {
        flow();
        partitions(host, &job).len() == 8
    });
    flow();
    first.wait_until("all of the input was committed", DONE, |_| job.is_done());
    let ended = first.terminate();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ledger.compare(&[&job.outputs()], Order::Key).assert_exact();
}

/// Partitions of which a host shows series.
fn partitions(host: &mut Host, job: &Job<'_>) -> BTreeSet<String> {
    let Some((200, _)) = host.get("/metrics") else { return BTreeSet::new() };
    host.metrics()
        .matching("consumer_parallel_lag", &[("topic", &job.input)])
        .filter_map(|series| series.labels.get("partition").cloned())
        .collect()
}
