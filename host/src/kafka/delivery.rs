//! Acknowledgements: from the producer's delivery reports to the consumer thread.
//!
//! One delivery thread a pipeline serves the producer. Each acknowledgement carries, in the client's opaque
//! pointer, the ticket and the record it belongs to. Those of one ticket that follow each other become one
//! count, and all that came at once cross over together: the consumer thread sees a few counts, not every
//! acknowledgement, and no lock is taken for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use sandmill_kafka_ffi::Producer;
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

/// What the producer's client calls back.
#[derive(Debug, Default)]
pub struct Context(Complaints);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_client(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.log(&error, reason);
    }
}

/// How long the delivery thread waits for the next acknowledgement before it looks whether it should end.
const POLL: Duration = Duration::from_millis(100);

/// The delivery thread: serves the producer until it is told to stop.
pub(super) fn run(producer: &Producer<Context>, deliveries: &Deliveries) {
    let mut collected = Vec::new();
    while !deliveries.stop.load(Ordering::Acquire) {
        producer.serve(POLL, |opaque, outcome| {
            collect(&mut collected, Tag::from_opaque(opaque), outcome);
        });
        if !collected.is_empty() {
            deliveries.inbox.append(&mut collected);
            deliveries.room.notify_waiters();
        }
        if let Some((code, reason)) = producer.fatal_error() {
            deliveries.inbox.push(Delivery::Fatal(format!("{code}: {reason}")));
            return;
        }
    }
}

/// Adds one acknowledgement, or counts it with the one before where that is of the same ticket.
fn collect(collected: &mut Vec<Delivery>, tag: Tag, outcome: Result<(), RDKafkaErrorCode>) {
    use RDKafkaErrorCode as Code;
    let delivery = match outcome {
        Ok(()) => {
            if let Some(Delivery::Acknowledged { ticket, count }) = collected.last_mut()
                && *ticket == tag.ticket
            {
                *count += 1;
                return;
            }
            Delivery::Acknowledged { ticket: tag.ticket, count: 1 }
        }
        // The producer is being dropped: nobody waits for these any more.
        Err(Code::PurgeQueue | Code::PurgeInflight) => return,
        Err(code @ Code::Fatal) => Delivery::Fatal(code.to_string()),
        Err(code) => Delivery::Refused { tag, reason: code.to_string() },
    };
    collected.push(delivery);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_of_one_ticket_become_a_count_and_none_is_lost() {
        let tag = |index, input| Tag { ticket: Ticket { index, serial: 7 }, input, dead_letter: false };
        let mut collected = Vec::new();
        let refused = Err(RDKafkaErrorCode::MessageSizeTooLarge);
        let purged = Err(RDKafkaErrorCode::PurgeQueue);
        for (tag, outcome) in [
            (tag(1, 0), Ok(())),
            (tag(1, 1), Ok(())),
            (tag(1, 2), purged),
            (tag(2, 0), Ok(())),
            (tag(2, 1), refused),
            (tag(2, 2), Ok(())),
        ] {
            collect(&mut collected, tag, outcome);
        }
        let acknowledged = |index, count| Delivery::Acknowledged { ticket: tag(index, 0).ticket, count };
        let reason = RDKafkaErrorCode::MessageSizeTooLarge.to_string();
        assert_eq!(
            collected,
            [
                acknowledged(1, 2),
                acknowledged(2, 1),
                Delivery::Refused { tag: tag(2, 1), reason },
                acknowledged(2, 1),
            ]
        );
    }

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
