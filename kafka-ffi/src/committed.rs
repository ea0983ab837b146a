//! Committed offsets and their metadata, as bytes.
//!
//! Called on a helper thread: it waits for the coordinator. The consumer thread polls on meanwhile;
//! librdkafka's functions may be called from several threads.

use std::time::Duration;

use rdkafka::client::Client;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::RDKafkaErrorCode;

use crate::Error;
use crate::list::PartitionList;
use crate::native::{outcome, rd_kafka_committed, timeout_ms};

/// What a group has committed for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The next offset to be read, none if nothing was ever committed (or has expired).
    pub offset: Option<i64>,
    /// What was stored beside it, by whoever may commit to the group: text in no way. A commit without
    /// metadata may come back with empty metadata.
    pub metadata: Option<Vec<u8>>,
    /// Why this partition could not be read. `offset` and `metadata` say nothing then.
    pub error: Option<RDKafkaErrorCode>,
}

/// Reads what the group of `client` has committed, all partitions in one request, in the order given.
/// Waits for the answer at most `timeout`, through missing coordinators and, with
/// `isolation.level=read_committed`, through pending transactions.
///
/// # Errors
/// [`Error::Refused`] if the request failed as a whole (`OperationTimedOut` after `timeout`),
/// [`Error::TopicName`].
pub fn committed<C: ConsumerContext>(
    client: &Client<C>,
    partitions: &[(&str, i32)],
    timeout: Duration,
) -> Result<Vec<Committed>, Error> {
    // The client answers an empty list with an error.
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let mut list = PartitionList::with_capacity(partitions.len());
    for &(topic, partition) in partitions {
        list.push(topic, partition, rdkafka::bindings::RD_KAFKA_OFFSET_INVALID.into(), None)?;
    }
    // SAFETY: the client is borrowed and the list owned, both until the call returns; librdkafka works on
    // a copy, so nothing writes to the list afterwards.
    let result = unsafe { rd_kafka_committed(client.native_ptr(), list.as_ptr(), timeout_ms(timeout)) };
    outcome(result).map_err(|code| Error::Refused { action: "read committed offsets", code })?;
    Ok(list
        .iter()
        .map(|partition| Committed {
            topic: partition.topic(),
            partition: partition.partition(),
            offset: partition.offset(),
            metadata: partition.metadata().map(<[u8]>::to_vec),
            error: outcome(partition.error()).err(),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};

    use super::*;
    use crate::{Commits, EmbeddedCluster, Sleeper};

    /// Unit test, because the public interface only commits text.
    #[test]
    fn metadata_that_is_no_text_is_read_back_byte_by_byte() {
        const PATIENCE: Duration = Duration::from_secs(30);
        let hostile = [0xff, 0xfe, 0, b'x', 0xc0];
        let cluster = EmbeddedCluster::start(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let consumer: BaseConsumer<DefaultConsumerContext> = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("group.id", "g")
            .create_with_context(DefaultConsumerContext)
            .unwrap();
        let consumer = Arc::new(consumer);
        let mut sleeper = Sleeper::new();
        let mut commits = Commits::new(&consumer, &sleeper.waker());

        let mut list = PartitionList::with_capacity(1);
        list.push("t", 0, 3, Some(&hostile)).unwrap();
        commits.send(&list).unwrap();
        let reply = loop {
            if let Some(reply) = commits.poll_reply() {
                break reply;
            }
            assert!(sleeper.wait(PATIENCE), "no reply came");
        };
        assert_eq!(reply.partitions[0].result, Ok(()));

        let read = committed(consumer.client(), &[("t", 0)], PATIENCE).unwrap();
        assert_eq!((read[0].offset, read[0].metadata.as_deref()), (Some(3), Some(&hostile[..])));
    }
}
