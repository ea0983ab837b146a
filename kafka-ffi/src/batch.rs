//! Records of all assigned partitions by the array.
//!
//! The consumer thread owns the [`BatchQueue`]. Each partition has a queue of its own inside the
//! client; forwarding it to a private queue keeps records away from `BaseConsumer::poll`, which goes
//! on serving rebalances and statistics, and lets [`BatchQueue::consume`] take thousands at once.
//!
//! # When a partition is forwarded
//! Starting a partition for the first time sends its queue to the consumer's own, unless the
//! application forwarded it before; stopping it clears whatever forwarding there is, and the client
//! never restores it. Stopping is asynchronous, also inside one `assign` that replaces another. So
//! [`BatchQueue::assign`] forwards before assigning (no record slips into `poll`) and again after the
//! client's main thread has certainly handled the stop (the partition does not stay silent). Records
//! fetched in between wait in the partition's queue and move over with the second forwarding.
//!
//! Use only these two functions to assign; `unassign`, `incremental_unassign`, `pause`, `resume` and
//! `seek` of `rdkafka` are fine as they are, and take nothing back here.

use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as c;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;

use crate::Error;
use crate::native::{Queue, topic_name};
use crate::record::Polled;
use crate::wake::Waker;

/// The queue to which the assigned partitions are forwarded, and the wake-ups of a consumer.
///
/// One for a consumer: a second one would take the first one's wake-ups for client events away.
pub struct BatchQueue<C: ConsumerContext> {
    /// Declared first, so messages that are still here go before the queues and the consumer.
    slots: Slots,
    records: Queue<Arc<BaseConsumer<C>>>,
    events: Queue<Arc<BaseConsumer<C>>>,
}

impl<C: ConsumerContext> BatchQueue<C> {
    /// A queue for `consumer`, which needs a `group.id`. `waker` is called when records, or events for
    /// `BaseConsumer::poll`, arrive where there were none.
    ///
    /// # Errors
    /// [`Error::Refused`] if the consumer has no group.
    pub fn new(consumer: &Arc<BaseConsumer<C>>, waker: &Waker) -> Result<Self, Error> {
        let events = Queue::consumer(Arc::clone(consumer)).ok_or(Error::Refused {
            action: "consume by the batch without a group.id",
            code: rdkafka::error::RDKafkaErrorCode::UnknownGroup,
        })?;
        let records = Queue::private(Arc::clone(consumer));
        Ok(Self {
            slots: Slots::default(),
            records: records.wake_on_first(waker.clone()),
            events: events.wake_on_first(waker.clone()),
        })
    }

    /// Replaces the assignment (eager protocols, or no group management), and forwards its partitions.
    /// A partition in the old and the new list is stopped and started again.
    ///
    /// # Errors
    /// [`Error::Client`] if the client refuses the list; nothing is assigned then.
    pub fn assign(&mut self, partitions: &TopicPartitionList) -> Result<(), Error> {
        self.assign_by(partitions, |consumer| consumer.assign(partitions))
    }

    /// Adds to the assignment (cooperative protocols), and forwards the new partitions.
    ///
    /// # Errors
    /// [`Error::Client`] if the client refuses the list, as for a partition that is assigned already;
    /// nothing is added then.
    pub fn incremental_assign(&mut self, partitions: &TopicPartitionList) -> Result<(), Error> {
        self.assign_by(partitions, |consumer| consumer.incremental_assign(partitions))
    }

    fn assign_by(
        &self,
        partitions: &TopicPartitionList,
        assign: impl FnOnce(&BaseConsumer<C>) -> KafkaResult<()>,
    ) -> Result<(), Error> {
        let consumer = self.records.keeper();
        self.forward(partitions)?;
        assign(consumer).map_err(Error::client("assign partitions"))?;
        // A barrier: the client's main thread takes requests in order, and those to stop a partition
        // were queued before this one.
        consumer.assignment().map_err(Error::client("read the assignment back"))?;
        self.forward(partitions)
    }

    fn forward(&self, partitions: &TopicPartitionList) -> Result<(), Error> {
        for element in partitions.elements() {
            let topic = topic_name(element.topic())?;
            Queue::partition(Arc::clone(self.records.keeper()), &topic, element.partition())
                .ok_or(Error::Refused {
                    action: "find the queue of a partition",
                    code: rdkafka::error::RDKafkaErrorCode::UnknownPartition,
                })?
                .forward_to(&self.records);
        }
        Ok(())
    }

    /// Takes at most `max` entries that are there now; never waits. Counts as polling for
    /// `max.poll.interval.ms`. The queue is empty once the chunk says [`Chunk::drained`]; only then does
    /// the next arrival call the waker.
    ///
    /// The client drops what a seek, a pause or an unassignment has outdated before it hands it out.
    pub fn consume(&mut self, max: usize) -> Chunk<'_> {
        self.slots.release();
        self.slots.messages.resize(max, ptr::null_mut());
        // SAFETY: the handle is live and the array has room for `max` pointers.
        let filled = unsafe {
            c::rd_kafka_consume_batch_queue(self.records.as_ptr(), 0, self.slots.messages.as_mut_ptr(), max)
        };
        // Never negative for a queue; if it were, the array would hold nothing.
        self.slots.filled = usize::try_from(filled).unwrap_or(0);
        Chunk { slots: &mut self.slots }
    }

    /// Whether events wait for `BaseConsumer::poll`. Needed because `poll` returns `None` both when
    /// there was no event and when it served one; call it with a zero time-out until this is false.
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.events.len() > 0
    }
}

/// The array that the client fills, used again for each chunk. Owns the first `filled` messages.
#[derive(Default)]
struct Slots {
    messages: Vec<*mut c::rd_kafka_message_t>,
    filled: usize,
}

// SAFETY: the messages are owned here and reached only through `&mut self` or a chunk that borrows it;
// librdkafka lets any thread use and destroy a message.
unsafe impl Send for Slots {}

impl Slots {
    fn release(&mut self) {
        // Zero first: a message is never destroyed twice, whatever happens below.
        let filled = std::mem::take(&mut self.filled);
        for &message in &self.messages[..filled] {
            // SAFETY: the client filled this slot with a message for us to destroy, and `filled` is
            // already zero, so nobody reaches it again.
            unsafe { c::rd_kafka_message_destroy(message) };
        }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.release();
    }
}

/// What one [`BatchQueue::consume`] took. Gives the client its memory back when dropped.
pub struct Chunk<'q> {
    slots: &'q mut Slots,
}

impl Chunk<'_> {
    /// How many entries there are, records and others.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.filled
    }

    /// Whether nothing was there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the queue was found empty: there were fewer entries than asked for.
    #[must_use]
    pub fn drained(&self) -> bool {
        self.len() < self.slots.messages.len()
    }

    /// The entries, in the order in which the client queued them: for one partition that is the order
    /// of offsets.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Polled<'_>> {
        self.slots.messages[..self.slots.filled].iter().map(|&message| {
            let message = NonNull::new(message).expect("librdkafka fills the slots that it counts");
            // SAFETY: the message is owned by the slots, which this chunk borrows mutably and leaves
            // alone as long as `self` is borrowed. Only `BatchQueue::forward` sends anything to the
            // queue, and it names partitions by a `str`.
            unsafe { Polled::borrow(message) }
        })
    }
}

impl Drop for Chunk<'_> {
    fn drop(&mut self) {
        self.slots.release();
    }
}
