//! A cluster, a producer, and a consumer thread in the small: the loop that the host runs, without what
//! it decides.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::bindings::rd_kafka_resp_err_t;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::message::{OwnedHeaders, ToBytes};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sandmill_kafka_ffi::{BatchQueue, EmbeddedCluster, Polled, Sleeper};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a rebalance callback was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    Assign(Vec<(String, i32)>),
    Revoke(Vec<(String, i32)>),
}

/// Stores what is asked and returns, unless it is closing.
#[derive(Default)]
pub struct Stores {
    asked: Mutex<VecDeque<Asked>>,
    pub closing: AtomicBool,
}

impl ClientContext for Stores {}

impl ConsumerContext for Stores {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: rd_kafka_resp_err_t,
        list: &mut TopicPartitionList,
    ) {
        if self.closing.load(Ordering::Acquire) {
            consumer.unassign().expect("closing gives everything up");
            return;
        }
        let partitions = list.elements().iter().map(|e| (e.topic().to_owned(), e.partition())).collect();
        let assign = code == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let asked = if assign { Asked::Assign(partitions) } else { Asked::Revoke(partitions) };
        self.asked.lock().unwrap().push_back(asked);
    }
}

/// A record, copied out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub timestamp_ms: i64,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

pub struct Harness {
    /// Whether the end sets the closing flag: also a test that fails must come to its end.
    pub closes: bool,
    pub queue: BatchQueue<Stores>,
    pub sleeper: Sleeper,
    pub consumer: Arc<BaseConsumer<Stores>>,
    pub cluster: EmbeddedCluster,
}

impl Harness {
    pub fn new(topics: &[(&str, i32)], settings: &[(&str, &str)]) -> Self {
        let cluster = EmbeddedCluster::start(1).unwrap();
        for &(topic, partitions) in topics {
            cluster.create_topic(topic, partitions, 1).unwrap();
        }
        let consumer = Arc::new(consumer(&cluster, settings));
        let sleeper = Sleeper::new();
        let queue = BatchQueue::new(&consumer, &sleeper.waker()).unwrap();
        Self { closes: true, queue, sleeper, consumer, cluster }
    }

    pub fn producer(&self) -> BaseProducer {
        ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("linger.ms", "0")
            .create()
            .unwrap()
    }

    /// Writes numbered records to one partition.
    pub fn fill(&self, topic: &str, partition: i32, count: usize) {
        let producer = self.producer();
        for number in 0..count {
            produce(&producer, topic, partition, Some("k"), Some(&number.to_string()), None);
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Serves the client's events until there are none. A record must never come this way.
    pub fn serve_events(&self) {
        while self.queue.has_events() {
            if let Some(result) = self.consumer.poll(Duration::ZERO) {
                let record = result.expect("the client reports no error");
                panic!("a record slipped into poll: {record:?}");
            }
        }
    }

    /// What the rebalance callback was asked next, waiting for it.
    pub fn asked(&mut self) -> Asked {
        self.until(|harness| harness.consumer.context().asked.lock().unwrap().pop_front())
    }

    /// Runs the loop until `done` returns something; sleeps only on the waker.
    pub fn until<T>(&mut self, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.serve_events();
            if let Some(result) = done(self) {
                return result;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(self.sleeper.wait(left), "nobody called within {PATIENCE:?}");
        }
    }

    /// Takes what arrives until `enough` of it is there.
    pub fn collect(&mut self, enough: impl Fn(&[Record]) -> bool) -> Vec<Record> {
        let mut seen = Vec::new();
        self.until(|harness| {
            loop {
                let chunk = harness.queue.consume(100);
                seen.extend(chunk.iter().map(|polled| copy(&polled)));
                if chunk.drained() {
                    break;
                }
            }
            enough(&seen).then_some(())
        });
        seen
    }

    /// Subscribes, waits for the assignment and starts all of it at offset 0.
    pub fn join(&mut self, topics: &[&str]) {
        self.consumer.subscribe(topics).unwrap();
        let Asked::Assign(partitions) = self.asked() else { panic!("asked to revoke first") };
        let partitions: Vec<_> = partitions.iter().map(|(t, p)| (t.as_str(), *p, 0)).collect();
        self.queue.assign(&list(&partitions)).unwrap();
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if self.closes || thread::panicking() {
            self.consumer.context().closing.store(true, Ordering::Release);
            // Answers a request that the callback has only stored; refused where none is open.
            let _ = self.consumer.unassign();
        }
    }
}

pub fn consumer(cluster: &EmbeddedCluster, settings: &[(&str, &str)]) -> BaseConsumer<Stores> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "g")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "50")
        .set("session.timeout.ms", "1200")
        .set("heartbeat.interval.ms", "100")
        .set("partition.assignment.strategy", "range");
    for &(key, value) in settings {
        config.set(key, value);
    }
    config.create_with_context(Stores::default()).unwrap()
}

pub fn list(partitions: &[(&str, i32, i64)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for &(topic, partition, offset) in partitions {
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
    }
    list
}

pub fn produce<K: ToBytes + ?Sized, V: ToBytes + ?Sized>(
    producer: &BaseProducer,
    topic: &str,
    partition: i32,
    key: Option<&K>,
    payload: Option<&V>,
    headers: Option<OwnedHeaders>,
) {
    let mut record = BaseRecord::<K, V>::to(topic).partition(partition).timestamp(1_700_000_000_123);
    record.key = key;
    record.payload = payload;
    record.headers = headers;
    producer.send(record).map_err(|(error, _)| error).unwrap();
}

fn copy(polled: &Polled<'_>) -> Record {
    let Polled::Record(record) = polled else { panic!("the client reports {polled:?}") };
    Record {
        topic: record.topic().to_owned(),
        partition: record.partition(),
        offset: record.offset(),
        key: record.key().map(<[u8]>::to_vec),
        payload: record.payload().map(<[u8]>::to_vec),
        timestamp_ms: record.timestamp_ms(),
        headers: record
            .headers()
            .unwrap()
            .map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)))
            .collect(),
    }
}

/// Whether `count` records are there.
pub fn records(count: usize) -> impl Fn(&[Record]) -> bool {
    move |seen| seen.len() >= count
}

/// The offsets of the records of a partition, in the order in which they came.
pub fn offsets(seen: &[Record], partition: i32) -> Vec<i64> {
    seen.iter().filter(|record| record.partition == partition).map(|record| record.offset).collect()
}
