//! Filling a topic: as fast as the client can, in order, and only with what the broker acknowledged.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use super::cluster::{Cluster, failed};
use crate::bench::content::Content;
use crate::bench::{Error, Topic};

/// How often the producer's callbacks are served and the caller is told.
const TOLD_EVERY: u64 = 4_096;
/// A broker that acknowledges nothing for so long has stalled.
const STALL: Duration = Duration::from_secs(30);
/// How long one look for acknowledgements waits.
const POLL: Duration = Duration::from_millis(10);

/// A topic that is to be made and filled.
#[derive(Clone, Debug)]
pub struct Fill {
    /// Its name, which nothing else has.
    pub name: String,
    /// How many partitions it gets.
    pub partitions: i32,
    /// Copies of each partition; none: as many as the broker makes by default.
    pub copies: Option<i32>,
    /// How many records.
    pub records: u64,
    /// Which.
    pub content: Content,
    /// Make the check sums of what `parse` has to write: the records have to be lines of a log.
    pub parsed: bool,
}

impl Cluster {
    /// Creates a topic and fills it, then reads it back once: what stands there is what is measured. `told` is
    /// called with the number of records every so often, and says whether to go on.
    ///
    /// # Errors
    /// If the broker refuses something, or does not hold what was sent. [`Error::Interrupted`] if `told` said
    /// so. The topic stays; the caller removes it.
    pub fn fill(&self, fill: &Fill, told: impl FnMut(u64) -> bool) -> Result<Topic, Error> {
        self.create_topic(&fill.name, fill.partitions, fill.copies)?;
        self.fill_existing(fill, told)
    }

    /// The same with a topic that exists and is empty.
    ///
    /// # Errors
    /// As [`Cluster::fill`].
    pub fn fill_existing(&self, fill: &Fill, told: impl FnMut(u64) -> bool) -> Result<Topic, Error> {
        self.produce(fill, told)?;
        let topic = self.survey(&fill.name, fill.parsed)?;
        if topic.records != fill.records {
            let problem = format!(
                "it was filled with {} records and holds {}; does something else write to it, or does the broker \
                 remove them already? (An embedded broker keeps 5 MiB a partition.)",
                fill.records, topic.records
            );
            return Err(Error::Topic { topic: topic.name, problem });
        }
        Ok(topic)
    }

    fn produce(&self, fill: &Fill, mut told: impl FnMut(u64) -> bool) -> Result<(), Error> {
        let action = format!("fill topic {:?}", fill.name);
        let producer: BaseProducer<Receipts> =
            self.producer_config().create_with_context(Receipts::default()).map_err(failed(&action))?;
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let mut records = fill.content.records()?;
        for count in 0..fill.records {
            records.next(&mut key, &mut value);
            let mut record = BaseRecord::to(&fill.name).key(&key).payload(&value);
            let mut moved = Instant::now();
            while let Err((error, back)) = producer.send(record) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(failed(&action)(error));
                }
                wait(&producer, &action, &mut moved)?;
                record = back;
            }
            if count.is_multiple_of(TOLD_EVERY) {
                producer.poll(Duration::ZERO);
                producer.context().check(&action)?;
                if !told(count) {
                    return Err(Error::Interrupted);
                }
            }
        }
        let mut moved = Instant::now();
        while producer.in_flight_count() > 0 {
            wait(&producer, &action, &mut moved)?;
        }
        producer.context().check(&action)?;
        told(fill.records);
        Ok(())
    }
}

/// Waits a little for acknowledgements. `moved` is when there last were fewer records on their way.
fn wait(producer: &BaseProducer<Receipts>, action: &str, moved: &mut Instant) -> Result<(), Error> {
    let before = producer.in_flight_count();
    producer.poll(POLL);
    producer.context().check(action)?;
    if producer.in_flight_count() < before {
        *moved = Instant::now();
    } else if moved.elapsed() > STALL {
        return Err(failed(action)(format!("the broker acknowledged nothing for {STALL:?}")));
    }
    Ok(())
}

/// Keeps the first refusal.
#[derive(Debug, Default)]
struct Receipts(Mutex<Option<String>>);

impl Receipts {
    fn check(&self, action: &str) -> Result<(), Error> {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        refused.map_or(Ok(()), |reason| Err(failed(action)(reason)))
    }
}

impl ClientContext for Receipts {}

impl ProducerContext for Receipts {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.to_string());
        }
    }
}
