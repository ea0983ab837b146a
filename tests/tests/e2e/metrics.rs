//! Names, labels and values of the metrics are a promise; so is that nothing listens when it is off.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sandmill_tests::guests::guest;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::over_keys;
use sandmill_tests::producer::Producer;

/// What must be there, with its type and labels (beside `pipeline` for the consumer's).
const PROMISED: [(&str, &str, &[&str]); 16] = [
    ("consumer_processed_total", "counter", &["pipeline", "topic", "partition", "status"]),
    ("consumer_processing_latency_seconds", "histogram", &["pipeline", "topic", "partition"]),
    ("consumer_in_flight_count", "gauge", &["pipeline", "topic"]),
    ("consumer_internal_queue_depth", "gauge", &["pipeline", "topic", "virtual_partition"]),
    ("consumer_parallel_lag", "gauge", &["pipeline", "topic", "partition"]),
    ("consumer_gap_count", "gauge", &["pipeline", "topic", "partition"]),
    ("consumer_backpressure_active", "gauge", &["pipeline", "topic"]),
    ("consumer_oldest_task_duration_seconds", "gauge", &["pipeline", "topic", "partition"]),
    ("consumer_metadata_size_bytes", "gauge", &["pipeline", "topic"]),
    ("consumer_commit_failures_total", "counter", &["pipeline", "topic", "partition", "reason"]),
    ("consumer_dlq_publish_failures_total", "counter", &["pipeline"]),
    ("handler_executions_total", "counter", &["pipeline", "handler", "module_version"]),
    ("handler_execution_duration_seconds", "histogram", &["pipeline", "handler", "module_version", "status"]),
    ("handler_completions_total", "counter", &["pipeline", "handler", "module_version", "status"]),
    ("handler_errors_total", "counter", &["pipeline", "handler", "module_version", "error_type"]),
    ("handler_active_count", "gauge", &["pipeline", "handler", "module_version"]),
];

const ERROR_TYPES: [&str; 8] = [
    "out_of_fuel",
    "deadline",
    "memory_limit",
    "trap",
    "rejected",
    "invalid_output",
    "initialization_failed",
    "host_error",
];

#[test]
fn a_scrape_has_every_promised_metric_with_its_labels_and_values() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("flaky"), 2).dead_letters(0);
    let values = |at: usize| if at % 10 == 4 { b"reject".to_vec() } else { b"ok".to_vec() };
    Producer::new(kafka).send(&job.input, &over_keys(500, 20, values));
    let mut host = job.start();
    job.await_done(&mut host);
    let pipeline = ("pipeline", job.name.as_str());
    host.wait_until("the snapshot showed the end", DONE, |host| {
        let metrics = host.metrics();
        metrics.sum("consumer_parallel_lag", &[pipeline]) == Some(0.0)
            && metrics.sum("consumer_in_flight_count", &[pipeline]) == Some(0.0)
    });
    let metrics = host.metrics();

    for (name, kind, labels) in PROMISED {
        assert_eq!(metrics.families().get(name).map(String::as_str), Some(kind), "{name}");
        let labels: BTreeSet<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        assert_eq!(metrics.labels_of(name), labels, "{name}");
        assert!(metrics.help(name).is_some_and(|help| help.len() > 10), "{name} has no help");
    }

    let sum = |name: &str, labels: &[(&str, &str)]| {
        let mut all = vec![pipeline];
        all.extend(labels);
        metrics.sum(name, &all)
    };
    let topic = ("topic", job.input.as_str());
    assert_eq!(sum("consumer_processed_total", &[topic, ("status", "success")]), Some(450.0));
    assert_eq!(sum("consumer_processed_total", &[topic, ("status", "failure")]), Some(50.0));
    assert_eq!(sum("consumer_processing_latency_seconds_count", &[topic]), Some(500.0));
    let seconds = sum("consumer_processing_latency_seconds_sum", &[topic]).unwrap_or_default();
    assert!(seconds > 0.0 && seconds < 500.0 * 60.0, "{seconds} s for 500 records");
    for gauge in [
        "consumer_in_flight_count",
        "consumer_internal_queue_depth",
        "consumer_parallel_lag",
        "consumer_gap_count",
        "consumer_backpressure_active",
        "consumer_oldest_task_duration_seconds",
        "consumer_commit_failures_total",
    ] {
        assert_eq!(sum(gauge, &[topic]), Some(0.0), "{gauge} when all is done");
    }
    assert_eq!(sum("consumer_dlq_publish_failures_total", &[]), Some(0.0));
    assert!(sum("consumer_metadata_size_bytes", &[topic]).is_some());

    // An execution is one call: it came back, ended without an answer, or runs.
    let executions = sum("handler_executions_total", &[]).unwrap_or_default();
    assert!((1.0..=500.0).contains(&executions), "{executions} calls for 500 records");
    assert_eq!(sum("handler_completions_total", &[]), Some(executions));
    assert_eq!(sum("handler_execution_duration_seconds_count", &[]), Some(executions));
    assert_eq!(sum("handler_active_count", &[]), Some(0.0));
    let completions: BTreeSet<_> = label_values(&metrics, "handler_completions_total", "status");
    assert_eq!(completions, BTreeSet::from(["complete", "partial", "failed"].map(str::to_owned)));
    let errors = label_values(&metrics, "handler_errors_total", "error_type");
    assert_eq!(errors, BTreeSet::from(ERROR_TYPES.map(str::to_owned)));
    assert_eq!(sum("handler_errors_total", &[("error_type", "rejected")]), Some(50.0));
    assert_eq!(sum("handler_errors_total", &[]), Some(50.0));

    // The same snapshot feeds the JSON.
    let status = host.status();
    let totals = &status["pipelines"][0]["totals"];
    assert_eq!((totals["succeeded"].as_u64(), totals["failed"].as_u64()), (Some(450), Some(50)), "{status}");
    assert_eq!(host.terminate().code, 0);
}

