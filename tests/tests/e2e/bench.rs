//! `sandmill bench`: small runs of all levels, and every way to a clear end.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sandmill_tests::guests::guest;
use sandmill_tests::host::{Ended, Home};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::producer::{Outgoing, Producer};
use serde_json::Value;

/// For the longest of these runs, on a machine that does other things as well.
const LONG: Duration = Duration::from_secs(180);
/// What every topic that `bench` makes begins with.
const MADE: &str = "sandmill-bench";

fn bench(home: &Home, arguments: &[&str]) -> Ended {
    home.spawn(&[&["bench"], arguments].concat()).end(LONG)
}

fn result(ended: &Ended) -> Value {
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
}

/// The topic that a run made, from what it told.
fn made(stderr: &str) -> String {
    let (_, rest) = stderr.split_once("filling topic \"").expect("it told what it fills");
    rest.split('"').next().expect("the name ends").to_owned()
}

#[test]
fn all_levels_read_parse_and_write_the_same_records() {
    let (kafka, home) = (Kafka::shared(), Home::new());
    let file = home.path().join("saved.json");
    let ended = bench(
        &home,
        &[
            "--brokers",
            &kafka.bootstrap(),
            "--workload",
            "parse",
            "--output",
            "--records",
            "1000",
            "--repetitions",
            "1",
            "--json",
            "--save",
            file.to_str().expect("the path is text"),
        ],
    );
    let result = result(&ended);
    assert_eq!(serde_json::from_str::<Value>(&fs::read_to_string(&file).expect("saved")).unwrap(), result);

    let topic = &result["topic"];
    assert_eq!((&topic["records"], &topic["partitions"]), (&1_000.into(), &8.into()));
    assert_eq!(topic["parsed"]["records"], 1_000);
    for key in ["date", "sandmill", "librdkafka", "wasmtime", "cpu", "program_sha256"] {
        assert!(result["conditions"][key].as_str().is_some_and(|text| !text.is_empty()), "{key}");
    }
    let settings = &result["settings"];
    assert_eq!((&settings["brokers"], &settings["workload"]), (&kafka.bootstrap().into(), &"parse".into()));
    assert_eq!((&settings["ordering"], &settings["batch"]), (&"key".into(), &256.into()));

    let levels = result["levels"].as_array().expect("a list");
    let names: Vec<_> = levels.iter().map(|level| level["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["raw-poll", "raw-batch", "copy", "native", "wasm"]);
    for level in levels {
        let name = &level["name"];
        let runs = level["repetitions"].as_array().expect("a list");
        assert_eq!(runs.len(), 1);
        for run in runs.iter().chain([&level["warm_up"]]) {
            assert_eq!(run["records"], 1_000, "{name}");
            assert!(
                run["seconds"].as_f64() > Some(0.0) && run["peak_rss_bytes"].as_u64() > Some(0),
                "{name}"
            );
            let end = if name.as_str().is_some_and(|name| name.starts_with("raw")) {
                "last-record"
            } else {
                "broker"
            };
            assert_eq!(run["clock_end"], end, "{name}");
        }
        for key in ["records_per_second", "of_raw_poll"] {
            let spread = &level[key];
            assert!(spread["median"].as_f64() > Some(0.0) && spread["min"] == spread["max"], "{name}: {key}");
        }
    }
    assert_eq!(levels[0]["of_raw_poll"]["median"], 1.0);
    // Native and wasm are the whole host, with and without a sandbox.
    let details = |at: usize, key: &str| levels[at]["repetitions"][0]["details"][key].clone();
    assert_eq!((details(3, "handler_version"), details(3, "fuel_per_record")), ("native".into(), 0.0.into()));
    assert!(details(4, "fuel_per_record").as_f64() > Some(100.0));

    let topic = made(&ended.stderr);
    assert!(topic.starts_with(MADE));
    assert_gone(kafka, &topic);
    let groups = kafka.tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &["--list"]);
    let left = format!("{MADE}-");
    // Groups are named by the process that made them; others of this test run live beside.
    let process = topic.rsplit('-').nth(1).expect("the name holds the process");
    let ours = |group: &&str| group.starts_with(&left) && group.contains(&format!("-{process}-"));
    assert_eq!(groups.lines().filter(ours).collect::<Vec<_>>(), Vec::<&str>::new());
}

/// A deleted topic goes a moment later.
fn assert_gone(kafka: &Kafka, topic: &str) {
    let gone = || kafka.partitions(topic).is_none_or(|partitions| partitions == 0);
    sandmill_tests::wait::wait_until(&format!("topic {topic} is gone"), Duration::from_secs(20), gone);
}

#[test]
fn without_brokers_one_inside_the_process_serves_and_a_table_comes_out() {
    let ended = bench(&Home::new(), &["--records", "1000", "--repetitions", "1"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for level in ["raw-poll", "raw-batch", "native", "wasm"] {
        assert!(ended.stdout.contains(&format!("│ {level} ")), "{}", ended.stdout);
    }
    assert!(!ended.stdout.contains("│ copy "), "noop writes nothing\n{}", ended.stdout);
    assert!(ended.stdout.contains("1,000 records in 8 partitions"), "{}", ended.stdout);
    assert!(ended.stdout.contains("mean little") && ended.stderr.contains("mean little"), "{}", ended.stdout);
}

#[test]
fn ones_own_handler_reads_ones_own_topic_and_leaves_it() {
    let (kafka, home) = (Kafka::shared(), Home::new());
    let (input, output) = (kafka.new_topic("bench-own", 2), kafka.new_topic("bench-own-out", 2));
    let records: Vec<_> =
        (0..100).map(|n| Outgoing::keyed(format!("k{}", n % 7), format!("value {n}"))).collect();
    Producer::new(kafka).send(&input, &records);
    let echo = guest("echo");
    let arguments = [
        "--brokers",
        &kafka.bootstrap(),
        "--module",
        echo.to_str().expect("the path is text"),
        "--topic",
        &input,
        "--output",
        &output,
        "--repetitions",
        "1",
        "--skip",
        "raw-batch",
        "--json",
    ];
    let result = result(&bench(&home, &arguments));
    let names: Vec<_> = result["levels"].as_array().unwrap().iter().map(|level| &level["name"]).collect();
    assert_eq!(names, ["raw-poll", "wasm"]);
    assert_eq!((&result["topic"]["records"], &result["topic"]["keys"]), (&100.into(), &7.into()));
    // One run to warm up and one that counts, each with an output for every record.
    assert_eq!((kafka.offsets_in(&input), kafka.offsets_in(&output)), (100, 200));
}

#[test]
fn a_run_that_stalls_ends_with_an_error_that_says_where() {
    let (kafka, home) = (Kafka::shared(), Home::new());
    let wait = guest("wait");
    let begun = Instant::now();
    let ended = bench(
        &home,
        &[
            "--brokers",
            &kafka.bootstrap(),
            "--module",
            wait.to_str().expect("the path is text"),
            "--records",
            "10",
            "--partitions",
            "1",
            "--levels",
            "wasm",
            "--stall",
            "2s",
            "--set",
            "pipeline.config.ms=3600000",
            "--set",
            "pipeline.limits.deadline=1h",
        ],
    );
    assert!(begun.elapsed() < Duration::from_secs(60), "it hung");
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    for part in [
        "wasm stalled: nothing moved for 2s at 0 of 10 records",
        "committed: partition 0 at 0 of 10",
        "it waits: partition 0 for offset 0 (handler, attempt 1)",
    ] {
        assert!(ended.stderr.contains(part), "{part}\n{}", ended.stderr);
    }
    assert_gone(kafka, &made(&ended.stderr));
}

#[test]
fn a_handler_that_fails_ends_the_run_with_its_reason() {
    let (kafka, home) = (Kafka::shared(), Home::new());
    let trap = guest("hostile_trap");
    let arguments = [
        "--brokers",
        &kafka.bootstrap(),
        "--module",
        trap.to_str().expect("the path is text"),
        "--records",
        "10",
        "--levels",
        "wasm",
        "--set",
        "pipeline.on_failure.retries=0",
        "--set",
        "pipeline.config.when=always",
    ];
    let begun = Instant::now();
    let ended = bench(&home, &arguments);
    assert!(begun.elapsed() < Duration::from_secs(30), "it waited for a stall");
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("wasm ended with exit status: 1 after 0 of 10 records"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("halted at") && ended.stderr.contains("trap"), "{}", ended.stderr);
}

#[test]
fn an_interrupt_stops_the_levels_and_removes_the_topic() {
    let (kafka, home) = (Kafka::shared(), Home::new());
    let arguments = ["bench", "--brokers", &kafka.bootstrap(), "--records", "20000", "--repetitions", "1000"];
    let mut host = home.spawn(&arguments);
    host.wait_for_log("to warm up: wasm", LONG);
    let topic = made(&host.log());
    host.signal(Signal::INT);
    let ended = host.end(Duration::from_secs(60));
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("interrupted: there is no result"), "{}", ended.stderr);
    assert_gone(kafka, &topic);
    assert_eq!(readers_of(&topic), Vec::<String>::new());
}

/// Processes that have this word among their arguments.
fn readers_of(topic: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("there is a /proc").flatten();
    let lines = processes.filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(topic)).collect()
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let home = Home::new();
    for (arguments, reason) in [
        (&["--levels", "copy"][..], "level copy cannot run: it parses and writes"),
        (&["--levels", "raw"], "invalid value 'raw'"),
        (&["--output"], "workload noop writes nothing"),
        (&["--module", "/nowhere.wasm"], "cannot read /nowhere.wasm"),
        (&["--levels", "native", "--module", "/nowhere.wasm"], "level native cannot run"),
        (&["--levels", "wasm", "--skip", "wasm"], "no level is left"),
        (&["--topic", "t", "--records", "5"], "cannot be used with"),
        (&["--repetitions", "0"], "0 is not in 1.."),
        (&["--stall", "soon"], "invalid value 'soon'"),
        (&["-X", "acks"], "write it as NAME=VALUE"),
        (&["-X", "sasl.pasword=x"], "did you mean \"sasl.password\""),
        (&["--set", "pipeline.no_such=1"], "unknown key"),
    ] {
        let ended = home.run(&[&["bench"], arguments].concat());
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stdout.is_empty(), "{arguments:?}: {}", ended.stdout);
    }
}

