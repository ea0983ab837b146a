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
//! Use only the `assign`, `incremental_assign` and `resume_at` of this type; `unassign`,
//! `incremental_unassign`, `pause` and `seek` of `rdkafka` are fine as they are, and take nothing back here.
//!
//! # No end-of-partition events
//! This version of librdkafka counts an end-of-partition event taken by the batch as a record, so that
//! the client's own position runs one ahead; the next pause, also the client's own during a cooperative
//! rebalance, then resumes one record too far, and that record is lost (librdkafka #4844, repaired after
//! 2.12). So `enable.partition.eof` is refused. What it was wanted for, moving a position past
//! transaction markers and aborted records at the end of a partition, [`BatchQueue::positions`] does.

use std::ffi::{CStr, c_char};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as c;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;

use crate::Error;
use crate::list::{Partition, PartitionList};
use crate::native::{KeepsClient, Queue, outcome, topic_name};
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
    /// [`Error::Refused`] if the consumer has no group, [`Error::PartitionEof`] if it has
    /// `enable.partition.eof` on.
    pub fn new(consumer: &Arc<BaseConsumer<C>>, waker: &Waker) -> Result<Self, Error> {
        let events = Queue::consumer(Arc::clone(consumer)).ok_or(Error::Refused {
            action: "consume by the batch without a group.id",
            code: rdkafka::error::RDKafkaErrorCode::UnknownGroup,
        })?;
        if reports_partition_ends(consumer) {
            return Err(Error::PartitionEof);
        }
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
        self.await_main_thread()?;
        self.forward(partitions)
    }

    /// Waits until the client's main thread has handled what was asked of it before: it takes requests
    /// in order, also the ones to stop a partition or to seek that it made of earlier calls.
    fn await_main_thread(&self) -> Result<(), Error> {
        let consumer = self.records.keeper();
        consumer.assignment().map(drop).map_err(Error::client("reach the client's main thread"))
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

    /// Resumes partitions at the caller's own positions, those being the list's offsets. Nothing below
    /// them comes any more, and nothing of before this call.
    ///
    /// Also right after a cooperative rebalance, for the partitions that stayed: the client paused them.
    /// The seek does more than make sure of the offset. Resuming alone does not wake the client's thread
    /// for a broker whose partitions were all paused, which then sleeps on for up to a second; seeking
    /// does (0 to 16 ms).
    ///
    /// # Errors
    /// [`Error::Client`] if the client refuses: a partition that is not assigned, an offset missing.
    pub fn resume_at(&mut self, positions: &TopicPartitionList) -> Result<(), Error> {
        let consumer = self.records.keeper();
        consumer.resume(positions).map_err(Error::client("resume partitions"))?;
        for element in positions.elements() {
            // Zero: it happens on the client's thread, and what was fetched before is void at once.
            consumer
                .seek(element.topic(), element.partition(), element.offset(), Duration::ZERO)
                .map_err(Error::client("seek to a position"))?;
        }
        Ok(())
    }

    /// The client's position in each of these assigned partitions, in the order given: behind the last
    /// entry that [`BatchQueue::consume`] handed out, and behind the transaction markers and aborted
    /// records that followed it. All records below it were handed out since the assignment or seek, so
    /// a caller that has handled them may take it for its own position. None before the first.
    ///
    /// Asks no broker but does wait for the client's main thread (well below a millisecond): meant for a
    /// timer, not for each record.
    ///
    /// # Errors
    /// [`Error::TopicName`], or [`Error::Client`] if the client is closed.
    pub fn positions(&self, partitions: &[(&str, i32)]) -> Result<Vec<Option<i64>>, Error> {
        // Without it the position of before a seek could still be there.
        self.await_main_thread()?;
        let mut list = PartitionList::with_capacity(partitions.len());
        for &(topic, partition) in partitions {
            list.push(topic, partition, c::RD_KAFKA_OFFSET_INVALID.into(), None)?;
        }
        // SAFETY: the client is live; the list is ours and written before the call returns.
        let result = unsafe { c::rd_kafka_position(self.records.keeper().client(), list.as_ptr()) };
        outcome(result as i32).map_err(|code| Error::Refused { action: "read positions", code })?;
        Ok(list.iter().map(Partition::offset).collect())
    }

    /// Whether events wait for `BaseConsumer::poll`. Needed because `poll` returns `None` both when
    /// there was no event and when it served one; call it with a zero time-out until this is false.
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.events.len() > 0
    }
}

/// Reads the setting from the running client, so that nothing has to be believed.
fn reports_partition_ends<C: ConsumerContext>(consumer: &Arc<BaseConsumer<C>>) -> bool {
    let mut value = [0 as c_char; 8];
    let mut size = value.len();
    // SAFETY: the client is live and lends its configuration, which never changes; the value is written
    // as a C string of at most `size` bytes.
    unsafe {
        let config = c::rd_kafka_conf(KeepsClient::client(consumer));
        let name = c"enable.partition.eof".as_ptr();
        c::rd_kafka_conf_get(config, name, value.as_mut_ptr(), &raw mut size);
        CStr::from_ptr(value.as_ptr()) == c"true"
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
