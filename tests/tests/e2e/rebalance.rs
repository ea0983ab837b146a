//! Several hosts in one group: partitions move in order, nothing is lost, nothing runs twice without a reason.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sandmill_tests::fleet::{Fleet, partitions};
use sandmill_tests::guests::guest;
use sandmill_tests::host::{Home, Host};
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::{Faults, Ledger, Order, over_keys};
use sandmill_tests::producer::Producer;

const PARTITIONS: i32 = 8;
const MOVE: Duration = Duration::from_secs(60);

/// Until then the broker takes a host that is silent for a member.
const SESSION: Duration = Duration::from_secs(3);

/// Each partition may hold so many records, whatever the pipeline may (`machine::flow` of the host), and 64 more
/// that came with the last poll.
const LEAST_IN_FLIGHT: usize = PARTITIONS as usize * (256 + 64);

/// In milliseconds: longer than a second host takes to join.
const SLOW: &[u8] = b"8000";

/// A pipeline with heartbeats of the classic protocol that show a silent host soon.
fn with_sessions(job: Job<'_>) -> Job<'_> {
    job.kafka("session.timeout.ms", &SESSION.as_millis().to_string()).kafka("heartbeat.interval.ms", "300")
}

#[test]
fn partitions_move_to_a_second_host_and_back_without_loss_or_repeat() {
    moves_lose_and_repeat_nothing(|job| {
        with_sessions(job).kafka("partition.assignment.strategy", "cooperative-sticky")
    });
}

#[test]
fn with_the_eager_protocol_as_well() {
    moves_lose_and_repeat_nothing(|job| with_sessions(job).kafka("partition.assignment.strategy", "range"));
}

#[test]
fn with_the_new_protocol_of_kafka_4_as_well() {
    Kafka::shared().enable_new_groups();
    moves_lose_and_repeat_nothing(|job| job.kafka("group.protocol", "consumer"));
}

fn moves_lose_and_repeat_nothing(settings: impl Fn(Job<'static>) -> Job<'static>) {
    let kafka = Kafka::shared();
    let job = settings(Job::judged(kafka, &guest("echo"), PARTITIONS));
    let producer = Producer::new(kafka);
    let mut ledger = Ledger::default();
    // Records flow as long as partitions move: some at each look.
    let mut flow = || {
        ledger.produce(&producer, &job.input, over_keys(200, 100, |_| b"value".to_vec()));
    };
    let mut first = job.start();
    first.wait_until("the first host had all partitions", MOVE, |host| {
        flow();
        partitions(host, &job.input).len() == 8
    });

    let home = Home::new();
    let mut second = job.start_in(&home);
    second.wait_until("the second host had half of the partitions", MOVE, |host| {
        flow();
        partitions(host, &job.input).len() == 4
    });
    first.wait_until("the series of what moved were gone from the first", MOVE, |host| {
        flow();
        let (own, others) = (partitions(host, &job.input), partitions(&mut second, &job.input));
        own.len() == 4 && others.len() == 4 && own.is_disjoint(&others)
    });

    let ended = second.terminate();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    first.wait_until("the first host had all partitions again", MOVE, |host| {
        flow();
        partitions(host, &job.input).len() == 8
    });
    flow();
    first.wait_until("all of the input was committed", DONE, |_| job.is_done());
    let ended = first.terminate();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let verdict = ledger.judge(&job, Order::Key, &Faults::default());
    verdict.assert_kept();
    assert_eq!(verdict.repeated, 0, "{verdict}");
}

#[test]
fn a_static_member_comes_back_to_its_partitions_and_nobody_else_notices() {
    let kafka = Kafka::shared();
    let job = Job::judged(kafka, &guest("echo"), PARTITIONS)
        // The time that a static member may be away.
        .kafka("session.timeout.ms", "30000")
        .kafka("heartbeat.interval.ms", "300");
    let producer = Producer::new(kafka);
    let mut ledger = Ledger::default();
    let mut flow = || {
        ledger.produce(&producer, &job.input, over_keys(200, 100, |_| b"value".to_vec()));
    };
    let identities = [[("group.instance.id", "host-a")], [("group.instance.id", "host-b")]];
    let mut fleet = Fleet::new(&job, 2);
    fleet.start_with(0, &identities[0]);
    fleet.start_with(1, &identities[1]);
    let before = shares(&mut fleet, &mut flow);
    let moves = |host: &mut Host| host.log().matches("revoked").count();
    let moved = moves(fleet.host(0));

    fleet.stop(1);
    flow();
    fleet.start_with(1, &identities[1]);
    let after = shares(&mut fleet, &mut flow);
    assert_eq!(after, before, "each has what it had");
    assert_eq!(moves(fleet.host(0)), moved, "the other gave nothing up");
    flow();
    fleet.host(0).wait_until("all of the input was committed", DONE, |_| job.is_done());
    fleet.stop_all();
    let verdict = ledger.judge(&job, Order::Key, &fleet.faults);
    verdict.assert_kept();
    assert_eq!(verdict.repeated, 0, "{verdict}");
}

/// Waits until two hosts have half of the partitions each; gives which.
fn shares(fleet: &mut Fleet<'_>, flow: &mut impl FnMut()) -> [BTreeSet<String>; 2] {
    let started = Instant::now();
    loop {
        flow();
        let shares = [0, 1].map(|member| fleet.partitions(member));
        if shares.iter().all(|share| share.len() == 4) && shares[0].is_disjoint(&shares[1]) {
            return shares;
        }
        assert!(started.elapsed() < MOVE, "the partitions are not shared: {shares:?}");
    }
}

/// With the eager protocol everything is given back at each rebalance, and half of it comes back at once.
#[test]
fn what_was_in_flight_on_a_partition_that_left_and_came_back_runs_again_and_counts_once() {
    let kafka = Kafka::shared();
    let job = with_sessions(Job::judged(kafka, &guest("wait"), PARTITIONS))
        .config("emit", "true")
        .config("ms", "0")
        .set_in("limits", "deadline", "\"30s\"")
        .set_host("drain_timeout", "\"200ms\"")
        .kafka("partition.assignment.strategy", "range");
    let mut ledger = Ledger::default();
    // The first record of some keys waits longer than the drain does, and others lie behind it.
    let values = |at: usize| if at < 40 && at % 5 == 3 { SLOW.to_vec() } else { b"0".to_vec() };
    ledger.produce(&Producer::new(kafka), &job.input, over_keys(400, 40, values));
    let mut fleet = Fleet::new(&job, 2);
    fleet.start(0);
    fleet.host(0).wait_until("slow records were in flight", MOVE, |host| {
        host.metric("handler_active_count", &[]) >= 8.0
    });
    fleet.start(1);
    let active = fleet.host(0).await_some("the first host gave all back", MOVE, |host| {
        let active = host.metric("handler_active_count", &[]);
        host.log().contains("revoked").then_some(active)
    });
    assert!(active > 0.0, "the slow records were done before: nothing was shown");
    fleet
        .host(1)
        .wait_until("the second host had half", MOVE, |host| partitions(host, &job.input).len() == 4);
    fleet.host(0).wait_until("all of the input was committed", DONE, |_| job.is_done());
    let in_flight = fleet.host(0).metric("consumer_in_flight_count", &[("topic", &job.input)]);
    assert_eq!(in_flight, 0.0, "nothing is left in flight");
    fleet.stop_all();
    let verdict = ledger.judge(&job, Order::Key, &fleet.faults);
    verdict.assert_kept();
    assert_eq!(verdict.repeated, 0, "an interrupted call publishes nothing: {verdict}");
}

#[test]
fn a_host_that_slept_longer_than_its_session_commits_nothing_for_what_it_lost() {
    let kafka = Kafka::shared();
    let job = with_sessions(Job::judged(kafka, &guest("wait"), PARTITIONS))
        .config("emit", "true")
        .config("ms", "200")
        .set_in("in_flight", "records", "500");
    let producer = Producer::new(kafka);
    let mut ledger = Ledger::default();
    let mut produce = || {
        ledger.produce(&producer, &job.input, over_keys(4_000, 800, |_| b"value".to_vec()));
    };
    let mut fleet = Fleet::new(&job, 2);
    fleet.start(0);
    fleet.start(1);
    shares(&mut fleet, &mut || {});
    produce();
    let outputs = kafka.offsets_in(&job.output);
    fleet.host(0).wait_until("records were in flight", DONE, |host| {
        host.metric("consumer_in_flight_count", &[("topic", &job.input)]) > 0.0
            && kafka.offsets_in(&job.output) > outputs
    });
    fleet.pause(0);
    fleet
        .host(1)
        .wait_until("the other had all partitions", MOVE, |host| partitions(host, &job.input).len() == 8);
    fleet.host(1).wait_until("the other had done everything", DONE, |_| job.is_done());
    let before = kafka.committed(&job.group, &job.input);
    fleet.resume(0);
    fleet.host(0).wait_for_log("assignment lost", MOVE);
    shares(&mut fleet, &mut || {});
    assert_eq!(kafka.committed(&job.group, &job.input), before, "the host that woke up committed something");

    produce();
    fleet.host(0).wait_until("all of the input was committed", DONE, |_| job.is_done());
    fleet.stop_all();
    let verdict = ledger.judge(&job, Order::Key, &fleet.faults);
    verdict.assert_kept();
    assert!(verdict.repeated <= LEAST_IN_FLIGHT, "more than one host had in flight: {verdict}");
}

#[test]
fn hosts_that_join_leave_die_and_sleep_at_random_lose_nothing() {
    let (hosts, steps) = if sandmill_tests::full() { (6, 40) } else { (2, 6) };
    let seed = sandmill_tests::seed();
    println!("seed {seed}: {hosts} hosts, {steps} steps");
    let mut random = fastrand::Rng::with_seed(seed);
    let kafka = Kafka::shared();
    let job = with_sessions(Job::judged(kafka, &guest("wait"), PARTITIONS))
        .config("emit", "true")
        .config("ms", "100")
        .set_in("in_flight", "records", "500");
    let producer = Producer::new(kafka);
    let mut ledger = Ledger::default();
    let mut fleet = Fleet::new(&job, hosts);
    fleet.start(0);
    for step in 1..=steps {
        let before = kafka.offsets_in(&job.output);
        ledger.produce(&producer, &job.input, over_keys(1_000, 100, |_| b"value".to_vec()));
        let awake = fleet.awake()[0];
        fleet.host(awake).wait_until("records came out", MOVE, |_| kafka.offsets_in(&job.output) > before);
        let action = act(&mut fleet, &mut random);
        println!("step {step}: {action}");
        let awake = fleet.awake()[0];
        let what = format!("all was committed after step {step} of seed {seed}: {action}");
        fleet.host(awake).wait_until(&what, DONE, |_| job.is_done());
    }
    for member in fleet.paused() {
        fleet.resume(member);
    }
    fleet.stop_all();
    let verdict = ledger.judge(&job, Order::Key, &fleet.faults);
    verdict.assert_kept();
    let bound = steps * LEAST_IN_FLIGHT;
    assert!(verdict.repeated <= bound, "more than {steps} times what a host has in flight: {verdict}");
}

/// Does one thing of those that are possible, and says which. One host at least stays awake.
fn act(fleet: &mut Fleet<'_>, random: &mut fastrand::Rng) -> String {
    let (awake, paused, running) = (fleet.awake(), fleet.paused(), fleet.running());
    loop {
        let member = random.usize(0..fleet.room());
        match random.u8(0..5) {
            0 | 1 if !running.contains(&member) => {
                fleet.start(member);
                return format!("host {member} joins");
            }
            2 if awake.len() > 1 && awake.contains(&member) => {
                fleet.stop(member);
                return format!("host {member} leaves");
            }
            3 if awake.len() > 1 && awake.contains(&member) => {
                fleet.kill(member);
                return format!("host {member} dies");
            }
            4 if paused.contains(&member) => {
                fleet.resume(member);
                return format!("host {member} wakes up");
            }
            4 if awake.len() > 1 && awake.contains(&member) => {
                fleet.pause(member);
                return format!("host {member} falls asleep");
            }
            _ => {}
        }
    }
}
