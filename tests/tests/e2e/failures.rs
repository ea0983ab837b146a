//! A record that fails gets its outcome; its neighbours and its successors do not notice.

use std::path::Path;
use std::time::Duration;

use sandmill_tests::guests::{guest, text_guest};
use sandmill_tests::host::Home;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::{Ledger, Order, Report, over_keys};
use sandmill_tests::producer::{Outgoing, Producer};

#[test]
fn a_dead_letter_is_the_original_record_with_its_story_in_headers() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("flaky"), 1).dead_letters(2);
    let original = Outgoing {
        key: Some(vec![0, 0xff]),
        value: Some(b"reject".to_vec()),
        headers: vec![
            ("trace".to_owned(), Some(vec![1, 2, 3])),
            ("null".to_owned(), None),
            ("sandmill-group".to_owned(), Some(b"forged".to_vec())),
        ],
        timestamp: Some(1_431_857_103_000),
        partition: None,
    };
    let records = [Outgoing::keyed("a", "ok"), original.clone(), Outgoing::keyed("b", "retry:9")];
    Producer::new(kafka).send(&job.input, &records);
    let mut host = job.start();
    job.await_done(&mut host);
    let of_input = [("topic", job.input.as_str()), ("status", "failure")];
    assert_eq!(host.metric("consumer_processed_total", &of_input), 2.0);
    assert_eq!(host.terminate().code, 0);

    assert_eq!(job.outputs().len(), 1, "failed attempts emitted something, which must not be published");
    let dead = job.dead();
    assert_eq!(dead.len(), 2);
    let rejected = dead.iter().find(|letter| letter.key == original.key).expect("it keeps its key");
    assert_eq!(rejected.value, original.value);
    assert_eq!(rejected.timestamp, original.timestamp);
    assert_eq!(rejected.headers[..3], original.headers, "original headers come first, unchanged");
    for (name, expected) in [
        ("sandmill-origin-topic", job.input.as_str()),
        ("sandmill-origin-partition", "0"),
        ("sandmill-origin-offset", "1"),
        ("sandmill-group", &job.group),
        ("sandmill-attempts", "1"),
        ("sandmill-error-type", "rejected"),
        ("sandmill-error-code", "asked-for"),
        ("sandmill-error-message", "the value asks to be rejected"),
    ] {
        assert_eq!(rejected.header(name).as_deref(), Some(expected), "{name}");
    }
    for name in ["sandmill-handler", "sandmill-module-digest", "sandmill-failed-at"] {
        assert!(rejected.header(name).is_some_and(|text| !text.is_empty()), "{name} is missing");
    }
    let digest = rejected.header("sandmill-module-digest").unwrap_or_default();
    assert!(digest.starts_with("sha256:") && digest.len() == 7 + 64, "{digest}");

    let retried = dead.iter().find(|letter| letter.key == Some(b"b".to_vec())).expect("it keeps its key");
    assert_eq!(retried.header("sandmill-attempts").as_deref(), Some("3"), "one try and two retries");
}

/// A handler that harms itself on marked records.
struct Harm {
    guest: &'static str,
    config: &'static [(&'static str, &'static str)],
    limits: &'static [(&'static str, &'static str)],
    /// The only error type that its dead letters may name.
    error: &'static str,
}

/// Marked records get the outcome, all others come out, and the pipeline serves on. Several harms are
/// pipelines of one host.
fn only_the_marked_fail(harms: &[Harm]) {
    let kafka = Kafka::shared();
    let producer = Producer::new(kafka);
    let mut jobs: Vec<(Job<'_>, Ledger)> =
        harms.iter().map(|harm| (job_of(kafka, harm), Ledger::default())).collect();
    for (job, ledger) in &mut jobs {
        let values = |at: usize| if at % 40 == 7 { b"!harm".to_vec() } else { b"fine".to_vec() };
        ledger.produce(&producer, &job.input, over_keys(240, 24, values));
    }
    let pipelines: String = jobs.iter().map(|(job, _)| job.pipeline()).collect();
    let first = &jobs[0].0;
    let file = first.home.file("sandmill.toml", first.file_of(&pipelines));
    let mut host = first.home.spawn(&[Path::new("run"), Path::new("--config"), &file]);
    for (job, ledger) in &mut jobs {
        job.await_done(&mut host);
        // The next records are served well afterwards.
        ledger.produce(&producer, &job.input, over_keys(100, 24, |_| b"fine".to_vec()));
        job.await_done(&mut host);
    }
    let metrics = host.metrics();
    for ((job, _), harm) in jobs.iter().zip(harms) {
        let of_job = [("pipeline", job.name.as_str())];
        let counted: Vec<_> = metrics
            .matching("handler_errors_total", &of_job)
            .filter(|series| series.value > 0.0)
            .map(|series| (series.labels["error_type"].as_str(), series.value))
            .collect();
        let expected = counted.iter().any(|(error, count)| *error == harm.error && *count >= 6.0);
        assert!(expected, "{:?} should be {}, counted are {counted:?}", harm.config, harm.error);
    }
    let ended = host.terminate();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.len() < 256 * 1024, "the log has {} bytes", ended.stderr.len());
    assert!(!ended.stderr.contains('\u{1b}'), "terminal escapes in the log");
    for ((job, ledger), harm) in jobs.iter().zip(harms) {
        check_arrivals(job, ledger, harm);
    }
}

