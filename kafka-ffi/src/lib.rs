//! What Sandmill needs from librdkafka and `rdkafka` does not offer, as a safe interface.
//!
//! The host forbids unsafe code; every unsafe call that buys it something sits in this crate, each
//! with a comment that can be checked on the spot. The crate holds no policy: which partitions to
//! assign, when to commit and when to sleep is decided by its caller, the consumer thread.
//!
//! | module | what it buys | called on |
//! |---|---|---|
//! | [`mod@wake`] | one sleep for records, client events, commit replies and completions | consumer thread sleeps, any thread wakes |
//! | [`batch`] | records by the array: 96 ns a record where `poll` costs 235 | consumer thread |
//! | [`record`] | a record borrowed from the client's memory, nothing allocated | consumer thread |
//! | [`commit`] | asynchronous commits whose acknowledgement arrives | consumer thread |
//! | [`mod@committed`] | committed offsets with their metadata as bytes | a helper thread |
//! | [`producer`] | records out without a look-up or a reference count each | any thread sends, one serves |
//! | [`admin`] | ids of topics, end offsets of many partitions at once | a helper thread |
//! | [`watermark`] | the watermarks that the client saw last | any thread |
//! | [`embedded`] | a broker inside this process | any thread |
//!
//! # How the consumer thread uses it
//! 1. `subscribe`, with a context whose rebalance callback stores what is asked and returns.
//! 2. Loop: serve client events ([`BatchQueue::has_events`] and `BaseConsumer::poll(0)`), assign and
//!    unassign what was stored ([`BatchQueue::assign`], [`BatchQueue::incremental_assign`]), take
//!    records ([`BatchQueue::consume`]), read commit replies ([`Commits::poll_reply`]); when all of it
//!    came back empty, [`Sleeper::wait`].
//! 3. Stop: `unsubscribe`, serve the revoke that follows, unassign, read the last commit's reply, then
//!    drop [`BatchQueue`] and [`Commits`], then the consumer.
//!
//! # Dropping the consumer
//! `BaseConsumer`'s drop closes the group membership and polls until that is done. Closing asks the
//! rebalance callback to give the assignment up, so a callback that only stores and returns leaves
//! that drop waiting for ever. Either nothing is assigned any more (step 3), or the context carries a
//! closing flag: once it is set the callback calls `unassign` itself. Both are tested in
//! `tests/embedded/closing.rs`. To unassign without unsubscribing is not enough. With a commit
//! outstanding and the coordinator away, the drop may wait until the coordinator is back: a process that
//! must end by a deadline drops the consumer on a helper thread and exits without it if need be.
//!
//! The queues of this crate hold an `Arc` of the consumer, so the last one dropped runs that drop.

pub mod admin;
pub mod batch;
pub mod commit;
pub mod committed;
pub mod embedded;
pub mod producer;
pub mod record;
pub mod wake;
pub mod watermark;

mod error;
mod list;
mod native;

pub use admin::{Isolation, TopicDescription, describe_topics, end_offsets, start_offsets};
pub use batch::{BatchQueue, Chunk};
pub use commit::{CommitEntry, CommitReply, Commits, PartitionCommit};
pub use committed::{Committed, committed};
pub use embedded::EmbeddedCluster;
pub use error::Error;
pub use producer::{OutRecord, Producer};
pub use rdkafka::error::RDKafkaErrorCode;
pub use record::{Headers, Polled, RawRecord, TopicHandle};
pub use wake::{Sleeper, Waker};
pub use watermark::{Watermarks, cached_watermarks};
