//! The smoke run: every part that needs no peer, with 1,000 records. It says whether the ladder works; its rates
//! mean nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Parts with the numbers that their rows must have, and how many rows there are.
const PARTS: [(&str, &str, usize); 14] = [
    ("noop", "records_per_second", 6),
    ("parse", "records_per_second", 4),
    ("parse-output", "records_per_second", 4),
    ("sweep", "records_per_second", 4),
    ("cpu", "records_per_second", 2),
    ("wait", "records_per_second", 3),
    ("poison", "records_per_second", 3),
    ("metrics", "cpu_ns_per_record", 2),
    ("latency", "p99_ms", 6),
    ("skew", "p99_ms", 3),
    ("memory", "bytes_each", 2),
    ("flat", "rss_bytes", 1),
    ("start", "first_output_ms", 2),
    ("metadata", "metadata_chars", 6),
];

/// Rows of open loops that say what is offered to the others.
const MAXIMUM: &str = "maximum";

#[test]
fn every_part_without_peers_runs_and_checks_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("smoke.json");
    let output = ladder(&["--smoke", "--output"], &file);
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{errors}\n{said}");

    let results: Value = serde_json::from_slice(&std::fs::read(&file).expect("a result")).expect("JSON");
    for (name, number, rows) in PARTS {
        let part = part(&results, name);
        let found = part["rows"].as_array().expect("rows");
        assert_eq!(
            found.len(),
            rows,
            "{name}: {:?}",
            found.iter().map(|row| &row["name"]).collect::<Vec<_>>()
        );
        for row in found.iter().filter(|row| row["name"] != MAXIMUM) {
            assert_eq!(row["failed"], Value::Null, "{name}");
            let values = row["numbers"][number].as_array().unwrap_or_else(|| panic!("{name}: {row}"));
            assert_eq!(values.len(), 1, "{name}: one pass");
            assert!(values.iter().all(|value| value.as_f64().is_some_and(f64::is_finite)), "{name}: {row}");
            assert_eq!(row["raw"].as_array().map(Vec::len), Some(1), "{name}");
        }
    }
    let topic = &part(&results, "noop")["topics"][0];
    assert_eq!((topic["records"].as_u64(), topic["partitions"].as_u64()), (Some(1_000), Some(8)));
    for condition in ["tree", "kafka", "librdkafka", "java", "host_sha256"] {
        let found = results["sessions"][0][condition].as_str();
        assert!(found.is_some_and(|text| !text.is_empty()), "{condition}");
    }
    assert_eq!(results["left_out"].as_object().map(serde_json::Map::len), Some(4));
    assert!(said.contains("| no-op, key order, Zipf keys: wasm / raw poll loop | ≥ 0.9 |"), "{said}");
    let chart = file.with_extension("charts").join("noop.svg");
    assert!(std::fs::read_to_string(chart).is_ok_and(|svg| svg.starts_with("<svg")));

    // Everything but what never ran is there: nothing remains.
    let again = ladder(&["--smoke", "--resume", "--output"], &file);
    assert!(!again.status.success());
    assert!(text(&again.stderr).contains("nothing remains to be measured"), "{}", text(&again.stderr));
}

#[test]
fn a_contender_that_fails_is_told_and_ends_nothing_but_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("failing.json");
    // A program that is none of the protocol, in the place of the plain Java loop.
    let parts = ["--smoke", "--only", "metadata,noop", "--skip", "confluent,raw,native"];
    let output = ladder(&[&parts[..], &["--peer", "java=/nowhere/peers.jar", "--output"]].concat(), &file);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("FAILED: noop: plain Java loop"), "{errors}");
    let results: Value = serde_json::from_slice(&std::fs::read(&file).expect("a result")).expect("JSON");
    let rows: BTreeMap<&str, &Value> = part(&results, "noop")["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| Some((row["name"].as_str()?, &row["failed"])))
        .collect();
    assert!(
        rows["plain Java loop"].as_str().is_some_and(|reason| reason.contains("/nowhere/peers.jar")),
        "{rows:?}"
    );
    assert_eq!(rows["wasm"], &Value::Null);
    assert_eq!(part(&results, "metadata")["rows"][0]["failed"], Value::Null);
}

fn ladder(arguments: &[&str], output: &Path) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_ladder"))
        .args(arguments)
        .arg(output)
        .output()
        .expect("the ladder starts")
}

fn part<'a>(results: &'a Value, name: &str) -> &'a Value {
    let parts = results["parts"].as_array().expect("parts");
    parts.iter().find(|part| part["name"] == name).unwrap_or_else(|| panic!("no part {name}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
