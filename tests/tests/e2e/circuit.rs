//! A pipeline whose failures explode pauses itself, says so, and goes on when a record succeeds again.

use std::time::Duration;

use sandmill_tests::guests::guest;
use sandmill_tests::job::Job;
use sandmill_tests::kafka::Kafka;
use sandmill_tests::producer::{Outgoing, Producer};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn an_outage_does_not_move_the_topic_into_the_dead_letters() {
    let kafka = Kafka::shared();
    // One call of one record at a time, so that the circuit sees every failure before the next.
    let job = Job::new(kafka, &guest("flaky"), 1)
        .dead_letters(0)
        .set("ordering", "\"partition\"")
        .set_in("batch", "records", "1")
        .set_in("circuit", "enabled", "true")
        .set_in("circuit", "of", "20")
        .set_in("circuit", "pause", "\"10s\"");
    let bad = (0..22).map(|at| Outgoing::keyed(format!("bad-{at}"), "reject"));
    let good = (0..200).map(|at| Outgoing::keyed(format!("good-{at}"), "ok"));
    Producer::new(kafka).send(&job.input, &bad.chain(good).collect::<Vec<_>>());

    let mut host = job.start();
    host.wait_until("the pipeline paused itself", SOON, |host| {
        host.get("/readyz").is_some_and(|(code, page)| code == 503 && page.contains("paused itself"))
    });
    let (_, page) = host.get("/readyz").expect("it answers");
    assert!(page.contains("20 of its last 20 records failed; it tries one again in"), "{page}");
    assert_eq!(host.metric("sandmill_circuit_open", &[]), 1.0);
    let pipeline = host.status()["pipelines"][0].clone();
    assert_eq!(pipeline["circuit"]["failed"], 20, "{pipeline}");
    // Once the dead letters of those that failed are acknowledged.
    host.wait_until("the next record waited for the circuit", SOON, |host| {
        host.status()["pipelines"][0]["partitions"][0]["blocked_by"]["waits_for"] == "circuit"
    });
    assert_eq!(job.dead().len(), 20, "nothing is called meanwhile");

    job.await_done(&mut host);
    assert_eq!(host.metric("sandmill_circuit_open", &[]), 0.0);
    assert_eq!(host.metric("sandmill_circuit_openings_total", &[]), 1.0);
    assert_eq!(host.terminate().code, 0);
    assert_eq!((job.dead().len(), job.outputs().len()), (22, 200));
}