fn label_values(metrics: &sandmill_tests::metrics::Scrape, name: &str, label: &str) -> BTreeSet<String> {
    metrics.matching(name, &[]).filter_map(|series| series.labels.get(label).cloned()).collect()
}

#[test]
fn the_metrics_guide_lists_exactly_what_a_scrape_shows() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/METRICS.md");
    let text = std::fs::read_to_string(&guide).expect("the guide is there");
    let listed: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| {
            let mut columns = line.strip_prefix("| `")?.split('|');
            let name = columns.next()?.split('`').next()?;
            Some((name.to_owned(), columns.next()?.trim().to_owned()))
        })
        .filter(|(name, _)| ["consumer_", "handler_", "sandmill_"].iter().any(|p| name.starts_with(p)))
        .collect();

    let kafka = Kafka::shared();
    // A pipeline that may ask servers has all of them.
    let job = Job::new(kafka, &guest("echo"), 1).dead_letters(0).set_in(
        "allow",
        "http",
        r#"["http://127.0.0.1:1"]"#,
    );
    Producer::new(kafka).send(&job.input, &over_keys(10, 2, |_| b"value".to_vec()));
    let mut host = job.start();
    job.await_done(&mut host);
    assert_eq!(listed, *host.metrics().families(), "docs/METRICS.md (left) and a scrape (right) differ");
}

#[test]
fn switched_off_it_opens_no_socket_and_on_exactly_one() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("echo"), 1);
    let producer = Producer::new(kafka);
    producer.send(&job.input, &over_keys(10, 2, |_| b"value".to_vec()));
    let handler = guest("echo");
    let run = |listen: &str| {
        let bootstrap = kafka.bootstrap();
        job.home.spawn(&[
            Path::new("run"),
            &handler,
            Path::new("--brokers"),
            Path::new(&bootstrap),
            Path::new("--input"),
            Path::new(&job.input),
            Path::new("--output"),
            Path::new(&job.output),
            Path::new("--group"),
            Path::new(&job.group),
            Path::new("--listen"),
            Path::new(listen),
        ])
    };
    let mut host = run("off");
    job.await_done(&mut host);
    assert!(host.listening_sockets().is_empty(), "a socket is open though HTTP is off");
    assert_eq!(host.terminate().code, 0);

    let mut host = run("127.0.0.1:0");
    host.wait_ready();
    assert_eq!(host.listening_sockets().len(), 1);
    assert_eq!(host.get("/healthz").map(|(status, _)| status), Some(200));
    assert_eq!(host.get("/nothing-here").map(|(status, _)| status), Some(404));
    assert_eq!(host.terminate().code, 0);
}