fn job_of<'a>(kafka: &'a Kafka, harm: &Harm) -> Job<'a> {
    let mut job = Job::new(kafka, &guest(harm.guest), 4).dead_letters(0).set_in("allow", "log", "true");
    for (key, value) in harm.config {
        job = job.config(key, value);
    }
    for (key, value) in harm.limits {
        job = job.set_in("limits", key, value);
    }
    job
}

#[track_caller]
fn check_arrivals(job: &Job<'_>, ledger: &Ledger, harm: &Harm) {
    let what = format!("{} {:?}", harm.guest, harm.config);
    let (outputs, dead) = (job.outputs(), job.dead());
    let report = ledger.compare(&[&outputs, &dead], Order::Key);
    assert!(report == Report::default(), "{what}: {report}");
    assert_eq!(dead.len(), 6, "{what}: dead letters");
    for letter in &dead {
        assert_eq!(letter.text(), "!harm", "{what}: a neighbour was dead-lettered");
        assert_eq!(letter.header("sandmill-error-type").as_deref(), Some(harm.error), "{what}");
        let message = letter.header("sandmill-error-message").unwrap_or_default();
        assert!(message.len() <= 1024, "{what}: the message has {} bytes", message.len());
        assert!(!message.contains('\u{1b}'), "{what}: terminal escapes in {message:?}");
    }
}

#[test]
fn a_panic_costs_its_own_record_only() {
    let config = &[("how", "panic")];
    only_the_marked_fail(&[Harm { guest: "hostile_trap", config, limits: &[], error: "trap" }]);
}

#[test]
fn a_panic_with_a_message_of_a_mebibyte_is_cut() {
    let config = &[("how", "long-panic")];
    only_the_marked_fail(&[Harm { guest: "hostile_trap", config, limits: &[], error: "trap" }]);
}

#[test]
fn an_abort_costs_its_own_record_only() {
    let config = &[("how", "abort")];
    only_the_marked_fail(&[Harm { guest: "hostile_trap", config, limits: &[], error: "trap" }]);
}

#[test]
fn an_exit_is_no_way_out() {
    let config = &[("how", "exit")];
    only_the_marked_fail(&[Harm { guest: "hostile_trap", config, limits: &[], error: "trap" }]);
}

#[test]
fn endless_computing_ends_by_fuel() {
    let limits = &[("fuel", "20_000_000")];
    only_the_marked_fail(&[Harm { guest: "hostile_spin", config: &[], limits, error: "out_of_fuel" }]);
}

#[test]
fn endless_computing_ends_by_deadline_where_fuel_is_plenty() {
    let limits = &[("fuel", "1_000_000_000_000"), ("deadline", "\"300ms\"")];
    only_the_marked_fail(&[Harm { guest: "hostile_spin", config: &[], limits, error: "deadline" }]);
}

#[test]
fn endless_host_calls_end_by_their_number() {
    let config = &[("how", "clock")];
    only_the_marked_fail(&[Harm { guest: "hostile_spin", config, limits: &[], error: "host_error" }]);
}

#[test]
fn endless_host_calls_end_by_deadline_where_they_are_unlimited() {
    let config = &[("how", "clock")];
    let limits = &[("host_calls", "1_000_000_000"), ("deadline", "\"300ms\"")];
    only_the_marked_fail(&[Harm { guest: "hostile_spin", config, limits, error: "deadline" }]);
}

#[test]
fn a_flood_of_log_lines_ends_and_stays_out_of_the_log() {
    let config = &[("how", "log")];
    only_the_marked_fail(&[Harm { guest: "hostile_spin", config, limits: &[], error: "host_error" }]);
}