#[test]
fn what_is_not_there_is_named() {
    let (kafka, home) = (Kafka::shared(), Home::new());
    let ended = bench(&home, &["--brokers", &kafka.bootstrap(), "--topic", "no-such-topic"]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot look up topic \"no-such-topic\""), "{}", ended.stderr);
    let ended = bench(&home, &["--brokers", "127.0.0.1:1"]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot reach a broker at 127.0.0.1:1"), "{}", ended.stderr);
}

#[test]
fn a_topic_that_does_not_hold_lines_is_refused_for_parsing() {
    let kafka = Kafka::shared();
    let topic = kafka.new_topic("bench-no-lines", 1);
    Producer::new(kafka).send(&topic, &[Outgoing::keyed("k", "no line")]);
    let arguments = ["--brokers", &kafka.bootstrap(), "--topic", &topic, "--workload", "parse"];
    let ended = bench(&Home::new(), &arguments);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("the record at 0/0 is no line of an access log"), "{}", ended.stderr);
}

#[test]
fn a_contender_whose_parent_is_gone_ends() {
    let kafka = Kafka::shared();
    let topic = kafka.new_topic("bench-orphan", 1);
    Producer::new(kafka).send(&topic, &[Outgoing::keyed("k", "v")]);
    for level in ["raw-poll", "raw-batch", "native", "wasm"] {
        // Standard input is empty, and more records are promised than there are.
        let arguments = [
            "bench-contender",
            "--level",
            level,
            "--brokers",
            &kafka.bootstrap(),
            "--topic",
            &topic,
            "--group",
            &format!("orphan-{level}"),
            "--records",
            "2",
            "--workload",
            "noop",
        ];
        let ended = Home::new().run(&arguments);
        assert_eq!(ended.code, 1, "{level}: {}", ended.stderr);
        assert!(ended.stderr.contains("interrupted"), "{level}: {}", ended.stderr);
    }
}
