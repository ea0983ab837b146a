//! Positions that the log does not have any more, or that mean other records now.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;
use sandmill::ids::Offset;
use sandmill::progress;
use sandmill_tests::guests::guest;
use sandmill_tests::host::Ended;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::{Committed, Kafka};
use sandmill_tests::ledger::{Ledger, Order, over_keys};
use sandmill_tests::producer::{Outgoing, Producer};
use sandmill_tests::reader::Record;
use sandmill_tests::wait::wait_until;

/// How long the broker may take to delete, to create again, to compact.
const BROKER: Duration = Duration::from_secs(60);

fn at(offset: i64) -> Committed {
    Committed { offset, metadata: String::new() }
}

/// Offsets of the inputs that came out: each record's value names its own.
fn offsets(outputs: &[Record]) -> Vec<usize> {
    let mut offsets: Vec<usize> =
        outputs.iter().map(|record| record.text().parse().expect("values are offsets")).collect();
    offsets.sort_unstable();
    offsets
}

/// Records of one partition whose values are their offsets.
fn numbered(count: usize) -> Vec<Outgoing> {
    over_keys(count, 10, |at| at.to_string().into_bytes())
}

fn run_until_done(job: &Job<'_>) -> Ended {
    let mut host = job.start();
    job.await_done(&mut host);
    let ended = host.terminate();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended
}

#[test]
fn retention_past_the_position_halts_and_says_so() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("echo"), 1);
    Producer::new(kafka).send(&job.input, &numbered(300));
    kafka.commit(&job.group, &job.input, 0, &at(100));
    kafka.delete_records(&job.input, 0, 200);
    let ended = job.start().end(DONE);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    for word in [job.input.as_str(), "on_offset_lost", "gone"] {
        assert!(ended.stderr.contains(word), "{word:?} is not in {}", ended.stderr);
    }
    assert!(job.outputs().is_empty());
    assert_eq!(kafka.committed_offsets(&job.group, &job.input)[&0], 100, "an operator decides, not the host");
}

#[test]
fn retention_past_the_position_goes_on_at_the_oldest_record_if_told_so() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("echo"), 1).set("on_offset_lost", "\"earliest\"");
    Producer::new(kafka).send(&job.input, &numbered(300));
    kafka.commit(&job.group, &job.input, 0, &at(100));
    kafka.delete_records(&job.input, 0, 200);
    let ended = run_until_done(&job);
    assert!(ended.stderr.contains("position reset"), "{}", ended.stderr);
    assert_eq!(offsets(&job.outputs()), (200..300).collect::<Vec<_>>());
}

#[test]
fn retention_past_the_position_goes_on_at_the_end_if_told_so() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("echo"), 1).set("on_offset_lost", "\"latest\"");
    let producer = Producer::new(kafka);
    producer.send(&job.input, &numbered(300));
    kafka.commit(&job.group, &job.input, 0, &at(100));
    kafka.delete_records(&job.input, 0, 200);
    let mut host = job.start();
    host.wait_for_log("position reset", DONE);
    job.await_done(&mut host);
    producer.send(&job.input, &[Outgoing::keyed("k", "300")]);
    job.await_done(&mut host);
    assert_eq!(host.terminate().code, 0);
    assert_eq!(offsets(&job.outputs()), [300]);
}

/// The metadata of the old topic names offsets that are other records now: taken for complete, they would be lost.
#[test]
fn metadata_of_a_topic_that_was_created_again_does_not_apply() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("flaky"), 1)
        .set("on_offset_lost", "\"earliest\"")
        .set_in("on_failure", "backoff", r#"{ first = "30s", max = "30s" }"#)
        .set_host("drain_timeout", "\"1s\"");
    let producer = Producer::new(kafka);
    let mut records = over_keys(10, 5, |_| b"ok".to_vec());
    records.push(Outgoing::keyed("slow", "retry:1:60000"));
    records.extend(over_keys(500, 50, |_| b"ok".to_vec()));
    producer.send(&job.input, &records);
    let mut host = job.start();
    host.wait_until("all other keys were done", DONE, |_| kafka.offsets_in(&job.output) >= 510);
    assert_eq!(host.terminate().code, 0);
    let old = kafka.committed(&job.group, &job.input)[&0].clone();
    let told = progress::decode(old.metadata.as_bytes(), Offset(10), 0).expect("a host wrote it");
    assert!(told.is_completed(Offset(510)), "the commit names what is complete: {old:?}");

    create_again(kafka, &job.input);
    commit_again(&job, &old);
    let before = job.outputs().len();
    let mut ledger = Ledger::default();
    ledger.produce(&producer, &job.input, over_keys(600, 50, |_| b"ok".to_vec()));
    let ended = run_until_done(&job);
    assert!(ended.stderr.contains("position reset"), "{}", ended.stderr);
    let new: Vec<Record> = job.outputs().into_iter().filter(|record| record.header("n").is_some()).collect();
    assert_eq!(job.outputs().len() - before, 600);
    ledger.compare(&[&new], Order::Key).assert_exact();
}

