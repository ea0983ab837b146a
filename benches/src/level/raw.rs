//! The bare client: one thread polls, looks at every byte, keeps nothing.
//!
//! No group, no commits, no order, no threads of its own: what the client library gives at best in its usual
//! way of polling, with the fetch settings of the host. The clock runs from the first record to the last.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use sandmill_tests::reaper::Process;
use serde::{Deserialize, Serialize};

use super::{Bench, Run, STALLED};
use crate::options::RAW_READER;
use crate::system::{Meter, Usage};
use crate::workload::Topic;

/// The fetch settings of the host; a test holds them against its source.
const FETCH: [(&str, &str); 4] = [
    ("fetch.queue.backoff.ms", "10"),
    ("queued.max.messages.kbytes", "65536"),
    ("queued.min.messages", "100000"),
    ("fetch.wait.max.ms", "100"),
];
/// For a request to the broker.
const REQUEST: Duration = Duration::from_secs(20);
/// No run is longer: the reader ends by itself when it stalls.
const LONGEST: Duration = Duration::from_secs(3_600);

/// What the reader's process says at its end.
#[derive(Serialize, Deserialize)]
struct Reading {
    records: u64,
    bytes: u64,
    seconds: f64,
    /// The position in each partition.
    ends: BTreeMap<i32, i64>,
    usage: Usage,
}

/// Runs the reader as a process and checks what it says.
pub(super) fn run(bench: &Bench, topic: &Topic) -> Result<Run> {
    let meter = Meter::start()?;
    let own = std::env::current_exe().context("this program does not know its own file")?;
    let mut command = Command::new(own);
    command
        .args([RAW_READER, &bench.kafka.bootstrap(), &topic.name])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut reader = Process::spawn(&mut command).context("the bare client cannot be started")?;
    let status = reader.wait(LONGEST).map_err(anyhow::Error::msg)?;
    ensure!(status.success(), "the bare client failed ({status}); its reason stands above");
    let mut said = String::new();
    let mut output = reader.child().stdout.take().context("the reader's output is piped")?;
    output.read_to_string(&mut said)?;
    let reading: Reading = serde_json::from_str(&said).context("what the bare client said")?;
    ensure!(
        reading.records == topic.records && reading.ends == topic.ends,
        "the bare client read {} of {} records, up to {:?} of {:?}",
        reading.records,
        topic.records,
        reading.ends,
        topic.ends
    );
    Ok(Run {
        records: reading.records,
        seconds: reading.seconds,
        records_per_second: reading.records as f64 / reading.seconds,
        cpu: meter.stop(&reading.usage)?,
        peak_rss_bytes: reading.usage.peak_rss_bytes,
        host: None,
    })
}

/// The reader: reads the whole topic and prints what that took.
pub(crate) fn read(brokers: &str, topic: &str) -> Result<()> {
    let consumer: BaseConsumer = config(brokers).create().context("the client refuses its settings")?;
    let mut unread = Unread::assign(&consumer, topic)?;
    let (mut records, mut bytes) = (0_u64, 0_u64);
    let (mut begun, mut last) = (None, Instant::now());
    while unread.partitions > 0 {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(record)) => {
                begun.get_or_insert_with(Instant::now);
                records += 1;
                bytes += touch(&record);
                unread.take(record.partition(), record.offset());
            }
            Some(Err(error)) => bail!("the bare client cannot read {topic}: {error}"),
            None if last.elapsed() > STALLED => bail!("the bare client stalled at {unread:?} of {topic}"),
            None => continue,
        }
        // A look at the clock for each record would cost what it measures.
        if records.is_multiple_of(1_024) {
            last = Instant::now();
        }
    }
    let seconds = begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64());
    let ends =
        unread.positions.into_iter().zip(0..).map(|(position, partition)| (partition, position)).collect();
    let usage = Usage::of(std::process::id())?;
    println!("{}", serde_json::to_string(&Reading { records, bytes, seconds, ends, usage })?);
    Ok(())
}

/// Adds up key and value, so that every byte is read and no compiler can leave it out. Gives their number.
fn touch(record: &BorrowedMessage<'_>) -> u64 {
    let parts = [record.key().unwrap_or_default(), record.payload().unwrap_or_default()];
    for part in parts {
        black_box(part.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)));
    }
    parts.iter().map(|part| part.len() as u64).sum()
}

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "ladder-raw").set("enable.auto.commit", "false");
    for (key, value) in FETCH {
        config.set(key, value);
    }
    config
}

/// How far each partition was read, and to where it has to be.
#[derive(Debug)]
struct Unread {
    positions: Vec<i64>,
    ends: Vec<i64>,
    /// How many are not at their end.
    partitions: usize,
}

impl Unread {
    /// Assigns all partitions from their beginning.
    fn assign(consumer: &BaseConsumer, topic: &str) -> Result<Self> {
        let metadata = consumer.fetch_metadata(Some(topic), REQUEST)?;
        let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        let mut assignment = TopicPartitionList::new();
        let mut ends = Vec::with_capacity(count);
        for partition in 0..i32::try_from(count)? {
            let (_, end) = consumer.fetch_watermarks(topic, partition, REQUEST)?;
            assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
            ends.push(end);
        }
        consumer.assign(&assignment)?;
        let partitions = ends.iter().filter(|end| **end > 0).count();
        Ok(Self { positions: vec![0; count], ends, partitions })
    }

    fn take(&mut self, partition: i32, offset: i64) {
        let Ok(at) = usize::try_from(partition) else { return };
        self.positions[at] = offset + 1;
        if offset + 1 == self.ends[at] {
            self.partitions -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bare_client_fetches_like_the_host() {
        let host = include_str!("../../../host/src/kafka/properties.rs");
        for (key, value) in FETCH {
            assert!(
                host.contains(&format!("(\"{key}\", \"{value}\")")),
                "the host does not set {key} to {value}"
            );
        }
    }

    #[test]
    fn a_topic_is_read_when_its_last_partition_is() {
        let mut unread = Unread { positions: vec![0, 0, 0], ends: vec![2, 0, 1], partitions: 2 };
        unread.take(0, 0);
        unread.take(2, 0);
        assert_eq!(unread.partitions, 1);
        unread.take(0, 1);
        assert_eq!((unread.partitions, unread.positions), (0, vec![2, 0, 1]));
    }
}
