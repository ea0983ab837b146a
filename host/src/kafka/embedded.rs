//! A Kafka broker inside this process, for the demo, for first steps, and for tests without Java.
//!
//! It is the client library's mock cluster: the real protocol, in memory, gone with the process. It keeps
//! 5 MiB a partition, has no transactions and no permissions.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sandmill_kafka_ffi::EmbeddedCluster;

use super::Error;

/// The broker.
pub struct EmbeddedBroker {
    cluster: EmbeddedCluster,
}

impl std::fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedBroker").field("at", &self.bootstrap_servers()).finish()
    }
}

impl EmbeddedBroker {
    /// Starts it on a free port of the loopback interface.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start() -> Result<Self, Error> {
        let cluster = EmbeddedCluster::start(1).map_err(|error| Error::Client(error.to_string()))?;
        Ok(EmbeddedBroker { cluster })
    }

    /// Where clients connect.
    pub fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// If it exists, or the broker refuses it.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), Error> {
        self.cluster.create_topic(topic, partitions, 1).map_err(|error| Error::Client(error.to_string()))
    }
}

/// Puts records into a topic.
pub struct Feeder {
    producer: BaseProducer,
    topic: String,
}

impl std::fmt::Debug for Feeder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feeder").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Feeder {
    /// Into `topic`.
    ///
    /// # Errors
    /// If the client cannot be made.
    pub fn new(brokers: &str, topic: &str) -> Result<Self, Error> {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "5")
            .create()
            .map_err(|error| Error::Client(error.to_string()))?;
        Ok(Feeder { producer, topic: topic.to_owned() })
    }

    /// Puts keys and values in, and waits until the broker has them all. How many there were.
    ///
    /// # Errors
    /// What the client says.
    pub fn feed<'r>(&self, records: impl Iterator<Item = (&'r [u8], &'r [u8])>) -> Result<u64, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Client(error.to_string());
        let mut count = 0;
        for (key, value) in records {
            let mut record = BaseRecord::to(&self.topic).key(key).payload(value);
            while let Err((error, back)) = self.producer.send(record) {
                if super::context::code(&error) != rdkafka::error::RDKafkaErrorCode::QueueFull {
                    return Err(failed(&error));
                }
                self.producer.poll(Duration::from_millis(10));
                record = back;
            }
            count += 1;
        }
        self.producer.flush(Duration::from_secs(30)).map_err(|error| failed(&error))?;
        Ok(count)
    }
}

/// Reads a topic from its start, as somebody who knows nothing of the host would.
#[derive(Debug)]
pub struct Reader {
    consumer: ReaderConsumer,
}

struct ReaderConsumer(BaseConsumer);

impl std::fmt::Debug for ReaderConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BaseConsumer")
    }
}

impl Reader {
    /// Starts to read all partitions of a topic.
    ///
    /// # Errors
    /// If the client cannot be set up.
    pub fn start(brokers: &str, topic: &str, partitions: i32) -> Result<Self, Error> {
        let failed = |error: rdkafka::error::KafkaError| Error::Client(error.to_string());
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "sandmill-demo-reader")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "50")
            .create()
            .map_err(failed)?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning).map_err(failed)?;
        }
        consumer.assign(&list).map_err(failed)?;
        Ok(Reader { consumer: ReaderConsumer(consumer) })
    }

    /// Hands the next value to `take`; false if none came within `timeout`.
    pub fn next(&self, timeout: Duration, take: impl FnOnce(&[u8])) -> bool {
        match self.consumer.0.poll(timeout) {
            Some(Ok(message)) => {
                take(message.payload().unwrap_or_default());
                true
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "reading");
                false
            }
            None => false,
        }
    }
}
