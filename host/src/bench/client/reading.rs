//! Reading partitions from an offset to an offset, by the array, in the plainest way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, DefaultConsumerContext};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sandmill_kafka_ffi::{BatchQueue, Polled, RawRecord, Sleeper};

use super::cluster::failed;
use crate::bench::Error;

/// Records taken at once, at most.
const CHUNK: usize = 1024;
/// How long a turn waits for records.
const WAIT: Duration = Duration::from_millis(100);

/// How far each partition was read, and to where it has to be.
#[derive(Debug)]
pub(super) struct Unread {
    positions: BTreeMap<i32, i64>,
    ends: BTreeMap<i32, i64>,
    /// How many are not at their end.
    left: usize,
}

impl Unread {
    /// From the first offset to the end of each partition.
    pub(super) fn new(ranges: &BTreeMap<i32, (i64, i64)>) -> Self {
        let left = ranges.values().filter(|(start, end)| start < end).count();
        Self {
            positions: ranges.iter().map(|(partition, (start, _))| (*partition, *start)).collect(),
            ends: ranges.iter().map(|(partition, (_, end))| (*partition, *end)).collect(),
            left,
        }
    }

    /// The position of a partition is at least this.
    pub(super) fn advance(&mut self, partition: i32, position: i64) {
        let (Some(at), Some(end)) = (self.positions.get_mut(&partition), self.ends.get(&partition)) else {
            return;
        };
        if position > *at {
            if *at < *end && position >= *end {
                self.left -= 1;
            }
            *at = position;
        }
    }

    /// Whether all partitions are at their ends.
    pub(super) fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Next offset of each partition.
    pub(super) fn positions(&self) -> &BTreeMap<i32, i64> {
        &self.positions
    }

    /// Partitions with where they stand and where they have to be, as text.
    pub(super) fn missing(&self) -> String {
        let missing = self.positions.iter().filter_map(|(partition, at)| {
            let end = self.ends.get(partition).filter(|end| at < end)?;
            Some(format!("partition {partition} at {at} of {end}"))
        });
        missing.collect::<Vec<_>>().join(", ")
    }

    /// The list that assigns what is unread.
    pub(super) fn assignment(&self, topic: &str) -> Result<TopicPartitionList, Error> {
        let mut list = TopicPartitionList::new();
        for (partition, at) in &self.positions {
            list.add_partition_offset(topic, *partition, Offset::Offset(*at))
                .map_err(failed("assign partitions"))?;
        }
        Ok(list)
    }
}

/// A topic that is being read by one thread.
pub(super) struct Reading {
    topic: String,
    unread: Unread,
    sleeper: Sleeper,
    // Before the consumer, which it must not outlive.
    queue: BatchQueue<DefaultConsumerContext>,
    consumer: Arc<BaseConsumer>,
}

impl Reading {
    /// Begins to read partitions of a topic in these ranges.
    pub(super) fn start(
        config: &ClientConfig,
        topic: &str,
        ranges: &BTreeMap<i32, (i64, i64)>,
    ) -> Result<Self, Error> {
        let action = format!("read topic {topic:?}");
        let consumer: BaseConsumer = config.create().map_err(failed(&action))?;
        let consumer = Arc::new(consumer);
        let sleeper = Sleeper::new();
        let mut queue = BatchQueue::new(&consumer, &sleeper.waker()).map_err(failed(&action))?;
        let unread = Unread::new(ranges);
        queue.assign(&unread.assignment(topic)?).map_err(failed(&action))?;
        Ok(Self { topic: topic.to_owned(), unread, sleeper, queue, consumer })
    }

    /// Hands over what is there, and waits a little if that is nothing. Gives the number of records.
    pub(super) fn turn(
        &mut self,
        mut take: impl FnMut(&RawRecord<'_>) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let mut records = 0;
        let unread = &mut self.unread;
        let chunk = self.queue.consume(CHUNK);
        for polled in chunk.iter() {
            match polled {
                Polled::Record(record) => {
                    take(&record)?;
                    unread.advance(record.partition(), record.offset() + 1);
                    records += 1;
                }
                Polled::Error { partition, text, .. } => {
                    let action = format!("read {}/{partition}", self.topic);
                    return Err(Error::Kafka { action, reason: text.into_owned() });
                }
            }
        }
        let nothing = chunk.is_empty();
        drop(chunk);
        if nothing {
            self.idle()?;
        }
        Ok(records)
    }

    /// Nothing came: serves the client, moves past what is no record at the end of a partition, and waits.
    fn idle(&mut self) -> Result<(), Error> {
        let action = format!("read topic {:?}", self.topic);
        let failed = failed(&action);
        while self.queue.has_events() {
            if let Some(Err(error)) = self.consumer.poll(Duration::ZERO)
                && let Some((_, reason)) = self.consumer.client().fatal_error()
            {
                return Err(failed(format!("{error}: {reason}")));
            }
        }
        let names: Vec<(&str, i32)> =
            self.unread.positions.keys().map(|partition| (self.topic.as_str(), *partition)).collect();
        let positions = self.queue.positions(&names).map_err(|error| failed(error.to_string()))?;
        let moved: Vec<(i32, i64)> =
            names.iter().zip(positions).filter_map(|((_, partition), at)| Some((*partition, at?))).collect();
        for (partition, position) in moved {
            self.unread.advance(partition, position);
        }
        if !self.unread.is_empty() {
            self.sleeper.wait(WAIT);
        }
        Ok(())
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// If nothing comes for `stall`.
    pub(super) fn finish(
        &mut self,
        stall: Duration,
        mut take: impl FnMut(&RawRecord<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut moved = Instant::now();
        while !self.is_done() {
            if self.turn(&mut take)? > 0 {
                moved = Instant::now();
            } else if moved.elapsed() > stall {
                let problem = format!("nothing came for {stall:?}: {}", self.unread.missing());
                return Err(Error::Topic { topic: self.topic.clone(), problem });
            }
        }
        Ok(())
    }

    /// Commits positions for the reader's group, to which it need not belong.
    pub(super) fn commit(&self, positions: &TopicPartitionList, mode: CommitMode) -> Result<(), Error> {
        let action = format!("commit positions in topic {:?}", self.topic);
        self.consumer.commit(positions, mode).map_err(failed(&action))
    }

    /// Whether everything was handed over.
    pub(super) fn is_done(&self) -> bool {
        self.unread.is_empty()
    }

    /// How far it is.
    pub(super) fn unread(&self) -> &Unread {
        &self.unread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_read_when_its_last_partition_is() {
        let mut unread = Unread::new(&BTreeMap::from([(0, (0, 2)), (1, (0, 0)), (2, (5, 6))]));
        unread.advance(0, 1);
        unread.advance(2, 6);
        assert!(!unread.is_empty());
        assert_eq!(unread.missing(), "partition 0 at 1 of 2");
        // A marker takes an offset too.
        unread.advance(0, 3);
        assert!(unread.is_empty());
        assert_eq!(unread.positions(), &BTreeMap::from([(0, 3), (1, 0), (2, 6)]));
        // What comes late or from elsewhere changes nothing.
        unread.advance(0, 4);
        unread.advance(0, 1);
        unread.advance(9, 1);
        assert!(unread.is_empty());
    }
}
