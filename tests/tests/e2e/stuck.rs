//! Whatever holds a partition up, the host says which record, since when, and what it waits for; and when the cause is
//! gone, it goes on where it was.

use std::time::Duration;

use sandmill_tests::guests::guest;
use sandmill_tests::host::Host;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::{Kafka, Options};
use sandmill_tests::ledger::{Faults, Ledger, Order, now, over_keys};
use sandmill_tests::producer::{Outgoing, Producer};
use sandmill_tests::unique;
use serde_json::Value;

/// How long the host may take to say that it is stuck: it waits for half a minute before it does.
const SAID: Duration = Duration::from_secs(90);

/// A topic that takes nothing while one of three nodes is away; other topics do.
const FRAIL: [(&str, &str); 2] = [("min.insync.replicas", "3"), ("message.timestamp.type", "LogAppendTime")];

/// Sessions that ended while a node was away show at most so many milliseconds later.
const AFTERMATH: i64 = 10_000;

/// What the status says of a partition.
fn partition(host: &mut Host, number: usize) -> Value {
    let status = host.status();
    let partitions = status["pipelines"][0]["partitions"].as_array().cloned().unwrap_or_default();
    let found = partitions.into_iter().find(|partition| partition["partition"] == number);
    found.unwrap_or(Value::Null)
}

/// Waits until the host says why it is not ready, in these words.
fn await_reason(host: &mut Host, words: &str) -> String {
    host.await_some(&format!("it was not ready: {words}"), SAID, |host| {
        host.get("/readyz").filter(|(code, page)| *code == 503 && page.contains(words)).map(|(_, page)| page)
    })
}

/// Waits until all is done and the host says that it is well, stops it, and holds it to the ledger.
fn finish(job: &Job<'_>, mut host: Host, ledger: &Ledger, faults: &Faults) {
    job.await_done(&mut host);
    host.wait_until("it was ready again", DONE, |host| {
        host.get("/readyz").is_some_and(|(code, _)| code == 200)
    });
    assert_eq!(host.metric("sandmill_metadata_full", &[("topic", &job.input)]), 0.0);
    assert_eq!(host.terminate().code, 0);
    ledger.judge(job, Order::Key, faults).assert_kept();
}

#[test]
fn the_status_says_what_a_record_waits_for() {
    let kafka = Kafka::shared();
    // Few calls at a time, and all of them hang: what is in the other partition waits for a worker.
    let job =
        Job::new(kafka, &guest("flaky"), 2).set("max_instances", "2").set_in("limits", "deadline", "\"10m\"");
    let send = |partition, key: usize, value: &str| {
        let record = Outgoing { partition: Some(partition), ..Outgoing::keyed(format!("key-{key}"), value) };
        Producer::new(kafka).send(&job.input, &[record]);
    };
    (0..20).for_each(|key| send(0, key, "wait:600000"));
    let mut host = job.start();
    host.wait_until("the first record had its call", DONE, |host| {
        partition(host, 0)["blocked_by"]["waits_for"] == "handler"
    });
    send(1, 0, "ok");
    host.wait_until("the other waited for a worker", DONE, |host| {
        partition(host, 1)["blocked_by"]["waits_for"] == "queue"
    });
    let (first, second) = (partition(&mut host, 0), partition(&mut host, 1));
    let (called, waiting) = (&first["blocked_by"], &second["blocked_by"]);
    assert_eq!((&called["offset"], &called["attempts"]), (&Value::from(0), &Value::from(1)), "{first}");
    assert!(called["age_seconds"].as_f64().is_some_and(|age| age > 0.0), "{first}");
    assert_eq!((&waiting["offset"], &waiting["attempts"]), (&Value::from(0), &Value::from(0)), "{second}");
    assert!(waiting["age_seconds"].is_null(), "it never had a call: {second}");
    host.kill();
}

#[test]
fn the_status_says_when_a_record_runs_again_and_why_it_failed() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("flaky"), 1).dead_letters(1_000);
    Producer::new(kafka).send(&job.input, &[Outgoing::keyed("key", "retry:9:3600000")]);
    let mut host = job.start();
    host.wait_until("the record waited for its next attempt", DONE, |host| {
        partition(host, 0)["blocked_by"]["waits_for"] == "backoff"
    });
    let shown = partition(&mut host, 0);
    let blocked = &shown["blocked_by"];
    assert_eq!((&blocked["offset"], &blocked["attempts"]), (&Value::from(0), &Value::from(1)), "{shown}");
    assert!(blocked["retry_in_seconds"].as_f64().is_some_and(|left| left > 3_000.0), "{shown}");
    assert!(blocked["last_failure"].as_str().is_some_and(|text| text.starts_with("rejected: ")), "{shown}");
    assert_eq!(host.terminate().code, 0, "a stop does not wait for it");
}