#[test]
fn endless_random_bytes_end_by_deadline() {
    let limits = &[("host_calls", "1_000_000_000"), ("deadline", "\"300ms\"")];
    only_the_marked_fail(&[Harm { guest: "hostile_random", config: &[], limits, error: "deadline" }]);
}

#[test]
fn an_endless_wait_ends_by_deadline() {
    let limits = &[("deadline", "\"300ms\"")];
    only_the_marked_fail(&[Harm { guest: "hostile_sleep", config: &[], limits, error: "deadline" }]);
}

#[test]
fn no_memory_but_its_own_can_be_named() {
    const HOW: [&[(&str, &str)]; 3] = [&[("how", "write")], &[("how", "read")], &[("how", "just-past")]];
    only_the_marked_fail(&HOW.map(|config| Harm {
        guest: "hostile_out_of_bounds",
        config,
        limits: &[],
        error: "trap",
    }));
}

#[test]
fn outputs_without_end_are_refused() {
    const HOW: [(&[(&str, &str)], &str); 3] = [
        (&[("how", "records")], "invalid_output"),
        (&[("how", "bytes")], "invalid_output"),
        (&[("how", "endless")], "memory_limit"),
    ];
    only_the_marked_fail(&HOW.map(|(config, error)| Harm {
        guest: "hostile_outputs",
        config,
        limits: &[],
        error,
    }));
}

#[test]
fn the_words_of_a_failure_are_cut_and_escaped() {
    const HOW: [&[(&str, &str)]; 3] = [&[("how", "long")], &[("how", "escapes")], &[("how", "code")]];
    only_the_marked_fail(&HOW.map(|config| Harm {
        guest: "hostile_messages",
        config,
        limits: &[],
        error: "rejected",
    }));
}

/// Handlers in text form emit nothing: what they do not fail on is done.
#[test]
fn tables_without_end_and_recursion_in_a_call_back_cost_their_own_records_only() {
    let kafka = Kafka::shared();
    let producer = Producer::new(kafka);
    for folder in ["tables", "callback"] {
        let home = Home::new();
        let module = home.file(&format!("{folder}.wasm"), text_guest(folder));
        let job = Job::new(kafka, &module, 4).dead_letters(0).config("key", "a value");
        let values = |at: usize| if at % 40 == 7 { b"!harm".to_vec() } else { b"fine".to_vec() };
        producer.send(&job.input, &over_keys(240, 24, values));
        let mut host = job.start();
        job.await_done(&mut host);
        // The next records are served well afterwards.
        producer.send(&job.input, &over_keys(100, 24, |_| b"fine".to_vec()));
        job.await_done(&mut host);
        let done = |status| [("pipeline", job.name.as_str()), ("status", status)];
        assert_eq!(host.metric("consumer_processed_total", &done("success")), 334.0, "{folder}");
        assert_eq!(host.terminate().code, 0);
        let dead = job.dead();
        assert_eq!(dead.len(), 6, "{folder}");
        for letter in &dead {
            assert_eq!(letter.text(), "!harm", "{folder}: a neighbour was dead-lettered");
            assert_eq!(letter.header("sandmill-error-type").as_deref(), Some("trap"), "{folder}");
        }
    }
}

/// Who logs too much does no wrong: the lines are cut, and the records come out.
#[test]
fn a_flood_of_log_lines_costs_the_lines_and_no_record() {
    let kafka = Kafka::shared();
    for how in ["lines", "bytes", "escapes", "stdout"] {
        let job = Job::new(kafka, &guest("hostile_log_flood"), 2)
            .config("how", how)
            .set_in("allow", "log", "true")
            .then("halt", 0);
        let mut ledger = Ledger::default();
        let values = |at: usize| if at % 20 == 7 { b"!flood".to_vec() } else { b"fine".to_vec() };
        ledger.produce(&Producer::new(kafka), &job.input, over_keys(200, 20, values));
        let mut host = job.start();
        job.await_done(&mut host);
        let ended = host.terminate();
        assert_eq!(ended.code, 0, "{how}: {}", ended.stderr);
        assert!(ended.stderr.len() < 256 * 1024, "{how}: the log has {} bytes", ended.stderr.len());
        let steers = |character: char| character.is_control() && character != '\n';
        assert!(!ended.stderr.chars().any(steers), "{how}: {:?}", ended.stderr);
        let forged = ended.stderr.lines().any(|line| line.starts_with("2026-01-01"));
        assert!(!forged, "{how}: a line of the guest's own in {}", ended.stderr);
        ledger.compare(&[&job.outputs()], Order::Key).assert_exact();
    }
}