/// A host that was down meanwhile, or that committed in the new topic before it noticed: the offset exists, and is
/// the offset of a record that nobody has seen.
#[test]
fn a_host_that_starts_after_its_topic_was_created_again_does_not_go_on_at_the_old_offset() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("echo"), 1);
    let producer = Producer::new(kafka);
    producer.send(&job.input, &numbered(300));
    run_until_done(&job);
    let old = kafka.committed(&job.group, &job.input)[&0].clone();
    assert_eq!(old.offset, 300, "without a gap");
    create_again(kafka, &job.input);
    commit_again(&job, &old);
    producer.send(&job.input, &numbered(500));
    let before = job.outputs().len();

    // As often as it is started, until somebody decides.
    for start in 1..=2 {
        let ended = job.start().end(DONE);
        assert_eq!(ended.code, 1, "start {start}: {}", ended.stderr);
        for word in [&format!("{}/0", job.input), "on_offset_lost", "was deleted and created again"] {
            assert!(ended.stderr.contains(word), "start {start}: {word:?} is not in {}", ended.stderr);
        }
        assert_eq!(kafka.committed(&job.group, &job.input)[&0], old, "start {start} commits nothing");
        assert_eq!(job.outputs().len(), before, "start {start}");
    }

    // What an operator sets by hand counts, in whatever topic.
    kafka.commit(&job.group, &job.input, 0, &at(400));
    run_until_done(&job);
    assert_eq!(offsets(&job.outputs()[before..]), (400..500).collect::<Vec<_>>());

    let before = job.outputs().len();
    kafka.commit(&job.group, &job.input, 0, &old);
    let job = job.set("on_offset_lost", "\"earliest\"");
    run_until_done(&job);
    assert_eq!(offsets(&job.outputs()[before..]), (0..500).collect::<Vec<_>>());
}

/// Fewer records than the old topic had: the position does not exist. More: it does, among other records.
const CREATED_AGAIN_WITH: [usize; 2] = [100, 500];

#[test]
fn a_topic_created_again_under_a_running_host_halts_it() {
    for records in CREATED_AGAIN_WITH {
        let kafka = Kafka::shared();
        let job = Job::new(kafka, &guest("echo"), 1);
        let producer = Producer::new(kafka);
        producer.send(&job.input, &numbered(300));
        let mut host = job.start();
        job.await_done(&mut host);
        let first = kafka.committed(&job.group, &job.input)[&0].clone();
        // Asleep, so that it never sees the new topic empty.
        host.signal(Signal::STOP);
        create_again(kafka, &job.input);
        producer.send(&job.input, &numbered(records));
        host.signal(Signal::CONT);
        let ended = host.end(DONE);
        assert_eq!(ended.code, 1, "{records}: {}", ended.stderr);
        assert!(ended.stderr.contains("on_offset_lost"), "{records}: {}", ended.stderr);
        let told = ended.stderr.contains("was deleted and created again");
        assert!(told || records < 300, "only the topic's id tells: {}", ended.stderr);

        // Whatever it committed in the new topic before it noticed, nothing of that is skipped.
        let commit = kafka.committed(&job.group, &job.input).remove(&0);
        let old = commit.unwrap_or_else(|| first.clone());
        kafka.commit(&job.group, &job.input, 0, &old);
        let before = job.outputs().len();
        let job = job.set("on_offset_lost", "\"earliest\"");
        let mut host = job.start();
        host.wait_until("all came out", DONE, |_| job.outputs().len() >= before + records);
        job.await_done(&mut host);
        assert_eq!(host.terminate().code, 0);
        assert_eq!(offsets(&job.outputs()[before..]), (0..records).collect::<Vec<_>>());
    }
}