/// Metadata of so many characters names the records of some 1,400 offsets.
const LITTLE: usize = 256;
const BEHIND: i64 = 5_000;

/// A record that holds the gap open, and many above it, of which every other waits for it: so that none of the short
/// forms of the list fits.
fn behind_a_stuck_record(kafka: &Kafka) -> (Job<'_>, Ledger) {
    let job = Job::judged(kafka, &guest("flaky"), 1)
        .dead_letters(1_000)
        .set("metadata_limit", &LITTLE.to_string())
        .set("commit_interval", "\"50ms\"");
    let (mut ledger, producer) = (Ledger::default(), Producer::new(kafka));
    ledger.produce(&producer, &job.input, vec![Outgoing::keyed("stuck", "retry:9:3600000")]);
    let behind = (0..BEHIND).map(|at| match at % 2 {
        0 => Outgoing::keyed(format!("key-{}", at % 500), "ok"),
        _ => Outgoing::keyed("stuck", "ok"),
    });
    ledger.produce(&producer, &job.input, behind.collect());
    (job, ledger)
}

/// Lets the stuck record go: a host that does not try it again finds what the list says is complete.
fn let_go(job: Job<'_>, ledger: &Ledger, faults: &Faults) {
    let job = job.dead_letters(0);
    let host = job.start();
    finish(&job, host, ledger, faults);
    assert_sizes(&job);
    assert_eq!(job.dead().len(), 1);
}

/// All that the group ever committed kept to the limit.
fn assert_sizes(job: &Job<'_>) {
    let sizes = job.kafka.commits_of(&job.group, &job.input).into_iter().map(|commit| commit.metadata.len());
    let most = sizes.max().unwrap_or_default();
    assert!(most > 0 && most <= LITTLE, "{most} characters");
}

#[test]
fn full_metadata_closes_the_intake_and_says_so_until_the_gap_is_closed() {
    let kafka = Kafka::shared();
    let (job, ledger) = behind_a_stuck_record(kafka);
    let mut host = job.start();
    host.wait_until("the list was full", DONE, |host| partition(host, 0)["metadata_full"] == true);
    let reason = await_reason(&mut host, "takes no new records");
    assert!(reason.contains(&format!("{}/0", job.input)) && reason.contains("offset 0 "), "{reason}");
    assert_eq!(host.metric("sandmill_metadata_full", &[("topic", &job.input)]), 1.0);
    let came = kafka.offsets_in(&job.output);
    assert!(came > 0 && came < BEHIND / 2, "{came} came out, all that had room in the list");
    assert_eq!(host.terminate().code, 0);
    // Nothing runs again: the list was complete.
    let_go(job, &ledger, &Faults::default());
}

#[test]
fn truncated_metadata_keeps_the_intake_open_and_counts_what_it_leaves_out() {
    let kafka = Kafka::shared();
    let (job, ledger) = behind_a_stuck_record(kafka);
    let job = job.set("on_metadata_full", "\"truncate\"");
    let mut host = job.start();
    host.wait_until("all others came out", DONE, |_| kafka.offsets_in(&job.output) >= BEHIND / 2);
    host.wait_until("it said what a commit had no room for", DONE, |host| {
        host.metric("sandmill_metadata_truncated_records", &[("topic", &job.input)]) > 0.0
    });
    let (mut faults, from) = (Faults::default(), now());
    assert_eq!(host.terminate().code, 0);
    faults.span("a list that was cut", from, now());
    let_go(job, &ledger, &faults);
}

#[test]
fn commits_that_the_broker_refuses_are_counted_by_their_reason_and_said() {
    let limit = ("offset.metadata.max.bytes".to_owned(), "40".to_owned());
    let kafka = Kafka::start_with(1, &Options { properties: vec![limit], ..Options::default() });
    let (job, ledger) = behind_a_stuck_record(&kafka);
    let mut host = job.start();
    let reason = await_reason(&mut host, "(metadata_too_large)");
    assert!(
        reason.contains(&format!("{}/0", job.input)) && reason.contains("set metadata_limit to"),
        "{reason}"
    );
    let labels = [("topic", job.input.as_str()), ("reason", "metadata_too_large")];
    assert!(host.metric("consumer_commit_failures_total", &labels) > 1.0, "each is taken again");
    assert_eq!(partition(&mut host, 0)["committed_offset"], 0, "what the broker has");

    // Without the gap there is no list, and the broker takes the commit.
    let (mut faults, from) = (Faults::default(), now());
    assert_eq!(host.terminate().code, 0);
    faults.span("commits that were refused", from, now());
    let job = job.dead_letters(0).set("ordering", "\"partition\"");
    let host = job.start();
    finish(&job, host, &ledger, &faults);
}

