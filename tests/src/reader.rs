//! Records out: everything that a topic holds at the time of the call.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::{Kafka, config};

/// How long the reader waits for the next record before it calls the broker stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// A record as the broker holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Partition of the topic that was read.
    pub partition: i32,
    /// Offset in it.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// None: no key.
    pub key: Option<Vec<u8>>,
    /// None: a tombstone.
    pub value: Option<Vec<u8>>,
    /// Names and values in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// The last header of this name, as text; none where it is missing or null.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().rev().find(|(own, _)| own == name)?;
        value.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// The value as text, lossily; a tombstone is empty.
    #[must_use]
    pub fn text(&self) -> String {
        self.value.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned()
    }

    pub(crate) fn copy_of(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
        });
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
        }
    }
}

impl Kafka {
    /// All records of a topic up to its end at the time of the call, in order within each partition,
    /// partition after partition. Records of open or aborted transactions are left out.
    ///
    /// # Panics
    /// When the broker stops answering.
    #[must_use]
    pub fn read_all(&self, topic: &str) -> Vec<Record> {
        let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
        let mut assignment = TopicPartitionList::new();
        for (partition, (low, high)) in self.watermarks(topic) {
            if low < high {
                ends.insert(partition, high);
                assignment
                    .add_partition_offset(topic, partition, Offset::Offset(low))
                    .expect("an offset of the broker is valid");
            }
        }
        let consumer: BaseConsumer = config(&self.bootstrap())
            .set("group.id", "sandmill-tests-reader")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "50")
            .create()
            .expect("the settings are valid");
        consumer.assign(&assignment).expect("partitions of the broker can be assigned");
        let mut records = Vec::new();
        let mut last = Instant::now();
        while !ends.is_empty() {
            match consumer.poll(Duration::from_millis(50)) {
                Some(Ok(message)) => {
                    last = Instant::now();
                    let record = Record::copy_of(&message);
                    let Some(end) = ends.get(&record.partition) else { continue };
                    if record.offset + 1 >= *end {
                        ends.remove(&record.partition);
                    }
                    records.push(record);
                }
                // Markers at a partition's end are no records: only its end says that nothing follows.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    ends.remove(&partition);
                }
                // A node may have come back a moment ago: the client goes on by itself.
                Some(Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
                )))
                | None => {}
                Some(Err(error)) => panic!("cannot read {topic}: {error}"),
            }
            assert!(last.elapsed() < PATIENCE, "no more records of {topic}; unread: {ends:?}");
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }
}
