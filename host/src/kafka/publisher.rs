//! Outputs and dead letters, into the producer's queue.
//!
//! Called by workers, in the order in which records take effect, and by the consumer thread for dead letters
//! of records whose outputs were refused. Nothing blocks: a full queue is waited for without holding the
//! worker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::Error;
use super::dead_letter::{self, Detail};
use super::delivery::{self, Context, Deliveries, code};
use super::properties;
use crate::batch::{Record, TopicPartition};
use crate::cancel::Cancel;
use crate::outcome::Failure;
use crate::wasm::Output;

pub use super::dead_letter::Origin;
pub use super::delivery::Tag;

/// Why a record was not taken by the producer.
#[derive(Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The assignment ended while the queue was full.
    Cancelled,
    /// It never will be.
    Refused(String),
}

/// The producer of a pipeline and its delivery thread.
pub struct Publisher {
    producer: Arc<BaseProducer<Context>>,
    deliveries: Arc<Deliveries>,
    outputs: Vec<String>,
    dead_letters: Option<String>,
    max_bytes: usize,
    delivery: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("outputs", &self.outputs).finish_non_exhaustive()
    }
}

/// How often a full queue is tried again, should no report come.
const FULL_QUEUE: Duration = Duration::from_millis(20);
/// What a record takes in a request besides key, value and headers, generously.
const OVERHEAD: usize = 96;
/// What a header takes besides its name and value, generously.
const OVERHEAD_OF_HEADER: usize = 10;

impl Publisher {
    /// Starts the producer and its delivery thread.
    ///
    /// # Errors
    /// If the client refuses its configuration.
    pub fn start(
        user: &BTreeMap<String, String>,
        outputs: Vec<String>,
        dead_letters: Option<String>,
        deliveries: Arc<Deliveries>,
    ) -> Result<Publisher, Error> {
        let config: ClientConfig = properties::producer(user);
        let native = config.create_native_config().map_err(|error| Error::Properties(error.to_string()))?;
        let max_bytes =
            native.get("message.max.bytes").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
        let producer: BaseProducer<Context> = config
            .create_with_context(Context::new(deliveries.clone()))
            .map_err(|error: KafkaError| Error::Client(error.to_string()))?;
        let producer = Arc::new(producer);
        let (theirs, reports) = (producer.clone(), deliveries.clone());
        let delivery = std::thread::Builder::new()
            .name("delivery".into())
            .spawn(move || delivery::run(&theirs, &reports))
            .map_err(|error| Error::Client(format!("no delivery thread: {error}")))?;
        Ok(Publisher { producer, deliveries, outputs, dead_letters, max_bytes, delivery: Some(delivery) })
    }

    /// Number of output topics.
    pub fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// True if the producer would refuse this record for its size.
    pub fn is_too_large(&self, output: &Output<'_>) -> bool {
        let headers: usize =
            output.headers.iter().map(|(name, value)| OVERHEAD_OF_HEADER + name.len() + len(value)).sum();
        OVERHEAD + len(output.key) + len(output.value) + headers > self.max_bytes
    }

    /// Bytes of the largest record that the producer takes.
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Publishes one output. Returns once it stands in the producer's queue; waits while that is full.
    ///
    /// # Errors
    /// See [`NotTaken`].
    pub async fn publish(&self, tag: Tag, output: &Output<'_>, cancel: &Cancel) -> Result<(), NotTaken> {
        let place = Place { topic: &self.outputs[output.destination], partition: output.partition };
        let body = Body { key: output.key, value: output.value, timestamp: output.timestamp };
        self.wait_for_room(cancel, || self.send(place, tag, body, owned(output.headers.iter()))).await
    }

    /// Publishes a dead letter. Returns once it stands in the producer's queue; waits while that is full.
    ///
    /// # Errors
    /// See [`NotTaken`].
    pub async fn dead_letter(
        &self,
        tag: Tag,
        letter: &DeadLetter<'_>,
        cancel: &Cancel,
    ) -> Result<(), NotTaken> {
        self.wait_for_room(cancel, || self.send_dead_letter(tag, letter)).await
    }

