//! Questions to the brokers that no consumer call answers: ids of topics, offsets of many partitions.
//!
//! Called on a helper thread with any client (that of the consumer will do): each function waits for
//! its answer.

use std::collections::HashMap;
use std::ffi::{CStr, c_int};
use std::ptr::{self, NonNull};
use std::slice;
use std::time::{Duration, Instant};

use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;

use crate::Error;
use crate::list::{Partition, PartitionList};
use crate::native::{
    Event, KeepsClient, Queue, code, error_code, outcome, rd_kafka_metadata, timeout_ms, topic_name,
};

/// How long after its own time-out the client may take to say so.
const GRACE: Duration = Duration::from_secs(5);
/// The client's bounds of a request's time-out.
const LONGEST: Duration = Duration::from_secs(3600);
const SHORTEST: Duration = Duration::from_millis(1);

/// What a topic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicDescription {
    /// The id that a topic gets at its creation, so that one created again under its name can be told
    /// apart. Most significant bits first. None if the broker gives none.
    pub id: Option<u128>,
    /// How many partitions it has.
    pub partitions: usize,
}

/// Which records count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// All: the end is the high watermark.
    ReadUncommitted,
    /// None behind the start of an open transaction: the end is the last stable offset.
    ReadCommitted,
}

/// Describes topics, in the order given; each has its own answer (`UnknownTopicOrPartition` for one that
/// does not exist). Waits at most `timeout` (1 ms to 1 h).
///
/// # Errors
/// [`Error::Refused`] if the request failed as a whole, also for a topic given twice; [`Error::TopicName`].
pub fn describe_topics<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> Result<Vec<Result<TopicDescription, RDKafkaErrorCode>>, Error> {
    const ACTION: &str = "describe topics";
    // The client takes an empty list for "all topics".
    if topics.is_empty() {
        return Ok(Vec::new());
    }
    let names = topics.iter().map(|topic| topic_name(topic)).collect::<Result<Vec<_>, _>>()?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let deadline = Instant::now() + timeout.clamp(SHORTEST, LONGEST);
    let broker = some_broker(client, ACTION, timeout)?;
    let timeout = deadline.saturating_duration_since(Instant::now());
    let queue = Queue::private(client);
    let options =
        Options::new(client, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, ACTION, timeout)?;
    options.ask(broker, ACTION)?;
    // SAFETY: client, options and queue are live; the collection copies the names and is destroyed
    // after the request has copied it in turn.
    unsafe {
        let topics = c::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        c::rd_kafka_DescribeTopics(client.native_ptr(), topics, options.as_ptr(), queue.as_ptr());
        c::rd_kafka_TopicCollection_destroy(topics);
    }
    let event = answer(&queue, ACTION, c::RD_KAFKA_EVENT_DESCRIBETOPICS_RESULT as c_int, timeout)?;

    let mut count = 0;
    // SAFETY: the event is of the kind asked for, so it has a result; array and descriptions belong to
    // the event and live until it is dropped.
    let descriptions = unsafe {
        let result = c::rd_kafka_event_DescribeTopics_result(event.as_ptr());
        array(c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count), count)
    };
    let mut by_name: HashMap<_, _> =
        // SAFETY: each pointer is a live description of the event's.
        descriptions.iter().map(|&description| unsafe { describe(description) }).collect();
    Ok(names
        .iter()
        .map(|name| by_name.remove(name.as_c_str()).unwrap_or(Err(RDKafkaErrorCode::UnknownTopicOrPartition)))
        .collect())
}

/// The id of a broker that is there. Any broker can describe topics; left alone, the client would ask the
/// controller, whose name the embedded cluster gets wrong.
fn some_broker<C: ClientContext>(
    client: &Client<C>,
    action: &'static str,
    timeout: Duration,
) -> Result<i32, Error> {
    const KNOWN_TOPICS: c_int = 0;
    let mut metadata = ptr::null();
    // SAFETY: the client is live; no topic is asked for; on success `metadata` is ours, read while it
    // lives (its brokers are an array of `broker_cnt`), and destroyed once.
    unsafe {
        let timeout = timeout_ms(timeout.clamp(SHORTEST, LONGEST));
        let result =
            rd_kafka_metadata(client.native_ptr(), KNOWN_TOPICS, ptr::null_mut(), &raw mut metadata, timeout);
        outcome(result).map_err(|code| Error::Refused { action, code })?;
        let broker = ((*metadata).broker_cnt > 0).then(|| (*(*metadata).brokers).id);
        c::rd_kafka_metadata_destroy(metadata);
        broker.ok_or(Error::Refused { action, code: RDKafkaErrorCode::BrokerNotAvailable })
    }
}

