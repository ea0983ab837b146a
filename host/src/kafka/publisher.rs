//! Outputs and dead letters, into the producer's queue.
//!
//! Called by workers, in the order in which records take effect, and by the consumer thread for dead letters
//! of records whose outputs were refused. Nothing blocks: a full queue is waited for without holding the
//! worker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use sandmill_kafka_ffi::{OutRecord, Producer};

use super::Error;
use super::dead_letter::{self, Detail};
use super::delivery::{self, Context, Deliveries};
use super::haste::Haste;
use super::properties;
use crate::batch::{Record, TopicPartition};
use crate::cancel::Cancel;
use crate::lease::Lease;
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

/// The producer of a pipeline and its threads.
pub struct Publisher {
    producer: Arc<Producer<Context>>,
    deliveries: Arc<Deliveries>,
    outputs: usize,
    /// Index of the dead-letter topic among the producer's topics.
    dead_letters: Option<usize>,
    max_bytes: usize,
    lease: Lease,
    /// Callers that wait for room in the producer's queue.
    waiting: AtomicUsize,
    delivery: Option<JoinHandle<()>>,
    haste: Option<Haste>,
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
    /// Starts the producer and its threads.
    ///
    /// # Errors
    /// If the client refuses its configuration.
    pub fn start(
        user: &BTreeMap<String, String>,
        outputs: &[String],
        dead_letters: Option<&str>,
        deliveries: Arc<Deliveries>,
    ) -> Result<Publisher, Error> {
        let config: ClientConfig = properties::producer(user);
        let native = config.create_native_config().map_err(|error| Error::Properties(error.to_string()))?;
        let max_bytes =
            native.get("message.max.bytes").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
        let topics: Vec<&str> = outputs.iter().map(String::as_str).chain(dead_letters).collect();
        let producer = Producer::new(&config, Context::default(), &topics).map_err(|error| {
            match std::error::Error::source(&error) {
                Some(reason) => Error::Client(format!("{error}: {reason}")),
                None => Error::Client(error.to_string()),
            }
        })?;
        let producer = Arc::new(producer);
        let (theirs, reports) = (producer.clone(), deliveries.clone());
        let delivery = std::thread::Builder::new()
            .name("delivery".into())
            .spawn(move || delivery::run(&theirs, &reports))
            .map_err(|error| Error::Client(format!("no delivery thread: {error}")))?;
        let mut publisher = Publisher {
            producer,
            deliveries,
            outputs: outputs.len(),
            dead_letters: dead_letters.map(|_| outputs.len()),
            max_bytes,
            lease: Lease::new(properties::session_timeout(user)),
            waiting: AtomicUsize::new(0),
            delivery: Some(delivery),
            haste: None,
        };
        if properties::lingers_by_default(user) {
            let haste = Haste::start(publisher.producer.clone());
            publisher.haste = Some(haste.map_err(|error| Error::Client(format!("no thread: {error}")))?);
        }
        Ok(publisher)
    }

    /// Whether anything may be published.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Waits while the assignment is in doubt.
    ///
    /// # Errors
    /// [`NotTaken::Cancelled`] if it ended.
    pub async fn assured(&self, cancel: &Cancel) -> Result<(), NotTaken> {
        let assured = !cancel.is_cancelled() && (self.lease.holds() || self.lease.wait(cancel).await);
        if assured { Ok(()) } else { Err(NotTaken::Cancelled) }
    }

    /// Number of output topics.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Sends what lingers in the producer's queue at once: nothing more is coming that could join it.
    /// Does nothing where the user decided how long outputs linger.
    pub fn hurry(&self) {
        if let Some(haste) = &self.haste {
            haste.call();
        }
    }

    /// True while somebody waits for room in the producer's queue.
    pub fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// True if the producer would refuse this record for its size.
    pub fn is_too_large(&self, output: &Output<'_>) -> bool {
        let headers: usize =
            output.headers.iter().map(|(name, value)| OVERHEAD_OF_HEADER + name.len() + len(value)).sum();
        OVERHEAD + len(output.key) + len(output.value) + headers > self.max_bytes
    }

    /// True if no output of an answer of so many bytes (by `Answer::bytes`) can be too large: the usual
    /// answer need not be looked through.
    pub fn takes_any_part_of(&self, bytes: usize) -> bool {
        // Twice, because a header is taken for a little larger here than it weighs there.
        bytes.saturating_mul(2).saturating_add(OVERHEAD) <= self.max_bytes
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
        let record = OutRecord {
            topic: output.destination,
            partition: output.partition,
            key: output.key,
            value: output.value,
            timestamp_ms: (output.timestamp >= 0).then_some(output.timestamp),
            opaque: tag.to_opaque(),
        };
        // The usual case makes no future that waits.
        match self.producer.send(&record, output.headers.iter()) {
            Ok(()) => Ok(()),
            Err(RDKafkaErrorCode::QueueFull) => {
                self.wait_for_room(cancel, || self.producer.send(&record, output.headers.iter())).await
            }
            Err(code) => Err(NotTaken::Refused(code.to_string())),
        }
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
        let topic = self.dead_letters.expect("the policy names a dead-letter topic, or does not get here");
        let DeadLetter { record, at, failure, attempts, origin } = *letter;
        let out = OutRecord {
            topic,
            partition: None,
            key: record.key,
            value: record.value,
            timestamp_ms: (record.timestamp >= 0).then_some(record.timestamp),
            opaque: tag.to_opaque(),
        };
        let send = |detail| {
            let headers = dead_letter::headers(record, at, failure, attempts, origin, detail);
            self.producer.send(&out, headers.iter().map(|(name, value)| (*name, value.as_deref())))
        };
        match send(Detail::Full) {
            Err(RDKafkaErrorCode::MessageSizeTooLarge) => send(Detail::Place),
            sent => sent,
        }
    }

    async fn wait_for_room(
        &self,
        cancel: &Cancel,
        mut send: impl FnMut() -> Result<(), RDKafkaErrorCode>,
    ) -> Result<(), NotTaken> {
        let mut waiting = None;
        loop {
            self.assured(cancel).await?;
            let room = self.deliveries.room.notified();
            match send() {
                Ok(()) => return Ok(()),
                Err(RDKafkaErrorCode::QueueFull) => {
                    waiting.get_or_insert_with(|| Waiting::of(&self.waiting));
                }
                Err(code) => return Err(NotTaken::Refused(code.to_string())),
            }
            tokio::select! {
                () = cancel.cancelled() => return Err(NotTaken::Cancelled),
                () = room => {}
                () = tokio::time::sleep(FULL_QUEUE) => {}
            }
        }
    }

    /// Sends what lingers in the producer's queue and waits for the acknowledgements, at most `timeout`.
    pub fn flush(&self, timeout: Duration) {
        if !self.producer.flush(timeout) {
            tracing::warn!("outputs of interrupted calls were not acknowledged in time");
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.haste = None;
        self.deliveries.stop();
        if let Some(thread) = self.delivery.take()
            && thread.join().is_err()
        {
            tracing::error!("the delivery thread panicked");
        }
    }
}

/// Counts a caller as long as it waits, also if its call is dropped.
struct Waiting<'w>(&'w AtomicUsize);

impl<'w> Waiting<'w> {
    fn of(waiting: &'w AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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

fn len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(0, <[u8]>::len)
}