    /// As [`dead_letter`](Publisher::dead_letter), without waiting: false if the queue is full.
    ///
    /// # Errors
    /// If the producer refuses it for good.
    pub fn try_dead_letter(&self, tag: Tag, letter: &DeadLetter<'_>) -> Result<bool, String> {
        match self.send_dead_letter(tag, letter) {
            Ok(()) => Ok(true),
            Err(RDKafkaErrorCode::QueueFull) => Ok(false),
            Err(code) => Err(code.to_string()),
        }
    }

    fn send_dead_letter(&self, tag: Tag, letter: &DeadLetter<'_>) -> Result<(), RDKafkaErrorCode> {
        let topic =
            self.dead_letters.as_deref().expect("the policy names a dead-letter topic, or does not get here");
        let DeadLetter { record, at, failure, attempts, origin } = *letter;
        let place = Place { topic, partition: None };
        let body = Body { key: record.key, value: record.value, timestamp: record.timestamp };
        let headers = |detail| Some(dead_letter::headers(record, at, failure, attempts, origin, detail));
        match self.send(place, tag, body, headers(Detail::Full)) {
            Err(RDKafkaErrorCode::MessageSizeTooLarge) => self.send(place, tag, body, headers(Detail::Place)),
            sent => sent,
        }
    }

    fn send(
        &self,
        place: Place<'_>,
        tag: Tag,
        body: Body<'_>,
        headers: Option<OwnedHeaders>,
    ) -> Result<(), RDKafkaErrorCode> {
        let mut record: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(place.topic, tag.to_opaque());
        record.partition = place.partition;
        record.key = body.key;
        record.payload = body.value;
        record.timestamp = (body.timestamp >= 0).then_some(body.timestamp);
        record.headers = headers;
        self.producer.send(record).map_err(|(error, _)| code(&error))
    }

    async fn wait_for_room(
        &self,
        cancel: &Cancel,
        mut send: impl FnMut() -> Result<(), RDKafkaErrorCode>,
    ) -> Result<(), NotTaken> {
        loop {
            let room = self.deliveries.room.notified();
            match send() {
                Ok(()) => return Ok(()),
                Err(RDKafkaErrorCode::QueueFull) => {}
                Err(code) => return Err(NotTaken::Refused(code.to_string())),
            }
            tokio::select! {
                () = cancel.cancelled() => return Err(NotTaken::Cancelled),
                () = room => {}
                () = tokio::time::sleep(FULL_QUEUE) => {}
            }
        }
    }

    /// Sends what lingers in the producer's queue, for at most `timeout`.
    pub fn flush(&self, timeout: Duration) {
        if let Err(error) = self.producer.flush(timeout) {
            tracing::warn!(%error, "outputs of interrupted calls were not acknowledged in time");
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.deliveries.stop();
        if let Some(thread) = self.delivery.take()
            && thread.join().is_err()
        {
            tracing::error!("the delivery thread panicked");
        }
    }
}

/// A record that failed for good.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetter<'a> {
    /// The record.
    pub record: &'a Record<'a>,
    /// Where it comes from.
    pub at: &'a TopicPartition,
    /// Why it failed.
    pub failure: &'a Failure,
    /// Calls that it took.
    pub attempts: u32,
    /// What all dead letters of the pipeline have in common.
    pub origin: &'a Origin,
}

/// Where a record goes.
#[derive(Clone, Copy)]
struct Place<'a> {
    topic: &'a str,
    /// `None`: the partitioner decides.
    partition: Option<i32>,
}

/// What it says, headers aside.
#[derive(Clone, Copy)]
struct Body<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    /// -1: when it is published.
    timestamp: i64,
}

fn owned<'a>(headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Option<OwnedHeaders> {
    let mut owned: Option<OwnedHeaders> = None;
    for (name, value) in headers {
        owned = Some(dead_letter::add(owned.unwrap_or_default(), name, value));
    }
    owned
}

fn len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(0, <[u8]>::len)
}