/// # Safety
/// `description` is a description that stays alive for `'e`.
unsafe fn describe<'e>(
    description: *const c::rd_kafka_TopicDescription_t,
) -> (&'e CStr, Result<TopicDescription, RDKafkaErrorCode>) {
    // SAFETY: the description is live. Its name is a C string; error, id and partitions belong to it, and
    // only the id is looked into further: both halves are plain numbers.
    unsafe {
        let name = CStr::from_ptr(c::rd_kafka_TopicDescription_name(description));
        let number = error_code(c::rd_kafka_TopicDescription_error(description));
        let result = outcome(number).map(|()| {
            let id = c::rd_kafka_TopicDescription_topic_id(description);
            let high = c::rd_kafka_Uuid_most_significant_bits(id).cast_unsigned();
            let low = c::rd_kafka_Uuid_least_significant_bits(id).cast_unsigned();
            let id = u128::from(high) << 64 | u128::from(low);
            let mut partitions = 0;
            c::rd_kafka_TopicDescription_partitions(description, &raw mut partitions);
            TopicDescription { id: (id != 0).then_some(id), partitions }
        });
        (name, result)
    }
}

/// The earliest offset of each partition, in the order given. Waits at most `timeout` (1 ms to 1 h).
///
/// # Errors
/// [`Error::Refused`] if the request failed as a whole, also for a partition given twice;
/// [`Error::TopicName`].
pub fn start_offsets<C: ClientContext>(
    client: &Client<C>,
    partitions: &[(&str, i32)],
    timeout: Duration,
) -> Result<Vec<Result<i64, RDKafkaErrorCode>>, Error> {
    let spec = c::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST;
    list_offsets(client, partitions, spec, Isolation::ReadUncommitted, timeout)
}

/// The end of each partition, in the order given: its high watermark or its last stable offset. Right
/// also while a partition is paused. Waits at most `timeout` (1 ms to 1 h).
///
/// # Errors
/// As [`start_offsets`].
pub fn end_offsets<C: ClientContext>(
    client: &Client<C>,
    partitions: &[(&str, i32)],
    isolation: Isolation,
    timeout: Duration,
) -> Result<Vec<Result<i64, RDKafkaErrorCode>>, Error> {
    let spec = c::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST;
    list_offsets(client, partitions, spec, isolation, timeout)
}

fn list_offsets<C: ClientContext>(
    client: &Client<C>,
    partitions: &[(&str, i32)],
    spec: c::rd_kafka_OffsetSpec_t,
    isolation: Isolation,
    timeout: Duration,
) -> Result<Vec<Result<i64, RDKafkaErrorCode>>, Error> {
    const ACTION: &str = "list offsets";
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let mut list = PartitionList::with_capacity(partitions.len());
    for &(topic, partition) in partitions {
        list.push(topic, partition, spec as i64, None)?;
    }
    let queue = Queue::private(client);
    let options =
        Options::new(client, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, ACTION, timeout)?;
    options.isolate(isolation, ACTION)?;
    // SAFETY: client, list (copied), options and queue are live.
    unsafe {
        c::rd_kafka_ListOffsets(client.native_ptr(), list.as_ptr(), options.as_ptr(), queue.as_ptr());
    }
    let event = answer(&queue, ACTION, c::RD_KAFKA_EVENT_LISTOFFSETS_RESULT as c_int, timeout)?;

    let mut count = 0;
    // SAFETY: as in `describe_topics`.
    let infos = unsafe {
        let result = c::rd_kafka_event_ListOffsets_result(event.as_ptr());
        array(c::rd_kafka_ListOffsets_result_infos(result, &raw mut count), count)
    };
    let mut by_partition: HashMap<_, _> = infos
        .iter()
        .map(|&info| {
            // SAFETY: `info` is live, and so is the partition inside it, until the event is dropped,
            // which is after the map was filled with owned values.
            let found = unsafe { Partition::borrow(c::rd_kafka_ListOffsetsResultInfo_topic_partition(info)) };
            let offset =
                outcome(found.error()).and_then(|()| found.offset().ok_or(RDKafkaErrorCode::NoOffset));
            ((found.topic(), found.partition()), offset)
        })
        .collect();
    Ok(partitions
        .iter()
        .map(|&(topic, partition)| {
            by_partition
                .remove(&(topic.to_owned(), partition))
                .unwrap_or(Err(RDKafkaErrorCode::UnknownPartition))
        })
        .collect())
}

