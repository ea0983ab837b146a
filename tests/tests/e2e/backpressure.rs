//! Handlers that all hang stop neither the polling nor the heartbeats, and memory stays bounded.

use std::time::{Duration, Instant};

use sandmill_tests::guests::guest;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::over_keys;
use sandmill_tests::producer::Producer;

const MAX_POLL_INTERVAL: Duration = Duration::from_secs(6);

/// At this number the partitions pause; what the last poll brought comes on top.
const IN_FLIGHT: f64 = 2_000.0;
const POLL: f64 = 1_024.0;

/// More than the records in flight could ever need beside the host's own.
const GROWTH: u64 = 64 * 1024 * 1024;

#[test]
fn while_every_handler_hangs_the_host_stays_in_its_group() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("wait"), 4)
        .config("ms", "600000")
        .set("max_instances", "32")
        .set_in("limits", "deadline", "\"15m\"")
        .set_in("in_flight", "records", &IN_FLIGHT.to_string())
        .set_host("drain_timeout", "\"1s\"")
        .kafka("max.poll.interval.ms", &MAX_POLL_INTERVAL.as_millis().to_string())
        .kafka("session.timeout.ms", "6000")
        .kafka("heartbeat.interval.ms", "500");
    Producer::new(kafka).send(&job.input, &over_keys(20_000, 5_000, |_| vec![b'x'; 1_000]));
    let mut host = job.start();
    let of_input = [("topic", job.input.as_str())];
    host.wait_until("backpressure was on", DONE, |host| {
        host.metric("consumer_backpressure_active", &of_input) == 1.0
    });
    let (_, members) = kafka.members(&job.group);
    assert_eq!(members.len(), 1);
    let (memory, since) = (host.resident_bytes(), Instant::now());
    host.wait_until("twice the poll interval had passed", DONE, |host| {
        assert_eq!(host.metric("consumer_backpressure_active", &of_input), 1.0);
        let in_flight = host.metric("consumer_in_flight_count", &of_input);
        assert!(in_flight <= IN_FLIGHT + POLL, "{in_flight} in flight, {IN_FLIGHT} are allowed");
        since.elapsed() > 2 * MAX_POLL_INTERVAL
    });
    // A member that was thrown out and joined again would have another id.
    assert_eq!(kafka.members(&job.group), ("Stable".to_owned(), members));
    let grown = host.resident_bytes().saturating_sub(memory);
    assert!(grown < GROWTH, "grew by {grown} bytes while it stood still");
    assert!(kafka.committed_offsets(&job.group, &job.input).values().all(|offset| *offset == 0));

    let stopped = Instant::now();
    let ended = host.terminate();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(stopped.elapsed() < Duration::from_secs(20), "the stop took {:?}", stopped.elapsed());
}
