//! What can go wrong when the client is asked for something.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// A request that the client did not take, or that failed as a whole.
///
/// Failures of single partitions or topics are no errors here: they are part of the answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A topic name that cannot be handed to the client.
    #[error("topic name {topic:?} contains a zero byte; correct the configured name")]
    TopicName {
        /// The name as given.
        topic: String,
    },

    /// A consumer whose end-of-partition events would make it skip records.
    #[error(
        "enable.partition.eof is on, with which this version of the client skips a record after a pause \
         or rebalance at the end of a partition; leave it off and read positions instead"
    )]
    PartitionEof,

    /// A commit of a negative offset, which the client would leave out without a word.
    #[error("cannot commit {topic} [{partition}] at {offset}: an offset is never negative")]
    NegativeOffset {
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// The offset as given.
        offset: i64,
    },

    /// A commit that names a partition twice; the answer could not be told apart.
    #[error("cannot commit {topic} [{partition}] twice in one request: give each partition once")]
    DuplicatePartition {
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: i32,
    },

    /// The client or the broker refused a request as a whole.
    #[error("cannot {action}: {code}")]
    Refused {
        /// What was asked for.
        action: &'static str,
        /// The client's or the broker's code.
        code: RDKafkaErrorCode,
    },

    /// A safe call of the client failed on the way.
    #[error("cannot {action}")]
    Client {
        /// What was asked for.
        action: &'static str,
        /// The client's error.
        #[source]
        source: KafkaError,
    },
}

impl Error {
    pub(crate) fn client(action: &'static str) -> impl FnOnce(KafkaError) -> Self {
        move |source| Self::Client { action, source }
    }
}
