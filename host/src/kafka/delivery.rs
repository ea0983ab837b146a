//! Acknowledgements: from the producer's delivery reports to the consumer thread.
//!
//! One delivery thread a pipeline polls the producer. Each report carries, in the client's opaque pointer,
//! the ticket and the record it belongs to; runs of one ticket are merged before they cross over, so the
//! consumer thread sees a few counts, not every report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use tokio::sync::Notify;

use super::context::{Complaints, log_client};
use crate::inbox::Inbox;
use crate::work::Ticket;

/// What the producer says of published records.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The broker has so many more outputs of this ticket.
    Acknowledged {
        /// Whose.
        ticket: Ticket,
        /// How many.
        count: u32,
    },
    /// The broker refused an output for good.
    Refused {
        /// Whose.
        tag: Tag,
        /// Why.
        reason: String,
    },
    /// The producer cannot go on.
    Fatal(String),
}

/// What a published record belongs to. Fits into the client's opaque pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Whose.
    pub ticket: Ticket,
    /// Which record of its batch.
    pub input: u16,
    /// A dead letter, not an output.
    pub dead_letter: bool,
}

const INDEX_BITS: u32 = Ticket::INDEX_BITS;
const SERIAL_BITS: u32 = Ticket::SERIAL_BITS;

impl Tag {
    /// As the client carries it.
    pub(super) fn to_opaque(self) -> usize {
        let index = u64::from(self.ticket.index) & ((1 << INDEX_BITS) - 1);
        let serial = u64::from(self.ticket.serial) & ((1 << SERIAL_BITS) - 1);
        let bits = u64::from(self.dead_letter)
            | u64::from(self.input) << 1
            | index << 17
            | serial << (17 + INDEX_BITS);
        usize::try_from(bits).expect("pointers have 64 bits: checked when the crate is built")
    }

    fn from_opaque(opaque: usize) -> Self {
        let bits = opaque as u64;
        Tag {
            dead_letter: bits & 1 == 1,
            input: (bits >> 1) as u16,
            ticket: Ticket {
                index: (bits >> 17) as u32 & ((1 << INDEX_BITS) - 1),
                serial: (bits >> (17 + INDEX_BITS)) as u32,
            },
        }
    }
}

const _: () = assert!(usize::BITS == 64, "the host needs a 64-bit system");

/// Collects delivery reports; shared by producer, delivery thread and consumer thread.
#[derive(Debug)]
pub struct Deliveries {
    inbox: Inbox<Delivery>,
    /// Told at each report: the queue has room.
    pub(super) room: Notify,
    stop: AtomicBool,
}

impl Deliveries {
    /// `wake` is called when the consumer thread has something to take.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Deliveries { inbox: Inbox::new(wake), room: Notify::new(), stop: AtomicBool::new(false) })
    }

    /// Moves everything that came into `into`, which has to be empty.
    pub fn take_all(&self, into: &mut Vec<Delivery>) {
        self.inbox.take_all(into);
    }

    /// Ends the delivery thread.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// The producer's callbacks.
#[derive(Debug)]
pub struct Context(pub(super) Arc<Deliveries>, Complaints);

impl Context {
    pub(super) fn new(deliveries: Arc<Deliveries>) -> Self {
        Context(deliveries, Complaints::default())
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_client(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.1.log(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let tag = Tag::from_opaque(opaque);
        let delivery = match result {
            Ok(_) => Delivery::Acknowledged { ticket: tag.ticket, count: 1 },
            // The producer is being dropped: nobody waits for these any more.
            Err((error, _))
                if matches!(code(error), RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) =>
            {
                return;
            }
            Err((error, _)) if code(error) == RDKafkaErrorCode::Fatal => Delivery::Fatal(error.to_string()),
            Err((error, _)) => Delivery::Refused { tag, reason: code(error).to_string() },
        };
        self.0.inbox.merge(delivery, |last, new| match (last, new) {
            (
                Delivery::Acknowledged { ticket, count },
                Delivery::Acknowledged { ticket: same, count: more },
            ) if ticket == same => {
                *count += more;
                true
            }
            _ => false,
        });
        self.0.room.notify_waiters();
    }
}

pub(super) fn code(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)
}

/// How long one poll of the producer waits.
const POLL: Duration = Duration::from_millis(100);

/// The delivery thread: polls the producer until it is told to stop.
pub(super) fn run(producer: &BaseProducer<Context>, deliveries: &Deliveries) {
    while !deliveries.stop.load(Ordering::Acquire) {
        producer.poll(POLL);
        if let Some((code, reason)) = producer.client().fatal_error() {
            deliveries.inbox.push(Delivery::Fatal(format!("{code}: {reason}")));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_the_client() {
        for tag in [
            Tag { ticket: Ticket { index: 0, serial: 0 }, input: 0, dead_letter: false },
            Tag { ticket: Ticket { index: 1, serial: 2 }, input: 3, dead_letter: true },
            Tag {
                ticket: Ticket { index: (1 << 20) - 1, serial: (1 << 27) - 1 },
                input: u16::MAX,
                dead_letter: true,
            },
        ] {
            assert_eq!(Tag::from_opaque(tag.to_opaque()), tag);
        }
    }
}
