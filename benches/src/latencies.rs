//! How long records took from when they were due to when their outputs stood in the broker's log.
//!
//! The output topic has `LogAppendTime`: the broker itself stamps each record as it appends it, to the
//! millisecond and rounded down. Half a millisecond is added, so that the rounding takes nothing off a mean and
//! at most half a millisecond either way off a record.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::pacer::due_us;
use crate::results::number;
use crate::session::Session;

/// The middle of the broker's millisecond, in microseconds.
const HALF: u64 = 500;
/// The longest latency that is told apart from longer ones: microseconds.
const LONGEST: u64 = 600_000_000;
/// A broker that hands over nothing for so long has stalled.
const STALL: Duration = Duration::from_secs(30);

/// Settings of a topic whose records are stamped by the broker.
pub(crate) const STAMPED: [(&str, &str); 1] = [("message.timestamp.type", "LogAppendTime")];

/// Latencies of one kind of records, in microseconds.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LONGEST, 3)?))
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    fn ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }

    /// The three percentiles, in milliseconds.
    pub(crate) fn numbers(&self) -> [(&'static str, f64); 3] {
        [(number::P50, self.ms(0.5)), (number::P99, self.ms(0.99)), (number::P999, self.ms(0.999))]
    }

    /// For the result: the three, the ends, and how many records they speak of.
    pub(crate) fn raw(&self) -> serde_json::Value {
        let numbers = self.numbers().map(|(name, value)| (name.to_owned(), value.into()));
        let mut raw = serde_json::Map::from_iter(numbers);
        raw.insert("records".to_owned(), self.len().into());
        raw.insert("min_ms".to_owned(), (self.0.min() as f64 / 1e3).into());
        raw.insert("max_ms".to_owned(), (self.0.max() as f64 / 1e3).into());
        raw.into()
    }
}

/// Reads the whole output topic. Records that were due before `from_us` count nothing: the loop warmed up. `kind`
/// sorts the others by their keys, into one of `KINDS`.
pub(crate) fn read<const KINDS: usize>(
    session: &Session,
    topic: &str,
    from_us: u64,
    kind: impl Fn(&[u8]) -> usize,
) -> Result<[Latencies; KINDS]> {
    let mut kinds = Vec::with_capacity(KINDS);
    for _ in 0..KINDS {
        kinds.push(Latencies::new()?);
    }
    each(session, topic, |key, value, appended_ms| {
        let due = due_us(value).context("an output record does not say when it was due")?;
        if due >= from_us {
            let appended = u64::try_from(appended_ms)? * 1_000 + HALF;
            let latencies = kinds.get_mut(kind(key)).context("a record is of no kind")?;
            latencies.0.saturating_record(appended.saturating_sub(due).max(1));
        }
        Ok(())
    })?;
    kinds.try_into().map_err(|_| anyhow::anyhow!("as many histograms as kinds"))
}

/// Hands over key, value and time of every record of a topic that stands still.
fn each(session: &Session, topic: &str, mut take: impl FnMut(&[u8], &[u8], i64) -> Result<()>) -> Result<()> {
    let mut assignment = TopicPartitionList::new();
    let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
    for (partition, (start, end)) in session.cluster.watermarks(topic)? {
        if start < end {
            assignment.add_partition_offset(topic, partition, Offset::Offset(start))?;
            ends.insert(partition, end);
        }
    }
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", session.kafka.bootstrap())
        .set("group.id", "ladder-latencies")
        .set("enable.auto.commit", "false")
        .set("log_level", "2")
        .create()
        .context("the client refuses its settings")?;
    consumer.assign(&assignment)?;
    let mut moved = Instant::now();
    while !ends.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(record)) => {
                moved = Instant::now();
                let appended = record.timestamp().to_millis().context("a record without a time")?;
                take(record.key().unwrap_or_default(), record.payload().unwrap_or_default(), appended)?;
                if ends.get(&record.partition()).is_some_and(|end| record.offset() + 1 >= *end) {
                    ends.remove(&record.partition());
                }
            }
            Some(Err(error)) => bail!("cannot read {topic}: {error}"),
            None => ensure!(moved.elapsed() < STALL, "{topic} hands over nothing more; unread: {ends:?}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_come_in_milliseconds() {
        let mut latencies = Latencies::new().expect("bounds");
        for us in 1..=1_000_u64 {
            latencies.0.record(us * 1_000).expect("within the bounds");
        }
        let near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 0.002;
        let [p50, p99, p999] = latencies.numbers().map(|(_, value)| value);
        assert!(near(p50, 500.0) && near(p99, 990.0) && near(p999, 999.0), "{p50} {p99} {p999}");
        assert_eq!(latencies.raw()["records"], 1_000);
        assert!(latencies.raw()["max_ms"].as_f64().is_some_and(|max| near(max, 1_000.0)));
    }
}
