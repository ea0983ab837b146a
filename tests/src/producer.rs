//! Records in: produced in order, each with the place where the broker put it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};

use crate::kafka::{Kafka, config};

/// A record to produce. `..Default::default()` gives no key, no value, no headers, the time of now, and
/// the partition that the key chooses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// None: no key, which is not the same as an empty one.
    pub key: Option<Vec<u8>>,
    /// None: a tombstone.
    pub value: Option<Vec<u8>>,
    /// Names and values in order; names may repeat, values may be null.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// None: the key decides, as with Java clients.
    pub partition: Option<i32>,
}

impl Outgoing {
    /// A record of a key and a value.
    #[must_use]
    pub fn keyed(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: Some(key.into()), value: Some(value.into()), ..Self::default() }
    }
}

/// Where the broker put a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

/// Collects the broker's answers by the record's index.
#[derive(Default)]
struct Receipts(Mutex<Vec<(usize, Result<Place, KafkaError>)>>);

impl ClientContext for Receipts {}

impl ProducerContext for Receipts {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, index: Self::DeliveryOpaque) {
        let place = match result {
            Ok(record) => Ok(Place { partition: record.partition(), offset: record.offset() }),
            Err((error, _)) => Err(error.clone()),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((*index, place));
    }
}

/// An idempotent producer: what it was given in order stands in order in each partition.
pub struct Producer(ThreadedProducer<Receipts>);

impl Producer {
    /// A producer on this cluster.
    ///
    /// # Panics
    /// Never for want of a broker: it connects when it must.
    #[must_use]
    pub fn new(kafka: &Kafka) -> Self {
        let producer = config(&kafka.bootstrap())
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("message.max.bytes", "8388608")
            .set("linger.ms", "5")
            .create_with_context(Receipts::default());
        Self(producer.expect("the settings are valid"))
    }

    /// Produces `records` in their order; the places come back in the same order.
    ///
    /// # Panics
    /// When the broker refuses one, or does not acknowledge all within a minute.
    pub fn send(&self, topic: &str, records: &[Outgoing]) -> Vec<Place> {
        for (index, record) in records.iter().enumerate() {
            self.enqueue(topic, index, record);
        }
        self.0.flush(Duration::from_secs(60)).expect("the broker acknowledges what was produced");
        let mut receipts =
            std::mem::take(&mut *self.0.context().0.lock().unwrap_or_else(PoisonError::into_inner));
        receipts.sort_by_key(|(index, _)| *index);
        assert_eq!(receipts.len(), records.len(), "every record has its receipt after a flush");
        receipts
            .into_iter()
            .map(|(index, place)| {
                place.unwrap_or_else(|error| panic!("record {index} was refused by {topic}: {error}"))
            })
            .collect()
    }

    fn enqueue(&self, topic: &str, index: usize, record: &Outgoing) {
        let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_ref() })
        });
        let mut next: BaseRecord<'_, [u8], [u8], Box<usize>> =
            BaseRecord::with_opaque_to(topic, Box::new(index)).headers(headers);
        next.key = record.key.as_deref();
        next.payload = record.value.as_deref();
        next.timestamp = record.timestamp;
        next.partition = record.partition;
        loop {
            match self.0.send(next) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    self.0.poll(Duration::from_millis(20));
                    next = back;
                }
                Err((error, _)) => panic!("record {index} cannot be produced to {topic}: {error}"),
            }
        }
    }
}
