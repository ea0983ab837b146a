//! The bare consume-produce loop: what a good programmer writes around the client library, and the ceiling of
//! everything that parses and writes.
//!
//! One thread takes records by the array, makes JSON of each with the handler's own source, and hands it to an
//! idempotent producer with the host's settings. Twice a second it draws a line: what was read up to there is
//! committed once all outputs before the line are acknowledged. At least once, nothing more.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::consumer::CommitMode;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, TopicPartitionList};
use sandmill_kafka_ffi::RawRecord;

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
        copying.producer.poll(Duration::ZERO);
        copying.check()?;
        if drawn.elapsed() >= COMMIT && copying.lines.len() < LINES - 1 {
            drawn = Instant::now();
            copying.draw_line(reading.unread().positions());
        }
        if let Some(positions) = copying.acknowledged() {
            reading.commit(&listed(&asked.topic, &positions)?, CommitMode::Async)?;
        }
        reporter.progress(copying.finished(), || Some(reading.unread().missing()))?;
    }
    while copying.finished() < copying.records {
        copying.producer.poll(POLL);
        copying.check()?;
        reporter.progress(copying.finished(), || Some("acknowledgements of outputs".to_owned()))?;
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
    producer: BaseProducer<Receipts>,
    json: Vec<u8>,
    records: u64,
    bytes: u64,
    /// The number of the line that is drawn next.
    line: usize,
    /// Lines that are open, oldest first: where the reading stood at each.
    lines: VecDeque<BTreeMap<i32, i64>>,
}

impl<'a> Copying<'a> {
    fn start(cluster: &Cluster, asked: &'a Asked) -> Result<Self, Error> {
        let output = asked.output.as_deref().unwrap_or_default();
        let producer = cluster
            .producer_config()
            .create_with_context(Receipts::default())
            .map_err(failed("set up a producer"))?;
        let lines = VecDeque::new();
        Ok(Self { asked, output, producer, json: Vec::new(), records: 0, bytes: 0, line: 0, lines })
    }

    /// Parses a record and hands what comes of it to the producer.
    fn take(&mut self, record: &RawRecord<'_>) -> Result<(), Error> {
        let (partition, offset) = (record.partition(), record.offset());
        let (key, value) = (record.key(), record.payload());
        self.json.clear();
        access_log::to_json(value, &mut self.json)
            .map_err(|reason| unreadable(&self.asked.topic, partition, offset, &reason))?;
        let receipts = self.producer.context();
        receipts.outstanding[self.line % LINES].fetch_add(1, Relaxed);
        let mut output: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(self.output, self.line % LINES).payload(self.json.as_slice());
        output.key = key;
        output.timestamp = Some(record.timestamp_ms()).filter(|timestamp| *timestamp >= 0);
        while let Err((error, back)) = self.producer.send(output) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(failed(&format!("write to topic {:?}", self.output))(error));
            }
            self.producer.poll(POLL);
            self.check()?;
            output = back;
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
    fn acknowledged(&mut self) -> Option<BTreeMap<i32, i64>> {
        let mut newest = None;
        while !self.lines.is_empty() {
            let oldest = self.line - self.lines.len();
            if self.producer.context().outstanding[oldest % LINES].load(Relaxed) > 0 {
                break;
            }
            newest = self.lines.pop_front();
        }
        newest
    }

    /// Records whose outputs are acknowledged.
    fn finished(&self) -> u64 {
        self.producer.context().acknowledged.load(Relaxed)
    }

    fn check(&self) -> Result<(), Error> {
        let receipts = self.producer.context();
        let refused = receipts.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        refused.map_or(Ok(()), |reason| Err(failed(&format!("write to topic {:?}", self.output))(reason)))
    }
}

/// Counts acknowledgements, on the thread that polls.
struct Receipts {
    /// Outputs on their way, by the line that comes behind them.
    outstanding: [AtomicU64; LINES],
    acknowledged: AtomicU64,
    /// The first refusal.
    refused: Mutex<Option<String>>,
}

impl Default for Receipts {
    fn default() -> Self {
        let outstanding = std::array::from_fn(|_| AtomicU64::new(0));
        Self { outstanding, acknowledged: AtomicU64::new(0), refused: Mutex::new(None) }
    }
}

impl ClientContext for Receipts {}

impl ProducerContext for Receipts {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, line: usize) {
        match result {
            Ok(_) => {
                self.outstanding[line].fetch_sub(1, Relaxed);
                self.acknowledged.fetch_add(1, Relaxed);
            }
            Err((error, _)) => {
                let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                refused.get_or_insert_with(|| error.to_string());
            }
        }
    }
}
