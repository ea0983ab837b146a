//! The bare client as a level: it reads, looks at every byte, keeps nothing.
//!
//! No group, no commits, no order, no threads of its own: what the client library gives at best, with the
//! fetch settings of the host. Record by record is the library's usual way; by the array is its fastest.

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;

use super::cluster::{Cluster, failed};
use super::reading::{Reading, Unread};
use crate::bench::contender::{Asked, Reporter};
use crate::bench::native::access_log;
use crate::bench::protocol::{Done, unix_us};
use crate::bench::{Error, Work};

/// How long one poll waits for a record.
const POLL: Duration = Duration::from_millis(100);
/// Records between two looks at the clock, which for each record would cost what it measures.
const LOOK_EVERY: u64 = 1_024;

/// Reads a topic with `poll`.
pub(in crate::bench) fn raw_poll(asked: &Asked, mut reporter: Reporter) -> Result<(), Error> {
    let cluster = Cluster::connect(&asked.brokers, &asked.properties)?;
    let action = format!("read topic {:?}", asked.topic);
    let consumer: BaseConsumer = cluster.consumer_config(&asked.group).create().map_err(failed(&action))?;
    let mut unread = Unread::new(&cluster.watermarks(&asked.topic)?);
    consumer.assign(&unread.assignment(&asked.topic)?).map_err(failed(&action))?;
    let mut handling = Handling::of(asked.workload);
    let (mut records, mut bytes) = (0_u64, 0_u64);
    while records < asked.records {
        match consumer.poll(POLL) {
            Some(Ok(record)) => {
                if records == 0 {
                    reporter.first();
                }
                let (partition, offset) = (record.partition(), record.offset());
                bytes += handling
                    .handle(record.key(), record.payload())
                    .map_err(|reason| unreadable(&asked.topic, partition, offset, &reason))?;
                records += 1;
                unread.advance(partition, offset + 1);
                if !records.is_multiple_of(LOOK_EVERY) {
                    continue;
                }
            }
            Some(Err(error)) => return Err(failed(&action)(error)),
            None => {}
        }
        reporter.progress(records, || Some(unread.missing()))?;
    }
    finish(reporter, records, bytes, &unread);
    Ok(())
}

/// Reads a topic by the array.
pub(in crate::bench) fn raw_batch(asked: &Asked, mut reporter: Reporter) -> Result<(), Error> {
    let cluster = Cluster::connect(&asked.brokers, &asked.properties)?;
    let ranges = cluster.watermarks(&asked.topic)?;
    let mut reading = Reading::start(&cluster.consumer_config(&asked.group), &asked.topic, &ranges)?;
    let mut handling = Handling::of(asked.workload);
    let (mut records, mut bytes) = (0_u64, 0_u64);
    while records < asked.records {
        let came = unix_us(SystemTime::now());
        let taken = reading.turn(|record| {
            bytes += handling
                .handle(record.key(), record.payload())
                .map_err(|reason| unreadable(&asked.topic, record.partition(), record.offset(), &reason))?;
            Ok(())
        })?;
        if records == 0 && taken > 0 {
            reporter.first_at(came);
        }
        records += taken as u64;
        reporter.progress(records, || Some(reading.unread().missing()))?;
    }
    finish(reporter, records, bytes, reading.unread());
    Ok(())
}

fn finish(reporter: Reporter, records: u64, bytes: u64, unread: &Unread) {
    let unix_us = unix_us(SystemTime::now());
    let positions = unread.positions().clone();
    reporter.done(Done { unix_us, records, bytes, positions, commits: false, ..Done::default() });
}

pub(super) fn unreadable(topic: &str, partition: i32, offset: i64, reason: &str) -> Error {
    let problem = format!("the record at {partition}/{offset} is no line of an access log: {reason}");
    Error::Topic { topic: topic.to_owned(), problem }
}

/// What is done with a record's bytes.
enum Handling {
    /// They are added up, so that every one is read and no compiler can leave that out.
    Touch,
    /// JSON is made of the value, and thrown away.
    Parse(Vec<u8>),
}

impl Handling {
    fn of(workload: Work) -> Self {
        if workload == Work::Parse { Handling::Parse(Vec::new()) } else { Handling::Touch }
    }

    /// Gives the length of key and value.
    #[inline]
    fn handle(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<u64, String> {
        match self {
            Handling::Touch => {
                for part in [key, value] {
                    let bytes = part.unwrap_or_default().iter();
                    black_box(bytes.fold(0_u8, |sum, byte| sum.wrapping_add(*byte)));
                }
            }
            Handling::Parse(json) => {
                json.clear();
                access_log::to_json(value, json)?;
                black_box(&json);
            }
        }
        Ok((key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)) as u64)
    }
}
