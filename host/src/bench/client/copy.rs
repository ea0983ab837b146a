//! The bare consume-produce loop: what a good programmer writes around the client library, and the ceiling of
//! everything that parses and writes.
//!
//! One thread takes records by the array, makes JSON of each with the handler's own source, and hands it to an
//! idempotent producer with the host's settings, over the same thin layer that the host uses. Twice a second it
//! draws a line: what was read up to there is committed once all outputs before the line are acknowledged. At
//! least once, nothing more.

use std::collections::{BTreeMap, VecDeque};
use std::iter;
use std::time::{Duration, Instant, SystemTime};

use rdkafka::consumer::CommitMode;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, TopicPartitionList};
use sandmill_kafka_ffi::{OutRecord, Producer, RawRecord};

use super::bare::unreadable;
use super::cluster::{Cluster, failed};
use super::reading::Reading;
use crate::bench::Error;
use crate::bench::contender::{Asked, Reporter};
use crate::bench::native::access_log;
use crate::bench::protocol::{Done, unix_us};

/// From one line to the next: the host's `commit_interval`.
const COMMIT: Duration = Duration::from_millis(500);
/// Lines that may be open at once; a broker that lags further behind delays the next one.
const LINES: usize = 64;
/// How long the thread waits for acknowledgements when it can do nothing else.
const POLL: Duration = Duration::from_millis(5);

/// Reads, parses, writes and commits a topic.
pub(in crate::bench) fn copy(asked: &Asked, mut reporter: Reporter) -> Result<(), Error> {
    let cluster = Cluster::connect(&asked.brokers, &asked.properties)?;
    let ranges = cluster.watermarks(&asked.topic)?;
    let mut reading = Reading::start(&cluster.consumer_config(&asked.group), &asked.topic, &ranges)?;
    let mut copying = Copying::start(&cluster, asked)?;
    let mut drawn = Instant::now();
    while copying.records < asked.records {
        let came = unix_us(SystemTime::now());
        let begun = copying.records > 0;
        let taken = reading.turn(|record| copying.take(record))?;
        if !begun && taken > 0 {
            reporter.first_at(came);
        }
        copying.serve(Duration::ZERO)?;
        if drawn.elapsed() >= COMMIT && copying.lines.len() < LINES - 1 {
            drawn = Instant::now();
            copying.draw_line(reading.unread().positions());
        }
        if let Some(positions) = copying.done_line() {
            reading.commit(&listed(&asked.topic, &positions)?, CommitMode::Async)?;
        }
        reporter.progress(copying.acknowledged, || Some(reading.unread().missing()))?;
    }
    while copying.acknowledged < copying.records {
        copying.serve(POLL)?;
        reporter.progress(copying.acknowledged, || Some("acknowledgements of outputs".to_owned()))?;
    }
    let positions = reading.unread().positions().clone();
    reading.commit(&listed(&asked.topic, &positions)?, CommitMode::Sync)?;
    let (unix_us, records, bytes) = (unix_us(SystemTime::now()), copying.records, copying.bytes);
    reporter.done(Done { unix_us, records, bytes, positions, commits: true, ..Done::default() });
    Ok(())
}

fn listed(topic: &str, positions: &BTreeMap<i32, i64>) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::new();
    for (partition, position) in positions {
        list.add_partition_offset(topic, *partition, rdkafka::Offset::Offset(*position))
            .map_err(failed("list positions"))?;
    }
    Ok(list)
}

/// The producing half.
struct Copying<'a> {
    asked: &'a Asked,
    output: &'a str,
    producer: Producer<Quiet>,
    json: Vec<u8>,
    records: u64,
    bytes: u64,
    /// Records whose outputs are acknowledged.
    acknowledged: u64,
    /// The number of the line that is drawn next.
    line: usize,
    /// Lines that are open, oldest first: where the reading stood at each.
    lines: VecDeque<BTreeMap<i32, i64>>,
    /// Outputs on their way, by the line that comes behind them.
    outstanding: [u64; LINES],
}

/// Nothing of the client's is of interest here.
struct Quiet;

impl ClientContext for Quiet {}

impl<'a> Copying<'a> {
    fn start(cluster: &Cluster, asked: &'a Asked) -> Result<Self, Error> {
        let output = asked.output.as_deref().unwrap_or_default();
        let producer = Producer::new(&cluster.producer_config(), Quiet, &[output])
            .map_err(failed("set up a producer"))?;
        Ok(Self {
            asked,
            output,
            producer,
            json: Vec::new(),
            records: 0,
            bytes: 0,
            acknowledged: 0,
            line: 0,
            lines: VecDeque::new(),
            outstanding: [0; LINES],
        })
    }

    /// Parses a record and hands what comes of it to the producer.
    fn take(&mut self, record: &RawRecord<'_>) -> Result<(), Error> {
        let (partition, offset) = (record.partition(), record.offset());
        let (key, value) = (record.key(), record.payload());
        self.json.clear();
        access_log::to_json(value, &mut self.json)
            .map_err(|reason| unreadable(&self.asked.topic, partition, offset, &reason))?;
        let line = self.line % LINES;
        self.outstanding[line] += 1;
        while let Err(code) = self.producer.send(
            &OutRecord {
                topic: 0,
                partition: None,
                key,
                value: Some(&self.json),
                timestamp_ms: Some(record.timestamp_ms()).filter(|timestamp| *timestamp >= 0),
                opaque: line,
            },
            iter::empty(),
        ) {
            if code != RDKafkaErrorCode::QueueFull {
                return Err(self.refused(code));
            }
            self.serve(POLL)?;
        }
        self.records += 1;
        self.bytes += (key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)) as u64;
        Ok(())
    }

    /// Everything read so far may be committed once what was written so far is acknowledged.
    fn draw_line(&mut self, positions: &BTreeMap<i32, i64>) {
        self.lines.push_back(positions.clone());
        self.line += 1;
    }

    /// Where the reading stood at the newest line before which everything is acknowledged, if that is news.
    fn done_line(&mut self) -> Option<BTreeMap<i32, i64>> {
        let mut newest = None;
        while !self.lines.is_empty() {
            let oldest = self.line - self.lines.len();
            if self.outstanding[oldest % LINES] > 0 {
                break;
            }
            newest = self.lines.pop_front();
        }
        newest
    }

    /// Takes acknowledgements, and waits for the first at most so long.
    fn serve(&mut self, wait: Duration) -> Result<(), Error> {
        let Self { producer, outstanding, acknowledged, .. } = self;
        let mut refused = None;
        producer.serve(wait, |line, outcome| match outcome {
            Ok(()) => {
                outstanding[line] -= 1;
                *acknowledged += 1;
            }
            Err(code) => {
                refused.get_or_insert(code);
            }
        });
        refused.map_or(Ok(()), |code| Err(self.refused(code)))
    }

    fn refused(&self, code: RDKafkaErrorCode) -> Error {
        failed(&format!("write to topic {:?}", self.output))(code)
    }
}
