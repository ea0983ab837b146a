//! Pipelines of one host share its workers: by weight, and whoever never comes back holds up nobody.

use std::path::Path;
use std::time::Duration;

use sandmill_tests::guests::guest;
use sandmill_tests::host::Host;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::{Ledger, Order, over_keys};
use sandmill_tests::producer::Producer;

/// A host that runs both, on two workers.
fn start(one: &Job<'_>, other: &Job<'_>) -> Host {
    let pipelines = one.pipeline() + &other.pipeline();
    let file = one.home.file("sandmill.toml", one.file_of(&pipelines));
    one.home.spawn(&[Path::new("run"), Path::new("--config"), &file])
}

/// Records that the pipeline has done.
fn done(host: &mut Host, job: &Job<'_>) -> f64 {
    host.metrics().sum("consumer_processed_total", &[("pipeline", &job.name)]).unwrap_or_default()
}

#[test]
fn while_all_workers_spin_the_host_answers_and_the_neighbour_is_served() {
    let kafka = Kafka::shared();
    let spinner = Job::new(kafka, &guest("hostile_spin"), 4)
        .dead_letters(0)
        .config("how", "compute")
        .set_in("allow", "log", "true")
        .set_in("limits", "fuel", "1_000_000_000_000_000")
        .set_in("limits", "deadline", "\"10m\"")
        .set_host("workers", "2")
        .set_host("drain_timeout", "\"1ms\"")
        // A consumer that did not poll would lose its assignment, and its series with it.
        .kafka("max.poll.interval.ms", "6000")
        .kafka("session.timeout.ms", "6000");
    let neighbour = Job::new(kafka, &guest("echo"), 4);
    let producer = Producer::new(kafka);
    let mut ledger = Ledger::default();
    producer.send(&spinner.input, &over_keys(200, 200, |_| b"!".to_vec()));
    let mut host = start(&spinner, &neighbour);
    let spins = [("pipeline", spinner.name.as_str())];
    host.wait_until("more calls spun than there are workers", DONE, |host| {
        host.metric("handler_active_count", &spins) >= 4.0
    });
    // Longer than the poll interval, by what the host itself does: it takes snapshots as it polls.
    for round in 0..40 {
        ledger.produce(&producer, &neighbour.input, over_keys(100, 10, |_| format!("{round}").into_bytes()));
        host.await_snapshot(DONE);
        for page in ["/healthz", "/metrics", "/api/v1/status"] {
            let answered = host.get(page).map(|(status, _)| status);
            assert_eq!(answered, Some(200), "{page} in round {round}");
        }
    }
    neighbour.await_done(&mut host);
    assert!(host.metric("handler_active_count", &spins) >= 4.0, "they spin as before");
    assert_eq!(done(&mut host, &spinner), 0.0);
    assert_eq!(host.terminate().code, 0, "a stop ends them");
    ledger.compare(&[&neighbour.outputs()], Order::Key).assert_exact();
}

#[test]
fn what_pipelines_get_of_the_workers_follows_their_weights() {
    const RECORDS: usize = 20_000;
    let kafka = Kafka::shared();
    let job = |weight| {
        Job::new(kafka, &guest("cpu"), 4).config("us", "200").set("weight", weight).set_host("workers", "2")
    };
    let (heavy, light) = (job("3"), job("1"));
    let producer = Producer::new(kafka);
    for job in [&heavy, &light] {
        producer.send(&job.input, &over_keys(RECORDS, 1_000, |_| b"value".to_vec()));
    }
    let mut host = start(&heavy, &light);
    // Both have more to do than there is time for, from here until one has done nearly all.
    host.wait_until("both began", DONE, |host| done(host, &heavy) > 0.0 && done(host, &light) > 0.0);
    let begun = (done(&mut host, &heavy), done(&mut host, &light));
    let most = RECORDS as f64 * 0.9;
    host.wait_until("the heavier was nearly done", Duration::from_secs(120), |host| {
        done(host, &heavy) >= most
    });
    let (got, rest) = (done(&mut host, &heavy) - begun.0, done(&mut host, &light) - begun.1);
    // Three to one, with room for what both did before the other had begun and for the moment between two readings.
    assert!((2.0..=4.5).contains(&(got / rest)), "{got} and {rest} records at weights 3 and 1");
    assert_eq!(host.terminate().code, 0);
}