#[test]
fn memory_taken_in_one_step_is_denied() {
    let config = &[("how", "step")];
    only_the_marked_fail(&[Harm { guest: "hostile_memory", config, limits: &[], error: "memory_limit" }]);
}

#[test]
fn memory_taken_page_by_page_is_denied() {
    let config = &[("how", "pages")];
    only_the_marked_fail(&[Harm { guest: "hostile_memory", config, limits: &[], error: "memory_limit" }]);
}

#[test]
fn endless_recursion_is_a_trap() {
    let config = &[("how", "calls")];
    only_the_marked_fail(&[Harm { guest: "hostile_recursion", config, limits: &[], error: "trap" }]);
}

#[test]
fn endless_recursion_through_memory_is_a_trap() {
    let config = &[("how", "frames")];
    only_the_marked_fail(&[Harm { guest: "hostile_recursion", config, limits: &[], error: "trap" }]);
}

#[test]
fn no_wrong_answer_is_believed() {
    const KINDS: [&[(&str, &str)]; 14] = [
        &[("kind", "lengths-disagree")],
        &[("kind", "ends-decrease")],
        &[("kind", "ends-past-bytes")],
        &[("kind", "index-out-of-range")],
        &[("kind", "inputs-not-ascending")],
        &[("kind", "unknown-flags")],
        &[("kind", "partition-missing")],
        &[("kind", "unknown-destination")],
        &[("kind", "headers-missing")],
        &[("kind", "failed-with-outputs")],
        &[("kind", "fails-twice")],
        &[("kind", "failure-out-of-range")],
        &[("kind", "too-many")],
        &[("kind", "too-large")],
    ];
    only_the_marked_fail(&KINDS.map(|config| Harm {
        guest: "hostile_wrong_answers",
        config,
        limits: &[],
        error: "invalid_output",
    }));
}

#[test]
fn an_instance_that_poisoned_itself_is_replaced() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("hostile_trap"), 2).config("how", "poison").dead_letters(5);
    let mut ledger = Ledger::default();
    let values = |at: usize| if at % 40 == 7 { b"!poison".to_vec() } else { b"fine".to_vec() };
    ledger.produce(&Producer::new(kafka), &job.input, over_keys(400, 20, values));
    let mut host = job.start();
    job.await_done(&mut host);
    assert_eq!(host.terminate().code, 0);
    // No record is at fault by itself: a retry in a fresh instance serves each.
    ledger.compare(&[&job.outputs()], Order::Key).assert_exact();
}

#[test]
fn skip_passes_over_the_failing_and_counts_them() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("flaky"), 2).then("skip", 1);
    let values = |at: usize| if at % 10 == 3 { b"reject".to_vec() } else { b"ok".to_vec() };
    Producer::new(kafka).send(&job.input, &over_keys(200, 10, values));
    let mut host = job.start();
    job.await_done(&mut host);
    let count = |status| [("topic", job.input.as_str()), ("status", status)];
    assert_eq!(host.metric("consumer_processed_total", &count("failure")), 20.0);
    assert_eq!(host.metric("consumer_processed_total", &count("success")), 180.0);
    assert_eq!(host.terminate().code, 0);
    assert_eq!(job.outputs().len(), 180);
    assert!(job.dead().is_empty());
}

#[test]
fn halt_ends_with_everything_before_the_failing_record_committed() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("flaky"), 1).set("ordering", "\"partition\"").then("halt", 1);
    let values = |at: usize| if at == 137 { b"reject".to_vec() } else { b"ok".to_vec() };
    Producer::new(kafka).send(&job.input, &over_keys(300, 10, values));
    let ended = job.start().end(Duration::from_secs(60));
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert_eq!(kafka.committed_offsets(&job.group, &job.input)[&0], 137);
    assert_eq!(job.outputs().len(), 137, "what lies behind the failing record took no effect");
    for word in [&job.name, &job.input, "137", "rejected"] {
        assert!(ended.stderr.contains(word), "{word:?} is not in {}", ended.stderr);
    }

    // Once the cause is gone it goes on where it stopped.
    let job = job.then("skip", 0);
    let mut host = job.start();
    host.wait_until("the rest was done", DONE, |_| job.is_done());
    assert_eq!(host.terminate().code, 0);
    assert_eq!(job.outputs().len(), 299);
}
