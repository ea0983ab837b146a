//! The harness keeps its own promises: what the other tests conclude rests on them.

use std::time::Duration;

use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::{Ledger, Order, over_keys};
use sandmill_tests::producer::{Outgoing, Producer};
use sandmill_tests::wait::wait_until;

#[test]
fn records_are_read_back_as_they_were_produced() {
    let kafka = Kafka::shared();
    let topic = kafka.new_topic("harness-shapes", 2);
    let records = [
        Outgoing {
            partition: Some(1),
            timestamp: Some(1_700_000_000_123),
            ..Outgoing::keyed("k", [0xff, 0])
        },
        Outgoing { partition: Some(1), ..Outgoing::default() },
        Outgoing {
            partition: Some(0),
            key: Some(Vec::new()),
            value: Some(Vec::new()),
            headers: vec![("a".into(), Some(b"1".to_vec())), ("a".into(), None), ("b".into(), Some(vec![]))],
            timestamp: Some(7),
        },
    ];
    let places = Producer::new(kafka).send(&topic, &records);
    let read = kafka.read_all(&topic);
    assert_eq!(read.len(), 3);
    for (record, place) in records.iter().zip(places) {
        let found = read.iter().find(|r| r.partition == place.partition && r.offset == place.offset).unwrap();
        assert_eq!((&found.key, &found.value, &found.headers), (&record.key, &record.value, &record.headers));
        if record.timestamp.is_some() {
            assert_eq!(found.timestamp, record.timestamp);
        }
    }
}

#[test]
fn ten_thousand_records_over_eight_partitions_pass_the_ledger() {
    let kafka = Kafka::shared();
    let topic = kafka.new_topic("harness-many", 8);
    let mut ledger = Ledger::default();
    ledger.produce(&Producer::new(kafka), &topic, over_keys(10_000, 100, |_| b"value".to_vec()));
    ledger.compare(&[&kafka.read_all(&topic)], Order::Partition).assert_exact();
    assert!(kafka.committed("harness-nobody", &topic).is_empty());
}

#[test]
fn a_killed_and_a_stopped_node_come_back_with_their_records() {
    let kafka = Kafka::start(1);
    kafka.create_topic("kept", 1, &[]);
    let producer = Producer::new(&kafka);
    producer.send("kept", &[Outgoing::keyed("a", "1")]);
    kafka.kill(0);
    kafka.start_node(0);
    producer.send("kept", &[Outgoing::keyed("a", "2")]);
    kafka.stop(0);
    kafka.start_node(0);
    kafka.pause(0);
    kafka.resume(0);
    wait_until("both records are there", Duration::from_secs(20), || kafka.read_all("kept").len() == 2);
}

#[test]
fn three_nodes_keep_serving_without_one() {
    let kafka = Kafka::fragile();
    let topic = kafka.new_topic("copied", 3);
    let producer = Producer::new(&kafka);
    producer.send(&topic, &over_keys(100, 10, |_| b"value".to_vec()));
    kafka.kill(2);
    producer.send(&topic, &over_keys(100, 10, |_| b"value".to_vec()));
    kafka.start_node(2);
    assert_eq!(kafka.read_all(&topic).len(), 200);
}
