//! Brokers that die, sleep, vanish and come back, and a network that cuts connections: nothing is lost, and nothing
//! runs twice that was committed.
//!
//! All of them break the same three nodes, so they run one after the other.

use std::time::{Duration, Instant};

use sandmill_tests::guests::guest;
use sandmill_tests::host::Host;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::{Cut, Kafka, Proxy, Request};
use sandmill_tests::ledger::{Faults, Ledger, Order, Verdict, now, over_keys};
use sandmill_tests::producer::Producer;

const PARTITIONS: i32 = 6;
const NODES: usize = 3;

/// How long the host may take to go on once a broker is gone or back: an election, and the client's retries.
const RECOVERY: Duration = Duration::from_secs(60);

/// Sessions that ended meanwhile are noticed, and what they had is run by the next owner, at most so many milliseconds
/// after a fault is over.
const AFTERMATH: i64 = 10_000;

/// A host under load on three nodes.
struct Load<'a> {
    job: &'a Job<'a>,
    producer: Producer,
    ledger: Ledger,
    host: Host,
}

impl<'a> Load<'a> {
    /// A job that shows soon what is committed.
    fn job(kafka: &Kafka) -> Job<'_> {
        Job::judged(kafka, &guest("echo"), PARTITIONS).set("commit_interval", "\"100ms\"")
    }

    /// Starts a host and waits until its first outputs are there.
    fn start(job: &'a Job<'a>) -> Self {
        let (producer, host) = (Producer::new(job.kafka), job.start());
        let mut load = Self { job, producer, ledger: Ledger::default(), host };
        load.flow(1);
        load
    }

    fn produce(&mut self) {
        let records = over_keys(500, 100, |_| vec![b'x'; 200]);
        self.ledger.produce(&self.producer, &self.job.input, records);
    }

    /// Produces so often, and waits each time until something came out.
    fn flow(&mut self, times: usize) {
        for _ in 0..times {
            let kafka = self.job.kafka;
            let before = kafka.offsets_in(&self.job.output);
            self.produce();
            self.host.wait_until("more came out", RECOVERY, |_| kafka.offsets_in(&self.job.output) > before);
        }
    }

    /// Waits until all is done, stops the host and judges.
    fn finish(mut self, faults: &Faults) -> Verdict {
        self.job.await_done(&mut self.host);
        let ended = self.host.terminate();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let verdict = self.ledger.judge(self.job, Order::Key, faults);
        verdict.assert_kept();
        verdict
    }
}

#[test]
fn a_leader_that_is_killed_costs_nothing_but_time() {
    let kafka = Kafka::fragile();
    let job = Load::job(&kafka);
    let mut load = Load::start(&job);
    let (leader, from) = (kafka.leader(&job.input, 0), now());
    load.produce();
    kafka.kill(leader);
    load.flow(10);
    kafka.start_node(leader);
    load.flow(5);
    let mut faults = Faults::default();
    faults.span("the kill of a leader", from, now());
    load.finish(&faults);
}

#[test]
fn a_node_that_sleeps_costs_nothing_but_time() {
    let kafka = Kafka::fragile();
    // What was sent to the node is sent to its successor after that time.
    let job = Load::job(&kafka).kafka("socket.timeout.ms", "10000");
    let mut load = Load::start(&job);
    let (leader, from) = (kafka.leader(&job.output, 0), now());
    kafka.pause(leader);
    load.flow(3);
    kafka.resume(leader);
    load.flow(3);
    let mut faults = Faults::default();
    faults.span("the sleep of a node", from, now());
    load.finish(&faults);
}

#[test]
fn all_nodes_may_be_away_for_long_and_the_host_waits_and_says_why() {
    let away = Duration::from_secs(if sandmill_tests::full() { 120 } else { 20 });
    let kafka = Kafka::fragile();
    let job = Load::job(&kafka);
    let mut load = Load::start(&job);
    load.produce();
    let from = now();
    (0..NODES).for_each(|node| kafka.kill(node));
    let since = Instant::now();
    let reason = load.host.await_some("it was not ready, for want of a broker", away, |host| {
        host.get("/readyz").filter(|(status, _)| *status == 503).map(|(_, reason)| reason)
    });
    assert!(reason.contains(&job.name), "{reason}");
    wait(&mut load.host, away.saturating_sub(since.elapsed()));
    (0..NODES).for_each(|node| kafka.launch(node));
    kafka.heal();
    load.host.wait_until("it was ready again", RECOVERY, |host| {
        host.get("/readyz").is_some_and(|(status, _)| status == 200)
    });
    load.flow(5);
    let mut faults = Faults::default();
    faults.span("the absence of all nodes", from, now() + AFTERMATH);
    load.finish(&faults);
}

/// A cut connection excuses no repeat: the producer tells the broker which records it has seen, and no session ends.
#[test]
fn connections_cut_in_the_middle_of_produce_and_commit_cost_nothing() {
    let kafka = Kafka::fragile();
    let job = Load::job(&kafka).kafka("bootstrap.servers", &kafka.bootstrap_proxied());
    let mut load = Load::start(&job);
    let cuts = || -> usize { kafka.proxies().iter().map(Proxy::cuts).sum() };
    let left = || -> usize { kafka.proxies().iter().map(Proxy::cuts_left).sum() };
    let before = cuts();
    for proxy in kafka.proxies() {
        for request in [Request::Produce, Request::OffsetCommit] {
            proxy.cut(request, Cut::Unanswered, 2);
            proxy.cut(request, Cut::Half, 2);
        }
    }
    // The commits of the group go to one node alone.
    let started = Instant::now();
    while left() > 2 * 4 {
        load.flow(1);
        assert!(started.elapsed() < DONE, "{} cuts did not happen", left());
    }
    assert_eq!(cuts() - before, NODES * 4 + 4, "each node's produce requests, one node's commits");
    load.flow(3);
    let verdict = load.finish(&Faults::default());
    assert_eq!(verdict.repeated, 0, "{verdict}");
}

#[test]
fn a_slow_network_costs_nothing_but_time() {
    let kafka = Kafka::fragile();
    let job = Load::job(&kafka).kafka("bootstrap.servers", &kafka.bootstrap_proxied());
    let mut load = Load::start(&job);
    kafka.proxies().iter().for_each(|proxy| proxy.slow(Duration::from_millis(100)));
    load.flow(5);
    kafka.heal();
    let verdict = load.finish(&Faults::default());
    assert_eq!(verdict.repeated, 0, "{verdict}");
}

/// Lets time pass in which the host has to stay alive.
fn wait(host: &mut Host, time: Duration) {
    let since = Instant::now();
    host.wait_until("the time was over", time + DONE, |_| since.elapsed() >= time);
}
