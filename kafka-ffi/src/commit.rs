//! Asynchronous commits whose acknowledgement arrives.
//!
//! The consumer thread owns [`Commits`]: it hands a commit over, goes on, and reads the reply when the
//! waker calls. Replies come to a queue of their own; on the queue of the records they would abort the
//! process, and `rdkafka`'s commit callback never fires for a commit made by hand.
//!
//! The client starts no newly assigned partition, and does not finish giving partitions up, while a
//! commit is outstanding.

use std::collections::HashSet;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;

use crate::Error;
use crate::list::{self, PartitionList};
use crate::native::{Queue, outcome};
use crate::wake::Waker;

/// One partition's part of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitEntry<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: i32,
    /// The next offset to be read.
    pub offset: i64,
    /// What is stored beside it. The broker refuses more than its `offset.metadata.max.bytes` (4,096
    /// unless configured); the client and the embedded broker do not look.
    pub metadata: Option<&'a str>,
}

/// The answer to one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitReply {
    /// The code of the request: why it failed, or the code of one partition that was refused.
    pub error: Option<RDKafkaErrorCode>,
    /// Each partition of the commit, in the client's order.
    pub partitions: Vec<PartitionCommit>,
}

/// What became of one partition's part of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionCommit {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The offset that was to be committed.
    pub offset: i64,
    /// `Ok` only if the broker acknowledged it. `Err` does not say that it was not committed: the answer may
    /// have been lost.
    pub result: Result<(), RDKafkaErrorCode>,
}

/// Sends commits and receives their replies.
pub struct Commits<C: ConsumerContext> {
    replies: Queue<Arc<BaseConsumer<C>>>,
    outstanding: usize,
}

impl<C: ConsumerContext> Commits<C> {
    /// For the group of `consumer`. `waker` is called when a reply arrives where there was none.
    #[must_use]
    pub fn new(consumer: &Arc<BaseConsumer<C>>, waker: &Waker) -> Self {
        let replies = Queue::private(Arc::clone(consumer)).wake_on_first(waker.clone());
        Self { replies, outstanding: 0 }
    }

    /// Hands a commit to the client; [`Commits::poll_reply`] gives its result, once. An empty commit is
    /// answered with `NoOffset`.
    ///
    /// No reply is promised in time. While the coordinator is away a commit may fail after a session
    /// time-out, or wait until the coordinator is back, whatever the time-outs say: whoever needs an answer
    /// by a deadline has to keep that deadline and take silence for "not known to be committed".
    ///
    /// # Errors
    /// [`Error::NegativeOffset`], [`Error::DuplicatePartition`] and [`Error::TopicName`] for a list that
    /// cannot be committed, [`Error::Refused`] if the consumer has no group; no reply comes then.
    pub fn commit(&mut self, entries: &[CommitEntry<'_>]) -> Result<(), Error> {
        let mut list = PartitionList::with_capacity(entries.len());
        let mut seen = HashSet::with_capacity(entries.len());
        for &CommitEntry { topic, partition, offset, metadata } in entries {
            if offset < 0 {
                return Err(Error::NegativeOffset { topic: topic.to_owned(), partition, offset });
            }
            if !seen.insert((topic, partition)) {
                return Err(Error::DuplicatePartition { topic: topic.to_owned(), partition });
            }
            list.push(topic, partition, offset, metadata.map(str::as_bytes))?;
        }
        self.send(&list)
    }

    pub(crate) fn send(&mut self, list: &PartitionList) -> Result<(), Error> {
        // SAFETY: the client, the list (copied) and the queue are live. Without a callback the reply is
        // an event in the queue, which holds a reference of its own until the reply is there.
        let result = unsafe {
            c::rd_kafka_commit_queue(
                crate::native::KeepsClient::client(self.replies.keeper()),
                list.as_ptr(),
                self.replies.as_ptr(),
                None,
                ptr::null_mut(),
            )
        };
        outcome(result as i32).map_err(|code| Error::Refused { action: "commit", code })?;
        self.outstanding += 1;
        Ok(())
    }

    /// How many commits are not answered yet.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// The next reply, if one has arrived; never waits. The waker calls again only after this has
    /// returned `None`.
    pub fn poll_reply(&mut self) -> Option<CommitReply> {
        loop {
            let event = self.replies.poll(Duration::ZERO)?;
            if u32::try_from(event.kind()) != Ok(c::RD_KAFKA_EVENT_OFFSET_COMMIT as u32) {
                continue;
            }
            // SAFETY: an event of this kind owns a list, or none; both live until the event is dropped,
            // after the last use of the list.
            let list = unsafe { list::elements(c::rd_kafka_event_topic_partition_list(event.as_ptr())) };
            let reply = judge(
                event.error(),
                list.map(|p| (p.topic(), p.partition(), p.offset().unwrap_or(-1), p.error())),
            );
            self.outstanding = self.outstanding.saturating_sub(1);
            return Some(reply);
        }
    }
}

/// The client gives each partition the code that the broker answered with, and gives one of them to the request
/// as well. So where any partition has a code of its own, each has its own result. Where none has, the code is
/// that of a request to which no answer came, and nothing is acknowledged.
///
/// Source: `rd_kafka_handle_OffsetCommit` in `rdkafka_request.c` of librdkafka 2.12.
fn judge(whole: i32, partitions: impl Iterator<Item = (String, i32, i64, i32)>) -> CommitReply {
    let error = outcome(whole).err();
    let mut partitions: Vec<_> = partitions
        .map(|(topic, partition, offset, own)| PartitionCommit {
            topic,
            partition,
            offset,
            result: outcome(own),
        })
        .collect();
    if let Some(code) = error
        && partitions.iter().all(|partition| partition.result.is_ok())
    {
        partitions.iter_mut().for_each(|partition| partition.result = Err(code));
    }
    CommitReply { error, partitions }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(errors: [i32; 2]) -> impl Iterator<Item = (String, i32, i64, i32)> {
        (0..).zip(errors).map(|(partition, error)| ("t".to_owned(), partition, 5, error))
    }

    fn results(reply: &CommitReply) -> Vec<Result<(), RDKafkaErrorCode>> {
        reply.partitions.iter().map(|p| p.result).collect()
    }

    const TOO_LARGE: i32 = 12;
    const TRANSPORT: i32 = -195;

    #[test]
    fn an_acknowledged_commit_is_fine_everywhere() {
        let reply = judge(0, partitions([0, 0]));
        assert_eq!(reply.error, None);
        assert_eq!(results(&reply), [Ok(()), Ok(())]);
    }

    #[test]
    fn a_request_without_an_answer_acknowledges_nothing() {
        let reply = judge(TRANSPORT, partitions([0, 0]));
        assert_eq!(reply.error, Some(RDKafkaErrorCode::BrokerTransportFailure));
        assert_eq!(results(&reply), [Err(RDKafkaErrorCode::BrokerTransportFailure); 2]);
    }

    #[test]
    fn a_partition_that_was_refused_does_not_refuse_the_others() {
        let reply = judge(TOO_LARGE, partitions([0, TOO_LARGE]));
        assert_eq!(reply.error, Some(RDKafkaErrorCode::OffsetMetadataTooLarge));
        assert_eq!(results(&reply), [Ok(()), Err(RDKafkaErrorCode::OffsetMetadataTooLarge)]);
    }
}