#[test]
fn a_topic_created_again_under_a_running_host_is_read_from_its_start_if_told_so() {
    for records in CREATED_AGAIN_WITH {
        let kafka = Kafka::shared();
        let job = Job::new(kafka, &guest("echo"), 1).set("on_offset_lost", "\"earliest\"");
        let producer = Producer::new(kafka);
        producer.send(&job.input, &numbered(300));
        let mut host = job.start();
        job.await_done(&mut host);
        let before = job.outputs().len();
        // Asleep, so that it never sees the new topic empty.
        host.signal(Signal::STOP);
        create_again(kafka, &job.input);
        producer.send(&job.input, &numbered(records));
        host.signal(Signal::CONT);
        // What came from among the new records before the change was noticed runs again; nothing is left out.
        host.wait_until("all of the new records came out", DONE, |_| {
            let came: BTreeSet<_> = offsets(&job.outputs()[before..]).into_iter().collect();
            came == (0..records).collect()
        });
        job.await_done(&mut host);
        assert_eq!(host.terminate().code, 0);
        let came = offsets(&job.outputs()[before..]);
        for record in 0..records {
            let times = came.iter().filter(|offset| **offset == record).count();
            assert!(
                times == 1 || times == 2 && record >= 300,
                "record {record} of {records} came {times} times"
            );
        }
    }
}

/// The broker forgets the commits of a topic that goes. Without them `start` would say to wait for what comes next, and
/// what came before the group had the new topic would be lost without a word.
#[test]
fn a_topic_that_was_seen_to_vanish_is_not_a_new_one_when_it_is_back() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("echo"), 1)
        .set("start", "\"latest\"")
        .set("on_offset_lost", "\"earliest\"")
        .kafka("topic.metadata.refresh.interval.ms", "1000");
    let producer = Producer::new(kafka);
    let mut host = job.start();
    host.wait_until("it had its partition", DONE, |_| {
        kafka.committed(&job.group, &job.input).contains_key(&0)
    });
    kafka.delete_topic(&job.input);
    host.wait_for_log("assignment lost", DONE);
    kafka.create_topic(&job.input, 1, &[]);
    producer.send(&job.input, &numbered(100));
    host.wait_until("all came out", DONE, |_| job.outputs().len() >= 100);
    job.await_done(&mut host);
    let ended = host.terminate();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("position reset"), "{}", ended.stderr);
    assert_eq!(offsets(&job.outputs()), (0..100).collect::<Vec<_>>());
}

/// The broker forgets commits with their topic; a host that runs on, and tools that copy offsets, put them back.
fn commit_again(job: &Job<'_>, old: &Committed) {
    wait_until("the broker forgot the commit", BROKER, || {
        job.kafka.committed_offsets(&job.group, &job.input).is_empty()
    });
    job.kafka.commit(&job.group, &job.input, 0, old);
}

/// Deletes a topic and creates it anew, under the same name and with another id.
fn create_again(kafka: &Kafka, topic: &str) {
    kafka.delete_topic(topic);
    wait_until("the topic was gone", BROKER, || kafka.partitions(topic).is_none_or(|count| count == 0));
    kafka.create_topic(topic, 1, &[]);
}

#[test]
fn a_compacted_topic_is_read_to_its_end_also_from_an_offset_that_is_gone() {
    let kafka = Kafka::shared();
    let mut job = Job::new(kafka, &guest("echo"), 1);
    job.input = sandmill_tests::unique("compacted");
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "100"),
    ];
    kafka.create_topic(&job.input, 1, &configs);
    let producer = Producer::new(kafka);
    let mut produced = 0;
    wait_until("the broker had compacted the topic", BROKER, || {
        // A segment is closed by what comes after it.
        producer.send(&job.input, &over_keys(50, 10, |at| (produced + at).to_string().into_bytes()));
        produced += 50;
        kafka.read_all(&job.input).len() + 100 <= produced
    });
    // The last records of all keys are there; the second of them is long gone.
    kafka.commit(&job.group, &job.input, 0, &at(1));
    let mut host = job.start();
    job.await_done(&mut host);
    host.wait_until("the lag was 0", DONE, |host| {
        host.metrics().sum("consumer_parallel_lag", &[("topic", &job.input)]) == Some(0.0)
    });
    assert_eq!(host.terminate().code, 0);
    // Compaction went on meanwhile: what is left now was there all the time, and all of it came out once.
    let came = offsets(&job.outputs());
    for record in kafka.read_all(&job.input) {
        let value: usize = record.text().parse().expect("values are offsets");
        assert_eq!(came.iter().filter(|offset| **offset == value).count(), 1, "record {value}");
    }
    assert!(came.len() < produced, "holes were passed over");
}
