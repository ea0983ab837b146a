//! The watch over a contender, with contenders that a shell plays and a broker inside the process.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::measure::Run;
use super::*;
use crate::config::Ordering;
use crate::kafka::EmbeddedBroker;

const LINES: [(&str, &str); 3] = [
    ("a", r#"a - - [17/May/2015:10:05:03 +0000] "GET /1 HTTP/1.1" 200 1 "-" "x""#),
    ("b", r#"b - - [17/May/2015:10:05:04 +0000] "GET /2 HTTP/1.1" 200 2 "-" "x""#),
    ("a", r#"a - - [17/May/2015:10:05:05 +0000] "GET /3 HTTP/1.1" 200 3 "-" "x""#),
];

/// A broker with a topic of three lines.
struct Place {
    broker: EmbeddedBroker,
    cluster: Cluster,
    topic: Topic,
}

impl Place {
    fn new() -> Self {
        let broker = EmbeddedBroker::start().unwrap();
        broker.create_topic("in", 1).unwrap();
        let records: Vec<_> =
            (100..).zip(LINES).map(|(at, (key, line))| (key, line.to_owned(), at)).collect();
        produce(&broker, "in", &records);
        let cluster = Cluster::connect(&broker.bootstrap_servers(), &BTreeMap::new()).unwrap();
        let topic = cluster.survey("in", true).unwrap();
        Self { broker, cluster, topic }
    }

    fn job(&self) -> Job {
        let mut job = Job::new(self.broker.bootstrap_servers(), self.topic.clone(), Work::Noop);
        job.stall = Duration::from_millis(300);
        job
    }

    fn run(&self, script: &str) -> Result<Measurement, Error> {
        measure(&shell(script), &self.job())
    }

    fn error(&self, script: &str) -> String {
        self.run(script).expect_err(script).to_string()
    }

    /// `done` as it would be right, with `more` in it.
    fn done(&self, more: &str) -> String {
        let Topic { records, bytes, .. } = self.topic;
        format!(
            r#"echo '{{"event":"done","unix_us":2000000,"records":{records},"bytes":{bytes},"where":{{"0":3}}{more}}}'"#
        )
    }
}

/// Records of key, value and timestamp, in order.
fn produce(broker: &EmbeddedBroker, topic: &str, records: &[(&str, String, i64)]) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", broker.bootstrap_servers()).create().unwrap();
    for (key, value, timestamp) in records {
        let record = BaseRecord::to(topic).key(*key).payload(value).timestamp(*timestamp);
        assert!(producer.send(record).is_ok());
    }
    producer.flush(Duration::from_secs(20)).unwrap();
}

fn shell(script: &str) -> Contender {
    // What follows are the arguments of the protocol, which are the script's own.
    let arguments = vec!["-c".to_owned(), script.to_owned()];
    Contender { name: "shell".to_owned(), program: "sh".into(), arguments, ..Contender::default() }
}

const FIRST: &str = r#"echo '{"event":"first","unix_us":1000000}'; "#;
/// Ends with its standard input, as the protocol asks.
const WAIT: &str = "; read -r _";

#[test]
fn a_right_run_is_measured() {
    let place = Place::new();
    let script = format!("{FIRST}{}{WAIT}; exit 0", place.done(r#","commits":false,"details":{"jvm":"17"}"#));
    let run = place.run(&script).unwrap();
    assert_eq!((run.records, run.seconds, run.records_per_second), (3, 1.0, 3.0));
    assert_eq!((run.clock_end, &run.details["jvm"]), (ClockEnd::LastRecord, &"17".into()));
    assert!(run.peak_rss_bytes > 0 && run.cpu.window_seconds > 0.0);
}

#[test]
fn one_that_moves_nothing_is_killed_and_told_where_it_stood() {
    let place = Place::new();
    let progress = r#"echo '{"event":"progress","records":0,"note":"the moon"}'; sleep 0.05"#;
    let begun = Instant::now();
    let error = place.error(&format!("echo began >&2; while :; do {progress}; done"));
    assert!(begun.elapsed() < Duration::from_secs(10), "it was not killed");
    for part in [
        "shell stalled: nothing moved for 300ms at 0 of 3 records",
        "it never took a first record",
        "committed: partition 0 at nowhere of 3",
        "it waits: the moon",
        "began",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn one_that_moves_slowly_is_left_alone() {
    let place = Place::new();
    let steps: String =
        (1..=5).map(|n| format!(r#"sleep 0.15; echo '{{"event":"progress","records":{n}}}'; "#)).collect();
    let script = format!("{FIRST}{steps}{}{WAIT}; exit 0", place.done(r#","commits":false"#));
    assert_eq!(place.run(&script).unwrap().records, 3);
}

#[test]
fn one_that_ends_early_is_told_with_its_last_words() {
    let place = Place::new();
    let error = place.error(&format!("{FIRST} echo 'no such record: 0/2' >&2; exit 7"));
    assert!(error.contains("exit status: 7 after 0 of 3 records"), "{error}");
    assert!(error.contains("no such record: 0/2"), "{error}");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let contender = Contender { program: "/nowhere/at-all".into(), ..shell("") };
    let error = measure(&contender, &Place::new().job()).unwrap_err().to_string();
    assert!(error.contains("cannot be started") && error.contains("/nowhere/at-all"), "{error}");
}

#[test]
fn what_is_no_event_is_shown() {
    let error = Place::new().error("echo 'Picked up JAVA_TOOL_OPTIONS'; read -r _");
    assert!(error.contains("does not speak the protocol") && error.contains("Picked up"), "{error}");
}

#[test]
fn a_claim_that_the_broker_does_not_bear_out_is_an_error() {
    let place = Place::new();
    let done = |records: u64, bytes: u64, at: i64, more: &str| {
        let line = format!(
            r#"{{"event":"done","unix_us":2000000,"records":{records},"bytes":{bytes},"where":{{"0":{at}}}{more}}}"#
        );
        place.error(&format!("{FIRST} echo '{line}'{WAIT}; exit 0"))
    };
    let (bytes, none) = (place.topic.bytes, r#","commits":false"#);
    assert!(done(2, bytes, 3, none).contains("it read 2 records"));
    assert!(done(3, bytes - 1, 3, none).contains(&format!("and topic \"in\" holds 3 of {bytes}")));
    assert!(done(3, bytes, 2, none).contains("stands before the end: partition 0 at 2 of 3"));
    assert!(done(3, bytes, 3, "").contains("no commit of the end: partition 0 at nowhere of 3"));
    let error = place.error(&format!("{}{WAIT}; exit 0", place.done(none)));
    assert!(error.contains("never said when its first record came"), "{error}");
    let error = place.error(&format!("{FIRST}{}{WAIT}; echo oh >&2; exit 3", place.done(none)));
    assert!(error.contains("then ended with exit status: 3") && error.contains("oh"), "{error}");
}

#[test]
fn an_interrupt_ends_it() {
    let place = Place::new();
    let job = Job { stall: Duration::from_secs(60), ..place.job() };
    let interrupt = job.interrupt.clone();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| measure(&shell("read -r _"), &job));
        interrupt.store(true, Relaxed);
        assert!(matches!(run.join().unwrap(), Err(Error::Interrupted)));
    });
}

/// What `parse` has to write for the three lines.
fn parsed() -> Vec<(&'static str, String, i64)> {
    let json = |line: &str| {
        let mut json = Vec::new();
        native::access_log::to_json(Some(line.as_bytes()), &mut json).unwrap();
        String::from_utf8(json).unwrap()
    };
    (100..).zip(LINES).map(|(at, (key, line))| (key, json(line), at)).collect()
}

#[test]
fn outputs_are_held_against_the_inputs() {
    let place = Place::new();
    let right = parsed();
    let swapped = |one: usize, other: usize| {
        let mut records = right.clone();
        records.swap(one, other);
        records
    };
    let mut other_time = right.clone();
    other_time[1].2 = 7;
    let (by_key, by_partition) = (swapped(0, 2), swapped(0, 1));
    let cases = [
        (Ordering::Partition, right.clone(), None),
        (Ordering::Key, by_partition.clone(), None),
        (Ordering::Unordered, by_key.clone(), None),
        (Ordering::Partition, by_partition, Some("another order")),
        (Ordering::Key, by_key, Some("another order")),
        (Ordering::Unordered, right[..2].to_vec(), Some("got 2 records instead of 3")),
        (Ordering::Unordered, other_time, Some("key, value or timestamp differs")),
    ];
    for (number, (ordering, records, problem)) in cases.into_iter().enumerate() {
        let output = format!("out-{number}");
        place.broker.create_topic(&output, 1).unwrap();
        // What stood there before does not count.
        produce(&place.broker, &output, &[("old", "old".to_owned(), 1)]);
        let before = place.cluster.ends(&output).unwrap();
        produce(&place.broker, &output, &records);
        let job = Job { ordering, workload: Work::Parse, ..place.job() };
        let contender = shell("");
        let run = Run::new(&contender, &job, &place.cluster, "g");
        let result = run.check_outputs(&output, &before).map_err(|error| error.to_string());
        match problem {
            None => assert_eq!(result, Ok(()), "case {number}"),
            Some(problem) => {
                assert!(result.as_ref().is_err_and(|error| error.contains(problem)), "{result:?}")
            }
        }
    }
}

#[test]
fn a_topic_is_surveyed_as_it_stands() {
    let Place { topic, .. } = Place::new();
    let bytes: usize = LINES.iter().map(|(key, line)| key.len() + line.len()).sum();
    assert_eq!((topic.records, topic.bytes, topic.keys), (3, bytes as u64, 2));
    assert_eq!(topic.ends, BTreeMap::from([(0, 3)]));
    assert!((topic.busiest_key_share - 2.0 / 3.0).abs() < 1e-9);
}

#[test]
fn a_topic_of_other_records_has_no_sums_of_lines() {
    let place = Place::new();
    place.broker.create_topic("other", 1).unwrap();
    produce(&place.broker, "other", &[("k", LINES[0].1.to_owned(), 1), ("k", "no line".to_owned(), 2)]);
    let error = place.cluster.survey("other", true).unwrap_err().to_string();
    assert!(error.contains("the record at 0/1 is no line of an access log"), "{error}");
    assert_eq!(place.cluster.survey("other", false).unwrap().parsed, None);
    place.broker.create_topic("empty", 1).unwrap();
    assert!(place.cluster.survey("empty", false).unwrap_err().to_string().contains("it is empty"));
}

#[test]
fn a_topic_is_filled_with_what_was_asked_for() {
    let place = Place::new();
    place.broker.create_topic("fill", 4).unwrap();
    let content = Content::Random { value_bytes: 10, keys: Keys::Uniform(5) };
    let fill =
        Fill { name: "fill".to_owned(), partitions: 4, copies: None, records: 500, content, parsed: false };
    let mut told = 0;
    let topic = place
        .cluster
        .fill_existing(&fill, |records| {
            told = records;
            true
        })
        .unwrap();
    assert_eq!((topic.records, topic.keys, topic.partitions, told), (500, 5, 4, 500));
    assert_eq!(topic.bytes, 500 * (10 + "key-0000".len() as u64));
    let interrupted = place.cluster.fill_existing(&fill, |_| false);
    assert!(matches!(interrupted, Err(Error::Interrupted)));
    // Twice as many stand there now as were asked for.
    let more = place.cluster.fill_existing(&fill, |_| true).unwrap_err().to_string();
    assert!(more.contains("was filled with 500 records and holds"), "{more}");
}