#[test]
fn dead_letters_that_nobody_takes_hold_up_their_records_and_no_others() {
    const FIRST: i64 = 100;
    let kafka = Kafka::fragile();
    // Records of one call are complete together: here each has a call of its own.
    let mut job = Job::judged(&kafka, &guest("flaky"), 1)
        .set("commit_interval", "\"50ms\"")
        .set_in("batch", "records", "1");
    job.dead = unique("dead-frail");
    kafka.create_topic(&job.dead, 1, &FRAIL);
    let job = job.dead_letters(0);
    let mut ledger = Ledger::default();
    // Every hundredth fails, all of one key.
    let values =
        |at: usize| if at >= 100 && at.is_multiple_of(100) { b"reject".to_vec() } else { b"ok".to_vec() };
    ledger.produce(&Producer::new(&kafka), &job.input, over_keys(400, 40, values));
    let (mut faults, from) = (Faults::default(), now());
    kafka.kill(2);
    let mut host = job.start();
    // What was before it may wait for a new leader first.
    let reason = await_reason(&mut host, &format!("the record at offset {FIRST} of {}/0", job.input));
    assert!(reason.contains("has not been acknowledged"), "{reason}");
    let shown = partition(&mut host, 0);
    assert_eq!(shown["blocked_by"]["waits_for"], "publish", "{shown}");
    assert_eq!(shown["committed_offset"], FIRST, "{shown}");
    assert!(kafka.offsets_in(&job.output) >= 380, "records of other keys do not wait");

    kafka.start_node(2);
    faults.span("the absence of a node", from, now() + AFTERMATH);
    finish(&job, host, &ledger, &faults);
    assert_eq!(job.dead().len(), 3);
}

#[test]
fn outputs_that_nobody_takes_fill_the_producers_queue_and_wait_there() {
    let kafka = Kafka::fragile();
    let mut job = Job::judged(&kafka, &guest("echo"), 4).kafka("queue.buffering.max.messages", "100").set_in(
        "in_flight",
        "records",
        "2000",
    );
    job.output = unique("out-frail");
    kafka.create_topic(&job.output, 4, &FRAIL);
    let mut ledger = Ledger::default();
    ledger.produce(&Producer::new(&kafka), &job.input, over_keys(20_000, 300, |_| b"x".to_vec()));
    let (mut faults, from) = (Faults::default(), now());
    kafka.kill(2);
    let mut host = job.start();
    host.wait_until("no more was taken", DONE, |host| {
        host.metric("consumer_backpressure_active", &[("topic", &job.input)]) == 1.0
    });
    await_reason(&mut host, "has not been acknowledged");
    let committed = kafka.committed_offsets(&job.group, &job.input);
    assert!(committed.values().all(|offset| *offset == 0), "nothing is done: {committed:?}");

    kafka.start_node(2);
    faults.span("the absence of a node", from, now() + AFTERMATH);
    finish(&job, host, &ledger, &faults);
}

#[test]
fn an_output_that_its_topic_refuses_for_good_goes_to_the_dead_letters_with_its_record() {
    let kafka = Kafka::shared();
    let mut job = Job::new(kafka, &guest("echo"), 1);
    job.output = unique("out-small");
    kafka.create_topic(&job.output, 1, &[("max.message.bytes", "2000")]);
    let job = job.dead_letters(0);
    let mut ledger = Ledger::default();
    let values = |at: usize| vec![b'x'; if at == 7 { 5_000 } else { 10 }];
    ledger.produce(&Producer::new(kafka), &job.input, over_keys(20, 4, values));
    let mut host = job.start();
    job.await_done(&mut host);
    assert_eq!(host.terminate().code, 0);
    let dead = job.dead();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].value.as_deref(), Some(&[b'x'; 5_000][..]));
    ledger.compare(&[&job.outputs(), &dead], Order::Key).assert_exact();
}

#[test]
fn a_dead_letter_that_its_topic_refuses_for_good_halts_the_pipeline_before_its_record() {
    let kafka = Kafka::shared();
    let mut job = Job::new(kafka, &guest("flaky"), 1);
    job.dead = unique("dead-small");
    kafka.create_topic(&job.dead, 1, &[("max.message.bytes", "2000")]);
    let job = job.dead_letters(0);
    let long = [&b"reject "[..], &[b'x'; 5_000][..]].concat();
    let values = |at: usize| if at == 7 { long.clone() } else { b"ok".to_vec() };
    Producer::new(kafka).send(&job.input, &over_keys(20, 4, values));
    let ended = job.start().end(DONE);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    for words in ["dead letter", "offset 7"] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    // What was still on its way to the output runs again; the record itself does in any case.
    let committed = kafka.committed_offsets(&job.group, &job.input);
    assert!(committed.get(&0).is_some_and(|offset| *offset <= 7), "{committed:?}");
    assert!(job.dead().is_empty());
}
