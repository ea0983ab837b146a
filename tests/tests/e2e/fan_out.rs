//! One input, several output topics, and two pipelines in one host.

use std::collections::BTreeMap;

use sandmill_tests::access_log;
use sandmill_tests::guests::guest;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::producer::{Outgoing, Producer};

#[test]
fn status_classes_go_to_topics_of_their_own_with_keys_and_headers() {
    let kafka = Kafka::shared();
    let classes: Vec<String> =
        ["2xx", "3xx", "4xx", "5xx"].iter().map(|class| kafka.new_topic(class, 4)).collect();
    let outputs = classes.iter().map(|topic| format!("{topic:?}")).collect::<Vec<_>>().join(", ");
    let fan = Job::new(kafka, &guest("fan_out"), 4).set("outputs", &format!("[{outputs}]"));
    let halts = Job::new(kafka, &guest("flaky"), 1).then("halt", 0);
    let producer = Producer::new(kafka);
    let records: Vec<Outgoing> = access_log::records()
        .into_iter()
        .map(|record| Outgoing { headers: vec![("kept".into(), Some(b"yes".to_vec()))], ..record })
        .collect();
    producer.send(&fan.input, &records);
    producer.send(&halts.input, &[Outgoing::keyed("k", "reject")]);

    let file = fan.home.file("two.toml", fan.file_of(&format!("{}\n{}", fan.pipeline(), halts.pipeline())));
    let mut host = fan.home.spawn(&["run", "--config", file.to_str().expect("text")]);
    host.wait_until("the other pipeline halted", DONE, |host| {
        host.metric("sandmill_pipeline_up", &[("pipeline", &halts.name)]) == 0.0
    });
    host.wait_until("every record was processed", DONE, |host| {
        host.metric("consumer_processed_total", &[("topic", &fan.input), ("status", "success")]) >= 10_000.0
    });
    let ended = host.terminate();
    assert_eq!(ended.code, 1, "one pipeline failed: {}", ended.stderr);
    assert_eq!(kafka.committed_offsets(&fan.group, &fan.input), kafka.ends(&fan.input));

    let read: Vec<_> = classes.iter().map(|topic| kafka.read_all(topic)).collect();
    let counts: BTreeMap<&str, usize> =
        ["2xx", "3xx", "4xx", "5xx"].into_iter().zip(read.iter().map(Vec::len)).collect();
    assert_eq!(counts["2xx"], 9_126 + 45);
    assert_eq!(counts["3xx"], 445 + 164);
    // The three of the server's own fault are failures as well.
    assert_eq!(counts["4xx"], 213 + 2 + 2 + 3);
    assert_eq!(counts["5xx"], 3);
    for record in read.iter().flatten() {
        assert!(record.key.is_some());
        assert_eq!(record.headers.first().map(|(name, _)| name.as_str()), Some("kept"));
    }
}
