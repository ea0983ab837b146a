//! A producer that keeps to a schedule, whether anybody keeps up or not: an open loop.
//!
//! Each record carries the moment at which it was *due*, not at which it was sent. A producer that falls behind,
//! or is made to wait by the broker, is late for every record after that, and all of that counts: who measures
//! from the actual sending leaves out exactly the records that waited longest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

/// Bytes of a value.
const VALUE: usize = 100;
/// Between two looks at the clock: at low rates each record is late by as much on average as half of it.
const TICK: Duration = Duration::from_micros(200);
/// For the last records to be acknowledged.
const FLUSH: Duration = Duration::from_secs(60);
/// While the producer's queue is full.
const FULL: Duration = Duration::from_millis(1);

/// When records are due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// Records a second; none: as many as the broker takes.
    pub rate: Option<f64>,
    pub lasts: Duration,
}

/// What was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paced {
    pub records: u64,
    /// When the first was due: microseconds since 1970.
    pub begun_us: u64,
    /// By how much the producer was behind its schedule at most, in milliseconds. It is part of every latency.
    pub late_ms: f64,
}

/// The text that a value begins with: what the handler `wait` makes of it, and when the record was due.
pub(crate) fn value(wait: &str, due_us: u64, value: &mut Vec<u8>) {
    value.clear();
    value.extend_from_slice(format!("{wait} {due_us} ").as_bytes());
    value.resize(VALUE, b'.');
}

/// When the record with this value was due: microseconds since 1970.
pub(crate) fn due_us(value: &[u8]) -> Option<u64> {
    let word = value.split(|byte| *byte == b' ').nth(1)?;
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Counts what the broker refused.
#[derive(Default)]
struct Refusals(AtomicU64);

impl ClientContext for Refusals {}

impl ProducerContext for Refusals {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sends records as they are due. `next` puts key and value of the record that is due then into the buffers.
pub(crate) fn pace(
    brokers: &str,
    topic: &str,
    schedule: Schedule,
    mut next: impl FnMut(u64, &mut Vec<u8>, &mut Vec<u8>),
) -> Result<Paced> {
    let producer = producer(brokers)?;
    // The first record finds connections and ids; it must not be the one that is timed.
    producer.client().fetch_metadata(Some(topic), FLUSH).context("the broker does not know the topic")?;
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let (mut records, mut late) = (0_u64, Duration::ZERO);
    let (begun, begun_us) = (Instant::now(), now_us()?);
    loop {
        let elapsed = begun.elapsed().min(schedule.lasts);
        let due = schedule.rate.map_or(u64::MAX, |rate| (elapsed.as_secs_f64() * rate) as u64);
        while records < due {
            let after = match schedule.rate {
                Some(rate) => Duration::from_secs_f64(records as f64 / rate),
                None => begun.elapsed(),
            };
            if after >= schedule.lasts {
                break;
            }
            late = late.max(begun.elapsed().saturating_sub(after));
            next(begun_us + u64::try_from(after.as_micros())?, &mut key, &mut value);
            send(&producer, topic, &key, &value)?;
            records += 1;
        }
        if elapsed >= schedule.lasts {
            break;
        }
        pause(TICK);
    }
    producer.flush(FLUSH).context("the broker does not acknowledge what was sent")?;
    let refused = producer.context().0.load(Ordering::Relaxed);
    ensure!(refused == 0, "the broker refused {refused} of {records} records");
    Ok(Paced { records, begun_us, late_ms: late.as_secs_f64() * 1e3 })
}

/// Nothing lingers: a record goes as soon as a connection is free, and batches form by themselves behind one
/// that is not.
fn producer(brokers: &str) -> Result<ThreadedProducer<Refusals>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "0")
        .set("queue.buffering.max.messages", "1000000")
        .set("log_level", "2");
    config.create_with_context(Refusals::default()).context("the client refuses its settings")
}

fn send(producer: &ThreadedProducer<Refusals>, topic: &str, key: &[u8], value: &[u8]) -> Result<()> {
    let mut record = BaseRecord::to(topic).key(key).payload(value);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                pause(FULL);
                record = back;
            }
            Err((error, _)) => bail!("a record cannot be produced to {topic}: {error}"),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a schedule is about time passing")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn now_us() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_tells_when_its_record_was_due() {
        let mut text = Vec::new();
        value("50ms", 1_763_712_345_678_901, &mut text);
        assert!(text.starts_with(b"50ms 1763712345678901 .") && text.len() == VALUE);
        assert_eq!(due_us(&text), Some(1_763_712_345_678_901));
        for other in [&b""[..], b"0ms", b"0ms x y"] {
            assert_eq!(due_us(other), None);
        }
    }
}
