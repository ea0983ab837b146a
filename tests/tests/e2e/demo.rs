//! The tour that an installed binary gives of itself, and the broker inside the process.

use std::time::Duration;

use sandmill_tests::guests::guest;
use sandmill_tests::host::Home;

#[test]
fn the_demo_counts_the_known_statuses_and_says_so_on_one_line() {
    let ended = Home::new().run(&["demo", "--json", "--listen", "off"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.stdout.trim_end().lines().count(), 1, "{}", ended.stdout);
    let shown: serde_json::Value = serde_json::from_str(&ended.stdout).expect("one JSON object");
    let statuses = serde_json::json!({
        "200": 9126, "304": 445, "404": 213, "301": 164, "206": 45, "500": 3, "403": 2, "416": 2
    });
    assert_eq!(shown["statuses"], statuses);
    for (key, value) in [("records", 10_000), ("outputs", 10_000), ("failed", 0), ("lag", 0), ("gaps", 0)] {
        assert_eq!(shown[key], value, "{key}");
    }
    assert!(shown["seconds"].as_f64() > Some(0.0) && shown["records_per_second"].as_f64() > Some(0.0));
    assert!(shown["latency_seconds"]["p50"].is_f64() && shown["latency_seconds"]["p99"].is_f64());
}

#[test]
fn lines_that_are_none_are_counted_as_failed() {
    let home = Home::new();
    let log = home.file("mixed.log", "no log line\n");
    let ended = home.run(&["demo", "--exit", "--listen", "off", "--input", log.to_str().expect("text")]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("1 records in, 0 out, 1 failed"), "{}", ended.stdout);
    assert!(ended.stdout.contains("access-dlq"), "{}", ended.stdout);
}

#[test]
fn a_broker_inside_the_process_serves_a_pipeline() {
    let echo = guest("echo");
    let arguments = [
        "run",
        echo.to_str().expect("text"),
        "--embedded-broker",
        "--input",
        "in",
        "--output",
        "out",
        "--listen",
        "127.0.0.1:0",
    ];
    let mut host = Home::new().spawn_with(&arguments, &[("SANDMILL_LOG", "sandmill=debug")]);
    host.wait_ready();
    host.wait_until("all partitions are assigned", Duration::from_secs(30), |host| {
        host.metrics().sum("consumer_parallel_lag", &[("topic", "in")]) == Some(0.0)
    });
    assert!(!host.log().contains("limits of topics are not known"), "it waited for what nobody answers");
    assert!(host.printed().starts_with("embedded broker at 127.0.0.1:"), "{}", host.printed());
    let ended = host.terminate();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}