/// Waits for the one event that an admin request is answered with.
fn answer<'q, K: KeepsClient>(
    queue: &'q Queue<K>,
    action: &'static str,
    kind: c_int,
    timeout: Duration,
) -> Result<Event<'q>, Error> {
    let refused = |code| Error::Refused { action, code };
    let event = queue
        .poll(timeout.clamp(SHORTEST, LONGEST) + GRACE)
        .ok_or_else(|| refused(RDKafkaErrorCode::OperationTimedOut))?;
    outcome(event.error()).map_err(refused)?;
    if event.kind() != kind {
        return Err(refused(code(-1)));
    }
    Ok(event)
}

/// # Safety
/// `first` points to `count` pointers that stay alive and unchanged for `'e`, or `count` is 0.
unsafe fn array<'e, T>(first: *mut *const T, count: usize) -> &'e [*const T] {
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: as promised by the caller.
    unsafe { slice::from_raw_parts(first, count) }
}

/// Options of an admin request. Independent of the client once made.
struct Options {
    options: NonNull<c::rd_kafka_AdminOptions_t>,
}

impl Options {
    fn new<C: ClientContext>(
        client: &Client<C>,
        request: c::rd_kafka_admin_op_t,
        action: &'static str,
        timeout: Duration,
    ) -> Result<Self, Error> {
        // SAFETY: the client is live; the result is ours.
        let options = unsafe { c::rd_kafka_AdminOptions_new(client.native_ptr(), request) };
        let options = Self { options: NonNull::new(options).expect("the request is one that exists") };
        let timeout = timeout_ms(timeout.clamp(SHORTEST, LONGEST));
        // SAFETY: the options are live; no text of the error is wanted.
        let result = unsafe {
            c::rd_kafka_AdminOptions_set_request_timeout(options.as_ptr(), timeout, ptr::null_mut(), 0)
        };
        outcome(result as i32).map_err(|code| Error::Refused { action, code })?;
        Ok(options)
    }

    fn ask(&self, broker: i32, action: &'static str) -> Result<(), Error> {
        // SAFETY: the options are live; no text of the error is wanted.
        let result =
            unsafe { c::rd_kafka_AdminOptions_set_broker(self.as_ptr(), broker, ptr::null_mut(), 0) };
        outcome(result as i32).map_err(|code| Error::Refused { action, code })
    }

    fn isolate(&self, isolation: Isolation, action: &'static str) -> Result<(), Error> {
        let level = match isolation {
            Isolation::ReadUncommitted => {
                c::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
            }
            Isolation::ReadCommitted => c::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
        };
        // SAFETY: the options are live; the error object is null or ours, read and then destroyed
        // (destroying null does nothing).
        let number = unsafe {
            let error = c::rd_kafka_AdminOptions_set_isolation_level(self.as_ptr(), level);
            let number = error_code(error);
            c::rd_kafka_error_destroy(error);
            number
        };
        outcome(number).map_err(|code| Error::Refused { action, code })
    }

    fn as_ptr(&self) -> *mut c::rd_kafka_AdminOptions_t {
        self.options.as_ptr()
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: the options are live, ours, and not used again; requests copied them.
        unsafe { c::rd_kafka_AdminOptions_destroy(self.as_ptr()) };
    }
}
