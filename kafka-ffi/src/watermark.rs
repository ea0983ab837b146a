//! The watermarks that the client saw last. Never waits, asks no broker.

use rdkafka::client::Client;
use rdkafka::consumer::ConsumerContext;

use crate::Error;
use crate::native::{outcome, topic_name};

/// The bounds of a partition as of its latest fetch; none before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// The earliest offset. Rarely refreshed: the client learns it only when it asks for offsets.
    pub low: Option<i64>,
    /// The high watermark: the next offset that will be written. Stands still while the partition is
    /// paused, and counts records of open transactions; see [`crate::end_offsets`] for both.
    pub high: Option<i64>,
}

/// The watermarks of an assigned partition. (Asking for another one makes the client watch it.)
///
/// # Errors
/// [`Error::TopicName`], and [`Error::Refused`] if the client has no room for the topic.
pub fn cached_watermarks<C: ConsumerContext>(
    client: &Client<C>,
    topic: &str,
    partition: i32,
) -> Result<Watermarks, Error> {
    let topic = topic_name(topic)?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client is borrowed, the name a C string, both numbers are written before the return.
    let result = unsafe {
        rdkafka::bindings::rd_kafka_get_watermark_offsets(
            client.native_ptr(),
            topic.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
        )
    };
    outcome(result as i32).map_err(|code| Error::Refused { action: "read cached watermarks", code })?;
    let known = |offset: i64| (offset >= 0).then_some(offset);
    Ok(Watermarks { low: known(low), high: known(high) })
}
